"""The application's workflow engine, in front of treadle's machine.

Existing code imports ``WorkflowEngine`` from here, overrides some of its methods and hands it its own state manager.
The engine translates the workflow, drives the machine (``execution_run``), and tells the application what happened.
What comes next, what waits for what, what is skipped or tried again: all that is the machine's.

A workflow without a conditional connection runs step after step; one with a condition runs in parallel, as far as its
connections and the engine's slots allow.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from core.clock import SystemClock
from core.dispatch import registered_actions
from core.execution_run import ExecutionRun
from core.execution_state_manager import get_state_manager
from core.facts import Hooks
from core.references import VARIABLE
from core.reporting import Report
from core.step_errors import MissingInputError, SchemaValidationError, StepTimeoutError
from core.step_methods import StepMethods
from core.translation import translate_chain, translate_graph
from core.websockets import get_connection_manager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from core.clock import Clock
    from core.ports import BackgroundTasks, Notifier, StateManager
    from core.translation import Definition
    from core.workflow_graph import WorkflowData

__all__ = ["MissingInputError", "SchemaValidationError", "StepTimeoutError", "WorkflowEngine"]

_logger = logging.getLogger(__name__)

_ENDED = frozenset({"COMPLETED", "FAILED", "PARTIAL", "CANCELLED"})


class WorkflowEngine(StepMethods):
    """Runs workflows; making one needs no running loop.

    Args:
        max_concurrent_steps: How many steps of all executions run at a time.
        actions: What steps call besides the engine's own ``_execute_<service>_action`` methods: as ``treadle.Registry``
            takes them, found by ``service.action`` and called with the parameters as keyword arguments.
        state_manager: Where executions are kept; None for the one of this process.
        clock: The engine's time; None for the real one.

    Attributes:
        semaphore: The slots.
        cancellation_requests: Ids of executions that are to be cancelled; looked at before each step.
        var_pattern: Finds the paths of the references in a text.
    """

    def __init__(
        self,
        max_concurrent_steps: int = 5,
        *,
        actions: Iterable[object] = (),
        state_manager: StateManager | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(registered_actions(actions), clock or SystemClock())
        self.max_concurrent_steps = max_concurrent_steps
        self.semaphore = asyncio.Semaphore(max_concurrent_steps)
        self.state_manager: StateManager = state_manager or get_state_manager()
        self.cancellation_requests: set[str] = set()
        self.var_pattern = VARIABLE
        self._background_tasks: set[asyncio.Task[None]] = set()
        self._runs: dict[str, ExecutionRun] = {}
        self._starting: set[str] = set()
        self._paused_early: set[str] = set()
        self._resuming: set[str] = set()

    # -- verbs

    async def start_workflow(
        self, workflow: WorkflowData, input_data: dict[str, Any], background_tasks: BackgroundTasks | None = None
    ) -> str:
        """Create an execution, let it run in the background, and return its id.

        Args:
            workflow: ``id`` (or ``workflow_id``) and ``steps``, or ``nodes`` with ``connections``, for which ``steps``
                is written into it.
            input_data: What ``${input...}`` reads.
            background_tasks: Runs it, by ``add_task(function, *arguments)``; None for a task of the running loop.

        Raises:
            ValueError: The connections hold a cycle.
        """
        if "id" not in workflow and "workflow_id" in workflow:
            workflow["id"] = workflow["workflow_id"]
        if "steps" not in workflow and "nodes" in workflow:
            workflow["steps"] = self._convert_nodes_to_steps(workflow)
        execution_id = await self.state_manager.create_execution(workflow["id"], input_data)
        if background_tasks:
            background_tasks.add_task(self._run_execution, execution_id, workflow)
        else:
            self._launch(execution_id, workflow)
        return execution_id

    async def resume_workflow(self, execution_id: str, workflow: WorkflowData, new_inputs: dict[str, Any]) -> bool:
        """Merge inputs into a paused execution and let it go on; False if it is not paused.

        What has ended does not run again. A step that was between two attempts begins with its first one.

        Raises:
            ValueError: There is no such execution.
        """
        state = await self.state_manager.get_execution_state(execution_id)
        if state is None:
            raise ValueError(f"Execution {execution_id} not found")
        if state["status"] != "PAUSED" or execution_id in self._resuming:
            return False
        self._resuming.add(execution_id)
        try:
            await self.state_manager.update_execution_inputs(execution_id, new_inputs)
            await self.state_manager.update_execution_status(execution_id, "RUNNING")
        finally:
            self._resuming.discard(execution_id)
        run = self._runs.get(execution_id)
        if run is None or not run.resume():
            self._launch(execution_id, workflow)
        return True

    async def pause_execution(self, execution_id: str) -> bool:
        """Start nothing new in an execution; what is in flight ends and is recorded. False if it does not run."""
        run = self._runs.get(execution_id)
        if run is not None:
            return await run.pause()
        state = await self.state_manager.get_execution_state(execution_id)
        if not state or not (state["status"] == "PENDING" or execution_id in self._starting):
            return False
        self._paused_early.add(execution_id)
        await self._report(execution_id).say("PAUSED", {"reason": "requested"})
        return True

    async def cancel_execution(self, execution_id: str) -> bool:
        """Cancel an execution and the bodies it has in flight; True also where nothing is left to cancel."""
        self.cancellation_requests.add(execution_id)
        run = self._runs.get(execution_id)
        has_run = run is not None and run.wake()
        status = await self._status_without_run(execution_id, run) if not has_run else ""
        if status not in _ENDED:
            await self._report(execution_id).say("CANCELLED")
        if status in _ENDED or status == "PAUSED":
            self.cancellation_requests.discard(execution_id)  # no run comes that would look at it
        return True

    async def _status_without_run(self, execution_id: str, run: ExecutionRun | None) -> str:
        """Return the status of an execution that nothing drives any more, or yet; ``""`` for one that is unknown."""
        if run is not None and run.has_ended:
            return "COMPLETED"  # or another end that is being written
        state = await self.state_manager.get_execution_state(execution_id)
        return str(state.get("status", "")) if isinstance(state, dict) else ""

    # -- running

    def _launch(self, execution_id: str, workflow: WorkflowData) -> None:
        task = asyncio.create_task(self._run_execution(execution_id, workflow))
        self._background_tasks.add(task)
        task.add_done_callback(self._background_tasks.discard)

    async def _run_execution(self, execution_id: str, workflow: WorkflowData) -> None:
        """Run an execution until it has ended or is paused. What goes wrong is written into its state."""
        if execution_id in self._runs or execution_id in self._starting:
            return
        notifier, user_id = get_connection_manager(), workflow.get("created_by") or "default"
        start_time = datetime.fromtimestamp(self._clock.now(), UTC)
        report = self._report(execution_id, workflow, notifier, user_id, start_time)
        state = await self._begin(report)
        if state is None:
            return
        if self._has_conditional_connections(workflow):
            await self._execute_workflow_graph(execution_id, workflow, state, notifier, user_id, start_time)
        else:
            await self._drive(report, state, lambda: translate_chain(workflow.get("steps") or ()))

    async def _begin(self, report: Report) -> dict[str, Any] | None:
        """Write that an execution runs and return its state; None where it does not run after all."""
        self._starting.add(report.execution_id)
        try:
            if await self._is_called_off(report):
                return None
            await report.say("RUNNING")
            state = await self._read_state(report.execution_id)
            return None if await self._is_called_off(report, says_running=True) else state
        except Exception as error:
            _logger.exception("execution %s cannot start", report.execution_id)
            await report.failed(error, self._clock.now())
            return None
        finally:
            self._starting.discard(report.execution_id)

    async def _execute_workflow_graph(  # noqa: PLR0917 - the application calls it so
        self,
        execution_id: str,
        workflow: WorkflowData,
        state: dict[str, Any],
        ws_manager: Notifier,
        user_id: str,
        start_time: datetime,
    ) -> None:
        """Run nodes in parallel along their connections; a node runs once all that enter it are active."""
        report = self._report(execution_id, workflow, ws_manager, user_id, start_time)
        await self._drive(report, state, lambda: translate_graph(workflow, execution_id))

    async def _drive(self, report: Report, state: dict[str, Any], translate: Callable[[], Definition]) -> None:
        execution_id = report.execution_id
        try:
            run = ExecutionRun(translate(), self._hooks(execution_id), report, state.get("steps") or {})
            self._runs[execution_id] = run
            await run.drive()
        except Exception as error:
            _logger.exception("execution %s cannot go on", execution_id)
            await report.failed(error, self._clock.now())
        finally:
            run_is_over = self._runs.pop(execution_id, None)
            if run_is_over is None or run_is_over.has_ended:
                self.cancellation_requests.discard(execution_id)

    async def _is_called_off(self, report: Report, *, says_running: bool = False) -> bool:
        """Tell whether an execution was cancelled or paused before it began, and have its state say so."""
        if report.execution_id in self.cancellation_requests:
            self.cancellation_requests.discard(report.execution_id)
            await report.say("CANCELLED")
            return True
        is_paused = report.execution_id in self._paused_early
        self._paused_early.discard(report.execution_id)
        if is_paused and says_running:
            await report.say("PAUSED", {"reason": "requested"})
        return is_paused

    async def _read_state(self, execution_id: str) -> dict[str, Any]:
        state = await self.state_manager.get_execution_state(execution_id)
        if state is None:
            raise ValueError(f"Execution {execution_id} not found")
        return state

    def _report(
        self,
        execution_id: str,
        workflow: WorkflowData | None = None,
        notifier: Notifier | None = None,
        user_id: str = "default",
        start_time: datetime | None = None,
    ) -> Report:
        return Report(
            execution_id,
            workflow or {},
            state_manager=lambda: self.state_manager,
            notifier=notifier or get_connection_manager(),
            user_id=user_id,
            started_at=start_time.timestamp() if start_time else self._clock.now(),
        )

    def _hooks(self, execution_id: str) -> Hooks:
        return Hooks(
            clock=self._clock,
            semaphore=self.semaphore,
            read_state=lambda: self._read_state(execution_id),
            is_cancelled=lambda: execution_id in self.cancellation_requests,
            resolve=lambda step, state: self._resolve_parameters(step.get("parameters") or {}, state),
            holds=self._evaluate_condition,
            is_met=self._check_dependencies,
            perform=self._perform,
        )
