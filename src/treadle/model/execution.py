"""The public state of an execution and of its steps."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from treadle.model.statuses import ExecutionStatus, StepStatus
from treadle.model.values import JsonValue


class StepError(Struct, frozen=True, gc=False, omit_defaults=True):
    """Why a step or an execution failed.

    Attributes:
        type: Class name of the error, or one of ``StepTimeout``, ``QueueTimeout``, ``HeartbeatTimeout``,
            ``StepInterrupted``, ``ExecutionTimeout``.
        message: What it said, bounded in length.
        attempt: Attempt that failed; 0 where no attempt is at fault.
        step: Key of the step in ``ExecutionState.steps``; ``""`` where no step is at fault.
        details: What else is known (such as the reference that is missing, or a bounded traceback).
    """

    type: str
    message: str
    attempt: int = 0
    step: str = ""
    details: dict[str, JsonValue] = {}


class ItemCounts(Struct, frozen=True, gc=False):
    """How far a map has got.

    Attributes:
        total: How many items there are.
        completed: How many are done.
        failed: How many failed and were tolerated, or failed the map.
        running: How many are under way.
        errors: Why, by number of each item that failed.
    """

    total: int
    completed: int = 0
    failed: int = 0
    running: int = 0
    errors: dict[int, StepError] = {}


class StepState(Struct, frozen=True, gc=False):
    """One step as a reader sees it.

    Attributes:
        status: Where it stands.
        attempt: Number of the last attempt started; 0 before the first.
        output: What it gave; None until COMPLETED, and for a failure passed over.
        error: Why the last attempt failed, also while another is to come; None if none failed.
        started_at: First start; None before it.
        ended_at: When the status became terminal; None before that.
        items: Of a map that has begun; None otherwise.
        iterations: Of a loop: how many have begun.
        answered_by: Who gave the output in the action's place: ``fallback`` or ``person``; ``""`` for nobody.
    """

    status: StepStatus
    attempt: int = 0
    output: JsonValue = None
    error: StepError | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    items: ItemCounts | None = None
    iterations: int = 0
    answered_by: str = ""


class CompensationState(Struct, frozen=True, gc=False):
    """How the undoing of one step stands.

    Attributes:
        status: PENDING until its turn comes; CANCELLED where the execution was ended at once.
        action: What it calls.
        attempt: Number of its last attempt, which goes on from the step's own; before the first that of the step.
        output: What it gave; None until COMPLETED.
        error: Why the last attempt failed, also while another is to come; None if none failed.
        started_at: First start; None before it.
        ended_at: When the status became terminal; None before that.
    """

    status: StepStatus
    action: str
    attempt: int = 0
    output: JsonValue = None
    error: StepError | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None


class ExecutionState(Struct, frozen=True):
    """One execution as a reader sees it: a snapshot, which does not change.

    Attributes:
        execution_id: Its name.
        workflow_id: Id of its workflow.
        definition_hash: Content of its workflow.
        status: Where it stands.
        input: What it was started with, with the inputs merged since.
        output: What it gave; None until COMPLETED.
        error: Why it FAILED, was CANCELLED or TIMED_OUT; None otherwise.
        steps: One entry per node, in definition order, from the start; behind a node with bodies those of its bodies
            that have begun, by path (``each[3].charge``). Of a loop the last iteration is kept.
        waiting_for: Names of missing inputs (``input.email``), and keys of steps that need an answer, sorted.
        in_flight: Attempts running now; more than 0 for a while after a pause.
        cancelling: True from the request to cancel until CANCELLED.
        handled_failures: Keys of failed steps that did not fail the execution.
        compensations: How the undoing of each completed step stands, by key, in that order; empty unless the execution
            undoes what it did.
        compensation_failures: Keys of the steps that could not be undone.
        tags: As given at the start.
        key: As given at the start; ``""`` for none.
        start_at: When it was asked to begin; None for at once.
        parent: Id of the execution that started it; ``""`` for none.
        forked_from: Id of the execution of which it is a fork; ``""`` for none.
        queued: It waits until those with its key before it have ended.
        created_at: When the start became a fact.
        started_at: When it began to run; None while PENDING.
        ended_at: When the status became terminal; None before that.
    """

    execution_id: str
    workflow_id: str
    definition_hash: str
    status: ExecutionStatus
    input: dict[str, JsonValue]
    steps: dict[str, StepState]
    output: JsonValue = None
    error: StepError | None = None
    waiting_for: tuple[str, ...] = ()
    in_flight: int = 0
    cancelling: bool = False
    handled_failures: tuple[str, ...] = ()
    compensations: dict[str, CompensationState] = {}
    compensation_failures: tuple[str, ...] = ()
    tags: dict[str, str] = {}
    key: str = ""
    start_at: datetime | None = None
    parent: str = ""
    forked_from: str = ""
    queued: bool = False
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None


class HistoryEvent(Struct, frozen=True, gc=False, omit_defaults=True):
    """One committed event as a reader sees it.

    Attributes:
        cursor: Its place in the one sequence of all committed events; ``watch(after=cursor)`` goes on behind it.
        execution_id: Whose event.
        sequence: Number of the turn it belongs to, from 1 per execution.
        kind: What happened, such as ``StepSucceeded``; ``docs/reference/events.md`` lists all.
        at: When it happened.
        step: Key of the step; ``""`` for events of the execution.
        attempt: Number of the attempt; 0 where none is meant.
        data: The event's other fields.
    """

    cursor: int
    execution_id: str
    sequence: int
    kind: str
    at: datetime
    step: str = ""
    attempt: int = 0
    data: dict[str, JsonValue] = {}


class ExecutionSummary(Struct, frozen=True, gc=False):
    """One row of a list of executions.

    Attributes:
        execution_id: Its name.
        workflow_id: Id of its workflow.
        definition_hash: Content of its workflow.
        status: Where it stands.
        tags: As given at the start.
        created_at: When the start became a fact.
        ended_at: When the status became terminal; None before that.
        key: As given at the start; ``""`` for none.
    """

    execution_id: str
    workflow_id: str
    definition_hash: str
    status: ExecutionStatus
    tags: dict[str, str] = {}
    created_at: datetime | None = None
    ended_at: datetime | None = None
    key: str = ""
