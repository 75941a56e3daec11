"""What an expression may cost. Every bound is checked before the costly act."""

from __future__ import annotations

from msgspec import Struct


class Budget(Struct, frozen=True):
    """Limits of one expression.

    Attributes:
        source_chars: Characters of the source.
        nesting: Depth of the syntax tree.
        steps: Elements visited by ``all exists exists_one filter map`` in one evaluation.
        integer_bits: Bits of an integer that an operator gives.
        result_items: Characters or elements of a string or list that an operator gives.
    """

    source_chars: int = 4_096
    nesting: int = 32
    steps: int = 10_000
    integer_bits: int = 1_024
    result_items: int = 1_000_000


DEFAULT = Budget()
