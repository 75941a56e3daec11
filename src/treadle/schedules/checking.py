"""What a schedule is asked with, checked before anything is kept: every problem at once, each with its argument."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Final, NamedTuple

from treadle.durations import parse_duration
from treadle.errors import ExpressionError, ValidationError
from treadle.model import Problem, definition_hash
from treadle.schedules.cron import Cron, cron_problems, timezone_problems
from treadle.schedules.model import Overlap, Spec
from treadle.schedules.view import compile_input, render
from treadle.values import PayloadError, decode_payload, encode_payload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from msgspec import Raw

    from treadle.model import JsonValue, Workflow
    from treadle.settings import Settings

ID_CHARS: Final = 80
"""Characters of a schedule's id: with a planned time behind it, it is still the id of an execution."""

_OVERLAPS: Final = tuple(one.value for one in Overlap)


class Asked(NamedTuple):
    """What a schedule is asked with, as it was given.

    Attributes:
        workflow: Valid; None where it is not, and then the rest is checked all the same.
        tags: Checked.
        priority: Checked.
    """

    workflow: Workflow | None
    cron: object
    timezone: object
    overlap: object
    catch_up: object
    jitter: object
    input: object
    tags: Mapping[str, str]
    priority: int


def check_id(given: object) -> list[Problem]:
    """Return what is wrong with the id of a schedule."""
    if isinstance(given, str) and 1 <= len(given) <= ID_CHARS and given.isprintable() and given == given.strip():
        if "/" not in given:
            return []
        return [Problem("bad_id", 'it has no "/", which stands between it and the planned time', "schedule_id")]
    shown = repr(given) if len(repr(given)) <= ID_CHARS else f"{repr(given)[:77]}..."
    return [
        Problem("bad_id", f"the id of a schedule is 1 to {ID_CHARS} printable characters, not {shown}", "schedule_id")
    ]


def check_schedule(asked: Asked, settings: Settings, now_ms: int) -> tuple[Spec | None, list[Problem]]:
    """Return what was asked for, or None, with every problem of it.

    Args:
        asked: As it was given.
        settings: Bounds of the input.
        now_ms: Milliseconds since the epoch: a cron expression must have a time to come.
    """
    of_cron = [*cron_problems(asked.cron, now_ms), *timezone_problems(asked.timezone)]
    problems = [*of_cron, *_overlap_problems(asked.overlap)]
    catch_up_ms = _duration(asked.catch_up, "catch_up", problems)
    jitter_ms = _duration(asked.jitter, "jitter", problems)
    data = _input(asked.input, settings, problems)
    if data is not None and not of_cron:
        sample = Cron(str(asked.cron), str(asked.timezone)).local(now_ms).isoformat()
        problems += _sample_problems(asked.workflow, data, sample, settings)
    if problems or data is None or asked.workflow is None:
        return None, problems
    spec = Spec(
        workflow_id=asked.workflow.id,
        definition_hash=definition_hash(asked.workflow),
        cron=" ".join(str(asked.cron).split()),
        timezone=str(asked.timezone),
        overlap=Overlap(asked.overlap),
        catch_up_ms=catch_up_ms,
        jitter_ms=jitter_ms,
        input=data,
        tags=dict(asked.tags),
        priority=asked.priority,
        created_ms=now_ms,
    )
    return spec, []


def _overlap_problems(given: object) -> list[Problem]:
    if isinstance(given, str) and given in _OVERLAPS:
        return []
    near = difflib.get_close_matches(str(given)[:80].casefold(), _OVERLAPS, 1)
    message = f"overlap is one of {', '.join(_OVERLAPS)}, not {str(given)[:80]!r}"
    return [Problem("unknown_overlap", message, "overlap", hint=f'did you mean "{near[0]}"?' if near else "")]


def _duration(given: object, path: str, problems: list[Problem]) -> int:
    try:
        return parse_duration(given)
    except ValidationError as error:
        problems.append(Problem("bad_duration", error.message, path))
        return 0


def _input(given: object, settings: Settings, problems: list[Problem]) -> Raw | None:
    """Return the bytes of the input, whose expressions can be read; None with its problems."""
    try:
        data = encode_payload({} if given is None else given, settings)
        plain = decode_payload(data)
        if not isinstance(plain, dict):
            problems.append(Problem("bad_input", "a dict of names and JSON values", "input_data"))
            return None
        compile_input(plain)
    except PayloadError as error:
        problems.append(Problem("bad_input", error.message, _under("input_data", error.path)))
    except ExpressionError as error:
        problems.append(Problem("bad_expression", error.message, "input_data"))
    else:
        return data
    return None


def _sample_problems(workflow: Workflow | None, data: Raw, sample: str, settings: Settings) -> list[Problem]:
    """Return what is wrong with the input as an execution would get it."""
    try:
        rendered = render(compile_input(decode_payload(data)), "sample", sample)
    except ExpressionError as error:
        hint = "the input of a schedule reads schedule.planned_at and schedule.id; write $${ for ${ as text"
        return [Problem("bad_expression", error.message, "input_data", hint=hint)]
    return [] if workflow is None else input_problems(workflow, rendered, settings)


def input_problems(workflow: Workflow, rendered: JsonValue, settings: Settings) -> list[Problem]:
    """Return why an execution of a workflow cannot begin with an input."""
    try:
        encode_payload(rendered, settings)
    except PayloadError as error:
        return [Problem("bad_input", error.message, _under("input_data", error.path))]
    if workflow.input_schema is None:
        return []
    from treadle.schemas import compile_schema  # loaded only where a workflow has a schema

    return list(compile_schema(workflow.input_schema).problems(rendered, "input_data"))


def _under(root: str, path: str) -> str:
    return f"{root}.{path}" if path else root
