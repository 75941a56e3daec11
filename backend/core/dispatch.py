"""From a step to the function that does it, and from what that gives to the envelope the application keeps.

A service is executed by a method ``_execute_<service>_action`` of the engine, else by an action registered as
``service.action``, else by the generic hook. Where the primary service fails, ``fallback_service`` is tried, once.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import treadle
from core.clock import OutOfTimeError, within
from core.exceptions import AgentExecutionError, ValidationError
from core.outcomes import error_text
from core.ports import settled
from core.step_errors import ServicesFailedError, StepTimeoutError, SubWorkflowError, UnknownServiceError
from core.sub_workflows import SERVICE as SUB_WORKFLOW

if TYPE_CHECKING:
    from collections.abc import Iterable

    from core.clock import Clock
    from core.workflow_graph import Step

Parameters: TypeAlias = dict[str, Any]
Executor: TypeAlias = Callable[[str, Parameters, str | None], Awaitable[Any]]
"""Called with the action, the resolved parameters and the connection id; returns the result."""


def registered_actions(sources: Iterable[object]) -> treadle.Registry:
    """Return the actions of ``sources``, which are as for ``treadle.Registry``.

    Raises:
        treadle.ValidationError: A source holds no action, two have one name, or one declares ``context``, which only
            treadle's own engine gives.
    """
    registry = treadle.Registry(sources)
    for name in registry:
        if registry[name].wants_context:
            raise ValidationError(f"action {name!r} declares a context, which this engine has not", field="actions")
    return registry


@dataclass(frozen=True)
class Dispatch:
    """Executes steps.

    Attributes:
        find: Returns the engine's own executor of a service; None where it has none.
        generic: Executes what nothing else does: called with service, action, parameters and connection id.
        actions: Registered actions.
        clock: The engine's time.
    """

    find: Callable[[str], Executor | None]
    generic: Callable[[str, str, Parameters, str | None], Awaitable[Any]]
    actions: treadle.Registry
    clock: Clock

    async def execute(self, step: Step, params: Parameters) -> dict[str, Any]:
        """Return the envelope of what the step's service gave.

        Raises:
            StepTimeoutError: It took longer than the step's ``timeout`` in seconds.
            UnknownServiceError: Nothing executes the service.
            ServicesFailedError: Both the service and its fallback failed; the text has both errors.
            Exception: What the service raised, where there is no fallback.
        """
        service, fallback = step.get("service") or "default", step.get("fallback_service")
        try:
            return await self._envelope(step, params, service)
        except Exception as error:
            if not fallback:
                raise
            primary = error
        try:
            envelope = await self._envelope(step, params, fallback)
        except Exception as error:
            first, second = error_text(primary), error_text(error)
            message = f"Service {service} failed: {first}; its fallback {fallback} also failed: {second}"
            raise ServicesFailedError(message, (primary, error)) from error
        used = {"original_service": service, "fallback_used": True, "execution_method": "fallback_service"}
        return envelope | used

    async def _envelope(self, step: Step, params: Parameters, service: str) -> dict[str, Any]:
        action, timeout = step.get("action") or "default", _seconds(step)
        execute, method = self._executor(service, action)
        call = _call(execute, action, params, step.get("connection_id"))
        result = await (self._bounded(step, service, timeout, call) if timeout else call)
        _refuse_failure(step, service, result)
        return {
            "status": "success",
            "service": service,
            "action": action,
            "result": result,
            "timestamp": datetime.fromtimestamp(self.clock.now(), UTC).isoformat(),
            "execution_method": method,
        }

    def _executor(self, service: str, action: str) -> tuple[Executor, str]:
        own = self.find(service)
        if own is not None:
            return own, "service_registry"
        registered = self.actions.get(f"{service}.{action}")
        if registered is not None:
            return _executor_of(registered), "service_registry"
        return self._generic_executor(service), "generic_catalog_executor"

    def _generic_executor(self, service: str) -> Executor:
        async def execute(action: str, params: Parameters, connection_id: str | None) -> Any:  # noqa: ANN401 - a result
            try:
                return await settled(self.generic(service, action, params, connection_id))
            except Exception as error:
                message = f"Unknown service: {service} (and generic execution failed: {error_text(error)})"
                raise UnknownServiceError(message) from error

        return execute

    async def _bounded(self, step: Step, service: str, timeout: float, call: Any) -> Any:  # noqa: ANN401 - a coroutine and its result
        try:
            return await within(self.clock, timeout, call)
        except OutOfTimeError as error:
            step_id = step.get("id", "unknown")
            message = f"Step {step_id} timed out after {timeout:g} seconds"
            late = StepTimeoutError(message, step_id, timeout)
            late.repeats = service != SUB_WORKFLOW  # its child goes on: another one would do everything twice
            raise late from error


async def _call(execute: Executor, action: str, params: Parameters, connection_id: str | None) -> Any:  # noqa: ANN401 - a result
    """Return what an executor gives; what would end the event loop is its failure."""
    try:
        return await settled(execute(action, params, connection_id))
    except (SystemExit, KeyboardInterrupt) as error:
        raise AgentExecutionError(action, f"{type(error).__name__}: {error}", cause=error) from error


def _executor_of(action: Any) -> Executor:  # noqa: ANN401 - an action of treadle, whose class is not public
    """Return the executor that calls a registered function with the parameters as keyword arguments."""

    async def execute(_: str, params: Parameters, __: str | None) -> Any:  # noqa: ANN401 - a result
        try:
            inspect.signature(action.function).bind(**params)
        except TypeError as error:
            raise ValidationError(f"action {action.name!r}: {error}", field="parameters") from error
        if action.is_async:
            return await action.function(**params)
        return await asyncio.to_thread(action.function, **params)

    return execute


def _seconds(step: Step) -> float | None:
    """Return the step's ``timeout``; None where it has none.

    Raises:
        ValidationError: It is no number of seconds.
    """
    timeout = step.get("timeout")
    if not timeout:
        return None
    try:
        seconds = float(timeout)
    except (TypeError, ValueError):
        seconds = math.nan
    if math.isnan(seconds):
        raise ValidationError(f"timeout must be a number of seconds, not {timeout!r}", field="timeout")
    return seconds


def _refuse_failure(step: Step, service: str, result: object) -> None:
    """Raise where a result says of itself that it is a failure."""
    status = result.get("status") if isinstance(result, dict) else None
    if status and status != "success":
        assert isinstance(result, dict)
        kind = SubWorkflowError if service == SUB_WORKFLOW else AgentExecutionError
        raise kind(step.get("id", "unknown"), str(result.get("error") or f"status {status}"))
