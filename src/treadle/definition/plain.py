"""Data from Python to plain data of our own: JSON types only, checked, and copied so that later changes stay outside.

A tuple is taken for a list and any mapping for an object. The fast way encodes and decodes in C and compares; only
where the two differ does a walk in Python find every place to name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from treadle.definition.problems import Findings, quoted

if TYPE_CHECKING:
    from treadle.definition.problems import Path
    from treadle.model import JsonValue
    from treadle.settings import Settings


def copy_plain(value: object, settings: Settings, findings: Findings) -> JsonValue:
    """Return a copy of ``value`` as plain data; what is none is noted and replaced by null."""
    try:
        data = msgspec.json.encode(value)
        copied = msgspec.json.decode(data)
        is_same = copied == value
    except Exception:  # noqa: BLE001 - whatever a foreign object raises, the walk below names the place
        is_same = False
    if not is_same:
        return _Walk(settings, findings).copy(value, (), 0)
    if len(data) > settings.max_document_bytes:
        findings.error("too_large", (), f"more than {settings.max_document_bytes:,} bytes as JSON")
        return None
    return _Walk(settings, findings).copy(copied, (), 0) if _nests_deeper(copied, settings.max_nesting) else copied


def _nests_deeper(value: JsonValue, limit: int) -> bool:
    """Tell whether lists and objects nest deeper than ``limit``, one level after the other."""
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(limit):
        parts = (one.values() if isinstance(one, dict) else one for one in level)
        level = [below for part in parts for below in part if isinstance(below, (dict, list))]
    return bool(level)


class _Walk:
    """A copy by hand, for data that is not plain, or that may be too deep."""

    def __init__(self, settings: Settings, findings: Findings) -> None:
        self._limit = settings.max_nesting
        self._findings = findings

    def copy(self, value: object, path: Path, depth: int) -> JsonValue:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._text(str(value), path)
        if isinstance(value, (int, float)):
            return self._number(value, path)
        if not isinstance(value, (list, tuple, Mapping)):
            self._findings.error("not_plain", path, f"a {type(value).__name__} is no JSON value")
            return None
        if depth >= self._limit:
            self._findings.error("too_deep", path, f"nested deeper than the limit of {self._limit}")
            return None
        if isinstance(value, Mapping):
            return self._object(value, path, depth)
        return [self.copy(one, (*path, index), depth + 1) for index, one in enumerate(value)]

    def _object(self, value: Mapping[object, object], path: Path, depth: int) -> dict[str, JsonValue]:
        copied = {}
        for key, one in value.items():
            if isinstance(key, str):
                name = self._text(str(key), path)
                copied[name] = self.copy(one, (*path, name), depth + 1)
            else:
                message = f"the key {quoted(str(key)[:100])} is a {type(key).__name__}, not text"
                self._findings.error("bad_key", path, message)
        return copied

    def _text(self, text: str, path: Path) -> str:
        try:
            text.encode()
        except UnicodeEncodeError:
            self._findings.error("bad_text", path, "a lone surrogate: half of a character cannot be stored")
            return text.encode(errors="replace").decode()
        return text

    def _number(self, number: float, path: Path) -> JsonValue:
        if isinstance(number, float) and math.isfinite(number):
            return float(number)
        if isinstance(number, int) and number.bit_length() <= _MAX_INTEGER_BITS:
            return int(number)
        self._findings.error("bad_number", path, "not a number that JSON can hold")
        return None


_MAX_INTEGER_BITS = 3_321
"""As many as a thousand digits have, the limit for numbers in text."""
