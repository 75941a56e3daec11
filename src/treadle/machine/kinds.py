"""What each type of node does once its join is met and its condition is taken.

An action waits for a slot. What calls nothing is done, or begins to wait, within the turn that reached it; ``groups``
says how a map, a loop or a parallel goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from treadle.durations import parse_duration, parse_time
from treadle.errors import ValidationError
from treadle.machine import events as e
from treadle.machine.commands import StartChild
from treadle.machine.endings import end
from treadle.machine.mail import key_text, take_kept
from treadle.model import NodeType
from treadle.values import encode_payload, kind_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.expressions import Scope as Names
    from treadle.expressions import Template
    from treadle.machine.graph import PlanNode, PlanTimer
    from treadle.machine.scope import Scope
    from treadle.machine.state import State
    from treadle.machine.turn import Turn

Enter: TypeAlias = "Callable[[Turn, Scope, PlanNode, int], bool]"
"""Called with the turn, the scope, the node and the time; tells whether the node is done, so that it is routed."""


def enter(turn: Turn, scope: Scope, node: PlanNode, at: int) -> bool:
    """Begin a node, and tell whether it is done already."""
    return _ENTER[node.node.type](turn, scope, node, at)


def _action(turn: Turn, scope: Scope, node: PlanNode, at: int) -> bool:
    turn.emit(e.StepReady(step=scope.keys[node.index], at=at))
    return False


def _trigger(turn: Turn, scope: Scope, node: PlanNode, at: int) -> bool:
    turn.emit(e.TriggerPassed(step=scope.keys[node.index], at=at))
    return True


def _switch(turn: Turn, scope: Scope, node: PlanNode, at: int) -> bool:
    turn.emit(e.StepPassed(step=scope.keys[node.index], at=at))
    return True


def _set(turn: Turn, scope: Scope, node: PlanNode, at: int) -> bool:
    output = encode_payload(node.values.resolve(turn.names(scope)), turn.state.plan.limits)
    turn.emit(e.StepPassed(step=scope.keys[node.index], output=output, at=at))
    return True


def _wait(turn: Turn, scope: Scope, node: PlanNode, at: int) -> bool:
    now = turn.state.clock(at)
    due: list[tuple[int, int]] = []
    until: list[tuple[int, int]] = []
    events: list[tuple[int, str, str]] = []
    for number, timer in enumerate(node.timers):
        if timer.event:
            events.append((number, timer.event, _key(turn, scope, timer.key)))
            continue
        given = _milliseconds(turn.names(scope), timer)
        if timer.is_wall:
            until.append((number, given))
        else:
            due.append((number, now + given))
    turn.emit(
        e.WaitStarted(step=scope.keys[node.index], due=tuple(due), until=tuple(until), events=tuple(events), at=at)
    )
    return bool(events) and take_kept(turn, scope.keys[node.index], at)


def _key(turn: Turn, scope: Scope, key: Template | None) -> str:
    """Return the key of the events that a step waits for, as it is compared; ``""`` for any."""
    return "" if key is None else key_text(key.resolve(turn.names(scope)))


def _milliseconds(names: Names, timer: PlanTimer) -> int:
    if timer.known is not None:
        return timer.known
    value = timer.template.resolve(names)
    if not timer.is_wall:
        return parse_duration(value)
    found = parse_time(value) if isinstance(value, str) else None
    if found is None:
        raise ValidationError(f"{value!r:.80} is no time with its zone, such as 2026-01-31T09:00:00Z")
    return found


def _input(turn: Turn, scope: Scope, node: PlanNode, at: int) -> bool:
    timeout = node.node.timeout_ms
    default = e.ABSENT
    if node.default is not None:
        default = encode_payload(node.default.resolve(turn.names(scope)), turn.state.plan.limits)
    due = 0 if timeout is None else turn.state.clock(at) + timeout
    turn.emit(e.InputAsked(step=scope.keys[node.index], due=due, default=default, at=at))
    return False


def _event(turn: Turn, scope: Scope, node: PlanNode, at: int) -> bool:
    timeout = node.node.timeout_ms
    key = _key(turn, scope, node.key)
    due = 0 if timeout is None else turn.state.clock(at) + timeout
    turn.emit(e.EventAwaited(step=scope.keys[node.index], name=node.node.event, key=key, due=due, at=at))
    return node.node.buffer and take_kept(turn, scope.keys[node.index], at)


def _workflow(turn: Turn, scope: Scope, node: PlanNode, at: int) -> bool:
    state, step = turn.state, scope.keys[node.index]
    limit = state.plan.limits.max_depth
    if state.depth >= limit:
        raise ValidationError(f"executions within executions are more than {limit} deep; does it call itself?")
    given = node.input.resolve(turn.names(scope))
    if not isinstance(given, dict):
        raise ValidationError(f"input must be an object, not {kind_of(given)}")
    child, recorded = _child_id(state, step), encode_payload(given, state.plan.limits)
    workflow = node.node.workflow
    turn.emit(
        e.ChildRequested(step=step, child=child, workflow=workflow, input=recorded, waits=node.node.wait_for, at=at)
    )
    attempt, waits = scope.tries(node.index), node.node.wait_for
    turn.commands.append(StartChild(step, child, workflow, recorded, state.depth + 1, waits, attempt))
    return False


def _child_id(state: State, step: str) -> str:
    times = state.times_anew(step)
    return f"{state.execution_id}/{step}" + (f"#{times}" if times else "")


def _end(turn: Turn, scope: Scope, node: PlanNode, at: int) -> bool:
    end(turn, scope, node, at)
    return False


def _map(turn: Turn, scope: Scope, node: PlanNode, at: int) -> bool:
    assert node.group is not None  # a map has one
    items = node.group.items.resolve(turn.names(scope))
    limit = turn.state.plan.limits.max_items
    if not isinstance(items, list):
        raise ValidationError(f"items must be a list, not {kind_of(items)}")
    if len(items) > limit:
        raise ValidationError(f"{len(items):,} items, more than the limit of {limit:,}")
    recorded = encode_payload(items, turn.state.plan.limits)
    turn.emit(e.GroupStarted(step=scope.keys[node.index], items=recorded, at=at))
    return False


def _group(turn: Turn, scope: Scope, node: PlanNode, at: int) -> bool:
    turn.emit(e.GroupStarted(step=scope.keys[node.index], at=at))
    return False


_ENTER: Final[dict[NodeType, Enter]] = {
    NodeType.ACTION: _action,
    NodeType.TRIGGER: _trigger,
    NodeType.SWITCH: _switch,
    NodeType.SET: _set,
    NodeType.WAIT: _wait,
    NodeType.INPUT: _input,
    NodeType.EVENT: _event,
    NodeType.WORKFLOW: _workflow,
    NodeType.MAP: _map,
    NodeType.LOOP: _group,
    NodeType.PARALLEL: _group,
    NodeType.END: _end,
}
