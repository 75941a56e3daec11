"""Workflows that run other workflows: failures and questions come up, and what is asked of the parent goes down."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from treadle import ExecutionStatus, Settings, ValidationError, WorkflowEngine

if TYPE_CHECKING:
    from pathlib import Path

DOUBLE = """
id: double
input_schema: {type: object, properties: {n: {type: integer}}}
nodes: [{id: d, action: double, parameters: {n: "${input.n}"}}]
"""
OUTER = """
id: outer
nodes:
  - {id: c, type: workflow, config: {workflow: double, input: {n: "${input.n}"}}}
  - {id: z, action: double, parameters: {n: "${c}"}}
connections: [{source: c, target: z}]
"""
EACH = {"id": "each", "nodes": [{"id": "m", "type": "map", "items": "${input.ns}", "workflow": "double"}]}
HELD = {"id": "held", "nodes": [{"id": "h", "action": "hold", "retry": {"max_attempts": 1}}]}


def calls(workflow: str, name: str = "outer", **config: Any) -> dict[str, Any]:
    return {"id": name, "nodes": [{"id": "c", "type": "workflow", "workflow": workflow, **config}]}


class Work:
    """Actions, and who of them is at work."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.held = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.doubled: list[int] = []

    async def double(self, n: int) -> int:
        self.doubled.append(n)
        return n * 2

    async def fail(self) -> None:
        raise ValueError("no")

    async def hold(self) -> str:
        self.held.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return "held"

    @property
    def actions(self) -> list[object]:
        return [{"double": self.double, "hold": self.hold, "fail": self.fail}]


@pytest.fixture
def work() -> Work:
    return Work()


def engine_of(work: Work, *workflows: Any, store: Any = ":memory:", **more: Any) -> WorkflowEngine:
    return WorkflowEngine(store=store, actions=work.actions, workflows=workflows, **more)


async def happened(engine: WorkflowEngine, execution_id: str, kind: str) -> None:
    """Wait until something has happened to an execution that may not exist yet."""
    async for event in engine.watch(after=0):
        if (event.execution_id, event.kind) == (execution_id, kind):
            return


async def test_a_step_runs_another_workflow_and_gives_what_it_gives(work: Work) -> None:
    async with asyncio.timeout(20), engine_of(work, DOUBLE) as engine:
        state = await engine.run_workflow(OUTER, {"n": 5}, execution_id="x", tags={"team": "a"})
        child = await engine.get_execution_state("x/c")
    assert (state.status, state.output, state.steps["c"].output) == (ExecutionStatus.COMPLETED, 20, 10)
    assert (child.parent, child.output, child.tags, child.workflow_id) == ("x", 10, {"team": "a"}, "double")


async def test_a_map_runs_a_workflow_for_each_item_which_is_its_input(work: Work) -> None:
    async with asyncio.timeout(20), engine_of(work, DOUBLE) as engine:
        state = await engine.run_workflow(EACH, {"ns": [{"n": number} for number in range(20)]}, execution_id="x")
        names = {row.execution_id for row in (await engine.list_executions(limit=100))[0]}
    assert state.output == [number * 2 for number in range(20)]
    assert names == {"x", *(f"x/m[{number}].double" for number in range(20))}


async def test_a_step_that_does_not_wait_starts_the_other_and_goes_on(work: Work) -> None:
    async with asyncio.timeout(20), engine_of(work, HELD) as engine:
        state = await engine.run_workflow(calls("held", wait_for=False), execution_id="x")
        assert (state.output, (await engine.get_execution_state("x/c")).status.value) == (
            {"execution_id": "x/c"},
            "RUNNING",
        )
        work.release.set()
        assert (await engine.wait("x/c")).output == "held"


async def test_a_failure_comes_up_with_its_place(work: Work) -> None:
    fails = {"id": "fails", "nodes": [{"id": "f", "action": "fail", "retry": {"max_attempts": 1}}]}
    async with asyncio.timeout(20), engine_of(work, fails) as engine:
        state = await engine.run_workflow(calls("fails"), execution_id="x")
        error = state.error
        assert error is not None
        assert (state.status.value, error.type, error.message, error.step) == ("FAILED", "ValueError", "no", "c")
        assert (error.details["execution_id"], error.details["step"]) == ("x/c", "f")
        tolerant = {"id": "t", "nodes": [{"id": "m", "type": "map", "items": [1], "workflow": "fails", "input": {}}]}
        tolerant["nodes"][0]["tolerate"] = 1  # type: ignore[index]
        assert (await engine.run_workflow(tolerant)).output == [None]


async def test_an_input_that_the_other_refuses_fails_the_step(work: Work) -> None:
    async with asyncio.timeout(20), engine_of(work, DOUBLE) as engine:
        state = await engine.run_workflow(OUTER, {"n": "x"}, execution_id="x")
    assert state.error is not None
    assert state.error.message == 'execution \'x/c\': input.n: "x" is not of type "integer"'
    assert work.doubled == []


