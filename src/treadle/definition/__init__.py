"""Outside forms of a workflow to the model and back: documents, the builder in Python, and all validation.

Nothing behind this door sees a workflow that was not validated, and every problem is told at once.
"""

from __future__ import annotations

from treadle.definition.builder import WorkflowBuilder
from treadle.definition.calls import GIVEN, Call, call
from treadle.definition.documents import (
    Source,
    check_document,
    load_workflow,
    read_document,
    read_json,
    read_yaml,
    validate,
)
from treadle.definition.folders import load_workflows
from treadle.definition.graph_builder import GraphBuilder
from treadle.definition.handles import NodeHandle, OutputReference, Reference, expression
from treadle.definition.known import Actions
from treadle.definition.mermaid import to_mermaid
from treadle.definition.options import node_limit, retry_policy
from treadle.definition.remedies import compensation, fallback
from treadle.definition.schema import definition_schema
from treadle.definition.writing import to_document
from treadle.durations import format_duration, parse_duration

__all__ = [
    "GIVEN",
    "Actions",
    "Call",
    "GraphBuilder",
    "NodeHandle",
    "OutputReference",
    "Reference",
    "Source",
    "WorkflowBuilder",
    "call",
    "check_document",
    "compensation",
    "definition_schema",
    "expression",
    "fallback",
    "format_duration",
    "load_workflow",
    "load_workflows",
    "node_limit",
    "parse_duration",
    "read_document",
    "read_json",
    "read_yaml",
    "retry_policy",
    "to_document",
    "to_mermaid",
    "validate",
]
