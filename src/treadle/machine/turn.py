"""One turn in the making: the events so far, each applied as it is decided, and what they ask of the driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from treadle.errors import ExpressionError
from treadle.expressions import MissingNameError
from treadle.machine.commands import CancelChild, CancelStep, Command, LimitKey, ReadyStep, RunStep
from treadle.machine.folding import apply
from treadle.machine.transitions import RUNNING
from treadle.machine.view import ScopeView, StateView
from treadle.values import comparable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from treadle.expressions import Scope as Names
    from treadle.machine.events import AnyEvent
    from treadle.machine.graph import PlanNode
    from treadle.machine.scope import Scope
    from treadle.machine.state import State
    from treadle.model import JsonValue, Node


MOST_EVENTS: Final = 5_000
"""Of one turn: behind so many no further bodies of maps and loops begin in it, and no further timer is looked at. All
executions of an engine take turns on one thread, so a loop that waits for nothing must not hold up the others."""


class Turn:
    """What one execution's machine does with what has arrived: one row of the log.

    Attributes:
        events: What happened, in order; empty if nothing did. The driver appends them as one row.
        commands: To be carried out once the events are durable.
        accepted: One entry per input: False for a request that did not fit, and for what came too late.
        ready: Steps that became ready in this turn and may start, in definition order.
        yielded: Maps and loops that go on in the next turn, and how many of their bodies had begun.
    """

    __slots__ = ("_names", "_root", "accepted", "commands", "events", "ready", "state", "yielded")

    def __init__(self, state: State, names: Names | None = None) -> None:
        self.state = state
        self._root = state.root
        self._names: Names = StateView(state) if names is None else names
        self.events: list[AnyEvent] = []
        self.commands: list[Command] = []
        self.accepted: list[bool] = []
        self.ready: Sequence[ReadyStep] = ()
        self.yielded: dict[str, int] = {}

    @property
    def room(self) -> int:
        """Return how many bodies may still begin in this turn."""
        return max(0, MOST_EVENTS - len(self.events))

    @property
    def runs(self) -> list[RunStep]:
        """Return the commands that start an attempt."""
        return [command for command in self.commands if type(command) is RunStep]

    def names(self, scope: Scope) -> Names:
        """Return what expressions of a scope see."""
        if scope.parent is not None:
            return ScopeView(self.state, scope)
        if scope is not self._root:  # it was migrated
            self._root, self._names = scope, StateView(self.state)
        return self._names

    def emit(self, event: AnyEvent) -> None:
        """Note an event and apply it."""
        apply(self.state, event)
        self.events.append(event)

    def is_repeated(self, request: str) -> bool:
        """Tell whether a request was carried out before."""
        return bool(request) and request in self.state.requests

    def cancel(self, step: str, attempt: int) -> None:
        """Ask for one attempt to be cancelled."""
        self.commands.append(CancelStep(step, attempt))

    def cancel_in_flight(self, scope: Scope) -> None:
        """Ask for every attempt in flight in a scope and in the bodies within it to be cancelled."""
        flying, children = self.state.in_flight, self.state.children
        steps = (*flying, *children) if scope.parent is None else _running((scope, *scope.bodies()))
        self.commands.extend(CancelStep(step, flying[step]) for step in steps if step in flying)
        self.commands.extend(CancelChild(children[step]) for step in steps if step in children)

    def cancel_attempts(self, scope: Scope, node: PlanNode) -> None:
        """Ask for what is in flight of one step to be cancelled: its attempt, or all in its bodies."""
        step = scope.keys[node.index]
        if node.group is not None and node.index in scope.groups:
            for body in scope.groups[node.index].open.values():
                self.cancel_in_flight(body)
        elif step in self.state.in_flight:
            self.cancel(step, self.state.in_flight[step])
        elif step in self.state.children:
            self.commands.append(CancelChild(self.state.children[step]))

    def close(self) -> Turn:
        """Gather the steps that became ready and leave the state clean for the next turn."""
        state = self.state
        if state.fresh:
            if state.starts_steps:
                fresh = _ready(state, dict.fromkeys(state.fresh))
                if len(fresh) > 1:
                    fresh.sort(key=_order)
                self.ready = (*self.ready, *fresh) if self.ready else fresh
            state.fresh.clear()
        return self


def ready_steps(state: State) -> list[ReadyStep]:
    """Return the steps that need only a slot, as admission takes them."""
    return _ready(state, state.ready)


def _ready(state: State, steps: Iterable[str]) -> list[ReadyStep]:
    found: list[ReadyStep] = []
    for step in steps:
        place = state.find(step) if step in state.ready else None
        if place is not None:
            found.append(_ready_step(state, step, *place))
    return found


def _called(state: State, scope: Scope, node: PlanNode) -> Node:
    undo = scope.undo(node) if state.undoing else None
    return scope.call(node).node if undo is None else undo.node


def _ready_step(state: State, step: str, scope: Scope, node: PlanNode) -> ReadyStep:
    called = _called(state, scope, node)
    if not node.limits or called is not node.node:  # a fallback and a compensation are calls of something else
        return ReadyStep(step, node.order, called)
    try:
        limits = limits_of(node, StateView(state) if scope.parent is None else ScopeView(state, scope))
    except (ExpressionError, MissingNameError):
        limits = ()  # it fails once it starts
    return ReadyStep(step, node.order, node.node, limits)


def limits_of(node: PlanNode, names: Names) -> tuple[LimitKey, ...]:
    """Return what the steps of a node hold while they run.

    Raises:
        ExpressionError: A key cannot be evaluated, or is too long; ``MissingNameError`` where it reads what is not
            there.
    """
    return tuple(
        one.known or LimitKey(one.name, _key_text(one.name, one.key.resolve(names)), one.numbers) for one in node.limits
    )


def _key_text(name: str, key: JsonValue) -> str:
    text = comparable(key)
    if len(text) > _KEY_CHARS:
        raise ExpressionError(f"the key of {name!r} has at most {_KEY_CHARS:,} characters of JSON, not {len(text):,}")
    return text


def _running(scopes: Iterable[Scope]) -> list[str]:
    return [scope.keys[index] for scope in scopes for index, phase in enumerate(scope.phases) if phase == RUNNING]


def _order(step: ReadyStep) -> int:
    return step.order


_KEY_CHARS: Final = 1_024
