"""The same generated workflow through the facade and through treadle's own engine: the same steps run, for the same.

What differs is the application's own rules, and is translated: a node runs once *all* its connections are taken (the
join ``every``), one that never does is absent instead of SKIPPED, a chain goes on behind a skipped step (``on_skip:
pass``), and an execution with a node passed over or not reached ends PARTIAL instead of COMPLETED. With one slot both
engines run the very same sequence, also where a failure ends it; with many, each sequence keeps the connections.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import event, given, settings
from hypothesis import strategies as st

import treadle
from core.execution_state_manager import ExecutionStateManager
from core.workflow_engine import WorkflowEngine
from treadle.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable

MANY = 32
generated = settings(max_examples=150, deadline=None, derandomize=True)


class Node(NamedTuple):
    """One node.

    Attributes:
        value: What it gives.
        fails: It fails instead.
        passed_over: It may fail.
        asks: It needs ``input.more``, which is given only when the execution asks for it.
        wants: Of a step of a chain: the least value of an earlier step, by name, for which it runs.
        depends_on: Of a step of a chain.
    """

    name: str
    value: int
    fails: bool
    passed_over: bool
    asks: bool = False
    wants: tuple[str, int] | None = None
    depends_on: tuple[str, ...] = ()


class Graph(NamedTuple):
    """Nodes, and connections that are taken from a value of their source on; None for always."""

    nodes: list[Node]
    connections: list[tuple[str, str, int | None]]


class Outcome(NamedTuple):
    """What came of it: the status, what was run in its order, what each step gave, and where each step stands."""

    status: str
    ran: list[str]
    outputs: dict[str, Any]
    steps: dict[str, str]


def _node(draw: st.DrawFn, name: str, **more: Any) -> Node:
    fails = draw(st.integers(0, 4)) == 0
    return Node(name, draw(st.integers(0, 3)), fails, draw(st.booleans()), **more)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    names = [f"n{place}" for place in range(draw(st.integers(2, 7)))]
    asking = draw(st.sampled_from([None, *names]))
    nodes = [_node(draw, name, asks=name == asking) for name in names]
    pairs = [(source, target) for place, target in enumerate(names) for source in names[:place]]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True, min_size=1, max_size=10))
    limits = st.none() | st.integers(0, 3)
    connections = [(source, target, draw(limits)) for source, target in chosen]
    # The application runs a graph in parallel only where a connection is conditional.
    source, target, _ = connections[0]
    connections[0] = (source, target, draw(st.integers(0, 2)))
    order = draw(st.permutations(nodes))
    return Graph(list(order), draw(st.permutations(connections)))


@st.composite
def chains(draw: st.DrawFn) -> Graph:
    names = [f"n{place}" for place in range(draw(st.integers(0, 6)))]
    nodes = []
    for place, name in enumerate(names):
        before = names[:place]
        wants = draw(st.none() | st.tuples(st.sampled_from(before), st.integers(0, 3))) if before else None
        depends_on = draw(st.lists(st.sampled_from(before), unique=True, max_size=2)) if before else []
        nodes.append(_node(draw, name, wants=wants, depends_on=tuple(depends_on)))
    return Graph(nodes, [])


# -- through the facade


class Facade(WorkflowEngine):
    """An application's engine over a graph's nodes."""

    def __init__(self, graph: Graph, slots: int) -> None:
        super().__init__(slots, state_manager=ExecutionStateManager(store=MemoryStore()))
        self.known = {node.name: node for node in graph.nodes}
        self.ran: list[str] = []

    async def _execute_step(self, step: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
        self.ran.append(step["id"])
        await asyncio.sleep(0)
        return {"status": "success", "result": give(self.known[step["id"]], params)}


def give(node: Node, params: dict[str, Any]) -> dict[str, Any]:
    if node.fails:
        raise RuntimeError(f"{node.name} has no luck")
    return {"v": node.value, **params}


def for_facade(graph: Graph, *, is_chain: bool) -> dict[str, Any]:
    configs = [
        {
            "continue_on_error": node.passed_over,
            "parameters": {"more": "${input.more}"} if node.asks else {},
        }
        for node in graph.nodes
    ]
    if not is_chain:
        nodes = [{"id": node.name, "config": config} for node, config in zip(graph.nodes, configs, strict=True)]
        connections = [
            {"source": source, "target": target}
            | ({} if limit is None else {"condition": f"${{{source}.result.v}} >= {limit}"})
            for source, target, limit in graph.connections
        ]
        return {"id": "w", "nodes": nodes, "connections": connections}
    steps = []
    for place, (node, config) in enumerate(zip(graph.nodes, configs, strict=True)):
        step = {"id": node.name, "sequence_order": place, "service": "t", "action": "give", **config}
        if node.wants:
            step["condition"] = f"${{{node.wants[0]}.result.v}} >= {node.wants[1]}"
        steps.append(step | {"depends_on": list(node.depends_on)})
    return {"id": "w", "steps": steps}


async def through_facade(graph: Graph, slots: int, *, is_chain: bool) -> Outcome:
    engine = Facade(graph, slots)
    workflow = for_facade(graph, is_chain=is_chain)
    execution = await engine.start_workflow(workflow, {})
    while engine._background_tasks:
        await asyncio.gather(*engine._background_tasks)
    state = await engine.state_manager.get_execution_state(execution)
    if state and state["status"] == "PAUSED":
        assert await engine.resume_workflow(execution, workflow, {"more": 1})
        while engine._background_tasks:
            await asyncio.gather(*engine._background_tasks)
        state = await engine.state_manager.get_execution_state(execution)
    assert state is not None
    outputs = {name: output["result"] for name, output in state["outputs"].items()}
    steps = {name: entry["status"] for name, entry in state["steps"].items()}
    return Outcome(state["status"], engine.ran, outputs, steps)


# -- through treadle


def for_treadle(graph: Graph, *, is_chain: bool) -> dict[str, Any]:
    nodes: list[dict[str, Any]] = []
    for node in graph.nodes:
        parameters = {"name": node.name} | ({"more": "${input.more}"} if node.asks else {})
        one: dict[str, Any] = {"id": node.name, "action": "t.give", "parameters": parameters}
        one |= {"continue_on_error": node.passed_over, "retry": {"max_attempts": 1}}
        one |= {"on_skip": "pass"} if is_chain else {"join": "every"}
        terms = [f"steps.{name}.status == 'COMPLETED'" for name in node.depends_on]
        terms += [f"{node.wants[0]}.v >= {node.wants[1]}"] if node.wants else []
        nodes.append(one | ({"condition": " && ".join(terms)} if terms else {}))
    names = [node.name for node in graph.nodes]
    in_line = [(before, after, None) for before, after in pairwise(names)]
    connections = [
        {"source": source, "target": target} | ({} if limit is None else {"condition": f"{source}.v >= {limit}"})
        for source, target, limit in (in_line if is_chain else graph.connections)
    ]
    return {"id": "w", "nodes": nodes, "connections": connections}


async def through_treadle(graph: Graph, slots: int, *, is_chain: bool) -> Outcome:
    known = {node.name: node for node in graph.nodes}
    ran: list[str] = []

    async def run(name: str, more: int | None = None) -> dict[str, Any]:
        ran.append(name)
        await asyncio.sleep(0)
        return give(known[name], {} if more is None else {"more": more})

    async with treadle.WorkflowEngine(slots, store=MemoryStore(), actions=[{"t.give": run}]) as engine:
        execution = await engine.start_workflow(for_treadle(graph, is_chain=is_chain), {})
        state = await engine.wait(execution)
        if state.status.value == "PAUSED":
            assert await engine.resume_workflow(execution, {"more": 1})
            state = await engine.wait(execution)
    outputs = {str(name): step.output for name, step in state.steps.items() if step.status.value == "COMPLETED"}
    return Outcome(
        state.status.value, ran, outputs, {str(name): step.status.value for name, step in state.steps.items()}
    )


# -- the same


def translated(native: Outcome, *, is_chain: bool) -> tuple[str, dict[str, str]]:
    """Return what the application is to see of a native outcome: the status, and the steps it knows of."""
    seen = {"COMPLETED", "FAILED", *(["SKIPPED"] if is_chain else [])}
    steps = {name: status for name, status in native.steps.items() if status in seen}
    is_whole = len(steps) == len(native.steps) and "FAILED" not in steps.values()
    status = "PARTIAL" if native.status == "COMPLETED" and not is_whole else native.status
    return status, steps


def both(graph: Graph, slots: int, *, is_chain: bool = False) -> tuple[Outcome, Outcome]:
    async def run() -> tuple[Outcome, Outcome]:
        facade = await through_facade(graph, slots, is_chain=is_chain)
        return facade, await through_treadle(graph, slots, is_chain=is_chain)

    facade, native = asyncio.run(run())
    event(facade.status)
    return facade, native


def without(graph: Graph, change: Callable[[Node], Node]) -> Graph:
    return Graph([change(node) for node in graph.nodes], graph.connections)


@generated
@given(graphs())
def test_with_one_slot_a_graph_runs_the_very_same_sequence(graph: Graph) -> None:
    graph = without(graph, lambda node: node._replace(asks=False))
    facade, native = both(graph, 1)
    assert (facade.status, facade.steps) == translated(native, is_chain=False)
    assert (facade.ran, facade.outputs) == (native.ran, native.outputs)


@generated
@given(graphs())
def test_with_many_slots_a_graph_runs_the_same_steps_in_a_legal_order(graph: Graph) -> None:
    graph = without(graph, lambda node: node._replace(passed_over=True))
    facade, native = both(graph, MANY)
    assert (facade.status, facade.steps) == translated(native, is_chain=False)
    assert (sorted(facade.ran), facade.outputs) == (sorted(native.ran), native.outputs)
    for ran in (facade.ran, native.ran):
        assert len(ran) == len(set(ran))
        for source, target, _ in graph.connections:
            assert target not in ran or ran.index(source) < ran.index(target)


@generated
@given(chains())
def test_a_chain_runs_the_very_same_sequence(graph: Graph) -> None:
    facade, native = both(graph, MANY, is_chain=True)
    assert (facade.status, facade.steps) == translated(native, is_chain=True)
    assert (facade.ran, facade.outputs) == (native.ran, native.outputs)
