"""What arrives: everything a driver may tell the machine. ``advance`` turns inputs into events and commands.

Each has ``at``, the driver's time in milliseconds since the epoch; times may not go back within one execution (the
driver holds a clock that jumped back until it has caught up).
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Raw, Struct

from treadle.machine.events import KeptStep
from treadle.machine.plan import Plan
from treadle.model import Answer, StepError


class Input(Struct, frozen=True, gc=False, kw_only=True):
    """Base of every input."""

    at: int


class StartRequested(Input, frozen=True):
    """Create the execution, and begin unless ``start_at`` or others with its key say later.

    ``input`` is a JSON object, ``kept`` what a fork takes over; the other fields are those of ``ExecutionCreated``.
    """

    execution_id: str
    input: Raw
    priority: int = 0
    tags: dict[str, str] = {}
    parent: str = ""
    parent_step: str = ""
    depth: int = 0
    is_awaited: bool = False
    forked_from: str = ""
    forked_step: str = ""
    kept: tuple[KeptStep, ...] = ()
    key: str = ""
    start_at: int = 0
    queued: bool = False
    supersedes: bool = False


class StartReleased(Input, frozen=True):
    """All that had the key of a queued execution before it have ended."""


class ActionReturned(Input, frozen=True):
    """The attempt's action returned ``output``, already checked."""

    step: str
    attempt: int
    output: Raw


class ActionRaised(Input, frozen=True):
    """The attempt's action failed.

    Attributes:
        error: What to record.
        names: Class names along the error's MRO, for ``non_retryable``.
        permanent: No retry can cure it.
        timed_out: It was longer than the attempt's timeout.
        retry_after_ms: Shortest wait before the next attempt that the error asks for.
        draw: Uniform random number in [0, 1) for jitter, drawn by the driver so that replay is exact.
    """

    step: str
    attempt: int
    error: StepError
    names: tuple[str, ...] = ()
    permanent: bool = False
    timed_out: bool = False
    retry_after_ms: int = 0
    draw: float = 0.0


class ActionCancelled(Input, frozen=True):
    """The attempt ended, or was given up, because the machine had asked to cancel it."""

    step: str
    attempt: int


class ActionInterrupted(Input, frozen=True):
    """The attempt was cut off by a crash or a shutdown; nothing is known of what it did."""

    step: str
    attempt: int


class TimeReached(Input, frozen=True):
    """The time is ``at``; sent when ``State.wake_at`` is reached. Sending it early or twice does no harm."""


class PauseRequested(Input, frozen=True):
    """Start nothing new. ``request`` names the request, so that it counts once; ``""`` for none."""

    request: str = ""


class ResumeRequested(Input, frozen=True):
    """Go on, with ``inputs`` (a JSON object, None for none) merged over the input."""

    inputs: Raw | None = None
    request: str = ""


class CancelExecutionRequested(Input, frozen=True):
    """Cancel what runs and end; ``at_once`` without waiting for what runs."""

    reason: str = ""
    request: str = ""
    at_once: bool = False


class RetryRequested(Input, frozen=True):
    """Go on after a failure, or after the execution's time was over.

    Attributes:
        new_key: Actions get other idempotency keys than before.
        by_parent: Its parent goes on again; then also one that was cancelled goes on.
    """

    request: str = ""
    new_key: bool = False
    by_parent: bool = False


class MigrateRequested(Input, frozen=True):
    """Go on with another definition, if that is safe; ``migration_problems`` says why it is not."""

    plan: Plan
    request: str = ""


class CancelStepRequested(Input, frozen=True):
    """Cancel one step that has begun, with all that is in its bodies; its connections are dead."""

    step: str
    request: str = ""


class InputSubmitted(Input, frozen=True):
    """A person's answer to the input node ``step``, already checked."""

    step: str
    output: Raw
    request: str = ""


class AnswerGiven(Input, frozen=True):
    """What a person wants of a step whose attempts are spent.

    Attributes:
        output: What the step gives, already checked; None unless the answer is OUTPUT.
    """

    step: str
    answer: Answer
    output: Raw | None = None
    request: str = ""


class EventSent(Input, frozen=True):
    """An event for the step that has waited longest for it.

    Attributes:
        name: Of the event.
        key: As JSON, ``null`` for none.
        data: What it carries.
        event_id: Names it, so that it counts once.
        keeps: It is kept where no step waits for it; otherwise it is not accepted then.
        is_late: It was sent before it was known who waits: a step with ``buffer: false`` does not take it.
    """

    name: str
    key: str
    data: Raw
    event_id: str
    keeps: bool = True
    is_late: bool = False


class ChildBegan(Input, frozen=True):
    """The execution that a step asked for exists."""

    step: str
    child: str


class ChildEnded(Input, frozen=True):
    """The execution that a step asked for has ended, or cannot start.

    Attributes:
        output: What it gave; None where it did not complete.
        error: Why it did not complete; None where it did.
        timed_out: It ran out of its time.
        is_cancelled: It was cancelled.
    """

    step: str
    child: str
    output: Raw | None = None
    error: StepError | None = None
    timed_out: bool = False
    is_cancelled: bool = False


class ChildRested(Input, frozen=True):
    """The execution that a step asked for is PAUSED with nothing in flight."""

    step: str
    child: str
    waiting_for: tuple[str, ...] = ()


class ChildWentOn(Input, frozen=True):
    """The execution that a step asked for is no longer PAUSED."""

    step: str
    child: str


AnyInput: TypeAlias = (
    StartRequested
    | StartReleased
    | ActionReturned
    | ActionRaised
    | ActionCancelled
    | ActionInterrupted
    | TimeReached
    | PauseRequested
    | ResumeRequested
    | CancelExecutionRequested
    | RetryRequested
    | MigrateRequested
    | CancelStepRequested
    | InputSubmitted
    | AnswerGiven
    | EventSent
    | ChildBegan
    | ChildEnded
    | ChildRested
    | ChildWentOn
)
