"""Facts of steps that wait for a time, an event or a person."""

from __future__ import annotations

from msgspec import Raw

from treadle.machine.events.base import ABSENT, Event


class WaitStarted(Event, frozen=True):
    """The step waits for the first of its timers.

    Attributes:
        due: By number of the timer, when it is due on the execution's clock, in milliseconds since the epoch.
        until: By number of the timer, when it is due by the wall clock, in milliseconds since the epoch.
        events: By number, name and key of the events of which one ends the wait; the key as JSON, ``""`` for any.
    """

    step: str
    due: tuple[tuple[int, int], ...] = ()
    until: tuple[tuple[int, int], ...] = ()
    events: tuple[tuple[int, str, str], ...] = ()


class WaitEnded(Event, frozen=True):
    """A timer was due, and the wait is over.

    Attributes:
        timer: Its number, from 0.
    """

    step: str
    timer: int = 0


class EventAwaited(Event, frozen=True):
    """The step waits for an event.

    Attributes:
        name: Of the event.
        key: Which of those of that name, as JSON; ``""`` for any.
        due: When it gives up, on the execution's clock, in milliseconds since the epoch; 0 for never.
    """

    step: str
    name: str
    key: str = ""
    due: int = 0


class EventKept(Event, frozen=True):
    """An event came for which no step waits yet.

    Attributes:
        name: Of the event.
        key: As JSON, ``null`` for none.
        data: What it carries.
        event_id: Names it, so that it counts once.
    """

    name: str
    data: Raw
    event_id: str
    key: str = ""


class EventReceived(Event, frozen=True):
    """The event is there, and the step is done.

    Attributes:
        name: Of the event.
        data: What it carries; ``ABSENT`` where it had been kept.
        event_id: Names it.
        timer: Of a wait for several: the number of this one.
    """

    step: str
    name: str
    event_id: str
    data: Raw = ABSENT
    timer: int = 0


class InputAsked(Event, frozen=True):
    """The step waits for the answer of a person.

    Attributes:
        due: When it gives up, on the execution's clock, in milliseconds since the epoch; 0 for never.
        default: The answer then; ``ABSENT`` for none, and then the step times out.
    """

    step: str
    due: int = 0
    default: Raw = ABSENT


class InputGiven(Event, frozen=True):
    """The answer is there, and the step is done.

    Attributes:
        output: The answer.
        is_default: Nobody answered in time.
    """

    step: str
    output: Raw
    is_default: bool = False
    request: str = ""
