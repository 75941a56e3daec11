"""The values everyone shares: the workflow as data, statuses, and the public state of an execution.

Durations are whole milliseconds and points in time are ``datetime`` in UTC here; ``definition`` reads and writes the
forms people type. A ``Workflow`` is plain data: its canonical bytes name it (``definition_hash``) and are what the
store keeps, so that an execution goes on with the graph it began with.

Structs of which there are many are ``gc=False``: they are trees, so counting references frees them, and the cycle
collector need not walk through the ten thousands of them that a wide workflow is made of.
"""

from __future__ import annotations

from treadle.model.canonical import decode_workflow, definition_hash, encode_workflow
from treadle.model.choices import (
    Answer,
    Jitter,
    JoinKind,
    NodeType,
    OnConflict,
    OnExhausted,
    OnFailure,
    OnInterrupted,
    OnSkip,
    Outcome,
    SwitchMode,
)
from treadle.model.execution import (
    CompensationState,
    ExecutionState,
    ExecutionSummary,
    HistoryEvent,
    ItemCounts,
    StepError,
    StepState,
)
from treadle.model.problems import Problem, Severity
from treadle.model.statuses import ExecutionStatus, StepStatus
from treadle.model.values import FORMAT_VERSION, ExecutionId, JsonValue, NodeId
from treadle.model.verbs import BulkResult, BulkVerb, ExecutionFilter, Explanation, Reason, WorkflowRef, WorkflowVersion
from treadle.model.workflow import (
    Body,
    Compensation,
    Connection,
    Fallback,
    Join,
    Node,
    NodeLimit,
    RetryPolicy,
    Timer,
    Workflow,
)

__all__ = [
    "FORMAT_VERSION",
    "Answer",
    "Body",
    "BulkResult",
    "BulkVerb",
    "Compensation",
    "CompensationState",
    "Connection",
    "ExecutionFilter",
    "ExecutionId",
    "ExecutionState",
    "ExecutionStatus",
    "ExecutionSummary",
    "Explanation",
    "Fallback",
    "HistoryEvent",
    "ItemCounts",
    "Jitter",
    "Join",
    "JoinKind",
    "JsonValue",
    "Node",
    "NodeId",
    "NodeLimit",
    "NodeType",
    "OnConflict",
    "OnExhausted",
    "OnFailure",
    "OnInterrupted",
    "OnSkip",
    "Outcome",
    "Problem",
    "Reason",
    "RetryPolicy",
    "Severity",
    "StepError",
    "StepState",
    "StepStatus",
    "SwitchMode",
    "Timer",
    "Workflow",
    "WorkflowRef",
    "WorkflowVersion",
    "decode_workflow",
    "definition_hash",
    "encode_workflow",
]
