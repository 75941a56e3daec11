"""Facts: what has happened, in the past tense, each with the time the driver gave it.

The log of an execution is a list of these, and every state is a fold over it (``state.apply``). An event carries what
was *decided*, so that folding evaluates nothing. ``at`` is milliseconds since the epoch; ``step`` is the key of the
step in ``ExecutionState.steps``. Payloads stay the JSON bytes they were accepted as (``Raw``): the same bytes serve
log, feed and HTTP, and are read only when an expression asks for them.

An event's kind on the wire is its class name. A field is only ever added, with a default; see ``wire``.
"""

from __future__ import annotations

from typing import TypeAlias

from treadle.machine.events.base import ABSENT, Event
from treadle.machine.events.bodies import (
    BodyCompleted,
    BodyFailed,
    BodyHalted,
    BodyStarted,
    GroupCompleted,
    GroupHalted,
    GroupStarted,
    GroupYielded,
)
from treadle.machine.events.children import ChildCompleted, ChildPaused, ChildRequested, ChildResumed, ChildStarted
from treadle.machine.events.compensation import (
    CompensationDelayed,
    CompensationFailed,
    CompensationInterrupted,
    CompensationReady,
    CompensationsBegan,
    CompensationsDropped,
    CompensationStarted,
    CompensationSucceeded,
)
from treadle.machine.events.executions import (
    CancelRequested,
    DeadlinePassed,
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionCreated,
    ExecutionFailed,
    ExecutionHalted,
    ExecutionMigrated,
    ExecutionPaused,
    ExecutionReleased,
    ExecutionResumed,
    ExecutionRetried,
    ExecutionStarted,
    ExecutionTimedOut,
    KeptStep,
    RequestNoted,
    StepKept,
    StepsKept,
)
from treadle.machine.events.failures import (
    AnswerAwaited,
    FailureHandled,
    OutputGiven,
    StepAnswered,
    StepFailed,
    StepFellBack,
    StepTimedOut,
)
from treadle.machine.events.steps import (
    AttemptFailed,
    AttemptInterrupted,
    ConnectionDecided,
    EndReached,
    LateResultIgnored,
    StepCancelled,
    StepPassed,
    StepPaused,
    StepReady,
    StepSkipped,
    StepStarted,
    StepSucceeded,
    TriggerPassed,
)
from treadle.machine.events.waits import (
    EventAwaited,
    EventKept,
    EventReceived,
    InputAsked,
    InputGiven,
    WaitEnded,
    WaitStarted,
)

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
    | GroupYielded
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

__all__ = [
    "ABSENT",
    "AnswerAwaited",
    "AnyEvent",
    "AttemptFailed",
    "AttemptInterrupted",
    "BodyCompleted",
    "BodyFailed",
    "BodyHalted",
    "BodyStarted",
    "CancelRequested",
    "ChildCompleted",
    "ChildPaused",
    "ChildRequested",
    "ChildResumed",
    "ChildStarted",
    "CompensationDelayed",
    "CompensationFailed",
    "CompensationInterrupted",
    "CompensationReady",
    "CompensationStarted",
    "CompensationSucceeded",
    "CompensationsBegan",
    "CompensationsDropped",
    "ConnectionDecided",
    "DeadlinePassed",
    "EndReached",
    "Event",
    "EventAwaited",
    "EventKept",
    "EventReceived",
    "ExecutionCancelled",
    "ExecutionCompleted",
    "ExecutionCreated",
    "ExecutionFailed",
    "ExecutionHalted",
    "ExecutionMigrated",
    "ExecutionPaused",
    "ExecutionReleased",
    "ExecutionResumed",
    "ExecutionRetried",
    "ExecutionStarted",
    "ExecutionTimedOut",
    "FailureHandled",
    "GroupCompleted",
    "GroupHalted",
    "GroupStarted",
    "GroupYielded",
    "InputAsked",
    "InputGiven",
    "KeptStep",
    "LateResultIgnored",
    "OutputGiven",
    "RequestNoted",
    "StepAnswered",
    "StepCancelled",
    "StepFailed",
    "StepFellBack",
    "StepKept",
    "StepPassed",
    "StepPaused",
    "StepReady",
    "StepSkipped",
    "StepStarted",
    "StepSucceeded",
    "StepTimedOut",
    "StepsKept",
    "TriggerPassed",
    "WaitEnded",
    "WaitStarted",
]
