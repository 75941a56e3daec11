"""Compensations: what completed steps did is undone, the last first, before an execution ends that did not complete."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from treadle.machine import advance, compile  # noqa: A004 - the word of the house for it
from treadle.machine import events as e
from treadle.machine import inputs as i
from treadle.machine.calls import COMPENSATION
from treadle.machine.commands import CancelChild, CancelStep, RunStep
from treadle.machine.explain import explain
from treadle.machine.signals import owed_to_children
from treadle.model import (
    Body,
    Compensation,
    Connection,
    ExecutionStatus,
    Fallback,
    Node,
    NodeType,
    OnExhausted,
    OnFailure,
    Outcome,
    RetryPolicy,
    StepError,
    Workflow,
)

T = 1_000
ONCE = RetryPolicy(max_attempts=1)
CHAIN = ["a>b", "b>c"]


def does(name: str, **fields: Any) -> Node:
    undo = Compensation(action=f"undo_{name}", **fields.pop("undo", {"retry": ONCE}))
    return Node(name, action="act", retry=ONCE, compensate=undo, **fields)


def fails_after_two(case: Any, first: Node | None = None, **workflow: Any) -> Any:
    """An execution in which a and b are done, c is in flight."""
    one = case([first or does("a"), does("b"), "c"], CHAIN, **workflow).given()
    return one.returned("a", {"id": 1}).starts().returned("b", {"id": 2}).starts()


def undone(one: Any) -> dict[str, str]:
    return {step: found.status.value for step, found in one.seen.compensations.items()}


# -- when, and in which order


def test_what_completed_is_undone_in_the_reverse_order_of_its_completion(case: Any, no: Any) -> None:
    one = fails_after_two(case).raised("c", permanent=True)
    one.gives(
        e.StepFailed(step="c", attempt=1, error=no("c"), at=T),
        e.ExecutionHalted(error=no("c"), at=T),
        e.CompensationsBegan(steps=("b", "a"), at=T),
        ready=["b"],
    )
    (ready,) = one.turn.ready
    assert ready.node.action_name == "undo_b"
    assert (undone(one), one.seen.status.value) == ({"b": "PENDING", "a": "PENDING"}, "RUNNING")
    one.starts().gives(
        e.CompensationStarted(step="b", attempt=2, at=T),
        commands=[RunStep("b", 2, ready.node, Raw(b"{}"), role=COMPENSATION)],
    )
    assert undone(one) == {"b": "RUNNING", "a": "PENDING"}
    one.returned("b", "gone").gives(
        e.CompensationSucceeded(step="b", attempt=2, output=Raw(b'"gone"'), at=T), ready=["a"]
    )
    one.starts().returned("a")
    one.gives(
        e.CompensationSucceeded(step="a", attempt=2, output=Raw(b"null"), at=T), e.ExecutionFailed(error=no("c"), at=T)
    )
    assert (undone(one), one.seen.compensation_failures) == ({"b": "COMPLETED", "a": "COMPLETED"}, ())
    assert one.seen.compensations["b"].output == "gone"
    assert one.statuses == {"a": "COMPLETED", "b": "COMPLETED", "c": "FAILED"}


def test_the_order_is_that_of_completion_and_not_of_the_definition(case: Any) -> None:
    one = case([does("a"), does("b"), "c"]).given().returned("b").returned("a").raised("c", permanent=True)
    assert list(one.seen.compensations) == ["a", "b"]


def test_an_execution_that_completes_undoes_nothing(case: Any) -> None:
    one = fails_after_two(case).returned("c")
    assert (one.kinds, one.seen.compensations) == (["StepSucceeded c", "ExecutionCompleted"], {})


def test_what_did_not_complete_is_not_undone(case: Any) -> None:
    nodes = [does("a"), does("b"), does("c"), Node("d", action="act", retry=ONCE)]
    one = case(nodes, ["b>c"]).given().raised("a", permanent=True)
    assert one.cancelled("b", 1).kinds == ["StepCancelled b"]
    assert one.returned("d").kinds == ["StepSucceeded d", "ExecutionFailed"]


def test_a_failure_that_is_handled_undoes_nothing_until_the_execution_fails(case: Any) -> None:
    joined = ["a>b", Connection("b", "c", outcome=Outcome.FAILURE)]
    one = case([does("a"), does("b"), "c"], joined).given().returned("a").starts().raised("b")
    assert one.kinds == ["StepFailed b", "FailureHandled b"]
    one.starts().raised("c", permanent=True)
    assert list(one.seen.compensations) == ["a"]


def test_attempts_in_flight_end_first_and_what_they_did_is_undone_too(case: Any) -> None:
    one = case([does("a"), does("b"), "c"]).given().returned("a").raised("c", permanent=True)
    assert one.kinds == ["StepFailed c", "ExecutionHalted"]
    assert one.returned("b").kinds == ["StepSucceeded b", "CompensationsBegan"]
    assert list(one.seen.compensations) == ["b", "a"]


def test_with_on_failure_cancel_they_are_cancelled_first(case: Any) -> None:
    one = case([does("a"), does("b"), "c"], on_failure=OnFailure.CANCEL).given().returned("a")
    one.raised("c", permanent=True)
    assert one.turn.commands == [CancelStep("b", 1)]
    assert one.cancelled("b", 1).kinds == ["StepCancelled b", "CompensationsBegan"]
    assert list(one.seen.compensations) == ["a"]


def test_the_timeout_of_the_execution_undoes_and_does_not_bound_the_undoing(case: Any) -> None:
    one = fails_after_two(case, timeout_ms=50).time(50).cancelled("c", 1)
    assert one.kinds == ["StepCancelled c", "CompensationsBegan"]
    one.time(1_000_000).gives_nothing()
    one.starts().returned("b").starts().returned("a")
    assert one.seen.status is ExecutionStatus.TIMED_OUT


def test_the_timeout_of_an_execution_that_undoes_already_changes_nothing(case: Any) -> None:
    one = fails_after_two(case, timeout_ms=50).raised("c", permanent=True).starts().time(50).gives_nothing()
    assert one.returned("b").starts().returned("a").seen.status is ExecutionStatus.FAILED


@pytest.mark.parametrize("compensates", [False, True])
def test_a_cancelled_execution_undoes_where_the_workflow_says_so(case: Any, compensates: bool) -> None:
    one = fails_after_two(case, compensate_on_cancel=compensates).cancel("enough").cancelled("c", 1)
    assert one.kinds[1] == ("CompensationsBegan" if compensates else "ExecutionCancelled")
    if compensates:
        assert one.seen.cancelling
        one.starts().returned("b").starts().returned("a")
    assert (one.seen.status, one.seen.error.message) == (ExecutionStatus.CANCELLED, "enough")


@pytest.mark.parametrize(
    ("status", "compensates", "undoes"),
    [
        (ExecutionStatus.COMPLETED, True, False),
        (ExecutionStatus.FAILED, False, True),
        (ExecutionStatus.CANCELLED, False, False),
        (ExecutionStatus.CANCELLED, True, True),
    ],
)
def test_an_end_node_undoes_as_its_status_says(
    case: Any, status: ExecutionStatus, compensates: bool, undoes: bool
) -> None:
    nodes = [does("a"), Node("z", type=NodeType.END, status=status)]
    one = case(nodes, ["a>z"], compensate_on_cancel=compensates).given().returned("a")
    assert ("CompensationsBegan" in one.kinds) is undoes
    if undoes:
        one.starts().returned("a")
    assert one.seen.status is status


def test_an_output_that_cannot_be_computed_fails_the_execution_and_undoes(case: Any) -> None:
    one = case([does("a")], output="${1 / 0}").given().returned("a")
    assert one.kinds == ["StepSucceeded a", "ExecutionHalted", "CompensationsBegan"]
    one.starts().returned("a")
    assert (one.seen.status.value, one.seen.error.type) == ("FAILED", "ExpressionError")


# -- what is called


def test_parameters_are_resolved_when_it_starts_and_read_what_the_step_gave(case: Any) -> None:
    undo = {"parameters": {"id": "${a.id}", "c": "${steps.c.error.type}"}, "retry": RetryPolicy(initial_delay_ms=5)}
    one = fails_after_two(case, does("a", undo=undo)).raised("c", permanent=True).starts().returned("b").starts()
    bytes_ = Raw(b'{"id":1,"c":"RuntimeError"}')
    assert one.turn.events == [e.CompensationStarted(step="a", attempt=2, parameters=bytes_, at=T)]
    one.raised("a").time(5).starts()
    assert one.turn.events == [e.CompensationStarted(step="a", attempt=3, at=T + 5)]
    assert one.turn.commands[0].parameters == bytes_


@pytest.mark.parametrize("expression", ["${input.gone}", "${a.gone}", "${1 / 0}"])
def test_parameters_that_cannot_be_resolved_are_a_failure_that_does_not_stop_the_rest(
    case: Any, expression: str
) -> None:
    one = fails_after_two(case, does("a", undo={"parameters": {"x": expression}}))
    one.raised("c", permanent=True).starts().returned("b").starts()
    assert one.kinds == ["CompensationFailed a", "ExecutionFailed"]
    assert (one.seen.compensation_failures, one.state.in_flight) == (("a",), {})
    assert one.seen.compensations["a"].error.message.startswith("parameters: ")


def test_what_a_fallback_did_is_undone_by_the_fallbacks_own_compensation_alone(case: Any) -> None:
    undo = Compensation(action="undo_other")
    for own, wanted in ((undo, ["undo_other"]), (None, [])):
        first = does("a", fallback=Fallback(action="other", compensate=own))
        one = case([first, "z"], ["a>z"]).given().raised("a").starts().returned("a").starts()
        one.raised("z", permanent=True)
        assert [found.action for found in one.seen.compensations.values()] == wanted


def test_a_fallback_may_be_undone_where_the_action_is_not(case: Any) -> None:
    fallback = Fallback(action="other", compensate=Compensation(action="undo_other"))
    first = Node("a", action="act", retry=ONCE, fallback=fallback)
    done = case([first, "z"], ["a>z"]).given().returned("a").starts().raised("z", permanent=True)
    assert done.seen.status is ExecutionStatus.FAILED
    fell = case([first, "z"], ["a>z"]).given().raised("a").starts().returned("a").starts().raised("z", permanent=True)
    assert fell.starts().turn.commands[0].node.action_name == "undo_other"


def test_an_output_that_a_person_gave_is_undone_as_if_the_action_had_given_it(case: Any) -> None:
    first = does("a", on_exhausted=OnExhausted.PAUSE, undo={"parameters": {"id": "${a}"}})
    one = case([first, "z"], ["a>z"]).given().raised("a").answer("a", "output", 7).starts()
    one.raised("z", permanent=True).starts()
    assert one.turn.commands[0].parameters == Raw(b'{"id":7}')


@pytest.mark.parametrize(
    ("answer", "wanted", "by"), [("complete", "undo_other", "fallback"), ("output", "undo_a", "person")]
)
def test_a_step_that_fell_back_and_was_done_in_fact_is_undone_by_the_fallbacks_own(
    case: Any, answer: str, wanted: str, by: str
) -> None:
    fallback = Fallback(action="other", retry=ONCE, compensate=Compensation(action="undo_other"))
    first = does("a", fallback=fallback, on_exhausted=OnExhausted.PAUSE)
    one = case([first, "z"], ["a>z"]).given().raised("a").starts().raised("a").answer("a", answer, 1)
    assert one.seen.steps["a"].answered_by == by
    one.starts().raised("z", permanent=True)
    assert [found.action for found in one.seen.compensations.values()] == [wanted]


def test_a_step_that_was_done_in_fact_is_undone_as_if_its_action_had_said_so(case: Any) -> None:
    first = does("a", on_exhausted=OnExhausted.PAUSE)
    one = case([first, "z"], ["a>z"]).given().raised("a").answer("a", "complete").starts().raised("z", permanent=True)
    assert [found.action for found in one.seen.compensations.values()] == ["undo_a"]


# -- failures and interruptions


def test_a_compensation_is_retried_under_its_own_policy(case: Any, no: Any) -> None:
    policy = RetryPolicy(max_attempts=2, initial_delay_ms=40)
    one = fails_after_two(case, does("a", undo={"retry": policy})).raised("c", permanent=True)
    one.starts().returned("b").starts().raised("a")
    one.gives(e.CompensationDelayed(step="a", attempt=2, error=no("a", 2), delay_ms=40, due=T + 40, at=T))
    assert (undone(one)["a"], one.state.wake_at()) == ("WAITING", T + 40)
    assert one.seen.compensations["a"].error == no("a", 2)
    one.time(39).gives_nothing()
    one.time(1).gives(e.CompensationReady(step="a", at=T + 40), ready=["a"])
    one.starts().raised("a", timed_out=True)
    assert one.kinds == ["CompensationFailed a", "ExecutionFailed"]
    assert (undone(one), one.seen.compensation_failures) == ({"b": "COMPLETED", "a": "TIMED_OUT"}, ("a",))
    assert one.seen.error == no("c")


@pytest.mark.parametrize("how", [{"permanent": True}, {"names": ("Never",)}])
def test_a_permanent_error_is_not_retried_and_the_others_are_undone_all_the_same(case: Any, how: Any) -> None:
    policy = RetryPolicy(max_attempts=9, non_retryable=("Never",))
    one = case([does("a"), does("b", undo={"retry": policy}), "c"], CHAIN).given()
    one.returned("a").starts().returned("b").starts().raised("c", permanent=True).starts().raised("b", **how)
    assert (one.kinds, [ready.step for ready in one.turn.ready]) == (["CompensationFailed b"], ["a"])
    one.starts().returned("a")
    assert (undone(one), one.seen.compensation_failures) == ({"b": "FAILED", "a": "COMPLETED"}, ("b",))


def test_one_that_was_cut_off_runs_again_under_the_next_number(case: Any) -> None:
    one = fails_after_two(case).raised("c", permanent=True).starts().interrupted("b")
    one.gives(e.CompensationInterrupted(step="b", attempt=2, at=T), ready=["b"])
    assert one.starts().turn.commands[0].attempt == 3


def test_one_that_is_cut_off_again_and_again_fails(case: Any) -> None:
    one = fails_after_two(case, does("a", max_interruptions=1)).raised("c", permanent=True).starts().returned("b")
    one.starts().interrupted("a").starts().interrupted("a")
    assert one.kinds == ["CompensationFailed a", "ExecutionFailed"]
    assert one.seen.compensations["a"].error.message == (
        "its compensation was interrupted 2 times, more than max_interruptions (1)"
    )


def test_results_told_twice_or_late_change_nothing(case: Any) -> None:
    one = fails_after_two(case).raised("c", permanent=True).starts()
    one.returned("b", attempt=1).gives_nothing(False)
    one.interrupted("b").starts().returned("b", attempt=2)
    assert one.kinds == ["LateResultIgnored b"]
    one.returned("b")
    one.returned("b", attempt=3).gives_nothing(False)
    assert undone(one) == {"b": "COMPLETED", "a": "PENDING"}


# -- requests while it undoes


def test_pausing_and_resuming_do_not_touch_it(case: Any) -> None:
    one = fails_after_two(case).raised("c", permanent=True)
    one.pause().gives_nothing(False)
    one.resume().gives_nothing(False)


def test_a_paused_execution_that_fails_undoes_at_once(case: Any) -> None:
    policy = RetryPolicy(initial_delay_ms=10)
    one = fails_after_two(case, does("a", undo={"retry": policy})).pause().wait(500).raised("c", permanent=True)
    assert one.seen.status is ExecutionStatus.RUNNING
    one.starts().returned("b").starts().raised("a")
    assert one.state.wake_at() == T + 510
    assert one.time(10).kinds == ["CompensationReady a"]


def test_cancelling_what_failed_already_comes_too_late(case: Any) -> None:
    one = fails_after_two(case, compensate_on_cancel=True).raised("c", permanent=True)
    one.cancel("no", request="r").gives_nothing(False)


@pytest.mark.parametrize("how", ["halt", "deadline"])
def test_cancelling_while_the_last_attempts_end_does_not_take_back_that_what_was_done_is_undone(
    case: Any, how: str
) -> None:
    one = case([does("a"), "b", "c"], timeout_ms=50).given().returned("a")
    if how == "halt":
        one.raised("c", permanent=True)
    else:
        one.time(50).cancelled("c", 1)
    one.cancel("enough").cancelled("b", 1)
    assert one.kinds == ["StepCancelled b", "CompensationsBegan"]
    assert one.starts().returned("a").seen.status is ExecutionStatus.CANCELLED


def test_cancelling_what_an_end_node_ends_well_undoes_nothing(case: Any) -> None:
    one = case([does("a"), Node("z", type=NodeType.END), "b"], ["a>z"]).given().returned("a").cancel().cancelled("b", 1)
    assert (one.kinds[-1], one.seen.compensations) == ("ExecutionCancelled", {})


def test_cancelling_twice_undoes_once(case: Any) -> None:
    one = fails_after_two(case, compensate_on_cancel=True).cancel().cancelled("c", 1).starts()
    one.cancel("again", request="r").gives(e.RequestNoted(request="r", at=T), accepted=[True])
    assert one.returned("b").kinds == ["CompensationSucceeded b"]


def test_terminating_drops_what_is_not_undone_yet(case: Any) -> None:
    one = fails_after_two(case).raised("c", permanent=True).starts().terminate()
    assert one.kinds == ["CompensationsDropped", "CancelRequested", "ExecutionCancelled"]
    assert one.turn.commands == [CancelStep("b", 2)]
    assert (undone(one), one.state.in_flight) == ({"b": "CANCELLED", "a": "CANCELLED"}, {})


@pytest.mark.parametrize("before", ["nothing", "cancel", "halt"])
def test_terminating_undoes_nothing(case: Any, before: str) -> None:
    one = case([does("a"), does("b"), "c"], compensate_on_cancel=True).given().returned("a")
    if before == "cancel":
        one.cancel()
    elif before == "halt":
        one.raised("c", permanent=True)
    one.terminate()
    assert (one.kinds[-1], one.seen.compensations) == ("ExecutionCancelled", {})


def test_an_abort_by_a_person_undoes(case: Any) -> None:
    one = case([does("a"), does("b", on_exhausted=OnExhausted.PAUSE)], ["a>b"]).given()
    one.returned("a").starts().raised("b").answer("b", "abort")
    assert one.kinds == ["StepAnswered b", "StepFailed b", "ExecutionHalted", "CompensationsBegan"]
    assert (one.seen.status.value, list(one.seen.compensations)) == ("RUNNING", ["a"])


# -- children


def child(**fields: Any) -> Node:
    undo = Compensation(action="undo_w", parameters={"gave": "${w}"}, retry=ONCE)
    return Node("w", type=NodeType.WORKFLOW, workflow="other", compensate=undo, **fields)


def ended(**how: Any) -> i.ChildEnded:
    return i.ChildEnded(step="w", child=how.pop("child", "x/w"), at=T, **how)


def test_what_a_child_did_that_completed_is_undone_by_its_nodes_own(case: Any) -> None:
    one = case([does("a"), child(), "z"], ["a>w", "w>z"]).given().returned("a")
    one.when(ended(output=Raw(b"7"))).starts().raised("z", permanent=True)
    assert list(one.seen.compensations) == ["w", "a"]
    one.starts()
    (run,) = one.turn.commands
    assert (run.node.action_name, run.attempt, bytes(run.parameters)) == ("undo_w", 2, b'{"gave":7}')
    one.returned("w").starts().returned("a")
    assert (one.seen.status, undone(one)) == (ExecutionStatus.FAILED, {"w": "COMPLETED", "a": "COMPLETED"})


def test_what_a_child_did_that_nobody_waits_for_is_undone_once_it_has_begun(case: Any) -> None:
    one = case([child(wait_for=False), "z"], ["w>z"]).given()
    one.when(i.ChildBegan(step="w", child="x/w", at=T)).starts().raised("z", permanent=True).starts()
    assert bytes(one.turn.commands[0].parameters) == b'{"gave":{"execution_id":"x/w"}}'


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_a_child_that_did_not_complete_undoes_by_itself_what_it_did(case: Any, no: Any, is_cancelled: bool) -> None:
    one = case([does("a"), child()], ["a>w"]).given().returned("a")
    one.when(ended(error=no("w"), is_cancelled=is_cancelled))
    assert list(one.seen.compensations) == ["a"]


def test_a_child_in_flight_is_cancelled_or_ends_before_anything_is_undone(case: Any, no: Any) -> None:
    for on_failure, outcome, wanted in (
        (OnFailure.CANCEL, {"error": no("w"), "is_cancelled": True}, ["a"]),
        (OnFailure.WAIT, {"output": Raw(b"7")}, ["w", "a"]),
    ):
        one = case([does("a"), child(), "z"], on_failure=on_failure).given().returned("a").raised("z", permanent=True)
        assert one.turn.commands == ([CancelChild("x/w")] if on_failure is OnFailure.CANCEL else [])
        one.when(ended(**outcome))
        assert list(one.seen.compensations) == wanted


def test_a_child_that_was_undone_is_another_execution_behind_a_retry_and_fails_again_as_that_one(
    case: Any, no: Any
) -> None:
    one = case([child(), "z"], ["w>z"]).given()
    one.when(ended(output=Raw(b"7"))).starts().raised("z", permanent=True).starts().returned("w")
    one.when(i.RetryRequested(at=T))
    (start,) = one.turn.commands
    assert (start.child, start.attempt, one.seen.steps["w"].attempt) == ("x/w#1", 1, 3)  # 2 was the compensation's
    one.when(ended(child="x/w#1", error=no("w"))).when(i.RetryRequested(at=T))
    (start,) = one.turn.commands
    assert start.child == "x/w#1"
    assert start.attempt > 1  # so that it is retried


# -- bodies


def test_what_was_done_in_bodies_is_undone_with_the_rest_and_sees_their_names(case: Any) -> None:
    inner = does("c", undo={"parameters": {"item": "${item}", "gave": "${c}", "a": "${a}"}})
    nodes = [does("a"), Node("m", type=NodeType.MAP, items=[10, 20], body=Body((inner,))), "z"]
    one = case(nodes, ["a>m", "m>z"]).given().returned("a", "A").starts()
    one.returned("m[1].c", "C1").returned("m[0].c", "C0").starts().raised("z", permanent=True)
    assert list(one.seen.compensations) == ["m[0].c", "m[1].c", "a"]
    one.starts()
    assert one.turn.commands[0].parameters == Raw(b'{"item":10,"gave":"C0","a":"A"}')
    one.returned("m[0].c").starts().returned("m[1].c").starts().returned("a")
    assert one.seen.status is ExecutionStatus.FAILED


def test_a_group_that_fails_and_takes_the_execution_with_it_is_closed_before_anything_is_undone(case: Any) -> None:
    body = Body((does("c"), Node("d", action="act", retry=ONCE)))
    outer = Node("o", type=NodeType.PARALLEL, body=Body((Node("p", type=NodeType.PARALLEL, body=body),)))
    one = case([outer, "z"]).given().returned("o.p.c").raised("z", permanent=True)
    assert one.kinds == ["StepFailed z", "ExecutionHalted"]
    one.returned("o.p.d")
    assert one.kinds == ["StepSucceeded o.p.d", "StepCancelled o", "CompensationsBegan"]
    one.starts().returned("o.p.c")
    assert one.seen.status is ExecutionStatus.FAILED


def test_a_failed_group_that_is_handled_undoes_nothing_by_itself(case: Any) -> None:
    body = Body((does("c"), Node("d", action="act", retry=ONCE)), (Connection("c", "d"),))
    nodes = [Node("p", type=NodeType.PARALLEL, body=body), "sorry"]
    one = case(nodes, [Connection("p", "sorry", outcome=Outcome.FAILURE)]).given()
    one.returned("p.c").starts().raised("p.d").starts()
    assert "sorry" in one.state.in_flight
    handled = one.returned("sorry").seen
    assert (handled.status.value, handled.compensations) == ("COMPLETED", {})


def test_a_failed_group_that_was_handled_is_undone_if_the_execution_fails_after_all(case: Any) -> None:
    body = Body((does("c"), Node("d", action="act", retry=ONCE)), (Connection("c", "d"),))
    nodes = [Node("p", type=NodeType.PARALLEL, body=body), "sorry"]
    one = case(nodes, [Connection("p", "sorry", outcome=Outcome.FAILURE)]).given()
    one.returned("p.c").starts().raised("p.d").starts().raised("sorry", permanent=True)
    assert list(one.seen.compensations) == ["p.c"]


def test_every_iteration_of_a_loop_is_undone_with_what_it_had(case: Any) -> None:
    inner = does("c", undo={"parameters": {"n": "${index}", "gave": "${c}"}})
    loop = Node("l", type=NodeType.LOOP, body=Body((inner,)), repeat_while="index < 3")
    one = case([loop, "z"], ["l>z"]).given()
    for number in range(3):
        one.returned(f"l[{number}].c", f"C{number}").starts()
    one.raised("z", permanent=True)
    assert list(one.seen.compensations) == ["l[2].c", "l[1].c", "l[0].c"]
    given = []
    for number in (2, 1, 0):
        given.append(bytes(one.starts().turn.commands[0].parameters))
        one.returned(f"l[{number}].c")
    assert given == [b'{"n":2,"gave":"C2"}', b'{"n":1,"gave":"C1"}', b'{"n":0,"gave":"C0"}']
    assert (one.seen.status.value, "l[0].c" in one.seen.steps) == ("FAILED", False)


def test_a_loop_without_compensations_still_forgets_its_iterations(case: Any) -> None:
    loop = Node("l", type=NodeType.LOOP, body=Body((Node("c", action="act"),)), repeat_while="index < 3")
    one = case([loop]).given().returned("l[0].c").starts()
    assert "l[0].c" not in one.state.places


# -- over a crash


def test_the_log_alone_gives_back_how_far_it_has_got(case: Any) -> None:
    one = fails_after_two(case).raised("c", permanent=True).starts().returned("b").starts()
    state = one.folded()
    assert (state.undoing, state.in_flight, state.starts_steps) == ("a", {"a": 2}, True)
    assert not state.cancels("a")
    error = StepError(type="RuntimeError", message="no", attempt=1, step="c")
    assert (state.root.ending.status, state.root.ending.error) == (ExecutionStatus.FAILED, error)
    one.when(i.ActionInterrupted(step="a", attempt=2, at=T))
    assert one.kinds == ["CompensationInterrupted a"]


# -- when it goes on after all


def failed(case: Any, nodes: list[Any], connections: list[Any]) -> Any:
    """An execution whose last step failed, and of which everything was undone."""
    one = case(nodes, connections).given()
    while not one.seen.status.is_terminal:
        step = next(iter(one.state.in_flight), "")
        if step == nodes[-1]:
            one.raised(step, permanent=True)
        elif step:
            one.returned(step, f"{step} done")
        one.starts()
    return one


def test_a_retry_runs_what_was_undone_again_and_all_that_follows_it(case: Any) -> None:
    one = failed(case, ["first", does("a"), "b", "c"], ["first>a", "a>b", "b>c"])
    assert undone(one) == {"a": "COMPLETED"}
    one.when(i.RetryRequested(at=T))
    assert one.statuses == {"first": "COMPLETED", "a": "WAITING", "b": "PENDING", "c": "PENDING"}
    assert (one.seen.compensations, one.seen.steps["b"].output, one.state.done) == ({}, None, [])
    one.starts()
    assert (one.turn.commands[0].attempt, one.turn.commands[0].role) == (3, "action")  # 2 was the compensation's
    assert one.state.anew == {"a": 1, "b": 1}
    one.returned("a").starts().returned("b").starts().raised("c", permanent=True)
    assert list(one.seen.compensations) == ["a"]
    one.starts()
    assert one.turn.commands[0].attempt == 4


def test_what_completed_behind_what_was_undone_is_another_call_and_what_failed_is_the_same_one(case: Any) -> None:
    one = failed(case, [does("a"), "b", "c"], ["a>b", "b>c"])
    one.when(i.RetryRequested(at=T))
    assert [one.state.times_anew(step) for step in "abc"] == [1, 1, 0]


def test_a_child_behind_what_was_undone_is_another_execution(case: Any) -> None:
    child = Node("w", type=NodeType.WORKFLOW, workflow="other", input={"id": "${a}"})
    one = case([does("a"), child, "c"], ["a>w", "w>c"]).given().returned("a", 1)
    ended = i.ChildEnded(step="w", child="x/w", output=Raw(b"7"), at=T)
    one.when(ended).starts().raised("c", permanent=True).starts().returned("a")
    one.when(i.RetryRequested(at=T)).starts().returned("a", 2)
    (start,) = one.turn.commands
    assert (start.child, start.attempt, bytes(start.input)) == ("x/w#1", 1, b'{"id":2}')
    assert list(owed_to_children(one.folded())) == [start]
    one.when(ended).gives_nothing(False)
    one.when(i.ChildEnded(step="w", child="x/w#1", output=Raw(b"8"), at=T)).starts()
    assert one.state.in_flight == {"c": 2}


def test_a_child_that_failed_behind_what_was_undone_is_another_execution_too(case: Any, no: Any) -> None:
    child = Node("w", type=NodeType.WORKFLOW, workflow="other")
    one = case([does("a"), child], ["a>w"]).given().returned("a")
    one.when(i.ChildEnded(step="w", child="x/w", error=no("w"), at=T)).starts().returned("a")
    one.when(i.RetryRequested(at=T)).starts().returned("a")
    (start,) = one.turn.commands
    assert (start.child, start.attempt) == ("x/w#1", 1)


def test_steps_in_bodies_go_on_counting_their_attempts_behind_what_was_undone(case: Any) -> None:
    inner = Node("l", type=NodeType.LOOP, body=Body((Node("d", action="act"),)), repeat_while="index < 2")
    child = Node("w", type=NodeType.WORKFLOW, workflow="other")
    body = Body((does("c"), inner, child), (Connection("c", "l"), Connection("l", "w")))
    one = case([Node("m", type=NodeType.MAP, items=[1], body=body), "z"], ["m>z"]).given()
    one.returned("m[0].c").starts().returned("m[0].l[0].d").starts().returned("m[0].l[1].d")
    one.when(i.ChildEnded(step="m[0].w", child="x/m[0].w", output=Raw(b"1"), at=T)).starts()
    one.raised("z", permanent=True).starts().returned("m[0].c").when(i.RetryRequested(at=T)).starts()
    assert one.state.in_flight == {"m[0].c": 3}
    one.returned("m[0].c").starts()
    assert (one.state.in_flight, one.state.times_anew("m[0].l[0].d")) == ({"m[0].l[0].d": 1}, 1)  # it was gone
    one.returned("m[0].l[0].d").starts()
    assert (one.state.in_flight, one.state.times_anew("m[0].l[1].d")) == ({"m[0].l[1].d": 2}, 1)
    one.returned("m[0].l[1].d")
    assert one.turn.commands[0].child == "x/m[0].w#1"


def test_a_retry_leaves_what_could_not_be_undone(case: Any) -> None:
    one = case([does("a"), does("b"), "c"], ["a>c", "b>c"]).given().returned("a").returned("b").starts()
    one.raised("c", permanent=True).starts().returned("b").starts().raised("a")
    assert one.seen.compensation_failures == ("a",)
    one.when(i.RetryRequested(at=T))
    assert one.statuses == {"a": "COMPLETED", "b": "WAITING", "c": "PENDING"}
    one.starts().returned("b").starts().raised("c", permanent=True)
    assert list(one.seen.compensations) == ["b", "a"]


def test_a_retry_enters_a_group_of_which_something_was_undone_anew(case: Any) -> None:
    group = Node("m", type=NodeType.MAP, items=[1, 2], body=Body((does("c"),)))
    one = failed(case, [group, "z"], ["m>z"])
    assert undone(one) == {"m[1].c": "COMPLETED", "m[0].c": "COMPLETED"}
    one.when(i.RetryRequested(at=T)).starts()
    assert sorted(one.state.in_flight) == ["m[0].c", "m[1].c"]
    one.returned("m[0].c").returned("m[1].c").starts().returned("z")
    assert one.seen.status is ExecutionStatus.COMPLETED


def test_a_retry_decides_the_ways_that_follow_what_was_undone_anew(case: Any) -> None:
    joined = [Connection("a", "b", condition="a == 1"), Connection("a", "c", otherwise=True), "b>z", "c>z"]
    one = case([does("a"), "b", "c", "z"], joined).given().returned("a", 1).starts().returned("b").starts()
    one.raised("z", permanent=True).starts().returned("a")
    one.when(i.RetryRequested(at=T)).starts().returned("a", 2)
    assert one.statuses == {"a": "COMPLETED", "b": "SKIPPED", "c": "WAITING", "z": "PENDING"}
    assert one.starts().returned("c").starts().returned("z").seen.status is ExecutionStatus.COMPLETED


def test_a_step_that_fell_back_begins_with_its_action_behind_a_retry(case: Any) -> None:
    node = Node("a", action="act", retry=ONCE, fallback=Fallback(action="other", retry=ONCE), total_timeout_ms=100)
    one = case([node]).given().raised("a").starts().raised("a").when(i.RetryRequested(at=T)).starts()
    assert (one.turn.commands[0].role, one.turn.commands[0].attempt) == ("action", 3)
    assert one.time(100).kinds[0] == "StepTimedOut a"


def test_a_step_that_a_person_had_tried_again_has_its_whole_time_behind_a_retry(case: Any) -> None:
    node = Node("a", action="act", retry=ONCE, on_exhausted=OnExhausted.PAUSE, total_timeout_ms=100)
    one = case([node]).given().raised("a").answer("a", "retry").starts().raised("a").answer("a", "abort")
    one.when(i.RetryRequested(at=T)).starts().time(100)
    assert one.kinds[0] == "AnswerAwaited a"


def test_a_migration_says_what_undoes_and_whether_anything_does(case: Any) -> None:
    one = case([does("a"), does("b"), "c"], CHAIN).given().returned("a").starts().returned("b").starts()
    other = Node("b", action="act", retry=ONCE, compensate=Compensation(action="undo_otherwise"))
    plan = compile(Workflow("w", (Node("a", action="act"), other, Node("c", action="act")), one.workflow.connections))
    turn = advance(one.state, [i.MigrateRequested(at=T, plan=plan)])
    assert turn.accepted == [True]
    failing = i.ActionRaised(step="c", attempt=1, error=StepError("X", "no"), permanent=True, at=T)
    turn = advance(one.state, [failing])
    assert turn.events[-1] == e.CompensationsBegan(steps=("b",), at=T)
    assert turn.ready[0].node.action_name == "undo_otherwise"


def test_the_explanation_says_what_is_being_undone(case: Any) -> None:
    one = fails_after_two(case).raised("c", permanent=True)
    assert explain(one.state).text == "it is on its way to FAILED, and undoes what step 'b' did"


@pytest.mark.parametrize("how", ["cancel", "halt", "deadline"])
def test_what_undoes_is_not_cancelled_with_what_it_undoes(case: Any, how: str) -> None:
    """A driver that folds the log again cancels what runs of an execution that cancels its attempts in flight."""
    body = Body((does("c"),))
    nodes = [Node("m", type=NodeType.PARALLEL, body=body), "z"]
    fields = {"compensate_on_cancel": True, "timeout_ms": 9, "on_failure": OnFailure.CANCEL}
    one = case(nodes, ["m>z"], **fields).given().returned("m.c").starts()
    if how == "cancel":
        one.cancel().cancelled("z", 1)
    elif how == "halt":
        one.raised("z", permanent=True)
    else:
        one.time(9).cancelled("z", 1)
    one.starts()
    assert one.state.in_flight == {"m.c": 2}
    assert not one.state.cancels("m.c")
    assert not one.state.cancels_in_flight
