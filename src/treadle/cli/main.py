"""``treadle``: run workflows durably, and look at what ran.

Exit codes of ``run`` and ``resume``: 0 completed, 1 failed, 2 bad usage or definition, 3 paused, 4 cancelled,
5 timed out, 130 stopped by Ctrl-C. Every other command: 0 done, 1 not as asked, 2 bad usage.
"""

from __future__ import annotations

import sys

import typer

from treadle.cli import definitions, executions, files, running

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

app.command()(running.run)
app.command()(running.resume)
app.command()(executions.pause)
app.command()(executions.cancel)
app.command("list")(executions.list_executions)
app.command()(executions.show)
app.command()(executions.history)
app.command()(definitions.validate)
app.command()(definitions.graph)
app.command()(files.doctor)


def main() -> None:
    """Run the command line; an error is one message and never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a name still shows the rest
    try:
        app()
    except BrokenPipeError:  # whoever read has gone, as `treadle history x | head` does
        sys.stderr.close()
        sys.exit(1)


if __name__ == "__main__":
    main()
