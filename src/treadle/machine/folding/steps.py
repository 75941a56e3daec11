"""Steps: phases, attempts, waits, outputs and errors, and the connections that follow from an end."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, Final

from treadle.machine import events as e
from treadle.machine.folding.connections import find_step, kill, route
from treadle.machine.folding.executions import begin_ending
from treadle.machine.scope import STOPPED, Ending
from treadle.machine.state import RETRY, TOTAL_TIMEOUT, WAIT
from treadle.machine.transitions import (
    CANCELLED,
    COMPLETED,
    FAILED,
    PAUSED,
    READY,
    RUNNING,
    SKIPPED,
    TIMED_OUT,
    WAITING,
)
from treadle.model import ExecutionStatus
from treadle.values import NULL, encode_decoded

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgspec import Raw

    from treadle.machine.graph import PlanNode
    from treadle.machine.scope import Scope
    from treadle.machine.state import State
    from treadle.model import StepError

HANDLED_BY_CONNECTION: Final = "connection"
HANDLED_BY_CONTINUE: Final = "continue_on_error"
HANDLED_BY_RACE: Final = "race"


# -- what every end and every leaving has in common


def end_step(state: State, scope: Scope, node: PlanNode, phase: int, at: int) -> None:
    """Take a step out of whatever it is in and move it to a phase that it does not leave again."""
    index = node.index
    leave(state, scope, node, at)
    scope.end(index, phase, at)
    if scope.races and scope.winner is None and phase == COMPLETED and not node.outgoing:
        scope.winner = index
        state.settling.append(scope)
    elif scope.parent is not None and not scope.open:
        state.settling.append(scope)


def leave(state: State, scope: Scope, node: PlanNode, at: int) -> None:
    """Take a step out of whatever it is in: flight, the ready ones, a wait, asking, or its bodies."""
    phase, step = scope.phases[node.index], scope.keys[node.index]
    if phase == RUNNING:
        if scope.parent is None and node.is_action:
            state.in_flight.pop(step, None)
        elif node.group is not None:
            close_bodies(state, scope, node, at)
        else:
            land(state, scope, step)
    elif phase == READY:
        state.ready.pop(step, None)
    elif phase == WAITING:
        state.waiting.pop(step, None)
        state.listening.pop(step, None)
    elif phase == PAUSED:
        state.asking.pop(step, None)
        state.spent.pop(step, None)


def fly(scope: Scope) -> None:
    """Count an attempt, or a child, in flight in a body and those around it."""
    around = scope
    while around.parent is not None:
        around.flying += 1
        around = around.parent


def land(state: State, scope: Scope, step: str) -> None:
    """Note that an attempt, or a child, is no longer in flight."""
    if state.in_flight.pop(step, None) is None:
        if state.children.pop(step, None) is None:
            return
        state.resting.pop(step, None)
    around: Scope | None = scope
    while around is not None and around.parent is not None:
        around.flying -= 1
        if not around.flying and around.ending is not None:
            state.settling.append(around)
        around = around.parent


def close_bodies(state: State, scope: Scope, node: PlanNode, at: int) -> None:
    """Cancel what has not ended in the bodies of a step."""
    group = scope.groups[node.index]
    for body in group.open.values():
        close_body(state, body, at)
    group.open.clear()


def close_body(state: State, body: Scope, at: int) -> None:
    """Cancel what has not ended in a body; what was never reached stays pending, also what was about to move."""
    body.ending = STOPPED
    if not body.open:
        return
    for node in body.graph.nodes:
        if READY <= body.phases[node.index] <= PAUSED:
            leave(state, body, node, at)
            body.end(node.index, CANCELLED, at)
            body.dropped.add(node.index)


def note_done(state: State, scope: Scope, node: PlanNode) -> None:
    """Note that a step did something that may have to be undone."""
    if scope.undo(node) is not None:
        state.done.append(scope.keys[node.index])


def _pass(state: State, scope: Scope, node: PlanNode, output: Raw, at: int) -> None:
    """Complete a step that calls nothing, in the moment it was reached."""
    end_step(state, scope, node, COMPLETED, at)
    scope.started_at[node.index] = at
    scope.outputs[node.index] = output


# -- attempts


def _step_ready(state: State, event: e.StepReady) -> None:
    scope, node = find_step(state, event.step)
    if scope.phases[node.index] == WAITING:
        state.waiting.pop(event.step, None)
    scope.move(node.index, READY)
    state.make_ready(event.step, node)


def _step_started(state: State, event: e.StepStarted) -> None:
    step = event.step
    scope, node = find_step(state, step)
    index = node.index
    scope.move(index, RUNNING)
    state.ready.pop(step, None)
    scope.attempts[index] = event.attempt
    if event.parameters is not e.ABSENT:
        scope.parameters[index] = event.parameters
    state.in_flight[step] = event.attempt
    if scope.parent is not None:
        fly(scope)
    if not scope.started_at[index]:
        scope.started_at[index] = event.at
        total = node.node.total_timeout_ms
        if total is not None:
            heapq.heappush(state.timers, (state.clock(event.at) + total, TOTAL_TIMEOUT, step, 0))


def _step_succeeded(state: State, event: e.StepSucceeded) -> None:
    scope, node = find_step(state, event.step)
    end_step(state, scope, node, COMPLETED, event.at)
    scope.outputs[node.index] = event.output
    scope.errors.pop(node.index, None)
    if node.compensation is not None or scope.by:
        note_done(state, scope, node)
    route(state, scope, node.on_success)


def _attempt_failed(state: State, event: e.AttemptFailed) -> None:
    scope, node = find_step(state, event.step)
    index = node.index
    scope.move(index, WAITING)
    land(state, scope, event.step)
    state.waiting[event.step] = None
    scope.failures[index] = scope.failures.get(index, 0) + 1
    scope.errors[index] = event.error
    heapq.heappush(state.timers, (event.due, RETRY, event.step, event.attempt))


def _attempt_interrupted(state: State, event: e.AttemptInterrupted) -> None:
    scope, node = find_step(state, event.step)
    scope.move(node.index, READY)
    land(state, scope, event.step)
    state.make_ready(event.step, node)
    scope.interruptions[node.index] = scope.interruptions.get(node.index, 0) + 1


def _late_result_ignored(state: State, event: e.LateResultIgnored) -> None:
    find_step(state, event.step)


# -- what calls nothing


def _trigger_passed(state: State, event: e.TriggerPassed) -> None:
    scope, node = find_step(state, event.step)
    _pass(state, scope, node, state.input, event.at)
    route(state, scope, node.on_success)


def _step_passed(state: State, event: e.StepPassed) -> None:
    scope, node = find_step(state, event.step)
    _pass(state, scope, node, NULL if event.output is e.ABSENT else event.output, event.at)
    route(state, scope, node.on_success)


def _step_kept(state: State, event: e.StepKept) -> None:
    scope, node = find_step(state, event.step)
    state.kept_steps.pop(event.step, None)
    _pass(state, scope, node, event.output, event.at)
    scope.attempts[node.index] = event.attempt
    route(state, scope, node.on_success)


def _end_reached(state: State, event: e.EndReached) -> None:
    scope, node = find_step(state, event.step)
    output = None if event.output is e.ABSENT else event.output
    _pass(state, scope, node, NULL if output is None else output, event.at)
    begin_ending(scope, Ending(event.status, event.error, output))
    if scope.parent is not None:
        state.settling.append(scope)
    elif event.status is ExecutionStatus.CANCELLED:
        state.undoes = state.plan.workflow.compensate_on_cancel
    else:
        state.undoes = event.status is ExecutionStatus.FAILED


# -- waits


def begin_wait(state: State, step: str, at: int) -> tuple[Scope, PlanNode]:
    """Move a step that was reached into its wait."""
    scope, node = find_step(state, step)
    scope.move(node.index, WAITING)
    scope.started_at[node.index] = at
    state.waiting[step] = None
    return scope, node


def _wait_started(state: State, event: e.WaitStarted) -> None:
    begin_wait(state, event.step, event.at)
    for number, due in event.due:
        heapq.heappush(state.timers, (due, WAIT, event.step, number))
    for number, due in event.until:
        heapq.heappush(state.wall_timers, (due, WAIT, event.step, number))
    if event.events:
        state.listening[event.step] = event.events


def _wait_ended(state: State, event: e.WaitEnded) -> None:
    scope, node = find_step(state, event.step)
    end_step(state, scope, node, COMPLETED, event.at)
    scope.outputs[node.index] = encode_decoded({"timer": event.timer}) if node.node.any_of else NULL
    route(state, scope, node.on_success)


def _input_asked(state: State, event: e.InputAsked) -> None:
    scope, node = begin_wait(state, event.step, event.at)
    if event.default is not e.ABSENT:
        scope.defaults[node.index] = event.default
    if event.due:
        heapq.heappush(state.timers, (event.due, WAIT, event.step, 0))


def _input_given(state: State, event: e.InputGiven) -> None:
    scope, node = find_step(state, event.step)
    end_step(state, scope, node, COMPLETED, event.at)
    scope.defaults.pop(node.index, None)
    scope.outputs[node.index] = event.output
    if event.request:
        state.requests.add(event.request)
    route(state, scope, node.on_success)


def _step_paused(state: State, event: e.StepPaused) -> None:
    scope, node = find_step(state, event.step)
    scope.move(node.index, PAUSED)
    state.ready.pop(event.step, None)
    state.asking[event.step] = event.missing


# -- other ends


def _step_failed(state: State, event: e.StepFailed) -> None:
    _fail(state, event.step, FAILED, event.error, event.at)


def _step_timed_out(state: State, event: e.StepTimedOut) -> None:
    _fail(state, event.step, TIMED_OUT, event.error, event.at)


def _fail(state: State, step: str, phase: int, error: StepError, at: int) -> None:
    scope, node = find_step(state, step)
    end_step(state, scope, node, phase, at)
    scope.errors.pop(node.index, None)  # the order is that in which steps failed, not their first attempts
    scope.errors[node.index] = error


def _failure_handled(state: State, event: e.FailureHandled) -> None:
    scope, node = find_step(state, event.step)
    scope.handled[node.index] = event.by
    if event.by == HANDLED_BY_CONNECTION:
        route(state, scope, node.on_failure)
    elif event.by == HANDLED_BY_RACE:
        kill(state, scope, node.outgoing)
    else:
        scope.outputs[node.index] = NULL
        route(state, scope, node.on_success)


def _step_skipped(state: State, event: e.StepSkipped) -> None:
    scope, node = find_step(state, event.step)
    end_step(state, scope, node, SKIPPED, event.at)
    if event.passes:
        route(state, scope, node.on_success)
    else:
        kill(state, scope, node.outgoing)


def _step_cancelled(state: State, event: e.StepCancelled) -> None:
    scope, node = find_step(state, event.step)
    end_step(state, scope, node, CANCELLED, event.at)
    if scope.ending is None:
        kill(state, scope, node.outgoing)
    else:
        scope.dropped.add(node.index)
    if event.request:
        state.requests.add(event.request)


APPLY: Final[dict[type[e.Event], Callable[[State, Any], None]]] = {
    e.StepReady: _step_ready,
    e.StepStarted: _step_started,
    e.StepSucceeded: _step_succeeded,
    e.TriggerPassed: _trigger_passed,
    e.StepPassed: _step_passed,
    e.StepKept: _step_kept,
    e.WaitStarted: _wait_started,
    e.WaitEnded: _wait_ended,
    e.InputAsked: _input_asked,
    e.InputGiven: _input_given,
    e.EndReached: _end_reached,
    e.AttemptFailed: _attempt_failed,
    e.AttemptInterrupted: _attempt_interrupted,
    e.StepFailed: _step_failed,
    e.StepTimedOut: _step_timed_out,
    e.FailureHandled: _failure_handled,
    e.StepSkipped: _step_skipped,
    e.StepPaused: _step_paused,
    e.StepCancelled: _step_cancelled,
    e.LateResultIgnored: _late_result_ignored,
}
"""As in ``executions``."""
