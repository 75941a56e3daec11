"""What expressions see of a state: names looked up when they are read, no context built."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from treadle.expressions import MISSING, Record
from treadle.machine.transitions import COMPLETED, PENDING, PUBLIC_STATUS

if TYPE_CHECKING:
    from treadle.expressions import Missing
    from treadle.machine.state import Scope, State
    from treadle.model import JsonValue


class StateView:
    """The names of one execution: ``input execution steps vars``, and each step's output by its id."""

    __slots__ = ("_state",)

    def __init__(self, state: State) -> None:
        self._state = state

    def lookup(self, name: str) -> JsonValue | Record | Missing:
        """Return what ``name`` means, or ``MISSING``. Reserved names come before the ids of steps."""
        state = self._state
        if name == "input":
            return state.input_value
        if name == "steps":
            return _Steps(state.root)
        if name == "execution":
            return _execution(state)
        if name == "vars":
            return state.plan.workflow.vars
        index = state.plan.index.get(name)
        return MISSING if index is None else _output(state.root, index)


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
    """``steps``: every node by id."""

    __slots__ = ("_scope",)

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def get(self, key: str) -> JsonValue | Record | Missing:
        index = self._scope.plan.index.get(key)
        return MISSING if index is None else _Step(self._scope, index)

    def plain(self) -> JsonValue:
        return {node.id: _Step(self._scope, node.index).plain() for node in self._scope.plan.nodes}


class _Step(Record):
    """``steps.x``: ``status`` and ``attempt`` always, ``output`` and ``error`` where there is one."""

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
        return MISSING

    def plain(self) -> JsonValue:
        found = {key: self.get(key) for key in ("status", "attempt", "output", "error")}
        return {key: value for key, value in found.items() if value is not MISSING}