async def test_an_id_that_is_taken_by_a_stranger_fails_the_step_and_leaves_the_stranger_alone(work: Work) -> None:
    async with asyncio.timeout(20), engine_of(work, DOUBLE) as engine:
        await engine.run_workflow(DOUBLE, {"n": 1}, execution_id="x/c")
        state = await engine.run_workflow(OUTER, {"n": 1}, execution_id="x")
        assert state.error is not None
        assert state.error.type == "ConflictError"
        assert "exists with another parent" in state.error.message
        assert (await engine.get_execution_state("x/c")).output == 2


async def test_a_workflow_that_calls_itself_for_ever_is_a_failure(work: Work) -> None:
    endless = calls("endless", "endless")
    async with asyncio.timeout(20), engine_of(work, endless, settings=Settings(max_depth=4)) as engine:
        state = await engine.run_workflow(endless, execution_id="x")
        assert state.error is not None
        assert "more than 4 deep; does it call itself?" in state.error.message
        assert len((await engine.list_executions())[0]) == 5


async def test_recursion_ends_where_it_should(work: Work) -> None:
    down = """
id: down
nodes:
  - {id: next, type: workflow, config: {workflow: down, input: {n: "${input.n - 1}"}, condition: "input.n > 0"}}
output: "${steps.next.status == 'COMPLETED' ? next + 1 : 0}"
"""
    async with asyncio.timeout(20), engine_of(work, down) as engine:
        assert (await engine.run_workflow(down, {"n": 7})).output == 7


async def test_a_workflow_that_nobody_registered_is_told_at_the_start(work: Work) -> None:
    async with asyncio.timeout(20), engine_of(work, DOUBLE) as engine:
        with pytest.raises(ValidationError, match='did you mean "double"') as caught:
            await engine.start_workflow({**EACH, "nodes": [{**EACH["nodes"][0], "workflow": "duoble"}]}, {"ns": []})  # type: ignore[dict-item]
        assert [(one.code, one.path) for one in caught.value.problems] == [("unknown_workflow", "m")]
        with pytest.raises(ValidationError, match="register it, or give it to the engine"):
            await engine.start_workflow(calls("nothing like it"))
        assert (await engine.list_executions())[0] == []


async def test_a_step_waits_for_a_workflow_that_nobody_registered_here_yet(work: Work) -> None:
    """As where an execution was moved to another file."""
    asks = {**calls("double", input={"n": "${ask}"})}
    asks = {**asks, "nodes": [{"id": "ask", "type": "input"}, *asks["nodes"]]}
    asks = {**asks, "connections": [{"source": "ask", "target": "c"}]}
    async with asyncio.timeout(20):
        async with engine_of(work, DOUBLE) as engine:
            await engine.start_workflow(asks, execution_id="x")
            await happened(engine, "x", "InputAsked")
            document = await engine.export_execution("x")
        async with engine_of(work) as engine:
            await engine.import_execution(document)
            await engine.submit_input("x", "ask", 2)
            while "double" not in engine.health.unregistered_workflows:  # noqa: ASYNC110 - as health is elsewhere
                await asyncio.sleep(0)
            await engine.register_workflow(DOUBLE)
            assert (await engine.wait("x")).output == 4
            assert engine.health.unregistered_workflows == ()


async def test_missing_inputs_come_up_and_what_is_given_goes_down(work: Work) -> None:
    async with asyncio.timeout(20), engine_of(work, DOUBLE) as engine:
        state = await engine.run_workflow(calls("double", input={}), execution_id="x")
        assert (state.status.value, state.waiting_for) == ("PAUSED", ("input.n",))
        assert await engine.resume_workflow("x", {"n": 4})
        assert (await engine.wait("x")).output == 8


async def test_a_child_that_is_resumed_by_itself_takes_its_parent_along(work: Work) -> None:
    async with asyncio.timeout(20), engine_of(work, DOUBLE) as engine:
        assert (await engine.run_workflow(calls("double", input={}), execution_id="x")).status.value == "PAUSED"
        assert await engine.resume_workflow("x/c", {"n": 4})
        assert (await engine.wait("x", until="ended")).output == 8


async def test_inputs_that_the_child_refuses_leave_both_asking(work: Work) -> None:
    async with asyncio.timeout(20), engine_of(work, DOUBLE) as engine:
        assert (await engine.run_workflow(calls("double", input={}), execution_id="x")).status.value == "PAUSED"
        assert await engine.resume_workflow("x", {"n": "many"})
        state = await engine.wait("x")
        assert (state.status.value, state.waiting_for) == ("PAUSED", ("input.n",))
        assert await engine.resume_workflow("x", {"n": 1})
        assert (await engine.wait("x")).output == 2


