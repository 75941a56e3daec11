"""Over generated workflows and generated interleavings, by hand and without asyncio: the promises of the machine."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.playing.drawing import MOVES, workflows
from tests.property.playing.player import Player, bodies_around, dump
from tests.property.playing.promises import check_attempts, check_joins, check_steps, check_undoing

from treadle.machine import (
    State,
    advance,
    compile,  # noqa: A004 - the house's word for it
    decode_events,
    encode_events,
    fold,
    start,
)
from treadle.machine import events as e
from treadle.machine import inputs as i
from treadle.machine import turn as turns
from treadle.model import ExecutionStatus, Workflow


@given(workflows(), MOVES, st.sampled_from([turns.MOST_EVENTS, 8]))
@settings(max_examples=400, deadline=None)
def test_whatever_arrives_in_whatever_order_the_promises_hold_and_the_execution_ends(
    workflow: Workflow, moves: list[tuple[str, int, int]], most: int
) -> None:
    player = Player(workflow)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turns, "MOST_EVENTS", most)
        player.play(moves)
        player.finish()
    player.turn([i.TimeReached(at=player.at + 1_000), i.PauseRequested(at=player.at), i.ResumeRequested(at=player.at)])
    check_steps(player)
    check_attempts(player)
    check_undoing(player)
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
