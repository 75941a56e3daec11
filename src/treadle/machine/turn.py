"""One turn in the making: the events so far, each applied as it is decided, and what they ask of the driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.machine.commands import CancelStep, Command, ReadyStep, RunStep
from treadle.machine.fold import apply
from treadle.machine.view import StateView

if TYPE_CHECKING:
    from collections.abc import Sequence

    from treadle.expressions import Scope as Names
    from treadle.machine.events import AnyEvent
    from treadle.machine.plan import PlanNode
    from treadle.machine.state import State


class Turn:
    """What one execution's machine does with what has arrived: one row of the log.

    Attributes:
        events: What happened, in order; empty if nothing did. The driver appends them as one row.
        commands: To be carried out once the events are durable.
        accepted: One entry per input: False for a request that did not fit, and for what came too late.
        ready: Steps that became ready in this turn and may start, in definition order.
    """

    __slots__ = ("accepted", "commands", "events", "names", "ready", "state")

    def __init__(self, state: State, names: Names | None = None) -> None:
        self.state = state
        self.names: Names = StateView(state) if names is None else names
        self.events: list[AnyEvent] = []
        self.commands: list[Command] = []
        self.accepted: list[bool] = []
        self.ready: Sequence[ReadyStep] = ()

    @property
    def runs(self) -> list[RunStep]:
        """Return the commands that start an attempt."""
        return [command for command in self.commands if type(command) is RunStep]

    def emit(self, event: AnyEvent) -> None:
        """Note an event and apply it."""
        apply(self.state, event)
        self.events.append(event)

    def node(self, step: str) -> PlanNode | None:
        """Return the node of a step; None if the definition has none."""
        index = self.state.plan.index.get(step)
        return None if index is None else self.state.plan.nodes[index]

    def cancel(self, step: str, attempt: int) -> None:
        """Ask for one attempt to be cancelled."""
        self.commands.append(CancelStep(step, attempt))

    def cancel_in_flight(self) -> None:
        """Ask for every attempt in flight to be cancelled."""
        self.commands.extend(CancelStep(step, attempt) for step, attempt in self.state.in_flight.items())

    def close(self) -> Turn:
        """Gather the steps that became ready and leave the state clean for the next turn."""
        state = self.state
        if state.fresh:
            if state.starts_steps:
                index, ready = state.plan.index, state.ready
                fresh = [ReadyStep(step, index[step]) for step in dict.fromkeys(state.fresh) if step in ready]
                if len(fresh) > 1:
                    fresh.sort(key=_order)
                self.ready = (*self.ready, *fresh) if self.ready else fresh
            state.fresh.clear()
        state.root.agenda.clear()
        return self


def _order(step: ReadyStep) -> int:
    return step.order
