"""Retrying what failed and cancelling one step: in whole engines, after a restart, and from another process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from treadle import Client, ConflictError, NotFoundError, StepContext, WorkflowEngine

if TYPE_CHECKING:
    from pathlib import Path

ONCE = {"max_attempts": 1}
CHAIN: dict[str, Any] = {
    "id": "chain",
    "nodes": [
        {"id": "a", "action": "work"},
        {"id": "b", "action": "fragile", "retry": ONCE},
        {"id": "c", "action": "work"},
    ],
    "connections": [{"source": "a", "target": "b"}, {"source": "b", "target": "c"}],
}


class Work:
    def __init__(self) -> None:
        self.calls: list[str] = []
        self.keys: list[str] = []
        self.is_broken = True
        self.held = asyncio.Event()

    async def work(self, *, context: StepContext) -> str:
        self.calls.append(context.step)
        return context.step

    async def fragile(self, *, context: StepContext) -> str:
        self.calls.append(context.step)
        self.keys.append(context.idempotency_key)
        if self.is_broken:
            raise ValueError("broken")
        return "mended"

    async def hold(self) -> None:
        self.held.set()
        await asyncio.Event().wait()

    @property
    def actions(self) -> list[object]:
        return [{"work": self.work, "fragile": self.fragile, "hold": self.hold}]


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.mark.parametrize("new_key", [False, True])
async def test_a_failed_execution_goes_on_where_it_failed_also_in_another_process(
    tmp_path: Path, work: Work, *, new_key: bool
) -> None:
    path = tmp_path / "log.db"
    async with asyncio.timeout(20):
        async with WorkflowEngine(store=path, actions=work.actions) as engine:
            assert (await engine.run_workflow(CHAIN, execution_id="x")).status.value == "FAILED"
        work.is_broken = False
        async with WorkflowEngine(store=path, actions=work.actions) as engine:
            assert await engine.retry_execution("x", new_key=new_key)
            state = await engine.wait("x")
            assert not await engine.retry_execution("x")
    assert (state.status.value, state.output, state.error) == ("COMPLETED", "c", None)
    assert work.calls == ["a", "b", "b", "c"]
    assert work.keys == ["x/b", "x/b#1" if new_key else "x/b"]


async def test_of_two_retries_at_once_one_counts(work: Work) -> None:
    async with asyncio.timeout(20), WorkflowEngine(store=":memory:", actions=work.actions) as engine:
        await engine.run_workflow(CHAIN, execution_id="x")
        answers = await asyncio.gather(*(engine.retry_execution("x") for _ in range(5)))
        assert sorted(answers) == [False] * 4 + [True]
        assert (await engine.wait("x")).status.value == "FAILED"
        kinds = [event.kind for event in await engine.history("x")]
    assert (work.calls, kinds.count("ExecutionRetried")) == (["a", "b", "b"], 1)


async def test_what_cannot_be_retried_says_so(work: Work) -> None:
    async with asyncio.timeout(20), WorkflowEngine(store=":memory:", actions=work.actions) as engine:
        with pytest.raises(NotFoundError, match="no execution named 'nobody'"):
            await engine.retry_execution("nobody")
        await engine.start_workflow({"id": "h", "nodes": [{"id": "h", "action": "hold"}]}, execution_id="x")
        assert not await engine.retry_execution("x")
        await engine.terminate_execution("x")
        assert not await engine.retry_execution("x")


async def test_a_retry_does_not_push_another_execution_off_its_key(work: Work) -> None:
    async with asyncio.timeout(20), WorkflowEngine(store=":memory:", actions=work.actions) as engine:
        first = await engine.run_workflow(CHAIN, execution_id="x", key="k")
        assert first.status.value == "FAILED"
        held = {**CHAIN, "nodes": [{"id": "a", "action": "hold"}], "connections": []}
        await engine.start_workflow(held, execution_id="y", key="k")
        await engine.start_workflow(held, execution_id="z", key="k", on_conflict="queue")
        assert not await engine.retry_execution("z")  # it has not failed, whoever has its key
        await engine.terminate_execution("z")
        with pytest.raises(ConflictError, match="execution 'y' has the key 'k' now; it has to end first"):
            await engine.retry_execution("x")
        await engine.terminate_execution("y")
        work.is_broken = False
        assert await engine.retry_execution("x")
        assert (await engine.wait("x")).status.value == "COMPLETED"


async def test_children_are_retried_with_their_parents(work: Work) -> None:
    parent = {"id": "p", "nodes": [{"id": "m", "type": "map", "items": [1, 2], "workflow": "chain", "input": {}}]}
    async with asyncio.timeout(20), WorkflowEngine(1, ":memory:", work.actions, workflows=[CHAIN]) as engine:
        state = await engine.run_workflow(parent, execution_id="x")
        assert (state.status.value, state.error.message if state.error else "") == ("FAILED", "broken")
        work.is_broken = False
        assert await engine.retry_execution("x")
        assert (await engine.wait("x", until="ended")).output == ["c", "c"]
        history = [event.kind for event in await engine.history("x/m[0].chain")]
    assert history.count("ExecutionCreated") == 1
    assert work.calls.count("a") == 2


async def test_a_step_is_cancelled_and_the_rest_goes_on(work: Work) -> None:
    beside = {"id": "w", "nodes": [{"id": "h", "action": "hold"}, {"id": "a", "action": "work"}]}
    async with asyncio.timeout(20), WorkflowEngine(store=":memory:", actions=work.actions) as engine:
        await engine.start_workflow(beside, execution_id="x")
        await work.held.wait()
        with pytest.raises(NotFoundError, match="no step named 'z'"):
            await engine.cancel_step("x", "z")
        assert await engine.cancel_step("x", "h")
        assert not await engine.cancel_step("x", "h")
        state = await engine.wait("x")
    assert (state.status.value, state.steps["h"].status.value) == ("COMPLETED", "CANCELLED")


async def test_both_are_asked_for_from_another_process(tmp_path: Path, work: Work) -> None:
    path = tmp_path / "log.db"
    beside = {"id": "w", "nodes": [{"id": "h", "action": "hold"}]}
    async with asyncio.timeout(20), WorkflowEngine(store=path, actions=work.actions) as engine, Client(path) as client:
        await engine.run_workflow(CHAIN, execution_id="x")
        work.is_broken = False
        assert await client.retry_execution("x", new_key=True)
        assert (await engine.wait("x")).status.value == "COMPLETED"
        assert not await client.retry_execution("x")
        with pytest.raises(NotFoundError):
            await client.retry_execution("nobody")
        await engine.start_workflow(beside, execution_id="y")
        await work.held.wait()
        with pytest.raises(NotFoundError, match="no step named 'z'"):
            await client.cancel_step("y", "z")
        assert await client.cancel_step("y", "h")
        assert (await engine.wait("y")).status.value == "COMPLETED"
    assert work.keys == ["x/b", "x/b#1"]
