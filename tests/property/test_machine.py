"""Over generated workflows and generated interleavings, by hand and without asyncio: the promises of the machine.

The player below is the smallest driver there is: it feeds inputs in any order, keeps the steps it was offered, starts
some of them, and remembers everything, so that each promise can be checked after each turn.
"""

from __future__ import annotations

import sys
import tracemalloc
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from treadle.machine import (
    CancelStep,
    ReadyStep,
    RunStep,
    State,
    Turn,
    advance,
    apply,
    compile,  # noqa: A004 - the house's word for it
    decode_events,
    encode_events,
    fold,
    snapshot,
    start,
)
from treadle.machine import events as e
from treadle.machine import inputs as i
from treadle.machine.scope import Group, Scope
from treadle.machine.state import TOTAL_TIMEOUT
from treadle.model import (
    Connection,
    ExecutionStatus,
    Jitter,
    Join,
    JoinKind,
    Node,
    NodeType,
    OnFailure,
    OnSkip,
    Outcome,
    RetryPolicy,
    StepError,
    Workflow,
)
from treadle.values import decode_payload, encode_payload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from treadle.machine.events import AnyEvent
    from treadle.machine.inputs import AnyInput

T = 1_000
"""When every execution starts."""

TRUTH = {"true": True, "input.yes": True, "false": False, "!input.yes": False, "input.absent == null": False}
"""Conditions and what they give; the last meets a missing name, which is never taken."""

BROKEN = "1"
"""A condition that gives no boolean."""

ENDINGS = (e.ExecutionHalted, e.CancelRequested, e.DeadlinePassed)
"""With the first of these an execution begins to end."""

WHILE_ENDING = (
    *ENDINGS,
    e.StepSucceeded,
    e.StepFailed,
    e.StepTimedOut,
    e.StepCancelled,
    e.LateResultIgnored,
    e.RequestNoted,
    e.ExecutionFailed,
    e.ExecutionCancelled,
    e.ExecutionTimedOut,
)
"""What may still happen then: nothing starts, nothing is routed, nothing is tried again."""

ENDS = (e.StepSucceeded, e.TriggerPassed, e.StepFailed, e.StepTimedOut, e.StepSkipped, e.StepCancelled)


# -- workflows


@st.composite
def nodes(draw: st.DrawFn, number: int, indegree: int) -> Node:
    if not indegree and draw(st.integers(0, 7)) == 0:
        return Node(f"n{number}", type=NodeType.TRIGGER)
    kind = draw(st.sampled_from([JoinKind.ALL, JoinKind.ALL, JoinKind.ANY, JoinKind.EVERY, JoinKind.AT_LEAST]))
    count = draw(st.integers(1, max(1, indegree))) if kind is JoinKind.AT_LEAST else 0
    asks = draw(st.sampled_from([{}, {}, {}, {}, {}, {"x": "${input.yes}"}, {"x": "${input.p}"}, {"x": "${input.q}"}]))
    return Node(
        f"n{number}",
        action="act",
        parameters=asks,
        condition=draw(st.sampled_from([None] * 12 + [*TRUTH, BROKEN])),
        on_skip=draw(st.sampled_from(OnSkip)),
        join=Join(kind, count),
        total_timeout_ms=draw(st.sampled_from([None, None, None, 15])),
        retry=RetryPolicy(
            max_attempts=draw(st.sampled_from([3, 3, 2, 1, 0])),
            initial_delay_ms=draw(st.sampled_from([0, 3, 10])),
            jitter=draw(st.sampled_from(Jitter)),
            non_retryable=("Fatal",),
        ),
        max_interruptions=draw(st.integers(0, 2)),
        continue_on_error=draw(st.booleans()),
    )


