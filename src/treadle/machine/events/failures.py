"""Facts of attempts that were spent, and of what was done about it."""

from __future__ import annotations

from msgspec import Raw

from treadle.machine.events.base import Event
from treadle.model import Answer, StepError


class StepFellBack(Event, frozen=True):
    """The step's own action failed for good; its fallback is called in its place.

    Attributes:
        timed_out: The last attempt ran out of time.
    """

    step: str
    attempt: int
    error: StepError
    timed_out: bool = False


class AnswerAwaited(Event, frozen=True):
    """The attempts of the step are spent, and a person has to say what becomes of it.

    Attributes:
        timed_out: The last attempt, or all of them together, ran out of time.
    """

    step: str
    attempt: int
    error: StepError
    timed_out: bool = False


class StepAnswered(Event, frozen=True):
    """A person has said what becomes of the step whose attempts are spent.

    Attributes:
        answer: ``retry``, ``output``, ``complete``, ``skip`` or ``abort``; the next events tell what follows from it.
    """

    step: str
    answer: Answer
    request: str = ""


class OutputGiven(Event, frozen=True):
    """The step is done: somebody gave its output in the action's place.

    Attributes:
        output: What they gave, checked and encoded once; ``null`` where they confirmed and gave none.
        confirms: They said that what was called last did its work, so that this is what is undone.
    """

    step: str
    output: Raw
    confirms: bool = False


class StepFailed(Event, frozen=True):
    """The step failed for good.

    Attributes:
        attempt: The last one; 0 where no attempt was made.
    """

    step: str
    attempt: int
    error: StepError


class StepTimedOut(Event, frozen=True):
    """The step ran out of time: its last attempt, or all of them together (``total_timeout``)."""

    step: str
    attempt: int
    error: StepError


class FailureHandled(Event, frozen=True):
    """The failure does not fail the execution.

    Attributes:
        by: ``connection``: a failure or always connection is taken; ``continue_on_error``: it is passed over;
            ``race``: others of the race go on.
    """

    step: str
    by: str
