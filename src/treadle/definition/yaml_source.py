"""YAML text to plain data: YAML 1.2 core, and of it only what JSON can say.

libyaml scans and parses; composing and resolving are ours, over its events, since PyYAML's own build tags, follow
aliases and read YAML 1.1 (``on`` is true, ``012`` is ten). Refused: tags, anchors, aliases, merge keys, duplicate keys,
keys that are no text, a second document, and what is no JSON number.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final, TypeAlias

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
    from collections.abc import Callable
    from types import ModuleType

    from treadle.model import JsonValue
    from treadle.settings import Settings

_Event: TypeAlias = Any
"""What PyYAML gives: its events and errors have no types."""

_CORE: Final = re.compile(
    r"""(?:
      (?P<null> ~ | null | Null | NULL | )
    | (?P<true> true | True | TRUE )
    | (?P<false> false | False | FALSE )
    | (?P<int> [-+]? (?: 0 | [1-9][0-9]* ) )
    | (?P<octal> 0o[0-7]+ )
    | (?P<hex> 0x[0-9a-fA-F]+ )
    | (?P<float> [-+]? (?: \.[0-9]+ | [0-9]+\.[0-9]* | [0-9]+(?=[eE]) ) (?: [eE][-+]?[0-9]+ )? )
    | (?P<nonfinite> [-+]? \.(?: inf | Inf | INF ) | \.(?: nan | NaN | NAN ) )
    )\Z""",
    re.VERBOSE,
)
"""The core schema, YAML 1.2.2, section 10.3.2, save that whole numbers with leading zeros stay text.

