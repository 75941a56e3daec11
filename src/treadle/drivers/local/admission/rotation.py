"""Whose turn it is: lines of ready steps by priority, then each key in turn, then each execution in turn.

A line holds ready steps that the same limits stand before, so that one look at its limits is a look at all of them. A
rotation holds lines: those that may start, or those that wait for one limit. Every move costs O(log n) or less.
"""

from __future__ import annotations

import bisect
import heapq
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from treadle.drivers.local.admission.executions import Entry
    from treadle.drivers.local.admission.gates import Gate
    from treadle.limits import Numbers

PATIENCE: Final = 16
"""Of so many slots one goes to whoever waits longest, where only steps of higher priority were served before."""

_SLACK: Final = 64


class Lane:
    """The ready steps of one execution in one line, in definition order.

    Attributes:
        waiting: When each was offered, as a number that grows.
    """

    __slots__ = ("_order", "line", "owner", "waiting")

    def __init__(self, owner: Entry, line: Line) -> None:
        self.owner = owner
        self.line = line
        line.lanes[owner] = self
        self.waiting: dict[str, int] = {}
        self._order: list[tuple[int, str]] = []

    def add(self, order: int, step: str, number: int) -> None:
        """Add a ready step that does not wait already."""
        self.waiting[step] = number
        heapq.heappush(self._order, (order, step))
        self.line.arrive(number, self, step)

    def first(self) -> str:
        """Return the first of its steps in definition order."""
        order, waiting = self._order, self.waiting
        while order[0][1] not in waiting:
            heapq.heappop(order)
        return order[0][1]


class Line:
    """Ready steps of one priority behind the same limits, of which the same numbers are said.

    Attributes:
        gates: The limits.
        numbers: What their definition says of each; None where it says nothing.
        key: Among which keys it takes turns; ``""`` for none.
        lanes: Of executions with ready steps, the next one first.
        waiting: How many steps those are.
        held: How many steps that came through it hold its limits.
        place: The rotation it is in; None for none.
        passed_over: How often it was tried in vain since a step of it started.
        woken_by: The limit that opened last for it; None once a step of it started.
    """

    __slots__ = (
        "_arrivals",
        "gates",
        "held",
        "key",
        "lanes",
        "numbers",
        "passed_over",
        "place",
        "priority",
        "waiting",
        "woken_by",
    )

    def __init__(
        self,
        priority: int,
        gates: tuple[Gate, ...] = (),
        numbers: tuple[Numbers | None, ...] = (),
        key: str = "",
    ) -> None:
        self.priority = priority
        self.gates = gates
        self.numbers = numbers
        self.key = key
        self.lanes: OrderedDict[Entry, Lane] = OrderedDict()
        self.waiting = self.held = 0
        self.place: Rotation | None = None
        self.passed_over = 0
        self.woken_by: Gate | None = None
        self._arrivals: deque[tuple[int, Lane, str]] = deque()

    def arrive(self, number: int, lane: Lane, step: str) -> None:
        """Take note of a step that waits in a lane of it from now on."""
        self.waiting += 1
        if len(self._arrivals) > _SLACK + 2 * self.waiting:  # most of them have gone, and would keep executions alive
            self._arrivals = deque(one for one in self._arrivals if one[1].waiting.get(one[2]) == one[0])
        self._arrivals.append((number, lane, step))

    def next(self) -> tuple[Lane, str]:
        """Return the step whose turn it is."""
        lane = next(iter(self.lanes.values()))
        return lane, lane.first()

    def oldest(self) -> tuple[int, Lane, str]:
        """Return the step that has waited longest, with its number."""
        arrivals = self._arrivals
        while True:
            number, lane, step = arrivals[0]
            if lane.waiting.get(step) == number:
                return arrivals[0]
            arrivals.popleft()

    def take(self, lane: Lane, step: str) -> None:
        """Take a step out; the next turn is another execution's."""
        del lane.waiting[step]
        self.waiting -= 1
        if not lane.waiting:
            self.drop(lane)
        elif len(self.lanes) > 1:
            self.lanes.move_to_end(lane.owner)

    def drop(self, lane: Lane) -> None:
        """Take an execution out."""
        self.waiting -= len(lane.waiting)
        lane.waiting.clear()
        self.lanes.pop(lane.owner, None)
        if not self.lanes:
            self._arrivals.clear()


