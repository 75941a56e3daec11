"""A clock that stands still until it is told to go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from treadle.drivers.local.clock import Clock

START: Final = datetime(2030, 1, 1, tzinfo=UTC)
"""When a rehearsal begins unless it says otherwise: the same for all, so that histories can be compared."""

_SLACK_MS: Final = 1e-3
"""Seconds as a float say a millisecond to within much less than this."""


class ManualClock(Clock):
    """Time for tests, in the place of the host's: it moves only by ``advance``.

    Args:
        start: Where it begins, with its zone.

    Attributes:
        elapsed: Seconds since it began.
    """

    longest_sleep_seconds = float("inf")  # nothing moves its wall clock apart from the other

    def __init__(self, start: datetime = START) -> None:
        self.elapsed = 0.0
        self._start_ms = int(start.timestamp() * 1000)
        super().__init__(wall=lambda: self.wall_ms() / 1000, monotonic=lambda: self.elapsed)

    def wall_ms(self) -> int:
        """Return the time in milliseconds since the epoch."""
        return self._start_ms + int(self.elapsed * 1000 + _SLACK_MS)

    def now_ms(self) -> int:
        """Return the time in milliseconds since the epoch."""
        return self.wall_ms()

    @property
    def now(self) -> datetime:
        """Return the time, in UTC."""
        return datetime.fromtimestamp(self.wall_ms() / 1000, UTC)

    def advance(self, by: timedelta | float) -> None:
        """Move on by a ``timedelta`` or by seconds.

        Raises:
            ValueError: It would go back, which the time of an engine never does.
        """
        seconds = by.total_seconds() if isinstance(by, timedelta) else by
        if seconds < 0:
            raise ValueError(f"time does not go back: {by!r}")
        self.elapsed += seconds
