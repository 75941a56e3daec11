"""The rows of the table: what each one runs, which figures it gives, and the goals they are held against."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from bench.contestants import Load
from bench.graphs import SkippedError, chain, fan, mapped, recorded_graphs
from bench.imports import start_times
from bench.measure import Spread, play, spread
from bench.schedules import play_schedules
from bench.waiting import play_waiting
from treadle import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.measure import Round


class Goal(Struct, frozen=True):
    """What a figure should be.

    Attributes:
        figure: Its key in ``Result.figures``.
        text: What it says, without the number.
        bound: The number.
        is_floor: At least the bound, instead of at most.
        is_later: An aim for later; ``--check`` does not look at it.
    """

    figure: str
    text: str
    bound: float
    is_floor: bool = False
    is_later: bool = False

    def is_reached(self, figures: dict[str, Spread]) -> bool:
        """Tell whether the median is on the right side of the bound."""
        median = figures[self.figure].median
        return median >= self.bound if self.is_floor else median <= self.bound


class Result(Struct, frozen=True):
    """One measured row.

    Attributes:
        steps: Steps of one round; 0 where none run.
        limit: ``max_concurrent_steps``; 0 where none run.
        figures: Per-second, per-step and other figures by key; the unit is the end of the key.
        skipped: Why there are no figures; ``""`` if there are.
    """

    name: str
    title: str
    steps: int = 0
    limit: int = 0
    figures: dict[str, Spread] = {}
    goals: tuple[Goal, ...] = ()
    skipped: str = ""


class Row(Struct, frozen=True):
    """A row to be measured.

    Attributes:
        name: What ``--rows`` calls it.
        title: What is run.
        load: Makes the work; its argument says whether it is to be tiny, as a test wants it. None for a row that runs
            no graphs.
        figures: Measures a row that runs no graphs, from a folder, how many rounds, and whether it is to be tiny.
        is_read_again: Read the document in every round: a goal looks at it.
        has_tenths: Compare the CPU per step along each execution.
    """

    name: str
    title: str
    load: Callable[[bool], Load] | None
    goals: tuple[Goal, ...] = ()
    is_read_again: bool = False
    has_tenths: bool = False
    figures: Callable[[Path, int, bool], dict[str, Spread]] | None = None


def _executions(is_tiny: bool) -> Load:  # noqa: FBT001 - one of the functions of a table
    return Load((chain(10),), times=5 if is_tiny else 1_000, in_flight=2 if is_tiny else 100)


def _fan(is_tiny: bool) -> Load:  # noqa: FBT001 - as above
    return Load((fan(5 if is_tiny else 100),), times=2 if is_tiny else 20)


def _chain(is_tiny: bool) -> Load:  # noqa: FBT001 - as above
    return Load((chain(20 if is_tiny else 1_000),), times=2)


def _wide(is_tiny: bool) -> Load:  # noqa: FBT001 - as above
    return Load((fan(20 if is_tiny else 10_000),))


def _map(is_tiny: bool) -> Load:  # noqa: FBT001 - as above
    return Load((mapped(20 if is_tiny else 10_000),))


def _real(is_tiny: bool) -> Load:  # noqa: FBT001 - as above
    graphs = recorded_graphs(are_derived=False)
    return Load(tuple(graphs[:2] if is_tiny else graphs))


def _largest(is_tiny: bool) -> Load:  # noqa: FBT001 - as above
    graphs = recorded_graphs(are_derived=True)
    return Load((graphs[0 if is_tiny else -1],))


def _schedule_figures(folder: Path, rounds: int, is_tiny: bool) -> dict[str, Spread]:  # noqa: FBT001 - as above
    size = 20 if is_tiny else 10_000
    played = play_schedules(folder, count=rounds, size=size)
    return {
        "schedule_per_s": spread(size / one.scheduled for one in played),
        "plain_per_s": spread(size / one.plain for one in played),
        "of_plain": spread(one.plain / one.scheduled for one in played),
        "schedule_us": spread(1e6 * one.scheduled_cpu / size for one in played),
        "whole_s": spread(one.scheduled for one in played),
    }


def _waiting_figures(folder: Path, rounds: int, is_tiny: bool) -> dict[str, Spread]:  # noqa: FBT001 - as above
    size, idle = (40, 10) if is_tiny else (10_000, Settings().idle_executions)
    played = play_waiting(folder, count=rounds, size=size, idle=idle)
    return {name: spread(one[name] for one in played) for name in played[0]}


def _import_figures(folder: Path, rounds: int, is_tiny: bool) -> dict[str, Spread]:  # noqa: ARG001, FBT001 - as above
    times = [start_times(1 if is_tiny else 5) for _ in range(rounds + 1)][1:]
    return {
        "bare_ms": spread(1_000 * one["bare"] for one in times),
        "import_ms": spread(1_000 * (one["import"] - one["bare"]) for one in times),
        "engine_ms": spread(1_000 * (one["engine"] - one["bare"]) for one in times),
    }


ROWS: Final = (
    Row(
        "executions",
        "1,000 executions of a 10-step chain, 100 in flight",
        _executions,
        (
            Goal("of_loop", "of the bare loop's speed", 0.2, is_floor=True),
            Goal("of_loop", "of the bare loop's speed", 0.35, is_floor=True, is_later=True),
        ),
    ),
    Row("fan", "a 100-wide fan-out and join; 20, one at a time", _fan),
    Row(
        "chain",
        "a 1,000-step chain; 2, one at a time",
        _chain,
        (Goal("last_of_first", "times the CPU per step of the first tenth, in the last", 1.15),),
        has_tenths=True,
    ),
    Row(
        "wide",
        "one 10,000-wide fan-out and join",
        _wide,
        (Goal("whole_s", "s from the document to the end", 3.0),),
        is_read_again=True,
    ),
    Row(
        "map",
        "one step, a map of 10,000 items, and a step that reads them",
        _map,
        (Goal("whole_s", "s from the document to the end", 3.0),),
        is_read_again=True,
    ),
    Row("real", "recorded graphs, one at a time", _real),
    Row("largest", "the largest graph derived from recorded ones", _largest),
    Row(
        "schedules",
        "10,000 schedules due in one minute",
        None,
        (
            Goal("whole_s", "s from the minute to the last start", 60.0),
            Goal("of_plain", "of the speed of plain starts", 0.3, is_floor=True),
        ),
        figures=_schedule_figures,
    ),
    Row(
        "waiting",
        "10,000 executions that wait for a time or an event, beyond those kept in memory",
        None,
        (
            Goal("away_bytes", "bytes of the process for each", 2_048.0),
            Goal("together_bytes", "bytes of Python's heap for each of 1,000 in all", 2_048.0),
            Goal("more_tasks", "tasks for all of them", 0.0),
            Goal("more_threads", "threads for all of them", 0.0),
        ),
        figures=_waiting_figures,
    ),
    Row(
        "import",
        "import treadle, over a bare interpreter",
        None,
        (Goal("import_ms", "ms for `import treadle` over a bare interpreter", 60.0),),
        figures=_import_figures,
    ),
)


def measure(row: Row, folder: Path, *, rounds: int, is_tiny: bool = False) -> Result:
    """Return the row with its figures, or with the reason why there are none."""
    if row.figures is not None:
        return Result(row.name, row.title, figures=row.figures(folder, rounds, is_tiny), goals=row.goals)
    assert row.load is not None  # a row has one of the two
    try:
        load = row.load(is_tiny)
    except SkippedError as reason:
        return Result(row.name, row.title, skipped=str(reason))
    played = play(load, folder, count=rounds, is_read_again=row.is_read_again, has_tenths=row.has_tenths)
    title = f"{len(load.graphs)} {row.title}" if len(load.graphs) > 1 else row.title
    return Result(row.name, title, load.steps, load.limit, graph_figures(played, load.steps), row.goals)


def graph_figures(rounds: Sequence[Round], steps: int) -> dict[str, Spread]:
    """Return the figures of a row; each ratio is taken within its round."""
    figures = {
        "treadle_per_s": spread(steps / one.treadle for one in rounds),
        "loop_per_s": spread(steps / one.loop for one in rounds),
        "asyncio_per_s": spread(steps / one.plain for one in rounds),
        "of_loop": spread(one.loop / one.treadle for one in rounds),
        "of_asyncio": spread(one.plain / one.treadle for one in rounds),
        "cpu_us": spread(1e6 * one.treadle_cpu / steps for one in rounds),
        "run_s": spread(one.treadle for one in rounds),
        "read_s": spread(one.read for one in rounds),
        "whole_s": spread(one.read + one.treadle for one in rounds),
        "commits": spread(one.commits for one in rounds),
    }
    if rounds[0].tenths:
        for tenth in range(10):
            figures[f"tenth_{tenth + 1}_us"] = spread(1e6 * one.tenths[tenth] for one in rounds)
        figures["last_of_first"] = spread(one.tenths[-1] / one.tenths[0] for one in rounds)
    return figures
