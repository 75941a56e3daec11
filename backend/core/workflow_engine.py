"""The application's workflow engine, in front of treadle's machine.

Existing code imports ``WorkflowEngine`` from here, overrides some of its methods and hands it its own state manager.
The engine translates the workflow, drives the machine (``execution_run``), and tells the application what happened.
What comes next, what waits for what, what is skipped or tried again: all that is the machine's.

A workflow without a conditional connection runs step after step; one with a condition runs in parallel, as far as its
connections and the engine's slots allow.
"""

from __future__ import annotations

import asyncio  # noqa: F401 - the application replaces parts of it under this module's name
import json
import logging
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from core.changes import ENDED
from core.clock import SystemClock
from core.dispatch import registered_actions
from core.exceptions import ValidationError
from core.execution_state_manager import get_state_manager
from core.ports import Nobody, settled
from core.recovery import begun_before, keep_workflow
from core.references import VARIABLE
from core.requests import RequestLines
from core.runner import Runner
from core.step_errors import MissingInputError, SchemaValidationError, StepTimeoutError
from core.storage import making
from core.sub_workflows import SubWorkflows
from core.websockets import get_connection_manager

if TYPE_CHECKING:
    from collections.abc import Iterable

    from core.clock import Clock
    from core.ports import BackgroundTasks, Notifier, StateManager
    from core.workflow_graph import WorkflowData

__all__ = [
    "MissingInputError",
    "SchemaValidationError",
    "StepTimeoutError",
    "WorkflowEngine",
    "get_workflow_engine",
]

WORKFLOWS_FILE: Final = Path(__file__).parent.parent / "workflows.json"
"""The application's list of workflows, for steps that run one of them."""

_logger = logging.getLogger(__name__)


class WorkflowEngine(Runner):
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
        super().__init__(
            max_concurrent_steps,
            get_state_manager() if state_manager is None else state_manager,
            registered_actions(actions),
            clock or SystemClock(),
        )
        self.var_pattern = VARIABLE
        self._lines = RequestLines()

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
            ValidationError: The workflow has no id.
        """
        if "id" not in workflow and "workflow_id" in workflow:
            workflow["id"] = workflow["workflow_id"]
        if "id" not in workflow:
            raise ValidationError("a workflow needs an id", field="id")
        if "steps" not in workflow and "nodes" in workflow:
            workflow["steps"] = self._convert_nodes_to_steps(workflow)
        await self._take_up()
        execution_id: str = await settled(self.state_manager.create_execution(workflow["id"], input_data))
        await keep_workflow(self.state_manager, execution_id, workflow)
        if background_tasks is not None:
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
        await self._take_up()
        async with self._lines.turn(execution_id, resumes=True):
            state = await settled(self.state_manager.get_execution_state(execution_id))
            if state is None:
                raise ValueError(f"Execution {execution_id} not found")
            if state.get("status") != "PAUSED":
                return False
            await keep_workflow(self.state_manager, execution_id, workflow)
            await settled(self.state_manager.update_execution_inputs(execution_id, new_inputs))
            await settled(self.state_manager.update_execution_status(execution_id, "RUNNING"))
            run = self._runs.get(execution_id)
            if run is None or not run.resume():
                self._launch(execution_id, workflow)
            return True

    async def pause_execution(self, execution_id: str) -> bool:
        """Start nothing new in an execution; what is in flight ends and is recorded. False if it does not run."""
        await self._take_up()
        run = self._runs.get(execution_id)
        if run is not None:
            return await run.pause()
        state = await self._known_state(execution_id)
        if not (state.get("status") == "PENDING" or execution_id in self._starting):
            return False
        self._paused_early.add(execution_id)
        await self._report(execution_id).say("PAUSED", {"reason": "requested"})
        return True

    async def cancel_execution(self, execution_id: str) -> bool:
        """Cancel an execution, the bodies it has in flight and the executions it waits for.

        Returns:
            True, also where nothing is left to cancel.
        """
        await self._take_up()
        self.cancellation_requests.add(execution_id)
        async with self._lines.turn(execution_id):
            await self._cancel(execution_id)
        return True

    async def _cancel(self, execution_id: str) -> None:
        for child in tuple(self._children.get(execution_id, ())):
            await self.cancel_execution(child)
        run = self._runs.get(execution_id)
        if run is not None and run.wake():
            await self._report(execution_id).say("CANCELLED")
            return
        state = await self._known_state(execution_id)
        status = "COMPLETED" if run is not None and run.has_ended else state.get("status")  # or another end
        if self._lines.is_resuming(execution_id) and status not in ENDED:
            return  # asked within that: the run that follows looks at the request
        if status == "PAUSED":
            await self._report(execution_id, {"id": state.get("workflow_id", "unknown")}).end("CANCELLED")
        elif status not in ENDED:
            await self._report(execution_id).say("CANCELLED")
        if status == "PAUSED" or status in ENDED:
            self.cancellation_requests.discard(execution_id)  # no run comes that would look at it

    async def recover(self) -> list[str]:
        """Go on with what another process left, or an event loop that ended; return the ids, oldest first.

        Every verb does the first by itself. Executions are left only by the default state manager, in a file.

        Raises:
            treadle.StoreError: The file cannot be opened or read.
        """
        return await self._take_up(with_cut_off=True)

    # -- workflows as steps

    async def _execute_workflow_action(
        self, action: str, params: dict[str, Any], connection_id: str | None = None
    ) -> dict[str, Any]:
        """Run a workflow as a step; see ``SubWorkflows.run``."""
        sub_workflows = SubWorkflows(
            load=self._load_workflow_by_id,
            start=self.start_workflow,
            read_state=self.state_manager.get_execution_state,
            begun_before=partial(begun_before, self.state_manager),
            children=self._children,
            clock=self._clock,
        )
        return await sub_workflows.run(action, params)

    def _load_workflow_by_id(self, workflow_id: str) -> WorkflowData | None:
        """Return a workflow of ``WORKFLOWS_FILE``; None where it is not there, or the file cannot be read."""
        try:
            with open(WORKFLOWS_FILE, encoding="utf-8") as file:  # noqa: PTH123 - the application puts its own in place
                workflows = json.load(file)
            return next((one for one in workflows if workflow_id in {one.get("id"), one.get("workflow_id")}), None)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, there is no such workflow
            _logger.warning("%s cannot be read: %s", WORKFLOWS_FILE, error)
            return None

    def _notifier(self) -> Notifier:
        try:
            return get_connection_manager()
        except Exception:
            _logger.exception("nobody can be told of executions")
            return Nobody()


_workflow_engine: WorkflowEngine | None = None


def _forget() -> None:
    """Drop the one of the parent process, in its forked child."""
    global _workflow_engine  # noqa: PLW0603 - the one of this process
    _workflow_engine = None


os.register_at_fork(after_in_child=_forget)


def get_workflow_engine() -> WorkflowEngine:
    """Return the engine of this process, made at the first call; it goes on with what another process left."""
    global _workflow_engine  # noqa: PLW0603 - the one of this process
    with making:
        if _workflow_engine is None:
            _workflow_engine = WorkflowEngine()
        engine = _workflow_engine
    if isinstance(engine, Runner):  # the application may have put something else in place
        engine._take_up_soon()  # noqa: SLF001 - its own module
    return engine
