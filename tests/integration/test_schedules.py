"""Schedules in an engine on a virtual clock: days in milliseconds, a clock that is set, crashes at every write."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from treadle import ConflictError, NotFoundError, Settings, StoreError, ValidationError, WorkflowEngine, WorkflowRef
from treadle.actions import Registry
from treadle.drivers.local import LocalDriver, scheduler
from treadle.drivers.local.clock import Clock
from treadle.model import ExecutionStatus
from treadle.store.memory import MemoryStore
from treadle.testing import ManualClock
from treadle.testing.loop import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from treadle.store.protocol import Appended, ScheduleRow, Turn

START = datetime(2030, 3, 29, tzinfo=UTC)
HOUR = 3600
NOTES = {"id": "notes", "nodes": [{"id": "a", "action": "note", "parameters": {"at": "${input.at}"}}]}
HOLDS = {"id": "holds", "nodes": [{"id": "a", "action": "hold", "parameters": {"at": "${input.at}"}}]}
AT = {"at": "${schedule.planned_at}"}


class JumpingClock(ManualClock):
    """A manual clock whose wall can be set, as an administrator or the end of a long sleep does."""

    longest_sleep_seconds = 30.0

    def __init__(self, start: datetime) -> None:
        self.set_by = 0
        super().__init__(start)

    def wall_ms(self) -> int:
        return super().wall_ms() + self.set_by

    def now_ms(self) -> int:
        return Clock.now_ms(self)  # which never goes back, as that of the host


class World:
    """What outlives an engine: the store, the clock, and what its actions did."""

    def __init__(self, store: MemoryStore | None = None, clock: ManualClock | None = None) -> None:
        self.store = store or MemoryStore()
        self.clock = clock or JumpingClock(START)
        self.noted: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.cancelled: list[str] = []

    async def note(self, at: str) -> None:
        self.noted.append(at)

    async def hold(self, at: str) -> None:
        self.noted.append(at)
        gate = self.gates[at] = asyncio.Event()
        try:
            await gate.wait()
        except asyncio.CancelledError:
            self.cancelled.append(at)
            raise

    def live(
        self, story: Callable[[WorkflowEngine], Awaitable[object]], *, recover: str = "all", crashes: bool = False
    ) -> None:
        """Open an engine, run a story with it, and close it, or let go of it as ``kill -9`` does."""
        registry = Registry([{"note": self.note, "hold": self.hold}])
        settings = Settings(grace_ms=0)
        driver = LocalDriver(self.store, registry, max_concurrent_steps=50, settings=settings, clock=self.clock)
        engine = WorkflowEngine(50, actions=[registry], settings=settings, driver=driver, recover=recover)
        loop = VirtualLoop(self.clock, 60)

        async def whole() -> None:
            await engine.__aenter__()
            try:
                await story(engine)
            finally:
                if not crashes:
                    await engine.close()

        try:
            loop.run_until_complete(whole())
        finally:
            _drop(loop)

    async def executions(self) -> list[str]:
        return [row.execution_id for row in reversed(await self.store.list(limit=1_000))]


def _drop(loop: VirtualLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.stuck = lambda _: loop.stop()
    if tasks:
        with contextlib.suppress(RuntimeError):
            loop.run_until_complete(asyncio.wait(tasks, timeout=1))
    loop.close()


@pytest.fixture
def world() -> World:
    return World()


def ids(world: World) -> list[str]:
    return asyncio.run(world.executions())


def test_each_planned_time_has_one_execution_across_a_change_of_the_clocks(world: World) -> None:
    async def story(engine: WorkflowEngine) -> None:
        await engine.schedule(NOTES, "30 2 * * *", "Europe/Vienna", schedule_id="night", input_data=AT, tags={"k": "v"})
        await asyncio.sleep(3 * 24 * HOUR)
        (newest, *_), _ = await engine.list_executions(tags={"schedule": "night"})
        assert newest.tags == {"k": "v", "schedule": "night", "planned_at": "2030-03-31T03:00:00+02:00"}
        assert newest.created_at == datetime(2030, 3, 31, 1, tzinfo=UTC)
        shown = await engine.get_schedule("night")
        assert (shown.started, shown.last_at, shown.next_at) == (
            3,
            datetime(2030, 3, 31, 1, tzinfo=UTC),
            datetime(2030, 4, 1, 0, 30, tzinfo=UTC),
        )

    world.live(story)
    assert ids(world) == ["night/2030-03-29T01:30:00Z", "night/2030-03-30T01:30:00Z", "night/2030-03-31T01:00:00Z"]
    assert world.noted == ["2030-03-29T02:30:00+01:00", "2030-03-30T02:30:00+01:00", "2030-03-31T03:00:00+02:00"]


def test_a_schedule_lives_on_with_what_was_missed_made_up_in_order(world: World) -> None:
    async def make(engine: WorkflowEngine) -> None:
        await engine.schedule(NOTES, "0 * * * *", schedule_id="s", input_data=AT, overlap="allow", catch_up="3h")
        await asyncio.sleep(1.5 * HOUR)

    async def go_on(engine: WorkflowEngine) -> None:
        await asyncio.sleep(0.75 * HOUR)
        shown = await engine.get_schedule("s")
        assert (shown.started, shown.missed) == (5, 3)

    world.live(make)
    world.clock.advance(6 * HOUR)
    world.live(go_on)
    assert [one[11:13] for one in world.noted] == ["01", "05", "06", "07", "08"]


def test_only_an_engine_that_recovers_everything_starts_what_is_due(world: World) -> None:
    async def make(engine: WorkflowEngine) -> None:
        await engine.schedule(NOTES, "0 * * * *", schedule_id="s", input_data=AT)
        await asyncio.sleep(1.5 * HOUR)
        assert await engine.trigger_schedule("s")
        await asyncio.sleep(1)

    world.live(make, recover="none")
    assert ids(world) == []
    world.live(lambda _: asyncio.sleep(1))
    assert world.noted == ["2030-03-29T01:30:00+00:00"], "the trigger; the time before it was skipped as it was open"


def test_skip_queue_cancel_running_and_allow(world: World) -> None:
    async def story(engine: WorkflowEngine) -> None:
        for overlap in ("skip", "queue", "cancel_running", "allow"):
            await engine.schedule(
                HOLDS, "0 * * * *", overlap=overlap, schedule_id=overlap, input_data={"at": f"{overlap} {AT['at']}"}
            )
        await asyncio.sleep(3.5 * HOUR)
        assert by(world, "skip") == ["01"]
        assert by(world, "queue") == ["01"]
        assert by(world, "cancel_running") == ["01", "02", "03"]
        assert by(world, "allow") == ["01", "02", "03"]
        assert [one[-14:-12] for one in world.cancelled] == ["01", "02"]
        assert (await engine.get_schedule("skip")).skipped == 2
        assert [one.hour for one in (await engine.get_schedule("queue")).queued_at] == [2, 3]
        for overlap in ("skip", "queue"):
            world.gates[f"{overlap} 2030-03-29T01:00:00+00:00"].set()
        await asyncio.sleep(1)
        assert by(world, "queue") == ["01", "02"], "the next one begins as soon as the one before it has ended"
        await asyncio.sleep(0.75 * HOUR)
        assert by(world, "skip") == ["01", "04"]
        statuses = [(await engine.get_execution_state(f"cancel_running/2030-03-29T0{n}:00:00Z")).status for n in (1, 3)]
        assert statuses == [ExecutionStatus.CANCELLED] * 2

    def by(world: World, overlap: str) -> list[str]:
        return [one[-14:-12] for one in world.noted if one.startswith(f"{overlap} ")]

    world.live(story)


def test_what_is_open_and_queued_is_known_again_after_a_crash(world: World) -> None:
    async def make(engine: WorkflowEngine) -> None:
        for overlap in ("skip", "queue"):
            await engine.schedule(
                HOLDS, "0 * * * *", overlap=overlap, schedule_id=overlap, input_data=AT, catch_up="10h"
            )
        await asyncio.sleep(2.5 * HOUR)

    async def go_on(engine: WorkflowEngine) -> None:
        await asyncio.sleep(HOUR)
        assert ids_of(await world.executions()) == {"skip": [1], "queue": [1]}
        for overlap in ("skip", "queue"):
            await engine.terminate_execution(f"{overlap}/2030-03-29T01:00:00Z")
        await asyncio.sleep(HOUR)
        assert ids_of(await world.executions()) == {"skip": [1, 4], "queue": [1, 2]}

    async def after_the_end(engine: WorkflowEngine) -> None:
        await asyncio.sleep(1)

    world.live(make, crashes=True)
    world.live(go_on, crashes=True)
    world.live(after_the_end)
    assert ids_of(ids(world)) == {"skip": [1, 4], "queue": [1, 2]}


def ids_of(names: Sequence[str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for name in names:
        schedule_id, _, planned = name.partition("/")
        found.setdefault(schedule_id, []).append(int(planned[11:13]))
    return found


def test_an_execution_that_ended_while_no_engine_looked_is_not_open(world: World) -> None:
    async def make(engine: WorkflowEngine) -> None:
        await engine.schedule(HOLDS, "0 * * * *", schedule_id="s", input_data=AT)
        await asyncio.sleep(1.5 * HOUR)

    async def end_it(engine: WorkflowEngine) -> None:
        await engine.terminate_execution("s/2030-03-29T01:00:00Z")

    world.live(make)
    world.live(end_it, recover="none")
    world.live(lambda _: asyncio.sleep(HOUR))
    assert ids_of(ids(world)) == {"s": [1, 2]}


def test_the_clock_set_back_starts_nothing_twice_and_set_on_makes_up(world: World) -> None:
    clock = world.clock
    assert isinstance(clock, JumpingClock)

    async def story(engine: WorkflowEngine) -> None:
        await engine.schedule(NOTES, "0 * * * *", schedule_id="s", input_data=AT, overlap="allow", catch_up="2h")
        await asyncio.sleep(2.5 * HOUR)
        assert hours() == [1, 2]
        clock.set_by -= 2 * HOUR * 1000  # it is 00:30 again
        await asyncio.sleep(2 * HOUR)
        assert hours() == [1, 2], "02:30 again: these two had their execution"
        await asyncio.sleep(HOUR)
        assert hours() == [1, 2, 3]
        clock.set_by += 5 * HOUR * 1000  # from 03:30 to 08:30, as after a sleep
        await asyncio.sleep(60)
        assert hours() == [1, 2, 3, 7, 8]
        assert (await engine.get_schedule("s")).missed == 3
        clock.set_by -= HOUR * 1000
        clock.set_by += HOUR * 1000
        await asyncio.sleep(HOUR)
        assert hours() == [1, 2, 3, 7, 8, 9]

    def hours() -> list[int]:
        return [int(one[11:13]) for one in world.noted]

    world.live(story)
    assert len(ids(world)) == 6


def test_a_clock_that_is_behind_and_put_right_again_is_followed_at_once(world: World) -> None:
    """The engine's own time does not go back and so does not see the second jump; that of schedules does."""
    clock = world.clock
    assert isinstance(clock, JumpingClock)

    async def story(engine: WorkflowEngine) -> None:
        await engine.schedule(NOTES, "0 * * * *", schedule_id="s", input_data=AT)
        clock.set_by = -10 * HOUR * 1000
        await asyncio.sleep(60)
        clock.set_by = 0
        await asyncio.sleep(HOUR)

    world.live(story)
    assert world.noted == ["2030-03-29T01:00:00+00:00"]