@st.composite
def workflows(draw: st.DrawFn) -> Workflow:
    """Return a workflow of up to 7 nodes that uses everything the machine knows."""
    size = draw(st.integers(1, 7))
    made: list[Node] = []
    joined: list[Connection] = []
    for target in range(size):
        sources = sorted(draw(st.sets(st.integers(0, target - 1), max_size=3))) if target else []
        for source in sources:
            condition = draw(st.sampled_from([None] * 6 + [*TRUTH, *TRUTH, BROKEN, *["else"] * 3]))
            joined.append(
                Connection(
                    f"n{source}",
                    f"n{target}",
                    condition=None if condition == "else" else condition,
                    otherwise=condition == "else",
                    outcome=draw(st.sampled_from([Outcome.SUCCESS, Outcome.SUCCESS, *Outcome])),
                )
            )
        made.append(draw(nodes(target, len(sources))))
    return Workflow(
        "generated",
        tuple(made),
        tuple(joined),
        timeout_ms=draw(st.sampled_from([None, None, 60])),
        on_failure=draw(st.sampled_from(OnFailure)),
        output=draw(st.sampled_from([None, {"a": "${n0}", "b": "${steps.n0.status}"}])),
    )


# -- what happens to them: kinds of input, of which each player makes what its state allows

KINDS = (
    ("raised",) * 4 + ("returned",) * 4 + ("interrupted",) * 3 + ("time",) * 3 + ("pause", "resume") * 2 + ("late",) * 2
)
MOVES = st.lists(
    st.tuples(st.sampled_from([*KINDS, "cancel", "nothing"]), st.integers(0, 5), st.integers(0, 7)),
    min_size=12,
    max_size=50,
)
"""What comes, to which of those it may come to, and a detail. Hypothesis draws short lists by itself."""


def dump(state: State) -> dict[str, Any]:
    """Return every slot of a state and its scopes by value, without timers that no longer count and the caches."""
    left_out = {"plan", "plans", "root", "bodies", "places"}
    seen: dict[str, Any] = {slot: _copy(getattr(state, slot)) for slot in State.__slots__ if slot not in left_out}
    seen["scopes"] = {body.path: dump_scope(body) for body in (state.root, *state.bodies.values())}
    seen["places"] = {key: (scope.path, node.id) for key, (scope, node) in state.places.items()}
    seen["ready"] = list(state.ready)
    live = (timer for timer in state.timers if state.is_live(timer))
    # Nothing becomes of a total timeout once the attempts are cancelled, so the machine may have dropped it.
    seen["wall_timers"] = sorted(timer for timer in state.wall_timers if state.is_live(timer))
    seen["timers"] = sorted(timer for timer in live if not (timer[1] == TOTAL_TIMEOUT and state.cancels(timer[2])))
    return seen


def dump_scope(scope: Scope) -> dict[str, Any]:
    """Return every slot of a scope by value; its cache must be right."""
    for index, value in scope.values.items():
        output = scope.outputs[index]
        assert value == (None if output is None else decode_payload(output))
    left_out = {"graph", "parent", "groups", "values"}
    seen = {slot: _copy(getattr(scope, slot)) for slot in Scope.__slots__ if slot not in left_out}
    seen["connections"] = bytes(scope.connections)
    seen["ending"] = scope.ending and (scope.ending.status, scope.ending.error, scope.ending.output)
    seen["groups"] = {index: dump_group(group) for index, group in scope.groups.items()}
    return seen


def dump_group(group: Group) -> dict[str, Any]:
    """Return every slot of a group by value, its scopes by number."""
    seen = {slot: _copy(getattr(group, slot)) for slot in Group.__slots__ if slot != "results"}
    return seen | {"open": list(group.open), "kept": list(group.kept)}


def _copy(value: Any) -> Any:
    """Return a copy in which the order of a dict counts."""
    if isinstance(value, dict):
        return list(value.items())
    return type(value)(value) if isinstance(value, (list, set, bytearray)) else value


