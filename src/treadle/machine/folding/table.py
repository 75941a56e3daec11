"""``apply``: the fold over the events of an execution, and the only thing that changes a state.

It evaluates nothing: every decision is in the events. What it does is structural, in O(degree): it counts decided
connections, and notes which nodes those counts have met or lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from treadle.errors import ReplayError
from treadle.machine.folding import (
    bodies,
    compensation,
    connections,
    executions,
    failures,
    migrating,
    retrying,
    signals,
    steps,
)
from treadle.machine.state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from treadle.machine import events as e
    from treadle.machine.plan import Plan


def apply(state: State, event: e.AnyEvent) -> None:
    """Change ``state`` by one event.

    Raises:
        ReplayError: The event does not fit: the log and the definition disagree.
    """
    state.last_at = event.at
    _APPLY[type(event)](state, event)


def fold(plan: Plan, recorded: Iterable[Sequence[e.AnyEvent]], plans: Mapping[str, Plan] | None = None) -> State:
    """Return the state after the turns ``recorded``, each a list of events.

    Args:
        plan: Of the definition that it began with.
        recorded: The turns in order.
        plans: Of the definitions that it was migrated to, by hash.

    Raises:
        ReplayError: An event does not fit.
    """
    state = State(plan)
    state.plans = plans or {}
    for number, turn in enumerate(recorded, 1):
        try:
            for event in turn:
                apply(state, event)
        except ReplayError as error:
            raise ReplayError(f"turn {number}: {error.message}", state.execution_id, number) from None
        state.rest()
    return state


_APPLY: Final[dict[type[e.Event], Callable[[State, Any], None]]] = {
    **executions.APPLY,
    **connections.APPLY,
    **steps.APPLY,
    **failures.APPLY,
    **bodies.APPLY,
    **signals.APPLY,
    **retrying.APPLY,
    **migrating.APPLY,
    **compensation.APPLY,
}
