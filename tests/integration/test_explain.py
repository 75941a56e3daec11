"""``explain`` with what only the engine knows, beside it, and on the command line."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from treadle import (
    Client,
    NotFoundError,
    QuarantineError,
    Reason,
    Settings,
    StoreError,
    ValidationError,
    WorkflowEngine,
)
from treadle.store.memory import MemoryStore

if TYPE_CHECKING:
    from pathlib import Path

HOLDS = {"id": "holds", "nodes": [{"id": "a", "action": "hold"}]}
TWO = {"id": "two", "max_concurrent_steps": 1, "nodes": [{"id": n, "action": "hold"} for n in "ab"]}
SETTINGS = Settings(grace_ms=50, store_retry_ms=5)
_ONCE = {"max_attempts": 1}


class Work:
    def __init__(self) -> None:
        self.gate = asyncio.Event()

    async def hold(self) -> str:
        await self.gate.wait()
        return "held"

    def engine(self, slots: int = 1, store: Any = ":memory:", **options: Any) -> WorkflowEngine:
        return WorkflowEngine(slots, store, [{"hold": self.hold}], settings=SETTINGS, **options)


async def started(engine: WorkflowEngine, name: str) -> None:
    async for event in engine.watch(name):
        if event.kind == "StepStarted":
            return


async def test_a_step_that_waits_for_a_slot_says_who_holds_them() -> None:
    work = Work()
    async with asyncio.timeout(20), work.engine() as engine:
        await engine.start_workflow(HOLDS, execution_id="one")
        await started(engine, "one")
        await engine.start_workflow(HOLDS, execution_id="two")
        found = await engine.explain("two", "a")
        assert (found.reason, found.names) == (Reason.WAITS_FOR_SLOT, ("one/a",))
        assert found.text == "it waits for one of the engine's 1 slots; held by one/a"
        assert (await engine.explain("two")).steps == (found,)
        work.gate.set()
        await engine.wait("two")
        assert (await engine.explain("two")).text == "it has ended as COMPLETED"


async def test_the_limit_of_an_execution_is_told_from_that_of_the_engine() -> None:
    work = Work()
    async with asyncio.timeout(20), work.engine(5) as engine:
        await engine.start_workflow(TWO, execution_id="one")
        await started(engine, "one")
        text = "its execution runs 1 steps, as many as max_concurrent_steps of the workflow allows"
        assert (await engine.explain("one", "b")).text == text
        work.gate.set()


async def test_an_action_that_nobody_registered_is_named(tmp_path: Path) -> None:
    work = Work()
    async with work.engine(store=tmp_path / "t.db") as engine:
        await engine.start_workflow(HOLDS, execution_id="one")
        await started(engine, "one")
    async with WorkflowEngine(store=tmp_path / "t.db", settings=SETTINGS) as engine:
        (found,) = (await engine.explain("one")).steps
        assert (found.reason, found.names, found.step) == (Reason.ACTION_MISSING, ("hold",), "a")
        assert found.text == "no action 'hold' is registered"


async def test_a_queued_execution_names_who_stands_first_in_its_line() -> None:
    work = Work()
    async with asyncio.timeout(20), work.engine() as engine:
        for name in ("one", "two"):
            await engine.start_workflow(HOLDS, execution_id=name, key="k", on_conflict="queue")
        found = await engine.explain("two")
        assert (found.reason, found.names) == (Reason.QUEUED, ("one",))
        assert "the first of them is 'one' (RUNNING)" in found.text
        work.gate.set()


async def test_what_is_not_there_and_what_is_typed_wrong_is_an_error() -> None:
    async with Work().engine() as engine:
        with pytest.raises(NotFoundError, match="no execution named 'x'"):
            await engine.explain("x")
        await engine.start_workflow(HOLDS, execution_id="one")
        with pytest.raises(NotFoundError, match="no step named 'z'"):
            await engine.explain("one", "z")
        with pytest.raises(ValidationError, match="a step is text"):
            await engine.explain("one", 7)  # type: ignore[arg-type]


async def test_an_execution_that_no_engine_goes_on_with_is_explained_from_its_log(tmp_path: Path) -> None:
    work = Work()
    async with work.engine(store=tmp_path / "treadle.db") as engine:
        await engine.start_workflow(HOLDS, execution_id="one")
        await started(engine, "one")
    async with work.engine(store=tmp_path / "treadle.db", recover="none") as engine:
        found = await engine.explain("one")
        assert (found.reason, found.what_to_do) == (Reason.NO_ENGINE, "resume it here")
    async with Client(tmp_path / "treadle.db") as client:
        assert (await client.state_manager.explain("one", "a")).text == "attempt 1 runs"
    out = treadle(tmp_path, "explain", "one")[1].splitlines()
    assert out[0] == "no engine runs this file now; what the log says:"
    assert out[1].startswith("it runs; attempts in flight: 1, since ")
    assert out[2].startswith("  a: attempt 1 runs, since ")
    assert json.loads(treadle(tmp_path, "explain", "one", "a", "--json")[1])["reason"] == "running"
    assert treadle(tmp_path, "explain", "one", "z") == (2, "", "error: no step named 'z'\n")


def treadle(folder: Path, *words: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "treadle", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


async def test_an_attempt_that_was_given_up_and_still_holds_its_slot_is_named() -> None:
    release = threading.Event()

    def stuck() -> None:
        release.wait(20)

    timed = {"id": "timed", "nodes": [{"id": "a", "config": {"action": "stuck", "timeout": "10ms", "retry": _ONCE}}]}
    async with asyncio.timeout(20), WorkflowEngine(1, ":memory:", [{"stuck": stuck}], settings=SETTINGS) as engine:
        assert (await engine.run_workflow(timed, execution_id="one")).status.value == "FAILED"
        await engine.start_workflow({**timed, "id": "next"}, execution_id="two")
        found = await engine.explain("two", "a")
        assert (found.reason, found.names) == (Reason.WAITS_FOR_SLOT, ("one/a",))
        assert found.what_to_do.startswith("an attempt that was given up still runs (one/a)")
        release.set()
        await engine.wait("two")


async def test_an_attempt_that_was_given_up_and_still_holds_a_limit_is_named() -> None:
    release = threading.Event()

    def stuck() -> None:
        release.wait(20)

    config = {"action": "stuck", "timeout": "10ms", "retry": _ONCE, "limits": [{"name": "door", "key": "x" * 300}]}
    timed = {"id": "timed", "nodes": [{"id": "a", "config": config}]}
    engine = WorkflowEngine(5, ":memory:", [{"stuck": stuck}], settings=SETTINGS, limits={"door": 1})
    async with asyncio.timeout(20), engine:
        assert (await engine.run_workflow(timed, execution_id="one")).status.value == "FAILED"
        await engine.start_workflow(timed, execution_id="two")
        found = await engine.explain("two", "a")
        assert (found.reason, found.names) == (Reason.WAITS_FOR_SLOT, ("one/a",))
        assert found.text.endswith("xxx..., 1 at a time; held by one/a")
        assert len(found.text) < 250
        assert found.what_to_do.startswith("an attempt that was given up still runs (one/a)")
        release.set()
        await engine.wait("two")


async def test_a_log_that_takes_no_work_and_a_damaged_execution_are_told() -> None:
    class Failing(MemoryStore):
        fails = False
        broken = ""

        async def append(self, turns: Any) -> Any:
            if Failing.fails:
                raise StoreError("no room is left")
            return await super().append(turns)

        async def read(self, execution_id: str, after: int = 0) -> Any:
            if execution_id == Failing.broken:
                raise QuarantineError("turn 1 is missing", "", execution_id)
            return await super().read(execution_id, after)

    work, store = Work(), Failing()
    async with asyncio.timeout(20), work.engine(store=store) as engine:
        await engine.start_workflow(HOLDS, execution_id="one")
        await started(engine, "one")
        Failing.fails = True
        work.gate.set()
        while engine.health.ok:  # noqa: ASYNC110 - health is looked at, it does not call
            await asyncio.sleep(0.005)
        found = await engine.explain("one", "a")
        assert (found.reason, found.text) == (Reason.STORE_DOWN, "the engine takes no work: no room is left")
        Failing.fails = False
        await engine.wait("one")
    async with work.engine(store=store) as engine:
        await engine.start_workflow(HOLDS, execution_id="two", start_at="1h")
    Failing.broken = "two"
    async with work.engine(store=store) as engine:
        found = await engine.explain("two")
        assert (found.reason, found.text) == (Reason.QUARANTINED, "it was set aside: turn 1 is missing")