class Player:
    """Drives one execution and checks each turn."""

    def __init__(self, workflow: Workflow) -> None:
        self.plan = compile(workflow)
        self.live = State(self.plan)
        self.shadow = State(self.plan)
        self.at = T
        self.offered: set[str] = set()
        self.asked_to_cancel: set[tuple[str, int]] = set()
        self.parameters: dict[str, Raw] = {}
        self.past: list[tuple[str, int]] = []
        self.turns: list[bytes] = []
        self.script: list[tuple[Sequence[AnyInput], Sequence[str], int]] = []
        self.outcome: list[object] = []

    def turn(self, arrived: Sequence[AnyInput], chosen: Sequence[str] = (), *, all_ready: bool = False) -> Turn:
        """Make a turn of inputs and of starts, as a driver does, and check everything that always holds."""
        ended = self.live.ended_at
        status = self.live.status
        turn = advance(self.live, arrived)
        self._offer(turn.ready)
        chosen = sorted(self.offered) if all_ready else [one for one in chosen if one in self.offered]
        offered = len(turn.ready)
        start(self.live, chosen, at=self.at, turn=turn)
        self.offered.difference_update(chosen)
        self._offer(turn.ready[offered:])
        self.script.append((arrived, chosen, self.at))
        self.outcome.append((encode_events(turn.events), turn.commands, list(turn.ready), turn.accepted))
        self._check(turn, ended, status)
        return turn

    def _offer(self, steps: Sequence[ReadyStep]) -> None:
        assert all(self.plan.index[one.step] == one.order for one in steps)
        assert list(steps) == sorted(steps, key=lambda one: one.order)
        self.offered.update(one.step for one in steps)
        if not self.live.starts_steps:
            self.offered.clear()

    def _check(self, turn: Turn, ended: int, status: ExecutionStatus) -> None:
        assert len(turn.accepted) == len(self.script[-1][0])
        if ended:
            assert (turn.events, turn.commands, turn.ready, self.live.status) == ([], [], (), status)
        if self.live.starts_steps:
            assert self.offered == set(self.live.ready), "a ready step was lost, or one that is not was offered"
        if self.live.ending or self.live.ended_at:
            assert (self.live.ready, self.live.waiting, self.live.asking) == ({}, {}, {})
        data = encode_events(turn.events)
        assert decode_events(data) == turn.events
        assert encode_events(decode_events(data)) == data
        if turn.events:
            self.turns.append(data)
        for event in decode_events(data):
            apply(self.shadow, event)
        self.shadow.rest()
        assert dump(self.shadow) == dump(self.live)
        assert snapshot(self.shadow) == snapshot(self.live)
        self._check_commands(turn)

    def _check_commands(self, turn: Turn) -> None:
        started = [(one.step, one.attempt) for one in turn.events if isinstance(one, e.StepStarted)]
        assert [(one.step, one.attempt) for one in turn.runs] == started
        for command in turn.commands:
            if isinstance(command, RunStep):
                assert command.node is self.plan.workflow.nodes[self.plan.index[command.step]]
                assert self.parameters.setdefault(command.step, command.parameters) == command.parameters
                self.past.append((command.step, command.attempt))
            else:
                assert isinstance(command, CancelStep)
                self.asked_to_cancel.add((command.step, command.attempt))

    # -- moves

    def play(self, moves: Sequence[tuple[str, int, int]]) -> None:
        self.turn([i.StartRequested(at=self.at, execution_id="x", input=Raw(b'{"yes":true}'))])
        batch: list[AnyInput] = []
        for kind, which, detail in moves:
            made = self._move(kind, which, detail)
            if made is not None:
                batch.append(made)
            if detail > 1 or len(batch) > 2:
                self.turn(batch, sorted(self.offered)[: which + 1])
                batch = []
        self.turn(batch)

    def _move(self, kind: str, which: int, detail: int) -> AnyInput | None:
        match kind:
            case "late":
                step, attempt = [*self.past, ("nobody", 1)][which % (len(self.past) + 1)]
                is_late = self.live.in_flight.get(step) != attempt
                return (
                    self._result(step, attempt, ("returned", "raised", "interrupted")[detail % 3], which)
                    if is_late
                    else None
                )
            case "pause":
                return i.PauseRequested(at=self.at, request=("", "p", "q")[which % 3])
            case "resume":
                inputs = (None, Raw(b"{}"), Raw(b'{"p":1}'), Raw(b'{"q":[2],"p":null}'))[detail % 4]
                return i.ResumeRequested(at=self.at, request=("", "r", "s")[which % 3], inputs=inputs)
            case "cancel" if detail > 4:
                return i.CancelExecutionRequested(at=self.at, reason="enough", request=("", "c")[which % 2])
            case "time":
                wake = self.live.wake_at()
                self.at = max(self.at, wake) if wake is not None and detail % 2 else self.at + which
                return i.TimeReached(at=self.at)
            case "returned" | "raised" | "interrupted" if self.live.in_flight:
                flying = list(self.live.in_flight.items())
                return self._result(*flying[which % len(flying)], kind, detail)
        return None

    def _result(self, step: str, attempt: int, kind: str, detail: int) -> AnyInput:
        if (step, attempt) in self.asked_to_cancel and detail % 2:
            return i.ActionCancelled(step=step, attempt=attempt, at=self.at)
        match kind:
            case "returned":
                output = encode_payload((None, 0, "ü", {"a": [1, 2.5]}, [], True, 10**20, "")[detail])
                return i.ActionReturned(step=step, attempt=attempt, output=output, at=self.at)
            case "raised":
                return i.ActionRaised(
                    step=step,
                    attempt=attempt,
                    error=StepError(type="Boom", message="no", attempt=attempt, step=step),
                    names=("Boom", "Fatal") if detail == 7 else ("Boom",),
                    permanent=detail == 6,
                    timed_out=detail in {4, 5},
                    retry_after_ms=20 if detail == 3 else 0,
                    draw=detail / 8,
                    at=self.at,
                )
            case _:
                return i.ActionInterrupted(step=step, attempt=attempt, at=self.at)

    def finish(self) -> None:
        """Do what lets an execution end: it must."""
        for _ in range(12 * len(self.plan.nodes) + 12):
            if self.live.ended_at:
                return
            arrived: list[AnyInput] = []
            if self.live.status is ExecutionStatus.PAUSED or self.live.asking:
                arrived.append(i.ResumeRequested(at=self.at, inputs=Raw(b'{"p":1,"q":2}')))
            for step, attempt in self.live.in_flight.items():
                arrived.append(i.ActionReturned(step=step, attempt=attempt, output=Raw(b"1"), at=self.at))
            wake = self.live.wake_at()
            if not arrived and not self.live.ready and wake is not None:
                self.at = max(self.at, wake)
                arrived.append(i.TimeReached(at=self.at))
            self.turn(arrived, all_ready=True)
        pytest.fail(f"it does not end: {snapshot(self.live)}")

    @property
    def events(self) -> list[AnyEvent]:
        return [event for turn in self.turns for event in decode_events(turn)]


