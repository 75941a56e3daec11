"""One limit in force: how many hold it, when it let somebody start, and until when it is closed.

A rate is kept exactly: the times of the last starts are remembered, so that no stretch of ``per``, wherever it begins,
has more starts than ``rate``. A token bucket would let almost twice as many through.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from treadle.drivers.local.rotation import Ageing, Rotation

if TYPE_CHECKING:
    from treadle.limits import Numbers

OPEN: Final = 0
UNTIL_RELEASE: Final = -1
"""What ``Gate.shut_until`` gives where no time opens it."""


class Gate:
    """A limit of one name, and of one value of its key.

    Args:
        name: Of the limit; ``""`` for the one of an execution.
        key: Text of the value of its key; ``""`` for a limit without a key.
        numbers: What it allows.

    Attributes:
        held: How many hold it.
        holders: Who they are: execution and step, in the order in which they started.
        closed_until: Nobody starts before that time.
        is_claimed: One place is kept for a step that was passed over too often.
        lines: How many lines lead through it.
        parked: The lines that wait for it.
        ageing: Says when a slot goes to whoever waits longest.
        due: When admission looks at it again; None for no time.
    """

    __slots__ = (
        "_starts",
        "ageing",
        "closed_until",
        "concurrency",
        "due",
        "held",
        "holders",
        "is_claimed",
        "key",
        "lines",
        "name",
        "parked",
        "per_ms",
        "rate",
    )

    def __init__(self, name: str, key: str, numbers: Numbers) -> None:
        self.name = name
        self.key = key
        self.concurrency = numbers.concurrency
        self.rate = numbers.rate
        self.per_ms = numbers.per_ms
        self.held = 0
        self.holders: dict[tuple[object, str], int] = {}
        self.closed_until = 0
        self.is_claimed = False
        self.lines = 0
        self.parked = Rotation()
        self.ageing = Ageing()
        self.due: int | None = None
        self._starts: deque[int] = deque()

    def __str__(self) -> str:
        return f"{self.name}[{self.key}]" if self.key else self.name

    def tighten(self, numbers: Numbers) -> None:
        """Take the smaller of each number: definitions that differ share one limit."""
        if numbers.concurrency is not None:
            self.concurrency = min(numbers.concurrency, self.concurrency or numbers.concurrency)
        if numbers.rate is not None and (self.rate is None or numbers.rate * self.per_ms < self.rate * numbers.per_ms):
            self.rate, self.per_ms = numbers.rate, numbers.per_ms

    def shut_until(self, now: int, *, for_claim: bool = False) -> int:
        """Return ``OPEN``, ``UNTIL_RELEASE``, or the time until which nobody may start."""
        if self.closed_until > now:
            return self.closed_until
        kept = 1 if self.is_claimed and not for_claim else 0
        if self.concurrency is not None and self.held + kept >= self.concurrency:
            return UNTIL_RELEASE
        if self.rate is not None:
            self._forget(now)
            if len(self._starts) >= self.rate:
                return self._starts[-self.rate] + self.per_ms
            if len(self._starts) + kept >= self.rate:
                return UNTIL_RELEASE  # until who it is kept for has started
        return OPEN

    def take(self, holder: tuple[object, str], now: int) -> None:
        """Let one start."""
        self.held += 1
        self.holders[holder] = self.holders.get(holder, 0) + 1
        if self.rate is not None:
            self._starts.append(now)

    def release(self, holder: tuple[object, str], *, has_started: bool) -> None:
        """Let one go; it does not count for the rate if it did not start after all."""
        self.held -= 1
        left = self.holders.pop(holder) - 1
        if left:
            self.holders[holder] = left
        if not has_started and self._starts:
            self._starts.pop()

    def is_idle(self, now: int) -> bool:
        """Tell whether nothing is lost where it is forgotten."""
        if self.held or self.lines or self.closed_until > now:
            return False
        self._forget(now)
        return not self._starts

    def _forget(self, now: int) -> None:
        starts = self._starts
        while starts and starts[0] + self.per_ms <= now:
            starts.popleft()
