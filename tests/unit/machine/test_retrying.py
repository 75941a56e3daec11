"""Ways out of a stuck execution: a retry goes on where it failed, a cancelled step lets the others go on."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from treadle.machine import events as e
from treadle.machine import inputs as i
from treadle.machine.commands import CancelStep
from treadle.model import Body, Connection, Join, JoinKind, Node, NodeType, OnFailure, Outcome, StepError

T = 1_000
PLAIN = {"permanent": True}


def retried(one: Any, **how: Any) -> Any:
    return one.when(i.RetryRequested(at=one.at, **how))


def maps(items: Any, *nodes: Node, name: str = "m", **fields: Any) -> Node:
    return Node(name, type=NodeType.MAP, items=items, body=Body(nodes), **fields)


def act(name: str, **fields: Any) -> Node:
    return Node(name, action="act", **fields)


def test_what_failed_and_what_follows_run_again_and_what_completed_does_not(case: Any) -> None:
    one = case(["a", "b", "c", "d"], ["a>b", "b>c", "a>d"]).given().returned("a", 1).starts().returned("d", 4)
    one.raised("b", **PLAIN)
    assert one.seen.status.value == "FAILED"
    retried(one, request="r").gives(e.ExecutionRetried(request="r", at=T), ready=["b"], accepted=[True])
    assert (one.statuses, one.seen.error, one.seen.ended_at) == (
        {"a": "COMPLETED", "b": "WAITING", "c": "PENDING", "d": "COMPLETED"},
        None,
        None,
    )
    one.starts()
    assert one.turn.commands[0].attempt == 2
    one.returned("b").starts().returned("c", 3)
    assert (one.seen.status.value, one.seen.output) == ("COMPLETED", {"c": 3, "d": 4})


def test_attempts_are_counted_on_and_failures_anew(case: Any) -> None:
    one = case(["a"]).given()
    for attempt in (1, 2, 3):
        one.raised("a", attempt=attempt)
        if attempt < 3:
            one.time(5_000).starts()
    assert one.seen.status.value == "FAILED"
    retried(one).starts().raised("a", attempt=4)
    assert (one.statuses["a"], one.seen.steps["a"].attempt) == ("WAITING", 4)


def test_what_was_dropped_at_the_end_runs_again(case: Any) -> None:
    wait = Node("w", type=NodeType.WAIT, duration=10)
    asks = Node("q", action="act", parameters={"x": "${input.x}"})
    ask = Node("i", type=NodeType.INPUT)
    one = case(["a", "b", wait, ask, asks], on_failure=OnFailure.CANCEL).given().raised("a", **PLAIN).cancelled("b")
    assert set(one.statuses.values()) == {"FAILED", "CANCELLED"}
    retried(one)
    assert one.statuses == {"a": "WAITING", "b": "WAITING", "w": "WAITING", "i": "WAITING", "q": "WAITING"}
    one.starts().time(10).returned("a").returned("b").when(i.InputSubmitted(at=one.at, step="i", output=Raw(b"1")))
    assert one.seen.status.value == "PAUSED"
    one.resume({"x": 1}).starts().returned("q")
    assert one.seen.status.value == "COMPLETED"


def test_what_ended_while_it_was_ending_is_routed_by_the_retry(case: Any) -> None:
    joined = ["b>c", Connection("b", "d", condition="b > 1"), Connection("b", "f", outcome=Outcome.FAILURE)]
    one = case(["a", "b", "c", "d", "f"], joined).given().raised("a", **PLAIN).returned("b", 5)
    assert one.statuses["c"] == "PENDING"
    retried(one)
    assert one.turn.events == [
        e.ExecutionRetried(at=T),
        e.ConnectionDecided(connection=1, source="b", target="d", taken=True, at=T),
        e.StepSkipped(step="f", reason="join", at=T),
    ]
    assert [ready.step for ready in one.turn.ready] == ["a", "c", "d"]


def test_a_condition_that_halted_is_looked_at_again(case: Any) -> None:
    one = case(["a", "b"], [Connection("a", "b", condition="input.n / 0 > 1")]).given({"n": 1}).returned("a")
    assert one.seen.error.type == "ExpressionError"
    retried(one)
    assert (one.seen.status.value, one.kinds) == (
        "FAILED",
        ["ExecutionRetried", "ExecutionHalted", "ExecutionFailed"],
    )


@pytest.mark.parametrize("kind", [JoinKind.ALL, JoinKind.ANY, JoinKind.EVERY])
def test_joins_are_met_once_behind_a_retry(case: Any, kind: JoinKind) -> None:
    join = Node("j", action="act", join=Join(kind))
    one = case(["a", "b", "x", join], ["a>j", "b>j"]).given().raised("x", **PLAIN).returned("a").returned("b")
    retried(one)
    assert [ready.step for ready in one.turn.ready] == ["x", "j"]
    assert one.starts().returned("x").returned("j").seen.status.value == "COMPLETED"


def test_a_step_that_was_ready_but_not_started_is_ready_again(case: Any) -> None:
    one = case(["a", "b", act("c", condition="true")]).created().starts("a").raised("a", **PLAIN)
    retried(one)
    assert [ready.step for ready in one.turn.ready] == ["a", "b", "c"]


def test_cancelled_by_a_join_stays_cancelled(case: Any) -> None:
    join = Node("j", action="act", join=Join(JoinKind.ANY), cancel_rest=True)
    one = case(["a", "b", join], ["a>j", "b>j"]).given().returned("a").starts().raised("j", **PLAIN)
    retried(one)
    assert one.statuses == {"a": "COMPLETED", "b": "CANCELLED", "j": "WAITING"}


def test_a_handled_failure_stays_handled(case: Any) -> None:
    one = case(["a", "b", "c"], [Connection("a", "b", outcome=Outcome.FAILURE), "b>c"]).given().raised("a", **PLAIN)
    one.starts().returned("b").starts().raised("c", **PLAIN)
    retried(one)
    assert one.statuses == {"a": "FAILED", "b": "COMPLETED", "c": "WAITING"}


def test_only_the_items_that_failed_or_never_ran_run_again(case: Any) -> None:
    one = case([maps([1, 2, 3, 4], act("a"), max_concurrency=2), "z"], ["m>z"]).given().returned("m[0].a", 1).starts()
    one.raised("m[1].a", **PLAIN).returned("m[2].a", 3)
    assert one.seen.status.value == "FAILED"
    retried(one)
    assert [ready.step for ready in one.turn.ready] == ["m[1].a", "m[3].a"]
    one.starts().returned("m[1].a", 2).returned("m[3].a", 4).starts().returned("z")
    assert (one.seen.status.value, one.seen.steps["m"].output) == ("COMPLETED", [1, 2, 3, 4])
    assert one.seen.steps["m"].items.errors == {}


def test_a_loop_goes_on_with_the_iteration_that_failed(case: Any) -> None:
    loop = Node(
        "l", type=NodeType.LOOP, until="previous == 2", body=Body((act("a"), act("b")), (Connection("a", "b"),))
    )
    one = case([loop]).given().returned("l[0].a").starts().returned("l[0].b", 1).starts().returned("l[1].a").starts()
    one.raised("l[1].b", **PLAIN)
    retried(one)
    assert [ready.step for ready in one.turn.ready] == ["l[1].b"]
    assert one.starts().returned("l[1].b", 2).seen.output == 2


def test_a_loop_that_passed_max_iterations_fails_again(case: Any) -> None:
    loop = Node("l", type=NodeType.LOOP, until="false", max_iterations=2, body=Body((act("a"),)))
    one = case([loop]).given().returned("l[0].a").starts().returned("l[1].a")
    assert retried(one).seen.error.type == "MaxIterationsExceeded"


def test_a_race_that_nobody_won_is_run_again_where_it_failed(case: Any) -> None:
    body = Body(tuple(map(act, ("a", "b", "c", "d"))), (Connection("a", "b"), Connection("c", "d")))
    one = case([Node("p", type=NodeType.PARALLEL, race=True, body=body)]).given()
    one.returned("p.a").raised("p.c", **PLAIN).starts().raised("p.b", **PLAIN)
    assert (one.seen.status.value, one.statuses["p.d"]) == ("FAILED", "SKIPPED")
    retried(one)
    assert [ready.step for ready in one.turn.ready] == ["p.b", "p.c"]
    one.starts().returned("p.c").starts().returned("p.d", "won")
    assert (one.seen.status.value, one.seen.output, one.statuses["p.b"]) == ("COMPLETED", "won", "CANCELLED")


def test_a_race_that_was_won_while_the_execution_halted_is_won_behind_the_retry(case: Any) -> None:
    race = Node("p", type=NodeType.PARALLEL, race=True, body=Body((act("a"), act("b"))))
    one = case([race, "x"]).given().raised("x", **PLAIN).returned("p.b", "won").returned("p.a", "late")
    assert (one.seen.status.value, one.statuses["p"]) == ("FAILED", "CANCELLED")
    retried(one)
    assert (one.statuses["p"], one.seen.steps["p"].output) == ("COMPLETED", "won")
    one = case([race, "x"]).given().raised("x", **PLAIN).returned("p.b", "won").interrupted("p.a")
    assert retried(one).seen.steps["p"].output == "won"


def test_groups_within_groups_go_on(case: Any) -> None:
    inner = maps([1, 2], act("a"), name="n")
    one = case([maps([1, 2], inner)]).given().returned("m[0].n[0].a", 1).raised("m[0].n[1].a", **PLAIN)
    one.returned("m[1].n[0].a", 3).returned("m[1].n[1].a", 4)
    assert one.seen.status.value == "FAILED"
    retried(one)
    assert [ready.step for ready in one.turn.ready] == ["m[0].n[1].a"]
    assert one.starts().returned("m[0].n[1].a", 2).seen.output == [[1, 2], [3, 4]]


def test_a_timed_out_execution_goes_on_with_a_new_full_timeout(case: Any) -> None:
    one = case(["a"], timeout_ms=50).given().time(50).cancelled("a")
    assert one.seen.status.value == "TIMED_OUT"
    one.wait(1_000)
    retried(one).starts()
    assert one.state.wake_at() == one.at + 50
    one.time(49)
    assert one.seen.status.value == "RUNNING"
    one.time(1).cancelled("a")
    assert one.seen.status.value == "TIMED_OUT"


@pytest.mark.parametrize("ends", ["running", "completed", "cancelled"])
def test_nothing_else_can_be_retried(case: Any, ends: str) -> None:
    one = case(["a"]).given()
    if ends == "completed":
        one.returned("a")
    elif ends == "cancelled":
        one.cancel().cancelled("a")
    retried(one).gives_nothing(False)


def test_a_parent_retries_also_what_it_had_cancelled(case: Any) -> None:
    one = case(["a"]).given().cancel().cancelled("a")
    retried(one, by_parent=True)
    assert [ready.step for ready in one.turn.ready] == ["a"]


def test_a_retry_counts_once(case: Any) -> None:
    one = case(["a"]).given().raised("a", **PLAIN)
    retried(one, request="r").starts().raised("a", **PLAIN)
    retried(one, request="r").gives_nothing(True)
    assert one.seen.status.value == "FAILED"


def test_a_new_key_is_counted(case: Any) -> None:
    one = case(["a"]).given().raised("a", **PLAIN)
    assert one.state.retries == 0
    assert retried(one, new_key=True).state.retries == 1


def test_a_child_is_retried_and_not_started_anew(case: Any) -> None:
    node = Node("c", type=NodeType.WORKFLOW, workflow="other")
    one = case([node]).created()
    assert one.turn.commands[0].attempt == 1
    one.when(i.ChildEnded(at=T, step="c", child="x/c", error=StepError("X", "no")))
    assert one.seen.status.value == "FAILED"
    retried(one)
    assert (one.turn.commands[0].child, one.turn.commands[0].attempt) == ("x/c", 2)
    one.when(i.ChildEnded(at=T, step="c", child="x/c", output=Raw(b"7")))
    assert one.seen.output == 7


# -- cancelling one step


def cancels(one: Any, step: str, request: str = "") -> Any:
    return one.when(i.CancelStepRequested(at=one.at, step=step, request=request))


def test_a_running_step_is_cancelled_and_its_connections_are_dead(case: Any) -> None:
    one = case(["a", "b", "c"], ["a>b"]).given()
    cancels(one, "a", "r").gives(
        e.StepCancelled(step="a", request="r", at=T),
        e.StepSkipped(step="b", reason="join", at=T),
        commands=[CancelStep("a", 1)],
        accepted=[True],
    )
    assert one.returned("c").seen.status.value == "COMPLETED"
    one = case(["a", "c"]).given()
    cancels(one, "a", "r")
    cancels(one, "a", "r").gives_nothing(True)


def test_a_group_is_cancelled_as_a_region(case: Any) -> None:
    one = case([maps([1, 2], act("a")), "z"], []).given()
    cancels(one, "m")
    assert one.turn.commands == [CancelStep("m[0].a", 1), CancelStep("m[1].a", 1)]
    assert (one.statuses["m"], one.statuses["m[0].a"]) == ("CANCELLED", "CANCELLED")
    assert one.returned("z").seen.status.value == "COMPLETED"


def test_one_item_of_a_map_can_lose_a_step(case: Any) -> None:
    one = case([maps([1, 2], act("a"))]).given()
    cancels(one, "m[0].a")
    assert one.returned("m[1].a", 2).seen.output == [None, 2]


def test_a_step_that_waits_or_asks_can_be_cancelled(case: Any) -> None:
    wait, asks = Node("w", type=NodeType.WAIT, duration=10), act("q", parameters={"x": "${input.x}"})
    one = case([wait, asks]).given()
    cancels(one, "w")
    assert cancels(one, "q").seen.status.value == "COMPLETED"


def test_what_a_cancelled_step_held_back_starts_although_others_still_ask(case: Any) -> None:
    asks = [act(name, parameters={"x": "${input.x}"}) for name in ("q", "r")]
    group = Node("g", type=NodeType.PARALLEL, body=Body((asks[0],)))
    one = case([group, asks[1], "z"], ["g>z"]).given()
    assert one.seen.status.value == "PAUSED"
    cancels(one.wait(5), "g.q").gives(
        e.StepCancelled(step="g.q", at=T + 5),
        e.BodyCompleted(step="g", at=T + 5),
        e.GroupCompleted(step="g", at=T + 5),
        e.ExecutionResumed(by_itself=True, at=T + 5),
        ready=["z"],
        accepted=[True],
    )
    assert one.starts().returned("z").seen.status.value == "PAUSED"


def test_an_execution_that_somebody_paused_stays_so_once_nothing_asks_any_more(case: Any) -> None:
    one = case([act("q", parameters={"x": "${input.x}"}), act("p", parameters={"x": "${input.x}"})]).given()
    one.wait(5).pause("r").gives(e.ExecutionPaused(request="r", at=T + 5), accepted=[True])
    one.pause("s").gives(e.RequestNoted(request="s", at=T + 5), accepted=[True])
    cancels(cancels(one, "q"), "p")
    assert (one.seen.status.value, one.state.paused_at) == ("PAUSED", T)
    assert one.resume().seen.status.value == "COMPLETED"


@pytest.mark.parametrize("step", ["b", "nobody", "c"])
def test_what_has_not_begun_or_has_ended_cannot_be_cancelled(case: Any, step: str) -> None:
    one = case(["a", "b", "c"], ["a>b"]).given().returned("c")
    cancels(one, step).gives_nothing(False)


def test_while_it_ends_no_step_is_cancelled(case: Any) -> None:
    one = case(["a", "b"]).given().raised("a", **PLAIN)
    cancels(one, "b").gives_nothing(False)
