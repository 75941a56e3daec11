"""``explain``: why an execution, or one of its steps, does not go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from treadle import Client, Reason, UnavailableError
from treadle.cli.arguments import DEFAULT_DB, AsJson, Db, ExecutionId, need_file
from treadle.cli.output import moment, note, run_async, say, show_json

if TYPE_CHECKING:
    from treadle import Explanation

_NEEDS_AN_ENGINE = {Reason.READY, Reason.RUNNING, Reason.WAITS, Reason.STARTS_LATER, Reason.ENDING}

ANSWER_SECONDS: Final = 3
"""How long the engine may take; then the log has to do."""


def explain(
    execution_id: ExecutionId,
    step: Annotated[str | None, typer.Argument(help="Key of one step.")] = None,
    db: Db = DEFAULT_DB,
    as_json: AsJson = False,  # noqa: FBT002 - an option
) -> None:
    """Say why an execution, or one of its steps, does not go on, and what would let it."""
    need_file(db)

    async def whole() -> tuple[Explanation, str]:
        async with Client(db, timeout=ANSWER_SECONDS) as client:
            try:
                return await client.explain(execution_id, step), ""
            except UnavailableError as error:
                found = await client.state_manager.explain(execution_id, step)
                return found, str(error.args[0]) if found.reason in _NEEDS_AN_ENGINE else ""

    found, why_not = run_async(whole())
    if as_json:
        if why_not:
            note(f"{why_not}; this is what the log says")
        show_json(found)
        return
    if why_not:
        say(f"{why_not}; what the log says:")
    _show(found)
    for one in found.steps:
        _show(one, f"  {one.step}: ")


def _show(one: Explanation, before: str = "") -> None:
    since = f", since {moment(one.since)}" if one.since is not None else ""
    say(f"{before}{one.text}{since}{f'; {one.what_to_do}' if one.what_to_do else ''}")
