"""``export`` and ``import``: one execution as a JSON file, and back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from treadle import Client, StoreLockedError, WorkflowEngine
from treadle.cli.arguments import DEFAULT_DB, Db, ExecutionId, Output, need_file
from treadle.cli.output import fail, note, run_async, say

STANDARD_INPUT = Path("-")


def export(execution_id: ExecutionId, db: Db = DEFAULT_DB, output: Output = None) -> None:
    """Write all that is recorded of one execution, with its workflow, as a JSON document."""
    need_file(db)
    if output is not None and output.exists():
        fail(f"{output} exists; name another file, or remove it")

    async def whole() -> dict[str, object]:
        async with Client(db) as client:
            return await client.state_manager.export_execution(execution_id)

    text = msgspec.json.format(msgspec.json.encode(run_async(whole())), indent=1).decode()
    if output is None:
        typer.echo(text)
        return
    try:
        output.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        fail(f"{output} cannot be written: {error.strerror}")
    note(f"wrote {output}")


def import_(
    file: Annotated[Path, typer.Argument(help="What export wrote; - for standard input.")],
    db: Db = DEFAULT_DB,
) -> None:
    """Take in an execution that export wrote. One that is open goes on when an engine runs the file."""
    try:
        content = sys.stdin.buffer.read() if file == STANDARD_INPUT else file.read_bytes()
    except OSError as error:
        fail(f"cannot read {file}: {error.strerror}")

    async def whole() -> str:
        try:
            async with WorkflowEngine(store=db, recover="none", keep={}) as engine:
                return await engine.import_execution(content, go_on=False)
        except StoreLockedError as error:
            by = f"process {error.pid}" if error.pid else "another process"
            fail(f"the engine of {by} runs {db}: have it import the file, with engine.import_execution(...)")

    say(f"imported {run_async(whole())}")
