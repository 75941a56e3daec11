"""Every store keeps the same promises; below them, what SQLite's promises beyond them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import treadle
from treadle.errors import QuarantineError, StoreError, StoreLockedError
from treadle.store.memory import MemoryStore
from treadle.store.protocol import Answer, Filter, IndexRow, ScheduleRow, Turn
from treadle.store.reader import SqliteReader
from treadle.store.sqlite import MIGRATIONS, SqliteStore, connect
from treadle.testing.contracts import StoreContract
from treadle.testing.contracts import first_turn as first
from treadle.testing.contracts import later_turn as later
from treadle.testing.stores import BlockingStore

if TYPE_CHECKING:
    from pathlib import Path

    from treadle.store.protocol import Store


class TestMemoryStore(StoreContract):
    def make_store(self, folder: Path) -> Store:
        return MemoryStore()


class TestSqliteStore(StoreContract):
    def make_store(self, folder: Path) -> Store:
        return SqliteStore(folder / "log.db")


class TestBlockingStore(StoreContract):
    """The store of a rehearsal with a path."""

    def make_store(self, folder: Path) -> Store:
        self.store = BlockingStore(SqliteStore(folder / "log.db"))
        return self.store


async def test_appends_that_wait_share_a_transaction(tmp_path: Path) -> None:
    commits: list[str] = []

    def traced(path: str) -> sqlite3.Connection:
        made = connect(path)
        made.set_trace_callback(lambda sql: commits.append(sql) if sql.lower().startswith("commit") else None)
        return made

    store = SqliteStore(tmp_path / "log.db", connect=traced)
    await store.open()
    before = len(commits)
    schedules = [store.put_schedules([ScheduleRow(f"s{number}", "h", b"s", b"1")]) for number in range(50)]
    answers, _ = await asyncio.gather(
        asyncio.gather(*[store.append([first(f"e{number}")]) for number in range(50)]), asyncio.gather(*schedules)
    )
    assert all(one[0].answer is Answer.COMMITTED for one in answers)
    assert len(await store.schedules()) == 50
    assert len(commits) - before <= 3
    await store.close()


async def test_everything_is_there_after_closing_and_opening_again(tmp_path: Path) -> None:
    for sequence in (1, 2, 3):
        store = SqliteStore(tmp_path / "log.db")
        await store.open()
        turn = first("a") if sequence == 1 else later("a", sequence)
        assert [one.answer for one in await store.append([turn])] == [Answer.COMMITTED]
        await store.close()
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()} == {
        "log.db": "0o600",
        "log.db.lock": "0o600",
    }


async def test_a_second_engine_is_refused_with_the_pid_of_the_first_and_may_open_once_that_is_killed(
    tmp_path: Path,
) -> None:
    script = (
        "import asyncio, sys, time\nfrom treadle.store.sqlite import SqliteStore\n"
        "async def main():\n    s = SqliteStore(sys.argv[1])\n    await s.open()\n    print('open', flush=True)\n"
        "    sys.stdin.read()\nasyncio.run(main())\n"
    )
    path = tmp_path / "log.db"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(StoreLockedError) as caught:
            await SqliteStore(path).open()
        assert caught.value.pid == holder.pid
        assert str(holder.pid) in str(caught.value)
        holder.kill()
    store = SqliteStore(path)
    await store.open()
    await store.close()


class Failing(sqlite3.Connection):
    """A connection whose commits fail on demand: before they are carried out, or after."""

    fail = ""

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if sql == "commit" and Failing.fail:
            when, Failing.fail = Failing.fail, ""
            if when == "after":
                super().execute(sql)
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(sql, *values)


@pytest.mark.parametrize(("when", "there"), [("before", 1), ("after", 2)])
async def test_after_a_failed_commit_nothing_is_taken_until_the_file_was_read_again(
    tmp_path: Path, when: str, there: int
) -> None:
    make = lambda path: sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Failing)  # noqa: E731
    store = SqliteStore(tmp_path / "log.db", connect=make)
    await store.open()
    await store.append([first("a")])
    Failing.fail = when
    with pytest.raises(StoreError, match="disk I/O error"):
        await store.append([later("a", 2)])
    with pytest.raises(StoreError, match="read again"):
        await store.append([first("b")])
    await store.reopen()
    assert len(await store.read("a")) == there
    again = await store.append([later("a", 2), first("b")])
    assert [one.answer for one in again] == [Answer.COMMITTED if there == 1 else Answer.DUPLICATE, Answer.COMMITTED]
    await store.close()


async def test_a_turn_that_cannot_be_written_at_all_is_told_and_the_writer_lives_on(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "log.db")
    await store.open()
    async with asyncio.timeout(10):
        with pytest.raises(UnicodeEncodeError):
            await store.append([first("lone \ud800 surrogate")])
        await store.reopen()
        assert (await store.append([first("b")]))[0].answer is Answer.COMMITTED
    await store.close()


@pytest.mark.parametrize(
    "damage",
    [
        "update turns set events = x'5b395d' where sequence = 2",
        "update turns set count = 3 where sequence = 2",
        "delete from turns where sequence = 2",
        "update turns set sequence = 9 where sequence = 3",
        "delete from turns",
    ],
)
async def test_a_changed_or_missing_turn_is_named_and_other_executions_can_be_read(tmp_path: Path, damage: str) -> None:
    store = SqliteStore(tmp_path / "log.db")
    await store.open()
    await store.append([first("a"), later("a", 2), later("a", 3), first("b")])
    with sqlite3.connect(tmp_path / "log.db") as other:
        other.execute(damage + (" and execution = 1" if "where" in damage else " where execution = 1"))
    other.close()
    with pytest.raises(QuarantineError) as caught:
        await store.read("a")
    assert caught.value.execution_id == "a"
    assert [turn.events for turn in await store.read("b")] == [b"[1]"]
    await store.close()


@pytest.mark.parametrize(
    "damage",
    [
        "tags = '{'",
        "tags = '[1]'",
        "tags = 7",
        "status = x'00ff'",
        "created_ms = 'soon'",
        "ended_ms = 'never'",
        "is_open = 'maybe'",
    ],
)
async def test_a_damaged_row_of_the_list_says_so_and_the_others_are_listed(tmp_path: Path, damage: str) -> None:
    store = SqliteStore(tmp_path / "log.db")
    await store.open()
    await store.append([first("a", tags={"k": "v"}), first("b", tags={"k": "v"})])
    with sqlite3.connect(tmp_path / "log.db") as other:
        other.execute(f"update executions set {damage} where number = 1")
    other.close()
    b, a = await store.list()
    assert (b.execution_id, b.damage, b.tags) == ("b", "", {"k": "v"})
    assert (a.execution_id, bool(a.damage), a.tags) == ("a", True, {})
    assert [row.execution_id for row in await store.list(Filter(tags={"k": "v"}))][:1] == ["b"]
    await store.close()


@pytest.mark.parametrize("suffix", ["", "-wal"])
@pytest.mark.parametrize("how", ["removed", "replaced"])
async def test_a_file_that_goes_while_it_is_written_is_seen_before_anything_is_acknowledged(
    tmp_path: Path, suffix: str, how: str
) -> None:
    path, aside = tmp_path / f"log.db{suffix}", tmp_path / "aside"
    store = SqliteStore(tmp_path / "log.db")
    await store.open()
    await store.append([first("a")])
    path.rename(aside)
    if how == "replaced":
        path.write_bytes(aside.read_bytes())
    with pytest.raises(StoreError, match=f"was {how} while the engine runs"):
        await store.append([first("b")])
    with pytest.raises(StoreError):
        await store.append([first("c")])
    if not suffix:
        with pytest.raises(StoreError, match="was removed or replaced"):
            await store.reopen()
        assert path.exists() is (how == "replaced")
    aside.rename(path)
    await store.reopen()
    answers = await store.append([first("a"), first("b")])
    assert answers[0].answer is Answer.DUPLICATE
    await store.close()


async def _crashed(folder: Path, appends: int) -> Path:
    """Return the files of an engine that was killed: the log is in the write-ahead log, and closed by nobody."""
    store = SqliteStore(folder / "log.db")
    await store.open()
    for number in range(appends):
        await store.append([first(f"e{number}")])
    left = folder / "left"
    left.mkdir()
    for path in folder.glob("log.db*"):
        (left / path.name).write_bytes(path.read_bytes())
    inode = (left / "log.db").stat()
    noted = (left / "log.db.lock").read_bytes()
    of_copy = b" %020d %020d\n" % (inode.st_dev, inode.st_ino)
    (left / "log.db.lock").write_bytes(noted[:36] + of_copy)  # the copy stands for the file itself
    await store.close()
    return left


@pytest.mark.parametrize("damage", ["removed", "cut", "flipped", "an older copy"])
async def test_a_log_that_lost_acknowledged_events_without_a_word_is_not_taken_for_whole(
    tmp_path: Path, damage: str
) -> None:
    left = await _crashed(tmp_path, 20)
    wal = left / "log.db-wal"
    content = wal.read_bytes()
    assert len(content) > 30_000
    if damage == "removed":
        wal.unlink()
        (left / "log.db-shm").unlink()
    elif damage == "cut":
        wal.write_bytes(content[: len(content) * 2 // 3])
    elif damage == "flipped":
        place = len(content) * 2 // 3
        wal.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    else:
        store = SqliteStore(left / "log.db")
        await store.open()
        before = (left / "log.db").read_bytes()
        await store.append([first("late")])
        await store.close()
        (left / "log.db").write_bytes(before)
    store = SqliteStore(left / "log.db")
    with pytest.raises(StoreError, match="events that were acknowledged are missing"):
        await store.open()
    found = await treadle.diagnose(left / "log.db")
    assert any("acknowledged are missing" in one.text for one in found.findings if one.severity == "error")
    (left / "log.db.lock").unlink()
    await store.open()
    assert (await store.append([first("new")]))[0].answer is Answer.COMMITTED
    await store.close()


async def test_a_whole_file_and_a_new_one_are_opened_whatever_was_noted(tmp_path: Path) -> None:
    left = await _crashed(tmp_path, 20)
    store = SqliteStore(left / "log.db")
    await store.open()
    assert await store.head() == 20
    await store.close()
    (left / "log.db").rename(left / "old.db")
    await store.open()
    assert await store.head() == 0
    await store.close()
    (left / "log.db.lock").write_text("17\nnonsense")
    await store.open()
    await store.close()


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        ("pragma application_id = 1953653868; pragma user_version = 99", "newer treadle"),
        ("create table other (x)", "not treadle's"),
    ],
)
async def test_a_file_of_another_program_or_of_a_newer_version_is_refused(
    tmp_path: Path, prepare: str, message: str
) -> None:
    with sqlite3.connect(tmp_path / "log.db") as other:
        other.executescript(prepare)
    other.close()
    with pytest.raises(StoreError, match=message):
        await SqliteStore(tmp_path / "log.db").open()
    (tmp_path / "text.db").write_text("this is no database, " * 100)
    with pytest.raises(StoreError, match="not a database"):
        await SqliteStore(tmp_path / "text.db").open()


READS_WHILE_IT_REOPENS = """
import asyncio, sys
from treadle.store.sqlite import SqliteStore
from treadle.store.protocol import IndexRow, Turn

