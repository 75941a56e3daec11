"""Maps, loops and groups from documents, in the real engine and on a file: every type of node within a body."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from treadle import Client, ConflictError, ExecutionStatus, NotFoundError, ValidationError, WorkflowEngine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from treadle import ExecutionState

pytestmark = pytest.mark.asyncio


SUM = "${one + item}"


class Shop:
    """Actions, and gates that tests open."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.most = self.now = 0
        self.idle = asyncio.Event()

    def gate(self, name: object) -> asyncio.Event:
        return self.gates.setdefault(str(name), asyncio.Event())

    async def held(self, x: Any) -> Any:
        self.calls.append((str(x), 1))
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self.gate(x).wait()
        finally:
            self.now -= 1
            if not self.now:
                self.idle.set()
        return x

    async def double(self, x: int) -> int:
        return 2 * x

    async def refuses(self, x: Any) -> None:
        raise ValidationError(f"not {x}")

    @property
    def actions(self) -> list[dict[str, Any]]:
        return [{"held": self.held, "double": self.double, "refuses": self.refuses}]


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
async def engine(tmp_path: Path, shop: Shop) -> AsyncIterator[WorkflowEngine]:
    async with asyncio.timeout(30), WorkflowEngine(8, tmp_path / "log.db", shop.actions) as one:
        yield one


def act(name: str, action: str = "held", x: str = "${item}", **more: Any) -> dict[str, Any]:
    return {"id": name, "action": action, "parameters": {"x": x}, **more}


def a_map(
    *nodes: Any, items: Any = (1, 2, 3), connections: Any = (), output: Any = None, **more: Any
) -> dict[str, Any]:
    body = {"nodes": list(nodes), "connections": _joined(connections), **({} if output is None else {"output": output})}
    given = items if isinstance(items, str) else list(items)
    return {"id": "each", "type": "map", "items": given, "body": body, **more}


def flow(*nodes: Any, connections: Any = (), **more: Any) -> dict[str, Any]:
    return {"id": "w", "nodes": list(nodes), "connections": _joined(connections), **more}


def _joined(connections: Any) -> list[dict[str, str]]:
    return [dict(zip(("source", "target"), one.split(">"), strict=True)) for one in connections]


def statuses(state: ExecutionState) -> dict[str, str]:
    return {name: step.status.value for name, step in state.steps.items()}


async def until(engine: WorkflowEngine, is_so: Callable[[dict[str, str]], bool], name: str = "e") -> dict[str, str]:
    """Wait until the statuses of the steps are as wanted."""
    async for _ in engine.watch(name, 0):
        found = statuses(await engine.get_execution_state(name))
        if is_so(found):
            return found
    raise AssertionError(f"it ended: {found}")


async def test_every_type_of_node_runs_in_a_body(engine: WorkflowEngine) -> None:
    nodes = [
        {"id": "start", "type": "trigger"},
        {"id": "size", "type": "switch"},
        {"id": "twice", "type": "set", "values": "${item * 2}"},
        act("act", "double", x="${default(twice, item)}"),
        {"id": "wait", "type": "wait", "duration": "1ms"},
        {"id": "inner", "type": "map", "items": "${[item, act]}", "as": "one", "body": {"nodes": [_set("v", SUM)]}},
        {"id": "again", "type": "loop", "while": "index < item", "body": {"nodes": [_set("n", "${index}")]}},
        {"id": "both", "type": "parallel", "body": {"nodes": [_set("a", "${inner[0]}"), _set("b", "${again}")]}},
        {"id": "done", "type": "end", "output": {"both": "${both}", "index": "${index}", "input": "${input.n}"}},
    ]  # fmt: skip
    connections = ["start>size", "twice>act", "act>wait", "wait>inner", "inner>again", "again>both", "both>done"]
    document = flow(a_map(*nodes, connections=connections, items=[1, 2]))
    document["nodes"][0]["body"]["connections"] += [
        {"source": "size", "target": "twice", "condition": "item > 1"},
        {"source": "size", "target": "act", "condition": "else"},
    ]
    state = await engine.run_workflow(document, {"n": 7}, execution_id="e")
    assert (state.status, state.error) == (ExecutionStatus.COMPLETED, None)
    assert state.output == [
        {"both": {"a": 2, "b": 0}, "index": 0, "input": 7},
        {"both": {"a": 4, "b": 1}, "index": 1, "input": 7},
    ]
    found = statuses(state)
    assert (found["each[0].twice"], found["each[1].twice"]) == ("SKIPPED", "COMPLETED")
    assert found["each[1].inner[1].v"] == found["each[1].again[1].n"] == found["each[1].both.a"] == "COMPLETED"


