"""Facts of a step and of the connections that leave it."""

from __future__ import annotations

from msgspec import Raw

from treadle.machine.events.base import ABSENT, Event
from treadle.model import ExecutionStatus, StepError


class StepReady(Event, frozen=True):
    """The step needs nothing more than a slot: its own condition was taken, or its wait is over."""

    step: str


class StepStarted(Event, frozen=True):
    """An attempt is about to call the action.

    Attributes:
        parameters: Resolved parameters, on the first attempt only; ``ABSENT`` where they are constant or known. A
            secret is ``{"secret": NAME}``, and text with secrets in it the list of its parts.
    """

    step: str
    attempt: int
    parameters: Raw = ABSENT


class StepSucceeded(Event, frozen=True):
    """The action returned.

    Attributes:
        output: What it returned, checked and encoded once.
    """

    step: str
    attempt: int
    output: Raw


class TriggerPassed(Event, frozen=True):
    """A trigger was reached; its output is the input."""

    step: str


class StepPassed(Event, frozen=True):
    """A node that calls nothing is done: a switch, or a set.

    Attributes:
        output: What a set computed; ``ABSENT`` for a switch, which gives null.
    """

    step: str
    output: Raw = ABSENT


class EndReached(Event, frozen=True):
    """An end node was reached: what runs is cancelled, and the execution ends as it says.

    Attributes:
        status: COMPLETED, FAILED or CANCELLED.
        output: Output of the execution; ``ABSENT`` where the node gives none.
        error: What the execution shows as its error; None for COMPLETED.
    """

    step: str
    status: ExecutionStatus
    output: Raw = ABSENT
    error: StepError | None = None


class AttemptFailed(Event, frozen=True):
    """The attempt failed and another follows.

    Attributes:
        delay_ms: Wait before the next attempt.
        due: When it is over, in milliseconds on the execution's own clock.
        timed_out: The attempt was longer than its timeout.
    """

    step: str
    attempt: int
    error: StepError
    delay_ms: int
    due: int
    timed_out: bool = False


class AttemptInterrupted(Event, frozen=True):
    """The attempt was cut off by a crash or a shutdown. No failure: it runs again under the next number."""

    step: str
    attempt: int


class StepSkipped(Event, frozen=True):
    """The step will not run.

    Attributes:
        reason: ``join`` (it can no longer be met), ``condition`` (its own was not taken), ``answer`` (somebody said
            so), or ``end`` (an end node ended the execution before it was reached).
        passes: Its outgoing connections go on as after a success (``on_skip: pass``).
        missing: Path of the missing name that its condition met; ``""`` for none.
    """

    step: str
    reason: str
    passes: bool = False
    missing: str = ""


class StepPaused(Event, frozen=True):
    """The step asks for input.

    Attributes:
        missing: Names of what it needs, such as ``input.email``.
    """

    step: str
    missing: tuple[str, ...]


class StepCancelled(Event, frozen=True):
    """The step was started or waiting and will not go on; neither will anything in its bodies.

    Attributes:
        request: Id of the request, where somebody asked for this; ``""`` otherwise.
    """

    step: str
    request: str = ""


class LateResultIgnored(Event, frozen=True):
    """An attempt that had been given up ended after all; what it gave is not used."""

    step: str
    attempt: int


class ConnectionDecided(Event, frozen=True):
    """A conditional connection was decided.

    Attributes:
        connection: Its place in the definition, from 0.
        source: Id of the node it comes from.
        target: Id of the node it leads to.
        taken: True: active; False: dead.
        missing: Path of the missing name that its condition met; ``""`` for none.
        body: Path of the body that it belongs to; ``""`` for the workflow itself.
    """

    connection: int
    source: str
    target: str
    taken: bool
    missing: str = ""
    body: str = ""
