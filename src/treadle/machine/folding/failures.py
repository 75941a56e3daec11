"""Steps whose attempts are spent: they call their fallback, or ask a person and go on or end as the answer says."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, Final

from treadle.errors import ReplayError
from treadle.machine import events as e
from treadle.machine.calls import FALLBACK, PERSON
from treadle.machine.folding.connections import find_step, route
from treadle.machine.folding.steps import end_step, land, leave, note_done
from treadle.machine.state import TOTAL_TIMEOUT
from treadle.machine.transitions import COMPLETED, PAUSED, READY
from treadle.model import Answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.machine.graph import PlanNode
    from treadle.machine.scope import Scope
    from treadle.machine.state import State


def _step_fell_back(state: State, event: e.StepFellBack) -> None:
    scope, node = find_step(state, event.step)
    index = node.index
    if node.fallback is None:
        raise ReplayError(f"step {event.step!r} has no fallback", state.execution_id)
    scope.move(index, READY)
    land(state, scope, event.step)
    state.make_ready(event.step, node)
    scope.by[index] = FALLBACK
    scope.errors[index] = event.error
    for counted in (scope.failures, scope.interruptions):
        counted.pop(index, None)
    if node.fallback.has_own_parameters:
        scope.parameters.pop(index, None)


def _answer_awaited(state: State, event: e.AnswerAwaited) -> None:
    scope, node = find_step(state, event.step)
    leave(state, scope, node, event.at)
    if scope.phases[node.index] != READY:
        scope.move(node.index, READY)
    scope.move(node.index, PAUSED)
    scope.errors[node.index] = event.error
    state.spent[event.step] = event.timed_out


def _step_answered(state: State, event: e.StepAnswered) -> None:
    scope, node = find_step(state, event.step)
    if event.request:
        state.requests.add(event.request)
    if event.answer is Answer.RETRY:
        state.spent.pop(event.step, None)
        _begin_anew(state, scope, node, event.at)


def _begin_anew(state: State, scope: Scope, node: PlanNode, at: int) -> None:
    """Let a step be tried as if it never was, but for the numbers of its attempts."""
    index = node.index
    for counted in (scope.failures, scope.interruptions, scope.by, scope.parameters):
        counted.pop(index, None)
    total = node.node.total_timeout_ms
    if total is not None:
        state.drop_timers(TOTAL_TIMEOUT, scope.keys[index])
        heapq.heappush(state.timers, (state.clock(at) + total, TOTAL_TIMEOUT, scope.keys[index], 0))


def _output_given(state: State, event: e.OutputGiven) -> None:
    scope, node = find_step(state, event.step)
    end_step(state, scope, node, COMPLETED, event.at)
    scope.outputs[node.index] = event.output
    if not event.confirms or node.index not in scope.by:
        scope.by[node.index] = PERSON
    scope.errors.pop(node.index, None)
    note_done(state, scope, node)
    route(state, scope, node.on_success)


APPLY: Final[dict[type[e.Event], Callable[[State, Any], None]]] = {
    e.StepFellBack: _step_fell_back,
    e.AnswerAwaited: _answer_awaited,
    e.StepAnswered: _step_answered,
    e.OutputGiven: _output_given,
}
"""As in ``executions``."""
