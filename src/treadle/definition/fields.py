"""One field of a document: its spellings, and the reader that checks its value.

A reader takes a value that is not null and a ``Spot`` to report at, and gives the model's value, or ``UNREAD`` after
reporting.
"""

from __future__ import annotations

import math
import re
import unicodedata
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar

from treadle.definition.problems import quoted
from treadle.durations import parse_duration, parse_time
from treadle.errors import ExpressionError, ValidationError
from treadle.expressions import is_always_text, translate_condition
from treadle.model import FORMAT_VERSION, ExecutionStatus, Join, JoinKind, NodeLimit, Timer
from treadle.values import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from enum import Enum

    from treadle.definition.problems import Code, Findings, Nearest, Path
    from treadle.model import JsonValue

MAX_ID_CHARS: Final = 128
MAX_COUNT: Final = 2**31 - 1
"""Counts beyond it are slips, and leave what the store keeps as an integer."""

ELSE: Final = "else"


class Unread:
    """The one value of this class, ``UNREAD``, stands for a value that was reported and has no meaning."""


UNREAD: Final = Unread()


class Spot:
    """Where a value stands, and where to report what is wrong with it."""

    __slots__ = ("base", "findings", "nearest")

    def __init__(self, findings: Findings, nearest: Nearest, base: Path) -> None:
        self.findings = findings
        self.nearest = nearest
        self.base = base

    def below(self, *path: str | int) -> Spot:
        """Return the spot of an element."""
        return Spot(self.findings, self.nearest, self.base + path)

    def error(self, code: Code, message: str, *below: str | int, hint: str = "", on_key: bool = False) -> Unread:
        """Report a problem here, or at the element ``below``."""
        self.findings.error(code, self.base + below, message, hint=hint, on_key=on_key)
        return UNREAD

    def wrong_type(self, wanted: str, value: JsonValue, hint: str = "") -> Unread:
        """Report a value of the wrong type."""
        return self.error("wrong_type", f"must be {wanted}, not {kind_of(value)}", hint=hint)


_E = TypeVar("_E", bound="Enum")
Reader: TypeAlias = "Callable[[JsonValue, Spot], Any]"
Schema: TypeAlias = "dict[str, JsonValue]"


class Field(NamedTuple):
    """One field of an object.

    Attributes:
        name: In the model, and the key of the entries that reading gives.
        read: Checks a value that is not null; null means that the key is absent.
        schema: JSON Schema of the value.
        about: What it is for, in a sentence.
        aliases: Other spellings that are read.
        key: The spelling that is written; ``""`` where it is ``name``.
    """

    name: str
    read: Reader
    schema: Schema
    about: str
    aliases: tuple[str, ...] = ()
    key: str = ""

    @property
    def spellings(self) -> tuple[str, ...]:
        """Return every key under which documents may have it, the one that is written first."""
        return (self.key or self.name, *self.aliases)


def table(*fields: Field) -> dict[str, Field]:
    """Return fields by each of their spellings."""
    return {key: field for field in fields for key in field.spellings}


# Annotations: kept, and without meaning here.

_ANNOTATIONS: Final = frozenset(
    {
        "category",
        "connectionId",
        "connection_id",
        "created_at",
        "created_by",
        "description",
        "icon",
        "label",
        "metadata",
        "notes",
        "position",
        "tags",
        "updated_at",
        "updated_by",
        "user_id",
    }
)
_CONNECTION_ANNOTATIONS: Final = frozenset({"id", "sourceHandle", "targetHandle", "style", "animated"})
"""What graph editors put on an edge."""

ANNOTATION_PREFIX: Final = "x_"


def annotation_names(*, of_connection: bool = False) -> tuple[str, ...]:
    """Return the annotations known by name; keys that begin with ``x_`` are annotations as well."""
    return tuple(sorted(_ANNOTATIONS | _CONNECTION_ANNOTATIONS if of_connection else _ANNOTATIONS))


def is_annotation(key: str, *, of_connection: bool = False) -> bool:
    """Tell whether ``key`` is kept without meaning."""
    return (
        key in _ANNOTATIONS or key.startswith(ANNOTATION_PREFIX) or (of_connection and key in _CONNECTION_ANNOTATIONS)
    )


# Readers


def read_anything(value: JsonValue, spot: Spot) -> JsonValue:  # noqa: ARG001 - a reader that has nothing to refuse
    """Take any JSON value."""
    return value


def read_text(value: JsonValue, spot: Spot) -> str | Unread:
    """Take text."""
    hint = "" if isinstance(value, (dict, list)) else "put it in quotes"
    return value if isinstance(value, str) else spot.wrong_type("text", value, hint)


