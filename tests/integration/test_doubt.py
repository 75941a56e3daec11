"""What is in doubt is never guessed: commits without an answer, turns the log has otherwise, closing, clocks."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import treadle
from treadle import ConflictError, ExecutionStatus, QuarantineError, Settings, StepStatus, StoreError, WorkflowEngine
from treadle.actions import Registry
from treadle.drivers.local import LocalDriver
from treadle.drivers.local.clock import Clock
from treadle.store.memory import MemoryStore
from treadle.store.protocol import Answer, Appended

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from treadle.store.protocol import Turn

SOON = Settings(store_retry_ms=1, grace_ms=2_000)


class Work:
    def __init__(self) -> None:
        self.calls: list[str] = []
        self.gate = asyncio.Event()
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def hold(self) -> str:
        self.calls.append("hold")
        self.started.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return "held"

    async def echo(self, value: Any = None) -> Any:
        self.calls.append(f"echo {value}")
        return value

    async def fails(self) -> None:
        raise treadle.ValidationError("no")

    @property
    def actions(self) -> list[object]:
        return [{"hold": self.hold, "echo": self.echo, "fails": self.fails}]


class Shaky(MemoryStore):
    """A store whose next commit has no answer (``doubt``), or that waits before each commit until ``gate`` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.doubt = False
        self.conflict = ""
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()

    async def append(self, turns: Sequence[Turn]) -> Sequence[Appended]:
        self.entered.set()
        await self.gate.wait()
        answers = list(await super().append([one for one in turns if one.execution_id != self.conflict]))
        if self.doubt:
            self.doubt = False
            raise StoreError("no answer")
        if any(one.execution_id == self.conflict for one in turns):
            place = [one.execution_id for one in turns].index(self.conflict)
            answers.insert(place, Appended(Answer.CONFLICT))
            self.conflict = ""
        return answers


def one(action: str, **more: Any) -> dict[str, Any]:
    return {"id": "w", "nodes": [{"id": "a", "action": action, **more}]}


ASKS = one("echo", parameters={"value": "${input.x}"})


# -- commits without an answer


async def test_a_cancel_whose_commit_is_in_doubt_reaches_the_action_and_is_answered() -> None:
    work, store = Work(), Shaky()
    async with asyncio.timeout(20), WorkflowEngine(store=store, actions=work.actions, settings=SOON) as engine:
        await engine.start_workflow(one("hold"), execution_id="one")
        await work.started.wait()
        store.doubt = True
        assert await engine.cancel_execution("one") is True
        await work.cancelled.wait()
        assert (await engine.wait("one")).status is ExecutionStatus.CANCELLED


async def test_a_resume_whose_commit_is_in_doubt_is_answered_by_what_became_of_it() -> None:
    work, store = Work(), Shaky()
    async with asyncio.timeout(20), WorkflowEngine(store=store, actions=work.actions, settings=SOON) as engine:
        await engine.run_workflow(ASKS, execution_id="one")
        store.doubt = True
        assert await engine.resume_workflow("one", {"x": 7}) is True
        assert (await engine.wait("one")).output == 7


async def test_whoever_watches_sees_what_was_committed_in_doubt_too() -> None:
    work, store = Work(), Shaky()
    async with asyncio.timeout(20), WorkflowEngine(store=store, actions=work.actions, settings=SOON) as engine:
        await engine.start_workflow(one("hold"), execution_id="one")
        seen = asyncio.create_task(_kinds(engine, "one"))
        await work.started.wait()
        await asyncio.sleep(0)
        store.doubt = True
        work.gate.set()
        assert await seen == [event.kind for event in await engine.history("one")]


async def _kinds(engine: WorkflowEngine, name: str, after: int | None = None) -> list[str]:
    return [event.kind async for event in engine.watch(name, after)]


async def test_watching_an_ended_execution_from_its_last_event_ends() -> None:
    work = Work()
    async with asyncio.timeout(20), WorkflowEngine(store=":memory:", actions=work.actions) as engine:
        await engine.run_workflow(one("echo"), execution_id="one")
        last = (await engine.history("one"))[-1].cursor
        assert await _kinds(engine, "one", last - 1) == ["ExecutionCompleted"]
        assert await _kinds(engine, "one", last) == await _kinds(engine, "one", last + 5) == []


