"""Slots: chooses over the ready steps of ALL executions which start now.

The engine's limit is never exceeded and is reached whenever that many steps are ready. By priority first; among equals
each execution in turn, so that a wide one does not starve the others; within an execution in definition order.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from treadle.machine import ReadyStep


class Admitted(Protocol):
    """An execution, as far as admission is concerned."""

    @property
    def priority(self) -> int:
        """Return its priority; higher ones are served first."""

    @property
    def limit(self) -> int | None:
        """Return how many slots it may hold; None for as many as there are."""


class _Queue:
    """The ready steps of one execution and the slots it holds."""

    __slots__ = ("execution", "held", "is_queued", "steps")

    def __init__(self, execution: Admitted) -> None:
        self.execution = execution
        self.steps: list[tuple[int, str]] = []
        self.held = 0
        self.is_queued = False

    @property
    def may_start(self) -> bool:
        if not self.steps:
            return False
        limit = self.execution.limit
        return limit is None or self.held < limit


class Admission:
    """The slots of one engine.

    Args:
        limit: How many there are.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._queues: dict[Admitted, _Queue] = {}
        self._turns: dict[int, deque[_Queue]] = {}

    @property
    def limit(self) -> int:
        """Return how many slots there are."""
        return self._limit

    @property
    def held(self) -> int:
        """Return how many slots are held."""
        return self._held

    def __contains__(self, execution: Admitted) -> bool:
        """Tell whether an execution has ready steps or holds slots."""
        return execution in self._queues

    def offer(self, execution: Admitted, steps: Iterable[ReadyStep]) -> None:
        """Add ready steps of an execution."""
        queue = self._queues.get(execution)
        if queue is None:
            queue = self._queues[execution] = _Queue(execution)
        for ready in steps:
            heapq.heappush(queue.steps, (ready.order, ready.step))
        self._enqueue(queue)

    def withdraw(self, execution: Admitted) -> None:
        """Drop the ready steps of an execution that starts nothing new; the slots it holds stay held."""
        queue = self._queues.get(execution)
        if queue is not None:
            queue.steps.clear()
            self._forget(queue)

    def choose(self) -> tuple[Admitted, str] | None:
        """Take a slot for the next ready step; None when every slot is held or no step may start."""
        if self._held >= self._limit:
            return None
        for priority in sorted(self._turns, reverse=True):
            turns = self._turns[priority]
            while turns:
                queue = turns.popleft()
                queue.is_queued = False
                if queue.may_start:
                    return self._take(queue)
            del self._turns[priority]
        return None

    def release(self, execution: Admitted) -> None:
        """Give one slot of an execution back."""
        queue = self._queues[execution]
        queue.held -= 1
        self._held -= 1
        self._enqueue(queue)
        self._forget(queue)

    def _take(self, queue: _Queue) -> tuple[Admitted, str]:
        _, step = heapq.heappop(queue.steps)
        queue.held += 1
        self._held += 1
        self._enqueue(queue)
        return queue.execution, step

    def _enqueue(self, queue: _Queue) -> None:
        if not queue.is_queued and queue.may_start:
            queue.is_queued = True
            self._turns.setdefault(queue.execution.priority, deque()).append(queue)

    def _forget(self, queue: _Queue) -> None:
        if not queue.held and not queue.steps:
            self._queues.pop(queue.execution, None)