def read_name(value: JsonValue, spot: Spot) -> str | Unread:
    """Take text that is not empty and has no white space at its ends."""
    text = read_text(value, spot)
    if isinstance(text, str) and (not text or text != text.strip()):
        return spot.error("bad_value", f"{quoted(text)} is no name: it is empty or has white space at its ends")
    return text


def read_id(value: JsonValue, spot: Spot) -> str | Unread:
    """Take an id: NFC, 1 to 128 characters, no control characters."""
    if not isinstance(value, str):
        return read_text(value, spot)
    fault = _id_fault(value)
    return spot.error("bad_id", fault[0], hint=fault[1]) if fault else value


def _id_fault(text: str) -> tuple[str, str] | None:
    if not text:
        return "an id must not be empty", ""
    if len(text) > MAX_ID_CHARS:
        return f"an id has at most {MAX_ID_CHARS} characters, not {len(text)}", ""
    if any(unicodedata.category(character) == "Cc" for character in text):
        return f"the id {quoted(text)} has a control character", ""
    if not unicodedata.is_normalized("NFC", text):
        return (
            f"the id {quoted(text)} is not in Unicode's form NFC",
            f"write {quoted(unicodedata.normalize('NFC', text))}",
        )
    return None


def read_flag(value: JsonValue, spot: Spot) -> bool | Unread:
    """Take true or false."""
    return value if isinstance(value, bool) else spot.wrong_type("true or false", value)


def read_object(value: JsonValue, spot: Spot) -> dict[str, JsonValue] | Unread:
    """Take an object."""
    return value if isinstance(value, dict) else spot.wrong_type("an object", value)


def read_schema(value: JsonValue, spot: Spot) -> dict[str, JsonValue] | bool | Unread:
    """Take what has the type of a JSON Schema; validation compiles it."""
    return (
        value if isinstance(value, (dict, bool)) else spot.wrong_type("a JSON Schema (an object, true or false)", value)
    )


def read_label(value: JsonValue, spot: Spot) -> str | int | Unread:
    """Take text or a whole number: a version."""
    if isinstance(value, str) or (type(value) is int and abs(value) <= MAX_COUNT):
        return value
    return spot.wrong_type(
        "text or a whole number", value, "put it in quotes" if isinstance(value, (int, float)) else ""
    )


def read_format_version(value: JsonValue, spot: Spot) -> int | Unread:
    """Take the one version of the format there is."""
    if type(value) is int and value == FORMAT_VERSION:
        return value
    shown = quoted(str(value)) if isinstance(value, (str, int, float)) else kind_of(value)
    return spot.error("unsupported_version", f"{shown} is no format version known here; known: {FORMAT_VERSION}")


def read_duration(value: JsonValue, spot: Spot) -> int | Unread:
    """Take a duration, in milliseconds."""
    try:
        return parse_duration(value)
    except ValidationError as error:
        return spot.error("bad_duration", error.message)


def read_bound(value: JsonValue, spot: Spot) -> int | Unread | None:
    """Take a duration that bounds something; 0 means that nothing is bounded, as existing applications write it."""
    milliseconds = read_duration(value, spot)
    return None if milliseconds == 0 else milliseconds


def count(least: int) -> Reader:
    """Return a reader of whole numbers of at least ``least``."""

    def read(value: JsonValue, spot: Spot) -> int | Unread:
        if type(value) is not int:
            return spot.wrong_type("a whole number", value)
        if not least <= value <= MAX_COUNT:
            shown = value if abs(value) <= MAX_COUNT else "so large a number"
            return spot.error("bad_value", f"must be a whole number from {least} to {MAX_COUNT}, not {shown}")
        return value

    return read


def choice(kind: type[_E]) -> Reader:
    """Return a reader of the values of an enum."""
    known = {one.value: one for one in kind}

    def read(value: JsonValue, spot: Spot) -> _E | Unread:
        if not isinstance(value, str):
            return spot.wrong_type("text", value)
        if value not in known:
            return spot.error("bad_value", _not_one_of(value, known), hint=spot.nearest.hint(value, known))
        return known[value]

    return read


