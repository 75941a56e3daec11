"""``apply``: the fold over the events of an execution, and the only thing that changes a state.

It evaluates nothing: every decision is in the events. What it does is structural, in O(degree): it counts decided
connections, and notes which nodes those counts have met or lost.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, Final

from treadle.errors import ReplayError
from treadle.machine import events as e
from treadle.machine.state import (
    ACTIVE,
    DEAD,
    EXECUTION_TIMEOUT,
    NO_STEP,
    RETRY,
    TOTAL_TIMEOUT,
    WAIT,
    Ending,
    Scope,
    State,
)
from treadle.machine.transitions import (
    CANCELLED,
    COMPLETED,
    EXECUTION_MOVES,
    FAILED,
    PAUSED,
    PENDING,
    READY,
    RUNNING,
    SKIPPED,
    TIMED_OUT,
    WAITING,
)
from treadle.model import ExecutionStatus, StepError
from treadle.values import NULL, decode_payload, encode_decoded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from treadle.machine.plan import Plan, PlanConnection, PlanNode, Routes

HANDLED_BY_CONNECTION: Final = "connection"
HANDLED_BY_CONTINUE: Final = "continue_on_error"


def apply(state: State, event: e.AnyEvent) -> None:
    """Change ``state`` by one event.

    Raises:
        ReplayError: The event does not fit: the log and the definition disagree.
    """
    state.last_at = event.at
    _APPLY[type(event)](state, event)


def fold(plan: Plan, recorded: Iterable[Sequence[e.AnyEvent]]) -> State:
    """Return the state after the turns ``recorded``, each a list of events.

    Raises:
        ReplayError: An event does not fit.
    """
    state = State(plan)
    for number, turn in enumerate(recorded, 1):
        try:
            for event in turn:
                apply(state, event)
        except ReplayError as error:
            raise ReplayError(f"turn {number}: {error.message}", state.execution_id, number) from None
        state.root.agenda.clear()
        state.fresh.clear()
    return state


def _find(state: State, step: str) -> int:
    try:
        return state.plan.index[step]
    except KeyError:
        raise ReplayError(f"the definition has no step {step!r}", state.execution_id) from None


def _move_execution(state: State, status: ExecutionStatus) -> None:
    if status not in EXECUTION_MOVES[state.status]:
        raise ReplayError(f"it cannot go from {state.status.value} to {status.value}", state.execution_id)
    state.status = status


# -- nodes and connections


def _decide(state: State, connection: PlanConnection, verdict: int) -> None:
    scope = state.root
    if scope.connections[connection.index]:
        raise ReplayError(f"connection {connection.index} was decided before", state.execution_id)
    scope.connections[connection.index] = verdict
    target = connection.target
    scope.undecided[target] -= 1
    if verdict == ACTIVE:
        scope.active[target] += 1
    if scope.phases[target] == PENDING:
        _look_at_join(state, scope, scope.plan.nodes[target], verdict)


def _look_at_join(state: State, scope: Scope, node: PlanNode, verdict: int) -> None:
    """Note whether this one decision met the join of ``node``, or lost it; each happens at most once."""
    undecided, active = scope.undecided[node.index], scope.active[node.index]
    if not node.need:
        if undecided:
            return
        met, lost = active > 0, active == 0
    else:
        met = verdict == ACTIVE and active == node.need
        lost = verdict == DEAD and active + undecided == node.need - 1
    if met:
        _reach(state, scope, node)
    elif lost:
        scope.agenda.append(node.index)


def _reach(state: State, scope: Scope, node: PlanNode) -> None:
    """Note that the join is met: a plain action is ready, everything else is the machine's next move."""
    if node.condition is None and node.is_action:
        scope.phases[node.index] = READY
        state.make_ready(node.id)
    else:
        scope.agenda.append(node.index)


def is_met(scope: Scope, index: int) -> bool:
    """Tell whether the join of a node on the agenda is met; if not, it can no longer be."""
    node = scope.plan.nodes[index]
    return not node.indegree or scope.active[index] >= max(node.need, 1)


def _route(state: State, routes: Routes) -> None:
    if not state.is_routing:
        return
    for connection in routes.active:
        _decide(state, connection, ACTIVE)
    for connection in routes.dead:
        _decide(state, connection, DEAD)


# -- the execution


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
    state.created_at = event.at


def _execution_started(state: State, event: e.ExecutionStarted) -> None:
    _move_execution(state, ExecutionStatus.RUNNING)
    state.started_at = event.at
    timeout = state.plan.workflow.timeout_ms
    if timeout is not None:
        heapq.heappush(state.timers, (event.at + timeout, EXECUTION_TIMEOUT, NO_STEP, 0))
    for index in state.plan.entries:
        _reach(state, state.root, state.plan.nodes[index])


def _execution_paused(state: State, event: e.ExecutionPaused) -> None:
    _move_execution(state, ExecutionStatus.PAUSED)
    state.paused_at = event.at
    _remember(state, event.request)


