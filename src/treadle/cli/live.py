"""What a person sees while a workflow runs: its graph as a tree that changes as steps do, and a progress bar.

Every change comes from committed events. Of a workflow that is taller than the terminal the steps that matter now are
shown: failed and running ones first, then those that ended last.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from treadle import StepStatus
from treadle.cli.output import clean, seconds

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from rich.console import RenderableType

    from treadle import HistoryEvent, Workflow

ENDS: Final = {
    "StepSucceeded": StepStatus.COMPLETED,
    "TriggerPassed": StepStatus.COMPLETED,
    "StepPassed": StepStatus.COMPLETED,
    "WaitEnded": StepStatus.COMPLETED,
    "InputGiven": StepStatus.COMPLETED,
    "OutputGiven": StepStatus.COMPLETED,
    "EndReached": StepStatus.COMPLETED,
    "StepFailed": StepStatus.FAILED,
    "StepTimedOut": StepStatus.TIMED_OUT,
    "StepSkipped": StepStatus.SKIPPED,
    "StepCancelled": StepStatus.CANCELLED,
}
"""Events after which a step is done."""

CHANGES: Final = {
    **ENDS,
    "StepStarted": StepStatus.RUNNING,
    "StepReady": StepStatus.WAITING,
    "StepFellBack": StepStatus.WAITING,
    "WaitStarted": StepStatus.WAITING,
    "InputAsked": StepStatus.WAITING,
    "StepPaused": StepStatus.PAUSED,
    "AnswerAwaited": StepStatus.PAUSED,
    "AttemptFailed": StepStatus.WAITING,
    "AttemptInterrupted": StepStatus.WAITING,
}

UNDONE: Final = {
    "CompensationStarted": "is being undone",
    "CompensationSucceeded": "undone",
    "CompensationFailed": "could not be undone",
}

MARKS: Final = {
    StepStatus.PENDING: ("·", "dim"),
    StepStatus.RUNNING: ("▶", "bold cyan"),
    StepStatus.WAITING: ("…", "yellow"),
    StepStatus.PAUSED: ("⏸", "yellow"),
    StepStatus.COMPLETED: ("✓", "green"),
    StepStatus.FAILED: ("✗", "bold red"),
    StepStatus.TIMED_OUT: ("⏱", "bold red"),
    StepStatus.SKIPPED: ("↷", "dim"),
    StepStatus.CANCELLED: ("■", "dim"),
}

URGENT: Final = (StepStatus.FAILED, StepStatus.TIMED_OUT, StepStatus.PAUSED, StepStatus.RUNNING, StepStatus.WAITING)
HEAD_AND_FOOT: Final = 6
"""Lines beside the steps."""


class Line:
    """One step as it is shown."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.status = StepStatus.PENDING
        self.attempt = 0
        self.began = 0.0
        self.took: float | None = None
        self.error = ""
        self.changed = 0

    def text(self, now: float) -> Text:
        """Return the line."""
        mark, style = MARKS[self.status]
        text = Text.assemble((f"{mark} {self.name}", style), no_wrap=True, overflow="ellipsis")
        if self.attempt > 1:
            text.append(f"  attempt {self.attempt}", "yellow")
        if self.took is not None:
            text.append(f"  {seconds(self.took)}", "dim")
        elif self.status is StepStatus.RUNNING:
            text.append(f"  {seconds(now - self.began)}", "cyan")
        if self.error:
            text.append(f"  {self.error}", "red" if self.status is not StepStatus.COMPLETED else "dim")
        return text


class LiveRun:
    """A workflow on a terminal, from ``with`` to its end.

    Args:
        workflow: What runs.
        execution_id: Of the execution.
        console: The terminal.
    """

    def __init__(self, workflow: Workflow, execution_id: str, console: Console) -> None:
        self._lines = {node.id: Line(clean(node.id)) for node in workflow.nodes}
        self._below, self._roots = _tree(workflow)
        self._title = clean(f"{workflow.name or workflow.id}  {execution_id}")
        self._console = console
        self._began = time.monotonic()
        self._count = 0
        self._live = Live(console=console, get_renderable=self.render, refresh_per_second=10, transient=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._live.stop()

    def take(self, event: HistoryEvent) -> None:
        """Show what happened."""
        line = self._lines.get(event.step)
        status = CHANGES.get(event.kind)
        if line is not None and event.kind in UNDONE:
            line.error = UNDONE[event.kind]
        if line is None or status is None:
            return
        self._count += 1
        line.status, line.changed = status, self._count
        line.attempt = max(line.attempt, event.attempt)
        line.error = clean(event.data.get("error", {}).get("message", "")).replace("\n", " ")
        if event.kind == "StepStarted":
            line.began, line.took = line.began or event.at.timestamp(), None  # as `show`: all attempts and waits
        elif line.began and event.kind in ENDS:
            line.took = max(0.0, event.at.timestamp() - line.began)
        if event.kind == "InputAsked":
            line.error = "asks a person"
        if event.kind == "AnswerAwaited":
            line.error = f"asks what to do: {line.error}"
        if event.kind == "StepPaused":
            line.error = "needs " + clean(", ".join(event.data.get("missing", [])))

    def render(self) -> RenderableType:
        """Return the picture of now."""
        now = time.time()
        fits = len(self._lines) + HEAD_AND_FOOT <= self._console.size.height
        return Group(self._whole(now) if fits else self._part(now), self._bar())

    def _whole(self, now: float) -> RenderableType:
        tree = Tree(Text(self._title, "bold"), guide_style="dim")
        pending = [(tree, name) for name in reversed(self._roots)]
        while pending:
            above, name = pending.pop()
            branch = above.add(self._lines[name].text(now))
            pending.extend((branch, below) for below in reversed(self._below[name]))
        return tree

    def _part(self, now: float) -> RenderableType:
        room = max(3, self._console.size.height - HEAD_AND_FOOT)
        rank = {status: place for place, status in enumerate(URGENT)}
        begun = [line for line in self._lines.values() if line.status is not StepStatus.PENDING]
        begun.sort(key=lambda line: (rank.get(line.status, len(rank)), -line.changed))
        hidden = len(self._lines) - min(room, len(begun))
        tree = Tree(Text(self._title, "bold"), guide_style="dim")
        for line in begun[:room]:
            tree.add(line.text(now))
        if hidden:
            tree.add(Text(f"and {hidden:,} more steps", "dim"))
        return tree

    def _bar(self) -> RenderableType:
        statuses = [line.status for line in self._lines.values()]
        done = sum(status in ENDS.values() for status in statuses)
        running = statuses.count(StepStatus.RUNNING)
        words = f"{done:,}/{len(statuses):,} steps  {running} running  {seconds(time.monotonic() - self._began)}"
        row = Table.grid(padding=(0, 1))
        row.add_row(ProgressBar(total=max(1, len(statuses)), completed=done, width=30), Text(words))
        return row


def _tree(workflow: Workflow) -> tuple[dict[str, list[str]], list[str]]:
    """Return the nodes below each node, and the roots: each node hangs below the first connection that leads to it."""
    below: dict[str, list[str]] = {node.id: [] for node in workflow.nodes}
    above: dict[str, str] = {}
    for connection in workflow.connections:
        above.setdefault(connection.target, connection.source)
    for node in workflow.nodes:
        if node.id in above:
            below[above[node.id]].append(node.id)
    return below, [node.id for node in workflow.nodes if node.id not in above]
