"""An execution that exists and has not begun: until its time has come, or until those before it have ended."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from treadle.machine import events as e
from treadle.machine import inputs as i
from treadle.model import Node, NodeType, StepError

T = 1_000


def test_it_begins_when_its_time_has_come_and_not_before(case: Any) -> None:
    one = case(["a"]).created(start_at=T + 50)
    assert [type(event) for event in one.turn.events] == [e.ExecutionCreated]
    assert (one.seen.status.value, one.seen.started_at, one.state.wake_at()) == ("PENDING", None, T + 50)
    one.wait(49).when(i.TimeReached(at=one.at)).gives_nothing(False)
    one.wait(1).when(i.TimeReached(at=one.at)).gives(e.ExecutionStarted(at=T + 50), ready=["a"])
    assert (one.seen.status.value, one.state.wake_at()) == ("RUNNING", None)


def test_a_time_that_has_passed_is_now(case: Any) -> None:
    one = case(["a"]).created(start_at=T)
    assert [type(event) for event in one.turn.events] == [e.ExecutionCreated, e.ExecutionStarted]


def test_its_timeout_counts_from_when_it_begins(case: Any) -> None:
    one = case(["a"], timeout_ms=100).created(start_at=T + 500)
    one.wait(500).when(i.TimeReached(at=one.at))
    assert one.state.wake_at() == T + 600


def test_a_queued_one_begins_when_it_is_released_and_only_once(case: Any) -> None:
    one = case(["a"]).created(key="k", queued=True)
    assert (one.seen.status.value, one.seen.key, one.seen.queued) == ("PENDING", "k", True)
    assert one.state.wake_at() is None
    one.wait(9).when(i.TimeReached(at=one.at)).gives_nothing(False)
    one.when(i.StartReleased(at=one.at)).gives(e.ExecutionReleased(at=T + 9), e.ExecutionStarted(at=T + 9), ready=["a"])
    one.when(i.StartReleased(at=one.at)).gives_nothing(False)
    assert one.seen.queued is False


def test_a_queued_one_that_is_released_early_waits_for_its_time(case: Any) -> None:
    one = case(["a"]).created(key="k", queued=True, start_at=T + 50)
    assert one.state.wake_at() is None
    one.when(i.StartReleased(at=one.at)).gives(e.ExecutionReleased(at=T))
    assert (one.seen.status.value, one.state.wake_at()) == ("PENDING", T + 50)
    one.wait(50).when(i.TimeReached(at=one.at)).gives(e.ExecutionStarted(at=T + 50), ready=["a"])


def test_it_is_cancelled_without_having_begun(case: Any) -> None:
    for fields in ({"start_at": T + 50}, {"key": "k", "queued": True}):
        one = case(["a"]).created(**fields)
        error = StepError(type="Cancelled", message="not needed")
        one.when(i.CancelExecutionRequested(reason="not needed", request="r", at=T)).gives(
            e.CancelRequested(reason="not needed", request="r", at=T), e.ExecutionCancelled(error=error, at=T)
        )
        assert (one.seen.status.value, one.seen.started_at, one.seen.steps["a"].status.value) == (
            "CANCELLED",
            None,
            "PENDING",
        )
        one.wait(60).when(i.TimeReached(at=one.at)).gives_nothing(False)
        one.when(i.StartReleased(at=one.at)).gives_nothing(False)
        assert one.state.wake_at() is None


def test_it_can_be_neither_paused_nor_resumed_and_is_created_once(case: Any) -> None:
    one = case(["a"]).created(start_at=T + 50)
    one.when(i.PauseRequested(at=T)).gives_nothing(False)
    one.when(i.ResumeRequested(at=T)).gives_nothing(False)
    one.when(i.StartRequested(at=T, execution_id="x", input=Raw(b"{}"))).gives_nothing(False)


def test_an_execution_that_does_not_exist_cannot_be_cancelled(case: Any) -> None:
    case(["a"]).when(i.CancelExecutionRequested(at=T)).gives_nothing(False)


def test_an_event_that_comes_before_it_begins_is_kept_for_it(case: Any) -> None:
    one = case([Node("a", type=NodeType.EVENT, event="paid")]).created(start_at=T + 50)
    one.when(i.EventSent(name="paid", key="", event_id="e", data=Raw(b"1"), keeps=True, at=T)).gives(
        e.EventKept(name="paid", key="", data=Raw(b"1"), event_id="e", at=T), accepted=[True]
    )
    one.wait(50).when(i.TimeReached(at=one.at))
    assert one.seen.status.value == "COMPLETED"
