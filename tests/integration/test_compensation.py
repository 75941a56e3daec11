"""Undoing what was done, through the engine: on failure, timeout and cancel, and over crashes in the middle of it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

import treadle
from treadle import Client, ExecutionStatus, Settings, StepContext, WorkflowEngine, run_sync
from treadle.testing import outcomes, raises, rehearse, returns

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

QUICK = {"initial_delay": "1ms"}


def books(name: str, **fields: Any) -> dict[str, Any]:
    undo = {"action": "undo", "parameters": {"what": f"${{{name}.id}}"}, "retry": QUICK, **fields.pop("undo", {})}
    return {"id": name, "action": "book", "parameters": {"what": name}, "compensate": undo, **fields}


TRIP: dict[str, Any] = {
    "id": "trip",
    "nodes": [books("flight"), books("hotel"), {"id": "pay", "action": "pay", "retry": {"max_attempts": 1}}],
    "connections": [{"source": "flight", "target": "hotel"}, {"source": "hotel", "target": "pay"}],
}


class Agency:
    """Remembers what was booked and undone, in order."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.keys: list[tuple[str, int, str]] = []
        self.broken = 0
        self.paying = asyncio.Event()
        self.undoing = asyncio.Event()
        self.gate: asyncio.Event | None = None

    async def book(self, what: str) -> dict[str, str]:
        self.said.append(f"book {what}")
        return {"id": f"{what}-1"}

    async def pay(self) -> None:
        raise ConnectionError("no money")

    async def wait(self) -> None:
        self.paying.set()
        await asyncio.Event().wait()

    async def undo(self, what: str, context: StepContext) -> str:
        self.said.append(f"undo {what}")
        self.keys.append((context.idempotency_key, context.attempt, context.role))
        self.undoing.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.broken:
            self.broken -= 1
            raise TimeoutError("not now")
        return f"undid {what}"

    def actions(self, pay: Callable[..., Any] | None = None) -> list[object]:
        return [{"book": self.book, "undo": self.undo, "pay": pay or self.pay}]


async def test_a_failed_execution_undoes_what_was_done_and_shows_it(tmp_path: Path) -> None:
    agency = Agency()
    agency.broken = 1
    async with asyncio.timeout(20), WorkflowEngine(store=tmp_path / "log.db", actions=agency.actions()) as engine:
        state = await engine.run_workflow(TRIP, execution_id="x")
        kinds = [one.kind for one in await engine.history("x") if one.kind.startswith("Compensation")]
    assert agency.said == ["book flight", "book hotel", "undo hotel-1", "undo hotel-1", "undo flight-1"]
    assert agency.keys == [
        ("x/hotel/compensation", 2, "compensation"),
        ("x/hotel/compensation", 3, "compensation"),
        ("x/flight/compensation", 2, "compensation"),
    ]
    assert kinds == [
        *["CompensationsBegan", "CompensationStarted", "CompensationDelayed", "CompensationReady"],
        *["CompensationStarted", "CompensationSucceeded", "CompensationStarted", "CompensationSucceeded"],
    ]
    assert (state.status.value, state.error and state.error.step, state.compensation_failures) == ("FAILED", "pay", ())
    assert {name: (one.status.value, one.output) for name, one in state.compensations.items()} == {
        "hotel": ("COMPLETED", "undid hotel-1"),
        "flight": ("COMPLETED", "undid flight-1"),
    }


async def test_a_timeout_and_a_cancel_undo_as_well(tmp_path: Path) -> None:
    agency = Agency()
    slow = {**TRIP, "timeout": "50ms"}
    cancelled = {**TRIP, "compensate_on_cancel": True}
    actions = agency.actions(agency.wait)
    async with asyncio.timeout(20), WorkflowEngine(store=tmp_path / "log.db", actions=actions) as engine:
        late = await engine.run_workflow(slow)
        agency.paying.clear()
        states = [late]
        for workflow in (cancelled, TRIP):
            started = await engine.start_workflow(workflow)
            await agency.paying.wait()
            agency.paying.clear()
            assert await engine.cancel_execution(started)
            states.append(await engine.wait(started))
    assert [(one.status.value, list(one.compensations)) for one in states] == [
        ("TIMED_OUT", ["hotel", "flight"]),
        ("CANCELLED", ["hotel", "flight"]),
        ("CANCELLED", []),
    ]