async def test_a_turn_that_the_log_has_otherwise_undoes_no_other() -> None:
    work, store = Work(), Shaky()
    async with asyncio.timeout(20), WorkflowEngine(store=store, actions=work.actions, settings=SOON) as engine:
        for name in ("good", "odd"):
            await engine.run_workflow(ASKS, execution_id=name)
        store.conflict = "odd"
        resumed = await asyncio.gather(*(engine.resume_workflow(name, {"x": name}) for name in ("good", "odd")))
        assert resumed == [True, True]
        states = [await engine.wait(name) for name in ("good", "odd")]
        assert [state.output for state in states] == ["good", "odd"]
        assert states[0].steps["a"].attempt == 1  # it began with the turn that was committed beside the odd one
        assert engine.health.ok
    assert sorted(work.calls) == ["echo good", "echo odd"]


async def test_a_second_start_of_an_id_is_acknowledged_no_sooner_than_it_is_durable() -> None:
    work, store = Work(), Shaky()
    async with asyncio.timeout(20), WorkflowEngine(store=store, actions=work.actions) as engine:
        store.gate.clear()
        starts = [asyncio.create_task(engine.start_workflow(one("echo"), execution_id="one"))]
        await store.entered.wait()
        starts.append(asyncio.create_task(engine.start_workflow(one("echo"), execution_id="one")))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not any(start.done() for start in starts)
        store.gate.set()
        assert await asyncio.gather(*starts) == ["one", "one"]


async def test_a_disk_that_stays_full_is_unhealthy_until_something_was_written(tmp_path: Path) -> None:
    class Full(Shaky):
        has_room = True

        async def append(self, turns: Sequence[Turn]) -> Sequence[Appended]:
            self.tries += 1
            await asyncio.sleep(0)  # as a write on another thread
            if not self.has_room:
                raise StoreError("no room")
            return await super().append(turns)

        tries = 0

    work, store = Work(), Full()
    async with asyncio.timeout(20), WorkflowEngine(store=store, actions=work.actions, settings=SOON) as engine:
        await engine.start_workflow(one("hold"), execution_id="one")
        await work.started.wait()
        store.has_room = False
        work.gate.set()
        while engine.health.ok:  # noqa: ASYNC110 - health is looked at, it does not call
            await asyncio.sleep(0.001)
        first = store.tries
        while store.tries < first + 5:
            assert not engine.health.ok
            await asyncio.sleep(0)
        store.has_room = True
        assert (await engine.wait("one")).output == "held"
        assert engine.health.ok


# -- damage and defects


async def test_an_execution_that_is_set_aside_is_not_written_to_and_what_runs_of_it_is_cancelled() -> None:
    class Damaged(Shaky):
        async def read(self, execution_id: str, after: int = 0) -> Any:
            if execution_id == "bad" and not self.doubt and self.was_asked:
                raise QuarantineError("turn 1 does not fit its checksum", self.path, execution_id)
            return await super().read(execution_id, after)

        was_asked = False

    work, store = Work(), Damaged()
    async with asyncio.timeout(20), WorkflowEngine(store=store, actions=work.actions, settings=SOON) as engine:
        await engine.start_workflow(one("hold"), execution_id="bad")
        await work.started.wait()
        store.doubt = store.was_asked = True
        with pytest.raises(QuarantineError):
            await engine.pause_execution("bad")
        await work.cancelled.wait()
        with pytest.raises(QuarantineError):
            await engine.wait("bad")
        assert (await engine.run_workflow(one("echo"))).status is ExecutionStatus.COMPLETED
    store.was_asked = False
    turns = await store.read("bad")
    assert len(turns) == 2  # the start, and the pause whose commit was in doubt: nothing after that


async def test_one_execution_that_the_engine_fails_on_is_set_aside_and_the_others_go_on() -> None:
    work, store = Work(), MemoryStore()
    async with asyncio.timeout(20), WorkflowEngine(1, store=store, actions=work.actions) as engine:
        await engine.start_workflow(one("hold"), execution_id="bad")
        await work.started.wait()
        resident = engine._driver._turns.residents.get("bad")
        resident.state.requests = None  # a defect that is yet to be found
        with pytest.raises(QuarantineError, match="by a defect of the engine"):
            await engine.pause_execution("bad")
        with pytest.raises(QuarantineError, match="by a defect of the engine"):
            await engine.wait("bad")
        await work.cancelled.wait()
        assert (await engine.run_workflow(one("echo"))).status is ExecutionStatus.COMPLETED
        assert list(engine.health.quarantined) == ["bad"]
    assert len(await store.read("bad")) == 1  # what the cancelled body reported was not written


# -- opening and closing


