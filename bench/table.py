"""The table as text: medians above, the spread of the rounds below them, then goals and what the columns mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.host import Host
    from bench.measure import Spread
    from bench.rows import Goal, Result

HEADINGS: Final = ("row", "limit", "steps", "treadle/s", "CPU/step", "loop/s", "of loop", "asyncio/s", "of asyncio")

COLUMNS: Final = """\
Columns. Each figure is the median over the rounds; below it the lowest and the highest round.
  limit       max_concurrent_steps of the engine, and the slots of bare asyncio
  steps       steps run to their end in one round
  treadle/s   steps per second with treadle, every turn committed with a sync, from the first start to the last final
              state; the workflow is read and validated before that ("reading" below the table)
  CPU/step    CPU time of all threads of treadle's run, in microseconds per step
  loop/s      the bare loop: the encoded rows that this very run of treadle wrote, in the same batches, through the same
              store and writer thread into a new file, with the same syncs and nothing else; in steps per second
  of loop     treadle's speed as a part of the bare loop's, taken within each round
  asyncio/s   bare asyncio: the same graphs and functions, one task per step, nothing written
  of asyncio  treadle's speed as a part of bare asyncio's, taken within each round"""


def head(host: Host, rounds: int) -> str:
    """Return what the figures were measured on."""
    return (
        f"treadle bench: medians of {rounds} rounds after one that does not count, the contestants in turn in each\n"
        f"{host.cores} cores of {host.processor}, {host.system}; {host.python}, SQLite {host.sqlite}\n"
        f"files in {host.folder} ({host.file_system}); to append 4 KiB and sync took {host.sync_ms:.2f} ms "
        f"({host.sync_low_ms:.2f} to {host.sync_high_ms:.2f})"
    )


def table(results: Sequence[Result]) -> str:
    """Return the rows that ran steps, in columns."""
    lines: list[Sequence[str]] = [HEADINGS]
    for result in results:
        if result.steps:
            lines += _lines(result)
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    return "\n".join(_aligned(line, widths) for line in lines) if len(lines) > 1 else ""


def _lines(result: Result) -> list[Sequence[str]]:
    keys = ("treadle_per_s", "cpu_us", "loop_per_s", "of_loop", "asyncio_per_s", "of_asyncio")
    figures = [result.figures[key] for key in keys]
    return [
        (result.name, f"{result.limit:,}", f"{result.steps:,}", *(number(one.median) for one in figures)),
        ("", "", "", *(_range(one) for one in figures)),
    ]


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (text.rjust(width) for text, width in zip(line, widths, strict=True))
    return "  ".join([first.strip().ljust(widths[0]), *rest]).rstrip()


def number(value: float) -> str:
    """Return a number with about three digits that mean something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def details(results: Iterable[Result]) -> str:
    """Return a line for each row: what it ran, and the figures that have no column."""
    return "\n".join(f"{result.name:<11} {result.skipped and 'skipped: '}{_detail(result)}" for result in results)


def _detail(result: Result) -> str:
    figures = result.figures
    if result.skipped:
        return result.skipped
    if "schedule_per_s" in figures:
        return (
            f"{result.title}: {_text(figures['whole_s'])} s to the last start, "
            f"{_text(figures['schedule_per_s'])} starts/s at {_text(figures['schedule_us'])} us of CPU; "
            f"{_text(figures['of_plain'])} of the speed of plain starts, {_text(figures['plain_per_s'])}/s"
        )
    if "away_bytes" in figures:
        return (
            f"{result.title}: {_text(figures['away_bytes'])} bytes of the process each "
            f"({_text(figures['away_heap_bytes'])} of Python's heap), {figures['more_tasks'].high:.0f} tasks and "
            f"{figures['more_threads'].high:.0f} threads for all; {_text(figures['kept_heap_bytes'])} bytes of heap "
            f"for one that is kept in memory, {_text(figures['together_bytes'])} for each of 1,000 in all; "
            f"{_text(figures['start_per_s'])} starts/s, "
            f"{_text(figures['send_per_s'])} events/s to those that left it"
        )
    if not result.steps:
        return (
            f"{_text(figures['import_ms'])} ms for `import treadle`, {_text(figures['engine_ms'])} ms for "
            f"`from treadle import WorkflowEngine`, both over {_text(figures['bare_ms'])} ms of a bare interpreter"
        )
    text = (
        f"{result.title}: {_text(figures['run_s'])} s in {figures['commits'].median:,.0f} commits, "
        f"and reading {_text(figures['read_s'])} s"
    )
    if "last_of_first" in figures:
        tenths = " ".join(number(figures[f"tenth_{tenth}_us"].median) for tenth in range(1, 11))
        text += f"; CPU per step by tenth {tenths} us, last of first {_text(figures['last_of_first'])}"
    return text


def _text(figure: Spread) -> str:
    return f"{number(figure.median)} ({_range(figure)})" if _range(figure) else number(figure.median)


def _range(figure: Spread) -> str:
    """Return the lowest and the highest round; ``""`` where there was only one."""
    return "" if figure.low == figure.high else f"{number(figure.low)}-{number(figure.high)}"


def goals(results: Iterable[Result]) -> str:
    """Return a line for each goal: reached, or by how much it was missed."""
    return "\n".join(goal_line(result, goal) for result in results if result.figures for goal in result.goals)


def goal_line(result: Result, goal: Goal) -> str:
    """Return how the measured median stands to a goal."""
    median = result.figures[goal.figure].median
    wanted = f"{'at least' if goal.is_floor else 'at most'} {number(goal.bound)} {goal.text}"
    if goal.is_reached(result.figures):
        verdict = "reached"
    else:
        verdict = "not yet" if goal.is_later else "MISSED"
        verdict += f" by {number(abs(median - goal.bound))} ({abs(median / goal.bound - 1):.0%})"
    when = "later: " if goal.is_later else ""
    return f"{result.name:<11} {when}{wanted}: {number(median)}, {verdict}"
