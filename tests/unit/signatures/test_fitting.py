"""Whether a constant can be what an annotation says; where that is not certain, it can."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Literal, NewType, NotRequired, TypedDict

import pytest

from treadle.signatures import check_of

if TYPE_CHECKING:
    from nowhere import Imagined  # type: ignore[import-not-found]  # as names for type checkers often are

CustomerId = NewType("CustomerId", str)


class Colour(Enum):
    RED = "red"


@dataclass
class Point:
    x: int


class Row(TypedDict):
    name: str
    amount: NotRequired[float | None]


class Tree(TypedDict):
    name: str
    below: list[Tree]


class Unread(TypedDict):
    name: Imagined


def misfit(value: object, kind: object) -> tuple[str | int, ...] | None:
    check = check_of(kind)
    return None if check is None else check(value)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("a", str),
        ("", str),
        (1, int),
        (3.0, int),
        (True, int),
        (1, float),
        (1.5, float),
        (False, bool),
        (None, None),
        (None, type(None)),
        (None, str | None),
        ("a", int | str),
        ([1, 2], list[int]),
        ([], list[int]),
        ([object()], list),
        ([1], list[Any]),
        ("abc", Sequence[str]),
        ([1], Sequence[int]),
        ({"a": 1}, dict[str, int]),
        ({"a": [1]}, Mapping[str, list[int]]),
        ({"a": 1}, dict),
        ("a", Literal["a", "b"]),
        ("red", Literal[Colour.RED]),
        ("a", CustomerId),
        (1, Annotated[int, "of something"]),
        ({"name": "a"}, Row),
        ({"name": "a", "amount": None, "more": 1}, Row),
        # What is not spoken of in JSON's words may be anything.
        ("x", Any),
        ("x", object),
        ("red", Colour),
        ("2026-01-31", dt.date),
        ({"x": "y"}, Point),
        ("2026-01-31", int | dt.date),
        ("x", Iterable[int]),
        ([1, "x"], tuple[int, int]),
        ("x", "unread"),
        ([{"name": 1}], list[Unread]),
        # References are known when the step runs.
        ("${a.b}", int),
        ("${ a + 1 }", list[int]),
        (["${a}", 1], list[int]),
        ({"name": "${a}"}, Row),
        ("${a}${b}", int),
    ],
)
def test_it_may_be(value: object, kind: object) -> None:
    assert misfit(value, kind) is None


@pytest.mark.parametrize(
    ("value", "kind", "place"),
    [
        (1, str, ()),
        ("1", int, ()),
        (1.5, int, ()),
        ("1", float, ()),
        (None, float, ()),
        (1, bool, ()),
        ("", type(None), ()),
        (None, str, ()),
        (1.5, str | None, ()),
        ([1], int | str, ()),
        ("abc", list[str], ()),
        ({}, list, ()),
        ([1, "2"], list[int], (1,)),
        ([[1], ["2"]], list[list[int]], (1, 0)),
        (1, Sequence[str], ()),
        ([1], Sequence[str], (0,)),
        ([], dict[str, int], ()),
        ({"a": 1, "b": "2"}, dict[str, int], ("b",)),
        ({"a": {"b": None}}, Mapping[str, Mapping[str, int]], ("a", "b")),
        ("c", Literal["a", "b"], ()),
        (1, CustomerId, ()),
        ("1", Annotated[int, "of something"], ()),
        ("a", Row, ()),
        ({}, Row, ()),
        ({"name": 1}, Row, ("name",)),
        ({"name": "a", "amount": "1"}, Row, ("amount",)),
        ([1, "x"], list[int] | None, (1,)),
        ({"name": "a", "below": [{"name": "b", "below": []}, {"name": "c"}]}, Tree, ("below", 1)),
        ("order ${a}", int, ()),
        ("$${a}", int, ()),
        (["${a}", "1"], list[int], (1,)),
    ],
)
def test_it_cannot_be_and_the_place_is_told(value: object, kind: object, place: tuple[str | int, ...]) -> None:
    assert misfit(value, kind) == place
