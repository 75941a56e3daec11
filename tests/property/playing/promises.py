"""What must hold in the end, read off what happened, slowly and obviously."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from tests.property.playing.drawing import TRUTH
from tests.property.playing.player import bodies_around, holder_of

from treadle.machine import events as e
from treadle.machine import inputs as i
from treadle.machine import snapshot
from treadle.model import (
    Answer,
    Compensation,
    Connection,
    ExecutionStatus,
    JoinKind,
    NodeType,
    OnSkip,
    Outcome,
    RetryPolicy,
    SwitchMode,
)
from treadle.paths import find_node

if TYPE_CHECKING:
    from tests.property.playing.player import Player

    from treadle.machine.events import AnyEvent

UNDOING: Final = (
    e.CompensationsBegan,
    e.CompensationStarted,
    e.CompensationDelayed,
    e.CompensationReady,
    e.CompensationInterrupted,
    e.CompensationSucceeded,
    e.CompensationFailed,
    e.CompensationsDropped,
)

ENDINGS = (e.ExecutionHalted, e.CancelRequested, e.DeadlinePassed, e.EndReached, e.BodyHalted, e.GroupHalted)
"""With the first of these an execution, or a body of it, begins to end."""

WHILE_ENDING = (
    *ENDINGS,
    *UNDOING,
    e.StepSucceeded,
    e.StepFailed,
    e.StepTimedOut,
    e.StepCancelled,
    e.StepSkipped,
    e.LateResultIgnored,
    e.RequestNoted,
    e.ExecutionResumed,
    e.ExecutionCompleted,
    e.ExecutionFailed,
    e.ExecutionCancelled,
    e.ExecutionTimedOut,
)
"""What may still happen then: nothing starts, nothing is routed, nothing is tried again."""

ENDS = (
    e.StepSucceeded,
    e.TriggerPassed,
    e.StepPassed,
    e.WaitEnded,
    e.EventReceived,
    e.InputGiven,
    e.OutputGiven,
    e.EndReached,
    e.GroupCompleted,
    e.StepFailed,
    e.StepTimedOut,
    e.StepSkipped,
    e.StepCancelled,
)


BEHIND_AN_END = (e.LateResultIgnored, *UNDOING)
"""What may still be told of a step that has ended, besides how its failure was handled."""


def check_steps(player: Player) -> None:
    """Every step ends at most once, and nothing happens to a step that has ended but that it is undone."""
    ends = Counter(one.step for one in player.events if isinstance(one, ENDS))
    assert set(ends.values()) <= {1}
    over: set[str] = set()
    ending: set[str] = set()
    for event in player.events:
        step = getattr(event, "step", "")
        around = [*bodies_around(step), ""]
        assert not ending.intersection(around) or isinstance(event, WHILE_ENDING), event
        if isinstance(event, ENDINGS):
            ending |= _ending_bodies(event, player)
        assert step not in over or isinstance(event, (*BEHIND_AN_END, e.FailureHandled)), event
        assert not over.intersection(map(holder_of, around)) or isinstance(event, BEHIND_AN_END), event
        if isinstance(event, ENDS):
            over.add(step)
    for scope in (player.live.root, *player.live.bodies.values()):
        for index, count in scope.interruptions.items():
            assert count <= scope.graph.nodes[index].node.max_interruptions
    assert Counter(type(one) for one in player.events)[e.ExecutionStarted] == 1


def check_attempts(player: Player) -> None:
    """Attempts are counted one by one, whatever they call, and no policy is given more than it says."""
    attempts: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    policies: dict[str, RetryPolicy] = {}
    for event in player.events:
        if isinstance(event, e.CompensationsBegan):
            failed.clear()
            policies |= {one: _undo(one, player).retry for one in event.steps}
        step = getattr(event, "step", "")
        node = find_node(player.plan.workflow, step)
        if node is None:
            continue
        policy = policies.get(step, node.retry)
        if isinstance(event, (e.StepStarted, e.CompensationStarted)):
            attempts[step] += 1
            assert event.attempt == attempts[step]
            assert failed[step] < max(1, policy.max_attempts)
        failed[step] += isinstance(event, (e.AttemptFailed, e.CompensationDelayed))
        if isinstance(event, e.StepFellBack):
            assert node.fallback is not None
            assert step not in policies, "it fell back twice"
            policies[step], failed[step] = node.fallback.retry, 0
        elif isinstance(event, e.StepAnswered):
            policies.pop(step, None)
            failed[step] = 0


def check_undoing(player: Player) -> None:
    """What completed is undone in reverse order, one after the other, each at most once, and only where that is due."""
    done = [one.step for one in player.events if isinstance(one, (e.StepSucceeded, e.OutputGiven))]
    can = [step for step in reversed(done) if _has_undo(step, player)]
    began = [one for one in player.events if isinstance(one, e.CompensationsBegan)]
    wanted = [can] if can and _is_undone(player) else []
    is_cut = _is_cut_short(player)
    assert [list(one.steps) for one in began] in ([wanted] if not is_cut else [wanted, [], [can]])
    turned_to = [one.step for one in player.events if isinstance(one, (e.CompensationSucceeded, e.CompensationFailed))]
    assert turned_to == can[: len(turned_to)]
    assert not began or is_cut or len(turned_to) == len(can)
    assert not player.live.ended_at or not player.live.undoing


def _has_undo(step: str, player: Player) -> bool:
    try:
        return bool(_undo(step, player))
    except LookupError:
        return False


def _undo(step: str, player: Player) -> Compensation:
    """Return what undoes a completed step: what it called last has the say.

    Raises:
        LookupError: Nothing does.
    """
    node = player.node(step)
    by_fallback = False
    for event in _told(step, player):
        if isinstance(event, e.StepFellBack):
            by_fallback = True
        elif isinstance(event, e.StepAnswered) and event.answer is not Answer.COMPLETE:
            by_fallback = False
    call = node.compensate if not by_fallback or node.fallback is None else node.fallback.compensate
    if call is None:
        raise LookupError(step)
    return call


def _is_undone(player: Player) -> bool:
    if player.live.status is ExecutionStatus.CANCELLED:
        return player.plan.workflow.compensate_on_cancel or _had_failed(player)
    return player.live.status in (ExecutionStatus.FAILED, ExecutionStatus.TIMED_OUT)


def _had_failed(player: Player) -> bool:
    """Tell whether it began to end with a failure or its timeout, before anybody cancelled it."""
    endings = (one for one in player.events if isinstance(one, ENDINGS) and "" in _ending_bodies(one, player))
    first = next(endings, None)
    if isinstance(first, e.EndReached):
        return first.status is ExecutionStatus.FAILED
    return isinstance(first, (e.ExecutionHalted, e.DeadlinePassed))


def _is_cut_short(player: Player) -> bool:
    """Tell whether somebody had it end at once."""
    return any(
        isinstance(one, i.CancelExecutionRequested) and one.at_once for arrived, *_ in player.script for one in arrived
    )


def _ending_bodies(event: AnyEvent, player: Player) -> set[str]:
    """Return the paths of what begins to end; ``""`` for the execution."""
    match event:
        case e.BodyHalted():
            node = find_node(player.plan.workflow, event.step)
            assert node is not None
            return {event.step if node.type is NodeType.PARALLEL else f"{event.step}[{event.number}]"}
        case e.GroupHalted():
            return {path for path in player.live.bodies if holder_of(path) == event.step}
        case e.EndReached():
            return {([*bodies_around(event.step), ""])[0]}
    return {""}


def check_joins(player: Player) -> None:
    """In an execution that completed each node has the status that the rules give, read off slowly and obviously."""
    workflow, found = player.plan.workflow, snapshot(player.live).steps
    assert all(found[node.id].status.is_terminal for node in workflow.nodes)
    for node in workflow.nodes:
        incoming = [_is_active(one, player) for one in workflow.connections if one.target == node.id]
        needed = {JoinKind.ALL: 1, JoinKind.ANY: 1, JoinKind.EVERY: len(incoming), JoinKind.AT_LEAST: node.join.count}
        is_met = not incoming or sum(incoming) >= needed[node.join.kind]
        is_taken = is_met and TRUTH.get(node.condition or "true") is not False
        by_answer = any(isinstance(one, e.StepSkipped) and one.reason == "answer" for one in _told(node.id, player))
        assert (found[node.id].status.value == "SKIPPED") == (not is_taken or by_answer), node.id


def _told(step: str, player: Player) -> list[AnyEvent]:
    return [one for one in player.events if getattr(one, "step", "") == step]


def _is_active(connection: Connection, player: Player) -> bool:
    ends = _outcomes(connection.source, player)
    if connection.outcome not in ends:
        return False
    if connection.otherwise:
        beside = [one for one in player.plan.workflow.connections if one.source == connection.source]
        return not any(TRUTH[one.condition] for one in beside if one.condition and one.outcome in ends)
    return not _is_behind_the_first(connection, player) and TRUTH[connection.condition or "true"]


def _is_behind_the_first(connection: Connection, player: Player) -> bool:
    """A switch takes the first of its conditions that is true, and looks at none behind it."""
    node = find_node(player.plan.workflow, connection.source)
    if not connection.condition or node is None or node.type is not NodeType.SWITCH or node.mode is SwitchMode.ALL:
        return False
    ends = _outcomes(connection.source, player)
    beside = [one for one in player.plan.workflow.connections if one.source == connection.source and one.condition]
    return any(one.outcome in ends and TRUTH[one.condition or ""] for one in beside[: beside.index(connection)])


def _outcomes(step: str, player: Player) -> tuple[Outcome, ...]:
    """Return which outcomes of a step's outgoing connections match its end."""
    index = player.plan.index[step]
    status = snapshot(player.live).steps[step].status.value
    if status in {"FAILED", "TIMED_OUT"}:
        by_connection = player.live.root.handled[index] == "connection"
        return (Outcome.FAILURE if by_connection else Outcome.SUCCESS, Outcome.ALWAYS)
    if status == "SKIPPED":
        (skipped,) = (one for one in player.events if isinstance(one, e.StepSkipped) and one.step == step)
        on_skip = player.plan.workflow.nodes[index].on_skip
        assert skipped.passes == (skipped.reason in {"condition", "answer"} and on_skip is OnSkip.PASS)
        return (Outcome.SUCCESS, Outcome.ALWAYS) if skipped.passes else ()
    if status == "CANCELLED":
        return ()
    return (Outcome.SUCCESS, Outcome.ALWAYS)
