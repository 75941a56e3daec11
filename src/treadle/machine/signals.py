"""What comes from outside of the execution: answers of people, events, and other executions that steps have started.

An event is taken by the step that has waited longest for it, or kept for the first that will.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from treadle.machine import events as e
from treadle.machine import inputs as i
from treadle.machine.commands import CancelChild, PauseChild, StartChild
from treadle.machine.mail import find_step
from treadle.machine.routing import cancel_step, fail, route
from treadle.machine.transitions import PAUSED, READY, WAITING
from treadle.model import NodeType
from treadle.values import NULL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from treadle.machine.commands import ChildCommand
    from treadle.machine.state import State
    from treadle.machine.turn import Turn


def _input_submitted(turn: Turn, one: i.InputSubmitted) -> bool:
    if turn.is_repeated(one.request):
        return True
    found = turn.state.find(one.step)
    if found is None:
        return False
    scope, node = found
    if node.node.type is not NodeType.INPUT or scope.phases[node.index] != WAITING:
        return False
    turn.emit(e.InputGiven(step=one.step, output=one.output, request=one.request, at=one.at))
    route(turn, scope, node.on_success, one.at)
    return True


def _cancel_step_requested(turn: Turn, one: i.CancelStepRequested) -> bool:
    if turn.is_repeated(one.request):
        return True
    found = turn.state.find(one.step)
    if found is None or turn.state.ended_at:
        return False
    scope, node = found
    if not scope.is_routing or not READY <= scope.phases[node.index] <= PAUSED:
        return False
    cancel_step(turn, scope, node, one.at, request=one.request)
    return True


def _event_sent(turn: Turn, one: i.EventSent) -> bool:
    if turn.is_repeated(one.event_id):
        return True
    state = turn.state
    if state.ended_at or not state.created_at:
        return False
    found = find_step(state, one.name, one.key, is_late=one.is_late)
    if found is not None:
        _end_wait(turn, *found, one)
        return True
    if one.keeps and state.root.ending is None and len(state.kept) < state.plan.limits.max_kept_events:
        turn.emit(e.EventKept(name=one.name, key=one.key, data=one.data, event_id=one.event_id, at=one.at))
        return True
    return False


def _end_wait(turn: Turn, step: str, number: int, one: i.EventSent) -> None:
    found = turn.state.find(step)
    assert found is not None  # it waits
    scope, node = found
    turn.emit(e.EventReceived(step=step, name=one.name, event_id=one.event_id, data=one.data, timer=number, at=one.at))
    route(turn, scope, node.on_success, one.at)


# -- what becomes of the executions that steps have started


def _child_of(turn: Turn, one: i.ChildBegan | i.ChildEnded | i.ChildRested | i.ChildWentOn) -> bool:
    """Tell whether a step still waits for that execution."""
    return turn.state.children.get(one.step) == one.child


def _child_began(turn: Turn, one: i.ChildBegan) -> bool:
    found = turn.state.find(one.step)
    if found is None or not _child_of(turn, one) or found[1].node.wait_for:
        return False
    scope, node = found
    turn.emit(e.ChildStarted(step=one.step, child=one.child, at=one.at))
    route(turn, scope, node.on_success, one.at)
    return True


def _child_ended(turn: Turn, one: i.ChildEnded) -> bool:
    found = turn.state.find(one.step)
    if found is None or not _child_of(turn, one):
        return False
    scope, node = found
    if one.error is not None and not scope.is_routing and one.is_cancelled:
        turn.emit(e.StepCancelled(step=one.step, at=one.at))
    elif one.error is not None:
        fail(turn, scope, node, one.error, one.at, timed_out=one.timed_out)
    else:
        output = NULL if one.output is None else one.output
        turn.emit(e.ChildCompleted(step=one.step, child=one.child, output=output, at=one.at))
        route(turn, scope, node.on_success, one.at)
    return True


def _child_rested(turn: Turn, one: i.ChildRested) -> bool:
    if not _child_of(turn, one) or turn.state.resting.get(one.step) == one.waiting_for:
        return False
    turn.emit(e.ChildPaused(step=one.step, child=one.child, waiting_for=one.waiting_for, at=one.at))
    return True


def _child_went_on(turn: Turn, one: i.ChildWentOn) -> bool:
    if not _child_of(turn, one) or one.step not in turn.state.resting:
        return False
    turn.emit(e.ChildResumed(step=one.step, child=one.child, at=one.at))
    return True


def owed_to_children(state: State) -> Iterator[ChildCommand]:
    """Yield what must have been carried out for the children of an execution that was read back; twice does no harm."""
    for step, child in state.children.items():
        found = state.find(step)
        assert found is not None  # it waits
        scope, node = found
        given = scope.parameters[node.index]
        attempt = scope.tries(node.index)
        yield StartChild(step, child, node.node.workflow, given, state.depth + 1, node.node.wait_for, attempt)
        if state.cancels(step):
            yield CancelChild(child)
        elif state.paused_at is not None and not state.asks:
            yield PauseChild(child)


TAKE: Final[dict[type[i.Input], Callable[[Turn, Any], bool | None]]] = {
    i.InputSubmitted: _input_submitted,
    i.CancelStepRequested: _cancel_step_requested,
    i.EventSent: _event_sent,
    i.ChildBegan: _child_began,
    i.ChildEnded: _child_ended,
    i.ChildRested: _child_rested,
    i.ChildWentOn: _child_went_on,
}
"""One function for each input, as in ``advance``."""
