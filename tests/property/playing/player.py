"""The smallest driver there is, by hand and without asyncio.

It feeds inputs in any order, keeps the steps it was offered, starts some of them, and remembers everything, so that
each promise can be checked after each turn.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw
from tests.property.playing.drawing import T

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
    snapshot,
    start,
)
from treadle.machine import events as e
from treadle.machine import inputs as i
from treadle.machine.calls import ACTION, COMPENSATION, FALLBACK
from treadle.machine.scope import Group, Scope
from treadle.model import Answer, Body, ExecutionStatus, Node, StepError, Workflow
from treadle.paths import find_node
from treadle.values import decode_payload, encode_payload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from treadle.machine.events import AnyEvent
    from treadle.machine.inputs import AnyInput


def dump(state: State) -> dict[str, Any]:
    """Return every slot of a state and its scopes by value, without timers that no longer count and the caches."""
    left_out = {"plan", "plans", "root", "bodies", "places"}
    seen: dict[str, Any] = {slot: _copy(getattr(state, slot)) for slot in State.__slots__ if slot not in left_out}
    seen["scopes"] = {body.path: dump_scope(body) for body in (state.root, *state.bodies.values())}
    seen["places"] = {key: (scope.path, node.id) for key, (scope, node) in state.places.items()}
    seen["ready"] = list(state.ready)
    seen["wall_timers"] = sorted(timer for timer in state.wall_timers if state.is_live(timer))
    seen["timers"] = sorted(timer for timer in state.timers if state.is_live(timer))
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
        self.parameters: dict[tuple[str, str, int], Raw] = {}
        self.past: list[tuple[str, int]] = []
        self.turns: list[bytes] = []
        self.events: list[AnyEvent] = []
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
            node = self.node(one.step)
            assert one.step in self.live.ready
            assert one.node.id == node.id
            assert one.order == self.orders[id(node)]
        assert list(steps) == sorted(steps, key=lambda one: one.order)
        self.offered.update(one.step for one in steps)
        if not self.live.starts_steps:
            self.offered.clear()

    def _check(self, turn: Turn, ended: int, status: ExecutionStatus) -> None:
        assert len(turn.accepted) == len(self.script[-1][0])
        if ended:
            assert (turn.events, turn.commands, turn.ready, self.live.status) == ([], [], (), status)
        if self.live.starts_steps:  # some that were offered may have been cancelled since
            assert self.offered >= set(self.live.ready), "a ready step was lost"
        if self.live.ending or self.live.ended_at:
            assert (self.live.waiting, self.live.asking, self.live.spent) == ({}, {}, {})
            assert set(self.live.ready) <= {self.live.undoing}
        data = encode_events(turn.events)
        assert decode_events(data) == turn.events
        assert encode_events(decode_events(data)) == data
        if turn.events:
            self.turns.append(data)
            self.events.extend(decode_events(data))
        for event in decode_events(data):
            apply(self.shadow, event)
        self.shadow.rest()
        assert dump(self.shadow) == dump(self.live)
        assert snapshot(self.shadow) == snapshot(self.live)
        self._check_commands(turn)
        self._check_groups()

    def _check_commands(self, turn: Turn) -> None:
        kinds = (e.StepStarted, e.CompensationStarted)
        started = [(one.step, one.attempt) for one in turn.events if isinstance(one, kinds)]
        assert [(one.step, one.attempt) for one in turn.runs] == started
        assert {step for step, _ in started} <= set(self.script[-1][1]), "it started without a slot"
        for command in turn.commands:
            if isinstance(command, RunStep):
                self._check_call(command)
                self.past.append((command.step, command.attempt))
            else:
                assert isinstance(command, CancelStep)
                self.asked_to_cancel.add((command.step, command.attempt))

    def _check_call(self, command: RunStep) -> None:
        """What is called is what the events say, and with the same parameters each time."""
        node, events = self.node(command.step), [one for one in self.events if getattr(one, "step", "") == command.step]
        retried = [isinstance(one, e.StepAnswered) and one.answer is Answer.RETRY for one in events]
        since = events[len(retried) - retried[::-1].index(True) if True in retried else 0 :]
        fell_back = any(isinstance(one, e.StepFellBack) for one in since)
        if command.role == COMPENSATION:
            given = any(isinstance(one, e.OutputGiven) and not one.confirms for one in since)
            wanted = "undo_other" if fell_back and not given else "undo"
        else:
            assert command.role == (FALLBACK if fell_back else ACTION)
            wanted = "other" if fell_back else "act"
        assert (command.node.action, command.node.id) == (wanted, node.id)
        key = (command.step, command.role, sum(retried))
        assert self.parameters.setdefault(key, command.parameters) == command.parameters

    def _check_groups(self) -> None:
        """No more items are under way than ``max_concurrency``, and what is counted in flight is."""
        scopes = [self.live.root, *self.live.bodies.values()]
        for scope in scopes:
            for index, group in scope.groups.items():
                assert len(group.open) <= (scope.graph.nodes[index].node.max_concurrency or len(group.kept))
        attempts = [] if self.live.undoing else self.live.in_flight
        flying = Counter(path for step in attempts for path in bodies_around(step))
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
            case "time":
                wake = self.live.wake_at()
                self.at = max(self.at, wake) if wake is not None and detail % 2 else self.at + which
                return i.TimeReached(at=self.at)
            case "returned" | "raised" | "interrupted" if self.live.in_flight:
                flying = list(self.live.in_flight.items())
                return self._result(*flying[which % len(flying)], kind, detail)
        return self._request(kind, which, detail)

    def _request(self, kind: str, which: int, detail: int) -> AnyInput | None:
        """Return what somebody asks for."""
        match kind:
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
            case "decide" if self.live.spent:
                return self._decide(
                    list(self.live.spent)[which % len(self.live.spent)], list(Answer)[detail % len(Answer)]
                )
            case "cancel_step" if detail > 4:
                steps = [key for scope in (self.live.root, *self.live.bodies.values()) for key in scope.keys]
                return i.CancelStepRequested(at=self.at, step=steps[which % len(steps)])
            case "cancel" if detail > 4:
                at_once = which > 3
                request = "" if at_once else ("", "c")[which % 2]
                return i.CancelExecutionRequested(at=self.at, reason="enough", request=request, at_once=at_once)
        return None

    def _answer(self, step: str) -> AnyInput:
        return i.InputSubmitted(at=self.at, step=step, output=Raw(b'"answer"'))

    def _decide(self, step: str, answer: Answer) -> AnyInput:
        output = Raw(b'"given"') if answer is Answer.OUTPUT else None
        return i.AnswerGiven(at=self.at, step=step, answer=answer, output=output)

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
            arrived.extend(self._decide(step, Answer.OUTPUT) for step in self.live.spent)
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

    def node(self, step: str) -> Node:
        found = find_node(self.plan.workflow, step)
        assert found is not None
        return found


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
