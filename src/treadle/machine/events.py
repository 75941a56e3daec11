"""Facts: what has happened, in the past tense, each with the time the driver gave it.

The log of an execution is a list of these, and every state is a fold over it (``state.apply``). An event carries what
was *decided*, so that folding evaluates nothing. ``at`` is milliseconds since the epoch; ``step`` is the key of the
step in ``ExecutionState.steps``. Payloads stay the JSON bytes they were accepted as (``Raw``): the same bytes serve
log, feed and HTTP, and are read only when an expression asks for them.

An event's kind on the wire is its class name. A field is only ever added, with a default; see ``wire``.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from msgspec import Raw, Struct

from treadle.model import Answer, ExecutionStatus, StepError

ABSENT: Final = Raw(b"")
"""No payload. A field is left out on the wire while it is this very object; a decoder has no ``Raw | None``."""


class Event(Struct, frozen=True, gc=False, omit_defaults=True, tag_field="kind", tag=True, kw_only=True):
    """Base of every event.

    Attributes:
        at: When it happened, in milliseconds since the epoch.
    """

    at: int


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
    tags: dict[str, str] = {}
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
        answer: ``retry``, ``output``, ``skip`` or ``abort``; what follows from it is told by the next events.
    """

    step: str
    answer: Answer
    request: str = ""


class OutputGiven(Event, frozen=True):
    """The step is done: somebody gave its output in the action's place.

    Attributes:
        output: What they gave, checked and encoded once.
    """

    step: str
    output: Raw


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
        reason: ``all``; or why it is done before its time: ``complete_when`` or ``race``, and the rest is cancelled.
    """

    step: str
    reason: str = "all"


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


AnyEvent: TypeAlias = (
    ExecutionCreated
    | StepsKept
    | StepKept
    | ExecutionReleased
    | ExecutionStarted
    | StepReady
    | StepStarted
    | StepSucceeded
    | TriggerPassed
    | StepPassed
    | WaitStarted
    | WaitEnded
    | EventAwaited
    | EventKept
    | EventReceived
    | ChildRequested
    | ChildStarted
    | ChildCompleted
    | ChildPaused
    | ChildResumed
    | InputAsked
    | InputGiven
    | StepFellBack
    | AnswerAwaited
    | StepAnswered
    | OutputGiven
    | EndReached
    | GroupStarted
    | GroupHalted
    | GroupCompleted
    | BodyStarted
    | BodyHalted
    | BodyCompleted
    | BodyFailed
    | AttemptFailed
    | AttemptInterrupted
    | StepFailed
    | StepTimedOut
    | FailureHandled
    | StepSkipped
    | StepPaused
    | StepCancelled
    | LateResultIgnored
    | ConnectionDecided
    | ExecutionPaused
    | ExecutionResumed
    | ExecutionRetried
    | ExecutionMigrated
    | ExecutionHalted
    | CancelRequested
    | RequestNoted
    | DeadlinePassed
    | CompensationsBegan
    | CompensationStarted
    | CompensationDelayed
    | CompensationReady
    | CompensationInterrupted
    | CompensationSucceeded
    | CompensationFailed
    | CompensationsDropped
    | ExecutionCompleted
    | ExecutionFailed
    | ExecutionCancelled
    | ExecutionTimedOut
)
