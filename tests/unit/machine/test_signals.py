"""Events that are sent to an execution, and what it hears of the executions that its steps have started."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace

from treadle.errors import ValidationError
from treadle.machine import Heard, heard, key_text, newly_heard, owed_to_children, received
from treadle.machine import events as e
from treadle.machine import inputs as i
from treadle.machine.commands import CancelChild, PauseChild, ResumeChild, StartChild
from treadle.machine.mail import KEY_CHARS
from treadle.model import Body, Connection, Join, JoinKind, Node, NodeType, StepError, Timer
from treadle.settings import Settings

T = 1_000


def hears(name: str = "n", event: str = "paid", **fields: Any) -> Node:
    return Node(name, type=NodeType.EVENT, event=event, **fields)


def waits(name: str, *timers: Timer) -> Node:
    return Node(name, type=NodeType.WAIT, any_of=timers)


def sent(name: str = "paid", key: Any = None, data: bytes = b"1", event_id: str = "i", **how: Any) -> i.EventSent:
    how.setdefault("at", T)
    return i.EventSent(name=name, key=key_text(key), data=Raw(data), event_id=event_id, **how)


def received_event(step: str = "n", data: bytes | None = b"1", **fields: Any) -> e.EventReceived:
    payload = {} if data is None else {"data": Raw(data)}
    return e.EventReceived(**{"step": step, "name": "paid", "event_id": "i", "at": T, **payload, **fields})


# -- keys


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (None, "null"),
        (True, "true"),
        (1, "1"),
        (1.0, "1"),
        (-0.0, "0"),
        (1.5, "1.5"),
        (2**70, str(2**70)),
        (1e300, str(int(1e300))),
        ("1", '"1"'),
        ("", '""'),
        ("é\n", '"é\\n"'),
        ([1.0, [2.0, "a"]], '[1,[2,"a"]]'),
        ({"b": {"d": 1, "c": 2.0}, "a": []}, '{"a":[],"b":{"c":2,"d":1}}'),
    ],
)
def test_a_key_is_compared_as_json_with_its_names_in_order_and_its_numbers_by_value(key: Any, text: str) -> None:
    assert key_text(key) == text


def test_a_key_that_is_too_long_is_refused() -> None:
    assert len(key_text("x" * (KEY_CHARS - 2))) == KEY_CHARS
    with pytest.raises(ValidationError, match="at most 1,024 characters of JSON, not 1,025"):
        key_text("x" * (KEY_CHARS - 1))


KEYS = [None, False, True, 0, 1, "", "1", "null", [], [1], {}, {"a": 1}]


@pytest.mark.parametrize("key", KEYS)
def test_a_step_with_a_key_takes_only_events_of_that_key_and_one_without_takes_any(case: Any, key: Any) -> None:
    keyed = case([hears(key="${input.k}")]).created({"k": key})
    keyless = case([hears()]).created()
    for number, other in enumerate(KEYS):
        fits = type(other) is type(key) and other == key
        if not fits:
            keyed.when(sent(key=other, event_id=f"i{number}", keeps=False)).gives_nothing(False)
    keyed.when(sent(key=key)).gives(received_event(), e.ExecutionCompleted(at=T), accepted=[True])
    keyless.when(sent(key=key)).gives(received_event(), e.ExecutionCompleted(at=T), accepted=[True])


def test_a_wait_for_an_event_of_a_key_takes_no_other_and_gives_which_it_was(case: Any) -> None:
    node = waits("n", Timer(duration=100), Timer(event="paid", key="${input.k}"), Timer(event="paid", key=None))
    one = case([node]).created({"k": None})
    assert one.state.listening == {"n": ((1, "paid", "null"), (2, "paid", ""))}
    one.when(sent(key=7))
    assert one.seen.output == {"timer": 2, "event": "paid", "data": 1}
    other = case([node]).created({"k": None}).when(sent())
    assert other.seen.output == {"timer": 1, "event": "paid", "data": 1}


@pytest.mark.parametrize("node", [hears(key="${input.k}"), waits("n", Timer(event="paid", key="${input.k}"))])
def test_a_step_whose_key_is_too_long_fails(case: Any, node: Node) -> None:
    seen = case([node]).created({"k": "x" * KEY_CHARS}).seen
    assert (seen.status.value, seen.error.type) == ("FAILED", "ValidationError")
    assert "the key of an event has at most" in seen.error.message


# -- early, kept, late


def test_an_event_for_which_nobody_waits_is_kept_and_the_first_step_to_wait_takes_it(case: Any) -> None:
    one = case(["a", hears(key="${a}")], ["a>n"]).given()
    one.when(sent(key=1, event_id="other"), sent(key=7)).gives(
        e.EventKept(name="paid", key="1", data=Raw(b"1"), event_id="other", at=T),
        e.EventKept(name="paid", key="7", data=Raw(b"1"), event_id="i", at=T),
        accepted=[True, True],
    )
    one.returned("a", 7)
    assert one.turn.events[1:] == [
        e.EventAwaited(step="n", name="paid", key="7", at=T),
        received_event(data=None),
        e.ExecutionCompleted(at=T),
    ]
    assert one.seen.output == 1
    assert list(one.state.kept) == ["other"]


def test_of_two_kept_events_the_older_is_taken_first(case: Any) -> None:
    one = case(["a", hears("n"), hears("m")], ["a>n", "n>m"]).given()
    one.when(sent(data=b"1", event_id="x"), sent(data=b"2", event_id="y")).returned("a")
    assert [one.seen.steps[step].output for step in "nm"] == [1, 2]


def test_a_kept_event_may_end_a_wait_before_any_timer(case: Any) -> None:
    node = waits("n", Timer(duration=100), Timer(event="paid"))
    one = case(["a", node], ["a>n"]).given().when(sent(key=3)).returned("a")
    assert one.seen.output == {"timer": 1, "event": "paid", "data": 1}


def test_a_step_that_drops_what_is_early_takes_only_what_comes_while_it_waits(case: Any) -> None:
    one = case(["a", hears(buffer=False)], ["a>n"]).given().when(sent(event_id="early")).returned("a")
    assert one.statuses["n"] == "WAITING"
    one.when(sent(event_id="late", is_late=True, keeps=False)).gives_nothing(False)
    one.when(sent(data=b"2"))
    assert (one.seen.output, list(one.state.kept)) == (2, ["early"])


def test_what_is_late_goes_to_a_step_that_takes_it_though_another_waits_longer(case: Any) -> None:
    one = case(["a", hears("n", buffer=False), hears("m")], ["a>m"]).given().returned("a")
    one.when(sent(is_late=True)).gives(received_event("m"), accepted=[True])
    assert one.statuses == {"a": "COMPLETED", "n": "WAITING", "m": "COMPLETED"}


def test_the_step_that_has_waited_longest_takes_an_event(case: Any) -> None:
    one = case(["a", hears("n"), hears("m")], ["a>n"]).given().returned("a")
    one.when(sent()).gives(received_event("m"), accepted=[True])


def test_an_event_sent_again_changes_nothing_whatever_became_of_it(case: Any) -> None:
    one = case(["a", hears()], ["a>n"]).given().when(sent())
    one.when(sent(data=b"2")).gives_nothing(True)
    one.returned("a")
    assert one.seen.output == 1
    one.when(sent()).gives_nothing(True)
    one.when(sent(event_id="other")).gives_nothing(False)


def test_an_execution_keeps_only_so_many_events(case: Any) -> None:
    one = case(["a", hears()], ["a>n"])
    one.plan.limits = Settings(max_kept_events=2)
    one.given().when(sent(event_id="x"), sent(event_id="y"), sent(event_id="z"))
    assert (one.turn.accepted, list(one.state.kept)) == ([True, True, False], ["x", "y"])
    one.when(sent(event_id="x")).gives_nothing(True)
    one.returned("a")
    assert list(one.state.kept) == ["y"]


def test_an_event_that_is_not_to_be_kept_is_not_taken_where_nobody_waits(case: Any) -> None:
    one = case(["a", hears()], ["a>n"]).given().when(sent(keeps=False)).gives_nothing(False)
    one.returned("a").when(sent(keeps=False))
    assert one.turn.accepted == [True]


# -- timers and events, either first


def test_a_wait_takes_the_first_of_a_timer_and_an_event(case: Any) -> None:
    node = waits("n", Timer(duration=100), Timer(event="paid"))
    late = case([node]).created().time(100)
    late.gives(e.WaitEnded(step="n", timer=0, at=T + 100), e.ExecutionCompleted(at=T + 100))
    assert (late.seen.output, late.state.listening) == ({"timer": 0}, {})
    late.when(sent(at=T + 100)).gives_nothing(False)
    soon = case([node]).created().wait(99).when(sent(at=T + 99))
    assert soon.seen.output == {"timer": 1, "event": "paid", "data": 1}
    both = case([node]).created().wait(100).when(sent(at=T + 100), i.TimeReached(at=T + 100))
    assert both.seen.output == {"timer": 1, "event": "paid", "data": 1}


def test_an_event_that_does_not_come_in_time_times_out_on_the_clock_of_the_execution(case: Any) -> None:
    handled = [Connection("n", "late", outcome="failure")]
    one = case([hears(timeout_ms=100), "late"], handled).created().wait(60).pause().wait(500).resume()
    assert one.time(39).turn.events == []
    assert one.time(1).kinds == ["StepTimedOut n", "FailureHandled n"]
    assert (one.state.listening, heard(one.state)) == ({}, frozenset())
    alone = case([hears(timeout_ms=1_500)]).created().time(1_500)
    assert (alone.seen.status.value, alone.seen.error.type) == ("FAILED", "StepTimeout")


def test_an_event_is_taken_while_the_execution_is_paused_and_nothing_starts(case: Any) -> None:
    one = case([hears(), "a"], ["n>a"]).created().pause()
    assert one.when(sent()).turn.ready == ()
    one.resume().gives(e.ExecutionResumed(at=T), ready=["a"])


# -- what no longer waits hears nothing


def test_no_step_of_an_execution_that_ends_waits_for_anything(case: Any) -> None:
    one = case([hears(), "b"]).given().cancel()
    assert heard(one.state) == frozenset()
    one.when(sent()).gives_nothing(False)
    halted = case([hears(), "b", "c"]).given().raised("b", permanent=True)
    assert (halted.statuses["n"], heard(halted.state)) == ("CANCELLED", frozenset())
    halted.when(sent()).gives_nothing(False)


def race(*nodes: Node) -> Node:
    return Node("p", type=NodeType.PARALLEL, race=True, body=Body(nodes))


def each(node: Node, items: Any = "${input.items}", **fields: Any) -> Node:
    return Node("m", type=NodeType.MAP, items=items, body=Body((node,)), **fields)


def test_steps_in_bodies_hear_events_by_keys_of_their_own(case: Any) -> None:
    one = case([each(hears(key="${item}"))]).created({"items": ["x", "y"]})
    assert heard(one.state) == {Heard("paid", '"x"', True), Heard("paid", '"y"', True)}
    one.when(sent(key="y", data=b"2")).when(sent(key="x", event_id="j"))
    assert one.seen.output == [1, 2]


def test_steps_whose_group_is_over_hear_nothing(case: Any) -> None:
    one = case([race(hears("n"), hears("m", "lost")), "a"], ["p>a"]).created().when(sent())
    assert (one.seen.steps["p.m"].status.value, heard(one.state)) == ("CANCELLED", frozenset())
    tolerant = case([each(hears(key="${item}"), complete_when="completed == 1")]).created({"items": [1, 2, 3]})
    tolerant.when(sent(key=2))
    assert (tolerant.seen.status.value, heard(tolerant.state)) == ("COMPLETED", frozenset())
    timed = case([each(hears(key="${item}"), timeout_ms=50)]).created({"items": [1, 2]}).time(50)
    assert (timed.seen.status.value, heard(timed.state)) == ("FAILED", frozenset())


def test_a_join_that_cancels_the_rest_ends_waits_for_events(case: Any) -> None:
    join = Node("j", action="act", join=Join(JoinKind.ANY), cancel_rest=True)
    one = case(["a", hears(), join], ["a>j", "n>j"]).given().returned("a")
    assert (one.statuses["n"], heard(one.state)) == ("CANCELLED", frozenset())


# -- what the driver is told


def test_what_a_turn_has_taken_and_come_to_wait_for_is_told_also_where_it_waited_for_such_before(case: Any) -> None:
    again = Node("l", type=NodeType.LOOP, until="index == 1", body=Body((hears(key=5, buffer=False),)))
    one = case([again]).created()
    once = frozenset({Heard("paid", "5", False)})
    assert (received(one.turn), newly_heard(one.turn), heard(one.state)) == ((), once, once)
    one.when(sent(key=5))
    assert (received(one.turn), newly_heard(one.turn), heard(one.state)) == (("i",), once, once)
    one.when(sent(key=5, event_id="j"))
    assert (received(one.turn), newly_heard(one.turn), heard(one.state)) == (("j",), frozenset(), frozenset())


@pytest.mark.parametrize(
    ("node", "whether"),
    [
        (hears(), True),
        (waits("n", Timer(duration=1)), False),
        (waits("n", Timer(duration=1), Timer(event="x")), True),
        (each(hears()), True),
        (each(race(hears())), True),
        (each(Node("a", action="act")), False),
    ],
)
def test_a_plan_knows_whether_any_of_its_nodes_hears_events(case: Any, node: Node, whether: bool) -> None:
    assert case([node]).plan.hears_events is whether


# -- children

CHILD = Node("c", type=NodeType.WORKFLOW, workflow="w2", input={"x": 1})


def ended(step: str = "c", child: str = "x/c", **fields: Any) -> i.ChildEnded:
    return i.ChildEnded(step=step, child=child, at=T, **fields)


def failure(message: str = "no") -> StepError:
    return StepError(type="ValueError", message=message, step="c")


def test_a_child_is_asked_for_once_and_its_output_is_that_of_the_step(case: Any) -> None:
    one = case([CHILD, "a"], ["c>a"]).created()
    assert one.turn.commands == [StartChild("c", "x/c", "w2", Raw(b'{"x":1}'), 1, True, 1)]
    one.when(ended(output=Raw(b"7"))).gives(
        e.ChildCompleted(step="c", child="x/c", output=Raw(b"7"), at=T), accepted=[True], ready=["a"]
    )
    one.when(ended(output=Raw(b"8"))).gives_nothing(False)


@pytest.mark.parametrize(
    "arrived", [ended(step="nobody"), ended(child="y/c"), i.ChildBegan(step="c", child="x/c", at=T)]
)
def test_news_of_a_child_for_which_no_step_waits_changes_nothing(case: Any, arrived: Any) -> None:
    case([CHILD]).created().when(arrived).gives_nothing(False)


def test_a_child_that_nobody_waits_for_is_done_once_it_exists(case: Any) -> None:
    one = case([replace(CHILD, wait_for=False)]).created()
    one.when(i.ChildRested(step="c", child="x/other", at=T)).gives_nothing(False)
    one.when(i.ChildBegan(step="c", child="x/c", at=T))
    assert (one.kinds, one.seen.output) == (["ChildStarted c", "ExecutionCompleted"], {"execution_id": "x/c"})


def test_a_child_that_failed_fails_the_step_which_may_be_handled(case: Any) -> None:
    one = case([CHILD, "sorry"], [Connection("c", "sorry", outcome="failure")]).created().when(ended(error=failure()))
    assert one.kinds == ["StepFailed c", "FailureHandled c"]
    late = case([CHILD]).created().when(ended(error=failure(), timed_out=True))
    assert (late.kinds[0], late.seen.status.value) == ("StepTimedOut c", "FAILED")


def test_a_child_that_rests_stops_an_execution_that_has_nothing_else_to_do_and_goes_on_with_it(case: Any) -> None:
    one = case([CHILD]).created()
    one.when(i.ChildRested(step="c", child="x/c", waiting_for=("input.x",), at=T))
    assert (one.seen.status.value, one.seen.waiting_for) == ("PAUSED", ("input.x",))
    one.when(i.ChildRested(step="c", child="x/c", waiting_for=("input.x",), at=T)).gives_nothing(False)
    one.when(i.ChildWentOn(step="c", child="x/c", at=T))
    assert (one.kinds, one.seen.status.value) == (["ChildResumed c", "ExecutionResumed"], "RUNNING")
    one.when(i.ChildWentOn(step="c", child="x/c", at=T)).gives_nothing(False)


def test_pausing_resuming_and_cancelling_go_down_and_are_owed_after_a_crash(case: Any) -> None:
    one = case([CHILD]).created()
    start = one.turn.commands[0]
    assert one.pause().turn.commands == [PauseChild("x/c")]
    assert list(owed_to_children(one.folded())) == [start, PauseChild("x/c")]
    assert one.resume().turn.commands == [ResumeChild("x/c", None)]
    assert list(owed_to_children(one.folded())) == [start]
    assert one.cancel().turn.commands == [CancelChild("x/c")]
    assert list(owed_to_children(one.folded())) == [start, CancelChild("x/c")]
    one.when(ended(error=failure(), is_cancelled=True))
    assert one.kinds == ["StepCancelled c", "ExecutionCancelled"]
    assert list(owed_to_children(one.state)) == []
