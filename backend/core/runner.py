"""How the engine runs an execution: what surrounds one run of the machine, and who is told when there is none.

An execution begins by having its state say so, is driven by ``ExecutionRun``, and is over when the machine says so.
What goes wrong around it ends up in its state; only where our own store cannot be written does it stay open, to go on
later.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from core.callers import CALLER, CREATES, Caller
from core.exceptions import ValidationError
from core.execution_run import ExecutionRun
from core.facts import Hooks
from core.ports import settled
from core.recovery import keep_workflow, left_over, own_manager
from core.reporting import Report
from core.step_methods import StepMethods
from core.translation import translate_chain, translate_graph
from treadle import QuarantineError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    import treadle
    from core.clock import Clock
    from core.ports import Notifier, StateManager
    from core.translation import Definition
    from core.workflow_graph import Step, WorkflowData

_logger = logging.getLogger(__name__)


class Runner(StepMethods):
    """Runs executions; making one needs no running loop.

    Args:
        max_concurrent_steps: How many steps of all executions run at a time.
        state_manager: Where executions are kept.
        actions: Registered actions.
        clock: The engine's time.
    """

    def __init__(
        self, max_concurrent_steps: int, state_manager: StateManager, actions: treadle.Registry, clock: Clock
    ) -> None:
        super().__init__(actions, clock)
        self.max_concurrent_steps = max_concurrent_steps
        self.semaphore = asyncio.Semaphore(max_concurrent_steps)
        self.state_manager = state_manager
        self.cancellation_requests: set[str] = set()
        self._background_tasks: set[asyncio.Task[None]] = set()
        self._runs: dict[str, ExecutionRun] = {}
        self._starting: set[str] = set()
        self._paused_early: set[str] = set()
        self._recovered: set[str] = set()
        self._children: dict[str, set[str]] = {}

    def _load_workflow_by_id(self, workflow_id: str) -> WorkflowData | None:
        raise NotImplementedError

    def _notifier(self) -> Notifier:
        raise NotImplementedError

    # -- executions that were left

    async def _take_up(self, *, with_cut_off: bool = False) -> list[str]:
        """Launch executions that were left, and return their ids; each is taken up once in a process."""
        taken = await left_over(self.state_manager, self._load_workflow_by_id, with_cut_off=with_cut_off)
        for execution_id, workflow in taken:
            self._recovered.add(execution_id)
            self._launch(execution_id, workflow)
        return [execution_id for execution_id, _ in taken]

    def _take_up_soon(self) -> None:
        """Take up what was left as soon as the running loop comes to it; without one, the first verb does."""
        own = own_manager(self.state_manager)
        if own is None or not own.may_have_left_over:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._hold(loop.create_task(self._try_to_take_up()))

    async def _try_to_take_up(self) -> None:
        try:
            await self._take_up()
        except Exception as error:  # noqa: BLE001 - the first verb raises it
            _logger.error("executions that were left cannot go on yet: %s", error)  # noqa: TRY400

    # -- one execution

    def _launch(self, execution_id: str, workflow: WorkflowData) -> None:
        self._hold(asyncio.create_task(self._run_execution(execution_id, workflow)))

    def _hold(self, task: asyncio.Task[None] | None) -> None:
        if task is not None:  # a stand-in for ``create_task`` may give nothing
            self._background_tasks.add(task)
            task.add_done_callback(self._background_tasks.discard)

    async def _run_execution(self, execution_id: str, workflow: WorkflowData) -> None:
        """Run an execution until it has ended or is paused. What goes wrong is written into its state."""
        if execution_id in self._runs or execution_id in self._starting:
            return
        report = self._report(execution_id, workflow)
        try:
            await self._run(report, workflow)
        except Exception as error:  # noqa: BLE001 - it is written, or told where it cannot be
            await self._cannot_go_on(report, error)
        except BaseException:
            self._leave(execution_id, cut_off=True)
            raise
        finally:
            self._recovered.discard(execution_id)

    async def _run(self, report: Report, workflow: WorkflowData) -> None:
        if not isinstance(workflow, dict):
            raise ValidationError(f"a workflow is a dictionary, not {type(workflow).__name__}", field="workflow")
        execution_id = report.execution_id
        state = await self._begin(report, workflow)
        if state is None:
            return
        if self._has_conditional_connections(workflow):
            started = datetime.fromtimestamp(report.started_at, UTC)
            await self._execute_workflow_graph(execution_id, workflow, state, report.notifier, report.user_id, started)
        else:
            await self._drive(report, state, lambda: translate_chain(self._steps_of(workflow)))

    async def _begin(self, report: Report, workflow: WorkflowData) -> dict[str, Any] | None:
        """Write that an execution runs and return its state; None where it does not run after all."""
        self._starting.add(report.execution_id)
        try:
            if await self._is_called_off(report):
                return None
            await keep_workflow(self.state_manager, report.execution_id, workflow)
            await report.say("RUNNING")
            state = await self._read_state(report.execution_id)
            return None if await self._is_called_off(report, says_running=True) else state
        finally:
            self._starting.discard(report.execution_id)

    def _steps_of(self, workflow: WorkflowData) -> list[Step]:
        if "steps" not in workflow and "nodes" in workflow:
            return self._convert_nodes_to_steps(workflow)
        return list(workflow.get("steps") or ())

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
        try:
            await self._drive(report, state, lambda: translate_graph(workflow, execution_id))
        except Exception as error:  # noqa: BLE001 - as in ``_run_execution``
            await self._cannot_go_on(report, error)

    async def _drive(self, report: Report, state: dict[str, Any], translate: Callable[[], Definition]) -> None:
        execution_id = report.execution_id
        try:
            recorded = state.get("steps") or {}
            is_recovered = execution_id in self._recovered
            hooks = self._hooks(execution_id, recorded)
            run = ExecutionRun(translate(), hooks, report, recorded, is_recovered=is_recovered)
            self._runs[execution_id] = run
            await run.drive()
        finally:
            self._children.pop(execution_id, None)
            run_is_over = self._runs.pop(execution_id, None)
            if run_is_over is None or run_is_over.has_ended:
                self.cancellation_requests.discard(execution_id)

    async def _cannot_go_on(self, report: Report, error: Exception) -> None:
        """Have the execution's state say why it cannot go on; where only the store failed, it goes on later."""
        execution_id = report.execution_id
        is_ours = isinstance(error, StoreError) and not isinstance(error, QuarantineError)
        if is_ours and own_manager(self.state_manager) is not None:
            _logger.error("execution %s goes on once its state can be written again: %s", execution_id, error)
            self._leave(execution_id)
            return
        _logger.error("execution %s cannot go on", execution_id, exc_info=error)
        is_cancelled = execution_id in self.cancellation_requests
        self.cancellation_requests.discard(execution_id)
        await report.broke_off(error, is_cancelled=is_cancelled)

    def _leave(self, execution_id: str, *, cut_off: bool = False) -> None:
        own = own_manager(self.state_manager)
        if own is not None:
            own.give_back((execution_id,), cut_off=cut_off)

    async def _is_called_off(self, report: Report, *, says_running: bool = False) -> bool:
        """Tell whether an execution was cancelled or paused before it began, and have its state say so."""
        if report.execution_id in self.cancellation_requests:
            self.cancellation_requests.discard(report.execution_id)
            await report.end("CANCELLED")
            return True
        is_paused = report.execution_id in self._paused_early
        self._paused_early.discard(report.execution_id)
        if is_paused and says_running:
            await report.say("PAUSED", {"reason": "requested"})
        return is_paused

    # -- the application

    async def _known_state(self, execution_id: str) -> dict[str, Any]:
        """Return the state; an empty one where the state manager has none that can be read."""
        try:
            state = await settled(self.state_manager.get_execution_state(execution_id))
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - what is asked for is asked for all the same
            _logger.warning("the state of execution %s cannot be read: %s", execution_id, error)
            return {}
        return state if isinstance(state, dict) else {}

    async def _read_state(self, execution_id: str) -> dict[str, Any]:
        return _found(execution_id, await settled(self.state_manager.get_execution_state(execution_id)))

    async def _view_state(self, execution_id: str) -> dict[str, Any]:
        """Return the state to decide by: of our own manager the state itself, where nothing of it is given away."""
        own = own_manager(self.state_manager)
        if own is None or not self._reads_only:
            return await self._read_state(execution_id)
        return _found(execution_id, await settled(own.view(execution_id)))

    def _report(
        self,
        execution_id: str,
        workflow: WorkflowData | None = None,
        notifier: Notifier | None = None,
        user_id: str = "",
        start_time: datetime | None = None,
    ) -> Report:
        known = workflow if isinstance(workflow, dict) else {}
        return Report(
            execution_id,
            known,
            state_manager=lambda: self.state_manager,
            notifier=notifier or self._notifier(),
            user_id=user_id or known.get("created_by") or "default",
            started_at=_seconds(start_time),
            clock=self._clock,
        )

    def _hooks(self, execution_id: str, recorded: dict[str, Any]) -> Hooks:
        cut_off = {
            name for name, entry in recorded.items() if isinstance(entry, dict) and entry.get("status") == "RUNNING"
        }

        async def perform(step: Step, params: dict[str, Any]) -> Any:  # noqa: ANN401 - whatever a step gives
            CREATES.set(None)
            CALLER.set(Caller(execution_id, step["id"], is_repeated=step["id"] in cut_off))
            cut_off.discard(step["id"])
            return await self._perform(step, params)

        return Hooks(
            clock=self._clock,
            semaphore=self._slots(),
            read_state=lambda: self._view_state(execution_id),
            is_cancelled=lambda: execution_id in self.cancellation_requests,
            resolve=lambda step, state: self._resolve_parameters(step.get("parameters") or {}, state),
            holds=self._evaluate_condition,
            is_met=self._check_dependencies,
            perform=perform,
        )

    def _slots(self) -> asyncio.Semaphore:
        """Return the slots; new ones where the old ones belong to an event loop of the past."""
        bound_to = getattr(self.semaphore, "_loop", None)
        if bound_to is not None and bound_to is not asyncio.get_running_loop():
            self.semaphore = asyncio.Semaphore(self.max_concurrent_steps)
        return self.semaphore


def _seconds(moment: object) -> float | None:
    """Return seconds since the epoch, of a moment without a zone as UTC; None of what is no moment."""
    if not isinstance(moment, datetime):
        return None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def _found(execution_id: str, state: dict[str, Any] | None) -> dict[str, Any]:
    if state is None:
        raise ValueError(f"Execution {execution_id} not found")
    return state if isinstance(state, dict) else {}
