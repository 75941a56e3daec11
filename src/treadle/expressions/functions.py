"""The functions of the language: a closed table. None reads a clock or a random source, none matches patterns."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from treadle.errors import ExpressionError
from treadle.expressions.budget import DEFAULT
from treadle.expressions.names import Record
from treadle.expressions.operators import bounded, equal, floor_divide, is_number, kind, remainder
from treadle.model import JsonValue
from treadle.values import encode_payload


class Function(Struct, frozen=True):
    """A function: its arity (the target of a method included) and how it may be written."""

    compute: Callable[..., JsonValue]
    least: int
    most: int
    is_method: bool


def text_of(value: JsonValue) -> str:
    """Return a value as it stands in a larger text: text as is, everything else as JSON."""
    if isinstance(value, Record):
        value = value.plain()
    return value if type(value) is str else bytes(encode_payload(value)).decode()


def is_truthy(value: JsonValue) -> bool:
    """Return the truth of a value in the older spelling: text that is a number counts as that number."""
    if type(value) is str:
        try:
            return float(value) != 0
        except ValueError:
            return bool(value)
    return True if isinstance(value, Record) else bool(value)


def _size(value: JsonValue) -> int:
    if type(value) not in (str, list, dict):
        raise ExpressionError(f"size() needs text, a list or an object, not {kind(value)}")
    return len(value)


def _int(value: JsonValue) -> int:
    if is_number(value):
        return int(bounded(value))
    try:
        if type(value) is str and len(value) <= DEFAULT.integer_bits // 4:
            return int(bounded(int(value)))
    except ValueError:
        pass
    raise ExpressionError(f"int() cannot read {kind(value)}" + (f" {value[:40]!r}" if type(value) is str else ""))


def _double(value: JsonValue) -> float:
    try:
        if is_number(value) or type(value) is str:
            return float(bounded(float(value)))
    except (ValueError, OverflowError):
        pass
    raise ExpressionError(f"double() cannot read {kind(value)}" + (f" {value[:40]!r}" if type(value) is str else ""))


def _texts(name: str, *values: JsonValue) -> None:
    for value in values:
        if type(value) is not str:
            raise ExpressionError(f"{name}() needs text, not {kind(value)}")


def _on_text(name: str, compute: Callable[..., JsonValue]) -> Callable[..., JsonValue]:
    def call(*values: JsonValue) -> JsonValue:
        _texts(name, *values)
        return compute(*values)

    return call


def _ascii(change: Callable[[str], str]) -> Callable[[str], str]:
    """Return ``change`` for ASCII letters alone."""
    return lambda text: "".join(change(one) if one.isascii() else one for one in text)


def _replace(text: JsonValue, old: JsonValue, new: JsonValue) -> str:
    _texts("replace", text, old, new)
    if len(text) + text.count(old) * len(new) > DEFAULT.result_items:
        raise ExpressionError(f"a result of more than {DEFAULT.result_items:,} characters")
    return str(text.replace(old, new))


def _split(text: JsonValue, by: JsonValue) -> list[str]:
    _texts("split", text, by)
    return list(text) if not by else text.split(by)


def _join(parts: JsonValue, by: JsonValue = "") -> str:
    _list("join", parts)
    _texts("join", by, *parts)
    if sum(map(len, parts)) + len(by) * len(parts) > DEFAULT.result_items:
        raise ExpressionError(f"a result of more than {DEFAULT.result_items:,} characters")
    return str(by.join(parts))


def _substring(text: JsonValue, start: JsonValue, end: JsonValue = None) -> str:
    _texts("substring", text)
    stop = len(text) if end is None else end
    if type(start) is not int or type(stop) is not int or not 0 <= start <= stop <= len(text):
        raise ExpressionError(f"substring() needs 0 <= start <= end <= {len(text)}")
    return str(text[start:stop])


def _list(name: str, value: JsonValue) -> None:
    if type(value) is not list:
        raise ExpressionError(f"{name}() needs a list, not {kind(value)}")


def _numbers_of(name: str, values: tuple[JsonValue, ...]) -> list[JsonValue]:
    found = values[0] if len(values) == 1 and type(values[0]) is list else list(values)
    if not all(map(is_number, found)):
        raise ExpressionError(f"{name}() needs numbers")
    return list(found)


def _of_numbers(name: str, compute: Callable[..., JsonValue], *, empty: JsonValue = None) -> Callable[..., JsonValue]:
    def call(*values: JsonValue) -> JsonValue:
        found = _numbers_of(name, values)
        if not found and empty is None:
            raise ExpressionError(f"{name}() of nothing")
        return bounded(compute(found)) if found else empty

    return call


def _on_number(name: str, compute: Callable[[JsonValue], JsonValue]) -> Callable[..., JsonValue]:
    def call(value: JsonValue) -> JsonValue:
        if not is_number(value):
            raise ExpressionError(f"{name}() needs a number, not {kind(value)}")
        return compute(value)

    return call


def _distinct(items: JsonValue) -> list[JsonValue]:
    _list("distinct", items)
    if len(items) > 1_000:
        raise ExpressionError("distinct() of more than 1,000 elements")
    found: list[JsonValue] = []
    for item in items:
        if not any(equal(item, one) for one in found):
            found.append(item)
    return found


def _sort(items: JsonValue) -> list[JsonValue]:
    _list("sort", items)
    if not (all(map(is_number, items)) or all(type(one) is str for one in items)):
        raise ExpressionError("sort() needs a list of numbers, or one of text")
    return sorted(items)


FUNCTIONS: Final[dict[str, Function]] = {
    "size": Function(_size, 1, 1, True),
    "int": Function(_int, 1, 1, False),
    "double": Function(_double, 1, 1, False),
    "string": Function(text_of, 1, 1, False),
    "truthy": Function(is_truthy, 1, 1, False),
    "div": Function(floor_divide, 2, 2, False),
    "mod": Function(remainder, 2, 2, False),
    "abs": Function(_on_number("abs", abs), 1, 1, False),
    "floor": Function(_on_number("floor", math.floor), 1, 1, False),
    "ceil": Function(_on_number("ceil", math.ceil), 1, 1, False),
    "round": Function(_on_number("round", round), 1, 1, False),
    "min": Function(_of_numbers("min", min), 1, 32, False),
    "max": Function(_of_numbers("max", max), 1, 32, False),
    "sum": Function(_of_numbers("sum", sum, empty=0), 1, 32, False),
    "contains": Function(_on_text("contains", lambda text, part: part in text), 2, 2, True),
    "startsWith": Function(_on_text("startsWith", str.startswith), 2, 2, True),
    "endsWith": Function(_on_text("endsWith", str.endswith), 2, 2, True),
    "lowerAscii": Function(_on_text("lowerAscii", _ascii(str.lower)), 1, 1, True),
    "upperAscii": Function(_on_text("upperAscii", _ascii(str.upper)), 1, 1, True),
    "trim": Function(_on_text("trim", str.strip), 1, 1, True),
    "replace": Function(_replace, 3, 3, True),
    "split": Function(_split, 2, 2, True),
    "join": Function(_join, 1, 2, True),
    "substring": Function(_substring, 2, 3, True),
    "distinct": Function(_distinct, 1, 1, True),
    "sort": Function(_sort, 1, 1, True),
}
"""By name. ``has``, ``default`` and the macros (``all exists exists_one filter map``) are part of the compiler."""
