"""One execution driven by hand: given events, when an input comes, then exactly these events and commands.

After each turn two promises are checked on the side: the events survive the wire, and the log alone gives every slot
of the state back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import pytest

from treadle.machine import (
    OnMissingInput,
    State,
    Turn,
    advance,
    compile,  # noqa: A004 - the house's word for it
    decode_events,
    encode_events,
    fold,
    snapshot,
    start,
)
from treadle.machine import inputs as i
from treadle.machine.scope import Group, Scope
from treadle.model import Answer, Connection, Node, StepError, Workflow
from treadle.values import decode_payload, encode_payload

if TYPE_CHECKING:
    from treadle.machine.events import AnyEvent
    from treadle.machine.inputs import AnyInput
    from treadle.model import ExecutionState

T = 1_000
"""When every execution of these tests is started, in milliseconds since the epoch."""


def error(step: str, attempt: int = 1, kind: str = "RuntimeError", message: str = "no") -> StepError:
    """Return the error of an attempt."""
    return StepError(type=kind, message=message, attempt=attempt, step=step)


def dump(state: State) -> dict[str, Any]:
    """Return every slot of a state and its scopes by value, without timers that no longer count and the caches."""
    left_out = {"plan", "plans", "root", "bodies", "places"}
    seen: dict[str, Any] = {slot: getattr(state, slot) for slot in State.__slots__ if slot not in left_out}
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
    seen = {slot: getattr(scope, slot) for slot in Scope.__slots__ if slot not in left_out}
    seen["connections"] = bytes(scope.connections)
    seen["ending"] = scope.ending and (scope.ending.status, scope.ending.error, scope.ending.output)
    seen["groups"] = {index: dump_group(group) for index, group in scope.groups.items()}
    return seen


def dump_group(group: Group) -> dict[str, Any]:
    """Return every slot of a group by value, its scopes by number."""
    seen = {slot: getattr(group, slot) for slot in Group.__slots__ if slot != "results"}
    return seen | {"open": list(group.open), "kept": list(group.kept)}


class Case:
    """An execution of a workflow, at a time that stands still until ``wait``.

    Args:
        nodes: Nodes, or ids of plain actions.
        connections: Connections, or ``"source>target"``.
        on_missing_input: What a missing input stops.
        workflow: Other fields of the workflow.
    """

    def __init__(
        self,
        nodes: list[Node | str],
        connections: list[Connection | str] | tuple[()] = (),
        *,
        on_missing_input: OnMissingInput = OnMissingInput.PAUSE_STEP,
        **workflow: Any,
    ) -> None:
        made = tuple(Node(one, action="act") if isinstance(one, str) else one for one in nodes)
        joined = tuple(Connection(*one.split(">")) if isinstance(one, str) else one for one in connections)
        self.workflow = Workflow("w", made, joined, **workflow)
        self.plan = compile(self.workflow, on_missing_input=on_missing_input)
        self.state = State(self.plan)
        self.at = T
        self.log: list[bytes] = []
        self.turn = Turn(self.state)

    # -- given

    def created(self, input: Any = None, **fields: Any) -> Self:  # noqa: A002 - the word of the domain
        """Create the execution; its entries are ready and not started."""
        payload = encode_payload(input or {})
        return self.when(i.StartRequested(at=self.at, execution_id="x", input=payload, **fields))

    def given(self, input: Any = None) -> Self:  # noqa: A002
        """Create the execution and start its entries."""
        return self.created(input).starts()

    def wait(self, ms: int) -> Self:
        """Let time pass; nothing is told of it."""
        self.at += ms
        return self

    # -- when

    def when(self, *arrived: AnyInput) -> Self:
        """Make one turn of inputs."""
        return self._record(advance(self.state, arrived))

    def starts(self, *steps: str) -> Self:
        """Start steps, or all that are ready, in a turn of their own."""
        return self._record(start(self.state, steps or list(self.state.ready), at=self.at))

    def returned(self, step: str, output: Any = None, attempt: int = 0) -> Self:
        return self.when(
            i.ActionReturned(
                step=step, attempt=attempt or self.state.in_flight[step], output=encode_payload(output), at=self.at
            )
        )

    def raised(self, step: str, attempt: int = 0, **how: Any) -> Self:
        attempt = attempt or self.state.in_flight[step]
        how.setdefault("error", error(step, attempt))
        return self.when(i.ActionRaised(step=step, attempt=attempt, at=self.at, **how))

    def interrupted(self, step: str, attempt: int = 0) -> Self:
        return self.when(i.ActionInterrupted(step=step, attempt=attempt or self.state.in_flight[step], at=self.at))

    def cancelled(self, step: str, attempt: int = 0) -> Self:
        return self.when(i.ActionCancelled(step=step, attempt=attempt or self.state.in_flight[step], at=self.at))

    def time(self, ms: int = 0) -> Self:
        """Let time pass and tell the machine."""
        return self.wait(ms).when(i.TimeReached(at=self.at))

    def pause(self, request: str = "") -> Self:
        return self.when(i.PauseRequested(request=request, at=self.at))

    def resume(self, inputs: Any = None, request: str = "") -> Self:
        payload = None if inputs is None else encode_payload(inputs)
        return self.when(i.ResumeRequested(inputs=payload, request=request, at=self.at))

    def answer(self, step: str, answer: str, output: Any = None, request: str = "") -> Self:
        payload = encode_payload(output) if answer == "output" or output is not None else None
        return self.when(i.AnswerGiven(step=step, answer=Answer(answer), output=payload, request=request, at=self.at))

    def terminate(self) -> Self:
        return self.when(i.CancelExecutionRequested(at_once=True, at=self.at))

    def cancel(self, reason: str = "", request: str = "") -> Self:
        return self.when(i.CancelExecutionRequested(reason=reason, request=request, at=self.at))

    # -- then

    def gives(
        self,
        *events: AnyEvent,
        commands: list[object] | tuple[()] = (),
        ready: list[str] | tuple[()] = (),
        accepted: list[bool] | None = None,
    ) -> Self:
        """Compare all that the last turn gave."""
        assert self.turn.events == list(events)
        assert self.turn.commands == list(commands)
        assert [one.step for one in self.turn.ready] == list(ready)
        if accepted is not None:
            assert self.turn.accepted == accepted
        return self

    def gives_nothing(self, *accepted: bool) -> Self:
        """The last turn changed nothing."""
        return self.gives(accepted=list(accepted) if accepted else None)

    @property
    def seen(self) -> ExecutionState:
        """What a reader sees."""
        return snapshot(self.state)

    @property
    def statuses(self) -> dict[str, str]:
        """The status of each step."""
        return {name: step.status.value for name, step in self.seen.steps.items()}

    @property
    def kinds(self) -> list[str]:
        """The last turn in short: kind and step."""
        return [f"{type(one).__name__} {getattr(one, 'step', '')}".strip() for one in self.turn.events]

    def folded(self) -> State:
        """Return what the log gives, as recovery does."""
        return fold(self.plan, [decode_events(turn) for turn in self.log], self.state.plans)

    def _record(self, turn: Turn) -> Self:
        self.turn = turn
        if turn.events:
            data = encode_events(turn.events)
            assert decode_events(data) == turn.events
            self.log.append(data)
        assert dump(self.folded()) == dump(self.state)
        return self


@pytest.fixture
def case() -> type[Case]:
    """Return the class that drives one execution."""
    return Case


@pytest.fixture
def no() -> Any:
    """Return the function that makes the error of an attempt."""
    return error
