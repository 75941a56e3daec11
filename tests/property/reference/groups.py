"""Maps, loops and parallels: which body begins next, and how the step ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.property.reference.expressions import NoBoolean
from tests.property.reference.parts import Scope, Step

from treadle.model import NodeType, OnFailure

if TYPE_CHECKING:
    from tests.property.reference.execution import Reference


def begin(execution: Reference, step: Step) -> None:
    """Begin a group that was reached; a map over something else than a list fails."""
    if step.node.type is NodeType.MAP:
        items = execution.resolve(step.node.items, step.scope)
        if not isinstance(items, list):
            execution.fail(step, "ValidationError")
            return
        step.items = items
    execution.put(step, "RUNNING")
    execution.time_out(step, "timeout", step.node.timeout_ms)
    execution.going.append(step)


def go_on(execution: Reference, step: Step) -> None:
    """Do what follows from the end of a body, or from there being none yet."""
    if step.status != "RUNNING" or step.scope.ending is not None:
        return
    if step.failing is not None:
        if not step.is_flying:
            execution.stop_at_once(step)
            execution.fail(step, step.failing[0], at=step.failing[1])
        return
    over = sorted((body for body in step.bodies if body.result is not None), key=lambda body: body.since)
    results = [body.result for body in over if body.result is not None]
    try:
        match step.node.type:
            case NodeType.MAP:
                _go_on_mapping(execution, step, results)
            case NodeType.LOOP:
                _go_on_looping(execution, step, results)
            case _:
                _go_on_beside(execution, step, results)
    except NoBoolean:
        _fail(execution, step, ("ExpressionError", step.key))


def _fail(execution: Reference, step: Step, error: tuple[str, str]) -> None:
    """Nothing new starts in its bodies; it fails once what is in flight in them has ended."""
    step.failing = error
    for body in step.open_bodies:
        execution.end(body, "STOPPED", None, cancels=step.node.on_failure is OnFailure.CANCEL)
    go_on(execution, step)


def _begin_body(execution: Reference, step: Step, names: dict[str, Any]) -> None:
    assert step.node.body is not None
    path = step.key if step.node.type is NodeType.PARALLEL else f"{step.key}[{len(step.bodies)}]"
    body = Scope(step.node.body, path, step, names)
    step.bodies.append(body)
    for inner in body.steps:
        execution.look_at(inner)


def _go_on_beside(execution: Reference, step: Step, results: list[tuple[str, Any, Any]]) -> None:
    if not results:
        _begin_body(execution, step, {})
    elif results[0][0] == "COMPLETED":
        execution.complete(step, results[0][2])
    else:
        _fail(execution, step, results[0][1])


def _go_on_looping(execution: Reference, step: Step, results: list[tuple[str, Any, Any]]) -> None:
    """``until`` is looked at behind an iteration and sees its number, ``while`` before one and sees that one's."""
    node, done = step.node, len(results)
    status, error, previous = results[-1] if results else ("COMPLETED", None, None)
    behind, before = {"previous": previous, "index": done - 1}, {"previous": previous, "index": done}
    if status != "COMPLETED":
        _fail(execution, step, error)
        return
    ends = bool(results) and node.until is not None and execution.holds(node.until, step.scope, behind)
    if ends or (node.repeat_while is not None and not execution.holds(node.repeat_while, step.scope, before)):
        execution.complete(step, previous)
    elif done == node.max_iterations:
        execution.fail(step, "MaxIterationsExceeded")
    else:
        _begin_body(execution, step, before)


def _go_on_mapping(execution: Reference, step: Step, results: list[tuple[str, Any, Any]]) -> None:
    """It fails with the first failure too many, is complete once all items are or ``complete_when`` says so."""
    node, items = step.node, step.items or []
    failed = [error for status, error, _ in results if status != "COMPLETED"]
    done = [output for status, _, output in results if status == "COMPLETED"]
    tolerated = _tolerated(node.tolerate, len(items))
    if len(failed) > tolerated:
        _fail(execution, step, failed[tolerated])
        return
    names = {"results": done, "completed": len(done), "failed": len(failed), "total": len(items)}
    is_complete = node.complete_when is not None and execution.holds(node.complete_when, step.scope, names)
    if is_complete or len(results) == len(items):
        execution.stop_at_once(step)
        execution.complete(step, [_output(step, number) for number in range(len(items))])
        return
    while len(step.bodies) < len(items) and len(step.open_bodies) < (node.max_concurrency or len(items)):
        number = len(step.bodies)
        _begin_body(execution, step, {node.item_name or "item": items[number], "index": number})


def _tolerated(tolerate: int | str, total: int) -> int:
    return tolerate if isinstance(tolerate, int) else int(float(tolerate.removesuffix("%")) * total / 100)


def _output(step: Step, number: int) -> Any:
    """Return what an item gave; null for one that failed, was cancelled, or never began."""
    result = step.bodies[number].result if number < len(step.bodies) else None
    return result[2] if result is not None and result[0] == "COMPLETED" else None


def winner(scope: Scope) -> Step | None:
    """Return the leaf of a race that succeeded first; None where there is no race, or no winner yet."""
    won = [step for step in scope.steps if step.status == "COMPLETED" and not scope.outgoing(step)]
    return min(won, key=lambda step: step.since) if scope.is_race and won else None
