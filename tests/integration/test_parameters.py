"""Parameters held against functions at every start and by the command, and wrong calls that only the run finds."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from treadle import Registry, ValidationError, WorkflowBuilder, WorkflowEngine, action, call, expression

if TYPE_CHECKING:
    from pathlib import Path

ACTIONS = """\
import treadle

@treadle.action("shop.charge")
async def charge(customer: str, amount: float, *, context: treadle.StepContext) -> str:
    return f"{customer} {amount} {context.attempt}"
"""
WRONG = """\
id: order
nodes:
  - {id: charge, service: shop, action: charge, parameters: {customer: ada, amout: 1}}
"""
CALLED = "shop.charge(customer: str, amount: float)"


@action("shop.find")
def find(email: str, *, limit: int = 1) -> dict[str, str]:
    return {"id": f"{email}-{limit}"}


async def test_a_start_with_parameters_that_the_function_refuses_leaves_nothing_behind() -> None:
    wrong = {"id": "w", "nodes": [{"id": "a", "action": "shop.find", "parameters": {"mail": 1}}]}
    async with WorkflowEngine(store=":memory:", actions=[find]) as engine:
        with pytest.raises(ValidationError) as caught:
            await engine.start_workflow(wrong)
        assert [(one.code, one.path) for one in caught.value.problems] == [
            ("unknown_parameter", "nodes[0].parameters.mail"),
            ("missing_parameter", "nodes[0].parameters"),
        ]
        assert await engine.list_executions() == ([], None)


async def test_a_constant_that_an_annotation_does_not_allow_is_no_reason_to_refuse_a_start() -> None:
    loose = {"id": "w", "nodes": [{"id": "a", "action": "shop.find", "parameters": {"email": 7}}]}
    async with WorkflowEngine(store=":memory:", actions=[find]) as engine:
        state = await engine.run_workflow(loose)
    assert (state.status.value, state.output) == ("COMPLETED", {"id": "7-1"})


async def test_a_workflow_written_with_calls_runs_as_its_functions_say() -> None:
    flow = WorkflowBuilder("w")
    found = flow.action("find", call(find, expression("input.email"), limit=3))
    again = flow.action("again", call(find, f"<{found.output['id']}>"), after=found)
    flow.output({"id": again.output["id"]})
    async with WorkflowEngine(store=":memory:", actions=[find]) as engine:
        state = await engine.run_workflow(flow.build(), {"email": "ada"})
    assert (state.status.value, state.output) == ("COMPLETED", {"id": "<ada-3>-1"})


async def test_a_function_that_changed_under_an_execution_fails_its_step_for_good(tmp_path: Path) -> None:
    """The start held the parameters against what was registered then; the call holds them against what is there now."""
    document = {
        "id": "w",
        "nodes": [{"id": "a", "action": "x", "parameters": {"old": "${input.y}"}, "retry": {"max_attempts": 5}}],
    }
    async with WorkflowEngine(store=tmp_path / "t.db", actions=[{"x": lambda old: old}]) as engine:
        started = await engine.start_workflow(document, execution_id="e")
        assert (await engine.wait(started)).status.value == "PAUSED"
    async with WorkflowEngine(store=tmp_path / "t.db", actions=[{"x": lambda new: new}]) as engine:
        await engine.resume_workflow("e", {"y": 1})
        state = await engine.wait("e")
    assert state.status.value == "FAILED"
    assert (state.steps["a"].attempt, state.steps["a"].error and state.steps["a"].error.type) == (1, "TypeError")


async def test_an_action_that_is_registered_later_is_known_to_the_next_start() -> None:
    document = {"id": "w", "nodes": [{"id": "a", "action": "x", "parameters": {"b": 1}}]}
    registry = Registry([find])
    async with WorkflowEngine(store=":memory:", actions=[registry]) as engine:
        engine.actions.add("x", lambda c: c)
        with pytest.raises(ValidationError, match='takes no parameter "b"'):
            await engine.start_workflow(document)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["validate", "run"])
def test_the_command_names_the_line_of_a_wrong_parameter(command: str, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(ACTIONS, "utf-8")
    (tmp_path / "order.yaml").write_text(WRONG, "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "treadle", command, "order.yaml", "--actions", "shop.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 2
    assert "Traceback" not in said
    assert f'{CALLED} takes no parameter "amout" (did you mean "amount"?)' in said
    assert f'{CALLED} needs the parameter "amount"' in said
    assert "order.yaml:3:" in said