class Rotation:
    """Lines, in the order in which they are served."""

    __slots__ = ("_ages", "_count", "_levels", "_priorities")

    def __init__(self) -> None:
        self._priorities: list[int] = []
        self._levels: dict[int, OrderedDict[str, OrderedDict[Line, None]]] = {}
        self._ages: list[tuple[int, Line]] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, line: Line, *, is_first: bool = False) -> None:
        """Add a line that is in no rotation, behind the others of its key or (``is_first``) before all of its level."""
        line.place = self
        self._count += 1
        keys = self._levels.get(line.priority)
        if keys is None:
            bisect.insort(self._priorities, line.priority)
            keys = self._levels[line.priority] = OrderedDict()
        lines = keys.get(line.key)
        if lines is None:
            lines = keys[line.key] = OrderedDict()
        lines[line] = None
        if is_first:
            lines.move_to_end(line, last=False)
            keys.move_to_end(line.key, last=False)
        heapq.heappush(self._ages, (line.oldest()[0], line))
        if len(self._ages) > _SLACK + 2 * self._count:  # most of it is no longer so
            found = [one for keys in self._levels.values() for lines in keys.values() for one in lines]
            for one in found:
                if not one.lanes:
                    self.remove(one)  # it comes back with its next step
            self._ages = [(one.oldest()[0], one) for one in found if one.lanes]
            heapq.heapify(self._ages)

    def remove(self, line: Line) -> None:
        """Take a line out."""
        line.place = None
        self._count -= 1
        keys = self._levels[line.priority]
        lines = keys[line.key]
        del lines[line]
        if not lines:
            del keys[line.key]
            if not keys:
                del self._levels[line.priority]
                del self._priorities[bisect.bisect_left(self._priorities, line.priority)]

    @property
    def lowest(self) -> int:
        """Return the lowest priority there is."""
        return self._priorities[0]

    def first(self) -> Line | None:
        """Return the line whose turn it is; None if there is none."""
        if not self._priorities:
            return None
        keys = self._levels[self._priorities[-1]]
        return next(iter(next(iter(keys.values()))))

    def oldest(self) -> Line | None:
        """Return the line of the step that has waited longest; None if there is none."""
        ages = self._ages
        while ages:
            number, line = ages[0]
            if line.place is self and not line.lanes:
                self.remove(line)  # it comes back with its next step
            if line.place is self:
                now = line.oldest()[0]
                if now == number:
                    return line
                heapq.heapreplace(ages, (now, line))
            else:
                heapq.heappop(ages)
        return None

    def served(self, line: Line) -> None:
        """Let the next turn be that of another key, and of another line of this one."""
        if self._count > 1:
            keys = self._levels[line.priority]
            keys[line.key].move_to_end(line)
            keys.move_to_end(line.key)


class Ageing:
    """Says when a slot goes to whoever waits longest, whatever its priority."""

    __slots__ = ("_count", "_top")

    def __init__(self) -> None:
        self._count = 0
        self._top = 0

    def note(self, priority: int) -> None:
        """Count a slot that went to a step of that priority."""
        self._top = priority if not self._count else max(self._top, priority)
        self._count += 1

    def choose(self, lines: Rotation) -> Line | None:
        """Return the line that waits longest, if it was passed over often enough; None if turns go on as they do."""
        if self._count < PATIENCE - 1 or not lines or lines.lowest >= self._top:
            return None
        line = lines.oldest()
        return line if line is not None and line.priority < self._top else None

    def begin_again(self) -> None:
        """Begin to count."""
        self._count = 0
