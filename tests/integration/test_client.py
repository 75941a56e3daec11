"""Another process beside the engine: it reads the file, and asks for things through the inbox folder."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

import treadle
from treadle import (
    Client,
    ExecutionStatus,
    NotFoundError,
    Settings,
    StoreError,
    UnavailableError,
    ValidationError,
    WorkflowEngine,
)
from treadle.store.inbox import Inbox, Letter, Reply

if TYPE_CHECKING:
    from pathlib import Path

CHAIN = {
    "id": "chain",
    "nodes": [{"id": "a", "action": "hold"}, {"id": "b", "action": "act"}],
    "connections": [{"source": "a", "target": "b"}],
}
ASKS = {"id": "asks", "nodes": [{"id": "a", "action": "echo", "parameters": {"value": "${input.x}"}}]}
SETTINGS = Settings(inbox_poll_ms=5, grace_ms=50)


class Held:
    """Actions, the first of which runs until ``gate`` is set."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.started = asyncio.Event()

    async def hold(self) -> str:
        self.started.set()
        await self.gate.wait()
        return "held"

    async def act(self) -> str:
        return "acted"

    async def echo(self, value: Any) -> Any:
        return value

    def engine(self, path: Path, **options: Any) -> WorkflowEngine:
        actions = [{"hold": self.hold, "act": self.act, "echo": self.echo}]
        return WorkflowEngine(store=path / "t.db", actions=actions, settings=SETTINGS, **options)


def client(path: Path, **options: Any) -> Client:
    return Client(path / "t.db", **options)


async def test_a_client_reads_what_is_committed_while_an_engine_runs(tmp_path: Path) -> None:
    held = Held()
    async with asyncio.timeout(20), held.engine(tmp_path) as engine:
        await engine.start_workflow(CHAIN, execution_id="one")
        await held.started.wait()
        async with client(tmp_path) as beside:
            state = await beside.state_manager.get_execution_state("one")
            assert (state.status, state.in_flight) == (ExecutionStatus.RUNNING, 1)
            rows, _ = await beside.state_manager.list_executions()
            assert [(row.execution_id, row.status) for row in rows] == [("one", ExecutionStatus.RUNNING)]
            assert beside.engine_pid == os.getpid()
            seen = []
            async for event in beside.state_manager.watch("one"):
                seen.append(event)
                held.gate.set()
            assert seen == list(await engine.state_manager.history("one"))
            assert seen[-1].kind == "ExecutionCompleted"


async def test_pause_resume_and_cancel_reach_the_engine(tmp_path: Path) -> None:
    held = Held()
    async with asyncio.timeout(20), held.engine(tmp_path) as engine, client(tmp_path) as beside:
        await engine.start_workflow(CHAIN, execution_id="one")
        await held.started.wait()
        assert await beside.pause_execution("one") is True
        held.gate.set()
        paused = await engine.wait("one")
        assert (paused.status, paused.steps["b"].status.value) == (ExecutionStatus.PAUSED, "WAITING")
        assert await beside.resume_workflow("one") is True
        assert (await engine.wait("one")).output == "acted"
        assert await beside.cancel_execution("one") is False
        held.gate.clear()
        held.started.clear()
        await engine.start_workflow(CHAIN, execution_id="two")
        await held.started.wait()
        assert await beside.cancel_execution("two", "no longer wanted") is True
        ended = await engine.wait("two", until="ended")
        assert (ended.status, ended.error and ended.error.message) == (ExecutionStatus.CANCELLED, "no longer wanted")
        assert list((tmp_path / "t.db.inbox").iterdir()) == []


async def test_inputs_are_checked_by_the_engine_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}}
    async with asyncio.timeout(20), Held().engine(tmp_path) as engine, client(tmp_path) as beside:
        await engine.run_workflow({**ASKS, "input_schema": schema}, execution_id="one")
        with pytest.raises(ValidationError, match="input.x"):
            await beside.resume_workflow("one", {"x": "text"})
        with pytest.raises(ValidationError, match="finite|NaN|nan"):
            await beside.resume_workflow("one", {"x": float("nan")})
        assert (await beside.state_manager.get_execution_state("one")).waiting_for == ("input.x",)
        assert await beside.resume_workflow("one", {"x": 7}) is True
        assert (await engine.wait("one")).output == 7
        with pytest.raises(NotFoundError, match="nobody"):
            await beside.pause_execution("nobody")


