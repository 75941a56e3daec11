"""What the operators do. Numbers follow JSON: ints and floats mix, ints stay exact, a boolean is no number.

Ordering or combining different types is an error, never a conversion.
"""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Final

from treadle.errors import ExpressionError
from treadle.expressions.budget import DEFAULT, Meter, check_depth, check_items, text_work
from treadle.expressions.names import MISSING, Record, built

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.model import JsonValue

_TYPE_NAMES: Final = {
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "an object",
}


_SCALARS: Final = frozenset({str, int, float, bool, type(None)})


def kind(value: JsonValue) -> str:
    """Return what a value is, for messages."""
    return "null" if value is None else _TYPE_NAMES.get(type(value), "an object")


def is_number(value: JsonValue) -> bool:
    """Tell whether a value is a number; a boolean is none."""
    return type(value) is int or type(value) is float


def equal(left: JsonValue, right: JsonValue, meter: Meter, depth: int = 0) -> bool:
    """Compare deeply: ``1 == 1.0``, ``true != 1``, values of different types differ."""
    if type(left) in _SCALARS or type(right) in _SCALARS:
        return _equal_scalars(left, right, meter)
    left, right = built(left, meter), built(right, meter)
    if type(left) is not type(right) or len(left) != len(right):
        return False
    check_depth(depth)
    meter.spend(4 + len(left))
    same = _equal_lists if type(left) is list else _equal_objects
    return same(left, right, meter, depth + 1)


def _equal_scalars(left: JsonValue, right: JsonValue, meter: Meter) -> bool:
    if type(left) is bool or type(right) is bool:
        return left is right
    if type(left) is str and type(right) is str and len(left) == len(right):
        meter.spend(text_work(len(left)))
    return bool(left == right)


def _equal_lists(left: list[JsonValue], right: list[JsonValue], meter: Meter, depth: int) -> bool:
    return all(equal(one, other, meter, depth) for one, other in zip(left, right, strict=True))


def _equal_objects(left: dict[str, JsonValue], right: dict[str, JsonValue], meter: Meter, depth: int) -> bool:
    meter.spend(text_work(sum(map(len, left))))
    return left.keys() == right.keys() and all(equal(one, right[key], meter, depth) for key, one in left.items())


def contains(item: JsonValue, group: JsonValue, meter: Meter) -> bool:
    """``item in group``: an element of a list, or a key of an object."""
    if isinstance(group, Record):
        return type(item) is str and group.get(item) is not MISSING
    if type(group) is list:
        meter.spend(2 * len(group))
        return any(equal(item, one, meter) for one in group)
    if type(group) is dict:
        return type(item) is str and item in group
    raise ExpressionError(f"'in' needs a list or an object on its right, not {kind(group)}")


def add(left: JsonValue, right: JsonValue, meter: Meter) -> JsonValue:
    """Add numbers; join text to text and list to list."""
    if is_number(left) and is_number(right):
        return _bounded("+", left, right, operator.add)
    if type(left) is not type(right) or type(left) not in (str, list):
        raise ExpressionError(f"'+' cannot join {kind(left)} and {kind(right)}; string() makes text of any value")
    size = len(left) + len(right)
    check_items(size)
    meter.spend(text_work(size) if type(left) is str else size >> 3)
    return left + right


def subtract(left: JsonValue, right: JsonValue) -> JsonValue:
    """Subtract numbers."""
    return _bounded("-", left, right, operator.sub)


def multiply(left: JsonValue, right: JsonValue) -> JsonValue:
    """Multiply numbers."""
    return _bounded("*", left, right, operator.mul)


def divide(left: JsonValue, right: JsonValue) -> JsonValue:
    """Return the real quotient, always a float: ``7 / 2`` is 3.5."""
    return _bounded("/", left, right, _quotient)


def remainder(left: JsonValue, right: JsonValue) -> JsonValue:
    """``%`` and ``mod()``: the remainder of ints with the sign of the left one, as CEL has it."""
    _whole("%", left, right)
    value = abs(left) % abs(right)
    return -value if left < 0 else value


def negate(value: JsonValue) -> JsonValue:
    """Return the number with the other sign."""
    if not is_number(value):
        raise ExpressionError(f"'-' needs a number, not {kind(value)}")
    return -value


def floor_divide(left: JsonValue, right: JsonValue) -> int:
    """``div()``: the quotient of ints, cut towards zero."""
    _whole("div()", left, right)
    value: int = abs(left) // abs(right)
    return -value if (left < 0) != (right < 0) else value


def ordering(
    symbol: str, compare: Callable[[JsonValue, JsonValue], bool]
) -> Callable[[JsonValue, JsonValue, Meter], bool]:
    """Return the function of ``<``, ``<=``, ``>`` or ``>=``."""

    def order(left: JsonValue, right: JsonValue, meter: Meter) -> bool:
        if is_number(left) and is_number(right):
            return compare(left, right)
        if type(left) is str and type(right) is str:
            meter.spend(text_work(min(len(left), len(right))))
            return compare(left, right)
        if type(left) is bool and type(right) is bool:
            return compare(left, right)
        raise ExpressionError(f"{symbol!r} cannot order {kind(left)} and {kind(right)}")

    return order


def bounded(value: JsonValue) -> JsonValue:
    """Return a number that is finite and not too large.

    Raises:
        ExpressionError: It is not.
    """
    if type(value) is int:
        if value.bit_length() > DEFAULT.integer_bits:
            raise ExpressionError(f"an integer of more than {DEFAULT.integer_bits:,} bits")
    elif not math.isfinite(value):
        raise ExpressionError("a number that is not finite")
    return value


def _bounded(
    symbol: str, left: JsonValue, right: JsonValue, compute: Callable[[JsonValue, JsonValue], JsonValue]
) -> JsonValue:
    if not (is_number(left) and is_number(right)):
        raise ExpressionError(f"{symbol!r} needs numbers, not {kind(left)} and {kind(right)}")
    try:
        return bounded(compute(left, right))
    except OverflowError:  # an int beyond all floats meets a float
        raise ExpressionError(f"the result of {symbol!r} is too large") from None


def _quotient(left: JsonValue, right: JsonValue) -> JsonValue:
    if right == 0:
        raise ExpressionError("division by zero")
    return left / right


def _whole(symbol: str, left: JsonValue, right: JsonValue) -> None:
    if type(left) is not int or type(right) is not int:
        found = [f"{one!r:.20}" if type(one) is float else kind(one) for one in (left, right)]
        raise ExpressionError(f"{symbol!r} needs integers, not {' and '.join(found)}; int() makes them of numbers")
    if right == 0:
        raise ExpressionError("division by zero")


ARITHMETIC: Final[dict[str, Callable[[JsonValue, JsonValue], JsonValue]]] = {
    "-": subtract,
    "*": multiply,
    "/": divide,
    "%": remainder,
}
"""Operators on two numbers, whose cost is bounded by the size of numbers."""

METERED: Final[dict[str, Callable[[JsonValue, JsonValue, Meter], JsonValue]]] = {
    "==": equal,
    "!=": lambda left, right, meter: not equal(left, right, meter),
    "<": ordering("<", operator.lt),
    "<=": ordering("<=", operator.le),
    ">": ordering(">", operator.gt),
    ">=": ordering(">=", operator.ge),
    "in": contains,
    "+": add,
}
"""Operators whose cost grows with their operands."""