def read_factor(value: JsonValue, spot: Spot) -> float | Unread:
    """Take a finite number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return spot.wrong_type("a number", value)
    if not (math.isfinite(value) if isinstance(value, float) else abs(value) <= MAX_COUNT) or value < 1:
        return spot.error("bad_value", "must be a number of 1 or more")
    return float(value)


def read_class_names(value: JsonValue, spot: Spot) -> tuple[str, ...] | Unread:
    """Take a list of class names."""
    if not isinstance(value, list):
        return spot.wrong_type("a list of class names", value)
    names = [read_name(one, spot.below(index)) for index, one in enumerate(value)]
    return tuple(one for one in names if isinstance(one, str))


def read_names(value: JsonValue, spot: Spot) -> tuple[str, ...] | Unread:
    """Take a list of names."""
    if not isinstance(value, list):
        return spot.wrong_type("a list of names", value)
    read = [read_name(one, spot.below(place)) for place, one in enumerate(value)]
    return tuple(one for one in read if isinstance(one, str))


def read_join(value: JsonValue, spot: Spot) -> Join | Unread:
    """Take ``all``, ``every``, ``any`` or ``{at_least: n}``."""
    if isinstance(value, dict):
        return _read_at_least(value, spot)
    if not isinstance(value, str):
        return spot.wrong_type("all, every, any or {at_least: n}", value)
    if value not in SIMPLE_JOINS:
        known = (*SIMPLE_JOINS, "{at_least: n}")
        return spot.error("bad_value", _not_one_of(value, known), hint=spot.nearest.hint(value, SIMPLE_JOINS))
    return Join(kind=JoinKind(value))


def _read_at_least(value: dict[str, JsonValue], spot: Spot) -> Join | Unread:
    for key in value:
        if key != JoinKind.AT_LEAST.value:
            unknown_key(spot, key, (JoinKind.AT_LEAST.value,))
    if JoinKind.AT_LEAST.value not in value:
        return spot.error("missing_key", 'the key "at_least" is missing')
    number = count(1)(value[JoinKind.AT_LEAST.value], spot.below(JoinKind.AT_LEAST.value))
    return Join(kind=JoinKind.AT_LEAST, count=number) if isinstance(number, int) else UNREAD


SIMPLE_JOINS: Final = (JoinKind.ALL.value, JoinKind.EVERY.value, JoinKind.ANY.value)


def read_condition(value: JsonValue, spot: Spot) -> str | Unread | None:
    """Take a condition: text, whose older spelling is translated, or true or false; empty text is none."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return spot.wrong_type("an expression as text", value)
    if not value.strip():
        return None
    try:
        return translate_condition(value)
    except ExpressionError as error:
        return bad_expression(spot, error)


def read_wait(value: JsonValue, spot: Spot) -> int | str | Unread:
    """Take a duration as milliseconds, and text that holds an expression as it is."""
    return value if isinstance(value, str) and "${" in value else read_duration(value, spot)


def read_time(value: JsonValue, spot: Spot) -> str | Unread:
    """Take a time with its zone, or text that holds an expression."""
    if not isinstance(value, str):
        return spot.wrong_type("a time as text", value)
    if "${" not in value and parse_time(value) is None:
        hint = "a time has a date and a zone, as in 2026-01-31T09:00:00Z"
        return spot.error("bad_value", f"{quoted(value)} is no time with its zone", hint=hint)
    return value


def read_timers(value: JsonValue, spot: Spot) -> tuple[Timer, ...] | Unread:
    """Take a list of what may end a wait, each with ``duration``, ``until`` or ``event``."""
    if not isinstance(value, list) or not value:
        return spot.wrong_type("a list of timers, each with duration, until or event", value)
    read = [_read_timer(one, spot.below(place)) for place, one in enumerate(value)]
    return tuple(one for one in read if isinstance(one, Timer)) if Unread not in map(type, read) else UNREAD


def _read_timer(value: JsonValue, spot: Spot) -> Timer | Unread:
    if not isinstance(value, dict):
        return spot.wrong_type("an object with duration, until or event", value)
    for key in value:
        if key not in _TIMER_READERS:
            unknown_key(spot, key, _TIMER_READERS)
    given = {key: _TIMER_READERS[key](one, spot.below(key)) for key, one in value.items() if key in _TIMER_READERS}
    if len(given.keys() - {"key"}) != 1 or ("key" in given and "event" not in given):
        return spot.error("missing_key", "it has one of duration, until and event (and an event may have a key)")
    return UNREAD if UNREAD in given.values() else Timer(**given)


_TIMER_READERS: Final[dict[str, Reader]] = {
    "duration": read_wait,
    "until": read_time,
    "event": read_name,
    "key": read_anything,
}


def read_limits(value: JsonValue, spot: Spot) -> tuple[NodeLimit, ...] | Unread:
    """Take a list of limits, each with a name."""
    if not isinstance(value, list):
        return spot.wrong_type("a list of limits, each with a name", value)
    read = [_read_limit(one, spot.below(place)) for place, one in enumerate(value)]
    limits = tuple(one for one in read if isinstance(one, NodeLimit))
    names: set[str] = set()
    for place, one in enumerate(limits if len(limits) == len(read) else ()):
        if one.name in names:
            return spot.error("conflict", f"the limit {quoted(one.name)} is there twice", place, "name")
        names.add(one.name)
    return limits if len(limits) == len(read) else UNREAD


