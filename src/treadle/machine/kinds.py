"""What each type of node does once its join is met and its condition is taken.

An action waits for a slot. What calls nothing is done, or begins to wait, within the turn that reached it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from treadle.machine import events as e
from treadle.model import NodeType

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.machine.plan import PlanNode
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


_ENTER: Final[dict[NodeType, Enter]] = {
    NodeType.ACTION: _action,
    NodeType.TRIGGER: _trigger,
}
