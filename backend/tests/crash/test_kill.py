"""A process that is killed: what it acknowledged is there, what it completed never runs again, the rest goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from core.execution_state_manager import ExecutionStateManager
from treadle.store.sqlite import SqliteStore

ROOT = Path(__file__).parents[3]
APPLICATION = Path(__file__).with_name("application.py")
STEPS = ("a", "b", "c", "d")
WRITES = {"chain": 12, "graph": 12}
"""Of a whole run: created, workflow kept, running, the begin and the end of four steps, completed."""

pytestmark = pytest.mark.slow


class Place:
    """A folder with a file of executions and a ledger."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = folder / "ledger"

    def begin(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        path = os.pathsep.join([str(ROOT / "backend"), str(ROOT / "src")])
        settings = {"PYTHONPATH": path, "TREADLE_DB": str(self.folder / "executions.db"), **environment}
        command = [sys.executable, str(APPLICATION), str(self.ledger), *arguments]
        return subprocess.Popen(
            command, env={**os.environ, **settings}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        with self.begin(*arguments, **environment) as process:
            out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def entries(self) -> list[str]:
        return self.ledger.read_text("utf-8").splitlines() if self.ledger.exists() else []

    def begun(self) -> Counter[str]:
        return Counter(one.removeprefix("begin ") for one in self.entries() if one.startswith("begin "))

    async def states(self) -> dict[str, dict[str, Any]]:
        """Return the states as they are in the file."""
        store = SqliteStore(self.folder / "executions.db")
        manager = ExecutionStateManager(store=store)
        await manager.take_left_over()
        found = {}
        for row in await store.list():
            state = await manager.get_execution_state(row.execution_id)
            assert state is not None
            found[row.execution_id] = state
        await manager.close()
        return found


def completed(state: dict[str, Any]) -> set[str]:
    return {name for name, entry in state["steps"].items() if entry["status"] == "COMPLETED"}


OUTPUTS = {
    "a": {"status": "success", "result": {"made": "a"}},
    "b": {"status": "success", "result": {"made": "b", "of": "a"}},
    "c": {"status": "success", "result": {"made": "c"}},
    "d": {"status": "success", "result": {"made": "d"}},
}


@pytest.mark.parametrize("kind", ["chain", "graph"])
async def test_a_run_that_nobody_kills_makes_this_many_writes(kind: str, tmp_path: Path) -> None:
    place = Place(tmp_path)
    done = place.run("start", kind, KILL=f"before:{WRITES[kind] + 1}")
    assert (done.returncode, done.stderr) == (0, "")
    ((_, state),) = (await place.states()).items()
    assert (state["status"], state["outputs"]) == ("COMPLETED", OUTPUTS)
    assert place.begun() == dict.fromkeys(STEPS, 1)
    assert place.run("start", kind, KILL=f"before:{WRITES[kind]}").returncode == -signal.SIGKILL


@pytest.mark.parametrize("kind", ["chain", "graph"])
@pytest.mark.parametrize("number", range(1, 13))
@pytest.mark.parametrize("when", ["before", "after"])
async def test_killed_around_any_write_it_goes_on_and_nothing_completed_runs_again(
    kind: str, when: str, number: int, tmp_path: Path
) -> None:
    place = Place(tmp_path)
    killed = place.run("start", kind, KILL=f"{when}:{number}")
    assert killed.returncode == -signal.SIGKILL
    acknowledged = [one.split()[1] for one in place.entries() if one.startswith("started ")]
    before = await place.states()
    assert set(acknowledged) <= set(before)
    begun = place.begun()
    for state in before.values():
        assert begun.keys() <= set(state["steps"]), "a step began before its begin was kept"

    again = place.run("recover")
    assert again.returncode == 0
    after = await place.states()
    assert after.keys() == before.keys()
    had_workflow = number > 2 or (when, number) == ("after", 2)
    for execution, state in after.items():
        if not had_workflow:
            # Killed before ``start_workflow`` could keep what it runs, and before it returned: said, and left alone.
            assert again.stderr.count(f"execution {execution} cannot go on: nobody knows workflow '{kind}'") == 1
            assert (state["status"], place.begun()) == ("PENDING", {})
            continue
        assert (state["status"], state["outputs"]) == ("COMPLETED", OUTPUTS)
        done = completed(before[execution])
        begun_again = place.begun() - begun
        assert begun_again == Counter(step for step in STEPS if step not in done)


@pytest.mark.parametrize("how", ["singleton", "verb", "recover"])
async def test_an_application_that_is_killed_goes_on_by_itself_at_its_next_start(how: str, tmp_path: Path) -> None:
    place = Place(tmp_path)
    with place.begin("start", "graph", HOLD="b") as process:
        assert process.stdout is not None
        while "begin b" not in process.stdout.readline():
            pass
        # c runs beside b: its completion is on its way or not.
        process.kill()
    before = await place.states()
    ((execution, state),) = before.items()
    assert (state["status"], state["steps"]["b"]["status"]) == ("RUNNING", "RUNNING")
    begun = place.begun()
    done = place.run(how)
    assert (done.returncode, done.stderr) == (0, "")
    after = (await place.states())[execution]
    assert (after["status"], after["outputs"]) == ("COMPLETED", OUTPUTS)
    assert place.begun() - begun == Counter(step for step in STEPS if step not in completed(state))


async def test_a_process_that_is_killed_again_and_again_gets_to_the_end(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.run("start", "graph", KILL="after:4")
    for _ in range(20):
        # Each start writes that it runs, and what the first step of it gave; then it is killed.
        if place.run("recover", KILL="after:4").returncode == 0:
            break
    ((_, state),) = (await place.states()).items()
    assert (state["status"], state["outputs"]) == ("COMPLETED", OUTPUTS)


@pytest.mark.parametrize("when", ["before:6", "after:6", "after:7", "after:10", "after:13", "before:19"])
async def test_a_workflow_within_a_workflow_is_gone_on_with_and_not_begun_again(when: str, tmp_path: Path) -> None:
    place = Place(tmp_path)
    assert place.run("start", "parent", KILL=when, KNOWS="1").returncode == -signal.SIGKILL
    before = await place.states()
    begun = place.begun()
    done = place.run("recover", KNOWS="1")
    assert (done.returncode, done.stderr) == (0, "")
    after = await place.states()
    assert sorted(state["workflow_id"] for state in after.values()) == ["graph", "parent"]
    assert {state["status"] for state in after.values()} == {"COMPLETED"}
    completed_before = {name for state in before.values() for name in completed(state)}
    assert place.begun() - begun == Counter({"before", *STEPS} - completed_before)
    (parent,) = [state for state in after.values() if state["workflow_id"] == "parent"]
    assert parent["outputs"]["sub"]["result"]["result"] == OUTPUTS


async def test_a_second_process_is_told_who_has_the_file(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with place.begin("start", "graph", HOLD="b") as process:
        assert process.stdout is not None
        while "begin b" not in process.stdout.readline():
            pass
        second = place.run("verb")
        assert second.returncode == 1
        last = second.stderr.strip().splitlines()[-1]
        assert last.endswith(
            f"executions.db: already in use by process {process.pid}; one engine runs a file at a time"
        )
        soon = place.run("singleton")
        assert (soon.returncode, soon.stderr.count("already in use by process")) == (0, 1)
        assert "Traceback" not in soon.stderr
        process.kill()