@pytest.mark.parametrize("ends", [True, False])
async def test_closing_while_a_turn_is_written_waits_for_it(ends: bool) -> None:
    work, store = Work(), Shaky()
    settings = Settings(grace_ms=50)
    async with asyncio.timeout(20):
        engine = WorkflowEngine(store=store, actions=work.actions, settings=settings)
        await engine.__aenter__()
        await engine.start_workflow(one("hold"), execution_id="one")
        await work.started.wait()
        store.gate.clear()
        store.entered.clear()
        if ends:
            work.gate.set()
        late = asyncio.create_task(engine.start_workflow(one("echo"), execution_id="late"))
        await store.entered.wait()
        closing = asyncio.create_task(engine.close())
        await asyncio.sleep(0.1)  # longer than the grace: the close waits for the commit and for nothing else
        assert not closing.done()
        store.gate.set()
        await closing
        assert await late == "late"
        work.gate.set()
        async with WorkflowEngine(store=store, actions=work.actions) as again:
            states = [await again.wait(name) for name in ("one", "late")]
    assert [state.status for state in states] == [ExecutionStatus.COMPLETED] * 2
    assert states[0].steps["a"].attempt == (1 if ends else 2)


async def test_a_close_that_is_given_up_still_closes(tmp_path: Path) -> None:
    work = Work()
    async with asyncio.timeout(20):
        engine = WorkflowEngine(store=tmp_path / "log.db", actions=work.actions, grace=0.05)
        await engine.__aenter__()
        await engine.start_workflow(one("hold"), execution_id="one")
        await work.started.wait()
        closing = asyncio.create_task(engine.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        await work.cancelled.wait()
        await engine.close()
        work.gate.set()
        async with WorkflowEngine(store=tmp_path / "log.db", actions=work.actions) as again:
            assert (await again.wait("one")).steps["a"].attempt == 2


async def test_an_engine_whose_opening_is_given_up_leaves_the_file_free(tmp_path: Path) -> None:
    async with asyncio.timeout(30):
        for turns in range(25):
            opening = asyncio.create_task(WorkflowEngine(store=tmp_path / "log.db").__aenter__())
            for _ in range(turns):
                await asyncio.sleep(0)
            opening.cancel()
            try:
                engine = await opening
            except asyncio.CancelledError:
                continue
            await engine.close()
        async with WorkflowEngine(store=tmp_path / "log.db"):
            pass


# -- time


class Wall:
    """A wall clock that is set by hand."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.mark.parametrize("jump", [-3_600.0, 3_600.0, -10 * 366 * 86_400.0])
@pytest.mark.parametrize("when", ["while it runs", "before it is opened again"])
async def test_a_clock_that_is_set_makes_no_wait_longer(jump: float, when: str) -> None:
    wall, store, tries = Wall(), MemoryStore(), []

    async def fails_once() -> int:
        tries.append(wall())
        if len(tries) == 1:
            raise RuntimeError("once")
        return len(tries)

    def driver() -> LocalDriver:
        registry = Registry([{"act": fails_once}])
        return LocalDriver(store, registry, max_concurrent_steps=1, settings=SOON, clock=Clock(wall))

    workflow = one("act", retry={"max_attempts": 2, "initial_delay": "80ms"})
    async with asyncio.timeout(20):
        async with WorkflowEngine(driver=driver(), actions=[{"act": fails_once}]) as engine:
            await engine.start_workflow(treadle.load_workflow(workflow), execution_id="one")
            async for event in engine.watch("one"):
                if event.kind == "AttemptFailed":
                    break
            if when == "while it runs":
                wall.ahead = jump
                assert (await engine.wait("one")).output == 2
        if when != "while it runs":
            wall.ahead = jump
            async with WorkflowEngine(driver=driver(), actions=[{"act": fails_once}]) as engine:
                assert (await engine.wait("one")).output == 2
                assert (await engine.run_workflow(workflow, execution_id="two")).output == 3
        times = [event.at for event in await engine.history("one")]
        assert times == sorted(times)


# -- attempts


async def test_an_attempt_that_is_cancelled_before_its_first_line_holds_nothing_up() -> None:
    work = Work()
    both = {
        "id": "w",
        "on_failure": "cancel",
        "nodes": [
            {"id": "held", "action": "hold"},
            {"id": "bad", "action": "echo", "parameters": {"value": "${1 / input.zero}"}},
        ],
    }
    async with asyncio.timeout(20), WorkflowEngine(store=":memory:", actions=work.actions) as engine:
        began = time.monotonic()
        state = await engine.run_workflow(both, {"zero": 0})
    assert (state.steps["held"].status, state.steps["held"].attempt) == (StepStatus.CANCELLED, 1)
    assert (state.status, time.monotonic() - began < SOON.grace_ms / 1000) == (ExecutionStatus.FAILED, True)


async def test_the_total_timeout_of_a_step_holds_while_the_execution_is_halting() -> None:
    work = Work()
    both = {
        "id": "w",
        "nodes": [{"id": "bad", "action": "fails"}, {"id": "held", "action": "hold", "total_timeout": "50ms"}],
    }
    async with asyncio.timeout(20), WorkflowEngine(store=":memory:", actions=work.actions) as engine:
        state = await engine.run_workflow(both)
    assert (state.status, state.steps["held"].status) == (ExecutionStatus.FAILED, StepStatus.TIMED_OUT)


async def test_a_step_that_is_cancelled_does_not_time_out_afterwards() -> None:
    async def slow_to_go() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.15)  # the step's own work: longer than its timeout has left
            raise

    started = asyncio.Event()
    actions: list[object] = [{"slow": slow_to_go}]
    async with asyncio.timeout(20), WorkflowEngine(store=":memory:", actions=actions, settings=SOON) as engine:
        await engine.start_workflow(one("slow", timeout="100ms"), execution_id="one")
        await started.wait()
        await engine.cancel_execution("one")
        state = await engine.wait("one")
    assert (state.status, state.steps["a"].status) == (ExecutionStatus.CANCELLED, StepStatus.CANCELLED)


async def test_an_attempt_that_blocks_the_loop_beyond_its_timeout_has_timed_out() -> None:
    async def block() -> str:
        time.sleep(0.1)  # noqa: ASYNC251 - what must not be done
        return "late"

    step = one("block", timeout="20ms", retry={"max_attempts": 1})
    async with asyncio.timeout(20), WorkflowEngine(store=":memory:", actions=[{"block": block}]) as engine:
        state = await engine.run_workflow(step)
        kinds = [event.kind for event in await engine.history(state.execution_id)]
    assert (state.status, state.steps["a"].status) == (ExecutionStatus.FAILED, StepStatus.TIMED_OUT)
    assert "StepSucceeded" not in kinds


async def test_a_step_for_which_the_system_has_no_thread_waits_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[str] = []
    start = threading.Thread.start

    def stingy(thread: threading.Thread) -> None:
        if thread.name.startswith("treadle-step") and len(refused) < 2:
            refused.append(thread.name)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", stingy)
    async with asyncio.timeout(20), WorkflowEngine(store=":memory:", actions=[{"act": lambda: 1}]) as engine:
        state = await engine.run_workflow(one("act"))
    assert (state.output, state.steps["a"].attempt, len(refused)) == (1, 1, 2)


class WithoutId(treadle.AgentExecutionError):
    def __init__(self) -> None:
        Exception.__init__(self, "no id was given")


class Raising(Exception):  # noqa: N818 - what is tested is no ordinary error
    def __getattribute__(self, name: str) -> Any:
        raise SystemExit(5)


def nameless() -> Exception:
    class Meta(type):
        @property
        def __name__(cls) -> str:  # type: ignore[override]
            raise SystemExit(6)

    class Nameless(Exception, metaclass=Meta):  # noqa: N818 - as above
        pass

    return Nameless()


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize(
    "make",
    [WithoutId, Raising, nameless],
    ids=["without id", "raising", "nameless"],
)
async def test_an_error_that_cannot_be_read_fails_its_step_and_gives_the_slot_back(make: Any, is_async: bool) -> None:
    def act() -> None:
        raise make()

    async def act_async() -> None:
        raise make()

    step = one("act", retry={"max_attempts": 1})
    actions: list[object] = [{"act": act_async if is_async else act, "echo": Work().echo}]
    async with asyncio.timeout(20), WorkflowEngine(1, store=":memory:", actions=actions) as engine:
        state = await engine.run_workflow(step)
        assert (state.status, state.error is not None) == (ExecutionStatus.FAILED, True)
        assert make is not WithoutId or (state.error.type, state.error.message) == ("WithoutId", "no id was given")
        assert (await engine.run_workflow(one("echo"))).status is ExecutionStatus.COMPLETED


def _wrapped() -> Any:
    async def inner() -> int:
        return 1

    return inner()


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: 10**5_000, "cannot be written as JSON"),
        (lambda: {1: 2}, "the key 1 is a int"),
        (_wrapped, "gave a coroutine"),
    ],
)
async def test_a_result_that_cannot_be_recorded_is_a_failure_for_good(act: Any, message: str) -> None:
    async with asyncio.timeout(20), WorkflowEngine(store=":memory:", actions=[{"act": act}]) as engine:
        state = await engine.run_workflow(one("act"))
    assert state.error is not None
    assert (state.status, state.steps["a"].attempt) == (ExecutionStatus.FAILED, 1)
    assert message in state.error.message


# -- the rest


async def test_inputs_that_make_the_input_too_large_are_refused_and_nothing_changed() -> None:
    work, small = Work(), Settings(max_payload_bytes=1_000)
    async with asyncio.timeout(20), WorkflowEngine(store=":memory:", actions=work.actions, settings=small) as engine:
        await engine.run_workflow(ASKS, {"a": "x" * 600}, execution_id="one")
        with pytest.raises(treadle.ValidationError, match="more than the limit of 1,000"):
            await engine.resume_workflow("one", {"x": "y" * 600})
        assert await engine.resume_workflow("one", {"x": 1}) is True
        assert (await engine.wait("one")).output == 1
        large = await engine.run_workflow(one("echo", parameters={"value": ["${input.a}"] * 2}), {"a": "x" * 600})
    assert large.error is not None
    assert "more than the limit of 1,000" in large.error.message


async def test_a_step_whose_action_is_registered_later_goes_on_then(tmp_path: Path) -> None:
    work, again = Work(), Work()
    async with asyncio.timeout(20):
        async with WorkflowEngine(1, store=tmp_path / "log.db", actions=work.actions, grace=0) as engine:
            await engine.start_workflow(one("hold"), execution_id="here")
            await engine.start_workflow(one("hold"), execution_id="away")
        settings = Settings(idle_executions=1)
        async with WorkflowEngine(store=tmp_path / "log.db", settings=settings) as engine:
            assert engine.health.unregistered == ("hold",)
            again.gate.set()
            engine.actions.add("hold", again.hold)
            assert [(await engine.wait(name)).output for name in ("here", "away")] == ["held", "held"]
            assert engine.health.unregistered == ()
    assert again.calls == ["hold", "hold"]


async def test_what_waits_for_a_slot_is_not_offered_twice_when_another_step_gets_its_input() -> None:
    work = Work()
    three = {
        "id": "w",
        "nodes": [
            {"id": "asks", "action": "echo", "parameters": {"value": "${input.x}"}},
            {"id": "held", "action": "hold"},
            {"id": "next", "action": "echo", "parameters": {"value": "next"}},
        ],
    }
    async with asyncio.timeout(20), WorkflowEngine(1, store=":memory:", actions=work.actions) as engine:
        await engine.start_workflow(three, execution_id="one")
        await work.started.wait()
        assert await engine.resume_workflow("one", {"x": 1}) is True
        work.gate.set()
        assert (await engine.wait("one")).status is ExecutionStatus.COMPLETED
        assert (await engine.run_workflow(one("echo"))).status is ExecutionStatus.COMPLETED  # the slot is free again
    assert sorted(work.calls) == ["echo 1", "echo None", "echo next", "hold"]


async def test_a_workflow_object_that_is_changed_is_stored_as_it_was_named(tmp_path: Path) -> None:
    workflow = treadle.load_workflow(one("echo", parameters={"value": 1}))
    async with asyncio.timeout(20):
        async with WorkflowEngine(store=tmp_path / "log.db", actions=Work().actions) as engine:
            await engine.run_workflow(workflow, execution_id="one")
            workflow.nodes[0].parameters["value"] = 2
            state = await engine.run_workflow(workflow, execution_id="two")
        async with WorkflowEngine(store=tmp_path / "log.db", actions=Work().actions) as engine:
            assert (await engine.get_execution_state("two")).output == state.output
            assert engine.health.quarantined == {}


@pytest.mark.parametrize("given", [{"a": True}, {"a": 1.0}, {"a": 1, "b": None}])
async def test_another_input_is_another_execution_even_where_python_calls_it_equal(given: dict[str, Any]) -> None:
    async with WorkflowEngine(store=":memory:", actions=Work().actions) as engine:
        await engine.run_workflow(one("echo"), {"a": 1}, execution_id="one")
        with pytest.raises(ConflictError, match="another input"):
            await engine.start_workflow(one("echo"), given, execution_id="one")
        assert await engine.start_workflow(one("echo"), {"a": 1}, execution_id="one") == "one"
