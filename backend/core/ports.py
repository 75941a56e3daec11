"""What the engine needs of the application around it, as small protocols."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class CancelledItselfError(Exception):
    """What was called raised ``CancelledError`` although nobody had cancelled the caller: it has failed."""

    repeats = False


async def settled(value: Any) -> Any:  # noqa: ANN401 - whatever the application gives
    """Return what ``value`` gives once it is awaited, or ``value``: the application may put anything in our way.

    Raises:
        CancelledItselfError: It was cancelled, and not because the task that waits here was.
        Exception: What it raised.
    """
    if not inspect.isawaitable(value):
        return value
    try:
        return await value
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise CancelledItselfError("it was cancelled, and nobody had asked for that") from error


class StateManager(Protocol):
    """What the engine needs of the application's state manager; see ``execution_state_manager`` for the shapes."""

    async def create_execution(self, workflow_id: str, input_data: dict[str, Any]) -> str:
        """Create an execution and return its id."""

    async def update_step_status(
        self, execution_id: str, step_id: str, status: str, output: object = None, error: str | None = None
    ) -> None:
        """Replace what is known of a step."""

    async def update_execution_status(self, execution_id: str, status: str, error: str | None = None) -> None:
        """Set the status."""

    async def update_execution_inputs(self, execution_id: str, new_inputs: dict[str, Any]) -> None:
        """Merge inputs."""

    async def get_execution_state(self, execution_id: str) -> dict[str, Any] | None:
        """Return the state; None where there is no such execution."""

    async def get_step_output(self, execution_id: str, step_id: str) -> object:
        """Return what a step gave."""


class Notifier(Protocol):
    """What the engine needs of the application's notifier; see ``websockets``."""

    async def notify_workflow_status(
        self, user_id: str, execution_id: str, status: str, data: dict[str, Any] | None = None
    ) -> None:
        """Tell a user."""


class BackgroundTasks(Protocol):
    """What runs an execution behind an answered request, as web frameworks have it."""

    def add_task(self, function: Callable[..., Any], /, *arguments: Any) -> None:  # noqa: ANN401 - of the function
        """Call ``function`` later."""


class Nobody:
    """A notifier that tells nobody."""

    async def notify_workflow_status(
        self, user_id: str, execution_id: str, status: str, data: dict[str, Any] | None = None
    ) -> None:
        """Do nothing."""
