"""Verbs for many executions: those that a filter shows and that the verb can change, each on its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from treadle.drivers.local.reads import to_rows
from treadle.errors import TreadleError
from treadle.model import BulkResult, ExecutionStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from treadle.model import BulkVerb, ExecutionFilter
    from treadle.store.protocol import Filter, Reader

AT_ONCE: Final = 200
"""So many are asked for together: enough that they share commits, few enough to be in memory."""

CHANGES: Final[dict[BulkVerb, tuple[ExecutionStatus, ...]]] = {
    "pause": (ExecutionStatus.RUNNING,),
    "resume": (ExecutionStatus.PAUSED,),
    "cancel": (ExecutionStatus.PENDING, ExecutionStatus.RUNNING, ExecutionStatus.PAUSED),
    "retry": (ExecutionStatus.FAILED, ExecutionStatus.TIMED_OUT),
}
"""The statuses in which a verb finds something to change."""


async def count(store: Reader, verb: BulkVerb, where: ExecutionFilter) -> BulkResult:
    """Return how many executions a verb would be carried out on."""
    rows = _rows(verb, where)
    return BulkResult(matched=0 if rows is None else await store.count(rows))


async def carry_out(
    store: Reader, verb: BulkVerb, where: ExecutionFilter, act: Callable[[str], Awaitable[bool]]
) -> BulkResult:
    """Carry a verb out on every execution of a filter, newest first; one that fails leaves the others alone.

    Args:
        store: The log.
        verb: Which one.
        where: Which executions.
        act: Carries it out on one, and tells whether it changed anything.

    Raises:
        StoreError: The log cannot be read.
    """
    result, rows = await count(store, verb, where), _rows(verb, where)
    before: int | None = None
    while rows is not None and (page := await store.list(rows, limit=AT_ONCE, before=before)):
        before = page[-1].number
        result = await _all(result, [row.execution_id for row in page], act)
    return result


async def _all(result: BulkResult, names: Iterable[str], act: Callable[[str], Awaitable[bool]]) -> BulkResult:
    failed = dict(result.failed)

    async def one(name: str) -> bool:
        try:
            return await act(name)
        except TreadleError as error:
            failed[name] = str(error)
            return False

    changed = sum(await asyncio.gather(*(one(name) for name in names)))
    return msgspec.structs.replace(result, changed=result.changed + changed, failed=failed)


def _rows(verb: BulkVerb, where: ExecutionFilter) -> Filter | None:
    """Return the filter with the statuses that the verb can change; None where the filter shows none of those."""
    statuses = tuple(one for one in CHANGES[verb] if not where.statuses or one in where.statuses)
    return to_rows(msgspec.structs.replace(where, statuses=statuses), is_open=verb != "retry") if statuses else None
