"""Which ended executions go together: one, and all that it started, and what those started.

A child is known by its parent's id and step. If it outlived its parent in the file, the next execution of that id would
be given what the old child did; and a parent that goes while a child is open leaves one that belongs to nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.errors import QuarantineError
from treadle.machine import decode_events
from treadle.machine.events import ChildRequested
from treadle.store.protocol import Filter

if TYPE_CHECKING:
    from collections.abc import Collection, Container

    from treadle.store.protocol import Listed, Store


class Families:
    """The families in a log.

    Args:
        store: The log.
        residents: Executions that are in memory, or wait to be.
    """

    def __init__(self, store: Store, residents: Container[str]) -> None:
        self._store = store
        self._residents = residents

    async def is_held(self, execution_id: str, gone: Container[str]) -> bool:
        """Tell whether what it is named below is still there: a child goes with its parent."""
        at = execution_id.find("/")
        while at > 0:
            above = execution_id[:at]
            if above not in gone and await self._store.get(above) is not None:
                return True
            at = execution_id.find("/", at + 1)
        return False

    async def of(self, row: Listed, before_ms: int) -> list[str]:
        """Return an execution that nobody started, behind all of its family; empty if one of them may not go yet."""
        if not self._may_go(row, before_ms):
            return []
        family = [row.execution_id]
        if not await self._store.list(Filter(id_prefix=f"{row.execution_id}/"), limit=1):
            return family
        try:
            for name in family:  # which grows meanwhile
                for child in await self._children(name):
                    found = await self._store.get(child)
                    if found is not None and not self._may_go(found, before_ms):
                        return []
                    family += [] if found is None else [child]
        except QuarantineError:
            return []  # nobody can say what it started
        return family[::-1]

    def is_at_rest(self, family: Collection[str]) -> bool:
        """Tell whether none of a family is in memory, where it may go on."""
        return not any(one in self._residents for one in family)

    def _may_go(self, row: Listed, before_ms: int) -> bool:
        if row.is_open or row.execution_id in self._residents:
            return False
        return row.ended_ms is not None and row.ended_ms < before_ms

    async def _children(self, execution_id: str) -> list[str]:
        turns = await self._store.read(execution_id)
        events = (event for turn in turns for event in decode_events(turn.events))
        return list(dict.fromkeys(one.child for one in events if type(one) is ChildRequested))
