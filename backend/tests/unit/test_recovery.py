"""What another process left: taken up once, by whichever verb comes first, and what cannot go on is said once."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

import core.execution_state_manager
import core.workflow_engine
import treadle
from core.execution_state_manager import ExecutionStateManager
from core.storage import VARIABLE
from core.workflow_engine import WorkflowEngine, get_workflow_engine
from treadle.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from treadle.store.protocol import Appended, Turn

CHAIN = {
    "id": "w",
    "steps": [
        {"id": name, "sequence_order": place, "service": "shop", "action": "do", "parameters": {}}
        for place, name in enumerate("abc")
    ],
}


class Engine(WorkflowEngine):
    """An application's engine that notes what it ran; ``holds`` names steps that do not end."""

    def __init__(self, manager: ExecutionStateManager, holds: str = "") -> None:
        super().__init__(state_manager=manager)
        self.holds = holds
        self.ran: list[str] = []
        self.is_held = asyncio.Event()

    async def _execute_step(self, step: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
        self.ran.append(step["id"])
        if step["id"] in self.holds:
            self.is_held.set()
            await asyncio.Event().wait()
        return {"status": "success", "result": step["id"]}

    async def settle(self) -> None:
        while self._background_tasks:
            await asyncio.gather(*self._background_tasks)


async def leave(store: MemoryStore, workflow: dict[str, Any] | None = None, *, status: str = "RUNNING") -> str:
    """Leave an execution in a store, as a process does that is killed in its second step."""
    manager = ExecutionStateManager(store=store)
    execution = await manager.create_execution("w", {})
    if workflow is not None:
        await manager.keep_workflow(execution, workflow)
    await manager.update_step_status(execution, "a", "COMPLETED", output={"result": "a"})
    await manager.update_step_status(execution, "b", "RUNNING")
    await manager.update_execution_status(execution, status)
    return execution


async def status_of(engine: WorkflowEngine, execution: str) -> str:
    state = await engine.state_manager.get_execution_state(execution)
    assert state is not None
    return str(state["status"])


@pytest.mark.parametrize(
    "verb", ["start_workflow", "resume_workflow", "pause_execution", "cancel_execution", "recover"]
)
async def test_whichever_verb_comes_first_takes_up_what_was_left(verb: str) -> None:
    store = MemoryStore()
    left = await leave(store, CHAIN)
    engine = Engine(ExecutionStateManager(store=store))
    match verb:
        case "start_workflow":
            await engine.start_workflow({"id": "other", "steps": []}, {})
        case "resume_workflow":
            assert await engine.resume_workflow(left, CHAIN, {}) is False
        case "recover":
            assert await engine.recover() == [left]
        case _:
            await getattr(engine, verb)("nobody")
    await engine.settle()
    assert (await status_of(engine, left), engine.ran) == ("COMPLETED", ["b", "c"])


@pytest.mark.parametrize("status", ["PAUSED", "COMPLETED", "FAILED", "CANCELLED", "PARTIAL"])
async def test_what_is_paused_or_over_is_left_alone(status: str) -> None:
    store = MemoryStore()
    left = await leave(store, CHAIN, status=status)
    engine = Engine(ExecutionStateManager(store=store))
    assert await engine.recover() == []
    assert (await status_of(engine, left), engine.ran) == (status, [])


async def test_what_was_paused_is_resumed_by_whoever_asks_in_the_next_process() -> None:
    store = MemoryStore()
    left = await leave(store, CHAIN, status="PAUSED")
    engine = Engine(ExecutionStateManager(store=store))
    assert await engine.resume_workflow(left, CHAIN, {"n": 1}) is True
    await engine.settle()
    assert (await status_of(engine, left), engine.ran) == ("COMPLETED", ["b", "c"])


async def test_what_was_left_is_taken_up_once_whoever_asks() -> None:
    store = MemoryStore()
    left = [await leave(store, CHAIN) for _ in range(3)]
    manager = ExecutionStateManager(store=store)
    engines = [Engine(manager), Engine(manager)]
    taken = await asyncio.gather(*(engine.recover() for engine in engines))
    assert sorted(taken, key=len) == [[], left]
    for engine in engines:
        await engine.settle()
    assert sorted(engines[0].ran + engines[1].ran) == ["b", "b", "b", "c", "c", "c"]
    assert await engines[0].recover() == []


async def test_what_was_created_in_this_process_is_not_left() -> None:
    manager = ExecutionStateManager(store=MemoryStore())
    engine = Engine(manager)
    waiting = await manager.create_execution("w", {})
    assert await engine.recover() == []
    assert await status_of(engine, waiting) == "PENDING"


async def test_a_failure_that_was_recorded_ends_the_execution_and_the_step_does_not_run_again() -> None:
    store = MemoryStore()
    left = await leave(store, CHAIN)
    await ExecutionStateManager(store=store).update_step_status(left, "b", "FAILED", error="no luck")
    engine = Engine(ExecutionStateManager(store=store))
    await engine.recover()
    await engine.settle()
    state = await engine.state_manager.get_execution_state(left)
    assert state is not None
    assert (state["status"], state["error"], engine.ran) == ("FAILED", "no luck", [])


async def test_a_workflow_that_nobody_knows_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    left = await leave(store)
    engine = Engine(ExecutionStateManager(store=store))
    with caplog.at_level(logging.ERROR, "core.recovery"):
        assert await engine.recover() == []
        assert await engine.cancel_execution("nobody") is True
    said = [one.getMessage() for one in caplog.records if left in one.getMessage()]
    assert said == [f"execution {left} cannot go on: nobody knows workflow 'w'"]


async def test_a_workflow_that_was_not_kept_is_looked_up_by_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    left = await leave(store)
    engine = Engine(ExecutionStateManager(store=store))
    monkeypatch.setattr(engine, "_load_workflow_by_id", {"w": CHAIN}.get)
    await engine.recover()
    await engine.settle()
    assert (await status_of(engine, left), engine.ran) == ("COMPLETED", ["b", "c"])


async def test_a_workflow_that_has_no_json_runs_and_the_log_says_what_that_means(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = Engine(ExecutionStateManager(store=MemoryStore()))
    execution = await engine.start_workflow({**CHAIN, "made_by": object()}, {})
    await engine.settle()
    assert await status_of(engine, execution) == "COMPLETED"
    assert "a restart will have to find its workflow by id" in caplog.text


async def test_one_that_cannot_be_read_does_not_keep_the_others(caplog: pytest.LogCaptureFixture) -> None:
    class Damaged(MemoryStore):
        async def read(self, execution_id: str, after: int = 0) -> Any:
            if execution_id == damaged:
                raise treadle.QuarantineError("a checksum does not fit", "x.db", execution_id)
            return await super().read(execution_id, after)

    damaged = ""
    store = Damaged()
    damaged, whole = await leave(store, CHAIN), await leave(store, CHAIN)
    engine = Engine(ExecutionStateManager(store=store))
    assert await engine.recover() == [whole]
    await engine.settle()
    assert await status_of(engine, whole) == "COMPLETED"
    assert caplog.text.count(f"execution {damaged} cannot go on") == 1


def test_a_run_that_ends_with_its_event_loop_goes_on_when_it_is_asked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "executions.db"))
    manager = ExecutionStateManager()

    async def begin() -> str:
        engine = Engine(manager, holds="b")
        execution = await engine.start_workflow(CHAIN, {})
        await engine.is_held.wait()
        return execution

    execution = asyncio.run(begin())  # which cancels what runs

    async def go_on() -> list[str]:
        engine = Engine(manager)
        await engine.cancel_execution("nobody")
        await engine.settle()
        assert engine.ran == []
        assert await engine.recover() == [execution]
        await engine.settle()
        assert await status_of(engine, execution) == "COMPLETED"
        await manager.close()
        return engine.ran

    assert asyncio.run(go_on()) == ["b", "c"]