def test_a_paused_schedule_starts_nothing_and_makes_nothing_up(world: World) -> None:
    async def story(engine: WorkflowEngine) -> None:
        await engine.schedule(NOTES, "0 * * * *", schedule_id="s", input_data=AT, catch_up="9h")
        assert await engine.pause_schedule("s")
        assert not await engine.pause_schedule("s")
        await asyncio.sleep(2.5 * HOUR)
        assert (await engine.get_schedule("s")).next_at is None
        name = await engine.trigger_schedule("s")
        assert name is not None
        assert (await engine.wait(name)).input == {"at": "2030-03-29T02:30:00+00:00"}

    async def go_on(engine: WorkflowEngine) -> None:
        assert (await engine.get_schedule("s")).is_paused
        await asyncio.sleep(HOUR)
        assert await engine.resume_schedule("s")
        assert not await engine.resume_schedule("s")
        await asyncio.sleep(HOUR)

    world.live(story)
    world.live(go_on)
    assert [one[11:16] for one in world.noted] == ["02:30", "04:00"]


def test_a_removed_schedule_is_gone_and_its_executions_go_on(world: World) -> None:
    async def story(engine: WorkflowEngine) -> None:
        name = await engine.schedule(HOLDS, "0 * * * *", input_data=AT, overlap="queue")
        await asyncio.sleep(2.5 * HOUR)
        assert await engine.unschedule(name)
        assert not await engine.unschedule(name)
        world.gates["2030-03-29T01:00:00+00:00"].set()
        await asyncio.sleep(2 * HOUR)
        assert await engine.list_schedules() == []
        for verb in (engine.pause_schedule, engine.resume_schedule, engine.trigger_schedule, engine.get_schedule):
            with pytest.raises(NotFoundError, match="no schedule named"):
                await verb(name)
        assert (await engine.get_execution_state(f"{name}/2030-03-29T01:00:00Z")).status is ExecutionStatus.COMPLETED

    world.live(story)
    assert len(ids(world)) == 1


