"""The functions of the language: a closed table. None reads a clock or a random source, none matches patterns."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct

from treadle.errors import ExpressionError
from treadle.expressions.budget import Meter, check_depth, check_items, measure, text_work
from treadle.expressions.names import Record
from treadle.expressions.operators import bounded, floor_divide, is_number, kind, remainder
from treadle.model import JsonValue


def weigh_shallow(meter: Meter, *values: JsonValue) -> None:
    """Count the characters of texts and the elements of lists."""
    for value in values:
        if type(value) is str:
            meter.spend(text_work(len(value)))
        elif type(value) is list:
            meter.spend(len(value))


def weigh_deep(meter: Meter, *values: JsonValue) -> None:
    """Count all that is in the values."""
    for value in values:
        measure(value, meter)


def _weigh_nothing(*_: object) -> None:
    return


def _weigh_twice(meter: Meter, *values: JsonValue) -> None:
    weigh_shallow(meter, *values, *values)


def _weigh_numbers(meter: Meter, *values: JsonValue) -> None:
    meter.spend(len(values[0]) >> 2 if type(values[0]) is list else 0)


def _weigh_sort(meter: Meter, items: JsonValue) -> None:
    weigh_shallow(meter, items)
    weigh_deep(meter, items)


def _weigh_distinct(meter: Meter, items: JsonValue) -> None:
    weigh_deep(meter, items, items, items)


def _weigh_split(meter: Meter, *values: JsonValue) -> None:
    weigh_shallow(meter, *values)
    if all(type(value) is str for value in values):
        meter.spend(values[0].count(values[1]) >> 2)


class Function(Struct, frozen=True):
    """A function of the language.

    Attributes:
        compute: From its arguments, the target of a method first, to its value.
        least: Arguments it takes at least.
        most: And at most.
        is_method: It may be written ``x.f(...)`` too.
        weigh: Counts what it will cost; what it gives is counted by the caller.
    """

    compute: Callable[..., JsonValue]
    least: int
    most: int
    is_method: bool
    weigh: Callable[..., None] = weigh_shallow


def text_of(value: JsonValue) -> str:
    """Return a value as it stands in a larger text: text as is, everything else as JSON."""
    if isinstance(value, Record):
        value = value.plain()
    if type(value) is str:
        return value
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError) as error:  # only for what no JSON has, or nested without end
        raise ExpressionError(f"{kind(value)} that cannot be written as JSON: {error}") from None


def is_truthy(value: JsonValue) -> bool:
    """Return the truth of a value in the older spelling: text that is a number counts as that number."""
    if type(value) is str:
        number = _number_of(value, _DECIMAL, float)
        return bool(value) if number is None else number != 0
    return True if isinstance(value, Record) else bool(value)


_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,400}")
_DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,4})?")
"""Numbers as text, and no more of Python's spellings. Every part has one beginning: nothing is tried twice."""


def _number_of(text: str, form: re.Pattern[str], read: Callable[[str], int | float]) -> int | float | None:
    """Return the number that the whole of ``text`` is, white space around it aside; None if it is none."""
    text = text.strip() if len(text) <= 2_000 else ""
    return read(text) if form.fullmatch(text) else None


def _size(value: JsonValue) -> int:
    if type(value) not in (str, list, dict):
        raise ExpressionError(f"size() needs text, a list or an object, not {kind(value)}")
    return len(value)


def _int(value: JsonValue) -> int:
    number = _number_of(value, _WHOLE, int) if type(value) is str else value if is_number(value) else None
    if number is None:
        raise _unreadable("int", value)
    return int(bounded(int(number)))


def _double(value: JsonValue) -> float:
    number = _number_of(value, _DECIMAL, float) if type(value) is str else value if is_number(value) else None
    if number is None:
        raise _unreadable("double", value)
    try:
        return float(bounded(float(number)))
    except OverflowError:
        raise ExpressionError("double() of a number beyond all floats") from None


def _unreadable(name: str, value: JsonValue) -> ExpressionError:
    return ExpressionError(f"{name}() cannot read {kind(value)}" + (f" {value[:40]!r}" if type(value) is str else ""))


def _texts(name: str, *values: JsonValue) -> None:
    for value in values:
        if type(value) is not str:
            raise ExpressionError(f"{name}() needs text, not {kind(value)}; string() makes text of any value")


def _on_text(name: str, compute: Callable[..., JsonValue]) -> Callable[..., JsonValue]:
    def call(*values: JsonValue) -> JsonValue:
        _texts(name, *values)
        return compute(*values)

    return call


def _ascii(change: Callable[[bytes], bytes]) -> Callable[[str], str]:
    """Return ``change`` for text: methods of bytes change ASCII letters alone."""
    return lambda text: change(text.encode(errors="surrogatepass")).decode(errors="surrogatepass")


_WHITE_SPACE: Final = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006"
    "\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
"""Unicode's ``White_Space``, as CEL has it. ``str.strip`` would take four control characters more."""


def _replace(text: JsonValue, old: JsonValue, new: JsonValue) -> str:
    _texts("replace", text, old, new)
    check_items(len(text) + text.count(old) * len(new))
    return str(text.replace(old, new))


def _split(text: JsonValue, by: JsonValue) -> list[str]:
    _texts("split", text, by)
    return list(text) if not by else text.split(by)


def _join(parts: JsonValue, by: JsonValue = "") -> str:
    _list("join", parts)
    _texts("join", by, *parts)
    check_items(sum(map(len, parts)) + len(by) * len(parts))
    return str(by.join(parts))


