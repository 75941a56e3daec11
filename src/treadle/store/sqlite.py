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
from typing import TYPE_CHECKING, Final, cast

from treadle.errors import StoreError
from treadle.store.files import OpenFiles
from treadle.store.lock import FileLock
from treadle.store.reader import APPLICATION_ID, BUSY_MS, SqliteReader, check_schema
from treadle.store.reading import Reading
from treadle.store.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from treadle.store.protocol import Appended, Turn

MIGRATIONS: Final = ("0001_initial.sql",)
"""In order; there are as many as ``SCHEMA`` says."""

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
        self._connections: list[sqlite3.Connection] = []
        self._writer: Writer | None = None
        self._files = OpenFiles(self.path)
        self._thread: threading.Thread | None = None
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()

    async def open(self) -> None:
        """Take the lock, make or migrate the file, start the writer."""
        await self._read(lambda: self._lock.take(self.path))
        self._files = OpenFiles(self.path)
        try:
            await self._read(self._open)
        except BaseException:
            self._lock.give_back()
            raise
        self._thread = threading.Thread(target=self._write, name="treadle-write", daemon=True)
        self._thread.start()

    def _open(self) -> None:
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            pass
        except OSError as error:
            raise StoreError(f"cannot be made: {error.strerror}", self.path) from error
        try:
            self._open_connections()
        except sqlite3.Error as error:
            self._close_connections()
            raise StoreError(f"cannot be opened: {error}", self.path) from error
        except BaseException:
            self._close_connections()
            raise

    def _open_connections(self) -> None:
        writing = self._connect(self.path)
        self._connections.append(writing)
        writing.execute(f"pragma busy_timeout = {BUSY_MS}")
        migrate(writing, self.path)
        writing.execute("pragma journal_mode = wal")
        writing.execute(f"pragma synchronous = {self._synchronous}")
        writing.execute("pragma foreign_keys = off")
        reading = self._connect(self.path)
        self._connections.append(reading)
        reading.execute(f"pragma busy_timeout = {BUSY_MS}")
        reading.execute("pragma query_only = on")
        self._files.note_database()
        self._writer = Writer(writing, self.path, self._files, self._committed)
        self._lock.compare(self._writer.cursor, self._files.database, self.path)
        self._committed(self._writer.cursor)
        self._reading = Reading(reading, self.path)

    def _committed(self, cursor: int) -> None:
        """Note how far the log has got; in the mode that may lose the last turns they may not count as promised."""
        if self._synchronous == "full":
            self._lock.note(cursor)

    def _close_connections(self) -> None:
        while self._connections:
            self._connections.pop().close()
        self._writer = self._reading = None

    async def reopen(self) -> None:
        """Close both connections and open them again; the writer begins from what the file says."""

        def again() -> None:
            self._close_connections()
            self._files.check_database()
            self._open()

        await self._on_writer(again)

    async def append(self, turns: Sequence[Turn]) -> Sequence[Appended]:
        """Write the turns together with those of other calls that wait."""
        job = _Job(asyncio.get_running_loop(), turns)
        self._put(job)
        return cast("Sequence[Appended]", await job.future)

    async def _on_writer(self, function: Callable[[], None]) -> None:
        job = _Job(asyncio.get_running_loop(), (), function)
        self._put(job)
        await job.future

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
                answers = self._open_writer().write([job.turns for job in writes])
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
            await self._read(self._close_connections)
        self._lock.give_back()
        self._stop_reader()


class _Job:
    """Turns to write, or a function to run on the writer's thread, and the future of who waits for it."""

    __slots__ = ("function", "future", "loop", "turns")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, turns: Sequence[Turn], function: Callable[[], None] | None = None
    ) -> None:
        self.loop = loop
        self.turns = turns
        self.function = function
        self.future: asyncio.Future[object] = loop.create_future()


def _attempt(function: Callable[[], None]) -> object:
    try:
        function()
    except Exception as error:  # noqa: BLE001 - as above
        return error
    return None


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
