"""Forks: a new execution from any step of another keeps what does not follow that step."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from treadle import Client, ConflictError, NotFoundError, StepContext, ValidationError, WorkflowEngine

if TYPE_CHECKING:
    from pathlib import Path

WORKFLOW = """
id: w
input_schema: {type: object, properties: {n: {type: integer}}}
nodes:
  - {id: a, action: work, parameters: {n: "${input.n}"}}
  - id: m
    type: map
    items: [1, 2, 3]
    body:
      nodes:
        - {id: x, action: work, parameters: {n: "${item}"}}
        - {id: y, action: work, parameters: {n: "${x}"}}
      connections: [{source: x, target: y}]
  - id: l
    type: loop
    until: "index == 2"
    body: {nodes: [{id: i, action: work, parameters: {n: "${index}"}}]}
  - {id: z, action: work, parameters: {n: "${l + a}"}}
  - {id: beside, action: work}
connections: [{source: a, target: m}, {source: m, target: l}, {source: l, target: z}]
output: {m: "${m}", z: "${z}"}
"""
X = ["m[0].x", "m[1].x", "m[2].x"]
Y = ["m[0].y", "m[1].y", "m[2].y"]
L = ["l[0].i", "l[1].i", "l[2].i"]


class Work:
    def __init__(self) -> None:
        self.calls: list[str] = []
        self.broken: set[str] = set()

    async def work(self, n: int = 0, *, context: StepContext) -> int:
        self.calls.append(context.step)
        if context.step in self.broken:
            raise ValueError("broken")
        return n + 1

    @property
    def actions(self) -> list[object]:
        return [{"work": self.work}]


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.mark.parametrize(
    ("step", "runs"),
    [
        ("z", ["z"]),
        ("l", [*L, "z"]),
        ("l[1].i", [*L[1:], "z"]),
        ("m", [*X, *Y, *L, "z"]),
        ("m[1].y", ["m[1].y", *L, "z"]),
        ("m[1].x", ["m[1].x", "m[1].y", *L, "z"]),
        ("a", ["a", *X, *Y, *L, "z"]),
        ("beside", ["beside"]),
    ],
)
async def test_what_does_not_follow_the_step_is_kept(work: Work, step: str, runs: list[str]) -> None:
    async with asyncio.timeout(20), WorkflowEngine(store=":memory:", actions=work.actions) as engine:
        first = await engine.run_workflow(WORKFLOW, {"n": 1}, execution_id="x", tags={"t": "1"})
        work.calls.clear()
        state = await engine.wait(await engine.fork_execution("x", step, fork_id="y"))
        assert (await engine.get_execution_state("x")) == first
        created = (await engine.history("y"))[0]
    assert sorted(work.calls) == sorted(runs)
    assert (state.output, state.forked_from, state.tags) == (first.output, "x", {"t": "1"})
    assert created.data["forked_step"] == step


async def test_a_fork_of_a_fork_keeps_what_both_kept(work: Work) -> None:
    async with asyncio.timeout(20), WorkflowEngine(store=":memory:", actions=work.actions) as engine:
        first = await engine.run_workflow(WORKFLOW, {"n": 1}, execution_id="x")
        second = await engine.fork_execution("x", "m[1].y")
        await engine.wait(second)
        work.calls.clear()
        assert (await engine.wait(await engine.fork_execution(second, "z"))).output == first.output
    assert work.calls == ["z"]


async def test_other_inputs_count_for_what_runs(work: Work) -> None:
    async with asyncio.timeout(20), WorkflowEngine(store=":memory:", actions=work.actions) as engine:
        await engine.run_workflow(WORKFLOW, {"n": 1}, execution_id="x")
        state = await engine.wait(await engine.fork_execution("x", "a", {"n": 100}))
        assert state.output["z"] == 105
        with pytest.raises(ValidationError, match='input.n: "x" is not of type "integer"'):
            await engine.fork_execution("x", "a", {"n": "x"})


async def test_a_fork_may_run_a_mended_definition(work: Work) -> None:
    work.broken = {"z"}
    once = WORKFLOW.replace('n: "${l + a}"}', 'n: "${l + a}"}, retry: {max_attempts: 1}')
    mended = (
        once.replace("${l + a}", "${l + a + 1000}").replace("{id: z,", "{id: zz,").replace("target: z", "target: zz")
    )
    mended = mended.replace('z: "${z}"', 'z: "${zz}"')
    async with asyncio.timeout(20), WorkflowEngine(store=":memory:", actions=work.actions) as engine:
        assert (await engine.run_workflow(once, {"n": 1}, execution_id="x")).status.value == "FAILED"
        work.calls.clear()
        fork = await engine.fork_execution("x", "zz", workflow=mended)
        state = await engine.wait(fork)
        with pytest.raises(ValidationError, match="unknown"):
            await engine.fork_execution("x", "zz", workflow=mended.replace("action: work", "acton: work"))
    assert (state.status.value, state.output["z"], work.calls) == ("COMPLETED", 1006, ["zz"])


async def test_a_failure_that_nobody_handled_runs_again_and_a_handled_one_is_kept(work: Work) -> None:
    work.broken = {"bad", "worse"}
    once = {"max_attempts": 1}
    nodes: list[dict[str, Any]] = [
        {"id": "bad", "action": "work", "retry": once},
        {"id": "worse", "action": "work", "retry": once, "continue_on_error": True},
        {"id": "last", "action": "work"},
    ]
    joined = [{"source": "worse", "target": "last"}]
    async with asyncio.timeout(20), WorkflowEngine(1, ":memory:", work.actions) as engine:
        workflow = {"id": "w", "nodes": [*nodes[1:], nodes[0]], "connections": joined}
        assert (await engine.run_workflow(workflow, execution_id="x")).status.value == "FAILED"
        work.calls.clear()
        work.broken = set()
        state = await engine.wait(await engine.fork_execution("x", "last"))
    assert (state.status.value, state.steps["worse"].status.value) == ("COMPLETED", "FAILED")
    assert sorted(work.calls) == ["bad", "last"]


async def test_what_cannot_be_forked_says_so_and_makes_nothing(work: Work) -> None:
    async with asyncio.timeout(20), WorkflowEngine(store=":memory:", actions=work.actions) as engine:
        await engine.run_workflow(WORKFLOW, {"n": 1}, execution_id="x")
        with pytest.raises(NotFoundError, match="no execution named 'nobody'"):
            await engine.fork_execution("nobody", "a")
        for step in ("nobody", "m[1].nobody", "a[0].x", "m.", ""):
            with pytest.raises(NotFoundError, match="no step named"):
                await engine.fork_execution("x", step)
        with pytest.raises(ConflictError, match="choose another id"):
            await engine.fork_execution("x", "a", {"n": 2}, fork_id="x")
        assert len((await engine.list_executions())[0]) == 1


async def test_a_fork_goes_on_after_a_restart_and_can_be_asked_for_from_another_process(
    tmp_path: Path, work: Work
) -> None:
    path = tmp_path / "log.db"
    async with asyncio.timeout(30):
        async with WorkflowEngine(store=path, actions=work.actions) as engine, Client(path) as client:
            first = await engine.run_workflow(WORKFLOW, {"n": 1}, execution_id="x")
            fork = await client.fork_execution("x", "z")
            assert (await engine.wait(fork)).output == first.output
            with pytest.raises(NotFoundError, match="no step named 'nobody'"):
                await client.fork_execution("x", "nobody")
            await client.fork_execution("x", "a", {"n": 5}, workflow=WORKFLOW.replace("[1, 2, 3]", "[1]"), fork_id="y")
            assert (await engine.wait("y")).output == {"m": [3], "z": 10}
        work.calls.clear()
        async with WorkflowEngine(store=path, actions=work.actions) as engine:
            assert (await engine.get_execution_state("y")).output == {"m": [3], "z": 10}
            assert (await engine.wait(await engine.fork_execution(fork, "z"))).output == first.output
    assert work.calls == ["z"]


def undone_by(step: str) -> dict[str, Any]:
    """Return what undoes a step of that id."""
    return {"action": "undo", "parameters": {"gave": f"${{{step}}}"}, "retry": {"max_attempts": 1}}


class Saga(Work):
    """Undoes what it did, unless that is broken."""

    def __init__(self) -> None:
        super().__init__()
        self.held = asyncio.Event()
        self.undoing = asyncio.Event()
        self.held.set()

    async def undo(self, gave: int, *, context: StepContext) -> None:
        self.undoing.set()
        await self.held.wait()
        self.calls.append(f"undo {context.step}")
        if f"undo {context.step}" in self.broken:
            raise ValueError(f"{gave} stays")

    @property
    def actions(self) -> list[object]:
        return [{"work": self.work, "undo": self.undo}]


def chain(*ids: str) -> dict[str, Any]:
    """Return a chain of steps of which all but the last are undone."""
    return {"id": "chain", **body(*ids)}


def followed_by_z(group: dict[str, Any]) -> dict[str, Any]:
    nodes = [{"id": "m", **group}, {"id": "z", "action": "work", "retry": {"max_attempts": 1}}]
    return {"id": "w", "nodes": nodes, "connections": [{"source": "m", "target": "z"}]}


def body(*ids: str) -> dict[str, Any]:
    once: dict[str, Any] = {"action": "work", "retry": {"max_attempts": 1}}
    nodes = [{"id": one, **once, "compensate": undone_by(one)} for one in ids[:-1]] + [{"id": ids[-1], **once}]
    pairs = itertools.pairwise(ids)
    return {"nodes": nodes, "connections": [{"source": a, "target": b} for a, b in pairs]}


async def test_a_fork_undoes_only_what_it_ran_itself() -> None:
    saga = Saga()
    async with asyncio.timeout(20), WorkflowEngine(store=":memory:", actions=saga.actions) as engine:
        assert (await engine.run_workflow(chain("a", "b", "c", "d"), execution_id="x")).status.value == "COMPLETED"
        saga.calls.clear()
        saga.broken = {"d"}
        state = await engine.wait(await engine.fork_execution("x", "c"))
    assert (state.status.value, list(state.compensations)) == ("FAILED", ["c"])
    assert saga.calls == ["c", "d", "undo c"]


@pytest.mark.parametrize("kind", ["map", "loop"])
async def test_within_bodies_too_a_fork_undoes_only_what_it_ran_itself(kind: str) -> None:
    saga = Saga()
    how = {"items": [1, 2, 3], "max_concurrency": 1} if kind == "map" else {"while": "index < 3"}
    workflow = followed_by_z({"type": kind, "body": body("a", "b", "c"), **how})
    async with asyncio.timeout(20), WorkflowEngine(store=":memory:", actions=saga.actions) as engine:
        assert (await engine.run_workflow(workflow, execution_id="x")).status.value == "COMPLETED"
        saga.broken = {"z"}
        state = await engine.wait(await engine.fork_execution("x", "m[1].b"))
    later = ["m[2].b", "m[2].a"] if kind == "loop" else []
    assert (state.status.value, list(state.compensations)) == ("FAILED", [*later, "m[1].b"])


async def test_a_fork_does_not_keep_what_was_undone_nor_what_follows_that() -> None:
    saga = Saga()
    saga.broken = {"d", "undo a"}
    workflow = chain("a", "b", "c", "d")
    del workflow["nodes"][2]["compensate"]
    async with asyncio.timeout(20), WorkflowEngine(store=":memory:", actions=saga.actions) as engine:
        state = await engine.run_workflow(workflow, execution_id="x")
        assert (state.status.value, state.compensation_failures) == ("FAILED", ("a",))
        saga.broken.clear()
        saga.calls.clear()
        state = await engine.wait(await engine.fork_execution("x", "d"))
        assert (state.status.value, saga.calls) == ("COMPLETED", ["b", "c", "d"])  # a could not be undone
        assert await engine.retry_execution("x")
        await engine.wait("x")
        saga.calls.clear()
        state = await engine.wait(await engine.fork_execution("x", "d"))
    assert (state.status.value, saga.calls) == ("COMPLETED", ["d"])


async def test_a_fork_keeps_nothing_that_is_about_to_be_undone_and_what_was_left_as_it_is() -> None:
    saga = Saga()
    saga.broken = {"c"}
    saga.held.clear()
    async with asyncio.timeout(20), WorkflowEngine(store=":memory:", actions=saga.actions) as engine:
        await engine.start_workflow(chain("a", "b", "c"), execution_id="x")
        await saga.undoing.wait()
        saga.broken.clear()
        await engine.wait(await engine.fork_execution("x", "c"))
        assert saga.calls == ["a", "b", "c", "a", "b", "c"]
        await engine.terminate_execution("x")
        saga.held.set()
        saga.calls.clear()
        await engine.wait(await engine.fork_execution("x", "c"))
    assert [call for call in saga.calls if call != "undo b"] == ["c"]


async def test_a_fork_of_what_runs_anew_keeps_nothing_from_before_what_was_undone() -> None:
    saga = Saga()
    saga.broken = {"d"}
    workflow = chain("a", "b", "c", "d")
    for node in workflow["nodes"][1:3]:
        del node["compensate"]
    async with asyncio.timeout(20), WorkflowEngine(store=":memory:", actions=saga.actions) as engine:
        await engine.run_workflow(workflow, execution_id="x")
        saga.broken = {"b"}
        assert await engine.retry_execution("x")
        await engine.wait("x")
        saga.broken.clear()
        saga.calls.clear()
        state = await engine.wait(await engine.fork_execution("x", "d"))
    assert (state.status.value, saga.calls) == ("COMPLETED", ["a", "b", "c", "d"])


async def test_what_was_undone_in_one_item_is_run_by_a_fork_and_the_other_items_are_kept() -> None:
    saga = Saga()
    saga.broken = {"z", "undo m[0].a"}
    workflow = followed_by_z({"type": "map", "items": [1, 2], "max_concurrency": 1, "body": body("a", "b")})
    async with asyncio.timeout(20), WorkflowEngine(store=":memory:", actions=saga.actions) as engine:
        await engine.run_workflow(workflow, execution_id="x")
        saga.broken.clear()
        saga.calls.clear()
        state = await engine.wait(await engine.fork_execution("x", "z"))
    assert (state.status.value, saga.calls) == ("COMPLETED", ["m[1].a", "m[1].b", "z"])


async def test_a_mended_definition_without_the_step_that_was_undone_keeps_what_has_nothing_to_do_with_it() -> None:
    saga = Saga()
    saga.broken = {"c"}
    workflow = chain("a", "b", "c")
    workflow["nodes"].append({"id": "beside", "action": "work"})
    async with asyncio.timeout(20), WorkflowEngine(1, ":memory:", saga.actions) as engine:
        await engine.run_workflow({**workflow, "nodes": workflow["nodes"][::-1]}, execution_id="x")
        saga.broken.clear()
        saga.calls.clear()
        mended = {**workflow, "nodes": workflow["nodes"][1:], "connections": workflow["connections"][1:]}
        state = await engine.wait(await engine.fork_execution("x", "c", workflow=mended))
    assert (state.status.value, saga.calls) == ("COMPLETED", ["b", "c"])
