"""Ten thousand schedules that come due at once, beside as many plain starts of the same workflow in the same round.

The clock of the engine stands still while they are added, and then goes on right before the minute in which all of them
are due. What is timed is from there to the last action, with everything that keeps a schedule durable: deciding, two
commits, and the start of the execution.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from bench.contestants import Watch
from bench.graphs import ACTION, chain, document
from treadle import Settings, WorkflowEngine, load_workflow
from treadle.actions import Registry
from treadle.drivers.local import LocalDriver
from treadle.drivers.local.clock import Clock
from treadle.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from treadle import Workflow

MINUTE: Final = datetime(2030, 1, 1, 9, tzinfo=UTC)
"""In which they are due."""

LIMIT: Final = 100
IN_FLIGHT: Final = 500


class ScheduleRound(Struct, frozen=True):
    """One round, in seconds.

    Attributes:
        scheduled: From the minute in which all are due to the last action.
        scheduled_cpu: CPU of all threads during it.
        plain: From the first plain start to the last action.
    """

    scheduled: float
    scheduled_cpu: float
    plain: float


class Counted:
    """The action: it counts its calls.

    Args:
        wanted: How many there will be.

    Attributes:
        all_called: Set by the last one.
    """

    def __init__(self, wanted: int) -> None:
        self._left = wanted
        self.all_called = asyncio.Event()

    async def step(self, inputs: list[int]) -> int:
        """Return one more than the largest input."""
        self._left -= 1
        if not self._left:
            self.all_called.set()
        return 1 + max(inputs, default=0)


class StoppedClock(Clock):
    """The host's time, from another day, which stands still until it is let go."""

    longest_sleep_seconds = 0.01

    def __init__(self) -> None:
        self._stands_at: float | None = MINUTE.timestamp() - 60
        self._ahead = 0.0
        super().__init__(wall=self._seconds)

    def _seconds(self) -> float:
        return time.time() + self._ahead if self._stands_at is None else self._stands_at

    def go_on_at(self, seconds: float) -> None:
        """Go on from a time, in seconds since the epoch."""
        self._ahead, self._stands_at = seconds - time.time(), None


def play_schedules(folder: Path, *, count: int, size: int) -> list[ScheduleRound]:
    """Return ``count`` rounds of ``size`` schedules, after one that does not count."""
    workflow = load_workflow(document(chain(1)), actions=[ACTION])
    return [_play_once(folder, workflow, size) for _ in range(count + 1)][1:]


def _play_once(folder: Path, workflow: Workflow, size: int) -> ScheduleRound:
    with tempfile.TemporaryDirectory(prefix="treadle-bench-", dir=folder) as name:
        gc.collect()
        scheduled = asyncio.run(_run_scheduled(Path(name) / "scheduled.db", workflow, size))
        gc.collect()
        plain = asyncio.run(_run_plain(Path(name) / "plain.db", workflow, size))
    return ScheduleRound(scheduled.seconds, scheduled.cpu_seconds, plain.seconds)


async def _run_scheduled(path: Path, workflow: Workflow, size: int) -> Watch:
    counted, clock = Counted(size), StoppedClock()
    async with _engine(path, counted, clock) as engine:

        async def add(number: int) -> None:
            await engine.schedule(workflow, f"{MINUTE.minute} {MINUTE.hour} * * *", schedule_id=f"s{number}")

        await _in_flight(size, add)
        clock.go_on_at(MINUTE.timestamp())
        with Watch() as watch:
            await counted.all_called.wait()
    return watch


async def _run_plain(path: Path, workflow: Workflow, size: int) -> Watch:
    counted = Counted(size)
    async with _engine(path, counted, Clock()) as engine:

        async def start(_: int) -> None:
            await engine.start_workflow(workflow)

        with Watch() as watch:
            await _in_flight(size, start)
            await counted.all_called.wait()
    return watch


def _engine(path: Path, counted: Counted, clock: Clock) -> WorkflowEngine:
    registry, settings = Registry([{ACTION: counted.step}]), Settings()
    driver = LocalDriver(SqliteStore(path), registry, max_concurrent_steps=LIMIT, settings=settings, clock=clock)
    return WorkflowEngine(LIMIT, actions=[registry], settings=settings, driver=driver)


async def _in_flight(size: int, work: Callable[[int], Awaitable[None]]) -> None:
    left = iter(range(size))

    async def worker() -> None:
        for number in left:
            await work(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(worker())
