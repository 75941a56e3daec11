"""Whether a constant of a definition can be what an annotation says. Where that is not certain, it can.

A function is called with JSON values. So only annotations that speak of these are held against a constant: a class, an
enum or a date may be whatever the application makes of it. ``${...}`` is known when the step runs, and fits everything.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, MutableMapping, Sequence
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Annotated, Final, Literal, NewType, NotRequired, Required, TypeAlias, Union

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Place: TypeAlias = "tuple[str | int, ...]"
"""Keys and indices from the value down."""

Check: TypeAlias = "Callable[[object], Place | None]"
"""Returns the place within a constant that cannot be what an annotation says; None if there is none."""

_SCALARS: Final[tuple[tuple[object, tuple[type, ...]], ...]] = (
    (str, (str,)),
    (bool, (bool,)),
    # What type checkers let pass as well: a bool is an int, and an int will do for a float.
    (int, (int,)),
    (float, (int, float)),
    (type(None), (type(None),)),
)
_MAPPINGS: Final = (dict, Mapping, MutableMapping)
_AROUND: Final = (Annotated, Required, NotRequired)
"""What says more about the type that it holds."""


def is_reference(value: object) -> bool:
    """Tell whether a value is text of one ``${...}``, or looks like it."""
    return isinstance(value, str) and value.startswith("${") and value.endswith("}")


def check_of(kind: object) -> Check | None:
    """Return what holds constants against an annotation; None where they can be anything.

    Args:
        kind: A type, evaluated.
    """
    if isinstance(kind, NewType):
        return check_of(kind.__supertype__)
    if type(kind).__name__ == "TypeAliasType":  # ``type Amount = float``, from Python 3.12 on
        return check_of(getattr(kind, "__value__", None))
    origin, inside = typing.get_origin(kind) or kind, typing.get_args(kind)
    if any(origin is one for one in _AROUND):
        return check_of(inside[0])
    if origin is Union or origin is types.UnionType:
        return _of_union([check_of(one) for one in inside])
    if origin is Literal:
        return _of_literal(inside)
    if typing.is_typeddict(origin):
        return _of_typed_dict(origin)
    if any(origin is one for one in _MAPPINGS):
        return _of_mapping(check_of(inside[1]) if inside else None)
    if origin is list or origin is Sequence:
        return _of_list(check_of(inside[0]) if inside else None, is_text_taken=origin is Sequence)
    return _of_scalar(origin)


def _of_scalar(kind: object) -> Check | None:
    allowed = next((allowed for one, allowed in _SCALARS if kind is one), None)
    if allowed is None:
        return None

    def check(value: object) -> Place | None:
        if isinstance(value, allowed) or is_reference(value):
            return None
        is_whole = kind is int and isinstance(value, float) and value.is_integer()  # JSON writes 3 as 3.0, too
        return None if is_whole else ()

    return check


def _of_literal(values: tuple[object, ...]) -> Check | None:
    if any(isinstance(one, Enum) for one in values):
        return None
    return lambda value: None if value in values or is_reference(value) else ()


def _of_union(checks: list[Check | None]) -> Check | None:
    known = [one for one in checks if one is not None]
    if len(known) < len(checks):
        return None

    def check(value: object) -> Place | None:
        nearest: Place = ()
        for one in known:
            place = one(value)
            if place is None:
                return None
            nearest = max(nearest, place, key=len)
        return nearest

    return check


def _of_list(inside: Check | None, *, is_text_taken: bool) -> Check:
    def check(value: object) -> Place | None:
        if not isinstance(value, list):
            return None if is_reference(value) or (is_text_taken and isinstance(value, str)) else ()
        return _first(enumerate(value), inside)

    return check


def _of_mapping(inside: Check | None) -> Check:
    def check(value: object) -> Place | None:
        if not isinstance(value, dict):
            return None if is_reference(value) else ()
        return _first(value.items(), inside)

    return check


def _first(parts: Iterable[tuple[str | int, object]], inside: Check | None) -> Place | None:
    if inside is not None:
        for key, one in parts:
            below = inside(one)
            if below is not None:
                return (key, *below)
    return None


def _of_typed_dict(kind: object) -> Check:
    # Read when a value is there: a field may be of the class itself.
    @cache
    def fields() -> tuple[dict[str, Check | None], list[str]]:
        try:
            hints = typing.get_type_hints(kind, include_extras=True)
        except Exception:  # noqa: BLE001 - annotations are code of the application; these name what is not there
            return {}, []
        required: frozenset[str] = getattr(kind, "__required_keys__", frozenset())
        # A class under postponed annotations counts its ``NotRequired`` fields among these.
        needed = [key for key in hints if key in required and typing.get_origin(hints[key]) is not NotRequired]
        return {key: check_of(one) for key, one in hints.items()}, needed

    def check(value: object) -> Place | None:
        if not isinstance(value, dict):
            return None if is_reference(value) else ()
        checks, needed = fields()
        if any(key not in value for key in needed):
            return ()
        places = (_first([(key, value[key])], one) for key, one in checks.items() if key in value)
        return next((one for one in places if one is not None), None)

    return check
