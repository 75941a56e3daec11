"""``run`` and ``resume``: an engine in this process, for one execution."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer
from rich.console import Console

import treadle
from treadle import (
    Client,
    ExecutionStatus,
    NotFoundError,
    OnConflict,
    StoreLockedError,
    ValidationError,
    WorkflowEngine,
    WorkflowRef,
)
from treadle.cli import many
from treadle.cli.arguments import (
    DEFAULT_DB,
    EXIT_CODES,
    Actions,
    AsJson,
    Db,
    DryRun,
    InputFile,
    Limits,
    OneOf,
    SecretsPath,
    Set,
    Slots,
    Where,
    Workflows,
    Yes,
    import_actions,
    need_file,
    read_inputs,
    read_limits,
    read_pairs,
    read_secrets,
)
from treadle.cli.output import (
    INTERRUPTED,
    fail,
    fail_with,
    moment,
    note,
    run_async,
    say,
    show_event,
    show_json,
    show_result,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from typing import Any

    from treadle import ExecutionState, HistoryEvent, Workflow


SLOTS: Final = 5
DOCUMENTS: Final = {".yaml", ".yml", ".json"}

_MAY_REST: Final = {
    "ExecutionPaused",
    "StepSucceeded",
    "StepFailed",
    "StepTimedOut",
    "StepCancelled",
    "AttemptFailed",
    "AnswerAwaited",
}
"""Events after which a paused execution may have nothing in flight any more."""


def run(  # noqa: PLR0917 - typer turns each into an option by name
    workflow: Annotated[str, typer.Argument(help="A workflow as YAML or JSON, or the id of a registered one.")],
    inputs: Set = None,
    input_file: InputFile = None,
    db: Db = DEFAULT_DB,
    actions: Actions = None,
    execution_id: Annotated[
        str | None, typer.Option("--id", help="Name of the execution; go on with it if it is open.")
    ] = None,
    version: Annotated[
        str | None,
        typer.Option("--version", help="Of a registered workflow: a label or a hash; the newest without it."),
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", help="At most one open execution of the workflow has begun with it.")
    ] = None,
    on_conflict: Annotated[OnConflict | None, typer.Option("--on-conflict", help="Where one has the key.")] = None,
    start_at: Annotated[
        str | None, typer.Option("--start-at", help="When it begins: a time with its zone, or how long from now.")
    ] = None,
    workflows: Workflows = None,
    priority: Annotated[int, typer.Option(help="Its steps start before those of lower ones.")] = 0,
    tag: Annotated[list[str] | None, typer.Option(help="Shown and searched in lists, name=value.")] = None,
    slots: Slots = SLOTS,
    limits: Limits = None,
    secrets: SecretsPath = None,
    as_json: AsJson = False,  # noqa: FBT002 - an option
) -> None:
    """Run a workflow to its end, or to where it waits for an input.

    Stopped with Ctrl-C or killed, it goes on where it was when it is run again under the same --id.
    """
    given = read_inputs(input_file, inputs or [])
    tags = dict(read_pairs(tag or [], "a tag"))
    given_limits = read_limits(limits)
    modules, known = import_actions(actions), read_secrets(secrets)
    file = Path(workflow)
    is_file = version is None and (file.exists() or file.suffix.lower() in DOCUMENTS)

    async def whole() -> ExecutionState | None:
        recover = [execution_id] if execution_id else "none"
        async with WorkflowEngine(
            slots,
            store=db,
            actions=modules,
            workflows=workflows or (),
            recover=recover,
            secrets=known,
            limits=given_limits,
        ) as engine:
            source = _load(file, engine) if is_file else await _registered(workflow, version, engine)
            before = await _last_cursor(engine, execution_id)
            started = await engine.start_workflow(
                source,
                given,
                execution_id=execution_id,
                priority=priority,
                tags=tags,
                key=key,
                on_conflict=on_conflict,
                start_at=start_at,
            )
            state = await engine.get_execution_state(started)
            if state.status.is_terminal:
                note(f"execution {started!r} had ended before; this is how")
                return await engine.wait(started)
            _say_when(state)
            again.append(_same_again(started, execution_id))
            definition = await engine.get_execution_workflow(started)
            return await _to_its_end(engine, definition, started, before, quiet=as_json)

    again: list[str] = []
    with _prints_of_actions_aside(as_json):
        state = run_async(whole())
    if state is None:
        fail(f"stopped; go on with: {again[0]}", code=INTERRUPTED)
    _conclude(state, db, actions, secrets, as_json=as_json)


def resume(  # noqa: PLR0917 - as above
    execution_id: OneOf = None,
    inputs: Set = None,
    where: Where = None,
    db: Db = DEFAULT_DB,
    actions: Actions = None,
    slots: Slots = SLOTS,
    limits: Limits = None,
    secrets: SecretsPath = None,
    dry_run: DryRun = False,  # noqa: FBT002 - an option
    yes: Yes = False,  # noqa: FBT002 - an option
    as_json: AsJson = False,  # noqa: FBT002 - an option
) -> None:
    """Go on with a paused execution, with the inputs it waits for.

    Runs it here to its end; where another process runs the file, that engine is asked to go on. With --where the engine
    that runs the file is asked to go on with all that match.
    """
    one = many.need_one(execution_id, where, dry_run=dry_run)
    if one is not None:
        _resume(one, inputs, db, actions, slots=slots, limits=limits, secrets=secrets, as_json=as_json)
    elif inputs:
        fail("an input is for one execution; --where resumes without any")
    else:
        many.carry_out("resume", where or [], db, dry_run=dry_run, yes=yes)


def _resume(
    execution_id: str,
    inputs: Set,
    db: Path,
    actions: Actions,
    *,
    slots: int,
    limits: Limits,
    secrets: SecretsPath,
    as_json: bool,
) -> NoReturn:
    need_file(db)
    given_limits = read_limits(limits)
    given = read_inputs(None, inputs or [])
    modules, known = import_actions(actions), read_secrets(secrets)

    async def here() -> ExecutionState | None:
        async with WorkflowEngine(
            slots, store=db, actions=modules, recover=[execution_id], secrets=known, limits=given_limits
        ) as engine:
            workflow = await engine.get_execution_workflow(execution_id)
            _need_actions(workflow, engine)
            before = await _last_cursor(engine, execution_id)
            resumed = await engine.resume_workflow(execution_id, given)
            if not resumed and (await engine.get_execution_state(execution_id)).status.is_terminal:
                note("there was nothing to resume")
                return await engine.wait(execution_id)
            state = await _to_its_end(engine, workflow, execution_id, before, quiet=as_json)
            if state is None or resumed or state.status is not ExecutionStatus.PAUSED:
                return state
            # It was running when it was asked to go on; now it waits for what was given.
            if not await engine.resume_workflow(execution_id, given):
                note("there was nothing to resume")
            return await _to_its_end(engine, workflow, execution_id, before, quiet=as_json)

    async def there() -> None:
        async with Client(db) as client:
            pid = client.engine_pid
            resumed = await client.resume_workflow(execution_id, given)
            say(f"resumed by the engine of process {pid}" if resumed else "there was nothing to resume")

    async def whole() -> ExecutionState | None:
        try:
            return await here()
        except StoreLockedError:
            await there()
            raise typer.Exit(0) from None

    with _prints_of_actions_aside(as_json):
        state = run_async(whole())
    if state is None:
        fail(f"stopped; go on with: {_same_again(execution_id, execution_id)}", code=INTERRUPTED)
    _conclude(state, db, actions, secrets, as_json=as_json)


def _say_when(state: ExecutionState) -> None:
    if state.queued:
        note(f"execution {state.execution_id!r} begins once those with the key {state.key!r} before it have ended")
    elif state.status is ExecutionStatus.PENDING:
        note(f"execution {state.execution_id!r} begins at {moment(state.start_at)}")


async def _registered(name: str, version: str | None, engine: WorkflowEngine) -> WorkflowRef:
    """Return the registered workflow of that id; end the command where there is none."""
    try:
        await engine.get_workflow(name, version)
    except NotFoundError as error:
        fail(f"{error}" if version is not None else f"there is no file {name}, and {error}")
    return WorkflowRef(name, version)


def _load(file: Path, engine: WorkflowEngine) -> Workflow:
    try:
        return treadle.load_workflow(file, actions=engine.actions)
    except ValidationError as error:
        fail_with(error, file if error.problems else "")


def _need_actions(workflow: Workflow, engine: WorkflowEngine) -> None:
    """End the command where an action is missing that a step may need: it would wait for it for ever."""
    names = {name for _, node in treadle.all_nodes(workflow) for name in node.action_names} - set(engine.actions)
    if names:
        listed = ", ".join(f'"{name}"' for name in sorted(names))
        fail(f"no action {listed} is registered; name the module that has it with --actions")


async def _last_cursor(engine: WorkflowEngine, execution_id: str | None) -> int:
    """Return the cursor behind which the events of an execution are new; 0 for an execution that is."""
    if execution_id is None:
        return 0
    try:
        return (await engine.history(execution_id))[-1].cursor
    except NotFoundError:
        return 0


async def _to_its_end(
    engine: WorkflowEngine, workflow: Workflow, execution_id: str, before: int, *, quiet: bool
) -> ExecutionState | None:
    """Show what happens until an execution ends or rests, and return its state; None where it was stopped."""
    if await unless_stopped(_follow(engine, workflow, execution_id, before, quiet=quiet)):
        return await engine.wait(execution_id)
    await _stop(engine, execution_id)
    return None


@contextlib.contextmanager
def _prints_of_actions_aside(wanted: bool) -> Iterator[None]:  # noqa: FBT001 - the option itself
    """Have what actions print go to standard error, where standard output is for a program."""
    with contextlib.redirect_stdout(sys.stderr) if wanted else contextlib.nullcontext():
        yield


def _conclude(
    state: ExecutionState, db: Path, actions: list[str] | None, secrets: Path | None, *, as_json: bool
) -> NoReturn:
    if as_json:
        show_json(state)
    else:
        options = "" if db == DEFAULT_DB else f" --db {shlex.quote(str(db))}"
        show_result(state, _resume_command(state, db, actions, secrets), options)
    raise typer.Exit(EXIT_CODES.get(state.status, 0))


async def _follow(engine: WorkflowEngine, workflow: Workflow, execution_id: str, before: int, *, quiet: bool) -> None:
    """Show each event as it is committed, to the end or to a pause; as lines only what is new."""
    on_terminal = sys.stdout.isatty() and not quiet
    rests, last = await _rests(engine, execution_id), 0
    with _shown(workflow, execution_id, quiet=quiet, goes_on=before > 0) as show:
        if rests:
            last = await _last_cursor(engine, execution_id)
        if rests and last <= before and not on_terminal:
            return
        async for event in engine.watch(execution_id, None if on_terminal else before):
            show(event)
            if event.cursor > before and event.kind == "ExecutionResumed":
                last = 0
            if not last and event.kind in _MAY_REST and await _rests(engine, execution_id):
                last = await _last_cursor(engine, execution_id)  # the state is ahead of what was shown
            if last and event.cursor >= last:
                return


async def _rests(engine: WorkflowEngine, execution_id: str) -> bool:
    state = await engine.get_execution_state(execution_id)
    return state.status is ExecutionStatus.PAUSED and not state.in_flight


@contextlib.contextmanager
def _shown(
    workflow: Workflow, execution_id: str, *, quiet: bool, goes_on: bool
) -> Iterator[Callable[[HistoryEvent], None]]:
    if quiet:
        yield lambda _: None
    elif sys.stdout.isatty():
        from treadle.cli.live import LiveRun  # loaded only where there is a terminal

        with LiveRun(workflow, execution_id, Console()) as live:
            yield live.take
    else:
        say(f"{'going on with ' if goes_on else ''}execution {execution_id}")
        yield show_event


class _Signals:
    """Ctrl-C and SIGTERM: the first asks to stop, the second ends the process at once.

    Plain handlers and not the loop's, so that the second is heard even where a step does not let the loop turn.
    """

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._is_asked = False
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, self._take)

    def _take(self, *_: object) -> None:
        if self._is_asked:
            os.write(2, b"error: stopped at once; what is recorded is kept\n")
            os._exit(INTERRUPTED)  # as safe as kill -9, which is what the log is made for
        self._is_asked = True
        self._loop.call_soon_threadsafe(self.stop.set)


async def unless_stopped(work: Coroutine[Any, Any, object]) -> bool:
    """Wait for ``work``; False if Ctrl-C or SIGTERM came first, and it was cancelled."""
    working = asyncio.ensure_future(work)
    stopping = asyncio.create_task(_Signals().stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await working
            return True
        return False
    finally:
        working.cancel()
        stopping.cancel()
        await asyncio.wait({working, stopping})


async def _stop(engine: WorkflowEngine, execution_id: str) -> None:
    """Say what leaving waits for."""
    count = (await engine.state_manager.get_execution_state(execution_id)).in_flight
    if count:
        steps = "a step that runs" if count == 1 else f"{count} steps that run"
        grace = engine.settings.grace_ms / 1000
        note(f"waiting up to {grace:g} s for {steps}; Ctrl-C again stops at once, and nothing recorded is lost")


def _same_again(execution_id: str, given: str | None) -> str:
    words = sys.argv[1:] if given is not None else [*sys.argv[1:], "--id", execution_id]
    return shlex.join(["treadle", *words])


def _resume_command(state: ExecutionState, db: Path, actions: list[str] | None, secrets: Path | None) -> str:
    words = ["treadle", "resume", state.execution_id]
    words += [] if db == DEFAULT_DB else ["--db", str(db)]
    for name in actions or []:
        words += ["--actions", name]
    words += [] if secrets is None else ["--secrets", str(secrets)]
    names = {path.removeprefix("input.").partition(".")[0] for path in state.waiting_for if path.startswith("input.")}
    return " ".join([shlex.join(words), *(f"-i {shlex.quote(name)}=..." for name in sorted(names))])
