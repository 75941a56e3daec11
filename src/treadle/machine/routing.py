"""What follows the end of a step: conditions, joins, skips, handled failures. Dead paths are followed iteratively."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.errors import ExpressionError, ValidationError
from treadle.expressions import Expression, MissingNameError
from treadle.machine import events as e
from treadle.machine.endings import halt
from treadle.machine.folding import HANDLED_BY_CONNECTION, HANDLED_BY_CONTINUE, HANDLED_BY_RACE, is_met
from treadle.machine.kinds import enter
from treadle.machine.transitions import PAUSED, READY
from treadle.model import OnSkip, StepError

if TYPE_CHECKING:
    from treadle.expressions import Scope as Names
    from treadle.machine.graph import PlanConnection, PlanNode, Routes
    from treadle.machine.scope import Scope
    from treadle.machine.turn import Turn


def route(turn: Turn, scope: Scope, routes: Routes, at: int) -> None:
    """Decide the conditional connections of a step that ended; ``apply`` has decided the others."""
    if routes.conditional and scope.is_routing:
        verdicts = _verdicts(turn, scope, routes, at)
        for event in verdicts or ():
            turn.emit(event)


def fail(
    turn: Turn, scope: Scope, node: PlanNode, error: StepError, at: int, *, attempt: int = 0, timed_out: bool = False
) -> None:
    """End a step that failed for good, and decide what its failure means for what is around it."""
    kind = e.StepTimedOut if timed_out else e.StepFailed
    turn.emit(kind(step=scope.keys[node.index], attempt=attempt, error=error, at=at))
    if scope.is_routing:
        _handle_failure(turn, scope, node, error, at)


def move_reached(turn: Turn, at: int) -> None:
    """Move every node on the agenda: skip what was lost, pass triggers, look at the nodes' own conditions."""
    agenda = turn.state.agenda
    done = 0
    while done < len(agenda):
        scope, node = agenda[done]
        done += 1
        if scope.is_routing:
            _move(turn, scope, node, at)
    agenda.clear()


def _move(turn: Turn, scope: Scope, node: PlanNode, at: int) -> None:
    if not is_met(scope, node):
        turn.emit(e.StepSkipped(step=scope.keys[node.index], reason="join", at=at))
        return
    for other in node.rest:
        if READY <= scope.phases[other] <= PAUSED:
            cancel_step(turn, scope, scope.graph.nodes[other], at)
    if node.condition is None or _is_taken(turn, scope, node, node.condition, at):
        _enter(turn, scope, node, at)


def cancel_step(turn: Turn, scope: Scope, node: PlanNode, at: int, *, request: str = "") -> None:
    """Cancel one step that has begun, with all that is in its bodies; its connections are dead."""
    turn.cancel_attempts(scope, node)
    turn.emit(e.StepCancelled(step=scope.keys[node.index], request=request, at=at))


def _enter(turn: Turn, scope: Scope, node: PlanNode, at: int) -> None:
    kept = turn.state.kept_steps.get(scope.keys[node.index])
    if kept is not None:
        _keep(turn, scope, node, kept, at)
        return
    try:
        if enter(turn, scope, node, at):
            route(turn, scope, node.on_success, at)
    except MissingNameError as error:
        details = {"missing": error.path}
        failure = StepError("MissingNameError", str(error), step=scope.keys[node.index], details=details)
        fail(turn, scope, node, failure, at)
    except ValidationError as error:
        message = f"{node.node.type.value}: {error}"
        fail(turn, scope, node, StepError(type(error).__name__, message, step=scope.keys[node.index]), at)


def _keep(turn: Turn, scope: Scope, node: PlanNode, kept: e.KeptStep, at: int) -> None:
    """End a step of a fork as it ended there; what follows is decided anew."""
    if kept.error is not None:
        fail(turn, scope, node, kept.error, at, attempt=kept.attempt)
        return
    turn.emit(e.StepKept(step=kept.step, output=kept.output, attempt=kept.attempt, at=at))
    route(turn, scope, node.on_success, at)


def _is_taken(turn: Turn, scope: Scope, node: PlanNode, condition: Expression, at: int) -> bool:
    """Evaluate a node's own condition; skip it, or fail it, where that is what follows."""
    step = scope.keys[node.index]
    try:
        taken, missing = evaluate(turn.names(scope), condition)
    except ExpressionError as error:
        message = f"condition of step {step!r}: {error}"
        fail(turn, scope, node, StepError(type="ExpressionError", message=message, step=step), at)
        return False
    if not taken:
        passes = node.node.on_skip is OnSkip.PASS
        turn.emit(e.StepSkipped(step=step, reason="condition", passes=passes, missing=missing, at=at))
        if passes:
            route(turn, scope, node.on_success, at)
    return taken


def evaluate(names: Names, condition: Expression) -> tuple[bool, str]:
    """Return whether a condition is taken, and the missing name it met (``""`` for none).

    Raises:
        ExpressionError: It cannot be evaluated, or gave no boolean.
    """
    try:
        value = condition.evaluate(names)
    except MissingNameError as error:
        return False, error.path
    if value is not True and value is not False:
        raise ExpressionError(f"a condition must give true or false, not {type(value).__name__}", condition.source)
    return value, ""


def _verdicts(turn: Turn, scope: Scope, routes: Routes, at: int) -> list[e.ConnectionDecided] | None:
    """Return a decision for each conditional connection; None if one could not be evaluated, which halts."""
    decided: list[e.ConnectionDecided] = []
    taken_before = False
    names = turn.names(scope)
    for connection in routes.conditional:
        try:
            is_over = taken_before and routes.takes_first
            taken, missing = (False, "") if is_over else _verdict(names, connection, taken_before)
        except ExpressionError as error:
            halt(turn, scope, _condition_error(scope, connection, error), at)
            return None
        taken_before = taken_before or (taken and not connection.otherwise)
        decided.append(
            e.ConnectionDecided(
                connection=connection.index,
                source=connection.source_id,
                target=connection.target_id,
                taken=taken,
                missing=missing,
                body=scope.path,
                at=at,
            )
        )
    return decided


def _verdict(names: Names, connection: PlanConnection, taken_before: bool) -> tuple[bool, str]:  # noqa: FBT001 - private
    if connection.condition is None:
        return not taken_before, ""
    return evaluate(names, connection.condition)


def _condition_error(scope: Scope, connection: PlanConnection, error: ExpressionError) -> StepError:
    where = f" in {scope.path}" if scope.path else ""
    return StepError(
        type="ExpressionError",
        message=f"condition of connection {connection.source_id!r} -> {connection.target_id!r}{where}: {error}",
        details={"connection": connection.index, "source": connection.source_id, "target": connection.target_id},
    )


def _handle_failure(turn: Turn, scope: Scope, node: PlanNode, error: StepError, at: int) -> None:
    verdicts = _verdicts(turn, scope, node.on_failure, at)
    if verdicts is None:
        return
    step = scope.keys[node.index]
    if node.on_failure.active or any(one.taken for one in verdicts):
        turn.emit(e.FailureHandled(step=step, by=HANDLED_BY_CONNECTION, at=at))
        for event in verdicts:
            turn.emit(event)
    elif node.node.continue_on_error:
        turn.emit(e.FailureHandled(step=step, by=HANDLED_BY_CONTINUE, at=at))
        route(turn, scope, node.on_success, at)
    elif scope.races:
        turn.emit(e.FailureHandled(step=step, by=HANDLED_BY_RACE, at=at))
    else:
        halt(turn, scope, error, at)