async def main():
    store = SqliteStore(sys.argv[1])
    await store.open()
    row = IndexRow(status="RUNNING", workflow_id="w", definition_hash="h", created_ms=5)
    await store.append([Turn(f"e{n}", 1, b"[1]" * 500, 1, row, b"{}") for n in range(500)])
    done = False
    async def read():
        while not done:
            assert len(await store.list(limit=500)) == 500
            assert len(await store.read_after(0, 500)) == 500
    reading = [asyncio.create_task(read()) for _ in range(3)]
    for n in range(60):
        await store.reopen()
    done = True
    await asyncio.gather(*reading)
    await store.close()
    print("whole")

asyncio.run(main())
"""


def test_reads_go_on_while_the_store_is_opened_again(tmp_path: Path) -> None:
    """In a process of its own: a connection closed under a running statement takes the process down."""
    command = [sys.executable, "-c", READS_WHILE_IT_REOPENS, str(tmp_path / "log.db")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "whole\n", "")


async def test_a_link_to_a_file_is_the_file(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "log.db")
    first_store, second = SqliteStore(tmp_path / "log.db"), SqliteStore(tmp_path / "link.db")
    await first_store.open()
    with pytest.raises(StoreLockedError):
        await second.open()
    await first_store.close()
    await second.open()
    await second.close()


async def test_an_opening_that_is_given_up_leaves_nothing_behind(tmp_path: Path) -> None:
    for _ in range(20):
        store = SqliteStore(tmp_path / "log.db")
        opening = asyncio.create_task(store.open())
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        again = SqliteStore(tmp_path / "log.db")
        await again.open()
        await again.close()


async def test_a_damaged_definition_is_put_right_by_the_next_start_of_it(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "log.db")
    await store.open()
    await store.append([first("a")])
    await store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as other:
        other.execute("update definitions set document = x'00'")
    await store.open()
    assert await store.definition("h") == b"\0"
    await store.append([first("b")])
    assert await store.definition("h") == b"{}"
    await store.close()


async def test_an_open_execution_whose_row_says_that_it_ended_is_still_listed_as_open(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "log.db")
    await store.open()
    await store.append([first("a"), first("b")])
    await store.append([later("b", 2, index=IndexRow(status="COMPLETED", is_open=False, ended_ms=9))])
    with contextlib.closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as other:
        other.execute("update executions set is_open = 0")
    assert [row.execution_id for row in await store.list(Filter(is_open=True))] == ["a"]
    await store.close()


async def test_the_writer_forgets_what_has_ended(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "log.db")
    await store.open()
    ended = IndexRow(status="COMPLETED", is_open=False, workflow_id="w", definition_hash="h", ended_ms=9)
    await store.append([Turn(f"e{number}", 1, b"[1]", 1, ended, b"{}") for number in range(9)])
    assert store._writer is not None
    assert store._writer._heads == {}
    await store.close()


@pytest.mark.parametrize("change", ["progress = x'31'", "spec = 'text'", "definition_hash = 'other'", "checksum = x''"])
async def test_a_damaged_schedule_says_so_and_the_others_are_read(tmp_path: Path, change: str) -> None:
    store = SqliteStore(tmp_path / "log.db")
    await store.open()
    await store.put_schedules([ScheduleRow("bad", "h", b"s", b"2"), ScheduleRow("good", "h", b"s", b"2")])
    await store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as file:
        file.execute(f"update schedules set {change} where schedule_id = 'bad'")
    await store.open()
    damaged = ScheduleRow("bad", "", b"", b"", damage="its row does not fit its checksum")
    assert list(await store.schedules()) == [damaged, ScheduleRow("good", "h", b"s", b"2")]
    await store.close()


async def test_a_failed_write_of_schedules_is_unknown_until_the_file_is_read_again(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "log.db")
    await store.open()
    await store.put_schedules([ScheduleRow("a", "h", b"s", b"1")])
    with contextlib.closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as file:
        for table in ("schedules", "mail", "listeners", "addressees"):  # and what came after them
            file.execute(f"drop table {table}")
    with pytest.raises(StoreError, match="no such table"):
        await store.put_schedules([ScheduleRow("a", "h", b"s", b"2")])
    with pytest.raises(StoreError, match="the last write failed"):
        await store.append([first("e")])
    await store.reopen()
    assert [one.answer for one in await store.append([first("e")])] == [Answer.COMMITTED]
    await store.close()


async def test_a_file_without_schedules_is_brought_up_to_date_and_keeps_what_it_holds(tmp_path: Path) -> None:
    place = tmp_path / "log.db"
    store = SqliteStore(place)
    await store.open()
    await store.append([first("a")])
    await store.close()
    with contextlib.closing(sqlite3.connect(place, isolation_level=None)) as file:
        for table in ("schedules", "payloads", "payload_uses", "marks", "mail", "listeners", "addressees"):
            file.execute(f"drop table {table}")
        file.execute("drop index executions_ended")
        for later in ("table tags", "trigger tags_kept", "trigger tags_dropped", "index executions_status"):
            file.execute(f"drop {later}")
        file.execute(f"pragma user_version = {MIGRATIONS.index('0004_schedules.sql')}")
    reader = SqliteReader(place)
    with pytest.raises(StoreError, match="older treadle; open it once with an engine"):
        await reader.open()
    await reader.close()
    await store.open()
    await store.put_schedules([ScheduleRow("s", "h", b"s", b"1")])
    assert [turn.execution_id for turn in await store.read("a")] == ["a"]
    assert [row.schedule_id for row in await store.schedules()] == ["s"]
    await store.close()
    with contextlib.closing(sqlite3.connect(place)) as file:
        assert file.execute("pragma user_version").fetchone() == (len(MIGRATIONS),)
