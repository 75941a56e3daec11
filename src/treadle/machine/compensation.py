"""How what completed steps did is undone: the last to complete first, one after the other, each under its own policy.

What cannot be undone is listed and does not stop the rest. An attempt that was cut off always runs again, since whether
it did its work is not known; its idempotency key is the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.errors import ValidationError
from treadle.machine import events as e
from treadle.machine.calls import COMPENSATION
from treadle.machine.commands import RunStep
from treadle.machine.retry import backoff_ms
from treadle.model import StepError
from treadle.values import encode_payload

if TYPE_CHECKING:
    from msgspec import Raw

    from treadle.machine import inputs as i
    from treadle.machine.calls import PlanCall
    from treadle.machine.graph import PlanNode
    from treadle.machine.scope import Scope
    from treadle.machine.turn import Turn


def undo(turn: Turn, scope: Scope, node: PlanNode, at: int) -> None:
    """Start the next attempt of the compensation that is ready."""
    step, call = scope.keys[node.index], _call(scope, node)
    one = turn.state.compensations[step]
    known = call.constant if call.constant is not None else one.parameters
    try:
        parameters = _resolve(turn, scope, call) if known is None else known
    except ValidationError as error:
        failure = StepError(type=type(error).__name__, message=f"parameters: {error}", step=step)
        turn.emit(e.CompensationFailed(step=step, attempt=0, error=failure, at=at))
        return
    attempt = one.attempt + 1
    recorded = parameters if known is None else e.ABSENT
    turn.emit(e.CompensationStarted(step=step, attempt=attempt, parameters=recorded, at=at))
    turn.commands.append(RunStep(step, attempt, call.node, parameters, call.parameters.secrets, COMPENSATION))


def _call(scope: Scope, node: PlanNode) -> PlanCall:
    call = scope.undo(node)
    assert call is not None  # it has done what is undone
    return call


def _resolve(turn: Turn, scope: Scope, call: PlanCall) -> Raw:
    return encode_payload(call.parameters.resolve(turn.names(scope)), turn.state.plan.limits)


def returned(turn: Turn, one: i.ActionReturned) -> None:
    """Note that a step is undone."""
    turn.emit(e.CompensationSucceeded(step=one.step, attempt=one.attempt, output=one.output, at=one.at))


def raised(turn: Turn, scope: Scope, node: PlanNode, one: i.ActionRaised) -> None:
    """Try again, or leave a step as it is."""
    policy = _call(scope, node).node.retry
    failures = turn.state.compensations[one.step].failures + 1
    permanent = one.permanent or any(name in policy.non_retryable for name in one.names)
    if permanent or failures >= max(1, policy.max_attempts):
        turn.emit(
            e.CompensationFailed(
                step=one.step, attempt=one.attempt, error=one.error, timed_out=one.timed_out, at=one.at
            )
        )
        return
    delay = max(backoff_ms(policy, attempt=failures, draw=one.draw), one.retry_after_ms)
    turn.emit(
        e.CompensationDelayed(
            step=one.step,
            attempt=one.attempt,
            error=one.error,
            delay_ms=delay,
            due=turn.state.clock(one.at) + delay,
            timed_out=one.timed_out,
            at=one.at,
        )
    )


def interrupted(turn: Turn, node: PlanNode, one: i.ActionCancelled | i.ActionInterrupted) -> None:
    """Have an attempt that was cut off run again, but not for ever."""
    count = turn.state.compensations[one.step].interruptions + 1
    most = node.node.max_interruptions
    if count <= most:
        turn.emit(e.CompensationInterrupted(step=one.step, attempt=one.attempt, at=one.at))
        return
    message = f"its compensation was interrupted {count} times, more than max_interruptions ({most})"
    error = StepError(type="StepInterrupted", message=message, attempt=one.attempt, step=one.step)
    turn.emit(e.CompensationFailed(step=one.step, attempt=one.attempt, error=error, at=one.at))
