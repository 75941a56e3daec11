"""How an execution ends: completed with an output, halted by a failure, cancelled, or out of time."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from treadle.machine import events as e
from treadle.machine.commands import CancelStep
from treadle.model import Connection, Node, OnFailure, Outcome, RetryPolicy, StepError

T = 1_000
ONE = Raw(b"1")
TOO_LONG = StepError(type="ExecutionTimeout", message="the execution took longer than its timeout of 0.1 s")
ON_REQUEST = StepError(type="Cancelled", message="cancelled on request")


def once(name: str, **fields: Any) -> Node:
    return Node(name, action="act", retry=RetryPolicy(max_attempts=1), **fields)


def waits(name: str) -> Node:
    return Node(name, action="act", retry=RetryPolicy(initial_delay_ms=10))


def asks(name: str) -> Node:
    return Node(name, action="act", parameters={"x": "${input.x}"})


# -- completed


def test_the_output_is_that_of_the_only_leaf(case: Any) -> None:
    one = case(["a", "b"], ["a>b"]).given().returned("a", 1).starts()
    one.returned("b", {"x": 2}).gives(
        e.StepSucceeded(step="b", attempt=1, output=Raw(b'{"x":2}'), at=T), e.ExecutionCompleted(at=T)
    )
    assert one.seen.output == {"x": 2}


def test_the_output_of_several_leaves_has_one_entry_per_leaf_that_has_one(case: Any) -> None:
    connections = ["a>b", "a>c", Connection("a", "d", condition="false")]
    one = case(["a", "b", "c", "d"], connections).given().returned("a", 0).starts().returned("b").returned("c", [1])
    assert (one.seen.status.value, one.seen.output) == ("COMPLETED", {"b": None, "c": [1]})


def test_the_output_of_an_only_leaf_that_was_skipped_is_null(case: Any) -> None:
    assert case([Node("a", action="act", condition="false")]).created().seen.output is None


@pytest.mark.parametrize(
    ("template", "output"),
    [
        ({"x": "${a}", "s": "${steps.b.status}", "t": "got ${a.n}"}, {"x": {"n": 1}, "s": "SKIPPED", "t": "got 1"}),
        ("${a.n}", 1),
        ({"x": "${b}", "y": ["${a.none}"], "z": "${input.none}"}, {"x": None, "y": [None], "z": None}),
        ("constant", "constant"),
        ({}, {}),
        ([], []),
        (False, False),
    ],
)
def test_the_output_of_the_definition_is_resolved_at_the_end_and_a_missing_name_is_null(
    case: Any, template: Any, output: Any
) -> None:
    one = case(["a", "b"], [Connection("a", "b", condition="false")], output=template).given().returned("a", {"n": 1})
    assert isinstance(one.turn.events[-1], e.ExecutionCompleted)
    assert (one.seen.status.value, one.seen.output) == ("COMPLETED", output)


def test_an_error_in_the_output_fails_the_execution_and_says_where(case: Any) -> None:
    one = case(["a"], output="${a + 'x'}").given().returned("a", 1)
    error = one.seen.error
    one.gives(e.StepSucceeded(step="a", attempt=1, output=ONE, at=T), e.ExecutionFailed(error=error, at=T))
    assert (one.seen.status.value, one.seen.output, error.type) == ("FAILED", None, "ExpressionError")
    assert error.message.startswith("output of the workflow: ")
    assert one.statuses == {"a": "COMPLETED"}


# -- halted


def test_halting_cancels_what_waits_leaves_what_was_never_reached_and_lets_attempts_end(case: Any, no: Any) -> None:
    nodes = [once("a"), "flies", waits("between"), asks("asking"), "slot", "after_flies", "after_a"]
    one = case(nodes, ["a>after_a", "flies>after_flies"]).created()
    one.starts("a", "flies", "between", "asking").raised("between")
    one.raised("a").gives(
        e.StepFailed(step="a", attempt=1, error=no("a"), at=T),
        e.ExecutionHalted(error=no("a"), at=T),
        e.StepCancelled(step="slot", at=T),
        e.StepCancelled(step="between", at=T),
        e.StepCancelled(step="asking", at=T),
    )
    assert (one.seen.status.value, one.seen.error, one.seen.in_flight) == ("RUNNING", no("a"), 1)
    one.time(1_000).gives_nothing(False)
    one.returned("flies", 1).gives(
        e.StepSucceeded(step="flies", attempt=1, output=ONE, at=T + 1_000),
        e.ExecutionFailed(error=no("a"), at=T + 1_000),
    )
    assert one.statuses == {
        "a": "FAILED",
        "flies": "COMPLETED",
        "between": "CANCELLED",
        "asking": "CANCELLED",
        "slot": "CANCELLED",
        "after_flies": "PENDING",
        "after_a": "PENDING",
    }
    assert (one.seen.waiting_for, one.state.ready, one.state.waiting) == ((), {}, {})


@pytest.mark.parametrize(
    ("ends", "status"),
    [("returned", "COMPLETED"), ("raised", "FAILED"), ("interrupted", "CANCELLED"), ("cancelled", "CANCELLED")],
)
def test_what_is_in_flight_while_halting_is_recorded_and_starts_nothing(case: Any, ends: str, status: str) -> None:
    connections = ["b>c", Connection("b", "d", outcome=Outcome.ALWAYS), Connection("b", "e", condition="1")]
    one = case([once("a"), waits("b"), "c", "d", "e"], connections).given().raised("a")
    getattr(one, ends)("b")
    assert [type(event).__name__ for event in one.turn.events][1:] == ["ExecutionFailed"]
    assert one.statuses == {"a": "FAILED", "b": status, "c": "PENDING", "d": "PENDING", "e": "PENDING"}


def test_a_second_failure_while_halting_does_not_replace_the_first(case: Any, no: Any) -> None:
    one = case([once("a"), once("b")]).given().raised("a")
    one.raised("b", timed_out=True).gives(
        e.StepTimedOut(step="b", attempt=1, error=no("b"), at=T), e.ExecutionFailed(error=no("a"), at=T)
    )
    assert one.seen.error == no("a")


def test_on_failure_cancel_cancels_what_is_in_flight(case: Any, no: Any) -> None:
    one = case([once("a"), "b", "c"], on_failure=OnFailure.CANCEL).given()
    one.raised("a").gives(
        e.StepFailed(step="a", attempt=1, error=no("a"), at=T),
        e.ExecutionHalted(error=no("a"), at=T),
        commands=[CancelStep("b", 1), CancelStep("c", 1)],
    )
    one.cancelled("b").gives(e.StepCancelled(step="b", at=T), accepted=[True])
    one.returned("c", 1).gives(
        e.StepSucceeded(step="c", attempt=1, output=ONE, at=T), e.ExecutionFailed(error=no("a"), at=T)
    )


def test_a_failure_that_is_handled_does_not_cancel_what_is_in_flight(case: Any) -> None:
    one = case([once("a", continue_on_error=True), "b"], on_failure=OnFailure.CANCEL).given().raised("a")
    assert one.turn.commands == []


def test_a_halting_execution_can_be_neither_paused_nor_resumed(case: Any) -> None:
    one = case([once("a"), "b", asks("c")]).given().raised("a")
    one.pause().gives_nothing(False)
    one.resume({"x": 1}).gives_nothing(False)


def test_a_failure_while_paused_halts_and_ends_without_a_resume(case: Any, no: Any) -> None:
    one = case([once("a"), "b"]).created().starts("a").pause()
    one.raised("a").gives(
        e.StepFailed(step="a", attempt=1, error=no("a"), at=T),
        e.ExecutionHalted(error=no("a"), at=T),
        e.StepCancelled(step="b", at=T),
        e.ExecutionFailed(error=no("a"), at=T),
    )


# -- cancelled


def test_cancelling_cancels_what_runs_and_what_waits_and_ends_with_the_last_attempt(case: Any) -> None:
    one = case(["a", "b", "slot", waits("between"), asks("asking"), "after"], ["a>after"]).created()
    one.starts("a", "b", "between", "asking").raised("between")
    one.cancel("enough").gives(
        e.CancelRequested(reason="enough", at=T),
        e.StepCancelled(step="slot", at=T),
        e.StepCancelled(step="between", at=T),
        e.StepCancelled(step="asking", at=T),
        commands=[CancelStep("a", 1), CancelStep("b", 1)],
        accepted=[True],
    )
    assert (one.seen.status.value, one.seen.cancelling, one.seen.in_flight) == ("RUNNING", True, 2)
    one.cancelled("a").gives(e.StepCancelled(step="a", at=T), accepted=[True])
    error = StepError(type="Cancelled", message="enough")
    one.returned("b", 1).gives(
        e.StepSucceeded(step="b", attempt=1, output=ONE, at=T), e.ExecutionCancelled(error=error, at=T)
    )
    assert (one.seen.status.value, one.seen.cancelling, one.seen.error) == ("CANCELLED", False, error)
    assert one.statuses["after"] == "PENDING"


@pytest.mark.parametrize("ends", ["returned", "raised", "interrupted", "cancelled"])
def test_a_cancelled_execution_ends_however_its_attempts_end(case: Any, ends: str) -> None:
    one = case([waits("a"), "b"], ["a>b"]).given().cancel()
    getattr(one, ends)("a")
    assert one.turn.events[-1] == e.ExecutionCancelled(error=ON_REQUEST, at=T)
    assert (one.seen.status.value, one.statuses["b"]) == ("CANCELLED", "PENDING")


def test_with_nothing_in_flight_cancelling_ends_at_once_also_while_paused(case: Any) -> None:
    for one in (case(["a"]).created(), case(["a"]).created().pause(), case([asks("a")]).given()):
        one.cancel().gives(
            e.CancelRequested(at=T), e.StepCancelled(step="a", at=T), e.ExecutionCancelled(error=ON_REQUEST, at=T)
        )


def test_a_paused_execution_with_an_attempt_in_flight_is_cancelled_without_a_resume(case: Any) -> None:
    one = case(["a", "b"], ["a>b"]).given().pause()
    one.cancel().gives(e.CancelRequested(at=T), commands=[CancelStep("a", 1)])
    one.resume().gives_nothing(False)
    one.cancelled("a").gives(e.StepCancelled(step="a", at=T), e.ExecutionCancelled(error=ON_REQUEST, at=T))


def test_cancelling_twice_is_once(case: Any) -> None:
    one = case(["a"]).given().cancel("first")
    one.cancel("second").gives_nothing(True)
    one.cancelled("a")
    assert one.seen.error.message == "first"
    one.cancel().gives_nothing(False)


def test_a_cancelling_execution_can_be_neither_paused_nor_resumed(case: Any) -> None:
    one = case(["a"]).given().cancel()
    one.pause().gives_nothing(False)
    one.resume().gives_nothing(False)


def test_cancelling_while_halting_takes_over(case: Any) -> None:
    one = case([once("a"), "b"]).given().raised("a")
    one.cancel("enough").gives(e.CancelRequested(reason="enough", at=T), commands=[CancelStep("b", 1)], accepted=[True])
    one.cancelled("b")
    assert (one.seen.status.value, one.seen.error.message) == ("CANCELLED", "enough")


def test_a_failure_while_cancelling_stays_cancelled(case: Any, no: Any) -> None:
    one = case([once("a")]).given().cancel()
    one.raised("a").gives(
        e.StepFailed(step="a", attempt=1, error=no("a"), at=T), e.ExecutionCancelled(error=ON_REQUEST, at=T)
    )


# -- out of time


def test_the_timeout_of_the_execution_cancels_everything(case: Any) -> None:
    one = case(["a", "slot", "after"], ["a>after"], timeout_ms=100).created().starts("a")
    assert one.state.wake_at() == T + 100
    one.time(99).gives_nothing(False)
    one.time(1).gives(
        e.DeadlinePassed(error=TOO_LONG, at=T + 100),
        e.StepCancelled(step="slot", at=T + 100),
        commands=[CancelStep("a", 1)],
        accepted=[True],
    )
    assert (one.seen.status.value, one.seen.error, one.seen.cancelling) == ("RUNNING", TOO_LONG, False)
    one.cancelled("a").gives(e.StepCancelled(step="a", at=T + 100), e.ExecutionTimedOut(error=TOO_LONG, at=T + 100))
    assert one.statuses == {"a": "CANCELLED", "slot": "CANCELLED", "after": "PENDING"}


def test_the_timeout_of_the_execution_stands_still_while_it_is_paused(case: Any) -> None:
    one = case(["a"], timeout_ms=100).created().wait(60).pause().wait(1_000).resume()
    assert one.state.wake_at() == T + 1_100
    one.time(39).gives_nothing(False)
    assert one.time(1).kinds == ["DeadlinePassed", "StepCancelled a", "ExecutionTimedOut"]


def test_an_execution_that_waits_between_attempts_times_out(case: Any) -> None:
    one = case([Node("a", action="act")], timeout_ms=100).given().raised("a").time(100)
    assert one.kinds == ["DeadlinePassed", "StepCancelled a", "ExecutionTimedOut"]
    assert one.statuses == {"a": "CANCELLED"}


def test_a_retry_that_is_due_at_the_deadline_does_not_start_any_more(case: Any) -> None:
    one = case([Node("a", action="act", retry=RetryPolicy(initial_delay_ms=100))], timeout_ms=100).given().raised("a")
    one.time(100)
    assert one.turn.ready == ()
    assert one.kinds == ["StepReady a", "DeadlinePassed", "StepCancelled a", "ExecutionTimedOut"]


def test_the_deadline_cuts_a_halt_short_and_the_execution_is_failed(case: Any, no: Any) -> None:
    one = case([once("a"), "b"], timeout_ms=100).given().raised("a")
    one.time(100).gives(e.DeadlinePassed(error=TOO_LONG, at=T + 100), commands=[CancelStep("b", 1)])
    one.cancelled("b").gives(e.StepCancelled(step="b", at=T + 100), e.ExecutionFailed(error=no("a"), at=T + 100))


def test_cancelling_after_the_deadline_makes_it_cancelled(case: Any) -> None:
    one = case(["a"], timeout_ms=100).given().time(100).cancel()
    one.cancelled("a")
    assert one.seen.status.value == "CANCELLED"


def test_the_deadline_passes_once(case: Any) -> None:
    one = case(["a"], timeout_ms=100).given().time(100)
    one.time(100).gives_nothing(False)
    assert one.state.wake_at() is None


def test_an_execution_that_ended_in_time_is_not_timed_out_later(case: Any) -> None:
    one = case(["a"], timeout_ms=100).given().returned("a")
    assert one.state.wake_at() is None
    one.time(1_000).gives_nothing(False)


def test_a_total_timeout_bounds_an_attempt_that_a_halting_execution_waits_for(case: Any, no: Any) -> None:
    connections = [Connection("b", "c", outcome=Outcome.FAILURE)]
    one = case([once("a"), once("b", total_timeout_ms=50), "c"], connections).given().raised("a").time(50)
    message = "all attempts together took longer than the total timeout of 0.05 s"
    error = StepError(type="StepTimeout", message=message, attempt=1, step="b")
    one.gives(
        e.StepTimedOut(step="b", attempt=1, error=error, at=T + 50),
        e.ExecutionFailed(error=no("a"), at=T + 50),
        commands=[CancelStep("b", 1)],
    )
    assert one.statuses == {"a": "FAILED", "b": "TIMED_OUT", "c": "PENDING"}


def test_a_total_timeout_says_nothing_of_an_attempt_that_is_being_cancelled(case: Any) -> None:
    one = case([once("a", total_timeout_ms=50)]).given().cancel()
    one.time(50).gives_nothing(False)
    one.cancelled("a").gives(e.StepCancelled(step="a", at=T + 50), e.ExecutionCancelled(error=ON_REQUEST, at=T + 50))
