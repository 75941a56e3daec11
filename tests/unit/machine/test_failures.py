"""What follows once the attempts of a step are spent: it asks a person, and goes on or ends as the answer says."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from treadle.machine import events as e
from treadle.machine import inputs as i
from treadle.machine.commands import CancelStep, RunStep
from treadle.machine.explain import explain
from treadle.machine.state import TOTAL_TIMEOUT
from treadle.model import (
    Answer,
    Body,
    Connection,
    ExecutionStatus,
    Node,
    NodeType,
    OnExhausted,
    OnInterrupted,
    OnSkip,
    Outcome,
    Reason,
    RetryPolicy,
)

T = 1_000
TWICE = RetryPolicy(max_attempts=2, initial_delay_ms=0)


def asks(name: str = "a", **fields: Any) -> Node:
    fields.setdefault("retry", RetryPolicy(max_attempts=1))
    return Node(name, action="act", on_exhausted=OnExhausted.PAUSE, **fields)


# -- on_exhausted


def test_a_step_whose_attempts_are_spent_asks_and_the_execution_waits_for_it(case: Any, no: Any) -> None:
    one = case([asks(), "b"], ["a>b"]).given().raised("a")
    one.gives(
        e.AnswerAwaited(step="a", attempt=1, error=no("a"), at=T),
        e.ExecutionPaused(waiting_for=("a",), at=T),
    )
    seen = one.seen
    assert (seen.status.value, seen.waiting_for, seen.steps["a"].status.value) == ("PAUSED", ("a",), "PAUSED")
    assert seen.steps["a"].error == no("a")


def test_it_asks_once_all_attempts_are_spent_and_not_before(case: Any) -> None:
    one = case([asks(retry=TWICE)]).given().raised("a")
    assert one.kinds == ["AttemptFailed a"]
    one.time().starts().raised("a")
    assert one.kinds == ["AnswerAwaited a", "ExecutionPaused"]


@pytest.mark.parametrize("how", [{"permanent": True}, {"names": ("Never",)}])
def test_a_permanent_error_asks_at_once(case: Any, how: Any) -> None:
    policy = RetryPolicy(max_attempts=9, non_retryable=("Never",))
    assert "AnswerAwaited a" in case([asks(retry=policy)]).given().raised("a", **how).kinds


def test_other_branches_go_on_and_the_execution_is_paused_only_once_nothing_else_does(case: Any) -> None:
    one = case([asks(), "b", "c"], ["b>c"]).given().raised("a")
    assert (one.kinds, one.seen.status.value, one.seen.waiting_for) == (["AnswerAwaited a"], "RUNNING", ("a",))
    one.returned("b").starts().returned("c")
    assert one.kinds == ["StepSucceeded c", "ExecutionPaused"]


def test_a_total_timeout_asks_as_well_and_does_not_go_on_while_somebody_thinks(case: Any) -> None:
    one = case([asks(total_timeout_ms=100)]).given().time(100)
    assert one.kinds == ["AnswerAwaited a", "ExecutionPaused"]
    assert one.turn.commands == [CancelStep("a", 1)]
    one.cancelled("a", 1).gives_nothing(False)
    one.time(1_000_000).gives_nothing()
    one.answer("a", "abort")
    assert (one.seen.status.value, one.seen.steps["a"].status.value) == ("FAILED", "TIMED_OUT")


def test_a_step_that_waits_between_attempts_asks_when_its_total_timeout_is_over(case: Any) -> None:
    policy = RetryPolicy(max_attempts=9, initial_delay_ms=500)
    one = case([asks(total_timeout_ms=100, retry=policy)]).given().raised("a").time(100)
    assert one.kinds == ["AnswerAwaited a", "ExecutionPaused"]
    assert (one.state.waiting, one.state.wake_at()) == ({}, None)


def test_a_late_result_is_not_the_answer(case: Any) -> None:
    one = case([asks(total_timeout_ms=100)]).given().time(100)
    one.returned("a", "late", attempt=1)
    assert one.kinds == ["LateResultIgnored a"]
    assert one.statuses == {"a": "PAUSED"}


def test_a_step_that_made_no_attempt_fails_at_once(case: Any) -> None:
    one = case([asks(parameters={"x": "${1 / 0}"})]).given()
    assert one.kinds == ["StepFailed a", "ExecutionHalted", "ExecutionFailed"]


def test_nobody_is_asked_in_an_execution_that_is_ending(case: Any) -> None:
    one = case([asks(), "b"]).given().raised("b", permanent=True).raised("a")
    assert one.kinds == ["StepFailed a", "ExecutionFailed"]


@pytest.mark.parametrize("how", ["cancel", "halt", "deadline"])
def test_what_asks_is_cancelled_when_the_execution_ends(case: Any, how: str) -> None:
    one = case([asks(), "b"], timeout_ms=500).given().raised("a")
    if how == "cancel":
        one.cancel().cancelled("b")
    elif how == "halt":
        one.raised("b", permanent=True)
    else:
        one.time(500).cancelled("b")
    assert one.statuses["a"] == "CANCELLED"
    assert (one.state.spent, one.seen.status.is_terminal) == ({}, True)


# -- answers


def test_retry_begins_the_attempts_anew_and_their_numbers_go_on(case: Any) -> None:
    one = case([asks(retry=TWICE, parameters={"x": "${input.x}"})]).given({"x": 1})
    one.raised("a").time().starts().raised("a")
    one.answer("a", "retry", request="r")
    one.gives(
        e.StepAnswered(step="a", answer=Answer.RETRY, request="r", at=T),
        e.StepReady(step="a", at=T),
        e.ExecutionResumed(by_itself=True, at=T),
        ready=["a"],
        accepted=[True],
    )
    one.starts()
    node = one.plan.nodes[0].node
    one.gives(
        e.StepStarted(step="a", attempt=3, parameters=Raw(b'{"x":1}'), at=T),
        commands=[RunStep("a", 3, node, Raw(b'{"x":1}'))],
    )
    one.raised("a")
    assert one.kinds == ["AttemptFailed a"]
    one.time().starts().returned("a", "done")
    assert (one.seen.status.value, one.seen.output, one.seen.steps["a"].error) == ("COMPLETED", "done", None)


def test_retry_gives_the_whole_total_timeout_again(case: Any) -> None:
    one = case([asks(total_timeout_ms=100)]).given().wait(60).raised("a").wait(1_000).answer("a", "retry").starts()
    assert one.time(99).turn.events == []
    assert one.time(1).kinds == ["AnswerAwaited a", "ExecutionPaused"]


def test_the_total_timeout_of_a_retry_that_never_began_does_not_count_for_the_next(case: Any) -> None:
    one = case([asks(total_timeout_ms=100)]).given().time(100)
    one.answer("a", "retry").time(100)
    assert one.kinds[0] == "AnswerAwaited a"
    one.answer("a", "retry")
    assert one.folded().timers == [(one.at + 100, TOTAL_TIMEOUT, "a", 0)]
    one.starts().time(99).gives_nothing()
    assert one.time(1).kinds[0] == "AnswerAwaited a"


def test_interruptions_are_counted_anew_behind_a_retry(case: Any) -> None:
    one = case([asks(max_interruptions=0)]).given().interrupted("a")
    assert one.kinds == ["AnswerAwaited a", "ExecutionPaused"]
    one.answer("a", "retry").starts().interrupted("a")
    assert one.seen.steps["a"].error.message == "interrupted 1 times, more than max_interruptions (0)"


def test_output_completes_the_step_in_the_actions_place(case: Any) -> None:
    one = case([asks(), "b", "c"], ["a>b", Connection("a", "c", condition="a.ok")]).given().raised("a")
    one.answer("a", "output", {"ok": True})
    assert one.kinds == ["StepAnswered a", "OutputGiven a", "ConnectionDecided", "ExecutionResumed"]
    assert sorted(one.state.ready) == ["b", "c"]
    step = one.seen.steps["a"]
    assert (step.status.value, step.output, step.error) == ("COMPLETED", {"ok": True}, None)


@pytest.mark.parametrize("output", [None, {"ok": True}])
def test_complete_says_that_it_was_done_with_an_output_or_without(case: Any, output: Any) -> None:
    one = case([asks(), "b"], ["a>b"]).given().raised("a").answer("a", "complete", output, request="r")
    given = Raw(b"null" if output is None else b'{"ok":true}')
    one.gives(
        e.StepAnswered(step="a", answer=Answer.COMPLETE, request="r", at=T),
        e.OutputGiven(step="a", output=given, confirms=True, at=T),
        e.ExecutionResumed(by_itself=True, at=T),
        ready=["b"],
        accepted=[True],
    )
    step = one.seen.steps["a"]
    assert (step.status.value, step.output, step.error, step.answered_by) == ("COMPLETED", output, None, "person")


def mapped(tolerate: int = 0, **inner: Any) -> list[Any]:
    """Return a map of two steps for each of three items, of which the first asks."""
    body = Body((asks("c", **inner), Node("d", action="act")))
    return [Node("m", type=NodeType.MAP, items=[1, 2, 3], body=body, tolerate=tolerate), "z"]


def test_a_map_within_which_a_step_asks_can_be_complete_with_what_there_is(case: Any) -> None:
    one = case(mapped(), ["m>z"]).given()
    one.returned("m[0].c", 1).returned("m[0].d", 2).raised("m[1].c").returned("m[1].d", 3).raised("m[2].c")
    one.answer("m", "complete")
    assert one.kinds == ["StepAnswered m", "GroupCompleted m"]
    assert one.turn.commands == [CancelStep("m[2].d", 1)]
    assert (one.seen.steps["m"].output, one.seen.waiting_for) == ([{"c": 1, "d": 2}, None, None], ())
    assert one.statuses["m[1].c"] == one.statuses["m[2].d"] == "CANCELLED"
    assert one.starts().returned("z").seen.status is ExecutionStatus.COMPLETED


def test_a_map_that_waits_for_nothing_but_an_answer_goes_on_with_it(case: Any) -> None:
    one = case(mapped(), ["m>z"]).given()
    for number in range(3):
        one.returned(f"m[{number}].d").raised(f"m[{number}].c")
    assert one.seen.status is ExecutionStatus.PAUSED
    one.answer("m", "complete")
    assert one.kinds == ["StepAnswered m", "GroupCompleted m", "ExecutionResumed"]


def test_a_map_of_maps_is_complete_at_either_level(case: Any) -> None:
    inner = Node("n", type=NodeType.MAP, items=[1, 2], body=Body((asks("c"),)))
    for step, output in (("m", [None]), ("m[0].n", [[None, 5]])):
        one = case([Node("m", type=NodeType.MAP, items=[1], body=Body((inner,)))]).given()
        one.raised("m[0].n[0].c").returned("m[0].n[1].c", 5).answer(step, "complete")
        assert one.seen.output == output


@pytest.mark.parametrize("answer", ["retry", "output", "skip", "abort", "complete"])
def test_a_group_that_asks_nothing_takes_no_answer(case: Any, answer: str) -> None:
    beside = Node("p", type=NodeType.PARALLEL, body=Body((asks("c"),)))
    one = case([beside, *mapped()], ["m>z"]).given().raised("p.c")
    one.answer("m", answer, 1 if answer == "output" else None).gives_nothing(False)
    one.answer("p", answer, 1 if answer == "output" else None).gives_nothing(False)
    if answer != "complete":
        one.raised("m[0].c").answer("m", answer, 1 if answer == "output" else None).gives_nothing(False)


@pytest.mark.parametrize(("on_skip", "b"), [(OnSkip.DEAD, "SKIPPED"), (OnSkip.PASS, "WAITING")], ids=str)
def test_skip_is_as_the_node_says(case: Any, on_skip: OnSkip, b: str) -> None:
    one = case([asks(on_skip=on_skip), "b"], ["a>b"]).given().raised("a").answer("a", "skip")
    assert one.statuses == {"a": "SKIPPED", "b": b}
    assert one.seen.steps["a"].error is not None
    assert one.turn.events[1] == e.StepSkipped(step="a", reason="answer", passes=on_skip is OnSkip.PASS, at=T)


def test_abort_ends_the_execution_whatever_could_handle_the_failure(case: Any, no: Any) -> None:
    joined = [Connection("a", "b", outcome=Outcome.FAILURE)]
    one = case([asks(continue_on_error=True), "b"], joined).given().raised("a").answer("a", "abort")
    assert one.kinds == ["StepAnswered a", "StepFailed a", "ExecutionHalted", "ExecutionFailed"]
    assert (one.seen.error, one.statuses) == (no("a"), {"a": "FAILED", "b": "PENDING"})


def test_abort_within_a_body_ends_the_whole_execution(case: Any) -> None:
    body = Body((asks("c"), Node("d", action="act")))
    one = case([Node("p", type=NodeType.PARALLEL, body=body, continue_on_error=True)]).given()
    one.raised("p.c").answer("p.c", "abort")
    assert one.seen.status is ExecutionStatus.RUNNING  # what is in flight ends first
    assert one.returned("p.d").seen.status is ExecutionStatus.FAILED
    assert one.statuses == {"p": "CANCELLED", "p.c": "FAILED", "p.d": "COMPLETED"}


def test_a_step_in_a_body_asks_and_its_group_goes_on_with_the_answer(case: Any) -> None:
    one = case([Node("m", type=NodeType.MAP, items=[1, 2], body=Body((asks("c"),)))]).given()
    one.raised("m[1].c").returned("m[0].c", "x")
    assert (one.seen.status.value, one.seen.waiting_for) == ("PAUSED", ("m[1].c",))
    one.answer("m[1].c", "output", "y")
    assert (one.seen.status.value, one.seen.output) == ("COMPLETED", ["x", "y"])


def test_a_request_counts_once(case: Any) -> None:
    one = case([asks()]).given().raised("a").answer("a", "retry", request="r").starts().raised("a")
    one.answer("a", "retry", request="r").gives_nothing(True)
    assert one.statuses == {"a": "PAUSED"}


@pytest.mark.parametrize("step", ["a", "b", "nobody"])
def test_a_step_that_asks_nothing_takes_no_answer(case: Any, step: str) -> None:
    one = case(["a", "b"], ["a>b"]).given()
    one.answer(step, "output", 1).gives_nothing(False)


# -- beside pauses


def test_resuming_answers_nothing(case: Any) -> None:
    one = case([asks()]).given().raised("a").resume({"x": 1}).gives_nothing(False)
    assert one.statuses == {"a": "PAUSED"}


def test_resuming_what_somebody_paused_leaves_the_question(case: Any) -> None:
    one = case([asks(), "b"]).given().pause().raised("a").returned("b").resume()
    assert one.kinds == ["ExecutionResumed", "ExecutionPaused"]
    assert (one.seen.waiting_for, one.statuses["a"]) == (("a",), "PAUSED")


def test_an_answer_does_not_resume_what_somebody_paused(case: Any) -> None:
    one = case([asks(), "b"]).given().pause().raised("a").returned("b").answer("a", "retry")
    assert (one.kinds, one.seen.status.value) == (["StepAnswered a", "StepReady a"], "PAUSED")
    assert list(one.resume().starts().state.in_flight) == ["a"]


def test_a_pause_of_what_waits_for_an_answer_holds_also_behind_the_answer(case: Any) -> None:
    one = case([asks()]).given().raised("a").pause("p")
    one.gives(e.ExecutionPaused(request="p", at=T), accepted=[True])
    assert one.answer("a", "retry").seen.status is ExecutionStatus.PAUSED
    assert one.resume().seen.status is ExecutionStatus.RUNNING


def test_an_input_that_is_missing_is_asked_for_beside_an_answer(case: Any) -> None:
    one = case([asks(), Node("b", action="act", parameters={"x": "${input.x}"})]).given().raised("a")
    assert one.seen.waiting_for == ("a", "input.x")
    assert list(one.resume({"x": 1}).starts().state.in_flight) == ["b"]
    assert one.returned("b").seen.waiting_for == ("a",)


# -- on_interrupted


@pytest.mark.parametrize("on_exhausted", list(OnExhausted))
def test_on_interrupted_fail_runs_an_attempt_at_most_once(case: Any, on_exhausted: OnExhausted) -> None:
    node = Node("a", action="act", on_interrupted=OnInterrupted.FAIL, on_exhausted=on_exhausted)
    one = case([node]).given().interrupted("a")
    first = "StepFailed a" if on_exhausted is OnExhausted.FAIL else "AnswerAwaited a"
    assert (one.kinds[0], one.turn.events[0].error.type) == (first, "StepInterrupted")
    assert "runs at most once" in one.turn.events[0].error.message


def test_on_interrupted_pause_asks_before_it_runs_again(case: Any) -> None:
    one = case([Node("a", action="act", on_interrupted=OnInterrupted.PAUSE)]).given().interrupted("a")
    assert one.kinds == ["AnswerAwaited a", "ExecutionPaused"]
    assert one.answer("a", "retry").starts().turn.commands[0].attempt == 2


def test_on_interrupted_pause_is_about_interruptions_only(case: Any) -> None:
    one = case([Node("a", action="act", on_interrupted=OnInterrupted.PAUSE)]).given().raised("a", permanent=True)
    assert one.seen.status is ExecutionStatus.FAILED


def test_an_interruption_in_an_execution_that_is_ending_cancels_the_step(case: Any) -> None:
    node = Node("a", action="act", on_interrupted=OnInterrupted.PAUSE)
    one = case([node, "b"]).given().raised("b", permanent=True)
    assert one.when(i.ActionInterrupted(step="a", attempt=1, at=T)).kinds == ["StepCancelled a", "ExecutionFailed"]


def test_the_explanation_says_what_failed_and_how_to_answer(case: Any) -> None:
    one = case([asks()]).given().raised("a")
    for found in (explain(one.state), explain(one.state, "a"), *explain(one.state).steps):
        assert found.reason is Reason.WAITS_FOR_PERSON
        assert found.what_to_do == "answer it: retry, output, complete, skip or abort"
    assert explain(one.state, "a").text == "it failed (RuntimeError: no), and a person has to say what becomes of it"
