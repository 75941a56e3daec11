"""What a node calls besides its action, written in Python: a fallback, and what undoes either."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.definition.handles import plain_value
from treadle.definition.options import bound
from treadle.model import Compensation, Fallback, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from treadle.model import JsonValue


def compensation(
    action: str,
    *,
    service: str | None = None,
    parameters: Mapping[str, JsonValue] | None = None,
    timeout: timedelta | None = None,
    retry: RetryPolicy | None = None,
) -> Compensation:
    """Return the call that undoes a step, for ``WorkflowBuilder.action``; its arguments are as there.

    Raises:
        ValidationError: The timeout is negative.
    """
    service, action = _service_and_action(action, service)
    return Compensation(service, action, _plain_parameters(parameters or {}), bound(timeout), retry or RetryPolicy())


def fallback(
    action: str,
    *,
    service: str | None = None,
    parameters: Mapping[str, JsonValue] | None = None,
    timeout: timedelta | None = None,
    retry: RetryPolicy | None = None,
    compensate: Compensation | None = None,
) -> Fallback:
    """Return the call that a step makes once its own has failed for good, for ``WorkflowBuilder.action``.

    Args:
        action: As there.
        service: As there.
        parameters: As there; None for those of the node.
        timeout: Bound of one attempt.
        retry: See ``retry_policy``.
        compensate: What undoes the fallback.

    Raises:
        ValidationError: The timeout is negative.
    """
    service, action = _service_and_action(action, service)
    own = None if parameters is None else _plain_parameters(parameters)
    return Fallback(service, action, own, bound(timeout), retry or RetryPolicy(), compensate)


def _service_and_action(action: str, service: str | None) -> tuple[str, str]:
    """Return both parts of an action's name, as ``WorkflowBuilder.action`` takes it."""
    if service is not None:
        return service, action
    before, _, name = action.rpartition(".")
    return before, name


def _plain_parameters(parameters: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return parameters with handles and references as text."""
    return {key: plain_value(value) for key, value in parameters.items()}
