"""The command line while another process runs the engine: pause, resume, cancel, Ctrl-C, and what is read meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ACTIONS = """
import asyncio, pathlib
import treadle

@treadle.action("hold")
async def hold(name):
    with pathlib.Path("calls").open("a") as calls:
        calls.write(name + "\\n")
    while not pathlib.Path("gate").exists():
        await asyncio.sleep(0.01)
    return name
"""
WORKFLOW = """
id: two
nodes:
  - {id: first, action: hold, parameters: {name: first}}
  - {id: second, action: hold, parameters: {name: second}}
  - {id: third, action: hold, parameters: {name: "${input.who}"}}
connections:
  - {source: first, target: second}
  - {source: second, target: third}
"""
RUN = ("run", "two.yaml", "--actions", "actions.py", "--id", "one")
ENVIRONMENT = {**os.environ, "TREADLE_GRACE_MS": "50", "TREADLE_INBOX_POLL_MS": "10"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "actions.py").write_text(ACTIONS)
    (tmp_path / "two.yaml").write_text(WORKFLOW)
    return tmp_path


def treadle(folder: Path, *words: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "treadle", *words]
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, done.stdout, done.stderr


@contextlib.contextmanager
def running(folder: Path, *words: str, grace_ms: int = 50) -> Iterator[subprocess.Popen[str]]:
    """Run a command beside the test, once its first step holds."""
    command = [sys.executable, "-m", "treadle", *words]
    environment = {**ENVIRONMENT, "TREADLE_GRACE_MS": str(grace_ms)}
    with subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            wait_for((folder / "calls").exists)
            yield process
        finally:
            process.kill()


def wait_for(condition: object, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until
        time.sleep(0.01)


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().split()


def test_pause_reaches_the_engine_and_resume_reaches_it_too_or_runs_it_here(folder: Path) -> None:
    with running(folder, *RUN) as process:
        assert treadle(folder, "list")[1].split()[:2] == ["one", "RUNNING"]
        assert treadle(folder, "pause", "one") == (0, "paused; steps that still run: 1\n", "")
        assert treadle(folder, "show", "one")[1].splitlines()[-2:] == ["PAUSED", "paused by a request"]
        assert treadle(folder, "resume", "one") == (0, f"resumed by the engine of process {process.pid}\n", "")
        assert treadle(folder, "pause", "one")[0] == 0
        (folder / "gate").touch()
        out, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (3, "")
        assert out.splitlines()[-1].startswith("paused by a request; go on with: treadle resume one")
    code, out, _ = treadle(folder, "resume", "one", "--actions", "actions.py")
    assert (code, out.splitlines()[-1]) == (
        3,
        "waiting for input.who; go on with: treadle resume one --actions actions.py -i who=...",
    )
    code, out, _ = treadle(folder, "resume", "one", "--actions", "actions.py", "-i", "who=me")
    assert (code, out.splitlines()[-1]) == (0, 'COMPLETED: "me"')
    assert calls(folder) == ["first", "second", "me"]


def test_cancel_reaches_the_engine_and_an_ended_execution_is_left_alone(folder: Path) -> None:
    with running(folder, *RUN) as process:
        assert treadle(folder, "cancel", "one", "--reason", "not today") == (0, "cancelled\n", "")
        out, _ = process.communicate(timeout=30)
        assert (process.returncode, out.splitlines()[-2:]) == (4, ["CANCELLED", "Cancelled: not today"])
    for verb in ("cancel", "pause"):
        assert treadle(folder, verb, "one") == (1, "", f"nothing to {verb}: execution 'one' is CANCELLED\n")
    assert calls(folder) == ["first"]


def test_with_no_engine_a_command_waits_and_says_so_and_doctor_counts_it(folder: Path) -> None:
    with running(folder, *RUN) as process:
        process.send_signal(signal.SIGKILL)
    code, out, err = treadle(folder, "pause", "one")
    assert (code, out) == (0, "")
    assert "no engine runs this file now" in err
    assert "as soon as an engine runs that execution" in err
    code, out, _ = treadle(folder, "doctor")
    assert code == 0
    assert "commands that wait for an engine: 1" in out
    assert treadle(folder, *RUN)[0] == 3
    assert calls(folder) == ["first"]


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(folder: Path) -> None:
    with running(folder, *RUN[:-2]) as process:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 130
        assert "Traceback" not in out + err
    name = out.split()[1]
    assert err.splitlines()[-1] == f"error: stopped; go on with: treadle {' '.join(RUN[:-1])} {name}"
    (folder / "gate").touch()
    assert treadle(folder, *RUN[:-1], name)[0] == 3
    assert calls(folder) == ["first", "first", "second"]


def test_ctrl_c_waits_for_steps_that_run_and_a_second_one_does_not(folder: Path) -> None:
    with running(folder, *RUN, grace_ms=600_000) as process:
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert process.stderr.readline().startswith("waiting up to 600 s for a step that runs; Ctrl-C again")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (130, "error: stopped at once; what is recorded is kept\n")
        assert "Traceback" not in out
    (folder / "gate").touch()
    assert treadle(folder, *RUN)[0] == 3


def test_on_a_terminal_the_graph_is_a_tree_that_ends_as_it_stands(folder: Path) -> None:
    (folder / "gate").touch()
    mine, its = pty.openpty()
    command = [sys.executable, "-m", "treadle", *RUN, "-i", "who=me"]
    environment = {**ENVIRONMENT, "COLUMNS": "80", "LINES": "24", "TERM": "xterm", "NO_COLOR": "1"}
    with subprocess.Popen(command, cwd=folder, env=environment, stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        seen = bytearray()
        with contextlib.suppress(OSError):  # the other end is closed when the command ends
            while part := os.read(mine, 4096):
                seen += part
        os.close(mine)
        assert process.wait(30) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    last = text.rpartition("two  one")[2]
    lines = [line.strip() for line in last.splitlines()]
    assert [line.split()[1:3] for line in lines[1:4]] == [["✓", "first"], ["✓", "second"], ["✓", "third"]]
    assert "3/3 steps  0 running" in lines[4]
    assert 'COMPLETED: "me"' in lines


@pytest.mark.parametrize("damage", ["replace(events, 'me', 'xx')", "cast(replace(events, 'me', 'xx') as blob)"])
def test_doctor_names_a_damaged_execution_and_the_rest_is_whole(folder: Path, damage: str) -> None:
    (folder / "gate").touch()
    for name in ("good", "bad"):
        assert treadle(folder, *RUN[:-1], name, "-i", "who=me")[0] == 0
    assert treadle(folder, "doctor")[0] == 0
    with contextlib.closing(sqlite3.connect(folder / "treadle.db", isolation_level=None)) as file:
        file.execute(f"update turns set events = {damage} where execution = 2 and sequence = 4")
        assert file.execute("select changes()").fetchone() == (1,)
    code, out, _ = treadle(folder, "doctor")
    assert code == 1
    assert "ERROR    execution 'bad': turn 4 does not fit its checksum" in out
    assert "1 of 2 logs are whole" in out
    code, out, _ = treadle(folder, "doctor", "--json")
    assert (code, list(json.loads(out)["damaged"])) == (1, ["bad"])
    assert treadle(folder, "show", "good")[0] == 0
    code, _, err = treadle(folder, "show", "bad")
    assert (code, "does not fit its checksum" in err) == (2, True)


def test_doctor_sees_a_list_that_does_not_say_what_the_log_says_and_an_open_mode(folder: Path) -> None:
    (folder / "gate").touch()
    assert treadle(folder, *RUN, "-i", "who=me")[0] == 0
    (folder / "treadle.db").chmod(0o644)
    with contextlib.closing(sqlite3.connect(folder / "treadle.db", isolation_level=None)) as file:
        file.execute("update executions set status = 'FAILED'")
    code, out, _ = treadle(folder, "doctor")
    assert code == 1
    assert "the list says FAILED, its log COMPLETED" in out
    assert "warning  others may read it (mode 0644)" in out


def test_lists_states_and_histories_are_json_on_request(folder: Path) -> None:
    (folder / "gate").touch()
    assert treadle(folder, *RUN, "-i", "who=me")[0] == 0
    assert treadle(folder, "run", "two.yaml", "--actions", "actions.py", "--id", "two")[0] == 3
    rows = json.loads(treadle(folder, "list", "--json")[1])
    assert [(row["execution_id"], row["status"]) for row in rows] == [("two", "PAUSED"), ("one", "COMPLETED")]
    assert [row["execution_id"] for row in json.loads(treadle(folder, "list", "--status", "PAUSED", "--json")[1])] == [
        "two"
    ]
    assert treadle(folder, "list", "--limit", "1")[2] == "there may be more than these 1; see them with --limit\n"
    assert json.loads(treadle(folder, "show", "one", "--json")[1])["output"] == "me"
    assert json.loads(treadle(folder, "history", "one", "--json")[1])[-1]["kind"] == "ExecutionCompleted"


def test_graph_is_mermaid_text_coloured_by_an_execution(folder: Path) -> None:
    plain = """flowchart TD
    n0["first"]
    n1["second"]
    n2["third"]
    n0 --> n1
    n1 --> n2
"""
    assert treadle(folder, "graph", "two.yaml") == (0, plain, "")
    (folder / "gate").touch()
    assert treadle(folder, *RUN)[0] == 3
    out = treadle(folder, "graph", "two.yaml", "--id", "one")[1]
    assert out.startswith(plain)
    assert ("class n0,n1 COMPLETED" in out, "class n2 PAUSED" in out) == (True, True)
    (folder / "bad.yaml").write_text("id: bad\nnodes: [{id: a, acton: x}]\n")
    code, out, err = treadle(folder, "graph", "bad.yaml")
    assert (code, out, 'unknown key "acton"' in err) == (2, "", True)