def test_the_same_again_is_the_same_schedule_and_another_is_refused_or_takes_its_place(world: World) -> None:
    async def story(engine: WorkflowEngine) -> None:
        for _ in range(2):
            assert await engine.schedule(NOTES, "0 * * * *", schedule_id="s", input_data=AT) == "s"
        before = await engine.get_schedule("s")
        await asyncio.sleep(1.5 * HOUR)
        with pytest.raises(ConflictError, match="'s' is there and says something else"):
            await engine.schedule(NOTES, "30 * * * *", schedule_id="s", input_data=AT)
        assert (await engine.get_schedule("s")).cron == before.cron
        await engine.schedule(NOTES, "45 * * * *", schedule_id="s", input_data=AT, replace=True)
        assert (await engine.get_schedule("s")).started == 1
        await asyncio.sleep(HOUR)

    world.live(story)
    assert [one[11:16] for one in world.noted] == ["01:00", "01:45"]


def test_a_registered_workflow_is_scheduled_in_the_version_that_its_id_means_now(world: World) -> None:
    async def story(engine: WorkflowEngine) -> None:
        with pytest.raises(NotFoundError, match="registered workflow"):
            await engine.schedule(WorkflowRef("notes"), "0 * * * *", input_data=AT)
        first = await engine.register_workflow(NOTES)
        await engine.schedule(WorkflowRef("notes"), "0 * * * *", input_data=AT, schedule_id="s")
        await engine.register_workflow({**NOTES, "name": "Another"})
        await asyncio.sleep(1.5 * HOUR)
        (row,), _ = await engine.list_executions()
        assert (row.execution_id, row.definition_hash) == ("s/2030-03-29T01:00:00Z", first.definition_hash)
        await engine.schedule(first, "0 * * * *", input_data=AT, schedule_id="s")

    world.live(story)


