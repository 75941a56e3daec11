"""Durations as people write them, in whole milliseconds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from treadle.model import JsonValue

_UNITS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SHORT: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_ISO: Final = re.compile(r"P(?:([0-9]+)D)?(?:T(?:([0-9]+)H)?(?:([0-9]+)M)?(?:([0-9]+(?:\.[0-9]+)?)S)?)?")
LONGEST_MS: Final = 100 * 366 * 86_400_000


def parse_duration(value: JsonValue) -> int:
    """Return milliseconds.

    Args:
        value: A number of seconds, ``250ms 10s 5m 1h 2d``, or ISO 8601 such as ``PT5M``.

    Raises:
        ValueError: It is none of these, negative, or above 100 years.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        milliseconds = value * 1_000
    elif isinstance(value, str) and (short := _SHORT.fullmatch(value.strip())):
        milliseconds = float(short[1]) * _UNITS[short[2]]
    elif isinstance(value, str) and value not in ("P", "PT") and (iso := _ISO.fullmatch(value)):
        days, hours, minutes, seconds = (float(part or 0) for part in iso.groups())
        milliseconds = ((days * 24 + hours) * 60 + minutes) * 60_000 + seconds * 1_000
    else:
        raise ValueError("a duration is a number of seconds, or such as 250ms, 10s, 5m, 1h, 2d, PT5M")
    if not 0 <= milliseconds <= LONGEST_MS:
        raise ValueError("a duration is not negative and at most 100 years")
    return round(milliseconds)
