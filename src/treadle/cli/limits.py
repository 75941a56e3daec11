"""``limits``: how the slots and limits of the engine stand that runs the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from treadle import Client
from treadle.cli.arguments import DEFAULT_DB, AsJson, Db, need_file
from treadle.cli.output import moment, note, run_async, say, show_json

if TYPE_CHECKING:
    from treadle import LimitState, Occupancy

ANSWER_SECONDS: Final = 10


def limits(db: Db = DEFAULT_DB, as_json: AsJson = False) -> None:  # noqa: FBT002 - an option
    """Show the slots and limits of the engine that runs the file: who holds them, and how many steps wait."""
    need_file(db)

    async def whole() -> Occupancy:
        async with Client(db, timeout=ANSWER_SECONDS) as client:
            return await client.get_occupancy()

    found = run_async(whole())
    if as_json:
        show_json(found)
        return
    say(f"{found.held} of {found.slots} slots held; ready steps that wait: {found.waiting}")
    for one in found.limits:
        say(_line(one))
    if found.hidden:
        note(f"and {found.hidden} more limits, for which fewer steps wait")


def _line(one: LimitState) -> str:
    name = f"{one.name}[{one.key}]" if one.key else one.name
    numbers = [f"{one.concurrency} at a time"] if one.concurrency is not None else []
    numbers += [f"{one.rate} in {one.per_seconds:g} s"] if one.rate is not None else []
    more = one.held - len(one.holders)
    held = ", ".join(one.holders) + (f" and {more} more" if more else "")
    parts = [
        ", ".join(numbers) or "no number",
        f"held by {held}" if held else "held by nobody",
        f"{one.waiting} wait" if one.waiting else "",
        f"closed until {moment(one.closed_until)}" if one.closed_until is not None else "",
    ]
    return f"{name}: {'; '.join(part for part in parts if part)}"
