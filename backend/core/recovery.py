"""Executions that another process left behind, and the workflows to go on with.

Only the application's default state manager leaves some: one that the application brings along keeps its own.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from core.exceptions import ValidationError
from core.execution_state_manager import ExecutionStateManager
from treadle import QuarantineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.callers import Caller
    from core.workflow_graph import WorkflowData

_logger = logging.getLogger(__name__)


def own_manager(manager: object) -> ExecutionStateManager | None:
    """Return the manager if it is the default one or made from it; None for any other, stand-ins included."""
    return manager if issubclass(type(manager), ExecutionStateManager) else None  # type: ignore[return-value]


async def keep_workflow(manager: object, execution_id: str, workflow: WorkflowData) -> None:
    """Keep what an execution runs, where the manager is ours."""
    own = own_manager(manager)
    if own is None:
        return
    try:
        await own.keep_workflow(execution_id, workflow)
    except ValidationError as error:
        _logger.warning("execution %s: a restart will have to find its workflow by id: %s", execution_id, error)


async def begun_before(manager: object, caller: Caller | None, workflow_id: object) -> str | None:
    """Return the execution that an attempt of the step began before it was cut off; None where there is none."""
    own = own_manager(manager)
    if own is None or caller is None or not caller.is_repeated:
        return None
    return await own.created_by(caller, str(workflow_id))


async def left_over(
    manager: object, find: Callable[[Any], WorkflowData | None], *, with_cut_off: bool = False
) -> list[tuple[str, WorkflowData]]:
    """Return the executions to go on with, and what they run. Each is returned once; the oldest comes first.

    What cannot go on is said in the log, once.

    Args:
        manager: The engine's state manager.
        find: Returns the workflow of an id, for an execution that was left before its workflow was kept.
        with_cut_off: Also those whose run ended with its event loop, in this process.

    Raises:
        treadle.StoreError: The store cannot be opened or read; what was not returned comes the next time.
    """
    own = own_manager(manager)
    if own is None:
        return []
    found: list[tuple[str, WorkflowData]] = []
    waiting = await own.take_left_over(with_cut_off=with_cut_off)
    try:
        while waiting:
            workflow = await _workflow_of(own, waiting[0], find)
            execution_id = waiting.pop(0)
            if workflow is not None:
                found.append((execution_id, workflow))
    except BaseException:
        own.give_back([*(execution_id for execution_id, _ in found), *waiting])
        raise
    return found


async def _workflow_of(
    own: ExecutionStateManager, execution_id: str, find: Callable[[Any], WorkflowData | None]
) -> WorkflowData | None:
    """Return what an execution runs; None where it does not go on."""
    try:
        state = await own.get_execution_state(execution_id)
        workflow = await own.kept_workflow(execution_id)
    except QuarantineError as error:
        _logger.error("execution %s cannot go on: %s", execution_id, error)  # noqa: TRY400 - the text says it all
        return None
    if state is None or state["status"] not in {"PENDING", "RUNNING"}:
        return None  # it was paused or ended meanwhile
    workflow = workflow or find(state["workflow_id"])
    if not workflow:
        _logger.error("execution %s cannot go on: nobody knows workflow %r", execution_id, state["workflow_id"])
    return workflow
