"""Treadle, the bare loop and bare asyncio: each does the whole work once and says how long it took.

Opening and closing (of the engine, of the file) is not timed, for any of them. What was read from the clock is the
same for all: wall time, and CPU time of the whole process with all its threads.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Self, TypeVar

from msgspec import Struct

from bench.graphs import ACTION, Graph
from treadle import ExecutionStatus, Settings, WorkflowEngine
from treadle.store.protocol import Answer
from treadle.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from pathlib import Path

    from treadle import ExecutionState, Workflow
    from treadle.store.protocol import Appended, Turn

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")


class Load(Struct, frozen=True):
    """What there is to do.

    Attributes:
        graphs: Run in this order.
        times: Executions of each graph.
        in_flight: Executions at a time.
        limit: ``max_concurrent_steps``; bare asyncio has as many slots.
    """

    graphs: tuple[Graph, ...]
    times: int = 1
    in_flight: int = 1
    limit: int = 100

    @property
    def steps(self) -> int:
        """Return how many steps there are, all told."""
        return self.times * sum(len(graph) for graph in self.graphs)


class Watch:
    """Measures what happens while it is entered.

    Attributes:
        seconds: Wall time.
        cpu_seconds: CPU time of all threads of this process.
    """

    def __init__(self) -> None:
        self.seconds = self.cpu_seconds = 0.0

    def __enter__(self) -> Self:
        self.cpu_seconds = time.process_time()
        self.seconds = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self.seconds
        self.cpu_seconds = time.process_time() - self.cpu_seconds


class Steps:
    """The action: one more than the largest input."""

    async def step(self, inputs: list[int]) -> int:
        """Return the depth of this step."""
        return 1 + max(inputs, default=0)


class MarkedSteps(Steps):
    """The same, and notes the process's CPU time at every call.

    Attributes:
        marks: CPU seconds, in order of the calls.
    """

    def __init__(self) -> None:
        self.marks: list[float] = []

    async def step(self, inputs: list[int]) -> int:
        """Return the depth of this step."""
        self.marks.append(time.process_time())
        return 1 + max(inputs, default=0)


class Recorder(SqliteStore):
    """The store of treadle's own run, which keeps what was appended.

    Attributes:
        batches: The turns of each call of ``append``; the engine makes one at a time, so each is one transaction.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.batches: list[Sequence[Turn]] = []

    async def append(self, turns: Sequence[Turn]) -> Sequence[Appended]:
        """Keep and write the turns."""
        self.batches.append(turns)
        return await super().append(turns)


async def run_treadle(
    load: Load, workflows: Sequence[Workflow], path: Path, steps: Steps
) -> tuple[Watch, list[int], list[Sequence[Turn]]]:
    """Run every execution with treadle.

    Args:
        load: What there is to do.
        workflows: The graphs of ``load`` as workflows.
        path: A database file that is not there yet.
        steps: The action.

    Returns:
        The time from the first start to the last final state, the answer of each execution, and the batches written.
    """
    store = Recorder(path)
    jobs = [workflow for workflow in workflows for _ in range(load.times)]
    actions = [{ACTION: steps.step}]
    async with WorkflowEngine(load.limit, store=store, actions=actions, settings=Settings()) as engine:
        with Watch() as watch:
            states = await _keep_in_flight(jobs, load.in_flight, engine.run_workflow)
    return watch, [_answer(state) for state in states], store.batches


async def run_loop(batches: Sequence[Sequence[Turn]], path: Path) -> Watch:
    """Write ``batches`` into a new file, one after another, through the store that treadle uses."""
    store = SqliteStore(path)
    await store.open()
    try:
        with Watch() as watch:
            answers = [await store.append(turns) for turns in batches]
    finally:
        await store.close()
    if any(one.answer is not Answer.COMMITTED for several in answers for one in several):
        raise RuntimeError("the bare loop was refused a row that treadle had written")
    return watch


async def run_asyncio(load: Load, steps: Steps) -> tuple[Watch, list[int]]:
    """Run every execution with asyncio alone: a task per step, started when those before it are done."""
    slots = asyncio.Semaphore(load.limit)
    jobs = [graph for graph in load.graphs for _ in range(load.times)]

    async def run(graph: Graph) -> int:
        return await _run_graph(graph, slots, steps)

    with Watch() as watch:
        answers = await _keep_in_flight(jobs, load.in_flight, run)
    return watch, answers


async def _run_graph(graph: Graph, slots: asyncio.Semaphore, steps: Steps) -> int:
    outputs = [0] * len(graph)
    missing = [len(before) for before in graph.parents]

    async def run(step: int) -> None:
        async with slots:
            outputs[step] = await steps.step([outputs[parent] for parent in graph.parents[step]])
        for child in graph.children[step]:
            missing[child] -= 1
            if not missing[child]:
                group.create_task(run(child))

    async with asyncio.TaskGroup() as group:
        for entry in graph.entries:
            group.create_task(run(entry))
    return max(outputs)


async def _keep_in_flight(
    jobs: Iterable[_Job], in_flight: int, run: Callable[[_Job], Awaitable[_Result]]
) -> list[_Result]:
    """Run all jobs, ``in_flight`` at a time; return what they gave, in no order."""
    left = iter(jobs)
    results: list[_Result] = []

    async def work() -> None:
        for job in left:
            results.append(await run(job))  # noqa: PERF401 - the workers share one iterator and one list

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(work())
    return results


def _answer(state: ExecutionState) -> int:
    if state.status is not ExecutionStatus.COMPLETED:
        raise RuntimeError(f"{state.workflow_id} is {state.status.value}: {state.error}")
    depths = [step.output for step in state.steps.values()]
    return max(depth for depth in depths if isinstance(depth, int))
