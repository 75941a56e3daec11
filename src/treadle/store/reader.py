"""A SQLite log opened for reading only (``mode=ro``): beside a running engine, or without one.

It takes no lock, writes nothing, and sees each commit of the engine as soon as it is there.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from treadle.errors import StoreError
from treadle.store.protocol import EVERYTHING, Filter, Listed, Mail, Posted, ScheduleRow, StoredTurn, Version
from treadle.store.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_T = TypeVar("_T")

APPLICATION_ID: Final = 0x7472646C
"""``trdl``: marks the file as treadle's."""

SCHEMA: Final = 8
"""Number of the newest migration; ``PRAGMA user_version`` counts those applied."""

BUSY_MS: Final = 10_000


class SqliteReader:
    """See ``protocol.Reader`` for what each method promises.

    Args:
        path: The database.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        # Lock, inbox and log stand beside the file itself, by whatever link it is reached.
        self.path = str(Path(path).resolve())
        self._reading: Reading | None = None
        self._reader: ThreadPoolExecutor | None = None
        self._pid = os.getpid()

    async def open(self) -> None:
        """Open the file; it must be there."""
        await self._read(self._open_file)

    def _open_file(self) -> None:
        if not Path(self.path).exists():
            raise StoreError("is not there", self.path)
        try:
            connection = connect_for_reading(self.path)
        except sqlite3.Error as error:
            raise StoreError(f"cannot be opened: {error}", self.path) from error
        self._reading = Reading(connection, self.path)

    async def _read(self, function: Callable[[], _T]) -> _T:
        if self._pid != os.getpid():  # after a fork: the child has neither the thread nor a right to the connections
            raise StoreError("was opened by another process, of which this is a fork; open it here", self.path)
        if self._reader is None:
            self._reader = ThreadPoolExecutor(1, "treadle-read")
        return await asyncio.get_running_loop().run_in_executor(self._reader, function)

    def _stop_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.shutdown(wait=False)

    def _open_reading(self) -> Reading:
        if self._reading is None:
            raise StoreError("is not open in this process", self.path)
        return self._reading

    async def read(self, execution_id: str, after: int = 0) -> Sequence[StoredTurn]:
        """Return checked turns of one execution."""
        return await self._read(lambda: self._open_reading().read(execution_id, after))

    async def read_after(self, cursor: int, limit: int = 1_000) -> Sequence[StoredTurn]:
        """Return turns in commit order."""
        return await self._read(lambda: self._open_reading().read_after(cursor, limit))

    async def head(self) -> int:
        """Return the last cursor."""
        return await self._read(lambda: self._open_reading().head())

    async def definition(self, definition_hash: str) -> bytes | None:
        """Return a definition."""
        return await self._read(lambda: self._open_reading().definition(definition_hash))

    async def versions(self, workflow_id: str = "") -> Sequence[Version]:
        """Return registered versions."""
        return await self._read(lambda: self._open_reading().versions(workflow_id))

    async def get(self, execution_id: str) -> Listed | None:
        """Return one index row."""
        return await self._read(lambda: self._open_reading().get(execution_id))

    async def list(
        self,
        where: Filter = EVERYTHING,
        *,
        limit: int = 100,
        before: int | None = None,
    ) -> Sequence[Listed]:
        """Return index rows, newest first."""
        return await self._read(lambda: self._open_reading().list(where, limit, before))

    async def count(self, where: Filter = EVERYTHING) -> int:
        """Return how many rows pass a filter."""
        return await self._read(lambda: self._open_reading().count(where))

    async def line(self, workflow_id: str, key: str, *, limit: int | None = None) -> Sequence[Listed]:
        """Return the open executions that have a key, oldest first."""
        return await self._read(lambda: self._open_reading().line(workflow_id, key, limit))

    async def schedules(self, schedule_id: str | None = None) -> Sequence[ScheduleRow]:
        """Return one schedule, or all."""
        return await self._read(lambda: self._open_reading().schedules(schedule_id))

    async def ended(
        self, status: str, before_ms: int, *, limit: int = 100, after: tuple[int, int] = (0, 0)
    ) -> Sequence[Listed]:
        """Return executions that ended, oldest first."""
        return await self._read(lambda: self._open_reading().ended(status, before_ms, limit, after))

    async def payloads(self) -> tuple[int, int, int]:
        """Return how many large values are kept apart, their bytes, and the bytes that they take."""
        return await self._read(lambda: self._open_reading().payloads())

    async def unanswered(self, after: int = 0, limit: int = 100) -> Sequence[Posted]:
        """Return the mail that still has addressees."""
        return await self._read(lambda: self._open_reading().unanswered(after, limit))

    async def kept(self, name: str = "", key: str = "", after: int = 0, limit: int = 100) -> Sequence[Mail]:
        """Return the mail that nobody has taken and somebody awaits."""
        return await self._read(lambda: self._open_reading().kept(name, key, after, limit))

    async def waiting(self, name: str, key: str) -> Sequence[str]:
        """Return the executions that await such an event."""
        return await self._read(lambda: self._open_reading().waiting(name, key))

    async def check_pages(self) -> Sequence[str]:
        """Return what SQLite's own check of the pages finds; empty where all is in order."""
        return await self._read(lambda: self._open_reading().check_pages())

    async def close(self) -> None:
        """Let go of the file."""
        reading, self._reading = self._reading, None
        if reading is not None:
            await self._read(reading.close)
        self._stop_reader()


def connect_for_reading(path: str) -> sqlite3.Connection:
    """Open a connection that writes nothing, to be used by one thread at a time.

    Raises:
        sqlite3.Error: The file cannot be opened.
        StoreError: It is no database of this treadle.
    """
    place = f"{Path(path).absolute().as_uri()}?mode=ro"
    if _is_at_rest(path):
        place += "&immutable=1"
    connection = sqlite3.connect(place, uri=True, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"pragma busy_timeout = {BUSY_MS}")
        connection.execute("pragma query_only = on")
        _check_is_current(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _is_at_rest(path: str) -> bool:
    """Tell whether a file can be read as it lies there: where nothing can be written, and its log was closed into it.

    SQLite itself wants to make files beside the database, even to read it.
    """
    folder = Path(path).absolute().parent
    return not os.access(folder, os.W_OK) and not Path(f"{path}-wal").exists()


def _check_is_current(connection: sqlite3.Connection, path: str) -> None:
    version = check_schema(connection, path)
    if not version:
        raise StoreError("is empty: no engine has written to it yet", path)
    if version < SCHEMA:
        raise StoreError("was written by an older treadle; open it once with an engine, which upgrades it", path)


def check_schema(connection: sqlite3.Connection, path: str) -> int:
    """Return the schema's version; 0 for an empty file.

    Raises:
        StoreError: It is another program's database, or a newer treadle's.
    """
    version = int(connection.execute("pragma user_version").fetchone()[0])
    owner = connection.execute("pragma application_id").fetchone()[0]
    tables = connection.execute("select count(*) from sqlite_master").fetchone()[0]
    if owner != APPLICATION_ID and tables:
        raise StoreError("is a SQLite database, but not treadle's", path)
    if version > SCHEMA:
        raise StoreError(f"was written by a newer treadle (schema {version}, this one knows {SCHEMA})", path)
    return version
