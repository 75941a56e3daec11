"""How an attempt starts: its parameters are resolved, once; a step whose input is missing asks for it instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.errors import ExpressionError
from treadle.expressions import MissingNameError, compile_path
from treadle.machine import events as e
from treadle.machine.commands import RunStep
from treadle.machine.endings import pause_for_input
from treadle.machine.failures import give_up
from treadle.machine.plan import OnMissingInput
from treadle.machine.routing import fail
from treadle.machine.turn import limits_of
from treadle.model import StepError
from treadle.values import PayloadError, encode_payload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from msgspec import Raw

    from treadle.expressions import Expression
    from treadle.expressions import Scope as Names
    from treadle.machine.calls import PlanCall
    from treadle.machine.graph import PlanNode
    from treadle.machine.scope import Scope
    from treadle.machine.turn import Turn


def begin_attempt(turn: Turn, scope: Scope, node: PlanNode, at: int) -> None:
    """Start the next attempt of a ready step, unless it asks for input or fails."""
    step = scope.keys[node.index]
    attempt = scope.attempts[node.index] + 1
    call = scope.call(node)
    if call is node and node.limits and not _has_limits(turn, scope, node, at):
        return
    known = call.constant if call.constant is not None else scope.parameters.get(node.index)
    parameters = known if known is not None else _resolve(turn, scope, node, call, at)
    if parameters is None:
        return
    recorded = e.ABSENT if known is not None else parameters
    turn.emit(e.StepStarted(step=step, attempt=attempt, parameters=recorded, at=at))
    turn.commands.append(RunStep(step, attempt, call.node, parameters, call.parameters.secrets, call.role))


def _has_limits(turn: Turn, scope: Scope, node: PlanNode, at: int) -> bool:
    """Tell whether the keys of the limits of a step can be evaluated; fail it where they cannot."""
    try:
        limits_of(node, turn.names(scope))
    except (MissingNameError, ExpressionError) as error:
        step = scope.keys[node.index]
        fail(turn, scope, node, StepError(type=type(error).__name__, message=f"limits: {error}", step=step), at)
        return False
    return True


def _resolve(turn: Turn, scope: Scope, node: PlanNode, call: PlanNode | PlanCall, at: int) -> Raw | None:
    """Return the encoded parameters; None where the step asks for input instead, or fails."""
    step = scope.keys[node.index]
    try:
        return encode_payload(call.parameters.resolve(turn.names(scope)), turn.state.plan.limits)
    except MissingNameError as error:
        if error.root == "input":
            _ask(turn, scope, node, call, at)
            return None
        failure = StepError(type="MissingNameError", message=str(error), step=step, details={"missing": error.path})
    except (ExpressionError, PayloadError) as error:
        failure = StepError(type=type(error).__name__, message=f"parameters: {error}", step=step)
    if call is node:
        fail(turn, scope, node, failure, at)
    else:
        give_up(turn, scope, node, failure, at, attempt=scope.attempts[node.index])
    return None


def _ask(turn: Turn, scope: Scope, node: PlanNode, call: PlanNode | PlanCall, at: int) -> None:
    missing: dict[str, None] = {}
    names = turn.names(scope)
    for _, expression in call.parameters.expressions:
        try:
            expression.evaluate(names)
        except MissingNameError as error:
            if error.root == "input":
                missing[error.path] = None
            missing.update(dict.fromkeys(_missing_inputs(names, expression)))
        except ExpressionError:
            continue  # it fails the step once the inputs are there, if it still does
    turn.emit(e.StepPaused(step=scope.keys[node.index], missing=tuple(missing), at=at))
    if turn.state.plan.on_missing_input is OnMissingInput.PAUSE_EXECUTION:
        pause_for_input(turn, at)


def _missing_inputs(names: Names, expression: Expression) -> Iterator[str]:
    """Yield the inputs that are surely read by an expression and are not there, not only the first it meets."""
    for one in expression.references:
        if one.root == "input" and one.is_sure:
            try:
                compile_path(one.text, one.root, *one.path).evaluate(names)
            except MissingNameError as error:
                yield error.path
