"""Events as bytes: what is written, that it reads back the same, and what older and newer versions may hold."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import Raw

from treadle.errors import ReplayError
from treadle.machine import decode_events, describe_events, encode_events
from treadle.machine import events as e
from treadle.model import Answer, ExecutionStatus, HistoryEvent, StepError

T = 1_000
NO = StepError(type="X", message="no", attempt=2, step="a", details={"k": [1]})

WIRE: list[tuple[e.AnyEvent, dict[str, Any]]] = [
    (
        e.ExecutionCreated(execution_id="x", workflow_id="w", definition_hash="h", input=Raw(b'{"a":1}'), at=T),
        {"execution_id": "x", "workflow_id": "w", "definition_hash": "h", "input": {"a": 1}},
    ),
    (
        e.ExecutionCreated(
            execution_id="x", workflow_id="w", definition_hash="h", input=Raw(b"{}"), priority=-1, tags={"k": "v"}, at=T
        ),
        {
            "execution_id": "x",
            "workflow_id": "w",
            "definition_hash": "h",
            "input": {},
            "priority": -1,
            "tags": {"k": "v"},
        },
    ),
    (
        e.ExecutionCreated(
            execution_id="x",
            workflow_id="w",
            definition_hash="h",
            input=Raw(b"{}"),
            key="k",
            start_at=9,
            queued=True,
            supersedes=True,
            at=T,
        ),
        {
            "execution_id": "x",
            "workflow_id": "w",
            "definition_hash": "h",
            "input": {},
            "key": "k",
            "start_at": 9,
            "queued": True,
            "supersedes": True,
        },
    ),
    (e.ExecutionReleased(at=T), {}),
    (e.ExecutionStarted(at=T), {}),
    (e.StepReady(step="a", at=T), {"step": "a"}),
    (e.StepStarted(step="a", attempt=1, at=T), {"step": "a", "attempt": 1}),
    (
        e.StepStarted(step="a", attempt=1, parameters=Raw(b"{}"), at=T),
        {"step": "a", "attempt": 1, "parameters": {}},
    ),
    (
        e.StepSucceeded(step="a", attempt=1, output=Raw(b"null"), at=T),
        {"step": "a", "attempt": 1, "output": None},
    ),
    (e.TriggerPassed(step="a", at=T), {"step": "a"}),
    (
        e.AttemptFailed(step="a", attempt=2, error=NO, delay_ms=5, due=1_005, at=T),
        {
            "step": "a",
            "attempt": 2,
            "error": {"type": "X", "message": "no", "attempt": 2, "step": "a", "details": {"k": [1]}},
            "delay_ms": 5,
            "due": 1_005,
        },
    ),
    (
        e.AttemptFailed(
            step="a", attempt=2, error=StepError(type="X", message=""), delay_ms=0, due=0, timed_out=True, at=T
        ),
        {
            "step": "a",
            "attempt": 2,
            "error": {"type": "X", "message": ""},
            "delay_ms": 0,
            "due": 0,
            "timed_out": True,
        },
    ),
    (e.AttemptInterrupted(step="a", attempt=1, at=T), {"step": "a", "attempt": 1}),
    (
        e.StepFailed(step="a", attempt=0, error=StepError(type="X", message="m"), at=T),
        {"step": "a", "attempt": 0, "error": {"type": "X", "message": "m"}},
    ),
    (
        e.StepTimedOut(step="a", attempt=1, error=StepError(type="X", message="m"), at=T),
        {"step": "a", "attempt": 1, "error": {"type": "X", "message": "m"}},
    ),
    (e.FailureHandled(step="a", by="connection", at=T), {"step": "a", "by": "connection"}),
    (e.StepSkipped(step="a", reason="join", at=T), {"step": "a", "reason": "join"}),
    (e.StepPassed(step="a", at=T), {"step": "a"}),
    (e.StepPassed(step="a", output=Raw(b"[1]"), at=T), {"step": "a", "output": [1]}),
    (e.WaitStarted(step="a", due=((0, 5), (2, 7)), at=T), {"step": "a", "due": [[0, 5], [2, 7]]}),
    (e.WaitStarted(step="a", until=((1, 9),), at=T), {"step": "a", "until": [[1, 9]]}),
    (e.WaitEnded(step="a", at=T), {"step": "a"}),
    (e.InputAsked(step="a", at=T), {"step": "a"}),
    (e.InputAsked(step="a", due=5, default=Raw(b"1"), at=T), {"step": "a", "due": 5, "default": 1}),
    (e.InputGiven(step="a", output=Raw(b"{}"), at=T), {"step": "a", "output": {}}),
    (
        e.InputGiven(step="a", output=Raw(b"1"), is_default=True, request="r", at=T),
        {"step": "a", "output": 1, "is_default": True, "request": "r"},
    ),
    (e.WaitEnded(step="a", timer=1, at=T), {"step": "a", "timer": 1}),
    (e.EndReached(step="a", status=ExecutionStatus.COMPLETED, at=T), {"step": "a", "status": "COMPLETED"}),
    (
        e.EndReached(
            step="a",
            status=ExecutionStatus.FAILED,
            output=Raw(b"1"),
            error=StepError(type="X", message="m"),
            at=T,
        ),
        {"step": "a", "status": "FAILED", "output": 1, "error": {"type": "X", "message": "m"}},
    ),
    (
        e.StepSkipped(step="a", reason="condition", passes=True, missing="b", at=T),
        {"step": "a", "reason": "condition", "passes": True, "missing": "b"},
    ),
    (e.StepPaused(step="a", missing=("input.x",), at=T), {"step": "a", "missing": ["input.x"]}),
    (e.StepCancelled(step="a", at=T), {"step": "a"}),
    (e.LateResultIgnored(step="a", attempt=1, at=T), {"step": "a", "attempt": 1}),
    (
        e.ConnectionDecided(connection=0, source="a", target="b", taken=False, at=T),
        {"connection": 0, "source": "a", "target": "b", "taken": False},
    ),
    (
        e.ConnectionDecided(connection=0, source="a", target="b", taken=False, missing="m", at=T),
        {"connection": 0, "source": "a", "target": "b", "taken": False, "missing": "m"},
    ),
    (e.ExecutionPaused(at=T), {}),
    (e.ExecutionPaused(waiting_for=("x",), request="r", at=T), {"waiting_for": ["x"], "request": "r"}),
    (e.ExecutionResumed(at=T), {}),
    (e.ExecutionResumed(inputs=Raw(b"{}"), request="r", at=T), {"inputs": {}, "request": "r"}),
    (e.ExecutionHalted(error=StepError(type="X", message="m"), at=T), {"error": {"type": "X", "message": "m"}}),
    (e.CancelRequested(at=T), {}),
    (e.CancelRequested(reason="why", request="r", at=T), {"reason": "why", "request": "r"}),
    (e.EventAwaited(step="w", name="paid", key="7", due=9, at=T), {"step": "w", "name": "paid", "key": "7", "due": 9}),
    (
        e.EventKept(name="paid", key="7", data=Raw(b"1"), event_id="i", at=T),
        {"name": "paid", "data": 1, "event_id": "i", "key": "7"},
    ),
    (
        e.EventReceived(step="w", name="paid", event_id="i", data=Raw(b"1"), timer=1, at=T),
        {"step": "w", "name": "paid", "event_id": "i", "data": 1, "timer": 1},
    ),
    (
        e.ChildRequested(step="c", child="x/c", workflow="o", input=Raw(b"{}"), waits=False, at=T),
        {"step": "c", "child": "x/c", "workflow": "o", "input": {}, "waits": False},
    ),
    (e.ChildStarted(step="c", child="x/c", at=T), {"step": "c", "child": "x/c"}),
    (e.ChildCompleted(step="c", child="x/c", output=Raw(b"1"), at=T), {"step": "c", "child": "x/c", "output": 1}),
    (
        e.ChildPaused(step="c", child="x/c", waiting_for=("input.a",), at=T),
        {"step": "c", "child": "x/c", "waiting_for": ["input.a"]},
    ),
    (e.ChildResumed(step="c", child="x/c", at=T), {"step": "c", "child": "x/c"}),
    (e.GroupStarted(step="m", items=Raw(b"[1]"), at=T), {"step": "m", "items": [1]}),
    (e.GroupHalted(step="m", error=StepError("X", "m"), at=T), {"step": "m", "error": {"type": "X", "message": "m"}}),
    (e.GroupYielded(step="m", begun=2, at=T), {"step": "m", "begun": 2}),
    (e.GroupCompleted(step="m", reason="race", at=T), {"step": "m", "reason": "race"}),
    (e.BodyStarted(step="m", number=2, count=3, at=T), {"step": "m", "number": 2, "count": 3}),
    (
        e.BodyHalted(step="m", error=StepError("X", "m"), number=1, at=T),
        {"step": "m", "error": {"type": "X", "message": "m"}, "number": 1},
    ),
    (e.BodyCompleted(step="m", number=1, output=Raw(b"2"), at=T), {"step": "m", "number": 1, "output": 2}),
    (e.BodyFailed(step="m", error=StepError("X", "m"), at=T), {"step": "m", "error": {"type": "X", "message": "m"}}),
    (
        e.StepsKept(
            steps=(e.KeptStep("a", 2, Raw(b"1")), e.KeptStep("b", error=StepError("X", "m"))),
            at=T,
        ),
        {"steps": [{"step": "a", "attempt": 2, "output": 1}, {"step": "b", "error": {"type": "X", "message": "m"}}]},
    ),
    (e.StepKept(step="a", output=Raw(b"1"), attempt=2, at=T), {"step": "a", "output": 1, "attempt": 2}),
    (e.ExecutionMigrated(definition_hash="h", request="r", at=T), {"definition_hash": "h", "request": "r"}),
    (e.ExecutionRetried(request="r", new_key=True, at=T), {"request": "r", "new_key": True}),
    (e.RequestNoted(request="r", at=T), {"request": "r"}),
    (e.RequestNoted(request="r", at=T), {"request": "r"}),
    (
        e.AnswerAwaited(step="a", attempt=3, error=StepError("X", "m"), timed_out=True, at=T),
        {"step": "a", "attempt": 3, "error": {"type": "X", "message": "m"}, "timed_out": True},
    ),
    (
        e.StepFellBack(step="a", attempt=3, error=StepError("X", "m"), timed_out=True, at=T),
        {"step": "a", "attempt": 3, "error": {"type": "X", "message": "m"}, "timed_out": True},
    ),
    (e.CancelRequested(compensates=True, at=T), {"compensates": True}),
    (e.CompensationsBegan(steps=("b", "a"), at=T), {"steps": ["b", "a"]}),
    (e.CompensationStarted(step="a", attempt=3, at=T), {"step": "a", "attempt": 3}),
    (
        e.CompensationStarted(step="a", attempt=3, parameters=Raw(b"{}"), at=T),
        {"step": "a", "attempt": 3, "parameters": {}},
    ),
    (
        e.CompensationDelayed(
            step="a", attempt=3, error=StepError("X", "m"), delay_ms=5, due=1_005, timed_out=True, at=T
        ),
        {
            "step": "a",
            "attempt": 3,
            "error": {"type": "X", "message": "m"},
            "delay_ms": 5,
            "due": 1_005,
            "timed_out": True,
        },
    ),
    (e.CompensationReady(step="a", at=T), {"step": "a"}),
    (e.CompensationInterrupted(step="a", attempt=3, at=T), {"step": "a", "attempt": 3}),
    (e.CompensationSucceeded(step="a", attempt=3, output=Raw(b"1"), at=T), {"step": "a", "attempt": 3, "output": 1}),
    (
        e.CompensationFailed(step="a", attempt=3, error=StepError("X", "m"), timed_out=True, at=T),
        {"step": "a", "attempt": 3, "error": {"type": "X", "message": "m"}, "timed_out": True},
    ),
    (e.CompensationsDropped(at=T), {}),
    (e.StepAnswered(step="a", answer=Answer.SKIP, request="r", at=T), {"step": "a", "answer": "skip", "request": "r"}),
    (e.OutputGiven(step="a", output=Raw(b"1"), at=T), {"step": "a", "output": 1}),
    (e.OutputGiven(step="a", output=Raw(b"1"), confirms=True, at=T), {"step": "a", "output": 1, "confirms": True}),
    (e.DeadlinePassed(error=StepError(type="X", message="m"), at=T), {"error": {"type": "X", "message": "m"}}),
    (e.ExecutionCompleted(at=T), {}),
    (e.ExecutionCompleted(output=Raw(b"null"), at=T), {"output": None}),
    (e.ExecutionFailed(error=StepError(type="X", message="m"), at=T), {"error": {"type": "X", "message": "m"}}),
    (e.ExecutionCancelled(error=StepError(type="X", message="m"), at=T), {"error": {"type": "X", "message": "m"}}),
    (e.ExecutionTimedOut(error=StepError(type="X", message="m"), at=T), {"error": {"type": "X", "message": "m"}}),
]


@pytest.mark.parametrize(("event", "fields"), WIRE, ids=lambda one: type(one).__name__)
def test_an_event_is_written_as_its_kind_its_time_and_what_is_not_default(event: Any, fields: dict[str, Any]) -> None:
    data = encode_events([event])
    assert json.loads(data) == [{"kind": type(event).__name__, "at": T, **fields}]
    assert decode_events(data) == [event]
    assert encode_events(decode_events(data)) == data


def test_every_kind_of_event_is_among_them() -> None:
    assert {type(event) for event, _ in WIRE} == set(e.AnyEvent.__args__)


@pytest.mark.parametrize(
    "event",
    [
        e.StepStarted(step="a", attempt=1, at=T),
        e.ExecutionResumed(at=T),
        e.ExecutionCompleted(at=T),
    ],
    ids=lambda one: type(one).__name__,
)
def test_a_payload_that_is_absent_is_absent_again_and_not_empty(event: Any) -> None:
    """``apply`` asks for this very object."""
    (back,) = decode_events(encode_events([event]))
    absent = [getattr(back, name) for name in back.__struct_fields__ if isinstance(getattr(back, name), Raw)]
    assert absent == [e.ABSENT]
    assert absent[0] is e.ABSENT


def test_payload_bytes_pass_through_unchanged() -> None:
    payload = Raw(b'{"b": 1.50, "a":[1e3],"u":"\\u00fc"}')
    data = encode_events([e.StepSucceeded(step="a", attempt=1, output=payload, at=T)])
    assert bytes(payload) in data
    assert decode_events(data)[0].output == payload


def test_a_field_of_a_newer_version_is_ignored() -> None:
    assert decode_events(b'[{"kind":"StepReady","at":1000,"step":"a","colour":"red"}]') == [e.StepReady(step="a", at=T)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"null",
        b"[1]",
        b'[{"at":1}]',
        b'[{"kind":"StepExploded","at":1,"step":"a"}]',
        b'[{"kind":"Event","at":1}]',
        b'[{"kind":"StepReady","at":1}]',
        b'[{"kind":"StepReady","at":"1","step":"a"}]',
        b'[{"kind":"StepReady","at":1,"step":1}]',
        b'[{"kind":"StepReady","at":1,"step":"a"}',
        b"\xff",
    ],
)
def test_bytes_that_are_no_events_of_this_version_are_refused(data: bytes) -> None:
    with pytest.raises(ReplayError, match="no event of this version"):
        decode_events(data)


def test_readers_see_each_event_with_its_own_cursor_and_payloads_decoded() -> None:
    data = encode_events(
        [
            e.StepSucceeded(step="a", attempt=2, output=Raw(b'{"x":[1]}'), at=T),
            e.ExecutionCompleted(at=T + 1),
            e.ExecutionFailed(error=NO, at=T + 2),
        ]
    )
    at = [datetime.fromtimestamp(ms / 1_000, UTC) for ms in (T, T + 1, T + 2)]
    assert describe_events(data, execution_id="x", sequence=4, cursor=12) == [
        HistoryEvent(10, "x", 4, "StepSucceeded", at[0], "a", 2, {"output": {"x": [1]}}),
        HistoryEvent(11, "x", 4, "ExecutionCompleted", at[1]),
        HistoryEvent(
            12,
            "x",
            4,
            "ExecutionFailed",
            at[2],
            data={"error": {"type": "X", "message": "no", "attempt": 2, "step": "a", "details": {"k": [1]}}},
        ),
    ]
