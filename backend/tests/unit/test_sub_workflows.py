"""A workflow as a step of another: what it gives, what it waits for, and what it does not hold while it waits."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock, patch

import pytest

from core import workflow_engine
from core.execution_state_manager import ExecutionStateManager
from core.sub_workflows import MAX_FAILED_POLLS
from core.workflow_engine import WorkflowEngine

if TYPE_CHECKING:
    from pathlib import Path


class Clock:
    """Time that passes only when it is waited for."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0
        self.waits: list[float] = []

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.time += seconds
        await asyncio.sleep(0)


def step(name: str, service: str = "shop", /, **parameters: Any) -> dict[str, Any]:
    return {"id": name, "service": service, "action": "run", "parameters": parameters}


def workflow(name: str, *steps: dict[str, Any]) -> dict[str, Any]:
    return {"id": name, "steps": [{**one, "sequence_order": place} for place, one in enumerate(steps)]}


class Engine(WorkflowEngine):
    """An application's engine with a service ``shop``."""

    def __init__(self, limit: int = 5) -> None:
        self.clock = Clock()
        super().__init__(limit, state_manager=ExecutionStateManager(), clock=self.clock)
        self.ran: list[str] = []

    async def _execute_shop_action(self, action: str, params: dict[str, Any], connection_id: str | None) -> Any:
        self.ran.append(params["name"])
        if params.get("fails"):
            raise RuntimeError(params["fails"])
        return params

    async def run(self, parent: dict[str, Any], given: dict[str, Any] | None = None) -> dict[str, Any]:
        execution = await self.start_workflow(parent, given or {})
        while self._background_tasks:
            await asyncio.gather(*self._background_tasks)
        state = await self.state_manager.get_execution_state(execution)
        assert state is not None
        return state


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "workflows.json"
    monkeypatch.setattr(workflow_engine, "WORKFLOWS_FILE", path)
    known = [
        workflow("child", step("a", name="${input.name}"), step("b", name="b")),
        workflow("failing", step("a", name="a"), step("b", name="b", fails="no luck")),
        workflow("asking", step("a", name="${input.more}")),
        workflow("itself", step("again", "workflow", workflow_id="itself")),
        workflow("middle", step("inner", "workflow", workflow_id="child", input_data={"name": "deep"})),
    ]
    path.write_text(json.dumps(known), "utf-8")
    return path


async def test_a_child_runs_to_its_end_and_its_outputs_are_the_result(file: Path) -> None:
    engine = Engine()
    parent = workflow("w", step("sub", "workflow", workflow_id="child", input_data={"name": "${input.who}"}))
    state = await engine.run(parent, {"who": "ada"})
    assert (state["status"], engine.ran) == ("COMPLETED", ["ada", "b"])
    result = state["outputs"]["sub"]["result"]
    child = await engine.state_manager.get_execution_state(result["execution_id"])
    assert child is not None
    assert (child["workflow_id"], child["status"], child["input_data"]) == ("child", "COMPLETED", {"name": "ada"})
    assert result == {
        "action": "run",
        "workflow_id": "child",
        "execution_id": child["execution_id"],
        "status": "success",
        "result": child["outputs"],
    }


async def test_one_slot_is_enough_for_workflows_within_workflows(file: Path) -> None:
    engine = Engine(1)
    state = await engine.run(workflow("w", step("sub", "workflow", workflow_id="middle"), step("c", name="c")))
    assert (state["status"], engine.ran) == ("COMPLETED", ["deep", "b", "c"])
    assert engine.semaphore._value == 1


async def test_a_child_that_fails_fails_the_step_and_is_not_run_again(file: Path) -> None:
    engine = Engine()
    state = await engine.run(workflow("w", step("sub", "workflow", workflow_id="failing")))
    assert state["status"] == "FAILED"
    assert "no luck" in state["error"]
    assert engine.ran == ["a", "b", "b", "b", "b"]  # each step of the child is tried as often as any


async def test_a_child_that_asks_for_input_does_not_hold_the_parent(file: Path) -> None:
    engine = Engine()
    state = await engine.run(workflow("w", step("sub", "workflow", workflow_id="asking")))
    assert (state["status"], engine.ran) == ("FAILED", [])
    assert "paused" in state["error"]


async def test_cancelling_goes_down(file: Path) -> None:
    engine = Engine()
    begun = asyncio.Event()

    async def hold(action: str, params: dict[str, Any], connection_id: str | None) -> None:
        begun.set()
        await asyncio.Event().wait()

    engine._execute_shop_action = hold  # type: ignore[method-assign]
    parent = await engine.start_workflow(workflow("w", step("sub", "workflow", workflow_id="middle")), {})
    await begun.wait()
    runs = set(engine._runs)
    assert len(runs) == 3
    assert await engine.cancel_execution(parent) is True
    while engine._background_tasks:
        await asyncio.gather(*engine._background_tasks)
    states = [await engine.state_manager.get_execution_state(one) for one in runs]
    assert [state and state["status"] for state in states] == ["CANCELLED"] * 3
    assert (engine.cancellation_requests, engine._children, engine.semaphore._value) == (set(), {}, 5)


