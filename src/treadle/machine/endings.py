"""How an execution ends: begin the end (halt, cancel, deadline), wait for what is in flight, then end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from treadle.errors import ValidationError
from treadle.machine import events as e
from treadle.machine.transitions import PENDING
from treadle.model import ExecutionStatus, StepError
from treadle.values import encode_payload

if TYPE_CHECKING:
    from treadle.machine.plan import PlanNode
    from treadle.machine.state import Ending
    from treadle.machine.turn import Turn


def halt(turn: Turn, error: StepError, at: int) -> None:
    """Begin to fail: an unhandled failure. Attempts in flight end by themselves unless ``on_failure: cancel``."""
    turn.emit(e.ExecutionHalted(error=error, at=at))
    _cancel_waiting(turn, at)
    if turn.state.plan.cancels_on_failure:
        turn.cancel_in_flight()


def cancel(turn: Turn, reason: str, request: str, at: int) -> None:
    """Begin to cancel. It takes the place of a halt or a deadline that has not ended the execution yet."""
    turn.emit(e.CancelRequested(reason=reason, request=request, at=at))
    _cancel_waiting(turn, at)
    turn.cancel_in_flight()


def pass_deadline(turn: Turn, at: int) -> None:
    """Begin to time out; an execution that is ending already only has its attempts in flight cancelled."""
    timeout_ms = turn.state.plan.workflow.timeout_ms or 0
    message = f"the execution took longer than its timeout of {timeout_ms / 1000:g} s"
    turn.emit(e.DeadlinePassed(error=StepError(type="ExecutionTimeout", message=message), at=at))
    _cancel_waiting(turn, at)
    turn.cancel_in_flight()


def settle(turn: Turn, at: int) -> None:
    """End the execution, or pause it for input, if that is what is left to do."""
    state = turn.state
    if state.ended_at or not state.started_at:
        return
    if state.ending is not None:
        # As one whose last step ends while it is paused: it completes on resume.
        waits = state.status is ExecutionStatus.PAUSED and state.ending.status is ExecutionStatus.COMPLETED
        if not state.in_flight and not waits:
            _end(turn, at)
    elif state.status is not ExecutionStatus.RUNNING:
        return
    elif not state.root.open:
        _complete(turn, at)
    elif state.asking and not (state.in_flight or state.ready or state.waiting):
        pause_for_input(turn, at)


def pause_for_input(turn: Turn, at: int) -> None:
    """Pause the execution: nothing goes on without the inputs that steps ask for."""
    names = {name for missing in turn.state.asking.values() for name in missing}
    turn.emit(e.ExecutionPaused(waiting_for=tuple(sorted(names)), at=at))


def _cancel_waiting(turn: Turn, at: int) -> None:
    """Cancel what has not started or waits; what was never reached stays pending."""
    state = turn.state
    for step in [*state.ready, *state.waiting, *state.asking]:
        turn.emit(e.StepCancelled(step=step, at=at))


def end(turn: Turn, node: PlanNode, at: int) -> None:
    """Begin to end as an end node says; what runs or waits is cancelled.

    Raises:
        ValidationError: What the node gives cannot be computed.
    """
    status, output = node.node.status, e.ABSENT
    if node.output is not None:
        output = encode_payload(node.output.resolve(turn.names, missing_is_null=True), turn.state.plan.limits)
    message = str(node.message.resolve(turn.names, missing_is_null=True)) if node.message is not None else ""
    error = None
    if status is not ExecutionStatus.COMPLETED:
        error = StepError(type="EndReached", message=message or f"ended by node {node.id!r}", step=node.id)
    turn.emit(e.EndReached(step=node.id, status=status, output=output, error=error, at=at))
    _cancel_waiting(turn, at)
    turn.cancel_in_flight()


def _end(turn: Turn, at: int) -> None:
    ending = turn.state.ending
    if ending is None:
        return
    if ending.error is None:
        _complete_early(turn, ending, at)
    else:
        turn.emit(_LAST[ending.status](error=ending.error, at=at))


def _complete_early(turn: Turn, ending: Ending, at: int) -> None:
    """Complete by an end node: what was never reached is skipped, so that every step has ended."""
    phases = turn.state.root.phases
    for node in turn.state.plan.nodes:
        if phases[node.index] == PENDING:
            turn.emit(e.StepSkipped(step=node.id, reason="end", at=at))
    if ending.output is None:
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
        output = encode_payload(template.resolve(turn.names, missing_is_null=True), turn.state.plan.limits)
    except ValidationError as error:
        message = f"output of the workflow: {error}"
        turn.emit(e.ExecutionFailed(error=StepError(type=type(error).__name__, message=message), at=at))
    else:
        turn.emit(e.ExecutionCompleted(output=output, at=at))