async def test_a_failure_to_undo_is_listed_and_does_not_stop_the_rest(tmp_path: Path) -> None:
    agency = Agency()
    agency.broken = 3
    async with asyncio.timeout(20), WorkflowEngine(store=tmp_path / "log.db", actions=agency.actions()) as engine:
        state = await engine.run_workflow(TRIP)
    assert agency.said[2:] == ["undo hotel-1"] * 3 + ["undo flight-1"]
    assert state.compensation_failures == ("hotel",)
    assert (state.compensations["hotel"].error or state.error).type == "TimeoutError"  # type: ignore[union-attr]
    assert state.error is not None
    assert state.error.step == "pay"


async def test_a_compensation_that_takes_too_long_is_cancelled(tmp_path: Path) -> None:
    agency = Agency()
    agency.gate = asyncio.Event()
    undo = {"timeout": "10ms", "retry": {"max_attempts": 1}}
    workflow = {**TRIP, "nodes": [books("flight", undo=undo), *TRIP["nodes"][1:]]}
    workflow["nodes"][1] = {"id": "hotel", "action": "book", "parameters": {"what": "hotel"}}
    async with asyncio.timeout(20), WorkflowEngine(store=tmp_path / "log.db", actions=agency.actions()) as engine:
        state = await engine.run_workflow(workflow)
    assert (state.compensations["flight"].status.value, state.status.value) == ("TIMED_OUT", "FAILED")


async def test_what_is_undone_is_not_undone_again_after_a_crash_and_the_rest_is(tmp_path: Path) -> None:
    agency = Agency()
    first = agency.undo

    async def undo(what: str, context: StepContext) -> str:
        if what == "flight-1":
            agency.gate = asyncio.Event()
        return await first(what, context)

    async with asyncio.timeout(20):
        actions = [{**agency.actions()[0], "undo": undo}]  # type: ignore[dict-item]
        async with WorkflowEngine(store=tmp_path / "log.db", actions=actions, grace=0) as engine:
            await engine.start_workflow(TRIP, execution_id="x")
            async for event in engine.watch("x"):
                if event.kind == "CompensationStarted" and event.step == "flight":
                    break
            await agency.undoing.wait()
            state = await engine.get_execution_state("x")
            assert (state.status.value, state.compensations["hotel"].status.value) == ("RUNNING", "COMPLETED")
        agency.gate = None
        async with WorkflowEngine(store=tmp_path / "log.db", actions=agency.actions()) as engine:
            state = await engine.wait("x")
    assert state.status is ExecutionStatus.FAILED
    undone = Counter(one for one in agency.said if one.startswith("undo"))
    assert undone["undo hotel-1"] == 1
    assert undone["undo flight-1"] in (1, 2)
    assert {key for key, _, _ in agency.keys} == {"x/hotel/compensation", "x/flight/compensation"}


async def test_ending_at_once_drops_what_is_not_undone(tmp_path: Path) -> None:
    agency, settings = Agency(), Settings(inbox_poll_ms=5)
    agency.gate = asyncio.Event()
    store = tmp_path / "log.db"
    async with asyncio.timeout(20), WorkflowEngine(store=store, actions=agency.actions(), settings=settings) as engine:
        await engine.start_workflow(TRIP, execution_id="x")
        await agency.undoing.wait()
        assert await engine.cancel_execution("x") is False
        async with Client(store) as client:
            assert await client.terminate_execution("x", "enough") is True
        state = await engine.wait("x")
    assert (state.status.value, state.error and state.error.message) == ("CANCELLED", "enough")
    assert [one.status.value for one in state.compensations.values()] == ["CANCELLED", "CANCELLED"]


