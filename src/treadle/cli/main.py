"""``treadle``: the commands, and what holds for all of them."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Final

import typer

from treadle import __version__, bridge
from treadle.cli import (
    definitions,
    events,
    executions,
    explaining,
    files,
    limits,
    pruning,
    record,
    registry,
    running,
    schedules,
    transfer,
)

HELP: Final = (
    "Run workflows durably, and look at what ran.\n\n"
    "Exit codes of run and resume: 0 completed, 1 failed, 2 bad usage or definition, 3 paused, 4 cancelled, "
    "5 timed out, 130 stopped by Ctrl-C. Of every other command: 0 done, 1 not as asked, 2 bad usage."
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help=HELP,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _whole(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,  # noqa: FBT002 - an option
) -> None:
    if version:
        typer.echo(f"treadle {__version__}")
        raise typer.Exit


app.command()(running.run)
app.command()(running.resume)
app.command()(executions.pause)
app.command()(executions.cancel)
app.command()(executions.terminate)
app.command()(executions.retry)
app.command()(executions.fork)
app.command()(executions.migrate)
app.command("cancel-step")(executions.cancel_step)
app.command()(executions.submit)
app.command()(executions.answer)
app.command()(events.send)
app.command("list")(executions.list_executions)
app.command()(executions.show)
app.command()(executions.history)
app.command()(explaining.explain)
app.command()(limits.limits)
app.command()(registry.register)
app.command()(registry.workflows)
app.command()(definitions.validate)
app.command()(definitions.graph)
app.command()(files.doctor)
app.command()(pruning.prune)
app.command()(transfer.export)
app.command("import")(transfer.import_)
app.command()(record.record)
app.add_typer(schedules.app, name="schedule")


def main() -> None:
    """Run the command line; an error is one message and never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a name still shows the rest
    for place, word in enumerate(sys.argv[1:], 1):
        if not word.isascii() and any("\udc80" <= one <= "\udcff" for one in word):
            typer.echo(f"error: argument {place} is not UTF-8: {word!a}", err=True)
            sys.exit(2)
    code: object = 0
    try:
        app()
    except BrokenPipeError:  # whoever read has gone, as `treadle history x | head` does
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:  # no room where the output goes
        typer.echo(f"error: the output cannot be written: {error.strerror}", err=True)
        os._exit(1)  # the interpreter would try to write the rest once more
    except SystemExit as end:
        code = end.code
    _end(code)


def _end(code: object) -> None:
    """End the process, also where an action that never ends would hold it up."""
    if bridge.has_given_up():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)
    sys.exit(code if isinstance(code, int | str) else 0)


if __name__ == "__main__":
    main()
