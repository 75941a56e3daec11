"""How an attempt ends, and what follows: it returned, raised, was cancelled or cut off, or its time is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from treadle.machine import compensation
from treadle.machine import events as e
from treadle.machine import inputs as i
from treadle.machine.failures import ask, fall_back, give_up
from treadle.machine.retry import backoff_ms
from treadle.machine.routing import fail, route
from treadle.machine.transitions import COMPLETED
from treadle.model import OnInterrupted, StepError, StepStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.machine.graph import PlanNode
    from treadle.machine.scope import Scope
    from treadle.machine.turn import Turn


def _returned(turn: Turn, one: i.ActionReturned) -> bool:
    found = _flying(turn, one)
    if found is None:
        return False
    if turn.state.undoing:
        compensation.returned(turn, one)
        return True
    scope, node = found
    turn.emit(e.StepSucceeded(step=one.step, attempt=one.attempt, output=one.output, at=one.at))
    if node.on_success.conditional:
        route(turn, scope, node.on_success, one.at)
    return True


def _raised(turn: Turn, one: i.ActionRaised) -> bool:
    found = _flying(turn, one)
    if found is None:
        return False
    scope, node = found
    if turn.state.undoing:
        compensation.raised(turn, scope, node, one)
        return True
    policy = scope.call(node).node.retry
    failures = scope.failures.get(node.index, 0) + 1
    permanent = one.permanent or any(name in policy.non_retryable for name in one.names)
    if permanent or failures >= max(1, policy.max_attempts) or not scope.is_routing:
        fall_back(turn, scope, node, one.error, one.at, attempt=one.attempt, timed_out=one.timed_out)
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
    found = _flying(turn, one)
    if found is None:
        return False
    if turn.state.undoing:
        compensation.interrupted(turn, found[1], one)
        return True
    turn.emit(e.StepCancelled(step=one.step, at=one.at))
    return True


def _interrupted(turn: Turn, one: i.ActionInterrupted) -> bool:
    found = _flying(turn, one)
    if found is None:
        return False
    scope, node = found
    if turn.state.undoing:
        compensation.interrupted(turn, node, one)
        return True
    follows = node.node.on_interrupted
    count = scope.interruptions.get(node.index, 0) + 1
    if not scope.is_routing:
        turn.emit(e.StepCancelled(step=one.step, at=one.at))
    elif follows is OnInterrupted.RETRY and count <= node.node.max_interruptions:
        turn.emit(e.AttemptInterrupted(step=one.step, attempt=one.attempt, at=one.at))
    else:
        error = StepError("StepInterrupted", _why_not_again(node, count), attempt=one.attempt, step=one.step)
        then = ask if follows is OnInterrupted.PAUSE else fall_back
        then(turn, scope, node, error, one.at, attempt=one.attempt)
    return True


def _why_not_again(node: PlanNode, count: int) -> str:
    if node.node.on_interrupted is OnInterrupted.RETRY:
        return f"interrupted {count} times, more than max_interruptions ({node.node.max_interruptions})"
    return "it was cut off, what it did is not known, and it runs at most once (on_interrupted)"


def _flying(
    turn: Turn, one: i.ActionReturned | i.ActionRaised | i.ActionCancelled | i.ActionInterrupted
) -> tuple[Scope, PlanNode] | None:
    """Return the place of the step if this attempt is in flight; note the result of one that was given up."""
    state = turn.state
    found = state.find(one.step)
    if found is None or state.in_flight.get(one.step) == one.attempt:
        return found
    scope, node = found
    undo = state.compensations.get(one.step)
    own = scope.attempts[node.index]
    last = own if undo is None else undo.attempt
    is_result = one.attempt <= last and type(one) in (i.ActionReturned, i.ActionRaised)
    # The very result, told twice.
    is_known = (one.attempt == own and scope.phases[node.index] == COMPLETED) or (
        undo is not None and one.attempt == last and undo.status is StepStatus.COMPLETED
    )
    if is_result and not is_known and state.started_at and not state.ended_at:
        turn.emit(e.LateResultIgnored(step=one.step, attempt=one.attempt, at=one.at))
    return None


def time_out(turn: Turn, scope: Scope, node: PlanNode, at: int) -> None:
    """End a step whose time is over: all attempts and waits of an action, all bodies of a map, loop or parallel."""
    step, attempt = scope.keys[node.index], scope.attempts[node.index]
    turn.cancel_attempts(scope, node)
    if node.is_action:
        seconds = (node.node.total_timeout_ms or 0) / 1000
        message = f"all attempts together took longer than the total timeout of {seconds:g} s"
    else:
        message = f"it took longer than its timeout of {(node.node.timeout_ms or 0) / 1000:g} s"
    error = StepError(type="StepTimeout", message=message, attempt=attempt, step=step)
    if node.is_action:
        give_up(turn, scope, node, error, at, attempt=attempt, timed_out=True)
    else:
        fail(turn, scope, node, error, at, attempt=attempt, timed_out=True)


TAKE: Final[dict[type[i.Input], Callable[[Turn, Any], bool | None]]] = {
    i.ActionReturned: _returned,
    i.ActionRaised: _raised,
    i.ActionCancelled: _cancelled,
    i.ActionInterrupted: _interrupted,
}
"""One function for each input, as in ``advance``."""
