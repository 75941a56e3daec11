"""The steps of a run as its events tell them, one line each; of maps and loops how far they are.

What an item did is let go of once it has ended, but for failures: a map of thousands of items costs what is under way.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from treadle import StepPlace, StepStatus, step_place
from treadle.cli.output import clean, count_of, items_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from treadle import HistoryEvent, Node, Workflow

ENDS: Final = {
    "StepSucceeded": StepStatus.COMPLETED,
    "TriggerPassed": StepStatus.COMPLETED,
    "StepPassed": StepStatus.COMPLETED,
    "WaitEnded": StepStatus.COMPLETED,
    "InputGiven": StepStatus.COMPLETED,
    "OutputGiven": StepStatus.COMPLETED,
    "StepKept": StepStatus.COMPLETED,
    "EventReceived": StepStatus.COMPLETED,
    "ChildStarted": StepStatus.COMPLETED,
    "ChildCompleted": StepStatus.COMPLETED,
    "GroupCompleted": StepStatus.COMPLETED,
    "EndReached": StepStatus.COMPLETED,
    "StepFailed": StepStatus.FAILED,
    "StepTimedOut": StepStatus.TIMED_OUT,
    "StepSkipped": StepStatus.SKIPPED,
    "StepCancelled": StepStatus.CANCELLED,
}
"""Events after which a step is done."""

BEGINS: Final = ("StepStarted", "GroupStarted", "ChildRequested", "WaitStarted", "InputAsked", "EventAwaited")

CHANGES: Final = {
    **ENDS,
    "StepStarted": StepStatus.RUNNING,
    "GroupStarted": StepStatus.RUNNING,
    "ChildRequested": StepStatus.RUNNING,
    "ChildResumed": StepStatus.RUNNING,
    "StepReady": StepStatus.WAITING,
    "WaitStarted": StepStatus.WAITING,
    "InputAsked": StepStatus.WAITING,
    "EventAwaited": StepStatus.WAITING,
    "StepFellBack": StepStatus.WAITING,
    "StepPaused": StepStatus.PAUSED,
    "AnswerAwaited": StepStatus.PAUSED,
    "ChildPaused": StepStatus.PAUSED,
    "AttemptFailed": StepStatus.WAITING,
    "AttemptInterrupted": StepStatus.WAITING,
}

UNDONE: Final = {
    "CompensationStarted": "is being undone",
    "CompensationSucceeded": "undone",
    "CompensationFailed": "could not be undone",
}

GROUPS: Final = ("map", "loop", "parallel")
SHOWN_FAILURES: Final = 2
"""Failed steps of a map that are kept, of the items that failed last."""


class Line:
    """One step.

    Attributes:
        name: What it is shown as: its id, and within a body what its key ends with, such as ``[3].charge``.
        key: Of the step, once something happened to it.
        began: When it started first, in seconds since the epoch; 0 before.
        took: How long it took, in seconds; None while it goes on.
        note: What else there is to say: its error, or what it waits for.
        changed: Number of the last event of it.
        total: Of a map: how many items there are.
        begun: How many bodies have begun.
        completed: How many of them completed.
        failed: How many of them failed.
        bodies: Those that are shown, by number: lines by id.
        failures: Of a map: failed steps of items that have ended.
    """

    __slots__ = (
        "attempt",
        "began",
        "begun",
        "bodies",
        "changed",
        "completed",
        "failed",
        "failures",
        "key",
        "name",
        "node",
        "note",
        "status",
        "took",
        "total",
    )

    def __init__(self, node: Node | None, name: str) -> None:
        self.node = node
        self.name = clean(name)
        self.key = self.name
        self.status = StepStatus.PENDING
        self.attempt = self.changed = 0
        self.began = 0.0
        self.took: float | None = None
        self.note = ""
        self.total = self.begun = self.completed = self.failed = 0
        self.bodies: dict[int | None, dict[str, Line]] = {}
        self.failures: deque[Line] = deque(maxlen=SHOWN_FAILURES)
        if self.kind == "parallel":
            self.open(None)  # its steps are known from the start

    @property
    def kind(self) -> str:
        """Return the type of the node; ``""`` for the call of another workflow that is a body by itself."""
        return "" if self.node is None else self.node.type.value

    def open(self, number: int | None) -> None:
        """Add a body."""
        assert self.node is not None  # what has bodies is a node
        body = self.node.body
        nodes: list[tuple[str, Node | None]] = (
            [(self.node.workflow, None)] if body is None else [(one.id, one) for one in body.nodes]
        )
        self.bodies[number] = {id_: Line(node, StepPlace(self.key, number, id_).name) for id_, node in nodes}

    def within(self) -> Iterator[Line]:
        """Yield the lines of its bodies that are shown."""
        for body in self.bodies.values():
            yield from body.values()

    @property
    def progress(self) -> str:
        """Return how far a map or a loop is; ``""`` for every other."""
        if self.kind == "map" and self.began:
            return items_text(self.total, self.completed, self.failed)
        if self.kind == "loop" and self.begun:
            return f"iteration {self.begun:,}" if self.took is None else count_of(self.begun, "iteration")
        return ""

    @property
    def share(self) -> float:
        """Return how much of it is done, from 0 to 1."""
        if self.status.is_terminal:
            return 1.0
        if self.kind == "map":
            return (self.completed + self.failed) / self.total if self.total else 0.0
        if self.kind == "parallel":
            inner = [line.share for line in self.within()]
            return sum(inner) / len(inner) if inner else 0.0
        return 0.0


class Steps:
    """All steps of a run.

    Attributes:
        lines: Of the nodes at the top, by id.
        running: How many attempts run.
    """

    def __init__(self, workflow: Workflow) -> None:
        self.lines = {node.id: Line(node, node.id) for node in workflow.nodes}
        self.running = 0
        self._count = 0

    def take(self, event: HistoryEvent) -> None:
        """Take in what happened."""
        line = self.find(event.step) if event.step else None
        if line is None:
            return
        self._count += 1
        match event.kind:
            case "BodyStarted":
                self._begin_bodies(line, event.data.get("number", 0), event.data.get("count", 1))
            case "BodyCompleted":
                line.completed += 1
                self._end_body(line, event.data.get("number", 0), has_failed=False)
            case "BodyFailed":
                line.failed += 1
                self._end_body(line, event.data.get("number", 0), has_failed=True)
            case kind if kind in UNDONE:
                line.note = UNDONE[kind]
            case kind if kind in CHANGES:
                self._change(line, event)
            case _:
                pass

    def find(self, step: str) -> Line | None:
        """Return the line of a step; None for one that is not shown any more."""
        place = step_place(step, self.lines)
        if not place.holder:
            return self.lines.get(place.id)
        holder = self.find(place.holder)
        return None if holder is None else holder.bodies.get(place.number, {}).get(place.id)

    def _change(self, line: Line, event: HistoryEvent) -> None:
        self._move(line, CHANGES[event.kind])
        line.key, line.changed = clean(event.step), self._count
        line.attempt = max(line.attempt, event.attempt)
        line.note = _note(event)
        if event.kind in BEGINS:
            line.began, line.took = line.began or event.at.timestamp(), None  # as `show`: all attempts and waits
        elif line.began and event.kind in ENDS:
            line.took = max(0.0, event.at.timestamp() - line.began)
        if event.kind == "GroupStarted":
            line.total = len(event.data.get("items") or ())
        elif event.kind in ENDS and line.bodies:
            for inner in line.within():
                self._cut_off(inner)
            if line.kind == "map":
                line.bodies.clear()

    def _move(self, line: Line, status: StepStatus) -> None:
        if line.kind not in GROUPS:
            self.running += (status is StepStatus.RUNNING) - (line.status is StepStatus.RUNNING)
        line.status = status

    def _begin_bodies(self, line: Line, first: int, count: int) -> None:
        line.begun = first + count
        if line.kind == "parallel":
            return
        if line.kind == "loop":
            line.bodies.clear()
        for number in range(first, first + count):
            line.open(number)

    def _end_body(self, line: Line, number: int, *, has_failed: bool) -> None:
        body = line.bodies.get(None if line.kind == "parallel" else number, {})
        for inner in body.values():
            self._cut_off(inner)
        if line.kind == "map":
            if has_failed:
                line.failures.extend(one for one in body.values() if one.status in FAILURES)
            line.bodies.pop(number, None)

    def _cut_off(self, line: Line) -> None:
        """Take in that a step will not go on, and nothing within it."""
        if not line.status.is_terminal and line.status is not StepStatus.PENDING:
            self._move(line, StepStatus.CANCELLED)
            line.note = ""
        for inner in line.within():
            self._cut_off(inner)


FAILURES: Final = (StepStatus.FAILED, StepStatus.TIMED_OUT)


def _note(event: HistoryEvent) -> str:
    match event.kind:
        case "InputAsked":
            return "asks a person"
        case "AnswerAwaited":
            return clean(f"asks what to do: {(event.data.get('error') or {}).get('message', '')}").replace("\n", " ")
        case "EventAwaited":
            return clean(f"waits for the event {event.data.get('name')}")
        case "StepPaused" | "ChildPaused":
            return "needs " + clean(", ".join(event.data.get("missing") or event.data.get("waiting_for") or ()))
        case _:
            return clean((event.data.get("error") or {}).get("message", "")).replace("\n", " ")