async def test_pausing_and_resuming_go_down(work: Work) -> None:
    chain = {
        "id": "chain",
        "nodes": [{"id": "h", "action": "hold"}, {"id": "d", "action": "double", "parameters": {"n": 1}}],
        "connections": [{"source": "h", "target": "d"}],
    }
    async with asyncio.timeout(20), engine_of(work, chain) as engine:
        await engine.start_workflow(calls("chain"), execution_id="x")
        await work.held.wait()
        assert await engine.pause_execution("x")
        await happened(engine, "x/c", "ExecutionPaused")
        work.release.set()
        assert (await engine.wait("x/c")).steps["d"].status.value == "WAITING"
        assert work.doubled == []
        assert (await engine.get_execution_state("x")).status.value == "PAUSED"
        assert await engine.resume_workflow("x")
        assert (await engine.wait("x", until="ended")).output == 2


@pytest.mark.parametrize("verb", ["cancel_execution", "terminate_execution"])
async def test_cancelling_goes_down(work: Work, verb: str) -> None:
    async with asyncio.timeout(20), engine_of(work, HELD) as engine:
        await engine.start_workflow(calls("held"), execution_id="x")
        await work.held.wait()
        assert await getattr(engine, verb)("x", "enough")
        assert (await engine.wait("x", until="ended")).status.value == "CANCELLED"
        assert (await engine.wait("x/c", until="ended")).status.value == "CANCELLED"
        await work.cancelled.wait()


async def test_a_child_that_was_cancelled_fails_the_step_that_waits_for_it(work: Work) -> None:
    async with asyncio.timeout(20), engine_of(work, HELD) as engine:
        await engine.start_workflow(calls("held"), execution_id="x")
        await work.held.wait()
        await engine.cancel_execution("x/c", "by hand")
        state = await engine.wait("x")
    assert state.error is not None
    assert (state.status.value, state.error.type, state.error.message) == ("FAILED", "Cancelled", "by hand")


async def test_a_timeout_of_the_step_cancels_the_child(work: Work) -> None:
    async with asyncio.timeout(20), engine_of(work, HELD) as engine:
        state = await engine.run_workflow(calls("held", timeout="30ms"), execution_id="x")
        assert (state.status.value, state.steps["c"].status.value) == ("FAILED", "TIMED_OUT")
        assert (await engine.wait("x/c", until="ended")).status.value == "CANCELLED"


async def test_a_race_of_workflows_cancels_the_losers(work: Work) -> None:
    race = {
        "id": "race",
        "nodes": [
            {
                "id": "p",
                "type": "parallel",
                "race": True,
                "body": {
                    "nodes": [
                        {"id": "slow", "type": "workflow", "workflow": "held"},
                        {"id": "fast", "type": "workflow", "workflow": "double", "input": {"n": 1}},
                    ]
                },
            }
        ],
    }
    async with asyncio.timeout(20), engine_of(work, HELD, DOUBLE) as engine:
        assert (await engine.run_workflow(race, execution_id="x")).output == 2
        assert (await engine.wait("x/p.slow", until="ended")).status.value == "CANCELLED"


@pytest.mark.parametrize("idle", [0, 1_000])
async def test_parents_and_children_go_on_in_another_process(tmp_path: Path, work: Work, idle: int) -> None:
    """Also where each leaves memory as soon as it waits."""
    asks = {"id": "asks", "nodes": [{"id": "ask", "type": "input"}]}
    settings = Settings(idle_executions=idle)
    path = tmp_path / "log.db"
    async with asyncio.timeout(30):
        async with engine_of(work, asks, store=path, settings=settings) as engine:
            for number in range(5):
                await engine.start_workflow(calls("asks"), execution_id=f"x{number}")
            for number in range(5):
                await happened(engine, f"x{number}/c", "InputAsked")
        async with engine_of(work, store=path, settings=settings) as engine:
            for number in range(5):
                assert await engine.submit_input(f"x{number}/c", "ask", number)
            outputs = [(await engine.wait(f"x{number}", until="ended")).output for number in range(5)]
    assert outputs == list(range(5))


async def test_running_executions_keep_the_version_their_children_began_with(tmp_path: Path, work: Work) -> None:
    newer = DOUBLE.replace('"${input.n}"', "100")
    path = tmp_path / "log.db"
    async with asyncio.timeout(20):
        async with engine_of(work, HELD, store=path, grace=0) as engine:
            await engine.start_workflow(calls("held"), execution_id="x")
            await work.held.wait()
        other = {"id": "held", "nodes": [{"id": "other", "type": "set", "values": 1}]}
        work.release.set()
        async with engine_of(work, other, newer, store=path) as engine:
            assert (await engine.wait("x")).output == "held"
            assert (await engine.run_workflow(calls("held"))).output == 1
