"""One object of a document, read field by field: known keys only, right types, every problem noted with its path."""

from __future__ import annotations

import difflib
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

from treadle.definition.durations import parse_duration
from treadle.model import Problem, Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from treadle.definition.text import Places
    from treadle.model import JsonValue

_E = TypeVar("_E", bound=Enum)


class Problems:
    """Everything wrong with one document, in the order in which it was found."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self.found: list[Problem] = []

    def add(self, code: str, path: str, message: str, hint: str = "", severity: Severity = Severity.ERROR) -> None:
        """Note one problem; line and column are those of ``path`` or of the nearest part around it."""
        line, column = self._place(path)
        self.found.append(Problem(code, message, path, severity, line, column, hint))

    def warn(self, code: str, path: str, message: str, hint: str = "") -> None:
        """Note what may be meant."""
        self.add(code, path, message, hint, Severity.WARNING)

    def _place(self, path: str) -> tuple[int, int]:
        while path and path not in self._places:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self._places.get(path, (0, 0))


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint that names what was probably meant, or ``""``."""
    close = difflib.get_close_matches(name, list(known), 1)
    return f"did you mean {close[0]!r}?" if close else ""


class Fields:
    """The fields of one object.

    Args:
        value: What stands in the document; a problem is noted if it is no object.
        path: Where.
        problems: Takes what is wrong.
    """

    def __init__(self, value: JsonValue, path: str, problems: Problems) -> None:
        self.path = path
        self.problems = problems
        self._read: set[str] = set()
        self.value: dict[str, Any] = value if isinstance(value, dict) else {}
        if not isinstance(value, dict):
            problems.add("type", path, f"must be an object, not {type(value).__name__}")

    def at(self, key: str) -> str:
        """Return the path of a key."""
        return f"{self.path}.{key}" if self.path else key

    def take(self, key: str, default: JsonValue = None) -> JsonValue:
        """Return the value of a key, which is known from now on."""
        self._read.add(key)
        return self.value.get(key, default)

    def typed(self, key: str, kinds: type | tuple[type, ...], what: str, default: Any) -> Any:  # noqa: ANN401 - JSON of many types
        """Return a value of one of ``kinds``; absent and null give the default."""
        value = self.take(key)
        if value is None:
            return default
        if not isinstance(value, kinds) or (
            isinstance(value, bool) and kinds is not bool and bool not in _tuple(kinds)
        ):
            self.problems.add("type", self.at(key), f"must be {what}")
            return default
        return value

    def text(self, key: str, default: str = "") -> str:
        """Return text."""
        return str(self.typed(key, str, "text", default))

    def count(self, key: str, default: int | None, least: int) -> int | None:
        """Return a whole number of at least ``least``."""
        value = self.typed(key, int, f"a whole number of {least} or more", default)
        if value is not None and value != default and value < least:
            self.problems.add("range", self.at(key), f"must be {least} or more")
            return default
        return value  # type: ignore[no-any-return]  # checked above

    def choice(self, key: str, kind: type[_E], default: _E) -> _E:
        """Return a member of an enum."""
        value = self.take(key)
        if value is None:
            return default
        known = [one.value for one in kind]
        if value not in known:
            hint = nearest(value, known) if isinstance(value, str) else ""
            self.problems.add("choice", self.at(key), f"must be one of {', '.join(known)}, not {value!r}", hint)
            return default
        return kind(value)

    def duration(self, key: str, default: int | None) -> int | None:
        """Return milliseconds."""
        value = self.take(key)
        if value is None:
            return default
        try:
            return parse_duration(value)
        except ValueError as error:
            self.problems.add("duration", self.at(key), str(error))
            return default

    def rest(self, keep: Callable[[str], bool]) -> dict[str, JsonValue]:
        """Return the fields that ``keep`` tells are annotations; every other one not taken so far is unknown."""
        kept = {}
        for key, value in self.value.items():
            if key in self._read:
                continue
            if keep(key):
                kept[key] = value
            else:
                hint = nearest(key, self._read)
                self.problems.add("unknown_key", self.at(key), f"unknown key {key!r}", hint)
        return kept


def _tuple(kinds: type | tuple[type, ...]) -> tuple[type, ...]:
    return kinds if isinstance(kinds, tuple) else (kinds,)
