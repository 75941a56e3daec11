"""What follows the end of a step: conditions, joins, skips, handled failures. Dead paths are followed iteratively."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.errors import ExpressionError, ValidationError
from treadle.expressions import Expression, MissingNameError
from treadle.machine import events as e
from treadle.machine.endings import halt
from treadle.machine.fold import HANDLED_BY_CONNECTION, HANDLED_BY_CONTINUE, is_met
from treadle.machine.kinds import enter
from treadle.model import OnSkip, StepError

if TYPE_CHECKING:
    from treadle.machine.plan import PlanConnection, PlanNode, Routes
    from treadle.machine.turn import Turn


def route(turn: Turn, routes: Routes, at: int) -> None:
    """Decide the conditional connections of a step that ended; ``apply`` has decided the others."""
    if routes.conditional and turn.state.is_routing:
        verdicts = _verdicts(turn, routes, at)
        for event in verdicts or ():
            turn.emit(event)


def fail(turn: Turn, node: PlanNode, error: StepError, at: int, *, attempt: int, timed_out: bool = False) -> None:
    """End a step that failed for good, and decide what its failure means for the execution."""
    kind = e.StepTimedOut if timed_out else e.StepFailed
    turn.emit(kind(step=node.id, attempt=attempt, error=error, at=at))
    if turn.state.is_routing:
        _handle_failure(turn, node, error, at)


def move_reached(turn: Turn, at: int) -> None:
    """Move every node on the agenda: skip what was lost, pass triggers, look at the nodes' own conditions."""
    agenda = turn.state.root.agenda
    done = 0
    while done < len(agenda) and turn.state.is_routing:
        node = turn.state.plan.nodes[agenda[done]]
        done += 1
        if not is_met(turn.state.root, node.index):
            turn.emit(e.StepSkipped(step=node.id, reason="join", at=at))
        elif node.condition is None or _is_taken(turn, node, node.condition, at):
            _enter(turn, node, at)
    agenda.clear()


def _enter(turn: Turn, node: PlanNode, at: int) -> None:
    try:
        if enter(turn, node, at):
            route(turn, node.on_success, at)
    except MissingNameError as error:
        failure = StepError(type="MissingNameError", message=str(error), step=node.id, details={"missing": error.path})
        fail(turn, node, failure, at, attempt=0)
    except ValidationError as error:
        failure = StepError(type=type(error).__name__, message=f"{node.node.type.value}: {error}", step=node.id)
        fail(turn, node, failure, at, attempt=0)


def _is_taken(turn: Turn, node: PlanNode, condition: Expression, at: int) -> bool:
    """Evaluate a node's own condition; skip it, or fail it, where that is what follows."""
    try:
        taken, missing = _evaluate(turn, condition)
    except ExpressionError as error:
        message = f"condition of step {node.id!r}: {error}"
        fail(turn, node, StepError(type="ExpressionError", message=message, step=node.id), at, attempt=0)
        return False
    if not taken:
        passes = node.node.on_skip is OnSkip.PASS
        turn.emit(e.StepSkipped(step=node.id, reason="condition", passes=passes, missing=missing, at=at))
        if passes:
            route(turn, node.on_success, at)
    return taken


def _evaluate(turn: Turn, condition: Expression) -> tuple[bool, str]:
    """Return whether a condition is taken, and the missing name it met (``""`` for none).

    Raises:
        ExpressionError: It cannot be evaluated, or gave no boolean.
    """
    try:
        value = condition.evaluate(turn.names)
    except MissingNameError as error:
        return False, error.path
    if value is not True and value is not False:
        raise ExpressionError(f"a condition must give true or false, not {type(value).__name__}", condition.source)
    return value, ""


def _verdicts(turn: Turn, routes: Routes, at: int) -> list[e.ConnectionDecided] | None:
    """Return a decision for each conditional connection; None if one could not be evaluated, which halts."""
    decided: list[e.ConnectionDecided] = []
    taken_before = False
    for connection in routes.conditional:
        try:
            is_over = taken_before and routes.takes_first
            taken, missing = (False, "") if is_over else _verdict(turn, connection, taken_before)
        except ExpressionError as error:
            halt(turn, _condition_error(connection, error), at)
            return None
        taken_before = taken_before or (taken and not connection.otherwise)
        decided.append(
            e.ConnectionDecided(
                connection=connection.index,
                source=connection.source_id,
                target=connection.target_id,
                taken=taken,
                missing=missing,
                at=at,
            )
        )
    return decided


def _verdict(turn: Turn, connection: PlanConnection, taken_before: bool) -> tuple[bool, str]:  # noqa: FBT001 - private
    if connection.condition is None:
        return not taken_before, ""
    return _evaluate(turn, connection.condition)


def _condition_error(connection: PlanConnection, error: ExpressionError) -> StepError:
    return StepError(
        type="ExpressionError",
        message=f"condition of connection {connection.source_id!r} -> {connection.target_id!r}: {error}",
        details={"connection": connection.index, "source": connection.source_id, "target": connection.target_id},
    )


def _handle_failure(turn: Turn, node: PlanNode, error: StepError, at: int) -> None:
    verdicts = _verdicts(turn, node.on_failure, at)
    if verdicts is None:
        return
    if node.on_failure.active or any(one.taken for one in verdicts):
        turn.emit(e.FailureHandled(step=node.id, by=HANDLED_BY_CONNECTION, at=at))
        for event in verdicts:
            turn.emit(event)
    elif node.node.continue_on_error:
        turn.emit(e.FailureHandled(step=node.id, by=HANDLED_BY_CONTINUE, at=at))
        route(turn, node.on_success, at)
    else:
        halt(turn, error, at)