def _set(name: str, values: Any) -> dict[str, Any]:
    return {"id": name, "type": "set", "values": values}


async def test_maps_of_loops_of_groups_are_bounded_and_give_their_outputs_in_order(
    engine: WorkflowEngine, shop: Shop
) -> None:
    group = {"id": "both", "type": "parallel", "body": {"nodes": [act("a", x="${item}"), act("b", "double")]}}
    loop = {"id": "again", "type": "loop", "until": "index == 1", "body": {"nodes": [group]}}
    document = flow(a_map(loop, items=[3, 1, 2], max_concurrency=2))
    for gate in (1, 2, 3):
        shop.gate(gate).set()
    state = await engine.run_workflow(document)
    assert state.output == [{"a": one, "b": 2 * one} for one in (3, 1, 2)]
    assert sorted(shop.calls) == [("1", 1), ("1", 1), ("2", 1), ("2", 1), ("3", 1), ("3", 1)]
    assert shop.most <= 2


async def test_an_answer_reaches_the_item_that_asks_for_it(engine: WorkflowEngine, tmp_path: Path) -> None:
    ask = {"id": "ask", "type": "input", "schema": {"type": "integer"}}
    document = flow(a_map(ask, act("then", "double", x="${ask}"), connections=["ask>then"]))
    await engine.start_workflow(document, execution_id="e")
    await until(engine, lambda found: found.get("each[2].ask") == "WAITING")
    assert await engine.submit_input("e", "each[2].ask", 20)
    with pytest.raises(ValidationError, match="integer"):
        await engine.submit_input("e", "each[0].ask", "text")
    with pytest.raises(NotFoundError):
        await engine.submit_input("e", "each[3].ask", 1)
    with pytest.raises(ConflictError):
        await engine.submit_input("e", "each[0].then", 1)
    async with Client(tmp_path / "log.db") as client:
        assert await client.submit_input("e", "each[0].ask", 1)
    assert not await engine.submit_input("e", "each[0].ask", 5)
    assert await engine.submit_input("e", "each[1].ask", 2)
    assert (await engine.wait("e")).output == [2, 4, 40]


async def test_a_pause_stops_bodies_where_they_are_and_resuming_goes_on(engine: WorkflowEngine, shop: Shop) -> None:
    document = flow(a_map(act("a"), act("b", "double"), connections=["a>b"], max_concurrency=2))
    await engine.start_workflow(document, execution_id="e")
    await until(engine, lambda found: found.get("each[1].a") == "RUNNING")
    assert await engine.pause_execution("e")
    for gate in (1, 2, 3):
        shop.gate(gate).set()
    state = await engine.wait("e")
    assert (state.status.value, state.in_flight) == ("PAUSED", 0)
    assert [state.steps[f"each[{n}].b"].status.value for n in (0, 1)] == ["WAITING", "WAITING"]
    assert "each[2].a" not in state.steps
    assert await engine.resume_workflow("e")
    assert (await engine.wait("e")).output == [2, 4, 6]