def _execution_resumed(state: State, event: e.ExecutionResumed) -> None:
    was_paused = state.paused_at is not None
    if state.paused_at is not None:
        _move_execution(state, ExecutionStatus.RUNNING)
        state.paused_ms += event.at - state.paused_at
        state.paused_at = None
    if event.inputs is not e.ABSENT:
        state.input_value = {**state.input_value, **decode_payload(event.inputs)}
        state.input = encode_decoded(state.input_value)
    for step in state.asking:
        state.root.move(_find(state, step), READY)
        state.make_ready(step)
    state.asking = {}
    if was_paused:  # what was ready then had lost its place in the line
        state.fresh = list(state.ready)
    _remember(state, event.request)


def _request_noted(state: State, event: e.RequestNoted) -> None:
    state.requests.add(event.request)


def _remember(state: State, request: str) -> None:
    if request:
        state.requests.add(request)


def _execution_halted(state: State, event: e.ExecutionHalted) -> None:
    state.ending = Ending(ExecutionStatus.FAILED, event.error)


def _cancel_requested(state: State, event: e.CancelRequested) -> None:
    state.ending = Ending(ExecutionStatus.CANCELLED, cancel_error(event.reason))
    _remember(state, event.request)


def _deadline_passed(state: State, event: e.DeadlinePassed) -> None:
    state.deadline_passed = True
    if state.ending is None:
        state.ending = Ending(ExecutionStatus.TIMED_OUT, event.error)


def cancel_error(reason: str) -> StepError:
    """Return what a cancelled execution shows as its error."""
    return StepError(type="Cancelled", message=reason or "cancelled on request")


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
    state.ending = None
    state.timers.clear()
    state.wall_timers.clear()


# -- steps


def _step_ready(state: State, event: e.StepReady) -> None:
    index = _find(state, event.step)
    if state.root.phases[index] == WAITING:
        state.waiting.pop(event.step, None)
    state.root.move(index, READY)
    state.make_ready(event.step)


def _step_started(state: State, event: e.StepStarted) -> None:
    step = event.step
    index = _find(state, step)
    scope = state.root
    scope.move(index, RUNNING)
    state.ready.pop(step, None)
    scope.attempts[index] = event.attempt
    if event.parameters is not e.ABSENT:
        scope.parameters[index] = event.parameters
    state.in_flight[step] = event.attempt
    if not scope.started_at[index]:
        scope.started_at[index] = event.at
        total = scope.plan.nodes[index].node.total_timeout_ms
        if total is not None:
            heapq.heappush(state.timers, (state.clock(event.at) + total, TOTAL_TIMEOUT, index, 0))


def _step_succeeded(state: State, event: e.StepSucceeded) -> None:
    index = _find(state, event.step)
    scope = state.root
    scope.end(index, COMPLETED, event.at)
    state.in_flight.pop(event.step, None)
    scope.outputs[index] = event.output
    scope.errors.pop(index, None)
    _route(state, scope.plan.nodes[index].on_success)


def _trigger_passed(state: State, event: e.TriggerPassed) -> None:
    index = _find(state, event.step)
    scope = state.root
    scope.end(index, COMPLETED, event.at)
    scope.started_at[index] = event.at
    scope.outputs[index] = state.input
    _route(state, scope.plan.nodes[index].on_success)


def _step_passed(state: State, event: e.StepPassed) -> None:
    index = _find(state, event.step)
    scope = state.root
    scope.end(index, COMPLETED, event.at)
    scope.started_at[index] = event.at
    scope.outputs[index] = NULL if event.output is e.ABSENT else event.output
    _route(state, scope.plan.nodes[index].on_success)


def _wait_started(state: State, event: e.WaitStarted) -> None:
    index = _find(state, event.step)
    scope = state.root
    scope.move(index, WAITING)
    scope.started_at[index] = event.at
    state.waiting[event.step] = None
    for number, due in event.due:
        heapq.heappush(state.timers, (due, WAIT, index, number))
    for number, due in event.until:
        heapq.heappush(state.wall_timers, (due, WAIT, index, number))


def _wait_ended(state: State, event: e.WaitEnded) -> None:
    index = _find(state, event.step)
    scope = state.root
    _leave(state, index, event.step)
    scope.end(index, COMPLETED, event.at)
    node = scope.plan.nodes[index]
    scope.outputs[index] = encode_decoded({"timer": event.timer}) if node.node.any_of else NULL
    _route(state, node.on_success)


def _input_asked(state: State, event: e.InputAsked) -> None:
    index = _find(state, event.step)
    scope = state.root
    scope.move(index, WAITING)
    scope.started_at[index] = event.at
    state.waiting[event.step] = None
    if event.default is not e.ABSENT:
        scope.defaults[index] = event.default
    if event.due:
        heapq.heappush(state.timers, (event.due, WAIT, index, 0))


