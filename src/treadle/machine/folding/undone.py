"""Steps that were undone count as not run: a retry runs them again, and all that follows them.

A step in a body takes the step around it at the top with it, since a body that completed is not entered again. What had
completed is another call then, and nobody may take it for the one that is over: it has another idempotency key, and a
child is another execution. A step that failed keeps its key, since what it did is not known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.machine.folding.connections import find_step
from treadle.machine.state import ACTIVE, UNDECIDED
from treadle.machine.transitions import COMPLETED, PENDING
from treadle.model import NodeType, StepStatus
from treadle.paths import body_path

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
    _begin_anew(state, scope, node)
    if scope.phases[index] != PENDING:
        scope.reopen(index)
    if node.node.type is NodeType.WORKFLOW and scope.attempts[index]:
        scope.rounds[index] = scope.attempts[index]
    scope.outputs[index] = None
    for kept in (scope.values, scope.parameters, scope.handled):
        kept.pop(index, None)
    _forget_bodies(state, scope, node)
    for connection in node.outgoing:
        verdict = scope.connections[connection.index]
        if verdict != UNDECIDED:
            scope.connections[connection.index] = UNDECIDED
            scope.undecided[connection.target] += 1
            scope.active[connection.target] -= verdict == ACTIVE


def _begin_anew(state: State, scope: Scope, node: PlanNode) -> None:
    """See to it that what a step calls next is no repeat of what it called before."""
    index, step = node.index, scope.keys[node.index]
    is_child = node.node.type is NodeType.WORKFLOW
    if (node.is_action and scope.phases[index] == COMPLETED) or (is_child and scope.attempts[index]):
        state.anew[step] = state.anew.get(step, 0) + 1
    if scope.parent is not None and scope.attempts[index]:
        state.numbers[step] = scope.attempts[index]


def _forget_bodies(state: State, scope: Scope, node: PlanNode) -> None:
    """Let go of all bodies within a step."""
    agenda = [(scope, node)]
    while agenda:
        around, holder = agenda.pop()
        group = around.groups.pop(holder.index, None)
        is_numbered = holder.node.type is not NodeType.PARALLEL
        for number in range(group.begun if group is not None else 0):
            is_top = around.parent is None
            path = body_path(around.keys[holder.index], number if is_numbered else None, is_top=is_top)
            body = state.bodies.pop(path, None)
            if body is None:  # an iteration that is gone had completed
                state.anew[path] = state.anew.get(path, 0) + 1
                continue
            for inner in body.graph.nodes:
                _begin_anew(state, body, inner)
                state.places.pop(body.keys[inner.index], None)
            agenda.extend((body, body.graph.nodes[index]) for index in body.groups)
