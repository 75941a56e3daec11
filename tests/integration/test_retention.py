"""Ended executions are removed when their time is over: all of them, nothing else, and off the way of what runs."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

import treadle
from treadle import Client, NotFoundError, Settings, StoreError, ValidationError, WorkflowEngine, action
from treadle.drivers.local import Clock, LocalDriver
from treadle.drivers.local.recovery import Plans, load
from treadle.drivers.local.watching import watch_events
from treadle.store.memory import MemoryStore
from treadle.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path


@action("give")
async def give(value: Any = "small") -> Any:
    return value


@action("fails")
async def fails() -> None:
    raise ValidationError("always")


@action("holds")
async def holds() -> None:
    await asyncio.Event().wait()


ACTIONS = [give, fails, holds]
DONE: dict[str, Any] = {
    "id": "done",
    "nodes": [{"id": "a", "action": "give", "parameters": {"value": "${default(input.value, 1)}"}}],
}
FAILED = {"id": "failed", "nodes": [{"id": "a", "action": "fails"}]}
WAITS = {"id": "waits", "nodes": [{"id": "a", "type": "input"}]}
ASKS = {"id": "asks", "nodes": [{"id": "a", "action": "give", "parameters": {"value": "${input.x}"}}]}
RUNS = {"id": "runs", "nodes": [{"id": "a", "action": "holds"}]}
LARGE = "x" * 100_000


def rows(path: Path, query: str) -> list[Any]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(query).fetchall()


async def ids(engine: WorkflowEngine) -> set[str]:
    return {one.execution_id for one in (await engine.list_executions())[0]}


async def some_of_each(engine: WorkflowEngine) -> None:
    await engine.run_workflow(DONE, {"value": LARGE}, execution_id="done")
    await engine.run_workflow(FAILED, execution_id="failed")
    for name, workflow in (("waits", WAITS), ("asks", ASKS), ("runs", RUNS), ("cancelled", RUNS)):
        await engine.start_workflow(workflow, execution_id=name)
    await engine.wait("asks")
    await engine.cancel_execution("cancelled")
    await engine.wait("cancelled")


async def test_what_ended_goes_with_all_it_had_and_what_is_open_stays_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    async with WorkflowEngine(store=path, actions=ACTIONS, grace=0) as engine:
        await some_of_each(engine)
        before = {name: await engine.history(name) for name in ("waits", "asks", "runs")}
        assert await engine.prune_executions("1h") == []
        assert list(await engine.prune_executions(0, ["FAILED"], dry_run=True)) == ["failed"]
        assert await engine.prune_executions(timedelta(0), ["FAILED"]) == ["failed"]
        assert sorted(await engine.prune_executions(0)) == ["cancelled", "done"]
        assert await ids(engine) == {"waits", "asks", "runs"}
        assert {name: await engine.history(name) for name in before} == before
        with pytest.raises(NotFoundError):
            await engine.history("done")
        with pytest.raises(NotFoundError):
            await engine.resume_workflow("done")
        assert await engine.submit_input("waits", "a", "go")
        assert (await engine.wait("waits")).output == "go"
        assert (await engine.run_workflow(DONE, {"value": 2}, execution_id="done")).output == 2, "its id is free again"
    assert rows(path, "select count(*) from payloads") == [(0,)]
    assert len(rows(path, "select * from definitions")) == 4
    async with WorkflowEngine(store=path, actions=ACTIONS, grace=0) as engine:
        assert await ids(engine) == {"waits", "asks", "runs", "done"}
        assert await engine.resume_workflow("asks", {"x": 5})
        assert (await engine.wait("asks")).output == 5
    assert (await treadle.diagnose(path)).is_whole


async def test_when_everything_is_gone_cursors_go_on_and_the_file_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    async with WorkflowEngine(store=path, actions=ACTIONS) as engine:
        await engine.run_workflow(DONE, execution_id="one")
        last = (await engine.history("one"))[-1].cursor
        await engine.prune_executions(0)
    assert rows(path, "select count(*) from turns") == [(0,)]
    assert (await treadle.diagnose(path)).is_whole, "nothing that was acknowledged is missed"
    rows(path, "vacuum")
    async with WorkflowEngine(store=path, actions=ACTIONS) as engine:
        await engine.run_workflow(DONE, execution_id="two")
        seen = []
        async for event in engine.watch(after=last):
            seen.append(event)
            if event.kind == "ExecutionCompleted":
                break
        assert (seen[0].execution_id, seen[0].cursor, seen[0].kind) == ("two", last + 1, "ExecutionCreated")
    assert (await treadle.diagnose(path)).is_whole


class LateClock(Clock):
    """The host's clock, so many days ahead."""

    days = 0

    def wall_ms(self) -> int:
        return super().wall_ms() + self.days * 86_400_000


