"""Outside forms of a workflow to the model, and back; every problem of a document at once."""

from __future__ import annotations

from treadle.definition.documents import load_workflow, read_document, validate
from treadle.definition.durations import parse_duration

__all__ = ["load_workflow", "parse_duration", "read_document", "validate"]