async def test_undoing_takes_slots_as_everything_does(tmp_path: Path) -> None:
    agency, most, now = Agency(), 0, 0

    async def undo(what: str) -> None:
        nonlocal most, now
        del what
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1

    actions = [{**agency.actions()[0], "undo": undo}]  # type: ignore[dict-item]
    async with asyncio.timeout(20), WorkflowEngine(1, store=tmp_path / "log.db", actions=actions) as engine:
        states = await asyncio.gather(*(engine.run_workflow(TRIP) for _ in range(5)))
    assert most == 1
    assert [len(one.compensations) for one in states] == [2] * 5


@pytest.mark.parametrize("until", [("hotel", 2), ("flight", 2)])
def test_a_rehearsal_crashes_in_the_middle_and_ends_the_same(until: tuple[str, int]) -> None:
    replace = {"book": returns({"id": 1}), "pay": raises(ConnectionError("no")), "undo": returns(None)}
    with rehearse(TRIP, replace=replace, strict=True, until=until) as run:
        assert run.status == "RUNNING"
        run.crash()
        assert (run.status, run.undone) == ("FAILED", ["hotel", "flight"])
        again = 2 if until[0] == "hotel" else 1
        assert Counter(one.step for one in run.calls("undo")) == {"hotel": again, "flight": 3 - again}


def test_a_rehearsal_waits_for_what_is_undone_also_where_people_are_asked() -> None:
    trip = {**TRIP, "nodes": [*TRIP["nodes"], {"id": "ask", "type": "input"}]}
    failing = outcomes(raises(ConnectionError("x")), returns(None), returns(None))
    replace = {"book": returns({"id": 1}), "pay": raises(ValueError("no")), "undo": failing}
    replace["undo"] = raises(ConnectionError("x"))
    with rehearse(trip, replace=replace) as run:
        assert (run.status, run.state.compensation_failures) == ("FAILED", ("hotel", "flight"))


KILLED = """
import asyncio, os, sys
from pathlib import Path
from treadle import WorkflowEngine

LEDGER = Path("ledger")

def note(*words):
    with LEDGER.open("a") as file:
        file.write(" ".join(words) + "\\n")

async def book(what):
    return {"id": what}

async def pay():
    raise ValueError("no money")

async def undo(what):
    note("undo", what)
    if what == os.environ.get("KILL_AT"):
        os.kill(os.getpid(), 9)
    return None

async def main():
    actions = [{"book": book, "pay": pay, "undo": undo}]
    async with WorkflowEngine(store="log.db", actions=actions) as engine:
        await engine.start_workflow(%r, execution_id="x")
        state = await engine.wait("x")
        print(state.status.value, *state.compensations)

asyncio.run(main())
"""


