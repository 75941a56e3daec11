"""Durations as people type them, and as the model keeps them: whole milliseconds, never negative.

A number is seconds; text is a number with a unit (``250ms 10s 5m 1h 2d``) or ISO 8601 (``PT5M``, ``P1DT12H``) without
years and months, whose length is not fixed. What is finer than a millisecond is rounded, but never down to nothing.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Final

from treadle.errors import ValidationError

if TYPE_CHECKING:
    from treadle.model import JsonValue

UNITS_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
MAX_DURATION_MS: Final = 36_525 * UNITS_MS["d"]
"""A hundred years: beyond it a duration is a slip, and sums of times would leave the range of a date."""

DURATION_PATTERN: Final = r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$"
ISO_PATTERN: Final = (
    r"^P([0-9]+(\.[0-9]+)?W)?([0-9]+(\.[0-9]+)?D)?"
    r"(T([0-9]+(\.[0-9]+)?H)?([0-9]+(\.[0-9]+)?M)?([0-9]+(\.[0-9]+)?S)?)?$"
)
_MAX_CHARS: Final = 64
_WITH_UNIT: Final = re.compile(DURATION_PATTERN)
_ISO: Final = re.compile(ISO_PATTERN)
_ISO_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)([WDHMS])")
_ISO_UNITS_MS: Final = {
    "W": 7 * UNITS_MS["d"],
    "D": UNITS_MS["d"],
    "H": UNITS_MS["h"],
    "M": UNITS_MS["m"],
    "S": UNITS_MS["s"],
}
_FORMS: Final = "seconds as a number, or text such as 250ms, 10s, 5m, 1h, 2d or PT5M"


def parse_duration(value: JsonValue | timedelta) -> int:
    """Return a duration in milliseconds.

    Args:
        value: Seconds as a number, text such as ``250ms`` or ``PT5M``, or a ``timedelta``.

    Raises:
        ValidationError: It is none of these, is negative, or is longer than a hundred years.
    """
    exact = _exact_ms(value)
    if exact is None or not exact.is_finite():
        raise ValidationError(f"{_shown(value)} is no duration: {_FORMS}")
    if exact < 0:
        raise ValidationError(f"{_shown(value)} is negative; a duration is 0 or more")
    if exact > MAX_DURATION_MS:
        raise ValidationError(f"{_shown(value)} is longer than a hundred years")
    return max(int(exact.to_integral_value(ROUND_HALF_UP)), 1) if exact else 0


def parse_time(text: str) -> int | None:
    """Return a time in ISO 8601, with a date and a zone, as milliseconds since the epoch; None if it is none."""
    try:
        found = datetime.fromisoformat(text)
        return None if found.tzinfo is None else max(int(found.timestamp() * 1000), 0)
    except (ValueError, OverflowError):
        return None


def format_duration(milliseconds: int) -> str:
    """Return a duration in the largest unit that says it exactly: ``90s``, ``5m``, ``250ms``; ``0s`` for none."""
    if not milliseconds:
        return "0s"
    for unit in ("d", "h", "m", "s"):
        if milliseconds % UNITS_MS[unit] == 0:
            return f"{milliseconds // UNITS_MS[unit]}{unit}"
    return f"{milliseconds}ms"


def _exact_ms(value: object) -> Decimal | None:
    """Return the milliseconds of ``value`` unrounded; None if it is no duration."""
    if isinstance(value, timedelta):
        return Decimal(value // timedelta(microseconds=1)) / 1_000
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        # An int may have more digits than text of it is allowed to have.
        return Decimal(value if abs(value) <= MAX_DURATION_MS else (MAX_DURATION_MS if value > 0 else -1)) * 1_000
    if isinstance(value, float):
        return Decimal(repr(value)) * 1_000
    if isinstance(value, str) and len(value) <= _MAX_CHARS:
        return _text_ms(value.strip())
    return None


def _text_ms(text: str) -> Decimal | None:
    if text.startswith("-"):
        positive = _text_ms(text.removeprefix("-"))
        return None if positive is None else -positive
    if match := _WITH_UNIT.match(text):
        unit = match[2]
        return Decimal(text.removesuffix(unit)) * UNITS_MS[unit]
    parts = _ISO_PART.findall(text) if _ISO.match(text) else []
    if not parts or text.endswith("T"):
        return None
    # `M` means minutes here: the pattern knows no months, so it stands behind the `T` only.
    return sum((Decimal(number) * _ISO_UNITS_MS[unit] for number, unit in parts), Decimal(0))


def _shown(value: object) -> str:
    text = (
        f'"{value}"'
        if isinstance(value, str)
        else str(value)
        if isinstance(value, (float, timedelta))
        else _kind(value)
    )
    return text if len(text) <= _MAX_CHARS else text[:_MAX_CHARS] + "..."


def _kind(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < 10**18 else "so large a number"
    return {"bool": str(value).lower(), "NoneType": "null", "dict": "an object", "list": "a list"}.get(
        type(value).__name__, f"a {type(value).__name__}"
    )
