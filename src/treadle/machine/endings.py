"""How a scope ends: begin the end (halt, cancel, deadline), wait for what is in flight, then end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from treadle.errors import ValidationError
from treadle.machine import events as e
from treadle.machine.commands import CancelChild
from treadle.machine.plan import OnMissingInput
from treadle.machine.transitions import PAUSED, PENDING, READY, RUNNING, WAITING
from treadle.model import ExecutionStatus, StepError
from treadle.values import encode_payload

if TYPE_CHECKING:
    from treadle.machine.graph import PlanNode
    from treadle.machine.scope import Ending, Scope
    from treadle.machine.state import State
    from treadle.machine.turn import Turn


def halt(turn: Turn, scope: Scope, error: StepError, at: int) -> None:
    """Begin to fail: an unhandled failure. Attempts in flight end by themselves unless ``on_failure: cancel``."""
    if scope.parent is None:
        turn.emit(e.ExecutionHalted(error=error, at=at))
    else:
        turn.emit(e.BodyHalted(step=scope.parent.keys[scope.holder], number=scope.number, error=error, at=at))
    cancel_waiting(turn, scope, at)
    if scope.graph.cancels_on_failure:
        turn.cancel_in_flight(scope)


def cancel(turn: Turn, reason: str, request: str, at: int, *, compensates: bool = False) -> None:
    """Begin to cancel. It takes the place of a halt or a deadline that has not ended the execution yet."""
    turn.emit(e.CancelRequested(reason=reason, request=request, compensates=compensates, at=at))
    cancel_waiting(turn, turn.state.root, at)
    turn.cancel_in_flight(turn.state.root)


def pass_deadline(turn: Turn, at: int) -> None:
    """Begin to time out; an execution that is ending already only has its attempts in flight cancelled."""
    timeout_ms = turn.state.plan.workflow.timeout_ms or 0
    message = f"the execution took longer than its timeout of {timeout_ms / 1000:g} s"
    turn.emit(e.DeadlinePassed(error=StepError(type="ExecutionTimeout", message=message), at=at))
    cancel_waiting(turn, turn.state.root, at)
    turn.cancel_in_flight(turn.state.root)


def end(turn: Turn, scope: Scope, node: PlanNode, at: int) -> None:
    """Begin to end the graph of an end node as it says; what runs or waits in it is cancelled.

    Raises:
        ValidationError: What the node gives cannot be computed.
    """
    status, output = node.node.status, e.ABSENT
    names, step = turn.names(scope), scope.keys[node.index]
    if node.output is not None:
        output = encode_payload(node.output.resolve(names, missing_is_null=True), turn.state.plan.limits)
    message = str(node.message.resolve(names, missing_is_null=True)) if node.message is not None else ""
    error = None
    if status is not ExecutionStatus.COMPLETED:
        error = StepError(type="EndReached", message=message or f"ended by node {step!r}", step=step)
    turn.emit(e.EndReached(step=step, status=status, output=output, error=error, at=at))
    cancel_waiting(turn, scope, at)
    turn.cancel_in_flight(scope)


def cancel_waiting(turn: Turn, scope: Scope, at: int) -> None:
    """Cancel what has not started or waits in a scope; what was never reached stays pending."""
    children = turn.state.children
    for step in _waiting_steps(turn.state, scope):
        if step in children:  # it asks for something
            turn.commands.append(CancelChild(children[step]))
        turn.emit(e.StepCancelled(step=step, at=at))


def _waiting_steps(state: State, scope: Scope) -> list[str]:
    if scope.parent is None:
        return [*state.ready, *state.waiting, *state.asking, *state.spent, *state.resting]
    scopes = (scope, *scope.bodies())
    return [
        one.keys[index]
        for one in scopes
        for index, phase in enumerate(one.phases)
        if phase in (READY, WAITING, PAUSED) or one.keys[index] in state.resting
    ]


def close(turn: Turn, scope: Scope, at: int, *, skips: bool = False) -> None:
    """End what an ending scope leaves open once nothing is in flight: steps with bodies under way.

    Args:
        turn: The turn.
        scope: It is ending.
        at: Time in milliseconds since the epoch.
        skips: What was never reached is skipped, so that every step has ended.
    """
    if not (scope.groups or skips):
        return
    phases = scope.phases
    for node in scope.graph.nodes:
        if phases[node.index] == RUNNING and node.group is not None:
            turn.emit(e.StepCancelled(step=scope.keys[node.index], at=at))
        elif skips and phases[node.index] == PENDING:
            turn.emit(e.StepSkipped(step=scope.keys[node.index], reason="end", at=at))


def settle(turn: Turn, at: int) -> None:
    """End the execution, or pause it for input, if that is what is left to do."""
    state = turn.state
    if state.ended_at or not state.created_at:
        return
    ending = state.root.ending
    if ending is not None:
        # As one whose last step ends while it is paused: it completes on resume.
        waits = state.status is ExecutionStatus.PAUSED and ending.status is ExecutionStatus.COMPLETED
        is_still = not state.in_flight and not state.children and not waits
        if is_still and not _undoes(turn, at):
            _end(turn, ending, at)
    elif state.status is not ExecutionStatus.RUNNING:
        if _asks_no_more(state):
            turn.emit(e.ExecutionResumed(by_itself=True, at=at))
            settle(turn, at)
    elif not state.root.open:
        _complete(turn, at)
    elif state.is_stuck:
        pause_for_input(turn, at)


def _asks_no_more(state: State) -> bool:
    """Tell whether it is PAUSED because of what now goes on by itself, or is gone."""
    if state.paused_at is None or not state.asks:
        return False
    if state.plan.on_missing_input is OnMissingInput.PAUSE_EXECUTION:
        return not (state.asking or state.resting)
    return not state.is_stuck


def _undoes(turn: Turn, at: int) -> bool:
    """Tell whether something is still to be undone; begin with that if it is due."""
    state = turn.state
    if not state.undoing and state.undoes and state.done and not state.compensations:
        steps = tuple(step for step in reversed(state.done) if _has_compensation(state, step))
        if steps:
            close(turn, state.root, at)
            turn.emit(e.CompensationsBegan(steps=steps, at=at))
    return bool(state.undoing)


def _has_compensation(state: State, step: str) -> bool:
    """Tell whether a step that is done can be undone: a migration may have taken that from it."""
    found = state.find(step)
    return found is not None and found[0].undo(found[1]) is not None


def pause_for_input(turn: Turn, at: int) -> None:
    """Pause the execution: nothing goes on without the inputs that steps ask for."""
    turn.emit(e.ExecutionPaused(waiting_for=turn.state.waiting_for, at=at))


def _end(turn: Turn, ending: Ending, at: int) -> None:
    close(turn, turn.state.root, at, skips=ending.error is None)
    if ending.error is not None:
        turn.emit(_LAST[ending.status](error=ending.error, at=at))
    elif ending.output is None:
        _complete(turn, at)
    else:
        turn.emit(e.ExecutionCompleted(output=ending.output, at=at))


_LAST: Final[dict[ExecutionStatus, type[e.ExecutionFailed | e.ExecutionCancelled | e.ExecutionTimedOut]]] = {
    ExecutionStatus.FAILED: e.ExecutionFailed,
    ExecutionStatus.CANCELLED: e.ExecutionCancelled,
    ExecutionStatus.TIMED_OUT: e.ExecutionTimedOut,
}


def _complete(turn: Turn, at: int) -> None:
    template = turn.state.plan.output
    if template is None:
        turn.emit(e.ExecutionCompleted(at=at))
        return
    try:
        resolved = template.resolve(turn.names(turn.state.root), missing_is_null=True)
        output = encode_payload(resolved, turn.state.plan.limits)
    except ValidationError as error:
        message = f"output of the workflow: {error}"
        failure = StepError(type=type(error).__name__, message=message)
        if not turn.state.done:
            turn.emit(e.ExecutionFailed(error=failure, at=at))
            return
        turn.emit(e.ExecutionHalted(error=failure, at=at))
        settle(turn, at)
    else:
        turn.emit(e.ExecutionCompleted(output=output, at=at))