def test_a_planned_time_that_has_an_execution_keeps_it_also_for_another_workflow(world: World) -> None:
    async def story(engine: WorkflowEngine) -> None:
        await engine.start_workflow(NOTES, {"at": "by hand"}, execution_id="s/2030-03-29T01:00:00Z")
        await engine.schedule(HOLDS, "0 * * * *", schedule_id="s", input_data=AT)
        await asyncio.sleep(1.5 * HOUR)

    world.live(story)
    assert world.noted == ["by hand"]
    assert len(ids(world)) == 1


def test_a_trigger_is_skipped_or_queued_as_a_planned_time_is(world: World) -> None:
    async def story(engine: WorkflowEngine) -> None:
        for overlap in ("skip", "queue"):
            await engine.schedule(HOLDS, "0 0 1 1 *", schedule_id=overlap, input_data={"at": overlap}, overlap=overlap)
            assert await engine.trigger_schedule(overlap)
        await asyncio.sleep(1)
        assert await engine.trigger_schedule("skip") is None
        second = await engine.trigger_schedule("queue")
        assert second is not None
        with pytest.raises(NotFoundError):
            await engine.get_execution_state(second)
        world.gates["queue"].set()
        await asyncio.sleep(1)
        assert (await engine.get_execution_state(second)).status is ExecutionStatus.RUNNING

    world.live(story)
    assert world.noted == ["skip", "queue", "queue"]


