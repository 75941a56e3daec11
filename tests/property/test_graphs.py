"""Over generated graphs: every step ends, joins hold, and the log alone gives the state back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import treadle
from treadle import ExecutionStatus, WorkflowEngine
from treadle.machine import compile as compile_plan
from treadle.machine import decode_events, fold, snapshot
from treadle.store.memory import MemoryStore
from treadle.store.protocol import Appended, Turn


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Any]:
    """Return a DAG of up to 12 nodes with conditions, else, failures that are handled or passed over, and joins."""
    size = draw(st.integers(1, 12))
    nodes = []
    for number in range(size):
        config: dict[str, Any] = {
            "action": "act",
            "parameters": {"name": f"n{number}", "fails": draw(st.sampled_from([0, 0, 0, 1]))},
        }
        config |= {"retry": {"max_attempts": 1}, "continue_on_error": True}
        config["join"] = draw(st.sampled_from(["all", "any", "every"]))
        nodes.append({"id": f"n{number}", "config": config})
    connections = []
    for target in range(1, size):
        for source in sorted(draw(st.sets(st.integers(0, target - 1), max_size=3))):
            how = draw(st.sampled_from([{}, {}, {"condition": "true"}, {"condition": "false"}, {"outcome": "always"}]))
            connections.append({"source": f"n{source}", "target": f"n{target}", **how})
    return {"id": "generated", "nodes": nodes, "connections": connections}


def expected(document: dict[str, Any]) -> dict[str, str]:
    """Return each node's status by the rules of joins, read off slowly in document order."""
    found: dict[str, str] = {}
    for node in document["nodes"]:
        active = decided = 0
        for one in document["connections"]:
            if one["target"] == node["id"]:
                decided += 1
                active += (
                    found[one["source"]] != "SKIPPED"
                    and one.get("condition") != "false"
                    and _follows(one, found, document)
                )
        join = node["config"]["join"]
        runs = not decided or (active == decided if join == "every" else active > 0)
        fails = node["config"]["parameters"]["fails"]
        found[node["id"]] = "SKIPPED" if not runs else "FAILED" if fails else "COMPLETED"
    return found


def _follows(connection: dict[str, Any], found: dict[str, str], document: dict[str, Any]) -> bool:
    """Tell whether a connection matches the end of its source: a failure with an always connection is handled by it."""
    source = connection["source"]
    if found[source] == "COMPLETED" or connection.get("outcome") == "always":
        return True
    return not any(one["source"] == source and one.get("outcome") == "always" for one in document["connections"])


class Calls:
    def __init__(self) -> None:
        self.order: list[str] = []

    async def act(self, name: str, fails: int) -> str:
        await asyncio.sleep(0)
        self.order.append(name)
        if fails:
            raise RuntimeError(name)
        return name


@given(graphs(), st.integers(1, 4))
# A graph that hangs costs the whole bound each time, so it is reported as it was drawn.
@settings(max_examples=150, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_every_step_ends_as_the_rules_say_and_the_log_gives_every_state_back(
    document: dict[str, Any], limit: int
) -> None:
    calls, store = Calls(), MemoryStore()

    async def run() -> treadle.ExecutionState:
        async with WorkflowEngine(limit, store=store, actions=[{"act": calls.act}]) as engine:
            name = await engine.start_workflow(document)
            return await engine.wait(name, timeout=10)  # a join that hangs is a failure, not a wait

    state = asyncio.run(run())
    wanted = expected(document)
    assert state.status is ExecutionStatus.COMPLETED
    assert {name: step.status.value for name, step in state.steps.items()} == wanted
    assert sorted(calls.order) == sorted(name for name, status in wanted.items() if status != "SKIPPED")
    turns = [decode_events(turn.events) for turn in asyncio.run(_turns(store, state.execution_id))]
    assert snapshot(fold(compile_plan(treadle.load_workflow(document)), turns)) == state


async def _turns(store: MemoryStore, name: str) -> Any:
    return await store.read(name)


class Faulty(MemoryStore):
    """A store whose chosen appends fail, before or after they were carried out: the caller cannot know."""

    def __init__(self, faults: dict[int, str]) -> None:
        super().__init__()
        self.faults = faults
        self.appends = 0

    async def append(self, turns: Any) -> list[Appended]:
        self.appends += 1
        fault = self.faults.get(self.appends, "")
        if fault == "before":
            raise treadle.StoreError("no room")
        answers = await super().append([one for one in turns if isinstance(one, Turn)])
        if fault == "after":
            raise treadle.StoreError("no answer")
        return list(answers)


CHAIN = {
    "id": "chain",
    "nodes": [{"id": f"n{n}", "action": "act", "parameters": {"name": f"n{n}", "fails": 0}} for n in range(4)],
    "connections": [{"source": f"n{n}", "target": f"n{n + 1}"} for n in range(3)],
}


@pytest.mark.parametrize("fault", ["before", "after"])
@pytest.mark.parametrize("at", range(1, 6))
async def test_a_failed_append_is_never_an_error_of_the_workflow(at: int, fault: str) -> None:
    calls = Calls()
    options = treadle.Settings(store_retry_ms=1)
    async with WorkflowEngine(2, store=Faulty({at: fault}), actions=[{"act": calls.act}], settings=options) as engine:
        states = await asyncio.gather(*[engine.run_workflow(CHAIN, execution_id=name) for name in ("a", "b")])
        assert engine.health.ok
    assert [state.status for state in states] == [ExecutionStatus.COMPLETED] * 2
    assert sorted(calls.order) == sorted([f"n{n}" for n in range(4)] * 2)
