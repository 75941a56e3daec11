"""Whole executions through the public API, with real actions on a real store."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

import treadle
from treadle import ExecutionStatus, StepStatus, WorkflowEngine, action

if TYPE_CHECKING:
    from pathlib import Path


class Bench:
    """Actions that note what runs, and gates that hold them."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.running = self.most = 0
        self.gate = asyncio.Event()
        self.started = asyncio.Event()

    @property
    def actions(self) -> list[object]:
        @action("note")
        async def note(name: str, fails: int = 0, context: Any = None) -> str:
            self.calls.append(name)
            if context.attempt <= fails:
                raise RuntimeError(f"failure {context.attempt} of {name}")
            return name

        @action("hold")
        async def hold(name: str) -> str:
            self.calls.append(name)
            self.running += 1
            self.most = max(self.most, self.running)
            self.started.set()
            try:
                await self.gate.wait()
            finally:
                self.running -= 1
            return name

        return [note, hold]


def node(name: str, action: str = "note", **more: Any) -> dict[str, Any]:
    parameters = {"name": name, **more.pop("parameters", {})}
    return {"id": name, "config": {"action": action, "parameters": parameters, **more}}


def edge(source: str, target: str, **more: Any) -> dict[str, Any]:
    return {"source": source, "target": target, **more}


def statuses(state: treadle.ExecutionState) -> dict[str, str]:
    return {name: step.status.value for name, step in state.steps.items()}


