"""Where the application's executions stand: one state for each, written by the engine and read by everyone.

States are kept in a treadle store: in the SQLite file that ``TREADLE_DB`` names when the first one is needed, else in
memory. What a method has returned from is durable there.
"""

from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from core.callers import CREATES, Caller
from core.changes import (
    Change,
    ExecutionCreated,
    Fold,
    InputsMerged,
    StatusChanged,
    StepChanged,
    WorkflowKept,
    encode_value,
)
from core.clock import SystemClock
from core.execution_log import ExecutionLog
from core.storage import close_log, log_of_this_process, making

if TYPE_CHECKING:
    from collections.abc import Iterable

    from core.clock import Clock
    from treadle.store.protocol import Store


class ExecutionStateManager:
    """Keeps the states. What goes in and what comes out are JSON and copies: nobody shares one with the state.

    A state is ``{"execution_id", "workflow_id", "status", "version", "input_data", "steps", "outputs", "context",
    "created_at", "updated_at", "error"}``: ``steps`` maps a step's id to ``{"id", "status"}`` with ``output`` or
    ``error`` where there is one, ``outputs`` maps the id of a completed step to its output, ``version`` is one higher
    with every change, times are ISO 8601 in UTC, and ``error`` is None where nothing is wrong. A step that was never
    reached is absent.

    Every method raises ``treadle.StoreError`` where the store cannot be read or written, and ``StoreLockedError`` where
    another process has its file.

    Args:
        clock: Dates the changes; None for the real time.
        store: A treadle store of one's own; None for the one that the environment names.
    """

    def __init__(self, *, clock: Clock | None = None, store: Store | None = None) -> None:
        self._clock = clock or SystemClock()
        self._own_log = None if store is None else ExecutionLog(store)
        self._process = 0

    async def create_execution(self, workflow_id: str, input_data: dict[str, Any]) -> str:
        """Create a PENDING execution and return its id.

        Raises:
            treadle.ValidationError: The input is no JSON.
        """
        execution_id = str(uuid.uuid4())
        created = ExecutionCreated(execution_id, workflow_id, encode_value(input_data or {}), self._now())
        caller = CREATES.get()
        await self._change(execution_id, created, {} if caller is None else caller.tags)
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
            treadle.ValidationError: The output is no JSON.
        """
        change = StepChanged(step_id, status, self._now(), encode_value(output), error)
        if not await self._change(execution_id, change):
            raise ValueError(f"Execution {execution_id} not found")

    async def update_execution_status(self, execution_id: str, status: str, error: str | None = None) -> None:
        """Set an execution's status and error; an execution that nobody created is passed over."""
        await self._change(execution_id, StatusChanged(status, self._now(), error))

    async def update_execution_inputs(self, execution_id: str, new_inputs: dict[str, Any]) -> None:
        """Merge ``new_inputs`` over the input, key by key.

        Raises:
            ValueError: There is no such execution.
            treadle.ValidationError: The inputs are no JSON.
        """
        if not await self._change(execution_id, InputsMerged(encode_value(new_inputs or {}), self._now())):
            raise ValueError(f"Execution {execution_id} not found")

    async def get_execution_state(self, execution_id: str) -> dict[str, Any] | None:
        """Return the state as it is now; None where there is no such execution."""
        return await self._log.read(execution_id, Fold.copy)

    async def get_step_output(self, execution_id: str, step_id: str) -> object:
        """Return what a COMPLETED step gave; None where it has not, or there is no such execution."""
        return await self._log.read(execution_id, lambda fold: fold.output(step_id))

    # -- what the engine asks of this manager and of no other

    async def view(self, execution_id: str) -> dict[str, Any] | None:
        """Return the state itself as it is now, to read from and not to keep; None where there is no such execution.

        It costs nothing, however large the state is. Where ``get_execution_state`` is not ours, what that gives.
        """
        if getattr(self.get_execution_state, "__func__", None) is not _GET_EXECUTION_STATE:
            return await self.get_execution_state(execution_id)
        return await self._log.read(execution_id, lambda fold: fold.state)

    @property
    def is_durable(self) -> bool:
        """Tell whether executions outlive the process."""
        return bool(self._log.path)

    async def keep_workflow(self, execution_id: str, workflow: dict[str, Any]) -> None:
        """Keep what an execution runs, for the process that goes on with it after this one.

        Raises:
            treadle.ValidationError: The workflow is no JSON.
        """
        kept = encode_value(workflow)
        if await self._log.read(execution_id, lambda fold: fold.workflow) != kept:
            await self._change(execution_id, WorkflowKept(kept))

    async def kept_workflow(self, execution_id: str) -> dict[str, Any] | None:
        """Return what an execution runs; None where nobody said it."""
        return await self._log.read(execution_id, Fold.copy_workflow)

    async def created_by(self, caller: Caller, workflow_id: str) -> str | None:
        """Return the newest execution of a workflow that was created on behalf of a step; None where there is none."""
        return await self._log.find(workflow_id, caller.tags)

    @property
    def may_have_left_over(self) -> bool:
        """Tell whether there may be something to take; reads nothing."""
        return self.is_durable and self._log.may_have_left_over

    async def take_left_over(self, *, with_cut_off: bool = False) -> list[str]:
        """Return, once in a process, which executions another one left PENDING or RUNNING; the oldest comes first.

        Args:
            with_cut_off: Also those whose run ended with its event loop, in this process.
        """
        await self._log.open()
        return self._log.take_left_over(with_cut_off=with_cut_off)

    def give_back(self, execution_ids: Iterable[str], *, cut_off: bool = False) -> None:
        """Say that executions are left over after all."""
        self._log.give_back(execution_ids, cut_off=cut_off)

    async def close(self) -> None:
        """Let go of the store; the next use opens it again. A process that ends without this loses nothing."""
        if self._own_log is not None:
            await close_log(self._own_log)
        self._own_log, self._process = None, 0

    @property
    def _log(self) -> ExecutionLog:
        log = self._own_log
        if log is not None and self._process in {0, os.getpid()}:
            return log
        with making:
            if self._own_log is None or self._process != os.getpid():
                self._own_log, self._process = log_of_this_process(), os.getpid()
            return self._own_log

    async def _change(self, execution_id: str, change: Change, tags: dict[str, str] | None = None) -> bool:
        return await self._log.change(execution_id, change, round(self._clock.now() * 1000), tags=tags or {})

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock.now(), UTC).isoformat()


_GET_EXECUTION_STATE: Final = ExecutionStateManager.get_execution_state

_state_manager: ExecutionStateManager | None = None


def _forget() -> None:
    """Drop the one of the parent process, in its forked child."""
    global _state_manager  # noqa: PLW0603 - the one of this process
    _state_manager = None


os.register_at_fork(after_in_child=_forget)


def get_state_manager() -> ExecutionStateManager:
    """Return the one of this process, made at the first call."""
    global _state_manager  # noqa: PLW0603 - the one of this process
    with making:
        if _state_manager is None:
            _state_manager = ExecutionStateManager()
        return _state_manager
