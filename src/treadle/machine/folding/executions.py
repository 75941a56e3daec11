"""The execution as a whole: its status, its clock, its input, how it is about to end."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, Final

from treadle.errors import ReplayError
from treadle.machine import events as e
from treadle.machine.folding.connections import find_step, reach
from treadle.machine.scope import STOPPED, Ending
from treadle.machine.state import EXECUTION_TIMEOUT
from treadle.machine.transitions import EXECUTION_MOVES, READY
from treadle.model import ExecutionStatus, StepError
from treadle.values import decode_payload, encode_decoded

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.machine.scope import Scope
    from treadle.machine.state import State


def begin_ending(scope: Scope, ending: Ending) -> None:
    """Let nothing new start in a scope and in the bodies within it."""
    scope.ending = ending
    for body in scope.bodies():
        body.ending = STOPPED


def cancel_error(reason: str) -> StepError:
    """Return what a cancelled execution shows as its error."""
    return StepError(type="Cancelled", message=reason or "cancelled on request")


def _execution_created(state: State, event: e.ExecutionCreated) -> None:
    if event.definition_hash != state.plan.definition_hash:
        raise ReplayError("the log belongs to another definition", event.execution_id)
    state.execution_id = event.execution_id
    state.workflow_id = event.workflow_id
    state.definition_hash = event.definition_hash
    state.input = state.original_input = event.input
    state.input_value = decode_payload(event.input)
    state.priority = event.priority
    state.tags = event.tags
    state.parent, state.parent_step, state.depth = event.parent, event.parent_step, event.depth
    state.is_awaited = event.is_awaited
    state.forked_from, state.forked_step = event.forked_from, event.forked_step
    state.key = event.key
    state.start_at = event.start_at
    state.queued = event.queued
    state.supersedes = event.supersedes
    state.created_at = event.at


def _steps_kept(state: State, event: e.StepsKept) -> None:
    state.kept_steps = {one.step: one for one in event.steps}


def _execution_released(state: State, _event: e.ExecutionReleased) -> None:
    state.queued = False


def _execution_started(state: State, event: e.ExecutionStarted) -> None:
    _move_execution(state, ExecutionStatus.RUNNING)
    state.started_at = event.at
    timeout = state.plan.workflow.timeout_ms
    if timeout is not None:
        heapq.heappush(state.timers, (event.at + timeout, EXECUTION_TIMEOUT, "", 0))
    for index in state.plan.entries:
        reach(state, state.root, state.plan.nodes[index])


def _execution_paused(state: State, event: e.ExecutionPaused) -> None:
    is_taken_over = state.paused_at is not None and state.asks and not event.waiting_for
    if not is_taken_over:
        _move_execution(state, ExecutionStatus.PAUSED)
        state.paused_at = event.at
    state.asks = bool(event.waiting_for)
    _remember(state, event.request)


def _execution_resumed(state: State, event: e.ExecutionResumed) -> None:
    was_paused = state.paused_at is not None
    unpause(state, event.at)
    if event.inputs is not e.ABSENT:
        state.input_value = {**state.input_value, **decode_payload(event.inputs)}
        state.input = encode_decoded(state.input_value)
    if not event.by_itself:
        _ask_again(state)
    if was_paused:  # what was ready then had lost its place in the line
        state.fresh = list(state.ready)
    _remember(state, event.request)


def unpause(state: State, at: int) -> None:
    """Let an execution that is PAUSED run; its own clock goes on."""
    if state.paused_at is not None:
        _move_execution(state, ExecutionStatus.RUNNING)
        state.paused_ms += at - state.paused_at
        state.paused_at = None


def _ask_again(state: State) -> None:
    """Let steps that ask look for their inputs again; children are told to go on as well."""
    for step in state.asking:
        scope, node = find_step(state, step)
        scope.move(node.index, READY)
        state.make_ready(step, node)
    state.asking = {}
    state.resting = {}


def _request_noted(state: State, event: e.RequestNoted) -> None:
    _remember(state, event.request)


def _remember(state: State, request: str) -> None:
    if request:
        state.requests.add(request)


def _execution_halted(state: State, event: e.ExecutionHalted) -> None:
    begin_ending(state.root, Ending(ExecutionStatus.FAILED, event.error))
    state.undoes = True


def _cancel_requested(state: State, event: e.CancelRequested) -> None:
    begin_ending(state.root, Ending(ExecutionStatus.CANCELLED, cancel_error(event.reason)))
    state.undoes = event.compensates
    _remember(state, event.request)


def _deadline_passed(state: State, event: e.DeadlinePassed) -> None:
    state.deadline_passed = True
    if state.root.ending is None:
        begin_ending(state.root, Ending(ExecutionStatus.TIMED_OUT, event.error))
        state.undoes = True


def _execution_completed(state: State, event: e.ExecutionCompleted) -> None:
    _end(state, ExecutionStatus.COMPLETED, event.at)
    state.output = None if event.output is e.ABSENT else event.output


def _execution_failed(state: State, event: e.ExecutionFailed) -> None:
    _end(state, ExecutionStatus.FAILED, event.at)
    state.error = event.error


def _execution_cancelled(state: State, event: e.ExecutionCancelled) -> None:
    _end(state, ExecutionStatus.CANCELLED, event.at)
    state.error = event.error


def _execution_timed_out(state: State, event: e.ExecutionTimedOut) -> None:
    _end(state, ExecutionStatus.TIMED_OUT, event.at)
    state.error = event.error


def _end(state: State, status: ExecutionStatus, at: int) -> None:
    _move_execution(state, status)
    state.ended_at = at
    state.root.ending = None
    state.timers.clear()
    state.wall_timers.clear()


def _move_execution(state: State, status: ExecutionStatus) -> None:
    if status not in EXECUTION_MOVES[state.status]:
        raise ReplayError(f"it cannot go from {state.status.value} to {status.value}", state.execution_id)
    state.status = status


APPLY: Final[dict[type[e.Event], Callable[[State, Any], None]]] = {
    e.ExecutionCreated: _execution_created,
    e.ExecutionReleased: _execution_released,
    e.StepsKept: _steps_kept,
    e.ExecutionStarted: _execution_started,
    e.ExecutionPaused: _execution_paused,
    e.ExecutionResumed: _execution_resumed,
    e.RequestNoted: _request_noted,
    e.ExecutionHalted: _execution_halted,
    e.CancelRequested: _cancel_requested,
    e.DeadlinePassed: _deadline_passed,
    e.ExecutionCompleted: _execution_completed,
    e.ExecutionFailed: _execution_failed,
    e.ExecutionCancelled: _execution_cancelled,
    e.ExecutionTimedOut: _execution_timed_out,
}
"""One function for each event. ``Any``: the table pairs each class with the function that takes it."""