def _input_given(state: State, event: e.InputGiven) -> None:
    index = _find(state, event.step)
    scope = state.root
    _leave(state, index, event.step)
    scope.end(index, COMPLETED, event.at)
    scope.defaults.pop(index, None)
    scope.outputs[index] = event.output
    _remember(state, event.request)
    _route(state, scope.plan.nodes[index].on_success)


def _end_reached(state: State, event: e.EndReached) -> None:
    index = _find(state, event.step)
    scope = state.root
    scope.end(index, COMPLETED, event.at)
    scope.started_at[index] = event.at
    scope.outputs[index] = NULL if event.output is e.ABSENT else event.output
    state.ending = Ending(event.status, event.error, None if event.output is e.ABSENT else event.output)


def _attempt_failed(state: State, event: e.AttemptFailed) -> None:
    index = _find(state, event.step)
    scope = state.root
    scope.move(index, WAITING)
    state.in_flight.pop(event.step, None)
    state.waiting[event.step] = None
    scope.failures[index] = scope.failures.get(index, 0) + 1
    scope.errors[index] = event.error
    heapq.heappush(state.timers, (event.due, RETRY, index, event.attempt))


def _attempt_interrupted(state: State, event: e.AttemptInterrupted) -> None:
    index = _find(state, event.step)
    scope = state.root
    scope.move(index, READY)
    state.in_flight.pop(event.step, None)
    state.make_ready(event.step)
    scope.interruptions[index] = scope.interruptions.get(index, 0) + 1


def _step_failed(state: State, event: e.StepFailed) -> None:
    _fail(state, event.step, FAILED, event.error, event.at)


def _step_timed_out(state: State, event: e.StepTimedOut) -> None:
    _fail(state, event.step, TIMED_OUT, event.error, event.at)


def _fail(state: State, step: str, phase: int, error: StepError, at: int) -> None:
    index = _find(state, step)
    _leave(state, index, step)
    state.root.end(index, phase, at)
    state.root.errors[index] = error


def _leave(state: State, index: int, step: str) -> None:
    """Take a step out of whatever it is in: flight, the ready ones, a wait, or asking."""
    phase = state.root.phases[index]
    if phase == RUNNING:
        state.in_flight.pop(step, None)
    elif phase == READY:
        state.ready.pop(step, None)
    elif phase == WAITING:
        state.waiting.pop(step, None)
    elif phase == PAUSED:
        state.asking.pop(step, None)


def _failure_handled(state: State, event: e.FailureHandled) -> None:
    index = _find(state, event.step)
    scope = state.root
    node = scope.plan.nodes[index]
    scope.handled[index] = event.by
    if event.by == HANDLED_BY_CONNECTION:
        _route(state, node.on_failure)
    else:
        scope.outputs[index] = NULL
        _route(state, node.on_success)


def _step_skipped(state: State, event: e.StepSkipped) -> None:
    index = _find(state, event.step)
    scope = state.root
    scope.end(index, SKIPPED, event.at)
    node = scope.plan.nodes[index]
    if event.passes:
        _route(state, node.on_success)
    elif state.is_routing:
        for connection in node.outgoing:
            _decide(state, connection, DEAD)


def _step_paused(state: State, event: e.StepPaused) -> None:
    index = _find(state, event.step)
    state.root.move(index, PAUSED)
    state.ready.pop(event.step, None)
    state.asking[event.step] = event.missing


def _step_cancelled(state: State, event: e.StepCancelled) -> None:
    index = _find(state, event.step)
    _leave(state, index, event.step)
    state.root.end(index, CANCELLED, event.at)


def _nothing_changes(state: State, event: e.LateResultIgnored) -> None:
    _find(state, event.step)


def _connection_decided(state: State, event: e.ConnectionDecided) -> None:
    connections = state.plan.connections
    if not 0 <= event.connection < len(connections):
        raise ReplayError(f"the definition has no connection {event.connection}", state.execution_id)
    _decide(state, connections[event.connection], ACTIVE if event.taken else DEAD)


_APPLY: Final[dict[type[e.Event], Callable[[State, Any], None]]] = {
    e.ExecutionCreated: _execution_created,
    e.ExecutionStarted: _execution_started,
    e.StepReady: _step_ready,
    e.StepStarted: _step_started,
    e.StepSucceeded: _step_succeeded,
    e.TriggerPassed: _trigger_passed,
    e.StepPassed: _step_passed,
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
    e.LateResultIgnored: _nothing_changes,
    e.ConnectionDecided: _connection_decided,
    e.ExecutionPaused: _execution_paused,
    e.ExecutionResumed: _execution_resumed,
    e.ExecutionHalted: _execution_halted,
    e.CancelRequested: _cancel_requested,
    e.RequestNoted: _request_noted,
    e.DeadlinePassed: _deadline_passed,
    e.ExecutionCompleted: _execution_completed,
    e.ExecutionFailed: _execution_failed,
    e.ExecutionCancelled: _execution_cancelled,
    e.ExecutionTimedOut: _execution_timed_out,
}
"""One function for each event. ``Any``: the table pairs each class with the function that takes it."""