def test_everything_that_is_wrong_is_told_at_once_and_nothing_is_kept(world: World) -> None:
    async def story(engine: WorkflowEngine) -> None:
        with pytest.raises(ValidationError) as caught:
            await engine.schedule(
                {"id": "w", "nodes": [{"id": "a", "action": "unknown"}]},
                "0 0 30 2 *",
                "Europe/Viena",
                overlap="sometimes",
                catch_up=-1,
                jitter="much",
                input_data=[1],  # type: ignore[arg-type]
                schedule_id="a/b",
                tags={"schedule": "x"},
                priority="high",  # type: ignore[arg-type]
            )
        paths = [problem.path for problem in caught.value.problems]
        assert paths[0] == "schedule_id"
        wanted = "schedule_id nodes tags priority cron timezone overlap catch_up jitter input_data"
        assert [path.partition("[")[0] for path in paths] == wanted.split()
        assert str(caught.value).count("\n") == len(paths) - 1
        assert "never fires" in str(caught.value)
        assert await engine.list_schedules() == []

    world.live(story)


def test_before_it_is_open_and_after_it_was_closed_nothing_is_scheduled(world: World) -> None:
    registry = Registry([{"note": world.note}])
    driver = LocalDriver(world.store, registry, max_concurrent_steps=1, settings=Settings())
    engine = WorkflowEngine(1, actions=[registry], driver=driver)

    async def story() -> None:
        with pytest.raises(ConflictError, match="not open"):
            await engine.schedule(NOTES, "0 * * * *", input_data=AT)
        async with engine:
            await engine.schedule(NOTES, "0 * * * *", input_data=AT, schedule_id="s")
        with pytest.raises(ConflictError, match="not open"):
            await engine.pause_schedule("s")

    asyncio.run(story())


def test_more_schedules_than_allowed_are_refused(world: World) -> None:
    async def story(engine: WorkflowEngine) -> None:
        engine._driver._scheduler._settings = Settings(max_schedules=2)  # type: ignore[attr-defined]
        for name in ("a", "b", "a"):
            await engine.schedule(NOTES, "0 * * * *", schedule_id=name, input_data=AT)
        with pytest.raises(ValidationError, match="as many as max_schedules allows"):
            await engine.schedule(NOTES, "0 * * * *", schedule_id="c", input_data=AT)

    world.live(story)