@pytest.mark.slow
def test_a_kill_in_the_middle_repeats_what_was_in_flight_and_nothing_else(tmp_path: Path) -> None:
    trip = {**TRIP, "nodes": [books("train"), *TRIP["nodes"]]}
    trip["connections"] = [{"source": "train", "target": "flight"}, *TRIP["connections"]]
    (tmp_path / "app.py").write_text(KILLED % trip)
    codes = []
    for at in ("hotel", "flight", "train", ""):
        env = {**os.environ, "KILL_AT": at}
        done = subprocess.run(
            [sys.executable, "app.py"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False
        )
        codes.append(done.returncode)
    assert (codes, done.stdout, done.stderr) == ([-9, -9, -9, 0], "FAILED hotel flight train\n", "")
    lines = (tmp_path / "ledger").read_text().split("\n")[:-1]
    assert lines == [f"undo {one}" for one in ("hotel", "hotel", "flight", "flight", "train", "train")]


@pytest.mark.slow
def test_a_terminal_shows_what_was_undone(tmp_path: Path) -> None:
    @treadle.action("book")
    def book(what: str) -> dict[str, str]:
        return {"id": what}

    @treadle.action("pay")
    def pay() -> None:
        raise ValueError("no money")

    @treadle.action("undo")
    def undo(what: str) -> None:
        if what == "hotel":
            raise ConnectionError("closed")

    run_sync(TRIP, execution_id="x", store=tmp_path / "log.db", actions=[book, pay, undo])
    words = [sys.executable, "-m", "treadle", "show", "x", "--db", "log.db"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    lines = [" ".join(line.split()) for line in done.stdout.split("\n")]
    assert any(line.startswith("hotel FAILED") and "undone by undo ConnectionError: closed" in line for line in lines)
    assert any(line.startswith("flight COMPLETED") and line.endswith("undone by undo") for line in lines)
    assert "could not be undone: hotel" in lines


async def test_what_was_undone_is_done_again_by_a_retry_under_another_key(tmp_path: Path) -> None:
    agency, keys, broken = Agency(), [], [True]

    async def book(what: str, context: StepContext) -> dict[str, str]:
        keys.append(context.idempotency_key)
        return {"id": what}

    async def pay() -> None:
        if broken:
            broken.clear()
            raise ConnectionError("no money")

    actions = [{"book": book, "undo": agency.undo, "pay": pay}]
    trip = {**TRIP, "nodes": [*TRIP["nodes"][:2], {**TRIP["nodes"][2], "retry": {"max_attempts": 1}}]}
    async with asyncio.timeout(20):
        async with WorkflowEngine(store=tmp_path / "log.db", actions=actions) as engine:
            assert (await engine.run_workflow(trip, execution_id="x")).status is ExecutionStatus.FAILED
            assert await engine.retry_execution("x")
            state = await engine.wait("x")
        async with WorkflowEngine(store=tmp_path / "log.db", actions=actions) as engine:
            assert await engine.get_execution_state("x") == state
    assert (state.status, state.compensations) == (ExecutionStatus.COMPLETED, {})
    assert keys == ["x/flight", "x/hotel", "x/flight#1", "x/hotel#1"]


@pytest.mark.parametrize("is_in_a_map", [False, True])
async def test_children_run_again_behind_what_was_undone(tmp_path: Path, is_in_a_map: bool) -> None:
    """A retry once gave what the child had given before, or the error that it had ended with."""
    agency, paid, broken = Agency(), [], [True]

    async def pay(what: str, context: StepContext) -> str:
        paid.append((context.execution_id, what))
        if broken:
            broken.clear()
            raise ValueError("no money")
        return what

    async def book(what: str) -> dict[str, str]:
        agency.said.append(what)
        return {"id": f"{what}-{len(agency.said)}"}

    once = {"retry": {"max_attempts": 1}}
    bank = {"id": "bank", "nodes": [{"id": "pay", "action": "pay", "parameters": {"what": "${input.what}"}, **once}]}
    child = {"id": "child", "type": "workflow", "workflow": "bank", "input": {"what": "${flight.id}"}}
    graph = {"nodes": [books("flight"), child], "connections": [{"source": "flight", "target": "child"}]}
    within = {"id": "all", "type": "map", "items": [1], "body": graph}
    trip = {"id": "trip", "nodes": [within]} if is_in_a_map else {"id": "trip", **graph}
    actions = [{"book": book, "undo": agency.undo, "pay": pay}]
    prefix = "x/all[0]." if is_in_a_map else "x/"
    async with asyncio.timeout(20):
        async with WorkflowEngine(store=tmp_path / "log.db", actions=actions, workflows=[bank]) as engine:
            assert (await engine.run_workflow(trip, execution_id="x")).status is ExecutionStatus.FAILED
            assert await engine.retry_execution("x")
            state = await engine.wait("x", until="ended")
        async with WorkflowEngine(store=tmp_path / "log.db", actions=actions, workflows=[bank]) as engine:
            assert await engine.get_execution_state("x") == state
    assert (state.status, state.output) == (ExecutionStatus.COMPLETED, ["flight-3"] if is_in_a_map else "flight-3")
    assert paid == [(f"{prefix}child", "flight-1"), (f"{prefix}child#1", "flight-3")]


BOOK: dict[str, Any] = {
    "id": "book",
    "compensate_on_cancel": True,
    "nodes": [
        books("room"),
        {"id": "seal", "action": "seal", "parameters": {"how": "${input.how}"}, "retry": {"max_attempts": 1}},
    ],
    "connections": [{"source": "room", "target": "seal"}],
    "output": "${room.id}",
}


@pytest.mark.parametrize(
    ("how", "undone"),
    [
        ("well", ["undo all room-1", "undo flight-1"]),
        ("badly", ["undo room-1", "undo flight-1"]),
        ("never", ["undo room-1", "undo flight-1"]),
    ],
)
async def test_a_child_is_undone_as_a_whole_or_undoes_itself(tmp_path: Path, how: str, undone: list[str]) -> None:
    agency = Agency()

    async def seal(how: str) -> None:
        if how == "badly":
            raise ValueError("no wax")
        if how == "never":
            await asyncio.Event().wait()

    async def undo_all(what: str) -> None:
        agency.said.append(f"undo all {what}")

    undo = {"action": "undo_all", "parameters": {"what": "${all}"}}
    nodes = [
        books("flight"),
        {"id": "all", "type": "workflow", "workflow": "book", "input": {"how": how}, "compensate": undo},
        {"id": "pay", "action": "pay", "retry": {"max_attempts": 1}},
    ]
    joined = [{"source": "flight", "target": "all"}, {"source": "all", "target": "pay"}]
    trip = {"id": "trip", "timeout": "100ms" if how == "never" else 0, "nodes": nodes, "connections": joined}
    actions = [{**agency.actions()[0], "seal": seal, "undo_all": undo_all}]  # type: ignore[dict-item]
    async with (
        asyncio.timeout(20),
        WorkflowEngine(store=tmp_path / "log.db", actions=actions, workflows=[BOOK]) as engine,
    ):
        state = await engine.run_workflow(trip, execution_id="x")
        child = await engine.get_execution_state("x/all")
    ends = {"well": ("FAILED", "COMPLETED"), "badly": ("FAILED", "FAILED"), "never": ("TIMED_OUT", "CANCELLED")}
    assert (state.status.value, child.status.value) == ends[how]
    assert [one for one in agency.said if one.startswith("undo")] == undone
    assert (state.compensation_failures, child.compensation_failures) == ((), ())


@pytest.mark.parametrize("is_loop", [False, True])
async def test_what_children_of_items_and_iterations_did_is_undone_the_last_first(is_loop: bool) -> None:
    agency = Agency()
    undo = {"action": "undo", "parameters": {"what": "all ${index}"}, "retry": QUICK}
    seal = {"id": "seal", "type": "workflow", "workflow": "other", "compensate": undo}
    body = {"nodes": [books("room"), seal], "connections": [{"source": "room", "target": "seal"}]}
    how = {"type": "loop", "while": "index < 2"} if is_loop else {"type": "map", "items": [1, 2], "max_concurrency": 1}
    nodes = [{"id": "m", **how, "body": body}, {"id": "pay", "action": "pay", "retry": {"max_attempts": 1}}]
    trip = {"id": "trip", "nodes": nodes, "connections": [{"source": "m", "target": "pay"}]}
    other = {"id": "other", "nodes": [{"id": "s", "type": "set", "values": 1}]}
    async with (
        asyncio.timeout(20),
        WorkflowEngine(store=":memory:", actions=agency.actions(), workflows=[other]) as engine,
    ):
        await engine.run_workflow(trip)
    assert agency.said[2:] == ["undo all 1", "undo room-1", "undo all 0", "undo room-1"]
