"""What comes from outside of the execution: events, and other executions that steps have started."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, Final

from treadle.machine import events as e
from treadle.machine.folding.connections import find_step, route
from treadle.machine.folding.steps import begin_wait, end_step, fly, note_done
from treadle.machine.state import GROUP_TIMEOUT, WAIT
from treadle.machine.transitions import COMPLETED, READY, RUNNING
from treadle.model import NodeType
from treadle.values import decode_payload, encode_decoded

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgspec import Raw

    from treadle.machine.state import State


def _event_awaited(state: State, event: e.EventAwaited) -> None:
    begin_wait(state, event.step, event.at)
    state.listening[event.step] = ((0, event.name, event.key),)
    if event.due:
        heapq.heappush(state.timers, (event.due, WAIT, event.step, 0))


def _event_kept(state: State, event: e.EventKept) -> None:
    state.kept[event.event_id] = (event.name, event.key, event.data)
    state.requests.add(event.event_id)


def _event_received(state: State, event: e.EventReceived) -> None:
    scope, node = find_step(state, event.step)
    kept = state.kept.pop(event.event_id, None)
    data = event.data if kept is None else kept[2]
    state.requests.add(event.event_id)
    end_step(state, scope, node, COMPLETED, event.at)
    if node.node.type is NodeType.WAIT:
        data = encode_decoded({"timer": event.timer, "event": event.name, "data": decode_payload(data)})
    scope.outputs[node.index] = data
    route(state, scope, node.on_success)


def _child_requested(state: State, event: e.ChildRequested) -> None:
    scope, node = find_step(state, event.step)
    scope.move(node.index, READY)
    scope.move(node.index, RUNNING)  # without a slot
    scope.started_at[node.index] = event.at
    scope.attempts[node.index] += 1
    scope.parameters[node.index] = event.input
    state.children[event.step] = event.child
    fly(scope)
    if node.node.timeout_ms is not None:
        heapq.heappush(state.timers, (state.clock(event.at) + node.node.timeout_ms, GROUP_TIMEOUT, event.step, 0))


def _child_started(state: State, event: e.ChildStarted) -> None:
    _child_done(state, event.step, encode_decoded({"execution_id": event.child}), event.at)


def _child_completed(state: State, event: e.ChildCompleted) -> None:
    _child_done(state, event.step, event.output, event.at)


def _child_done(state: State, step: str, output: Raw, at: int) -> None:
    scope, node = find_step(state, step)
    end_step(state, scope, node, COMPLETED, at)
    scope.outputs[node.index] = output
    note_done(state, scope, node)
    route(state, scope, node.on_success)


def _child_paused(state: State, event: e.ChildPaused) -> None:
    find_step(state, event.step)
    state.resting[event.step] = event.waiting_for


def _child_resumed(state: State, event: e.ChildResumed) -> None:
    find_step(state, event.step)
    state.resting.pop(event.step, None)


APPLY: Final[dict[type[e.Event], Callable[[State, Any], None]]] = {
    e.EventAwaited: _event_awaited,
    e.EventKept: _event_kept,
    e.EventReceived: _event_received,
    e.ChildRequested: _child_requested,
    e.ChildStarted: _child_started,
    e.ChildCompleted: _child_completed,
    e.ChildPaused: _child_paused,
    e.ChildResumed: _child_resumed,
}
"""As in ``executions``."""
