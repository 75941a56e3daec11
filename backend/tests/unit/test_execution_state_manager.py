"""The default state manager: what it keeps, that it loses nothing, and that it says nothing before it is kept."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from typing import TYPE_CHECKING, Any

import pytest

import treadle
from core.execution_state_manager import ExecutionStateManager, get_state_manager
from core.storage import VARIABLE
from treadle.store.memory import MemoryStore
from treadle.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from treadle.store.protocol import Appended, Turn


class Dated:
    """A clock that is set."""

    time = 1_800_000_000.0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture(params=["memory", "file"])
async def manager(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ExecutionStateManager]:
    monkeypatch.delenv(VARIABLE, raising=False)
    if request.param == "file":
        monkeypatch.setenv(VARIABLE, str(tmp_path / "executions.db"))
    made = ExecutionStateManager(clock=Dated())
    yield made
    await made.close()


async def state_of(manager: ExecutionStateManager, execution_id: str) -> dict[str, Any]:
    found = await manager.get_execution_state(execution_id)
    assert found is not None
    return found


async def test_a_state_has_its_shape_and_every_change_is_one_version(manager: ExecutionStateManager) -> None:
    execution = await manager.create_execution("w", {"n": 1, "kept": True})
    created = await state_of(manager, execution)
    assert created == {
        "execution_id": execution,
        "workflow_id": "w",
        "status": "PENDING",
        "version": 1,
        "input_data": {"n": 1, "kept": True},
        "steps": {},
        "outputs": {},
        "context": {},
        "created_at": "2027-01-15T08:00:00+00:00",
        "updated_at": "2027-01-15T08:00:00+00:00",
        "error": None,
    }
    await manager._clock.sleep(60)
    await manager.update_execution_status(execution, "RUNNING")
    await manager.update_execution_inputs(execution, {"n": 2, "more": [None]})
    await manager.update_step_status(execution, "a", "RUNNING")
    await manager.update_step_status(execution, "a", "COMPLETED", {"x": [1]}, None)
    await manager.update_step_status(execution, "b", "COMPLETED", output=None)
    await manager.update_step_status(execution, "c", "FAILED", error="no luck")
    await manager.update_execution_status(execution, "PARTIAL", error="c")
    assert await state_of(manager, execution) == created | {
        "status": "PARTIAL",
        "version": 8,
        "input_data": {"n": 2, "kept": True, "more": [None]},
        "steps": {
            "a": {"id": "a", "status": "COMPLETED", "output": {"x": [1]}},
            "b": {"id": "b", "status": "COMPLETED"},
            "c": {"id": "c", "status": "FAILED", "error": "no luck"},
        },
        "outputs": {"a": {"x": [1]}, "b": None},
        "updated_at": "2027-01-15T08:01:00+00:00",
        "error": "c",
    }
    assert await manager.get_step_output(execution, "a") == {"x": [1]}
    assert await manager.get_step_output(execution, "c") is None


async def test_a_status_without_an_error_takes_the_error_away(manager: ExecutionStateManager) -> None:
    execution = await manager.create_execution("w", {})
    await manager.update_execution_status(execution, "PAUSED", error="Missing input: input.x")
    await manager.update_execution_status(execution, "RUNNING")
    assert (await state_of(manager, execution))["error"] is None


async def test_what_is_not_there(manager: ExecutionStateManager) -> None:
    assert await manager.get_execution_state("nobody") is None
    assert await manager.get_step_output("nobody", "a") is None
    await manager.update_execution_status("nobody", "CANCELLED")
    with pytest.raises(ValueError, match="Execution nobody not found"):
        await manager.update_step_status("nobody", "a", "RUNNING")
    with pytest.raises(ValueError, match="Execution nobody not found"):
        await manager.update_execution_inputs("nobody", {})
    assert await manager.get_execution_state("nobody") is None


async def test_nobody_shares_a_value_with_the_state(manager: ExecutionStateManager) -> None:
    given, output = {"list": [1]}, {"deep": [1]}
    execution = await manager.create_execution("w", given)
    await manager.update_step_status(execution, "a", "COMPLETED", output)
    given["list"].append(2)
    output["deep"].append(2)
    seen = await state_of(manager, execution)
    seen["outputs"]["a"]["deep"].append(3)
    seen["input_data"]["list"].append(3)
    again = await state_of(manager, execution)
    assert (again["input_data"], again["outputs"]) == ({"list": [1]}, {"a": {"deep": [1]}})
    assert again["steps"]["a"]["output"] == {"deep": [1]}


@pytest.mark.parametrize("value", [float("inf"), 2**80, "\ud800", (1, 2), {1: "x"}, "x" * 100_000])
async def test_whatever_has_a_json_is_kept_as_that(manager: ExecutionStateManager, value: Any) -> None:
    execution = await manager.create_execution("w", {"v": value})
    await manager.update_step_status(execution, "a", "COMPLETED", value)
    wanted = [1, 2] if isinstance(value, tuple) else {"1": "x"} if isinstance(value, dict) else value
    found = await state_of(manager, execution)
    assert (found["input_data"]["v"], found["outputs"]["a"]) == (wanted, wanted)


@pytest.mark.parametrize("value", [object(), {(1,): 1}, {1, 2}])
async def test_what_has_no_json_is_refused_and_changes_nothing(manager: ExecutionStateManager, value: Any) -> None:
    execution = await manager.create_execution("w", {})
    before = await state_of(manager, execution)
    for wrong in (
        manager.create_execution("w", {"v": value}),
        manager.update_step_status(execution, "a", "COMPLETED", value),
        manager.update_execution_inputs(execution, {"v": value}),
    ):
        with pytest.raises(treadle.ValidationError, match="cannot be kept as JSON"):
            await wrong
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(treadle.ValidationError, match="cannot be kept as JSON"):
        await manager.update_step_status(execution, "a", "COMPLETED", circle)
    assert await state_of(manager, execution) == before


async def test_ids_of_steps_need_not_be_text(manager: ExecutionStateManager) -> None:
    execution = await manager.create_execution("w", {"n": [1]})
    await manager.update_step_status(execution, "a", "COMPLETED", "text")
    await manager.update_step_status(execution, 1, "COMPLETED", "number")  # type: ignore[arg-type]  # some do
    found = await state_of(manager, execution)
    assert (found["outputs"], found["steps"][1]["id"]) == ({"a": "text", 1: "number"}, 1)
    assert (found["input_data"], found["version"]) == ({"n": [1]}, 3)
    await manager.update_execution_status(execution, "COMPLETED")
    assert (await state_of(manager, execution))["outputs"] == {"a": "text", 1: "number"}


async def test_parallel_updates_never_lose_each_others_output(manager: ExecutionStateManager) -> None:
    execution = await manager.create_execution("w", {})
    names = [f"s{number}" for number in range(200)]
    await asyncio.gather(*(manager.update_step_status(execution, one, "COMPLETED", {"of": one}) for one in names))
    found = await state_of(manager, execution)
    assert found["outputs"] == {name: {"of": name} for name in names}
    assert found["version"] == 201


@pytest.mark.parametrize("status", ["COMPLETED", "PAUSED"])
async def test_an_execution_that_is_over_or_paused_leaves_memory_and_is_read_back(
    manager: ExecutionStateManager, status: str
) -> None:
    execution = await manager.create_execution("w", {})
    await manager.update_step_status(execution, "a", "COMPLETED", [1])
    assert execution in manager._log._lines
    await manager.update_execution_status(execution, status)
    assert execution not in manager._log._lines
    assert (await state_of(manager, execution))["outputs"] == {"a": [1]}
    await manager.update_step_status(execution, "late", "COMPLETED", 5)
    found = await state_of(manager, execution)
    assert (found["version"], found["outputs"]) == (4, {"a": [1], "late": 5})
    assert manager._log._lines == {}
    await manager.update_execution_status(execution, "RUNNING")
    assert execution in manager._log._lines


async def test_a_workflow_is_kept_beside_the_state(manager: ExecutionStateManager) -> None:
    execution = await manager.create_execution("w", {})
    assert await manager.kept_workflow(execution) is None
    await manager.keep_workflow(execution, {"id": "w", "steps": []})
    await manager.keep_workflow(execution, {"id": "w", "steps": []})
    assert await manager.kept_workflow(execution) == {"id": "w", "steps": []}
    assert (await state_of(manager, execution))["version"] == 1


def test_the_file_is_named_when_the_first_execution_needs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    manager = ExecutionStateManager()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "late.db"))

    async def use() -> None:
        await manager.create_execution("w", {})
        assert (tmp_path / "late.db").exists()
        await manager.close()

    asyncio.run(use())


def test_a_manager_works_across_event_loops_and_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "executions.db"))
    manager = ExecutionStateManager()
    execution = asyncio.run(manager.create_execution("w", {}))

    async def write(thread: int) -> None:
        changes = (
            manager.update_step_status(execution, f"{thread}.{one}", "COMPLETED", [thread, one]) for one in range(40)
        )
        await asyncio.gather(*changes)

    threads = [threading.Thread(target=lambda one=one: asyncio.run(write(one))) for one in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = asyncio.run(state_of(manager, execution))
    assert found["outputs"] == {f"{thread}.{one}": [thread, one] for thread in range(4) for one in range(40)}
    assert found["version"] == 161
    asyncio.run(manager.close())


def test_an_event_loop_that_is_left_in_the_middle_of_a_write_blocks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "executions.db"))
    manager = ExecutionStateManager()
    left = asyncio.new_event_loop()
    execution = left.run_until_complete(manager.create_execution("w", {}))

    async def begin() -> asyncio.Task[None]:
        task = asyncio.create_task(manager.update_step_status(execution, "a", "COMPLETED", [1]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # handed to the store, and not answered
        return task

    unfinished = left.run_until_complete(begin())
    asyncio.run(manager.update_step_status(execution, "b", "COMPLETED", [2]))
    assert asyncio.run(state_of(manager, execution))["outputs"] == {"a": [1], "b": [2]}
    left.run_until_complete(unfinished)
    left.close()
    asyncio.run(manager.close())


async def test_two_managers_of_one_process_share_a_file_and_their_executions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "executions.db"))
    one, other = ExecutionStateManager(), ExecutionStateManager()
    execution = await one.create_execution("w", {})
    await asyncio.gather(
        one.update_step_status(execution, "a", "COMPLETED", 1), other.update_step_status(execution, "b", "COMPLETED", 2)
    )
    assert (await state_of(other, execution))["outputs"] == {"a": 1, "b": 2}
    await one.close()


async def test_a_file_that_somebody_else_runs_gives_one_clear_error_until_it_is_free(tmp_path: Path) -> None:
    path = tmp_path / "executions.db"
    holder = SqliteStore(path)
    await holder.open()
    manager = ExecutionStateManager(store=SqliteStore(path))
    for wrong in (manager.create_execution("w", {}), manager.get_execution_state("x"), manager.take_left_over()):
        with pytest.raises(treadle.StoreLockedError, match=r"executions\.db: already in use by process \d+"):
            await wrong
    await holder.close()
    execution = await manager.create_execution("w", {})
    assert (await state_of(manager, execution))["status"] == "PENDING"
    await manager.close()


# -- what a store does at a bad moment


class AwkwardStore(MemoryStore):
    """Waits at a gate before it keeps anything, and fails when told to, before or after it kept it."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.fails: list[str] = []
        self.reopened = 0

    async def append(self, turns: Sequence[Turn]) -> Sequence[Appended]:
        await self.gate.wait()
        how = self.fails.pop(0) if turns and self.fails else ""
        if how == "before":
            raise treadle.StoreError("the disk is full")
        answers = await super().append(turns)
        if how == "after":
            raise treadle.StoreError("the outcome is unknown")
        return answers

    async def reopen(self) -> None:
        self.reopened += 1


