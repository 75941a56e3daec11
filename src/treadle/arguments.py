"""What a verb is called with, checked before anything happens: what is wrong is a ``ValidationError`` that names it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from treadle.durations import parse_duration, parse_time
from treadle.errors import ValidationError
from treadle.model import Answer, ExecutionFilter, ExecutionStatus, OnConflict
from treadle.values import PayloadError, encode_payload

if TYPE_CHECKING:
    from msgspec import Raw

    from treadle.model import Workflow
    from treadle.settings import Settings

NAME_CHARS: Final = 128
"""Characters of an execution's id and of a tag's name."""
TEXT_CHARS: Final = 1_024
"""Characters of a tag's value and of a reason."""
MOST_TAGS: Final = 64
LARGEST_NUMBER: Final = 2**53
"""Of a priority, a page, a cursor: what every reader of JSON can hold."""

_FILTER_FIELDS: Final = ExecutionFilter.__struct_fields__

LONGEST_SECONDS: Final = 100 * 366 * 86_400


def check_id(given: object) -> str:
    """Return the id of an execution."""
    if not isinstance(given, str) or not 1 <= len(given) <= NAME_CHARS or not _is_plain(given):
        raise ValidationError(f"an execution id is 1 to {NAME_CHARS} printable characters, not {_shown(given)}")
    return given


def check_workflow_id(given: object) -> str:
    """Return the id of a workflow."""
    if not isinstance(given, str) or not 1 <= len(given) <= TEXT_CHARS or not _is_encodable(given):
        raise ValidationError(f"the id of a workflow is text, not {_shown(given)}")
    return given


def check_version(given: object) -> str | None:
    """Return what means a version of a workflow: a hash or a label, which may be a number; None for none."""
    if given is None or type(given) is int:
        return None if given is None else str(given)
    if not isinstance(given, str) or not given or not _is_encodable(given):
        raise ValidationError(f"a version is a definition hash or a label, not {_shown(given)}")
    return given