class CutStore(MemoryStore):
    """A store whose machine loses its power at one write: before it is there, or right after."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0
        self.cut_at = 0
        self.keeps_last = False
        self.is_cut = asyncio.Event()

    async def append(self, turns: Sequence[Turn]) -> Sequence[Appended]:
        if await self._is_written():
            answers = await super().append(turns)
            await self._end()
            return answers
        raise AssertionError("unreachable")

    async def put_schedules(self, rows: Sequence[ScheduleRow], removed: Sequence[str] = ()) -> None:
        if await self._is_written():
            await super().put_schedules(rows, removed)
            await self._end()

    async def _is_written(self) -> bool:
        self.writes += 1
        if self.cut_at and (self.writes > self.cut_at or (self.writes == self.cut_at and not self.keeps_last)):
            self.is_cut.set()
            await asyncio.Future()
        return True

    async def _end(self) -> None:
        if self.writes == self.cut_at:
            self.is_cut.set()
            await asyncio.Future()


@pytest.mark.parametrize("overlap", ["allow", "skip", "queue", "cancel_running"])
def test_a_crash_at_any_write_starts_nothing_twice_and_loses_nothing(overlap: str) -> None:
    """Power lost before and after each write of three hours; the next engine has every planned time once."""

    def play(cut_at: int, *, keeps_last: bool) -> tuple[World, int]:
        store = CutStore()
        store.cut_at, store.keeps_last = cut_at, keeps_last
        world = World(store)

        async def first(engine: WorkflowEngine) -> None:
            made = asyncio.ensure_future(make(engine))
            await asyncio.wait([made, asyncio.ensure_future(store.is_cut.wait())], return_when=asyncio.FIRST_COMPLETED)

        async def make(engine: WorkflowEngine) -> None:
            await engine.schedule(NOTES, "0 * * * *", schedule_id="s", input_data=AT, overlap=overlap, catch_up="9h")
            await asyncio.sleep(3.5 * HOUR)

        world.live(first, crashes=True)
        writes, store.cut_at, store.is_cut = store.writes, 0, asyncio.Event()
        left = 3.5 * HOUR - world.clock.elapsed

        async def second(engine: WorkflowEngine) -> None:
            await engine.schedule(NOTES, "0 * * * *", schedule_id="s", input_data=AT, overlap=overlap, catch_up="9h")
            await asyncio.sleep(left + 60)

        world.live(second)
        return world, writes

    whole, writes = play(0, keeps_last=False)
    assert ids_of(ids(whole)) == {"s": [1, 2, 3]}
    assert writes >= 3 * 4
    for cut_at in range(1, writes + 1):
        for keeps_last in (False, True):
            world, _ = play(cut_at, keeps_last=keeps_last)
            assert ids_of(ids(world)) == {"s": [1, 2, 3]}, (cut_at, keeps_last)
            assert sorted({one[11:13] for one in world.noted}) == ["01", "02", "03"], (cut_at, keeps_last)
            (row,) = asyncio.run(world.store.schedules())
            assert b'"started":3' in row.progress, (cut_at, keeps_last)


class FailingStore(MemoryStore):
    """A store whose writes of schedules fail for a while, with the outcome unknown: some are there all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.fails = 0
        self.reopened = 0

    async def put_schedules(self, rows: Sequence[ScheduleRow], removed: Sequence[str] = ()) -> None:
        self.fails -= 1
        if self.fails >= 0:
            if self.fails % 2:
                await super().put_schedules(rows, removed)
            raise StoreError("the disk is full", "here")
        await super().put_schedules(rows, removed)

    async def reopen(self) -> None:
        self.reopened += 1


@pytest.mark.parametrize("fails", [1, 2, 3, 4])
def test_after_a_failed_write_what_the_store_says_is_true_and_it_goes_on(fails: int) -> None:
    store = FailingStore()
    world = World(store)

    async def story(engine: WorkflowEngine) -> None:
        await engine.schedule(NOTES, "0 * * * *", schedule_id="s", input_data=AT)
        await asyncio.sleep(0.5 * HOUR)
        store.fails = fails
        await asyncio.sleep(HOUR)
        assert store.reopened >= 1
        assert engine.health.ok
        store.fails = 10**9
        with pytest.raises(StoreError):
            await engine.resume_schedule("s")
        await asyncio.sleep(60)
        assert not engine.health.ok
        assert "schedules cannot be kept" in engine.health.reason
        await asyncio.sleep(HOUR)
        store.fails = 0
        await asyncio.sleep(60)
        assert engine.health.ok
        store.fails = 1
        with pytest.raises(StoreError, match="the disk is full"):
            await engine.pause_schedule("s")
        await asyncio.sleep(60)
        assert not (await engine.get_schedule("s")).is_paused
        await asyncio.sleep(HOUR)
        store.fails = 2
        with pytest.raises(StoreError, match="the disk is full"):
            await engine.schedule(NOTES, "30 * * * *", schedule_id="t", input_data={"at": "t"})
        await asyncio.sleep(60)
        assert [one.schedule_id for one in await engine.list_schedules()] == ["s", "t"], "its outcome was unknown"
        await asyncio.sleep(HOUR)

    world.live(story)
    assert [one[11:13] for one in world.noted if one != "t"] == ["01", "02", "03", "04"]
    assert world.noted.count("t") == 1


