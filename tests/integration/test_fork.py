"""A forked child may not use its parent's engine, and neither its use nor its end harms the parent."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FORKED = """
import asyncio, os, sys
from treadle import Client, StoreError, WorkflowEngine

WORKFLOW = {"id": "w", "nodes": [{"id": "a", "action": "act"}]}
async def act(): return 1

def in_child(engine, client):
    async def use():
        for call in (engine.start_workflow(WORKFLOW), engine.state_manager.list_executions(),
                     client.state_manager.list_executions()):
            try:
                await asyncio.wait_for(call, 5)
            except StoreError as error:
                print("refused:", error, flush=True)
        await engine.close()
    asyncio.new_event_loop().run_until_complete(use())

async def main():
    async with WorkflowEngine(store=sys.argv[1], actions=[{"act": act}]) as engine, Client(sys.argv[1]) as client:
        await engine.run_workflow(WORKFLOW, execution_id="one")
        child = os.fork()
        if not child:
            try:
                asyncio.events._set_running_loop(None)
                in_child(engine, client)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        second = WorkflowEngine(store=sys.argv[1])
        try:
            await second.__aenter__()
        except StoreError as error:
            print("still locked:", error)
        state = await engine.run_workflow(WORKFLOW, execution_id="two")
        print("parent:", state.status.value)
asyncio.run(main())
"""


def test_a_forked_child_is_refused_and_the_parent_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORKED, str(tmp_path / "t.db")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["refused"] * 3 + ["still locked", "parent"]
    assert all("fork" in line or "not open in this process" in line for line in lines[:3]), lines
    assert lines[-1] == "parent: COMPLETED"


OUTLIVES = """
import asyncio, os, sys
from treadle import WorkflowEngine

async def main():
    reading, writing = os.pipe()
    async with WorkflowEngine(store=sys.argv[1]):
        if not os.fork():
            os.close(writing)
            os.read(reading, 1)
            os._exit(0)
    async with WorkflowEngine(store=sys.argv[1]):
        print("opened again beside the child")
asyncio.run(main())
"""


def test_a_forked_child_that_outlives_the_engine_does_not_keep_its_lock(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OUTLIVES, str(tmp_path / "t.db")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("opened again beside the child\n", "")
