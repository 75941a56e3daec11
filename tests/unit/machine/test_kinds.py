"""What each type of node does once it is reached."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from treadle.machine import events as e
from treadle.machine import inputs as i
from treadle.machine.commands import CancelStep
from treadle.model import Connection, ExecutionStatus, Node, NodeType, RetryPolicy, StepError, SwitchMode, Timer

T = 1_000


def switch(name: str, **fields: Any) -> Node:
    return Node(name, type=NodeType.SWITCH, **fields)


def computes(name: str, values: Any, **fields: Any) -> Node:
    return Node(name, type=NodeType.SET, values=values, **fields)


def waits(name: str, **fields: Any) -> Node:
    return Node(name, type=NodeType.WAIT, **fields)


def ends(name: str, **fields: Any) -> Node:
    return Node(name, type=NodeType.END, **fields)


def decided(number: int, target: str, *, taken: bool, missing: str = "") -> e.ConnectionDecided:
    return e.ConnectionDecided(connection=number, source="s", target=target, taken=taken, missing=missing, at=T)


# -- switch

FOUR = [
    Connection("s", "a", condition="input.n > 10"),
    Connection("s", "b", condition="input.n > 5"),
    Connection("s", "c", condition="input.n > 0"),
    Connection("s", "d", otherwise=True),
]


@pytest.mark.parametrize(
    ("mode", "n", "taken"),
    [
        (SwitchMode.FIRST, 20, "a"),
        (SwitchMode.FIRST, 7, "b"),
        (SwitchMode.FIRST, 1, "c"),
        (SwitchMode.FIRST, 0, "d"),
        (SwitchMode.ALL, 20, "abc"),
        (SwitchMode.ALL, 7, "bc"),
        (SwitchMode.ALL, 0, "d"),
    ],
)
def test_a_switch_takes_the_first_true_condition_or_all(case: Any, mode: SwitchMode, n: int, taken: str) -> None:
    one = case([switch("s", mode=mode), *"abcd"], FOUR).created({"n": n})
    assert one.turn.events[2:7] == [
        e.StepPassed(step="s", at=T),
        *(decided(number, target, taken=target in taken) for number, target in enumerate("abcd")),
    ]
    assert [ready.step for ready in one.turn.ready] == list(taken)
    assert one.seen.steps["s"].output is None


def test_behind_the_first_true_condition_no_other_is_looked_at(case: Any) -> None:
    joined = [Connection("s", "a", condition="true"), Connection("s", "b", condition="1 / 0 > 1")]
    assert case([switch("s"), "a", "b"], joined).created().statuses == {
        "s": "COMPLETED",
        "a": "WAITING",
        "b": "SKIPPED",
    }
    halted = case([switch("s", mode=SwitchMode.ALL), "a", "b"], joined).created()
    assert (halted.seen.status.value, halted.seen.error.type) == ("FAILED", "ExpressionError")


def test_an_unconditional_connection_of_a_switch_is_taken_beside_the_others(case: Any) -> None:
    joined = [Connection("s", "a", condition="false"), Connection("s", "b")]
    assert case([switch("s"), "a", "b"], joined).created().statuses == {
        "s": "COMPLETED",
        "a": "SKIPPED",
        "b": "WAITING",
    }


# -- set


def test_a_set_gives_what_it_computes_and_the_next_step_reads_it(case: Any) -> None:
    nodes = [
        computes("c", {"x": "${input.n + 1}", "y": ["${input.n}", "n is ${input.n}"]}),
        computes("d", "${c.x * 2}"),
    ]
    one = case(nodes, ["c>d"]).created({"n": 2})
    assert one.turn.events[2:] == [
        e.StepPassed(step="c", output=Raw(b'{"x":3,"y":[2,"n is 2"]}'), at=T),
        e.StepPassed(step="d", output=Raw(b"6"), at=T),
        e.ExecutionCompleted(at=T),
    ]
    assert one.seen.output == 6


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ("${input.none}", "MissingNameError", "input.none is missing"),
        ("${1 / input.zero}", "ExpressionError", "set: "),
    ],
)
def test_a_set_that_cannot_be_computed_fails_for_good(case: Any, values: str, kind: str, message: str) -> None:
    one = case([computes("c", values), "handles"], [Connection("c", "handles", outcome="failure")]).created({"zero": 0})
    failed = one.turn.events[2]
    assert (type(failed), failed.step, failed.attempt, failed.error.type) == (e.StepFailed, "c", 0, kind)
    assert failed.error.message.startswith(message)
    assert [ready.step for ready in one.turn.ready] == ["handles"]


def test_a_set_that_fails_is_passed_over_where_it_says_so(case: Any) -> None:
    one = case([computes("c", "${1 / 0}", continue_on_error=True), "a"], ["c>a"]).created()
    assert (one.statuses, one.seen.handled_failures) == ({"c": "FAILED", "a": "WAITING"}, ("c",))


# -- wait


def test_a_wait_ends_when_its_duration_has_passed(case: Any) -> None:
    one = case([waits("w", duration=100), "a"], ["w>a"]).created()
    assert one.turn.events[2:] == [e.WaitStarted(step="w", due=((0, T + 100),), at=T)]
    assert (one.statuses["w"], one.state.wake_at(), one.seen.in_flight) == ("WAITING", T + 100, 0)
    one.time(99).gives_nothing()
    one.time(1).gives(e.WaitEnded(step="w", at=T + 100), ready=["a"])
    assert one.seen.steps["w"].output is None
    assert one.state.wake_at() is None


def test_the_time_an_execution_is_paused_does_not_count_for_a_duration(case: Any) -> None:
    one = case([waits("w", duration=100)]).created().wait(40).pause().wait(1_000)
    assert one.state.wake_at() is None
    one.resume().gives(e.ExecutionResumed(at=one.at))
    assert one.state.wake_at() == one.at + 60
    assert one.time(59).turn.events == []
    assert one.time(1).kinds == ["WaitEnded w", "ExecutionCompleted"]


def test_a_duration_is_counted_on_the_clock_of_the_execution_from_where_it_begins(case: Any) -> None:
    one = case(["a", waits("w", duration=100)], ["a>w"]).given().pause().wait(1_000).resume().returned("a")
    assert one.turn.events[1] == e.WaitStarted(step="w", due=((0, T + 100),), at=T + 1_000)
    assert one.state.wake_at() == T + 1_100


def test_a_time_by_the_wall_clock_comes_also_while_an_execution_is_paused(case: Any) -> None:
    one = case([waits("w", until="1970-01-01T00:00:01.100Z")]).created()
    assert one.turn.events[2:] == [e.WaitStarted(step="w", until=((0, T + 100),), at=T)]
    one.wait(40).pause().wait(1_000).time().gives_nothing()
    assert one.resume().state.wake_at() == T + 100
    assert one.time().kinds == ["WaitEnded w", "ExecutionCompleted"]


def test_a_wait_until_a_time_that_has_passed_is_over_at_once(case: Any) -> None:
    one = case([waits("w", until="1970-01-01T00:00:00Z")]).created()
    assert one.state.wake_at() == 0
    assert one.time().kinds == ["WaitEnded w", "ExecutionCompleted"]


@pytest.mark.parametrize(("wall", "number"), [("045", 1), ("020", 2)])
def test_the_first_of_several_timers_ends_a_wait_and_the_others_count_no_more(
    case: Any, wall: str, number: int
) -> None:
    timers = (Timer(duration=500), Timer(duration=30), Timer(until=f"1970-01-01T00:00:01.{wall}Z"))
    one = case([waits("w", any_of=timers), "a"], ["w>a"]).created()
    one.time(30 if number == 1 else 20)
    one.gives(e.WaitEnded(step="w", timer=number, at=one.at), ready=["a"])
    assert one.seen.steps["w"].output == {"timer": number}
    assert one.time(10_000).turn.events == []


UNTIL = {"until": "1970-01-01T00:00:01.025Z"}


@pytest.mark.parametrize(
    ("node", "ends"),
    [
        (waits("w", duration=50), "COMPLETED"),
        (waits("w", **UNTIL), "COMPLETED"),
        (waits("w", duration=60), "COMPLETED"),
        (waits("w", duration=61), "TIMED_OUT"),
    ],
)
@pytest.mark.parametrize("late", [0, 1, 1_000])
def test_time_told_late_means_what_it_would_have_meant_in_time(case: Any, node: Node, ends: str, late: int) -> None:
    """A process that was down when a wait was over does not turn it into a timeout."""
    one = case([node], timeout_ms=60).created()
    while not one.seen.ended_at:
        one.wait(one.state.wake_at() - one.at + late).time()
        late = 0
    assert one.seen.status.value == ends


def test_of_timers_told_late_the_one_that_was_due_first_ends_a_wait(case: Any) -> None:
    one = case([waits("w", any_of=(Timer(duration=50), Timer(**UNTIL)))]).created().time(1_000)
    assert one.seen.steps["w"].output == {"timer": 1}


def test_what_a_wait_led_to_has_happened_before_what_was_due_later(case: Any) -> None:
    one = case([waits("w", duration=10), ends("e"), waits("v", duration=20), "a"], ["w>e", "v>a"]).created().time(1_000)
    assert one.statuses == {"w": "COMPLETED", "e": "COMPLETED", "v": "CANCELLED", "a": "SKIPPED"}


@pytest.mark.parametrize(
    ("given", "due"), [(2, 2_000), (0.5, 500), ("250ms", 250), ("PT5M", 300_000), ("", None), (-1, None), ([], None)]
)
def test_a_duration_may_be_computed(case: Any, given: Any, due: int | None) -> None:
    one = case([waits("w", duration="${input.x}")]).created({"x": given})
    if due is None:
        assert (one.seen.status.value, one.seen.error.type) == ("FAILED", "ValidationError")
        assert one.seen.error.message.startswith("wait: ")
    else:
        assert one.turn.events[2] == e.WaitStarted(step="w", due=((0, T + due),), at=T)


@pytest.mark.parametrize("given", ["soon", "2026-01-31", "2026-01-31T09:00:00", 5, None])
def test_a_computed_time_without_its_zone_fails_the_wait(case: Any, given: Any) -> None:
    one = case([waits("w", until="${input.x}")]).created({"x": given})
    assert "is no time with its zone" in one.seen.error.message


def test_waits_are_cancelled_with_their_execution(case: Any) -> None:
    nodes = [waits("w", duration=100), waits("u", until="1970-01-01T01:00:00Z"), "a"]
    one = case(nodes).created().cancel()
    assert one.kinds == [
        "CancelRequested",
        "StepCancelled a",
        "StepCancelled w",
        "StepCancelled u",
        "ExecutionCancelled",
    ]


def test_an_execution_pauses_for_input_only_once_its_waits_are_over(case: Any) -> None:
    asks = Node("a", action="act", parameters={"x": "${input.x}"})
    one = case([waits("w", duration=100), asks]).given()
    assert one.seen.status.value == "RUNNING"
    assert one.time(100).kinds == ["WaitEnded w", "ExecutionPaused"]


# -- input


def asks(name: str, **fields: Any) -> Node:
    return Node(name, type=NodeType.INPUT, **fields)


def answers(case: Any, step: str, output: bytes, request: str = "") -> Any:
    return case.when(i.InputSubmitted(step=step, output=Raw(output), request=request, at=case.at))


def test_an_input_waits_for_its_answer_which_is_its_output(case: Any) -> None:
    one = case([asks("q"), "a"], ["q>a"]).created()
    assert one.turn.events[2:] == [e.InputAsked(step="q", at=T)]
    assert (one.statuses["q"], one.seen.status.value, one.state.wake_at()) == ("WAITING", "RUNNING", None)
    answers(one, "q", b'{"ok":true}', "r").gives(
        e.InputGiven(step="q", output=Raw(b'{"ok":true}'), request="r", at=T), ready=["a"], accepted=[True]
    )
    assert one.seen.steps["q"].output == {"ok": True}


def test_of_two_answers_one_counts_and_the_same_request_is_accepted_again(case: Any) -> None:
    one = answers(case([asks("q"), "a"], ["q>a"]).created(), "q", b"1", "r")
    answers(one, "q", b"1", "r").gives_nothing(True)
    answers(one, "q", b"2", "s").gives_nothing(False)
    assert one.seen.steps["q"].output == 1


@pytest.mark.parametrize("step", ["a", "later", "nobody"])
def test_an_answer_to_a_step_that_asks_nothing_is_not_taken(case: Any, step: str) -> None:
    answers(case(["a", asks("later")], ["a>later"]).created(), step, b"1").gives_nothing(False)


def test_an_input_that_nobody_answers_in_time_takes_its_default(case: Any) -> None:
    node = asks("q", timeout_ms=100, default={"ok": "${input.x}"})
    one = case([node, "a"], ["q>a"]).created({"x": 3})
    assert one.turn.events[2:] == [e.InputAsked(step="q", due=T + 100, default=Raw(b'{"ok":3}'), at=T)]
    one.time(100).gives(e.InputGiven(step="q", output=Raw(b'{"ok":3}'), is_default=True, at=T + 100), ready=["a"])
    answers(one, "q", b"1").gives_nothing(False)


def test_an_input_without_a_default_times_out_and_that_can_be_handled(case: Any) -> None:
    late = [Connection("q", "late", outcome="failure")]
    one = case([asks("q", timeout_ms=100), "late"], late).created().wait(60).pause().wait(500).resume()
    assert one.time(39).turn.events == []
    assert one.time(1).kinds == ["StepTimedOut q", "FailureHandled q"]
    assert [ready.step for ready in one.turn.ready] == ["late"]
    alone = case([asks("q", timeout_ms=1_500)]).created().time(1_500)
    assert (alone.seen.status.value, alone.seen.error.type) == ("FAILED", "StepTimeout")
    assert alone.seen.error.message == "nobody answered within 1.5 s"


def test_an_answer_is_taken_while_the_execution_is_paused_and_nothing_starts(case: Any) -> None:
    one = case([asks("q"), "a"], ["q>a"]).created().pause()
    assert answers(one, "q", b"1").turn.ready == ()
    one.resume().gives(e.ExecutionResumed(at=T), ready=["a"])


def test_an_answer_that_comes_while_the_execution_ends_is_not_taken(case: Any) -> None:
    one = case([asks("q"), "b"]).given().cancel()
    assert one.statuses["q"] == "CANCELLED"
    answers(one, "q", b"1").gives_nothing(False)


def test_the_time_for_an_answer_is_counted_on_the_clock_of_the_execution(case: Any) -> None:
    one = case(["a", asks("q", timeout_ms=100)], ["a>q"]).given().pause().wait(1_000).resume().returned("a")
    assert one.turn.events[1] == e.InputAsked(step="q", due=T + 100, at=T + 1_000)


def test_an_answer_counts_for_nothing_once_the_execution_halts(case: Any) -> None:
    """What waits is cancelled by a halt in the same turn, so an answer never meets a step that still asks."""
    one = case([asks("q"), Node("b", action="act", retry=RetryPolicy(max_attempts=1)), "c"]).given()
    submitted = i.InputSubmitted(step="q", output=Raw(b"1"), at=T)
    error = StepError(type="RuntimeError", message="no", attempt=1, step="b")
    one.when(i.ActionRaised(step="b", attempt=1, error=error, at=T), submitted)
    assert (one.turn.accepted, one.statuses["q"]) == ([True, False], "CANCELLED")


# -- ended at once


def test_ending_at_once_waits_for_nothing_that_runs(case: Any) -> None:
    one = case(["a", asks("q"), waits("w", duration=9)]).given()
    one.when(i.CancelExecutionRequested(at=T, reason="now", at_once=True))
    assert one.kinds == [
        "CancelRequested",
        "StepCancelled q",
        "StepCancelled w",
        "StepCancelled a",
        "ExecutionCancelled",
    ]
    assert one.turn.commands == [CancelStep("a", 1)]
    assert one.seen.error.message == "now"
    one.returned("a", 1, attempt=1).gives_nothing(False)


def test_a_cancel_that_takes_long_can_be_ended_at_once(case: Any) -> None:
    one = case(["a", "b"]).given().cancel("slowly").cancelled("b")
    one.when(i.CancelExecutionRequested(at=T, at_once=True))
    assert one.kinds == ["StepCancelled a", "ExecutionCancelled"]
    assert one.seen.error.message == "slowly"
    one.when(i.CancelExecutionRequested(at=T, at_once=True)).gives_nothing(False)


# -- end

BOOM = StepError(type="EndReached", message="no more", step="e")


def test_an_end_completes_the_execution_with_its_output_and_cancels_the_rest(case: Any) -> None:
    nodes = [Node("a", action="act"), ends("e", output={"n": "${a}"}), "b", waits("w", duration=9), "late"]
    one = case(nodes, ["a>e", "b>late"]).given().returned("a", 7)
    one.gives(
        e.StepSucceeded(step="a", attempt=1, output=Raw(b"7"), at=T),
        e.EndReached(step="e", status=ExecutionStatus.COMPLETED, output=Raw(b'{"n":7}'), at=T),
        e.StepCancelled(step="w", at=T),
        commands=[CancelStep("b", 1)],
    )
    one.cancelled("b").gives(
        e.StepCancelled(step="b", at=T),
        e.StepSkipped(step="late", reason="end", at=T),
        e.ExecutionCompleted(output=Raw(b'{"n":7}'), at=T),
    )
    assert (one.seen.output, one.seen.error) == ({"n": 7}, None)
    assert one.statuses == {"a": "COMPLETED", "e": "COMPLETED", "b": "CANCELLED", "w": "CANCELLED", "late": "SKIPPED"}


def test_an_end_without_an_output_gives_what_the_workflow_says(case: Any) -> None:
    one = case(["a", ends("e")], ["a>e"], output="${a}").given().returned("a", 7)
    assert (one.seen.status.value, one.seen.output) == ("COMPLETED", 7)


@pytest.mark.parametrize("status", ["FAILED", "CANCELLED"])
def test_an_end_may_fail_or_cancel_the_execution_and_says_why(case: Any, status: str) -> None:
    node = ends("e", status=ExecutionStatus(status), message="no ${input.what}")
    one = case([node, "never"], [Connection("e", "never")]).created({"what": "more"})
    assert (one.seen.status.value, one.seen.error, one.statuses["never"]) == (status, BOOM, "PENDING")
    silent = case([ends("e", status=ExecutionStatus(status))]).created()
    assert silent.seen.error.message == "ended by node 'e'"


def test_a_step_that_fails_while_the_execution_ends_well_changes_nothing(case: Any) -> None:
    failing = Node("b", action="act", retry=RetryPolicy(max_attempts=1))
    one = case(["a", ends("e"), failing], ["a>e"]).given().returned("a").raised("b")
    assert (one.seen.status.value, one.statuses["b"]) == ("COMPLETED", "FAILED")


def test_an_execution_that_reaches_its_end_while_it_is_paused_completes_on_resume(case: Any) -> None:
    one = case(["a", ends("e", output=1)], ["a>e"]).given().pause().returned("a")
    assert (one.seen.status.value, one.state.ending.status.value) == ("PAUSED", "COMPLETED")
    one.resume().gives(e.ExecutionResumed(at=T), e.ExecutionCompleted(output=Raw(b"1"), at=T), accepted=[True])


def test_cancelling_takes_the_place_of_an_end_that_is_on_its_way(case: Any) -> None:
    one = case(["a", ends("e"), "b"], ["a>e"]).given().returned("a").cancel("stop").cancelled("b")
    assert (one.seen.status.value, one.seen.error.message) == ("CANCELLED", "stop")


def test_an_end_whose_output_cannot_be_computed_fails(case: Any) -> None:
    one = case([ends("e", output="${1 / 0}")]).created()
    assert (one.seen.status.value, one.statuses["e"]) == ("FAILED", "FAILED")
    assert one.seen.error.message.startswith("end: ")


@pytest.mark.parametrize("node", [switch("n"), computes("n", 1), waits("n", duration=5), asks("n"), ends("n")])
def test_every_type_has_a_condition_and_a_join_of_its_own(case: Any, node: Node) -> None:
    from msgspec.structs import replace

    assert case([replace(node, condition="false")]).created().statuses == {"n": "SKIPPED"}
    dead = [Connection("a", "n", condition="false")]
    assert case(["a", node], dead).given().returned("a").statuses == {"a": "COMPLETED", "n": "SKIPPED"}
