"""Rounds of a row: the contestants in turn within each round, and medians with their spread over the rounds."""

from __future__ import annotations

import asyncio
import gc
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, structs

from bench.contestants import MarkedSteps, Steps, Watch, run_asyncio, run_loop, run_treadle
from bench.graphs import ACTION, document
from treadle import load_workflow

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.contestants import Load
    from treadle import Workflow


class Spread(Struct, frozen=True):
    """A figure over all rounds."""

    median: float
    low: float
    high: float


class Round(Struct, frozen=True):
    """One round of a row, in seconds.

    Attributes:
        treadle: From the first start to the last final state.
        treadle_cpu: CPU of all threads during it.
        loop: The bare loop writing the same batches.
        plain: Bare asyncio.
        commits: How many batches were written.
        read: From the documents to checked workflows; 0 in a round that did not read them again.
        tenths: CPU per step in each tenth of the executions; empty where it is not asked for.
    """

    treadle: float
    treadle_cpu: float
    loop: float
    plain: float
    commits: int
    read: float = 0.0
    tenths: tuple[float, ...] = ()


def spread(values: Iterable[float]) -> Spread:
    """Return the median, the lowest and the highest value."""
    found = list(values)
    return Spread(statistics.median(found), min(found), max(found))


def play(load: Load, folder: Path, *, count: int, is_read_again: bool = False, has_tenths: bool = False) -> list[Round]:
    """Return ``count`` rounds, after one that does not count.

    Args:
        load: What there is to do.
        folder: Where the database files are made and removed again.
        count: How many.
        is_read_again: Read the documents in every round, not only before the first.
        has_tenths: Look at the CPU per step along each execution; needs one graph, one execution at a time.
    """
    rounds: list[Round] = []
    workflows: list[Workflow] = []
    seconds = 0.0
    for _ in range(count + 1):
        if is_read_again or not workflows:
            workflows, seconds = read(load)
        played = _play_once(load, workflows, folder, has_tenths=has_tenths)
        rounds.append(structs.replace(played, read=seconds))
    return rounds[1:]


def read(load: Load) -> tuple[list[Workflow], float]:
    """Return the graphs as checked workflows, and the seconds from the documents to there."""
    documents = [document(graph) for graph in load.graphs]
    gc.collect()
    with Watch() as watch:
        workflows = [load_workflow(one, actions=[ACTION]) for one in documents]
    for workflow in workflows:
        load_workflow(workflow)  # the first time an engine sees a workflow it looks at it again; that is not running
    return workflows, watch.seconds


def _play_once(load: Load, workflows: Sequence[Workflow], folder: Path, *, has_tenths: bool) -> Round:
    steps = MarkedSteps() if has_tenths else Steps()
    with tempfile.TemporaryDirectory(prefix="treadle-bench-", dir=folder) as name:
        gc.collect()
        treadle, found, batches = asyncio.run(run_treadle(load, workflows, Path(name) / "treadle.db", steps))
        gc.collect()
        loop = asyncio.run(run_loop(batches, Path(name) / "loop.db"))
    gc.collect()
    plain, expected = asyncio.run(run_asyncio(load, Steps()))
    if sorted(found) != sorted(expected):
        raise RuntimeError(f"treadle and bare asyncio do not agree on {[graph.name for graph in load.graphs]}")
    return Round(
        treadle=treadle.seconds,
        treadle_cpu=treadle.cpu_seconds,
        loop=loop.seconds,
        plain=plain.seconds,
        commits=len(batches),
        tenths=tenths(steps.marks, len(load.graphs[0])) if isinstance(steps, MarkedSteps) else (),
    )


def tenths(marks: Sequence[float], size: int) -> tuple[float, ...]:
    """Return the mean step in each tenth of executions of ``size`` steps that ran in turn.

    Args:
        marks: The time at the start of each step, execution after execution.
        size: Steps of one execution; at least 10. The last step has no end, so the last tenth begins and ends one
            step early.
    """
    part = size // 10
    starts = [*(tenth * part for tenth in range(9)), size - 1 - part]
    runs = range(0, len(marks), size)
    return tuple(
        statistics.fmean(marks[run + start + part] - marks[run + start] for run in runs) / part for start in starts
    )
