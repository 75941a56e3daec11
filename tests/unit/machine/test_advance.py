"""Inputs and what becomes of them: starting, asking for input, pausing, resuming, repeats and what comes too late."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from treadle.machine import OnMissingInput, advance, start
from treadle.machine import events as e
from treadle.machine import inputs as i
from treadle.machine.commands import RunStep
from treadle.model import Connection, Join, JoinKind, Node, NodeType, RetryPolicy

T = 1_000
ONE = Raw(b"1")
EMPTY = Raw(b"{}")
RETRY = RetryPolicy(initial_delay_ms=10)


def asks(name: str, *wanted: str, **fields: Any) -> Node:
    """Return a node whose parameters read these names of the input."""
    return Node(name, action="act", parameters={one: f"${{input.{one}}}" for one in wanted}, **fields)


# -- starting


def test_an_execution_is_created_started_and_its_entries_are_ready(case: Any) -> None:
    one = case(["a", "b"], ["a>b"]).created({"x": 1}, priority=3, tags={"k": "v"})
    one.gives(
        e.ExecutionCreated(
            execution_id="x",
            workflow_id="w",
            definition_hash=one.plan.definition_hash,
            input=Raw(b'{"x":1}'),
            priority=3,
            tags={"k": "v"},
            at=T,
        ),
        e.ExecutionStarted(at=T),
        ready=["a"],
        accepted=[True],
    )
    assert one.statuses == {"a": "WAITING", "b": "PENDING"}


def test_a_second_start_of_the_same_execution_is_refused(case: Any) -> None:
    one = case(["a"]).given()
    one.when(i.StartRequested(at=T, execution_id="x", input=Raw(b'{"y":2}'))).gives_nothing(False)
    assert one.seen.input == {}


def test_a_workflow_without_nodes_completes_at_once(case: Any) -> None:
    one = case([]).created()
    assert one.kinds == ["ExecutionCreated", "ExecutionStarted", "ExecutionCompleted"]
    assert one.seen.output == {}


def test_an_attempt_starts_only_when_it_is_given_a_slot(case: Any) -> None:
    one = case(["a", "b"]).created()
    one.starts("b").gives(
        e.StepStarted(step="b", attempt=1, at=T), commands=[RunStep("b", 1, one.plan.nodes[1].node, EMPTY)]
    )
    assert one.statuses == {"a": "WAITING", "b": "RUNNING"}


def test_steps_start_in_the_order_in_which_they_were_chosen(case: Any) -> None:
    one = case(["a", "b"]).created().starts("b", "a")
    assert [(run.step, run.attempt) for run in one.turn.runs] == [("b", 1), ("a", 1)]


def test_a_slot_for_a_step_that_is_not_ready_is_passed_over(case: Any) -> None:
    one = case(["a", "b"], ["a>b"]).created()
    one.starts("b", "nobody", "a", "a").gives(
        e.StepStarted(step="a", attempt=1, at=T), commands=[RunStep("a", 1, one.plan.nodes[0].node, EMPTY)]
    )
    one.starts("a").gives_nothing()


def test_nothing_starts_before_the_start_while_paused_or_after_the_end(case: Any) -> None:
    one = case(["a"])
    one.starts("a").gives_nothing()
    one.created().pause().starts("a").gives_nothing()
    one.cancel().starts("a").gives_nothing()


def test_a_result_and_what_it_starts_are_one_turn(case: Any) -> None:
    one = case(["a", "b"], ["a>b"]).given()
    turn = advance(one.state, [i.ActionReturned(step="a", attempt=1, output=ONE, at=T)])
    assert start(one.state, [ready.step for ready in turn.ready], at=T, turn=turn) is turn
    assert turn.events == [
        e.StepSucceeded(step="a", attempt=1, output=ONE, at=T),
        e.StepStarted(step="b", attempt=1, at=T),
    ]
    assert (turn.runs, turn.accepted) == ([RunStep("b", 1, one.plan.nodes[1].node, EMPTY)], [True])


def test_several_inputs_of_one_turn_are_taken_in_order_with_a_verdict_each(case: Any) -> None:
    one = case(["a", "b", "c"], ["a>b"]).given()
    one.when(
        i.ActionReturned(step="a", attempt=1, output=ONE, at=T),
        i.ActionReturned(step="a", attempt=1, output=EMPTY, at=T),
        i.PauseRequested(at=T),
        i.PauseRequested(at=T),
        i.ResumeRequested(at=T),
        i.ResumeRequested(at=T),
        i.TimeReached(at=T),
    ).gives(
        e.StepSucceeded(step="a", attempt=1, output=ONE, at=T),
        e.ExecutionPaused(at=T),
        e.ExecutionResumed(at=T),
        ready=["b"],
        accepted=[True, False, True, True, True, False, False],
    )


def test_what_became_ready_and_ran_out_of_luck_in_the_same_turn_is_not_offered(case: Any) -> None:
    one = case(["a", "b"], ["a>b"]).given()
    one.when(i.ActionReturned(step="a", attempt=1, output=ONE, at=T), i.CancelExecutionRequested(at=T))
    assert one.turn.ready == ()
    assert one.kinds == ["StepSucceeded a", "CancelRequested", "StepCancelled b", "ExecutionCancelled"]


# -- what comes too late, twice, or from nowhere


def test_an_input_of_an_unknown_step_or_attempt_changes_nothing(case: Any) -> None:
    one = case(["a"]).given()
    for step, attempt in [("nobody", 1), ("a", 2), ("a", 99)]:
        one.returned(step, attempt=attempt).gives_nothing(False)
        one.raised(step, attempt=attempt).gives_nothing(False)
        one.interrupted(step, attempt=attempt).gives_nothing(False)
        one.cancelled(step, attempt=attempt).gives_nothing(False)


def test_a_result_before_the_start_changes_nothing(case: Any) -> None:
    one = case(["a"])
    one.returned("a", attempt=1).gives_nothing(False)
    one.created().returned("a", attempt=1).gives_nothing(False)
    assert one.statuses == {"a": "WAITING"}


def test_the_result_of_an_attempt_that_was_given_up_is_noted_and_not_used(case: Any) -> None:
    one = case([Node("a", action="act", retry=RETRY)]).given().raised("a", timed_out=True)
    one.returned("a", 1, attempt=1).gives(e.LateResultIgnored(step="a", attempt=1, at=T), accepted=[False])
    one.time(10).starts()
    one.raised("a", attempt=1).gives(e.LateResultIgnored(step="a", attempt=1, at=T + 10), accepted=[False])
    assert (one.statuses, one.state.in_flight) == ({"a": "RUNNING"}, {"a": 2})
    one.cancelled("a", 1).gives_nothing(False)
    one.interrupted("a", 1).gives_nothing(False)


def test_the_result_of_a_completed_attempt_counts_once(case: Any) -> None:
    one = case(["a", "b"], ["a>b"]).given().returned("a", 1)
    one.returned("a", 2, attempt=1).gives_nothing(False)
    one.raised("a", attempt=1).gives_nothing(False)
    assert one.seen.steps["a"].output == 1


def test_nothing_is_noted_once_the_execution_has_ended(case: Any) -> None:
    one = case([Node("a", action="act", retry=RetryPolicy(max_attempts=1))]).given().raised("a")
    before = len(one.log)
    one.returned("a", attempt=1).gives_nothing(False)
    one.raised("a", attempt=1).gives_nothing(False)
    one.interrupted("a", attempt=1).gives_nothing(False)
    one.cancelled("a", attempt=1).gives_nothing(False)
    one.pause().gives_nothing(False)
    one.resume({"x": 1}).gives_nothing(False)
    one.cancel().gives_nothing(False)
    one.time(10**9).gives_nothing(False)
    one.starts("a").gives_nothing()
    assert (len(one.log), one.state.wake_at()) == (before, None)


def test_time_that_comes_early_or_twice_does_no_harm(case: Any) -> None:
    one = case([Node("a", action="act", retry=RETRY)]).given().raised("a")
    one.time(5).gives_nothing(False)
    one.time(5).gives(e.StepReady(step="a", at=T + 10), ready=["a"])
    one.time().gives_nothing(False)
    one.time(100).gives_nothing(False)


def test_timers_that_are_due_together_fire_in_order_of_their_time(case: Any) -> None:
    one = case(
        [Node(name, action="act", retry=RetryPolicy(initial_delay_ms=ms)) for name, ms in (("a", 20), ("b", 10))]
    )
    one.given().raised("a").raised("b").time(50)
    assert one.kinds == ["StepReady b", "StepReady a"]
    assert [ready.step for ready in one.turn.ready] == ["a", "b"]


# -- asking for input


def test_a_step_whose_input_is_missing_is_paused_and_the_others_go_on(case: Any) -> None:
    one = case([asks("a", "x"), "b"]).created()
    one.starts("a", "b").gives(
        e.StepPaused(step="a", missing=("input.x",), at=T),
        e.StepStarted(step="b", attempt=1, at=T),
        commands=[RunStep("b", 1, one.plan.nodes[1].node, EMPTY)],
    )
    assert (one.seen.status.value, one.seen.waiting_for) == ("RUNNING", ("input.x",))
    one.returned("b", 1).gives(
        e.StepSucceeded(step="b", attempt=1, output=ONE, at=T), e.ExecutionPaused(waiting_for=("input.x",), at=T)
    )
    assert (one.seen.status.value, one.statuses) == ("PAUSED", {"a": "PAUSED", "b": "COMPLETED"})


def test_the_execution_pauses_only_when_no_step_runs_waits_or_is_ready(case: Any) -> None:
    one = case([asks("a", "x"), Node("b", action="act", retry=RETRY), "c"], ["b>c"]).created().starts("a")
    assert one.seen.status.value == "RUNNING"  # b is ready
    one.starts("b").raised("b")
    assert one.seen.status.value == "RUNNING"  # b waits
    one.time(10).starts("b").returned("b")
    assert one.seen.status.value == "RUNNING"  # c is ready
    one.starts("c").returned("c")
    assert one.turn.events[-1] == e.ExecutionPaused(waiting_for=("input.x",), at=T + 10)


def test_a_step_names_every_input_it_needs_each_once(case: Any) -> None:
    parameters = {
        "p": "${input.a + input.a}",
        "q": ["${input.b.c}", {"r": "from ${input.d} to ${input.e}"}],
        "s": "${default(input.f, 1)}",
        "t": "${input.given}",
    }
    one = case([Node("a", action="act", parameters=parameters)]).created({"given": 1, "b": {}}).starts()
    assert one.turn.events[0] == e.StepPaused(step="a", missing=("input.a", "input.b.c", "input.d", "input.e"), at=T)


def test_several_steps_that_ask_are_listed_together_sorted(case: Any) -> None:
    one = case([asks("a", "z", "m"), asks("b", "c", "m")]).given()
    one.gives(
        e.StepPaused(step="a", missing=("input.z", "input.m"), at=T),
        e.StepPaused(step="b", missing=("input.c", "input.m"), at=T),
        e.ExecutionPaused(waiting_for=("input.c", "input.m", "input.z"), at=T),
    )
    assert one.seen.waiting_for == ("input.c", "input.m", "input.z")


def test_a_step_that_lacks_an_input_and_another_name_asks_first(case: Any) -> None:
    node = Node("a", action="act", parameters={"p": "${input.x}", "q": "${1 + 'x'}"})
    one = case([node]).given()
    assert one.kinds == ["StepPaused a", "ExecutionPaused"]
    one.resume({"x": 1}).starts()
    assert one.kinds == ["StepFailed a", "ExecutionHalted", "ExecutionFailed"]


def test_resuming_with_the_inputs_goes_on(case: Any) -> None:
    one = case([asks("a", "x", "y")]).given({"y": {"deep": 1}, "k": 0})
    one.wait(5).resume({"x": [1], "y": {"other": 2}}, request="r").gives(
        e.ExecutionResumed(inputs=Raw(b'{"x":[1],"y":{"other":2}}'), request="r", at=T + 5),
        ready=["a"],
        accepted=[True],
    )
    assert one.seen.input == {"y": {"other": 2}, "k": 0, "x": [1]}  # merged key by key, not deeper
    resolved = Raw(b'{"x":[1],"y":{"other":2}}')
    one.starts().gives(
        e.StepStarted(step="a", attempt=1, parameters=resolved, at=T + 5),
        commands=[RunStep("a", 1, one.plan.nodes[0].node, resolved)],
    )


def test_an_input_that_is_null_is_there(case: Any) -> None:
    assert case([asks("a", "x")]).given({"x": None}).kinds == ["StepStarted a"]


def test_resuming_with_too_little_asks_again_for_the_rest(case: Any) -> None:
    one = case([asks("a", "x", "y")]).given().resume({"x": 1}).starts()
    one.gives(e.StepPaused(step="a", missing=("input.y",), at=T), e.ExecutionPaused(waiting_for=("input.y",), at=T))


def test_a_running_execution_that_asks_is_resumed_without_having_been_paused(case: Any) -> None:
    one = case([asks("a", "x"), "b"]).created().starts("a", "b")
    one.resume({"x": 1}).gives(e.ExecutionResumed(inputs=Raw(b'{"x":1}'), at=T), ready=["a"], accepted=[True])
    assert (one.seen.status.value, one.statuses) == ("RUNNING", {"a": "WAITING", "b": "RUNNING"})
    one.resume({"x": 2}).gives_nothing(False)  # of two, one counts
    assert one.seen.input == {"x": 1}


def test_resuming_a_running_execution_offers_only_what_asked(case: Any) -> None:
    """What was ready before has its place in the line; offered again it would take two."""
    one = case([asks("a", "x"), "b"]).created().starts("a")
    one.resume({"x": 1}).gives(e.ExecutionResumed(inputs=Raw(b'{"x":1}'), at=T), ready=["a"])
    assert list(one.state.ready) == ["b", "a"]


def test_a_missing_input_may_stop_the_whole_execution_at_once(case: Any) -> None:
    one = case([asks("a", "x"), "b"], on_missing_input=OnMissingInput.PAUSE_EXECUTION).created()
    one.starts("a", "b").gives(
        e.StepPaused(step="a", missing=("input.x",), at=T), e.ExecutionPaused(waiting_for=("input.x",), at=T)
    )
    assert one.statuses == {"a": "PAUSED", "b": "WAITING"}
    one.resume({"x": 1}).gives(e.ExecutionResumed(inputs=Raw(b'{"x":1}'), at=T), ready=["a", "b"])


def test_asking_for_input_stops_the_clock_once_the_execution_is_paused(case: Any) -> None:
    one = case([asks("a", "x")], timeout_ms=100).given().wait(500)
    assert one.state.wake_at() is None
    one.resume({"x": 1})
    assert one.state.wake_at() == T + 600


# -- pausing and resuming


def test_a_paused_execution_starts_nothing_and_records_what_ends(case: Any) -> None:
    one = case(["a", "b", "c"], ["a>c"]).created().starts("a")
    one.pause("p").gives(e.ExecutionPaused(request="p", at=T), accepted=[True])
    assert (one.seen.status.value, one.seen.in_flight, one.seen.waiting_for) == ("PAUSED", 1, ())
    one.returned("a", 1).gives(e.StepSucceeded(step="a", attempt=1, output=ONE, at=T))
    one.starts("b").gives_nothing()
    assert one.statuses == {"a": "COMPLETED", "b": "WAITING", "c": "WAITING"}
    one.resume().gives(e.ExecutionResumed(at=T), ready=["b", "c"], accepted=[True])


def test_pausing_twice_is_one_pause_and_resuming_twice_one_resume(case: Any) -> None:
    one = case(["a"]).created().pause()
    one.pause().gives_nothing(True)
    one.resume()
    one.resume().gives_nothing(False)


def test_an_execution_that_runs_and_asks_for_nothing_cannot_be_resumed(case: Any) -> None:
    one = case(["a"]).given()
    one.resume({"x": 1}).gives_nothing(False)
    assert one.seen.input == {}


def test_requests_to_an_execution_that_was_not_started_are_refused(case: Any) -> None:
    one = case(["a"])
    one.pause().gives_nothing(False)
    one.resume().gives_nothing(False)
    one.cancel().gives_nothing(False)
    one.time(5).gives_nothing(False)


def test_a_request_that_was_carried_out_counts_once(case: Any) -> None:
    one = case(["a"]).created()
    one.pause("p").resume(request="r")
    one.pause("p").gives_nothing(True)
    assert one.seen.status.value == "RUNNING"
    one.pause("p2")
    one.resume(request="r").gives_nothing(True)
    assert one.seen.status.value == "PAUSED"
    one.cancel("enough", request="c").gives(
        e.CancelRequested(reason="enough", request="c", at=T),
        e.StepCancelled(step="a", at=T),
        e.ExecutionCancelled(error=one.seen.error, at=T),
    )
    one.cancel("enough", request="c").gives_nothing(True)
    one.cancel("enough").gives_nothing(False)
    assert one.folded().requests == {"p", "r", "p2", "c"}


def test_a_failure_while_paused_waits_on_the_clock_of_the_execution(case: Any, no: Any) -> None:
    one = case([Node("a", action="act", retry=RETRY)]).given().wait(3).pause().wait(100)
    one.raised("a").gives(e.AttemptFailed(step="a", attempt=1, error=no("a"), delay_ms=10, due=T + 13, at=T + 103))
    one.time(100).gives_nothing(False)
    one.resume()
    assert one.state.wake_at() == T + 213
    one.time(9).gives_nothing(False)
    one.time(1).gives(e.StepReady(step="a", at=T + 213), ready=["a"])


def test_what_was_due_before_a_pause_and_had_not_been_told_waits_for_the_resume(case: Any) -> None:
    one = case([Node("a", action="act", retry=RETRY)], timeout_ms=15).given().raised("a").wait(20).pause()
    one.time(5).gives_nothing(False)
    one.resume().gives(e.ExecutionResumed(at=T + 25))
    assert one.time().kinds == ["StepReady a", "DeadlinePassed", "StepCancelled a", "ExecutionTimedOut"]


def test_paused_time_adds_up_over_several_pauses(case: Any) -> None:
    one = case([Node("a", action="act", retry=RetryPolicy(initial_delay_ms=100))]).given().raised("a")
    for _ in range(3):
        one.wait(10).pause().wait(1_000).resume()
    assert (one.state.wake_at(), one.state.paused_ms) == (T + 3_100, 3_000)
    assert one.time(69).turn.events == []
    assert one.time(1).kinds == ["StepReady a"]


def test_an_interruption_while_paused_runs_again_after_the_resume(case: Any) -> None:
    one = case(["a"]).given().pause()
    one.interrupted("a").gives(e.AttemptInterrupted(step="a", attempt=1, at=T))
    one.resume().gives(e.ExecutionResumed(at=T), ready=["a"])


def test_dead_paths_and_triggers_are_followed_while_paused(case: Any) -> None:
    join = Node("t", type=NodeType.TRIGGER, join=Join(JoinKind.ANY))
    one = case(["a", "b", join, "c"], [Connection("a", "b", condition="false"), "a>t", "t>c"]).given().pause()
    one.returned("a")
    assert one.statuses == {"a": "COMPLETED", "b": "SKIPPED", "t": "COMPLETED", "c": "WAITING"}
    assert one.turn.ready == ()
    one.resume().gives(e.ExecutionResumed(at=T), ready=["c"])


def test_an_execution_whose_last_step_ends_while_it_is_paused_completes_on_resume(case: Any) -> None:
    one = case(["a"]).given().pause().returned("a", 1)
    assert (one.seen.status.value, one.seen.in_flight, one.seen.output) == ("PAUSED", 0, None)
    one.wait(5).resume().gives(e.ExecutionResumed(at=T + 5), e.ExecutionCompleted(at=T + 5), accepted=[True])
    assert (one.seen.status.value, one.seen.output) == ("COMPLETED", 1)


def test_a_person_who_pauses_an_execution_that_asks_stops_the_other_branches_too(case: Any) -> None:
    one = case([asks("a", "x"), "b", "c"], ["b>c"]).created().starts("a", "b").pause().returned("b")
    one.starts("c").gives_nothing()
    one.resume({"x": 1}).gives(e.ExecutionResumed(inputs=Raw(b'{"x":1}'), at=T), ready=["a", "c"])


def test_names_may_be_given_in_place_of_those_of_the_state(case: Any) -> None:
    class Names:
        def lookup(self, name: str) -> Any:
            return {"go": True}[name]

    one = case(["a", "b"], [Connection("a", "b", condition="go")]).given()
    turn = advance(one.state, [i.ActionReturned(step="a", attempt=1, output=ONE, at=T)], names=Names())
    assert turn.events[1].taken
