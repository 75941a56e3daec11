"""A turn is bounded: maps and loops that wait for nothing go on in the next, so that others and requests get theirs."""

from __future__ import annotations

from typing import Any

import pytest

from treadle.errors import ReplayError
from treadle.machine import apply
from treadle.machine import events as e
from treadle.machine import inputs as i
from treadle.machine import turn as turns
from treadle.model import Body, Node, NodeType, Timer

MOST = 20
"""Events of one turn here. The last thing that begins may take a few more."""

ITERATION = 3
"""Events of one: it begins, computes, and is complete."""


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "MOST_EVENTS", MOST)


def computes(values: Any) -> Body:
    return Body((Node("v", type=NodeType.SET, values=values),))


def loops(**fields: Any) -> Node:
    return Node("l", type=NodeType.LOOP, body=computes("${index}"), max_iterations=10**9, **fields)


def maps(items: Any, body: Body | None = None, **fields: Any) -> Node:
    return Node("m", type=NodeType.MAP, items=items, body=body or computes("${item}"), **fields)


def test_a_loop_that_waits_for_nothing_goes_on_from_turn_to_turn(case: Any) -> None:
    one = case([loops(until="index == 29")]).created()
    assert one.turn.events[-1] == e.GroupYielded(step="l", begun=6, at=one.at)
    assert (one.statuses["l"], one.state.wake_at()) == ("RUNNING", one.at)
    while one.seen.status.value == "RUNNING":
        one.time()
        assert len(one.turn.events) <= MOST + ITERATION
    assert (one.seen.output, len(one.log)) == (29, 5)


def test_a_loop_that_has_yielded_does_not_go_on_once_the_execution_is_cancelled(case: Any) -> None:
    one = case([loops(until="index == 29"), "a"]).given()
    one.when(i.CancelExecutionRequested(at=one.at)).time().gives_nothing()
    assert one.cancelled("a").statuses["l"] == "CANCELLED"


@pytest.mark.parametrize("most", [None, 7])
def test_a_map_begins_no_more_items_in_a_turn_than_that(case: Any, most: int | None) -> None:
    one = case([maps(list(range(50)), max_concurrency=most)]).created()
    while one.seen.status.value == "RUNNING":
        one.time()
        assert len(one.turn.events) <= 3 * MOST
    assert one.seen.output == list(range(50))


def test_items_that_call_actions_begin_in_several_turns_too(case: Any) -> None:
    one = case([maps(list(range(50)), Body((Node("a", action="act"),)))]).created()
    assert (len(one.state.ready), one.kinds[-2:]) == (MOST - 3, ["BodyStarted m", "GroupYielded m"])
    one.time().time().time()
    assert (len(one.state.ready), one.state.wake_at()) == (50, None)


def test_an_item_that_ends_before_the_next_turn_lets_the_others_begin(case: Any) -> None:
    one = case([maps(list(range(30)), Body((Node("a", action="act"),)))]).given()
    one.returned("m[0].a", 1)
    assert one.kinds[:3] == ["StepSucceeded m[0].a", "BodyCompleted m", "BodyStarted m"]
    one.time().time()
    assert (len(one.state.ready) + len(one.state.in_flight), one.state.wake_at()) == (29, None)


def test_a_loop_that_never_ends_is_paused_resumed_and_cancelled_like_any(case: Any) -> None:
    one = case([loops(repeat_while="true")]).created().time()
    one.pause()
    assert one.state.wake_at() is None
    one.time(1_000).gives_nothing()
    one.resume()
    assert one.state.wake_at() == one.at
    one.time()
    assert one.kinds[0] == "BodyStarted l"
    assert one.cancel().seen.status.value == "CANCELLED"
    assert one.state.wake_at() is None


@pytest.mark.parametrize("where", ["execution", "step"])
def test_its_timeout_ends_it(case: Any, where: str) -> None:
    node = loops(repeat_while="true", timeout_ms=5 if where == "step" else None)
    one = case([node], timeout_ms=5 if where == "execution" else None).created()
    for _ in range(10):
        one.time(1)
    assert one.seen.status.value == ("TIMED_OUT" if where == "execution" else "FAILED")
    assert one.seen.steps["l"].status.value == ("CANCELLED" if where == "execution" else "TIMED_OUT")


def test_a_step_that_asks_for_input_pauses_nothing_while_a_loop_goes_on(case: Any) -> None:
    asks = Node("a", action="act", parameters={"x": "${input.p}"})
    one = case([asks, loops(until="index == 29")]).given()
    assert (one.statuses, one.seen.status.value) == ({**one.statuses, "a": "PAUSED", "l": "RUNNING"}, "RUNNING")
    while one.statuses["l"] == "RUNNING":
        one.time()
    assert one.seen.status.value == "PAUSED"


def test_of_many_timers_that_are_due_in_one_moment_the_rest_waits_for_the_next_turn(case: Any) -> None:
    waits = [Node(f"w{number}", type=NodeType.WAIT, any_of=(Timer(duration=5),)) for number in range(60)]
    one = case(waits).created().time(5)
    assert len(one.turn.events) == MOST
    one.time().time()
    assert one.seen.status.value == "COMPLETED"


def test_a_step_that_did_not_begin_so_many_bodies_cannot_have_yielded_behind_them(case: Any) -> None:
    one = case([maps([1, 2], Body((Node("a", action="act"),)))]).created()
    with pytest.raises(ReplayError, match="not 1 bodies of 'm' have begun"):
        apply(one.state, e.GroupYielded(step="m", begun=1, at=one.at))
