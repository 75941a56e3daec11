"""How many executions are in memory: what only waits may leave it, and a start beyond the bound waits its turn."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest

import treadle
from treadle import ExecutionStatus, OverloadedError, Settings, StoreError, WorkflowEngine
from treadle.drivers.local.resident import Resident
from treadle.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from treadle.store.protocol import Appended, Turn

ASKS = {
    "id": "asks",
    "nodes": [
        {"id": "first", "action": "note", "parameters": {"name": "first"}},
        {"id": "asks", "action": "note", "parameters": {"name": "${input.name}"}},
    ],
    "connections": [{"source": "first", "target": "asks"}],
}
HOLDS = {"id": "holds", "nodes": [{"id": "a", "action": "hold"}]}
RETRIES = {
    "id": "retries",
    "nodes": [{"id": "a", "config": {"action": "fail_once", "retry": {"max_attempts": 2, "initial_delay": "1ms"}}}],
}


class Work:
    def __init__(self) -> None:
        self.calls: list[str] = []
        self.gate = asyncio.Event()

    async def note(self, name: str) -> str:
        self.calls.append(name)
        return name

    async def hold(self) -> str:
        self.calls.append("hold")
        await self.gate.wait()
        return "held"

    async def fail_once(self, context: Any) -> int:
        if context.attempt == 1:
            raise RuntimeError("once")
        return int(context.attempt)

    @property
    def actions(self) -> list[object]:
        return [{"note": self.note, "hold": self.hold, "fail_once": self.fail_once}]


def in_memory(engine: WorkflowEngine) -> int:
    """Return how many executions of an engine the process holds, whoever holds them."""
    clock = engine._driver._clock
    gc.collect()
    return sum(isinstance(one, Resident) and one._clock is clock for one in gc.get_objects())


@pytest.mark.parametrize("idle", [0, 3])
async def test_executions_that_wait_leave_memory_and_come_back_when_something_happens(
    tmp_path: Path, idle: int
) -> None:
    work, limits = Work(), Settings(idle_executions=idle)
    names = [f"e{number}" for number in range(12)]
    async with WorkflowEngine(store=tmp_path / "log.db", actions=work.actions, settings=limits) as engine:
        for state in [await engine.run_workflow(ASKS, execution_id=name) for name in names]:
            assert (state.status, state.waiting_for) == (ExecutionStatus.PAUSED, ("input.name",))
        assert in_memory(engine) <= idle
        assert [(await engine.state_manager.get_execution_state(name)).status.value for name in names] == [
            "PAUSED"
        ] * 12
        assert all(await asyncio.gather(*(engine.resume_workflow(name, {"name": name}) for name in names)))
        ended = [await engine.wait(name) for name in names]
        assert [state.output for state in ended] == names
    assert sorted(work.calls) == sorted([*names, *["first"] * 12])


async def test_of_many_requests_to_an_execution_that_left_memory_each_counts_as_if_it_had_stayed(
    tmp_path: Path,
) -> None:
    work, limits = Work(), Settings(idle_executions=0)
    async with WorkflowEngine(store=tmp_path / "log.db", actions=work.actions, settings=limits) as engine:
        await engine.run_workflow(ASKS, execution_id="one")
        resumed = await asyncio.gather(*(engine.resume_workflow("one", {"name": str(n)}) for n in range(20)))
        state = await engine.wait("one")
        assert resumed == [True, *[False] * 19]
        assert (state.status, state.output) == (ExecutionStatus.COMPLETED, "0")
        assert (await engine.start_workflow(ASKS, execution_id="one")) == "one"
        history = await engine.state_manager.history("one")
    assert [event.sequence for event in history] == sorted(event.sequence for event in history)
    assert work.calls == ["first", "0"]


async def test_a_timer_brings_back_an_execution_that_left_memory(tmp_path: Path) -> None:
    work, limits = Work(), Settings(idle_executions=0)
    async with asyncio.timeout(30):
        async with WorkflowEngine(store=tmp_path / "log.db", actions=work.actions, settings=limits) as engine:
            names = [await engine.start_workflow(RETRIES) for _ in range(50)]
            async for event in engine.state_manager.watch(after=0):
                names = [name for name in names if (event.kind, event.execution_id) != ("ExecutionCompleted", name)]
                if not names:
                    break


async def test_who_waits_for_the_end_of_an_execution_keeps_it_in_memory_and_is_told(tmp_path: Path) -> None:
    work, limits = Work(), Settings(idle_executions=0)
    async with WorkflowEngine(store=tmp_path / "log.db", actions=work.actions, settings=limits) as engine:
        await engine.run_workflow(ASKS, execution_id="one")
        ends = asyncio.create_task(engine.wait("one", until="ended"))
        with pytest.raises(TimeoutError):
            await engine.wait("one", timeout=0.01, until="ended")
        assert in_memory(engine) == 1
        await engine.resume_workflow("one", {"name": "x"})
        assert (await ends).output == "x"
        assert in_memory(engine) == 0
        await engine.run_workflow(ASKS, execution_id="two")
        with pytest.raises(TimeoutError):
            await engine.wait("two", timeout=0.01, until="ended")
        await engine.run_workflow(ASKS, execution_id="three")  # a turn later
        assert in_memory(engine) == 0


async def test_a_start_beyond_the_bound_waits_until_another_execution_has_ended() -> None:
    work, limits = Work(), Settings(active_executions=2)
    async with WorkflowEngine(2, store=":memory:", actions=work.actions, settings=limits) as engine:
        first = [await engine.start_workflow(HOLDS, execution_id=name) for name in ("a", "b")]
        assert await engine.start_workflow(HOLDS, execution_id="a") == "a"  # nothing new: it need not wait
        late = [asyncio.create_task(engine.start_workflow(HOLDS, execution_id=name)) for name in ("c", "d", "c")]
        for _ in range(20):
            await asyncio.sleep(0)
        assert not any(one.done() for one in late)
        late[1].cancel()
        work.gate.set()
        assert await asyncio.gather(late[0], late[2]) == ["c", "c"]
        states = [await engine.wait(name) for name in (*first, "c")]
        with pytest.raises(treadle.NotFoundError):
            await engine.wait("d")
    assert [state.output for state in states] == ["held"] * 3
    assert work.calls == ["hold"] * 3


async def test_never_more_are_active_than_the_bound_says_also_when_starts_are_given_up() -> None:
    seen: list[int] = []

    async def count() -> None:
        seen.append(len(list(one._driver._turns.residents)))
        await asyncio.sleep(0)

    workflow = {"id": "w", "nodes": [{"id": "a", "action": "count"}]}
    limits = Settings(active_executions=2)
    async with (
        asyncio.timeout(30),
        WorkflowEngine(9, store=":memory:", actions=[{"count": count}], settings=limits) as one,
    ):
        starts = [asyncio.create_task(one.start_workflow(workflow)) for _ in range(40)]
        for _ in range(3):
            await asyncio.sleep(0)
        for start in starts[10:20]:
            start.cancel()
        names = [name for name in await asyncio.gather(*starts, return_exceptions=True) if isinstance(name, str)]
        for name in names:
            await one.wait(name)
    assert len(seen) == len(names) == 30
    assert max(seen) == 2


async def test_executions_that_only_wait_do_not_hold_up_a_start(tmp_path: Path) -> None:
    """Paused ones, and those whose action nobody registered."""
    work, limits = Work(), Settings(active_executions=1, start_wait_ms=5_000, grace_ms=0)
    async with WorkflowEngine(store=tmp_path / "log.db", actions=work.actions, settings=limits) as engine:
        for _ in range(3):
            await engine.run_workflow(ASKS)
        await engine.start_workflow(HOLDS, execution_id="held")
    note_only: list[object] = [{"note": work.note}]
    async with WorkflowEngine(store=tmp_path / "log.db", actions=note_only, settings=limits) as engine:
        state = await engine.run_workflow(ASKS, {"name": "x"})
        assert engine.health.unregistered == ("hold",)
    assert state.status is ExecutionStatus.COMPLETED


async def test_a_start_that_waited_in_vain_is_refused_and_nothing_was_started() -> None:
    work, limits = Work(), Settings(active_executions=1, start_wait_ms=10)
    async with WorkflowEngine(store=":memory:", actions=work.actions, settings=limits) as engine:
        await engine.start_workflow(HOLDS)
        with pytest.raises(OverloadedError, match="the engine is behind: 1 executions"):
            await engine.start_workflow(HOLDS, execution_id="late")
        work.gate.set()
        with pytest.raises(treadle.NotFoundError):
            await engine.wait("late")


class Full(MemoryStore):
    """A store without room until ``has_room``."""

    has_room = True

    async def append(self, turns: Sequence[Turn]) -> Sequence[Appended]:
        if not self.has_room:
            raise StoreError("no room")
        return await super().append(turns)

    async def reopen(self) -> None:
        if not self.has_room:
            raise StoreError("no room")


async def test_a_start_that_waits_is_refused_when_the_log_fails() -> None:
    work, store = Work(), Full()
    limits = Settings(active_executions=1, store_retry_ms=1)
    async with asyncio.timeout(10), WorkflowEngine(store=store, actions=work.actions, settings=limits) as engine:
        await engine.start_workflow(HOLDS, execution_id="one")
        late = asyncio.create_task(engine.start_workflow(HOLDS))
        await asyncio.sleep(0)
        store.has_room = False
        work.gate.set()
        with pytest.raises(StoreError, match="no room"):
            await late
        store.has_room = True
        assert (await engine.wait("one")).output == "held"


async def test_more_open_executions_than_may_be_active_are_recovered_one_after_another(tmp_path: Path) -> None:
    place, names = tmp_path / "log.db", [f"e{number}" for number in range(9)]
    work = Work()
    quick = Settings(grace_ms=0)
    async with WorkflowEngine(9, store=place, actions=work.actions, settings=quick) as engine:
        for name in names:
            await engine.start_workflow(HOLDS, execution_id=name)
    again = Work()
    again.gate.set()
    limits = Settings(active_executions=1)
    left = set(names)
    async with asyncio.timeout(30):
        async with WorkflowEngine(9, store=place, actions=again.actions, settings=limits) as engine:
            async for event in engine.state_manager.watch(after=0):  # asking for one by name would bring it in
                left -= {event.execution_id} if event.kind == "ExecutionCompleted" else set()
                if not left:
                    break
    assert again.calls == ["hold"] * 9
