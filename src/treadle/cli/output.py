"""What is printed: one line an event, states, errors. Nothing in it drives the terminal."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import msgspec
import typer

from treadle import ExecutionStatus, TreadleError, ValidationError, bridge

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from datetime import datetime

    from treadle import ExecutionState, HistoryEvent

_T = TypeVar("_T")

BAD_USAGE: Final = 2
INTERRUPTED: Final = 130


def clean(text: str) -> str:
    """Return text without control characters: a name must not drive the terminal."""
    return "".join(one if one.isprintable() or one == "\n" else repr(one)[1:-1] for one in text)


def say(text: str) -> None:
    """Print a line."""
    typer.echo(clean(text))


def note(text: str) -> None:
    """Print a line for a person, beside what a program reads."""
    typer.echo(clean(text), err=True)


def fail(message: str, code: int = BAD_USAGE) -> NoReturn:
    """End the command with one message."""
    note(f"error: {message}")
    raise typer.Exit(code)


def fail_with(error: ValidationError, place: object = "") -> NoReturn:
    """End the command with every problem of an error, each on a line of its own."""
    for problem in error.problems:
        note(f"{problem.severity.value}: {place}{':' if place else ''}{problem}")
    if not error.problems:
        fail(f"{place}{': ' if place else ''}{error}")
    raise typer.Exit(BAD_USAGE)


def run_async(whole: Coroutine[Any, Any, _T]) -> _T:
    """Run a command's coroutine; an error of treadle is one message and never a traceback."""
    try:
        return bridge.run(whole)
    except ValidationError as error:
        fail_with(error)
    except TreadleError as error:
        fail(str(error))
    except KeyboardInterrupt:
        fail("stopped", code=INTERRUPTED)


def show_json(value: object) -> None:
    """Print a value as indented JSON."""
    typer.echo(msgspec.json.format(msgspec.json.encode(value)).decode())


def show_event(event: HistoryEvent, *, has_date: bool = False, has_execution: bool = False) -> None:
    """Print one event."""
    step = f" {event.step}" if event.step else ""
    attempt = f" (attempt {event.attempt})" if event.attempt > 1 else ""
    more = _more(event)
    when = f"{event.at:%Y-%m-%d %H:%M:%S}" if has_date else f"{event.at:%H:%M:%S}"
    of = f" {event.execution_id}" if has_execution else ""
    say(f"{when}{of} {event.kind}{step}{attempt}{f': {more}' if more else ''}")


def _more(event: HistoryEvent) -> str:
    """Return what a person asks next about an event."""
    data = event.data
    missing = f", {data['missing']} is missing" if isinstance(data.get("missing"), str) and data["missing"] else ""
    match event.kind:
        case "ConnectionDecided":
            way = f"{data.get('source')} -> {data.get('target')}"
            where = f" in {data['body']}" if data.get("body") else ""
            return f"{way}{where} {'taken' if data.get('taken') else 'not taken'}{missing}"
        case "StepSkipped":
            return f"by its {data.get('reason', 'join')}{missing}"
        case "AnswerAwaited":
            return f"{data['error']['message']}; {how_to_answer(event.execution_id, event.step)}"
        case "StepAnswered":
            return str(data["answer"])
        case "InputAsked":
            return f"answer with: treadle submit {shlex.quote(event.execution_id)} {shlex.quote(event.step)} ..."
        case "EventAwaited" | "EventReceived" | "EventKept":
            return str(data.get("name", ""))
        case "ChildRequested":
            return f"{data.get('workflow')} as {data.get('child')}"
        case kind if kind.startswith(("Group", "Body")):
            return _of_bodies(event)
        case _:
            names = data.get("waiting_for") or data.get("missing") or data.get("steps") or []
            names = [one if isinstance(one, str) else one["step"] for one in names]
            return str(data.get("error", {}).get("message", "")) or ", ".join(names) or str(data.get("reason", ""))


def _of_bodies(event: HistoryEvent) -> str:
    data = event.data
    first, count = data.get("number", 0), data.get("count", 1)
    match event.kind:
        case "GroupStarted":
            return count_of(len(data["items"]), "item") if "items" in data else ""
        case "GroupCompleted":
            return "" if data.get("reason", "all") == "all" else str(data["reason"])
        case "BodyStarted" if count > 1:
            return f"[{first}] to [{first + count - 1}]"
        case _:
            words = [
                *([f"[{first}]"] if event.kind.startswith("Body") else []),
                (data.get("error") or {}).get("message"),
            ]
            return ": ".join(filter(None, words))


def how_to_answer(execution_id: str, step: str, options: str = "") -> str:
    """Return how to answer for a step whose attempts are spent."""
    command = f"treadle answer{options} {shlex.quote(execution_id)} {shlex.quote(step)}"
    return f"answer with: {command} retry (or: output VALUE, complete, skip, abort)"


def show_result(state: ExecutionState, how_to_go_on: str = "", options: str = "") -> None:
    """Print how an execution stands: its status and output, the error, what it waits for.

    Args:
        state: Of the execution.
        how_to_go_on: The command that resumes it; ``""`` to leave it out.
        options: Of the command that answers for a step.
    """
    output = f": {json.dumps(state.output, ensure_ascii=False)}" if state.status is ExecutionStatus.COMPLETED else ""
    say(f"{state.status.value}{output}")
    if state.error is not None:
        say(f"{state.error.type}: {state.error.message}")
    if state.compensation_failures:
        say(f"could not be undone: {', '.join(state.compensation_failures)}")
    _show_questions(state, how_to_go_on, options)


def _show_questions(state: ExecutionState, how_to_go_on: str, options: str) -> None:
    """Print what an execution waits for, and how to go on."""
    asks = {name: state.steps[name].error for name in state.waiting_for if name in state.steps}
    for name, error in asks.items():
        why = f"{name} failed: {error.type}: {error.message}" if error is not None else f"{name} waits"
        say(f"{why}; {how_to_answer(state.execution_id, name, options)}")
    others = ", ".join(name for name in state.waiting_for if name not in asks)
    if state.status is ExecutionStatus.RUNNING and others:
        say(f"steps wait for {others}")
    if state.status is ExecutionStatus.PAUSED and (others or not asks):
        why = f"waiting for {others}" if others else "paused by a request"
        say(f"{why}; go on with: {how_to_go_on}" if how_to_go_on else why)


def items_text(total: int, completed: int, failed: int) -> str:
    """Return how far a map is: ``3/10 items, 1 failed``."""
    return f"{completed + failed:,}/{count_of(total, 'item')}" + (f", {failed:,} failed" if failed else "")


def count_of(count: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def moment(at: datetime | None) -> str:
    """Return a time as text; ``""`` for none."""
    return at.isoformat(timespec="seconds") if at else ""


def duration(start: datetime | None, end: datetime | None) -> str:
    """Return how long something took; ``""`` while it is not over."""
    return "" if start is None or end is None else seconds((end - start).total_seconds())


def seconds(value: float) -> str:
    """Return a duration for a person: ``12 ms``, ``3.4 s``, ``5m07s``."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 60 else f"{int(value) // 60}m{int(value) % 60:02}s"
