"""What expressions see of a state: names looked up when they are read, no context built."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from treadle.expressions import MISSING, Record
from treadle.machine.transitions import COMPLETED, PENDING, PUBLIC_STATUS
from treadle.model import NodeType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from treadle.expressions import Missing
    from treadle.expressions import Scope as Names
    from treadle.machine.scope import Scope
    from treadle.machine.state import State
    from treadle.model import JsonValue


class ScopeView:
    """The names that expressions of one scope see.

    ``input execution steps vars``, what a body is told (``item index previous``), and each step's output by its id,
    steps of the scopes around it included.
    """

    __slots__ = ("_scope", "_state")

    def __init__(self, state: State, scope: Scope) -> None:
        self._state = state
        self._scope = scope

    def lookup(self, name: str) -> JsonValue | Record | Missing:
        """Return what ``name`` means, or ``MISSING``. Reserved names come before the ids of steps."""
        state = self._state
        if name == "input":
            return state.input_value
        if name == "steps":
            return _Steps(self._scope)
        if name == "execution":
            return _execution(state)
        if name == "vars":
            return state.plan.workflow.vars
        scope: Scope | None = self._scope
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            index = scope.graph.index.get(name)
            if index is not None:
                return _output(scope, index)
            scope = scope.parent
        return MISSING


class StateView(ScopeView):
    """The names of one execution, outside of any body."""

    __slots__ = ()

    def __init__(self, state: State) -> None:
        super().__init__(state, state.root)


class NamesWith:
    """Names over other names.

    Args:
        own: Come first.
        others: Come behind them.
    """

    __slots__ = ("_others", "_own")

    def __init__(self, own: Mapping[str, JsonValue], others: Names) -> None:
        self._own = own
        self._others = others

    def lookup(self, name: str) -> JsonValue | Record | Missing:
        """Return what ``name`` means, or ``MISSING``."""
        return self._own[name] if name in self._own else self._others.lookup(name)


def _output(scope: Scope, index: int) -> JsonValue | Missing:
    """Return the output of a step that has one: it completed, or its failure was passed over (null)."""
    return MISSING if scope.outputs[index] is None else scope.value(index)


def _execution(state: State) -> dict[str, JsonValue]:
    started = datetime.fromtimestamp(state.started_at / 1000, UTC)
    return {
        "id": state.execution_id,
        "workflow_id": state.workflow_id,
        "started_at": started.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }


class _Steps(Record):
    """``steps``: every node by id, those of the scopes around it included."""

    __slots__ = ("_scope",)

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def get(self, key: str) -> JsonValue | Record | Missing:
        scope: Scope | None = self._scope
        while scope is not None:
            index = scope.graph.index.get(key)
            if index is not None:
                return _Step(scope, index)
            scope = scope.parent
        return MISSING

    def plain(self) -> JsonValue:
        around = {} if self._scope.parent is None else _Steps(self._scope.parent).plain()
        scope = self._scope
        return {**around, **{node.id: _Step(scope, node.index).plain() for node in scope.graph.nodes}}


class _Step(Record):
    """``steps.x``: ``status`` and ``attempt`` always; ``output``, ``error``, a map's ``errors`` where there are any."""

    __slots__ = ("_index", "_scope")

    def __init__(self, scope: Scope, index: int) -> None:
        self._scope = scope
        self._index = index

    def get(self, key: str) -> JsonValue | Missing:
        scope, index = self._scope, self._index
        if key == "status":
            return PUBLIC_STATUS[scope.phases[index]].value
        if key == "attempt":
            return scope.attempts[index]
        if key == "output":
            return _output(scope, index)
        if key == "error" and PENDING < scope.phases[index] != COMPLETED and index in scope.errors:
            return msgspec.to_builtins(scope.errors[index])
        if key == "errors" and scope.graph.nodes[index].node.type is NodeType.MAP and index in scope.groups:
            errors = sorted(scope.groups[index].errors.items())
            return [{"index": number, **msgspec.to_builtins(error)} for number, error in errors]
        return MISSING

    def plain(self) -> JsonValue:
        found = {key: self.get(key) for key in ("status", "attempt", "output", "error", "errors")}
        return {key: value for key, value in found.items() if value is not MISSING}
