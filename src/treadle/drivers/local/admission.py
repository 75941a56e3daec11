"""Slots: chooses over the ready steps of ALL executions which start now.

The engine's slots, the limit of an execution and every named limit are never exceeded, and are reached whenever that
many steps are ready. By priority first; among equals each key in turn, then each execution in turn; within an execution
in definition order. A line of steps that a limit stops is parked at that limit and looked at again when it opens, so
that what waits costs nothing.

Nobody starves. Of sixteen slots, and of sixteen places of a limit, one goes to the step that waits longest if only
steps of higher priority were served before. A step that was tried in vain as often claims its limits: a place of each
is kept for it until it starts. Where there are several, that is the one case in which a limit is not reached.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from treadle.drivers.local.gates import OPEN, UNTIL_RELEASE, Gate
from treadle.drivers.local.rotation import PATIENCE, Ageing, Lane, Line, Rotation
from treadle.limits import OF_WORKFLOW, Numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from treadle.machine import ReadyStep


class Admitted(Protocol):
    """An execution, as far as admission is concerned."""

    @property
    def id(self) -> str:
        """Return its name."""

    @property
    def workflow_id(self) -> str:
        """Return the name of its workflow."""

    @property
    def priority(self) -> int:
        """Return its priority; higher ones are served first."""

    @property
    def limit(self) -> int | None:
        """Return how many slots it may hold; None for as many as there are."""


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


class _Entry:
    """What one execution waits for and holds."""

    __slots__ = ("execution", "gate", "held", "holds", "lanes", "waiting")

    def __init__(self, execution: Admitted) -> None:
        self.execution = execution
        self.held = self.waiting = 0
        self.gate: Gate | None = None
        self.lanes: dict[Line, Lane] = {}
        self.holds: dict[str, list[tuple[Gate, ...]]] = {}


class _Claim(NamedTuple):
    """Places that are kept for one step."""

    number: int
    lane: Lane
    step: str


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
        self._limits = dict(limits or {})
        self._now = now
        self._held = 0
        self._number = 0
        self._waiting = 0
        self._entries: dict[Admitted, _Entry] = {}
        self._lines: dict[tuple[int, tuple[Gate, ...]], Line] = {}
        self._gates: dict[tuple[str, str], Gate] = {}
        self._sweep_at = _FEW_GATES
        self._open = Rotation()
        self._ageing = Ageing()
        self._urgent: deque[Line] = deque()
        self._claim: _Claim | None = None
        self._due: list[tuple[int, int, Gate]] = []

    @property
    def limit(self) -> int:
        """Return how many slots there are."""
        return self._limit

    @property
    def held(self) -> int:
        """Return how many slots are held."""
        return self._held

    def __contains__(self, execution: Admitted) -> bool:
        """Tell whether an execution has ready steps or holds slots."""
        return execution in self._entries

    def wake_at(self) -> int | None:
        """Return when ``choose`` may find something only because time has passed; None for never."""
        return self._due[0][0] if self._due else None

    # -- what is ready

    def offer(self, execution: Admitted, steps: Iterable[ReadyStep]) -> None:
        """Add ready steps of an execution."""
        entry = self._entries.get(execution)
        if entry is None:
            entry = self._entries[execution] = _Entry(execution)
        for ready in steps:
            self._number += 1
            lane = self._lane(entry, ready)
            if ready.step not in lane.waiting:
                lane.add(ready.order, ready.step, self._number)
                self._waiting += 1
                entry.waiting += 1
            if lane.line.place is None:
                self._open.add(lane.line)
        if len(self._gates) >= self._sweep_at:
            self._sweep()

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
        if entry is None or entry.waiting <= len(ready):
            return
        for line, lane in list(entry.lanes.items()):
            for step in [step for step in lane.waiting if step not in ready]:
                del lane.waiting[step]
                self._waiting -= 1
                entry.waiting -= 1
            if not lane.waiting:
                self._drop(entry, line, lane)
        self._forget(entry)

    def _lane(self, entry: _Entry, ready: ReadyStep) -> Lane:
        execution = entry.execution
        is_free = not ready.limits and not self._limits and execution.limit is None
        gates, key = ((), "") if is_free else self._gates_of(entry, ready)
        name = (execution.priority, gates)
        line = self._lines.get(name)
        if line is None:
            line = self._lines[name] = Line(*name, key)
            for gate in gates:
                gate.lines += 1
        lane = entry.lanes.get(line)
        if lane is None:
            lane = entry.lanes[line] = line.lanes[entry] = Lane(entry, line)
        return lane

    def _gates_of(self, entry: _Entry, ready: ReadyStep) -> tuple[tuple[Gate, ...], str]:
        """Return the limits before a step, and the key by which it takes turns."""
        execution = entry.execution
        found: dict[Gate, None] = {}
        if execution.limit is not None:
            if entry.gate is None:
                entry.gate = Gate("", "", Numbers(execution.limit))
            found[entry.gate] = None
        if self._limits:
            node = ready.node
            for name in (OF_WORKFLOW + execution.workflow_id, node.service, node.action_name):
                if name in self._limits:
                    found[self._gate(name, "", None)] = None
        key = ""
        for one in ready.limits:
            gate = self._gate(one.name, one.key, one.numbers)
            found[gate] = None
            key = key or (str(gate) if one.key else "")
        return tuple(found), key

    def _gate(self, name: str, key: str, numbers: Numbers | None) -> Gate:
        gate = self._gates.get((name, key))
        own = self._limits.get(name)
        if gate is None:
            gate = self._gates[name, key] = Gate(name, key, own or numbers or Numbers())
        elif own is None and numbers is not None:
            gate.tighten(numbers)
        return gate

    # -- who starts

    def choose(self) -> tuple[Admitted, str] | None:
        """Take a slot for the next ready step; None when every slot is held or no step may start."""
        if not self._waiting or self._held >= self._limit:
            return None
        now = self._now() if self._gates else 0
        if self._due:
            self._open_due(now)
        if self._claim is not None and self._may_claim(now):
            claim = self._claim
            return self._take(claim.lane.line, claim.lane, claim.step, now)
        while (found := self._next()) is not None:
            line, is_aged = found
            gate = self._shut(line, now) if line.gates else None
            if gate is not None:
                self._park(line, gate, now, is_aged=is_aged)
                continue
            if not is_aged:
                return self._take(line, *line.next(), now)
            self._ageing.begin_again()
            _, lane, step = line.oldest()
            return self._take(line, lane, step, now)
        return None

    def _next(self) -> tuple[Line, bool] | None:
        """Return the line that is tried next, and whether its oldest step is meant."""
        while self._urgent:
            line = self._urgent.popleft()
            if line.place is self._open:
                return line, True
        aged = self._ageing.choose(self._open) if len(self._open) > 1 else None
        if aged is not None:
            return aged, True
        while (first := self._open.first()) is not None and not first.lanes:
            self._close(first)
        return None if first is None else (first, False)

    def _take(self, line: Line, lane: Lane, step: str, now: int) -> tuple[Admitted, str]:
        entry = lane.owner
        assert isinstance(entry, _Entry)  # what lanes are made for
        entry.held += 1
        self._held += 1
        self._waiting -= 1
        entry.waiting -= 1
        self._ageing.note(line.priority)
        line.passed_over, line.woken_by = 0, None
        line.take(lane, step)
        if not lane.waiting:
            del entry.lanes[line]
        if line.place is not None:
            line.place.served(line)
        gates = line.gates
        if gates:  # a line without limits stays where it is: others will come
            entry.holds.setdefault(step, []).append(gates)
            for gate in gates:
                gate.take((entry.execution, step), now)
                gate.ageing.note(line.priority)
            self._end_claim(lane, step)
            if not line.lanes:
                self._close(line)
        for gate in gates:
            self._wake(gate, now)
        return entry.execution, step

    def _shut(self, line: Line, now: int) -> Gate | None:
        """Return the first limit that stops a line; None if none does."""
        for gate in line.gates:
            if gate.shut_until(now) != OPEN:
                return gate
        return None

    # -- what waits for a limit

    def _park(self, line: Line, gate: Gate, now: int, *, is_aged: bool) -> None:
        """Let a line wait for the limit that stops it, and the others of its limits serve others."""
        self._open.remove(line)
        gate.parked.add(line, is_first=line.woken_by is gate)  # it lost what it was woken for to another
        self._look_later(gate, gate.shut_until(now))
        line.passed_over += 1
        if is_aged or line.passed_over >= PATIENCE:
            self._stake(line, now)
        for other in line.gates:
            if other is not gate:
                self._wake(other, now)

    def _wake(self, gate: Gate, now: int) -> None:
        """Let one line that waits for a limit try again, if there is room."""
        if not gate.parked:
            return
        until = gate.shut_until(now)
        if until != OPEN:
            self._look_later(gate, until)
            return
        aged = gate.ageing.choose(gate.parked)
        if aged is not None:
            gate.ageing.begin_again()
            self._urgent.append(aged)
        line = aged or gate.parked.first()
        assert line is not None  # there is one
        gate.parked.remove(line)
        line.woken_by = gate
        self._open.add(line)

    def _look_later(self, gate: Gate, until: int) -> None:
        if until not in (OPEN, UNTIL_RELEASE) and gate.due != until:
            gate.due = until
            self._number += 1
            heapq.heappush(self._due, (until, self._number, gate))

    def _open_due(self, now: int) -> None:
        while self._due and self._due[0][0] <= now:
            at, _, gate = heapq.heappop(self._due)
            if gate.due == at:
                gate.due = None
                self._wake(gate, now)

    # -- claims

    def _stake(self, line: Line, now: int) -> None:
        """Keep a place of each of its limits for the oldest step of a line, unless an older one has a claim."""
        number, lane, step = line.oldest()
        before = self._claim
        if before is not None and before.number <= number:
            return
        if any(gate.closed_until > now for gate in line.gates):
            return  # it waits for a time, and nobody has to wait with it
        self._drop_claim()
        self._claim = _Claim(number, lane, step)
        for gate in line.gates:
            gate.is_claimed = True

    def _may_claim(self, now: int) -> bool:
        claim = self._claim
        assert claim is not None  # whoever calls has looked
        gates = claim.lane.line.gates
        if claim.lane.waiting.get(claim.step) != claim.number or any(gate.closed_until > now for gate in gates):
            self._drop_claim()
            for gate in gates:
                self._wake(gate, now)
            return False
        for gate in gates:
            until = gate.shut_until(now, for_claim=True)
            if until != OPEN:
                self._look_later(gate, until)
                return False
        return True

    def _end_claim(self, lane: Lane, step: str) -> None:
        if self._claim is not None and self._claim.lane is lane and self._claim.step == step:
            self._drop_claim()

    def _drop_claim(self) -> None:
        if self._claim is not None:
            for gate in self._claim.lane.line.gates:
                gate.is_claimed = False
            self._claim = None

    # -- what ends

    def release(self, execution: Admitted, step: str, *, has_started: bool = True) -> None:
        """Give one slot of an execution back; it does not count for rates if the step did not start after all."""
        entry = self._entries[execution]
        entry.held -= 1
        self._held -= 1
        if entry.holds:
            self._let_go(entry, step, has_started=has_started)
        self._forget(entry)

    def _let_go(self, entry: _Entry, step: str, *, has_started: bool) -> None:
        held = entry.holds.get(step)
        if held is None:
            return
        gates = held.pop(0)
        if not held:
            del entry.holds[step]
        now = self._now()
        for gate in gates:
            gate.release((entry.execution, step), has_started=has_started)
            self._wake(gate, now)
            self._discard(gate, now)

    def close(self, execution: Admitted, step: str, until: int) -> tuple[str, ...]:
        """Let nobody start through the limits that a running step holds before ``until``; return which those are.

        Those with a rate; if none has one, all but that of its workflow and that of its execution.
        """
        entry = self._entries.get(execution)
        held = entry.holds.get(step, ()) if entry is not None else ()
        named = [gate for gate in (held[0] if held else ()) if gate.name and not gate.name.startswith(OF_WORKFLOW)]
        closed = [gate for gate in named if gate.rate is not None] or named
        for gate in closed:
            gate.closed_until = max(gate.closed_until, until)
            if gate.parked:
                self._look_later(gate, gate.closed_until)
        return tuple(map(str, closed))

    # -- why not

    def held_up(self, execution: Admitted, step: str) -> Held | None:
        """Return the limit that keeps a ready step from starting, and who holds it; None if none does."""
        entry = self._entries.get(execution)
        now = self._now()
        for line, lane in entry.lanes.items() if entry is not None else ():
            gate = self._shut(line, now) if step in lane.waiting else None
            if gate is not None:
                until = gate.shut_until(now)
                holders = tuple((getattr(one, "id", ""), held) for one, held in gate.holders)
                return Held(str(gate), gate.concurrency, holders, None if until == UNTIL_RELEASE else until)
        return None

    # -- what is over

    def _drop(self, entry: _Entry, line: Line, lane: Lane) -> None:
        del entry.lanes[line]
        self._waiting -= len(lane.waiting)
        entry.waiting -= len(lane.waiting)
        line.drop(lane)
        if not line.lanes:
            self._close(line)

    def _close(self, line: Line) -> None:
        """Forget a line in which nobody waits; those that wait for its limits may go instead."""
        if line.place is not None:
            line.place.remove(line)
        if line.gates or len(self._lines) > _FEW_LINES:
            del self._lines[line.priority, line.gates]
            now = self._now() if line.gates else 0
            for gate in line.gates:
                gate.lines -= 1
                self._wake(gate, now)
                self._discard(gate, now)

    def _forget(self, entry: _Entry) -> None:
        if not entry.held and not entry.lanes:
            self._entries.pop(entry.execution, None)

    def _discard(self, gate: Gate, now: int) -> None:
        if gate.name and not gate.held and not gate.lines and gate.is_idle(now):
            self._gates.pop((gate.name, gate.key), None)

    def _sweep(self) -> None:
        """Forget limits by which nothing is told any more: rates of keys that come once."""
        now = self._now()
        self._gates = {name: gate for name, gate in self._gates.items() if not gate.is_idle(now)}
        self._sweep_at = max(_FEW_GATES, 2 * len(self._gates))


_FEW_GATES: Final = 1_024
_FEW_LINES: Final = 64
