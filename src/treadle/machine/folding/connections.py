"""Connections and joins: counts of what is decided, and the nodes that those counts have met or lost. O(degree)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from treadle.errors import ReplayError
from treadle.machine import events as e
from treadle.machine.state import ACTIVE, DEAD
from treadle.machine.transitions import PENDING, READY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from treadle.machine.graph import PlanConnection, PlanNode, Routes
    from treadle.machine.scope import Scope
    from treadle.machine.state import State


def find_step(state: State, step: str) -> tuple[Scope, PlanNode]:
    """Return the scope and the node of a step.

    Raises:
        ReplayError: There is none of that key.
    """
    index = state.plan.index.get(step)
    if index is not None:
        return state.root, state.plan.nodes[index]
    found = state.places.get(step)
    if found is None:
        raise ReplayError(f"the definition has no step {step!r}", state.execution_id)
    return found


def find_scope(state: State, path: str) -> Scope:
    """Return the root (``""``) or the body of a path.

    Raises:
        ReplayError: There is none of that path.
    """
    if not path:
        return state.root
    found = state.bodies.get(path)
    if found is None:
        raise ReplayError(f"there is no body {path!r}", state.execution_id)
    return found


def reach(state: State, scope: Scope, node: PlanNode) -> None:
    """Note that the join is met: a plain action is ready, everything else is the machine's next move."""
    if node.condition is None and node.is_action and not node.rest and not state.kept_steps:
        scope.phases[node.index] = READY
        state.make_ready(scope.keys[node.index], node)
    else:
        state.agenda.append((scope, node))


def look_again(state: State, scope: Scope, node: PlanNode) -> None:
    """Note whether the join of a step that was never reached is met or lost by what is decided now."""
    undecided, active = scope.undecided[node.index], scope.active[node.index]
    if not node.indegree or (active >= node.need if node.need else active and not undecided):
        reach(state, scope, node)
    elif active + undecided < max(node.need, 1):
        state.agenda.append((scope, node))


def is_met(scope: Scope, node: PlanNode) -> bool:
    """Tell whether the join of a node on the agenda is met; if not, it can no longer be."""
    return not node.indegree or scope.active[node.index] >= max(node.need, 1)


def route(state: State, scope: Scope, routes: Routes) -> None:
    """Decide the connections that nothing has to be looked at for."""
    if scope.ending is not None:
        return
    for connection in routes.active:
        _decide(state, scope, connection, ACTIVE)
    for connection in routes.dead:
        _decide(state, scope, connection, DEAD)


def route_rest(state: State, scope: Scope, routes: Routes) -> None:
    """Decide those connections that nothing has to be looked at for and that are not decided yet."""
    for connections, verdict in ((routes.active, ACTIVE), (routes.dead, DEAD)):
        for connection in connections:
            if not scope.connections[connection.index]:
                _decide(state, scope, connection, verdict)


def kill(state: State, scope: Scope, connections: Iterable[PlanConnection]) -> None:
    """Decide connections that are not taken, unless the scope is ending."""
    if scope.ending is None:
        for connection in connections:
            _decide(state, scope, connection, DEAD)


def _connection_decided(state: State, event: e.ConnectionDecided) -> None:
    scope = find_scope(state, event.body)
    connections = scope.graph.connections
    if not 0 <= event.connection < len(connections):
        raise ReplayError(f"the definition has no connection {event.connection}", state.execution_id)
    _decide(state, scope, connections[event.connection], ACTIVE if event.taken else DEAD)


def _decide(state: State, scope: Scope, connection: PlanConnection, verdict: int) -> None:
    if scope.connections[connection.index]:
        raise ReplayError(f"connection {connection.index} was decided before", state.execution_id)
    scope.connections[connection.index] = verdict
    target = connection.target
    scope.undecided[target] -= 1
    if verdict == ACTIVE:
        scope.active[target] += 1
    if scope.phases[target] == PENDING:
        _look_at_join(state, scope, scope.graph.nodes[target], verdict)


def _look_at_join(state: State, scope: Scope, node: PlanNode, verdict: int) -> None:
    """Note whether this one decision met the join of ``node``, or lost it; each happens at most once."""
    undecided, active = scope.undecided[node.index], scope.active[node.index]
    if not node.need:
        if undecided:
            return
        met, lost = active > 0, active == 0
    else:
        met = verdict == ACTIVE and active == node.need
        lost = verdict == DEAD and active + undecided == node.need - 1
    if met:
        reach(state, scope, node)
    elif lost:
        state.agenda.append((scope, node))


APPLY: Final[dict[type[e.Event], Callable[[State, Any], None]]] = {e.ConnectionDecided: _connection_decided}
"""As in ``executions``."""
