"""Places that are kept for one step that was passed over too often.

It needs several limits that are never free together, or newcomers are always faster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from treadle.drivers.local.admission.gates import OPEN

if TYPE_CHECKING:
    from treadle.drivers.local.admission.parking import Parking
    from treadle.drivers.local.admission.rotation import Lane, Line


class Claim(NamedTuple):
    """Who a place of each limit is kept for."""

    number: int
    lane: Lane
    step: str


class Claims:
    """At most one claim at a time, the oldest: two could wait for each other.

    Args:
        parking: Told where a place is free again.
    """

    def __init__(self, parking: Parking) -> None:
        self._parking = parking
        self.current: Claim | None = None

    def stake(self, line: Line, now: int) -> None:
        """Keep a place of each of its limits for the oldest step of a line, unless an older one has a claim."""
        number, lane, step = line.oldest()
        before = self.current
        if before is not None and before.number <= number:
            return
        if any(gate.closed_until > now for gate in line.gates):
            return  # it waits for a time, and nobody has to wait with it
        self._drop()
        self.current = Claim(number, lane, step)
        for gate in line.gates:
            gate.is_claimed = True

    def due(self, now: int) -> Claim | None:
        """Return the claim if its step may start now; one that has to wait for a time, or for nothing, ends."""
        claim = self.current
        if claim is None:
            return None
        gates = claim.lane.line.gates
        if claim.lane.waiting.get(claim.step) != claim.number or any(gate.closed_until > now for gate in gates):
            self._drop()
            for gate in gates:
                self._parking.wake(gate, now)
            return None
        for gate in gates:
            until = gate.shut_until(now, for_claim=True)
            if until != OPEN:
                self._parking.look_later(gate, until)
                return None
        return claim

    def end(self, lane: Lane, step: str) -> None:
        """Take note that a step starts."""
        if self.current is not None and self.current.lane is lane and self.current.step == step:
            self._drop()

    def _drop(self) -> None:
        if self.current is not None:
            for gate in self.current.lane.line.gates:
                gate.is_claimed = False
            self.current = None
