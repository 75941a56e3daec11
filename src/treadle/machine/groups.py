"""How maps, loops and parallels go on: which body begins, what the end of one means, when the step is done.

A body ends when each of its steps has; when one fails there and nobody handles it, that body fails, and the step that
holds it decides: a map may tolerate it, every other fails. Everything is driven by two lists of the state, so that a
loop without a wait does not nest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.errors import ExpressionError, ValidationError
from treadle.machine import events as e
from treadle.machine.endings import cancel_waiting, close
from treadle.machine.routing import evaluate, fail, route
from treadle.machine.scope import STOPPED
from treadle.machine.transitions import FAILED, RUNNING, TIMED_OUT
from treadle.machine.view import NamesWith
from treadle.model import NodeType, StepError
from treadle.values import decode_payload, encode_payload

if TYPE_CHECKING:
    from msgspec import Raw

    from treadle.expressions import Expression
    from treadle.machine.graph import PlanNode
    from treadle.machine.scope import Scope
    from treadle.machine.turn import Turn


def settle_bodies(turn: Turn, at: int) -> None:
    """End the bodies in which nothing is left to do, and let the steps that hold them go on."""
    state = turn.state
    settling, state.settling = state.settling, []
    for scope in settling:
        if _is_open(scope):
            _settle(turn, scope, at)
    going, state.going = state.going, []
    for scope, node in going:
        if scope.phases[node.index] == RUNNING and scope.is_routing:
            _Holder(turn, scope, node, at).go_on()


def _is_open(scope: Scope) -> bool:
    holder = scope.parent
    return holder is not None and holder.groups[scope.holder].open.get(scope.number) is scope


def _settle(turn: Turn, scope: Scope, at: int) -> None:
    holder = scope.parent
    assert holder is not None  # it is a body
    if scope.ending is STOPPED:
        if not scope.flying and holder.groups[scope.holder].error is not None:
            turn.state.going.append((holder, holder.graph.nodes[scope.holder]))
    elif scope.ending is not None:
        if not scope.flying:
            _end(turn, scope, at)
    elif scope.races:
        _settle_race(turn, scope, at)
    elif not scope.open:
        _complete(turn, scope, at)


def _end(turn: Turn, scope: Scope, at: int) -> None:
    """End a body that failed, or that an end node ended."""
    ending = scope.ending
    assert ending is not None  # which is why it is here
    close(turn, scope, at, skips=ending.error is None)
    if ending.error is not None:
        turn.emit(e.BodyFailed(step=_holder(scope), number=scope.number, error=ending.error, at=at))
    elif ending.output is not None:
        turn.emit(e.BodyCompleted(step=_holder(scope), number=scope.number, output=ending.output, at=at))
    else:
        _complete(turn, scope, at, _won(scope))


def _settle_race(turn: Turn, scope: Scope, at: int) -> None:
    if scope.winner is not None:
        turn.cancel_in_flight(scope)
        _complete(turn, scope, at, _won(scope))
    elif not scope.open:
        failed = (error for index, error in scope.errors.items() if scope.phases[index] in (FAILED, TIMED_OUT))
        error = next(failed, None) or StepError(
            type="NobodyWon", message=f"no branch of the race {scope.path!r} ran to its end", step=_holder(scope)
        )
        turn.emit(e.BodyFailed(step=_holder(scope), number=scope.number, error=error, at=at))


def _won(scope: Scope) -> Raw | None:
    """Return what the winner of a race gave; None where there is no race or no winner."""
    return None if scope.winner is None else scope.outputs[scope.winner]


def _complete(turn: Turn, scope: Scope, at: int, output: Raw | None = None) -> None:
    """Complete a body with its ``output``, else with what is given, else with what its leaves give."""
    template = scope.graph.output
    step, given = _holder(scope), e.ABSENT if output is None else output
    try:
        if template is not None:
            resolved = template.resolve(turn.names(scope), missing_is_null=True)
            given = encode_payload(resolved, turn.state.plan.limits)
    except ValidationError as error:
        failure = StepError(type=type(error).__name__, message=f"output of {scope.path}: {error}", step=step)
        turn.emit(e.BodyFailed(step=step, number=scope.number, error=failure, at=at))
    else:
        turn.emit(e.BodyCompleted(step=step, number=scope.number, output=given, at=at))


def _holder(scope: Scope) -> str:
    assert scope.parent is not None  # it is a body
    return scope.parent.keys[scope.holder]


# -- the steps that hold bodies


def complete_early(turn: Turn, scope: Scope, node: PlanNode, reason: str, at: int) -> None:
    """Complete a map, a loop or a parallel with what there is; what is left of its bodies is cancelled."""
    turn.cancel_attempts(scope, node)
    turn.emit(e.GroupCompleted(step=scope.keys[node.index], reason=reason, at=at))
    route(turn, scope, node.on_success, at)


class _Holder:
    """A map, a loop or a parallel that is under way, at one moment."""

    def __init__(self, turn: Turn, scope: Scope, node: PlanNode, at: int) -> None:
        assert node.group is not None  # it has begun
        self._turn = turn
        self._scope = scope
        self._node = node
        self._plan = node.group
        self._group = scope.groups[node.index]
        self._step = scope.keys[node.index]
        self._at = at

    def go_on(self) -> None:
        """Do what follows from the end of a body, or from there being none yet."""
        group, kind = self._group, self._node.node.type
        if group.error is not None:
            if not self._is_flying:
                self._fail(group.error)
        elif kind is NodeType.MAP:
            self._go_on_mapping()
        elif group.open:
            return  # behind a retry
        elif group.errors:
            self._fail(next(reversed(group.errors.values())))
        elif kind is NodeType.LOOP:
            self._go_on_looping()
        elif group.begun:
            self._done("race" if self._node.node.race else "all")
        else:
            self._turn.emit(e.BodyStarted(step=self._step, at=self._at))

    @property
    def _is_flying(self) -> bool:
        return any(body.flying for body in self._group.open.values())

    def _done(self, reason: str = "all") -> None:
        complete_early(self._turn, self._scope, self._node, reason, self._at)

    def _fail(self, error: StepError) -> None:
        fail(self._turn, self._scope, self._node, error, self._at)

    def _error(self, kind: str, message: str) -> StepError:
        return StepError(type=kind, message=message, step=self._step)

    # -- maps

    def _go_on_mapping(self) -> None:
        group, node = self._group, self._node.node
        tolerated = self._plan.tolerated(node.tolerate, group.total)
        if len(group.errors) > tolerated:
            self._halt(list(group.errors.values())[tolerated])
            return
        try:
            if self._plan.complete_when is not None and self._is_complete(self._plan.complete_when):
                self._done("complete_when")
                return
        except ExpressionError as error:
            self._halt(self._error("ExpressionError", f"complete_when: {error}"))
            return
        room = (node.max_concurrency or group.total) - len(group.open)
        count = min(room, group.total - group.begun)
        if count > 0:
            self._begin(count)
        elif not group.open:
            self._done()

    def _begin(self, count: int) -> None:
        """Begin so many bodies; those that this turn has no room for begin in the next."""
        turn, group, step = self._turn, self._group, self._step
        fits = min(count, turn.room)
        if fits:
            turn.emit(e.BodyStarted(step=step, number=group.begun, count=fits, at=self._at))
        if fits < count and turn.yielded.get(step) != group.begun:
            turn.yielded[step] = group.begun
            turn.emit(e.GroupYielded(step=step, begun=group.begun, at=self._at))

    def _halt(self, error: StepError) -> None:
        """Fail a map, behind its attempts in flight."""
        if not self._is_flying:
            self._fail(error)
            return
        self._turn.emit(e.GroupHalted(step=self._step, error=error, at=self._at))
        for body in list(self._group.open.values()):
            cancel_waiting(self._turn, body, self._at)
            if body.graph.cancels_on_failure:
                self._turn.cancel_in_flight(body)

    def _is_complete(self, condition: Expression) -> bool:
        group = self._group
        for number in group.done[len(group.results) :]:
            output = group.outputs[number]
            group.results.append(None if output is None else decode_payload(output))
        counts = {"completed": len(group.done), "failed": len(group.errors), "total": group.total}
        names = NamesWith({"results": group.results, **counts}, self._turn.names(self._scope))
        return evaluate(names, condition)[0]

    # -- loops

    def _go_on_looping(self) -> None:
        begun, most = self._group.begun, self._node.node.max_iterations
        try:
            goes_on = self._has_another()
        except ExpressionError as error:
            self._fail(self._error("ExpressionError", f"loop: {error}"))
            return
        if not goes_on:
            self._done()
        elif begun >= most:
            message = f"it would go on after {begun} iterations (max_iterations: {most})"
            self._fail(self._error("MaxIterationsExceeded", message))
        else:
            self._begin(1)

    def _has_another(self) -> bool:
        """Tell whether a loop has another iteration; its conditions see what the one before gave as ``previous``."""
        plan, begun, last = self._plan, self._group.begun, self._group.last
        previous = None if last is None else decode_payload(last)
        names = self._turn.names(self._scope)
        after = NamesWith({"previous": previous, "index": begun - 1}, names)
        if begun and plan.until is not None and evaluate(after, plan.until)[0]:
            return False
        if plan.repeat_while is None:
            return True
        return evaluate(NamesWith({"previous": previous, "index": begun}, names), plan.repeat_while)[0]
