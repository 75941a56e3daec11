"""What an execution costs beside its steps: counted, not timed. Ten times the steps cost ten times as much."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from core import changes
from core.execution_state_manager import ExecutionStateManager
from core.workflow_engine import WorkflowEngine

RESULT = {"status": "success", "result": {"value": 1, "text": "x" * 100}}


class OtherManager:
    """An application's own manager: not ours, however much it resembles it. Counts how often states are read."""

    def __init__(self) -> None:
        self._kept = ExecutionStateManager()
        self.reads = 0

    def __getattr__(self, name: str) -> Any:
        self.reads += name == "get_execution_state"
        return getattr(self._kept, name)


class Engine(WorkflowEngine):
    def __init__(self, manager: Any = None) -> None:
        super().__init__(state_manager=manager or ExecutionStateManager())

    async def _execute_step(self, step: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
        return RESULT

    async def finish(self, workflow: dict[str, Any]) -> str:
        execution = await self.start_workflow(workflow, {})
        await asyncio.gather(*self._background_tasks)
        return execution


def chain(count: int, **first: Any) -> dict[str, Any]:
    steps = [{"id": f"n{place}", "sequence_order": place, "parameters": {}} for place in range(count)]
    return {"id": "w", "steps": [steps[0] | first, *steps[1:]]}


def references(count: int) -> dict[str, Any]:
    workflow = chain(count)
    for place, step in enumerate(workflow["steps"][1:]):
        step["parameters"] = {"before": f"${{n{place}.result}}"}
    return workflow


def graph(count: int, condition: str = "", *, conditions: int = 1) -> dict[str, Any]:
    connections = [{"source": f"n{place}", "target": f"n{place + 1}"} for place in range(count - 1)]
    for place, one in enumerate(connections[:conditions]):
        one["condition"] = f"${{n{place}.result.value}} == 1"
    return {"id": "w", "nodes": [{"id": f"n{place}"} for place in range(count)], "connections": connections}


def conditions(count: int) -> dict[str, Any]:
    return graph(count, conditions=count)


@pytest.mark.parametrize("shape", [references, graph, conditions])
async def test_what_is_copied_of_the_state_grows_with_the_steps_and_not_with_their_square(
    shape: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = 0

    def copy(value: object) -> Any:
        nonlocal copied
        text = json.dumps(value)
        copied += len(text)
        return json.loads(text)

    monkeypatch.setattr(changes, "_copy", copy)
    costs = []
    for count in (20, 200):
        copied, engine = 0, Engine()
        execution = await engine.finish(shape(count))
        costs.append(copied)
        state = await engine.state_manager.get_execution_state(execution)
        assert state is not None
        assert (state["status"], len(state["outputs"])) == ("COMPLETED", count)
    assert costs[1] <= costs[0] * 10


async def test_the_state_of_another_manager_is_read_only_where_something_reads_it() -> None:
    reads = {}
    for count in (20, 200):
        for name, workflow in {
            "plain": chain(count),
            "one condition": chain(count, condition="1 == 1"),
            "references": references(count),
        }.items():
            manager = OtherManager()
            await Engine(manager).finish(workflow)
            reads[name, count] = manager.reads
    assert reads == {
        ("plain", 20): 1,
        ("plain", 200): 1,
        ("one condition", 20): 2,
        ("one condition", 200): 2,
        ("references", 20): 20,
        ("references", 200): 200,
    }


async def test_in_a_graph_the_state_of_another_manager_is_read_once_a_wave() -> None:
    leaves = [f"n{place}" for place in range(100)]
    connections = [{"source": "root", "target": name, "condition": "1 == 1"} for name in leaves]
    nodes = [{"id": name} for name in ("root", *leaves)]
    manager = OtherManager()
    all_run = asyncio.Barrier(len(leaves))

    class Waiting(Engine):
        async def _execute_step(self, step: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
            if step["id"] != "root":
                await all_run.wait()
            return RESULT

    engine = Waiting(manager)
    engine.semaphore = asyncio.Semaphore(len(leaves))
    await engine.finish({"id": "w", "nodes": nodes, "connections": connections})
    assert manager.reads == 3  # before it runs, as it begins, behind the root


async def test_a_step_that_changes_its_parameters_changes_nothing_else() -> None:
    class Changing(Engine):
        async def _execute_step(self, step: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
            for value in params.values():
                value["value"] = "changed"
            return RESULT

    engine = Changing()
    execution = await engine.finish(references(3))
    state = await engine.state_manager.get_execution_state(execution)
    assert state is not None
    assert state["outputs"] == dict.fromkeys(("n0", "n1", "n2"), RESULT)


@pytest.mark.parametrize(
    "name", ["_check_dependencies", "_evaluate_condition", "_resolve_parameters", "_resolve_parameter_value"]
)
async def test_an_application_that_reads_states_by_itself_is_given_one_of_its_own(name: str) -> None:
    own = getattr(WorkflowEngine, name)

    def reads(self: Engine, subject: Any, state: dict[str, Any]) -> Any:
        found = own(self, subject, state)
        json.dumps(state)
        state.clear()
        return found

    engine = type("Reading", (Engine,), {name: reads})()
    execution = await engine.finish(
        references(2) | {"steps": [{**one, "condition": "1"} for one in references(2)["steps"]]}
    )
    state = await engine.state_manager.get_execution_state(execution)
    assert (state["status"], len(state["outputs"])) == ("COMPLETED", 2)