async def test_nothing_is_shown_or_acknowledged_before_it_is_kept() -> None:
    store = AwkwardStore()
    manager = ExecutionStateManager(store=store)
    execution = await manager.create_execution("w", {})
    store.gate.clear()
    writing = asyncio.create_task(manager.update_step_status(execution, "a", "COMPLETED", 1))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not writing.done()
    assert (await state_of(manager, execution))["steps"] == {}
    store.gate.set()
    await writing
    assert (await state_of(manager, execution))["outputs"] == {"a": 1}


async def test_a_caller_that_is_cancelled_takes_nothing_back_and_stops_nobody() -> None:
    store = AwkwardStore()
    manager = ExecutionStateManager(store=store)
    execution = await manager.create_execution("w", {})
    store.gate.clear()
    writing = [
        asyncio.create_task(manager.update_step_status(execution, name, "COMPLETED", name)) for name in ("a", "b")
    ]
    await asyncio.sleep(0)
    writing[0].cancel()
    store.gate.set()
    await writing[1]
    assert (await state_of(manager, execution))["outputs"] == {"a": "a", "b": "b"}


@pytest.mark.parametrize("how", ["before", "after"])
async def test_a_write_whose_outcome_is_unknown_is_made_exactly_once(how: str) -> None:
    store = AwkwardStore()
    manager = ExecutionStateManager(store=store)
    execution = await manager.create_execution("w", {})
    store.fails = [how]
    await manager.update_step_status(execution, "a", "COMPLETED", 1)
    found = await state_of(manager, execution)
    assert (found["version"], found["outputs"], store.reopened) == (2, {"a": 1}, 1)
    assert len(await store.read(execution)) == 2


