"""``treadle schedule``: without an engine, beside one, and as the one that runs what is due."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

ACTIONS = """
import pathlib, treadle

@treadle.action("note")
def note(day):
    with pathlib.Path("notes").open("a") as notes:
        notes.write(day + "\\n")
"""
WORKFLOW = "id: daily\nnodes:\n  - {id: note, action: note, parameters: {day: '${input.day}'}}\n"
ADD = ("add", "daily.yaml", "--id", "daily", "-i", "day=${schedule.planned_at}")
DAILY = (*ADD, "--cron", "0 9 * * MON-FRI", "--timezone", "Europe/Vienna")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "actions.py").write_text(ACTIONS)
    (tmp_path / "daily.yaml").write_text(WORKFLOW)
    return tmp_path


def schedule(folder: Path, *words: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "treadle", "schedule", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, done.stdout, done.stderr


def test_a_schedule_is_added_listed_paused_resumed_and_removed(folder: Path) -> None:
    assert schedule(folder, *DAILY, "--actions", "actions.py") == (0, "daily\n", "")
    assert schedule(folder, *DAILY) == (0, "daily\n", "")
    code, out, _ = schedule(folder, "list")
    assert code == 0
    assert re.fullmatch(
        r'daily  "0 9 \* \* MON-FRI" Europe/Vienna  daily  next \S+T0[78]:00:00\+00:00  0 started\n', out
    )
    code, out, err = schedule(folder, "next", "daily", "-n", "7")
    planned = [datetime.fromisoformat(line) for line in out.split()]
    assert (code, err, [one.hour for one in planned]) == (0, "", [9] * 7)
    assert all(one.weekday() < 5 for one in planned)
    assert schedule(folder, "pause", "daily") == (0, "paused\n", "")
    assert schedule(folder, "pause", "daily") == (0, "it was paused\n", "")
    assert "  paused  0 started" in schedule(folder, "list")[1]
    assert schedule(folder, "next", "daily", "-n", "1")[2].startswith("it is paused")
    assert schedule(folder, "resume", "daily") == (0, "resumed\n", "")
    code, out, _ = schedule(folder, "list", "--json")
    assert (code, [one["schedule_id"] for one in json.loads(out)]) == (0, ["daily"])
    code, _, err = schedule(folder, *ADD, "--cron", "30 9 * * *")
    assert (code, "says something else" in err) == (2, True)
    assert schedule(folder, *ADD, "--cron", "30 9 * * *", "--replace")[0] == 0
    assert schedule(folder, "remove", "daily") == (0, "removed\n", "")
    assert schedule(folder, "remove", "daily") == (1, "", "there is no schedule 'daily'\n")
    for verb in ("pause", "resume", "trigger", "next"):
        assert schedule(folder, verb, "daily") == (2, "", "error: no schedule named 'daily'\n")


def test_everything_that_is_wrong_is_told_at_once(folder: Path) -> None:
    code, out, err = schedule(
        folder, *ADD[:2], "--cron", "0 0 30 2 *", "--timezone", "Viena", "--overlap", "never", "--catch-up=-1h"
    )
    assert (code, out) == (2, "")
    lines = err.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["cron", "timezone", "overlap", "catch_up"]
    assert "never fires" in lines[0]
    assert 'did you mean "Europe/Vienna"?' in lines[1]
    code, _, err = schedule(folder, *ADD[:2], "--cron", "0 9 * * *", "--actions", "daily.yaml")
    assert code == 2
    code, _, err = schedule(folder, "pause", "daily", "--db", "nowhere.db")
    assert (code, err) == (2, "error: there is no file nowhere.db; name the engine's with --db\n")
    (folder / "other.yaml").write_text(WORKFLOW.replace("action: note", "action: unknown"))
    code, _, err = schedule(folder, "add", "other.yaml", "--cron", "0 9 * * *", "--actions", "actions.py")
    assert (code, "unknown" in err) == (2, True)


def test_a_registered_workflow_is_scheduled_by_its_id(folder: Path) -> None:
    code, _, err = schedule(folder, "add", "daily", "--cron", "0 9 * * *")
    assert (code, "no registered workflow named 'daily'" in err) == (2, True)
    subprocess.run([sys.executable, "-m", "treadle", "register", "daily.yaml"], cwd=folder, check=True, timeout=60)
    assert schedule(folder, "add", "daily", "--cron", "0 9 * * *", "--id", "s", "-i", "day=x") == (0, "s\n", "")
    code, _, err = schedule(folder, "add", "daily", "--version", "9", "--cron", "0 9 * * *")
    assert (code, "Traceback" in err) == (2, False)


@pytest.mark.slow
def test_what_is_due_runs_here_and_other_processes_ask_the_engine_that_runs_it(folder: Path) -> None:
    assert schedule(folder, *ADD, "--cron", "* * * * * *")[0] == 0
    code, triggered, err = schedule(folder, "trigger", "daily")
    assert (code, "as soon as an engine runs the file" in err) == (0, True)
    command = [sys.executable, "-m", "treadle", "schedule", "run", "--actions", "actions.py"]
    environment = {**os.environ, "TREADLE_INBOX_POLL_MS": "10"}
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            wait_for(lambda: len(notes(folder)) >= 3)
            assert schedule(folder, "pause", "daily") == (0, "paused\n", "")
            before = notes(folder)
            code, again, err = schedule(folder, "trigger", "daily")
            assert (code, err) == (0, "")
            wait_for(lambda: len(notes(folder)) > len(before))
            assert schedule(folder, *ADD[:2], "--cron", "0 9 * * *", "--id", "more", "-i", "day=x")[0] == 0
            assert schedule(folder, "remove", "daily") == (0, "removed\n", "")
            assert [line.split()[0] for line in schedule(folder, "list")[1].splitlines()] == ["more"]
        finally:
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "1 schedule; stop with Ctrl-C\n")
    ended = [line.split()[2] for line in out.splitlines() if line.endswith("ExecutionCompleted")]
    assert again.strip() in ended
    assert len(ended) == len(set(ended))
    listed = subprocess.run([*command[:3], "list"], cwd=folder, capture_output=True, text=True, check=True).stdout
    names = [word for word in listed.split() if word.startswith("daily/")]
    assert triggered.strip() in names
    assert len(names) == len(notes(folder)), "each ran once"


SECRET_WORKFLOW = """
id: posts
nodes:
  - {id: post, action: post, parameters: {token: "${secrets.TOKEN}"}}
