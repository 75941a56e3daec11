"""What the machine has to do with limits: ready steps name theirs, and their wait for a slot is bounded."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from treadle.limits import Numbers
from treadle.machine import events as e
from treadle.machine.commands import LimitKey, RunStep
from treadle.model import Connection, Node, NodeLimit, Outcome, RetryPolicy, StepError

T = 1_000
EMPTY = Raw(b"{}")


def node(name: str = "a", queue: int | None = None, *limits: NodeLimit, **more: Any) -> Node:
    return Node(name, action="act", queue_timeout_ms=queue, limits=limits, **more)


def late(step: str = "a", attempt: int = 0, seconds: str = "0.05") -> StepError:
    return StepError("QueueTimeout", f"it got no slot within its queue timeout of {seconds} s", attempt, step)


# -- limits of ready steps


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (None, ""),
        ("plain", '"plain"'),
        ("${input.tenant}", '"acme"'),
        ("${input.number}", "7"),
        ("${input.nothing}", "null"),
        ("t-${input.number}", '"t-7"'),
        ({"b": "${input.number}", "a": 1}, '{"a":1,"b":7}'),
    ],
)
def test_a_ready_step_names_its_limits_with_the_value_of_their_keys(case: Any, key: Any, text: str) -> None:
    one = case([node("a", None, NodeLimit("t", key, 2, 5, 60_000))])
    one.created({"tenant": "acme", "number": 7, "nothing": None})
    (ready,) = one.turn.ready
    assert ready.limits == (LimitKey("t", text, Numbers(2, 5, 60_000)),)


def test_nothing_of_limits_is_in_the_log(case: Any) -> None:
    bare, limited = case([node()]), case([node("a", None, NodeLimit("t", "${input.x}", 2))])
    for one in (bare, limited):
        one.created({"x": 1}).starts()
    assert [type(one) for one in limited.turn.events] == [type(one) for one in bare.turn.events]
    limited.gives(
        e.StepStarted(step="a", attempt=1, at=T), commands=[RunStep("a", 1, limited.workflow.nodes[0], EMPTY)]
    )


@pytest.mark.parametrize(
    ("key", "kind", "message"),
    [
        ("${input.tenant}", "MissingNameError", "limits: input.tenant"),
        ("${1 < 'a'}", "ExpressionError", "limits: "),
    ],
)
def test_a_key_that_cannot_be_evaluated_fails_its_step_once_it_would_start(
    case: Any, key: str, kind: str, message: str
) -> None:
    one = case([node("a", None, NodeLimit("t", key, 2))]).created()
    assert [ready.limits for ready in one.turn.ready] == [()]
    one.starts()
    error = one.seen.steps["a"].error
    assert (one.kinds[0], error.type, error.message[: len(message)]) == ("StepFailed a", kind, message)
    assert one.turn.commands == []


def test_each_item_of_a_map_has_a_key_of_its_own(case: Any) -> None:
    from treadle.model import Body, NodeType

    inner = Node("in", action="act", limits=(NodeLimit("t", "${item}", 1),))
    one = case([Node("m", NodeType.MAP, items=["x", "y"], body=Body((inner,)))]).created()
    assert [(ready.step, ready.limits[0].key) for ready in one.turn.ready] == [("m[0].in", '"x"'), ("m[1].in", '"y"')]


# -- the wait for a slot


def test_a_step_that_waits_too_long_for_its_slot_is_timed_out(case: Any) -> None:
    one = case([node("a", 50)]).created()
    assert one.state.wake_at() == T + 50
    one.time(49).gives_nothing()
    one.time(1)
    assert one.turn.events[0] == e.StepTimedOut(step="a", attempt=0, error=late(), at=T + 50)
    assert (one.statuses, one.seen.status.value) == ({"a": "TIMED_OUT"}, "FAILED")


def test_it_is_not_tried_again_and_is_handled_like_any_failure(case: Any) -> None:
    retry = RetryPolicy(max_attempts=5)
    connections = [Connection("a", "b", outcome=Outcome.FAILURE)]
    one = case([node("a", 50, retry=retry), "b"], connections).created().time(50)
    assert one.kinds == ["StepTimedOut a", "FailureHandled a"]
    assert [ready.step for ready in one.turn.ready] == ["b"]


def test_a_step_that_started_in_time_is_not_bounded_any_more(case: Any) -> None:
    one = case([node("a", 50)]).given()
    one.time(60).gives_nothing()
    assert one.returned("a").seen.status.value == "COMPLETED"


def test_every_attempt_waits_anew(case: Any) -> None:
    one = case([node("a", 50, retry=RetryPolicy(initial_delay_ms=10))]).given()
    one.wait(30).raised("a")
    one.time(10).gives(e.StepReady(step="a", at=T + 40), ready=["a"])
    one.time(49).gives_nothing()
    one.time(1)
    assert one.turn.events[0] == e.StepTimedOut(step="a", attempt=1, error=late(attempt=1), at=T + 90)


def test_an_interrupted_step_waits_anew(case: Any) -> None:
    one = case([node("a", 50)]).given().wait(45).interrupted("a")
    one.time(49).gives_nothing()
    assert one.time(1).statuses == {"a": "TIMED_OUT"}


def test_a_step_that_asked_for_input_waits_anew(case: Any) -> None:
    one = case([node("a", 50, parameters={"x": "${input.x}"})]).given()
    assert one.statuses == {"a": "PAUSED"}
    one.wait(500).resume({"x": 1})
    one.time(49).gives_nothing()
    assert one.time(1).statuses == {"a": "TIMED_OUT"}


def test_the_wait_is_on_the_clock_of_the_execution(case: Any) -> None:
    one = case([node("a", 50)]).created().wait(20).pause()
    one.time(500).gives_nothing()
    one.resume()
    one.time(29).gives_nothing()
    assert one.time(1).statuses == {"a": "TIMED_OUT"}


def test_a_step_that_follows_waits_from_when_it_is_ready(case: Any) -> None:
    one = case(["a", node("b", 50)], ["a>b"]).given().wait(500).returned("a")
    one.time(49).gives_nothing()
    assert one.time(1).statuses["b"] == "TIMED_OUT"
