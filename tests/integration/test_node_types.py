"""Switches, sets, waits and ends in whole executions: durable, without a task or a slot, and as a person sees them."""

from __future__ import annotations

import asyncio
import gc
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

import treadle
from treadle import ExecutionStatus, Settings, WorkflowBuilder, WorkflowEngine
from treadle.drivers.local.resident import Resident

if TYPE_CHECKING:
    from pathlib import Path

APPROVAL = """
id: approval
nodes:
  - {id: size, type: switch}
  - {id: large, type: set, values: {limit: "${input.amount * 2}"}}
  - {id: patience, type: wait, duration: "${input.patience}"}
  - {id: pay, action: pay, parameters: {amount: "${input.amount}"}}
  - {id: refused, type: end, status: FAILED, message: "${input.amount} is too much"}
connections:
  - {source: size, target: pay, condition: "input.amount <= 100"}
  - {source: size, target: large, condition: "input.amount <= 1000"}
  - {source: size, target: refused, condition: else}
  - {source: large, target: patience}
  - {source: patience, target: pay}
output: {paid: "${pay}", limit: "${large.limit}"}
"""


class Bank:
    def __init__(self) -> None:
        self.paid: list[int] = []

    async def pay(self, amount: int) -> int:
        self.paid.append(amount)
        return amount

    @property
    def actions(self) -> list[object]:
        return [{"pay": self.pay}]


@pytest.mark.parametrize(
    ("amount", "status", "output", "error"),
    [
        (50, "COMPLETED", {"paid": 50, "limit": None}, None),
        (500, "COMPLETED", {"paid": 500, "limit": 1000}, None),
        (5000, "FAILED", None, "5000 is too much"),
    ],
)
async def test_a_workflow_branches_computes_waits_and_ends(
    amount: int, status: str, output: Any, error: str | None
) -> None:
    bank = Bank()
    async with asyncio.timeout(20), WorkflowEngine(store=":memory:", actions=bank.actions) as engine:
        state = await engine.run_workflow(APPROVAL, {"amount": amount, "patience": "20ms"})
    assert (state.status.value, state.output, state.error and state.error.message) == (status, output, error)
    assert bank.paid == ([] if error else [amount])


@pytest.mark.parametrize("idle", [0, 1_000])
async def test_a_wait_goes_on_in_another_process_and_is_not_begun_again(tmp_path: Path, idle: int) -> None:
    bank, settings = Bank(), Settings(idle_executions=idle)
    async with asyncio.timeout(20):
        async with WorkflowEngine(store=tmp_path / "log.db", actions=bank.actions, settings=settings) as engine:
            await engine.start_workflow(APPROVAL, {"amount": 500, "patience": "300ms"}, execution_id="one")
            async for event in engine.watch("one"):
                if event.kind == "WaitStarted":
                    due = event.data["due"][0][1]
                    break
        async with WorkflowEngine(store=tmp_path / "log.db", actions=bank.actions, settings=settings) as engine:
            state = await engine.wait("one")
            history = await engine.history("one")
    ended = next(event.at for event in history if event.kind == "WaitEnded")
    assert (state.status, bank.paid) == (ExecutionStatus.COMPLETED, [500])
    assert [event.kind for event in history].count("WaitStarted") == 1
    assert ended >= datetime.fromtimestamp(due / 1000, UTC)


async def test_executions_that_wait_hold_no_slot_no_task_no_thread_and_leave_memory(tmp_path: Path) -> None:
    bank, settings = Bank(), Settings(idle_executions=10)
    waiting = {"id": "w", "nodes": [{"id": "w", "type": "wait", "duration": "30d"}]}
    async with asyncio.timeout(60):
        async with WorkflowEngine(1, store=tmp_path / "log.db", actions=bank.actions, settings=settings) as engine:
            await engine.run_workflow(APPROVAL, {"amount": 50})
            tasks, threads = len(asyncio.all_tasks()), threading.active_count()
            workflow = treadle.load_workflow(waiting)
            names = await asyncio.gather(*(engine.start_workflow(workflow) for _ in range(300)))
            assert (await engine.run_workflow(APPROVAL, {"amount": 50})).status is ExecutionStatus.COMPLETED
            assert (len(asyncio.all_tasks()), threading.active_count()) == (tasks, threads)
            gc.collect()
            clock = engine._driver._clock
            held = [one for one in gc.get_objects() if isinstance(one, Resident) and one._clock is clock]
            assert len(held) <= 11
            assert await engine.cancel_execution(names[0])
            assert (await engine.wait(names[0])).status is ExecutionStatus.CANCELLED


async def test_an_end_stops_what_runs(tmp_path: Path) -> None:
    cancelled = asyncio.Event()

    async def hold() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    workflow = {
        "id": "w",
        "nodes": [
            {"id": "held", "action": "hold"},
            {"id": "pay", "action": "pay", "parameters": {"amount": 1}},
            {"id": "end", "type": "end", "output": "${pay}"},
        ],
        "connections": [{"source": "pay", "target": "end"}],
    }
    actions: list[object] = [{"hold": hold, **Bank().actions[0]}]  # type: ignore[dict-item]
    async with asyncio.timeout(20), WorkflowEngine(2, store=":memory:", actions=actions) as engine:
        state = await engine.run_workflow(workflow)
        assert cancelled.is_set()
    assert (state.status, state.output, state.steps["held"].status.value) == (ExecutionStatus.COMPLETED, 1, "CANCELLED")


