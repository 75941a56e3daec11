"""Why an execution, or one of its steps, does not go on: read from its state alone.

A pure function, so that a reader of the log says the same as the engine that runs it. What only the engine knows (who
holds the slots, which actions are registered) it adds to the steps that this names as ready.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from treadle.errors import NotFoundError
from treadle.machine.state import RETRY, WAIT
from treadle.machine.transitions import (
    COMPLETED,
    PAUSED,
    PENDING,
    PUBLIC_STATUS,
    READY,
    RUNNING,
    WAITING,
)
from treadle.model import ExecutionStatus, Explanation, NodeType, Reason

if TYPE_CHECKING:
    from treadle.machine.graph import PlanNode
    from treadle.machine.scope import Scope
    from treadle.machine.state import State, Timer

MOST_STEPS: Final = 100
"""Of one execution so many steps are explained."""


def explain(state: State, step: str = "") -> Explanation:
    """Return why an execution (``""``), or a step of it, does not go on.

    Raises:
        NotFoundError: There is no step of that key.
    """
    if not step:
        return _execution(state)
    found = state.find(step)
    if found is None:
        raise NotFoundError("step", step)
    return _step(state, *found)


def _execution(state: State) -> Explanation:
    status, ending = state.status, state.root.ending
    if state.ended_at:
        why = f": {state.error.message}" if state.error is not None else ""
        return Explanation(Reason.ENDED, f"it has ended as {status.value}{why}", since=_time(state.ended_at))
    if status is ExecutionStatus.PENDING:
        return _pending(state)
    steps = tuple(_step(state, *found) for found in _held_up(state))[:MOST_STEPS]
    if ending is not None:
        count = len(state.in_flight)
        text = f"it is on its way to {ending.status.value}; attempts that still end: {count}"
        if state.undoing:
            text = f"it is on its way to {ending.status.value}, and undoes what step {state.undoing!r} did"
        return Explanation(Reason.ENDING, text, what_to_do="wait, or terminate it", steps=steps)
    if status is ExecutionStatus.PAUSED:
        return _paused(state, steps)
    if state.in_flight:
        text = f"it runs; attempts in flight: {len(state.in_flight)}"
        return Explanation(Reason.RUNNING, text, since=_time(state.started_at), steps=steps)
    text = "none of its steps runs; each of those below waits for something"
    return Explanation(Reason.WAITS, text, since=_time(state.last_at), steps=steps)


def _pending(state: State) -> Explanation:
    since = _time(state.created_at)
    if state.queued:
        text = f"it waits until those with the key {state.key!r} before it have ended"
        return Explanation(Reason.QUEUED, text, since=since, what_to_do="wait for them, or cancel them")
    due = _time(state.start_at)
    return Explanation(Reason.STARTS_LATER, f"it begins at {_shown(state.start_at)}", since=since, due=due)


def _paused(state: State, steps: tuple[Explanation, ...]) -> Explanation:
    since = _time(state.paused_at or 0)
    if state.asks:
        names = ", ".join(state.waiting_for)
        text = f"it is paused because it waits for {names}"
        what = _GIVE if state.asking or state.resting else _ANSWER
        reason = Reason.ASKS_FOR_INPUT if state.asking or state.resting else Reason.WAITS_FOR_PERSON
        return Explanation(reason, text, since=since, what_to_do=what, names=state.waiting_for, steps=steps)
    text = f"somebody paused it at {_shown(state.paused_at or 0)}"
    return Explanation(Reason.PAUSED, text, since=since, what_to_do="resume it", steps=steps)


_GIVE: Final = "resume it with these inputs"
_ANSWER: Final = "answer it: retry, output, complete, skip or abort"


def _held_up(state: State) -> list[tuple[Scope, PlanNode]]:
    """Return the steps that have begun or are reached, and have not ended; not what only follows them."""
    keys = (*state.in_flight, *state.ready, *state.waiting, *state.asking, *state.spent, *state.children)
    found = (state.find(key) for key in dict.fromkeys(keys))
    return [one for one in found if one is not None]


def _step(state: State, scope: Scope, node: PlanNode) -> Explanation:
    key, phase = scope.keys[node.index], scope.phases[node.index]
    if phase >= COMPLETED:
        return _ended_step(scope, node, key)
    since = _time(scope.started_at[node.index])
    if key in state.children:
        child = state.children[key]
        text = f"it waits for the execution {child!r}"
        return Explanation(Reason.WAITS_FOR_CHILD, text, step=key, since=since, names=(child,))
    if phase == RUNNING:
        return _running(scope, node, key, since)
    if phase == PENDING:
        return _not_reached(state, scope, node, key)
    if key in state.spent:
        error = scope.errors[node.index]
        text = f"it failed ({error.type}: {error.message}), and a person has to say what becomes of it"
        return Explanation(Reason.WAITS_FOR_PERSON, text, step=key, since=since, what_to_do=_ANSWER)
    if phase == PAUSED:
        names = state.asking.get(key, ())
        text = f"it asks for {', '.join(names)}"
        return Explanation(Reason.ASKS_FOR_INPUT, text, step=key, what_to_do=_GIVE, names=names)
    if phase == READY:
        if state.starts_steps:
            return Explanation(Reason.READY, "it needs nothing more than a slot", step=key)
        return Explanation(Reason.HELD, f"it is ready, but its execution is {_standing(state)}", step=key)
    assert phase == WAITING
    return _waiting(state, scope, node, key)


def _ended_step(scope: Scope, node: PlanNode, key: str) -> Explanation:
    status = PUBLIC_STATUS[scope.phases[node.index]].value
    error = scope.errors.get(node.index)
    why = f": {error.type}: {error.message}" if error is not None else ""
    return Explanation(Reason.ENDED, f"it is {status}{why}", step=key, since=_time(scope.ended_at[node.index]))


def _running(scope: Scope, node: PlanNode, key: str, since: datetime | None) -> Explanation:
    group = scope.groups.get(node.index)
    if group is not None:
        bodies = tuple(body.path for body in group.open.values())[:MOST_STEPS]
        text = f"its bodies run: {', '.join(bodies) or 'the next begins at once'}"
        return Explanation(Reason.RUNNING, text, step=key, since=since, names=bodies)
    text = f"attempt {scope.attempts[node.index]} runs"
    return Explanation(Reason.RUNNING, text, step=key, since=since)


def _not_reached(state: State, scope: Scope, node: PlanNode, key: str) -> Explanation:
    if scope.ending is not None or state.ended_at:
        return Explanation(Reason.HELD, f"it was not reached, and its execution is {_standing(state)}", step=key)
    if not state.started_at:
        return Explanation(Reason.HELD, "its execution has not begun", step=key)
    is_open = [one for one in scope.graph.connections if one.target == node.index and not scope.connections[one.index]]
    sources = tuple(dict.fromkeys(scope.keys[one.source] for one in is_open))
    shown = ", ".join(f"{scope.keys[one.source]} ({PUBLIC_STATUS[scope.phases[one.source]].value})" for one in is_open)
    text = f"its join ({node.node.join.kind.value}) is not met: not decided yet are the connections from {shown}"
    return Explanation(Reason.JOIN_OPEN, text, step=key, names=sources)


def _waiting(state: State, scope: Scope, node: PlanNode, key: str) -> Explanation:
    due = _due(state, key)
    frozen = "; its clock stands while the execution is paused" if due and state.paused_at is not None else ""
    when = f" until {_shown(due)}{frozen}" if due else ""
    since = _time(scope.started_at[node.index])
    plain = Explanation(Reason.WAITS_FOR_TIME, f"it waits{when}", step=key, since=since, due=_time(due))
    events = tuple(name for _, name, _ in state.listening.get(key, ()))
    error = scope.errors.get(node.index)
    if node.node.type is NodeType.INPUT:
        who = f" ({', '.join(node.node.assignees)})" if node.node.assignees else ""
        text, what = f"it waits for the answer of a person{who}{when}", "answer it with submit_input"
        return replace(plain, reason=Reason.WAITS_FOR_PERSON, text=text, names=node.node.assignees, what_to_do=what)
    if events:
        text, what = f"it waits for the event {' or '.join(map(repr, events))}{when}", "send it with send_event"
        return replace(plain, reason=Reason.WAITS_FOR_EVENT, text=text, names=events, what_to_do=what)
    if error is not None:
        next_one = f"the next comes at {_shown(due)}{frozen}"
        text = f"attempt {scope.attempts[node.index]} failed ({error.type}: {error.message}); {next_one}"
        return replace(plain, reason=Reason.WAITS_TO_RETRY, text=text)
    return plain


def _due(state: State, key: str) -> int:
    """Return the wall time at which the wait of a step is over at the latest; 0 where no time ends it."""
    own = [timer[0] + state.paused_ms for timer in state.timers if _ends_wait(state, timer, key)]
    wall = [timer[0] for timer in state.wall_timers if _ends_wait(state, timer, key)]
    return min((*own, *wall), default=0)


def _ends_wait(state: State, timer: Timer, key: str) -> bool:
    return timer[2] == key and timer[1] in (RETRY, WAIT) and state.is_live(timer)


def _standing(state: State) -> str:
    ending = state.root.ending
    return state.status.value if ending is None else f"on its way to {ending.status.value}"


def _time(at: int) -> datetime | None:
    return datetime.fromtimestamp(at / 1000, UTC) if at else None


def _shown(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
