"""The schedules in memory, and the store that keeps them.

What is in memory is what was last handed to the store: every change is made and handed over without a pause, so that
the rows are written in the order of the changes. After a failed write it is in doubt, and read again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from treadle.drivers.local.entries import read_entries
from treadle.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from treadle.drivers.local.entries import Entry
    from treadle.store.protocol import Store


class Kept:
    """Schedules by id; read when they are first asked for.

    Args:
        store: Keeps them.

    Attributes:
        is_doubtful: A write failed: what is in memory may not be what is kept.
    """

    def __init__(self, store: Store) -> None:
        self.is_doubtful = False
        self._store = store
        self._entries: dict[str, Entry] | None = None
        self._reading = asyncio.Lock()

    def __iter__(self) -> Iterator[Entry]:
        return iter((self._entries or {}).values())

    def __len__(self) -> int:
        return len(self._entries or ())

    def get(self, schedule_id: str) -> Entry | None:
        """Return a schedule; None if there is none."""
        return None if self._entries is None else self._entries.get(schedule_id)

    def holds(self, entry: Entry) -> bool:
        """Tell whether an entry was neither removed nor replaced."""
        return self.get(entry.id) is entry

    async def read(self) -> bool:
        """Read all of them, unless they are here and not in doubt; tell whether it did.

        Raises:
            StoreError: They cannot be read.
        """
        async with self._reading:
            if self._entries is not None and not self.is_doubtful:
                return False
            self._entries = await read_entries(self._store)
            self.is_doubtful = False
            return True

    async def add(self, entry: Entry, definition: bytes) -> None:
        """Keep a schedule in place of the one of its id, with the workflow that it starts."""
        assert self._entries is not None  # it is read before anything is added
        self._entries[entry.id] = entry
        await self._write([entry], definition=definition)

    async def remove(self, entry: Entry) -> None:
        """Remove a schedule."""
        self.forget(entry)
        await self._write([], [entry.id])

    def forget(self, entry: Entry) -> None:
        """Let go of a schedule in memory; it is still kept."""
        if self._entries is not None:
            self._entries.pop(entry.id, None)

    async def put(self, entries: Sequence[Entry]) -> None:
        """Keep how far schedules have come that are still there.

        Raises:
            StoreError: The outcome is unknown.
        """
        current = [entry for entry in entries if self.holds(entry)]
        if current:
            await self._write(current)

    async def _write(
        self, entries: Sequence[Entry], removed: Sequence[str] = (), *, definition: bytes | None = None
    ) -> None:
        try:
            await self._store.put_schedules([entry.row(definition) for entry in entries], removed)
        except StoreError:
            self.is_doubtful = True
            raise
