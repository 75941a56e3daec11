"""Defects that generated executions and reviews found, each with the smallest case that shows it."""

from __future__ import annotations

import pytest
from msgspec import Raw

from treadle import ExecutionStatus
from treadle.errors import ReplayError
from treadle.machine import State, advance, compile, fold, start  # noqa: A004 - the house's word for it
from treadle.machine import events as e
from treadle.machine import inputs as i
from treadle.model import Connection, Node, RetryPolicy, StepError, Workflow

T = 1_000
NULL = Raw(b"null")


def begun(workflow: Workflow) -> State:
    """Return an execution of which nothing is started yet."""
    state = State(compile(workflow))
    advance(state, [i.StartRequested(at=T, execution_id="x", input=Raw(b"{}"))])
    return state


# -- else


def test_every_else_is_taken_when_no_condition_is() -> None:
    """``else``: active when none of the conditions beside it is taken. A second ``else`` is no condition."""
    joined = (
        Connection("a", "b", condition="false"),
        Connection("a", "c", otherwise=True),
        Connection("a", "d", otherwise=True),
    )
    state = begun(Workflow("w", tuple(Node(name, action="act") for name in "abcd"), joined))
    start(state, ["a"], at=T)
    turn = advance(state, [i.ActionReturned(step="a", attempt=1, output=NULL, at=T)])
    assert [one.step for one in turn.ready] == ["c", "d"]


# -- requests that count once


def test_a_request_that_was_accepted_without_an_event_counts_once_too() -> None:
    """Accepted while the execution was paused already, it is not remembered, and pauses when it comes again."""
    state = begun(Workflow("w", (Node("a", action="act"),)))
    advance(state, [i.PauseRequested(at=T)])
    assert advance(state, [i.PauseRequested(at=T, request="p")]).accepted == [True]
    advance(state, [i.ResumeRequested(at=T)])
    advance(state, [i.PauseRequested(at=T, request="p")])
    assert state.status is ExecutionStatus.RUNNING


# -- late results


def test_a_late_result_is_noted_also_where_the_step_has_an_output_by_now() -> None:
    """A late result is ignored and noted: here a later attempt has succeeded."""
    node = Node("a", action="act", retry=RetryPolicy(initial_delay_ms=0))
    state = begun(Workflow("w", (node, Node("b", action="act"))))
    start(state, ["a", "b"], at=T)
    error = StepError(type="StepTimeout", message="", attempt=1, step="a")
    advance(state, [i.ActionRaised(step="a", attempt=1, error=error, timed_out=True, at=T), i.TimeReached(at=T)])
    start(state, ["a"], at=T)
    advance(state, [i.ActionReturned(step="a", attempt=2, output=NULL, at=T)])
    turn = advance(state, [i.ActionReturned(step="a", attempt=1, output=NULL, at=T)])
    assert turn.events == [e.LateResultIgnored(step="a", attempt=1, at=T)]


# -- inputs that one expression lacks


def test_a_step_names_all_inputs_that_one_expression_lacks() -> None:
    """Otherwise whoever answers is asked once for each."""
    node = Node("a", action="act", parameters={"x": "${input.a + input.b}"})
    state = begun(Workflow("w", (node,)))
    turn = start(state, ["a"], at=T)
    assert turn.events[0] == e.StepPaused(step="a", missing=("input.a", "input.b"), at=T)


# -- a deadline that passes while halting


def test_a_halting_execution_whose_deadline_passed_cancels_what_is_in_flight() -> None:
    """After a commit in doubt the driver asks ``cancels_in_flight``; the command of the deadline is lost without it."""
    nodes = (Node("a", action="act", retry=RetryPolicy(max_attempts=1)), Node("b", action="act"))
    state = begun(Workflow("w", nodes, timeout_ms=100))
    start(state, ["a", "b"], at=T)
    error = StepError(type="X", message="no", attempt=1, step="a")
    advance(state, [i.ActionRaised(step="a", attempt=1, error=error, at=T)])
    turn = advance(state, [i.TimeReached(at=T + 100)])
    assert [one.step for one in turn.commands] == ["b"]
    assert state.cancels_in_flight


@pytest.mark.parametrize(
    ("source", "asked"),
    [
        ("input.a + input.b", ("input.a", "input.b")),
        ("input.a ? input.b : input.c", ("input.a",)),
        ("input.a && input.b", ("input.a",)),
        ("default(input.a, input.b)", ("input.b",)),
        ("[input.a.x, input.b, input.a.x]", ("input.a", "input.b")),
        ("[1].map(n, n + input.a)", ("input.a",)),
    ],
)
def test_only_inputs_that_are_surely_read_are_asked_for(source: str, asked: tuple[str, ...]) -> None:
    state = begun(Workflow("w", (Node("a", action="act", parameters={"x": f"${{{source}}}"}),)))
    assert start(state, ["a"], at=T).events[0] == e.StepPaused(step="a", missing=asked, at=T)


def test_resuming_a_running_execution_offers_only_the_steps_that_asked() -> None:
    state = begun(Workflow("w", (Node("a", action="act"), Node("b", action="act", parameters={"x": "${input.x}"}))))
    start(state, ["b"], at=T)
    turn = advance(state, [i.ResumeRequested(at=T, inputs=Raw(b'{"x":1}'))])
    assert [one.step for one in turn.ready] == ["b"]


def test_a_log_that_does_not_fit_names_its_turn() -> None:
    plan = compile(Workflow("w", (Node("a", action="act"),)))
    with pytest.raises(ReplayError, match="turn 2: ") as caught:
        fold(plan, [[], [e.StepSucceeded(step="none", attempt=1, output=NULL, at=T)]])
    assert caught.value.sequence == 2