# -- what must hold in the end


def check_steps(player: Player) -> None:
    """Every step ends at most once, attempts are counted one by one, and nothing happens to a step that has ended."""
    ends = Counter(one.step for one in player.events if isinstance(one, ENDS))
    assert set(ends.values()) <= {1}
    attempts: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    over: set[str] = set()
    is_ending = False
    for event in player.events:
        assert not is_ending or isinstance(event, WHILE_ENDING), event
        is_ending = is_ending or isinstance(event, ENDINGS)
        step = getattr(event, "step", "")
        assert step not in over or isinstance(event, (e.LateResultIgnored, e.FailureHandled)), event
        if isinstance(event, ENDS):
            over.add(step)
        if isinstance(event, e.StepStarted):
            attempts[step] += 1
            assert event.attempt == attempts[step]
        if isinstance(event, (e.AttemptFailed, e.StepSucceeded)):
            tried[step] += 1
    for node in player.plan.workflow.nodes:
        state = player.live.root
        assert tried[node.id] <= max(1, node.retry.max_attempts)
        assert state.interruptions.get(player.plan.index[node.id], 0) <= node.max_interruptions
    assert Counter(type(one) for one in player.events)[e.ExecutionStarted] == 1


def check_joins(player: Player) -> None:
    """In an execution that completed each node has the status that the rules give, read off slowly and obviously."""
    workflow, found = player.plan.workflow, snapshot(player.live).steps
    assert all(step.status.is_terminal for step in found.values())
    for node in workflow.nodes:
        incoming = [_is_active(one, player) for one in workflow.connections if one.target == node.id]
        needed = {JoinKind.ALL: 1, JoinKind.ANY: 1, JoinKind.EVERY: len(incoming), JoinKind.AT_LEAST: node.join.count}
        is_met = not incoming or sum(incoming) >= needed[node.join.kind]
        is_taken = is_met and TRUTH.get(node.condition or "true") is not False
        assert (found[node.id].status.value == "SKIPPED") == (not is_taken), node.id


