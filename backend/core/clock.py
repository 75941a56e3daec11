"""The engine's time, in one place: what reads or waits does it through a ``Clock``, so that tests own the time."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")

GRACE_SECONDS: Final = 5.0
"""How long a cancelled body may take to end. Then it is given up: its result and its slot no longer count."""


class OutOfTimeError(Exception):
    """A body was still running when its time was over; not ``TimeoutError``, which a body may raise by itself."""


class Clock(Protocol):
    """Time as the engine needs it."""

    def now(self) -> float:
        """Return seconds since the epoch; never less than before."""

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds``; at once for 0 or less."""


class SystemClock:
    """The real time: the wall clock's when it was made, carried on by the monotonic clock."""

    def __init__(self) -> None:
        self._lead = time.time() - time.monotonic()

    def now(self) -> float:
        """Return seconds since the epoch."""
        return self._lead + time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    async def elapse(self, seconds: float) -> None:
        """Return when ``seconds`` have passed, also where the application has something else for ``asyncio.sleep``."""
        over = asyncio.Event()
        timer = asyncio.get_running_loop().call_later(seconds, over.set)
        try:
            await over.wait()
        finally:
            timer.cancel()


async def within(clock: Clock, seconds: float, body: Coroutine[Any, Any, T]) -> T:
    """Return what ``body`` gives if it ends within ``seconds``.

    A body that is late, or whose caller is cancelled, is cancelled and waited for, at most for the grace.

    Raises:
        OutOfTimeError: It did not end in time.
    """
    task = asyncio.ensure_future(body)
    # A delay may be left out, and tests of applications do that; a deadline that is left out has not passed.
    timer = asyncio.ensure_future(getattr(clock, "elapse", clock.sleep)(seconds))
    try:
        await asyncio.wait((task, timer), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise OutOfTimeError
    finally:
        timer.cancel()
        await end_cancelled(task)


async def end_cancelled(*tasks: asyncio.Future[Any]) -> None:
    """Cancel those of ``tasks`` that run, and wait for them, at most for the grace; their results are dropped."""
    running = [task for task in tasks if not task.done()]
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running, timeout=GRACE_SECONDS)
    for task in running:
        if task.done() and not task.cancelled():
            task.exception()  # seen: asyncio does not complain about an error that nobody looked at
