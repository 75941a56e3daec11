"""``advance`` and ``start``: from a state and what has arrived to what happens next.

Pure: no clock, no I/O, no randomness; equal inputs give equal turns, byte for byte. The state is changed only by the
events that come out, so the log alone gives it back.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, Final

from treadle.errors import ExpressionError
from treadle.expressions import MissingNameError, compile_path
from treadle.machine import events as e
from treadle.machine import inputs as i
from treadle.machine.commands import RunStep
from treadle.machine.endings import cancel, pass_deadline, pause_for_input, settle
from treadle.machine.plan import OnMissingInput
from treadle.machine.retry import backoff_ms
from treadle.machine.routing import fail, move_reached, route
from treadle.machine.state import EXECUTION_TIMEOUT, RETRY, WAIT
from treadle.machine.transitions import COMPLETED, RUNNING, WAITING
from treadle.machine.turn import Turn
from treadle.model import ExecutionStatus, NodeType, StepError
from treadle.values import PayloadError, encode_payload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from msgspec import Raw

    from treadle.expressions import Expression
    from treadle.expressions import Scope as Names
    from treadle.machine.plan import PlanNode
    from treadle.machine.state import State, Timer


def advance(state: State, arrived: Iterable[i.AnyInput], *, names: Names | None = None) -> Turn:
    """Return the turn that ``arrived`` makes of ``state``, which it changes by the turn's events.

    Args:
        state: State of one execution.
        arrived: Inputs in order of arrival.
        names: What expressions see instead of the state's own names; None for those.
    """
    turn = Turn(state, names)
    for one in arrived:
        before = len(turn.events)
        accepted = _TAKE[type(one)](turn, one)
        turn.accepted.append(len(turn.events) > before if accepted is None else accepted)
        if state.root.agenda:
            move_reached(turn, one.at)
        settle(turn, one.at)
    return turn.close()


def start(state: State, steps: Iterable[str], *, at: int, turn: Turn | None = None, names: Names | None = None) -> Turn:
    """Start attempts of ready steps that were given a slot.

    A step that asks for input, or whose parameters cannot be resolved, does not start; the commands of the turn say
    which did.

    Args:
        state: State of one execution.
        steps: Keys of ready steps; one that is no longer ready is passed over.
        at: Time in milliseconds since the epoch.
        turn: The turn of ``advance`` to go on with, so that a result and what it starts are one row.
        names: As for ``advance``.
    """
    turn = turn or Turn(state, names)
    for step in steps:
        node = turn.node(step)
        if node is not None and step in state.ready and state.starts_steps:
            _start(turn, node, at)
    if state.root.agenda:
        move_reached(turn, at)
    settle(turn, at)
    return turn.close()


def _start(turn: Turn, node: PlanNode, at: int) -> None:
    scope = turn.state.root
    attempt = scope.attempts[node.index] + 1
    known = node.constant if node.constant is not None else scope.parameters.get(node.index)
    parameters = known if known is not None else _resolve(turn, node, at)
    if parameters is None:
        return
    recorded = e.ABSENT if known is not None else parameters
    turn.emit(e.StepStarted(step=node.id, attempt=attempt, parameters=recorded, at=at))
    turn.commands.append(RunStep(node.id, attempt, node.node, parameters))


def _resolve(turn: Turn, node: PlanNode, at: int) -> Raw | None:
    """Return the encoded parameters; None where the step asks for input instead, or fails."""
    try:
        return encode_payload(node.parameters.resolve(turn.names), turn.state.plan.limits)
    except MissingNameError as error:
        if error.root == "input":
            _ask(turn, node, at)
            return None
        failure = StepError(type="MissingNameError", message=str(error), step=node.id, details={"missing": error.path})
    except (ExpressionError, PayloadError) as error:
        failure = StepError(type=type(error).__name__, message=f"parameters: {error}", step=node.id)
    fail(turn, node, failure, at, attempt=0)
    return None


def _ask(turn: Turn, node: PlanNode, at: int) -> None:
    missing: dict[str, None] = {}
    for _, expression in node.parameters.expressions:
        try:
            expression.evaluate(turn.names)
        except MissingNameError as error:
            if error.root == "input":
                missing[error.path] = None
            missing.update(dict.fromkeys(_missing_inputs(turn, expression)))
        except ExpressionError:
            continue  # it fails the step once the inputs are there, if it still does
    turn.emit(e.StepPaused(step=node.id, missing=tuple(missing), at=at))
    if turn.state.plan.on_missing_input is OnMissingInput.PAUSE_EXECUTION:
        pause_for_input(turn, at)


def _missing_inputs(turn: Turn, expression: Expression) -> Iterator[str]:
    """Yield the inputs that are surely read by an expression and are not there, not only the first it meets."""
    for one in expression.references:
        if one.root == "input" and one.is_sure:
            try:
                compile_path(one.text, one.root, *one.path).evaluate(turn.names)
            except MissingNameError as error:
                yield error.path


# -- one function for each input; None: accepted if it made an event


def _start_requested(turn: Turn, one: i.StartRequested) -> bool:
    state = turn.state
    if state.created_at:
        return False
    turn.emit(
        e.ExecutionCreated(
            execution_id=one.execution_id,
            workflow_id=state.plan.workflow.id,
            definition_hash=state.plan.definition_hash,
            input=one.input,
            priority=one.priority,
            tags=one.tags,
            at=one.at,
        )
    )
    turn.emit(e.ExecutionStarted(at=one.at))
    return True


def _returned(turn: Turn, one: i.ActionReturned) -> bool:
    node = _flying(turn, one)
    if node is None:
        return False
    turn.emit(e.StepSucceeded(step=one.step, attempt=one.attempt, output=one.output, at=one.at))
    if node.on_success.conditional:
        route(turn, node.on_success, one.at)
    return True


def _raised(turn: Turn, one: i.ActionRaised) -> bool:
    node = _flying(turn, one)
    if node is None:
        return False
    policy = node.node.retry
    failures = turn.state.root.failures.get(node.index, 0) + 1
    permanent = one.permanent or any(name in policy.non_retryable for name in one.names)
    if permanent or failures >= max(1, policy.max_attempts) or not turn.state.is_routing:
        fail(turn, node, one.error, one.at, attempt=one.attempt, timed_out=one.timed_out)
        return True
    delay = max(backoff_ms(policy, attempt=failures, draw=one.draw), one.retry_after_ms)
    turn.emit(
        e.AttemptFailed(
            step=one.step,
            attempt=one.attempt,
            error=one.error,
            delay_ms=delay,
            due=turn.state.clock(one.at) + delay,
            timed_out=one.timed_out,
            at=one.at,
        )
    )
    return True


def _cancelled(turn: Turn, one: i.ActionCancelled) -> bool:
    if _flying(turn, one) is None:
        return False
    turn.emit(e.StepCancelled(step=one.step, at=one.at))
    return True


def _interrupted(turn: Turn, one: i.ActionInterrupted) -> bool:
    node = _flying(turn, one)
    if node is None:
        return False
    count = turn.state.root.interruptions.get(node.index, 0) + 1
    if not turn.state.is_routing:
        turn.emit(e.StepCancelled(step=one.step, at=one.at))
    elif count > node.node.max_interruptions:
        message = f"interrupted {count} times, more than max_interruptions ({node.node.max_interruptions})"
        error = StepError(type="StepInterrupted", message=message, attempt=one.attempt, step=one.step)
        fail(turn, node, error, one.at, attempt=one.attempt)
    else:
        turn.emit(e.AttemptInterrupted(step=one.step, attempt=one.attempt, at=one.at))
    return True


def _flying(
    turn: Turn, one: i.ActionReturned | i.ActionRaised | i.ActionCancelled | i.ActionInterrupted
) -> PlanNode | None:
    """Return the node if this attempt is the one in flight; note the result of one that was given up."""
    state = turn.state
    node = turn.node(one.step)
    if node is None or state.in_flight.get(one.step) == one.attempt:
        return node
    scope = state.root
    last = scope.attempts[node.index]
    is_result = one.attempt <= last and type(one) in (i.ActionReturned, i.ActionRaised)
    is_known = one.attempt == last and scope.phases[node.index] == COMPLETED  # the very result, told twice
    if is_result and not is_known and state.started_at and not state.ended_at:
        turn.emit(e.LateResultIgnored(step=one.step, attempt=one.attempt, at=one.at))
    return None


def _time_reached(turn: Turn, one: i.TimeReached) -> None:
    state = turn.state
    if state.paused_at is not None:
        return
    _fire(turn, state.timers, state.clock(one.at), one.at)
    _fire(turn, state.wall_timers, one.at, one.at)


def _fire(turn: Turn, timers: list[Timer], now: int, at: int) -> None:
    state = turn.state
    while timers and (timers[0][0] <= now or not state.is_live(timers[0])):
        timer = heapq.heappop(timers)
        if state.is_live(timer):
            _due(turn, timer, at)


def _due(turn: Turn, timer: Timer, at: int) -> None:
    _, kind, index, number = timer
    if kind == WAIT:
        _wait_is_over(turn, turn.state.plan.nodes[index], number, at)
    elif kind == EXECUTION_TIMEOUT:
        pass_deadline(turn, at)
    elif kind == RETRY:
        turn.emit(e.StepReady(step=turn.state.plan.nodes[index].id, at=at))
    elif not turn.state.cancels_in_flight:
        _total_timeout(turn, turn.state.plan.nodes[index], at)


def _wait_is_over(turn: Turn, node: PlanNode, timer: int, at: int) -> None:
    if node.node.type is NodeType.WAIT:
        turn.emit(e.WaitEnded(step=node.id, timer=timer, at=at))
    elif (default := turn.state.root.defaults.get(node.index)) is not None:
        turn.emit(e.InputGiven(step=node.id, output=default, is_default=True, at=at))
    else:
        seconds = (node.node.timeout_ms or 0) / 1000
        message = f"nobody answered within {seconds:g} s"
        fail(turn, node, StepError(type="StepTimeout", message=message, step=node.id), at, attempt=0, timed_out=True)
        return
    route(turn, node.on_success, at)


def _input_submitted(turn: Turn, one: i.InputSubmitted) -> bool:
    if _is_repeated(turn, one.request):
        return True
    state, node = turn.state, turn.node(one.step)
    is_asked = node is not None and node.node.type is NodeType.INPUT and state.root.phases[node.index] == WAITING
    if node is None or not is_asked:
        return False
    turn.emit(e.InputGiven(step=one.step, output=one.output, request=one.request, at=one.at))
    route(turn, node.on_success, one.at)
    return True


def _total_timeout(turn: Turn, node: PlanNode, at: int) -> None:
    scope = turn.state.root
    attempt = scope.attempts[node.index]
    if scope.phases[node.index] == RUNNING:
        turn.cancel(node.id, attempt)
    seconds = (node.node.total_timeout_ms or 0) / 1000
    message = f"all attempts together took longer than the total timeout of {seconds:g} s"
    error = StepError(type="StepTimeout", message=message, attempt=attempt, step=node.id)
    fail(turn, node, error, at, attempt=attempt, timed_out=True)


def _pause_requested(turn: Turn, one: i.PauseRequested) -> bool:
    state = turn.state
    if _is_repeated(turn, one.request):
        return True
    if state.status is ExecutionStatus.PAUSED:
        _note(turn, one)
        return True
    if not state.starts_steps:
        return False
    turn.emit(e.ExecutionPaused(request=one.request, at=one.at))
    return True


def _resume_requested(turn: Turn, one: i.ResumeRequested) -> bool:
    state = turn.state
    if _is_repeated(turn, one.request):
        return True
    completes = state.ending is None or state.ending.status is ExecutionStatus.COMPLETED
    rests = state.status is ExecutionStatus.PAUSED or (state.asking and not state.ended_at)
    if not completes or not rests:
        return False
    turn.emit(e.ExecutionResumed(inputs=e.ABSENT if one.inputs is None else one.inputs, request=one.request, at=one.at))
    return True


def _cancel_execution_requested(turn: Turn, one: i.CancelExecutionRequested) -> bool:
    state = turn.state
    if _is_repeated(turn, one.request):
        return True
    if state.ended_at or not state.started_at:
        return False
    if state.ending is None or state.ending.status is not ExecutionStatus.CANCELLED:
        cancel(turn, one.reason, one.request, one.at)
    else:
        _note(turn, one)
    if one.at_once:
        for step in list(state.in_flight):
            turn.emit(e.StepCancelled(step=step, at=one.at))
    return True


def _note(turn: Turn, one: i.PauseRequested | i.CancelExecutionRequested) -> None:
    """Remember a request that asks for what is so already."""
    if one.request:
        turn.emit(e.RequestNoted(request=one.request, at=one.at))


def _is_repeated(turn: Turn, request: str) -> bool:
    return bool(request) and request in turn.state.requests


_TAKE: Final[dict[type[i.Input], Callable[[Turn, Any], bool | None]]] = {
    i.StartRequested: _start_requested,
    i.ActionReturned: _returned,
    i.ActionRaised: _raised,
    i.ActionCancelled: _cancelled,
    i.ActionInterrupted: _interrupted,
    i.TimeReached: _time_reached,
    i.PauseRequested: _pause_requested,
    i.ResumeRequested: _resume_requested,
    i.CancelExecutionRequested: _cancel_execution_requested,
    i.InputSubmitted: _input_submitted,
}
"""One function for each input. ``Any``: the table pairs each class with the function that takes it."""
