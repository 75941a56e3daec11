"""What expressions see of an execution."""

from __future__ import annotations

from typing import Any

import pytest

from treadle.expressions import MISSING, MissingNameError, compile_template
from treadle.machine import StateView
from treadle.model import Connection, Node, NodeType, OnSkip, RetryPolicy, StepError

NEVER = RetryPolicy(max_attempts=1)


@pytest.fixture
def one(case: Any) -> Any:
    """Steps in every state: done, failed, passed over, skipped, waiting, running, never reached, with awkward names."""
    nodes = [
        "done",
        Node("failed", action="act", retry=NEVER),
        Node("passed", action="act", retry=NEVER, continue_on_error=True),
        Node("skipped", action="act", condition="false"),
        Node("between", action="act"),
        "runs",
        "later",
        "a.b",
        "input",
        "sorry",
    ]
    made = case(nodes, ["runs>later", Connection("failed", "sorry", outcome="failure")], vars={"k": [1, 2]})
    made.given({"x": {"y": 1}, "none": None}).returned("done", {"v": [1, {"w": "é"}]}).returned("a.b", 7)
    error = StepError(type="Boom", message="no", attempt=1, step="failed", details={"code": 3})
    made.raised("failed", error=error).raised("passed").raised("between").returned("input", "mine")
    return made


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("input.x.y", 1),
        ("input.none", None),
        ("input", {"x": {"y": 1}, "none": None}),
        ("steps.input.output", "mine"),
        ("vars.k[1]", 2),
        ("execution.id", "x"),
        ("execution.workflow_id", "w"),
        ("execution.started_at", "1970-01-01T00:00:01.000Z"),
        ("done.v[1].w", "é"),
        ("steps.done.output.v[0]", 1),
        ("steps.done.status", "COMPLETED"),
        ("steps.done.attempt", 1),
        ("steps.failed.status", "FAILED"),
        ("steps.failed.error.type", "Boom"),
        ("steps.failed.error.message", "no"),
        ("steps.failed.error.attempt", 1),
        ("steps.failed.error.details.code", 3),
        ("steps.passed.output", None),
        ("passed", None),
        ("steps.passed.error.message", "no"),
        ("steps.skipped.status", "SKIPPED"),
        ("steps.skipped.attempt", 0),
        ("steps.between.status", "WAITING"),
        ("steps.between.error.type", "RuntimeError"),
        ("steps.runs.status", "RUNNING"),
        ("steps.later.status", "PENDING"),
        ("steps['a.b'].output", 7),
        ("has(done)", True),
        ("has(failed)", False),
        ("has(steps.done.error)", False),
        ("has(steps.runs.output)", False),
        ("has(steps.nobody)", False),
        ("default(skipped, 5)", 5),
        ("default(passed, 5)", None),
    ],
)
def test_a_name_means(one: Any, expression: str, value: Any) -> None:
    assert compile_template(f"${{{expression}}}").resolve(StateView(one.state)) == value


@pytest.mark.parametrize(
    ("expression", "missing"),
    [
        ("nobody", "nobody"),
        ("failed", "failed"),
        ("runs.x", "runs"),
        ("skipped", "skipped"),
        ("steps.nobody.status", "steps.nobody"),
        ("steps.failed.output", "steps.failed.output"),
        ("steps.done.error", "steps.done.error"),
        ("steps.later.error", "steps.later.error"),
        ("steps.done.colour", "steps.done.colour"),
        ("done.none", "done.none"),
        ("input.absent", "input.absent"),
        ("vars.absent", "vars.absent"),
        ("secrets.KEY", "secrets"),
    ],
)
def test_what_is_not_there_is_missing_by_its_path(one: Any, expression: str, missing: str) -> None:
    with pytest.raises(MissingNameError) as caught:
        compile_template(f"${{{expression}}}").resolve(StateView(one.state))
    assert caught.value.path == missing


def test_the_steps_as_a_whole_are_plain_data(one: Any) -> None:
    whole = compile_template("${steps}").resolve(StateView(one.state))
    assert list(whole) == [node.id for node in one.plan.nodes]
    assert (whole["done"], whole["later"], whole["failed"]["error"]["type"]) == (
        {"status": "COMPLETED", "attempt": 1, "output": {"v": [1, {"w": "é"}]}},
        {"status": "PENDING", "attempt": 0},
        "Boom",
    )


def test_the_error_of_an_attempt_is_gone_once_the_step_succeeded(one: Any) -> None:
    one.time(1_000).starts("between").returned("between", 1)
    assert StateView(one.state).lookup("steps").get("between").get("error") is MISSING


def test_the_output_of_a_trigger_is_the_input_it_passed_on(case: Any) -> None:
    made = case(
        [Node("t", type=NodeType.TRIGGER), Node("s", action="act", condition="false", on_skip=OnSkip.PASS), "a"]
    )
    made.created({"x": 1}).pause().resume({"x": 2})
    view = StateView(made.state)
    assert (view.lookup("t"), view.lookup("input"), view.lookup("s")) == ({"x": 1}, {"x": 2}, MISSING)
