"""Undoing what completed steps did, one after the other, before an execution ends."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, Final

from treadle.errors import ReplayError
from treadle.machine import events as e
from treadle.machine.folding.connections import find_step
from treadle.machine.folding.executions import unpause
from treadle.machine.state import UNDO, Compensation
from treadle.model import StepStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.machine.state import State


def _compensations_began(state: State, event: e.CompensationsBegan) -> None:
    unpause(state, event.at)  # nobody can resume what is ending
    state.timers.clear()
    state.wall_timers.clear()
    for step in event.steps:
        scope, node = find_step(state, step)
        call = scope.undo(node)
        if call is None:
            raise ReplayError(f"step {step!r} has no compensation", state.execution_id)
        state.compensations[step] = Compensation(call.node.action_name, scope.attempts[node.index])
    _go_on(state)


def _go_on(state: State) -> None:
    """Turn to the next step that is to be undone, if there is one."""
    pending = (step for step, one in state.compensations.items() if one.status is StepStatus.PENDING)
    state.undoing = next(pending, "")
    if state.undoing:
        state.make_ready(state.undoing)


def _compensation_started(state: State, event: e.CompensationStarted) -> None:
    one = _current(state, event.step)
    state.ready.pop(event.step, None)
    state.in_flight[event.step] = one.attempt = event.attempt
    one.status = StepStatus.RUNNING
    one.started_at = one.started_at or event.at
    if event.parameters is not e.ABSENT:
        one.parameters = event.parameters


def _compensation_delayed(state: State, event: e.CompensationDelayed) -> None:
    one = _landed(state, event.step, StepStatus.WAITING)
    one.failures += 1
    one.error = event.error
    heapq.heappush(state.timers, (event.due, UNDO, event.step, event.attempt))


def _compensation_ready(state: State, event: e.CompensationReady) -> None:
    _current(state, event.step).status = StepStatus.PENDING
    state.make_ready(event.step)


def _compensation_interrupted(state: State, event: e.CompensationInterrupted) -> None:
    _landed(state, event.step, StepStatus.PENDING).interruptions += 1
    state.make_ready(event.step)


def _compensation_succeeded(state: State, event: e.CompensationSucceeded) -> None:
    one = _landed(state, event.step, StepStatus.COMPLETED)
    one.output = event.output
    one.error = None
    _end(state, one, event.at)


def _compensation_failed(state: State, event: e.CompensationFailed) -> None:
    one = _landed(state, event.step, StepStatus.TIMED_OUT if event.timed_out else StepStatus.FAILED)
    one.error = event.error
    _end(state, one, event.at)


def _compensations_dropped(state: State, event: e.CompensationsDropped) -> None:
    if state.undoing:
        _landed(state, state.undoing, StepStatus.CANCELLED)
    state.undoing = ""
    state.timers.clear()
    for one in state.compensations.values():
        if not one.ended_at:
            one.status = StepStatus.CANCELLED
            one.ended_at = event.at


def _end(state: State, one: Compensation, at: int) -> None:
    one.ended_at = at
    one.parameters = None
    _go_on(state)


def _landed(state: State, step: str, status: StepStatus) -> Compensation:
    """Note that an attempt to undo a step, if there is one, is no longer in flight."""
    one = _current(state, step)
    state.in_flight.pop(step, None)
    state.ready.pop(step, None)
    one.status = status
    return one


def _current(state: State, step: str) -> Compensation:
    find_step(state, step)
    if state.undoing != step:
        raise ReplayError(f"step {step!r} is not being undone", state.execution_id)
    return state.compensations[step]


APPLY: Final[dict[type[e.Event], Callable[[State, Any], None]]] = {
    e.CompensationsBegan: _compensations_began,
    e.CompensationStarted: _compensation_started,
    e.CompensationDelayed: _compensation_delayed,
    e.CompensationReady: _compensation_ready,
    e.CompensationInterrupted: _compensation_interrupted,
    e.CompensationSucceeded: _compensation_succeeded,
    e.CompensationFailed: _compensation_failed,
    e.CompensationsDropped: _compensations_dropped,
}
"""As in ``executions``."""
