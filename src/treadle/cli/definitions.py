"""``validate`` and ``graph``: a workflow as it is written, without running it."""

from __future__ import annotations

from typing import Annotated

import typer

import treadle
from treadle import Client, TreadleError
from treadle.cli.arguments import DEFAULT_DB, Actions, Db, File, import_actions, need_file
from treadle.cli.output import BAD_USAGE, fail, run_async, say


def validate(
    file: File,
    strict: Annotated[bool, typer.Option(help="Warnings count as errors.")] = False,  # noqa: FBT002 - an option
    actions: Actions = None,
) -> None:
    """Check a workflow: every problem at once, with its place; with --actions also each action and its parameters."""
    known = treadle.Registry(import_actions(actions)) if actions else None
    problems = treadle.validate(file, strict=strict, actions=known)
    for problem in problems:
        say(f"{problem.severity.value}: {file}:{problem}")
    if any(problem.severity.value == "error" for problem in problems):
        raise typer.Exit(BAD_USAGE)
    say(f"{file} is a valid workflow")


def graph(
    file: File,
    execution_id: Annotated[str, typer.Option("--id", help="Colour the steps as they stand in this execution.")] = "",
    db: Db = DEFAULT_DB,
) -> None:
    """Print a workflow as Mermaid text, for a README or a pull request."""
    try:
        workflow = treadle.load_workflow(file)
    except TreadleError as error:
        fail(str(error))
    statuses = {}
    if execution_id:
        need_file(db)
        statuses = run_async(_statuses(workflow, execution_id, db))
    typer.echo(treadle.to_mermaid(workflow, statuses))


async def _statuses(workflow: treadle.Workflow, execution_id: str, db: Db) -> dict[str, treadle.StepStatus]:
    async with Client(db) as client:
        state = await client.state_manager.get_execution_state(execution_id)
    if not set(state.steps) & {node.id for node in workflow.nodes}:
        fail(f"execution {execution_id!r} is one of the workflow {state.workflow_id!r}, and of no node of this one")
    return {name: step.status for name, step in state.steps.items()}
