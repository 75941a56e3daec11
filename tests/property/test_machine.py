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
from msgspec.structs import replace

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
    Body,
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
    SwitchMode,
    Timer,
    Workflow,
)
from treadle.paths import find_node
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

ENDINGS = (e.ExecutionHalted, e.CancelRequested, e.DeadlinePassed, e.EndReached, e.BodyHalted, e.GroupHalted)
"""With the first of these an execution, or a body of it, begins to end."""

WHILE_ENDING = (
    *ENDINGS,
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
    e.EndReached,
    e.GroupCompleted,
    e.StepFailed,
    e.StepTimedOut,
    e.StepSkipped,
    e.StepCancelled,
)


# -- workflows


LEAVES = [*[NodeType.ACTION] * 12, NodeType.SET, NodeType.SWITCH, NodeType.WAIT, NodeType.EVENT, NodeType.INPUT]
GROUPS = [NodeType.MAP, NodeType.LOOP, NodeType.PARALLEL]
DEPTH = 2
"""How many bodies may be within each other."""


@st.composite
def nodes(draw: st.DrawFn, name: str, indegree: int, depth: int) -> Node:
    if not indegree and draw(st.integers(0, 7)) == 0:
        return Node(name, type=NodeType.TRIGGER)
    kind = draw(st.sampled_from([JoinKind.ALL, JoinKind.ALL, JoinKind.ANY, JoinKind.EVERY, JoinKind.AT_LEAST]))
    count = draw(st.integers(1, max(1, indegree))) if kind is JoinKind.AT_LEAST else 0
    kinds = [*LEAVES, NodeType.END, *(GROUPS * 2 if depth < DEPTH else [])]
    made = Node(
        name,
        type=draw(st.sampled_from(kinds)),
        condition=draw(st.sampled_from([None] * 12 + [*TRUTH, BROKEN])),
        on_skip=draw(st.sampled_from(OnSkip)),
        join=Join(kind, count),
        cancel_rest=indegree > 1 and draw(st.booleans()),
        continue_on_error=draw(st.booleans()),
    )
    return replace(made, **draw(fields(made, depth)))


def fields(node: Node, depth: int) -> st.SearchStrategy[dict[str, Any]]:
    """Return what a node of its type has besides."""
    times = st.sampled_from([None, None, 15])
    value = st.sampled_from([1, "${input.yes}", "${input.absent}", {"a": ["${input.list}"]}])
    match node.type:
        case NodeType.ACTION:
            asks = [{}, {}, {}, {}, {}, {"x": "${input.yes}"}, {"x": "${input.p}"}, {"x": "${input.q}"}]
            return st.fixed_dictionaries(
                {
                    "action": st.just("act"),
                    "parameters": st.sampled_from(asks),
                    "total_timeout_ms": st.sampled_from([None, None, None, 15]),
                    "retry": st.builds(
                        RetryPolicy,
                        max_attempts=st.sampled_from([3, 3, 2, 1, 0]),
                        initial_delay_ms=st.sampled_from([0, 3, 10]),
                        jitter=st.sampled_from(Jitter),
                        non_retryable=st.just(("Fatal",)),
                    ),
                    "max_interruptions": st.integers(0, 2),
                }
            )
        case NodeType.SET:
            return st.fixed_dictionaries({"values": value})
        case NodeType.SWITCH:
            return st.fixed_dictionaries({"mode": st.sampled_from(SwitchMode)})
        case NodeType.WAIT:
            timers = [Timer(duration=4), Timer(until="1970-01-01T00:00:01.020Z"), Timer(event="e")]
            several = st.lists(st.sampled_from(timers), min_size=1, max_size=3, unique_by=repr).map(tuple)
            return st.fixed_dictionaries({"any_of": several}) | st.fixed_dictionaries({"duration": st.integers(0, 9)})
        case NodeType.EVENT:
            keys = st.sampled_from([None, None, 1])
            return st.fixed_dictionaries(
                {"event": st.just("e"), "key": keys, "buffer": st.booleans(), "timeout_ms": times}
            )
        case NodeType.INPUT:
            return st.fixed_dictionaries({"timeout_ms": times, "default": st.none() | value})
        case NodeType.END:
            ends = [ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED]
            return st.fixed_dictionaries({"status": st.sampled_from(ends), "output": st.none() | value})
    return groups(node, depth)