def engine_at(path: Path | str, clock: Clock, keep: Any, **settings: int) -> WorkflowEngine:
    """Return an engine whose retention goes by ``clock``."""
    engine = WorkflowEngine(store=path, actions=ACTIONS, keep=keep, settings=Settings(**settings))
    driver = engine._driver
    assert isinstance(driver, LocalDriver)
    driver._retention._clock = clock
    return engine


async def until(engine: WorkflowEngine, wanted: set[str]) -> None:
    async with asyncio.timeout(20):
        while await ids(engine) != wanted:  # noqa: ASYNC110 - what the background does has no event
            await asyncio.sleep(0.005)


async def test_the_background_removes_by_status_and_age(tmp_path: Path) -> None:
    path, clock = tmp_path / "t.db", LateClock()
    keep = {"COMPLETED": "30d", "FAILED": timedelta(days=90), "CANCELLED": None}
    async with engine_at(path, clock, keep, prune_every_ms=5) as engine:
        await some_of_each(engine)
        everything = await ids(engine)
        clock.days = 29
        await until(engine, everything)
        clock.days = 31
        await until(engine, everything - {"done"})
        clock.days = 91
        await until(engine, everything - {"done", "failed"})
        clock.days = 10_000
        await until(engine, everything - {"done", "failed"})
        engine._grace = timedelta(0)


async def test_many_go_a_few_at_a_time_and_a_child_waits_for_what_it_belongs_to() -> None:
    async with WorkflowEngine(store=":memory:", actions=ACTIONS) as engine:
        for number in range(120):
            await engine.run_workflow(DONE, execution_id=f"e{number:03}")
        await engine.start_workflow(WAITS, execution_id="parent")
        await engine.run_workflow(DONE, execution_id="parent/each[1]/a")
        await engine.run_workflow(DONE, execution_id="other/each[1]")
        removed = await engine.prune_executions(0)
        assert len(removed) == 121
        assert await ids(engine) == {"parent", "parent/each[1]/a"}
        assert await engine.submit_input("parent", "a", 1)
        await engine.wait("parent")
        assert set(await engine.prune_executions(0)) == {"parent", "parent/each[1]/a"}


CHILD = {"id": "child", "nodes": [{"id": "a", "action": "counts"}, {"id": "b", "type": "event", "event": "go"}]}
PARENT: dict[str, Any] = {
    "id": "parent",
    "nodes": [
        {"id": "k", "type": "workflow", "workflow": "child"},
        {"id": "f", "action": "fails", "condition": "input.fails"},
    ],
    "connections": [{"source": "k", "target": "f"}],
}


