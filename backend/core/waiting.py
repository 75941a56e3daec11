"""What a run waits for besides its bodies: a slot of the engine, and a point in time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.clock import Clock


class SlotRequest:
    """At most one place of an execution in the line for the engine's slots.

    One at a time, so that the executions of an engine take turns; which step gets the slot is decided when it is there.

    Args:
        semaphore: The engine's slots; first come, first served.
        granted: Called when a slot is ours, until it is handed over or given back.
    """

    def __init__(self, semaphore: asyncio.Semaphore, granted: Callable[[], None]) -> None:
        self._semaphore = semaphore
        self._granted = granted
        self._request: asyncio.Task[bool] | None = None

    def want(self) -> None:
        """Stand in line, if not there already."""
        if self._request is None:
            self._request = asyncio.create_task(self._semaphore.acquire())
            self._request.add_done_callback(self._done)

    def hand_over(self) -> None:
        """Let go of the granted slot, which is now the caller's to give back."""
        self._request = None

    def give_back(self) -> None:
        """Give back the granted slot: nothing wants it now."""
        self._request = None
        self._semaphore.release()

    async def stop(self) -> None:
        """Leave the line, and give back a slot that was granted and not handed over."""
        request, self._request = self._request, None
        if request is None:
            return
        request.cancel()
        await asyncio.wait((request,))
        if not request.cancelled():
            self._semaphore.release()

    def _done(self, request: asyncio.Task[bool]) -> None:
        if request is self._request and not request.cancelled():
            self._granted()


class Alarm:
    """One call at one time.

    Args:
        clock: What the time is read from and waited by.
        ring: Called with the time that was set, once it has come.
    """

    def __init__(self, clock: Clock, ring: Callable[[int], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._due: int | None = None
        self._task: asyncio.Task[None] | None = None

    def set(self, due: int | None) -> None:
        """Ring at ``due``, in milliseconds since the epoch, and at no other time; None for not at all."""
        if due != self._due:
            self.stop()
            if due is not None:
                self._due = due
                self._task = asyncio.create_task(self._wait(due))

    def stop(self) -> None:
        """Ring no more. Safe twice."""
        self._due = None
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _wait(self, due: int) -> None:
        await self._clock.sleep((due - round(self._clock.now() * 1000)) / 1000)
        self._due = self._task = None
        self._ring(due)
