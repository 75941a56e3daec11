"""Where the application's executions stand: one state for each, written by the engine and read by everyone."""

from __future__ import annotations

import copy
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from core.clock import SystemClock

if TYPE_CHECKING:
    from core.clock import Clock


class ExecutionStateManager:
    """Keeps the states in memory. What goes in and what comes out are copies: nobody shares a value with the state.

    A state is ``{"execution_id", "workflow_id", "status", "version", "input_data", "steps", "outputs", "context",
    "created_at", "updated_at", "error"}``: ``steps`` maps a step's id to ``{"id", "status"}`` with ``output`` or
    ``error`` where there is one, ``outputs`` maps the id of a completed step to its output, ``version`` grows with
    every change, times are ISO 8601 in UTC, and ``error`` is None where nothing is wrong. A step that was never
    reached is absent.

    Args:
        clock: Dates the changes; None for the real time.
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._states: dict[str, dict[str, Any]] = {}

    async def create_execution(self, workflow_id: str, input_data: dict[str, Any]) -> str:
        """Create a PENDING execution and return its id."""
        execution_id = str(uuid.uuid4())
        now = self._now()
        self._states[execution_id] = {
            "execution_id": execution_id,
            "workflow_id": workflow_id,
            "status": "PENDING",
            "version": 1,
            "input_data": copy.deepcopy(input_data or {}),
            "steps": {},
            "outputs": {},
            "context": {},
            "created_at": now,
            "updated_at": now,
            "error": None,
        }
        return execution_id

    async def update_step_status(
        self,
        execution_id: str,
        step_id: str,
        status: str,
        output: object = None,
        error: str | None = None,
    ) -> None:
        """Replace what is known of a step.

        Args:
            execution_id: Which execution.
            step_id: Which of its steps.
            status: Where the step stands now.
            output: What it gave; kept, also in ``outputs``, for a COMPLETED step.
            error: Why it does not go on; None where nothing is wrong.

        Raises:
            ValueError: There is no such execution.
        """
        state = self._known(execution_id)
        entry: dict[str, Any] = {"id": step_id, "status": status}
        if output is not None:
            entry["output"] = copy.deepcopy(output)
        if error is not None:
            entry["error"] = error
        state["steps"][step_id] = entry
        if status == "COMPLETED":
            state["outputs"][step_id] = copy.deepcopy(output)
        self._touch(state)

    async def update_execution_status(self, execution_id: str, status: str, error: str | None = None) -> None:
        """Set an execution's status and error; an execution that nobody created is passed over."""
        state = self._states.get(execution_id)
        if state is not None:
            state["status"] = status
            state["error"] = error
            self._touch(state)

    async def update_execution_inputs(self, execution_id: str, new_inputs: dict[str, Any]) -> None:
        """Merge ``new_inputs`` over the input, key by key.

        Raises:
            ValueError: There is no such execution.
        """
        state = self._known(execution_id)
        state["input_data"].update(copy.deepcopy(new_inputs or {}))
        self._touch(state)

    async def get_execution_state(self, execution_id: str) -> dict[str, Any] | None:
        """Return the state as it is now; None where there is no such execution."""
        return copy.deepcopy(self._states.get(execution_id))

    async def get_step_output(self, execution_id: str, step_id: str) -> object:
        """Return what a COMPLETED step gave; None where it has not, or there is no such execution."""
        state = self._states.get(execution_id)
        return None if state is None else copy.deepcopy(state["outputs"].get(step_id))

    def _known(self, execution_id: str) -> dict[str, Any]:
        state = self._states.get(execution_id)
        if state is None:
            raise ValueError(f"Execution {execution_id} not found")
        return state

    def _touch(self, state: dict[str, Any]) -> None:
        state["version"] += 1
        state["updated_at"] = self._now()

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock.now(), UTC).isoformat()


_state_manager: ExecutionStateManager | None = None


def get_state_manager() -> ExecutionStateManager:
    """Return the one of this process, made at the first call."""
    global _state_manager  # noqa: PLW0603 - the one of this process
    if _state_manager is None:
        _state_manager = ExecutionStateManager()
    return _state_manager
