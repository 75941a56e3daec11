"""Values that the application shares with its engine."""

from __future__ import annotations

from enum import Enum


class WorkflowExecutionStatus(str, Enum):
    """Where an execution stands; the value is the name.

    The state manager also holds the strings ``CANCELLED`` and ``PARTIAL`` (every step that could run has run, but some
    failed and were passed over, or were never reached), which are not members of the application's enum.
    """

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    PAUSED = "PAUSED"