def _is_active(connection: Connection, player: Player) -> bool:
    ends = _outcomes(connection.source, player)
    if connection.outcome not in ends:
        return False
    if connection.otherwise:
        beside = [one for one in player.plan.workflow.connections if one.source == connection.source]
        return not any(TRUTH[one.condition] for one in beside if one.condition and one.outcome in ends)
    return TRUTH[connection.condition or "true"]


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
        assert skipped.passes == (skipped.reason == "condition" and on_skip is OnSkip.PASS)
        return (Outcome.SUCCESS, Outcome.ALWAYS) if skipped.passes else ()
    return (Outcome.SUCCESS, Outcome.ALWAYS)


@given(workflows(), MOVES)
@settings(max_examples=400, deadline=None)
def test_whatever_arrives_in_whatever_order_the_promises_hold_and_the_execution_ends(
    workflow: Workflow, moves: list[tuple[str, int, int]]
) -> None:
    player = Player(workflow)
    player.play(moves)
    player.finish()
    player.turn([i.TimeReached(at=player.at + 1_000), i.PauseRequested(at=player.at), i.ResumeRequested(at=player.at)])
    check_steps(player)
    if player.live.status is ExecutionStatus.COMPLETED:
        check_joins(player)
    assert dump(fold(player.plan, [decode_events(turn) for turn in player.turns])) == dump(player.live)


@given(workflows(), MOVES)
@settings(max_examples=100, deadline=None)
def test_equal_inputs_give_equal_turns_byte_for_byte(workflow: Workflow, moves: list[tuple[str, int, int]]) -> None:
    player = Player(workflow)
    player.play(moves)
    again = State(compile(workflow))
    for (arrived, chosen, at), outcome in zip(player.script, player.outcome, strict=True):
        turn = advance(again, arrived)
        start(again, chosen, at=at, turn=turn)
        assert (encode_events(turn.events), turn.commands, list(turn.ready), turn.accepted) == outcome


@given(workflows(), MOVES, st.integers(0, 40))
@settings(max_examples=100, deadline=None)
def test_an_execution_folded_after_any_turn_goes_on_as_the_one_that_lived(
    workflow: Workflow, moves: list[tuple[str, int, int]], cut: int
) -> None:
    """What recovery promises: the rest of the history is the same whether the state was lived through or folded."""
    player = Player(workflow)
    player.play(moves)
    state = State(player.plan)
    recorded: list[bytes] = []
    for number, ((arrived, chosen, at), outcome) in enumerate(zip(player.script, player.outcome, strict=True)):
        if number == cut:
            state = fold(player.plan, [decode_events(turn) for turn in recorded])
        turn = advance(state, arrived)
        start(state, chosen, at=at, turn=turn)
        recorded.append(encode_events(turn.events))
        assert (recorded[-1], turn.commands, list(turn.ready), turn.accepted) == outcome


