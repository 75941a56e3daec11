"""The engine's methods around a single step: what the application's code calls, overrides and replaces."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final, cast

import treadle
from core.auto_healing import async_retry_with_backoff
from core.conditions import condition_holds
from core.dispatch import Dispatch
from core.exceptions import AgentExecutionError
from core.references import read_path, resolve_value
from core.schemas import check_schema
from core.workflow_graph import (
    build_execution_graph,
    convert_nodes_to_steps,
    dependencies_are_met,
    has_conditional_connections,
)
from treadle.expressions import MISSING

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.clock import Clock
    from core.dispatch import Executor
    from core.workflow_graph import Step, WorkflowData


class StepMethods:
    """Everything about one step, without an execution around it.

    Args:
        actions: Registered actions.
        clock: The engine's time.
    """

    def __init__(self, actions: treadle.Registry, clock: Clock) -> None:
        self._actions = actions
        self._clock = clock

    async def _perform(self, step: Step, params: dict[str, Any]) -> Any:  # noqa: ANN401 - whatever a step gives
        """Return what a step's body gives.

        A step with a ``retry`` of its own is tried again by the machine, so its body is the bare ``_execute_step``.

        Raises:
            SchemaValidationError: Parameters or result break the step's schemas.
            AgentExecutionError: The body says of itself that it failed.
            Exception: What the body raised.
        """
        self._validate_input_schema(step, params)
        function: Callable[..., Any] = self._execute_step
        bare = getattr(function, "__wrapped__", None)
        if step.get("retry") and bare is not None and inspect.ismethod(function):
            output = await bare(self, step, params)
        else:
            output = await function(step, params)
        if isinstance(output, dict) and output.get("status") == "error":
            raise AgentExecutionError(step["id"], str(output.get("error")))
        self._validate_output_schema(step, output)
        return output

    @async_retry_with_backoff(max_retries=3, clock=lambda self, *_: self._clock)
    async def _execute_step(self, step: Step, params: dict[str, Any]) -> dict[str, Any]:
        """Return the envelope of what a step's service gave; ``dispatch`` says how the service is found."""
        dispatch = Dispatch(self._executor_of, self._execute_generic_action, self._actions, self._clock)
        return await dispatch.execute(step, params)

    def _executor_of(self, service: str) -> Executor | None:
        if service == "generic":
            return None  # the hook below has that name, and other parameters
        return cast("Executor | None", getattr(self, f"_execute_{service}_action", None))

    async def _execute_generic_action(
        self, service: str, action: str, params: dict[str, Any], connection_id: str | None = None
    ) -> Any:  # noqa: ANN401 - whatever a service gives
        """Execute what nothing else does; the application puts its catalogue here.

        Raises:
            treadle.NotFoundError: Always.
        """
        raise treadle.NotFoundError("service", service)

    # -- what the application's code calls, and overrides

    @property
    def _reads_only(self) -> bool:
        """Tell whether what reads a state is all our own, which changes none and reads no more than it needs."""
        return all(getattr(getattr(self, name), "__func__", None) is own for name, own in _READERS.items())

    def _convert_nodes_to_steps(self, workflow: WorkflowData) -> list[Step]:
        return convert_nodes_to_steps(workflow)

    def _build_execution_graph(self, workflow: WorkflowData) -> dict[str, Any]:
        return build_execution_graph(workflow)

    def _has_conditional_connections(self, workflow: WorkflowData) -> bool:
        return has_conditional_connections(workflow)

    def _check_dependencies(self, step: Step, state: dict[str, Any]) -> bool:
        return dependencies_are_met(step, state)

    def _evaluate_condition(self, condition: str | None, state: dict[str, Any]) -> bool:
        return condition_holds(condition, state)

    def _resolve_parameters(self, parameters: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        return {key: self._resolve_parameter_value(value, state) for key, value in parameters.items()}

    def _resolve_parameter_value(self, value: object, state: dict[str, Any]) -> object:
        return resolve_value(value, state)

    def _get_value_from_path(self, path: str, state: dict[str, Any]) -> Any:  # noqa: ANN401 - a JSON value
        found = read_path(path, state)
        return None if found is MISSING else found

    def _path_exists(self, path: str, state: dict[str, Any]) -> bool:
        return read_path(path, state) is not MISSING

    def _validate_input_schema(self, step: Step, params: dict[str, Any]) -> None:
        check_schema(step, "input", params)

    def _validate_output_schema(self, step: Step, output: object) -> None:
        check_schema(step, "output", output)


_READERS: Final = {
    name: getattr(StepMethods, name)
    for name in ("_check_dependencies", "_evaluate_condition", "_resolve_parameters", "_resolve_parameter_value")
}
