"""The engine's own threads for sync actions.

Daemon threads, unlike those of ``concurrent.futures``: a function that never returns must not keep the process from
ending. A thread is started when there is more work than idle threads, up to the limit.
"""

from __future__ import annotations

import os
import queue
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Threads:
    """A bounded pool; work beyond it waits in line.

    Args:
        limit: How many threads at most.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._count = 0
        self._pid = os.getpid()

    def submit(self, work: Callable[[], None]) -> bool:
        """Run ``work``, which must not raise, on a thread.

        Returns:
            False if there is no thread and the system gives none; the work waits until ``grow`` gets one.
        """
        self._work.put(work)
        with self._lock:
            if self._idle:
                self._idle -= 1
            elif self._count < self._limit:
                self._start()
            return bool(self._count)

    def grow(self) -> bool:
        """Try again to start a thread, and tell whether there is one."""
        with self._lock:
            if not self._count and not self._work.empty():
                self._start()
            return bool(self._count) or self._work.empty()

    def stop(self) -> None:
        """End idle threads, and the others once they return. Safe twice."""
        with self._lock:
            count, self._count = self._count, 0
        for _ in range(count):
            self._work.put(None)

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name=f"treadle-step-{self._count + 1}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return  # the system has no more; those there are will come round to it
        self._count += 1

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            if os.getpid() != self._pid:  # the function forked, and its child came back here instead of ending
                os._exit(0)
            with self._lock:
                self._idle += 1