async def test_a_missing_input_pauses_the_items_that_need_it_and_is_given_to_all(engine: WorkflowEngine) -> None:
    needs = act("needs", "double", x="${input.factor}", condition="item > 1")
    document = flow(a_map(needs, _set("v", "${default(needs, 0)}"), connections=["needs>v"]))
    document["nodes"][0]["body"]["nodes"][0]["on_skip"] = "pass"
    state = await engine.run_workflow(document, execution_id="e")
    assert (state.status.value, state.waiting_for) == ("PAUSED", ("input.factor",))
    assert [statuses(state)[f"each[{n}].needs"] for n in range(3)] == ["SKIPPED", "PAUSED", "PAUSED"]
    assert await engine.resume_workflow("e", {"factor": 5})
    assert (await engine.wait("e")).output == [0, 10, 10]


@pytest.mark.parametrize("verb", ["cancel", "terminate"])
async def test_cancelling_ends_what_runs_and_waits_in_bodies(engine: WorkflowEngine, shop: Shop, verb: str) -> None:
    wait = {"id": "wait", "type": "wait", "duration": "1h"}
    await engine.start_workflow(flow(a_map(act("a"), wait, items=[1, 2])), execution_id="e")
    await until(engine, lambda found: found.get("each[1].a") == "RUNNING")
    assert await (engine.cancel_execution("e") if verb == "cancel" else engine.terminate_execution("e"))
    state = await engine.wait("e")
    assert state.status.value == "CANCELLED"
    assert set(statuses(state).values()) == {"CANCELLED"}
    assert all(step.ended_at is not None for step in state.steps.values())
    await shop.idle.wait()


async def test_a_timeout_of_a_map_ends_what_is_in_it_and_can_be_handled(engine: WorkflowEngine, shop: Shop) -> None:
    document = flow(a_map(act("a"), timeout="30ms"), act("late", "double", x="${21}"))
    document["connections"] = [{"source": "each", "target": "late", "outcome": "failure"}]
    state = await engine.run_workflow(document, execution_id="e")
    assert (state.status.value, state.output) == ("COMPLETED", 42)
    assert [statuses(state)[name] for name in ("each", "each[0].a", "each[2].a")] == [
        "TIMED_OUT",
        "CANCELLED",
        "CANCELLED",
    ]
    assert state.steps["each"].error is not None
    assert state.steps["each"].error.type == "StepTimeout"


async def test_an_attempt_in_a_body_has_its_own_timeout_and_retries(engine: WorkflowEngine) -> None:
    slow = act("a", timeout="10ms", retry={"max_attempts": 2, "initial_delay": "1ms"})
    state = await engine.run_workflow(flow(a_map(slow, items=[1], tolerate=1)), execution_id="e")
    assert (state.status.value, state.output, state.steps["each[0].a"].attempt) == ("COMPLETED", [None], 2)
    assert statuses(state)["each[0].a"] == "TIMED_OUT"


async def test_a_race_cancels_the_losers_and_a_join_the_rest(engine: WorkflowEngine, shop: Shop) -> None:
    race = {"id": "race", "type": "parallel", "race": True}
    race["body"] = {"nodes": [act("a", x="a"), act("no", "refuses", x="no"), act("b", x="b")]}
    join = {**_set("join", "${race}"), "join": "any", "cancel_rest": True}
    document = flow(race, act("slow", x="slow"), join, connections=["race>join", "slow>join"])
    await engine.start_workflow(document, execution_id="e")
    await until(engine, lambda found: found["slow"] == "RUNNING" and found.get("race.b") == "RUNNING")
    shop.gate("b").set()
    state = await engine.wait("e")
    assert (state.status.value, state.output) == ("COMPLETED", "b")
    assert statuses(state) == {
        "race": "COMPLETED", "race.a": "CANCELLED", "race.no": "FAILED", "race.b": "COMPLETED", "slow": "CANCELLED",
        "join": "COMPLETED",
    }  # fmt: skip


