"""What each type of node does once its join is met and its condition is taken.

An action waits for a slot. What calls nothing is done, or begins to wait, within the turn that reached it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from treadle.durations import parse_duration, parse_time
from treadle.errors import ValidationError
from treadle.machine import events as e
from treadle.machine.endings import end
from treadle.model import NodeType
from treadle.values import encode_payload

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.machine.plan import PlanNode, PlanTimer
    from treadle.machine.turn import Turn

Enter: TypeAlias = "Callable[[Turn, PlanNode, int], bool]"
"""Called with the turn, the node and the time; tells whether the node is done and its connections are to be decided."""


def enter(turn: Turn, node: PlanNode, at: int) -> bool:
    """Begin a node, and tell whether it is done already."""
    return _ENTER[node.node.type](turn, node, at)


def _action(turn: Turn, node: PlanNode, at: int) -> bool:
    turn.emit(e.StepReady(step=node.id, at=at))
    return False


def _trigger(turn: Turn, node: PlanNode, at: int) -> bool:
    turn.emit(e.TriggerPassed(step=node.id, at=at))
    return True


def _switch(turn: Turn, node: PlanNode, at: int) -> bool:
    turn.emit(e.StepPassed(step=node.id, at=at))
    return True


def _set(turn: Turn, node: PlanNode, at: int) -> bool:
    output = encode_payload(node.values.resolve(turn.names), turn.state.plan.limits)
    turn.emit(e.StepPassed(step=node.id, output=output, at=at))
    return True


def _wait(turn: Turn, node: PlanNode, at: int) -> bool:
    now = turn.state.clock(at)
    due: list[tuple[int, int]] = []
    until: list[tuple[int, int]] = []
    for number, timer in enumerate(node.timers):
        given = _milliseconds(turn, timer)
        if timer.is_wall:
            until.append((number, given))
        else:
            due.append((number, now + given))
    turn.emit(e.WaitStarted(step=node.id, due=tuple(due), until=tuple(until), at=at))
    return False


def _milliseconds(turn: Turn, timer: PlanTimer) -> int:
    if timer.known is not None:
        return timer.known
    value = timer.template.resolve(turn.names)
    if not timer.is_wall:
        return parse_duration(value)
    found = parse_time(value) if isinstance(value, str) else None
    if found is None:
        raise ValidationError(f"{value!r:.80} is no time with its zone, such as 2026-01-31T09:00:00Z")
    return found


def _input(turn: Turn, node: PlanNode, at: int) -> bool:
    timeout = node.node.timeout_ms
    default = e.ABSENT
    if node.default is not None:
        default = encode_payload(node.default.resolve(turn.names), turn.state.plan.limits)
    due = 0 if timeout is None else turn.state.clock(at) + timeout
    turn.emit(e.InputAsked(step=node.id, due=due, default=default, at=at))
    return False


def _end(turn: Turn, node: PlanNode, at: int) -> bool:
    end(turn, node, at)
    return False


_ENTER: Final[dict[NodeType, Enter]] = {
    NodeType.ACTION: _action,
    NodeType.TRIGGER: _trigger,
    NodeType.SWITCH: _switch,
    NodeType.SET: _set,
    NodeType.WAIT: _wait,
    NodeType.INPUT: _input,
    NodeType.END: _end,
}