class SlowStore(MemoryStore):
    """A store whose next append waits until it is let through."""

    def __init__(self) -> None:
        super().__init__()
        self.gate: asyncio.Event | None = None
        self.arrived = asyncio.Event()

    async def append(self, turns: Sequence[Turn]) -> Sequence[Appended]:
        if self.gate is not None:
            self.arrived.set()
            await self.gate.wait()
        return await super().append(turns)


def test_a_schedule_that_is_removed_while_its_execution_begins_stays_removed() -> None:
    store = SlowStore()
    world = World(store)

    async def story(engine: WorkflowEngine) -> None:
        await engine.schedule(NOTES, "0 * * * *", schedule_id="s", input_data=AT)
        store.gate = asyncio.Event()
        triggered = asyncio.ensure_future(engine.trigger_schedule("s"))
        await store.arrived.wait()
        assert await engine.unschedule("s")
        with pytest.raises(NotFoundError, match="no schedule named 's'"):
            await triggered
        store.gate.set()
        await asyncio.sleep(HOUR * 2)
        assert await engine.list_schedules() == []

    world.live(story)
    assert len(ids(world)) == 1


def test_of_several_that_are_made_up_those_after_the_removal_do_not_begin() -> None:
    store = SlowStore()
    world = World(store)

    async def make(engine: WorkflowEngine) -> None:
        await engine.schedule(NOTES, "0 * * * *", schedule_id="s", input_data=AT, overlap="allow", catch_up="9h")

    async def remove(engine: WorkflowEngine) -> None:
        assert store.gate is not None
        await store.arrived.wait()
        assert await engine.unschedule("s")
        store.gate.set()
        await asyncio.sleep(HOUR)

    world.live(make)
    world.clock.advance(3.5 * HOUR)
    store.gate = asyncio.Event()
    world.live(remove)
    assert ids_of(ids(world)) == {"s": [1]}


def test_who_waits_for_a_trigger_is_told_when_the_engine_is_closed() -> None:
    store = SlowStore()
    world = World(store)

    async def story(engine: WorkflowEngine) -> None:
        await engine.schedule(NOTES, "0 * * * *", schedule_id="s", input_data=AT)
        store.gate = asyncio.Event()
        triggered = asyncio.ensure_future(engine.trigger_schedule("s"))
        await store.arrived.wait()
        closing = asyncio.ensure_future(engine.close())
        with pytest.raises(StoreError, match="the engine was closed; it starts when it is opened again"):
            await triggered
        store.gate.set()
        await closing

    world.live(story)
    store.gate = None
    world.live(lambda _: asyncio.sleep(1))
    assert len(ids(world)) == 1
    assert set(world.noted) == {"2030-03-29T00:00:00+00:00"}