async def test_a_store_that_goes_on_failing_is_an_error_and_what_it_holds_is_read_again() -> None:
    store = AwkwardStore()
    manager = ExecutionStateManager(store=store)
    execution = await manager.create_execution("w", {})
    store.fails = ["after", "before"]
    with pytest.raises(treadle.StoreError, match="the disk is full"):
        await manager.update_step_status(execution, "a", "COMPLETED", 1)
    assert (await state_of(manager, execution))["outputs"] == {"a": 1}
    await manager.update_step_status(execution, "b", "COMPLETED", 2)
    assert (await state_of(manager, execution))["version"] == 3


async def test_a_damaged_execution_has_its_own_error_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "executions.db"
    monkeypatch.setenv(VARIABLE, str(path))
    manager = ExecutionStateManager()
    broken, whole = [await manager.create_execution("w", {}) for _ in range(2)]
    await manager.close()
    connection = sqlite3.connect(path)
    connection.execute(
        "update turns set events = x'7b7d' where execution = (select number from executions where execution_id = ?)",
        (broken,),
    )
    connection.commit()
    connection.close()
    with pytest.raises(treadle.QuarantineError, match=broken):
        await manager.get_execution_state(broken)
    assert (await state_of(manager, whole))["status"] == "PENDING"
    await manager.close()


async def test_executions_of_another_engine_in_the_file_are_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "shared.db"
    started = asyncio.Event()

    async def hold() -> None:
        started.set()
        await asyncio.Event().wait()

    settings = treadle.Settings(grace_ms=0)
    async with treadle.WorkflowEngine(store=str(path), actions=[{"t.hold": hold}], settings=settings) as engine:
        theirs = await engine.start_workflow({"id": "w", "nodes": [{"id": "a", "action": "t.hold"}]}, {})
        await started.wait()
    manager = ExecutionStateManager(store=SqliteStore(path))
    assert await manager.take_left_over() == []
    assert await manager.get_execution_state(theirs) is None
    await manager.close()


def test_there_is_one_manager_in_a_process() -> None:
    assert get_state_manager() is get_state_manager()
