"""Maps, loops and parallels: their bodies begin, end, and add up to what the step gives."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, Final

from msgspec import Raw

from treadle.errors import ReplayError
from treadle.machine import events as e
from treadle.machine.folding.connections import find_step, reach, route
from treadle.machine.folding.executions import begin_ending
from treadle.machine.folding.steps import close_body, end_step
from treadle.machine.scope import STOPPED, Ending, Group, Scope
from treadle.machine.state import GROUP_TIMEOUT, YIELD
from treadle.machine.transitions import COMPLETED, PENDING, READY, RUNNING
from treadle.model import ExecutionStatus, NodeType
from treadle.values import NULL, decode_payload, encode_decoded

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.machine.graph import PlanNode
    from treadle.machine.state import State
    from treadle.model import JsonValue


def _group_started(state: State, event: e.GroupStarted) -> None:
    scope, node = find_step(state, event.step)
    if node.group is None:
        raise ReplayError(f"step {event.step!r} has no body", state.execution_id)
    scope.move(node.index, READY)
    scope.move(node.index, RUNNING)  # without a slot
    scope.started_at[node.index] = event.at
    scope.groups[node.index] = Group(None if event.items is e.ABSENT else decode_payload(event.items))
    state.going.append((scope, node))
    if node.node.timeout_ms is not None:
        due = state.clock(event.at) + node.node.timeout_ms
        heapq.heappush(state.timers, (due, GROUP_TIMEOUT, event.step, 0))


def _body_started(state: State, event: e.BodyStarted) -> None:
    scope, node = find_step(state, event.step)
    group = _group(state, scope, node)
    if event.number != group.begun:
        raise ReplayError(f"body {event.number} of {event.step!r} is out of turn", state.execution_id)
    for number in range(event.number, event.number + event.count):
        if node.node.type is NodeType.LOOP:
            _forget_iteration(state, group)
        _open_body(state, scope, node, group, number)
    group.begun += event.count


def _open_body(state: State, scope: Scope, node: PlanNode, group: Group, number: int) -> None:
    assert node.group is not None  # it has begun
    graph = node.group.body
    body = Scope.of_body(scope, node.index, graph, number, _names(node, group, number))
    if state.numbers:
        _count_on(state, body)
    group.open[number] = group.kept[number] = body
    state.bodies[body.path] = body
    state.places.update(zip(body.keys, ((body, inner) for inner in graph.nodes), strict=True))
    for index in graph.entries:
        reach(state, body, graph.nodes[index])


def _count_on(state: State, body: Scope) -> None:
    """Let the steps of a body that is begun anew go on counting their attempts."""
    for index, key in enumerate(body.keys):
        body.attempts[index] = state.numbers.pop(key, 0)
        if body.attempts[index] and body.graph.nodes[index].node.type is NodeType.WORKFLOW:
            body.rounds[index] = body.attempts[index]


def _names(node: PlanNode, group: Group, number: int) -> dict[str, JsonValue]:
    """Return what the expressions of a body see; empty for a parallel, of which there is one."""
    if group.items is not None and node.group is not None:
        return {node.group.item_name: group.items[number], "index": number}
    if node.node.type is NodeType.LOOP:
        return {"index": number, "previous": None if group.last is None else decode_payload(group.last)}
    return {}


def _forget_iteration(state: State, group: Group) -> None:
    """Let go of the iteration before, and of all that was within it, unless some of it may have to be undone."""
    agenda = [body for body in group.kept.values() if not body.graph.undoes]
    group.kept.clear()
    while agenda:
        body = agenda.pop()
        state.bodies.pop(body.path, None)
        for key in body.keys:
            state.places.pop(key, None)
        agenda.extend(inner for within in body.groups.values() for inner in within.kept.values())


def _group_yielded(state: State, event: e.GroupYielded) -> None:
    group = _group(state, *find_step(state, event.step))
    if event.begun != group.begun:
        raise ReplayError(f"not {event.begun} bodies of {event.step!r} have begun", state.execution_id)
    heapq.heappush(state.timers, (state.clock(event.at), YIELD, event.step, event.begun))


def _body_completed(state: State, event: e.BodyCompleted) -> None:
    group, body = _end_body(state, event.step, event.number, event.at)
    output = body_output(body) if event.output is e.ABSENT else event.output
    group.last = output
    if group.items is not None:
        group.outputs[event.number] = output
        group.done.append(event.number)
    else:
        group.done = [event.number]


def _body_failed(state: State, event: e.BodyFailed) -> None:
    group, _ = _end_body(state, event.step, event.number, event.at)
    group.errors[event.number] = event.error


def _end_body(state: State, step: str, number: int, at: int) -> tuple[Group, Scope]:
    scope, node = find_step(state, step)
    group = _group(state, scope, node)
    body = group.open.pop(number, None)
    if body is None:
        raise ReplayError(f"body {number} of {step!r} is not open", state.execution_id)
    close_body(state, body, at)
    state.going.append((scope, node))
    return group, body


def _body_halted(state: State, event: e.BodyHalted) -> None:
    scope, node = find_step(state, event.step)
    body = _group(state, scope, node).open.get(event.number)
    if body is None:
        raise ReplayError(f"body {event.number} of {event.step!r} is not open", state.execution_id)
    begin_ending(body, Ending(ExecutionStatus.FAILED, event.error))
    if not body.flying:
        state.settling.append(body)


def _group_halted(state: State, event: e.GroupHalted) -> None:
    scope, node = find_step(state, event.step)
    group = _group(state, scope, node)
    group.error = event.error
    for body in group.open.values():
        begin_ending(body, STOPPED)
    state.going.append((scope, node))


def _group_completed(state: State, event: e.GroupCompleted) -> None:
    scope, node = find_step(state, event.step)
    group = _group(state, scope, node)
    end_step(state, scope, node, COMPLETED, event.at)
    scope.outputs[node.index] = _group_output(group)
    group.outputs = []
    route(state, scope, node.on_success)


def _group_output(group: Group) -> Raw:
    """Return what a map, a loop or a parallel gives; of a map the outputs in the order of the items."""
    if group.items is None:
        return NULL if group.last is None else group.last
    return Raw(b"[" + b",".join(b"null" if one is None else bytes(one) for one in group.outputs) + b"]")


def body_output(body: Scope) -> Raw:
    """Return what a body gives that has no ``output``: its only leaf's, or an object with one entry per leaf."""
    leaves = body.graph.leaves
    if len(leaves) == 1:
        output = body.outputs[leaves[0]]
        return NULL if output is None else output
    given = {body.graph.ids[leaf]: body.outputs[leaf] for leaf in leaves if body.outputs[leaf] is not None}
    return encode_decoded(given)


def _group(state: State, scope: Scope, node: PlanNode) -> Group:
    group = scope.groups.get(node.index)
    if group is None or scope.phases[node.index] == PENDING:
        raise ReplayError(f"step {scope.keys[node.index]!r} has not begun", state.execution_id)
    return group


APPLY: Final[dict[type[e.Event], Callable[[State, Any], None]]] = {
    e.GroupStarted: _group_started,
    e.GroupHalted: _group_halted,
    e.GroupYielded: _group_yielded,
    e.GroupCompleted: _group_completed,
    e.BodyStarted: _body_started,
    e.BodyHalted: _body_halted,
    e.BodyCompleted: _body_completed,
    e.BodyFailed: _body_failed,
}
"""As in ``executions``."""
