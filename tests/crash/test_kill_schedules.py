"""kill -9 while schedules come due every second: each planned time has one execution, whenever the process died."""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from treadle import WorkflowEngine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

CHILD = """
import asyncio, sys
from treadle import WorkflowEngine

async def act(at):
    pass

async def main():
    async with WorkflowEngine(store=sys.argv[1], actions=[{"act": act}]) as engine:
        print("open", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""
WORKFLOW = {"id": "w", "nodes": [{"id": "a", "action": "act", "parameters": {"at": "${input.at}"}}]}
OVERLAPS = ("allow", "queue", "skip")
KILLS = 6


async def act(at: str) -> None:
    """Do nothing."""


async def _add(path: Path) -> None:
    async with WorkflowEngine(store=path, actions=[{"act": act}], recover="none") as engine:
        for overlap in OVERLAPS:
            await engine.schedule(
                WORKFLOW,
                "* * * * * *",
                overlap=overlap,
                schedule_id=overlap,
                input_data={"at": "${schedule.planned_at}"},
            )


async def _finish(path: Path) -> None:
    """Make up what was missed, and let everything end."""
    async with asyncio.timeout(60), WorkflowEngine(store=path, actions=[{"act": act}]) as engine:
        until = datetime.now(UTC)
        for overlap in OVERLAPS:
            await _eventually(lambda name=overlap: _is_made_up(engine, name, until))
            await engine.pause_schedule(overlap)
        for row in (await engine.list_executions(limit=10_000))[0]:
            await engine.wait(row.execution_id, until="ended")


async def _is_made_up(engine: WorkflowEngine, name: str, until: datetime) -> bool:
    found = await engine.get_schedule(name)
    return found.next_at is not None and found.next_at > until and not found.queued_at


async def _eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    while not await holds():  # noqa: ASYNC110 - the engine tells nobody
        await asyncio.sleep(0.01)


@pytest.mark.slow
def test_killed_at_random_each_planned_time_has_one_execution(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    asyncio.run(_add(path))
    draw = random.Random(6)
    for _ in range(KILLS):
        with subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            # Near a full second, where it is busy; a second or two are missed meanwhile and made up by the next.
            time.sleep(1 - time.time() % 1 + draw.uniform(0, 0.02) + draw.choice((0, 1)))
            process.send_signal(signal.SIGKILL)
    asyncio.run(_finish(path))
    with sqlite3.connect(path) as connection:
        rows = connection.execute("select execution_id, status from executions").fetchall()
    assert {status for _, status in rows} == {"COMPLETED"}
    for overlap in OVERLAPS:
        planned = sorted(
            datetime.strptime(name.partition("/")[2], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
            for name, _ in rows
            if name.startswith(f"{overlap}/")
        )
        assert len(planned) == len(set(planned)) >= KILLS
        if overlap != "skip":
            seconds = (planned[-1] - planned[0]) // timedelta(seconds=1)
            assert len(planned) == seconds + 1, "no second is missing"
