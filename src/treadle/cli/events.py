"""``send``: an event for executions that wait for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from treadle.cli.arguments import DEFAULT_DB, Db, Set, read_inputs, read_value
from treadle.cli.executions import with_client
from treadle.cli.output import fail, say

if TYPE_CHECKING:
    from treadle import Client


def send(  # noqa: PLR0917 - typer turns each into an option by name
    name: Annotated[str, typer.Argument(help="Name of the event.")],
    key: Annotated[str | None, typer.Option(help="Which of that name, as JSON or else text.")] = None,
    data: Annotated[str | None, typer.Option(help="What it carries, as JSON or else text.")] = None,
    inputs: Set = None,
    to: Annotated[str | None, typer.Option(help="Id of an execution: to this one only.")] = None,
    event_id: Annotated[str | None, typer.Option("--id", help="Names the event: sent again it counts once.")] = None,
    db: Db = DEFAULT_DB,
) -> None:
    """Send an event to every execution that waits for it, or else to the first that will."""
    if data is not None and inputs:
        fail("give one of them: --data, or -i name=value")
    carried = read_inputs(None, inputs) if inputs else None if data is None else read_value("data", data)
    known = None if key is None else read_value("key", key)

    async def whole(client: Client) -> None:
        if await client.send_event(name, known, carried, execution_id=to, event_id=event_id):
            say("taken")
        else:
            say("kept until a step waits for it")

    with_client(db, whole)
