"""What the engine does when its log, or the engine itself, fails: it says so, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import treadle
from treadle import ExecutionStatus, QuarantineError, Settings, StoreError, TreadleError, WorkflowEngine
from treadle.store.memory import MemoryStore
from treadle.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from treadle.store.protocol import Appended, StoredTurn, Turn

ONE_STEP = {"id": "w", "nodes": [{"id": "a", "action": "act"}]}


class Failing(MemoryStore):
    """A store whose append number ``at`` raises ``error``; then the log of ``damaged`` cannot be read."""

    def __init__(self, at: int, error: Exception, damaged: str = "") -> None:
        super().__init__()
        self.at = at
        self.error = error
        self.damaged = damaged
        self.appends = 0

    async def append(self, turns: Sequence[Turn]) -> Sequence[Appended]:
        self.appends += 1
        if self.appends == self.at:
            raise self.error
        return await super().append(turns)

    async def read(self, execution_id: str, after: int = 0) -> Sequence[StoredTurn]:
        if execution_id == self.damaged and self.appends >= self.at:
            raise QuarantineError("turn 1 does not fit its checksum", self.path, execution_id)
        return await super().read(execution_id, after)


async def act() -> int:
    return 1


def engine(store: MemoryStore, **actions: Any) -> WorkflowEngine:
    return WorkflowEngine(store=store, actions=[{"act": act, **actions}], settings=Settings(store_retry_ms=1))


@pytest.mark.parametrize("at", [1, 2])
async def test_a_defect_of_the_engine_is_told_to_everyone_who_waits_and_to_everyone_who_comes(at: int) -> None:
    async with asyncio.timeout(10), engine(Failing(at, RuntimeError("a defect"))) as broken:
        with pytest.raises(TreadleError, match="a defect"):
            await broken.run_workflow(ONE_STEP, execution_id="one")
        assert (broken.health.ok, "a defect" in broken.health.reason) == (False, True)
        for late in (broken.start_workflow(ONE_STEP), broken.pause_execution("one"), broken.wait("one")):
            with pytest.raises(TreadleError, match="a defect"):
                await late


async def test_what_a_broken_engine_had_committed_goes_on_when_it_is_opened_again() -> None:
    store = Failing(2, RuntimeError("a defect"))
    async with asyncio.timeout(10):
        async with engine(store) as broken:
            with pytest.raises(TreadleError, match="a defect"):
                await broken.run_workflow(ONE_STEP, execution_id="one")
        async with engine(store) as again:
            state = await again.wait("one")
    assert (state.status, state.output, state.steps["a"].attempt) == (ExecutionStatus.COMPLETED, 1, 2)


async def test_a_log_found_damaged_after_a_failed_append_is_set_aside_and_the_others_go_on() -> None:
    gate = asyncio.Event()

    async def hold() -> int:
        await gate.wait()
        return 2

    held = {"id": "held", "nodes": [{"id": "a", "action": "hold"}]}
    async with asyncio.timeout(10), engine(Failing(3, StoreError("no room"), "bad"), hold=hold) as running:
        for name in ("bad", "good"):
            await running.start_workflow(held, execution_id=name)
        waits = asyncio.gather(*[running.wait(name) for name in ("bad", "good")], return_exceptions=True)
        await asyncio.sleep(0)
        gate.set()
        bad, good = await waits
        assert isinstance(bad, QuarantineError)
        assert isinstance(good, treadle.ExecutionState)
        assert (good.status, good.output) == (ExecutionStatus.COMPLETED, 2)
        assert (running.health.ok, list(running.health.quarantined)) == (True, ["bad"])


class Held(MemoryStore):
    """A store whose append number ``at`` is not done before ``gate`` is set, and fails then if ``error`` is given."""

    def __init__(self, at: int, error: Exception | None = None) -> None:
        super().__init__()
        self.at = at
        self.error = error
        self.appends = 0
        self.entered = asyncio.Event()
        self.gate = asyncio.Event()

    async def append(self, turns: Sequence[Turn]) -> Sequence[Appended]:
        self.appends += 1
        if self.appends == self.at:
            self.entered.set()
            await self.gate.wait()
            if self.error is not None:
                raise self.error
        return await super().append(turns)

    async def reopen(self) -> None:
        self.entered.clear()
        self.gate.clear()
        self.entered.set()
        await self.gate.wait()


async def test_nothing_is_shown_before_it_is_committed() -> None:
    store = Held(2)
    async with asyncio.timeout(10), engine(store) as running:
        name = await running.start_workflow(ONE_STEP)
        await store.entered.wait()
        late = asyncio.create_task(running.wait(name))
        for _ in range(5):
            await asyncio.sleep(0)  # it has asked by now
        shown = await running.state_manager.get_execution_state(name)
        assert (shown.status, late.done()) == (ExecutionStatus.RUNNING, False)
        store.gate.set()
        assert (await late).status is ExecutionStatus.COMPLETED


async def test_what_a_failed_append_would_have_shown_is_not_shown_while_the_log_is_away() -> None:
    store = Held(2, StoreError("no room"))
    async with asyncio.timeout(10), engine(store) as running:
        name = await running.start_workflow(ONE_STEP)
        await store.entered.wait()
        store.entered.clear()
        store.gate.set()
        await store.entered.wait()  # the log is being opened again
        late = asyncio.create_task(running.wait(name))
        for _ in range(5):
            await asyncio.sleep(0)  # it has asked by now
        shown = await running.state_manager.get_execution_state(name)
        assert (shown.status, late.done(), running.health.ok) == (ExecutionStatus.RUNNING, False, False)
        store.gate.set()
        assert (await late).status is ExecutionStatus.COMPLETED
        assert running.health.ok


async def test_an_engine_that_could_not_recover_gives_its_file_back(tmp_path: Path) -> None:
    class Unreadable(SqliteStore):
        async def list(self, *_: Any, **__: Any) -> Any:
            raise StoreError("cannot be read", self.path)

    with pytest.raises(StoreError, match="cannot be read"):
        async with WorkflowEngine(store=Unreadable(tmp_path / "log.db")):
            pytest.fail("it opened")
    async with WorkflowEngine(store=tmp_path / "log.db", actions=[{"act": act}]) as engine:
        assert (await engine.run_workflow(ONE_STEP)).output == 1
