"""What the machine's events mean to the application: its state manager, its notifier, its analytics.

The state manager is told first and its errors count, since it is where the application's truth is. A notifier or
analytics that fails is logged and nothing more.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from core import analytics_engine
from core.outcomes import error_text
from core.ports import settled
from core.step_errors import StepTimeoutError
from treadle.machine import events as e

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from core.bodies import Ended
    from core.clock import Clock
    from core.ports import Notifier, StateManager
    from core.workflow_graph import Step, WorkflowData

_logger = logging.getLogger(__name__)

NOTIFY_SECONDS = 5.0
"""How long a notifier may take: a user who cannot be told holds up neither an execution nor who cancels it."""

_RESOURCE_KEYS = ("id", "resource_id", "task_id", "email_id", "execution_id")


class Report:
    """Tells of one execution.

    Args:
        execution_id: Which.
        workflow: The application's workflow.
        state_manager: Gives the state manager, anew at each use.
        notifier: Takes notifications.
        user_id: Who is notified.
        started_at: Seconds since the epoch; None for now.
        clock: The engine's time.

    Attributes:
        notifier: Takes notifications.
        user_id: Who is notified.
        started_at: Seconds since the epoch.
        is_partial: A step failed and was passed over, or was never reached.
        skip_reasons: Why a step is skipped, by its id; set before the event is told.
        kept: Ids of steps that had ended before this run; nothing is told of them.
    """

    def __init__(
        self,
        execution_id: str,
        workflow: WorkflowData,
        *,
        state_manager: Callable[[], StateManager],
        notifier: Notifier,
        user_id: str,
        started_at: float | None,
        clock: Clock,
    ) -> None:
        self.execution_id = execution_id
        self.notifier = notifier
        self.user_id = user_id
        self.started_at = clock.now() if started_at is None else started_at
        self.is_partial = False
        self.skip_reasons: dict[str, str] = {}
        self.kept: frozenset[str] = frozenset()
        self._workflow = workflow
        self._state_manager = state_manager
        self._clock = clock
        self._has_ended = False
        self._running: dict[str, int] = {}
        self._open: set[str] = set()
        self._asking: dict[str, str] = {}
        self._resource_ids: dict[str, str | None] = {}

    # -- what the machine decided

    async def tell(self, events: Iterable[e.AnyEvent], steps: dict[str, Step]) -> None:
        """Tell of ``events``, in their order; ``steps`` has the application's step behind each key."""
        for event in events:
            key = getattr(event, "step", "")
            if not key:
                await self._tell_execution(event, steps)
            elif steps[key]["id"] not in self.kept:
                await self._tell_step(event, steps[key])
            elif isinstance(event, e.StepFailed | e.StepTimedOut):
                self.is_partial = True

    async def _tell_step(self, event: e.AnyEvent, step: Step) -> None:
        match event:
            case e.StepStarted():
                await self._step_started(step, event)
            case e.StepSucceeded():
                await self._step_succeeded(step, event.at)
            case e.StepFailed():
                await self._step_failed(step, event.at, "FAILED", event.error.message)
            case e.StepTimedOut():
                await self._step_failed(step, event.at, "TIMED_OUT", event.error.message)
            case e.StepSkipped():
                await self._step_skipped(step, event)
            case e.StepPaused():
                path = self._asking[step["id"]] = event.missing[0]
                await self._write(step["id"], "PAUSED", error=f"Variable {path} not found")
            case e.AttemptInterrupted():
                self._running.pop(step["id"], None)
                await self._write(step["id"], "PENDING")
            case e.StepCancelled() if self._running.pop(step["id"], None) is not None:
                await self._write(step["id"], "CANCELLED")
            case _:
                pass  # ready, between attempts, handled: nothing that the application has a word for

    async def _tell_execution(self, event: e.AnyEvent, steps: dict[str, Step]) -> None:
        match event:
            case e.ExecutionPaused(waiting_for=()):
                await self.say("PAUSED", {"reason": "requested"})
            case e.ExecutionPaused():
                step_id, path = self._asking.popitem()
                data = {"reason": "missing_input", "missing_var": path, "step_id": step_id}
                await self.say("PAUSED", data, error=f"Missing input: {path}")
            case e.ExecutionResumed():
                await self._notify("RUNNING")
            case e.ExecutionCompleted():
                await self.end("PARTIAL" if self.is_partial else "COMPLETED")
            case e.ExecutionCancelled():
                await self.end("CANCELLED")
            case e.ExecutionFailed() | e.ExecutionTimedOut():
                at_fault = steps.get(event.error.step)
                data = {"error": event.error.message} | ({"step_id": at_fault["id"]} if at_fault else {})
                await self.end("FAILED", data)
            case _:
                pass

    # -- what the machine does not decide

    async def say(self, status: str, data: dict[str, Any] | None = None, error: str | None = None) -> None:
        """Write the execution's status, and notify of it."""
        how = {} if error is None else {"error": error}
        await settled(self._state_manager().update_execution_status(self.execution_id, status, **how))
        await self._notify(status, data)

    async def step_completed(self, step: Step, output: object) -> None:
        """Write what a step gave. The machine is told after that, since conditions read it from the state."""
        await self._write(step["id"], "COMPLETED", output=output)
        self._resource_ids[step["id"]] = _resource_id(output)

    async def put_back(self, step_ids: Iterable[str]) -> None:
        """Write that steps between two attempts are not waited for while the execution is paused."""
        for step_id in step_ids:
            await self._write(step_id, "PENDING")

    async def ended_late(self, step: Step, ended: Ended, at: int) -> None:
        """Tell how a body ended that was in flight when its run broke off; never raises."""
        try:
            if ended.is_cancelled:
                await self._write(step["id"], "CANCELLED")
            elif ended.error is None:
                await self.step_completed(step, ended.output)
                await self._step_succeeded(step, at)
            else:
                status = "TIMED_OUT" if isinstance(ended.error, StepTimeoutError) else "FAILED"
                await self._step_failed(step, at, status, error_text(ended.error))
        except Exception:
            _logger.exception("execution %s: how step %s ended cannot be written", self.execution_id, step["id"])

    async def broke_off(self, error: BaseException, *, is_cancelled: bool) -> None:
        """Tell that the execution cannot go on, for a reason that is no step's, nor can what it runs; never raises.

        Args:
            error: The reason.
            is_cancelled: Somebody had asked for an end anyway.
        """
        status, data = ("CANCELLED", None) if is_cancelled else ("FAILED", {"error": error_text(error)})
        for step_id in tuple(self._open):
            with suppress(Exception):  # what failed may fail again: the status of the execution says why
                await self._write(step_id, status, **(data or {}))
        try:
            await self.end(status, data)
        except Exception:
            _logger.exception("execution %s: its state cannot be written", self.execution_id)
            await self._notify(status, data)
            await self._track_execution(status)

    async def end(self, status: str, data: dict[str, Any] | None = None) -> None:
        """Tell that the execution has ended."""
        await self.say(status, data, error=(data or {}).get("error"))
        await self._track_execution(status)

    # -- how

    async def _step_started(self, step: Step, event: e.StepStarted) -> None:
        if step["id"] in self._running:
            return  # another attempt of a step that is known to run
        self._running[step["id"]] = event.at
        await self._write(step["id"], "RUNNING")
        await self._notify("STEP_RUNNING", {"step_id": step["id"]})

    async def _step_succeeded(self, step: Step, at: int) -> None:
        await self._notify("STEP_COMPLETED", {"step_id": step["id"]})
        await self._track_step(step, at, "step_completed", "COMPLETED")

    async def _step_failed(self, step: Step, at: int, status: str, message: str) -> None:
        self.is_partial = True
        await self._write(step["id"], status, error=message)
        await self._notify("STEP_FAILED", {"step_id": step["id"], "error": message})
        await self._track_step(step, at, "step_failed", status, message)

    async def _step_skipped(self, step: Step, event: e.StepSkipped) -> None:
        if event.reason == "join":
            self.is_partial = True  # never activated: the application leaves it as it was
            return
        reason = self.skip_reasons.get(step["id"], "")
        await self._write(step["id"], "SKIPPED", error=reason)
        await self._notify("STEP_SKIPPED", {"step_id": step["id"], "reason": reason})

    async def _track_execution(self, status: str) -> None:
        if self._has_ended:
            return
        self._has_ended = True
        worked = status == "COMPLETED"
        await _track(
            "track_workflow_execution",
            workflow_id=self._workflow.get("id", "unknown"),
            success=worked,
            duration_seconds=max(0.0, self._clock.now() - self.started_at),
            time_saved_seconds=self._workflow.get("estimated_time_saved", 60) if worked else 0,
            business_value=self._workflow.get("business_value", 10) if worked else 0,
        )

    async def _write(self, step_id: str, status: str, **how: Any) -> None:  # noqa: ANN401 - output or error
        if status == "RUNNING":
            self._open.add(step_id)
        await settled(self._state_manager().update_step_status(self.execution_id, step_id, status, **how))
        if status != "RUNNING":
            self._open.discard(step_id)

    async def _notify(self, status: str, data: dict[str, Any] | None = None) -> None:
        arguments = (self.user_id, self.execution_id, status, *(() if data is None else (data,)))
        try:
            async with asyncio.timeout(NOTIFY_SECONDS):
                await settled(self.notifier.notify_workflow_status(*arguments))
        except Exception:
            _logger.exception("nobody could be told that execution %s is %s", self.execution_id, status)

    async def _track_step(
        self,
        step: Step,
        at: int,
        event_type: str,
        status: str,
        error_message: str | None = None,
    ) -> None:
        started = self._running.pop(step["id"], at)
        await _track(
            "track_step_execution",
            workflow_id=self._workflow.get("id", "unknown"),
            execution_id=self.execution_id,
            step_id=step["id"],
            step_name=step.get("name", step["id"]),
            event_type=event_type,
            duration_ms=at - started,
            status=status,
            error_message=error_message,
            resource_id=self._resource_ids.pop(step["id"], None),
            user_id=self.user_id,
        )


async def _track(what: str, **facts: object) -> None:
    """Hand facts to the analytics of the moment; what it does with them, or cannot do, changes nothing."""
    try:
        await settled(getattr(analytics_engine.get_analytics_engine(), what)(**facts))
    except Exception:
        _logger.exception("%s was not tracked", what)


def _resource_id(output: object) -> str | None:
    """Return the id of what a step made or changed; None where its result names none."""
    result = output.get("result") if isinstance(output, dict) else None
    if not isinstance(result, dict):
        return None
    found = next((result[key] for key in _RESOURCE_KEYS if result.get(key)), None)
    return None if found is None else str(found)
