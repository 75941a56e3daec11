"""How an expression reaches values: names are looked up when they are read; only an absent name is missing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, Protocol

from treadle.errors import ExpressionError

if TYPE_CHECKING:
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
        super().__init__(f"{path} is missing")
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
        return f".{key}" if key.isidentifier() else f'["{key}"]'
    return f"[{key}]"