def groups(node: Node, depth: int) -> st.SearchStrategy[dict[str, Any]]:
    """Return what a map, a loop or a parallel has besides."""
    graph = graphs(node.id, 3, depth + 1)
    common = {
        "body": st.builds(lambda one, output: Body(*one, output), graph, st.sampled_from([None, None, 7])),
        "timeout_ms": st.sampled_from([None, None, None, 20]),
        "on_failure": st.sampled_from(OnFailure),
    }
    if node.type is NodeType.PARALLEL:
        return st.fixed_dictionaries(common | {"race": st.booleans()})
    if node.type is NodeType.LOOP:
        until = st.sampled_from(["index == 1", "false", "previous == 1"])
        return st.fixed_dictionaries(common | {"until": until, "max_iterations": st.integers(1, 3)})
    return st.fixed_dictionaries(
        common
        | {
            "items": st.sampled_from([[], [1], [1, 2], [1, 2, 3, 4], "${input.list}", "${input.yes}"]),
            "max_concurrency": st.sampled_from([None, 1, 2]),
            "tolerate": st.sampled_from([0, 1, "50%"]),
            "complete_when": st.sampled_from([None, None, None, "completed == 1", "failed == 1", BROKEN]),
        }
    )


@st.composite
def graphs(draw: st.DrawFn, holder: str, most: int, depth: int) -> tuple[tuple[Node, ...], tuple[Connection, ...]]:
    made: list[Node] = []
    joined: list[Connection] = []
    for number in range(draw(st.integers(1, most))):
        before = [one.id for one in made if one.type is not NodeType.END]
        sources = sorted(draw(st.sets(st.sampled_from(before), max_size=3))) if before else []
        name = f"{holder}n{number}"
        for source in sources:
            condition = draw(st.sampled_from([None] * 6 + [*TRUTH, *TRUTH, BROKEN, *["else"] * 3]))
            joined.append(
                Connection(
                    source,
                    name,
                    condition=None if condition == "else" else condition,
                    otherwise=condition == "else",
                    outcome=draw(st.sampled_from([Outcome.SUCCESS, Outcome.SUCCESS, *Outcome])),
                )
            )
        made.append(draw(nodes(name, len(sources), depth)))
    return tuple(made), tuple(joined)


@st.composite
def workflows(draw: st.DrawFn) -> Workflow:
    """Return a workflow of up to 7 nodes, and more in bodies, that uses everything the machine knows."""
    made, joined = draw(graphs("", 7, 0))
    return Workflow(
        "generated",
        made,
        joined,
        timeout_ms=draw(st.sampled_from([None, None, 60])),
        on_failure=draw(st.sampled_from(OnFailure)),
        output=draw(st.sampled_from([None, {"a": "${n0}", "b": "${steps.n0.status}"}])),
    )


# -- what happens to them: kinds of input, of which each player makes what its state allows

