"""The engine's time: never goes back, and follows the wall clock forward.

A wall clock that is set back must not make a timer wait again, and one that jumps ahead (a suspended laptop) must fire
what is due. So the time is the wall clock's while that is ahead, and goes on by the monotonic clock where the wall
clock has fallen behind.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    """Milliseconds since the epoch that never decrease.

    Args:
        wall: Seconds since the epoch; may jump.
        monotonic: Seconds since anything; may not.

    Attributes:
        longest_sleep_seconds: The wall clock may jump ahead while the loop sleeps by the monotonic one, so whoever
            sleeps looks again at least this often.
    """

    longest_sleep_seconds = 30.0

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._lead = wall() - monotonic()

    def wall_ms(self) -> int:
        """Return what the wall clock says; may go back."""
        return int(self._wall() * 1000)

    def now_ms(self) -> int:
        """Return the time."""
        monotonic = self._monotonic()
        lead = self._wall() - monotonic
        self._lead = max(self._lead, lead)
        return int((monotonic + self._lead) * 1000)
