"""JSON Schema, draft 2020-12: ``$ref`` only inside the document, patterns in linear time, nothing is ever fetched.

``format`` is an annotation, as the draft says. Schemas are compiled once and kept by their canonical bytes.
"""

from __future__ import annotations

import difflib
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

import msgspec

from treadle.errors import ValidationError
from treadle.model import Problem
from treadle.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from treadle.model import JsonValue

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_MESSAGE_CHARS: Final = 300
_MAX_NESTING: Final = Settings().max_nesting

_Path: TypeAlias = tuple[str | int, ...]
_Fault: TypeAlias = tuple[_Path, str]


class Schema:
    """A compiled schema; immutable and shared."""

    __slots__ = ("_validator",)

    def __init__(self, validator: Any) -> None:  # noqa: ANN401 - the library is loaded when a schema is compiled
        self._validator = validator

    def problems(self, value: JsonValue, root: str = "input") -> list[Problem]:
        """Return everything in ``value`` that breaks the schema; empty if it fits.

        Args:
            value: JSON value within the limits of a payload.
            root: What ``value`` is called in the paths: ``input.customer.email``, ``input.rows[2]``.
        """
        if self._validator.is_valid(value):
            return []
        return [
            Problem(code="schema", message=_bounded(error.message), path=_text(root, error.instance_path))
            for error in self._validator.iter_errors(value)
        ]


def compile_schema(schema: dict[str, JsonValue] | bool) -> Schema:  # noqa: FBT001 - true and false are schemas
    """Return the compiled form of ``schema``.

    Raises:
        ValidationError: It is no schema of draft 2020-12, or refers to something outside itself; ``problems`` has all.
    """
    problems = schema_problems(schema)
    if problems:
        raise ValidationError("no valid JSON Schema: " + "; ".join(str(one) for one in problems), problems)
    compiled, _ = _compile(_canonical(schema))
    assert compiled is not None
    return compiled


def schema_problems(schema: JsonValue) -> list[Problem]:
    """Return what is wrong with a schema, each with its path below it; empty if it can be compiled."""
    return [
        Problem(code="bad_schema", message=message, path=_text("", path)) for path, message in schema_faults(schema)
    ]


def schema_faults(schema: JsonValue) -> tuple[_Fault, ...]:
    """Return what is wrong with a schema as paths and messages."""
    if _is_too_deep(schema):
        return (((), f"nested deeper than the limit of {_MAX_NESTING}"),)
    try:
        data = _canonical(schema)
    except (TypeError, ValueError, OverflowError) as error:
        return (((), f"not made of JSON values: {error}"),)
    return _compile(data)[1]


def _canonical(schema: JsonValue) -> bytes:
    return msgspec.json.encode(schema, order="deterministic")


@lru_cache(maxsize=1_024)
def _compile(data: bytes) -> tuple[Schema | None, tuple[_Fault, ...]]:
    """Return the compiled schema, or what is wrong with it."""
    import jsonschema_rs

    schema = msgspec.json.decode(data)
    faults = (*_by_the_draft(schema), *_by_us(schema))
    if faults:
        return None, faults
    try:
        return Schema(_validator(schema)), ()
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
        path = getattr(error, "instance_path", ())
        return None, ((tuple(path), _reason(error.message)),)


def _validator(schema: JsonValue) -> Any:  # noqa: ANN401 - as in Schema
    import jsonschema_rs

    return jsonschema_rs.Draft202012Validator(
        schema, retriever=_refuse, pattern_options=jsonschema_rs.RegexOptions(), validate_formats=False
    )


@lru_cache(maxsize=1)
def _draft() -> Any:  # noqa: ANN401 - as in Schema
    """Return the validator of schemas themselves; the draft is part of the library."""
    return _validator({"$ref": DRAFT})


def _by_the_draft(schema: JsonValue) -> tuple[_Fault, ...]:
    """Return every place where a schema is not what the draft says."""
    faults = [_draft_fault(tuple(error.instance_path), error.message) for error in _draft().iter_errors(schema)]
    named = schema.get("$schema", DRAFT) if isinstance(schema, dict) else DRAFT
    if isinstance(named, str) and named.rstrip("#") != DRAFT:
        faults.append((("$schema",), f"only draft 2020-12 is read: {DRAFT}"))
    return tuple(faults)