``012`` is a code or a postcode: the core schema would drop its zero, and YAML 1.1 would read it as ten.
"""

_FIRST: Final = frozenset("~nNtTfF-+.0123456789")
"""First characters of what is no text; most scalars are text and are known by this look."""


def parse_yaml(text: str, settings: Settings) -> Parsed:
    """Return the one document of ``text``, with every fault up to the first that ends the reading."""
    reader = _Composer(settings)
    try:
        value, root = reader.compose(text)
    except TextReadError as error:
        return Parsed(None, None, [*reader.faults, error.fault], is_read=False)
    return Parsed(value, root, reader.faults)


class _Level:
    """A list or an object being composed."""

    __slots__ = ("is_kept", "key", "key_at", "place", "value")

    def __init__(self, value: list[JsonValue] | dict[str, JsonValue], place: Place) -> None:
        self.value = value
        self.place = place
        self.key: str | None = None
        self.key_at = 0
        self.is_kept = True


class _Composer:
    def __init__(self, settings: Settings) -> None:
        self.faults: list[Fault] = []
        self._max_nesting = settings.max_nesting
        self._levels: list[_Level] = []
        self._result: tuple[JsonValue, Place] | None = None

    def compose(self, text: str) -> tuple[JsonValue, Place]:
        import yaml

        try:
            self._read(yaml, text)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise _end(_message(error.problem or error.context), mark.index if mark else 0) from None
        except yaml.reader.ReaderError as error:
            raise _end(f"the character U+{_code_point(error):04X} is not allowed", error.position) from None
        except yaml.YAMLError as error:
            raise _end(str(error), 0) from None
        if self._result is None:
            raise _end("the document is empty", 0)
        return self._result

    def _read(self, yaml: ModuleType, text: str) -> None:
        loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
        act: dict[type, Callable[[_Event], None]] = {
            yaml.ScalarEvent: self._scalar,
            yaml.SequenceStartEvent: lambda event: self._open(event, []),
            yaml.MappingStartEvent: lambda event: self._open(event, {}),
            yaml.SequenceEndEvent: self._close,
            yaml.MappingEndEvent: self._close,
            yaml.AliasEvent: self._alias,
            yaml.DocumentStartEvent: self._document,
        }
        for event in yaml.parse(text, Loader=loader):
            step = act.get(type(event))
            if step is not None:
                step(event)

    def _document(self, event: _Event) -> None:
        if self._result is not None:
            fault = Fault(
                "yaml_feature", "a second document begins here", event.start_mark.index, "keep one document a file"
            )
            raise TextReadError(fault)

    def _fault(self, fault: Fault) -> None:
        self.faults.append(fault)
        if len(self.faults) >= MAX_SOURCE_PROBLEMS:
            raise _end("too many problems: the rest was not read", fault.at)

    def _refuse(self, event: _Event) -> None:
        at = event.start_mark.index
        if event.anchor is not None:
            self._fault(Fault("yaml_feature", f"the anchor &{event.anchor} is not allowed", at, _WRITE_OUT))
        if event.tag is not None:
            self._fault(Fault("yaml_feature", f"the tag {quoted(event.tag)} is not allowed", at, "leave it out"))

    def _alias(self, event: _Event) -> None:
        at = event.start_mark.index
        self._fault(Fault("yaml_feature", f"the alias *{event.anchor} is not allowed", at, _WRITE_OUT))
        self._add(None, Place(at, at))

    def _scalar(self, event: _Event) -> None:
        at = event.start_mark.index
        if event.anchor is not None or event.tag is not None:
            self._refuse(event)
        level = self._levels[-1] if self._levels else None
        if level is not None and level.key is None and type(level.value) is dict:
            self._key(level, event, at)
        else:
            text = event.value
            is_text = not event.implicit[0] or (text and text[0] not in _FIRST)
            self._add(text if is_text else self._resolve(text, at), Place(at, at))

    def _resolve(self, text: str, at: int) -> JsonValue:
        """Return what plain text means in the core schema."""
        match = _CORE.match(text)
        kind = match.lastgroup if match else None
        if kind in _CONSTANTS:
            return _CONSTANTS[kind]
        if kind is None:
            return text
        if len(text) <= MAX_NUMBER_CHARS and kind != "nonfinite":
            number = float(text) if kind == "float" else int(text, _BASES[kind])
            if isinstance(number, int) or math.isfinite(number):
                return number
        self._fault(number_fault(text, at))
        return None

    def _key(self, level: _Level, event: _Event, at: int) -> None:
        """Take a key; the value of one that cannot be used is read and dropped."""
        key = event.value
        is_plain = event.implicit[0]
        fault = None
        if is_plain and key == "<<":
            fault = Fault("yaml_feature", "the merge key << is not allowed", at, _WRITE_OUT)
        elif is_plain and (not key or key[0] in _FIRST) and _CORE.match(key):
            fault = Fault("bad_key", f"the key {key or 'that is empty'} is not text", at, "put it in quotes")
        elif key in level.value:
            fault = Fault("duplicate_key", f"the key {quoted(key)} is there twice", at, "keep one of the two")
        if fault:
            self._fault(fault)
        level.is_kept = fault is None
        level.key, level.key_at = key, at

    def _open(self, event: _Event, value: list[JsonValue] | dict[str, JsonValue]) -> None:
        self._refuse(event)
        at = event.start_mark.index
        level = self._levels[-1] if self._levels else None
        if level is not None and level.key is None and type(level.value) is dict:
            raise TextReadError(Fault("bad_key", "a list or an object as a key is not allowed", at))
        if len(self._levels) >= self._max_nesting:
            raise TextReadError(Fault("too_deep", f"nested deeper than the limit of {self._max_nesting}", at))
        self._levels.append(_Level(value, Place(at, at, {})))

    def _close(self, _: _Event) -> None:
        level = self._levels.pop()
        self._add(level.value, level.place)

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
        elif level.key is None:
            raise TextReadError(Fault("yaml_feature", "an alias as a key is not allowed", place.at))
        else:
            assert type(level.value) is dict
            place.key_at = level.key_at
            if level.is_kept:
                level.value[level.key] = value
                below[level.key] = place
            level.key = None


_WRITE_OUT: Final = "write the value out"
_CONSTANTS: Final[dict[str | None, JsonValue]] = {"null": None, "true": True, "false": False}
_BASES: Final = {"int": 10, "octal": 0, "hex": 0}


def _end(message: str, at: int) -> TextReadError:
    return TextReadError(Fault("syntax", message, at))


def _message(problem: str | None) -> str:
    return f"not YAML: {problem or 'cannot be read'}"


def _code_point(error: _Event) -> int:
    character = error.character
    return character if isinstance(character, int) else ord(character[:1] or "\0")
