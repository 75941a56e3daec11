"""The one bridge from code without an event loop.

``asyncio.run`` waits for every task that is left, and so for ever for one that swallows its cancellation. An action may
be like that; it is given up here as it was by the engine.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

_T = TypeVar("_T")

GRACE_SECONDS: Final = 1.0

_given_up: list[asyncio.Runner] = []


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine on an event loop of its own and return what it gives; tasks that do not end are given up."""
    runner = asyncio.Runner()
    try:
        return runner.run(main)
    finally:
        _leave(runner)


def has_given_up() -> bool:
    """Tell whether tasks were given up: they would hold up the end of the process."""
    return bool(_given_up)


def _leave(runner: asyncio.Runner) -> None:
    loop = runner.get_loop()
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        _, tasks = loop.run_until_complete(asyncio.wait(tasks, timeout=GRACE_SECONDS))
    if not tasks:
        runner.close()
        return
    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - as asyncio's own gather does
    _given_up.append(runner)
