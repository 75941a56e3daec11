"""Which connections are taken, which nodes run, and which are skipped."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from msgspec import Raw

from treadle.machine import events as e
from treadle.machine import inputs as i
from treadle.machine.commands import CancelStep, RunStep
from treadle.model import Connection, Join, JoinKind, Node, NodeType, OnSkip, Outcome, RetryPolicy, StepError

T = 1_000
ONCE = RetryPolicy(max_attempts=1)
ONE = Raw(b"1")
EMPTY = Raw(b"{}")


def once(name: str, **fields: Any) -> Node:
    return Node(name, action="act", retry=ONCE, **fields)


# -- connections


def test_what_follows_a_success_becomes_ready_and_nothing_else(case: Any) -> None:
    one = case(["a", "b", "c"], ["a>b", Connection("a", "c", outcome=Outcome.FAILURE)]).given()
    one.returned("a", 1).gives(
        e.StepSucceeded(step="a", attempt=1, output=ONE, at=T),
        e.StepSkipped(step="c", reason="join", at=T),
        ready=["b"],
        accepted=[True],
    )


@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize("succeeds", [True, False])
def test_a_connection_follows_the_outcome_of_its_source(case: Any, outcome: Outcome, succeeds: bool) -> None:
    connections = [Connection("a", "b", outcome=outcome)]
    if not succeeds:  # so that the failure is handled whatever the other connection does
        connections.append(Connection("a", "c", outcome=Outcome.FAILURE))
    one = case([once("a"), "b", "c"], connections).given()
    if succeeds:
        one.returned("a", 1)
    else:
        one.raised("a")
    is_taken = outcome is Outcome.ALWAYS or (outcome is Outcome.SUCCESS) == succeeds
    assert one.statuses["b"] == ("WAITING" if is_taken else "SKIPPED")


def test_each_conditional_connection_is_decided_in_document_order_and_recorded(case: Any) -> None:
    connections = [Connection("a", "b", condition="a > 5"), Connection("a", "c", condition="a < 5")]
    one = case(["a", "b", "c"], connections).given()
    one.returned("a", 1).gives(
        e.StepSucceeded(step="a", attempt=1, output=ONE, at=T),
        e.ConnectionDecided(connection=0, source="a", target="b", taken=False, at=T),
        e.ConnectionDecided(connection=1, source="a", target="c", taken=True, at=T),
        e.StepSkipped(step="b", reason="join", at=T),
        ready=["c"],
    )


@pytest.mark.parametrize(("output", "taken"), [(1, "b"), (2, "c"), (3, "d")])
def test_else_is_taken_when_no_condition_beside_it_is(case: Any, output: int, taken: str) -> None:
    connections = [
        Connection("a", "d", otherwise=True),
        Connection("a", "b", condition="a == 1"),
        Connection("a", "c", condition="a == 2"),
    ]
    one = case(["a", "b", "c", "d"], connections).given().returned("a", output)
    assert one.statuses == {"a": "COMPLETED", "b": "SKIPPED", "c": "SKIPPED", "d": "SKIPPED"} | {taken: "WAITING"}
    assert [one.connection for one in one.turn.events if isinstance(one, e.ConnectionDecided)] == [1, 2, 0]


def test_else_looks_only_at_the_conditions_of_its_own_outcome(case: Any) -> None:
    connections = [
        Connection("a", "b", condition="true", outcome=Outcome.SUCCESS),
        Connection("a", "c", condition="false", outcome=Outcome.FAILURE),
        Connection("a", "d", otherwise=True, outcome=Outcome.FAILURE),
    ]
    one = case([once("a"), "b", "c", "d"], connections).given().raised("a")
    assert one.statuses == {"a": "FAILED", "b": "SKIPPED", "c": "SKIPPED", "d": "WAITING"}


def test_else_beside_an_unconditional_connection_is_taken(case: Any) -> None:
    """An unconditional connection has no condition that could be taken."""
    connections = ["a>b", Connection("a", "c", condition="false"), Connection("a", "d", otherwise=True)]
    one = case(["a", "b", "c", "d"], connections).given().returned("a")
    assert one.statuses == {"a": "COMPLETED", "b": "WAITING", "c": "SKIPPED", "d": "WAITING"}


@pytest.mark.parametrize(
    ("condition", "missing"),
    [
        ("input.absent", "input.absent"),
        ("input.absent == null", "input.absent"),
        ("!input.absent", "input.absent"),
        ("a.x.y > 1", "a.x"),
        ("b == 1", "b"),
        ("steps.b.output == 1", "steps.b.output"),
        ("steps.a.error.type == 'x'", "steps.a.error"),
    ],
)
def test_a_condition_that_meets_a_missing_name_is_not_taken_and_the_name_is_recorded(
    case: Any, condition: str, missing: str
) -> None:
    one = case(["a", "b"], [Connection("a", "b", condition=condition)]).given()
    one.returned("a", {}).gives(
        e.StepSucceeded(step="a", attempt=1, output=EMPTY, at=T),
        e.ConnectionDecided(connection=0, source="a", target="b", taken=False, missing=missing, at=T),
        e.StepSkipped(step="b", reason="join", at=T),
        e.ExecutionCompleted(at=T),
    )


@pytest.mark.parametrize("condition", ["has(input.absent)", "default(input.absent, true)"])
def test_within_has_and_default_a_missing_name_is_an_answer(case: Any, condition: str) -> None:
    one = case(["a", "b"], [Connection("a", "b", condition=condition)]).given().returned("a")
    decided = one.turn.events[1]
    assert (decided.taken, decided.missing) == (condition.startswith("default"), "")


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        ("1", "a condition must give true or false, not int"),
        ("'true'", "a condition must give true or false, not str"),
        ("null", "a condition must give true or false, not NoneType"),
        ("a", "a condition must give true or false, not dict"),
        ("a > 1", ""),
    ],
)
def test_a_condition_that_gives_no_boolean_halts_and_names_its_connection(case: Any, condition: str, says: str) -> None:
    connections = ["a>b", Connection("a", "c", condition="true"), Connection("a", "d", condition=condition)]
    one = case(["a", "b", "c", "d"], connections).given().returned("a", {})
    error = one.seen.error
    assert error.type == "ExpressionError"
    assert error.message.startswith("condition of connection 'a' -> 'd': ")
    assert says in error.message
    assert error.details == {"connection": 2, "source": "a", "target": "d"}
    one.gives(
        e.StepSucceeded(step="a", attempt=1, output=EMPTY, at=T),
        e.ExecutionHalted(error=error, at=T),
        e.StepCancelled(step="b", at=T),
        e.ExecutionFailed(error=error, at=T),
    )
    assert one.statuses == {"a": "COMPLETED", "b": "CANCELLED", "c": "PENDING", "d": "PENDING"}


def test_a_broken_condition_on_a_failure_connection_halts_in_place_of_handling(case: Any) -> None:
    one = case([once("a"), "b"], [Connection("a", "b", condition="1", outcome=Outcome.FAILURE)]).given().raised("a")
    assert one.kinds == ["StepFailed a", "ExecutionHalted", "ExecutionFailed"]
    assert one.seen.error.type == "ExpressionError"


# -- conditions of nodes


def test_a_node_whose_condition_is_taken_is_ready(case: Any) -> None:
    one = case(["a", Node("b", action="act", condition="a == 1")], ["a>b"]).given()
    one.returned("a", 1).gives(
        e.StepSucceeded(step="a", attempt=1, output=ONE, at=T), e.StepReady(step="b", at=T), ready=["b"]
    )


def test_a_node_whose_condition_is_not_taken_is_skipped_and_what_follows_is_dead(case: Any) -> None:
    one = case(["a", Node("b", action="act", condition="a == 2"), "c"], ["a>b", "b>c"]).given()
    one.returned("a", 1).gives(
        e.StepSucceeded(step="a", attempt=1, output=ONE, at=T),
        e.StepSkipped(step="b", reason="condition", at=T),
        e.StepSkipped(step="c", reason="join", at=T),
        e.ExecutionCompleted(at=T),
    )


def test_on_skip_pass_goes_on_as_after_a_success(case: Any) -> None:
    passing = Node("b", action="act", condition="input.go", on_skip=OnSkip.PASS)
    connections = [
        "b>c",
        Connection("b", "d", condition="true"),
        Connection("b", "e", outcome=Outcome.FAILURE),
        Connection("b", "f", outcome=Outcome.ALWAYS),
    ]
    one = case([passing, "c", "d", "e", "f"], connections).created()
    assert one.turn.events[2:] == [
        e.StepSkipped(step="b", reason="condition", passes=True, missing="input.go", at=T),
        e.ConnectionDecided(connection=1, source="b", target="d", taken=True, at=T),
        e.StepSkipped(step="e", reason="join", at=T),
    ]
    assert [ready.step for ready in one.turn.ready] == ["c", "d", "f"]


def test_on_skip_pass_does_not_make_up_for_a_join_that_is_lost(case: Any) -> None:
    passing = Node("b", action="act", condition="true", on_skip=OnSkip.PASS)
    one = case(["a", passing, "c"], [Connection("a", "b", condition="false"), "b>c"]).given().returned("a")
    assert one.statuses == {"a": "COMPLETED", "b": "SKIPPED", "c": "SKIPPED"}


def test_a_broken_condition_of_a_node_fails_the_step_which_may_be_handled(case: Any) -> None:
    broken = Node("b", action="act", condition="1")
    error = StepError(
        type="ExpressionError",
        message="condition of step 'b': a condition must give true or false, not int",
        step="b",
    )
    case(["a", broken], ["a>b"]).given().returned("a", 1).gives(
        e.StepSucceeded(step="a", attempt=1, output=ONE, at=T),
        e.StepFailed(step="b", attempt=0, error=error, at=T),
        e.ExecutionHalted(error=error, at=T),
        e.ExecutionFailed(error=error, at=T),
    )
    handled = case([broken, "c"], [Connection("b", "c", outcome=Outcome.FAILURE)]).created()
    assert handled.statuses == {"b": "FAILED", "c": "WAITING"}


def test_the_condition_of_a_node_sees_what_was_decided_before_it(case: Any) -> None:
    """It is evaluated once the join is met, when every source has ended."""
    join = Node("c", action="act", condition="a + b == 3")
    one = case(["a", "b", join], ["a>c", "b>c"]).given().returned("a", 1).returned("b", 2)
    assert one.kinds == ["StepSucceeded b", "StepReady c"]


# -- joins


def fan(case: Any, join: Join, size: int = 3, **fields: Any) -> Any:
    names = [f"s{number}" for number in range(size)]
    nodes = [*(once(name) for name in names), Node("j", action="act", join=join, **fields)]
    return case(nodes, [Connection(name, "j", condition=f"{name} == 1") for name in names]).given()


@pytest.mark.parametrize(
    ("join", "outputs", "statuses"),
    [
        (Join(), [1, 1, 1], ["PENDING", "PENDING", "WAITING"]),
        (Join(), [0, 0, 1], ["PENDING", "PENDING", "WAITING"]),
        (Join(), [1, 0, 0], ["PENDING", "PENDING", "WAITING"]),
        (Join(), [0, 0, 0], ["PENDING", "PENDING", "SKIPPED"]),
        (Join(JoinKind.EVERY), [1, 1, 1], ["PENDING", "PENDING", "WAITING"]),
        (Join(JoinKind.EVERY), [1, 0, 1], ["PENDING", "SKIPPED", "SKIPPED"]),
        (Join(JoinKind.EVERY), [0, 1, 1], ["SKIPPED", "SKIPPED", "SKIPPED"]),
        (Join(JoinKind.ANY), [1, 1, 1], ["WAITING", "WAITING", "WAITING"]),
        (Join(JoinKind.ANY), [0, 1, 0], ["PENDING", "WAITING", "WAITING"]),
        (Join(JoinKind.ANY), [0, 0, 0], ["PENDING", "PENDING", "SKIPPED"]),
        (Join(JoinKind.AT_LEAST, 2), [1, 1, 1], ["PENDING", "WAITING", "WAITING"]),
        (Join(JoinKind.AT_LEAST, 2), [1, 0, 1], ["PENDING", "PENDING", "WAITING"]),
        (Join(JoinKind.AT_LEAST, 2), [0, 0, 1], ["PENDING", "SKIPPED", "SKIPPED"]),
        (Join(JoinKind.AT_LEAST, 3), [1, 0, 1], ["PENDING", "SKIPPED", "SKIPPED"]),
        (Join(JoinKind.AT_LEAST, 1), [0, 0, 1], ["PENDING", "PENDING", "WAITING"]),
    ],
)
def test_a_join_is_met_or_lost_at_the_first_decision_that_settles_it(
    case: Any, join: Join, outputs: list[int], statuses: list[str]
) -> None:
    one = fan(case, join)
    seen = []
    for number, output in enumerate(outputs):
        one.returned(f"s{number}", output)
        seen.append(one.statuses["j"])
    assert seen == statuses
    assert sum(ready.step == "j" for ready in one.turn.ready) == (statuses[-2:] == ["PENDING", "WAITING"])


def test_what_is_decided_after_a_join_was_met_changes_nothing_even_while_it_runs_or_has_ended(case: Any) -> None:
    one = fan(case, Join(JoinKind.ANY))
    one.returned("s0", 1).starts("j").gives(
        e.StepStarted(step="j", attempt=1, at=T), commands=[RunStep("j", 1, one.plan.nodes[3].node, EMPTY)]
    )
    one.returned("s1", 1).gives(
        e.StepSucceeded(step="s1", attempt=1, output=ONE, at=T),
        e.ConnectionDecided(connection=1, source="s1", target="j", taken=True, at=T),
    )
    one.returned("j", 1)
    one.returned("s2", 0).gives(
        e.StepSucceeded(step="s2", attempt=1, output=Raw(b"0"), at=T),
        e.ConnectionDecided(connection=2, source="s2", target="j", taken=False, at=T),
        e.ExecutionCompleted(at=T),
    )


def test_a_join_with_a_condition_that_is_met_by_two_decisions_of_one_turn_moves_once(case: Any) -> None:
    node = Node("j", action="act", join=Join(JoinKind.ANY), condition="true")
    one = case(["a", node], ["a>j", Connection("a", "j", condition="true")]).given().returned("a")
    assert one.kinds == ["StepSucceeded a", "ConnectionDecided", "StepReady j"]


def test_a_failed_source_that_is_passed_over_counts_as_active(case: Any) -> None:
    one = case(
        [once("a", continue_on_error=True), "b", Node("j", action="act", join=Join(JoinKind.EVERY))], ["a>j", "b>j"]
    )
    one.given().raised("a").returned("b")
    assert [ready.step for ready in one.turn.ready] == ["j"]


def test_a_diamond_with_a_skipped_branch_does_not_hang(case: Any) -> None:
    nodes = ["a", "b", "c", "c2", "d"]
    one = case(
        nodes, [Connection("a", "b", condition="true"), Connection("a", "c", otherwise=True), "c>c2", "b>d", "c2>d"]
    )
    one.given().returned("a").gives(
        e.StepSucceeded(step="a", attempt=1, output=Raw(b"null"), at=T),
        e.ConnectionDecided(connection=0, source="a", target="b", taken=True, at=T),
        e.ConnectionDecided(connection=1, source="a", target="c", taken=False, at=T),
        e.StepSkipped(step="c", reason="join", at=T),
        e.StepSkipped(step="c2", reason="join", at=T),
        ready=["b"],
    )
    one.starts().returned("b", 1).gives(e.StepSucceeded(step="b", attempt=1, output=ONE, at=T), ready=["d"])


def test_a_dead_path_is_followed_to_its_end_without_recursion(case: Any) -> None:
    names = [f"n{number}" for number in range(5_000)]
    chain = [f"{one}>{two}" for one, two in pairwise(names)]
    one = case([Node("n0", action="act", condition="false"), *names[1:]], chain).created()
    assert one.kinds[2:] == [f"StepSkipped {name}" for name in names] + ["ExecutionCompleted"]


def test_ready_steps_come_in_definition_order_whatever_order_they_were_reached_in(case: Any) -> None:
    connections = [Connection("a", "z"), Connection("a", "y"), Connection("a", "x", condition="true")]
    one = case(["a", "x", "y", "z"], connections).given().returned("a")
    assert [ready.step for ready in one.turn.ready] == ["x", "y", "z"]


# -- entries and triggers


def test_every_node_without_incoming_connections_is_an_entry(case: Any) -> None:
    one = case(["b", "a", "c"], ["a>c"]).created()
    assert [(ready.step, ready.order) for ready in one.turn.ready] == [("b", 0), ("a", 1)]


@pytest.mark.parametrize("kind", [JoinKind.EVERY, JoinKind.ANY])
def test_an_entry_runs_whatever_its_join_says(case: Any, kind: JoinKind) -> None:
    one = case([Node("a", action="act", join=Join(kind), condition="true")]).created()
    assert one.statuses == {"a": "WAITING"}


def test_a_trigger_passes_the_input_on_without_a_call(case: Any) -> None:
    connections = ["t>a", Connection("t", "b", condition="t.go"), Connection("t", "c", outcome=Outcome.FAILURE)]
    one = case([Node("t", type=NodeType.TRIGGER), "a", "b", "c"], connections).created({"go": True})
    assert one.turn.events[1:] == [
        e.ExecutionStarted(at=T),
        e.TriggerPassed(step="t", at=T),
        e.ConnectionDecided(connection=1, source="t", target="b", taken=True, at=T),
        e.StepSkipped(step="c", reason="join", at=T),
    ]
    assert [ready.step for ready in one.turn.ready] == ["a", "b"]
    assert (one.seen.steps["t"].output, one.seen.steps["t"].attempt) == ({"go": True}, 0)


def test_a_trigger_alone_is_an_execution_whose_output_is_its_input(case: Any) -> None:
    one = case([Node("t", type=NodeType.TRIGGER)]).created({"x": [1]})
    assert (one.seen.status.value, one.seen.output) == ("COMPLETED", {"x": [1]})


# -- failures


def test_a_failure_route_handles_the_failure_and_kills_the_success_connections(case: Any, no: Any) -> None:
    connections = [
        "a>b",
        Connection("a", "c", condition="true"),
        Connection("a", "sorry", outcome=Outcome.FAILURE),
        Connection("a", "log", outcome=Outcome.ALWAYS),
    ]
    one = case([once("a"), "b", "c", "sorry", "log"], connections).given()
    one.raised("a").gives(
        e.StepFailed(step="a", attempt=1, error=no("a"), at=T),
        e.FailureHandled(step="a", by="connection", at=T),
        e.StepSkipped(step="b", reason="join", at=T),
        e.StepSkipped(step="c", reason="join", at=T),
        ready=["sorry", "log"],
        accepted=[True],
    )
    assert one.seen.handled_failures == ("a",)


def test_the_error_is_read_where_the_failure_is_handled(case: Any) -> None:
    reads = {key: f"${{steps.a.error.{key}}}" for key in ("type", "message", "attempt", "details")}
    sorry = Node("sorry", action="act", parameters={**reads, "status": "${steps.a.status}"})
    connection = Connection("a", "sorry", outcome=Outcome.FAILURE, condition="steps.a.error.type == 'CardDeclined'")
    one = case([once("a"), sorry], [connection]).given()
    error = StepError(type="CardDeclined", message="no money", attempt=1, step="a", details={"code": 7})
    one.raised("a", error=error).starts()
    assert [bytes(run.parameters) for run in one.turn.runs] == [
        b'{"type":"CardDeclined","message":"no money","attempt":1,"details":{"code":7},"status":"FAILED"}'
    ]


def test_a_failure_route_whose_condition_is_not_taken_does_not_handle_the_failure(case: Any, no: Any) -> None:
    one = case([once("a"), "b"], [Connection("a", "b", condition="false", outcome=Outcome.FAILURE)]).given()
    one.raised("a").gives(
        e.StepFailed(step="a", attempt=1, error=no("a"), at=T),
        e.ExecutionHalted(error=no("a"), at=T),
        e.ExecutionFailed(error=no("a"), at=T),
    )
    assert one.statuses == {"a": "FAILED", "b": "PENDING"}


def test_continue_on_error_goes_on_with_null_and_is_listed(case: Any, no: Any) -> None:
    connections = [
        "a>b",
        Connection("a", "c", condition="a == null"),
        Connection("a", "d", outcome=Outcome.ALWAYS, condition="a == null"),
    ]
    one = case([once("a", continue_on_error=True), "b", "c", "d"], connections).given()
    one.raised("a").gives(
        e.StepFailed(step="a", attempt=1, error=no("a"), at=T),
        e.FailureHandled(step="a", by="continue_on_error", at=T),
        e.ConnectionDecided(connection=1, source="a", target="c", taken=True, at=T),
        e.ConnectionDecided(connection=2, source="a", target="d", taken=True, at=T),
        ready=["b", "c", "d"],
    )
    assert (one.seen.steps["a"].output, one.seen.steps["a"].error, one.seen.handled_failures) == (None, no("a"), ("a",))


def test_a_failure_route_that_is_taken_comes_before_continue_on_error(case: Any) -> None:
    connections = ["a>b", Connection("a", "c", outcome=Outcome.FAILURE)]
    one = case([once("a", continue_on_error=True), "b", "c"], connections).given().raised("a")
    assert one.statuses == {"a": "FAILED", "b": "SKIPPED", "c": "WAITING"}
    assert one.turn.events[1] == e.FailureHandled(step="a", by="connection", at=T)


def test_continue_on_error_steps_in_where_no_failure_route_is_taken(case: Any) -> None:
    connections = ["a>b", Connection("a", "c", condition="false", outcome=Outcome.FAILURE)]
    one = case([once("a", continue_on_error=True), "b", "c"], connections).given().raised("a")
    assert one.statuses == {"a": "FAILED", "b": "WAITING", "c": "SKIPPED"}


def test_continue_on_error_on_a_leaf_lets_the_execution_complete(case: Any, no: Any) -> None:
    one = case([once("a", continue_on_error=True)]).given()
    one.raised("a").gives(
        e.StepFailed(step="a", attempt=1, error=no("a"), at=T),
        e.FailureHandled(step="a", by="continue_on_error", at=T),
        e.ExecutionCompleted(at=T),
    )
    assert (one.seen.output, one.seen.handled_failures) == (None, ("a",))


def test_a_timed_out_step_is_handled_like_a_failed_one(case: Any) -> None:
    one = case([once("a", total_timeout_ms=50), "b"], [Connection("a", "b", outcome=Outcome.FAILURE)]).given()
    one.time(50)
    assert one.kinds == ["StepTimedOut a", "FailureHandled a"]
    assert one.turn.commands == [CancelStep("a", 1)]
    assert one.statuses == {"a": "TIMED_OUT", "b": "WAITING"}


def test_two_failures_of_one_turn_are_handled_each_by_its_own_rule(case: Any) -> None:
    """The first halts, so the second is recorded and routes nothing."""
    connections = [Connection("b", "c", outcome=Outcome.FAILURE)]
    one = case([once("a"), once("b"), "c"], connections).given()
    errors = {name: StepError(type="X", message="no", attempt=1, step=name) for name in "ab"}
    one.when(*[i.ActionRaised(step=name, attempt=1, error=errors[name], at=T) for name in "ab"]).gives(
        e.StepFailed(step="a", attempt=1, error=errors["a"], at=T),
        e.ExecutionHalted(error=errors["a"], at=T),
        e.StepFailed(step="b", attempt=1, error=errors["b"], at=T),
        e.ExecutionFailed(error=errors["a"], at=T),
        accepted=[True, True],
    )
    assert one.statuses == {"a": "FAILED", "b": "FAILED", "c": "PENDING"}
