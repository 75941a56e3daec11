"""Who is told what an execution does: the seam where the application sends it on to its users."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    Listener: TypeAlias = Callable[[str, str, str, dict[str, Any] | None], None]

_logger = logging.getLogger(__name__)


class ConnectionManager:
    """Hands every notification to those who listen."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener(user_id, execution_id, status, data)`` at every notification from now on.

        Returns:
            A function that ends it.
        """
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def notify_workflow_status(
        self, user_id: str, execution_id: str, status: str, data: dict[str, Any] | None = None
    ) -> None:
        """Tell what an execution does.

        Args:
            user_id: Who is to know.
            execution_id: Which execution.
            status: An execution's status, or ``STEP_RUNNING``, ``STEP_COMPLETED``, ``STEP_FAILED``, ``STEP_SKIPPED``.
            data: What belongs to it, such as ``{"step_id": "charge"}``; None for nothing.
        """
        _logger.debug("%s %s %s", execution_id, status, data)
        for listener in tuple(self._listeners):
            listener(user_id, execution_id, status, data)


_connection_manager = ConnectionManager()


def get_connection_manager() -> ConnectionManager:
    """Return the one of this process."""
    return _connection_manager