def parent(*, waits: bool, steps: Any = CHILD["nodes"]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a workflow and the one that it starts."""
    first = {**PARENT["nodes"][0], "wait_for": waits}
    return {**PARENT, "nodes": [first, PARENT["nodes"][1]]}, {**CHILD, "nodes": steps}


class Counts:
    """An action that gives how often it was called."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        return self.calls


async def test_one_whose_child_is_open_stays_and_goes_with_it_later() -> None:
    workflow, child = parent(waits=False)
    actions = [*ACTIONS, {"counts": Counts()}]
    clock = LateClock()
    async with WorkflowEngine(store=":memory:", actions=actions, workflows=[child]) as engine:
        driver = engine._driver
        assert isinstance(driver, LocalDriver)
        driver._retention._clock = clock
        state = await engine.run_workflow(workflow, {"fails": False}, execution_id="p")
        assert state.status.value == "COMPLETED"
        assert await engine.prune_executions(0, dry_run=True) == await engine.prune_executions(0) == []
        assert await engine.send_event("go", None, 5)
        await engine.wait("p/k")
        assert await engine.prune_executions("1d") == [], "the child has not ended long enough ago"
        clock.days = 2
        assert await engine.prune_executions("1d", ["COMPLETED"], dry_run=True) == ["p/k", "p"]
        assert await engine.prune_executions("1d", ["COMPLETED"]) == ["p/k", "p"]


async def test_children_go_with_what_started_them_whatever_their_status_and_not_before() -> None:
    """Otherwise the next one of that id would be given what the old child did."""
    workflow, child = parent(waits=True, steps=CHILD["nodes"][:1])
    counts = Counts()
    async with WorkflowEngine(store=":memory:", actions=[*ACTIONS, {"counts": counts}], workflows=[child]) as engine:
        assert (await engine.run_workflow(workflow, {"fails": True}, execution_id="p")).steps["k"].output == 1
        await engine.run_workflow(DONE, execution_id="p/other")
        assert await engine.prune_executions(0, ["COMPLETED"]) == [], "p is still there, and FAILED"
        assert await engine.prune_executions(0, ["FAILED"], dry_run=True) == ["p/k", "p"]
        assert await engine.prune_executions(0, ["FAILED"]) == ["p/k", "p"]
        assert await ids(engine) == {"p/other"}, "nobody started it: it has a name of that kind, and goes by itself"
        assert (await engine.run_workflow(workflow, {"fails": False}, execution_id="p")).steps["k"].output == 2
        assert sorted(await engine.prune_executions(0)) == ["p", "p/k", "p/other"]


async def test_a_large_family_goes_in_parts_with_its_first_in_the_last() -> None:
    items = {"id": "m", "type": "map", "items": [{"n": number} for number in range(70)], "workflow": "child"}
    child = {**CHILD, "nodes": CHILD["nodes"][:1]}
    async with WorkflowEngine(store=":memory:", actions=[{"counts": Counts()}], workflows=[child]) as engine:
        await engine.run_workflow({"id": "w", "nodes": [items]}, execution_id="p")
        store = engine._driver._log
        parts: list[list[str]] = []
        remove = store.remove

        async def watched(names: Any) -> Any:
            parts.append(list(names))
            return await remove(names)

        store.remove = watched
        assert len(await engine.prune_executions(0)) == 71
        assert ([len(one) for one in parts], parts[-1][-1]) == ([50, 21], "p")
        assert await ids(engine) == set()


async def test_a_failing_disk_is_tried_again_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(sqlite3.Connection):
        fails = False

        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            if Failing.fails and sql.startswith("delete from turns"):
                raise sqlite3.OperationalError("disk I/O error")
            return super().execute(sql, *values)

    def failing(path: str) -> sqlite3.Connection:
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Failing)

    store = SqliteStore(tmp_path / "t.db", connect=failing)
    async with WorkflowEngine(store=store, actions=ACTIONS, keep=0, settings=Settings(prune_every_ms=5)) as engine:
        Failing.fails = True
        await engine.run_workflow(DONE, execution_id="one")
        async with asyncio.timeout(20):
            while "could not be removed" not in caplog.text:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.005)
        assert (await engine.get_execution_state("one")).output == 1, "nothing is half gone"
        Failing.fails = False
        await until(engine, set())
        async with asyncio.timeout(20):
            while not engine.health.ok:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.005)
        assert (await engine.run_workflow(DONE, execution_id="two")).output == 1
        await until(engine, set())
    with pytest.raises(StoreError):
        await store.remove(["one"])