def _substring(text: JsonValue, start: JsonValue, *end: JsonValue) -> str:
    _texts("substring", text)
    stop = end[0] if end else len(text)
    if type(start) is not int or type(stop) is not int or not 0 <= start <= stop <= len(text):
        raise ExpressionError(f"substring() needs integers with 0 <= start <= end <= {len(text)}, the size of the text")
    return str(text[start:stop])


def _list(name: str, value: JsonValue) -> None:
    if type(value) is not list:
        raise ExpressionError(f"{name}() needs a list, not {kind(value)}")


def _numbers_of(name: str, values: tuple[JsonValue, ...]) -> list[JsonValue]:
    found = values[0] if len(values) == 1 and type(values[0]) is list else list(values)
    for value in found:
        if not is_number(value):
            raise ExpressionError(f"{name}() needs numbers, not {kind(value)}")
    return list(found)


def _of_numbers(name: str, compute: Callable[..., JsonValue], *, empty: JsonValue = None) -> Callable[..., JsonValue]:
    def call(*values: JsonValue) -> JsonValue:
        found = _numbers_of(name, values)
        if not found and empty is None:
            raise ExpressionError(f"{name}() of nothing")
        try:
            return bounded(compute(found)) if found else empty
        except OverflowError:  # an int beyond all floats meets a float
            raise ExpressionError(f"the result of {name}() is too large") from None

    return call


def _on_number(name: str, compute: Callable[[JsonValue], JsonValue]) -> Callable[..., JsonValue]:
    def call(value: JsonValue) -> JsonValue:
        if not is_number(value):
            raise ExpressionError(f"{name}() needs a number, not {kind(value)}")
        return compute(value)

    return call


def _round(value: JsonValue) -> int:
    """Return the nearest integer, of two the one farther from zero, as ``math.round`` of CEL has it."""
    cut = int(value)
    return cut if abs(value - cut) < 0.5 else cut + (1 if value > 0 else -1)


def _distinct(items: JsonValue) -> list[JsonValue]:
    _list("distinct", items)
    found: dict[object, JsonValue] = {}
    for item in items:
        found.setdefault(_identity(item), item)
    return list(found.values())


def _identity(value: JsonValue, depth: int = 0) -> object:
    """Return something hashable that is equal where values are: for ``1`` and ``1.0``, but not for ``1`` and ``true``.

    Large numbers go by their digits, since the hash of a number is no secret: a list of them could be made to collide.
    """
    check_depth(depth)
    if type(value) is list:
        return (list, *(_identity(one, depth + 1) for one in value))
    if type(value) is dict:
        return (dict, frozenset((key, _identity(one, depth + 1)) for key, one in value.items()))
    if is_number(value) and abs(value) >= 2**53:
        return (int, f"{int(value):x}")
    return (type(value) is bool, value)


def _sort(items: JsonValue) -> list[JsonValue]:
    _list("sort", items)
    if not (all(map(is_number, items)) or all(type(one) is str for one in items)):
        raise ExpressionError("sort() needs a list of numbers, or one of text")
    return sorted(items)


FUNCTIONS: Final[dict[str, Function]] = {
    "size": Function(_size, 1, 1, True, _weigh_nothing),
    "int": Function(_int, 1, 1, False, _weigh_nothing),
    "double": Function(_double, 1, 1, False, _weigh_nothing),
    "string": Function(text_of, 1, 1, False, weigh_deep),
    "truthy": Function(is_truthy, 1, 1, False, _weigh_nothing),
    "div": Function(floor_divide, 2, 2, False),
    "mod": Function(remainder, 2, 2, False),
    "abs": Function(_on_number("abs", abs), 1, 1, False),
    "floor": Function(_on_number("floor", math.floor), 1, 1, False),
    "ceil": Function(_on_number("ceil", math.ceil), 1, 1, False),
    "round": Function(_on_number("round", _round), 1, 1, False),
    "min": Function(_of_numbers("min", min), 1, 32, False, _weigh_numbers),
    "max": Function(_of_numbers("max", max), 1, 32, False, _weigh_numbers),
    "sum": Function(_of_numbers("sum", sum, empty=0), 1, 32, False, _weigh_numbers),
    "contains": Function(_on_text("contains", lambda text, part: part in text), 2, 2, True),
    "startsWith": Function(_on_text("startsWith", str.startswith), 2, 2, True),
    "endsWith": Function(_on_text("endsWith", str.endswith), 2, 2, True),
    "lowerAscii": Function(_on_text("lowerAscii", _ascii(bytes.lower)), 1, 1, True, _weigh_twice),
    "upperAscii": Function(_on_text("upperAscii", _ascii(bytes.upper)), 1, 1, True, _weigh_twice),
    "trim": Function(_on_text("trim", lambda text: text.strip(_WHITE_SPACE)), 1, 1, True),
    "replace": Function(_replace, 3, 3, True),
    "split": Function(_split, 2, 2, True, _weigh_split),
    "join": Function(_join, 1, 2, True, weigh_deep),
    "substring": Function(_substring, 2, 3, True),
    "distinct": Function(_distinct, 1, 1, True, _weigh_distinct),
    "sort": Function(_sort, 1, 1, True, _weigh_sort),
}
"""By name. ``has``, ``default`` and the macros (``all exists exists_one filter map``) are part of the compiler."""
