"""Power loss: a recorder of writes and syncs below SQLite, and the disks that a power cut may leave.

A write that was not synced may be on the disk, may not be, or may be there in part: whole sectors of 512 bytes, in any
combination. From every such disk everything acknowledged must be there, whole and in order; nothing else may be there
but turns that were handed over. The last tests show that the check can fail: without a sync it finds what is lost.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import apsw
import pytest

from treadle.store.protocol import EVERYTHING, Answer, IndexRow, Turn
from treadle.store.reading import Reading
from treadle.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SECTOR = 512
NAMES = ("log.db", "log.db-wal", "log.db-journal")


class Recorder:
    """What went to the disk, in order: ``(kind, file, *details)``."""

    def __init__(self) -> None:
        self.steps: list[tuple[Any, ...]] = []

    def note(self, kind: str, path: str | None, *details: object) -> None:
        if path is not None and Path(path).name in NAMES:
            self.steps.append((kind, Path(path).name, *details))


class Vfs(apsw.VFS):
    """SQLite's own file system, with everything that changes a file noted."""

    def __init__(self, name: str, recorder: Recorder) -> None:
        super().__init__(name, "")
        self.recorder = recorder

    def xOpen(self, name: Any, flags: list[int]) -> Any:  # noqa: N802 - the name of SQLite
        return File(name, flags, self.recorder)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        super().xDelete(filename, syncdir)
        self.recorder.note("delete", filename, syncdir)


