"""What happened, for whoever reads a failing test: a line for each step and wait, and values that carry it along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from treadle.model import ExecutionState, HistoryEvent

STARTS: Final = frozenset(
    {
        "StepStarted",
        "TriggerPassed",
        "StepPassed",
        "WaitStarted",
        "InputAsked",
        "EventAwaited",
        "ChildRequested",
        "GroupStarted",
        "EndReached",
    }
)
"""Events by which a step is on the path."""

_SILENT: Final = frozenset({"ExecutionCreated", "StepReady", "RequestNoted"})


class ToldText(str):
    """Text that knows the story behind it; a failing comparison tells it."""

    __slots__ = ("story",)
    story: str


class ToldList(list[str]):
    """A list that knows the story behind it, as ``ToldText`` does."""

    story: str


class ToldDict(dict[str, object]):
    """A dict that knows the story behind it, as ``ToldText`` does."""

    story: str


def told_text(text: str, story: str) -> ToldText:
    """Return text with its story."""
    told = ToldText(text)
    told.story = story
    return told


def told_list(values: Iterable[str], story: str) -> ToldList:
    """Return a list with its story."""
    told = ToldList(values)
    told.story = story
    return told


def told_dict(values: dict[str, object], story: str) -> ToldDict:
    """Return a dict with its story."""
    told = ToldDict(values)
    told.story = story
    return told


def path(history: Iterable[HistoryEvent]) -> list[str]:
    """Return the steps in the order they started, each once."""
    return list(dict.fromkeys(event.step for event in history if event.kind in STARTS))


def tell(state: ExecutionState, history: Sequence[HistoryEvent]) -> str:
    """Return the story of an execution."""
    lines = [f"{state.workflow_id}: {state.status.value}"]
    if state.waiting_for:
        lines[0] += f", waiting for {', '.join(state.waiting_for)}"
    began = history[0].at if history else None
    lines += [f"  {_after(event, began)}  {_line(event)}" for event in history if event.kind not in _SILENT]
    if state.error is not None:
        lines.append(f"  {state.error.type}: {state.error.message}")
    return "\n".join(lines)


def _after(event: HistoryEvent, began: datetime | None) -> str:
    seconds = 0.0 if began is None else (event.at - began).total_seconds()
    return f"{seconds:>10.3f} s"


def _line(event: HistoryEvent) -> str:
    data = event.data
    attempt = f" #{event.attempt}" if event.attempt else ""
    if event.kind == "ConnectionDecided":
        return f"{data['source']} -> {data['target']} {'taken' if data['taken'] else 'not taken'}"
    error = data.get("error") or {}
    if event.kind.startswith("Body"):
        attempt = _numbers(data.get("number", 0), data.get("count", 1))
    more = [f"{error['type']}: {error['message']}"] if error else []
    if "delay_ms" in data:
        more.append(f"next attempt in {data['delay_ms'] / 1000:g} s")
    if event.kind == "GroupStarted" and "items" in data:
        more.append(f"items: {len(data['items'])}")
    more += [str(data[name]) for name in ("name", "reason", "by") if data.get(name)]
    for name in ("missing", "waiting_for", "steps"):
        listed = data.get(name)
        if isinstance(listed, list | tuple):
            more.append(", ".join(one if isinstance(one, str) else one["step"] for one in listed))
    return f"{event.kind} {event.step}{attempt}".rstrip() + (f" ({'; '.join(more)})" if more else "")


def _numbers(first: int, count: int) -> str:
    return f"[{first}]" if count == 1 else f"[{first}] to [{first + count - 1}]"
