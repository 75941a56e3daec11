"""Committed events as one sequence that can be resumed: from the store what is past, from the feed what comes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from treadle.errors import NotFoundError
from treadle.machine import describe_events

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from treadle.feed import Source
    from treadle.model import HistoryEvent
    from treadle.store.protocol import Reader, StoredTurn

_logger = logging.getLogger("treadle.engine")

LAST_KINDS = frozenset({"ExecutionCompleted", "ExecutionFailed", "ExecutionCancelled", "ExecutionTimedOut"})


async def watch_events(
    store: Reader, source: Source, execution_id: str | None, after: int | None
) -> AsyncIterator[HistoryEvent]:
    """Give events behind the cursor ``after``; without one, from the start for one execution and from now for all.

    Raises:
        NotFoundError: No such execution.
        QuarantineError: The log of the execution is damaged.
    """
    if execution_id is None:
        past: _Past | _PastOfOne = _Past(store, await store.head() if after is None else after)
    elif await store.get(execution_id) is None:
        raise NotFoundError("execution", execution_id)
    else:
        past = _PastOfOne(store, execution_id, after or 0)
    while True:
        subscription = source.subscribe(execution_id)
        try:
            async for event in past.read():
                yield event
            while not (past.has_ended or subscription.is_behind):
                for turn in await subscription.next():
                    for event in past.take(turn):
                        yield event
                if subscription.is_closed:
                    return
            if past.has_ended:
                return
        finally:
            subscription.close()


class _Past:
    """How far a watcher of all executions has come.

    Attributes:
        has_ended: Nothing more will come.
    """

    def __init__(self, store: Reader, cursor: int) -> None:
        self.has_ended = False
        self._store = store
        self._cursor = cursor

    async def read(self) -> AsyncIterator[HistoryEvent]:
        """Give what is committed and was not given yet, page by page, however long the log is."""
        while turns := await self._store.read_after(self._cursor):
            for turn in turns:
                for event in self.take(turn):
                    yield event
            self._cursor = turns[-1].cursor

    def take(self, turn: Any) -> Iterator[HistoryEvent]:  # noqa: ANN401 - a turn of the store or of the feed
        """Give the events of a turn that were not given yet; of a damaged one none, so that the others come."""
        try:
            events = describe(turn)
        except Exception as error:  # noqa: BLE001 - damaged bytes may fail in any way
            _logger.error("turn %d of %r cannot be shown: %s", turn.sequence, turn.execution_id, error)  # noqa: TRY400
            return
        for event in events:
            if event.cursor > self._cursor:
                self._cursor = event.cursor
                self._see(event)
                yield event

    def _see(self, event: HistoryEvent) -> None:
        """Note what a given event says."""


class _PastOfOne(_Past):
    """How far a watcher of one execution has come; its turns are read once."""

    def __init__(self, store: Reader, execution_id: str, cursor: int) -> None:
        super().__init__(store, cursor)
        self._execution_id = execution_id
        self._sequence = 0

    async def read(self) -> AsyncIterator[HistoryEvent]:
        """Give what is committed and was not given yet."""
        turns = await self._store.read(self._execution_id, after=self._sequence)
        for turn in turns:
            self._sequence = turn.sequence
            for event in self.take(turn):
                yield event
        if not turns and await self._store.get(self._execution_id) is None:
            self.has_ended = True  # and was removed
        if turns:  # also where its last event was seen before, by a reader who comes back with a cursor
            self.has_ended = describe(turns[-1])[-1].kind in LAST_KINDS

    def _see(self, event: HistoryEvent) -> None:
        self._sequence = event.sequence - 1  # the turn may hold more than was taken so far
        self.has_ended = event.kind in LAST_KINDS


def describe(turn: StoredTurn) -> Sequence[HistoryEvent]:
    """Return the events of one committed turn."""
    return describe_events(turn.events, execution_id=turn.execution_id, sequence=turn.sequence, cursor=turn.cursor)
