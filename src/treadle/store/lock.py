"""One engine per database file, by a lock on a file beside it.

The database file itself is never opened by anything but SQLite: closing it elsewhere would drop SQLite's own locks.
A forked child lets go of its copy of the lock and may not use the store.

The lock file is a witness as well. SQLite takes a damaged write-ahead log for one that ends early: it opens, checks out
as whole, and what was acknowledged is gone without a word. So how far the log has got is noted here after each commit,
and compared at the next opening. The note is not synced, so it may be behind the database, never ahead of it.
"""

from __future__ import annotations

import fcntl
import os
import time
from typing import TYPE_CHECKING, TypeAlias

from treadle.errors import StoreError, StoreLockedError

if TYPE_CHECKING:
    from pathlib import Path


class FileLock:
    """An exclusive lock that ends with the process, whatever ends it.

    Args:
        path: The lock file; made with mode 0600, never deleted.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle = -1
        self._pid = 0
        self._file: _File = (0, 0)

    @property
    def is_held(self) -> bool:
        """Tell whether this very process holds it: a forked child does not."""
        return self._handle >= 0 and self._pid == os.getpid()

    def take(self, database: str) -> None:
        """Take the lock and write this process's id into the file.

        Raises:
            StoreLockedError: Another process holds it.
            StoreError: The file cannot be made.
        """
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"cannot make the lock file {self._path}: {error.strerror}", database) from error
        if not _try_to_lock(handle):
            pid = _recorded(handle)
            os.close(handle)
            raise StoreLockedError(database, pid)
        os.pwrite(handle, b"%-15d\n" % os.getpid(), 0)
        self._handle, self._pid = handle, os.getpid()
        os.register_at_fork(after_in_child=self._drop)

    def compare(self, cursor: int, file: _File, database: str) -> None:
        """Compare a database that was opened with what was noted of it.

        Args:
            cursor: Of its last event.
            file: Device and inode of the database; of another file nothing is known.
            database: For messages.

        Raises:
            StoreError: Events that were acknowledged are missing.
        """
        self._file = file
        noted, of_file = _noted(self._handle)
        if of_file == file and noted > cursor:
            raise StoreError(
                f"{noted - cursor:,} events that were acknowledged are missing: its write-ahead log was damaged or "
                f"removed, or an older copy was written over it. To go on with what is there, remove {self._path}",
                database,
            )

    def note(self, cursor: int) -> None:
        """Note how far the log has got, after a commit."""
        os.pwrite(self._handle, b"%020d %020d %020d\n" % (cursor, *self._file), _NOTE_AT)

    def give_back(self) -> None:
        """Let go. Safe before ``take`` and twice."""
        if self.is_held:
            os.close(self._handle)
        self._handle = -1

    def _drop(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def holder(database: str) -> int | None:
    """Return the id of the process that runs an engine on a file; 0 if it left none, None if nobody does."""
    try:
        handle = os.open(f"{database}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _recorded(handle)
    else:
        return None
    finally:
        os.close(handle)


def noted_cursor(database: str) -> int:
    """Return how far the log of a database had got at least; 0 where nothing is known of this file."""
    try:
        handle = os.open(f"{database}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        found = os.stat(database)  # noqa: PTH116 - as in files.py
        noted, of_file = _noted(handle)
    except OSError:
        return 0
    finally:
        os.close(handle)
    return noted if of_file == (found.st_dev, found.st_ino) else 0


def _try_to_lock(handle: int) -> bool:
    """Try a few times: ``holder`` of another process has the lock for some microseconds while it looks."""
    for _ in range(_TRIES):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(_BETWEEN_TRIES_SECONDS)
        else:
            return True
    return False


_TRIES = 3
_BETWEEN_TRIES_SECONDS = 0.02


def _recorded(handle: int) -> int:
    text = os.pread(handle, 32, 0).partition(b"\n")[0].strip()
    return int(text) if text.isdigit() else 0


_File: TypeAlias = tuple[int, int]
_NOTE_AT = 16
_NOTE_SIZE = 63


def _noted(handle: int) -> tuple[int, _File]:
    """Return the cursor that was noted and of which file; zeros where nothing was."""
    parts = os.pread(handle, _NOTE_SIZE, _NOTE_AT).split()
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        return 0, (0, 0)
    cursor, device, inode = map(int, parts)
    return cursor, (device, inode)
