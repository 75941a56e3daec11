"""The log in one SQLite file: WAL and ``synchronous=FULL``, so that what is answered survives kill -9 and power loss.

One connection writes, on one thread of its own, and only it checkpoints; reads have their own connection and thread.
"""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import threading
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar, cast

from treadle.errors import StoreError
from treadle.store.files import OpenFiles
from treadle.store.lock import FileLock
from treadle.store.reader import APPLICATION_ID, BUSY_MS, SqliteReader, check_schema
from treadle.store.reading import Reading
from treadle.store.writer import Schedules, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from treadle.store.protocol import Appended, Mail, Posted, ScheduleRow, Turn, Version

_T = TypeVar("_T")

MIGRATIONS: Final = (
    "0001_initial.sql",
    "0002_versions.sql",
    "0003_keys.sql",
    "0004_schedules.sql",
    "0005_payloads.sql",
    "0006_removal.sql",
    "0007_search.sql",
    "0008_mail.sql",
)
"""In order; there are as many as ``SCHEMA`` says."""

WAL_BYTES: Final = 16 * 1024 * 1024
"""The write-ahead log is cut to this once a long reader that made it grow has gone."""

MODES: Final = {"full": "full", "normal": "normal"}
"""``normal`` is faster and gives up the last acknowledged turns on power loss (not on kill -9)."""


def connect(path: str) -> sqlite3.Connection:
    """Open a connection in autocommit mode, to be used by one thread at a time."""
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=64)