async def test_the_engine_of_the_process_takes_up_by_itself_where_a_loop_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "executions.db"
    monkeypatch.setenv(VARIABLE, str(path))
    monkeypatch.setattr(core.workflow_engine, "_workflow_engine", None)
    monkeypatch.setattr(core.execution_state_manager, "_state_manager", None)
    ran: list[str] = []

    async def execute(_: object, action: str, params: dict[str, Any], connection_id: str | None) -> str:
        ran.append(action)
        return action

    monkeypatch.setattr(WorkflowEngine, "_execute_shop_action", execute, raising=False)
    before = ExecutionStateManager()
    execution = await before.create_execution("w", {})
    await before.keep_workflow(execution, CHAIN)
    await before.close()
    engine = get_workflow_engine()
    while engine._background_tasks:
        await asyncio.gather(*engine._background_tasks)
    assert (await status_of(engine, execution), ran) == ("COMPLETED", ["do"] * 3)
    assert get_workflow_engine()._background_tasks == set()
    await engine.state_manager.close()  # type: ignore[attr-defined]  # the default one


# -- a store that fails


class FailingStore(MemoryStore):
    """Fails for as long as it is told to."""

    fails = False

    async def append(self, turns: Sequence[Turn]) -> Sequence[Appended]:
        if self.fails:
            raise treadle.StoreError("the disk is full")
        return await super().append(turns)


async def test_a_store_that_fails_fails_no_execution_and_the_next_verb_goes_on_with_it() -> None:
    store = FailingStore()
    manager = ExecutionStateManager(store=store)

    class Filling(Engine):
        async def _execute_step(self, step: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
            store.fails = step["id"] == "b" and "b" not in self.ran
            return await super()._execute_step(step, params)

    engine = Filling(manager)
    execution = await engine.start_workflow(CHAIN, {})
    await engine.settle()
    store.fails = False
    assert await status_of(engine, execution) == "RUNNING"
    assert engine.ran == ["a", "b"]
    await engine.pause_execution("nobody")
    await engine.settle()
    assert (await status_of(engine, execution), engine.ran) == ("COMPLETED", ["a", "b", "b", "c"])