def _read_limit(value: JsonValue, spot: Spot) -> NodeLimit | Unread:
    if not isinstance(value, dict):
        return spot.wrong_type("an object with a name, and concurrency or rate", value)
    for key in value:
        if key not in _LIMIT_READERS:
            unknown_key(spot, key, _LIMIT_READERS)
    given = {
        key: _LIMIT_READERS[key](one, spot.below(key))
        for key, one in value.items()
        if key in _LIMIT_READERS and one is not None
    }
    if "name" not in given:
        return spot.error("missing_key", 'the key "name" is missing: whatever holds a limit of that name shares it')
    if "per" in given and "rate" not in given:
        return spot.error("missing_key", '"per" is the time of a "rate", and there is none', "per", on_key=True)
    if UNREAD in given.values():
        return UNREAD
    if "per" in given:
        given["per_ms"] = given.pop("per")
    return NodeLimit(**given)


def read_time_span(value: JsonValue, spot: Spot) -> int | Unread:
    """Take a duration that is not 0."""
    milliseconds = read_duration(value, spot)
    return milliseconds or spot.error("bad_duration", "must be longer than 0")


_LIMIT_READERS: Final[dict[str, Reader]] = {
    "name": read_name,
    "key": read_anything,
    "concurrency": count(1),
    "rate": count(1),
    "per": read_time_span,
}


def read_items(value: JsonValue, spot: Spot) -> JsonValue | Unread:
    """Take a list, or text that is one expression."""
    if isinstance(value, list) or (isinstance(value, str) and not is_always_text(value)):
        return value
    return spot.wrong_type("a list, or text such as ${input.orders} that gives one", value)


def read_mapping(value: JsonValue, spot: Spot) -> JsonValue | Unread:
    """Take an object, or text that is one expression."""
    if isinstance(value, dict) or (isinstance(value, str) and not is_always_text(value)):
        return value
    return spot.wrong_type("an object, or text such as ${item} that gives one", value)


def read_variable(value: JsonValue, spot: Spot) -> str | Unread:
    """Take a name by which expressions can read something."""
    text = read_text(value, spot)
    if isinstance(text, str) and not (text.isascii() and text.isidentifier()):
        return spot.error("bad_value", f"{quoted(text)} is no name that an expression can read")
    return text


def read_share(value: JsonValue, spot: Spot) -> int | str | Unread:
    """Take a count, or a share in per cent."""
    if isinstance(value, str):
        found = re.fullmatch(SHARE_PATTERN, value)
        return value if found else spot.error("bad_value", f"{quoted(value)} is no share such as 10%, from 0% to 100%")
    number: int | Unread = count(0)(value, spot)
    return number


SHARE_PATTERN: Final = r"^(100|[0-9]{1,2}(\.[0-9]{1,3})?)%$"


def read_end_status(value: JsonValue, spot: Spot) -> ExecutionStatus | Unread:
    """Take a status with which an end node may end an execution."""
    if value not in END_STATUSES:
        known = END_STATUSES
        hint = spot.nearest.hint(value.upper(), known) if isinstance(value, str) else ""
        return spot.error("bad_value", f"must be one of {', '.join(known)}", hint=hint)
    return ExecutionStatus(value)


END_STATUSES: Final = (
    ExecutionStatus.COMPLETED.value,
    ExecutionStatus.FAILED.value,
    ExecutionStatus.CANCELLED.value,
)


def read_ids(value: JsonValue, spot: Spot) -> list[tuple[str, Path]] | Unread:
    """Take a list of node ids (one id is a list of one), each with its place below the field."""
    if isinstance(value, str):
        return [(value, ())]
    if not isinstance(value, list):
        return spot.wrong_type("a list of step ids", value)
    read = [(read_text(one, spot.below(index)), (index,)) for index, one in enumerate(value)]
    return [(one, at) for one, at in read if isinstance(one, str)]


def read_order(value: JsonValue, spot: Spot) -> float | Unread:
    """Take a number by which steps are ordered."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return spot.wrong_type("a number", value)
    return value


def bad_expression(spot: Spot, error: ExpressionError) -> Unread:
    """Report an expression that cannot be read."""
    column = f"column {error.column} of the text: " if error.column else ""
    return spot.error("bad_expression", f"{column}{error.message}")


def unknown_key(spot: Spot, key: str, known: Iterable[str], hint: str = "") -> None:
    """Report a key that nothing reads, with the nearest that something does."""
    spot.error(
        "unknown_key", f"unknown key {quoted(key)}", key, hint=hint or spot.nearest.hint(key, known), on_key=True
    )


def _not_one_of(value: str, known: Iterable[str]) -> str:
    return f"{quoted(value)} is none of {', '.join(known)}"
