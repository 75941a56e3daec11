"""Facts of an execution as a whole: begun, held, moved, asked to end, ended."""

from __future__ import annotations

from msgspec import Raw, Struct, field

from treadle.machine.events.base import ABSENT, Event
from treadle.model import StepError


class ExecutionCreated(Event, frozen=True):
    """The execution exists, pinned to a definition.

    Attributes:
        execution_id: Its name.
        workflow_id: Id of its workflow.
        definition_hash: Name of the definition's content; the definition is stored once under it.
        input: What it was started with, a JSON object.
        priority: Ready steps of a higher one start first.
        tags: Shown and searched in lists.
        parent: Id of the execution that started it; ``""`` for none.
        parent_step: Key of the step there.
        depth: How many executions are above it.
        is_awaited: The step there waits for its end.
        forked_from: Id of the execution of which it is a fork; ``""`` for none.
        forked_step: Key of the step from which on it runs by itself.
        key: At most one open execution of a workflow has begun with it; ``""`` for none.
        start_at: When it begins, by the wall clock, in milliseconds since the epoch; 0 for at once.
        queued: Others with its key had not ended: it begins once they have.
        supersedes: Those others are cancelled for it.
    """

    execution_id: str
    workflow_id: str
    definition_hash: str
    input: Raw
    priority: int = 0
    tags: dict[str, str] = field(default_factory=dict)
    parent: str = ""
    parent_step: str = ""
    depth: int = 0
    is_awaited: bool = False
    forked_from: str = ""
    forked_step: str = ""
    key: str = ""
    start_at: int = 0
    queued: bool = False
    supersedes: bool = False


class KeptStep(Struct, frozen=True, gc=False, omit_defaults=True):
    """How a step ended in the execution of which this one is a fork.

    Attributes:
        step: Its key.
        attempt: The last one there.
        output: What it gave; ``ABSENT`` where it failed.
        error: Why it failed; None where it did not.
    """

    step: str
    attempt: int = 0
    output: Raw = ABSENT
    error: StepError | None = None


class StepsKept(Event, frozen=True):
    """A fork takes over how these steps ended, once it reaches them, instead of running them.

    Attributes:
        steps: One entry for each.
    """

    steps: tuple[KeptStep, ...]


class StepKept(Event, frozen=True):
    """The step is done as it was in the execution of which this one is a fork.

    Attributes:
        attempt: The last one there.
        output: What it gave.
    """

    step: str
    output: Raw
    attempt: int = 0


class ExecutionReleased(Event, frozen=True):
    """All that had its key before it have ended; it begins when its time has come."""


class ExecutionStarted(Event, frozen=True):
    """It runs; its entries are reached."""


class ExecutionPaused(Event, frozen=True):
    """Nothing new starts; or, where it is PAUSED because steps ask, somebody wants it to stay so.

    Attributes:
        waiting_for: Names of the missing inputs, where that is why; empty where somebody asked for the pause.
        request: Id of the request, so that it is not carried out twice; ``""`` for none.
    """

    waiting_for: tuple[str, ...] = ()
    request: str = ""


class ExecutionResumed(Event, frozen=True):
    """It goes on.

    Attributes:
        inputs: Merged over the input; ``ABSENT`` for none.
        by_itself: Nobody asked: what it waited for goes on, or is gone.
    """

    inputs: Raw = ABSENT
    request: str = ""
    by_itself: bool = False


class ExecutionRetried(Event, frozen=True):
    """An execution that failed, or ran out of time, goes on: what failed or was dropped runs again.

    Attributes:
        new_key: Actions get other idempotency keys than before.
    """

    request: str = ""
    new_key: bool = False


class ExecutionMigrated(Event, frozen=True):
    """It goes on with another definition, each step where it was.

    Attributes:
        definition_hash: Name of that definition's content.
    """

    definition_hash: str
    request: str = ""


class ExecutionHalted(Event, frozen=True):
    """An unhandled failure: nothing new starts, attempts in flight end, then it is FAILED."""

    error: StepError


class RequestNoted(Event, frozen=True):
    """A request that changed nothing was accepted, as a pause of what is paused; it counts once all the same."""

    request: str


class CancelRequested(Event, frozen=True):
    """Somebody asked to cancel: attempts in flight are cancelled, then it is CANCELLED.

    Attributes:
        reason: What they said; ``""`` for nothing.
        compensates: What completed steps did is undone before it ends.
    """

    reason: str = ""
    request: str = ""
    compensates: bool = False


class DeadlinePassed(Event, frozen=True):
    """The execution's own timeout passed: attempts in flight are cancelled, then it is TIMED_OUT."""

    error: StepError


class ExecutionCompleted(Event, frozen=True):
    """It ended well.

    Attributes:
        output: What the definition's ``output`` gave; ``ABSENT`` where that is the output of its leaves.
    """

    output: Raw = ABSENT


class ExecutionFailed(Event, frozen=True):
    """It ended with an unhandled failure."""

    error: StepError


class ExecutionCancelled(Event, frozen=True):
    """It ended because somebody asked."""

    error: StepError


class ExecutionTimedOut(Event, frozen=True):
    """It ended because its time was over."""

    error: StepError
