"""The command line as a user types it: real processes, exit codes, no tracebacks."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

ACTIONS = """
import treadle

@treadle.action("greet")
def greet(name):
    return f"Hello, {name}!"

@treadle.action("fail")
def fail():
    raise treadle.ValidationError("it cannot work")
"""
WORKFLOW = "id: hello\nnodes:\n  - {id: greet, action: greet, parameters: {name: '${input.name}'}}\n"


RUN = ["run", "hello.yaml", "--actions", "actions.py"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "actions.py").write_text(ACTIONS)
    (tmp_path / "hello.yaml").write_text(WORKFLOW)
    (tmp_path / "fail.yaml").write_text("id: fail\nnodes:\n  - {id: a, action: fail}\n")
    (tmp_path / "nan.json").write_text('{"x": NaN, "x": 1}')
    (tmp_path / "bad.yaml").write_text("id: bad\nnodes:\n  - id: a\n    action: greet\n    retyr: 3\n")
    return tmp_path


def treadle(folder: Path, *words: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "treadle", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, done.stdout, done.stderr


def test_run_prints_each_event_and_the_output(folder: Path) -> None:
    code, out, err = treadle(folder, "run", "hello.yaml", "--actions", "actions.py", "-i", "name=Ada")
    assert (code, err) == (0, "")
    kinds = [line.split()[1] for line in out.splitlines()[1:-1]]
    assert kinds == ["ExecutionCreated", "ExecutionStarted", "StepStarted", "StepSucceeded", "ExecutionCompleted"]
    assert out.splitlines()[-1] == 'COMPLETED: "Hello, Ada!"'


def test_a_missing_input_pauses_with_code_3_and_resume_goes_on(folder: Path) -> None:
    code, out, _ = treadle(folder, "run", "hello.yaml", "--actions", "actions.py", "--id", "one")
    assert (code, "input.name" in out) == (3, True)
    code, out, _ = treadle(folder, "resume", "one", "--actions", "actions.py", "-i", "name=Bob")
    assert (code, out) == (0, 'COMPLETED: "Hello, Bob!"\n')
    code, out, _ = treadle(folder, "list")
    assert (code, out.split()[:2]) == (0, ["one", "COMPLETED"])
    code, out, _ = treadle(folder, "history", "one")
    assert [line.split()[1] for line in out.splitlines()][-1] == "ExecutionCompleted"


def test_a_failure_has_code_1_and_names_its_reason(folder: Path) -> None:
    code, out, _ = treadle(folder, "run", "fail.yaml", "--actions", "actions.py")
    assert (code, out.splitlines()[-1]) == (1, "ValidationError: it cannot work")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "none.yaml"], "cannot read none.yaml"),
        (["run", "hello.yaml"], 'no action "greet" is registered'),
        (["run", "hello.yaml", "--actions", "none.py"], "none.py"),
        (["run", "hello.yaml", "--actions", "actions.py", "-i", "name"], "name=value"),
        (["run", "hello.yaml", "--actions", "actions.py", "--id", " "], "execution id"),
        ([*RUN, "-i", 'name={"a": 1, "a": 2}'], '1:10: the key "a" is there twice'),
        ([*RUN, "-i", "name=[1, 2"], "if text is meant: -i 'name=\"[1, 2\"'"),
        ([*RUN, "--input", "nan.json"], "nan.json: 1:7: NaN is not a number"),
        ([*RUN, "--input", "."], "cannot read the inputs of .: Is a directory"),
        ([*RUN, "--input", "hello.yaml"], "hello.yaml: 1:1: not JSON"),
        (["list", "--db", "none.db"], "there is no file none.db"),
        (["show", "nobody", "--db", "there.db"], "no execution named 'nobody'"),
        (["list", "--db", "hello.yaml"], "not a database"),
    ],
)
def test_bad_usage_has_code_2_and_one_message_with_the_place(folder: Path, words: list[str], message: str) -> None:
    if "there.db" in words:
        assert treadle(folder, "run", "hello.yaml", "--actions", "actions.py", "--db", "there.db")[0] == 3
    code, out, err = treadle(folder, *words)
    assert (code, message in err, out) == (2, True, "")


def test_validate_names_every_problem_with_line_and_column(folder: Path) -> None:
    code, out, _ = treadle(folder, "validate", "bad.yaml")
    assert code == 2
    assert out == 'error: bad.yaml:5:5: nodes[0].retyr: unknown key "retyr" (did you mean "retry"?)\n'
    assert treadle(folder, "validate", "hello.yaml")[0] == 0
