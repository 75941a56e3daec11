"""The bodies that run now: each holds a slot of the engine, nothing that one does ends more than its own step."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from core.clock import GRACE_SECONDS, end_cancelled
from core.exceptions import AgentExecutionError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


class Ended(Struct, frozen=True):
    """How an attempt ended.

    Attributes:
        step: Key of the step.
        attempt: Number of the attempt.
        output: What it gave, where ``error`` is None and it was not cancelled.
        error: Why it failed.
        is_cancelled: It ended, or was given up, because that was asked of it.
    """

    step: str
    attempt: int
    output: Any = None
    error: BaseException | None = None
    is_cancelled: bool = False


class _Body:
    __slots__ = ("attempt", "grace", "has_slot", "is_cancelled", "is_over", "name", "step", "task")

    task: asyncio.Task[Any]

    def __init__(self, step: str, attempt: int, name: str) -> None:
        self.step = step
        self.attempt = attempt
        self.name = name
        self.has_slot = True
        self.is_cancelled = False
        self.is_over = False
        self.grace: asyncio.TimerHandle | None = None


_current: ContextVar[tuple[asyncio.Semaphore, _Body] | None] = ContextVar("_current", default=None)
"""The body that calls, within one; what it starts as tasks of its own calls in its name."""


@asynccontextmanager
async def lent_slot() -> AsyncIterator[None]:
    """Lend the slot of the body that calls to others, and have one again at the end; elsewhere, do nothing."""
    found = _current.get()
    if found is None or not found[1].has_slot:
        yield
        return
    semaphore, body = found
    body.has_slot = False
    semaphore.release()
    try:
        yield
    except Exception:
        await _take_back(semaphore, body)
        raise
    await _take_back(semaphore, body)


async def _take_back(semaphore: asyncio.Semaphore, body: _Body) -> None:
    await semaphore.acquire()
    if body.is_over:
        semaphore.release()
    else:
        body.has_slot = True


class Bodies:
    """The running bodies of one execution.

    Args:
        semaphore: The engine's slots; a body gives its own back when it has really ended, or was given up.
        report: Told how each one ended.
    """

    def __init__(self, semaphore: asyncio.Semaphore, report: Callable[[Ended], None]) -> None:
        self._semaphore = semaphore
        self._report = report
        self._running: dict[tuple[str, int], _Body] = {}

    def run(self, step: str, attempt: int, name: str, work: Callable[[], Awaitable[Any]]) -> None:
        """Run ``work`` in a slot that was acquired before; ``name`` is the step's name in errors."""
        body = self._running[step, attempt] = _Body(step, attempt, name)
        body.task = asyncio.create_task(self._run(body, work))
        body.task.add_done_callback(partial(self._ended, body))

    @property
    def are_running(self) -> bool:
        """Tell whether a body has yet to be reported."""
        return bool(self._running)

    def cancel_all(self) -> None:
        """Cancel every body."""
        for step, attempt in list(self._running):
            self.cancel(step, attempt)

    def cancel(self, step: str, attempt: int) -> None:
        """Cancel a body; it is reported when it has ended, at the latest after the grace. Of an ended one: nothing."""
        body = self._running.get((step, attempt))
        if body is None or body.is_cancelled:
            return
        body.is_cancelled = True
        body.task.cancel()
        body.grace = asyncio.get_running_loop().call_later(GRACE_SECONDS, self._give_up, body)

    async def stop(self) -> None:
        """Cancel all bodies and wait for them, at most for the grace; nobody is told how they ended."""
        self._report = _nobody
        self.cancel_all()
        await end_cancelled(*(body.task for body in self._running.values()))

    async def _run(self, body: _Body, work: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401 - what a step gives
        """Return what ``work`` gives; what would end the event loop becomes an error of the step."""
        _current.set((self._semaphore, body))
        try:
            return await work()
        except (SystemExit, KeyboardInterrupt) as error:
            raise AgentExecutionError(body.name, f"{type(error).__name__}: {error}", cause=error) from error

    def _ended(self, body: _Body, task: asyncio.Task[Any]) -> None:
        if body.grace is not None:
            body.grace.cancel()
        error = None if task.cancelled() else task.exception()
        if self._running.pop((body.step, body.attempt), None) is not None:
            self._report(_outcome(body, task, error))
        self._free(body)

    def _give_up(self, body: _Body) -> None:
        self._running.pop((body.step, body.attempt), None)
        self._report(Ended(body.step, body.attempt, is_cancelled=True))
        self._free(body)

    def _free(self, body: _Body) -> None:
        body.is_over = True
        if body.has_slot:
            body.has_slot = False
            self._semaphore.release()


def _outcome(body: _Body, task: asyncio.Task[Any], error: BaseException | None) -> Ended:
    if task.cancelled():
        # Nobody asked for it: a step that raises CancelledError has failed like any other.
        error = None if body.is_cancelled else AgentExecutionError(body.name, "it cancelled itself")
        return Ended(body.step, body.attempt, error=error, is_cancelled=body.is_cancelled)
    if error is not None:
        return Ended(body.step, body.attempt, error=error)
    return Ended(body.step, body.attempt, output=task.result())


def _nobody(_: Ended) -> None:
    pass