async def test_a_command_waits_for_an_engine_and_is_obeyed_before_any_step_starts(tmp_path: Path) -> None:
    held = Held()
    async with asyncio.timeout(20):
        async with held.engine(tmp_path, grace=timedelta(0)) as engine:
            await engine.run_workflow(ASKS, {"x": 1}, execution_id="ended")
            await engine.start_workflow(CHAIN, execution_id="one")
            await held.started.wait()
        async with client(tmp_path) as beside:
            with pytest.raises(UnavailableError, match="no engine runs this file now") as raised:
                await beside.pause_execution("one")
            assert raised.value.pid is None
            assert await beside.cancel_execution("ended") is False
        again = Held()
        again.gate.set()
        async with again.engine(tmp_path) as engine:
            state = await engine.wait("one")
            assert (state.status, again.started.is_set()) == (ExecutionStatus.PAUSED, False)


async def test_an_engine_that_does_not_run_an_execution_leaves_its_commands_to_the_one_that_will(
    tmp_path: Path,
) -> None:
    held = Held()
    async with asyncio.timeout(20):
        async with held.engine(tmp_path) as engine:
            await engine.run_workflow(ASKS, execution_id="one")
        async with held.engine(tmp_path, recover="none"), client(tmp_path, timeout=timedelta(seconds=0.1)) as beside:
            with pytest.raises(UnavailableError, match="may be busy, or not run this execution") as raised:
                await beside.resume_workflow("one", {"x": 1})
            assert raised.value.pid == os.getpid()
        async with held.engine(tmp_path) as engine:
            assert (await engine.wait("one", until="ended")).output == 1


async def answered(inbox: Inbox, letter: Letter) -> Reply:
    name = inbox.post(letter)
    while (reply := inbox.fetch(name)) is None:  # noqa: ASYNC110 - the answer is a file
        await asyncio.sleep(0.005)
    return reply


async def test_a_command_that_was_carried_out_before_a_crash_counts_once(tmp_path: Path) -> None:
    letter = Letter("pause", "one", "the-request")
    held = Held()
    async with asyncio.timeout(20), held.engine(tmp_path) as engine, client(tmp_path) as beside:
        await engine.start_workflow(CHAIN, execution_id="one")
        await held.started.wait()
        inbox = Inbox(str(tmp_path / "t.db"), max_bytes=1_000)
        assert (await answered(inbox, letter)).accepted
        await beside.resume_workflow("one")
        reply = await answered(inbox, letter)
        state = await engine.state_manager.get_execution_state("one")
        assert (reply.accepted, state.status) == (True, ExecutionStatus.RUNNING)
        pauses = [one for one in await engine.state_manager.history("one") if one.kind == "ExecutionPaused"]
        assert len(pauses) == 1
        held.gate.set()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"[]", "Expected `object`"),
        (b'{"verb": "explode", "execution_id": "one", "request": "r"}', "explode"),
        (b" " * 5_000_000, "larger than 4,194,304 bytes"),
    ],
)
async def test_a_file_that_is_no_command_is_refused_and_the_others_are_served(
    tmp_path: Path, content: bytes, why: str
) -> None:
    async with asyncio.timeout(20), Held().engine(tmp_path) as engine, client(tmp_path) as beside:
        folder = tmp_path / "t.db.inbox"
        folder.mkdir(mode=0o700)
        (folder / "0.command").write_bytes(content)
        await engine.run_workflow(ASKS, execution_id="one")
        assert await beside.resume_workflow("one", {"x": 1}) is True
        answer = json.loads((folder / "0.answer").read_text())
        assert (answer["accepted"], answer["code"], why in answer["message"]) == (False, "store", True), answer
        assert sorted(path.name for path in folder.iterdir()) == ["0.answer"]


