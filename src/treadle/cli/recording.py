"""What a finished execution did, as what a rehearsal of it needs: outcomes by step, and what was asked of it when.

Every outcome and every request keeps its time since the execution began. A rehearsal is ahead of what was recorded by
what writing and switching took, so times alone put everything in its order again; within one millisecond the turns do.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from treadle import find_node

if TYPE_CHECKING:
    from collections.abc import Sequence
    from enum import Enum

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
_FAILURES: Final = (
    "AttemptFailed",
    "StepFailed",
    "StepFellBack",
    "AnswerAwaited",
    "CompensationDelayed",
    "CompensationFailed",
)
_INTERRUPTED: Final = ("AttemptInterrupted", "CompensationInterrupted")
_ENDS: Final = (
    *_FAILURES,
    *_INTERRUPTED,
    "StepSucceeded",
    "StepTimedOut",
    "StepCancelled",
    "CompensationSucceeded",
)
_REQUESTS: Final = (
    "ExecutionPaused",
    "ExecutionResumed",
    "CancelRequested",
    "InputGiven",
    "StepAnswered",
    "OutputGiven",
    "GroupCompleted",
)

_RANK_SECONDS: Final = 1e-5
"""Between two turns of one millisecond."""
_RANKS: Final = 90


class Policy(Protocol):
    """A retry policy."""

    max_attempts: int
    initial_delay_ms: int
    backoff: float
    max_delay_ms: int
    jitter: Enum
    non_retryable: tuple[str, ...]


class Called(NamedTuple):
    """What a step called.

    Attributes:
        action: Its name.
        undoes: It was to undo the step.
    """

    action: str
    step: str
    undoes: bool = False


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
        verb: ``pause``, ``resume``, ``cancel``, ``submit`` or ``answer``.
        arguments: Inputs, a reason, or a step and an answer, with the output where that is it.
    """

    at: float
    verb: str
    arguments: list[JsonValue]


class Recording(NamedTuple):
    """A finished execution.

    Attributes:
        outcomes: By call, one for each attempt that was not cut off, in order.
        waits: By step, seconds between its attempts; steps whose waits are random are left out.
        interrupted: How many attempts were cut off.
        slots: The most attempts that ran at a time.
    """

    input: dict[str, JsonValue]
    outcomes: dict[Called, list[Returned | Raised | Unending]]
    requests: list[Request]
    path: list[str]
    waits: dict[str, list[float]]
    interrupted: int
    slots: int


def record(workflow: Workflow, history: Sequence[HistoryEvent]) -> Recording:
    """Return what the history of an ended execution says."""
    calls = _Calls(workflow)
    outcomes: dict[Called, list[Returned | Raised | Unending]] = {}
    requests: list[Request] = []
    waits: dict[str, list[float]] = {}
    interrupted = slots = 0
    for event, at in zip(history, _times(history), strict=True):
        calls.take(event)
        slots = max(slots, len(calls.open))
        if event.kind in _ENDS and event.step in calls.open:
            called, policy, failures = calls.end(event)
            if event.kind in _INTERRUPTED:
                interrupted += 1
                continue
            outcomes.setdefault(called, []).append(_outcome(event, at, policy, failures))
            if event.kind == "AttemptFailed" and policy.jitter.value == "none":
                waits.setdefault(event.step, []).append(event.data["delay_ms"] / 1000)
        elif event.kind in _REQUESTS and (request := _request(event, at)) is not None:
            requests.append(request)
    for called in calls.open.values():
        outcomes.setdefault(called, []).append(Unending())
    path = list(dict.fromkeys(event.step for event in history if event.kind in STARTS))
    return Recording(history[0].data["input"], outcomes, requests, path, waits, interrupted, slots)


class _Calls:
    """What each step calls, as its history tells: its action, its fallback, what undoes either.

    Attributes:
        open: By step, the call that runs.
    """

    def __init__(self, workflow: Workflow) -> None:
        self.open: dict[str, Called] = {}
        self._workflow = workflow
        self._fell_back: set[str] = set()
        self._failures: Counter[Called] = Counter()

    def take(self, event: HistoryEvent) -> None:
        """Take note of an event, but for the end of an attempt."""
        step = event.step
        if event.kind == "StepAnswered":
            self._fell_back.discard(step)
            for called in [one for one in self._failures if one.step == step]:
                del self._failures[called]  # the attempts start anew
        elif event.kind in ("StepStarted", "CompensationStarted"):
            self.open[step] = self._called(step, undoes=event.kind == "CompensationStarted")

    def _called(self, step: str, *, undoes: bool) -> Called:
        return Called(self._call(step, undoes=undoes).action_name, step, undoes)

    def _call(self, step: str, *, undoes: bool) -> Any:  # noqa: ANN401 - a node, a fallback or a compensation
        """Return the definition of what a step calls now."""
        node = find_node(self._workflow, step)
        assert node is not None  # its history is one of this workflow
        call = node.fallback if step in self._fell_back and node.fallback is not None else node
        undo = call.compensate
        return undo if undoes else call

    def end(self, event: HistoryEvent) -> tuple[Called, Policy, int]:
        """Return what ended, its policy, and how many of its attempts have failed."""
        called = self.open.pop(event.step)
        policy = self._call(event.step, undoes=called.undoes).retry
        self._failures[called] += event.kind in _FAILURES
        if event.kind == "StepFellBack":
            self._fell_back.add(event.step)
        return called, policy, self._failures[called]


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


def _outcome(event: HistoryEvent, at: float, policy: Policy, failures: int) -> Returned | Raised | Unending:
    data = event.data
    if event.kind in ("StepSucceeded", "CompensationSucceeded"):
        return Returned(at, data.get("output"))
    if event.kind in ("StepTimedOut", "StepCancelled") or data.get("timed_out"):
        return Unending()
    error = data["error"]
    most, refused = max(1, policy.max_attempts), policy.non_retryable
    is_last = event.kind not in ("AttemptFailed", "CompensationDelayed")
    return Raised(
        at,
        error["type"],
        error["message"],
        permanent=is_last and failures < most and error["type"] not in refused,
        retry_after=None if is_last else _retry_after(data["delay_ms"], policy, failures),
    )


def _retry_after(delay_ms: int, policy: Policy, failures: int) -> float | None:
    """Return the wait that the error must have asked for, where the policy alone gives a shorter one."""
    try:
        computed = policy.initial_delay_ms * policy.backoff ** (failures - 1)
    except OverflowError:
        computed = float("inf")
    return delay_ms / 1000 if delay_ms > min(computed, policy.max_delay_ms) else None


def _request(event: HistoryEvent, at: float) -> Request | None:
    """Return what somebody asked for; None where nobody did."""
    data = event.data
    match event.kind:
        case "ExecutionPaused":
            return None if data.get("waiting_for") else Request(at, "pause", [])
        case "ExecutionResumed":
            if data.get("by_itself"):
                return None
            return Request(at, "resume", [data["inputs"]] if data.get("inputs") else [])
        case "InputGiven":
            return None if data.get("is_default") else Request(at, "submit", [event.step, data["output"]])
        case "StepAnswered":
            is_told_next = data["answer"] in ("output", "complete")
            return None if is_told_next else Request(at, "answer", [event.step, data["answer"]])
        case "OutputGiven":
            word = "complete" if data.get("confirms") else "output"
            return Request(at, "answer", [event.step, word, data["output"]])
        case "GroupCompleted":
            return Request(at, "answer", [event.step, "complete"]) if data.get("reason") == "answer" else None
        case _:
            return Request(at, "cancel", [data["reason"]] if data.get("reason") else [])
