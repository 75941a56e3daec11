"""``pause resume cancel retry`` of every execution of a filter, through the engine that runs the file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import typer

from treadle import Client, UnavailableError
from treadle.cli.arguments import need_file
from treadle.cli.filters import read_filter
from treadle.cli.output import fail, note, run_async, say

if TYPE_CHECKING:
    from pathlib import Path

    from treadle import BulkResult

Verb: TypeAlias = Literal["pause", "resume", "cancel", "retry"]
PAST: Final[dict[Verb, str]] = {"pause": "paused", "resume": "resumed", "cancel": "cancelled", "retry": "retried"}
NOT_AS_ASKED: Final = 1
ANSWER_SECONDS: Final = 60
"""How long many executions may take."""


def need_one(execution_id: str | None, where: list[str] | None, *, dry_run: bool) -> str | None:
    """Return the one execution that is meant, None for those of a filter; end the command if neither or both are."""
    if (execution_id is None) is not bool(where):
        fail("give one of them: the id of an execution, or --where NAME=VALUE")
    if execution_id is not None and dry_run:
        fail("--dry-run is for --where")
    return execution_id


def carry_out(verb: Verb, words: list[str], db: Path, *, dry_run: bool, yes: bool, reason: str = "") -> None:
    """Ask for a verb for every execution that matches, once a person at a terminal has said yes."""
    need_file(db)
    where = read_filter(words)

    async def whole() -> BulkResult | None:
        async with Client(db, timeout=ANSWER_SECONDS) as client:
            found = await _ask(client, verb, where, reason, dry_run=True)
            if dry_run or not found.matched:
                say(f"{_count(found.matched)} would be {PAST[verb]}" if dry_run else "no execution matches")
                return None
            if not yes and sys.stdin.isatty() and not typer.confirm(f"{verb} {_count(found.matched)}?"):
                note("nothing was changed")
                raise typer.Exit(NOT_AS_ASKED)
            try:
                return await _ask(client, verb, where, reason, dry_run=False)
            except UnavailableError as error:
                note(f"{error}. It is carried out as soon as an engine runs them.")
                return None

    result = run_async(whole())
    if result is not None:
        _show(verb, result)


async def _ask(client: Client, verb: Verb, where: dict[str, Any], reason: str, *, dry_run: bool) -> BulkResult:
    if verb == "cancel":
        return await client.cancel_executions(where, reason, dry_run=dry_run)
    if verb == "pause":
        return await client.pause_executions(where, dry_run=dry_run)
    if verb == "retry":
        return await client.retry_executions(where, dry_run=dry_run)
    return await client.resume_executions(where, dry_run=dry_run)


def _show(verb: Verb, result: BulkResult) -> None:
    say(f"{result.changed:,} of {_count(result.matched)} {PAST[verb]}")
    for name, why in result.failed.items():
        note(f"{name}: {why}")
    if result.failed:
        raise typer.Exit(NOT_AS_ASKED)


def _count(number: int) -> str:
    return "1 execution" if number == 1 else f"{number:,} executions"