KINDS = (
    ("raised",) * 4 + ("returned",) * 4 + ("interrupted",) * 3 + ("time",) * 3 + ("pause", "resume") * 2 + ("late",) * 2
)
MOVES = st.lists(
    st.tuples(
        st.sampled_from([*KINDS, "event", "event", "answer", "cancel_step", "cancel", "nothing"]),
        st.integers(0, 5),
        st.integers(0, 7),
    ),
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
        self.sent = 0
        self.orders = {id(node): order for order, node in enumerate(every_node(workflow))}

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
        for one in steps:
            assert one.node is find_node(self.plan.workflow, one.step)
            assert one.order == self.orders[id(one.node)]
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
        self._check_groups()

    def _check_commands(self, turn: Turn) -> None:
        started = [(one.step, one.attempt) for one in turn.events if isinstance(one, e.StepStarted)]
        assert [(one.step, one.attempt) for one in turn.runs] == started
        assert {step for step, _ in started} <= set(self.script[-1][1]), "it started without a slot"
        for command in turn.commands:
            if isinstance(command, RunStep):
                assert command.node is find_node(self.plan.workflow, command.step)
                assert self.parameters.setdefault(command.step, command.parameters) == command.parameters
                self.past.append((command.step, command.attempt))
            else:
                assert isinstance(command, CancelStep)
                self.asked_to_cancel.add((command.step, command.attempt))

    def _check_groups(self) -> None:
        """No more items are under way than ``max_concurrency``, and what is counted in flight is."""
        scopes = [self.live.root, *self.live.bodies.values()]
        for scope in scopes:
            for index, group in scope.groups.items():
                assert len(group.open) <= (scope.graph.nodes[index].node.max_concurrency or len(group.kept))
        flying = Counter(path for step in self.live.in_flight for path in bodies_around(step))
        assert {scope.path: scope.flying for scope in scopes[1:] if scope.flying} == flying

    # -- moves

    def play(self, moves: Sequence[tuple[str, int, int]]) -> None:
        self.turn([i.StartRequested(at=self.at, execution_id="x", input=Raw(b'{"yes":true,"list":[1,0]}'))])
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
            case "event":
                self.sent += 1
                key, name = ("", "1")[detail % 2], f"i{self.sent}"
                return i.EventSent(at=self.at, name="e", key=key, data=Raw(b"1"), event_id=name, keeps=which > 1)
            case "answer" if self.live.waiting:
                return self._answer(list(self.live.waiting)[which % len(self.live.waiting)])
            case "cancel_step" if detail > 4:
                steps = [key for scope in (self.live.root, *self.live.bodies.values()) for key in scope.keys]
                return i.CancelStepRequested(at=self.at, step=steps[which % len(steps)])
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

    def _answer(self, step: str) -> AnyInput:
        return i.InputSubmitted(at=self.at, step=step, output=Raw(b'"answer"'))

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
        for _ in range(500):
            if self.live.ended_at:
                return
            arrived: list[AnyInput] = []
            if self.live.status is ExecutionStatus.PAUSED or self.live.asking:
                arrived.append(i.ResumeRequested(at=self.at, inputs=Raw(b'{"p":1,"q":2}')))
            for step, attempt in self.live.in_flight.items():
                arrived.append(i.ActionReturned(step=step, attempt=attempt, output=Raw(b"1"), at=self.at))
            arrived.extend(map(self._answer, self.live.waiting))
            for events in list(self.live.listening.values()):
                self.sent += 1
                _, name, key = events[0]
                arrived.append(i.EventSent(at=self.at, name=name, key=key, data=Raw(b"1"), event_id=f"i{self.sent}"))
            wake = self.live.wake_at()
            if not self.live.in_flight and not self.live.ready and wake is not None:
                self.at = max(self.at, wake)
                arrived.append(i.TimeReached(at=self.at))
            self.turn(arrived, all_ready=True)
        pytest.fail(f"it does not end: {snapshot(self.live)}")

    @property
    def events(self) -> list[AnyEvent]:
        return [event for turn in self.turns for event in decode_events(turn)]


def every_node(graph: Workflow | Body) -> list[Node]:
    """Return all nodes in the order of the document, behind each those of its body."""
    found = []
    for node in graph.nodes:
        found += [node, *(every_node(node.body) if node.body else ())]
    return found


def bodies_around(step: str) -> list[str]:
    """Return the paths of the bodies that a step is in, the innermost first."""
    around = []
    while "." in step:
        around.append(step.rpartition(".")[0])
        step = holder_of(around[-1])
    return around


def holder_of(body: str) -> str:
    """Return the key of the step that holds a body."""
    return body.rpartition("[")[0] if body.endswith("]") else body


# -- what must hold in the end


def check_steps(player: Player) -> None:
    """Every step ends at most once, attempts are counted one by one, and nothing happens to a step that has ended."""
    ends = Counter(one.step for one in player.events if isinstance(one, ENDS))
    assert set(ends.values()) <= {1}
    attempts: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    over: set[str] = set()
    ending: set[str] = set()
    for event in player.events:
        step = getattr(event, "step", "")
        around = [*bodies_around(step), ""]
        assert not ending.intersection(around) or isinstance(event, WHILE_ENDING), event
        if isinstance(event, ENDINGS):
            ending |= _ending_bodies(event, player)
        assert step not in over or isinstance(event, (e.LateResultIgnored, e.FailureHandled)), event
        assert not over.intersection(map(holder_of, around)) or isinstance(event, e.LateResultIgnored), event
        if isinstance(event, ENDS):
            over.add(step)
        if isinstance(event, e.StepStarted):
            attempts[step] += 1
            assert event.attempt == attempts[step]
        if isinstance(event, (e.AttemptFailed, e.StepSucceeded)):
            tried[step] += 1
    for step in attempts:
        node = find_node(player.plan.workflow, step)
        assert node is not None
        assert tried[step] <= max(1, node.retry.max_attempts)
    for scope in (player.live.root, *player.live.bodies.values()):
        for index, count in scope.interruptions.items():
            assert count <= scope.graph.nodes[index].node.max_interruptions
    assert Counter(type(one) for one in player.events)[e.ExecutionStarted] == 1


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
        assert (found[node.id].status.value == "SKIPPED") == (not is_taken), node.id


def _is_active(connection: Connection, player: Player) -> bool:
    ends = _outcomes(connection.source, player)
    if connection.outcome not in ends:
        return False
    if connection.otherwise:
        beside = [one for one in player.plan.workflow.connections if one.source == connection.source]
        return not any(TRUTH[one.condition] for one in beside if one.condition and one.outcome in ends)
    return TRUTH[connection.condition or "true"] and not _is_behind_the_first(connection, player)


def _is_behind_the_first(connection: Connection, player: Player) -> bool:
    """A switch takes the first of its conditions that is true."""
    node = find_node(player.plan.workflow, connection.source)
    if not connection.condition or node is None or node.type is not NodeType.SWITCH or node.mode is SwitchMode.ALL:
        return False
    ends = _outcomes(connection.source, player)
    beside = [one for one in player.plan.workflow.connections if one.source == connection.source and one.condition]
    return any(TRUTH[one.condition or ""] and one.outcome in ends for one in beside[: beside.index(connection)])


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
    if status == "CANCELLED":
        return ()
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
    is_cut = any(isinstance(one, e.EndReached) and not bodies_around(one.step) for one in player.events)
    if player.live.status is ExecutionStatus.COMPLETED and not is_cut:
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
