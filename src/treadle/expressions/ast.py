"""The closed set of things an expression can be. A test pins this list: nothing else is ever evaluated."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from treadle.model import JsonValue


class Literal(Struct, frozen=True, gc=False):
    """A constant scalar."""

    value: JsonValue
    at: int


class Name(Struct, frozen=True, gc=False):
    """A root name or a variable of a macro."""

    name: str
    at: int


class Member(Struct, frozen=True, gc=False):
    """``target.key``."""

    target: Node
    key: str
    at: int


class Index(Struct, frozen=True, gc=False):
    """``target[key]``."""

    target: Node
    key: Node
    at: int


class Unary(Struct, frozen=True, gc=False):
    """``!x`` and ``-x``."""

    operator: str
    operand: Node
    at: int


class Binary(Struct, frozen=True, gc=False):
    """Every operator of two operands, ``&&``, ``||`` and ``in`` included."""

    operator: str
    left: Node
    right: Node
    at: int


class Choice(Struct, frozen=True, gc=False):
    """``condition ? yes : no``."""

    condition: Node
    yes: Node
    no: Node
    at: int


class Call(Struct, frozen=True, gc=False):
    """``f(a, b)``, or ``target.f(a)`` with the target as first argument and ``is_method``."""

    function: str
    arguments: tuple[Node, ...]
    is_method: bool
    at: int


class Items(Struct, frozen=True, gc=False):
    """``[a, b]``."""

    items: tuple[Node, ...]
    at: int


class Entries(Struct, frozen=True, gc=False):
    """``{"a": b}``."""

    entries: tuple[tuple[Node, Node], ...]
    at: int


Node: TypeAlias = Literal | Name | Member | Index | Unary | Binary | Choice | Call | Items | Entries
