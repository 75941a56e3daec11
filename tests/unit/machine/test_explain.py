"""Why an execution or a step does not go on, as its state says it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from treadle.errors import NotFoundError
from treadle.machine import inputs as i
from treadle.machine.explain import explain
from treadle.model import Body, Connection, Explanation, Node, NodeType, Reason, RetryPolicy

T = 1_000


def at(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def test_a_step_that_was_not_reached_names_its_open_connections(case: Any) -> None:
    one = case(["a", "b", "c"], ["a>c", "b>c"]).given().returned("a")
    found = explain(one.state, "c")
    assert found == Explanation(
        Reason.JOIN_OPEN,
        "its join (all) is not met: not decided yet are the connections from b (RUNNING)",
        step="c",
        names=("b",),
    )
    assert explain(one.state, "a") == Explanation(Reason.ENDED, "it is COMPLETED", step="a", since=at(T))
    assert explain(one.state, "b") == Explanation(Reason.RUNNING, "attempt 1 runs", step="b", since=at(T))
    whole = explain(one.state)
    assert (whole.reason, whole.text) == (Reason.RUNNING, "it runs; attempts in flight: 1")
    assert [step.step for step in whole.steps] == ["b"]
    with pytest.raises(NotFoundError, match="no step named 'z'"):
        explain(one.state, "z")


def test_a_ready_step_needs_a_slot_and_not_while_it_is_paused(case: Any) -> None:
    one = case(["a"]).created()
    assert explain(one.state, "a") == Explanation(Reason.READY, "it needs nothing more than a slot", step="a")
    one.when(i.PauseRequested(at=T))
    whole = explain(one.state)
    assert (whole.reason, whole.text) == (Reason.PAUSED, "somebody paused it at 1970-01-01T00:00:01Z")
    assert (whole.since, whole.what_to_do) == (at(T), "resume it")
    assert whole.steps[0].text == "it is ready, but its execution is PAUSED"


def test_a_step_between_attempts_says_what_failed_and_when_the_next_comes(case: Any) -> None:
    one = case([Node("a", action="act", retry=RetryPolicy(initial_delay_ms=5_000))]).given().raised("a")
    found = explain(one.state, "a")
    assert (found.reason, found.due, found.since) == (Reason.WAITS_TO_RETRY, at(T + 5_000), at(T))
    assert found.text == "attempt 1 failed (RuntimeError: no); the next comes at 1970-01-01T00:00:06Z"
    whole = explain(one.state)
    assert (whole.reason, whole.steps) == (Reason.WAITS, (found,))


def test_a_timer_counts_the_time_it_was_paused_and_stands_meanwhile(case: Any) -> None:
    one = case([Node("a", type=NodeType.WAIT, duration=9_000)]).created()
    assert explain(one.state, "a").text == "it waits until 1970-01-01T00:00:10Z"
    one.when(i.PauseRequested(at=T))
    assert explain(one.state, "a").text.endswith("; its clock stands while the execution is paused")
    one.wait(1_000).when(i.ResumeRequested(at=one.at))
    assert explain(one.state, "a").due == at(T + 10_000)


def test_who_waits_for_a_person_or_an_event_says_so(case: Any) -> None:
    ask = Node("a", type=NodeType.INPUT, assignees=("ada",), timeout_ms=9_000)
    one = case([ask, Node("b", type=NodeType.EVENT, event="paid")]).created()
    found = explain(one.state, "a")
    assert (found.reason, found.names, found.due) == (Reason.WAITS_FOR_PERSON, ("ada",), at(T + 9_000))
    assert found.text == "it waits for the answer of a person (ada) until 1970-01-01T00:00:10Z"
    found = explain(one.state, "b")
    assert (found.reason, found.names, found.due) == (Reason.WAITS_FOR_EVENT, ("paid",), None)


def test_missing_inputs_are_named(case: Any) -> None:
    one = case([Node("a", action="act", parameters={"x": "${input.x}"})]).given()
    found = explain(one.state)
    assert (found.reason, found.names, found.text) == (
        Reason.ASKS_FOR_INPUT,
        ("input.x",),
        "it is paused because it waits for input.x",
    )
    assert explain(one.state, "a").text == "it asks for input.x"


def test_what_has_not_begun_or_is_ending_or_has_ended_says_so(case: Any) -> None:
    one = case(["a"]).created(start_at=T + 50_000)
    found = explain(one.state)
    assert (found.reason, found.due, found.text) == (
        Reason.STARTS_LATER,
        at(T + 50_000),
        "it begins at 1970-01-01T00:00:51Z",
    )
    assert explain(one.state, "a").text == "its execution has not begun"
    assert explain(case(["a"]).created(key="k", queued=True).state).reason is Reason.QUEUED
    one = case(["a", "b"], ["a>b"]).given()
    one.when(i.CancelExecutionRequested(reason="enough", at=T))
    assert explain(one.state).text == "it is on its way to CANCELLED; attempts that still end: 1"
    assert explain(one.state, "b").reason is Reason.HELD
    one.when(i.ActionCancelled(step="a", attempt=1, at=T))
    assert explain(one.state) == Explanation(Reason.ENDED, "it has ended as CANCELLED: enough", since=at(T))


def test_bodies_that_run_are_named_and_so_are_the_steps_in_them(case: Any) -> None:
    body = Body(nodes=(Node("x", action="act"), Node("y", action="act")), connections=(Connection("x", "y"),))
    one = case([Node("each", type=NodeType.MAP, items=[1, 2], body=body)]).created().starts("each[0].x")
    assert explain(one.state, "each").text == "its bodies run: each[0], each[1]"
    assert explain(one.state, "each[0].y").names == ("each[0].x",)
    assert {step.step for step in explain(one.state).steps} >= {"each[0].x", "each[1].x"}
