"""The legal moves of a step and of an execution, as two tables. ``State.apply`` refuses every other move.

A step has one phase more than a reader sees: ``READY`` (it needs only a slot) is shown as ``WAITING``. Phases are
plain ints since each event moves one; the tables are the source of the diagrams in the docs.
"""

from __future__ import annotations

from typing import Final

from treadle.model import ExecutionStatus, StepStatus

PENDING: Final = 0
READY: Final = 1
RUNNING: Final = 2
WAITING: Final = 3
PAUSED: Final = 4
COMPLETED: Final = 5
FAILED: Final = 6
TIMED_OUT: Final = 7
SKIPPED: Final = 8
CANCELLED: Final = 9

PHASE_NAMES: Final = (
    "PENDING",
    "READY",
    "RUNNING",
    "WAITING",
    "PAUSED",
    "COMPLETED",
    "FAILED",
    "TIMED_OUT",
    "SKIPPED",
    "CANCELLED",
)

PUBLIC_STATUS: Final = (
    StepStatus.PENDING,
    StepStatus.WAITING,
    StepStatus.RUNNING,
    StepStatus.WAITING,
    StepStatus.PAUSED,
    StepStatus.COMPLETED,
    StepStatus.FAILED,
    StepStatus.TIMED_OUT,
    StepStatus.SKIPPED,
    StepStatus.CANCELLED,
)

STEP_MOVES: Final[dict[int, tuple[int, ...]]] = {
    PENDING: (READY, WAITING, COMPLETED, SKIPPED, FAILED),
    READY: (RUNNING, PAUSED, FAILED, TIMED_OUT, CANCELLED),
    RUNNING: (COMPLETED, WAITING, READY, FAILED, TIMED_OUT, CANCELLED),
    WAITING: (READY, COMPLETED, TIMED_OUT, CANCELLED),
    PAUSED: (READY, COMPLETED, FAILED, TIMED_OUT, SKIPPED, CANCELLED),
    COMPLETED: (),
    FAILED: (),
    TIMED_OUT: (),
    SKIPPED: (),
    CANCELLED: (),
}
"""From each phase, the phases a step may move to.

``PENDING`` moves to ``COMPLETED`` where a node calls nothing, to ``WAITING`` in a wait, and to ``FAILED`` by an
expression that cannot be evaluated. ``PAUSED`` moves to an end where a person answers for a step that failed.
"""

MOVES: Final = tuple(sum(1 << target for target in STEP_MOVES[phase]) for phase in range(len(STEP_MOVES)))
"""``STEP_MOVES`` as bit sets: ``MOVES[phase] >> target & 1``."""

EXECUTION_MOVES: Final[dict[ExecutionStatus, frozenset[ExecutionStatus]]] = {
    ExecutionStatus.PENDING: frozenset({ExecutionStatus.RUNNING, ExecutionStatus.CANCELLED}),
    ExecutionStatus.RUNNING: frozenset(
        {
            ExecutionStatus.PAUSED,
            ExecutionStatus.COMPLETED,
            ExecutionStatus.FAILED,
            ExecutionStatus.CANCELLED,
            ExecutionStatus.TIMED_OUT,
        }
    ),
    ExecutionStatus.PAUSED: frozenset(
        {ExecutionStatus.RUNNING, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED, ExecutionStatus.TIMED_OUT}
    ),
    ExecutionStatus.COMPLETED: frozenset(),
    ExecutionStatus.FAILED: frozenset(),
    ExecutionStatus.CANCELLED: frozenset(),
    ExecutionStatus.TIMED_OUT: frozenset(),
}
"""From each status, the statuses an execution may move to."""

RETRIED_FROM: Final = frozenset({ExecutionStatus.FAILED, ExecutionStatus.CANCELLED, ExecutionStatus.TIMED_OUT})
"""Ends from which a retry leads back to RUNNING; from ``CANCELLED`` only that of the parent that had it cancelled."""
