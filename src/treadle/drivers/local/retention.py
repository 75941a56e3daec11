"""Removes executions that ended long enough ago: in the background, a few at a time, off the way of what runs.

One that is open is never touched, nor one with a child that is. Children go with what started them: see ``families``.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from treadle.drivers.local.families import Families
from treadle.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Container, Iterable, Iterator, Mapping, Sequence

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
        self._families = Families(store, residents)
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
        sweep = _Sweep(self._families, None if is_dry else self._remove, rest)
        now = self._clock.wall_ms()
        while True:
            before = len(sweep.gone)
            sweep.is_held = False
            for status, kept_ms in keep.items():
                # Without an age everything that has ended is old, also what ended in this very millisecond.
                before_ms = now - kept_ms if kept_ms else _ALL
                async for rows in self._old(status, before_ms):
                    await sweep.look_at(rows, before_ms)
            if not sweep.is_held or len(sweep.gone) == before:
                return list(sweep.gone)

    async def _remove(self, names: Sequence[str]) -> Sequence[str]:
        try:
            return await self._store.remove(names)
        except StoreError as error:
            self._doubt(error)
            raise

    async def _old(self, status: str, before_ms: int) -> AsyncIterator[Sequence[Listed]]:
        after = (0, 0)
        while rows := await self._store.ended(status, before_ms, limit=_BATCH, after=after):
            after = (rows[-1].ended_ms or 0, rows[-1].number)
            yield rows


class _Sweep:
    """One look through what is old.

    Args:
        families: Of the log.
        remove: Removes executions; None for a sweep that only tells.
        rest: As of ``Retention.sweep``.

    Attributes:
        gone: What was removed, in order.
        is_held: Something waits for what it is named below, which may go in this very sweep.
    """

    def __init__(
        self, families: Families, remove: Callable[[Sequence[str]], Awaitable[Sequence[str]]] | None, rest: float
    ) -> None:
        self.gone: dict[str, None] = {}
        self.is_held = False
        self._families = families
        self._remove = remove
        self._rest = rest

    async def look_at(self, rows: Sequence[Listed], before_ms: int) -> None:
        """Remove the families of which these are the first, if they may go."""
        found: list[list[str]] = []
        for row in rows:
            if row.execution_id in self.gone:
                continue
            if await self._families.is_held(row.execution_id, self.gone):
                self.is_held = True
            elif family := await self._families.of(row, before_ms):
                found.append(family)
        for batch in _batches(found):
            await self._let_go(batch)

    async def _let_go(self, batch: Sequence[tuple[list[str], list[str]]]) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        # Looked at again, with nothing between this and the removal: somebody may have gone on with one of them.
        names = [name for part, family in batch if self._families.is_at_rest(family) for name in part]
        self.gone.update(dict.fromkeys(names if self._remove is None else await self._remove(names)))
        await asyncio.sleep((loop.time() - began) * self._rest)


def _batches(families: Iterable[list[str]]) -> Iterator[list[tuple[list[str], list[str]]]]:
    """Yield families in batches, each as what goes now of it and all of it; a large one goes in parts."""
    batch: list[tuple[list[str], list[str]]] = []
    size = 0
    for family in families:
        for start in range(0, len(family), _BATCH):
            part = family[start : start + _BATCH]
            if batch and size + len(part) > _BATCH:
                yield batch
                batch, size = [], 0
            batch.append((part, family))
            size += len(part)
    if batch:
        yield batch
