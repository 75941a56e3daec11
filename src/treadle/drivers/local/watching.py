"""Committed events as one sequence that can be resumed: from the store what is past, from the feed what comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from treadle.errors import NotFoundError
from treadle.machine import describe_events

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

    from treadle.feed import Source
    from treadle.model import HistoryEvent
    from treadle.store.protocol import Reader, StoredTurn

LAST_KINDS = frozenset({"ExecutionCompleted", "ExecutionFailed", "ExecutionCancelled", "ExecutionTimedOut"})


async def watch_events(
    store: Reader, source: Source, execution_id: str | None, after: int | None
) -> AsyncIterator[HistoryEvent]:
    """Give events behind the cursor ``after``; without one, from the start for one execution and from now for all.

    Raises:
        NotFoundError: No such execution.
    """
    if execution_id is not None and await store.get(execution_id) is None:
        raise NotFoundError("execution", execution_id)
    cursor = after if after is not None else 0 if execution_id is not None else await store.head()
    while True:
        subscription = source.subscribe(execution_id)
        try:
            async for event in _past(store, execution_id, cursor):
                cursor = event.cursor
                yield event
                if execution_id is not None and event.kind in LAST_KINDS:
                    return
            while not subscription.is_behind:
                turns: Iterable[Any] = await subscription.next()
                for event in _events(turns, cursor):
                    cursor = event.cursor
                    yield event
                    if execution_id is not None and event.kind in LAST_KINDS:
                        return
                if subscription.is_closed:
                    return
        finally:
            subscription.close()


async def _past(store: Reader, execution_id: str | None, cursor: int) -> AsyncIterator[HistoryEvent]:
    """Give what is committed behind ``cursor``; of all executions page by page, however long the log is."""
    if execution_id is not None:
        for event in _events(await store.read(execution_id), cursor):
            yield event
        return
    while turns := await store.read_after(cursor):
        for event in _events(turns, cursor):
            yield event
        cursor = turns[-1].cursor


def describe(turn: StoredTurn) -> Sequence[HistoryEvent]:
    """Return the events of one committed turn."""
    return describe_events(turn.events, execution_id=turn.execution_id, sequence=turn.sequence, cursor=turn.cursor)


def _events(turns: Iterable[Any], after: int) -> Iterator[HistoryEvent]:
    for turn in turns:
        yield from (event for event in describe(turn) if event.cursor > after)
