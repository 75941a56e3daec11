"""The reading side of an engine: one execution, lists, history, and a live sequence of events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.arguments import check_number, check_text, check_version, check_where, check_workflow_id
from treadle.errors import NotFoundError, ValidationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from treadle.drivers.protocol import Reads
    from treadle.model import (
        ExecutionFilter,
        ExecutionState,
        ExecutionStatus,
        ExecutionSummary,
        Explanation,
        HistoryEvent,
        JsonValue,
        Workflow,
        WorkflowVersion,
    )
    from treadle.schedules import Schedule


class StateManager:
    """Reads what is committed; changes nothing.

    Args:
        reads: A driver, or what reads a file beside one.
    """

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def get_execution_state(self, execution_id: str) -> ExecutionState:
        """Return the state of one execution.

        Raises:
            NotFoundError: No such execution.
        """
        return await self._reads.state(execution_id)

    async def explain(self, execution_id: str, step: str | None = None) -> Explanation:
        """Return why an execution, or one of its steps, does not go on.

        The engine that runs it says also who holds the slots, and which actions nobody registered; a process beside it
        says what is in the log.

        Raises:
            NotFoundError: No such execution, or step.
        """
        return await self._reads.explain(execution_id, "" if step is None else check_text(step, "a step"))

    async def list_workflows(self) -> list[WorkflowVersion]:
        """Return the registered workflows by id, each in the version registered last."""
        newest: dict[str, WorkflowVersion] = {}
        for one in await self._reads.versions():
            newest.setdefault(one.workflow_id, one)
        return list(newest.values())

    async def list_versions(self, workflow_id: str) -> list[WorkflowVersion]:
        """Return the registered versions of one workflow, the last registered first; empty if it is unknown."""
        return await self._reads.versions(check_workflow_id(workflow_id))

    async def get_workflow(self, workflow_id: str, version: str | int | None = None) -> Workflow:
        """Return a registered workflow: the version registered last, or the one that ``version`` means.

        Args:
            workflow_id: Id of the workflow.
            version: As in ``WorkflowRef``.

        Raises:
            NotFoundError: No such workflow is registered, or no such version of it.
        """
        return await self._reads.registered(check_workflow_id(workflow_id), check_version(version))

    async def get_execution_workflow(self, execution_id: str) -> Workflow:
        """Return the workflow that an execution runs: the one it began with.

        Raises:
            NotFoundError: No such execution.
        """
        return await self._reads.workflow(execution_id)

    async def list_executions(
        self,
        where: ExecutionFilter | Mapping[str, object] | None = None,
        *,
        statuses: Sequence[ExecutionStatus] = (),
        workflow_id: str = "",
        tags: Mapping[str, str] | None = None,
        limit: int = 100,
        before: int | None = None,
    ) -> tuple[list[ExecutionSummary], int | None]:
        """Return executions, newest first, and what to pass as ``before`` for the next page (None: no more).

        Args:
            where: What they have in common: an ``ExecutionFilter``, or a dict of its fields; None for all.
            statuses: Of these, instead of ``where``. So with ``workflow_id`` and ``tags``.
            workflow_id: Of this workflow.
            tags: With these.
            limit: At most so many.
            before: What the page before said.

        Raises:
            ValidationError: A filter is of the wrong kind.
        """
        given = {"statuses": statuses, "workflow_id": workflow_id, "tags": tags}
        if where is not None and any(given.values()):
            raise ValidationError("statuses, workflow_id and tags are said in where, or without it")
        return await self._reads.list_executions(
            check_where(given if where is None else where),
            limit=check_number(limit, "limit", least=1),
            before=None if before is None else check_number(before, "before", least=0),
        )

    async def list_schedules(self) -> list[Schedule]:
        """Return all schedules, in order of their ids."""
        return await self._reads.list_schedules()

    async def get_schedule(self, schedule_id: str) -> Schedule:
        """Return one schedule.

        Raises:
            NotFoundError: No such schedule.
        """
        found = await self._reads.list_schedules(schedule_id)
        if not found:
            raise NotFoundError("schedule", schedule_id)
        return found[0]

    async def export_execution(self, execution_id: str) -> dict[str, JsonValue]:
        """Return all that is recorded of one execution, with its workflow, as one JSON document.

        ``WorkflowEngine.import_execution`` takes it, and checks every turn, however it was written as JSON in between.
        Secrets are in it by name only.

        Raises:
            NotFoundError: No such execution.
            QuarantineError: Its log is damaged.
        """
        return await self._reads.export(execution_id)

    async def count_executions(self, where: ExecutionFilter | Mapping[str, object] | None = None) -> int:
        """Return how many executions ``list_executions`` would show in all.

        Raises:
            ValidationError: A filter is of the wrong kind.
        """
        return await self._reads.count_executions(check_where(where))

    async def history(self, execution_id: str) -> Sequence[HistoryEvent]:
        """Return every event of one execution, in order.

        Raises:
            NotFoundError: No such execution.
        """
        return await self._reads.history(execution_id)

    def watch(self, execution_id: str | None = None, after: int | None = None) -> AsyncIterator[HistoryEvent]:
        """Give committed events in commit order.

        Args:
            execution_id: Of one execution, until it has ended; None for all, until the engine is closed.
            after: Cursor of the last event seen; None for the start (of one) or for now (of all).

        Raises:
            NotFoundError: No such execution.
            ValidationError: ``after`` is no cursor.
        """
        return self._reads.watch(execution_id, None if after is None else check_number(after, "after", least=0))
