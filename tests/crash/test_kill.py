"""kill -9: at every append, at random instants and inside system calls, with a ledger of side effects outside.

After each kill another process opens the file and finishes. What was recorded, acknowledged or shown before the kill
is still there, steps that had ended do not run again, those in flight run at most once more for each kill, and the end
is the one of a run that nobody disturbed.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from treadle.machine import decode_events
from treadle.machine import events as e
from treadle.store.protocol import EVERYTHING
from treadle.store.reader import connect_for_reading
from treadle.store.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator

CHILD = Path(__file__).with_name("child.py")
KILLED = -signal.SIGKILL
ENDED = (e.StepSucceeded, e.StepFailed, e.StepTimedOut, e.StepSkipped, e.StepCancelled)


LONGEST_SECONDS = 12
"""Bound of the random kills: on a busy host fewer of them are tried, always in the same order."""


class Zygote:
    """The process that forks one child per job."""

    def __init__(self) -> None:
        command = [sys.executable, "-W", "error", str(CHILD), "serve"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, job: dict[str, Any]) -> int:
        """Return the exit code of the child, ``KILLED`` for one that was killed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def stop(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    made = Zygote()
    yield made
    made.stop()


class Trial:
    """One file and one ledger, killed any number of times, then finished.

    Args:
        folder: For its files.
        executions: How many run at once.
        workflow: Which of the child's.
    """

    def __init__(self, folder: Path, executions: int, workflow: str = "crash") -> None:
        folder.mkdir()
        self.folder = folder
        self.executions = executions
        self.workflow = workflow
        self.kills = 0
        self.recorded: dict[str, list[Any]] = {}
        self.over: Counter[tuple[str, str]] = Counter()

    def job(self, **more: Any) -> dict[str, Any]:
        paths = {"db": str(self.folder / "log.db"), "ledger": str(self.folder / "ledger")}
        return {**paths, "executions": self.executions, "workflow": self.workflow, **more}

    @property
    def ledger(self) -> list[list[str]]:
        """Every line but one that the kill may have cut short."""
        path = self.folder / "ledger"
        return [line.split(" ") for line in path.read_text().split("\n")[:-1]] if path.exists() else []

    @property
    def calls(self) -> Counter[tuple[str, str]]:
        return Counter((line[1], line[2]) for line in self.ledger if line[0] == "called")

    def log(self) -> dict[str, list[Any]]:
        """Return the events of each execution as they stand in the file now; each turn is checked on the way."""
        path = str(self.folder / "log.db")
        if not Path(path).exists():
            return {}
        try:
            connection = connect_for_reading(path)
        except Exception:  # noqa: BLE001 - killed before the schema was there
            return {}
        with contextlib.closing(Reading(connection, path)) as reading:
            return {
                row.execution_id: [x for turn in reading.read(row.execution_id, 0) for x in decode_events(turn.events)]
                for row in reading.list(EVERYTHING, 1_000, None)
            }

    def note_kill(self) -> None:
        """Look at the file and the ledger between a kill and the next opening."""
        log, calls = self.log(), self.calls
        self.check_kept(log)
        self.kills += 1
        self.recorded = log
        for name, events in log.items():
            for event in events:
                if isinstance(event, ENDED):
                    self.over.setdefault((name, event.step), calls[name, event.step])

    def check_kept(self, log: dict[str, list[Any]]) -> None:
        """Nothing that was recorded, acknowledged or shown is lost, and no step that had ended was called again."""
        for name, events in self.recorded.items():
            assert log[name][: len(events)] == events
        for line in self.ledger:
            if line[0] == "started":
                assert log[line[1]], line
            if line[0] == "shown":
                assert any(
                    type(one).__name__ == line[3] and getattr(one, "step", "") == line[4] for one in log[line[1]]
                )
        assert {key: self.calls[key] for key in self.over} == dict(self.over)

    def finish(self, zygote: Zygote) -> list[dict[str, Any]]:
        """Let a new process end everything; return the states it saw, without what a kill may change."""
        result = self.folder / "result"
        assert zygote.run(self.job(result=str(result))) == 0
        self.check_kept(self.log())
        keys = {(line[1], line[2], line[4]) for line in self.ledger if line[0] == "called"}
        assert len(keys) == len({key[:2] for key in keys}), "a repeat has another idempotency key"
        assert all(key == f"{name}/{step}" for name, step, key in keys)
        return [_plain(state) for state in json.loads(result.read_text())]


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state without times and attempt numbers: an interruption has a number of its own."""
    steps = {
        name: (step["status"], step["output"], step["error"] and (step["error"]["type"], step["error"]["message"]))
        for name, step in state["steps"].items()
    }
    return {key: state[key] for key in ("status", "output", "error", "handled_failures", "in_flight")} | {
        "steps": steps
    }


CALLS = {"start": 1, "left": 1, "right": 2, "join": 1, "yes": 1, "broken": 2, "sorry": 1, "end": 1}
OUTCOME = {
    "status": "COMPLETED",
    "output": {"join": "left+right", "sorry": "always", "end": "end", "no": "SKIPPED"},
    "error": None,
    "handled_failures": ["broken"],
    "in_flight": 0,
    "steps": {
        "start": ("COMPLETED", "start", None),
        "left": ("COMPLETED", "left", None),
        "right": ("COMPLETED", "right", None),
        "join": ("COMPLETED", "left+right", None),
        "yes": ("COMPLETED", "yes", None),
        "no": ("SKIPPED", None, None),
        "broken": ("FAILED", None, ("ValueError", "always")),
        "sorry": ("COMPLETED", "always", None),
        "end": ("COMPLETED", "end", None),
    },
}


def check(trial: Trial, zygote: Zygote) -> None:
    """Finish and compare with a run that nobody disturbed."""
    assert trial.finish(zygote) == [OUTCOME] * trial.executions
    calls = trial.calls
    assert set(calls) == {(f"e{number}", step) for number in range(trial.executions) for step in CALLS}
    extra = {key: count - CALLS[key[1]] for key, count in calls.items()}
    assert all(0 <= more <= trial.kills for more in extra.values()), extra


def test_a_run_that_nobody_disturbs_calls_each_step_as_often_as_it_should(tmp_path: Path, zygote: Zygote) -> None:
    check(Trial(tmp_path / "calm", 2), zygote)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_append_nothing_is_lost_and_nothing_that_ended_runs_again(
    tmp_path: Path, zygote: Zygote, when: str
) -> None:
    for number in range(1, 100):
        trial = Trial(tmp_path / str(number), 1)
        code = zygote.run(trial.job(kill=[when, number]))
        if code == 0:
            break
        assert code == KILLED
        trial.note_kill()
        check(trial, zygote)
    assert number > 10, "the workflow has more appends than that"


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_append_a_family_of_executions_ends_as_it_would(
    tmp_path: Path, zygote: Zygote, when: str
) -> None:
    """Maps, loops and parallels over child executions: whatever one of two logs had not heard, it hears again."""
    calm = Trial(tmp_path / "calm", 1, "family")
    expected, calls = calm.finish(zygote), calm.calls
    assert [state["status"] for state in expected] == ["COMPLETED"]
    assert len(calls) == 13
    for number in range(1, 200):
        trial = Trial(tmp_path / str(number), 1, "family")
        code = zygote.run(trial.job(kill=[when, number]))
        if code == 0:
            break
        assert code == KILLED, number
        trial.note_kill()
        assert trial.finish(zygote) == expected, number
        assert set(trial.calls) == set(calls)
        extra = {key: count - calls[key] for key, count in trial.calls.items()}
        assert all(0 <= more <= trial.kills for more in extra.values()), (number, extra)
        shutil.rmtree(trial.folder)
    assert number > 20, "the family has more appends than that"


@pytest.mark.slow
def test_killed_in_the_middle_of_a_thousand_items_only_those_in_flight_run_again(
    tmp_path: Path, zygote: Zygote
) -> None:
    trial, width = Trial(tmp_path / "wide", 1, "wide"), 3
    for kill in (["after", 60], ["before", 90], ["after", 120]):
        assert zygote.run(trial.job(kill=kill)) == KILLED
        ended = len(trial.over)
        trial.note_kill()
        assert ended < len(trial.over) < 1_000, "each process gets on, and none to the end"
    (state,) = trial.finish(zygote)
    assert (state["status"], state["output"]) == ("COMPLETED", {"m": list(range(1_000)), "end": 1_000})
    assert set(trial.calls) == {("e0", "end"), *(("e0", f"m[{number}].one") for number in range(1_000))}
    assert sum(trial.calls.values()) <= 1_001 + width * trial.kills
    assert max(trial.calls.values()) <= 1 + trial.kills


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_append_every_event_reaches_whom_it_was_for_once(
    tmp_path: Path, zygote: Zygote, when: str
) -> None:
    """Also where the process that is killed had sent it, and the next one sends it again under its id."""
    calm = Trial(tmp_path / "calm", 2, "mail")
    expected = calm.finish(zygote)
    assert [state["output"]["all"] for state in expected] == ["all", "all"]
    check_mail(calm)
    for number in range(1, 200):
        trial = Trial(tmp_path / str(number), 2, "mail")
        code = zygote.run(trial.job(kill=[when, number]))
        if code == 0:
            break
        assert code == KILLED, number
        trial.note_kill()
        assert trial.finish(zygote) == expected, number
        check_mail(trial)
        shutil.rmtree(trial.folder)
    assert number > 15, "there are more appends than that"


def check_mail(trial: Trial) -> None:
    """Each execution has taken each of its events once, and nothing of what was sent is left over."""
    for name, events in trial.log().items():
        taken = Counter(event.event_id for event in events if isinstance(event, e.EventReceived))
        assert taken == Counter([*(f"{name}-{one}" for one in ("early", "tick1", "tick2", "own")), "all"])
    with contextlib.closing(connect_for_reading(str(trial.folder / "log.db"))) as file:
        left = file.execute("select (select count(*) from listeners), (select count(*) from addressees)").fetchone()
        assert left == (0, 0)
        assert file.execute("select count(*), sum(is_taken) from mail").fetchone() == (7, 7)


@pytest.mark.slow
def test_killed_at_each_append_in_turn_an_execution_still_ends(tmp_path: Path, zygote: Zygote) -> None:
    """Each process takes up what was cut off (one append), starts it again (one more), and gets one append further."""
    trial = Trial(tmp_path / "slow", 1)
    while zygote.run(trial.job(kill=["after", 3])) == KILLED:
        trial.note_kill()
        assert trial.kills < 100
    check(trial, zygote)
    assert trial.kills > 5


@pytest.mark.slow
def test_killed_at_random_instants_with_several_executions_under_way(tmp_path: Path, zygote: Zygote) -> None:
    draw = random.Random(20_261_124)
    calm = Trial(tmp_path / "calm", 4)
    began = time.monotonic()
    check(calm, zygote)
    longest_ms = (time.monotonic() - began) * 1_000
    kills = 0
    for number in range(100):
        if time.monotonic() > began + LONGEST_SECONDS:
            break
        trial = Trial(tmp_path / str(number), draw.randint(1, 4))
        for _ in range(draw.randint(1, 3)):
            if zygote.run(trial.job(kill_after_ms=draw.uniform(0, longest_ms))) == KILLED:
                trial.note_kill()
                longest_ms *= 1.05
            else:
                longest_ms *= 0.85  # over before it was killed: how long a run takes depends on the host's mood
        check(trial, zygote)
        kills += trial.kills
        shutil.rmtree(trial.folder)
    assert kills > number / 2, "most runs were over before they were killed"
    assert number > 10, "a run takes far too long"


STRACE = shutil.which("strace")


def _can_trace() -> bool:
    if STRACE is None:
        return False
    return subprocess.run([STRACE, "-qq", "-o", "/dev/null", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not _can_trace(), reason="strace is not installed, or may not trace here")
@pytest.mark.parametrize(
    ("call", "numbers"), [("pwrite64", (1, 2, 3, 4, 7, 12, 20, 33, 47)), ("fdatasync", (1, 2, 3, 5, 8))]
)
def test_killed_inside_a_system_call_of_the_database(
    tmp_path: Path, zygote: Zygote, call: str, numbers: tuple[int, ...]
) -> None:
    assert STRACE is not None
    killed = 0
    for number in numbers:
        trial = Trial(tmp_path / str(number), 2)
        inject = ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}"]
        child = [sys.executable, str(CHILD), json.dumps(trial.job())]
        code = subprocess.run([STRACE, "-f", "-qq", "-o", "/dev/null", *inject, *child], check=False).returncode
        if code:
            killed += 1
            trial.note_kill()
        check(trial, zygote)
    assert killed >= len(numbers) - 1
