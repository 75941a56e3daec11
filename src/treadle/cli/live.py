"""What a person sees while a workflow runs: its graph as a tree that changes as steps do, and a progress bar.

Every change comes from committed events. Below a map, a loop or a parallel stand the steps of its bodies, of a map a
few of those under way. Of a workflow that is taller than the terminal the steps that matter now are shown: failed and
running ones first, then those that ended last.
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
from treadle.cli.steps import GROUPS, Line, Steps

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import Self

    from rich.console import RenderableType

    from treadle import HistoryEvent, Workflow

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
_RANK: Final = {status: place for place, status in enumerate(URGENT)}
HEAD_AND_FOOT: Final = 6
"""Lines beside the steps."""
SHOWN_OF_A_MAP: Final = 5
"""Steps of items under way that stand below their map."""


class LiveRun:
    """A workflow on a terminal, from ``with`` to its end.

    Args:
        workflow: What runs.
        execution_id: Of the execution.
        console: The terminal.
    """

    def __init__(self, workflow: Workflow, execution_id: str, console: Console) -> None:
        self._steps = Steps(workflow)
        self._below, self._roots = _tree(workflow)
        self._title = clean(f"{workflow.name or workflow.id}  {execution_id}")
        self._console = console
        self._began = time.monotonic()
        self._live = Live(console=console, get_renderable=self.render, refresh_per_second=10, transient=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._live.stop()

    def take(self, event: HistoryEvent) -> None:
        """Show what happened."""
        self._steps.take(event)

    def render(self) -> RenderableType:
        """Return the picture of now."""
        now = time.time()
        room = max(3, self._console.size.height - HEAD_AND_FOOT)
        return Group(self._whole(now, room) or self._part(now, room), self._bar())

    def _whole(self, now: float, room: int) -> RenderableType | None:
        """Return the whole tree; None where it is taller than ``room``."""
        tree = Tree(Text(self._title, "bold"), guide_style="dim")
        agenda: list[tuple[Tree, str, Line | Text]] = [
            (tree, name, self._steps.lines[name]) for name in reversed(self._roots)
        ]
        for _ in range(room + 1):
            if not agenda:
                return tree
            above, name, one = agenda.pop()
            branch = above.add(one if isinstance(one, Text) else _text(one, now))
            after = [(branch, below, self._steps.lines[below]) for below in self._below.get(name, ())]
            inside = [(branch, "", below) for below in (_within(one) if isinstance(one, Line) else ())]
            agenda.extend(reversed([*inside, *after]))
        return None

    def _part(self, now: float, room: int) -> RenderableType:
        lines = list(_all(self._steps.lines.values()))
        begun = [line for line in lines if line.status is not StepStatus.PENDING]
        begun.sort(key=_urgency)
        hidden = len(lines) - min(room, len(begun))
        tree = Tree(Text(self._title, "bold"), guide_style="dim")
        for line in begun[:room]:
            tree.add(_text(line, now, line.key))
        if hidden:
            tree.add(Text(f"and {hidden:,} more steps", "dim"))
        return tree

    def _bar(self) -> RenderableType:
        lines = self._steps.lines.values()
        done = sum(line.status.is_terminal for line in lines)
        took = seconds(time.monotonic() - self._began)
        words = f"{done:,}/{len(lines):,} steps  {self._steps.running:,} running  {took}"
        row = Table.grid(padding=(0, 1))
        width = max(5, min(30, self._console.size.width - len(words) - 2))
        bar = ProgressBar(total=max(1, len(lines)), completed=sum(line.share for line in lines), width=width)
        row.add_row(bar, Text(words, no_wrap=True, overflow="ellipsis"))
        return row


def _text(line: Line, now: float, name: str = "") -> Text:
    mark, style = MARKS[line.status]
    text = Text.assemble((f"{mark} {name or line.name}", style), no_wrap=True, overflow="ellipsis")
    if line.progress:
        text.append(f"  {line.progress}", "red" if line.failed else "cyan" if line.took is None else "dim")
    if line.attempt > 1:
        text.append(f"  attempt {line.attempt}", "yellow")
    if line.took is not None:
        text.append(f"  {seconds(line.took)}", "dim")
    elif line.status is StepStatus.RUNNING:
        text.append(f"  {seconds(max(0.0, now - line.began))}", "cyan")
    if line.note:
        text.append(f"  {line.note}", "red" if line.status is not StepStatus.COMPLETED else "dim")
    return text


def _within(line: Line) -> Iterator[Line | Text]:
    """Yield what stands below a step that has bodies: of a map what is under way, of a loop its iteration."""
    if line.kind == "parallel" or (line.kind == "loop" and line.status is not StepStatus.COMPLETED):
        yield from line.within()
    elif line.kind == "map" and line.status not in (StepStatus.COMPLETED, StepStatus.CANCELLED):
        urgent = [one for one in (*line.failures, *line.within()) if one.status in _RANK]
        urgent.sort(key=lambda one: _RANK[one.status])  # among equals in the order of the items, so that few lines move
        yield from urgent[:SHOWN_OF_A_MAP]
        if len(urgent) > SHOWN_OF_A_MAP:
            yield Text(f"and {len(urgent) - SHOWN_OF_A_MAP:,} more under way", "dim", no_wrap=True)


def _urgency(line: Line) -> tuple[int, int]:
    return _RANK.get(line.status, len(_RANK)), -line.changed


def _all(lines: Iterable[Line]) -> Iterator[Line]:
    for line in lines:
        yield line
        if line.kind in GROUPS:
            yield from _all((*line.failures, *line.within()))


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