def test_a_planned_time_whose_input_does_not_fit_is_skipped_and_what_is_queued_goes_on(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    not_the_30th = {"type": "object", "properties": {"at": {"not": {"pattern": "^2030-03-30"}}}}

    async def make(engine: WorkflowEngine) -> None:
        workflow = {**NOTES, "input_schema": not_the_30th}
        await engine.schedule(workflow, "0 12 * * *", schedule_id="s", input_data=AT, overlap="queue", catch_up="9d")

    async def go_on(engine: WorkflowEngine) -> None:
        await asyncio.sleep(60)
        shown = await engine.get_schedule("s")
        assert (shown.started, shown.skipped, shown.queued_at) == (2, 1, ())
        assert shown.last_skipped_at == datetime(2030, 3, 30, 12, tzinfo=UTC)

    world.live(make)
    world.clock.advance(2.75 * 24 * HOUR)
    world.live(go_on)
    assert [one[:10] for one in world.noted] == ["2030-03-29", "2030-03-31"]
    assert "execution 's/2030-03-30T12:00:00Z' cannot be started: input_data.at" in caplog.text


def test_a_schedule_on_which_the_engine_fails_is_set_aside_and_the_others_go_on(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(schedule_id: str, *arguments: Any) -> Any:
        if schedule_id == "bad":
            raise RuntimeError("a defect")
        return advance(schedule_id, *arguments)

    advance = scheduler.advance
    monkeypatch.setattr(scheduler, "advance", fails)

    async def story(engine: WorkflowEngine) -> None:
        for name in ("bad", "good"):
            await engine.schedule(NOTES, "0 * * * *", schedule_id=name, input_data=AT)
        await asyncio.sleep(2.5 * HOUR)
        assert engine.health.ok

    world.live(story)
    assert ids_of(ids(world)) == {"good": [1, 2]}
    assert "schedule 'bad' starts nothing more, by a defect of the engine" in caplog.text


def test_a_damaged_schedule_is_left_out_and_the_others_go_on(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async def make(engine: WorkflowEngine) -> None:
        for name in ("good", "bad", "zone"):
            await engine.schedule(NOTES, "0 * * * *", schedule_id=name, input_data=AT)

    async def go_on(engine: WorkflowEngine) -> None:
        await asyncio.sleep(1.5 * HOUR)
        assert [one.schedule_id for one in await engine.list_schedules()] == ["good"]

    world.live(make)
    rows = world.store._schedules
    rows["bad"] = type(rows["bad"])("bad", "h", b"{", b"{}")
    rows["zone"] = type(rows["zone"])("zone", "h", rows["zone"].spec.replace(b'"0 *', b'"99 *'), rows["zone"].progress)
    world.live(go_on)
    assert ids_of(ids(world)) == {"good": [1]}
    assert "schedule 'bad' is damaged and starts nothing" in caplog.text
    assert "schedule 'zone' is damaged and starts nothing" in caplog.text


def test_ten_thousand_idle_schedules_are_one_timer_and_no_task(world: World) -> None:
    async def story(engine: WorkflowEngine) -> None:
        await asyncio.sleep(60)  # what opening began has ended
        before = len(asyncio.all_tasks())
        for number in range(1_000):
            await engine.schedule(NOTES, f"{number % 60} 12 * * *", schedule_id=f"s{number}", input_data=AT)
        await asyncio.sleep(60)
        assert len(asyncio.all_tasks()) == before
        loop = asyncio.get_running_loop()
        assert sum(not handle.cancelled() for handle in loop._scheduled) <= 2  # type: ignore[attr-defined]

    world.live(story)


def test_jitter_spreads_the_starts_of_one_time_and_a_restart_does_not_draw_again(world: World) -> None:
    async def story(engine: WorkflowEngine) -> None:
        for number in range(50):
            await engine.schedule(
                NOTES, "0 1 * * *", schedule_id=f"s{number}", input_data={"at": "x"}, jitter=timedelta(minutes=10)
            )
        await asyncio.sleep(HOUR + 300)
        half = len(await world.executions())
        assert 10 < half < 40

    world.live(story, crashes=True)
    before = ids(world)
    world.live(lambda _: asyncio.sleep(310))
    assert sorted(ids(world)) == sorted(f"s{number}/2030-03-29T01:00:00Z" for number in range(50))
    assert ids(world)[: len(before)] == before