def test_the_builder_and_the_document_say_the_same() -> None:
    build = WorkflowBuilder("approval")
    size = build.switch("size")
    large = build.set("large", {"limit": "${input.amount * 2}"})
    patience = build.wait("patience", duration="${input.patience}", after=large)
    pay = build.action("pay", "pay", parameters={"amount": "${input.amount}"})
    refused = build.end("refused", status="FAILED", message="${input.amount} is too much")
    build.connect(size, pay, condition="input.amount <= 100")
    build.connect(size, large, condition="input.amount <= 1000")
    build.connect(size, refused, condition="else")
    build.connect(patience, pay)
    build.output({"paid": pay.output, "limit": large.output["limit"]})
    built, read = treadle.to_document(build.build()), treadle.to_document(treadle.load_workflow(APPROVAL))
    assert sorted(built.pop("connections"), key=str) == sorted(read.pop("connections"), key=str)
    assert built == read


def test_the_builder_takes_durations_and_times_of_python() -> None:
    build = WorkflowBuilder("w")
    build.wait("a", duration=timedelta(minutes=5))
    build.wait("b", until=datetime(2026, 12, 31, 9, tzinfo=UTC))
    build.wait("c", any_of=[timedelta(seconds=1), datetime(2026, 12, 31, 9, tzinfo=UTC)])
    build.set("d", {"x": 1}, after="a", condition="true", join="any", title="D", annotations={"position": {"x": 1}})
    nodes = {node["id"]: node for node in treadle.to_document(build.build())["nodes"]}
    assert nodes["a"]["config"] == {"duration": "5m"}
    assert nodes["b"]["config"] == {"until": "2026-12-31T09:00:00+00:00"}
    assert nodes["c"]["config"] == {"any_of": [{"duration": "1s"}, {"until": "2026-12-31T09:00:00+00:00"}]}
    assert nodes["d"]["config"] == {"condition": "true", "join": "any", "values": {"x": 1}}
    with pytest.raises(treadle.ValidationError, match="has no zone"):
        build.wait("e", until=datetime(2026, 12, 31, 9))  # noqa: DTZ001 - what is refused


@pytest.mark.parametrize(
    ("node", "problem"),
    [
        ("{type: set}", 'nodes[0]: a node of type set needs the key "values"'),
        ("{type: wait}", "nodes[0]: a node of type wait needs exactly one of duration, until, any_of"),
        ("{type: wait, duration: 1, until: '2026-12-31T00:00:00Z'}", "nodes[0]: a node of type wait needs exactly one"),
        ("{type: wait, duration: -1}", "nodes[0].duration: -1 is negative"),
        ("{type: wait, until: '2026-12-31'}", 'nodes[0].until: "2026-12-31" is no time with its zone'),
        ("{type: wait, any_of: []}", "nodes[0].any_of: must be a list of timers"),
        ("{type: wait, any_of: [{after: 1}]}", 'nodes[0].any_of[0].after: unknown key "after"'),
        ("{type: end, status: DONE}", "nodes[0].status: must be one of COMPLETED, FAILED, CANCELLED"),
        ("{type: switch, mode: some}", 'nodes[0].mode: "some" is none of first, all'),
        ("{type: switch, action: x}", 'nodes[0].action: "action" belongs to a node of type action, not switch'),
        ("{type: action, action: x, values: 1}", 'nodes[0].values: "values" belongs to a node of type set, not action'),
        ("{type: set, values: '${nobody}'}", 'nodes[0].values: column 3 of the text: there is no name "nobody"'),
        ("{type: set, values: {x: ['${1 +}']}}", "nodes[0].values.x[0]: column"),
        ("{type: wait, any_of: [{duration: '${x'}]}", "nodes[0].any_of[0].duration: column"),
        ("{type: end, output: '${a}'}", "nodes[0].output: a is the output of this very step"),
    ],
)
def test_what_is_wrong_with_a_node_of_a_type_is_told_at_its_place(node: str, problem: str) -> None:
    problems = treadle.validate(f"id: w\nnodes:\n  - {{id: a, {node[1:]}\n")
    assert [str(one).partition(": ")[2].startswith(problem) for one in problems].count(True) == 1, list(
        map(str, problems)
    )
    assert all(one.line == 3 for one in problems)


def test_no_connection_leaves_an_end() -> None:
    document = {
        "id": "w",
        "nodes": [{"id": "e", "type": "end"}, {"id": "s", "type": "set", "values": 1}],
        "connections": [{"source": "e", "target": "s"}],
    }
    assert [(one.code, one.path) for one in treadle.validate(document)] == [("no_way_on", "connections[0].source")]
