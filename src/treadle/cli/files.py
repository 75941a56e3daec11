"""``doctor``: is the file whole, who runs it, what waits for it, in plain words."""

from __future__ import annotations

from typing import Final

import typer

import treadle
from treadle.cli.arguments import DEFAULT_DB, AsJson, Db, need_file
from treadle.cli.output import run_async, say, show_json

DAMAGED: Final = 1
MARKS: Final = {"ok": "ok     ", "warning": "warning", "error": "ERROR  "}


def doctor(db: Db = DEFAULT_DB, as_json: AsJson = False) -> None:  # noqa: FBT002 - an option
    """Examine a file: every checksum of every execution. Changes nothing, also beside a running engine."""
    need_file(db)
    found = run_async(treadle.diagnose(db))
    if as_json:
        show_json(found)
    else:
        for finding in found.findings:
            say(f"{MARKS[finding.severity]}  {finding.text}")
        say(f"{db} is whole" if found.is_whole else f"{db} is damaged; what is not named above is whole")
    raise typer.Exit(0 if found.is_whole else DAMAGED)
