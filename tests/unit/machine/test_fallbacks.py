"""A fallback: called once in the action's place, under a policy, parameters and counts of its own."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from treadle.machine import events as e
from treadle.machine.calls import FALLBACK
from treadle.machine.commands import RunStep
from treadle.model import Connection, Fallback, Node, NodeType, OnExhausted, OnInterrupted, Outcome, RetryPolicy

T = 1_000
ONCE = RetryPolicy(max_attempts=1)
TWICE = RetryPolicy(max_attempts=2, initial_delay_ms=7)


def falls(**fields: Any) -> Node:
    fallback = Fallback(action="other", **fields.pop("fallback", {"retry": ONCE}))
    fields.setdefault("retry", ONCE)
    return Node("a", action="act", fallback=fallback, **fields)


def test_a_step_whose_attempts_are_spent_calls_its_fallback_under_the_next_number(case: Any, no: Any) -> None:
    one = case([falls()]).given().raised("a")
    one.gives(e.StepFellBack(step="a", attempt=1, error=no("a"), at=T), ready=["a"])
    (ready,) = one.turn.ready
    assert ready.node.action_name == "other"
    one.starts().gives(
        e.StepStarted(step="a", attempt=2, at=T), commands=[RunStep("a", 2, ready.node, Raw(b"{}"), role=FALLBACK)]
    )
    one.returned("a", "by the other")
    step = one.seen.steps["a"]
    assert (step.status.value, step.output, step.attempt, step.answered_by) == (
        "COMPLETED",
        "by the other",
        2,
        FALLBACK,
    )
    assert (step.error, one.seen.status.value) == (None, "COMPLETED")


def test_nobody_is_named_where_the_action_itself_completed_the_step(case: Any) -> None:
    one = case([falls(), Node("s", type=NodeType.SET, values=1)]).given().returned("a")
    assert {name: step.answered_by for name, step in one.seen.steps.items()} == {"a": "", "s": ""}


@pytest.mark.parametrize("how", [{"permanent": True}, {"names": ("Never",)}])
def test_a_permanent_error_falls_back_at_once(case: Any, how: Any) -> None:
    one = case([falls(retry=RetryPolicy(max_attempts=9, non_retryable=("Never",)))]).given().raised("a", **how)
    assert one.kinds == ["StepFellBack a"]


def test_the_fallback_has_a_policy_of_its_own_and_counts_its_own_failures(case: Any) -> None:
    one = case([falls(retry=RetryPolicy(max_attempts=2, initial_delay_ms=0), fallback={"retry": TWICE})])
    one.given().raised("a").time().starts().raised("a").starts().raised("a")
    assert (one.kinds, one.turn.events[0].delay_ms, one.turn.events[0].attempt) == (["AttemptFailed a"], 7, 3)
    one.time(7).starts().raised("a")
    assert one.kinds == ["StepFailed a", "ExecutionHalted", "ExecutionFailed"]
    assert one.seen.error.attempt == 4


def test_it_is_called_once_and_what_follows_its_failure_is_what_follows_the_steps(case: Any) -> None:
    one = case([falls(), "b"], [Connection("a", "b", outcome=Outcome.FAILURE)]).given().raised("a").starts()
    one.raised("a")
    assert one.kinds == ["StepFailed a", "FailureHandled a"]
    asked = case([falls(on_exhausted=OnExhausted.PAUSE)]).given().raised("a").starts().raised("a")
    assert asked.kinds == ["AnswerAwaited a", "ExecutionPaused"]


def test_a_retry_that_a_person_asks_for_begins_with_the_action_and_may_fall_back_again(case: Any) -> None:
    one = case([falls(on_exhausted=OnExhausted.PAUSE)]).given().raised("a").starts().raised("a").answer("a", "retry")
    assert one.turn.ready[0].node.action_name == "act"
    assert one.starts().turn.commands[0].role == "action"
    assert one.raised("a").kinds == ["StepFellBack a"]


def test_an_output_that_a_person_gives_is_neither_of_the_two(case: Any) -> None:
    one = case([falls(on_exhausted=OnExhausted.PAUSE)]).given().raised("a").starts().raised("a")
    assert one.answer("a", "output", 1).seen.steps["a"].answered_by == "person"


def test_without_parameters_of_its_own_it_gets_those_of_the_node_as_they_were(case: Any) -> None:
    one = case([falls(parameters={"x": "${input.x}"})]).given({"x": 1}).raised("a").starts()
    assert one.turn.commands[0].parameters == Raw(b'{"x":1}')
    assert one.turn.events == [e.StepStarted(step="a", attempt=2, at=T)]


def test_parameters_of_its_own_are_resolved_once_when_it_first_starts(case: Any) -> None:
    own = {"parameters": {"y": "${input.y}"}, "retry": TWICE}
    one = case([falls(parameters={"x": "${input.x}"}, fallback=own)]).given({"x": 1, "y": 2}).raised("a").starts()
    assert one.turn.events == [e.StepStarted(step="a", attempt=2, parameters=Raw(b'{"y":2}'), at=T)]
    one.raised("a").time(7).starts()
    assert one.turn.events == [e.StepStarted(step="a", attempt=3, at=T + 7)]
    assert one.turn.commands[0].parameters == Raw(b'{"y":2}')


def test_an_input_that_its_parameters_miss_is_asked_for(case: Any) -> None:
    one = case([falls(fallback={"parameters": {"y": "${input.y}"}})]).given().raised("a").starts()
    assert one.kinds == ["StepPaused a", "ExecutionPaused"]
    one.resume({"y": 3}).starts()
    assert (one.turn.commands[0].parameters, one.turn.commands[0].role) == (Raw(b'{"y":3}'), FALLBACK)


@pytest.mark.parametrize("pauses", [False, True])
def test_parameters_of_its_own_that_cannot_be_resolved_fail_the_step_for_good(case: Any, pauses: bool) -> None:
    on_exhausted = OnExhausted.PAUSE if pauses else OnExhausted.FAIL
    one = case([falls(fallback={"parameters": {"y": "${1 / 0}"}}, on_exhausted=on_exhausted)]).given().raised("a")
    assert one.starts().kinds[0] == ("AnswerAwaited a" if pauses else "StepFailed a")
    assert one.state.in_flight == {}


def test_an_interrupted_fallback_runs_again_and_its_interruptions_are_counted_by_themselves(case: Any) -> None:
    one = case([falls(max_interruptions=1)]).given().interrupted("a").starts().raised("a").starts().interrupted("a")
    assert one.kinds == ["AttemptInterrupted a"]
    one.starts()
    assert (one.turn.commands[0].attempt, one.turn.commands[0].role) == (4, FALLBACK)
    assert one.interrupted("a").kinds[0] == "StepFailed a"


def test_an_action_that_runs_at_most_once_falls_back_when_it_was_cut_off(case: Any) -> None:
    one = case([falls(on_interrupted=OnInterrupted.FAIL)]).given().interrupted("a")
    assert one.kinds == ["StepFellBack a"]
    assert one.turn.events[0].error.type == "StepInterrupted"


def test_a_total_timeout_leaves_no_time_for_it(case: Any) -> None:
    one = case([falls(total_timeout_ms=10)]).given().time(10)
    assert one.kinds[0] == "StepTimedOut a"


def test_a_total_timeout_bounds_it_too(case: Any) -> None:
    one = case([falls(total_timeout_ms=10)]).given().raised("a").starts().time(10)
    assert one.kinds[0] == "StepTimedOut a"


def test_a_timed_out_attempt_falls_back_and_is_told_as_one(case: Any) -> None:
    one = case([falls()]).given().raised("a", timed_out=True)
    assert (one.kinds, one.turn.events[0].timed_out) == (["StepFellBack a"], True)


def test_nothing_falls_back_in_an_execution_that_is_ending(case: Any) -> None:
    one = case([falls(), "b"]).given().raised("b", permanent=True).raised("a")
    assert one.kinds == ["StepFailed a", "ExecutionFailed"]


def test_a_fallback_that_waits_for_a_slot_is_cancelled_with_the_execution(case: Any) -> None:
    one = case([falls(), "b"]).given().raised("a").raised("b", permanent=True)
    assert one.statuses == {"a": "CANCELLED", "b": "FAILED"}
