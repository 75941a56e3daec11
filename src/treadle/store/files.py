"""Are the files under the connection still the ones at the path?

SQLite goes on writing into a file that was deleted, or that another one took the place of; nothing it commits is found
again. So the writer looks after each commit, before it answers.
"""

from __future__ import annotations

import os
from typing import Final, TypeAlias

from treadle.errors import StoreError

_Identity: TypeAlias = tuple[int, int]

_SUFFIXES: Final = ("", "-wal")


class OpenFiles:
    """The database and its write-ahead log, as they were when they were first seen.

    Args:
        path: The database.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._known: dict[str, _Identity] = {}

    def check(self) -> None:
        """Note files that are seen for the first time, and compare the others.

        Raises:
            StoreError: One is gone, or is another file now.
        """
        for suffix in _SUFFIXES:
            found = _identity(self._path + suffix)
            if found is None or self._known.setdefault(suffix, found) != found:
                what = "its write-ahead log" if suffix else "it"
                how = "removed" if found is None else "replaced"
                raise StoreError(
                    f"{what} was {how} while the engine runs; close the engine, or put it back", self._path
                )

    def note_database(self) -> None:
        """Note which file was opened."""
        found = _identity(self._path)
        if found is not None:
            self._known[""] = found

    @property
    def database(self) -> tuple[int, int]:
        """Return device and inode of the database; zeros while it is not known."""
        return self._known.get("", (0, 0))

    def check_database(self) -> None:
        """Compare the database before it is opened again; the log is made anew then.

        Raises:
            StoreError: It is gone, or is another file now.
        """
        known = self._known.get("")
        if known is not None and _identity(self._path) != known:
            raise StoreError(
                "was removed or replaced while the engine runs; close the engine, or put it back", self._path
            )
        self._known.pop("-wal", None)


def _identity(path: str) -> _Identity | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - on the way of every commit
    except OSError:
        return None
    return found.st_dev, found.st_ino
