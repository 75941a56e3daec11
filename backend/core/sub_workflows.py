"""A step that runs another workflow: the service ``workflow``.

The child is an execution of its own, started like any other; the step asks the state manager until it has ended. While
it waits the step lends its slot to others, or an engine with one slot would wait for itself. A step whose process was
killed goes on waiting for the child that it had started.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from core.bodies import lent_slot
from core.callers import CALLER, CREATES
from core.outcomes import error_text
from core.ports import settled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from core.callers import Caller
    from core.clock import Clock
    from core.workflow_graph import WorkflowData

SERVICE: Final = "workflow"

MAX_DEPTH: Final = 32
"""Workflows within workflows: one that runs itself ends here."""

MAX_FAILED_POLLS: Final = 10
"""In a row: an outage of some seconds is waited out. One that lasts ends the step, and it is not tried again: the child
may go on, and another one would do everything twice."""

_DEFAULT_TIMEOUT: Final = 300.0
_FIRST_POLL: Final = 0.02
_LAST_POLL: Final = 1.0

_OUTCOMES: Final = {
    "COMPLETED": "success",
    "PARTIAL": "success",
    "FAILED": "error",
    "CANCELLED": "cancelled",
    "PAUSED": "paused",
}
"""What the child's status means to the step; every other one is waited on. A child that did not take each of its
branches ends PARTIAL, as one that passed over a failure because it was told to."""

_depth: ContextVar[int] = ContextVar("_depth", default=0)


class SubWorkflows:
    """Runs workflows as steps.

    Args:
        load: Returns the workflow of an id; None where there is none.
        start: Starts a workflow with an input and returns the execution's id.
        read_state: Returns the state of an execution; None where there is none.
        begun_before: Returns the child that an earlier attempt of the step that calls has started; None for none.
        children: Which children each execution waits for, by its id; kept here.
        clock: The engine's time.
    """

    def __init__(
        self,
        *,
        load: Callable[[str], WorkflowData | None],
        start: Callable[[WorkflowData, dict[str, Any]], Awaitable[str]],
        read_state: Callable[[str], Any],
        begun_before: Callable[[Caller | None, str], Awaitable[str | None]],
        children: dict[str, set[str]],
        clock: Clock,
    ) -> None:
        self._begun_before = begun_before
        self._children = children
        self._load = load
        self._start = start
        self._read_state = read_state
        self._clock = clock

    async def run(self, action: str, params: dict[str, Any]) -> dict[str, Any]:
        """Run a workflow to its end.

        Args:
            action: Handed through.
            params: ``workflow_id``; ``input_data`` of the child; ``timeout`` in seconds, after which the step no longer
                waits, while the child goes on.

        Returns:
            ``action workflow_id execution_id status``: with status ``success`` also ``result``, the child's outputs;
            with ``error`` and ``timeout`` also ``error``, a text; ``cancelled`` and ``paused`` are the child's. Without
            a child ``execution_id`` is None.
        """
        workflow_id = params.get("workflow_id")
        answer = {"action": action, "workflow_id": workflow_id, "execution_id": None, "status": "error"}
        if not workflow_id:
            return answer | {"error": "workflow_id is required"}
        workflow = await settled(self._load(workflow_id))
        if workflow is None:
            return answer | {"error": f"Workflow {workflow_id} not found"}
        timeout = _seconds(params.get("timeout"))
        if timeout is None:
            return answer | {"error": f"timeout must be a number of seconds, not {params['timeout']!r}"}
        if _depth.get() >= MAX_DEPTH:
            return answer | {"error": f"Workflow {workflow_id}: workflows run each other more than {MAX_DEPTH} deep"}
        caller = CALLER.get()
        child = await self._begun_before(caller, workflow_id)
        if child is None:
            try:
                child = await self._begin(caller, workflow, params.get("input_data") or {})
            except Exception as error:  # noqa: BLE001 - it may have begun: the step is not tried again
                return answer | {"error": f"Workflow {workflow_id} could not be started: {error_text(error)}"}
        answer["execution_id"] = child
        children = set() if caller is None else self._children.setdefault(caller.execution_id, set())
        children.add(child)
        try:
            async with lent_slot():
                return answer | await self._outcome(child, timeout)
        finally:
            children.discard(child)

    async def _begin(self, caller: Caller | None, workflow: WorkflowData, given: dict[str, Any]) -> str:
        depth, creates = _depth.set(_depth.get() + 1), CREATES.set(caller)
        try:
            return await self._start(workflow, given)
        finally:
            CREATES.reset(creates)
            _depth.reset(depth)

    async def _outcome(self, child: str, timeout_seconds: float) -> dict[str, Any]:
        begun = self._clock.now()
        waited, wait = 0.0, _FIRST_POLL
        failures: list[Exception] = []
        while True:
            try:
                state = await settled(self._read_state(child))
            except Exception as error:  # noqa: BLE001 - the child goes on meanwhile
                failures.append(error)
            else:
                failures.clear()
                if state is None:
                    return {"status": "error", "error": f"Execution {child} not found"}
                outcome = _OUTCOMES.get(state.get("status"))
                if outcome is not None:
                    return _told(outcome, child, state)
            if len(failures) == MAX_FAILED_POLLS:
                return {"status": "error", "error": f"Execution {child} cannot be read: {error_text(failures[0])}"}
            # A clock that does not wait (tests have such) is not asked for ever.
            left = timeout_seconds - max(waited, self._clock.now() - begun)
            if left <= 0:
                return {"status": "timeout", "error": f"Execution {child} took longer than {timeout_seconds:g} seconds"}
            wait = min(wait, left)
            await self._clock.sleep(wait)
            waited += wait
            wait = min(wait * 2, _LAST_POLL)


def _seconds(timeout: Any) -> float | None:  # noqa: ANN401 - it may be anything
    """Return a timeout in seconds; None where it is none."""
    if timeout is None:
        return _DEFAULT_TIMEOUT
    try:
        return float(timeout)
    except (TypeError, ValueError):
        return None


def _told(outcome: str, child: str, state: dict[str, Any]) -> dict[str, Any]:
    if outcome == "success":
        return {"status": outcome, "result": state.get("outputs") or {}}
    if outcome == "error":
        return {"status": outcome, "error": str(state.get("error") or f"Execution {child} is {state['status']}")}
    return {"status": outcome}