async def test_a_workflow_that_runs_itself_ends(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.sub_workflows.MAX_DEPTH", 3)
    engine = Engine()
    async with asyncio.timeout(20):
        state = await engine.run(workflow("w", step("sub", "workflow", workflow_id="itself")))
    assert state["status"] == "FAILED"
    assert "more than 3 deep" in state["error"]
    assert engine.semaphore._value == 5


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({}, "workflow_id is required"),
        ({"workflow_id": ""}, "workflow_id is required"),
        ({"workflow_id": "nobody"}, "Workflow nobody not found"),
        ({"workflow_id": "child", "timeout": "soon"}, "timeout must be a number of seconds, not 'soon'"),
    ],
)
async def test_what_cannot_be_run_is_an_answer(file: Path, params: dict[str, Any], error: str) -> None:
    engine = Engine()
    found = await engine._execute_workflow_action("run", params)
    assert found == {
        "action": "run",
        "workflow_id": params.get("workflow_id"),
        "execution_id": None,
        "status": "error",
        "error": error,
    }
    state = await engine.run(workflow("w", step("sub", "workflow", **params)))
    assert state["status"] == "FAILED"
    assert error in state["error"]
    assert engine.clock.waits == []


@pytest.mark.parametrize(
    ("states", "told"),
    [
        ([{"status": "COMPLETED", "outputs": {"o": 1}}], {"status": "success", "result": {"o": 1}}),
        ([{"status": "PARTIAL", "outputs": {"o": 1}}], {"status": "success", "result": {"o": 1}}),
        ([{"status": "FAILED", "error": "boom"}], {"status": "error", "error": "boom"}),
        ([{"status": "FAILED"}], {"status": "error", "error": "Execution e1 is FAILED"}),
        ([{"status": "CANCELLED"}], {"status": "cancelled"}),
        ([{"status": "PAUSED"}], {"status": "paused"}),
        ([None], {"status": "error", "error": "Execution e1 not found"}),
        ([{"status": "STRANGE"}, {}, {"status": "COMPLETED"}], {"status": "success", "result": {}}),
    ],
)
async def test_the_childs_status_is_what_the_step_is_told(states: list[Any], told: dict[str, Any]) -> None:
    engine = Engine()
    engine.state_manager = AsyncMock()
    engine.state_manager.get_execution_state.side_effect = states
    known = {"id": "w1", "steps": []}
    with (
        patch.object(engine, "_load_workflow_by_id", return_value=known),
        patch.object(engine, "start_workflow", AsyncMock(return_value="e1")) as start,
    ):
        found = await engine._execute_workflow_action("run", {"workflow_id": "w1", "input_data": {"n": 1}})
    assert found == {"action": "run", "workflow_id": "w1", "execution_id": "e1", **told}
    assert start.call_args.args == (known, {"n": 1})


@pytest.mark.parametrize(("given", "seconds"), [({}, 300), ({"timeout": 5}, 5), ({"timeout": 0}, 0)])
@pytest.mark.parametrize("stands_still", [False, True])
async def test_a_child_that_goes_on_and_on_is_waited_for_so_long(
    given: dict[str, Any], seconds: float, stands_still: bool
) -> None:
    engine = Engine()
    engine.state_manager = AsyncMock()
    engine.state_manager.get_execution_state.return_value = {"status": "RUNNING"}
    if stands_still:
        engine._clock.now = lambda: 0.0  # type: ignore[method-assign]
    with (
        patch.object(engine, "_load_workflow_by_id", return_value={"id": "w1", "steps": []}),
        patch.object(engine, "start_workflow", AsyncMock(return_value="e1")),
    ):
        found = await engine._execute_workflow_action("run", {"workflow_id": "w1", **given})
    assert found["status"] == "timeout"
    assert found["error"] == f"Execution e1 took longer than {seconds} seconds"
    assert sum(engine.clock.waits) == pytest.approx(seconds)


class FlakyStateManager(ExecutionStateManager):
    """The real one; so many reads of a state in a row fail, as soon as a step is in it."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    async def get_execution_state(self, execution_id: str) -> dict[str, Any] | None:
        state = await super().get_execution_state(execution_id)
        if self.failures and state and state["workflow_id"] == "child" and state["steps"]:
            self.failures -= 1
            raise RuntimeError("the database is away")
        return state


@pytest.mark.parametrize("failures", [1, MAX_FAILED_POLLS - 1])
async def test_a_child_whose_state_cannot_be_read_for_a_while_runs_once(file: Path, failures: int) -> None:
    engine = Engine()
    engine.state_manager = FlakyStateManager(failures)
    sub = step("sub", "workflow", workflow_id="child", input_data={"name": "ada"})
    state = await engine.run(workflow("w", sub))
    assert (state["status"], engine.ran) == ("COMPLETED", ["ada", "b"])


async def test_a_child_whose_state_cannot_be_read_any_more_fails_the_step_and_runs_once(file: Path) -> None:
    engine = Engine()
    engine.state_manager = FlakyStateManager(MAX_FAILED_POLLS)
    sub = step("sub", "workflow", workflow_id="child", input_data={"name": "ada"})
    state = await engine.run(workflow("w", sub))
    assert (state["status"], engine.ran) == ("FAILED", ["ada", "b"])
    assert "cannot be read: the database is away" in state["error"]


async def test_a_child_that_cannot_be_started_fails_the_step_and_is_not_started_again(file: Path) -> None:
    engine = Engine()
    started: list[dict[str, Any]] = []

    async def start(child: dict[str, Any], given: dict[str, Any]) -> str:
        started.append(given)
        raise RuntimeError("not today")

    parent = await engine.state_manager.create_execution("w", {})
    engine.start_workflow = start  # type: ignore[assignment]
    await engine._run_execution(parent, workflow("w", step("sub", "workflow", workflow_id="child")))
    state = await engine.state_manager.get_execution_state(parent)
    assert state is not None
    assert (state["status"], started) == ("FAILED", [{}])
    assert "Workflow child could not be started: not today" in state["error"]