"""
SECRET_ACTIONS = """
import treadle

@treadle.action("post")
def post(token: str) -> str:
    with open("notes", "a") as notes:
        notes.write(f"{len(token)}\\n")
    return token
"""


@pytest.mark.slow
@pytest.mark.parametrize("is_file", [True, False])
def test_what_is_due_has_its_secrets(folder: Path, *, is_file: bool) -> None:
    (folder / "posts.yaml").write_text(SECRET_WORKFLOW)
    (folder / "posting.py").write_text(SECRET_ACTIONS)
    (folder / "secrets.json").write_text('{"TOKEN": "canary-0"}')
    assert schedule(folder, "add", "posts.yaml", "--cron", "* * * * * *", "--id", "posts")[0] == 0
    words = ["--secrets", "secrets.json"] if is_file else []
    command = [sys.executable, "-m", "treadle", "schedule", "run", "--actions", "posting.py", *words]
    environment = {**os.environ, "TREADLE_SECRET_TOKEN": "canary-of-the-environment"}
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            wait_for(lambda: notes(folder))
        finally:
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
    assert notes(folder)[0] == ("8" if is_file else "25")
    assert "canary" not in out + err
    assert not [one for one in folder.glob("treadle.db*") if one.is_file() and b"canary" in one.read_bytes()]


def notes(folder: Path) -> list[str]:
    place = folder / "notes"
    return place.read_text().split() if place.exists() else []


def wait_for(condition: object, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until
        time.sleep(0.01)
