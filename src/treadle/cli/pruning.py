"""``prune``: remove executions that ended long ago from a file that no engine runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from treadle import ExecutionStatus, StoreLockedError, WorkflowEngine
from treadle.cli.arguments import DEFAULT_DB, AsJson, Db, need_file
from treadle.cli.output import fail, note, run_async, say, show_json

if TYPE_CHECKING:
    from collections.abc import Sequence


def prune(
    older_than: Annotated[str, typer.Option(help="How long ago they ended at least, as 30d, 12h or PT5M.")],
    db: Db = DEFAULT_DB,
    status: Annotated[
        list[ExecutionStatus] | None, typer.Option(help="Only those that ended so; may be repeated.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell which would be removed.")] = False,  # noqa: FBT002 - an option
    as_json: AsJson = False,  # noqa: FBT002 - an option
) -> None:
    """Remove executions that ended long ago, with all that is known of them; never one that is open."""
    need_file(db)

    async def whole() -> Sequence[str]:
        async with WorkflowEngine(store=db, recover="none", keep={}) as engine:
            return await engine.prune_executions(older_than, status or (), dry_run=dry_run)

    async def unless_it_runs() -> Sequence[str]:
        try:
            return await whole()
        except StoreLockedError as error:
            by = f"process {error.pid}" if error.pid else "another process"
            fail(f"the engine of {by} runs {db}: have it remove them, with keep=... or TREADLE_KEEP_MS")

    removed = run_async(unless_it_runs())
    if as_json:
        show_json(removed)
        return
    for name in removed:
        say(name)
    count = "1 execution" if len(removed) == 1 else f"{len(removed):,} executions"
    note(f"{count} would be removed" if dry_run else f"removed {count}; the room is used again")
