"""Which lines may be tried, which wait at a limit, and when a limit is looked at again because time has passed."""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING

from treadle.drivers.local.admission.gates import OPEN, UNTIL_RELEASE
from treadle.drivers.local.admission.rotation import Ageing, Rotation

if TYPE_CHECKING:
    from treadle.drivers.local.admission.gates import Gate
    from treadle.drivers.local.admission.rotation import Line


class Parking:
    """A line is in one place: among those that may be tried, or at the limit that stopped it.

    Attributes:
        open: Those that may be tried.
        ageing: Says when a slot goes to whoever waits longest.
    """

    def __init__(self) -> None:
        self.open = Rotation()
        self.ageing = Ageing()
        self._urgent: deque[Line] = deque()
        self._due: list[tuple[int, int, Gate]] = []
        self._number = 0

    def next(self) -> tuple[Line, bool] | None:
        """Return the line that is tried next, and whether its oldest step is meant; None if there is none.

        A line in which nobody waits may come too; whoever gets it closes it.
        """
        while self._urgent:
            line = self._urgent.popleft()
            if line.place is self.open:
                return line, True
        if len(self.open) > 1:
            aged = self.ageing.choose(self.open)
            if aged is not None:
                return aged, True
        first = self.open.first()
        return None if first is None else (first, False)

    def park(self, line: Line, gate: Gate, now: int) -> None:
        """Let a line wait for the limit that stops it."""
        self.open.remove(line)
        gate.parked.add(line, is_first=line.woken_by is gate)  # it lost what it was woken for to another
        self.look_later(gate, gate.shut_until(now))
        line.passed_over += 1

    def wake(self, gate: Gate, now: int) -> None:
        """Let one line that waits for a limit try again, if there is room."""
        if not gate.parked:
            return
        until = gate.shut_until(now)
        if until != OPEN:
            self.look_later(gate, until)
            return
        aged = gate.ageing.choose(gate.parked)
        if aged is not None:
            gate.ageing.begin_again()
            self._urgent.append(aged)
        line = aged or gate.parked.first()
        assert line is not None  # there is one
        gate.parked.remove(line)
        line.woken_by = gate
        self.open.add(line)

    # -- time

    def wake_at(self) -> int | None:
        """Return when something may start only because time has passed; None for never."""
        return self._due[0][0] if self._due else None

    def look_later(self, gate: Gate, until: int) -> None:
        """Look at a limit again at a time, if it is one."""
        if until not in (OPEN, UNTIL_RELEASE) and gate.due != until:
            gate.due = until
            self._number += 1
            heapq.heappush(self._due, (until, self._number, gate))

    def open_due(self, now: int) -> None:
        """Wake at the limits whose time has come."""
        while self._due and self._due[0][0] <= now:
            at, _, gate = heapq.heappop(self._due)
            if gate.due == at:
                gate.due = None
                self.wake(gate, now)
