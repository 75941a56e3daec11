"""The two tables of legal moves, whole."""

from __future__ import annotations

import pytest

from treadle.machine.transitions import (
    COMPLETED,
    EXECUTION_MOVES,
    MOVES,
    PENDING,
    PHASE_NAMES,
    PUBLIC_STATUS,
    STEP_MOVES,
)
from treadle.model import ExecutionStatus, StepStatus

LEGAL = {
    "PENDING": "READY WAITING COMPLETED SKIPPED FAILED",
    "READY": "RUNNING PAUSED FAILED TIMED_OUT CANCELLED",
    "RUNNING": "COMPLETED WAITING READY FAILED TIMED_OUT CANCELLED",
    "WAITING": "READY COMPLETED TIMED_OUT CANCELLED",
    "PAUSED": "READY COMPLETED FAILED TIMED_OUT SKIPPED CANCELLED",
    "COMPLETED": "",
    "FAILED": "",
    "TIMED_OUT": "",
    "SKIPPED": "",
    "CANCELLED": "",
}


@pytest.mark.parametrize("source", PHASE_NAMES)
def test_a_step_moves_only_as_the_table_says(source: str) -> None:
    phase = PHASE_NAMES.index(source)
    legal = {PHASE_NAMES.index(one) for one in LEGAL[source].split()}
    assert set(STEP_MOVES[phase]) == legal
    assert {one for one in range(len(PHASE_NAMES)) if MOVES[phase] >> one & 1} == legal


def test_phases_are_numbered_so_that_those_from_completed_on_have_ended() -> None:
    """``is_live`` and ``steps.x.error`` compare phases by size."""
    ended = [one for one in range(len(PHASE_NAMES)) if not STEP_MOVES[one]]
    assert ended == list(range(COMPLETED, len(PHASE_NAMES)))
    assert PENDING == 0


def test_a_reader_sees_ready_as_waiting_and_every_other_phase_by_its_name() -> None:
    assert [status.value for status in PUBLIC_STATUS] == [
        "WAITING" if name == "READY" else name for name in PHASE_NAMES
    ]
    assert set(PUBLIC_STATUS) == set(StepStatus)
    assert [status.is_terminal for status in PUBLIC_STATUS] == [phase >= COMPLETED for phase in range(len(PHASE_NAMES))]


def test_an_execution_moves_only_as_the_table_says() -> None:
    running = {"PAUSED", "COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"}
    assert {source.value: {one.value for one in targets} for source, targets in EXECUTION_MOVES.items()} == {
        "PENDING": {"RUNNING", "CANCELLED"},
        "RUNNING": running,
        "PAUSED": {"RUNNING", "FAILED", "CANCELLED", "TIMED_OUT"},
        "COMPLETED": set(),
        "FAILED": set(),
        "CANCELLED": set(),
        "TIMED_OUT": set(),
    }
    assert {one for one in ExecutionStatus if one.is_terminal} == {one for one, to in EXECUTION_MOVES.items() if not to}
