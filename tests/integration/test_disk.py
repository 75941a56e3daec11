"""A disk that is full and a file that is locked, by the system itself: the engine waits, says so, and loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from treadle import ExecutionStatus, Settings, StoreError, WorkflowEngine
from treadle.store import sqlite

if TYPE_CHECKING:
    from pathlib import Path

FULL = '''
import asyncio, os, resource, signal, sys
from pathlib import Path
from treadle import Settings, StoreError, WorkflowEngine

WORKFLOW = {"id": "w", "nodes": [{"id": "a", "action": "one"}, {"id": "b", "action": "two"}],
            "connections": [{"source": "a", "target": "b"}]}

def no_more_room(folder):
    """No file of this process may grow from now on: the system refuses each write, as on a full disk."""
    largest = max(path.stat().st_size for path in Path(folder).iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))

async def main(folder):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    calls = []
    async def one():
        calls.append("one")
        no_more_room(folder)
        return os.urandom(100_000).hex()  # which cannot be made small
    async def two():
        calls.append("two")
        return "done"
    settings = Settings(store_retry_ms=5)
    actions = [{"one": one, "two": two}]
    async with WorkflowEngine(1, store=f"{folder}/t.db", actions=actions, settings=settings) as engine:
        await engine.start_workflow(WORKFLOW, execution_id="first")
        while engine.health.ok:
            await asyncio.sleep(0.005)
        print("unhealthy:", engine.health.reason)
        try:
            await engine.start_workflow(WORKFLOW, execution_id="second")
        except StoreError as error:
            print("refused:", error)
        print("calls while full:", calls)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        state = await engine.wait("first")
        print("ended:", state.status.value, state.output, calls, engine.health.ok)
asyncio.run(main(sys.argv[1]))
'''


def test_a_full_disk_stops_new_work_and_the_engine_goes_on_by_itself_when_there_is_room(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    lines = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "t.db") in lines["unhealthy"]
    assert str(tmp_path / "t.db") in lines["refused"]
    assert lines["calls while full"] == "['one']"
    assert lines["ended"] == "COMPLETED done ['one', 'two'] True"


async def test_a_file_that_another_program_locks_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than the wait for a lock: the write fails, the engine stops, and goes on once the lock is gone."""
    monkeypatch.setattr(sqlite, "BUSY_MS", 10)
    gate = asyncio.Event()

    async def act() -> int:
        await gate.wait()
        return 1

    settings = Settings(store_retry_ms=5)
    path = tmp_path / "t.db"
    workflow = {"id": "w", "nodes": [{"id": "a", "action": "act"}]}
    async with (
        asyncio.timeout(30),
        WorkflowEngine(store=path, actions=[{"act": act}], settings=settings) as engine,
    ):
        await engine.start_workflow(workflow, execution_id="one")
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("begin immediate")
            gate.set()
            while engine.health.ok:  # noqa: ASYNC110 - health is looked at, it does not call
                await asyncio.sleep(0.005)
            assert "locked" in engine.health.reason
            with pytest.raises(StoreError, match="locked"):
                await engine.start_workflow(workflow)
            other.execute("rollback")
        state = await engine.wait("one")
        assert (state.status, state.steps["a"].attempt, engine.health.ok) == (ExecutionStatus.COMPLETED, 1, True)
