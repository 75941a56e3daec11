"""What a finished execution did, as what a rehearsal of it needs: outcomes by step, and what was asked of it when.

Every outcome and every request keeps its time since the execution began. A rehearsal is ahead of what was recorded by
what writing and switching took, so times alone put everything in its order again; within one millisecond the turns do.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from treadle import find_node

if TYPE_CHECKING:
    from collections.abc import Sequence

    from treadle import HistoryEvent, Workflow
    from treadle.cli.literals import JsonValue

STARTS: Final = (
    "StepStarted",
    "TriggerPassed",
    "StepPassed",
    "WaitStarted",
    "InputAsked",
    "EventAwaited",
    "ChildRequested",
    "GroupStarted",
    "EndReached",
)
_ENDS: Final = ("StepSucceeded", "AttemptFailed", "StepFailed", "StepTimedOut", "StepCancelled", "AttemptInterrupted")
_REQUESTS: Final = ("ExecutionPaused", "ExecutionResumed", "CancelRequested", "InputGiven")

_RANK_SECONDS: Final = 1e-5
"""Between two turns of one millisecond."""
_RANKS: Final = 90


class Returned(NamedTuple):
    """An attempt that gave something."""

    at: float
    output: JsonValue


class Raised(NamedTuple):
    """An attempt that failed."""

    at: float
    type: str
    message: str
    permanent: bool
    retry_after: float | None


class Unending(NamedTuple):
    """An attempt that did not end by itself."""


class Request(NamedTuple):
    """What was asked of the execution.

    Attributes:
        verb: ``pause``, ``resume``, ``cancel`` or ``submit``.
        arguments: Inputs, a reason, or a step and an answer.
    """

    at: float
    verb: str
    arguments: list[JsonValue]


class Recording(NamedTuple):
    """A finished execution.

    Attributes:
        outcomes: By step, one for each attempt that was not cut off, in order.
        waits: By step, seconds between its attempts; steps whose waits are random are left out.
        interrupted: How many attempts were cut off.
        slots: The most attempts that ran at a time.
    """

    input: dict[str, JsonValue]
    outcomes: dict[str, list[Returned | Raised | Unending]]
    requests: list[Request]
    path: list[str]
    waits: dict[str, list[float]]
    interrupted: int
    slots: int


def record(workflow: Workflow, history: Sequence[HistoryEvent]) -> Recording:
    """Return what the history of an ended execution says."""
    outcomes: dict[str, list[Returned | Raised | Unending]] = {}
    requests: list[Request] = []
    waits: dict[str, list[float]] = {}
    open_attempts: dict[str, int] = {}
    failures: Counter[str] = Counter()
    interrupted = slots = 0
    times = _times(history)
    for event, at in zip(history, times, strict=True):
        step = event.step
        if event.kind == "StepStarted":
            open_attempts[step] = event.attempt
            slots = max(slots, len(open_attempts))
        elif event.kind in _ENDS and step in open_attempts:
            del open_attempts[step]
            if event.kind == "AttemptInterrupted":
                interrupted += 1
                continue
            failures[step] += event.kind in ("AttemptFailed", "StepFailed")
            outcomes.setdefault(step, []).append(_outcome(event, at, _retry(workflow, step), failures[step]))
        elif event.kind in _REQUESTS and (request := _request(event, at)) is not None:
            requests.append(request)
        if event.kind == "AttemptFailed" and _retry(workflow, step).jitter.value == "none":  # type: ignore[attr-defined]
            waits.setdefault(step, []).append(event.data["delay_ms"] / 1000)
    for step in open_attempts:
        outcomes.setdefault(step, []).append(Unending())
    path = list(dict.fromkeys(event.step for event in history if event.kind in STARTS))
    return Recording(history[0].data["input"], outcomes, requests, path, waits, interrupted, slots)


def _retry(workflow: Workflow, step: str) -> object:
    node = find_node(workflow, step)
    assert node is not None  # its history is one of this workflow
    return node.retry


def _times(history: Sequence[HistoryEvent]) -> list[float]:
    """Return when each event was, in seconds since the first: one time for each turn, later than the one before it.

    What one turn took in together made one decision, so a rehearsal has to get it together too.
    """
    times: list[float] = []
    began, last, turn, rank = history[0].at, -1, 0, 0
    for event in history:
        if event.sequence != turn:
            ms = round((event.at - began).total_seconds() * 1000)
            rank = 0 if ms > last else min(rank + 1, _RANKS)
            last, turn = max(last, ms), event.sequence
        times.append(round(last / 1000 + rank * _RANK_SECONDS, 5))
    return times


def _outcome(event: HistoryEvent, at: float, policy: object, failures: int) -> Returned | Raised | Unending:
    data = event.data
    if event.kind == "StepSucceeded":
        return Returned(at, data.get("output"))
    if event.kind in ("StepTimedOut", "StepCancelled") or data.get("timed_out"):
        return Unending()
    error = data["error"]
    most, refused = max(1, policy.max_attempts), policy.non_retryable  # type: ignore[attr-defined]
    is_last = event.kind == "StepFailed"
    return Raised(
        at,
        error["type"],
        error["message"],
        permanent=is_last and failures < most and error["type"] not in refused,
        retry_after=None if is_last else _retry_after(data["delay_ms"], policy, failures),
    )


def _retry_after(delay_ms: int, policy: object, failures: int) -> float | None:
    """Return the wait that the error must have asked for, where the policy alone gives a shorter one."""
    try:
        computed = policy.initial_delay_ms * policy.backoff ** (failures - 1)  # type: ignore[attr-defined]
    except OverflowError:
        computed = float("inf")
    return delay_ms / 1000 if delay_ms > min(computed, policy.max_delay_ms) else None  # type: ignore[attr-defined]


def _request(event: HistoryEvent, at: float) -> Request | None:
    """Return what somebody asked for; None where nobody did."""
    data = event.data
    match event.kind:
        case "ExecutionPaused":
            return None if data.get("waiting_for") else Request(at, "pause", [])
        case "ExecutionResumed":
            return Request(at, "resume", [data["inputs"]] if data.get("inputs") else [])
        case "InputGiven":
            return None if data.get("is_default") else Request(at, "submit", [event.step, data["output"]])
        case _:
            return Request(at, "cancel", [data["reason"]] if data.get("reason") else [])
