"""``advance`` and ``start``: from a state and what has arrived to what happens next.

Pure: no clock, no I/O, no randomness; equal inputs give equal turns, byte for byte. The state is changed only by the
events that come out, so the log alone gives it back.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, Final

from treadle.machine import attempts, failures, signals
from treadle.machine import events as e
from treadle.machine import inputs as i
from treadle.machine.attempts import time_out
from treadle.machine.commands import PauseChild, ResumeChild
from treadle.machine.compensation import undo
from treadle.machine.endings import cancel, pass_deadline, settle
from treadle.machine.groups import settle_bodies
from treadle.machine.migration import migration_problems
from treadle.machine.routing import fail, move_reached, route
from treadle.machine.starts import begin_attempt
from treadle.machine.state import EXECUTION_TIMEOUT, QUEUE_TIMEOUT, RETRY, UNDO, WAIT, YIELD
from treadle.machine.turn import Turn
from treadle.model import ExecutionStatus, NodeType, StepError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from treadle.expressions import Scope as Names
    from treadle.machine.graph import PlanNode
    from treadle.machine.scope import Scope
    from treadle.machine.state import State, Timer


def advance(state: State, arrived: Iterable[i.AnyInput], *, names: Names | None = None) -> Turn:
    """Return the turn that ``arrived`` makes of ``state``, which it changes by the turn's events.

    Args:
        state: State of one execution.
        arrived: Inputs in order of arrival.
        names: What expressions see instead of the state's own names; None for those.
    """
    turn = Turn(state, names)
    for one in arrived:
        before = len(turn.events)
        accepted = _TAKE[type(one)](turn, one)
        turn.accepted.append(len(turn.events) > before if accepted is None else accepted)
        _follow(turn, one.at)
    return turn.close()


def start(state: State, steps: Iterable[str], *, at: int, turn: Turn | None = None, names: Names | None = None) -> Turn:
    """Start attempts of ready steps that were given a slot.

    A step that asks for input, or whose parameters cannot be resolved, does not start; the commands of the turn say
    which did.

    Args:
        state: State of one execution.
        steps: Keys of ready steps; one that is no longer ready is passed over.
        at: Time in milliseconds since the epoch.
        turn: The turn of ``advance`` to go on with, so that a result and what it starts are one row.
        names: As for ``advance``.
    """
    turn = turn or Turn(state, names)
    for step in steps:
        found = state.find(step)
        if found is not None and step in state.ready and state.starts_steps:
            begin = undo if state.undoing else begin_attempt
            begin(turn, *found, at)
    _follow(turn, at)
    return turn.close()


def _follow(turn: Turn, at: int) -> None:
    """Do all that follows from what has happened."""
    state = turn.state
    while state.agenda or state.settling or state.going:
        move_reached(turn, at)
        settle_bodies(turn, at)
    settle(turn, at)


# -- one function for each input; None: accepted if it made an event


def _start_requested(turn: Turn, one: i.StartRequested) -> bool:
    state = turn.state
    if state.created_at:
        return False
    turn.emit(
        e.ExecutionCreated(
            execution_id=one.execution_id,
            workflow_id=state.plan.workflow.id,
            definition_hash=state.plan.definition_hash,
            input=one.input,
            priority=one.priority,
            tags=one.tags,
            parent=one.parent,
            parent_step=one.parent_step,
            depth=one.depth,
            is_awaited=one.is_awaited,
            forked_from=one.forked_from,
            forked_step=one.forked_step,
            key=one.key,
            start_at=one.start_at,
            queued=one.queued,
            supersedes=one.supersedes,
            at=one.at,
        )
    )
    if one.kept:
        turn.emit(e.StepsKept(steps=one.kept, at=one.at))
    _begin(turn, one.at)
    return True


def _start_released(turn: Turn, one: i.StartReleased) -> None:
    state = turn.state
    if state.queued and not state.ended_at:
        turn.emit(e.ExecutionReleased(at=one.at))
        _begin(turn, one.at)


def _begin(turn: Turn, at: int) -> None:
    """Begin an execution that exists, if nothing holds it back."""
    state = turn.state
    is_pending = state.created_at and not state.started_at and not state.ended_at
    if is_pending and not state.queued and state.start_at <= at:
        turn.emit(e.ExecutionStarted(at=at))


def _time_reached(turn: Turn, one: i.TimeReached) -> None:
    """Do what is due, the longest due first, each with all that follows: told late is as good as told in time."""
    _begin(turn, one.at)
    while turn.room and (timer := _pop_due(turn.state, one.at)) is not None:
        _due(turn, timer, one.at)
        _follow(turn, one.at)


def _pop_due(state: State, at: int) -> Timer | None:
    """Take what has been due longest, by either clock; None where nothing is."""
    if state.paused_at is not None or state.ended_at:
        return None
    due: list[tuple[int, tuple[int, str, int], list[Timer]]] = []
    for timers, behind in ((state.timers, state.paused_ms), (state.wall_timers, 0)):
        while timers and not state.is_live(timers[0]):
            heapq.heappop(timers)
        if timers and timers[0][0] + behind <= at:
            due.append((timers[0][0] + behind, timers[0][1:], timers))
    return heapq.heappop(min(due)[2]) if due else None


def _due(turn: Turn, timer: Timer, at: int) -> None:
    _, kind, step, number = timer
    if kind == EXECUTION_TIMEOUT:
        pass_deadline(turn, at)
        return
    if kind == UNDO:
        turn.emit(e.CompensationReady(step=step, at=at))
        return
    found = turn.state.find(step)
    assert found is not None  # it is live
    if kind == WAIT:
        _wait_is_over(turn, *found, number, at)
    elif kind == RETRY:
        turn.emit(e.StepReady(step=step, at=at))
    elif kind == YIELD:
        turn.state.going.append(found)
    elif kind == QUEUE_TIMEOUT:
        _queue_timeout(turn, *found, at)
    else:
        time_out(turn, *found, at)


def _wait_is_over(turn: Turn, scope: Scope, node: PlanNode, timer: int, at: int) -> None:
    step = scope.keys[node.index]
    if node.node.type is NodeType.WAIT:
        turn.emit(e.WaitEnded(step=step, timer=timer, at=at))
    elif node.node.type is NodeType.EVENT:
        seconds = (node.node.timeout_ms or 0) / 1000
        error = StepError("StepTimeout", f"no event {node.node.event!r} came within {seconds:g} s", step=step)
        fail(turn, scope, node, error, at, timed_out=True)
        return
    elif (default := scope.defaults.get(node.index)) is not None:
        turn.emit(e.InputGiven(step=step, output=default, is_default=True, at=at))
    else:
        seconds = (node.node.timeout_ms or 0) / 1000
        error = StepError(type="StepTimeout", message=f"nobody answered within {seconds:g} s", step=step)
        fail(turn, scope, node, error, at, timed_out=True)
        return
    route(turn, scope, node.on_success, at)


def _queue_timeout(turn: Turn, scope: Scope, node: PlanNode, at: int) -> None:
    step, attempt = scope.keys[node.index], scope.attempts[node.index]
    seconds = (node.node.queue_timeout_ms or 0) / 1000
    message = f"it got no slot within its queue timeout of {seconds:g} s"
    fail(turn, scope, node, StepError("QueueTimeout", message, attempt, step), at, attempt=attempt, timed_out=True)


def _pause_requested(turn: Turn, one: i.PauseRequested) -> bool:
    state = turn.state
    if turn.is_repeated(one.request):
        return True
    asks = state.asks and state.ending is None
    if state.status is ExecutionStatus.PAUSED and not asks:
        _note(turn, one)
        return True
    if state.status is not ExecutionStatus.PAUSED and (state.ending is not None or not state.starts_steps):
        return False
    turn.emit(e.ExecutionPaused(request=one.request, at=one.at))
    turn.commands.extend(PauseChild(child) for child in state.children.values())
    return True


def _resume_requested(turn: Turn, one: i.ResumeRequested) -> bool:
    state = turn.state
    if turn.is_repeated(one.request):
        return True
    completes = state.ending is None or state.ending.status is ExecutionStatus.COMPLETED
    asks = state.asking or state.resting
    is_paused = state.status is ExecutionStatus.PAUSED and (asks or not state.asks)  # else it waits for `answer` alone
    rests = is_paused or (asks and not state.ended_at)
    if not completes or not rests:
        return False
    children = list(state.children.values() if state.paused_at else map(state.children.__getitem__, state.resting))
    turn.emit(e.ExecutionResumed(inputs=e.ABSENT if one.inputs is None else one.inputs, request=one.request, at=one.at))
    turn.commands.extend(ResumeChild(child, one.inputs) for child in children)
    return True


def _cancel_execution_requested(turn: Turn, one: i.CancelExecutionRequested) -> bool:
    state = turn.state
    if turn.is_repeated(one.request):
        return True
    if state.ended_at or not state.created_at:
        return False
    is_cancelling = state.ending is not None and state.ending.status is ExecutionStatus.CANCELLED
    if state.undoing and one.at_once:
        turn.cancel_in_flight(state.root)
        turn.emit(e.CompensationsDropped(at=one.at))
    elif state.undoing and not is_cancelling:
        return False  # what it undoes is undone to the end
    if not is_cancelling or (state.undoes and one.at_once):
        undoes = state.plan.workflow.compensate_on_cancel or (state.undoes and state.plan.undoes)
        compensates = undoes and not one.at_once
        cancel(turn, one.reason, one.request, one.at, compensates=compensates)
    else:
        _note(turn, one)
    if one.at_once:
        for step in (*state.in_flight, *state.children):
            turn.emit(e.StepCancelled(step=step, at=one.at))
    return True


def _retry_requested(turn: Turn, one: i.RetryRequested) -> bool:
    if turn.is_repeated(one.request):
        return True
    state = turn.state
    may = state.status in (ExecutionStatus.FAILED, ExecutionStatus.TIMED_OUT)
    if not may and not (one.by_parent and state.status is ExecutionStatus.CANCELLED):
        return False
    turn.emit(e.ExecutionRetried(request=one.request, new_key=one.new_key, at=one.at))
    for scope, node in list(state.unrouted):
        conditional = node.on_success.conditional
        if conditional and not scope.connections[conditional[0].index]:
            route(turn, scope, node.on_success, one.at)
    state.unrouted.clear()
    return True


def _migrate_requested(turn: Turn, one: i.MigrateRequested) -> bool:
    state = turn.state
    if turn.is_repeated(one.request):
        return True
    is_open = state.created_at and not state.ended_at and state.ending is None
    name = one.plan.definition_hash
    if not is_open or name == state.definition_hash or migration_problems(state, one.plan, one.at):
        return False
    state.plans = {**state.plans, name: one.plan}
    turn.emit(e.ExecutionMigrated(definition_hash=name, request=one.request, at=one.at))
    return True


def _note(turn: Turn, one: i.PauseRequested | i.CancelExecutionRequested) -> None:
    """Remember a request that asks for what is so already."""
    if one.request:
        turn.emit(e.RequestNoted(request=one.request, at=one.at))


_TAKE: Final[dict[type[i.Input], Callable[[Turn, Any], bool | None]]] = {
    i.StartRequested: _start_requested,
    i.StartReleased: _start_released,
    i.TimeReached: _time_reached,
    i.PauseRequested: _pause_requested,
    i.ResumeRequested: _resume_requested,
    i.CancelExecutionRequested: _cancel_execution_requested,
    i.RetryRequested: _retry_requested,
    i.MigrateRequested: _migrate_requested,
    **attempts.TAKE,
    **failures.TAKE,
    **signals.TAKE,
}
"""One function for each input. ``Any``: the table pairs each class with the function that takes it."""