async def test_only_the_owner_may_read_or_leave_commands(tmp_path: Path) -> None:
    inbox = Inbox(str(tmp_path / "t.db"), max_bytes=1_000)
    name = inbox.post(Letter("pause", "one", "r"))
    assert stat.S_IMODE(inbox.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((inbox.folder / f"{name}.command").stat().st_mode) == 0o600
    assert inbox.read(name) == Letter("pause", "one", "r")


async def test_answers_that_nobody_fetched_and_halves_are_swept_in_time(tmp_path: Path) -> None:
    inbox = Inbox(str(tmp_path / "t.db"), max_bytes=1_000)
    kept = inbox.post(Letter("pause", "one", "r"))
    for name in ("old.answer", ".x.command.1.half", "new.answer"):
        (inbox.folder / name).write_text("{}")
    long_ago = time.time() - 7_200
    for name in ("old.answer", ".x.command.1.half", f"{kept}.command"):
        os.utime(inbox.folder / name, (long_ago, long_ago))
    inbox.sweep()
    assert sorted(path.name for path in inbox.folder.iterdir()) == [f"{kept}.command", "new.answer"]


async def test_a_file_that_is_not_there_or_not_treadles_is_refused_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not there"):
        async with client(tmp_path):
            pytest.fail("it opened")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "t.db").touch()
    with pytest.raises(StoreError, match="is empty"):
        async with client(tmp_path):
            pytest.fail("it opened")
    (tmp_path / "t.db").write_text("no database, only text that is long enough to be read as one" * 100)
    with pytest.raises(StoreError, match="not a database"):
        async with client(tmp_path):
            pytest.fail("it opened")


async def test_a_file_of_a_newer_treadle_is_refused(tmp_path: Path) -> None:
    async with Held().engine(tmp_path):
        pass
    with contextlib.closing(sqlite3.connect(tmp_path / "t.db")) as file:
        file.execute("pragma user_version = 99")
    with pytest.raises(StoreError, match="written by a newer treadle"):
        async with client(tmp_path):
            pytest.fail("it opened")


KILLED = """
import asyncio, sys
from treadle import WorkflowEngine
async def hold(): await asyncio.Event().wait()
async def main():
    async with WorkflowEngine(store=sys.argv[1], actions=[{"hold": hold}]) as engine:
        await engine.start_workflow({"id": "w", "nodes": [{"id": "a", "action": "hold"}]}, execution_id="one")
        print("started", flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_what_an_engine_that_was_killed_had_committed_is_readable(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        async with client(tmp_path) as beside:
            assert beside.engine_pid == process.pid
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert beside.engine_pid is None
            assert (await beside.state_manager.get_execution_state("one")).status is ExecutionStatus.RUNNING
    async with client(tmp_path) as beside:
        kinds = [event.kind for event in await beside.state_manager.history("one")]
    assert kinds == ["ExecutionCreated", "ExecutionStarted", "StepStarted"]


async def test_an_execution_whose_row_in_the_list_is_damaged_is_listed_by_its_log_and_named_by_doctor(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    held = Held()
    async with held.engine(tmp_path) as engine:
        for name in ("one", "two", "three"):
            await engine.run_workflow(ASKS, {"x": 1}, execution_id=name, tags={"k": name})
    with contextlib.closing(sqlite3.connect(tmp_path / "t.db", isolation_level=None)) as other:
        other.execute("update executions set tags = '{', status = 'DONE' where execution_id = 'one'")
        other.execute("update executions set status = 'WELL' where execution_id = 'two'")
        other.execute("update turns set events = x'00' where execution = 2")
    async with client(tmp_path) as beside:
        rows, _ = await beside.state_manager.list_executions()
    found = [(row.execution_id, row.status, row.tags) for row in rows]
    assert found == [
        ("three", ExecutionStatus.COMPLETED, {"k": "three"}),
        ("one", ExecutionStatus.COMPLETED, {"k": "one"}),
    ]
    assert "execution 'two' is not listed" in caplog.text
    async with held.engine(tmp_path) as engine:
        assert (await engine.run_workflow(ASKS, {"x": 2})).output == 2
    diagnosis = await treadle.diagnose(tmp_path / "t.db")
    assert diagnosis.is_whole is False
    assert sorted(diagnosis.damaged) == ["one", "two"]


async def test_an_engine_whose_file_is_moved_away_says_so_and_goes_on_when_it_is_put_back(tmp_path: Path) -> None:
    held = Held()
    async with asyncio.timeout(20), held.engine(tmp_path) as engine:
        await engine.start_workflow(CHAIN, execution_id="one")
        await held.started.wait()
        (tmp_path / "t.db").rename(tmp_path / "aside")
        held.gate.set()
        while engine.health.ok:  # noqa: ASYNC110 - health is looked at, it does not call
            await asyncio.sleep(0.005)
        assert "was removed" in engine.health.reason
        with pytest.raises(StoreError, match="was removed"):
            await engine.start_workflow(CHAIN)
        (tmp_path / "aside").rename(tmp_path / "t.db")
        state = await engine.wait("one")
    assert (state.status, state.output, state.steps["a"].attempt) == (ExecutionStatus.COMPLETED, "acted", 1)
