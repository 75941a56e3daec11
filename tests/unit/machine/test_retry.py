"""What follows a failed attempt and a cut off one: the wait, the next attempt, or the end of the step."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from treadle.machine import events as e
from treadle.machine.commands import CancelStep, RunStep
from treadle.machine.retry import backoff_ms
from treadle.model import Connection, Jitter, Node, Outcome, RetryPolicy, StepError

T = 1_000
EMPTY = Raw(b"{}")


def node(total: int | None = None, interruptions: int = 10, **policy: Any) -> Node:
    return Node(
        "a",
        action="act",
        retry=RetryPolicy(**{"initial_delay_ms": 10} | policy),
        total_timeout_ms=total,
        max_interruptions=interruptions,
    )


# -- the wait, as a function


@pytest.mark.parametrize(
    ("policy", "waits"),
    [
        (RetryPolicy(), [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]),
        (RetryPolicy(initial_delay_ms=500, backoff=3, max_delay_ms=5_000), [500, 1_500, 4_500, 5_000]),
        (RetryPolicy(initial_delay_ms=10, backoff=1), [10, 10, 10]),
        (RetryPolicy(initial_delay_ms=10, backoff=1.5), [10, 15, 22, 33]),
        (RetryPolicy(initial_delay_ms=0), [0, 0, 0]),
        (RetryPolicy(initial_delay_ms=100, max_delay_ms=40), [40, 40]),
        (RetryPolicy(max_delay_ms=0), [0, 0]),
    ],
)
def test_the_wait_grows_by_the_factor_up_to_the_cap(policy: RetryPolicy, waits: list[int]) -> None:
    assert [backoff_ms(policy, attempt=one + 1) for one in range(len(waits))] == waits


@pytest.mark.parametrize("backoff", [2.0, 2, 1e308])
@pytest.mark.parametrize(("initial", "wait"), [(1, 60_000), (0, 0)])
def test_a_wait_beyond_all_numbers_is_the_cap(backoff: float, initial: int, wait: int) -> None:
    assert backoff_ms(RetryPolicy(initial_delay_ms=initial, backoff=backoff), attempt=5_000) == wait


@pytest.mark.parametrize(("draw", "wait"), [(0.0, 0), (0.5, 1_000), (0.999, 1_998)])
def test_full_jitter_is_a_share_of_the_wait_and_none_ignores_the_draw(draw: float, wait: int) -> None:
    assert backoff_ms(RetryPolicy(jitter=Jitter.FULL), attempt=2, draw=draw) == wait
    assert backoff_ms(RetryPolicy(jitter=Jitter.NONE), attempt=2, draw=draw) == 2_000


def test_jitter_is_drawn_from_the_capped_wait() -> None:
    policy = RetryPolicy(initial_delay_ms=1_000, max_delay_ms=100, jitter=Jitter.FULL)
    assert backoff_ms(policy, attempt=3, draw=0.5) == 50


@pytest.mark.parametrize("attempt", [0, -1])
def test_there_is_no_wait_before_the_first_attempt(attempt: int) -> None:
    with pytest.raises(ValueError, match="attempt must be 1 or more"):
        backoff_ms(RetryPolicy(), attempt=attempt)


# -- attempts


def test_a_transient_failure_waits_and_runs_again(case: Any, no: Any) -> None:
    one = case([node()]).given()
    one.wait(3).raised("a").gives(
        e.AttemptFailed(step="a", attempt=1, error=no("a"), delay_ms=10, due=T + 13, at=T + 3), accepted=[True]
    )
    assert (one.statuses, one.state.wake_at(), one.seen.steps["a"].error) == ({"a": "WAITING"}, T + 13, no("a"))
    one.time(9).gives_nothing(False)
    one.time(1).gives(e.StepReady(step="a", at=T + 13), ready=["a"], accepted=[True])
    one.starts().gives(
        e.StepStarted(step="a", attempt=2, at=T + 13), commands=[RunStep("a", 2, one.plan.nodes[0].node, EMPTY)]
    )
    one.returned("a", 1).gives(
        e.StepSucceeded(step="a", attempt=2, output=Raw(b"1"), at=T + 13), e.ExecutionCompleted(at=T + 13)
    )
    assert (one.seen.steps["a"].attempt, one.seen.steps["a"].error) == (2, None)


@pytest.mark.parametrize(("allowed", "calls"), [(0, 1), (1, 1), (2, 2), (3, 3), (5, 5)])
def test_a_step_that_always_fails_is_called_max_attempts_times(case: Any, no: Any, allowed: int, calls: int) -> None:
    one = case([node(max_attempts=allowed, initial_delay_ms=0)]).given()
    for attempt in range(1, calls):
        assert one.raised("a").kinds == ["AttemptFailed a"]
        one.time().starts()
        assert one.state.in_flight == {"a": attempt + 1}
    one.raised("a").gives(
        e.StepFailed(step="a", attempt=calls, error=no("a", calls), at=T),
        e.ExecutionHalted(error=no("a", calls), at=T),
        e.ExecutionFailed(error=no("a", calls), at=T),
    )


def test_the_default_is_three_attempts_with_one_and_two_seconds_between(case: Any) -> None:
    one = case(["a"]).given()
    waits = []
    for _ in range(2):
        one.raised("a")
        waits.append(one.turn.events[0].delay_ms)
        one.time(waits[-1]).starts()
    assert (waits, one.raised("a").kinds[0]) == ([1_000, 2_000], "StepFailed a")


def test_jitter_comes_from_the_draw_of_the_input(case: Any) -> None:
    one = case([node(jitter=Jitter.FULL, initial_delay_ms=100)]).given().raised("a", draw=0.25)
    assert (one.turn.events[0].delay_ms, one.turn.events[0].due) == (25, T + 25)


@pytest.mark.parametrize(("asked", "wait"), [(0, 10), (5, 10), (700, 700)])
def test_retry_after_makes_the_wait_at_least_that_long(case: Any, asked: int, wait: int) -> None:
    one = case([node(max_delay_ms=50)]).given().raised("a", retry_after_ms=asked)
    assert (one.turn.events[0].delay_ms, one.state.wake_at()) == (wait, T + wait)


# -- permanent failures


def test_a_permanent_failure_is_not_tried_again(case: Any) -> None:
    assert case([node()]).given().raised("a", permanent=True).kinds[0] == "StepFailed a"


@pytest.mark.parametrize(
    ("names", "is_final"),
    [
        (("CardDeclined", "PaymentError", "Exception"), True),
        (("PaymentError", "Exception"), False),
        (("MyCardDeclined", "CardDeclinedX"), False),
        ((), False),
    ],
)
def test_non_retryable_names_match_anywhere_along_the_mro_and_whole(
    case: Any, names: tuple[str, ...], is_final: bool
) -> None:
    one = case([node(non_retryable=("Other", "CardDeclined"))]).given().raised("a", names=names)
    assert one.kinds[0] == ("StepFailed a" if is_final else "AttemptFailed a")


def test_the_name_in_the_recorded_error_alone_is_not_what_counts(case: Any) -> None:
    error = StepError(type="CardDeclined", message="no")
    one = case([node(non_retryable=("CardDeclined",))]).given().raised("a", error=error, names=("Exception",))
    assert one.kinds == ["AttemptFailed a"]


# -- timeouts of an attempt


def test_an_attempt_that_timed_out_is_tried_again_and_says_so(case: Any, no: Any) -> None:
    one = case([node()]).given()
    one.raised("a", timed_out=True).gives(
        e.AttemptFailed(step="a", attempt=1, error=no("a"), delay_ms=10, due=T + 10, timed_out=True, at=T)
    )


def test_out_of_attempts_after_a_timeout_the_step_is_timed_out_and_the_execution_failed(case: Any, no: Any) -> None:
    one = case([node(max_attempts=2)]).given().raised("a").time(10).starts()
    one.raised("a", timed_out=True).gives(
        e.StepTimedOut(step="a", attempt=2, error=no("a", 2), at=T + 10),
        e.ExecutionHalted(error=no("a", 2), at=T + 10),
        e.ExecutionFailed(error=no("a", 2), at=T + 10),
    )
    assert (one.seen.status.value, one.statuses) == ("FAILED", {"a": "TIMED_OUT"})


def test_a_timeout_listed_as_non_retryable_is_final(case: Any) -> None:
    one = case([node(non_retryable=("StepTimeout",))]).given().raised("a", names=("StepTimeout",), timed_out=True)
    assert one.kinds[0] == "StepTimedOut a"


# -- interruptions


def test_an_interrupted_attempt_is_no_failure_and_runs_again_at_once_under_the_next_number(case: Any) -> None:
    one = case([node(max_attempts=1)]).given()
    one.interrupted("a").gives(e.AttemptInterrupted(step="a", attempt=1, at=T), ready=["a"], accepted=[True])
    assert (one.seen.steps["a"].status.value, one.seen.steps["a"].error, one.seen.in_flight) == ("WAITING", None, 0)
    one.starts().gives(
        e.StepStarted(step="a", attempt=2, at=T), commands=[RunStep("a", 2, one.plan.nodes[0].node, EMPTY)]
    )
    assert one.raised("a").kinds[0] == "StepFailed a"


def test_interruptions_do_not_use_up_attempts_and_do_not_lengthen_the_wait(case: Any) -> None:
    one = case([node(max_attempts=3)]).given()
    waits = []
    for _ in range(2):
        one.interrupted("a").starts().interrupted("a").starts().raised("a")
        waits.append(one.turn.events[0].delay_ms)
        one.time(waits[-1]).starts()
    assert (waits, one.state.in_flight) == ([10, 20], {"a": 7})
    assert one.raised("a").kinds[0] == "StepFailed a"


@pytest.mark.parametrize("allowed", [0, 1, 2])
def test_more_than_max_interruptions_fail_the_step(case: Any, allowed: int) -> None:
    one = case([node(interruptions=allowed)]).given()
    for _ in range(allowed):
        assert one.interrupted("a").kinds == ["AttemptInterrupted a"]
        one.starts()
    last = allowed + 1
    error = StepError(
        type="StepInterrupted",
        message=f"interrupted {last} times, more than max_interruptions ({allowed})",
        attempt=last,
        step="a",
    )
    one.interrupted("a").gives(
        e.StepFailed(step="a", attempt=last, error=error, at=T),
        e.ExecutionHalted(error=error, at=T),
        e.ExecutionFailed(error=error, at=T),
    )


def test_too_many_interruptions_can_be_handled_like_any_failure(case: Any) -> None:
    one = case([node(interruptions=0), "b"], [Connection("a", "b", outcome=Outcome.FAILURE)]).given().interrupted("a")
    assert one.statuses == {"a": "FAILED", "b": "WAITING"}


# -- total timeout


def total_error(attempt: int) -> StepError:
    message = "all attempts together took longer than the total timeout of 0.05 s"
    return StepError(type="StepTimeout", message=message, attempt=attempt, step="a")


def test_the_total_timeout_cancels_the_attempt_in_flight_and_its_late_end_is_noted(case: Any) -> None:
    one = case([node(total=50), "b"], [Connection("a", "b", outcome=Outcome.FAILURE)]).given()
    assert one.state.wake_at() == T + 50
    one.time(49).gives_nothing(False)
    one.time(1).gives(
        e.StepTimedOut(step="a", attempt=1, error=total_error(1), at=T + 50),
        e.FailureHandled(step="a", by="connection", at=T + 50),
        commands=[CancelStep("a", 1)],
        ready=["b"],
    )
    one.cancelled("a", 1).gives_nothing(False)
    one.returned("a", 1, attempt=1).gives(e.LateResultIgnored(step="a", attempt=1, at=T + 50), accepted=[False])


def test_the_total_timeout_counts_from_the_first_start_over_attempts_and_waits(case: Any) -> None:
    one = case([node(total=50, initial_delay_ms=30)]).created().wait(1_000).starts()
    one.wait(10).raised("a")
    assert one.state.wake_at() == T + 1_040
    one.time(30).starts()
    assert one.state.wake_at() == T + 1_050
    one.time(10).gives(
        e.StepTimedOut(step="a", attempt=2, error=total_error(2), at=T + 1_050),
        e.ExecutionHalted(error=total_error(2), at=T + 1_050),
        e.ExecutionFailed(error=total_error(2), at=T + 1_050),
        commands=[CancelStep("a", 2)],
    )


def test_the_total_timeout_ends_a_step_that_waits_between_attempts(case: Any) -> None:
    one = case([node(total=50, initial_delay_ms=100)]).given().raised("a")
    one.time(50).gives(
        e.StepTimedOut(step="a", attempt=1, error=total_error(1), at=T + 50),
        e.ExecutionHalted(error=total_error(1), at=T + 50),
        e.ExecutionFailed(error=total_error(1), at=T + 50),
    )
    assert (one.statuses, one.state.waiting) == ({"a": "TIMED_OUT"}, {})


def test_the_total_timeout_ends_a_step_that_waits_for_a_slot_again(case: Any) -> None:
    one = case([node(total=50)]).given().interrupted("a").time(50)
    assert (one.kinds[0], one.state.ready) == ("StepTimedOut a", {})


def test_the_total_timeout_stands_still_while_the_execution_is_paused(case: Any) -> None:
    one = case([node(total=50, initial_delay_ms=100)]).given().wait(20).raised("a").pause()
    assert one.state.wake_at() is None
    one.time(1_000).gives_nothing(False)
    one.resume()
    assert one.state.wake_at() == T + 1_050
    one.time(29).gives_nothing(False)
    assert one.time(1).kinds[0] == "StepTimedOut a"


def test_a_step_that_ended_in_time_is_not_timed_out_later(case: Any) -> None:
    one = case([node(total=50), "b"], ["a>b"]).given().returned("a").starts()
    one.time(100).gives_nothing(False)
    assert one.state.wake_at() is None


def test_the_total_timeout_does_not_run_before_the_first_start(case: Any) -> None:
    one = case([node(total=50)]).created().time(1_000)
    assert (one.turn.events, one.statuses) == ([], {"a": "WAITING"})


# -- parameters


def test_parameters_are_resolved_at_the_first_start_and_stay_the_same(case: Any) -> None:
    asks = Node(
        "a",
        action="act",
        parameters={"x": "${input.x}", "s": "${steps.b.status}"},
        retry=RetryPolicy(initial_delay_ms=10),
    )
    one = case([asks, "b"]).created({"x": 1}).starts("a")
    resolved = Raw(b'{"x":1,"s":"WAITING"}')
    one.gives(
        e.StepStarted(step="a", attempt=1, parameters=resolved, at=T),
        commands=[RunStep("a", 1, one.plan.nodes[0].node, resolved)],
    )
    one.interrupted("a").starts("b").returned("b").pause().resume({"x": 2}).starts("a").gives(
        e.StepStarted(step="a", attempt=2, at=T), commands=[RunStep("a", 2, one.plan.nodes[0].node, resolved)]
    )
    one.raised("a").time(10).starts().gives(
        e.StepStarted(step="a", attempt=3, at=T + 10), commands=[RunStep("a", 3, one.plan.nodes[0].node, resolved)]
    )


def test_constant_parameters_are_not_recorded(case: Any) -> None:
    one = case([Node("a", action="act", parameters={"x": [1, {"y": "$${no}"}]})]).created()
    constant = Raw(b'{"x":[1,{"y":"${no}"}]}')
    one.starts().gives(
        e.StepStarted(step="a", attempt=1, at=T), commands=[RunStep("a", 1, one.plan.nodes[0].node, constant)]
    )


@pytest.mark.parametrize(
    ("value", "kind", "says"),
    [
        ("${b.x}", "MissingNameError", "b"),
        ("${vars.none}", "MissingNameError", "vars.none"),
        ("${1 + 'x'}", "ExpressionError", "parameters: "),
    ],
)
def test_parameters_that_cannot_be_resolved_fail_the_step_for_good_without_a_call(
    case: Any, value: str, kind: str, says: str
) -> None:
    one = case([Node("a", action="act", parameters={"p": value}), "b"], [Connection("a", "b", outcome=Outcome.FAILURE)])
    one.created().starts()
    assert (one.kinds, one.turn.commands) == (["StepFailed a", "FailureHandled a"], [])
    failed = one.turn.events[0]
    assert (failed.attempt, failed.error.type, failed.error.step) == (0, kind, "a")
    assert says in failed.error.message
    assert (one.seen.steps["a"].attempt, one.seen.steps["a"].started_at) == (0, None)


def test_a_missing_name_in_parameters_is_named_by_its_path(case: Any) -> None:
    one = case([Node("a", action="act", parameters={"p": ["${b.x.y}"]}), "b"]).created().starts("a")
    assert one.turn.events[0].error.details == {"missing": "b"}