def check_tags(given: object) -> dict[str, str]:
    """Return tags: names and values are text."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ValidationError(f"tags are a dict of names and text, not {_shown(given)}")
    if len(given) > MOST_TAGS:
        raise ValidationError(f"an execution has at most {MOST_TAGS} tags, not {len(given)}")
    for name, value in given.items():
        if not isinstance(name, str) or not 1 <= len(name) <= NAME_CHARS or not _is_plain(name):
            raise ValidationError(f"the name of a tag is 1 to {NAME_CHARS} printable characters, not {_shown(name)}")
        check_text(value, f"the tag {name!r}")
    return dict(given)


def check_text(given: object, what: str) -> str:
    """Return text of bounded length that can be stored."""
    if not isinstance(given, str):
        raise ValidationError(f"{what} is text, not {_shown(given)}")
    if len(given) > TEXT_CHARS:
        raise ValidationError(f"{what} has {len(given):,} characters, more than {TEXT_CHARS:,}")
    if not _is_encodable(given):
        raise ValidationError(f"{what} holds a lone surrogate, which cannot be stored")
    return given


def check_reason(given: object) -> str:
    """Return why something was asked for; None for no reason."""
    return "" if given is None else check_text(given, "a reason")


def check_number(given: object, what: str, *, least: int) -> int:
    """Return a whole number."""
    if type(given) is not int or not least <= given <= LARGEST_NUMBER:
        bound = f" of {least} or more" if least > -LARGEST_NUMBER else ""
        raise ValidationError(f"{what} is a whole number{bound}, not {_shown(given)}")
    return given


def check_duration(given: object, what: str) -> timedelta:
    """Return a duration given as a ``timedelta`` or in seconds."""
    if isinstance(given, timedelta) and given >= timedelta(0):
        return given
    if isinstance(given, (int, float)) and type(given) is not bool and 0 <= given <= LONGEST_SECONDS:
        return timedelta(seconds=given)
    raise ValidationError(f"{what} is a timedelta or seconds, 0 or more, not {_shown(given)}")


def check_key(given: object) -> str:
    """Return a key that executions share; None for none."""
    if given is None:
        return ""
    if not isinstance(given, str) or not 1 <= len(given) <= NAME_CHARS or not _is_plain(given):
        raise ValidationError(f"a key is 1 to {NAME_CHARS} printable characters, not {_shown(given)}")
    return given


def check_event(name: object, event_id: object) -> tuple[str, str]:
    """Return the name of an event and its id; ``""`` for an id that is to be drawn."""
    if not isinstance(name, str) or not 1 <= len(name) <= TEXT_CHARS or name != name.strip() or not _is_encodable(name):
        plain = f"1 to {TEXT_CHARS:,} characters without white space at its ends"
        raise ValidationError(f"the name of an event is {plain}, not {_shown(name)}")
    if event_id is None:
        return name, ""
    if not isinstance(event_id, str) or not 1 <= len(event_id) <= NAME_CHARS or not _is_plain(event_id):
        raise ValidationError(f"an event id is 1 to {NAME_CHARS} printable characters, not {_shown(event_id)}")
    return name, event_id


def check_on_conflict(given: object, key: str) -> OnConflict:
    """Return what a start does where its key is taken; None for the default."""
    if given is not None and not key:
        raise ValidationError("on_conflict says what to do where the key is taken; give a key too")
    try:
        return OnConflict.REJECT if given is None else OnConflict(given)
    except ValueError:
        known = ", ".join(one.value for one in OnConflict)
        raise ValidationError(f"on_conflict is one of {known}, not {_shown(given)}") from None


def check_start_at(given: object) -> tuple[int, int]:
    """Return when an execution begins, in milliseconds since the epoch or (the second) from now; zeros for at once."""
    if given is None:
        return 0, 0
    if isinstance(given, datetime) and given.utcoffset() is not None:
        return max(int(given.timestamp() * 1000), 0), 0
    if isinstance(given, str) and (at := parse_time(given)) is not None:
        return at, 0
    if isinstance(given, (str, timedelta)):
        try:
            return 0, parse_duration(given)
        except ValidationError as error:
            raise ValidationError(f"start_at: {error}; a time has a date and a zone") from None
    raise ValidationError(f"start_at is a datetime with its zone or a timedelta from now, not {_shown(given)}")


def check_recover(given: object) -> str | Collection[str]:
    """Return which open executions go on."""
    if given in ("all", "none"):
        return str(given)
    if isinstance(given, str) or not isinstance(given, Collection):
        raise ValidationError(f'recover is "all", "none" or a list of execution ids, not {_shown(given)}')
    return [check_id(one) for one in given]


def check_sources(given: object) -> Iterable[object]:
    """Return what actions are taken from."""
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable) or isinstance(given, Mapping):
        raise ValidationError(f"actions is a list of functions, modules or dicts by name, not {_shown(given)}")
    return given


def check_statuses(given: object) -> tuple[ExecutionStatus, ...]:
    """Return statuses, each given as itself or by name."""
    if isinstance(given, (str, ExecutionStatus)):
        given = (given,)
    try:
        return tuple(ExecutionStatus(one) for one in given)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        known = ", ".join(one.value for one in ExecutionStatus)
        raise ValidationError(f"statuses are some of {known}, not {_shown(given)}") from None


def check_answer(given: object) -> Answer:
    """Return an answer, given as itself or by name."""
    try:
        return Answer(given)
    except ValueError:
        known = ", ".join(one.value for one in Answer)
        raise ValidationError(f"an answer is one of {known}, not {_shown(given)}") from None


def check_answer_value(answer: Answer, value: object, settings: Settings) -> Raw | None:
    """Return the encoded output that an answer brings; None where it brings none."""
    if answer is Answer.OUTPUT or (answer is Answer.COMPLETE and value is not None):
        return check_payload(value, "output", settings)
    if value is not None:
        raise ValidationError(f"only the answers 'output' and 'complete' have a value; {answer.value!r} has none")
    return None


def check_keep(given: object, settings: Settings) -> dict[str, int]:
    """Return how long ended executions are kept, in milliseconds by status; of one that is not there, for ever."""
    if given is None:
        given = timedelta(milliseconds=settings.keep_ms) if settings.keep_ms else {}
    if not isinstance(given, Mapping):
        given = dict.fromkeys(TERMINAL, given)
    statuses = check_statuses(tuple(given))
    running = [one.value for one in statuses if not one.is_terminal]
    if running:
        raise ValidationError(f"an execution that is {running[0]} is kept: only those that have ended are removed")
    return {
        status.value: check_age(age, f"keep[{status.value}]")
        for status, age in zip(statuses, given.values(), strict=True)
        if age is not None
    }


TERMINAL: Final = tuple(one for one in ExecutionStatus if one.is_terminal)


def check_age(given: object, what: str) -> int:
    """Return a duration in milliseconds: a ``timedelta``, seconds, or text such as ``30d``."""
    try:
        return parse_duration(given)
    except ValidationError as error:
        raise ValidationError(f"{what}: {error}") from None


def check_where(given: object) -> ExecutionFilter:
    """Return a filter, given as one or as a dict of its fields; None for none."""
    if isinstance(given, ExecutionFilter):
        given = {name: getattr(given, name) for name in _FILTER_FIELDS}
    if given is None or given == {}:
        return ExecutionFilter()
    if not isinstance(given, Mapping):
        raise ValidationError(f"where is an ExecutionFilter or a dict of its fields, not {_shown(given)}")
    for name in given:
        if name not in _FILTER_FIELDS:
            raise ValidationError(f"a filter has no field {_shown(name)}; it has {', '.join(_FILTER_FIELDS)}")
    return ExecutionFilter(
        workflow_id=check_text(given.get("workflow_id", ""), "workflow_id"),
        statuses=check_statuses(given.get("statuses", ())),
        tags=check_tags(given.get("tags")),
        key=check_text(given.get("key", ""), "key"),
        id_prefix=check_text(given.get("id_prefix", ""), "id_prefix"),
        search=check_text(given.get("search", ""), "search"),
        created_after=_check_moment(given.get("created_after"), "created_after"),
        created_before=_check_moment(given.get("created_before"), "created_before"),
    )


def check_where_for(verb: str, given: object) -> ExecutionFilter:
    """Return the filter of a verb that changes what it shows; one that shows everything is refused."""
    where = check_where(given)
    if where == ExecutionFilter():
        fields = ", ".join(_FILTER_FIELDS)
        raise ValidationError(f"say which executions to {verb}: an empty filter is all of them; it has {fields}")
    return where


def _check_moment(given: object, what: str) -> datetime | None:
    if given is None or (isinstance(given, datetime) and given.utcoffset() is not None):
        return given
    at = parse_time(given) if isinstance(given, str) else None
    if at is None:
        raise ValidationError(f"{what} is a datetime with its zone, not {_shown(given)}")
    return datetime.fromtimestamp(at / 1000, UTC)


def check_input(workflow: Workflow, given: object, settings: Settings) -> Raw:
    """Return the encoded input of an execution, which fits the workflow's ``input_schema``."""
    encoded = check_object({} if given is None else given, settings)
    schema = workflow.input_schema
    if schema is not None:
        from treadle.schemas import compile_schema  # loaded only where a workflow has a schema

        problems = compile_schema(schema).problems(dict(given or {}), "input")  # type: ignore[call-overload]
        if problems:
            raise ValidationError("\n".join(str(one) for one in problems), problems)
    return encoded


def check_object(given: object, settings: Settings) -> Raw:
    """Return the bytes of a JSON object."""
    if not isinstance(given, Mapping):
        raise ValidationError(f"input: a dict of names and JSON values, not {_shown(given)}")
    try:
        return encode_payload(dict(given), settings)
    except PayloadError as error:
        raise ValidationError(f"input: {error}") from error


def check_payload(given: object, what: str, settings: Settings) -> Raw:
    """Return the bytes of a JSON value."""
    try:
        return encode_payload(given, settings)
    except PayloadError as error:
        raise ValidationError(f"{what}: {error}") from error


def check_place(given: object) -> str:
    """Return the path of a database."""
    if not isinstance(given, (str, os.PathLike)) or not os.fspath(given):
        raise ValidationError(f'store is a path, ":memory:" or a store, not {_shown(given)}')
    return os.fsdecode(given)


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_plain(text: str) -> bool:
    return text.isprintable() and text == text.strip()


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
