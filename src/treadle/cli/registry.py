"""``workflows`` and ``register``: the workflows that a file knows by id."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import treadle
from treadle import Client, StoreLockedError, UnavailableError, WorkflowEngine
from treadle.cli.arguments import DEFAULT_DB, Actions, AsJson, Db, import_actions, need_file
from treadle.cli.output import moment, note, run_async, say, show_json

if TYPE_CHECKING:
    from treadle import Workflow, WorkflowVersion

SHORT_HASH = 12
Files = Annotated[list[Path], typer.Argument(help="Workflows as YAML or JSON, or folders of them.")]


def register(files: Files, db: Db = DEFAULT_DB, actions: Actions = None, as_json: AsJson = False) -> None:  # noqa: FBT002 - an option
    """Register workflows under their ids; all of them, or none where one has an error.

    What is registered can be started by its id. With --actions also checks each action and its parameters.
    """
    known = treadle.Registry(import_actions(actions)) if actions else None

    async def whole() -> list[WorkflowVersion]:
        workflows = treadle.load_workflows(files, actions=known)
        try:
            return await _here(workflows, db)
        except StoreLockedError:
            return await _there(workflows, db)

    versions = run_async(whole())
    if as_json:
        show_json(versions)
    for one in [] if as_json else versions:
        say(_line(one))


async def _here(workflows: list[Workflow], db: Path) -> list[WorkflowVersion]:
    async with WorkflowEngine(store=db, recover="none", workflows=workflows) as engine:
        return [(await engine.list_versions(one.id))[0] for one in workflows]


async def _there(workflows: list[Workflow], db: Path) -> list[WorkflowVersion]:
    """Ask the engine of another process, which runs the file."""
    try:
        async with Client(db) as client:
            return [await client.register_workflow(one) for one in workflows]
    except UnavailableError as error:
        note(f"{error}. It is carried out as soon as an engine runs the file.")
        return []


def workflows(
    workflow_id: Annotated[str, typer.Argument(help="Id of one workflow: all its versions.")] = "",
    db: Db = DEFAULT_DB,
    as_json: AsJson = False,  # noqa: FBT002 - an option
) -> None:
    """List registered workflows, each in the version that is started by its id; of one, every version."""
    need_file(db)

    async def whole() -> list[WorkflowVersion]:
        async with Client(db) as client:
            reads = client.state_manager
            return await (reads.list_versions(workflow_id) if workflow_id else reads.list_workflows())

    versions = run_async(whole())
    if as_json:
        show_json(versions)
        return
    for one in versions:
        say(_line(one))
    if not versions:
        note(f"no workflow {workflow_id!r} is registered" if workflow_id else "no workflow is registered")


def _line(one: WorkflowVersion) -> str:
    return f"{one.workflow_id}  {one.label or '-'}  {one.definition_hash[:SHORT_HASH]}  {moment(one.registered_at)}"
