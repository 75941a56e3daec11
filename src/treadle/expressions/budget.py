"""What an expression may cost. Every bound is checked before the costly act."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from treadle.errors import ExpressionError

if TYPE_CHECKING:
    from treadle.model import JsonValue


class Budget(Struct, frozen=True):
    """Limits of one expression.

    Attributes:
        source_chars: Characters of the source.
        nesting: Brackets, calls, signs and choices within each other in the source.
        chain: Operators of a kind, or parts of a path, in a row.
        depth: Levels of the syntax tree, and of the values that an operator or a function looks through.
        steps: Elements visited by ``all exists exists_one filter map`` in one evaluation.
        work: Small acts in one evaluation, of half a microsecond or less: an operator done for one element of a macro,
            an element compared or put into a new value, 64 characters read or written.
        integer_bits: Bits of an integer that is written or that an operator gives.
        result_items: Characters or elements of a text or list that an operator or a function gives.
    """

    source_chars: int = 4_096
    nesting: int = 32
    chain: int = 128
    depth: int = 160
    steps: int = 10_000
    work: int = 80_000
    integer_bits: int = 1_024
    result_items: int = 1_000_000


DEFAULT: Final = Budget()


class Meter:
    """What is left to one evaluation. What would pass the budget is refused before it is done."""

    __slots__ = ("_steps", "_work")

    def __init__(self) -> None:
        self._steps = DEFAULT.steps
        self._work = DEFAULT.work

    def step(self, work: int) -> None:
        """Count one element of a macro, whose body does ``work`` acts.

        Raises:
            ExpressionError: It is one too many.
        """
        self._steps -= 1
        if self._steps < 0:
            raise ExpressionError(f"more than {DEFAULT.steps:,} elements visited; let an action do what is that large")
        self.spend(1 + work)

    def spend(self, work: int) -> None:
        """Count ``work`` acts that are about to be done.

        Raises:
            ExpressionError: They are too many.
        """
        self._work -= work
        if self._work < 0:
            raise ExpressionError("too much work for an expression; let an action do what is that large")


def text_work(chars: int) -> int:
    """Return what it costs to read or write so many characters."""
    return chars >> 6


def measure(value: JsonValue, meter: Meter) -> None:
    """Count the whole of a value, level by level, each element as often as it stands there.

    Raises:
        ExpressionError: It is larger or deeper than the budget allows.
    """
    level: list[JsonValue] = [value]
    depth = 0
    while level:
        below: list[JsonValue] = []
        for one in level:
            if type(one) is str:
                meter.spend(text_work(len(one)))
            elif type(one) is list:
                meter.spend(2 + len(one))
                below += one
            elif type(one) is dict:
                meter.spend(2 + len(one) + text_work(sum(map(len, one))))
                below += one.values()
        check_depth(depth)
        depth += 1
        level = below


def check_depth(depth: int) -> None:
    """Raise ``ExpressionError`` for a level of a value that is too deep."""
    if depth > DEFAULT.depth:
        raise ExpressionError(f"values nested deeper than {DEFAULT.depth} levels")


def check_items(count: int) -> None:
    """Raise ``ExpressionError`` for a text or list of more characters or elements than may be made."""
    if count > DEFAULT.result_items:
        raise ExpressionError(f"a result of more than {DEFAULT.result_items:,} characters or elements")