def _draft_fault(path: _Path, message: str) -> _Fault:
    if path[-1:] == ("type",) and message.endswith("keyword"):
        name = message.partition(" is not valid")[0]
        nearest = difflib.get_close_matches(name.strip('"'), _TYPES, n=1)
        hint = f'did you mean "{nearest[0]}"?' if nearest else f"types: {', '.join(_TYPES)}"
        return path, _bounded(f"{name} is no type ({hint})")
    return path, _bounded(message)


def _by_us(schema: JsonValue) -> tuple[_Fault, ...]:
    """Return every reference outside and every pattern that is refused; the library would name the first one only."""
    faults: list[_Fault] = []
    has_ids = False
    for path, one in _objects(schema):
        has_ids = has_ids or isinstance(one.get("$id"), str)
        reference = one.get("$ref")
        if isinstance(reference, str) and not reference.startswith("#"):
            faults.append(((*path, "$ref"), _bounded(f"{reference}: {_OUTSIDE}")))
        pattern, patterns = one.get("pattern"), one.get("patternProperties")
        found = [((*path, "pattern"), pattern)] if isinstance(pattern, str) else []
        found += [((*path, "patternProperties", key), key) for key in patterns] if isinstance(patterns, dict) else []
        faults += [(at, reason) for at, text in found if (reason := _pattern_fault(text))]
    # With names of its own a document may refer to its own parts by them; then the library tells what is outside.
    return tuple(fault for fault in faults if not (has_ids and fault[0][-1] == "$ref"))


def _objects(schema: JsonValue) -> Iterator[tuple[_Path, dict[str, JsonValue]]]:
    """Yield every object that may be a schema, with its place."""
    agenda: list[tuple[_Path, JsonValue]] = [((), schema)]
    while agenda:
        path, one = agenda.pop()
        if isinstance(one, dict):
            yield path, one
            agenda += [((*path, key), below) for key, below in one.items() if key not in _VALUES]
        elif isinstance(one, list):
            agenda += [((*path, place), below) for place, below in enumerate(one)]


@lru_cache(maxsize=1_024)
def _pattern_fault(pattern: str) -> str:
    """Return why a pattern is refused; ``""`` where it is not."""
    import jsonschema_rs

    try:
        _validator({"pattern": pattern})
    except jsonschema_rs.ValidationError as error:
        return _reason(error.message)
    return ""


_TYPES: Final = ("array", "boolean", "integer", "null", "number", "object", "string")
_VALUES: Final = frozenset({"const", "enum", "default", "examples"})
"""Keys whose values are data, not schemas."""
_OUTSIDE: Final = "only what is inside the document can be referred to, nothing is fetched"


def _refuse(uri: str) -> NoReturn:
    raise ValueError(f"{uri} is outside the document")


def _reason(message: str) -> str:
    """Return a message of the library in words that say what to do."""
    if "is not present in a registry" in message:
        target = message.split("'")[1] if "'" in message else "it"
        return _bounded(f"$ref to {target}: {_OUTSIDE}")
    if message.endswith('is not a "regex"'):
        pattern = message.removesuffix(' is not a "regex"')
        return _bounded(f"the pattern {pattern} cannot be matched in linear time: no look-around, no back-references")
    return _bounded(message)


def _bounded(message: str) -> str:
    """Return a message of bounded length: the library shows the whole value, whatever its size."""
    if len(message) <= _MESSAGE_CHARS:
        return message
    return f"{message[: _MESSAGE_CHARS // 2]} ... {message[-_MESSAGE_CHARS // 2 :]}"


def _is_too_deep(value: JsonValue) -> bool:
    """Tell whether a value nests too deeply, without recursion."""
    level = [value]
    for _ in range(_MAX_NESTING + 1):
        below: list[JsonValue] = []
        for one in level:
            if isinstance(one, dict):
                below.extend(one.values())
            elif isinstance(one, (list, tuple)):
                below.extend(one)
        if not below:
            return False
        level = below
    return True


def _text(root: str, parts: Iterable[str | int]) -> str:
    text = root + "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" if part.isidentifier() else f'["{part}"]' for part in parts
    )
    return text.removeprefix(".")
