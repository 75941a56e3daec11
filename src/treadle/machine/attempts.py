"""How an attempt ends, and what follows: it returned, raised, was cancelled or cut off, or its time is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from treadle.machine import events as e
from treadle.machine import inputs as i
from treadle.machine.retry import backoff_ms
from treadle.machine.routing import fail, route
from treadle.machine.transitions import COMPLETED
from treadle.model import StepError

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.machine.graph import PlanNode
    from treadle.machine.scope import Scope
    from treadle.machine.turn import Turn


def _returned(turn: Turn, one: i.ActionReturned) -> bool:
    found = _flying(turn, one)
    if found is None:
        return False
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
    policy = node.node.retry
    failures = scope.failures.get(node.index, 0) + 1
    permanent = one.permanent or any(name in policy.non_retryable for name in one.names)
    if permanent or failures >= max(1, policy.max_attempts) or not scope.is_routing:
        fail(turn, scope, node, one.error, one.at, attempt=one.attempt, timed_out=one.timed_out)
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
    found = _flying(turn, one)
    if found is None:
        return False
    scope, node = found
    count = scope.interruptions.get(node.index, 0) + 1
    if not scope.is_routing:
        turn.emit(e.StepCancelled(step=one.step, at=one.at))
    elif count > node.node.max_interruptions:
        message = f"interrupted {count} times, more than max_interruptions ({node.node.max_interruptions})"
        error = StepError(type="StepInterrupted", message=message, attempt=one.attempt, step=one.step)
        fail(turn, scope, node, error, one.at, attempt=one.attempt)
    else:
        turn.emit(e.AttemptInterrupted(step=one.step, attempt=one.attempt, at=one.at))
    return True


def _flying(
    turn: Turn, one: i.ActionReturned | i.ActionRaised | i.ActionCancelled | i.ActionInterrupted
) -> tuple[Scope, PlanNode] | None:
    """Return the place of the step if this attempt is in flight; note the result of one that was given up."""
    state = turn.state
    found = state.find(one.step)
    if found is None or state.in_flight.get(one.step) == one.attempt:
        return found
    scope, node = found
    last = scope.attempts[node.index]
    is_result = one.attempt <= last and type(one) in (i.ActionReturned, i.ActionRaised)
    is_known = one.attempt == last and scope.phases[node.index] == COMPLETED  # the very result, told twice
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
    fail(turn, scope, node, error, at, attempt=attempt, timed_out=True)


TAKE: Final[dict[type[i.Input], Callable[[Turn, Any], bool | None]]] = {
    i.ActionReturned: _returned,
    i.ActionRaised: _raised,
    i.ActionCancelled: _cancelled,
    i.ActionInterrupted: _interrupted,
}
"""One function for each input, as in ``advance``."""
