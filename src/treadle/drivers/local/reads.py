"""The reading side: what is committed, from the log alone. An engine uses it, and so does a process beside one."""

from __future__ import annotations

import logging
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from treadle.drivers.local import transfer
from treadle.drivers.local.catalog import Catalog
from treadle.drivers.local.entries import read_entry
from treadle.drivers.local.recovery import Plans, load
from treadle.drivers.local.watching import describe, watch_events
from treadle.errors import NotFoundError, QuarantineError, TreadleError
from treadle.machine import snapshot
from treadle.machine.explain import explain
from treadle.model import ExecutionStatus, ExecutionSummary, Explanation, Reason
from treadle.schedules import view
from treadle.store.protocol import Filter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from treadle.feed import Source
    from treadle.model import ExecutionFilter, ExecutionState, HistoryEvent, JsonValue, Workflow, WorkflowVersion
    from treadle.schedules import Schedule
    from treadle.store.protocol import Listed, Reader

_logger = logging.getLogger("treadle.engine")


class LogReads:
    """See ``drivers.protocol.Reads`` for what each method promises.

    Args:
        store: The log.
        source: Says when the log has grown.
        plans: Compiled definitions, shared with whoever runs them; None for its own.

    Attributes:
        catalog: The registered workflows.
    """

    def __init__(self, store: Reader, source: Source, plans: Plans | None = None) -> None:
        self._store = store
        self._source = source
        self._plans = plans or Plans(store)
        self.catalog = Catalog(store, self._plans)

    async def state(self, execution_id: str) -> ExecutionState:
        """Return what is committed of one execution."""
        found = await load(self._store, self._plans, execution_id)
        if found is None:
            raise NotFoundError("execution", execution_id)
        return snapshot(found.state)

    async def explain(self, execution_id: str, step: str) -> Explanation:
        """Return what the log says of why an execution does not go on."""
        try:
            found = await load(self._store, self._plans, execution_id)
        except QuarantineError as error:
            return Explanation(Reason.QUARANTINED, str(error), what_to_do=_RESTORE)
        if found is None:
            raise NotFoundError("execution", execution_id)
        return explain(found.state, step)

    async def workflow(self, execution_id: str) -> Workflow:
        """Return the definition of one execution."""
        row = await self._store.get(execution_id)
        if row is None:
            raise NotFoundError("execution", execution_id)
        return (await self._plans.read(row.definition_hash, execution_id)).workflow

    async def export(self, execution_id: str) -> dict[str, JsonValue]:
        """Return one execution as a document."""
        return await transfer.export(self._store, self._plans, execution_id)

    async def versions(self, workflow_id: str = "") -> list[WorkflowVersion]:
        """Return registered versions."""
        return await self.catalog.versions(workflow_id)

    async def registered(self, workflow_id: str, version: str | None) -> Workflow:
        """Return a registered workflow."""
        return (await self.catalog.plan(workflow_id, version)).workflow

    async def list_executions(
        self, where: ExecutionFilter, *, limit: int = 100, before: int | None = None
    ) -> tuple[list[ExecutionSummary], int | None]:
        """Return a page."""
        rows = await self._store.list(to_rows(where), limit=limit, before=before)
        page = [summary for row in rows if (summary := await self._summary(row)) is not None]
        return page, (rows[-1].number if len(rows) == limit else None)

    async def count_executions(self, where: ExecutionFilter) -> int:
        """Return how many pass a filter."""
        return await self._store.count(to_rows(where))

    async def _summary(self, row: Listed) -> ExecutionSummary | None:
        """Return a row as readers see it; of a damaged one what its log says, None if that is damaged too."""
        if not row.damage and row.status in _STATUSES:
            return _summary(row)
        try:
            state = await self.state(row.execution_id)
        except TreadleError as error:
            _logger.warning("execution %r is not listed: %s", row.execution_id, error)
            return None
        return ExecutionSummary(
            execution_id=state.execution_id,
            workflow_id=state.workflow_id,
            definition_hash=state.definition_hash,
            status=state.status,
            tags=state.tags,
            created_at=state.created_at,
            ended_at=state.ended_at,
            key=state.key,
        )

    async def list_schedules(self, schedule_id: str | None = None) -> list[Schedule]:
        """Return one schedule, or all."""
        found = []
        for row in await self._store.schedules(schedule_id):
            try:
                entry = read_entry(row)
                found.append(view(entry.id, entry.spec, entry.progress, entry.cron))
            except ValueError as error:
                _logger.warning("schedule %r is not listed: %s", row.schedule_id, error)
        return found

    async def history(self, execution_id: str) -> Sequence[HistoryEvent]:
        """Return all events."""
        turns = await self._store.read(execution_id)
        if not turns:
            raise NotFoundError("execution", execution_id)
        return [event for turn in turns for event in describe(turn)]

    def watch(self, execution_id: str | None, after: int | None) -> AsyncIterator[HistoryEvent]:
        """Give committed events."""
        return watch_events(self._store, self._source, execution_id, after)


_RESTORE: Final = "run treadle doctor, and restore the file from a copy"
_STATUSES: Final = frozenset(one.value for one in ExecutionStatus)


def _summary(row: Listed) -> ExecutionSummary:
    return ExecutionSummary(
        execution_id=row.execution_id,
        workflow_id=row.workflow_id,
        definition_hash=row.definition_hash,
        status=ExecutionStatus(row.status),
        tags=row.tags,
        created_at=datetime.fromtimestamp(row.created_ms / 1000, UTC),
        ended_at=datetime.fromtimestamp(row.ended_ms / 1000, UTC) if row.ended_ms else None,
        key=row.key,
    )


def to_rows(where: ExecutionFilter, *, is_open: bool | None = None) -> Filter:
    """Return a filter as the store has it."""
    return Filter(
        statuses=tuple(one.value for one in where.statuses),
        workflow_id=where.workflow_id,
        tags=where.tags,
        is_open=is_open,
        key=where.key,
        id_prefix=where.id_prefix,
        text=where.search,
        created_from_ms=_milliseconds(where.created_after),
        created_before_ms=_milliseconds(where.created_before),
    )


def _milliseconds(at: datetime | None) -> int | None:
    return None if at is None else math.ceil(at.timestamp() * 1000)