class SqliteStore(SqliteReader):
    """See ``protocol.Store`` for what each method promises.

    Args:
        path: The database; made with mode 0600 if it is not there.
        synchronous: ``full``, or ``normal``: acknowledged work may be lost on power loss.
        connect: Makes a connection; a seam for fault injection.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: str = "full",
        connect: Callable[[str], sqlite3.Connection] = connect,
    ) -> None:
        if synchronous not in MODES:
            raise StoreError(f"synchronous is 'full' or 'normal', not {synchronous!r}", str(path))
        super().__init__(path)
        self._synchronous = MODES[synchronous]
        self._connect = connect
        self._lock = FileLock(Path(self.path + ".lock"))
        self._writing: sqlite3.Connection | None = None
        self._writer: Writer | None = None
        self._files = OpenFiles(self.path)
        self._thread: threading.Thread | None = None
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()

    async def open(self) -> None:
        """Take the lock, make or migrate the file, start the writer."""
        opening = asyncio.ensure_future(self._read(self._open))
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            # The thread goes on whatever becomes of whoever waits for it: what it opens then is closed again.
            await asyncio.wait([opening])
            if opening.exception() is None:
                await self._read(self._close)
            raise
        self._thread = threading.Thread(target=self._write, name="treadle-write", daemon=True)
        self._thread.start()

    def _open(self) -> None:
        self._lock.take(self.path)
        self._files = OpenFiles(self.path)
        try:
            self._make_file()
            self._open_writing()
            self._open_for_reading()
        except BaseException:
            self._close()
            raise

    def _make_file(self) -> None:
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            pass
        except OSError as error:
            raise StoreError(f"cannot be made: {error.strerror}", self.path) from error

    def _open_writing(self) -> None:
        """Open the connection that writes, in place of one that failed. Used by one thread at a time."""
        self._close_writing()
        self._files.check_database()
        try:
            writing = self._writing = self._connect(self.path)
            writing.execute(f"pragma busy_timeout = {BUSY_MS}")
            migrate(writing, self.path)
            writing.execute("pragma journal_mode = wal")
            writing.execute(f"pragma synchronous = {self._synchronous}")
            writing.execute(f"pragma journal_size_limit = {WAL_BYTES}")
            writing.execute("pragma foreign_keys = off")
            self._files.note_database()
            writer = Writer(writing, self.path, self._files, self._committed)
        except sqlite3.Error as error:
            raise StoreError(f"cannot be opened: {error}", self.path) from error
        self._lock.compare(writer.cursor, self._files.database, self.path)
        self._committed(writer.cursor)
        self._writer = writer

    def _open_for_reading(self) -> None:
        """Open the connection that reads, in place of one that may have failed. On the reading thread only."""
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.close()
        try:
            connection = self._connect(self.path)
            connection.execute(f"pragma busy_timeout = {BUSY_MS}")
            connection.execute("pragma query_only = on")
        except sqlite3.Error as error:
            raise StoreError(f"cannot be opened: {error}", self.path) from error
        self._reading = Reading(connection, self.path)

    def _committed(self, cursor: int) -> None:
        """Note how far the log has got; in the mode that may lose the last turns they may not count as promised."""
        if self._synchronous == "full":
            self._lock.note(cursor)

    def _close_writing(self) -> None:
        writing, self._writing, self._writer = self._writing, None, None
        if writing is not None:
            writing.close()

    def _close(self) -> None:
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.close()
        self._close_writing()
        self._lock.give_back()

    async def reopen(self) -> None:
        """Open both connections again, each on its thread; the writer begins from what the file says."""
        await self._on_writer(self._open_writing)
        await self._read(self._open_for_reading)

    async def append(self, turns: Sequence[Turn]) -> Sequence[Appended]:
        """Write the turns together with those of other calls that wait."""
        job = _Job(asyncio.get_running_loop(), turns)
        self._put(job)
        return cast("Sequence[Appended]", await job.future)

    async def register(self, versions: Sequence[tuple[Version, bytes]]) -> Sequence[Version]:
        """Write versions."""
        return await self._on_writer(lambda: self._open_writer().register(versions))

    async def put_schedules(self, rows: Sequence[ScheduleRow], removed: Sequence[str] = ()) -> None:
        """Write schedules together with the turns and schedules of other calls that wait."""
        job = _Job(asyncio.get_running_loop(), Schedules(rows, removed))
        self._put(job)
        await job.future

    async def remove(self, execution_ids: Sequence[str]) -> Sequence[str]:
        """Remove ended executions."""
        return await self._on_writer(lambda: self._open_writer().remove(execution_ids))

    async def post(self, mails: Sequence[Mail]) -> Sequence[Posted]:
        """Write events of the mail."""
        return await self._on_writer(lambda: self._open_writer().post(mails))

    async def settle(self, event_ids: Sequence[str]) -> None:
        """Note that events of the mail have no addressees."""
        await self._on_writer(lambda: self._open_writer().settle(event_ids))

    async def forget(self, before_ms: int) -> int:
        """Remove old mail."""
        return await self._on_writer(lambda: self._open_writer().forget(before_ms))

    async def _on_writer(self, function: Callable[[], _T]) -> _T:
        job = _Job(asyncio.get_running_loop(), (), function)
        self._put(job)
        return cast("_T", await job.future)

    def _put(self, job: _Job) -> None:
        if not self._lock.is_held or self._thread is None:
            raise StoreError("is not open in this process", self.path)
        self._queue.put(job)

    def _write(self) -> None:
        stopping = False
        while not stopping:
            jobs: list[_Job] = []
            job = self._queue.get()
            while job is not None:
                jobs.append(job)
                if job.function is not None or self._queue.empty():
                    break
                job = self._queue.get()
            stopping = job is None
            self._do(jobs)

    def _do(self, jobs: list[_Job]) -> None:
        writes = [job for job in jobs if job.function is None]
        results: list[tuple[_Job, object]] = []
        try:
            if writes:
                answers = self._open_writer().write([job.written for job in writes])
                results += zip(writes, answers, strict=True)
        except Exception as error:  # noqa: BLE001 - also a defect of ours is told: nobody may wait for a dead thread
            results += [(job, error) for job in writes]
        for job in jobs:
            if job.function is not None:
                results.append((job, _attempt(job.function)))
        for loop in {job.loop for job, _ in results}:
            _tell(loop, [(job, result) for job, result in results if job.loop is loop])

    def _open_writer(self) -> Writer:
        if self._writer is None:
            raise StoreError("could not be opened again", self.path)
        return self._writer

    def _open_reading(self) -> Reading:
        if not self._lock.is_held:  # a forked child must not use the connections of its parent
            raise StoreError("is not open in this process", self.path)
        return super()._open_reading()

    async def close(self) -> None:
        """Finish what was accepted, close the file, give the lock back."""
        thread, self._thread = self._thread, None
        if thread is not None and self._lock.is_held:
            self._queue.put(None)
            await self._read(thread.join)
            await self._read(self._close)
        self._lock.give_back()
        self._stop_reader()


class _Job:
    """Turns or schedules to write, or a function to run on the writer's thread, and the future of who waits for it."""

    __slots__ = ("function", "future", "loop", "written")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        written: Sequence[Turn] | Schedules,
        function: Callable[[], object] | None = None,
    ) -> None:
        self.loop = loop
        self.written = written
        self.function = function
        self.future: asyncio.Future[object] = loop.create_future()


def _attempt(function: Callable[[], object]) -> object:
    try:
        return function()
    except Exception as error:  # noqa: BLE001 - as above
        return error


def _tell(loop: asyncio.AbstractEventLoop, results: list[tuple[_Job, object]]) -> None:
    """Wake everyone who waits on one loop with one call."""

    def tell() -> None:
        for job, result in results:
            if not job.future.done():
                if isinstance(result, Exception):
                    job.future.set_exception(result)
                else:
                    job.future.set_result(result)

    try:
        loop.call_soon_threadsafe(tell)
    except RuntimeError:  # that loop is closed, so nobody waits
        return


def migrate(connection: sqlite3.Connection, path: str) -> None:
    """Bring the schema up to date, each step in a transaction of its own.

    Raises:
        StoreError: It is another program's database, or a newer treadle's.
    """
    version = check_schema(connection, path)
    folder = resources.files("treadle.store") / "migrations"
    for number, name in enumerate(MIGRATIONS[version:], version + 1):
        script = (folder / name).read_text("utf-8")
        marks = f"pragma application_id = {APPLICATION_ID}; pragma user_version = {number};"
        connection.executescript(f"begin immediate; {script} {marks} commit;")
