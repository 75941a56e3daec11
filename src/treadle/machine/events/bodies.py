"""Facts of maps, loops and groups, and of the bodies within them."""

from __future__ import annotations

from msgspec import Raw

from treadle.machine.events.base import ABSENT, Event
from treadle.model import StepError


class GroupStarted(Event, frozen=True):
    """A map, a loop or a parallel was reached and has begun.

    Attributes:
        items: Of a map: the list.
    """

    step: str
    items: Raw = ABSENT


class BodyStarted(Event, frozen=True):
    """Bodies of the step have begun: items of a map, an iteration of a loop, or the one of a parallel.

    Attributes:
        number: Of the first of them, from 0.
        count: How many.
    """

    step: str
    number: int = 0
    count: int = 1


class GroupYielded(Event, frozen=True):
    """So much has happened in this turn that the step goes on in the next: then further bodies begin.

    Attributes:
        begun: How many of its bodies have begun.
    """

    step: str
    begun: int


class BodyCompleted(Event, frozen=True):
    """A body of the step ended well.

    Attributes:
        number: Which.
        output: What its ``output`` gave; ``ABSENT`` where that is the output of its leaves.
    """

    step: str
    number: int = 0
    output: Raw = ABSENT


class BodyHalted(Event, frozen=True):
    """An unhandled failure in a body of the step: nothing new starts in it, attempts in flight end first."""

    step: str
    error: StepError
    number: int = 0


class BodyFailed(Event, frozen=True):
    """A body of the step ended with an unhandled failure."""

    step: str
    error: StepError
    number: int = 0


class GroupHalted(Event, frozen=True):
    """The step fails: nothing new starts in its bodies, attempts in flight end first."""

    step: str
    error: StepError


class GroupCompleted(Event, frozen=True):
    """The step is done.

    A map gives the outputs of its items in their order, a loop that of its last iteration, a parallel that of its body.

    Attributes:
        reason: ``all``; or why it is done before its time: ``complete_when``, ``race`` or ``answer``, and the rest is
            cancelled.
    """

    step: str
    reason: str = "all"
