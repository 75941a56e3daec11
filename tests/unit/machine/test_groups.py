"""Maps, loops and parallels: when a body begins, what its end means, what the step gives; and joins that cancel."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from msgspec import Raw

from treadle.errors import ReplayError
from treadle.machine import apply, decode_events, fold, snapshot
from treadle.machine import events as e
from treadle.machine import inputs as i
from treadle.machine.commands import CancelStep
from treadle.model import Body, Connection, ExecutionStatus, Join, JoinKind, Node, NodeType, OnFailure, StepError

T = 1_000
A_B = Body((Node("a", action="act", parameters={"x": "${item}"}), Node("b", action="act")), (Connection("a", "b"),))
ONE = Body((Node("a", action="act"),))
NO = StepError(type="X", message="no")


def maps(items: Any, body: Body = ONE, name: str = "m", **fields: Any) -> Node:
    return Node(name, type=NodeType.MAP, items=items, body=body, **fields)


def loops(body: Body = ONE, name: str = "l", **fields: Any) -> Node:
    return Node(name, type=NodeType.LOOP, body=body, **fields)


def parallel(body: Body, name: str = "p", **fields: Any) -> Node:
    return Node(name, type=NodeType.PARALLEL, body=body, **fields)


def computes(name: str, values: Any) -> Node:
    return Node(name, type=NodeType.SET, values=values)


def acts(*names: str) -> tuple[Node, ...]:
    return tuple(Node(name, action="act") for name in names)


def flying(one: Any) -> list[str]:
    return sorted(one.state.in_flight)


# -- map


def test_a_map_runs_its_body_for_each_item_and_gives_the_outputs_in_their_order(case: Any) -> None:
    one = case([maps("${input.xs}", A_B), "z"], ["m>z"]).given({"xs": [10, 20]})
    assert one.turn.commands[0].parameters == Raw(b'{"x":10}')
    assert flying(one) == ["m[0].a", "m[1].a"]
    one.returned("m[1].a", "A1").starts().returned("m[1].b", "B1").returned("m[0].a", "A0").starts()
    assert one.seen.steps["m"].status.value == "RUNNING"
    assert (one.seen.steps["m"].items.completed, one.seen.steps["m"].items.running) == (1, 1)
    one.returned("m[0].b", "B0")
    assert one.seen.steps["m"].output == ["B0", "B1"]
    assert one.starts().returned("z", 1).seen.status.value == "COMPLETED"


def test_the_turns_of_a_map_are_exactly_these(case: Any) -> None:
    one = case([maps([1, 2])]).created()
    assert one.turn.events[2:] == [
        e.GroupStarted(step="m", items=Raw(b"[1,2]"), at=T),
        e.BodyStarted(step="m", count=2, at=T),
    ]
    one.starts().returned("m[0].a", 5)
    assert one.turn.events[1:] == [e.BodyCompleted(step="m", at=T)]
    one.returned("m[1].a", 6)
    assert one.turn.events[1:] == [
        e.BodyCompleted(step="m", number=1, at=T),
        e.GroupCompleted(step="m", at=T),
        e.ExecutionCompleted(at=T),
    ]
    assert one.seen.output == [5, 6]


@pytest.mark.parametrize("most", [1, 2, 3, 7])
def test_no_more_items_are_under_way_than_max_concurrency(case: Any, most: int) -> None:
    one = case([maps(list(range(7)), max_concurrency=most)]).given()
    for done in range(7):
        assert len(one.state.in_flight) == min(most, 7 - done)
        one.returned(flying(one)[0], done).starts()
    assert one.seen.output == list(range(7))


def test_a_map_over_nothing_gives_an_empty_list_at_once(case: Any) -> None:
    assert case([maps([])]).created().seen.output == []


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ("${input.n}", "map: items must be a list, not a number"),
        ("${input.o}", "map: items must be a list, not an object"),
        ("${input.t}", "map: items must be a list, not text"),
        ("${input.gone}", "input.gone is missing"),
    ],
)
def test_a_map_over_what_is_no_list_fails(case: Any, items: str, message: str) -> None:
    seen = case([maps(items)]).created({"n": 1, "o": {}, "t": "abc"}).seen
    assert (seen.status.value, seen.steps["m"].status.value) == ("FAILED", "FAILED")
    assert message in seen.error.message


def test_a_failed_item_fails_the_map_behind_the_attempts_in_flight(case: Any) -> None:
    one = case([maps([1, 2, 3], A_B), "z"], ["m>z"]).given().raised("m[1].a", permanent=True)
    failed = StepError(type="RuntimeError", message="no", attempt=1, step="m[1].a")
    assert one.turn.events[1:] == [
        e.BodyHalted(step="m", number=1, error=failed, at=T),
        e.BodyFailed(step="m", number=1, error=failed, at=T),
        e.GroupHalted(step="m", error=failed, at=T),
    ]
    one.returned("m[0].a", 0)
    assert (one.state.ready, one.seen.status.value) == ({}, "RUNNING")
    seen = one.returned("m[2].a", 2).seen
    assert (seen.status.value, seen.error.step) == ("FAILED", "m[1].a")
    assert {key: step.status.value for key, step in seen.steps.items()} == {
        "m": "FAILED",
        "m[0].a": "COMPLETED",
        "m[0].b": "PENDING",
        "m[1].a": "FAILED",
        "m[1].b": "PENDING",
        "m[2].a": "COMPLETED",
        "m[2].b": "PENDING",
        "z": "PENDING",
    }


def test_with_on_failure_cancel_a_failing_map_cancels_what_is_in_flight(case: Any) -> None:
    one = case([maps([1, 2], on_failure=OnFailure.CANCEL)]).given().raised("m[0].a", permanent=True)
    assert one.turn.commands == [CancelStep("m[1].a", 1)]
    assert one.state.cancels("m[1].a")
    assert one.cancelled("m[1].a").seen.status.value == "FAILED"


@pytest.mark.parametrize(
    ("tolerate", "bears"), [(0, 0), (1, 1), (2, 2), ("25%", 1), ("50%", 2), ("49%", 1), ("100%", 4)]
)
def test_a_map_bears_as_many_failures_as_it_tolerates(case: Any, tolerate: Any, bears: int) -> None:
    for fails in range(5):
        one = case([maps([0, 1, 2, 3], tolerate=tolerate)]).given()
        for number in range(4):
            step = f"m[{number}].a"
            if step in one.state.in_flight:
                one.raised(step, permanent=True) if number < fails else one.returned(step, number)
        assert one.seen.status.value == ("COMPLETED" if fails <= bears else "FAILED"), fails
        if fails <= bears:
            assert one.seen.output == [None] * fails + list(range(fails, 4))
            assert list(one.seen.steps["m"].items.errors) == list(range(fails))


@pytest.mark.parametrize(("tolerate", "named"), [(0, 0), (1, 1), ("50%", 2)])
def test_a_map_fails_with_the_first_error_that_it_does_not_tolerate(case: Any, tolerate: Any, named: int) -> None:
    """Also where all items fail in one moment."""
    seen = case([maps([1, 2, 3, 4], Body((computes("v", "${gone}"),)), tolerate=tolerate)]).created().seen
    assert (seen.status.value, seen.error.step) == ("FAILED", f"m[{named}].v")


def test_the_errors_of_tolerated_items_can_be_read(case: Any) -> None:
    output = {"errors": "${steps.m.errors}", "n": "${size(steps.m.errors)}"}
    one = case([maps([1, 2], tolerate=1)], output=output).given().raised("m[1].a", permanent=True).returned("m[0].a", 1)
    assert one.seen.output["n"] == 1
    assert one.seen.output["errors"][0]["index"] == 1
    assert one.seen.output["errors"][0]["type"] == "RuntimeError"


@pytest.mark.parametrize(
    "condition", ["size(results) == 2", "completed == 2", "completed + failed == 2", "results[1] == 'done'"]
)
def test_a_map_is_complete_before_its_time_once_complete_when_is_true(case: Any, condition: str) -> None:
    one = case([maps([1, 2, 3, 4], max_concurrency=3, complete_when=condition), "z"], ["m>z"]).given()
    one.returned("m[1].a", "first").starts()
    assert flying(one) == ["m[0].a", "m[2].a", "m[3].a"]
    one.returned("m[0].a", "done")
    assert one.turn.events[1:] == [
        e.BodyCompleted(step="m", at=T),
        e.GroupCompleted(step="m", reason="complete_when", at=T),
    ]
    assert one.turn.commands == [CancelStep("m[2].a", 1), CancelStep("m[3].a", 1)]
    seen = one.seen
    assert seen.steps["m"].output == ["done", "first", None, None]
    assert (seen.steps["m[2].a"].status.value, flying(one)) == ("CANCELLED", [])
    one.cancelled("m[2].a", attempt=1)
    assert one.turn.events == []
    assert one.starts().returned("z").seen.status.value == "COMPLETED"


def test_nothing_moves_any_more_in_the_bodies_of_a_map_that_is_done(case: Any) -> None:
    """The first item completes the map in the moment in which the second one reaches its action."""
    nodes = (maps([], name="nothing", condition="index == 1"), Node("late", action="act", condition="true"))
    body = Body(nodes, (Connection("nothing", "late"),))
    one = case([maps([1, 2], body, complete_when="completed == 1"), "z"], ["m>z"]).created()
    assert ([ready.step for ready in one.turn.ready], one.statuses["m[1].late"]) == (["z"], "PENDING")
    failing = Node("f", type=NodeType.SET, values="${gone}", condition="index == 0")
    body = Body((failing, *nodes), (Connection("nothing", "late"),))
    one = case([maps([1, 2], body, continue_on_error=True), "z"], ["m>z"]).created()
    assert ([ready.step for ready in one.turn.ready], one.statuses["m[1].late"]) == (["z"], "PENDING")


def test_a_complete_when_that_gives_no_boolean_fails_the_map(case: Any) -> None:
    seen = case([maps([1, 2], complete_when="completed")]).created().seen
    assert (seen.status.value, seen.error.type) == ("FAILED", "ExpressionError")
    assert "complete_when: a condition must give true or false, not int" in seen.error.message


def test_items_and_their_numbers_are_read_by_name_also_within_each_other(case: Any) -> None:
    inner = maps("${row.cells}", Body((computes("v", "${row.name}${item}${index}"),)), "inner")
    rows = [{"name": "r", "cells": [1, 2]}, {"name": "s", "cells": [3]}]
    one = case([maps(rows, Body((inner,)), item_name="row")]).created()
    assert one.seen.output == [["r10", "r21"], ["s30"]]
    assert "m[0].inner[1].v" in one.seen.steps


def test_a_body_sees_what_is_before_the_map_and_gives_its_output(case: Any) -> None:
    body = Body((computes("v", "${a.base + item}"),), output={"sum": "${v}", "status": "${steps.a.status}"})
    one = case(["a", maps([1, 2], body)], ["a>m"]).given().returned("a", {"base": 10})
    assert one.seen.output == [{"sum": 11, "status": "COMPLETED"}, {"sum": 12, "status": "COMPLETED"}]


def test_a_body_without_output_gives_its_leaves(case: Any) -> None:
    body = Body((computes("v", 1), computes("w", 2)))
    assert case([maps([0], body)]).created().seen.output == [{"v": 1, "w": 2}]


def test_a_failing_output_of_a_body_fails_the_item(case: Any) -> None:
    body = Body((computes("v", 1),), output="${1 / (item - 1)}")
    seen = case([maps([1, 2], body, tolerate=1)]).created().seen
    assert seen.output == [None, 1]
    assert "output of m[0]" in seen.steps["m"].items.errors[0].message


def test_ids_that_are_no_identifiers_are_quoted_in_paths(case: Any) -> None:
    body = Body((computes("a.b", 1), computes("c d", 2)))
    assert list(case([maps([0], body, "my map")]).created().seen.steps) == [
        "my map",
        '["my map"][0]["a.b"]',
        '["my map"][0]["c d"]',
    ]


def test_a_failed_map_can_be_handled_like_any_step(case: Any) -> None:
    from treadle.model import Outcome

    connections = [Connection("m", "z", outcome=Outcome.FAILURE)]
    one = case([maps([1]), "z"], connections).given().raised("m[0].a", permanent=True).starts().returned("z", 1)
    assert (one.seen.status.value, one.seen.handled_failures) == ("COMPLETED", ("m",))
    one = case([maps([1], continue_on_error=True), "z"], ["m>z"]).given().raised("m[0].a", permanent=True)
    assert one.starts().returned("z", 1).seen.status.value == "COMPLETED"


def test_a_crash_in_the_middle_of_a_map_runs_only_what_was_in_flight_again(case: Any) -> None:
    one = case([maps(list(range(1_000)), max_concurrency=5)]).given()
    for number in range(400):
        one.returned(f"m[{number}].a", number).starts()
    again = fold(one.plan, [decode_events(turn) for turn in one.log])
    assert sorted(again.in_flight) == [f"m[{number}].a" for number in range(400, 405)]
    assert snapshot(again) == one.seen


# -- loop


def test_a_loop_goes_on_until_its_condition_is_true(case: Any) -> None:
    one = case([loops(until="previous >= 3"), "z"], ["l>z"]).given()
    for number in (1, 2, 3):
        assert flying(one) == [f"l[{number - 1}].a"]
        one.returned(f"l[{number - 1}].a", number).starts()
    assert (one.seen.steps["l"].output, one.seen.steps["l"].iterations) == (3, 3)
    assert flying(one) == ["z"]


def test_a_loop_runs_while_its_condition_is_true(case: Any) -> None:
    body = Body((computes("v", "${index * 10}"),))
    assert case([loops(body, repeat_while="index < 3")]).created().seen.output == 20
    assert case([loops(body, repeat_while="false")]).created().seen.output is None
    assert case([loops(body, repeat_while="index < 9", until="previous == 10")]).created().seen.output == 10


def test_an_iteration_sees_what_the_one_before_gave(case: Any) -> None:
    body = Body((computes("v", "${previous == null ? 1 : previous * 2}"),))
    assert case([loops(body, until="index == 9")]).created().seen.output == 512


def test_a_loop_keeps_its_last_iteration_only(case: Any) -> None:
    one = case([loops(Body((computes("v", "${index}"), maps([1], ONE, "m"))), until="index == 2")]).given()
    one.returned("l[0].m[0].a").starts()
    assert list(one.seen.steps) == ["l", "l[1].v", "l[1].m", "l[1].m[0].a"]
    assert set(one.state.bodies) == {"l[1]", "l[1].m[0]"}
    late = one.when(i.ActionReturned(step="l[0].m[0].a", attempt=1, output=Raw(b"1"), at=T))
    assert (late.turn.events, late.turn.accepted) == ([], [False])


@pytest.mark.parametrize("most", [1, 3])
def test_passing_max_iterations_is_a_failure(case: Any, most: int) -> None:
    seen = case([loops(Body((computes("v", 1),)), until="false", max_iterations=most)]).created().seen
    assert (seen.status.value, seen.error.type) == ("FAILED", "MaxIterationsExceeded")
    assert f"after {most} iterations (max_iterations: {most})" in seen.error.message


def test_a_loop_may_have_as_many_iterations_as_max_iterations(case: Any) -> None:
    body = Body((computes("v", "${index}"),))
    assert case([loops(body, until="index == 2", max_iterations=3)]).created().seen.output == 2
    assert case([loops(body, repeat_while="index < 3", max_iterations=3)]).created().seen.output == 2


def test_a_thousand_iterations_that_wait_for_nothing_are_one_turn(case: Any) -> None:
    one = case([loops(Body((computes("v", "${index}"),)), until="index == 999")]).created()
    assert (one.seen.output, len(one.log)) == (999, 1)


def test_a_condition_of_a_loop_that_gives_no_boolean_fails_it(case: Any) -> None:
    seen = case([loops(Body((computes("v", 1),)), until="previous")]).created().seen
    assert (seen.error.type, seen.error.message) == (
        "ExpressionError",
        "loop: a condition must give true or false, not int",
    )


def test_a_failed_iteration_fails_the_loop(case: Any) -> None:
    seen = case([loops(until="false")]).given().raised("l[0].a", permanent=True).seen
    assert (seen.status.value, seen.steps["l"].status.value, seen.error.step) == ("FAILED", "FAILED", "l[0].a")


# -- parallel


def test_a_parallel_is_done_when_all_in_it_is(case: Any) -> None:
    one = case([parallel(Body(acts("a", "b"))), "z"], ["p>z"]).given()
    assert flying(one) == ["p.a", "p.b"]
    assert flying(one.returned("p.b", 2).starts()) == ["p.a"]
    one.returned("p.a", 1).starts()
    assert (one.seen.steps["p"].output, flying(one)) == ({"a": 1, "b": 2}, ["z"])


def test_a_failure_in_a_parallel_fails_it_and_nothing_outside_of_it(case: Any) -> None:
    one = case([parallel(Body(acts("a", "b")), continue_on_error=True), "y", "z"], ["p>z"]).given()
    one.raised("p.a", permanent=True)
    assert (one.statuses["p"], flying(one)) == ("RUNNING", ["p.b", "y"])
    one.returned("p.b").starts()
    assert (one.statuses["p"], flying(one)) == ("FAILED", ["y", "z"])


@pytest.mark.parametrize("order", list(itertools.permutations("abc")))
def test_the_first_to_succeed_wins_a_race(case: Any, order: tuple[str, ...]) -> None:
    one = case([parallel(Body(acts("a", "b", "c")), race=True), "z"], ["p>z"]).given()
    loser, winner, other = order
    one.raised(f"p.{loser}", permanent=True)
    assert one.turn.events[1:] == [e.FailureHandled(step=f"p.{loser}", by="race", at=T)]
    one.returned(f"p.{winner}", winner)
    assert one.turn.events[1:] == [
        e.BodyCompleted(step="p", output=Raw(f'"{winner}"'.encode()), at=T),
        e.GroupCompleted(step="p", reason="race", at=T),
    ]
    assert one.turn.commands == [CancelStep(f"p.{other}", 1)]
    assert one.statuses == {f"p.{loser}": "FAILED", f"p.{winner}": "COMPLETED", f"p.{other}": "CANCELLED"} | {
        "p": "COMPLETED",
        "z": "WAITING",
    }


def test_what_is_cancelled_with_its_group_has_ended_then(case: Any) -> None:
    one = case([parallel(Body((*acts("a", "b"), Node("w", type=NodeType.WAIT, duration=99))), race=True)]).given()
    one.wait(5).returned("p.a")
    assert {key: one.seen.steps[key].ended_at for key in ("p.b", "p.w")} == dict.fromkeys(
        ("p.b", "p.w"), one.seen.ended_at
    )
    deep = parallel(Body((maps([1]),)), timeout_ms=50)
    one = case([deep]).given().time(50)
    assert all(step.ended_at == one.seen.ended_at for step in one.seen.steps.values())


def test_a_race_that_nobody_wins_fails_with_the_first_error(case: Any) -> None:
    one = case([parallel(Body(acts("a", "b")), race=True)]).given()
    seen = one.raised("p.b", permanent=True).raised("p.a", permanent=True).seen
    assert (seen.status.value, seen.error.step) == ("FAILED", "p.b")


def test_of_leaves_that_succeed_in_one_moment_the_first_to_do_so_wins(case: Any) -> None:
    late = (computes("a", 1), computes("slow", "slow"), computes("quick", "quick"))
    one = case([parallel(Body(late, (Connection("a", "slow"),)), race=True)]).created()
    assert one.seen.output == "quick"


def test_a_race_that_an_end_wins_gives_what_the_end_gives(case: Any) -> None:
    for output in (None, 7):
        end = Node("e", type=NodeType.END, output=output)
        assert case([parallel(Body((end, *acts("a"))), race=True)]).created().seen.output == output


def test_the_first_error_of_a_race_is_that_of_the_step_that_failed_first(case: Any) -> None:
    """Not of the step whose attempt failed first, and not of one that was cancelled between its attempts."""
    one = case([parallel(Body(acts("a", "b")), race=True)]).given().raised("p.a").raised("p.b", permanent=True)
    assert one.time(1_000).starts().raised("p.a", permanent=True).seen.error.step == "p.b"
    join = Node("j", action="act", join=Join(JoinKind.ANY), cancel_rest=True)
    body = Body((*acts("a", "b"), join), (Connection("a", "j"), Connection("b", "j")))
    one = case([parallel(body, race=True)]).given().raised("p.a").returned("p.b").starts()
    assert one.raised("p.j", permanent=True).seen.error.step == "p.j"


def test_a_race_without_a_runner_fails(case: Any) -> None:
    body = Body((Node("a", action="act", condition="false"),))
    assert case([parallel(body, race=True)]).created().seen.error.type == "NobodyWon"


def test_an_end_in_a_body_ends_that_body(case: Any) -> None:
    ends = Node("e", type=NodeType.END, output="${item}", condition="item > 1")
    body = Body((ends, Node("a", action="act")))
    one = case([maps([1, 2], body)]).created()
    assert one.statuses["m[1].a"] == "CANCELLED"
    seen = one.starts().returned("m[0].a", "a").seen
    assert seen.output == [{"a": "a"}, 2]
    ends = Node("e", type=NodeType.END, status=ExecutionStatus.FAILED, message="bad ${item}", condition="item > 1")
    seen = case([maps([1, 2], Body((ends, computes("v", 1)), output="${v}"), tolerate=1)]).created().seen
    assert seen.output == [1, None]
    assert seen.steps["m"].items.errors[1].message == "bad 2"


# -- time, pauses, cancels


def test_the_timeout_of_a_map_counts_no_more_once_the_execution_is_cancelled(case: Any) -> None:
    one = case([maps([1], timeout_ms=50)]).given()
    one.when(i.CancelExecutionRequested(at=T)).time(50).gives_nothing()
    one.cancelled("m[0].a")
    assert one.seen.status is ExecutionStatus.CANCELLED


def test_a_timeout_ends_all_that_is_in_a_group(case: Any) -> None:
    one = case([maps([1, 2], timeout_ms=50), "z"], ["m>z"]).given().returned("m[0].a").time(50)
    assert one.turn.commands == [CancelStep("m[1].a", 1)]
    assert one.turn.events[0].error.message == "it took longer than its timeout of 0.05 s"
    assert (one.statuses["m"], one.statuses["m[1].a"], one.seen.status.value) == ("TIMED_OUT", "CANCELLED", "FAILED")


def test_steps_in_bodies_wait_retry_and_ask_like_any_other(case: Any) -> None:
    body = Body((Node("w", type=NodeType.WAIT, duration=30), Node("a", action="act", parameters={"x": "${input.x}"})))
    one = case([parallel(body)]).given()
    assert (one.statuses["p.w"], one.statuses["p.a"]) == ("WAITING", "PAUSED")
    assert one.seen.waiting_for == ("input.x",)
    assert one.time(30).seen.status.value == "PAUSED"
    one.when(i.ResumeRequested(at=one.at, inputs=Raw(b'{"x":1}'))).starts().raised("p.a")
    assert one.statuses["p.a"] == "WAITING"
    assert one.time(1_000).starts().returned("p.a", 1).seen.status.value == "COMPLETED"


def test_cancelling_an_execution_ends_its_bodies(case: Any) -> None:
    body = Body((*acts("a"), Node("w", type=NodeType.WAIT, duration=30)))
    one = case([maps([1, 2], body)]).given().when(i.CancelExecutionRequested(at=T))
    assert one.turn.commands == [CancelStep("m[0].a", 1), CancelStep("m[1].a", 1)]
    one.cancelled("m[0].a").returned("m[1].a", 1)
    assert one.turn.events[-2:] == [
        e.StepCancelled(step="m", at=T),
        e.ExecutionCancelled(error=StepError(type="Cancelled", message="cancelled on request"), at=T),
    ]
    assert set(one.statuses.values()) == {"CANCELLED", "COMPLETED"}


def test_a_halt_outside_lets_attempts_in_bodies_end_and_starts_nothing_new(case: Any) -> None:
    one = case([maps([1, 2, 3], A_B, max_concurrency=2), "y"]).given().raised("y", permanent=True)
    assert (flying(one), one.turn.commands) == (["m[0].a", "m[1].a"], [])
    one.returned("m[0].a").raised("m[1].a")
    assert (one.seen.status.value, one.state.ready, one.statuses["m"]) == ("FAILED", {}, "CANCELLED")


# -- cancel_rest


def test_a_join_cancels_what_only_leads_to_it(case: Any) -> None:
    join = Node("j", action="act", join=Join(JoinKind.ANY), cancel_rest=True)
    one = case(["a", "b", "b2", "c", "other", join], ["a>j", "b>b2", "b2>j", "c>j", "c>other"]).given()
    one.returned("a")
    assert one.turn.commands == [CancelStep("b", 1)]
    assert one.turn.events[1:] == [
        e.StepCancelled(step="b", at=T),
        e.StepReady(step="j", at=T),
        e.StepSkipped(step="b2", reason="join", at=T),
    ]
    one.returned("c").starts().returned("j").returned("other")
    assert one.statuses == {
        "a": "COMPLETED",
        "b": "CANCELLED",
        "b2": "SKIPPED",
        "c": "COMPLETED",
        "other": "COMPLETED",
        "j": "COMPLETED",
    }
    assert one.seen.status.value == "COMPLETED"


def test_a_join_cancels_waits_and_whole_groups(case: Any) -> None:
    join = Node("j", action="act", join=Join(JoinKind.ANY), cancel_rest=True)
    wait = Node("w", type=NodeType.WAIT, duration=10)
    one = case(["a", wait, maps([1, 2]), join], ["a>j", "w>j", "m>j"]).given().returned("a")
    assert one.turn.commands == [CancelStep("m[0].a", 1), CancelStep("m[1].a", 1)]
    assert [one.statuses[step] for step in ("w", "m", "m[0].a", "m[1].a")] == ["CANCELLED"] * 4
    assert one.starts().returned("j").seen.status.value == "COMPLETED"


def test_without_cancel_rest_the_others_go_on(case: Any) -> None:
    one = case(["a", "b", Node("j", action="act", join=Join(JoinKind.ANY))], ["a>j", "b>j"]).given().returned("a")
    assert (one.turn.commands, one.statuses["b"]) == ([], "RUNNING")


# -- logs that do not fit


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (e.GroupStarted(step="a", at=T), "step 'a' has no body"),
        (e.BodyStarted(step="n", at=T), "step 'n' has not begun"),
        (e.BodyStarted(step="m", number=5, at=T), "body 5 of 'm' is out of turn"),
        (e.BodyCompleted(step="m", number=5, at=T), "body 5 of 'm' is not open"),
        (e.BodyFailed(step="m", error=NO, number=5, at=T), "body 5 of 'm' is not open"),
        (e.BodyHalted(step="m", error=NO, number=5, at=T), "body 5 of 'm' is not open"),
        (e.StepReady(step="m[7].a", at=T), r"has no step 'm\[7\].a'"),
        (
            e.ConnectionDecided(connection=0, source="a", target="b", taken=True, body="q", at=T),
            "there is no body 'q'",
        ),
    ],
)
def test_an_event_that_does_not_fit_is_refused(case: Any, event: Any, message: str) -> None:
    one = case(["a", maps([1]), Node("n", type=NodeType.LOOP, body=ONE, until="true")], ["a>n"]).created()
    with pytest.raises(ReplayError, match=message):
        apply(one.state, event)
