"""What verbs take and give beyond the state of an execution."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Literal, TypeAlias

from msgspec import Struct

from treadle.model.statuses import ExecutionStatus


class WorkflowVersion(Struct, frozen=True, gc=False):
    """One version of a registered workflow: content that never changes, under its hash.

    Attributes:
        workflow_id: Id of the workflow.
        definition_hash: Name of the content.
        label: The document's ``version`` as text; ``""`` where it has none. Several contents may have one label.
        registered_at: When this content was registered first.
    """

    workflow_id: str
    definition_hash: str
    label: str
    registered_at: datetime


class WorkflowRef(Struct, frozen=True, gc=False):
    """A registered workflow by its id, wherever a verb takes a workflow.

    Attributes:
        workflow_id: Id of the workflow.
        version: A definition hash or at least 8 digits of it, or a label (of several contents with it the one
            registered last); None for the version registered last.
    """

    workflow_id: str
    version: str | int | None = None


class ExecutionFilter(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Which executions a list shows and a bulk verb changes; every field given must match.

    Attributes:
        workflow_id: Exactly this; ``""`` for all.
        statuses: Any of these; empty for all.
        tags: Each of these, by name and value.
        key: Exactly this; ``""`` for all.
        id_prefix: What their ids begin with.
        search: Text somewhere in the id, or in the name or value of a tag; ASCII letters match in either case.
        created_after: Created then or later; None for no bound.
        created_before: Created before then; None for no bound.
    """

    workflow_id: str = ""
    statuses: tuple[ExecutionStatus, ...] = ()
    tags: dict[str, str] = {}
    key: str = ""
    id_prefix: str = ""
    search: str = ""
    created_after: datetime | None = None
    created_before: datetime | None = None


BulkVerb: TypeAlias = Literal["pause", "resume", "cancel", "retry"]
"""A verb that can be asked for many executions at once."""


class BulkResult(Struct, frozen=True):
    """What became of a verb that was asked for many executions.

    Attributes:
        matched: Executions that the filter shows and that the verb can change; counted before anything was changed.
        changed: Those that it changed; 0 in a dry run.
        failed: Why it could not, by id.
    """

    matched: int
    changed: int = 0
    failed: dict[str, str] = {}


class Reason(str, Enum):
    """Why an execution or a step does not go on."""

    ENDED = "ended"
    ENDING = "ending"
    RUNNING = "running"
    WAITS = "waits"
    QUEUED = "queued"
    STARTS_LATER = "starts_later"
    PAUSED = "paused"
    ASKS_FOR_INPUT = "asks_for_input"
    HELD = "held"
    JOIN_OPEN = "join_open"
    READY = "ready"
    ACTION_MISSING = "action_missing"
    WAITS_FOR_SLOT = "waits_for_slot"
    WAITS_FOR_TIME = "waits_for_time"
    WAITS_TO_RETRY = "waits_to_retry"
    WAITS_FOR_PERSON = "waits_for_person"
    WAITS_FOR_EVENT = "waits_for_event"
    WAITS_FOR_CHILD = "waits_for_child"
    STORE_DOWN = "store_down"
    QUARANTINED = "quarantined"
    NO_ENGINE = "no_engine"


class Explanation(Struct, frozen=True, omit_defaults=True):
    """Why an execution, or a step, does not go on.

    Attributes:
        reason: A stable code.
        text: The same in plain words.
        step: Key of the step; ``""`` for the execution.
        since: Since when that is so, as far as it is known.
        due: When it is over by itself; None where no time ends it.
        what_to_do: What would let it go on; ``""`` for nothing but to wait.
        names: What it waits for: inputs, steps, events, executions, or who holds the slots.
        steps: Of an execution: the steps that have begun or are reached, and have not ended.
    """

    reason: Reason
    text: str
    step: str = ""
    since: datetime | None = None
    due: datetime | None = None
    what_to_do: str = ""
    names: tuple[str, ...] = ()
    steps: tuple[Explanation, ...] = ()
