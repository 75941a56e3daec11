"""One wake-up for all who wait for a time: the earliest of them."""

from __future__ import annotations

import asyncio
import heapq
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

_SLACK = 64


class Time(Protocol):
    """What timers are due by."""

    longest_sleep_seconds: float

    def now_ms(self) -> int:
        """Return the time, in milliseconds since the epoch."""


class Timers:
    """Due times by key, with one loop timer for the earliest.

    Args:
        clock: What their time is.
        due: Called with the keys whose time has come, in order of their time.
    """

    def __init__(self, clock: Time, due: Callable[[list[str]], None]) -> None:
        self._clock = clock
        self._due = due
        self._wanted: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []
        self._handle: asyncio.TimerHandle | None = None
        self._handle_at = 0

    def set(self, key: str, at: int | None) -> None:
        """Wake ``key`` at ``at``, or (None) not at all; takes the place of what was set before."""
        if at is None:
            self._wanted.pop(key, None)
        elif self._wanted.get(key) != at:
            self._wanted[key] = at
            heapq.heappush(self._heap, (at, key))
            if len(self._heap) > _SLACK + 2 * len(self._wanted):  # most of it is no longer wanted
                self._heap = [(time, name) for name, time in self._wanted.items()]
                heapq.heapify(self._heap)
            if self._handle is None or at < self._handle_at:
                self._arm()

    def stop(self) -> None:
        """Wake nothing more. Safe twice."""
        self._wanted.clear()
        self._heap.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        heap, wanted = self._heap, self._wanted
        while heap and wanted.get(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)
        if heap:
            self._handle_at = heap[0][0]
            seconds = max(0.0, (self._handle_at - self._clock.now_ms()) / 1000)
            loop = asyncio.get_running_loop()
            self._handle = loop.call_later(min(seconds, self._clock.longest_sleep_seconds), self._fire)

    def _fire(self) -> None:
        self._handle = None
        now = self._clock.now_ms()
        keys: list[str] = []
        while self._heap and self._heap[0][0] <= now:
            at, key = heapq.heappop(self._heap)
            if self._wanted.get(key) == at:
                del self._wanted[key]
                keys.append(key)
        if keys:
            self._due(keys)
        self._arm()
