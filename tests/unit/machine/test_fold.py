"""``apply`` and ``fold``: the log gives the state back, and an event that does not fit is refused."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from treadle.errors import ReplayError
from treadle.machine import State, apply, fold
from treadle.machine import events as e
from treadle.machine.folding.table import _APPLY
from treadle.model import Answer, Connection, Node, StepError

T = 1_000
ONE = Raw(b"1")
NO = StepError(type="X", message="no")


@pytest.fixture
def flying(case: Any) -> Any:
    """An execution in which a runs, b is ready, c and d are pending."""
    return case(["a", "b", "c", "d"], ["a>c", Connection("b", "d", condition="true")]).created().starts("a")


def test_every_event_can_be_applied() -> None:
    assert set(_APPLY) == set(e.AnyEvent.__args__)


def test_folding_nothing_gives_an_execution_that_does_not_exist_yet(case: Any) -> None:
    state = fold(case(["a"]).plan, [])
    assert (state.status.value, state.created_at, state.wake_at(), state.in_flight) == ("PENDING", 0, None, {})


def test_folding_leaves_no_trace_of_turns(case: Any) -> None:
    one = case([Node("a", action="act", condition="true"), "b"]).created()
    state = one.folded()
    assert (state.fresh, state.agenda, state.settling, state.going, list(state.ready)) == ([], [], [], [], ["b", "a"])


def test_the_split_into_turns_makes_no_difference(flying: Any, case: Any) -> None:
    flying.returned("a", 1).starts("b").returned("b")
    events = [event for turn in flying.log for event in _decoded(turn)]
    whole, single = fold(flying.plan, [events]), fold(flying.plan, [[event] for event in events])
    for state in (whole, single):
        assert (state.root.phases, state.root.undecided, list(state.ready)) == (
            flying.state.root.phases,
            flying.state.root.undecided,
            ["c", "d"],
        )


def _decoded(turn: bytes) -> list[Any]:
    from treadle.machine import decode_events

    return decode_events(turn)


def test_an_event_changes_nothing_but_the_state_it_is_applied_to(flying: Any) -> None:
    before, other = list(flying.plan.indegrees), State(flying.plan)
    flying.returned("a", 1)
    assert (flying.plan.indegrees, other.root.phases, other.root.undecided) == (before, [0, 0, 0, 0], before)


UNKNOWN = [
    e.StepReady(step="nobody", at=T),
    e.StepStarted(step="nobody", attempt=1, at=T),
    e.StepSucceeded(step="nobody", attempt=1, output=ONE, at=T),
    e.TriggerPassed(step="nobody", at=T),
    e.StepKept(step="nobody", output=ONE, at=T),
    e.EventAwaited(step="nobody", name="n", at=T),
    e.EventReceived(step="nobody", name="n", event_id="i", at=T),
    e.ChildRequested(step="nobody", child="x/c", workflow="w", input=ONE, at=T),
    e.ChildStarted(step="nobody", child="x/c", at=T),
    e.ChildCompleted(step="nobody", child="x/c", output=ONE, at=T),
    e.ChildPaused(step="nobody", child="x/c", at=T),
    e.ChildResumed(step="nobody", child="x/c", at=T),
    e.GroupStarted(step="nobody", at=T),
    e.GroupHalted(step="nobody", error=NO, at=T),
    e.GroupYielded(step="nobody", begun=0, at=T),
    e.GroupCompleted(step="nobody", at=T),
    e.BodyStarted(step="nobody", at=T),
    e.BodyHalted(step="nobody", error=NO, at=T),
    e.BodyCompleted(step="nobody", at=T),
    e.BodyFailed(step="nobody", error=NO, at=T),
    e.AttemptFailed(step="nobody", attempt=1, error=NO, delay_ms=0, due=T, at=T),
    e.AttemptInterrupted(step="nobody", attempt=1, at=T),
    e.StepFailed(step="nobody", attempt=1, error=NO, at=T),
    e.StepTimedOut(step="nobody", attempt=1, error=NO, at=T),
    e.FailureHandled(step="nobody", by="connection", at=T),
    e.StepSkipped(step="nobody", reason="join", at=T),
    e.StepPaused(step="nobody", missing=(), at=T),
    e.StepCancelled(step="nobody", at=T),
    e.CompensationsBegan(steps=("nobody",), at=T),
    e.CompensationStarted(step="nobody", attempt=1, at=T),
    e.CompensationDelayed(step="nobody", attempt=1, error=NO, delay_ms=0, due=T, at=T),
    e.CompensationReady(step="nobody", at=T),
    e.CompensationInterrupted(step="nobody", attempt=1, at=T),
    e.CompensationSucceeded(step="nobody", attempt=1, output=ONE, at=T),
    e.CompensationFailed(step="nobody", attempt=1, error=NO, at=T),
    e.StepFellBack(step="nobody", attempt=1, error=NO, at=T),
    e.AnswerAwaited(step="nobody", attempt=1, error=NO, at=T),
    e.StepAnswered(step="nobody", answer=Answer.RETRY, at=T),
    e.OutputGiven(step="nobody", output=ONE, at=T),
    e.LateResultIgnored(step="nobody", attempt=1, at=T),
]


@pytest.mark.parametrize("event", UNKNOWN, ids=lambda one: type(one).__name__)
def test_an_event_of_a_step_that_the_definition_does_not_have_is_refused(flying: Any, event: Any) -> None:
    with pytest.raises(ReplayError, match="the definition has no step 'nobody'") as caught:
        apply(flying.state, event)
    assert caught.value.execution_id == "x"


ILLEGAL = {
    "ready twice": (e.StepReady(step="b", at=T), "'b' cannot go from READY to READY"),
    "started before it is ready": (e.StepStarted(step="c", attempt=1, at=T), "'c' cannot go from PENDING to RUNNING"),
    "started twice": (e.StepStarted(step="a", attempt=2, at=T), "'a' cannot go from RUNNING to RUNNING"),
    "succeeded without running": (
        e.StepSucceeded(step="b", attempt=1, output=ONE, at=T),
        "'b' cannot go from READY to COMPLETED",
    ),
    "an attempt failed without running": (
        e.AttemptFailed(step="b", attempt=1, error=NO, delay_ms=0, due=T, at=T),
        "'b' cannot go from READY to WAITING",
    ),
    "interrupted without running": (e.AttemptInterrupted(step="b", attempt=1, at=T), "from READY to READY"),
    "skipped while it runs": (e.StepSkipped(step="a", reason="join", at=T), "'a' cannot go from RUNNING to SKIPPED"),
    "asks while it runs": (e.StepPaused(step="a", missing=(), at=T), "'a' cannot go from RUNNING to PAUSED"),
    "cancelled before it was reached": (e.StepCancelled(step="c", at=T), "'c' cannot go from PENDING to CANCELLED"),
    "timed out before it was reached": (
        e.StepTimedOut(step="c", attempt=0, error=NO, at=T),
        "'c' cannot go from PENDING to TIMED_OUT",
    ),
    "undone without a compensation": (e.CompensationsBegan(steps=("a",), at=T), "step 'a' has no compensation"),
    "undone out of turn": (e.CompensationStarted(step="a", attempt=2, at=T), "step 'a' is not being undone"),
    "fell back without a fallback": (e.StepFellBack(step="a", attempt=1, error=NO, at=T), "step 'a' has no fallback"),
    "started a second time": (e.ExecutionStarted(at=T), "it cannot go from RUNNING to RUNNING"),
    "another definition": (
        e.ExecutionCreated(execution_id="x", workflow_id="w", definition_hash="other", input=Raw(b"{}"), at=T),
        "the log belongs to another definition",
    ),
    "no such connection": (
        e.ConnectionDecided(connection=9, source="a", target="c", taken=True, at=T),
        "the definition has no connection 9",
    ),
    "a connection before the first": (
        e.ConnectionDecided(connection=-1, source="a", target="c", taken=True, at=T),
        "the definition has no connection -1",
    ),
}


@pytest.mark.parametrize("name", ILLEGAL)
def test_an_event_that_does_not_fit_is_refused(flying: Any, name: str) -> None:
    event, says = ILLEGAL[name]
    with pytest.raises(ReplayError, match=says):
        apply(flying.state, event)


def test_a_connection_is_decided_once(flying: Any) -> None:
    flying.returned("a", 1)
    with pytest.raises(ReplayError, match="connection 0 was decided before"):
        apply(flying.state, e.ConnectionDecided(connection=0, source="a", target="c", taken=True, at=T))


@pytest.mark.parametrize(
    "event",
    [
        e.StepStarted(step="a", attempt=2, at=T),
        e.StepCancelled(step="a", at=T),
        e.StepFailed(step="a", attempt=1, error=NO, at=T),
        e.StepSkipped(step="a", reason="join", at=T),
        e.StepReady(step="a", at=T),
        e.StepSucceeded(step="a", attempt=1, output=ONE, at=T),
    ],
    ids=lambda one: type(one).__name__,
)
def test_nothing_moves_a_step_that_has_ended(flying: Any, event: Any) -> None:
    flying.returned("a", 1)
    with pytest.raises(ReplayError, match="'a' cannot go from COMPLETED"):
        apply(flying.state, event)


@pytest.mark.parametrize(
    "event",
    [
        e.ExecutionPaused(at=T),
        e.ExecutionCompleted(at=T),
        e.ExecutionFailed(error=NO, at=T),
        e.ExecutionCancelled(error=NO, at=T),
        e.ExecutionTimedOut(error=NO, at=T),
    ],
    ids=lambda one: type(one).__name__,
)
def test_an_execution_that_has_ended_ends_no_second_time(case: Any, event: Any) -> None:
    one = case(["a"]).given().returned("a")
    with pytest.raises(ReplayError, match="it cannot go from COMPLETED to"):
        apply(one.state, event)


def test_a_log_that_was_made_by_another_definition_is_refused_as_a_whole(case: Any) -> None:
    other = case(["a", "b"])
    one = case(["a"]).given()
    with pytest.raises(ReplayError, match="another definition"):
        fold(other.plan, [_decoded(turn) for turn in one.log])


def test_annotations_do_not_make_another_definition(case: Any) -> None:
    one = case(["a"]).given()
    moved = case([Node("a", action="act", annotations={"position": {"x": 1}})])
    assert fold(moved.plan, [_decoded(turn) for turn in one.log]).in_flight == {"a": 1}
