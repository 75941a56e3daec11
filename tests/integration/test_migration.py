"""Running executions move on to another version of their workflow, durably, or say why they cannot."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from treadle import Client, ConflictError, NotFoundError, ValidationError, WorkflowEngine, WorkflowRef

if TYPE_CHECKING:
    from pathlib import Path

FIRST = """
id: w
nodes: [{id: ask, type: input}, {id: b, type: set, values: "first ${ask}"}]
connections: [{source: ask, target: b}]
"""
SECOND = FIRST.replace("first", "second")


async def asks(engine: WorkflowEngine) -> None:
    async for event in engine.watch("x"):
        if event.kind == "InputAsked":
            return


@pytest.mark.parametrize("given", ["document", "newest", "ref", "version"])
async def test_a_running_execution_goes_on_with_another_version_also_after_a_restart(
    tmp_path: Path, given: str
) -> None:
    path = tmp_path / "log.db"
    async with asyncio.timeout(20):
        async with WorkflowEngine(store=path) as engine:
            await engine.start_workflow(FIRST, execution_id="x")
            await engine.start_workflow(FIRST, execution_id="y")
            await asks(engine)
            if given == "document":
                moved = await engine.migrate_execution("x", SECOND)
            else:
                version = await engine.register_workflow(SECOND)
                workflow = {"newest": None, "ref": WorkflowRef("w"), "version": version}[given]
                moved = await engine.migrate_execution("x", workflow)
            assert moved
            assert not await engine.migrate_execution("x")
        async with WorkflowEngine(store=path) as engine:
            for name, output in (("x", "second 1"), ("y", "first 1")):
                assert await engine.submit_input(name, "ask", 1)
                assert (await engine.wait(name)).output == output


async def test_another_process_asks_for_it(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    async with asyncio.timeout(20), WorkflowEngine(store=path) as engine, Client(path) as client:
        await engine.start_workflow(FIRST, execution_id="x")
        await asks(engine)
        with pytest.raises(ValidationError, match="step 'ask' has begun as input"):
            await client.migrate_execution("x", FIRST.replace("type: input}", "type: wait, duration: 1h}"))
        assert await client.migrate_execution("x", SECOND)
        assert not await client.migrate_execution("x")
        await engine.submit_input("x", "ask", 1)
        assert (await engine.wait("x")).output == "second 1"
        with pytest.raises(ConflictError):
            await client.migrate_execution("x", FIRST)


async def test_what_is_not_safe_is_refused_with_its_reasons_and_changes_nothing() -> None:
    other = FIRST.replace("type: input}", "type: wait, duration: 1h}")
    async with asyncio.timeout(20), WorkflowEngine(store=":memory:") as engine:
        await engine.start_workflow(FIRST, execution_id="x")
        await asks(engine)
        before = await engine.get_execution_state("x")
        with pytest.raises(ValidationError, match="step 'ask' has begun as input, and is of type wait") as caught:
            await engine.migrate_execution("x", other)
        assert [(one.code, one.path) for one in caught.value.problems] == [("unsafe_migration", "ask")]
        schema = "id: w\ninput_schema: {type: object, required: [n]}"
        with pytest.raises(ValidationError, match='"n" is a required property'):
            await engine.migrate_execution("x", FIRST.replace("\nid: w", schema))
        with pytest.raises(NotFoundError, match="no execution named 'nobody'"):
            await engine.migrate_execution("nobody", SECOND)
        assert await engine.get_execution_state("x") == before
        await engine.submit_input("x", "ask", 1)
        await engine.wait("x")
        with pytest.raises(
            ConflictError, match="execution 'x' is COMPLETED; it cannot be migrated any more, but forked"
        ):
            await engine.migrate_execution("x", SECOND)


@pytest.mark.parametrize("by_client", [False, True])
async def test_a_definition_that_is_refused_is_not_registered_either(tmp_path: Path, *, by_client: bool) -> None:
    path = tmp_path / "log.db"
    async with asyncio.timeout(20), WorkflowEngine(store=path) as engine, Client(path) as client:
        await engine.start_workflow(WorkflowRef((await engine.register_workflow(FIRST)).workflow_id), execution_id="x")
        await asks(engine)
        verbs = client if by_client else engine
        with pytest.raises(ValidationError, match="step 'ask' has begun as input"):
            await verbs.migrate_execution("x", FIRST.replace("type: input}", "type: wait, duration: 1h}"))
        assert len(await engine.list_versions("w")) == 1
        assert await verbs.migrate_execution("x", SECOND)
        assert len(await engine.list_versions("w")) == 2


async def test_one_that_waits_for_its_time_is_migrated_and_one_that_is_cancelled_says_so(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    released = asyncio.Event()

    async def stubborn() -> None:
        while not released.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await released.wait()

    async with asyncio.timeout(20):
        async with WorkflowEngine(store=path) as engine:
            await engine.start_workflow(FIRST, execution_id="x", start_at="300ms")
            assert await engine.migrate_execution("x", "id: w\nnodes: [{id: z, type: set, values: 5}]")
        async with WorkflowEngine(store=path, actions=[{"stubborn": stubborn}]) as engine:
            assert (await engine.wait("x")).output == 5
            await engine.start_workflow("id: w\nnodes: [{id: s, action: stubborn}]", execution_id="y")
            async for event in engine.watch("y"):
                if event.kind == "StepStarted":
                    break
            await engine.cancel_execution("y")
            with pytest.raises(ConflictError, match="execution 'y' is about to be CANCELLED; it cannot be migrated"):
                await engine.migrate_execution("y", FIRST)
            released.set()


async def test_a_workflow_that_nobody_registered_is_named() -> None:
    async with asyncio.timeout(20), WorkflowEngine(store=":memory:") as engine:
        await engine.start_workflow(FIRST, execution_id="x")
        with pytest.raises(NotFoundError, match="no registered workflow named 'w'"):
            await engine.migrate_execution("x")
