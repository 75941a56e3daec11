"""Commands about executions: what ran and what runs, also while an engine runs it, and what to ask of that engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from treadle import Answer, Client, ConflictError, ExecutionStatus, UnavailableError
from treadle.cli import many
from treadle.cli.arguments import (
    DEFAULT_DB,
    AsJson,
    Db,
    DryRun,
    ExecutionId,
    OneOf,
    OtherFile,
    Set,
    Where,
    Yes,
    need_file,
    read_inputs,
    read_value,
)
from treadle.cli.filters import read_filter
from treadle.cli.output import fail, moment, note, run_async, say, show_event, show_json
from treadle.cli.showing import show_state

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

HAD_ENDED = 1


def list_executions(  # noqa: PLR0917 - typer turns each into an option by name
    db: Db = DEFAULT_DB,
    status: Annotated[list[ExecutionStatus] | None, typer.Option(help="Only of this status; may be repeated.")] = None,
    workflow: Annotated[str, typer.Option(help="Only of the workflow with this id.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="Only with this tag, name=value; may be repeated.")] = None,
    since: Annotated[str, typer.Option(help="Created then or later: a date, or how long ago, such as 2d.")] = "",
    search: Annotated[str, typer.Option(help="Only with this text in the id or in a tag.")] = "",
    where: Where = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: AsJson = False,  # noqa: FBT002 - an option
) -> None:
    """List executions, newest first."""
    words = [f"status={one.value}" for one in status or ()] + [f"tag.{one}" for one in tag or ()]
    given = {"workflow": workflow, "since": since, "search": search}
    found = read_filter(words + [f"{name}={value}" for name, value in given.items() if value] + (where or []))

    async def whole(client: Client) -> None:
        rows, more = await client.state_manager.list_executions(found, limit=limit)
        if as_json:
            show_json(rows)
            return
        for row in rows:
            say(f"{row.execution_id}  {row.status.value:<10} {moment(row.created_at)}  {row.workflow_id}")
        if more is not None:
            note(f"there may be more than these {limit}; see them with --limit")

    with_client(db, whole)


def show(
    execution_id: ExecutionId,
    db: Db = DEFAULT_DB,
    is_whole: Annotated[bool, typer.Option("--all", help="Every item of long maps too.")] = False,  # noqa: FBT002 - an option
    as_json: AsJson = False,  # noqa: FBT002 - an option
) -> None:
    """Show one execution: its steps, output and error."""

    async def whole(client: Client) -> None:
        state = await client.state_manager.get_execution_state(execution_id)
        if as_json:
            show_json(state)
            return
        workflow = await client.state_manager.get_execution_workflow(execution_id)
        show_state(state, {node.id for node in workflow.nodes}, is_whole=is_whole)

    with_client(db, whole)


def history(execution_id: ExecutionId, db: Db = DEFAULT_DB, as_json: AsJson = False) -> None:  # noqa: FBT002 - an option
    """Print every event of one execution."""

    async def whole(client: Client) -> None:
        events = await client.state_manager.history(execution_id)
        if as_json:
            show_json(events)
        else:
            for event in events:
                show_event(event, has_date=True)

    with_client(db, whole)


def pause(
    execution_id: OneOf = None,
    where: Where = None,
    db: Db = DEFAULT_DB,
    dry_run: DryRun = False,  # noqa: FBT002 - an option
    yes: Yes = False,  # noqa: FBT002 - an option
) -> None:
    """Ask the engine that runs an execution to start nothing new; what runs ends and is recorded."""
    one = many.need_one(execution_id, where, dry_run=dry_run)
    if one is None:
        many.carry_out("pause", where or [], db, dry_run=dry_run, yes=yes)
        return

    async def whole(client: Client) -> None:
        if not await client.pause_execution(one):
            await _say_it_ended(client, one, "pause")
        in_flight = (await client.state_manager.get_execution_state(one)).in_flight
        say(f"paused; steps that still run: {in_flight}" if in_flight else "paused")

    with_client(db, whole)


def cancel(  # noqa: PLR0917 - as above
    execution_id: OneOf = None,
    where: Where = None,
    db: Db = DEFAULT_DB,
    reason: Annotated[str, typer.Option(help="Recorded with the execution.")] = "",
    dry_run: DryRun = False,  # noqa: FBT002 - an option
    yes: Yes = False,  # noqa: FBT002 - an option
) -> None:
    """Ask the engine that runs an execution to cancel what runs and end it."""
    one = many.need_one(execution_id, where, dry_run=dry_run)
    if one is None:
        many.carry_out("cancel", where or [], db, dry_run=dry_run, yes=yes, reason=reason)
        return

    async def whole(client: Client) -> None:
        if not await client.cancel_execution(one, reason):
            await _say_it_ended(client, one, "cancel")
        state = await client.state_manager.get_execution_state(one)
        ends = f"cancelling; steps that still end: {state.in_flight}" if state.in_flight else "cancelling"
        say("cancelled" if state.status.is_terminal else ends)

    with_client(db, whole)


def terminate(
    execution_id: ExecutionId,
    db: Db = DEFAULT_DB,
    reason: Annotated[str, typer.Option(help="Recorded with the execution.")] = "",
) -> None:
    """Ask the engine that runs an execution to end it at once, whatever it does."""

    async def whole(client: Client) -> None:
        if not await client.terminate_execution(execution_id, reason):
            await _say_it_ended(client, execution_id, "terminate")
        say("terminated")

    with_client(db, whole)


def retry(  # noqa: PLR0917 - as above
    execution_id: OneOf = None,
    where: Where = None,
    db: Db = DEFAULT_DB,
    new_key: Annotated[bool, typer.Option("--new-key", help="Give actions other idempotency keys.")] = False,  # noqa: FBT002 - an option
    dry_run: DryRun = False,  # noqa: FBT002 - an option
    yes: Yes = False,  # noqa: FBT002 - an option
) -> None:
    """Ask the engine that runs a file to let an execution that failed go on where it failed."""
    one = many.need_one(execution_id, where, dry_run=dry_run)
    if one is None:
        if new_key:
            fail("--new-key is for one execution")
        many.carry_out("retry", where or [], db, dry_run=dry_run, yes=yes)
        return

    async def whole(client: Client) -> None:
        if not await client.retry_execution(one, new_key=new_key):
            await _say_it_ended(client, one, "retry")
        say("goes on")

    with_client(db, whole)


def fork(  # noqa: PLR0917 - typer gives options by name
    execution_id: ExecutionId,
    step: Annotated[str, typer.Argument(help="Key of the step from which on the fork runs by itself.")],
    db: Db = DEFAULT_DB,
    inputs: Set = None,
    workflow: OtherFile = None,
    fork_id: Annotated[str | None, typer.Option("--id", help="Id of the fork; a new one without it.")] = None,
) -> None:
    """Ask the engine that runs a file for a new execution that keeps what does not follow a step of another."""

    async def whole(client: Client) -> None:
        given = read_inputs(None, inputs or [])
        say(await client.fork_execution(execution_id, step, given, workflow=workflow, fork_id=fork_id))

    with_client(db, whole)


def migrate(execution_id: ExecutionId, db: Db = DEFAULT_DB, workflow: OtherFile = None) -> None:
    """Ask the engine that runs an execution to go on with another version of its workflow, if that is safe."""

    async def whole(client: Client) -> None:
        moved = await client.migrate_execution(execution_id, workflow)
        say("goes on with that version" if moved else "runs that version already")

    with_client(db, whole)


def cancel_step(
    execution_id: ExecutionId,
    step: Annotated[str, typer.Argument(help="Key of the step, such as charge or each[3].charge.")],
    db: Db = DEFAULT_DB,
) -> None:
    """Ask the engine that runs an execution to cancel one step, with all that is in its bodies."""

    async def whole(client: Client) -> None:
        if await client.cancel_step(execution_id, step):
            say("cancelled")
            return
        state = await client.state_manager.get_execution_state(execution_id)
        status = state.steps[step].status if step in state.steps else state.status
        note(f"nothing to cancel: step {step!r} is {status.value}")
        raise typer.Exit(HAD_ENDED)

    with_client(db, whole)


def submit(
    execution_id: ExecutionId,
    step: Annotated[
        str, typer.Argument(help="Key of the step that asks: id of the node, such as ask, or each[2].ask in a map.")
    ],
    answer: Annotated[str | None, typer.Argument(help="The answer as JSON, or else text.")] = None,
    inputs: Set = None,
    db: Db = DEFAULT_DB,
) -> None:
    """Answer a step that asks a person; with -i the answer is an object."""
    if (answer is None) is not bool(inputs):
        fail("give one of them: an answer, or -i name=value")
    data = read_inputs(None, inputs) if inputs else read_value("answer", answer or "")

    async def whole(client: Client) -> None:
        if await client.submit_input(execution_id, step, data):
            say("answered")
            return
        state = await client.state_manager.get_execution_state(execution_id)
        status = state.steps[step].status if step in state.steps else state.status
        note(f"not taken: step {step!r} waits for no answer, it is {status.value}")
        raise typer.Exit(HAD_ENDED)

    with_client(db, whole)


def answer(
    execution_id: ExecutionId,
    step: Annotated[str, typer.Argument(help="Key of the step whose attempts are spent.")],
    answer: Annotated[Answer, typer.Argument(help="What becomes of it.")],
    value: Annotated[
        str | None, typer.Argument(help="The output as JSON, or else text; with output and complete.")
    ] = None,
    db: Db = DEFAULT_DB,
) -> None:
    """Say what becomes of a step whose attempts are spent: retry, output VALUE, complete [VALUE], skip or abort."""
    if value is None and answer is Answer.OUTPUT:
        fail("give the output as well")
    if value is not None and answer not in (Answer.OUTPUT, Answer.COMPLETE):
        fail("only the answers output and complete have a value")
    output = None if value is None else read_value("output", value)

    async def whole(client: Client) -> None:
        try:
            await client.answer(execution_id, step, answer, output)
        except ConflictError as error:
            note(f"not taken: {error}")
            raise typer.Exit(HAD_ENDED) from None
        say("answered")

    with_client(db, whole)


async def _say_it_ended(client: Client, execution_id: str, verb: str) -> None:
    status = (await client.state_manager.get_execution_state(execution_id)).status
    note(f"nothing to {verb}: execution {execution_id!r} is {status.value}")
    raise typer.Exit(HAD_ENDED)


def with_client(db: Path, use: Callable[[Client], Awaitable[None]]) -> None:
    """Do something with a client; with no engine to answer it, say that the command waits for one."""
    need_file(db)

    async def whole() -> None:
        try:
            async with Client(db) as client:
                await use(client)
        except UnavailableError as error:
            note(f"{error}. It is carried out as soon as an engine runs that execution.")

    run_async(whole())
