"""``treadle register``, ``workflows`` and ``run ID``: with no engine, and beside one that runs the file."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from treadle import WorkflowEngine

if TYPE_CHECKING:
    from pathlib import Path

ENVIRONMENT = {**os.environ, "TREADLE_GRACE_MS": "50", "TREADLE_INBOX_POLL_MS": "10"}
GREET = 'id: greet\nversion: {version}\nnodes: [{{id: say, type: set, config: {{values: "{text}"}}}}]\n'


def treadle(folder: Path, *words: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "treadle", *words]
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "greet.yaml").write_text(GREET.format(version=1, text="one"))
    return tmp_path


def test_a_folder_is_registered_listed_and_run_by_id(folder: Path) -> None:
    code, out, _ = treadle(folder, "register", "flows")
    assert (code, out.split()[:2]) == (0, ["greet", "1"])
    (folder / "two.yaml").write_text(GREET.format(version=2, text="two"))
    assert treadle(folder, "register", "two.yaml")[0] == 0
    assert [line.split()[:2] for line in treadle(folder, "workflows")[1].splitlines()] == [["greet", "2"]]
    versions = json.loads(treadle(folder, "workflows", "greet", "--json")[1])
    assert [one["label"] for one in versions] == ["2", "1"]
    assert treadle(folder, "run", "greet")[1].splitlines()[-1] == 'COMPLETED: "two"'
    assert treadle(folder, "run", "greet", "--version", "1")[1].splitlines()[-1] == 'COMPLETED: "one"'
    short = versions[1]["definition_hash"][:12]
    assert treadle(folder, "run", "greet", "--version", short)[1].splitlines()[-1] == 'COMPLETED: "one"'
    assert treadle(folder, "workflows", "other") == (0, "", "no workflow 'other' is registered\n")


def test_what_cannot_be_run_or_registered_is_one_message_with_code_2(folder: Path) -> None:
    assert treadle(folder, "register", "flows")[0] == 0
    code, out, err = treadle(folder, "run", "gret")
    message = "error: there is no file gret, and no registered workflow named 'gret'; did you mean 'greet'?\n"
    assert (code, out, err) == (2, "", message)
    code, _, err = treadle(folder, "run", "greet", "--version", "9")
    assert (code, err) == (2, "error: no version of workflow 'greet' named '9'; did you mean '1'?\n")
    (folder / "flows" / "bad.yaml").write_text("id: bad\nnodes:\n  - {id: a, acton: x}\n")
    (folder / "flows" / "new.yaml").write_text(GREET.format(version=2, text="new").replace("greet", "new"))
    code, out, err = treadle(folder, "register", "flows")
    assert (code, out) == (2, "")
    assert err.startswith("error: flows/bad.yaml:3:")
    assert [line.split()[0] for line in treadle(folder, "workflows")[1].splitlines()] == ["greet"]
    code, _, err = treadle(folder, "register", "nowhere")
    assert (code, "nowhere" in err, "cannot read the folder" in err) == (2, True, True)
    (folder / "acts.py").write_text("")
    (folder / "calls.yaml").write_text("id: calls\nnodes: [{id: a, action: nobody.knows}]\n")
    assert treadle(folder, "register", "calls.yaml")[0] == 0
    code, _, err = treadle(folder, "register", "calls.yaml", "--actions", "acts.py")
    assert (code, "nobody.knows" in err) == (2, True)


async def test_beside_an_engine_it_is_asked_to_register(folder: Path) -> None:

    async with WorkflowEngine(store=folder / "treadle.db") as engine:
        code, out, err = await asyncio.to_thread(treadle, folder, "register", "flows")
        assert (code, out.split()[:2], err) == (0, ["greet", "1"], "")
        assert (await engine.get_workflow("greet")).version == 1


def test_a_key_and_a_time_are_given_on_the_command_line(folder: Path) -> None:
    flow = "flows/greet.yaml"
    code, out, err = treadle(folder, "run", flow, "--start-at", "20ms", "--id", "one", "--key", "k")
    assert (code, out.splitlines()[-1], err[:27]) == (0, 'COMPLETED: "one"', "execution 'one' begins at 2")
    (folder / "asks.yaml").write_text(
        'id: greet\nnodes: [{id: ask, type: input}, {id: b, type: set, config: {values: "done"}}]\n'
        "connections: [{source: ask, target: b}]\n"
    )
    assert treadle(folder, "register", "asks.yaml")[0] == 0
    with subprocess.Popen(
        [sys.executable, "-m", "treadle", "run", "greet", "--key", "k", "--id", "first"],
        cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as asking:  # fmt: skip
        assert asking.stdout is not None
        while "InputAsked" not in asking.stdout.readline():
            pass
        asking.kill()
    code, _, err = treadle(folder, "run", flow, "--key", "k")
    assert (code, err.startswith("error: execution 'first' of workflow 'greet' has the key 'k'")) == (2, True)
    code, _, err = treadle(folder, "run", flow, "--key", "k", "--on-conflict", "sometimes")
    assert (code, "sometimes" in err) == (2, True)
    code, out, err = treadle(folder, "run", flow, "--key", "k", "--on-conflict", "cancel_running")
    assert (code, out.splitlines()[-1], "begins once those with the key 'k'" in err) == (0, 'COMPLETED: "one"', True)
    assert treadle(folder, "show", "first")[1].splitlines()[-2] == "CANCELLED"
    code, _, err = treadle(folder, "run", flow, "--start-at", "tomorrow")
    assert (code, "Traceback" in err, err[:22]) == (2, False, 'error: start_at: "tomo')


def test_the_workflows_that_steps_run_are_registered_with_the_run(folder: Path) -> None:
    (folder / "outer.yaml").write_text("id: outer\nnodes: [{id: c, type: workflow, config: {workflow: greet}}]\n")
    code, _, err = treadle(folder, "run", "outer.yaml")
    assert (code, 'step "c" runs the workflow "greet", which is not registered' in err) == (2, True)
    code, out, _ = treadle(folder, "run", "outer.yaml", "--workflows", "flows", "--id", "x")
    assert (code, out.splitlines()[-1]) == (0, 'COMPLETED: "one"')
    assert treadle(folder, "run", "outer.yaml")[0] == 0  # it stays registered
    assert treadle(folder, "show", "x/c")[0] == 0