async def test_a_watcher_of_what_is_removed_meanwhile_ends(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    async with WorkflowEngine(store=path, actions=ACTIONS) as engine, Client(path) as client:
        await engine.run_workflow(DONE, execution_id="one")
        behind = client.state_manager.watch("one")
        first = await anext(behind)
        assert first.kind == "ExecutionCreated"
        await engine.prune_executions(0)
        async with asyncio.timeout(20):
            async for _ in behind:
                pass
        with pytest.raises(NotFoundError):
            await anext(client.state_manager.watch("one"))


class _RemovedMeanwhile:
    """Says that there is more to read, of an execution that has ended and was removed by then."""

    is_closed = is_behind = False

    def __init__(self, engine: WorkflowEngine) -> None:
        self.engine = engine

    def subscribe(self, execution_id: str | None = None) -> _RemovedMeanwhile:
        return self

    async def next(self) -> tuple[()]:
        assert await self.engine.submit_input("one", "a", 1)
        await self.engine.wait("one")
        assert await self.engine.prune_executions(0) == ["one"]
        self.is_behind = True
        return ()

    def close(self) -> None:
        """Nothing is held."""


async def test_so_does_one_that_was_waiting_for_more() -> None:
    store = MemoryStore()
    async with WorkflowEngine(store=store, actions=ACTIONS) as engine:
        await engine.start_workflow(WAITS, execution_id="one")
        source = _RemovedMeanwhile(engine)
        async with asyncio.timeout(20):
            seen = [event.kind async for event in watch_events(store, source, "one", None)]
        assert seen[-1] == "InputAsked"


async def test_what_is_removed_while_it_is_read_is_not_there_and_not_damaged() -> None:
    class Racing(MemoryStore):
        async def definition(self, definition_hash: str) -> bytes | None:
            await self.remove(["one"])
            return await super().definition(definition_hash)

    store = Racing()
    async with WorkflowEngine(store=store, actions=ACTIONS) as engine:
        await engine.run_workflow(DONE, execution_id="one")
        assert await load(store, Plans(store), "one") is None
        assert (await engine.run_workflow(DONE, {"value": 7}, execution_id="one")).output == 7


async def test_reading_while_executions_are_removed_never_finds_damage(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    async with WorkflowEngine(20, store=path, actions=ACTIONS) as engine, Client(path) as client:
        is_over = False

        async def read() -> int:
            count = 0
            while not is_over:
                for row in (await client.state_manager.list_executions())[0]:
                    with contextlib.suppress(NotFoundError):
                        await client.state_manager.history(row.execution_id)
                        await client.state_manager.get_execution_state(row.execution_id)
                        count += 1
            return count

        reading = [asyncio.create_task(read()) for _ in range(2)]
        for number in range(150):
            await engine.run_workflow(DONE, {"value": f"{number} {LARGE}"})
            if number % 3 == 0:
                await engine.prune_executions(0)
        is_over = True
        assert sum(await asyncio.gather(*reading)) > 0
        assert engine.health.ok
        assert engine.health.quarantined == {}


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ("soon", 'keep[COMPLETED]: "soon" is no duration'),
        (-1, "keep[COMPLETED]: -1 is negative"),
        ({"RUNNING": "1d"}, "an execution that is RUNNING is kept"),
        ({"DONE": "1d"}, "statuses are some of"),
        ({"FAILED": "?"}, 'keep[FAILED]: "?" is no duration'),
    ],
)
def test_what_is_no_age_or_no_end_is_refused(keep: Any, message: str) -> None:
    with pytest.raises(ValidationError) as error:
        WorkflowEngine(store=":memory:", keep=keep)
    assert message in str(error.value)


def test_the_environment_says_how_long_unless_the_engine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def kept(**options: Any) -> dict[str, int]:
        driver = WorkflowEngine(store=":memory:", **options)._driver
        assert isinstance(driver, LocalDriver)
        return driver._retention._keep

    assert kept() == {}
    monkeypatch.setenv("TREADLE_KEEP_MS", "86400000")
    assert kept() == dict.fromkeys(("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"), 86_400_000)
    assert kept(keep={"FAILED": "2d"}) == {"FAILED": 172_800_000}
    assert kept(keep={}) == {}


async def test_a_damaged_row_is_left_and_holds_up_nothing(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    async with WorkflowEngine(store=path, actions=ACTIONS) as engine:
        for name in ("a", "b", "c"):
            await engine.run_workflow(DONE, execution_id=name)
        rows(path, "update executions set tags = 7 where execution_id = 'a'")
        assert [row.execution_id for row in await engine._driver._log.ended("COMPLETED", 2**53, limit=1)] == ["b"]
        assert list(await engine.prune_executions(0)) == ["b", "c"]
