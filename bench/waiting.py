"""Executions that only wait: the memory, tasks and threads they hold, and how fast events reach them.

Each figure is taken in a process of its own, by what it grows: from when as many executions wait as the engine keeps
in memory (``Settings.idle_executions``) to when ten thousand more do. The resident set counts everything, the allocator
and SQLite included; the heap, in another process, is what Python's ``tracemalloc`` counts. A third process has a
thousand executions in all, those in memory among them.
"""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Final

from treadle import Settings, WorkflowEngine, load_workflow

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import TypeAlias

    Play: TypeAlias = Callable[[Path, int, int], Coroutine[None, None, dict[str, float]]]

ROOT: Final = Path(__file__).parents[1]
IN_FLIGHT: Final = 500
PAGE: Final = 4_096
TIMER: Final = {"id": "timer", "nodes": [{"id": "w", "type": "wait", "duration": "30d"}]}
EVENT: Final = {
    "id": "event",
    "nodes": [{"id": "e", "type": "event", "event": "paid", "key": "${input.order}", "timeout": "30d"}],
}


def play_waiting(folder: Path, *, count: int, size: int, idle: int) -> list[dict[str, float]]:
    """Return ``count`` rounds of ``size`` executions beyond the ``idle`` ones that are kept in memory."""
    return [_play_once(folder, size, idle) for _ in range(count)]


def _play_once(folder: Path, size: int, idle: int) -> dict[str, float]:
    found: dict[str, float] = {}
    for what in PLAYS:
        with tempfile.TemporaryDirectory(prefix="treadle-bench-", dir=folder) as name:
            command = [sys.executable, "-m", "bench.waiting", what, str(Path(name) / "w.db"), str(size), str(idle)]
            done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        found |= json.loads(done.stdout)
    return found


async def resident(path: Path, size: int, idle: int) -> dict[str, float]:
    """Return what the process grows by, and the seconds to start them and to send half of them their event."""
    async with WorkflowEngine(store=path, settings=Settings(idle_executions=idle)) as engine:
        await _start(engine, range(-idle, 0))
        before, tasks, threads = _resident_bytes(), len(asyncio.all_tasks()), threading.active_count()
        began = time.perf_counter()
        await _start(engine, range(size))
        started = time.perf_counter() - began
        grown = {
            "away_bytes": (_resident_bytes() - before) / size,
            "more_tasks": float(len(asyncio.all_tasks()) - tasks),
            "more_threads": float(threading.active_count() - threads),
        }
        began = time.perf_counter()
        answers: list[bool] = []

        async def send(number: int) -> None:
            answers.append(await engine.send_event("paid", number))

        await _in_flight(range(1, size, 2), send)
        sent = time.perf_counter() - began
        if answers.count(True) != size // 2:
            raise RuntimeError(f"{answers.count(True)} of {size // 2} events were taken")
    return {**grown, "start_per_s": size / started, "send_per_s": len(answers) / sent}


async def heap(path: Path, size: int, idle: int) -> dict[str, float]:
    """Return the bytes of Python's heap for each execution that is kept in memory, and for each that left it."""
    async with WorkflowEngine(store=path, settings=Settings(idle_executions=idle)) as engine:
        await _start(engine, range(-idle, 0))
        await _start(engine, range(size, size + idle))  # whatever grows once has grown
        tracemalloc.start()
        empty = _heap_bytes()
        await _start(engine, range(size + idle, size + 2 * idle))  # in the place of those that were there before
        kept = _heap_bytes()
        await _start(engine, range(size))
        return {"kept_heap_bytes": (kept - empty) / max(idle, 1), "away_heap_bytes": (_heap_bytes() - kept) / size}


async def all_together(path: Path, size: int, idle: int) -> dict[str, float]:
    """Return the bytes of Python's heap for each of a tenth of ``size`` executions, kept in memory or not."""
    count = size // 10
    async with WorkflowEngine(store=path, settings=Settings(idle_executions=idle)) as engine:
        for execution_id in await _start(engine, range(-count, 0)):
            await engine.terminate_execution(execution_id)  # whatever grows once has grown
            await engine.wait(execution_id)
        tracemalloc.start()
        empty = _heap_bytes()
        await _start(engine, range(count))
        return {"together_bytes": (_heap_bytes() - empty) / count}


async def _start(engine: WorkflowEngine, numbers: range) -> list[str]:
    """Start executions and return once all of them wait: one for a time, the next for an event, and so on."""
    timer, event = load_workflow(TIMER), load_workflow(EVENT)
    started: list[str] = []

    async def start(number: int) -> None:
        started.append(await engine.start_workflow(event if number % 2 else timer, {"order": number}))

    await _in_flight(numbers, start)
    return started


async def _in_flight(numbers: range, work: Callable[[int], Awaitable[None]]) -> None:
    left = iter(numbers)

    async def worker() -> None:
        for number in left:
            await work(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(worker())


def _resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE


def _heap_bytes() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


PLAYS: Final[dict[str, Play]] = {
    "resident": resident,
    "heap": heap,
    "together": all_together,
}

if __name__ == "__main__":
    what, path, size, idle = sys.argv[1:]
    sys.stdout.write(json.dumps(asyncio.run(PLAYS[what](Path(path), int(size), int(idle)))))
