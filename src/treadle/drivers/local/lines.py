"""Executions with one key stand in line: at most one of a workflow and a key has begun and not ended.

The log alone says who stands in a line: its open executions, oldest first. Whoever is queued is released when nobody
stands before it, and one that supersedes the others has them cancelled; both are looked at again whenever an execution
of the line comes, ends or is set aside, and when it is taken up from the log, so a crash in between loses nothing. One
that is damaged can never end, so it is passed over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakValueDictionary

from treadle.errors import ConflictError, NotFoundError, QuarantineError, StoreError
from treadle.machine.inputs import CancelExecutionRequested, StartReleased
from treadle.model import OnConflict

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from treadle.drivers.local.resident import Resident
    from treadle.drivers.local.turns import TurnLoop
    from treadle.drivers.protocol import Order
    from treadle.settings import Settings
    from treadle.store.protocol import Listed, Reader

_logger = logging.getLogger("treadle.engine")

_Line: TypeAlias = tuple[str, str]
"""Workflow id and key."""


class Lines:
    """The lines of one log. Lives on one event loop.

    Args:
        store: The log.
        turns: Turns the executions.
        settings: How long to wait before a failing log is read again.
        is_ours: Tells whether this engine goes on with an open execution.
    """

    def __init__(self, store: Reader, turns: TurnLoop, settings: Settings, is_ours: Callable[[str], bool]) -> None:
        self._store = store
        self._turns = turns
        self._settings = settings
        self._is_ours = is_ours
        self._locks: WeakValueDictionary[_Line, asyncio.Lock] = WeakValueDictionary()
        self._moved: set[_Line] = set()
        self._superseding: dict[_Line, set[str]] = {}
        self._tasks: dict[_Line, asyncio.Task[None]] = {}
        self._is_stopped = False

    @contextlib.asynccontextmanager
    async def hold(self, workflow_id: str, key: str) -> AsyncIterator[None]:
        """Let nobody else come into a line meanwhile. Without a key there is none."""
        if not key:
            yield
            return
        lock = self._locks.setdefault((workflow_id, key), asyncio.Lock())
        async with lock:
            yield

    async def first(self, workflow_id: str, key: str) -> Listed | None:
        """Return who stands first in a line; None for nobody, and where there is no key."""
        if not key:
            return None
        damaged = self._turns.residents.quarantined
        rows = await self._store.line(workflow_id, key, limit=len(damaged) + 1)
        return next((row for row in rows if row.execution_id not in damaged), None)

    def note(self, resident: Resident) -> None:
        """Look at the line of an execution: it came, ended, was taken up, or was set aside."""
        state = resident.state
        if not state.key or self._is_stopped:
            return
        line = state.workflow_id, state.key
        if state.queued and state.supersedes and not state.ended_at:
            self._superseding.setdefault(line, set()).add(resident.id)
        self._moved.add(line)
        if line not in self._tasks:
            self._tasks[line] = asyncio.create_task(self._run(line), name="treadle-line")

    async def stop(self) -> None:
        """Look no more. Safe twice."""
        self._is_stopped = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _run(self, line: _Line) -> None:
        """Look at one line until nothing moves in it; a slow one holds no other up."""
        try:
            while line in self._moved:
                self._moved.discard(line)
                await self._try(line)
        finally:
            del self._tasks[line]

    async def _try(self, line: _Line) -> None:
        try:
            await self._look(line)
        except (QuarantineError, NotFoundError):
            self._moved.add(line)  # whoever that is is passed over from now on
        except StoreError as error:
            _logger.warning("the line of key %r cannot be read yet: %s", line[1], error)
            self._moved.add(line)
            await asyncio.sleep(self._settings.store_retry_ms / 1000)

    async def _look(self, line: _Line) -> None:
        async with self.hold(*line):
            superseding = self._superseding.pop(line, set())
            try:
                await self._supersede(line, superseding)
            except BaseException:
                self._superseding.setdefault(line, set()).update(superseding)
                raise
            first = await self.first(*line)
            if first is not None and self._is_ours(first.execution_id):
                await self._release(first.execution_id)

    async def _supersede(self, line: _Line, superseding: set[str]) -> None:
        """Cancel who stands in a line before the last of these."""
        if not superseding:
            return
        names = [row.execution_id for row in await self._store.line(*line)]
        last = max((place for place, name in enumerate(names) if name in superseding), default=0)
        for name in names[:last]:
            if name not in self._turns.residents.quarantined:
                await self._cancel(name, names[last])

    async def _cancel(self, execution_id: str, by: str) -> None:
        resident = await self._turns.residents.loaded(execution_id)
        reason = f"superseded by execution {by!r}, which has the same key"
        at = resident.now_ms()
        request = CancelExecutionRequested(reason=reason, request=f"superseded by {by}", at=at)
        await self._turns.ask(resident, request)

    async def _release(self, execution_id: str) -> None:
        resident = await self._turns.residents.loaded(execution_id)
        if resident.state.queued:
            await self._turns.ask(resident, StartReleased(at=resident.now_ms()))


def existing(order: Order, first: Listed) -> str | None:
    """Return the execution that an order gets instead of a new one, because another has its key; None to queue.

    Raises:
        ConflictError: It wants none then.
    """
    if order.on_conflict is OnConflict.RETURN_EXISTING:
        return first.execution_id
    if order.on_conflict is not OnConflict.REJECT:
        return None
    message = (
        f"execution {first.execution_id!r} of workflow {first.workflow_id!r} has the key {first.key!r} and has not "
        "ended; wait for it, or say what to do with on_conflict"
    )
    raise ConflictError(message, first.execution_id, first.status)
