"""A document as plain data, and where in its text each value and key stands."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.definition.problems import Code, Path
    from treadle.model import JsonValue

MAX_SOURCE_PROBLEMS: Final = 100
"""Reading stops there: a text with so many faults is not what it was taken for."""

MAX_NUMBER_CHARS: Final = 1_000
"""Longer numbers are refused: turning thousands of digits into a number takes quadratic time."""


class Place:
    """Where one value stands; offsets are characters from the start of the text.

    Attributes:
        at: Start of the value.
        key_at: Start of its key in the object around it; that of the value where there is none.
        below: Places of its elements by key or index; None for a scalar.
    """

    __slots__ = ("at", "below", "key_at")

    def __init__(self, at: int, key_at: int, below: dict[str | int, Place] | None = None) -> None:
        self.at = at
        self.key_at = key_at
        self.below = below


class Fault(NamedTuple):
    """Something that a text must not hold, at an offset."""

    code: Code
    message: str
    at: int
    hint: str = ""


def number_fault(text: str, at: int) -> Fault:
    """Return the fault of a number that JSON cannot say, or that is beyond what is read."""
    shown = text if len(text) <= 40 else text[:40] + "..."
    return Fault("bad_number", f"{shown} is not a number that JSON can hold", at, "put it in quotes if text is meant")


class TextReadError(Exception):
    """The text cannot be read any further."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class Parsed(NamedTuple):
    """What a reader of text gives.

    Attributes:
        value: Plain data; what stands at a fault is replaced by null.
        root: Place of the whole; None where it was not computed.
        faults: In the order of the text.
        is_read: False where the reading ended before the text did.
    """

    value: JsonValue
    root: Place | None
    faults: list[Fault]
    is_read: bool = True


class Lines:
    r"""Line and column of offsets in one text, both from 1. A line ends with ``\\n``, ``\\r\\n`` or ``\\r``."""

    def __init__(self, text: str) -> None:
        self._starts = [0]
        at = 0
        for line in text.replace("\r\n", " \n").replace("\r", "\n").split("\n"):
            at += len(line) + 1
            self._starts.append(at)

    def place(self, offset: int) -> tuple[int, int]:
        """Return the line and column of ``offset``."""
        line = bisect_right(self._starts, offset, hi=len(self._starts) - 1)
        return line, offset - self._starts[line - 1] + 1


class Locator:
    """Finds paths in one text. The places are computed when the first problem needs one."""

    def __init__(self, text: str, root: Callable[[], Place | None]) -> None:
        self._text = text
        self._compute = root
        self._found: tuple[Lines, Place | None] | None = None

    def __call__(self, path: Path, on_key: bool) -> tuple[int, int]:  # noqa: FBT001 - the shape of one callable
        """Return the place of ``path``, or of the nearest thing around it that the text holds."""
        if self._found is None:
            self._found = Lines(self._text), self._compute()
        lines, place = self._found
        if place is None:
            return 0, 0
        complete = True
        for part in path:
            below = (place.below or {}).get(part)
            if below is None:
                complete = False
                break
            place = below
        return lines.place(place.key_at if on_key and complete else place.at)


def nowhere(path: Path, on_key: bool) -> tuple[int, int]:  # noqa: ARG001, FBT001 - the shape of one callable
    """Locate paths of data that came without text."""
    return 0, 0
