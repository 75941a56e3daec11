"""The command line as a user types it: real processes, exit codes, no tracebacks."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from treadle import WorkflowEngine

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
STUBBORN = """
import asyncio, treadle

@treadle.action("stubborn")
async def stubborn():
    while True:
        try:
            await asyncio.sleep(0.01)
        except BaseException:
            pass

@treadle.action("prints")
def prints():
    print("not for a program")
"""
BRANCH = """
id: branch
nodes:
  - {id: a, action: prints}
  - {id: b, action: prints}
connections:
  - {source: a, target: b, condition: "input.wanted"}
"""
WORKFLOW = "id: hello\nnodes:\n  - {id: greet, action: greet, parameters: {name: '${input.name}'}}\n"


RUN = ["run", "hello.yaml", "--actions", "actions.py"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "actions.py").write_text(ACTIONS)
    (tmp_path / "hello.yaml").write_text(WORKFLOW)
    (tmp_path / "fail.yaml").write_text("id: fail\nnodes:\n  - {id: a, action: fail}\n")
    (tmp_path / "nan.json").write_text('{"x": NaN, "x": 1}')
    (tmp_path / "exits.py").write_text("import sys; sys.exit(0)")
    (tmp_path / "more").mkdir()
    (tmp_path / "more/json.py").write_text(ACTIONS.replace("import treadle", "import treadle, beside"))
    (tmp_path / "more/beside.py").write_text("")
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    (tmp_path / "stubborn.yaml").write_text(
        "id: s\nnodes:\n  - {id: a, action: stubborn, timeout: 100ms, retry: {max_attempts: 1}}\n"
    )
    (tmp_path / "branch.yaml").write_text(BRANCH)
    (tmp_path / "bad.yaml").write_text("id: bad\nnodes:\n  - id: a\n    action: greet\n    retyr: 3\n")
    return tmp_path


def treadle(folder: Path, *words: str | bytes) -> tuple[int, str, str]:
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
    assert (code, out.splitlines()[0], out.splitlines()[-1]) == (
        0,
        "going on with execution one",
        'COMPLETED: "Hello, Bob!"',
    )
    assert [line.split()[1] for line in out.splitlines()[1:-1]] == [
        "ExecutionResumed",
        "StepStarted",
        "StepSucceeded",
        "ExecutionCompleted",
    ]
    code, out, _ = treadle(folder, "list")
    assert (code, out.split()[:2]) == (0, ["one", "COMPLETED"])
    code, out, _ = treadle(folder, "history", "one")
    assert [line.split()[2] for line in out.splitlines()][-1] == "ExecutionCompleted"


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
        (["run", "hello.yaml", "--actions", "exits.py"], "exits.py cannot be imported: SystemExit: 0"),
        (["run", "hello.yaml", "--actions", "./none"], "there is no file ./none"),
        (["run", "hello.yaml", "--actions", "."], "there is no file ."),
        (["run", "bad.yaml", "--actions", "actions.py"], "bad.yaml:5:5: nodes[0].retyr"),
        (["show", b"\xff", "--db", "hello.yaml"], "argument 2 is not UTF-8"),
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
def test_bad_usage_has_code_2_and_one_message_with_the_place(folder: Path, words: list[Any], message: str) -> None:
    if "there.db" in words:
        assert treadle(folder, "run", "hello.yaml", "--actions", "actions.py", "--db", "there.db")[0] == 3
    code, out, err = treadle(folder, *words)
    assert (code, message in err, out) == (2, True, "")


def test_validate_names_every_problem_with_line_and_column(folder: Path) -> None:
    code, out, _ = treadle(folder, "validate", "bad.yaml")
    assert code == 2
    assert out == 'error: bad.yaml:5:5: nodes[0].retyr: unknown key "retyr" (did you mean "retry"?)\n'
    assert treadle(folder, "validate", "hello.yaml")[0] == 0


def test_a_file_of_actions_may_be_called_as_a_module_of_python_and_use_what_stands_beside_it(folder: Path) -> None:
    words = ["run", "hello.yaml", "--actions", "more/json.py", "--actions", "more/json.py", "-i", "name=Ada", "--json"]
    code, out, err = treadle(folder, *words)
    assert (code, json.loads(out)["output"], err) == (0, "Hello, Ada!", "")


def test_an_action_that_never_ends_does_not_keep_the_command_from_ending(folder: Path) -> None:
    code, out, _ = treadle(folder, "run", "stubborn.yaml", "--actions", "stubborn.py")
    assert (code, out.splitlines()[-1]) == (1, "StepTimeout: attempt 1 took longer than its timeout of 0.1 s")


def test_what_actions_print_does_not_spoil_json(folder: Path) -> None:
    code, out, err = treadle(folder, "run", "branch.yaml", "--actions", "stubborn.py", "--json", "--id", "one")
    assert (code, json.loads(out)["status"], err) == (0, "COMPLETED", "not for a program\n")
    _, out, _ = treadle(folder, "history", "one")
    told = [line.split(maxsplit=2)[2] for line in out.splitlines()]
    assert "ConnectionDecided: a -> b not taken, input.wanted is missing" in told
    assert "StepSkipped b: by its join" in told


def test_a_run_of_an_execution_that_has_ended_says_so_and_shows_how(folder: Path) -> None:
    first = treadle(folder, *RUN, "-i", "name=Ada", "--id", "one")
    code, out, err = treadle(folder, *RUN, "-i", "name=Ada", "--id", "one")
    assert (code, out, err) == (
        first[0],
        'COMPLETED: "Hello, Ada!"\n',
        "execution 'one' had ended before; this is how\n",
    )


def test_resume_needs_the_actions_and_keeps_the_inputs_of_an_execution_that_was_running(folder: Path) -> None:
    assert treadle(folder, *RUN, "--id", "one")[0] == 3
    code, out, err = treadle(folder, "resume", "one", "-i", "name=Ada")
    assert (code, out, 'no action "greet" is registered' in err) == (2, "", True)
    asyncio.run(_resume_without_its_input(folder))
    code, out, _ = treadle(folder, "resume", "one", "--actions", "actions.py", "-i", "name=Ada")
    assert (code, out.splitlines()[-1]) == (0, 'COMPLETED: "Hello, Ada!"')


async def _resume_without_its_input(folder: Path) -> None:
    """Leave the execution RUNNING, as a process does that is stopped between the two."""
    async with WorkflowEngine(store=folder / "treadle.db", recover="none") as engine:
        assert await engine.resume_workflow("one")
        assert (await engine.get_execution_state("one")).status.value == "RUNNING"


def test_output_that_cannot_be_written_is_one_message(folder: Path) -> None:
    treadle(folder, *RUN, "-i", "name=Ada")
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        command = [sys.executable, "-m", "treadle", "list"]
        done = subprocess.run(command, cwd=folder, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "error: the output cannot be written: No space left on device\n")


@pytest.mark.parametrize("words", [["--version"], ["-h"], ["run", "-h"]])
def test_what_every_command_line_has_is_there(folder: Path, words: list[str]) -> None:
    code, out, err = treadle(folder, *words)
    assert (code, err) == (0, "")
    assert "treadle" in out


def test_prune_removes_what_ended_and_says_what_it_would(folder: Path) -> None:
    def prune(*words: str) -> tuple[int, str, str]:
        return treadle(folder, "prune", "--older-than", *words)

    for name in ("one", "two"):
        treadle(folder, *RUN, "-i", "name=Ada", "--id", name)
    treadle(folder, *RUN, "--id", "asks")
    code, out, err = prune("soon")
    assert (code, out, err.partition(":")[0], '"soon" is no duration' in err) == (2, "", "error", True)
    assert prune("1d", "--status", "RUNNING")[0] == 2
    assert prune("30d") == (0, "", "removed 0 executions; the room is used again\n")
    assert prune("0s", "--dry-run") == (0, "one\ntwo\n", "2 executions would be removed\n")
    assert prune("0s", "--status", "FAILED", "--json") == (0, "[]\n", "")
    assert prune("0s", "--status", "COMPLETED", "--status", "FAILED")[:2] == (0, "one\ntwo\n")
    assert treadle(folder, "list")[1].split()[:2] == ["asks", "PAUSED"]
    assert treadle(folder, "show", "one")[0] == 2
    assert treadle(folder, "doctor")[0] == 0


async def test_prune_leaves_a_file_to_the_engine_that_runs_it(folder: Path) -> None:
    async with WorkflowEngine(store=folder / "treadle.db"):
        code, out, err = await asyncio.to_thread(treadle, folder, "prune", "--older-than", "0s")
    assert (code, out) == (2, "")
    assert "runs treadle.db: have it remove them, with keep=... or TREADLE_KEEP_MS" in err


DAY = """
id: day
nodes:
  - id: each
    type: map
    items: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    tolerate: 1
    body:
      nodes:
        - {id: ask, type: input, condition: "item == 10"}
        - {id: v, type: set, values: "${1 / (item - 5)}"}
