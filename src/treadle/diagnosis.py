"""What ``treadle doctor`` finds: is a file whole, who runs it, what waits for it. Reads only."""

from __future__ import annotations

import shutil
import sqlite3
import stat
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from treadle.drivers.local.catalog import Catalog
from treadle.drivers.local.entries import read_entry
from treadle.drivers.local.recovery import Plans, load
from treadle.errors import QuarantineError, StoreError
from treadle.store.inbox import Inbox
from treadle.store.lock import holder, noted_cursor
from treadle.store.reader import SCHEMA, SqliteReader

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Sequence

    from treadle.store.protocol import Listed, ScheduleRow

LITTLE_ROOM: Final = 100 * 1024 * 1024
LARGE_WAL: Final = 64 * 1024 * 1024
SAFE_SQLITE: Final = (3, 51, 3)
"""Before this one, two processes that write at once could damage a WAL file; treadle lets only one."""

Severity = Literal["ok", "warning", "error"]


class Finding(Struct, frozen=True):
    """One sentence about the file. ``error``: something in it is damaged; ``warning``: look at it."""

    severity: Severity
    text: str


class Diagnosis(Struct, frozen=True):
    """What was found.

    Attributes:
        path: The file.
        findings: In the order in which a person wants to read them.
        damaged: Why, by id of each execution that cannot be read or does not fold.
    """

    path: str
    findings: tuple[Finding, ...]
    damaged: dict[str, str] = {}

    @property
    def is_whole(self) -> bool:
        """Tell whether nothing is damaged."""
        return all(one.severity != "error" for one in self.findings)


async def diagnose(path: str | os.PathLike[str]) -> Diagnosis:
    """Examine a database: the pages, every checksum, and that every execution folds. May take a while.

    Raises:
        StoreError: It is not there, is no treadle database, or a newer treadle's.
    """
    reader = SqliteReader(path)
    try:
        await reader.open()
        damaged, counts = await _executions(reader)
        versions = await _versions(reader)
        schedules = await reader.schedules()
        payloads = await reader.payloads()
        pages = await reader.check_pages()
        noted = noted_cursor(reader.path)  # before the head, which an engine may move on meanwhile
        missing = max(0, noted - await reader.head())
    finally:
        await reader.close()
    findings = (
        *_about_the_file(Path(reader.path)),
        *_about_pages(pages),
        *_about_executions(counts, damaged),
        *versions,
        *_about_schedules(schedules),
        *_about_payloads(*payloads),
        *_about_missing(missing),
        _about_the_engine(reader.path),
        *_about_the_inbox(reader.path),
        _about_sqlite(),
    )
    return Diagnosis(reader.path, findings, damaged)


async def _executions(reader: SqliteReader) -> tuple[dict[str, str], Counter[str]]:
    """Fold every execution; return why each damaged one is, and how many there are of each status."""
    plans = Plans(reader)
    damaged: dict[str, str] = {}
    counts: Counter[str] = Counter()
    async for row in _all(reader):
        counts[row.status or "unreadable"] += 1
        why = row.damage or await _damage(reader, plans, row)
        if why:
            damaged[row.execution_id] = why
    return damaged, counts


async def _damage(reader: SqliteReader, plans: Plans, row: Listed) -> str:
    """Return what is wrong with the log of one execution, or between it and its row; ``""`` where nothing is."""
    try:
        found = await load(reader, plans, row.execution_id)
    except QuarantineError as error:
        return str(error.args[0])
    except StoreError as error:
        return str(error)
    if found is None or found.state.status.value == row.status:
        return ""
    return f"the list says {row.status}, its log {found.state.status.value}"


async def _versions(reader: SqliteReader) -> list[Finding]:
    """Return what is wrong with registered workflows."""
    catalog = Catalog(reader, Plans(reader))
    found = []
    for one in await catalog.versions():
        try:
            await catalog.plan(one.workflow_id, one.definition_hash)
        except StoreError as error:
            found.append(Finding("error", error.message))
    return found


async def _all(reader: SqliteReader) -> AsyncIterator[Listed]:
    before: int | None = None
    while rows := await reader.list(limit=1_000, before=before):
        for row in rows:
            yield row
        before = rows[-1].number


def _about_the_file(path: Path) -> list[Finding]:
    size = path.stat().st_size
    wal = Path(f"{path}-wal")
    wal_size = wal.stat().st_size if wal.exists() else 0
    found = [Finding("ok", f"schema {SCHEMA}, {_bytes(size)}, write-ahead log {_bytes(wal_size)}")]
    if wal_size > LARGE_WAL:
        found.append(Finding("warning", "the write-ahead log is large; does a reader keep an old view open?"))
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        found.append(Finding("warning", f"others may read it (mode {mode:04o}); put that right with: chmod 600 {path}"))
    free = shutil.disk_usage(path.parent).free
    if free < LITTLE_ROOM:
        found.append(Finding("warning", f"only {_bytes(free)} of room are left on its disk"))
    return found


def _about_pages(pages: Sequence[str]) -> list[Finding]:
    if not pages:
        return [Finding("ok", "SQLite finds every page in order")]
    return [Finding("error", f"SQLite finds damage: {one}") for one in pages]


def _about_executions(counts: Counter[str], damaged: dict[str, str]) -> list[Finding]:
    words = ", ".join(f"{count:,} {status}" for status, count in sorted(counts.items())) or "none yet"
    whole = counts.total() - len(damaged)
    found = [Finding("ok", f"executions: {words}"), Finding("ok", f"{whole:,} of {counts.total():,} logs are whole")]
    return found + [Finding("error", f"execution {name!r}: {why}") for name, why in damaged.items()]


def _about_schedules(rows: Sequence[ScheduleRow]) -> list[Finding]:
    found = [Finding("ok", f"schedules: {len(rows):,}")] if rows else []
    for row in rows:
        try:
            read_entry(row)
        except ValueError as error:
            found.append(Finding("error", f"schedule {row.schedule_id!r}: {error}"))
    return found


def _about_payloads(count: int, size: int, stored: int) -> list[Finding]:
    if not count:
        return []
    return [Finding("ok", f"large values kept once: {count:,}, {_bytes(size)}, which take {_bytes(stored)}")]


def _about_missing(count: int) -> list[Finding]:
    if not count:
        return []
    text = (
        f"{count:,} events that were acknowledged are missing: its write-ahead log was damaged or removed, or an older"
    )
    return [Finding("error", f"{text} copy was written over it")]


def _about_the_engine(path: str) -> Finding:
    pid = holder(path)
    return Finding("ok", "no engine runs it now" if pid is None else f"the engine of process {pid or '?'} runs it")


def _about_the_inbox(path: str) -> list[Finding]:
    waiting = Inbox(path, max_bytes=0).names()
    if not waiting:
        return []
    return [Finding("warning", f"commands that wait for an engine: {len(waiting):,}, in {path}.inbox")]


def _about_sqlite() -> Finding:
    old = sqlite3.sqlite_version_info < SAFE_SQLITE
    advice = "; let no other program write to the file (fixed in 3.51.3)" if old else ""
    return Finding("ok", f"SQLite {sqlite3.sqlite_version}{advice}")


def _bytes(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
