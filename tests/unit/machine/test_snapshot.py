"""An execution as a reader sees it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from treadle.model import (
    Connection,
    ExecutionState,
    ExecutionStatus,
    Node,
    RetryPolicy,
    StepError,
    StepState,
    StepStatus,
)

T = 1_000


def when(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1_000, UTC)


def test_an_execution_that_does_not_exist_yet_is_pending(case: Any) -> None:
    one = case(["a"])
    assert one.seen == ExecutionState(
        execution_id="",
        workflow_id="",
        definition_hash="",
        status=ExecutionStatus.PENDING,
        input={},
        steps={"a": StepState(StepStatus.PENDING)},
    )


def test_every_field_of_an_execution_under_way(case: Any, no: Any) -> None:
    nodes = [
        "a",
        Node("b", action="act", retry=RetryPolicy(max_attempts=1), continue_on_error=True),
        Node("c", action="act", retry=RetryPolicy(initial_delay_ms=10)),
        Node("d", action="act", parameters={"x": "${input.x}"}),
        "e",
        "f",
        Node("g", action="act", condition="false"),
    ]
    one = case(nodes, ["a>f"]).created({"y": 1}, tags={"k": "v"}).wait(1)
    one.starts("a", "b", "c", "d").wait(1).raised("b").raised("c").wait(1)
    assert one.seen == ExecutionState(
        execution_id="x",
        workflow_id="w",
        definition_hash=one.plan.definition_hash,
        status=ExecutionStatus.RUNNING,
        input={"y": 1},
        steps={
            "a": StepState(StepStatus.RUNNING, attempt=1, started_at=when(T + 1)),
            "b": StepState(StepStatus.FAILED, attempt=1, error=no("b"), started_at=when(T + 1), ended_at=when(T + 2)),
            "c": StepState(StepStatus.WAITING, attempt=1, error=no("c"), started_at=when(T + 1)),
            "d": StepState(StepStatus.PAUSED),
            "e": StepState(StepStatus.WAITING),
            "f": StepState(StepStatus.PENDING),
            "g": StepState(StepStatus.SKIPPED, ended_at=when(T)),
        },
        waiting_for=("input.x",),
        in_flight=1,
        handled_failures=("b",),
        tags={"k": "v"},
        created_at=when(T),
        started_at=when(T),
    )


def test_every_field_of_an_execution_that_completed(case: Any) -> None:
    one = case(["a"]).given({"y": 1}).wait(5).interrupted("a").starts().wait(5).returned("a", [1])
    assert one.seen == ExecutionState(
        execution_id="x",
        workflow_id="w",
        definition_hash=one.plan.definition_hash,
        status=ExecutionStatus.COMPLETED,
        input={"y": 1},
        output=[1],
        steps={"a": StepState(StepStatus.COMPLETED, attempt=2, output=[1], started_at=when(T), ended_at=when(T + 10))},
        created_at=when(T),
        started_at=when(T),
        ended_at=when(T + 10),
    )


def test_an_execution_that_is_being_cancelled_says_so_and_why(case: Any) -> None:
    seen = case(["a"]).given().cancel("enough").seen
    assert (seen.status.value, seen.cancelling, seen.in_flight, seen.error) == (
        "RUNNING",
        True,
        1,
        StepError(type="Cancelled", message="enough"),
    )


def test_a_snapshot_is_the_readers_own(case: Any) -> None:
    one = case(["a", "b"], [Connection("a", "b", condition="a.x[0] == 1")]).created({"k": []}, tags={"t": "1"})
    one.starts().returned("a", {"x": [1]})
    first = one.seen
    first.input["k"].append(1)
    first.tags["t"] = "2"
    first.steps["a"].output["x"].append(2)
    again = one.seen
    assert (again.input, again.tags, again.steps["a"].output) == ({"k": []}, {"t": "1"}, {"x": [1]})


def test_steps_are_listed_in_definition_order_whatever_ran_first(case: Any) -> None:
    one = case(["z", "a", "m"]).created().starts("m", "a").returned("m")
    assert list(one.seen.steps) == ["z", "a", "m"]


def test_handled_failures_are_listed_in_definition_order(case: Any) -> None:
    nodes = [Node(name, action="act", retry=RetryPolicy(max_attempts=1), continue_on_error=True) for name in "abc"]
    one = case(nodes).given().raised("c").raised("a")
    assert one.seen.handled_failures == ("a", "c")