"""


def test_bodies_are_shown_answered_and_drawn(folder: Path) -> None:
    (folder / "day.yaml").write_text(DAY)
    run = [sys.executable, "-m", "treadle", "run", "day.yaml", "--id", "one"]
    with subprocess.Popen(run, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        asked = next(line for line in process.stdout if "InputAsked" in line)
        assert asked.endswith("InputAsked each[10].ask: answer with: treadle submit one 'each[10].ask' ...\n")
        assert treadle(folder, "submit", "one", "each[10].ask", "7")[:2] == (0, "answered\n")
        assert process.stdout.read().splitlines()[-1].startswith('COMPLETED: [{"v": -0.2}, ')
    code, out, _ = treadle(folder, "show", "one")
    assert (code, "11/11 items, 1 failed" in out, len(out.splitlines())) == (0, True, 2 + 1 + 14 + 1)
    assert "... 4 items more: [4] to [7], 1 failed: [5]" in out
    code, out, _ = treadle(folder, "show", "one", "--all")
    assert (code, len(out.splitlines())) == (0, 2 + 1 + 22)
    code, out, _ = treadle(folder, "graph", "day.yaml", "--id", "one")
    assert (code, "class n0 COMPLETED" in out, out.count("subgraph")) == (0, True, 1)


def test_an_action_that_only_a_body_calls_is_missed_at_once(folder: Path) -> None:
    (folder / "in.yaml").write_text(
        "id: in\nnodes:\n  - {id: p, type: parallel, body: {nodes: [{id: greet, action: greet, "
        "parameters: {name: '${input.name}'}}]}}\n"
    )
    assert treadle(folder, "run", "in.yaml", "--actions", "actions.py", "--id", "two")[0] == 3
    code, _, err = treadle(folder, "resume", "two", "-i", "name=Ada")
    assert (code, err) == (2, 'error: no action "greet" is registered; name the module that has it with --actions\n')
    code, out, _ = treadle(folder, "resume", "two", "--actions", "actions.py", "-i", "name=Ada")
    assert (code, out.splitlines()[-1]) == (0, 'COMPLETED: "Hello, Ada!"')
