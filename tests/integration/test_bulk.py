"""Verbs for every execution of a filter, and the same filter for lists: in the engine, beside it, and on the command
line."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from treadle import (
    BulkResult,
    Client,
    ExecutionFilter,
    ExecutionStatus,
    QuarantineError,
    Settings,
    UnavailableError,
    ValidationError,
    WorkflowEngine,
)
from treadle.store.memory import MemoryStore

if TYPE_CHECKING:
    from pathlib import Path

ASKS = {"id": "asks", "nodes": [{"id": "a", "type": "input"}]}
OTHER = {**ASKS, "id": "other"}
SETTINGS = Settings(inbox_poll_ms=5, grace_ms=50)
ENVIRONMENT = {**os.environ, "TREADLE_GRACE_MS": "50", "TREADLE_INBOX_POLL_MS": "10"}
RUNNING, PAUSED, CANCELLED = ExecutionStatus.RUNNING, ExecutionStatus.PAUSED, ExecutionStatus.CANCELLED


def engine_on(store: Any = ":memory:", **options: Any) -> WorkflowEngine:
    return WorkflowEngine(store=store, settings=SETTINGS, **options)


async def fill(engine: WorkflowEngine, count: int = 6) -> None:
    """Start ``count`` executions of each workflow that wait for a person; every other one of tenant 42."""
    for number in range(count):
        tags = {"tenant": "42" if number % 2 else "7"}
        await engine.start_workflow(ASKS, execution_id=f"a{number}", tags=tags, key=f"k{number}")
        await engine.start_workflow(OTHER, execution_id=f"o{number}", tags=tags)


async def statuses(engine: WorkflowEngine, where: Any) -> dict[str, str]:
    rows, _ = await engine.list_executions(where)
    return {row.execution_id: row.status.value for row in rows}


async def test_every_execution_of_a_filter_is_paused_resumed_and_cancelled_and_no_other() -> None:
    async with engine_on() as engine:
        await fill(engine)
        where = ExecutionFilter(workflow_id="asks", tags={"tenant": "42"})
        assert await engine.pause_executions(where, dry_run=True) == BulkResult(matched=3)
        assert set((await statuses(engine, where)).values()) == {"RUNNING"}
        assert await engine.pause_executions(where) == BulkResult(matched=3, changed=3)
        assert await statuses(engine, {"statuses": [PAUSED]}) == {"a5": "PAUSED", "a3": "PAUSED", "a1": "PAUSED"}
        assert await engine.pause_executions(where) == BulkResult(matched=0)
        assert await engine.resume_executions({"tags": {"tenant": "42"}}, dry_run=True) == BulkResult(matched=3)
        assert await engine.resume_executions({"tags": {"tenant": "42"}}) == BulkResult(matched=3, changed=3)
        assert await statuses(engine, {"statuses": "PAUSED"}) == {}
        found = await engine.cancel_executions({"id_prefix": "o"}, "tidied up")
        assert found == BulkResult(matched=6, changed=6)
        assert set((await statuses(engine, {"id_prefix": "o"})).values()) == {"CANCELLED"}
        assert set((await statuses(engine, {"id_prefix": "a"})).values()) == {"RUNNING"}
        error = (await engine.get_execution_state("o1")).error
        assert error is not None
        assert error.message == "tidied up"
        assert await engine.cancel_executions({"id_prefix": "o"}) == BulkResult(matched=0)
        assert await engine.cancel_executions({"statuses": ["COMPLETED"]}) == BulkResult(matched=0)


async def test_every_failed_execution_of_a_filter_is_retried_and_no_other(tmp_path: Path) -> None:
    is_broken = True

    async def fragile() -> str:
        if is_broken:
            raise ValueError("broken")
        return "mended"

    workflow = {"id": "f", "nodes": [{"id": "a", "action": "fragile", "retry": {"max_attempts": 1}}]}
    path = tmp_path / "log.db"
    async with engine_on(path, actions=[{"fragile": fragile}]) as engine, Client(path) as client:
        for number in range(4):
            await engine.run_workflow(workflow, execution_id=f"f{number}", tags={"half": str(number % 2)})
        await fill(engine, 2)
        assert await engine.retry_executions({"workflow_id": "f"}, dry_run=True) == BulkResult(matched=4)
        is_broken = False
        assert await engine.retry_executions({"tags": {"half": "1"}}) == BulkResult(matched=2, changed=2)
        assert {(await engine.wait(f"f{number}")).output for number in (1, 3)} == {"mended"}
        assert await statuses(engine, {"statuses": ["FAILED"]}) == {"f2": "FAILED", "f0": "FAILED"}
        assert await client.retry_executions({"workflow_id": "f"}) == BulkResult(matched=2, changed=2)
        assert {(await engine.wait(f"f{number}")).output for number in (0, 2)} == {"mended"}
        assert await engine.retry_executions({"workflow_id": "f"}) == BulkResult(matched=0)
        with pytest.raises(ValidationError):
            await engine.retry_executions({})


async def test_what_has_not_begun_is_cancelled_too_and_not_paused() -> None:
    async with engine_on() as engine:
        await engine.start_workflow(ASKS, execution_id="one", start_at="1h")
        assert await engine.pause_executions({"workflow_id": "asks"}) == BulkResult(matched=0)
        assert await engine.cancel_executions({"workflow_id": "asks"}) == BulkResult(matched=1, changed=1)


async def test_more_than_are_asked_for_at_once_are_all_changed() -> None:
    async with engine_on() as engine:
        await asyncio.gather(*(engine.start_workflow(ASKS, tags={"x": "1"}) for _ in range(450)))
        assert await engine.cancel_executions({"tags": {"x": "1"}}) == BulkResult(matched=450, changed=450)
        assert await engine.count_executions({"statuses": "CANCELLED"}) == 450


async def test_one_that_fails_is_named_and_the_others_are_changed() -> None:
    class Damaged(MemoryStore):
        broken = ""

        async def read(self, execution_id: str, after: int = 0) -> Any:
            if execution_id == Damaged.broken:
                raise QuarantineError("turn 1 is missing", "", execution_id)
            return await super().read(execution_id, after)

    store = Damaged()
    async with engine_on(store) as engine:
        await fill(engine, 3)
    Damaged.broken = "a1"
    async with engine_on(store) as engine:
        found = await engine.cancel_executions({"workflow_id": "asks"})
        assert found == BulkResult(3, 2, {"a1": "execution 'a1' is damaged: turn 1 is missing"})


@pytest.mark.parametrize("verb", ["pause", "resume", "cancel"])
@pytest.mark.parametrize("where", [None, {}, ExecutionFilter(), {"workflow_id": "", "tags": {}}])
async def test_a_filter_that_is_everything_is_refused(verb: str, where: Any) -> None:
    async with engine_on() as engine:
        await fill(engine, 1)
        with pytest.raises(ValidationError, match=f"say which executions to {verb}: an empty filter is all of them"):
            await getattr(engine, f"{verb}_executions")(where)
        assert set((await statuses(engine, None)).values()) == {"RUNNING"}


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (7, "where is an ExecutionFilter or a dict of its fields"),
        ({"status": "FAILED"}, "a filter has no field 'status'; it has workflow_id, statuses"),
        ({"statuses": ["DONE"]}, "statuses are some of PENDING"),
        ({"tags": {"a": 1}}, "the tag 'a' is text"),
        ({"key": 1}, "key is text"),
        ({"search": "\ud800"}, "search holds a lone surrogate"),
        ({"created_after": datetime(2026, 1, 1)}, "created_after is a datetime with its zone"),  # noqa: DTZ001 - refused
        ({"created_before": "yesterday"}, "created_before is a datetime with its zone"),
        (ExecutionFilter(search=5), "search is text"),  # type: ignore[arg-type]
    ],
)
async def test_a_filter_of_the_wrong_kind_is_refused(where: Any, message: str) -> None:
    async with engine_on() as engine:
        for call in (engine.list_executions, engine.count_executions, engine.cancel_executions):
            with pytest.raises(ValidationError, match=message):
                await call(where)


async def test_a_list_is_searched_by_every_field_of_the_filter() -> None:
    async with engine_on() as engine:
        await fill(engine, 3)
        now = datetime.now(UTC)
        assert list(await statuses(engine, {"key": "k1"})) == ["a1"]
        assert list(await statuses(engine, {"search": "42"})) == ["o1", "a1"]
        assert list(await statuses(engine, {"search": "A1", "workflow_id": "asks"})) == ["a1"]
        assert await statuses(engine, {"created_after": now + timedelta(hours=1)}) == {}
        assert len(await statuses(engine, {"created_after": now - timedelta(hours=1), "created_before": now})) == 6
        assert await engine.count_executions({"created_after": "2020-01-01T00:00:00Z"}) == 6
        assert (await engine.list_executions({"key": "k1"}))[0][0].key == "k1"
        with pytest.raises(ValidationError, match="are said in where, or without it"):
            await engine.list_executions({"key": "k1"}, workflow_id="asks")


async def test_a_client_asks_the_engine_for_many_and_counts_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    async with asyncio.timeout(20), engine_on(path) as engine, Client(path) as client:
        await fill(engine, 4)
        assert await client.cancel_executions({"workflow_id": "asks"}, dry_run=True) == BulkResult(4)
        assert await client.pause_executions({"tags": {"tenant": "42"}}) == BulkResult(4, 4)
        assert await client.resume_executions(ExecutionFilter(id_prefix="a")) == BulkResult(2, 2)
        assert await client.cancel_executions({"workflow_id": "asks"}, "enough") == BulkResult(4, 4)
        assert await client.cancel_executions({"workflow_id": "asks"}) == BulkResult(0)
        assert (await client.state_manager.count_executions({"statuses": [CANCELLED]})) == 4
        with pytest.raises(ValidationError, match="an empty filter"):
            await client.cancel_executions({})
        error = (await engine.get_execution_state("a1")).error
        assert error is not None
        assert error.message == "enough"


async def test_many_are_changed_by_the_next_engine_that_goes_on_with_all_of_them(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    async with engine_on(path) as engine:
        await fill(engine, 2)
    async with Client(path, timeout=0.05) as client:
        with pytest.raises(UnavailableError, match="the command to cancel many executions waits"):
            await client.cancel_executions({"workflow_id": "asks"})
    async with engine_on(path, recover=["o1"]) as engine:
        assert set((await statuses(engine, {"workflow_id": "asks"})).values()) == {"RUNNING"}
    async with engine_on(path) as engine:
        assert set((await statuses(engine, {"workflow_id": "asks"})).values()) == {"CANCELLED"}
        assert set((await statuses(engine, {"workflow_id": "other"})).values()) == {"RUNNING"}


# -- the command line


def treadle(folder: Path, *words: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "treadle", *words]
    done = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, done.stdout, done.stderr


async def run(folder: Path, *words: str) -> tuple[int, str, str]:
    return await asyncio.to_thread(treadle, folder, *words)


async def test_the_command_line_counts_asks_and_changes_many(tmp_path: Path) -> None:
    async with asyncio.timeout(60), engine_on(tmp_path / "treadle.db") as engine:
        await fill(engine, 4)
        which = ("--where", "workflow=asks", "--where", "tag.tenant=42")
        assert await run(tmp_path, "cancel", *which, "--dry-run") == (0, "2 executions would be cancelled\n", "")
        assert await run(tmp_path, "pause", *which) == (0, "2 of 2 executions paused\n", "")
        assert await run(tmp_path, "resume", "--where", "status=paused", "--where", "key=k1") == (
            0,
            "1 of 1 execution resumed\n",
            "",
        )
        assert await run(tmp_path, "cancel", "--where", "search=o", "--reason", "enough", "-y") == (
            0,
            "4 of 4 executions cancelled\n",
            "",
        )
        assert await run(tmp_path, "cancel", "--where", "prefix=o") == (0, "no execution matches\n", "")
        rows = [line.split()[0] for line in (await run(tmp_path, "list", *which))[1].splitlines()]
        assert rows == ["a3", "a1"]
        options = ("list", "--tag", "tenant=42", "--status", "CANCELLED", "--since", "1h", "--search", "O1")
        assert [line.split()[0] for line in (await run(tmp_path, *options))[1].splitlines()] == ["o1"]
        assert await run(tmp_path, "list", "--where", "until=2020-01-01") == (0, "", "")


def test_a_person_at_a_terminal_is_asked_first(tmp_path: Path) -> None:
    async def engine_beside() -> None:
        async with engine_on(tmp_path / "treadle.db") as engine:
            await fill(engine, 2)
            assert await asyncio.to_thread(answer, "n") == 1
            assert set((await statuses(engine, {"workflow_id": "asks"})).values()) == {"RUNNING"}
            assert await asyncio.to_thread(answer, "y") == 0
            assert set((await statuses(engine, {"workflow_id": "asks"})).values()) == {"CANCELLED"}

    def answer(word: str) -> int:
        mine, its = pty.openpty()
        command = [sys.executable, "-m", "treadle", "cancel", "--where", "workflow=asks"]
        with subprocess.Popen(
            command, cwd=tmp_path, env=ENVIRONMENT, stdin=its, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            os.close(its)
            os.write(mine, f"{word}\n".encode())
            out, _ = process.communicate(timeout=30)
            os.close(mine)
            assert b"cancel 2 executions?" in out
            return process.returncode

    asyncio.run(engine_beside())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("cancel",), "give one of them: the id of an execution, or --where"),
        (("cancel", "a1", "--where", "key=k"), "give one of them"),
        (("cancel", "a1", "--dry-run"), "--dry-run is for --where"),
        (("pause", "--where", "workflow"), "--where is NAME=VALUE, not 'workflow'"),
        (("pause", "--where", "owner=me"), "executions are not searched by 'owner'"),
        (("pause", "--where", "status=done"), "there is no status 'done'"),
        (("pause", "--where", "key=a", "--where", "key=b"), "key is given twice"),
        (("pause", "--where", "since=soon"), "a time is a date such as"),
        (("pause", "--where", "key="), "an empty filter is all of them"),
        (("resume", "--where", "key=a", "-i", "x=1"), "an input is for one execution"),
        (("list", "--tag", "tenant"), "--where is NAME=VALUE"),
    ],
)
async def test_what_is_typed_wrong_is_one_message_with_code_2(tmp_path: Path, words: Any, message: str) -> None:
    async with engine_on(tmp_path / "treadle.db"):
        pass
    code, out, err = treadle(tmp_path, *words)
    assert (code, out, message in err) == (2, "", True), err


def test_with_no_engine_the_command_waits_for_one(tmp_path: Path) -> None:
    async def fill_it() -> None:
        async with engine_on(tmp_path / "treadle.db") as engine:
            await fill(engine, 1)

    asyncio.run(fill_it())
    code, out, err = treadle(tmp_path, "cancel", "--where", "workflow=asks", "-y")
    assert (code, out) == (0, "")
    assert "no engine runs this file now; the command to cancel many executions waits in" in err
