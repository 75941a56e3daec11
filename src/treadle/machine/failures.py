"""What follows once the attempts of a step are spent, in this order: the fallback, a person, failing for good.

A step that made no attempt, as one whose parameters cannot be resolved, fails at once; and one whose time is over has
none left for its fallback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from treadle.machine import events as e
from treadle.machine import inputs as i
from treadle.machine.endings import halt
from treadle.machine.groups import complete_early
from treadle.machine.routing import fail, route
from treadle.model import Answer, NodeType, OnExhausted, OnSkip
from treadle.values import NULL

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.machine.graph import PlanNode
    from treadle.machine.scope import Scope
    from treadle.machine.state import State
    from treadle.machine.turn import Turn
    from treadle.model import StepError


def give_up(
    turn: Turn, scope: Scope, node: PlanNode, error: StepError, at: int, *, attempt: int, timed_out: bool = False
) -> None:
    """Do what follows once what a step calls is not tried again."""
    if node.node.on_exhausted is OnExhausted.PAUSE and scope.is_routing:
        ask(turn, scope, node, error, at, attempt=attempt, timed_out=timed_out)
    else:
        fail(turn, scope, node, error, at, attempt=attempt, timed_out=timed_out)


def fall_back(
    turn: Turn, scope: Scope, node: PlanNode, error: StepError, at: int, *, attempt: int, timed_out: bool = False
) -> None:
    """Call the fallback of a step, unless it has none or that is what failed; then give up."""
    if node.fallback is not None and scope.call(node) is node and scope.is_routing:
        step = scope.keys[node.index]
        turn.emit(e.StepFellBack(step=step, attempt=attempt, error=error, timed_out=timed_out, at=at))
    else:
        give_up(turn, scope, node, error, at, attempt=attempt, timed_out=timed_out)


def ask(
    turn: Turn, scope: Scope, node: PlanNode, error: StepError, at: int, *, attempt: int, timed_out: bool = False
) -> None:
    """Pause a step until a person says what becomes of it."""
    step = scope.keys[node.index]
    turn.emit(e.AnswerAwaited(step=step, attempt=attempt, error=error, timed_out=timed_out, at=at))


def _answer_given(turn: Turn, one: i.AnswerGiven) -> bool:
    if turn.is_repeated(one.request):
        return True
    state = turn.state
    found = state.find(one.step)
    if found is None or not _fits(state, *found, one):
        return False
    turn.emit(e.StepAnswered(step=one.step, answer=one.answer, request=one.request, at=one.at))
    _ANSWERS[one.answer](turn, *found, one)
    if state.paused_at is not None and state.asks and not state.is_stuck and state.root.ending is None:
        turn.emit(e.ExecutionResumed(by_itself=True, at=one.at))
    return True


def _fits(state: State, scope: Scope, node: PlanNode, one: i.AnswerGiven) -> bool:
    """Tell whether a step asks, or is a map within which one does and that is to be complete as it is."""
    if one.step in state.spent:
        return True
    is_map = one.answer is Answer.COMPLETE and node.node.type is NodeType.MAP
    return is_map and any(_is_within(state, scope, node, step) for step in state.spent)


def _is_within(state: State, scope: Scope, node: PlanNode, step: str) -> bool:
    found = state.find(step)
    inner = None if found is None else found[0]
    while inner is not None and inner.parent is not None:
        if inner.parent is scope and inner.holder == node.index:
            return True
        inner = inner.parent
    return False


def _retry(turn: Turn, _scope: Scope, _node: PlanNode, one: i.AnswerGiven) -> None:
    turn.emit(e.StepReady(step=one.step, at=one.at))


def _give_output(turn: Turn, scope: Scope, node: PlanNode, one: i.AnswerGiven) -> None:
    output, confirms = NULL if one.output is None else one.output, one.answer is Answer.COMPLETE
    turn.emit(e.OutputGiven(step=one.step, output=output, confirms=confirms, at=one.at))
    route(turn, scope, node.on_success, one.at)


def _complete(turn: Turn, scope: Scope, node: PlanNode, one: i.AnswerGiven) -> None:
    if node.node.type is NodeType.MAP:
        complete_early(turn, scope, node, "answer", one.at)
    else:
        _give_output(turn, scope, node, one)


def _skip(turn: Turn, scope: Scope, node: PlanNode, one: i.AnswerGiven) -> None:
    passes = node.node.on_skip is OnSkip.PASS
    turn.emit(e.StepSkipped(step=one.step, reason="answer", passes=passes, at=one.at))
    if passes:
        route(turn, scope, node.on_success, one.at)


def _abort(turn: Turn, scope: Scope, node: PlanNode, one: i.AnswerGiven) -> None:
    """End the whole execution by the error, whatever could handle it."""
    state = turn.state
    error, attempt = scope.errors[node.index], scope.attempts[node.index]
    kind = e.StepTimedOut if state.spent[one.step] else e.StepFailed
    turn.emit(kind(step=one.step, attempt=attempt, error=error, at=one.at))
    halt(turn, state.root, error, one.at)


_ANSWERS: Final[dict[Answer, Callable[[Turn, Scope, PlanNode, i.AnswerGiven], None]]] = {
    Answer.RETRY: _retry,
    Answer.OUTPUT: _give_output,
    Answer.COMPLETE: _complete,
    Answer.SKIP: _skip,
    Answer.ABORT: _abort,
}

TAKE: Final[dict[type[i.Input], Callable[[Turn, Any], bool | None]]] = {i.AnswerGiven: _answer_given}
"""As in ``advance``."""
