"""``treadle``: run, validate, and look at what ran.

Exit codes: 0 completed, 1 failed, 2 bad usage or definition, 3 paused, 4 cancelled, 5 timed out.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

import treadle
from treadle import ExecutionStatus, TreadleError, WorkflowEngine

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import ModuleType

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

EXIT_CODES = {
    ExecutionStatus.COMPLETED: 0,
    ExecutionStatus.FAILED: 1,
    ExecutionStatus.PAUSED: 3,
    ExecutionStatus.CANCELLED: 4,
    ExecutionStatus.TIMED_OUT: 5,
}
BAD_USAGE = 2

Db = Annotated[Path, typer.Option(help="The SQLite file of the engine.")]


@app.command()
def run(  # noqa: PLR0917 - typer turns each into an option by name
    file: Annotated[Path, typer.Argument(help="A workflow as YAML or JSON.")],
    inputs: Annotated[
        list[str] | None, typer.Option("--set", "-i", help="One input, name=value (JSON or text).")
    ] = None,
    input_file: Annotated[Path | None, typer.Option("--input", help="Inputs as a JSON file.")] = None,
    db: Db = Path("treadle.db"),
    actions: Annotated[list[str] | None, typer.Option(help="A module or a file with actions; may be repeated.")] = None,
    execution_id: Annotated[
        str | None, typer.Option("--id", help="Name of the execution; go on with it if it is open.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the final state as JSON.")] = False,  # noqa: FBT002 - an option
) -> None:
    """Run a workflow to its end, or to where it waits for an input."""
    given = _inputs(input_file, inputs or [])
    modules = [_module(name) for name in actions or []]

    async def whole() -> treadle.ExecutionState:
        recover = [execution_id] if execution_id else "none"
        async with WorkflowEngine(store=db, actions=modules, recover=recover) as engine:
            started = await engine.start_workflow(file, given, execution_id=execution_id)
            if not as_json:
                typer.echo(f"execution {started}")
            async for event in engine.state_manager.watch(started):
                if not as_json:
                    _show_event(event)
                if event.kind == "ExecutionPaused":
                    break
            return await engine.wait(started)

    state = _await(whole())
    _show_state(state, as_json=as_json, how_to_go_on=_resume_command(state.execution_id, db))
    raise typer.Exit(EXIT_CODES.get(state.status, 0))


@app.command()
def resume(
    execution_id: str,
    inputs: Annotated[
        list[str] | None, typer.Option("--set", "-i", help="One input, name=value (JSON or text).")
    ] = None,
    db: Db = Path("treadle.db"),
    actions: Annotated[list[str] | None, typer.Option(help="A module or a file with actions; may be repeated.")] = None,
) -> None:
    """Go on with a paused execution, with the inputs it waits for, to its end."""
    _needs(db)
    given = _inputs(None, inputs or [])
    modules = [_module(name) for name in actions or []]

    async def whole() -> treadle.ExecutionState:
        async with WorkflowEngine(store=db, actions=modules, recover=[execution_id]) as engine:
            if not await engine.resume_workflow(execution_id, given):
                typer.echo("there was nothing to resume")
            return await engine.wait(execution_id)

    state = _await(whole())
    _show_state(state, as_json=False, how_to_go_on=_resume_command(execution_id, db))
    raise typer.Exit(EXIT_CODES.get(state.status, 0))


def _resume_command(execution_id: str, db: Path) -> str:
    return f"treadle resume {execution_id} --db {db} --actions ... -i name=value"


@app.command()
def validate(
    file: Annotated[Path, typer.Argument(help="A workflow as YAML or JSON.")],
    strict: Annotated[bool, typer.Option(help="Warnings count as errors.")] = False,  # noqa: FBT002 - an option
) -> None:
    """Check a workflow: every problem at once, with its place."""
    problems = treadle.validate(file, strict=strict)
    for problem in problems:
        typer.echo(f"{problem.severity.value}: {file}:{_clean(str(problem))}")
    if any(problem.severity.value == "error" for problem in problems):
        raise typer.Exit(BAD_USAGE)
    typer.echo(f"{file} is a valid workflow")


@app.command("list")
def list_executions(db: Db = Path("treadle.db"), limit: int = 50) -> None:
    """List executions, newest first."""

    async def whole(engine: WorkflowEngine) -> None:
        rows, _ = await engine.state_manager.list_executions(limit=limit)
        for row in rows:
            created = row.created_at.isoformat(timespec="seconds") if row.created_at else ""
            typer.echo(_clean(f"{row.execution_id}  {row.status.value:<10} {created}  {row.workflow_id}"))

    _needs(db)
    _await(_read(db, whole))


@app.command()
def show(execution_id: str, db: Db = Path("treadle.db")) -> None:
    """Show the state of one execution as JSON."""

    async def whole(engine: WorkflowEngine) -> None:
        state = await engine.state_manager.get_execution_state(execution_id)
        _show_state(state, as_json=True, how_to_go_on="")

    _needs(db)
    _await(_read(db, whole))


@app.command()
def history(execution_id: str, db: Db = Path("treadle.db")) -> None:
    """Print every event of one execution."""

    async def whole(engine: WorkflowEngine) -> None:
        for event in await engine.state_manager.history(execution_id):
            _show_event(event)

    _needs(db)
    _await(_read(db, whole))


def _needs(db: Path) -> None:
    if not db.exists():
        _fail(f"there is no file {db}; name the engine's with --db")


async def _read(db: Path, use: Any) -> None:  # noqa: ANN401 - an async function of an engine
    async with WorkflowEngine(store=db, recover="none") as engine:
        await use(engine)


def main() -> None:
    """Run the command line; an error is one message and never a traceback."""
    app()


def _await(whole: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - what the coroutine gives
    try:
        return asyncio.run(whole)
    except TreadleError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _fail("stopped; what was begun goes on when the same --id is run again", code=130)


def _fail(message: str, code: int = BAD_USAGE) -> NoReturn:
    typer.echo(f"error: {_clean(message)}", err=True)
    raise typer.Exit(code)


def _inputs(file: Path | None, pairs: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if file is not None:
        try:
            found = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError) as error:
            _fail(f"cannot read the inputs of {file}: {error}")
        if not isinstance(found, dict):
            _fail(f"the inputs of {file} must be a JSON object")
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not name or not equals:
            _fail(f"an input is name=value, not {pair!r}")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


def _module(name: str) -> ModuleType:
    """Import the actions: a module by name, or a Python file by path."""
    path = Path(name)
    try:
        if path.suffix != ".py":
            sys.path.insert(0, str(Path.cwd()))
            return importlib.import_module(name)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None or not path.exists():
            _fail(f"there is no file {name}")
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
    except Exception as error:  # noqa: BLE001 - whatever the module raises, the user gets one line
        _fail(f"the actions of {name} cannot be imported: {type(error).__name__}: {error}")
    return module


def _show_event(event: treadle.HistoryEvent) -> None:
    step = f" {event.step}" if event.step else ""
    attempt = f" (attempt {event.attempt})" if event.attempt > 1 else ""
    error = event.data.get("error", {}).get("message", "")
    waits = ", ".join(event.data.get("waiting_for", []))
    more = f": {error or waits}" if error or waits else ""
    typer.echo(_clean(f"{event.at:%H:%M:%S} {event.kind}{step}{attempt}{more}"))


def _show_state(state: treadle.ExecutionState, *, as_json: bool, how_to_go_on: str) -> None:
    if as_json:
        import msgspec  # the state's own encoder

        typer.echo(msgspec.json.format(msgspec.json.encode(state)).decode())
        return
    typer.echo(f"{state.status.value}: {_clean(json.dumps(state.output, ensure_ascii=False))}")
    if state.error is not None:
        typer.echo(_clean(f"{state.error.type}: {state.error.message}"))
    if state.status is ExecutionStatus.PAUSED:
        typer.echo(f"waiting for {', '.join(state.waiting_for)}; go on with: {how_to_go_on}")


def _clean(text: str) -> str:
    """Return text without control characters: a name must not drive the terminal."""
    return "".join(one if one.isprintable() or one == "\n" else repr(one)[1:-1] for one in text)


if __name__ == "__main__":
    main()
