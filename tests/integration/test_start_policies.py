"""Starts that do not begin at once: at most one open execution of a key, and executions that begin at a time."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from treadle import (
    ConflictError,
    ExecutionState,
    ExecutionStatus,
    Settings,
    StoreError,
    ValidationError,
    WorkflowEngine,
)
from treadle.actions import Registry
from treadle.drivers.local import LocalDriver
from treadle.drivers.local.clock import Clock
from treadle.store.memory import MemoryStore
from treadle.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from treadle.store.protocol import Appended, Listed, Turn

HOLD = {"id": "order", "nodes": [{"id": "a", "action": "hold", "parameters": {"name": "${input.name}"}}]}
OTHER = {**HOLD, "id": "other"}
SETTINGS = Settings(grace_ms=50, store_retry_ms=5)
COMPLETED, CANCELLED, PENDING, RUNNING = (
    ExecutionStatus.COMPLETED,
    ExecutionStatus.CANCELLED,
    ExecutionStatus.PENDING,
    ExecutionStatus.RUNNING,
)


class Work:
    """An action that runs until its gate is set, and notes who runs."""

    def __init__(self) -> None:
        self.gates: dict[str, asyncio.Event] = {}
        self.started: list[str] = []
        self.running: set[str] = set()
        self.most = 0

    def gate(self, name: str) -> asyncio.Event:
        return self.gates.setdefault(name, asyncio.Event())

    async def hold(self, name: str) -> str:
        self.started.append(name)
        self.running.add(name)
        self.most = max(self.most, len(self.running))
        try:
            await self.gate(name).wait()
        finally:
            self.running.discard(name)
        return name

    def engine(self, store: Any = ":memory:", **options: Any) -> WorkflowEngine:
        return WorkflowEngine(store=store, actions=[{"hold": self.hold}], settings=SETTINGS, **options)


async def begin(engine: WorkflowEngine, name: str, key: str | None = "k", workflow: Any = HOLD, **options: Any) -> str:
    return await engine.start_workflow(workflow, {"name": name}, execution_id=name, key=key, **options)


async def see(engine: WorkflowEngine, name: str) -> ExecutionState:
    return await engine.get_execution_state(name)


async def reached(engine: WorkflowEngine, name: str, kind: str) -> None:
    """Wait until something has happened to an execution."""
    async with asyncio.timeout(20):
        async for event in engine.watch(name):
            if event.kind == kind:
                return


# -- keys


async def test_a_second_open_execution_of_a_key_is_refused_with_the_name_of_the_first() -> None:
    work = Work()
    async with asyncio.timeout(20), work.engine() as engine:
        await begin(engine, "one")
        with pytest.raises(ConflictError, match="execution 'one' of workflow 'order' has the key 'k'") as caught:
            await begin(engine, "two")
        assert (caught.value.execution_id, caught.value.status) == ("one", "RUNNING")
        assert await begin(engine, "one") == "one"
        with pytest.raises(ConflictError, match="exists with another key"):
            await begin(engine, "one", "other")
        await begin(engine, "three", "other")
        await begin(engine, "four", workflow=OTHER)
        await begin(engine, "five", None)
        await begin(engine, "six", None)
        work.gate("one").set()
        await engine.wait("one")
        assert await begin(engine, "two") == "two"
        assert (await see(engine, "two")).key == "k"
        for name in ("two", "three", "four", "five", "six"):
            work.gate(name).set()


async def test_the_execution_that_has_the_key_is_returned_instead() -> None:
    work = Work()
    async with asyncio.timeout(20), work.engine() as engine:
        await begin(engine, "one")
        assert await begin(engine, "two", on_conflict="return_existing") == "one"
        work.gate("one").set()
        state = await engine.run_workflow(HOLD, {"name": "x"}, key="k", on_conflict="return_existing")
        assert (state.execution_id, state.output) == ("one", "one")
        work.gate("two").set()
        assert await begin(engine, "two", on_conflict="return_existing") == "two"


async def test_queued_executions_begin_one_after_the_other_in_the_order_they_were_started() -> None:
    work = Work()
    names = [f"e{number}" for number in range(12)]
    async with asyncio.timeout(20), work.engine() as engine:
        for name in names:
            assert await begin(engine, name, on_conflict="queue") == name
        states = [await see(engine, name) for name in names]
        assert [(one.status, one.queued) for one in states] == [(RUNNING, False), *[(PENDING, True)] * 11]
        for name in names:
            work.gate(name).set()
        assert [(await engine.wait(name)).output for name in names] == names
    assert (work.started, work.most) == (names, 1)


async def test_of_many_starts_at_once_one_begins_and_the_others_wait_or_are_refused() -> None:
    work = Work()
    async with asyncio.timeout(20), work.engine() as engine:
        results = await asyncio.gather(*(begin(engine, f"r{n}", "r") for n in range(20)), return_exceptions=True)
        assert [type(one) for one in results] == [str, *[ConflictError] * 19]
        queued = await asyncio.gather(*(begin(engine, f"q{n}", "q", on_conflict="queue") for n in range(20)))
        assert len([one for one in queued if (await see(engine, one)).status is RUNNING]) == 1
        for n in range(20):
            work.gate(f"q{n}").set()
        assert {(await engine.wait(one)).status for one in queued} == {COMPLETED}
        assert {(await engine.wait(one)).status for one in queued} == {COMPLETED}
    assert work.most == 2  # one of each key


async def test_a_queued_execution_that_is_cancelled_leaves_the_line() -> None:
    work = Work()
    async with asyncio.timeout(20), work.engine() as engine:
        for name in ("one", "two", "three"):
            await begin(engine, name, on_conflict="queue")
        assert await engine.cancel_execution("two", "not needed") is True
        assert (await engine.wait("two")).status is CANCELLED
        work.gate("one").set()
        work.gate("three").set()
        assert (await engine.wait("three")).status is COMPLETED
    assert work.started == ["one", "three"]


async def test_the_running_and_the_queued_ones_are_cancelled_for_one_that_supersedes_them() -> None:
    work = Work()
    async with asyncio.timeout(20), work.engine() as engine:
        await begin(engine, "one")
        await reached(engine, "one", "StepStarted")
        await begin(engine, "two", on_conflict="queue")
        work.gate("three").set()
        await begin(engine, "three", on_conflict="cancel_running")
        assert (await engine.wait("three")).status is COMPLETED
        first, second = await engine.wait("one"), await engine.wait("two")
        assert (first.status, second.status, second.started_at) == (CANCELLED, CANCELLED, None)
        assert first.error is not None
        assert first.error.message == "superseded by execution 'three', which has the same key"
        third = await see(engine, "three")
        assert first.ended_at is not None
        assert third.started_at is not None
        assert third.started_at >= first.ended_at
    assert work.most == 1


async def test_the_last_of_several_that_supersede_is_the_one_that_runs() -> None:
    work = Work()
    names = [f"e{number}" for number in range(6)]
    async with asyncio.timeout(20), work.engine() as engine:
        await asyncio.gather(*(begin(engine, name, on_conflict="cancel_running") for name in names))
        work.gate("e5").set()
        statuses = [(await engine.wait(name)).status for name in names]
        assert statuses == [*[CANCELLED] * 5, COMPLETED]
    assert work.most == 1


async def test_with_nobody_before_it_every_policy_begins_at_once() -> None:
    work = Work()
    async with asyncio.timeout(20), work.engine() as engine:
        for policy in ("reject", "return_existing", "queue", "cancel_running"):
            await begin(engine, policy, policy, on_conflict=policy)
            state = await see(engine, policy)
            assert (state.status, state.queued) == (RUNNING, False)
            work.gate(policy).set()


KILLED = """
import asyncio, sys
from treadle import WorkflowEngine
WORKFLOW = {"id": "order", "nodes": [{"id": "a", "action": "hold", "parameters": {"name": "${input.name}"}}]}
async def hold(name): await asyncio.Event().wait()
async def main():
    async with WorkflowEngine(store=sys.argv[1], actions=[{"hold": hold}]) as engine:
        for word in sys.argv[2:]:
            name, key, policy = word.split(":")
            await engine.start_workflow(WORKFLOW, {"name": name}, execution_id=name, key=key, on_conflict=policy)
        print("started", flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


def _killed(path: Path, *words: str) -> None:
    command = [sys.executable, "-c", KILLED, str(path), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        process.kill()


async def test_a_line_survives_a_crash_in_its_order(tmp_path: Path) -> None:
    _killed(tmp_path / "t.db", "one:k:queue", "two:k:queue", "three:k:queue", "free:f:queue")
    work = Work()
    async with asyncio.timeout(20), work.engine(tmp_path / "t.db") as engine:
        await begin(engine, "four", on_conflict="queue")
        for name in ("one", "two", "three", "four", "free"):
            work.gate(name).set()
        assert [(await engine.wait(name)).status for name in ("one", "two", "three", "four")] == [COMPLETED] * 4
    assert [name for name in work.started if name != "free"] == ["one", "two", "three", "four"]


async def test_what_ended_just_before_a_crash_lets_the_next_begin_after_it(tmp_path: Path) -> None:
    """The file is left as by a crash between the end of one and the release of the next."""
    work = Work()
    async with asyncio.timeout(20), work.engine(tmp_path / "t.db") as engine:
        await begin(engine, "one")
        await begin(engine, "two", on_conflict="queue")
        await begin(engine, "three", on_conflict="cancel_running")
        engine._driver._lines._is_stopped = True
        await engine._driver._lines.stop()
    async with asyncio.timeout(20), work.engine(tmp_path / "t.db") as engine:
        work.gate("three").set()
        assert (await engine.wait("three")).status is COMPLETED
        assert [(await engine.wait(name)).status for name in ("one", "two")] == [CANCELLED] * 2


async def test_an_engine_that_goes_on_with_some_does_not_start_those_of_others(tmp_path: Path) -> None:
    _killed(tmp_path / "t.db", "one:k:queue", "two:k:queue")
    work = Work()
    async with asyncio.timeout(20), work.engine(tmp_path / "t.db", recover=["one"]) as engine:
        work.gate("one").set()
        assert (await engine.wait("one")).status is COMPLETED
        with pytest.raises(ConflictError, match="execution 'two'"):
            await begin(engine, "three")
        assert await begin(engine, "four", on_conflict="return_existing") == "two"
        assert (await see(engine, "two")).status is PENDING
    async with asyncio.timeout(20), work.engine(tmp_path / "t.db") as engine:
        work.gate("two").set()
        assert (await engine.wait("two")).status is COMPLETED


async def test_a_damaged_execution_does_not_hold_its_line_up(tmp_path: Path) -> None:
    _killed(tmp_path / "t.db", "one:k:queue", "two:k:queue")
    with sqlite3.connect(tmp_path / "t.db") as file:
        file.execute("update turns set events = x'00' where execution = 1 and sequence = 1")
    file.close()
    work = Work()
    work.gate("two").set()
    async with asyncio.timeout(20), work.engine(tmp_path / "t.db") as engine:
        assert (await engine.wait("two")).status is COMPLETED
        assert list(engine.health.quarantined) == ["one"]
        await begin(engine, "three", on_conflict="queue")
        work.gate("four").set()
        await begin(engine, "four", on_conflict="cancel_running")
        assert [(await engine.wait(name)).status for name in ("three", "four")] == [CANCELLED, COMPLETED]


async def test_an_execution_that_the_engine_fails_on_lets_the_next_begin() -> None:
    work = Work()
    async with asyncio.timeout(20), work.engine() as engine:
        await begin(engine, "one")
        await reached(engine, "one", "StepStarted")
        await begin(engine, "two", on_conflict="queue")
        await asyncio.wait(engine._driver._lines._tasks.values())
        turns = engine._driver._turns
        turns._give_up(turns.residents.get("one"), RuntimeError("a defect"))
        work.gate("two").set()
        assert (await engine.wait("two")).status is COMPLETED


async def test_a_line_goes_on_after_the_log_could_not_be_read() -> None:
    class Unreadable(MemoryStore):
        fails = 0

        async def line(self, workflow_id: str, key: str, *, limit: int | None = None) -> Sequence[Listed]:
            if Unreadable.fails:
                Unreadable.fails -= 1
                raise StoreError("cannot be read")
            return await super().line(workflow_id, key, limit=limit)

    work = Work()
    async with asyncio.timeout(20), work.engine(Unreadable()) as engine:
        await begin(engine, "one")
        await begin(engine, "two", on_conflict="queue")
        Unreadable.fails = 3
        work.gate("one").set()
        work.gate("two").set()
        assert (await engine.wait("two")).status is COMPLETED
        await begin(engine, "four")
        work.gate("five").set()
        await begin(engine, "five", on_conflict="cancel_running")
        Unreadable.fails = 1  # the first look at the line, which is still to come
        assert (await engine.wait("four")).status is CANCELLED
        Unreadable.fails = 1
        with pytest.raises(StoreError, match="cannot be read"):
            await begin(engine, "three")
        assert Unreadable.fails == 0


async def test_a_line_that_waits_for_room_holds_no_other_up() -> None:
    work = Work()
    limits = SETTINGS.replace(active_executions=2)
    async with asyncio.timeout(20):
        async with WorkflowEngine(store=":memory:", actions=[{"hold": work.hold}], settings=limits) as engine:
            await begin(engine, "a1", "a")
            await begin(engine, "a2", "a", on_conflict="queue")
            await begin(engine, "b1", "b")
            waiting = asyncio.create_task(begin(engine, "c1", "c"))
            for name in ("a1", "a2", "b1", "c1"):
                work.gate(name).set()
            await waiting
            assert {(await engine.wait(name)).status for name in ("a1", "a2", "b1", "c1")} == {COMPLETED}


# -- a time


async def test_an_execution_begins_at_its_time(tmp_path: Path) -> None:
    work = Work()
    work.gate("one").set()
    async with asyncio.timeout(20), work.engine(tmp_path / "t.db") as engine:
        before = datetime.now(UTC)
        await begin(engine, "one", None, start_at=timedelta(milliseconds=60))
        state = await see(engine, "one")
        assert (state.status, state.started_at, work.started) == (PENDING, None, [])
        assert state.start_at is not None
        assert state.start_at - before >= timedelta(milliseconds=59)
        state = await engine.wait("one")
        assert (state.status, state.output) == (COMPLETED, "one")
        assert state.started_at is not None
        assert state.start_at is not None
        assert state.started_at >= state.start_at


@pytest.mark.parametrize("given", [datetime(2020, 1, 1, tzinfo=UTC), "2020-01-01T00:00:00Z", timedelta(0), "0s"])
async def test_a_time_that_has_passed_is_now(given: Any) -> None:
    work = Work()
    work.gate("one").set()
    async with asyncio.timeout(20), work.engine() as engine:
        await begin(engine, "one", None, start_at=given)
        assert (await engine.wait("one")).status is COMPLETED


async def test_a_time_that_passed_while_no_engine_ran_is_now_and_one_to_come_is_waited_for(tmp_path: Path) -> None:
    work = Work()
    for name in ("soon", "later"):
        work.gate(name).set()
    path = tmp_path / "t.db"
    async with asyncio.timeout(20), work.engine(path) as engine:
        await begin(engine, "soon", None, start_at="1h")
        await begin(engine, "later", None, start_at=datetime.now(UTC) + timedelta(days=9))
        with pytest.raises(TimeoutError):
            await engine.wait("soon", timeout=0)
    clock = Clock(wall=lambda: time.time() + 7_200)
    registry = Registry([{"hold": work.hold}])
    driver = LocalDriver(SqliteStore(path), registry, max_concurrent_steps=5, settings=SETTINGS, clock=clock)
    async with asyncio.timeout(20), WorkflowEngine(driver=driver, store=path) as engine:
        assert (await engine.wait("soon")).status is COMPLETED
        assert (await see(engine, "later")).status is PENDING
        assert await engine.cancel_execution("later", "not needed") is True
        state = await engine.wait("later")
        assert (state.status, state.started_at) == (CANCELLED, None)
    assert work.started == ["soon"]


async def test_one_that_waits_for_its_time_leaves_memory_and_comes_back(tmp_path: Path) -> None:
    work = Work()
    names = [f"e{number}" for number in range(9)]
    limits = SETTINGS.replace(idle_executions=0)
    actions = [{"hold": work.hold}]
    async with asyncio.timeout(20):
        async with WorkflowEngine(store=tmp_path / "t.db", actions=actions, settings=limits) as engine:
            for name in names:
                work.gate(name).set()
                await begin(engine, name, None, start_at=timedelta(milliseconds=80))
            assert {(await engine.wait(name)).status for name in names} == {COMPLETED}
            await begin(engine, "one")
            await begin(engine, "two", on_conflict="queue")
            work.gate("one").set()
            work.gate("two").set()
            assert (await engine.wait("two")).status is COMPLETED


async def test_one_with_a_time_to_come_holds_its_key_and_a_queued_one_waits_for_both() -> None:
    work = Work()
    async with asyncio.timeout(20), work.engine() as engine:
        await begin(engine, "one", start_at="1h")
        with pytest.raises(ConflictError, match="execution 'one'") as caught:
            await begin(engine, "two")
        assert caught.value.status == "PENDING"
        await begin(engine, "two", on_conflict="queue", start_at="1h")
        await engine.cancel_execution("one")
        await reached(engine, "two", "ExecutionReleased")
        state = await see(engine, "two")
        assert (state.status, state.queued) == (PENDING, False)


async def test_what_has_not_begun_can_be_neither_paused_nor_resumed_but_terminated() -> None:
    work = Work()
    async with asyncio.timeout(20), work.engine() as engine:
        await begin(engine, "one", start_at="1h")
        assert await engine.pause_execution("one") is False
        assert await engine.resume_workflow("one", {"x": 1}) is False
        assert await engine.terminate_execution("one") is True
        assert (await see(engine, "one")).status is CANCELLED


async def test_a_start_that_could_not_be_written_leaves_no_place_in_line() -> None:
    class Full(MemoryStore):
        fails = 0

        async def append(self, turns: Sequence[Turn]) -> Sequence[Appended]:
            if Full.fails:
                Full.fails -= 1
                raise StoreError("no room")
            return await super().append(turns)

    work = Work()
    async with asyncio.timeout(20), work.engine(Full()) as engine:
        await begin(engine, "one")
        Full.fails = 2
        work.gate("two").set()
        queued = asyncio.create_task(begin(engine, "two", on_conflict="queue"))
        assert await queued == "two"
        work.gate("one").set()
        assert (await engine.wait("two")).status is COMPLETED
    assert work.most == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key": ""}, "a key is 1 to 128 printable characters"),
        ({"key": 7}, "a key is 1 to 128 printable characters"),
        ({"key": "k", "on_conflict": "wait"}, "on_conflict is one of reject, return_existing, queue, cancel_running"),
        ({"on_conflict": "queue"}, "give a key too"),
        ({"start_at": datetime(2030, 1, 1)}, "start_at is a datetime with its zone"),  # noqa: DTZ001 - what is refused
        ({"start_at": 60}, "start_at is a datetime with its zone"),
        ({"start_at": "tomorrow"}, 'start_at: "tomorrow" is no duration'),
        ({"start_at": "2030-01-01T00:00:00"}, "a time has a date and a zone"),
        ({"start_at": timedelta(seconds=-1)}, "start_at: .* is negative"),
    ],
)
async def test_what_a_start_is_given_is_checked_before_anything_happens(options: Any, message: str) -> None:
    async with Work().engine() as engine:
        with pytest.raises(ValidationError, match=message):
            await engine.start_workflow(HOLD, {"name": "x"}, **options)
        assert await engine.list_executions() == ([], None)
