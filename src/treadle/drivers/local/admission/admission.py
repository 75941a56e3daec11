"""``Admission``: what is ready, who starts, what ends, and why not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from treadle.drivers.local.admission.claims import Claims
from treadle.drivers.local.admission.executions import Entry
from treadle.drivers.local.admission.gates import OPEN, UNTIL_RELEASE
from treadle.drivers.local.admission.in_force import InForce
from treadle.drivers.local.admission.parking import Parking
from treadle.drivers.local.admission.rotation import PATIENCE, Lane, Line
from treadle.limits import OF_WORKFLOW, Numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from treadle.drivers.local.admission.executions import Admitted
    from treadle.drivers.local.admission.gates import Gate, Standing
    from treadle.machine import ReadyStep


class Held(NamedTuple):
    """What keeps a ready step from starting.

    Attributes:
        limit: Name of the limit, with the value of its key: ``tenant["acme"]``; ``""`` for that of the execution.
        concurrency: How many may hold it; None for any number.
        holders: Execution and step of each that does.
        until: When it opens, in milliseconds by the engine's time; None for when one of the holders ends.
    """

    limit: str
    concurrency: int | None
    holders: tuple[tuple[str, str], ...]
    until: int | None


class Admission:
    """The slots of one engine, and its limits.

    Args:
        limit: How many slots there are.
        limits: The engine's own limits by name; they take the place of what definitions say under that name.
        now: The engine's time in milliseconds, for rates.
    """

    def __init__(
        self, limit: int, limits: Mapping[str, Numbers] | None = None, now: Callable[[], int] = lambda: 0
    ) -> None:
        self._limit = limit
        self._now = now
        self._held = 0
        self._number = 0
        self._waiting = 0
        self._entries: dict[Admitted, Entry] = {}
        self._lines: dict[tuple[object, ...], Line] = {}
        self._plain: Line | None = None
        self._in_force = InForce(limits or {})
        self._parking = Parking()
        self._claims = Claims(self._parking)

    @property
    def limit(self) -> int:
        """Return how many slots there are."""
        return self._limit

    @property
    def held(self) -> int:
        """Return how many slots are held."""
        return self._held

    @property
    def waiting(self) -> int:
        """Return how many steps are ready and have not started."""
        return self._waiting

    def __contains__(self, execution: Admitted) -> bool:
        """Tell whether an execution has ready steps or holds slots."""
        return execution in self._entries

    def wake_at(self) -> int | None:
        """Return when ``choose`` may find something only because time has passed; None for never."""
        return self._parking.wake_at()

    # -- what is ready

    def offer(self, execution: Admitted, steps: Iterable[ReadyStep]) -> None:
        """Add ready steps of an execution."""
        entry = self._entries.get(execution)
        if entry is None:
            entry = self._entries[execution] = Entry(execution)
        for ready in steps:
            self._number += 1
            line = self._line(entry, ready)
            lane = entry.lanes.get(line)
            if lane is None:
                lane = entry.lanes[line] = Lane(entry, line)
            if ready.step not in lane.waiting:
                lane.add(ready.order, ready.step, self._number)
                self._waiting += 1
                entry.waiting += 1
            if line.place is None:
                self._parking.open.add(line)
        if self._in_force.are_many:
            self._in_force.sweep(self._now())

    def _line(self, entry: Entry, ready: ReadyStep) -> Line:
        """Return the line of steps of one priority behind the same limits."""
        way = self._in_force.way(entry, ready)
        name = (entry.execution.priority, way.gates, way.numbers)
        line = self._lines.get(name)
        if line is None:
            line = self._lines[name] = Line(entry.execution.priority, *way)
            for gate, numbers in zip(line.gates, line.numbers, strict=True):
                gate.lead(line, numbers)
            self._look_whether_plain()
        return line

    def _look_whether_plain(self) -> None:
        """Note the line in which all steps wait, if there is one and no limit stands before it."""
        only = next(iter(self._lines.values())) if len(self._lines) == 1 else None
        self._plain = only if only is not None and not only.gates else None

    def withdraw(self, execution: Admitted) -> None:
        """Drop the ready steps of an execution that starts nothing new; the slots it holds stay held."""
        entry = self._entries.get(execution)
        if entry is not None:
            for line, lane in list(entry.lanes.items()):
                self._drop(entry, line, lane)
            self._forget(entry)

    def keep(self, execution: Admitted, ready: Mapping[str, object]) -> None:
        """Drop the ready steps of an execution that are no longer among ``ready``."""
        entry = self._entries.get(execution)
        if entry is None or not entry.waiting:
            return
        for line, lane in list(entry.lanes.items()):
            gone = [step for step in lane.waiting if step not in ready]
            for step in gone:
                del lane.waiting[step]
            line.waiting -= len(gone)
            entry.waiting -= len(gone)
            self._waiting -= len(gone)
            if not lane.waiting:
                self._drop(entry, line, lane)
        self._forget(entry)

    # -- who starts

    def choose(self) -> tuple[Admitted, str] | None:
        """Take a slot for the next ready step; None when every slot is held or no step may start."""
        if not self._waiting or self._held >= self._limit:
            return None
        if self._plain is not None:  # one priority and no limit: each execution in turn
            return self._take(self._plain, *self._plain.next())
        now = self._now() if self._in_force else 0
        self._parking.open_due(now)
        claim = self._claims.due(now)
        if claim is not None:
            return self._take_through(claim.lane.line, claim.lane, claim.step, now)
        while (found := self._parking.next()) is not None:
            line, is_aged = found
            gate = self._shut(line, now)
            if not line.lanes:
                self._close(line)
            elif gate is not None:
                self._park(line, gate, now, is_aged=is_aged)
            elif is_aged:
                self._parking.ageing.begin_again()
                _, lane, step = line.oldest()
                return self._take_through(line, lane, step, now)
            else:
                return self._take_through(line, *line.next(), now)
        return None

    def _take(self, line: Line, lane: Lane, step: str) -> tuple[Admitted, str]:
        entry = lane.owner
        entry.held += 1
        entry.waiting -= 1
        self._held += 1
        self._waiting -= 1
        line.take(lane, step)
        if not lane.waiting:
            del entry.lanes[line]
        return entry.execution, step

    def _take_through(self, line: Line, lane: Lane, step: str, now: int) -> tuple[Admitted, str]:
        """Take a step whose limits, and whose place among the others, have to know of it."""
        taken = self._take(line, lane, step)
        self._parking.ageing.note(line.priority)
        line.passed_over, line.woken_by = 0, None
        if line.place is not None:
            line.place.served(line)
        if line.gates:  # a line without limits stays where it is: others will come
            self._hold(line, lane.owner, step, now)
            self._claims.end(lane, step)
            if not line.lanes:
                self._close(line)
            for gate in line.gates:
                self._parking.wake(gate, now)
        return taken

    def _hold(self, line: Line, entry: Entry, step: str, now: int) -> None:
        line.held += 1
        if entry.holds is None:
            entry.holds = {}
        entry.holds.setdefault(step, []).append(line)
        for gate in line.gates:
            gate.take((entry.execution, step), now)
            gate.ageing.note(line.priority)

    def _shut(self, line: Line, now: int) -> Gate | None:
        """Return the first limit that stops a line; None if none does."""
        for gate in line.gates:
            if gate.shut_until(now) != OPEN:
                return gate
        return None

    def _park(self, line: Line, gate: Gate, now: int, *, is_aged: bool) -> None:
        """Let a line wait for the limit that stops it, and the others of its limits serve others."""
        self._parking.park(line, gate, now)
        if is_aged or line.passed_over >= PATIENCE:
            self._claims.stake(line, now)
        for other in line.gates:
            if other is not gate:
                self._parking.wake(other, now)

    # -- what ends

    def release(self, execution: Admitted, step: str, *, has_started: bool = True) -> None:
        """Give one slot of an execution back; it does not count for rates if the step did not start after all."""
        entry = self._entries[execution]
        entry.held -= 1
        self._held -= 1
        if entry.holds:
            self._let_go(entry, entry.holds, step, has_started=has_started)
        self._forget(entry)

    def _let_go(self, entry: Entry, holds: dict[str, list[Line]], step: str, *, has_started: bool) -> None:
        lines = holds.get(step)
        if lines is None:
            return
        line = lines.pop(0)
        if not lines:
            del holds[step]
        now = self._now()
        line.held -= 1
        for gate in line.gates:
            gate.release((entry.execution, step), has_started=has_started)
        if not line.held and not line.lanes:
            self._close(line)
        for gate in line.gates:
            self._parking.wake(gate, now)
            self._in_force.discard(gate, now)

    def close(self, execution: Admitted, step: str, until: int) -> tuple[str, ...]:
        """Let nobody start through the limits that a running step holds before ``until``; return which those are.

        Those with a rate; if none has one, all but that of its workflow and that of its execution.
        """
        entry = self._entries.get(execution)
        lines = (entry.holds or {}).get(step, ()) if entry is not None else ()
        gates = lines[0].gates if lines else ()
        named = [gate for gate in gates if gate.name and not gate.name.startswith(OF_WORKFLOW)]
        closed = [gate for gate in named if gate.rate is not None] or named
        for gate in closed:
            gate.closed_until = max(gate.closed_until, until)
            if gate.parked:
                self._parking.look_later(gate, gate.closed_until)
        return tuple(map(str, closed))

    # -- how it stands

    def held_up(self, execution: Admitted, step: str) -> Held | None:
        """Return the limit that keeps a ready step from starting, and who holds it; None if none does."""
        entry = self._entries.get(execution)
        now = self._now()
        for line, lane in entry.lanes.items() if entry is not None else ():
            gate = self._shut(line, now) if step in lane.waiting else None
            if gate is not None:
                until = gate.shut_until(now)
                found = gate.standing(now)
                return Held(str(gate), gate.concurrency, found.holders, None if until == UNTIL_RELEASE else until)
        return None

    def standings(self) -> Sequence[Standing]:
        """Return how each limit stands: the engine's own, and those by which steps were held lately."""
        now = self._now()
        self._in_force.sweep(now)
        return [gate.standing(now) for gate in (*self._in_force.unused(), *self._in_force)]

    # -- what is over

    def _drop(self, entry: Entry, line: Line, lane: Lane) -> None:
        del entry.lanes[line]
        self._waiting -= len(lane.waiting)
        entry.waiting -= len(lane.waiting)
        line.drop(lane)
        if not line.lanes:
            self._close(line)

    def _close(self, line: Line) -> None:
        """Take a line away in which nobody waits; those that wait for its limits may go instead.

        It is forgotten once nobody holds a limit through it either.
        """
        if line.place is not None:
            line.place.remove(line)
        is_wanted = bool(line.held) if line.gates else len(self._lines) <= _FEW_LINES
        if not is_wanted:
            del self._lines[line.priority, line.gates, line.numbers]
            self._look_whether_plain()
            for gate, numbers in zip(line.gates, line.numbers, strict=True):
                gate.leave(line, numbers)
        now = self._now() if line.gates else 0
        for gate in line.gates:
            self._parking.wake(gate, now)
            self._in_force.discard(gate, now)

    def _forget(self, entry: Entry) -> None:
        if not entry.held and not entry.lanes:
            self._entries.pop(entry.execution, None)


_FEW_LINES: Final = 64
