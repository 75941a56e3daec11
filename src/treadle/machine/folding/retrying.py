"""A retry: an execution that has ended goes on where it failed. What completed stays, unless it was undone."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, Final

from treadle.errors import ReplayError
from treadle.machine import events as e
from treadle.machine.folding.connections import look_again, reach, route_rest
from treadle.machine.folding.steps import HANDLED_BY_RACE
from treadle.machine.folding.undone import forget_undone
from treadle.machine.state import DEAD, EXECUTION_TIMEOUT, GROUP_TIMEOUT, UNDECIDED
from treadle.machine.transitions import CANCELLED, COMPLETED, FAILED, PENDING, RETRIED_FROM, RUNNING, SKIPPED, TIMED_OUT
from treadle.model import ExecutionStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.machine.graph import PlanNode
    from treadle.machine.scope import Group, Scope
    from treadle.machine.state import State


def _execution_retried(state: State, event: e.ExecutionRetried) -> None:
    if state.status not in RETRIED_FROM:
        raise ReplayError(f"it cannot be retried while it is {state.status.value}", state.execution_id)
    state.status = ExecutionStatus.RUNNING
    state.ended_at = 0
    state.error = None
    state.deadline_passed = False
    if state.paused_at is not None:
        state.paused_ms += event.at - state.paused_at
        state.paused_at = None
    if event.request:
        state.requests.add(event.request)
    state.retries += event.new_key
    forget_undone(state)
    timeout = state.plan.workflow.timeout_ms
    if timeout is not None:
        heapq.heappush(state.timers, (state.clock(event.at) + timeout, EXECUTION_TIMEOUT, "", 0))
    _reopen(state, state.root, event.at)


def _reopen(state: State, scope: Scope, at: int) -> None:
    """Let what failed or was dropped in a scope be reached again, and route what ended while it was ending."""
    scope.ending = None
    pending = [node for node in scope.graph.nodes if scope.phases[node.index] == PENDING]
    for node in scope.graph.nodes:
        phase, index = scope.phases[node.index], node.index
        lost = scope.handled.get(index) == HANDLED_BY_RACE
        failed = phase in (FAILED, TIMED_OUT) and (index not in scope.handled or lost)
        if lost:
            del scope.handled[index]
            _unroute(scope, node)
        if failed or (phase == CANCELLED and index in scope.dropped):
            _again(state, scope, node, at)
        elif phase == COMPLETED and any(not scope.connections[one.index] for one in node.outgoing):
            route_rest(state, scope, node.on_success)
            state.unrouted.append((scope, node))
    known = set(map(id, (node for reached, node in state.agenda if reached is scope)))
    for node in pending:
        if scope.phases[node.index] == PENDING and id(node) not in known:
            look_again(state, scope, node)


def _unroute(scope: Scope, node: PlanNode) -> None:
    """Take back that the connections of a step were not taken, and what was skipped because of that."""
    agenda = [node]
    while agenda:
        for connection in agenda.pop().outgoing:
            if scope.connections[connection.index] == DEAD:
                scope.connections[connection.index] = UNDECIDED
                scope.undecided[connection.target] += 1
                if scope.phases[connection.target] == SKIPPED:
                    scope.reopen(connection.target)
                    agenda.append(scope.graph.nodes[connection.target])


def _again(state: State, scope: Scope, node: PlanNode, at: int) -> None:
    group = scope.groups.get(node.index)
    scope.reopen(node.index)
    if group is None:
        reach(state, scope, node)
        return
    scope.phases[node.index] = RUNNING
    scope.started_at[node.index] = at
    if node.node.timeout_ms is not None:
        due = state.clock(at) + node.node.timeout_ms
        heapq.heappush(state.timers, (due, GROUP_TIMEOUT, scope.keys[node.index], 0))
    _reopen_bodies(state, group, at)
    state.going.append((scope, node))


def _reopen_bodies(state: State, group: Group, at: int) -> None:
    done = set(group.done)
    group.error = None
    group.errors.clear()
    for number, body in group.kept.items():
        if number not in done:
            group.open[number] = body
            _reopen(state, body, at)
            if not body.open or body.winner is not None:
                state.settling.append(body)


APPLY: Final[dict[type[e.Event], Callable[[State, Any], None]]] = {e.ExecutionRetried: _execution_retried}
"""As in ``executions``."""
