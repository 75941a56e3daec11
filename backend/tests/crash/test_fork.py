"""A forked child, as servers have them that fork behind an import: what its parent holds is not its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

BACKEND = Path(__file__).parents[2]

APPLICATION = """
import asyncio, os
from core.execution_state_manager import ExecutionStateManager, get_state_manager
from core.workflow_engine import WorkflowEngine, get_workflow_engine
import treadle

async def run(engine):
    execution = await engine.start_workflow({"id": "w", "steps": []}, {})
    while engine._background_tasks:
        await asyncio.gather(*engine._background_tasks)
    return (await engine.state_manager.get_execution_state(execution))["status"]

engine, manager = get_workflow_engine(), get_state_manager()
print("parent", asyncio.run(run(engine)), flush=True)
if os.fork() == 0:
    assert get_workflow_engine() is not engine and get_state_manager() is not manager
    for name, one in {"child": get_state_manager(), "child with the parent's": manager}.items():
        try:
            print(name, asyncio.run(asyncio.wait_for(one.create_execution("w", {}), 10)) and "created", flush=True)
        except treadle.StoreLockedError as error:
            print(name, "locked by its parent:", str(os.getppid()) in str(error), flush=True)
    if os.environ["TREADLE_DB"]:
        os.environ["TREADLE_DB"] += ".of-child"
        own = WorkflowEngine(state_manager=ExecutionStateManager())
        print("child with a file of its own", asyncio.run(run(own)), flush=True)
    os._exit(0)
os.wait()
print("parent", asyncio.run(run(engine)), flush=True)
"""


def run(**environment: str) -> list[str]:
    known = {**os.environ, "PYTHONPATH": str(BACKEND), **environment}
    code = [sys.executable, "-c", APPLICATION]
    return subprocess.run(code, env=known, check=True, capture_output=True, text=True, timeout=60).stdout.splitlines()


def test_a_forked_child_is_refused_the_file_of_its_parent_in_words_and_may_have_its_own(tmp_path: Path) -> None:
    assert run(TREADLE_DB=str(tmp_path / "executions.db")) == [
        "parent COMPLETED",
        "child locked by its parent: True",
        "child with the parent's locked by its parent: True",
        "child with a file of its own COMPLETED",
        "parent COMPLETED",
    ]


def test_a_forked_child_has_a_memory_of_its_own() -> None:
    assert run(TREADLE_DB="") == [
        "parent COMPLETED",
        "child created",
        "child with the parent's created",
        "parent COMPLETED",
    ]