class File(apsw.VFSFile):
    def __init__(self, name: Any, flags: list[int], recorder: Recorder) -> None:
        super().__init__("", name, flags)
        self._path = None if name is None else (name if isinstance(name, str) else name.filename())
        self._recorder = recorder

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        super().xWrite(data, offset)
        self._recorder.note("write", self._path, offset, bytes(data))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        super().xTruncate(newsize)
        self._recorder.note("truncate", self._path, newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802
        super().xSync(flags)
        self._recorder.note("sync", self._path)


class Cursor:
    """As much of ``sqlite3.Cursor`` as the store uses, over APSW."""

    def __init__(self, connection: apsw.Connection, cursor: apsw.Cursor) -> None:
        self._cursor = cursor
        self.lastrowid = connection.last_insert_rowid()
        self.fetchone, self.fetchall = cursor.fetchone, cursor.fetchall

    def __iter__(self) -> Iterator[Any]:
        return iter(self._cursor)


class Connection:
    """As much of ``sqlite3.Connection`` as the store uses, over APSW and the recording file system."""

    def __init__(self, path: str, vfs: str, synchronous: str) -> None:
        self._connection = apsw.Connection(path, vfs=vfs)
        self._connection.execute("pragma wal_autocheckpoint = 25")  # so that checkpoints are cut too
        self._synchronous = synchronous

    def execute(self, sql: str, values: Any = ()) -> Cursor:
        if self._synchronous and sql.startswith("pragma synchronous"):
            sql = f"pragma synchronous = {self._synchronous}"
        return Cursor(self._connection, self._connection.execute(sql, values))

    def executemany(self, sql: str, rows: Sequence[Any]) -> Cursor:
        return Cursor(self._connection, self._connection.executemany(sql, rows))

    def executescript(self, sql: str) -> Cursor:
        return self.execute(sql)

    def close(self) -> None:
        self._connection.close()


def turns() -> list[list[Turn]]:
    """Return appends of one to three turns of three executions, of a few bytes to a few pages each."""
    draw = random.Random(7)
    sequences = dict.fromkeys("abc", 0)
    batches = []
    for _ in range(14):
        batch = []
        for name in draw.sample("abc", draw.randint(1, 3)):
            sequences[name] += 1
            events = bytes(draw.choices(b"abcdefgh", k=draw.choice([10, 300, 9_000])))
            index = IndexRow(status="RUNNING", workflow_id="w", definition_hash="h", created_ms=1)
            is_first = sequences[name] == 1
            batch.append(
                Turn(name, sequences[name], events, 1, index if is_first else None, b"{}" if is_first else None)
            )
        batches.append(batch)
    return batches


async def record(path: Path, *, synchronous: str = "full", forced: str = "") -> Recorder:
    """Append everything, and return what went to the disk with a note for each append that was acknowledged."""
    recorder = Recorder()
    name = f"recorder-{path}"
    vfs = Vfs(name, recorder)
    store = SqliteStore(path, synchronous=synchronous, connect=lambda at: Connection(at, name, forced))  # type: ignore[arg-type,return-value]
    await store.open()
    for batch in turns():
        answers = await store.append(batch)
        assert {one.answer for one in answers} == {Answer.COMMITTED}
        recorder.steps.append(("acknowledged", "", batch))
    await store.close()
    vfs.unregister()
    return recorder


class Disk:
    """Files as a power cut may leave them: what was synced, and some of what was not."""

    def __init__(self) -> None:
        self.synced: dict[str, bytearray | None] = {}
        self.pending: dict[str, list[tuple[Any, ...]]] = {}

    def take(self, step: tuple[Any, ...]) -> None:
        """Let one recorded step happen."""
        kind, name, *details = step
        if kind == "sync":
            if self.synced.get(name) is None and name != "log.db":
                self._sync_folder()
            self.synced[name] = _apply(self.synced.get(name), self.pending.pop(name, []))
        elif kind == "delete" and details[0]:
            self.synced[name] = None
            self.pending.pop(name, None)
        else:
            self.pending.setdefault(name, []).append(step)

    def _sync_folder(self) -> None:
        """Make deletions last: with the first sync of a new journal or WAL SQLite syncs the folder that holds it."""
        for name, steps in self.pending.items():
            deletions = [number for number, step in enumerate(steps) if step[0] == "delete"]
            if deletions:
                self.synced[name] = None
                del steps[: deletions[-1] + 1]

    def leave(self, folder: Path, draw: random.Random, keep: float) -> None:
        """Write the files: each pending step is there with probability ``keep``, of some writes only some sectors."""
        for name in NAMES:
            pending = [one for step in self.pending.get(name, []) for one in _part(step, draw, keep)]
            found = _apply(self.synced.get(name), pending)
            path = folder / name
            path.unlink(missing_ok=True)
            if found is not None:
                path.write_bytes(found)


def _part(step: tuple[Any, ...], draw: random.Random, keep: float) -> list[tuple[Any, ...]]:
    if draw.random() >= keep:
        return []
    kind, name, *details = step
    if kind != "write" or keep == 1 or draw.random() < 0.5:
        return [step]
    offset, data = details
    cuts = range(0, len(data), SECTOR)
    return [("write", name, offset + at, data[at : at + SECTOR]) for at in cuts if draw.random() < 0.5]


def _apply(before: bytearray | None, steps: list[tuple[Any, ...]]) -> bytearray | None:
    found = None if before is None else bytearray(before)
    for kind, _, *details in steps:
        if kind == "delete":
            found = None
            continue
        found = bytearray() if found is None else found
        if kind == "truncate":
            del found[details[0] :]
            continue
        offset, data = details
        found.extend(bytes(max(0, offset - len(found))))
        found[offset : offset + len(data)] = data
    return found


class Found(NamedTuple):
    """What came of the disks that were looked at."""

    disks: int
    losing: int
    unreadable: int


def cut_everywhere(recorder: Recorder, folder: Path) -> Found:
    """Cut the power at each recorded step, once anything was acknowledged, and read what is left."""
    folder.mkdir()
    draw = random.Random(1)
    disk = Disk()
    acknowledged: set[tuple[str, int]] = set()
    disks = losing = unreadable = 0
    handed_over = {(one.execution_id, one.sequence): one.events for batch in turns() for one in batch}
    for step in recorder.steps:
        if step[0] == "acknowledged":
            acknowledged |= {(one.execution_id, one.sequence) for one in step[2]}
        else:
            disk.take(step)
        if not acknowledged:
            continue
        for keep in (0.0, 1.0, 0.5, 0.8):
            disk.leave(folder, draw, keep)
            disks += 1
            try:
                found = _read(folder / "log.db")
            except Exception:  # noqa: BLE001 - whatever a broken file does
                unreadable += 1
                continue
            assert found.items() <= handed_over.items()
            losing += not acknowledged <= set(found)
    return Found(disks, losing, unreadable)


def _read(path: Path) -> dict[tuple[str, int], bytes]:
    """Return every turn that the file holds, checked as any reader checks them."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(
        "pragma synchronous = off"
    )  # closing writes the WAL into the file, and nobody needs that to last
    with contextlib.closing(Reading(connection, str(path))) as reading:
        names = [row.execution_id for row in reading.list(EVERYTHING, 100, None)]
        return {(name, turn.sequence): turn.events for name in names for turn in reading.read(name, 0)}


@pytest.mark.slow
async def test_everything_acknowledged_survives_a_power_cut_at_any_write(tmp_path: Path) -> None:
    recorder = await record(tmp_path / "log.db")
    assert any(step[:2] == ("write", "log.db") for step in recorder.steps[50:]), "no checkpoint was recorded"
    found = cut_everywhere(recorder, tmp_path / "cut")
    assert found.disks > 500
    assert (found.losing, found.unreadable) == (0, 0)


@pytest.mark.slow
async def test_the_relaxed_mode_may_lose_what_was_acknowledged_and_never_breaks_the_file(tmp_path: Path) -> None:
    """What its documentation says it gives up; it also shows that the check above can fail."""
    found = cut_everywhere(await record(tmp_path / "log.db", synchronous="normal"), tmp_path / "cut")
    assert found.losing > 50
    assert found.unreadable == 0


@pytest.mark.slow
async def test_the_check_finds_what_a_store_without_syncs_loses_and_breaks(tmp_path: Path) -> None:
    found = cut_everywhere(await record(tmp_path / "log.db", forced="off"), tmp_path / "cut")
    assert found.losing + found.unreadable > 50


@pytest.mark.slow
async def test_the_store_opens_what_a_power_cut_left_and_goes_on(tmp_path: Path) -> None:
    recorder = await record(tmp_path / "log.db")
    draw = random.Random(3)
    disk = Disk()
    opened = 0
    for number, step in enumerate(recorder.steps):
        if step[0] != "acknowledged":
            disk.take(step)
        if number % 12:
            continue
        folder = tmp_path / f"cut{number}"
        folder.mkdir()
        disk.leave(folder, draw, 0.5)
        store = SqliteStore(folder / "log.db")
        await store.open()
        there = {name: len(await store.read(name)) for name in "abc"}
        again = [one for batch in turns() for one in batch]
        answers = await store.append(again)
        assert [one.answer for one in answers] == [
            Answer.DUPLICATE if one.sequence <= there[one.execution_id] else Answer.COMMITTED for one in again
        ]
        assert [turn.events for turn in await store.read("a")] == [t.events for t in again if t.execution_id == "a"]
        await store.close()
        opened += 1
    assert opened > 8
