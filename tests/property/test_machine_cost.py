"""The work of one event does not grow with the workflow, and no path is too long."""

from __future__ import annotations

import sys
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw
from tests.property.playing.drawing import T

from treadle.machine import (
    State,
    advance,
    compile,  # noqa: A004 - the house's word for it
    start,
)
from treadle.machine import events as e
from treadle.machine import inputs as i
from treadle.model import Connection, ExecutionStatus, Node, NodeType, Workflow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from treadle.machine.inputs import AnyInput


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
