"""Facts of a step whose child is an execution of its own."""

from __future__ import annotations

from msgspec import Raw

from treadle.machine.events.base import Event


class ChildRequested(Event, frozen=True):
    """The step starts another execution.

    Attributes:
        child: Its id.
        workflow: Id of its workflow.
        input: A JSON object.
        waits: The step waits for its end.
    """

    step: str
    child: str
    workflow: str
    input: Raw
    waits: bool = True


class ChildStarted(Event, frozen=True):
    """The other execution exists, and the step, which does not wait for it, is done."""

    step: str
    child: str


class ChildCompleted(Event, frozen=True):
    """The other execution completed, and so has the step.

    Attributes:
        output: What it gave.
    """

    step: str
    child: str
    output: Raw


class ChildPaused(Event, frozen=True):
    """The other execution is PAUSED with nothing in flight.

    Attributes:
        waiting_for: Names of the inputs it asks for; empty where somebody paused it.
    """

    step: str
    child: str
    waiting_for: tuple[str, ...] = ()


class ChildResumed(Event, frozen=True):
    """The other execution goes on."""

    step: str
    child: str
