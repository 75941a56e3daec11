"""Steps that were undone count as not run: a retry runs them again, and all that follows them.

A step in a body takes the step around it at the top with it, since a body that completed is not entered again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.machine.folding.connections import find_step
from treadle.machine.state import ACTIVE, UNDECIDED
from treadle.machine.transitions import PENDING
from treadle.model import StepStatus

if TYPE_CHECKING:
    from treadle.machine.graph import PlanNode
    from treadle.machine.scope import Scope
    from treadle.machine.state import State


def forget_undone(state: State) -> None:
    """Let what was undone, and all that follows it, be as if it had never been reached."""
    again: set[int] = set()
    for step, one in state.compensations.items():
        if one.status is StepStatus.COMPLETED:
            scope, node = find_step(state, step)
            scope.attempts[node.index] = one.attempt  # a number names one call, also of the compensation
            state.undone[step] = state.undone.get(step, 0) + 1
            again.add(_top(scope, node))
    _add_followers(state.root, again)
    state.done = [step for step in state.done if _top(*find_step(state, step)) not in again]
    state.compensations = {}
    state.undoes = False
    for index in again:
        _forget(state, state.root, state.root.graph.nodes[index])


def _top(scope: Scope, node: PlanNode) -> int:
    """Return the index of the step at the top that is, or holds, a step."""
    index = node.index
    while scope.parent is not None:
        scope, index = scope.parent, scope.holder
    return index


def _add_followers(scope: Scope, found: set[int]) -> None:
    agenda = list(found)
    while agenda:
        for connection in scope.graph.nodes[agenda.pop()].outgoing:
            if connection.target not in found:
                found.add(connection.target)
                agenda.append(connection.target)


def _forget(state: State, scope: Scope, node: PlanNode) -> None:
    index = node.index
    if scope.phases[index] != PENDING:
        scope.reopen(index)
    scope.outputs[index] = None
    for kept in (scope.values, scope.parameters, scope.handled):
        kept.pop(index, None)
    if scope.groups.pop(index, None) is not None:
        _forget_bodies(state, index)
    for connection in node.outgoing:
        verdict = scope.connections[connection.index]
        if verdict != UNDECIDED:
            scope.connections[connection.index] = UNDECIDED
            scope.undecided[connection.target] += 1
            scope.active[connection.target] -= verdict == ACTIVE


def _forget_bodies(state: State, holder: int) -> None:
    """Let go of all bodies within a step at the top."""
    for path, body in list(state.bodies.items()):
        if _top(body, body.graph.nodes[0]) == holder:
            del state.bodies[path]
            for key in body.keys:
                state.places.pop(key, None)
