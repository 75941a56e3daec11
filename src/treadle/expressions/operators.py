"""What the operators do. Numbers follow JSON: ints and floats mix, ints stay exact, a boolean is no number.

Ordering or combining different types is an error, never a conversion.
"""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Final

from treadle.errors import ExpressionError
from treadle.expressions.budget import DEFAULT
from treadle.expressions.names import Record

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


def kind(value: JsonValue) -> str:
    """Return what a value is, for messages."""
    return "null" if value is None else _TYPE_NAMES.get(type(value), "an object")


def is_number(value: JsonValue) -> bool:
    """Tell whether a value is a number; a boolean is none."""
    return type(value) is int or type(value) is float


def equal(left: JsonValue, right: JsonValue) -> bool:
    """Compare deeply: ``1 == 1.0``, ``true != 1``, values of different types differ."""
    if type(left) is list and type(right) is list:
        return len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, Record):
        left = left.plain()
    if isinstance(right, Record):
        right = right.plain()
    if type(left) is dict and type(right) is dict:
        return left.keys() == right.keys() and all(equal(value, right[key]) for key, value in left.items())
    if type(left) is bool or type(right) is bool:
        return left is right
    return bool(left == right)


def contains(item: JsonValue, group: JsonValue) -> bool:
    """``item in group``: an element of a list, or a key of an object."""
    if type(group) is list:
        return any(equal(item, one) for one in group)
    if type(group) is dict:
        return type(item) is str and item in group
    raise ExpressionError(f"'in' needs a list or an object on its right, not {kind(group)}")


def add(left: JsonValue, right: JsonValue) -> JsonValue:
    """Add numbers; join text to text and list to list."""
    if is_number(left) and is_number(right):
        return bounded(left + right)
    if type(left) is type(right) and type(left) in (str, list):
        return bounded_size(left, right)
    raise ExpressionError(f"'+' cannot join {kind(left)} and {kind(right)}")


def subtract(left: JsonValue, right: JsonValue) -> JsonValue:
    """Subtract numbers."""
    return bounded(_numbers("-", left, right, operator.sub))


def multiply(left: JsonValue, right: JsonValue) -> JsonValue:
    """Multiply numbers."""
    return bounded(_numbers("*", left, right, operator.mul))


def divide(left: JsonValue, right: JsonValue) -> JsonValue:
    """Return the real quotient, always a float: ``7 / 2`` is 3.5."""
    return bounded(_numbers("/", left, right, _quotient))


def remainder(left: JsonValue, right: JsonValue) -> JsonValue:
    """``%``: the remainder of ints with the sign of the left one, as CEL has it."""
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
    _whole("div", left, right)
    value: int = abs(left) // abs(right)
    return -value if (left < 0) != (right < 0) else value


def ordering(symbol: str, compare: Callable[[JsonValue, JsonValue], bool]) -> Callable[[JsonValue, JsonValue], bool]:
    """Return the function of ``<``, ``<=``, ``>`` or ``>=``."""

    def order(left: JsonValue, right: JsonValue) -> bool:
        if (is_number(left) and is_number(right)) or (type(left) is str and type(right) is str):
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


def bounded_size(left: JsonValue, right: JsonValue) -> JsonValue:
    """Return ``left + right`` unless that is too long."""
    if len(left) + len(right) > DEFAULT.result_items:
        raise ExpressionError(f"a result of more than {DEFAULT.result_items:,} characters or elements")
    return left + right


def _numbers(symbol: str, left: JsonValue, right: JsonValue, compute: Callable[..., JsonValue]) -> JsonValue:
    if not (is_number(left) and is_number(right)):
        raise ExpressionError(f"{symbol!r} needs numbers, not {kind(left)} and {kind(right)}")
    try:
        return compute(left, right)
    except OverflowError:
        raise ExpressionError(f"the result of {symbol!r} is too large") from None


def _quotient(left: JsonValue, right: JsonValue) -> JsonValue:
    if right == 0:
        raise ExpressionError("division by zero")
    return left / right


def _whole(symbol: str, left: JsonValue, right: JsonValue) -> None:
    if type(left) is not int or type(right) is not int:
        raise ExpressionError(f"{symbol!r} needs integers, not {kind(left)} and {kind(right)}")
    if right == 0:
        raise ExpressionError("division by zero")


BINARY: Final[dict[str, Callable[[JsonValue, JsonValue], JsonValue]]] = {
    "==": equal,
    "!=": lambda left, right: not equal(left, right),
    "<": ordering("<", operator.lt),
    "<=": ordering("<=", operator.le),
    ">": ordering(">", operator.gt),
    ">=": ordering(">=", operator.ge),
    "in": contains,
    "+": add,
    "-": subtract,
    "*": multiply,
    "/": divide,
    "%": remainder,
}
