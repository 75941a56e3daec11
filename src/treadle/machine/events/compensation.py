"""Facts of undoing what had completed."""

from __future__ import annotations

from msgspec import Raw

from treadle.machine.events.base import ABSENT, Event
from treadle.model import StepError


class CompensationsBegan(Event, frozen=True):
    """Nothing is in flight any more, and what completed steps did is undone before the execution ends.

    Attributes:
        steps: Which, in this order: the last to complete is the first to be undone.
    """

    steps: tuple[str, ...]


class CompensationStarted(Event, frozen=True):
    """An attempt to undo the step is about to call its compensation. Attempts go on counting from the step's own.

    Attributes:
        parameters: Resolved parameters, on the first attempt only; ``ABSENT`` where they are constant or known.
    """

    step: str
    attempt: int
    parameters: Raw = ABSENT


class CompensationDelayed(Event, frozen=True):
    """An attempt to undo the step failed and another follows.

    Attributes:
        delay_ms: Wait before it.
        due: When it is over, in milliseconds on the execution's own clock.
        timed_out: The attempt was longer than its timeout.
    """

    step: str
    attempt: int
    error: StepError
    delay_ms: int
    due: int
    timed_out: bool = False


class CompensationReady(Event, frozen=True):
    """The wait is over; the compensation needs only a slot."""

    step: str


class CompensationInterrupted(Event, frozen=True):
    """An attempt to undo the step was cut off by a crash or a shutdown. It runs again under the next number."""

    step: str
    attempt: int


class CompensationSucceeded(Event, frozen=True):
    """What the step did is undone.

    Attributes:
        output: What the compensation gave.
    """

    step: str
    attempt: int
    output: Raw


class CompensationFailed(Event, frozen=True):
    """What the step did could not be undone. The others are undone all the same.

    Attributes:
        attempt: The last one; 0 where no attempt was made.
        timed_out: The last attempt ran out of time.
    """

    step: str
    attempt: int
    error: StepError
    timed_out: bool = False


class CompensationsDropped(Event, frozen=True):
    """Somebody wanted the execution to end at once: what is not undone yet stays as it is."""
