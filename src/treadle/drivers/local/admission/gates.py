"""One limit in force: how many hold it, when it let somebody start, and until when it is closed.

A rate is kept exactly: the times of the last starts are remembered, so that no stretch of ``per``, wherever it begins,
has more starts than ``rate``. A token bucket would let almost twice as many through.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from treadle.drivers.local.admission.rotation import Ageing, Rotation

if TYPE_CHECKING:
    from treadle.drivers.local.admission.rotation import Line
    from treadle.limits import Numbers

OPEN: Final = 0
UNTIL_RELEASE: Final = -1
"""What ``Gate.shut_until`` gives where no time opens it."""


class Standing(NamedTuple):
    """How a limit stands.

    Attributes:
        name: Of the limit.
        key: Text of the value of its key; ``""`` for a limit without a key.
        concurrency: How many may hold it; None for any number.
        rate: How many may start within ``per_ms``; None for any number.
        per_ms: That time.
        holders: Execution and step of each that holds it, in the order in which they started.
        waiting: How many ready steps have to come through it.
        until: When it opens, in milliseconds by the engine's time; 0 where no time opens it, or where it is open.
    """

    name: str
    key: str
    concurrency: int | None
    rate: int | None
    per_ms: int
    holders: tuple[tuple[str, str], ...]
    waiting: int
    until: int


class Gate:
    """A limit of one name, and of one value of its key.

    Args:
        name: Of the limit; ``""`` for the one of an execution.
        key: Text of the value of its key; ``""`` for a limit without a key.
        own: What the engine says; None for what definitions say.

    Attributes:
        concurrency: How many may hold it.
        rate: How many may start within ``per_ms``.
        held: How many hold it.
        holders: Who they are: execution and step, in the order in which they started.
        closed_until: Nobody starts before that time.
        is_claimed: One place is kept for a step that was passed over too often.
        lines: Those that lead through it: somebody waits in them, or holds it.
        parked: The lines that wait for it.
        ageing: Says when a slot goes to whoever waits longest.
        due: When admission looks at it again; None for no time.
    """

    __slots__ = (
        "_own",
        "_said",
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

    def __init__(self, name: str, key: str, own: Numbers | None = None) -> None:
        self.name = name
        self.key = key
        self.concurrency = None if own is None else own.concurrency
        self.rate = None if own is None else own.rate
        self.per_ms = 1_000 if own is None else own.per_ms
        self.held = 0
        self.holders: dict[tuple[object, str], int] = {}
        self.closed_until = 0
        self.is_claimed = False
        self.lines: dict[Line, None] = {}
        self.parked = Rotation()
        self.ageing = Ageing()
        self.due: int | None = None
        self._own = own
        self._said: dict[Numbers, int] = {}
        self._starts: deque[int] = deque()

    def __str__(self) -> str:
        return f"{self.name}[{self.key}]" if self.key else self.name

    def lead(self, line: Line, numbers: Numbers | None) -> None:
        """Take note of a line that leads through it, and of what its definition says of it."""
        self.lines[line] = None
        if self._own is None and numbers is not None:
            self._said[numbers] = self._said.get(numbers, 0) + 1
            self._settle()

    def leave(self, line: Line, numbers: Numbers | None) -> None:
        """Take note that a line is over: nobody waits in it, and nobody holds the limit through it."""
        del self.lines[line]
        if self._own is None and numbers is not None:
            self._said[numbers] -= 1
            if not self._said[numbers]:
                del self._said[numbers]
                self._settle()

    def _settle(self) -> None:
        """Take the smallest of each number: definitions that differ share one limit."""
        if not self._said:
            return  # the last numbers say how long starts are remembered
        rated = [one for one in self._said if one.rate]
        slowest = min(rated, key=lambda one: (one.rate or 0) / one.per_ms, default=None)
        self.concurrency = min((one.concurrency for one in self._said if one.concurrency), default=None)
        self.rate = None if slowest is None else slowest.rate
        self.per_ms = self.per_ms if slowest is None else slowest.per_ms

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

    def standing(self, now: int) -> Standing:
        """Return how it stands."""
        holders = tuple((getattr(one, "id", ""), step) for one, step in self.holders)
        waiting = sum(line.waiting for line in self.lines)
        until = max(self.shut_until(now), 0)
        return Standing(self.name, self.key, self.concurrency, self.rate, self.per_ms, holders, waiting, until)

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