# -- the work of one event does not grow with the workflow


def _chain(size: int) -> Workflow:
    made = tuple(Node(f"n{number}", action="act", parameters={"x": "${input.yes}"}) for number in range(size))
    joined = tuple(
        Connection(f"n{number}", f"n{number + 1}", condition=f"n{number} == 1") for number in range(size - 1)
    )
    return Workflow("chain", made, joined)


def _fan(size: int) -> Workflow:
    """One step, then ``size`` beside each other, then one that waits for them all."""
    between = [f"n{number}" for number in range(size)]
    made = tuple(Node(name, action="act") for name in ["first", *between, "last"])
    joined = tuple(Connection("first", one) for one in between) + tuple(Connection(one, "last") for one in between)
    return Workflow("fan", made, joined)


def _turn(state: State, arrived: Sequence[AnyInput]) -> None:
    made = advance(state, arrived)
    start(state, [one.step for one in made.ready], at=T, turn=made)


def _returns(state: State) -> list[AnyInput]:
    step, attempt = next(iter(state.in_flight.items()))
    return [i.ActionReturned(step=step, attempt=attempt, output=Raw(b"1"), at=T)]


def _opcodes(state: State, arrived: Sequence[AnyInput]) -> int:
    """Return how many opcodes one turn takes, which does not depend on the host's speed."""
    count = 0

    def trace(frame: Any, kind: str, _: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += kind == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        _turn(state, arrived)
    finally:
        sys.settrace(before)
    return count


def _bytes(state: State, arrived: Sequence[AnyInput]) -> int:
    """Return how many bytes one turn asks for at most at once: a copy of anything wide would show."""
    tracemalloc.start()
    try:
        _turn(state, arrived)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _worst(workflow: Workflow, turns: int) -> tuple[int, int]:
    """Return the opcodes and bytes of the most expensive of the last ``turns`` turns before the end."""
    state = State(compile(workflow))
    _turn(state, [i.StartRequested(at=T, execution_id="x", input=Raw(b'{"yes":1}'))])
    while state.root.open > 2 * turns + 2:
        _turn(state, _returns(state))
    opcodes = max(_opcodes(state, _returns(state)) for _ in range(turns))
    return opcodes, max(_bytes(state, _returns(state)) for _ in range(turns))


@pytest.mark.parametrize("shape", [_chain, _fan])
def test_the_work_of_one_event_does_not_grow_with_the_workflow(shape: Any) -> None:
    (opcodes, used), (opcodes_of_more, used_by_more) = _worst(shape(200), 20), _worst(shape(2_000), 20)
    assert opcodes_of_more <= 1.1 * opcodes
    assert used_by_more <= 1.5 * used + 512


@pytest.mark.parametrize("kind", ["skipped", "triggered"])
def test_long_dead_and_long_passing_paths_need_no_stack(kind: str) -> None:
    size = 20_000
    condition = "false" if kind == "skipped" else None
    made = [Node("n0", action="act", condition=condition)]
    made += [
        Node(f"n{one}", type=NodeType.TRIGGER if kind == "triggered" else NodeType.ACTION) for one in range(1, size)
    ]
    joined = tuple(Connection(f"n{one}", f"n{one + 1}") for one in range(size - 1))
    state = State(compile(Workflow("long", tuple(made), joined)))
    turn = advance(state, [i.StartRequested(at=T, execution_id="x", input=Raw(b"{}"))])
    if kind == "triggered":
        start(state, ["n0"], at=T)
        turn = advance(state, _returns(state))
    assert state.status is ExecutionStatus.COMPLETED
    assert sum(isinstance(one, (e.StepSkipped, e.TriggerPassed)) for one in turn.events) >= size - 1
