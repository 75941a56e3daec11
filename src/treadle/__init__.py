"""treadle: an embeddable, durable, async workflow engine for Python.

Names resolve when they are first used (PEP 562), so that ``import treadle`` stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from treadle.actions import Registry, StepContext, action
    from treadle.client import Client
    from treadle.definition import (
        GIVEN,
        WorkflowBuilder,
        call,
        expression,
        load_workflow,
        load_workflows,
        node_limit,
        read_json,
        retry_policy,
        to_document,
        to_mermaid,
        validate,
    )
    from treadle.diagnosis import Diagnosis, Finding, diagnose
    from treadle.durations import parse_duration
    from treadle.engine import WorkflowEngine, run_sync
    from treadle.errors import (
        AgentExecutionError,
        ConflictError,
        ExpressionError,
        NotFoundError,
        OverloadedError,
        QuarantineError,
        ReplayError,
        SecretError,
        StoreError,
        StoreLockedError,
        TreadleError,
        UnavailableError,
        ValidationError,
    )
    from treadle.limits import Limit, LimitState, Occupancy
    from treadle.model import (
        Answer,
        BulkResult,
        CompensationState,
        ExecutionFilter,
        ExecutionState,
        ExecutionStatus,
        ExecutionSummary,
        Explanation,
        HistoryEvent,
        ItemCounts,
        Node,
        OnConflict,
        Problem,
        Reason,
        StepError,
        StepState,
        StepStatus,
        Workflow,
        WorkflowRef,
        WorkflowVersion,
    )
    from treadle.paths import StepPlace, all_nodes, find_node, node_path, step_place
    from treadle.schedules import Schedule
    from treadle.secrets import EnvironmentSecrets, FileSecrets, SecretProvider
    from treadle.settings import Settings

__version__ = "0.1.0"

_HOMES = {
    "treadle.actions": ("Registry", "StepContext", "action"),
    "treadle.client": ("Client",),
    "treadle.definition": (
        "GIVEN",
        "WorkflowBuilder",
        "call",
        "expression",
        "load_workflow",
        "load_workflows",
        "node_limit",
        "read_json",
        "retry_policy",
        "to_document",
        "to_mermaid",
        "validate",
    ),
    "treadle.diagnosis": ("Diagnosis", "Finding", "diagnose"),
    "treadle.durations": ("parse_duration",),
    "treadle.engine": ("WorkflowEngine", "run_sync"),
    "treadle.errors": (
        "AgentExecutionError",
        "ConflictError",
        "ExpressionError",
        "NotFoundError",
        "OverloadedError",
        "QuarantineError",
        "ReplayError",
        "SecretError",
        "StoreError",
        "StoreLockedError",
        "TreadleError",
        "UnavailableError",
        "ValidationError",
    ),
    "treadle.limits": ("Limit", "LimitState", "Occupancy"),
    "treadle.model": (
        "Answer",
        "CompensationState",
        "BulkResult",
        "ExecutionFilter",
        "ExecutionState",
        "ExecutionStatus",
        "ExecutionSummary",
        "Explanation",
        "HistoryEvent",
        "ItemCounts",
        "Node",
        "OnConflict",
        "Problem",
        "Reason",
        "StepError",
        "StepState",
        "StepStatus",
        "Workflow",
        "WorkflowRef",
        "WorkflowVersion",
    ),
    "treadle.paths": ("StepPlace", "all_nodes", "find_node", "node_path", "step_place"),
    "treadle.schedules": ("Schedule",),
    "treadle.secrets": ("EnvironmentSecrets", "FileSecrets", "SecretProvider"),
    "treadle.settings": ("Settings",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "GIVEN",
    "AgentExecutionError",
    "Answer",
    "BulkResult",
    "Client",
    "CompensationState",
    "ConflictError",
    "Diagnosis",
    "EnvironmentSecrets",
    "ExecutionFilter",
    "ExecutionState",
    "ExecutionStatus",
    "ExecutionSummary",
    "Explanation",
    "ExpressionError",
    "FileSecrets",
    "Finding",
    "HistoryEvent",
    "ItemCounts",
    "Limit",
    "LimitState",
    "Node",
    "NotFoundError",
    "Occupancy",
    "OnConflict",
    "OverloadedError",
    "Problem",
    "QuarantineError",
    "Reason",
    "Registry",
    "ReplayError",
    "Schedule",
    "SecretError",
    "SecretProvider",
    "Settings",
    "StepContext",
    "StepError",
    "StepPlace",
    "StepState",
    "StepStatus",
    "StoreError",
    "StoreLockedError",
    "TreadleError",
    "UnavailableError",
    "ValidationError",
    "Workflow",
    "WorkflowBuilder",
    "WorkflowEngine",
    "WorkflowRef",
    "WorkflowVersion",
    "action",
    "all_nodes",
    "call",
    "diagnose",
    "expression",
    "find_node",
    "load_workflow",
    "load_workflows",
    "node_limit",
    "node_path",
    "parse_duration",
    "read_json",
    "retry_policy",
    "run_sync",
    "step_place",
    "to_document",
    "to_mermaid",
    "validate",
]


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'treadle' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)
