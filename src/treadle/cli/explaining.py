"""``explain``: why an execution, or one of its steps, does not go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from treadle import Client, Reason
from treadle.cli.arguments import DEFAULT_DB, AsJson, Db, ExecutionId, need_file
from treadle.cli.output import moment, run_async, say, show_json

if TYPE_CHECKING:
    from treadle import Explanation

_NEEDS_AN_ENGINE = {Reason.READY, Reason.RUNNING, Reason.WAITS, Reason.STARTS_LATER, Reason.ENDING}


def explain(
    execution_id: ExecutionId,
    step: Annotated[str | None, typer.Argument(help="Key of one step.")] = None,
    db: Db = DEFAULT_DB,
    as_json: AsJson = False,  # noqa: FBT002 - an option
) -> None:
    """Say why an execution, or one of its steps, does not go on, and what would let it."""
    need_file(db)

    async def whole() -> tuple[Explanation, bool]:
        async with Client(db) as client:
            found = await client.state_manager.explain(execution_id, step)
            return found, client.engine_pid is None

    found, is_alone = run_async(whole())
    if as_json:
        show_json(found)
        return
    if is_alone and found.reason in _NEEDS_AN_ENGINE:
        say("no engine runs this file now; what the log says:")
    _show(found)
    for one in found.steps:
        _show(one, f"  {one.step}: ")


def _show(one: Explanation, before: str = "") -> None:
    since = f", since {moment(one.since)}" if one.since is not None else ""
    say(f"{before}{one.text}{since}{f'; {one.what_to_do}' if one.what_to_do else ''}")
