"""``schedule``: what starts by itself. Writes the file here, or asks the engine of another process that runs it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from treadle import Client, StoreLockedError, UnavailableError, WorkflowEngine, WorkflowRef
from treadle.cli.arguments import (
    DEFAULT_DB,
    Actions,
    AsJson,
    Db,
    InputFile,
    Limits,
    SecretsPath,
    Set,
    Slots,
    import_actions,
    need_file,
    read_inputs,
    read_limits,
    read_secrets,
)
from treadle.cli.output import INTERRUPTED, moment, note, run_async, say, show_event, show_json
from treadle.cli.running import DOCUMENTS, SLOTS, unless_stopped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import ModuleType

    from treadle import Schedule

NOT_DONE: Final = 1
SHOWN_KINDS: Final = frozenset(
    {"ExecutionCreated", "ExecutionCompleted", "ExecutionFailed", "ExecutionCancelled", "ExecutionTimedOut"}
)

app = typer.Typer(no_args_is_help=True, help="Start workflows by a cron expression.")

ScheduleId = Annotated[str, typer.Argument(help="Id of the schedule.")]


@app.command()
def add(  # noqa: PLR0917 - typer turns each into an option by name
    workflow: Annotated[str, typer.Argument(help="A workflow as YAML or JSON, or the id of a registered one.")],
    cron: Annotated[str, typer.Option(help='When: "minute hour day month weekday", such as "0 9 * * MON-FRI".')],
    timezone: Annotated[str, typer.Option(help="The zone that this is meant in, such as Europe/Vienna.")] = "UTC",
    overlap: Annotated[
        str, typer.Option(help="While an execution is open: skip, queue, cancel_running or allow.")
    ] = "skip",
    catch_up: Annotated[str, typer.Option(help="Make up what was missed, if it is not older than this.")] = "1h",
    jitter: Annotated[str, typer.Option(help="Put each start off by up to so long.")] = "0s",
    inputs: Set = None,
    input_file: InputFile = None,
    schedule_id: Annotated[str | None, typer.Option("--id", help="Name of the schedule.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of the schedule of that id.")] = False,  # noqa: FBT002 - an option
    version: Annotated[
        str | None,
        typer.Option("--version", help="Of a registered workflow: a label or a hash; the newest without it."),
    ] = None,
    actions: Actions = None,
    db: Db = DEFAULT_DB,
) -> None:
    """Start a workflow by a cron expression, and print the id of the schedule."""
    given = read_inputs(input_file, inputs or [])
    modules = import_actions(actions)
    file = Path(workflow)
    is_file = version is None and (file.exists() or file.suffix.lower() in DOCUMENTS)

    async def whole(verbs: WorkflowEngine | Client) -> None:
        added = await verbs.schedule(
            file if is_file else WorkflowRef(workflow, version),
            cron,
            timezone,
            overlap=overlap,
            catch_up=catch_up,
            jitter=jitter,
            input_data=given,
            schedule_id=schedule_id,
            replace=replace,
        )
        say(added)

    _with_verbs(db, whole, modules)


@app.command("list")
def list_schedules(db: Db = DEFAULT_DB, as_json: AsJson = False) -> None:  # noqa: FBT002 - an option
    """List all schedules."""

    async def whole(client: Client) -> None:
        found = await client.state_manager.list_schedules()
        if as_json:
            show_json(found)
            return
        for one in found:
            say(f"{one.schedule_id}  {_cron(one)}  {one.workflow_id}  {_next(one)}  {_counts(one)}")

    _with_client(db, whole)


def _cron(one: Schedule) -> str:
    return f'"{one.cron}" {one.timezone}'


def _next(one: Schedule) -> str:
    if one.is_paused:
        return "paused"
    return f"next {moment(one.next_at)}" if one.next_at else "never again"


def _counts(one: Schedule) -> str:
    counts = {"started": one.started, "queued": len(one.queued_at), "skipped": one.skipped, "missed": one.missed}
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count or name == "started")


@app.command("next")
def next_times(
    schedule_id: ScheduleId,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=1_000, help="How many.")] = 5,
    db: Db = DEFAULT_DB,
) -> None:
    """Print the next planned times of a schedule, in its zone."""

    async def whole(client: Client) -> None:
        found = await client.state_manager.get_schedule(schedule_id)
        for planned in found.planned_times(count, after=datetime.now(UTC)):
            say(moment(planned))
        if found.is_paused:
            note("it is paused: none of these starts before it is resumed")

    _with_client(db, whole)


@app.command()
def pause(schedule_id: ScheduleId, db: Db = DEFAULT_DB) -> None:
    """Start nothing more by a schedule; its executions go on."""

    async def whole(verbs: WorkflowEngine | Client) -> None:
        say("paused" if await verbs.pause_schedule(schedule_id) else "it was paused")

    _with_verbs(_there(db), whole)


@app.command()
def resume(schedule_id: ScheduleId, db: Db = DEFAULT_DB) -> None:
    """Go on with the planned times to come; those that passed are not made up."""

    async def whole(verbs: WorkflowEngine | Client) -> None:
        say("resumed" if await verbs.resume_schedule(schedule_id) else "it was not paused")

    _with_verbs(_there(db), whole)


@app.command()
def remove(schedule_id: ScheduleId, db: Db = DEFAULT_DB) -> None:
    """Remove a schedule; its executions go on."""

    async def whole(verbs: WorkflowEngine | Client) -> None:
        if not await verbs.unschedule(schedule_id):
            note(f"there is no schedule {schedule_id!r}")
            raise typer.Exit(NOT_DONE)
        say("removed")

    _with_verbs(_there(db), whole)


@app.command()
def trigger(schedule_id: ScheduleId, db: Db = DEFAULT_DB) -> None:
    """Start an execution of a schedule now, and print its id."""

    async def whole(verbs: WorkflowEngine | Client) -> None:
        started = await verbs.trigger_schedule(schedule_id)
        if started is None:
            note("skipped: an execution of it is open")
            raise typer.Exit(NOT_DONE)
        say(started)
        if isinstance(verbs, WorkflowEngine):
            note("it begins as soon as an engine runs the file: treadle schedule run")

    _with_verbs(_there(db), whole)


@app.command()
def run(
    db: Db = DEFAULT_DB,
    actions: Actions = None,
    secrets: SecretsPath = None,
    slots: Slots = SLOTS,
    limits: Limits = None,
) -> None:
    """Run what is due, and every open execution of the file, until it is stopped with Ctrl-C."""
    given_limits, modules, known = read_limits(limits), import_actions(actions), read_secrets(secrets)

    async def whole() -> None:
        async with WorkflowEngine(slots, store=db, actions=modules, secrets=known, limits=given_limits) as engine:
            count = len(await engine.list_schedules())
            note(f"{count} {'schedule' if count == 1 else 'schedules'}; stop with Ctrl-C")
            await unless_stopped(_show(engine))

    run_async(whole())
    raise typer.Exit(INTERRUPTED)


async def _show(engine: WorkflowEngine) -> None:
    async for event in engine.watch():
        if event.kind in SHOWN_KINDS:
            show_event(event, has_date=True, has_execution=True)


def _there(db: Path) -> Path:
    need_file(db)
    return db


def _with_client(db: Path, use: Callable[[Client], Awaitable[None]]) -> None:
    need_file(db)

    async def whole() -> None:
        async with Client(db) as client:
            await use(client)

    run_async(whole())


def _with_verbs(
    db: Path, use: Callable[[WorkflowEngine | Client], Awaitable[None]], modules: list[ModuleType] | None = None
) -> None:
    """Use an engine here that runs nothing, or ask the one that has the file."""

    async def whole() -> None:
        try:
            async with WorkflowEngine(store=db, actions=modules or (), recover="none") as engine:
                await use(engine)
        except StoreLockedError:
            await _ask()

    async def _ask() -> None:
        try:
            async with Client(db) as client:
                await use(client)
        except UnavailableError as error:
            note(f"{error}. It is carried out as soon as an engine runs the file.")

    run_async(whole())
