"""Removes executions that ended long enough ago: in the background, a few at a time, off the way of what runs.

One that is open is never touched. A child (``<parent>/<step>``) goes no earlier than what it belongs to has ended.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from treadle.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Container, Mapping, Sequence

    from treadle.drivers.local.clock import Clock
    from treadle.settings import Settings
    from treadle.store.protocol import Listed, Store

_logger = logging.getLogger("treadle.engine")

_BATCH: Final = 50
"""Executions that are removed in one transaction; turns that wait to be written wait for it."""
_ALL: Final = 2**53
_REST: Final = 4
"""So many times as long as a batch took the writer is left to others before the next one."""


class Retention:
    """What is kept for how long.

    Args:
        store: The log.
        residents: Executions that are in memory, or wait to be.
        settings: How often to look.
        clock: The engine's time.
        keep: By status, how many milliseconds after its end an execution is removed; a status that is not there is
            kept for ever.
        doubt: Told when the log could not be written.
    """

    def __init__(
        self,
        store: Store,
        residents: Container[str],
        settings: Settings,
        clock: Clock,
        keep: Mapping[str, int],
        *,
        doubt: Callable[[StoreError], None],
    ) -> None:
        self._store = store
        self._residents = residents
        self._settings = settings
        self._clock = clock
        self._keep = dict(keep)
        self._doubt = doubt
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to remove what is old, if anything is to be."""
        if self._keep:
            self._task = asyncio.create_task(self._run(), name="treadle-retention")

    async def stop(self) -> None:
        """Remove nothing more. Safe before ``start`` and twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        while True:
            try:
                removed = await self.sweep(self._keep, rest=_REST)
            except StoreError as error:
                _logger.warning("old executions could not be removed; it is tried again: %s", error)
            except Exception:
                _logger.exception("old executions could not be removed; it is tried again")
            else:
                if removed:
                    _logger.info("%d old executions were removed", len(removed))
            await asyncio.sleep(self._settings.prune_every_ms / 1000)

    async def sweep(self, keep: Mapping[str, int], *, is_dry: bool = False, rest: float = 0) -> list[str]:
        """Remove what is older than ``keep`` says, and return it, oldest first within each status.

        Args:
            keep: By status, in milliseconds.
            is_dry: Only tell what would be removed.
            rest: How long to wait after each batch, as a multiple of the time it took.

        Raises:
            StoreError: The log cannot be written; what is gone is gone as a whole.
        """
        removed: list[str] = []
        loop = asyncio.get_running_loop()
        now = self._clock.wall_ms()
        for status, kept_ms in keep.items():
            # Without an age everything that has ended is old, also what ended in this very millisecond.
            async for batch in self._old(status, now - kept_ms if kept_ms else _ALL):
                began = loop.time()
                removed += batch if is_dry else await self._remove(batch)
                await asyncio.sleep((loop.time() - began) * rest)
        return removed

    async def _remove(self, batch: Sequence[str]) -> Sequence[str]:
        try:
            return await self._store.remove(batch)
        except StoreError as error:
            self._doubt(error)
            raise

    async def _old(self, status: str, before_ms: int) -> AsyncIterator[list[str]]:
        after = (0, 0)
        while rows := await self._store.ended(status, before_ms, limit=_BATCH, after=after):
            after = (rows[-1].ended_ms or 0, rows[-1].number)
            yield [row.execution_id for row in rows if await self._may_go(row)]

    async def _may_go(self, row: Listed) -> bool:
        name = row.execution_id
        if row.is_open or name in self._residents:
            return False
        at = name.find("/")
        while at > 0:
            above = await self._store.get(name[:at])
            if above is not None and above.is_open:
                return False
            at = name.find("/", at + 1)
        return True
