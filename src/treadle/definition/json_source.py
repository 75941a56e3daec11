"""JSON text to plain data, to the letter of RFC 8259, and without what readers disagree on.

Refused: ``NaN`` and ``Infinity``, numbers beyond a double, duplicate keys, lone surrogates, and anything behind the
value. Text without a fault takes the fast way, the standard library's C scanner; only when that meets something, or a
problem needs a line and column, is the text read again by the reader here, which knows where everything stands.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Final

from treadle.definition.places import (
    MAX_NUMBER_CHARS,
    MAX_SOURCE_PROBLEMS,
    Fault,
    Parsed,
    Place,
    TextReadError,
    number_fault,
)
from treadle.definition.problems import quoted

if TYPE_CHECKING:
    from treadle.model import JsonValue
    from treadle.settings import Settings

_TOKEN: Final = re.compile(
    r"""[ \t\n\r]*+ (?:
      (?P<mark> [{}\[\]:,] )
    | (?P<text> "[^"\\\x00-\x1f]*+ (?: \\["\\/bfnrtu] [^"\\\x00-\x1f]*+ )*+ " )
    | (?P<number> -?+ (?: 0 | [1-9][0-9]*+ ) (?P<real> (?: \.[0-9]++ )?+ (?: [eE][-+]?+[0-9]++ )?+ ) (?![0-9.eE+-]) )
    | (?P<word> true | false | null )\b
    | (?P<nonfinite> -?+ (?: NaN | Infinity ) )\b
    )""",
    re.VERBOSE,
)
_SPACE: Final = re.compile(r"[ \t\n\r]*+")
_BRACKET_OR_TEXT: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]|[\]}]', re.DOTALL)
_SURROGATE_ESCAPE: Final = re.compile(r"\\u[dD][89a-fA-F]")
_WORDS: Final[dict[str, JsonValue]] = {"true": True, "false": False, "null": None}


def parse_json(text: str, settings: Settings) -> Parsed:
    """Return the value of ``text``, with every fault up to the first that ends the reading. Places come on demand."""
    if not nests_deeper(text, settings.max_nesting) and not _SURROGATE_ESCAPE.search(text):
        try:
            return Parsed(_fast(text), None, [])
        except (ValueError, RecursionError):
            pass  # the reader below says where and why, or finds that all is well
    return parse_json_with_places(text, settings)


def parse_json_with_places(text: str, settings: Settings) -> Parsed:
    """Return the value of ``text`` and where each part stands."""
    reader = _Reader(text, settings.max_nesting)
    try:
        value, root = reader.read()
    except TextReadError as error:
        return Parsed(None, None, [*reader.faults, error.fault], is_read=False)
    return Parsed(value, root, reader.faults)


def nests_deeper(text: str, limit: int) -> bool:
    """Tell whether lists and objects nest deeper than ``limit``, before anything is built."""
    if text.count("[") + text.count("{") <= limit:
        return False
    depth = 0
    for match in _BRACKET_OR_TEXT.finditer(text):
        first = text[match.start()]
        if first in "[{":
            depth += 1
            if depth > limit:
                return True
        elif first != '"':
            depth -= 1
    return False


def _fast(text: str) -> JsonValue:
    return json.loads(
        text, object_pairs_hook=_object, parse_constant=_refuse, parse_float=_finite, parse_int=_bounded_integer
    )


def _object(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("duplicate key")
    return made


def _refuse(name: str) -> JsonValue:
    raise ValueError(name)


def _finite(text: str) -> float:
    number = float(text)
    if len(text) > MAX_NUMBER_CHARS or not math.isfinite(number):
        raise ValueError(text)
    return number


def _bounded_integer(text: str) -> int:
    if len(text) > MAX_NUMBER_CHARS:
        raise ValueError(text)
    return int(text)


class _Level:
    """A list or an object being read, and the key whose value comes next."""

    __slots__ = ("is_kept", "key", "key_at", "place", "value")

    def __init__(self, value: list[JsonValue] | dict[str, JsonValue], at: int) -> None:
        self.value = value
        self.place = Place(at, at, {})
        self.key = ""
        self.key_at = at
        self.is_kept = True


class _Reader:
    """Reads with a stack of its own, token by token."""

    def __init__(self, text: str, max_nesting: int) -> None:
        self.faults: list[Fault] = []
        self._text = text
        self._max_nesting = max_nesting
        self._next = 0
        self._at = 0
        self._word = ""
        self._kind = ""
        self._is_real = False
        self._levels: list[_Level] = []
        self._result: tuple[JsonValue, Place] | None = None

    def read(self) -> tuple[JsonValue, Place]:
        self._take("a value")
        self._value()
        while self._levels:
            self._continue(self._levels[-1])
        end = _SPACE.match(self._text, self._next)
        if end is not None and end.end() < len(self._text):
            raise _end("there is more text behind the JSON value", end.end())
        assert self._result is not None
        return self._result

    def _continue(self, level: _Level) -> None:
        """Read on in ``level``: its end, or one more element."""
        is_object = type(level.value) is dict
        close = "}" if is_object else "]"
        element = "a key in double quotes" if is_object else "a value"
        wanted = f"',' or '{close}'" if level.place.below else f"{element} or '{close}'"
        self._take(wanted)
        if self._word == close:
            self._levels.pop()
            self._add(level.value, level.place)
            return
        if level.place.below:
            if self._word != ",":
                raise self._unexpected(wanted)
            self._take(element)
        if is_object:
            self._key(level)
        self._value()

    def _key(self, level: _Level) -> None:
        if self._kind != "text":
            raise self._unexpected("a key in double quotes")
        level.key = self._string()
        level.key_at = self._at
        level.is_kept = level.key not in level.value
        if not level.is_kept:
            message = f"the key {quoted(level.key)} is there twice"
            self._fault(Fault("duplicate_key", message, self._at, "keep one of the two"))
        self._take("':'")
        if self._word != ":":
            raise self._unexpected("':'")
        self._take("a value")

    def _value(self) -> None:
        at = self._at
        match self._kind:
            case "text":
                self._add(self._string(), Place(at, at))
            case "number":
                self._add(self._number(), Place(at, at))
            case "word":
                self._add(_WORDS[self._word], Place(at, at))
            case "nonfinite":
                self._fault(number_fault(self._word, at))
                self._add(None, Place(at, at))
            case _ if self._word in ("{", "["):
                if len(self._levels) >= self._max_nesting:
                    raise TextReadError(Fault("too_deep", f"nested deeper than the limit of {self._max_nesting}", at))
                self._levels.append(_Level({} if self._word == "{" else [], at))
            case _:
                raise self._unexpected("a value")

    def _add(self, value: JsonValue, place: Place) -> None:
        if not self._levels:
            self._result = value, place
            return
        level = self._levels[-1]
        below = level.place.below
        assert below is not None
        if type(level.value) is list:
            below[len(level.value)] = place
            level.value.append(value)
        elif level.is_kept and type(level.value) is dict:
            place.key_at = level.key_at
            level.value[level.key] = value
            below[level.key] = place

    def _take(self, wanted: str) -> None:
        """Go to the next token."""
        match = _TOKEN.match(self._text, self._next)
        if match is None:
            raise self._unreadable(wanted)
        kind = "number" if match.lastgroup == "real" else match.lastgroup
        assert kind is not None
        self._kind = kind
        self._word = match[kind]
        self._is_real = kind == "number" and bool(match["real"])
        self._at = match.start(kind)
        self._next = match.end()

    def _string(self) -> str:
        if "\\" not in self._word:
            text = self._word[1:-1]
        else:
            try:
                text = json.loads(self._word)
            except ValueError:
                raise _end("an escape in this text cannot be read; \\u needs four hex digits", self._at) from None
        if not _is_encodable(text):
            message = "a lone surrogate: half of a character cannot be stored"
            self._fault(Fault("bad_text", message, self._at))
            return text.encode(errors="replace").decode()
        return text

    def _number(self) -> JsonValue:
        number = math.inf
        if len(self._word) <= MAX_NUMBER_CHARS:
            number = float(self._word) if self._is_real else int(self._word)
        if isinstance(number, float) and not math.isfinite(number):
            self._fault(number_fault(self._word, self._at))
            return None
        return number

    def _fault(self, fault: Fault) -> None:
        self.faults.append(fault)
        if len(self.faults) >= MAX_SOURCE_PROBLEMS:
            raise _end("too many problems: the rest was not read", fault.at)

    def _unexpected(self, wanted: str) -> TextReadError:
        return _end(f"not JSON: expected {wanted}, found {quoted(self._word)}", self._at)

    def _unreadable(self, wanted: str) -> TextReadError:
        """Say why no token begins here."""
        match = _SPACE.match(self._text, self._next)
        at = match.end() if match else self._next
        if at >= len(self._text):
            return _end(f"not JSON: expected {wanted}, found the end of the text", at)
        if self._text[at] == '"':
            return _end("not JSON: this text does not end, or holds a control character or an unknown escape", at)
        if self._text[at] == "'":
            return _end("not JSON: text stands in double quotes", at)
        found = re.match(r"[^\s,:{}\[\]\"]+", self._text[at : at + 200])
        return _end(f"not JSON: expected {wanted}, found {quoted(found[0] if found else self._text[at])}", at)


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _end(message: str, at: int) -> TextReadError:
    return TextReadError(Fault("syntax", message, at))
