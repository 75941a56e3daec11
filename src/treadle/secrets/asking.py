"""Asking what may block, away from the loop, on a thread that keeps no process from ending."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")


async def on_a_thread(function: Callable[[], _T]) -> _T:
    """Return what a function gives, or raise what it raises.

    The thread is a daemon of its own, unlike those of ``asyncio.to_thread``: one that never comes back must hold up
    neither others nor the end of the process.

    Raises:
        RuntimeError: The system gives no thread.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()
    context = contextvars.copy_context()

    def work() -> None:
        try:
            result = context.run(function)
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            tell(future.set_exception, _as_told(error))
        else:
            tell(future.set_result, result)

    def tell(how: Callable[[Any], None], what: object) -> None:
        try:
            loop.call_soon_threadsafe(lambda: None if future.done() else how(what))
        except RuntimeError:  # the loop is closed: nobody waits any more
            return

    threading.Thread(target=work, name="treadle-secret", daemon=True).start()
    return await future


def _as_told(error: BaseException) -> BaseException:
    """Return an error that a future takes."""
    return RuntimeError("it raised StopIteration") if isinstance(error, StopIteration) else error
