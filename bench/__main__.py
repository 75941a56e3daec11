"""``python -m bench``: measure the rows, print one table, say which goals are reached."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Final

import msgspec

from bench import host, table
from bench.rows import ROWS, Result, Row, measure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TINY: Final = "tiny sizes, not those that the rows name: these figures say nothing of speed"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or with ``--check`` 1 if a goal is missed."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        rows, folder = choose_rows(options.rows), host.choose_folder(options.folder)
    except ValueError as error:
        parser.error(str(error))
    here, busy = host.describe(folder), host.Busy()
    results = [_measured(row, folder, options) for row in rows]
    others = busy.others()
    if options.json:
        print(_json(here, options, others, results))
    else:
        _print(here, options, others, results)
    return int(options.check and bool(missed(results)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure treadle beside two limits.")
    parser.add_argument(
        "--rows", action="append", default=[], metavar="NAMES", help=f"some of {_names()}; all if empty"
    )
    parser.add_argument("--rounds", type=_count, default=5, metavar="N", help="rounds that count (default %(default)s)")
    parser.add_argument("--folder", metavar="FOLDER", help="where database files are made; on a disk")
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a goal is missed")
    parser.add_argument(
        "--tiny", action="store_true", help="sizes for a test of the bench itself; say nothing of speed"
    )
    return parser


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise ValueError(text)
    return count


def choose_rows(given: Sequence[str]) -> list[Row]:
    """Return the named rows in their order; all of them if none is named.

    Args:
        given: Names, several in one with commas or spaces between them.

    Raises:
        ValueError: There is no such row.
    """
    names = [name for text in given for name in text.replace(",", " ").split()]
    unknown = [name for name in names if name not in _names().split(", ")]
    if unknown:
        raise ValueError(f"no row {', '.join(unknown)}; there are {_names()}")
    return [row for row in ROWS if not names or row.name in names]


def _names() -> str:
    return ", ".join(row.name for row in ROWS)


def _measured(row: Row, folder: Path, options: argparse.Namespace) -> Result:
    print(f"measuring {row.name}: {row.title} ...", file=sys.stderr, flush=True)
    return measure(row, folder, rounds=options.rounds, is_tiny=options.tiny)


def missed(results: Sequence[Result]) -> list[str]:
    """Return a line for each goal of today that was missed."""
    return [
        table.goal_line(result, goal)
        for result in results
        for goal in result.goals
        if result.figures and not goal.is_later and not goal.is_reached(result.figures)
    ]


def _print(here: host.Host, options: argparse.Namespace, others: float | None, results: Sequence[Result]) -> None:
    busy = "" if others is None else f"\nmeanwhile others kept {others:.2f} of its cores busy, on average"
    tiny = f"\n{TINY}" if options.tiny else ""
    parts = [table.head(here, options.rounds) + busy + tiny, table.table(results), table.details(results)]
    goals = table.goals(results)
    if goals:
        parts.append(f"Goals, held against the medians.\n{goals}")
    if parts[1]:
        parts.append(table.COLUMNS)
    print("\n\n".join(part for part in parts if part))


def _json(here: host.Host, options: argparse.Namespace, others: float | None, results: Sequence[Result]) -> str:
    found = {
        "host": here,
        "rounds": options.rounds,
        "is_tiny": options.tiny,
        "others_cores": others,
        "rows": results,
        "missed": missed(results),
    }
    return msgspec.json.format(msgspec.json.encode(found)).decode()


if __name__ == "__main__":
    sys.exit(main())