async def test_a_wait_in_a_loop_goes_on_in_another_process(tmp_path: Path, shop: Shop) -> None:
    body = {"nodes": [{"id": "wait", "type": "wait", "duration": "1ms"}, _set("n", "${index}")]}
    body["connections"] = _joined(["wait>n"])
    loop = {"id": "again", "type": "loop", "until": "previous == 200", "body": body}
    async with asyncio.timeout(30):
        async with WorkflowEngine(store=tmp_path / "log.db", actions=shop.actions) as engine:
            await engine.start_workflow(flow(loop), execution_id="e")
            async for event in engine.watch("e", 0):
                if event.kind == "BodyStarted" and event.data.get("number") == 3:
                    break
        assert (await _state_on(tmp_path)).status.value == "RUNNING"
        async with WorkflowEngine(store=tmp_path / "log.db", actions=shop.actions) as engine:
            state = await engine.wait("e")
            starts = [event.data.get("number", 0) for event in await engine.history("e") if event.kind == "BodyStarted"]
    assert (state.output, state.steps["again"].iterations) == (200, 201)
    assert starts == list(range(201))


async def test_a_loop_that_never_ends_holds_up_nobody_and_can_be_ended(tmp_path: Path) -> None:
    forever = {
        "id": "again",
        "type": "loop",
        "while": "true",
        "max_iterations": 10**9,
        "body": {"nodes": [_set("n", 1)]},
    }
    async with asyncio.timeout(60):
        async with WorkflowEngine(store=tmp_path / "log.db") as engine:
            await engine.start_workflow(flow(forever), execution_id="e")
            assert (await engine.run_workflow(flow(_set("other", 1)))).status.value == "COMPLETED"
        before = (await _state_on(tmp_path)).steps["again"].iterations
        async with WorkflowEngine(store=tmp_path / "log.db") as engine:
            async for event in engine.watch("e"):
                if event.kind == "GroupYielded" and event.data["begun"] > before:
                    break
            assert await engine.pause_execution("e")
            stands = (await engine.get_execution_state("e")).steps["again"].iterations
            assert (await engine.run_workflow(flow(_set("other", 1)))).status.value == "COMPLETED"
            assert (await engine.get_execution_state("e")).steps["again"].iterations == stands
            assert await engine.resume_workflow("e")
            assert await engine.cancel_step("e", "again")
            state = await engine.wait("e")
    assert (state.status.value, statuses(state)["again"]) == ("COMPLETED", "CANCELLED")


async def _state_on(folder: Path) -> ExecutionState:
    async with Client(folder / "log.db") as client:
        return await client.state_manager.get_execution_state("e")


async def test_items_that_fail_for_good_are_counted_and_told(engine: WorkflowEngine) -> None:
    document = flow(a_map(act("a", "refuses"), tolerate="50%"))
    state = await engine.run_workflow(document)
    assert (state.status.value, state.error and state.error.message) == ("FAILED", "not 2")
    counts = state.steps["each"].items
    assert counts is not None
    assert (counts.total, counts.completed, counts.failed, counts.running) == (3, 0, 2, 0)
    assert {number: error.message for number, error in counts.errors.items()} == {0: "not 1", 1: "not 2"}


async def test_an_engine_that_closes_interrupts_items_and_the_next_runs_only_these_again(
    tmp_path: Path, shop: Shop
) -> None:
    document = flow(a_map(act("a"), items=range(1, 41), max_concurrency=4))
    async with asyncio.timeout(30):
        async with WorkflowEngine(8, tmp_path / "log.db", shop.actions, grace=0) as engine:
            for number in range(1, 21):
                shop.gate(number).set()
            await engine.start_workflow(document, execution_id="e")
            found = await until(engine, lambda found: found.get("each[23].a") == "RUNNING")
            assert sum(one == "RUNNING" for one in found.values()) == 5  # four items, and the map
        for number in range(21, 41):
            shop.gate(number).set()
        async with WorkflowEngine(8, tmp_path / "log.db", shop.actions) as engine:
            state = await engine.wait("e")
    assert state.output == list(range(1, 41))
    assert [n for n in range(40) if state.steps[f"each[{n}].a"].attempt == 2] == [20, 21, 22, 23]