@pytest.fixture(params=["memory", "sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return ":memory:" if request.param == "memory" else str(tmp_path / "log.db")


DIAMOND = {
    "id": "diamond",
    "nodes": [node("a"), node("b"), node("c"), node("d")],
    "connections": [edge("a", "b"), edge("a", "c"), edge("b", "d"), edge("c", "d")],
}


async def test_a_diamond_runs_each_step_once_and_the_join_last(place: str) -> None:
    bench = Bench()
    async with WorkflowEngine(store=place, actions=bench.actions) as engine:
        state = await engine.run_workflow(DIAMOND)
        history = await engine.state_manager.history(state.execution_id)
    assert (state.status, state.output, bench.calls) == (ExecutionStatus.COMPLETED, "d", ["a", "b", "c", "d"])
    assert [event.kind for event in history if event.step == "d"] == ["StepStarted", "StepSucceeded"]
    assert [event.cursor for event in history] == list(range(1, len(history) + 1))


async def test_a_dead_branch_is_skipped_and_the_join_does_not_hang(place: str) -> None:
    bench = Bench()
    document = {
        "id": "choice",
        "nodes": [node("a"), node("yes"), node("no"), node("after_no"), node("end")],
        "connections": [
            edge("a", "yes", condition="a == 'a'"),
            edge("a", "no", condition="else"),
            edge("no", "after_no"),
            edge("yes", "end"),
            edge("after_no", "end"),
        ],
    }
    async with WorkflowEngine(store=place, actions=bench.actions) as engine:
        state = await engine.run_workflow(document)
    assert bench.calls == ["a", "yes", "end"]
    assert statuses(state) == {
        "a": "COMPLETED", "yes": "COMPLETED", "no": "SKIPPED", "after_no": "SKIPPED", "end": "COMPLETED",
    }  # fmt: skip


@pytest.mark.parametrize(("fails", "attempts", "status"), [(0, 1, "COMPLETED"), (2, 3, "COMPLETED"), (3, 3, "FAILED")])
async def test_a_step_is_tried_max_attempts_times(place: str, fails: int, attempts: int, status: str) -> None:
    bench = Bench()
    retry = {"max_attempts": 3, "initial_delay": "1ms"}
    document = {"id": "retry", "nodes": [node("a", parameters={"fails": fails}, retry=retry)]}
    async with WorkflowEngine(store=place, actions=bench.actions) as engine:
        state = await engine.run_workflow(document)
    assert (state.status.value, state.steps["a"].attempt, len(bench.calls)) == (status, attempts, attempts)
    if status == "FAILED":
        assert state.error is not None
        assert (state.error.type, state.error.message, state.error.step) == ("RuntimeError", "failure 3 of a", "a")


async def test_a_failure_halts_is_routed_or_is_passed_over(place: str) -> None:
    bench = Bench()
    failing = node("a", parameters={"fails": 9}, retry={"max_attempts": 1})
    passing = node("a", parameters={"fails": 9}, retry={"max_attempts": 1}, continue_on_error=True)
    nodes = [node("b"), node("sorry")]
    async with WorkflowEngine(store=place, actions=bench.actions) as engine:
        halted = await engine.run_workflow({"id": "1", "nodes": [failing, *nodes[:1]], "connections": [edge("a", "b")]})
        routes = [edge("a", "b"), edge("a", "sorry", outcome="failure")]
        routed = await engine.run_workflow({"id": "2", "nodes": [failing, *nodes], "connections": routes})
        passed = await engine.run_workflow({"id": "3", "nodes": [passing, *nodes[:1]], "connections": [edge("a", "b")]})
    assert (halted.status, statuses(halted)) == (ExecutionStatus.FAILED, {"a": "FAILED", "b": "PENDING"})
    assert (routed.status, statuses(routed)) == (
        ExecutionStatus.COMPLETED,
        {"a": "FAILED", "b": "SKIPPED", "sorry": "COMPLETED"},
    )
    assert (passed.status, statuses(passed)) == (ExecutionStatus.COMPLETED, {"a": "FAILED", "b": "COMPLETED"})
    assert (routed.handled_failures, passed.handled_failures) == (("a",), ("a",))


async def test_the_limit_is_reached_and_never_exceeded_across_executions(place: str) -> None:
    bench = Bench()
    wide = {"id": "wide", "nodes": [node(f"n{number}", "hold") for number in range(6)]}
    async with WorkflowEngine(4, store=place, actions=bench.actions) as engine:
        ids = [await engine.start_workflow(wide) for _ in range(3)]
        bench.gate.set()
        states = [await engine.wait(one) for one in ids]
    assert {state.status for state in states} == {ExecutionStatus.COMPLETED}
    assert (bench.most, len(bench.calls)) == (4, 18)


async def test_a_step_longer_than_its_timeout_is_timed_out_and_fails_the_execution(place: str) -> None:
    bench = Bench()
    slow = node("slow", "hold", timeout="20ms", retry={"max_attempts": 1})
    async with WorkflowEngine(store=place, actions=bench.actions) as engine:
        state = await engine.run_workflow({"id": "slow", "nodes": [slow]})
    assert (state.status, state.steps["slow"].status) == (ExecutionStatus.FAILED, StepStatus.TIMED_OUT)
    assert state.error is not None
    assert state.error.type == "StepTimeout"


async def test_the_timeout_of_the_execution_cancels_what_runs(place: str) -> None:
    bench = Bench()
    async with WorkflowEngine(store=place, actions=bench.actions) as engine:
        state = await engine.run_workflow({"id": "slow", "timeout": "20ms", "nodes": [node("slow", "hold")]})
    assert (state.status, state.steps["slow"].status) == (ExecutionStatus.TIMED_OUT, StepStatus.CANCELLED)


async def test_pause_starts_nothing_new_and_resume_goes_on_once(place: str) -> None:
    bench = Bench()
    chain = {"id": "chain", "nodes": [node("a", "hold"), node("b")], "connections": [edge("a", "b")]}
    async with WorkflowEngine(store=place, actions=bench.actions) as engine:
        name = await engine.start_workflow(chain)
        await bench.started.wait()
        assert await engine.pause_execution(name)
        bench.gate.set()
        paused = await engine.wait(name)
        assert (paused.status, statuses(paused)) == (ExecutionStatus.PAUSED, {"a": "COMPLETED", "b": "WAITING"})
        assert bench.calls == ["a"]
        both = await asyncio.gather(engine.resume_workflow(name), engine.resume_workflow(name))
        assert sorted(both) == [False, True]
        assert (await engine.wait(name)).status is ExecutionStatus.COMPLETED
    assert bench.calls == ["a", "b"]


async def test_a_missing_input_pauses_its_step_and_resuming_with_it_goes_on(place: str) -> None:
    bench = Bench()
    asks = {"id": "asks", "nodes": [{"id": "a", "action": "note", "parameters": {"name": "${input.who}"}}, node("b")]}
    async with WorkflowEngine(store=place, actions=bench.actions) as engine:
        state = await engine.run_workflow(asks)
        assert (state.status, state.waiting_for, bench.calls) == (ExecutionStatus.PAUSED, ("input.who",), ["b"])
        assert await engine.resume_workflow(state.execution_id, {"who": "Ada"})
        ended = await engine.wait(state.execution_id)
        assert not await engine.resume_workflow(state.execution_id)
    assert (ended.status, ended.output, ended.input) == (
        ExecutionStatus.COMPLETED, {"a": "Ada", "b": "b"}, {"who": "Ada"},
    )  # fmt: skip


async def test_cancel_cancels_the_body_and_an_ended_execution_cannot_be_cancelled(place: str) -> None:
    bench = Bench()
    async with WorkflowEngine(store=place, actions=bench.actions) as engine:
        name = await engine.start_workflow({"id": "w", "nodes": [node("a", "hold")]})
        await bench.started.wait()
        assert await engine.cancel_execution(name, "enough")
        state = await engine.wait(name, until="ended")
        assert not await engine.cancel_execution(name)
        with pytest.raises(treadle.NotFoundError):
            await engine.cancel_execution("nobody")
    assert (state.status, statuses(state), bench.running) == (ExecutionStatus.CANCELLED, {"a": "CANCELLED"}, 0)
    assert state.error is not None
    assert state.error.message == "enough"


def _raise(error: BaseException) -> Any:
    raise error


class Unreadable(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise ValueError("no text")


BAD_ACTIONS = {
    "exit": lambda: _raise(SystemExit(3)),
    "interrupt": lambda: _raise(KeyboardInterrupt()),
    "cancelled": lambda: _raise(asyncio.CancelledError()),
    "unreadable": lambda: _raise(Unreadable()),
    "not_json": object,
    "not_finite": lambda: float("nan"),
    "key": lambda: {1: 2},
    "huge": lambda: "x" * 5_000_000,
    "surrogate": lambda: "\ud800",
    "digits": lambda: 10**5_000,
}


@pytest.mark.parametrize("name", BAD_ACTIONS)
@pytest.mark.parametrize("is_async", [True, False])
async def test_whatever_an_action_does_fails_its_step_and_nothing_else(name: str, is_async: bool) -> None:
    async def bad() -> Any:
        return BAD_ACTIONS[name]()

    def bad_too() -> Any:
        return BAD_ACTIONS[name]()

    actions = [{"bad": bad if is_async else bad_too}, *Bench().actions]
    document = {"id": "bad", "nodes": [{"id": "x", "action": "bad", "retry": {"max_attempts": 1}}]}
    async with WorkflowEngine(store=":memory:", actions=actions) as engine:
        state = await engine.run_workflow(document)
        assert (state.status, statuses(state)) == (ExecutionStatus.FAILED, {"x": "FAILED"})
        assert (await engine.run_workflow(DIAMOND)).status is ExecutionStatus.COMPLETED


async def test_the_same_id_is_the_same_execution_and_another_input_is_a_conflict(place: str) -> None:
    bench = Bench()
    async with WorkflowEngine(store=place, actions=bench.actions) as engine:
        for _ in range(2):
            assert (await engine.run_workflow(DIAMOND, execution_id="one")).status is ExecutionStatus.COMPLETED
        with pytest.raises(treadle.ConflictError, match="another input"):
            await engine.start_workflow(DIAMOND, {"x": 1}, execution_id="one")
        with pytest.raises(treadle.ConflictError, match="another definition"):
            await engine.start_workflow({"id": "other", "nodes": [node("a")]}, execution_id="one")
        assert (
            await asyncio.gather(*[engine.start_workflow(DIAMOND, execution_id="two") for _ in range(5)]) == ["two"] * 5
        )
    assert bench.calls.count("a") == 2


async def test_watch_gives_every_committed_event_once_and_resumes_from_a_cursor(place: str) -> None:
    bench = Bench()
    async with WorkflowEngine(store=place, actions=bench.actions) as engine:
        name = await engine.start_workflow({"id": "w", "nodes": [node("a", "hold"), node("b")]})
        live = asyncio.create_task(_collect(engine, name, None))
        await bench.started.wait()
        bench.gate.set()
        events = await live
        assert [event.cursor for event in events] == [e.cursor for e in await engine.state_manager.history(name)]
        assert await _collect(engine, name, events[2].cursor) == events[3:]


async def _collect(engine: WorkflowEngine, name: str, after: int | None) -> list[treadle.HistoryEvent]:
    return [event async for event in engine.state_manager.watch(name, after)]


async def test_leaving_interrupts_what_runs_and_opening_again_goes_on_without_repeating(tmp_path: Path) -> None:
    bench = Bench()
    chain = {
        "id": "c",
        "nodes": [node("a"), node("b", "hold"), node("c")],
        "connections": [edge("a", "b"), edge("b", "c")],
    }
    settings = treadle.Settings(grace_ms=0)
    async with WorkflowEngine(store=tmp_path / "log.db", actions=bench.actions, settings=settings) as engine:
        name = await engine.start_workflow(chain)
        await bench.started.wait()
    bench.gate.set()
    async with WorkflowEngine(store=tmp_path / "log.db", actions=bench.actions) as engine:
        state = await engine.wait(name)
    assert (state.status, bench.calls) == (ExecutionStatus.COMPLETED, ["a", "b", "b", "c"])
    assert (state.steps["b"].attempt, state.steps["a"].attempt) == (2, 1)


CHILD = """
import asyncio, sys, treadle
@treadle.action("log")
async def log(n):
    with open(sys.argv[2], "a") as f: f.write(f"{n}\\n")
    return n
nodes = [{"id": f"n{i}", "action": "log", "parameters": {"n": i}} for i in range(200)]
connections = [{"source": f"n{i}", "target": f"n{i+1}"} for i in range(199)]
async def main():
    async with treadle.WorkflowEngine(store=sys.argv[1], actions=[log]) as engine:
        name = await engine.start_workflow({"id": "w", "nodes": nodes, "connections": connections}, execution_id="one")
        async for event in engine.state_manager.watch(name):
            if event.kind == "StepSucceeded": print(event.step, flush=True)
        state = await engine.wait(name)
        print(state.status.value, flush=True)
asyncio.run(main())
"""


@pytest.mark.parametrize("lines", [1, 20, 60, 140])
def test_after_kill_9_nothing_shown_is_lost_and_no_completed_step_runs_again(tmp_path: Path, lines: int) -> None:
    command = [sys.executable, "-c", CHILD, str(tmp_path / "log.db"), str(tmp_path / "ledger")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        shown = [child.stdout.readline().strip() for _ in range(lines)]
        os.kill(child.pid, signal.SIGKILL)
    before = (tmp_path / "ledger").read_text().split()
    again = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    ledger = (tmp_path / "ledger").read_text().split()
    assert again.stdout.split()[:lines] == shown
    assert again.stdout.split()[-1] == "COMPLETED"
    completed = {one.removeprefix("n") for one in shown}
    assert not completed & set(ledger[len(before) :])
    assert sorted(set(ledger), key=int) == [str(number) for number in range(200)]
    assert len(ledger) <= 201


@pytest.mark.parametrize("limit", [0, -1, True, "5", None])
def test_a_limit_that_is_no_whole_number_above_0_is_refused(limit: Any) -> None:
    with pytest.raises(treadle.ValidationError, match="max_concurrent_steps"):
        WorkflowEngine(limit, store=":memory:")


async def test_run_sync_inside_a_loop_says_what_to_do_instead() -> None:
    with pytest.raises(treadle.TreadleError, match="await engine.run_workflow"):
        treadle.run_sync(DIAMOND)


async def test_an_attempt_cut_off_by_closing_is_no_failure_and_runs_again_at_once(tmp_path: Path) -> None:
    bench = Bench()
    alone = {"id": "w", "nodes": [node("a", "hold", retry={"max_attempts": 1})]}
    async with WorkflowEngine(store=tmp_path / "log.db", actions=bench.actions, grace=timedelta(0)) as engine:
        await engine.start_workflow(alone, execution_id="one")
        await bench.started.wait()
    bench.gate.set()
    async with asyncio.timeout(10), WorkflowEngine(store=tmp_path / "log.db", actions=bench.actions) as engine:
        state = await engine.wait("one")
        kinds = [event.kind for event in await engine.state_manager.history("one")]
    assert (state.output, state.steps["a"].attempt, bench.calls) == ("a", 2, ["a", "a"])
    assert kinds[2:] == ["StepStarted", "AttemptInterrupted", "StepStarted", "StepSucceeded", "ExecutionCompleted"]


async def test_a_result_that_comes_after_the_timeout_is_noted_and_not_used(place: str) -> None:
    gate = threading.Event()

    def slow() -> str:
        gate.wait(10)
        return "too late"

    handled = {
        "id": "w",
        "nodes": [
            {"id": "a", "action": "slow", "timeout": 0.01, "retry": {"max_attempts": 1}},
            node("b", "hold"),
        ],
        "connections": [edge("a", "b", outcome="failure")],
    }
    bench = Bench()
    async with (
        asyncio.timeout(20),
        WorkflowEngine(store=place, actions=[*bench.actions, {"slow": slow}]) as engine,
    ):
        await engine.start_workflow(handled, execution_id="one")
        await bench.started.wait()
        gate.set()
        async for event in engine.state_manager.watch("one"):
            if event.kind == "LateResultIgnored":
                bench.gate.set()
        state = await engine.wait("one")
    assert (state.status, state.steps["a"].status, state.steps["a"].output, state.output) == (
        ExecutionStatus.COMPLETED,
        StepStatus.TIMED_OUT,
        None,
        "b",
    )


@pytest.mark.parametrize(
    ("schemas", "calls", "message"),
    [
        ({"input_schema": {"properties": {"name": {"type": "integer"}}}}, [], "parameters.name: "),
        ({"output_schema": {"type": "integer"}}, ["a"], "output: "),
    ],
)
async def test_what_breaks_the_schema_of_a_step_fails_it_for_good(
    place: str, schemas: dict[str, Any], calls: list[str], message: str
) -> None:
    """Parameters are looked at before the action is called."""
    bench = Bench()
    async with WorkflowEngine(store=place, actions=bench.actions) as engine:
        state = await engine.run_workflow({"id": "w", "nodes": [node("a", **schemas)]})
        fits = await engine.run_workflow({"id": "w", "nodes": [node("b", **dict.fromkeys(schemas, True))]})
    assert (state.status, state.steps["a"].attempt, bench.calls) == (ExecutionStatus.FAILED, 1, [*calls, "b"])
    assert state.error is not None
    assert (state.error.type, state.error.message.startswith(message)) == ("ValidationError", True)
    assert fits.status is ExecutionStatus.COMPLETED


async def test_an_engine_is_opened_once_and_says_so(place: str) -> None:
    engine = WorkflowEngine(store=place, actions=Bench().actions)
    async with engine:
        with pytest.raises(treadle.ConflictError, match="opened once"):
            async with engine:
                pass
        assert (await engine.run_workflow(DIAMOND)).output == "d"
    with pytest.raises(treadle.ConflictError, match="opened once"):
        async with engine:
            pass
