"""A store that is part of virtual time: however long it really takes, no time passes while it writes or reads."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from treadle.store.protocol import (
    EVERYTHING,
    Appended,
    Filter,
    Listed,
    Mail,
    Posted,
    ScheduleRow,
    StoredTurn,
    Turn,
    Version,
)

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from treadle.store.protocol import Store

_T = TypeVar("_T")


class BlockingStore:
    """A store on an ordinary event loop in a thread of its own; see ``protocol.Store`` for what each method promises.

    Each call blocks the virtual loop until it is done, so that turns do not depend on the speed of a disk.

    Args:
        inner: What really keeps the turns.
    """

    path = ""
    """None: an engine looks for commands of other processes beside a path, again and again, in real time."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self._running: tuple[asyncio.AbstractEventLoop, threading.Thread] | None = None

    def _do(self, work: Coroutine[Any, Any, _T]) -> _T:
        if self._running is None:
            loop = asyncio.new_event_loop()
            thread = threading.Thread(target=loop.run_forever, name="treadle-rehearsal-store", daemon=True)
            thread.start()
            self._running = loop, thread
        return asyncio.run_coroutine_threadsafe(work, self._running[0]).result()

    async def open(self) -> None:
        """Make ready."""
        self._do(self._inner.open())

    async def append(self, turns: Sequence[Turn]) -> Sequence[Appended]:
        """Write turns."""
        return self._do(self._inner.append(turns))

    async def register(self, versions: Sequence[tuple[Version, bytes]]) -> Sequence[Version]:
        """Write versions."""
        return self._do(self._inner.register(versions))

    async def remove(self, execution_ids: Sequence[str]) -> Sequence[str]:
        """Remove ended executions."""
        return self._do(self._inner.remove(execution_ids))

    async def post(self, mails: Sequence[Mail]) -> Sequence[Posted]:
        """Write events of the mail."""
        return self._do(self._inner.post(mails))

    async def settle(self, event_ids: Sequence[str]) -> None:
        """Note that events of the mail have no addressees."""
        self._do(self._inner.settle(event_ids))

    async def forget(self, before_ms: int) -> int:
        """Remove old mail."""
        return self._do(self._inner.forget(before_ms))

    async def unanswered(self, after: int = 0, limit: int = 100) -> Sequence[Posted]:
        """Return the mail that still has addressees."""
        return self._do(self._inner.unanswered(after, limit))

    async def kept(self, name: str = "", key: str = "", after: int = 0, limit: int = 100) -> Sequence[Mail]:
        """Return the mail that nobody has taken and somebody awaits."""
        return self._do(self._inner.kept(name, key, after, limit))

    async def waiting(self, name: str, key: str) -> Sequence[str]:
        """Return the executions that await such an event."""
        return self._do(self._inner.waiting(name, key))

    async def reopen(self) -> None:
        """Read again what is true."""
        self._do(self._inner.reopen())

    async def read(self, execution_id: str, after: int = 0) -> Sequence[StoredTurn]:
        """Return turns of one execution."""
        return self._do(self._inner.read(execution_id, after))

    async def read_after(self, cursor: int, limit: int = 1_000) -> Sequence[StoredTurn]:
        """Return turns in commit order."""
        return self._do(self._inner.read_after(cursor, limit))

    async def head(self) -> int:
        """Return the last cursor."""
        return self._do(self._inner.head())

    async def definition(self, definition_hash: str) -> bytes | None:
        """Return a definition."""
        return self._do(self._inner.definition(definition_hash))

    async def versions(self, workflow_id: str = "") -> Sequence[Version]:
        """Return registered versions."""
        return self._do(self._inner.versions(workflow_id))

    async def get(self, execution_id: str) -> Listed | None:
        """Return one index row."""
        return self._do(self._inner.get(execution_id))

    async def ended(
        self, status: str, before_ms: int, *, limit: int = 100, after: tuple[int, int] = (0, 0)
    ) -> Sequence[Listed]:
        """Return executions that ended."""
        return self._do(self._inner.ended(status, before_ms, limit=limit, after=after))

    async def list(
        self, where: Filter = EVERYTHING, *, limit: int = 100, before: int | None = None
    ) -> Sequence[Listed]:
        """Return index rows."""
        return self._do(self._inner.list(where, limit=limit, before=before))

    async def count(self, where: Filter = EVERYTHING) -> int:
        """Return how many executions pass a filter."""
        return self._do(self._inner.count(where))

    async def line(self, workflow_id: str, key: str, *, limit: int | None = None) -> Sequence[Listed]:
        """Return the open executions that have a key."""
        return self._do(self._inner.line(workflow_id, key, limit=limit))

    async def schedules(self, schedule_id: str | None = None) -> Sequence[ScheduleRow]:
        """Return one schedule, or all."""
        return self._do(self._inner.schedules(schedule_id))

    async def put_schedules(self, rows: Sequence[ScheduleRow], removed: Sequence[str] = ()) -> None:
        """Keep and remove schedules."""
        self._do(self._inner.put_schedules(rows, removed))

    async def close(self) -> None:
        """Close the store. Safe twice."""
        self.shut()

    def reborn(self) -> BlockingStore:
        """Return the same store as the next process finds it. This one takes nothing more."""
        self.shut()
        return BlockingStore(self._inner)

    def shut(self) -> None:
        """Close the store and end its thread; from code without an event loop. Safe twice."""
        self._do(self._inner.close())
        assert self._running is not None
        (loop, thread), self._running = self._running, None
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
