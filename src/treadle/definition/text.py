"""Text to plain data: strict JSON, and YAML 1.2 core without tags, anchors, aliases, merge or duplicate keys.

YAML is read event by event with our own composer, so nothing is built that was not allowed.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NoReturn

from treadle.errors import ValidationError
from treadle.model import Problem
from treadle.values import PayloadError, check_nesting

if TYPE_CHECKING:
    from treadle.model import JsonValue
    from treadle.settings import Settings

Places = dict[str, tuple[int, int]]
"""1-based line and column by path."""


def read_text(text: str, settings: Settings, *, is_yaml: bool) -> tuple[JsonValue, Places]:
    """Return the data of a document and where its parts stand (YAML only).

    Raises:
        ValidationError: The text is no such document; with line and column.
    """
    if len(text) > settings.max_document_bytes:
        _fail("too_large", f"the document is longer than {settings.max_document_bytes:,} characters")
    return _Composer(text, settings).document() if is_yaml else (read_json(text, settings), {})


def read_json(text: str, settings: Settings) -> JsonValue:
    """Return the data of strict JSON: no NaN, no Infinity, no duplicate keys, no lone surrogates.

    Raises:
        ValidationError: The text is no such JSON.
    """
    try:
        check_nesting(text.encode(), settings.max_nesting)
        return json.loads(text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)
    except json.JSONDecodeError as error:
        _fail("syntax", f"no JSON: {error.msg}", error.lineno, error.colno)
    except PayloadError as error:
        _fail("too_deep", error.message)
    except UnicodeEncodeError:
        _fail("surrogate", "text with a lone surrogate")
    except ValueError as error:
        _fail("syntax", f"no JSON: {error}")


def _fail(code: str, message: str, line: int = 0, column: int = 0) -> NoReturn:
    problem = Problem(code=code, message=message, line=line, column=column)
    raise ValidationError(str(problem), [problem])


def _object(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    found: dict[str, JsonValue] = {}
    for key, value in pairs:
        if key in found:
            _fail("duplicate_key", f"the key {key!r} stands twice in one object")
        found[_text(key)] = _text(value) if isinstance(value, str) else value
    return found


def _text(text: str) -> str:
    text.encode()  # raises for a lone surrogate written as an escape
    return text


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text} is too large for a number")
    return value


_INT: Final = re.compile(r"[-+]?[0-9]+")
_PREFIXED: Final = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_CONSTANTS: Final[dict[str, JsonValue]] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_NOT_FINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


class _Composer:
    def __init__(self, text: str, settings: Settings) -> None:
        import yaml  # loaded only where YAML is read

        self._yaml = yaml
        self._text = text
        self._limit = settings.max_nesting
        self.places: Places = {}

    def document(self) -> tuple[JsonValue, Places]:
        yaml = self._yaml
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            self._events = iter(yaml.parse(self._text, Loader=loader))
            self._skip(yaml.StreamStartEvent)
            event = next(self._events)
            if isinstance(event, yaml.StreamEndEvent):
                return None, {}
            value = self._node(next(self._events), "", 0)
            self._skip(yaml.DocumentEndEvent)
            extra = next(self._events)
        except yaml.YAMLError as error:
            mark: Any = getattr(error, "problem_mark", None)
            message = getattr(error, "problem", None) or str(error)
            _fail("syntax", f"no YAML: {message}", mark.line + 1 if mark else 0, mark.column + 1 if mark else 0)
        if not isinstance(extra, yaml.StreamEndEvent):
            self._refuse(extra, "syntax", "more than one document")
        return value, self.places

    def _skip(self, kind: type) -> None:
        event = next(self._events)
        if not isinstance(event, kind):
            self._refuse(event, "syntax", "no YAML document")

    def _refuse(self, event: Any, code: str, message: str) -> NoReturn:  # noqa: ANN401 - PyYAML has no types for events
        mark = event.start_mark
        _fail(code, message, mark.line + 1, mark.column + 1)

    def _node(self, event: Any, path: str, depth: int) -> JsonValue:  # noqa: ANN401 - PyYAML has no types for events
        yaml = self._yaml
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            self._refuse(event, "yaml_feature", "anchors and aliases are not taken: write the value out")
        if event.tag is not None and event.tag != "!":
            self._refuse(event, "yaml_feature", f"the tag {event.tag} is not taken: only plain data is")
        if depth > self._limit:
            self._refuse(event, "too_deep", f"nested deeper than the limit of {self._limit}")
        self.places.setdefault(path, _place(event))
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path, depth)
        return self._mapping(path, depth)

    def _sequence(self, path: str, depth: int) -> list[JsonValue]:
        items: list[JsonValue] = []
        while not isinstance(event := next(self._events), self._yaml.SequenceEndEvent):
            items.append(self._node(event, f"{path}[{len(items)}]", depth + 1))
        return items

    def _mapping(self, path: str, depth: int) -> dict[str, JsonValue]:
        found: dict[str, JsonValue] = {}
        while not isinstance(event := next(self._events), self._yaml.MappingEndEvent):
            if not isinstance(event, self._yaml.ScalarEvent) or event.tag is not None or event.anchor is not None:
                self._refuse(event, "key", "a key must be plain text")
            key = event.value
            if key == "<<" and event.implicit[0]:
                self._refuse(event, "yaml_feature", "merge keys are not taken: write the keys out")
            if key in found:
                self._refuse(event, "duplicate_key", f"the key {key!r} stands twice in one object")
            below = f"{path}.{key}" if path else key
            self.places[below] = _place(event)
            found[key] = self._node(next(self._events), below, depth + 1)
        return found

    def _scalar(self, event: Any) -> JsonValue:  # noqa: ANN401 - PyYAML has no types for events
        text: str = event.value
        if not event.implicit[0]:
            return text
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if _INT.fullmatch(text) and (text.lstrip("+-") == "0" or not text.lstrip("+-").startswith("0")):
            return int(text) if len(text) < 4_000 else self._refuse(event, "number", "a number of too many digits")
        if _PREFIXED.fullmatch(text):
            return int(text, 0)
        if _NOT_FINITE.fullmatch(text):
            self._refuse(event, "number", f"{text} is no number that JSON has")
        if _FLOAT.fullmatch(text) and not _INT.fullmatch(text):
            return _float(text)
        return text


def _place(event: Any) -> tuple[int, int]:  # noqa: ANN401 - PyYAML has no types for events
    return event.start_mark.line + 1, event.start_mark.column + 1
