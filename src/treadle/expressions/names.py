"""How an expression reaches values: names are looked up when they are read; only an absent name is missing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, Protocol

from treadle.errors import ExpressionError

if TYPE_CHECKING:
    from treadle.expressions.budget import Meter
    from treadle.model import JsonValue


class Missing:
    """The one value of this class, ``MISSING``, says that there is no such name. It never leaves a lookup."""


MISSING: Final = Missing()


class Record(ABC):
    """An object that is read key by key instead of being built."""

    @abstractmethod
    def get(self, key: str) -> JsonValue | Record | Missing:
        """Return the value of ``key``, or ``MISSING``."""

    @abstractmethod
    def plain(self) -> JsonValue:
        """Return the whole as plain JSON values."""


_JSON: Final = frozenset({dict, list, str, int, float, bool, type(None)})
_WORK_OF_AN_ENTRY: Final = 16


def built(value: JsonValue | Record, meter: Meter) -> JsonValue:
    """Return a value as JSON: a record is built, which is counted."""
    if type(value) in _JSON or not isinstance(value, Record):
        return value
    whole = value.plain()
    meter.spend(_WORK_OF_AN_ENTRY * len(whole))
    return whole


class Scope(Protocol):
    """The root names of an expression."""

    def lookup(self, name: str) -> JsonValue | Record | Missing:
        """Return what ``name`` means, or ``MISSING``."""


class MissingNameError(ExpressionError):
    """An expression read a name that is not there.

    Attributes:
        path: The whole path, such as ``input.customer.email``.
        root: Its first part.
    """

    def __init__(self, path: str, root: str) -> None:
        super().__init__(f"{path} is missing; has() asks for it, default() puts a value in its place")
        self.args = (path, root)
        self.path = path
        self.root = root


def child(value: JsonValue | Record | Missing, key: JsonValue) -> JsonValue | Record | Missing:
    """Return ``value[key]``, or ``MISSING``; a field of a scalar is missing."""
    if type(value) is dict:
        return value.get(key, MISSING) if type(key) is str else MISSING
    if type(value) is list:
        return value[key] if type(key) is int and 0 <= key < len(value) else MISSING
    if isinstance(value, Record):
        return value.get(key) if type(key) is str else MISSING
    return MISSING


def path_text(root: str, keys: tuple[JsonValue, ...]) -> str:
    """Return a path as people write it: ``root.key[0]["odd key"]``."""
    return root + "".join(_part(key) for key in keys)


def _part(key: JsonValue) -> str:
    if isinstance(key, str):
        key = key if len(key) <= 80 else f"{key[:80]}..."  # a computed key can be of any size
        return f".{key}" if key.isidentifier() else f'["{key}"]'
    return f"[{key}]"
