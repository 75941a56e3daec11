"""An event loop whose time jumps to the next timer when nothing else is to be done.

The one place where an asyncio loop waits is the ``select`` of its selector. There, and only when nothing is ready:

1. While a function runs on a thread (``run_in_executor``, ``asyncio.to_thread``, a sync action) time stands still. What
   such functions give is handed over in the order in which they were submitted, and never while anything else is ready,
   so that the speed of a thread changes nothing.
2. While a socket or a pipe is watched, time goes as fast as real time does.
3. Otherwise time jumps to the next timer.
4. Where there is none, nothing will ever happen, and ``stuck`` is told so.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from treadle.testing.clock import ManualClock

    _Select = Callable[[float | None], "_Events"]
    _Events = list[tuple[selectors.SelectorKey, int]]

OWN_SOCKETS = 1
"""What a loop watches by itself: the socket by which other threads wake it."""


_RESOLUTION_SECONDS = 1e-6


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop on a ``ManualClock``.

    Args:
        clock: Its time; moved by the loop, only forward.
        patience: Seconds of real time that one ``run_until_complete`` may take.

    Attributes:
        stuck: Told, in words, why nothing will ever happen, or that patience is over. It must see to it that the loop
            stops, or it is told again.
    """

    def __init__(self, clock: ManualClock, patience: float) -> None:
        self.clock = clock
        self.stuck: Callable[[str], None] = _nobody
        self._patience = patience
        self._give_up_at = time.monotonic() + patience
        self._work: deque[tuple[Future[Any], asyncio.Future[Any]]] = deque()
        self._quiet: list[asyncio.Future[None]] = []
        self._pool: ThreadPoolExecutor | None = None
        super().__init__(_Selector(self))
        # A timer is due when its time is less than this ahead; below what a float of many seconds can tell, never.
        self._clock_resolution = _RESOLUTION_SECONDS

    def time(self) -> float:
        """Return virtual seconds."""
        return self.clock.elapsed

    def run_until_complete(self, future: Any) -> Any:  # noqa: ANN401 - as the loop it stands for
        """Run as any loop does, with patience anew."""
        self._give_up_at = time.monotonic() + self._patience
        return super().run_until_complete(future)

    async def quiet(self) -> None:
        """Wait until all is done that can be done at this time."""
        waiter: asyncio.Future[None] = self.create_future()
        self._quiet.append(waiter)
        await waiter

    def run_in_executor(  # type: ignore[override]  # the stub's way to spell what ``*args`` are
        self,
        executor: Executor | None,
        func: Callable[..., Any],
        *args: Any,  # noqa: ANN401 - as of the base
    ) -> asyncio.Future[Any]:
        """Run a function on a thread, with time standing still."""
        if executor is None:
            executor = self._pool = self._pool or ThreadPoolExecutor(thread_name_prefix="treadle-rehearsal")
        work = executor.submit(func, *args)
        waiter: asyncio.Future[Any] = self.create_future()
        self._work.append((work, waiter))
        work.add_done_callback(self._wake)
        return waiter

    def close(self) -> None:
        """Close the loop, and let threads go that still run something."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        super().close()

    def _wake(self, _: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits for it any more
            self.call_soon_threadsafe(_nothing)

    def wait_for_events(self, select: _Select, watched: int, timeout: float | None) -> _Events:
        """Take the place of the selector's ``select``, by the rule at the top of this module."""
        left = self._give_up_at - time.monotonic()
        if left <= 0:
            self._give_up_at = float("inf")
            self.stuck(f"it takes more than {self._patience:g} s of real time")
        if timeout == 0 or left <= 0:
            return select(0)
        while self._work and self._work[0][1].done():  # whoever waited for it was cancelled
            self._work.popleft()
        if self._work:
            return self._wait_for_work(select, left)
        if self._quiet:
            quiet, self._quiet = self._quiet, []
            for waiter in quiet:
                if not waiter.done():
                    waiter.set_result(None)
            return select(0)
        if watched > OWN_SOCKETS:
            return self._wait_for_sockets(select, timeout, left)
        if timeout is None:
            self.stuck("nothing is left that could happen")
        else:
            self.clock.advance(timeout)
        return select(0)

    def _wait_for_work(self, select: _Select, left: float) -> _Events:
        work, waiter = self._work[0]
        if not work.done():
            return select(left)
        self._work.popleft()
        error = work.exception()
        if error is None:
            waiter.set_result(work.result())
        else:
            waiter.set_exception(error)
        return select(0)

    def _wait_for_sockets(self, select: _Select, timeout: float | None, left: float) -> _Events:
        before = time.monotonic()
        events = select(left if timeout is None else min(timeout, left))
        passed = time.monotonic() - before
        self.clock.advance(passed if timeout is None else min(passed, timeout))
        return events


class _Selector(selectors.DefaultSelector):
    """The system's selector, asking its loop how to wait."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._treadle_loop = loop

    def select(self, timeout: float | None = None) -> _Events:
        return self._treadle_loop.wait_for_events(super().select, len(self.get_map()), timeout)


def _nobody(why: str) -> None:
    raise AssertionError(f"nobody listens, and {why}")


def _nothing() -> None:
    """Wake the loop."""
