"""An execution that runs goes on with another definition where that is safe, and says exactly why where it is not."""

from __future__ import annotations

from typing import Any

import pytest

from treadle.errors import ReplayError
from treadle.machine import Plan, apply, compile, decode_events, fold, migration_problems, snapshot  # noqa: A004
from treadle.machine import events as e
from treadle.machine import inputs as i
from treadle.model import Body, Connection, Join, JoinKind, Node, NodeType, OnSkip, Outcome, RetryPolicy, Workflow

T = 1_000


def act(name: str, action: str = "act", **fields: Any) -> Node:
    return Node(name, action=action, **fields)


def plan_of(nodes: list[Any], connections: list[Any], **fields: Any) -> Plan:
    made = tuple(act(one) if isinstance(one, str) else one for one in nodes)
    joined = tuple(Connection(*one.split(">")) if isinstance(one, str) else one for one in connections)
    return compile(Workflow("w", made, joined, **fields))


def migrate(one: Any, plan: Plan, **how: Any) -> Any:
    return one.when(i.MigrateRequested(at=one.at, plan=plan, **how))


def why(one: Any, plan: Plan) -> list[str]:
    return [problem.message for problem in migration_problems(one.state, plan, one.at)]


@pytest.fixture
def half(case: Any) -> Any:
    """An execution in which a has ended, b runs, c was not reached."""
    return case(["a", "b", "c"], ["a>b", "b>c"]).given().returned("a", 1).starts()


def test_what_was_not_reached_yet_may_be_another_thing(half: Any) -> None:
    plan = plan_of(["a", "b", act("c", "other"), "d"], ["a>b", "b>c", "c>d"])
    migrate(half, plan, request="r").gives(
        e.ExecutionMigrated(definition_hash=plan.definition_hash, request="r", at=T), accepted=[True]
    )
    half.returned("b", 2).starts()
    assert half.turn.commands[0].node.action == "other"
    half.returned("c").starts().returned("d", 4)
    assert (half.seen.status.value, half.seen.output) == ("COMPLETED", 4)
    assert half.seen.definition_hash == plan.definition_hash


def test_the_log_gives_the_migrated_execution_back(half: Any) -> None:
    before = half.plan
    plan = plan_of(["x", "c", "b", "a"], ["a>b", "b>c", "c>x"])
    migrate(half, plan).returned("b", 2)
    again = fold(before, [decode_events(turn) for turn in half.log], {plan.definition_hash: plan})
    assert snapshot(again) == half.seen
    assert list(half.seen.steps) == ["x", "c", "b", "a"]
    with pytest.raises(ReplayError, match=f"its definition {plan.definition_hash} was not given"):
        fold(before, [decode_events(turn) for turn in half.log])


def test_new_entries_begin_and_new_steps_behind_what_runs_wait(half: Any) -> None:
    plan = plan_of(["a", "b", "c", "entry", "behind"], ["a>b", "b>c", "b>behind", "entry>behind"])
    migrate(half, plan)
    assert [ready.step for ready in half.turn.ready] == ["entry"]
    half.starts().returned("entry").returned("b")
    assert [ready.step for ready in half.turn.ready] == ["c", "behind"]


def test_a_join_that_the_new_definition_meets_is_met_at_once(case: Any) -> None:
    one = case(["a", "b", "j"], ["a>j", "b>j"]).given().returned("a")
    migrate(one, plan_of(["a", "b", act("j", join=Join(JoinKind.ANY))], ["a>j", "b>j"]))
    assert one.statuses["j"] == "WAITING"
    one = case(["a", "b", "j"], ["a>j", "b>j"]).given().returned("a")
    migrate(one, plan_of(["a", "b", "j"], ["a>j"]))
    assert one.statuses["j"] == "WAITING"


def test_policies_of_what_is_under_way_may_change(half: Any) -> None:
    other = act("b", retry=RetryPolicy(max_attempts=9), timeout_ms=5, title="B", continue_on_error=True)
    migrate(half, plan_of(["a", other, "c"], ["a>b", "b>c"]))
    for attempt in range(1, 9):
        half.raised("b", attempt=attempt).time(100_000).starts()
    assert half.seen.steps["b"].attempt == 9


@pytest.mark.parametrize(
    ("nodes", "connections", "reasons"),
    [
        (["b", "c"], ["b>c"], ["step 'a' has begun, and the new definition has no such step"]),
        (
            ["a", act("b", "other"), "c"],
            ["a>b", "b>c"],
            ["step 'b' is under way, and is another one in the new definition"],
        ),
        (
            [Node("a", type=NodeType.SET, values=1), "b", "c"],
            ["a>b", "b>c"],
            ["step 'a' has begun as action, and is of type set in the new definition"],
        ),
        (
            ["a", "b", "c", "d"],
            ["a>b", "b>c", "d>b"],
            ["step 'b' has begun without waiting for 'd', as it would in the new definition"],
        ),
        (
            ["a", "b", "c", "d"],
            ["a>b", "b>c", "a>d"],
            ["step 'a' has ended before its connection to 'd' was there, or with another condition"],
        ),
        (
            ["a", "b", "c"],
            [Connection("a", "b", condition="a > 5"), "b>c"],
            ["step 'a' has ended before its connection to 'b' was there, or with another condition"],
        ),
        (
            ["a", "b", "c"],
            [Connection("a", "b", outcome=Outcome.ALWAYS), "b>c"],
            ["step 'a' has ended before its connection to 'b' was there, or with another condition"],
        ),
        (
            [act("x"), act("b", "other")],
            ["x>b"],
            [
                "step 'a' has begun, and the new definition has no such step",
                "step 'b' is under way, and is another one in the new definition",
                "step 'b' has begun without waiting for 'x', as it would in the new definition",
            ],
        ),
    ],
)
def test_a_migration_that_would_lose_work_is_refused_with_every_reason(
    half: Any, nodes: list[Any], connections: list[Any], reasons: list[str]
) -> None:
    plan = plan_of(nodes, connections)
    assert why(half, plan) == reasons
    before = half.seen
    migrate(half, plan).gives_nothing(False)
    assert half.seen == before


def test_a_map_under_way_must_be_the_same_and_goes_on(case: Any) -> None:
    body = Body((act("x"),))
    each = Node("m", type=NodeType.MAP, items=[1, 2], body=body)
    one = case(["a", each], []).given()
    other = Node("m", type=NodeType.MAP, items=[1, 2], body=Body((act("x", "other"),)))
    assert why(one, plan_of(["a", other], [])) == ["step 'm' is under way, and is another one in the new definition"]
    migrate(one, plan_of(["new", each, "a", "z"], ["m>z"]))
    one.returned("m[0].x", 1).returned("m[1].x", 2).returned("a").starts()
    assert one.statuses["z"] == "RUNNING"
    assert one.returned("new").returned("z", 5).seen.steps["m"].output == [1, 2]


def test_skipped_handled_and_waiting_steps_are_taken_over(case: Any) -> None:
    nodes = [
        act("skipped", condition="false", on_skip=OnSkip.PASS),
        act("bad", retry=RetryPolicy(max_attempts=1), continue_on_error=True),
        Node("w", type=NodeType.WAIT, duration=10),
        act("q", parameters={"x": "${input.x}"}),
    ]
    one = case(nodes).given().raised("bad")
    migrate(one, plan_of([*reversed(nodes), "z"], ["w>z", "q>z"]))
    assert one.statuses == {
        "q": "PAUSED",
        "w": "WAITING",
        "bad": "FAILED",
        "skipped": "SKIPPED",
        "z": "PENDING",
    }
    assert one.seen.handled_failures == ("bad",)
    one.time(10).resume({"x": 1}).starts().returned("q").starts()
    assert one.returned("z", 1).seen.status.value == "COMPLETED"


def test_another_workflow_is_no_version_of_this_one(half: Any) -> None:
    plan = compile(Workflow("other", half.plan.workflow.nodes, half.plan.workflow.connections))
    assert why(half, plan) == ["it is of workflow 'w', not of 'other'"]


def test_what_was_decided_stays_decided(case: Any) -> None:
    one = case(["a", "b", act("j", join=Join(JoinKind.ANY)), "s"], ["a>j", "b>j", Connection("a", "s", "false"), "b>s"])
    one.given().returned("a").starts().returned("j")
    nodes, rest = ["a", "b"], [Connection("a", "s", "false"), "b>s"]
    assert why(one, plan_of([*nodes, act("j", join=Join(JoinKind.AT_LEAST, 2)), "s"], ["a>j", "b>j", *rest])) == [
        "step 'j' has begun on its join any, which is at_least 2 in the new definition"
    ]
    one = case(["a", "b", "s", "t"], [Connection("a", "s", "false"), "s>t"]).given().returned("a")
    assert why(one, plan_of(["a", "b"], [])) == [
        "step 's' was skipped, and the new definition has no such step",
        "step 't' was skipped, and the new definition has no such step",
    ]
    assert why(one, plan_of(["a", "b", "s", "t"], [Connection("a", "s", "false")])) == [
        "step 't' was skipped after 's', for which it does not wait in the new definition"
    ]


def test_one_that_has_not_begun_may_become_another_thing_and_begins_at_its_time(case: Any) -> None:
    one = case(["a", "b"], ["a>b"]).created(start_at=T + 500)
    plan = plan_of(["x"], [], timeout_ms=60)
    migrate(one, plan).gives(e.ExecutionMigrated(definition_hash=plan.definition_hash, at=T), accepted=[True])
    assert not one.turn.ready
    one.time(500).starts()
    assert one.statuses == {"x": "RUNNING"}
    one.time(60)
    assert one.seen.error.message == "the execution took longer than its timeout of 0.06 s"


@pytest.mark.parametrize(
    ("before", "after", "due"), [(100, 200, 200), (200, 100, 100), (None, 100, 150), (100, None, None), (80, 80, 80)]
)
def test_the_timeout_of_the_new_definition_holds(case: Any, before: int | None, after: int | None, due: int) -> None:
    one = case(["a", Node("w", type=NodeType.WAIT, duration=10_000)], timeout_ms=before).given().time(50)
    migrate(one, plan_of(["a", Node("w", type=NodeType.WAIT, duration=10_000)], [], timeout_ms=after))
    assert one.state.wake_at() == (T + 10_000 if due is None else T + due)


def test_a_timeout_that_has_passed_is_refused(case: Any) -> None:
    one = case(["a"], timeout_ms=9_000).given().time(5_000)
    assert why(one, plan_of(["a", "b"], [], timeout_ms=4_500)) == [
        "it has taken 5 s, and the timeout of the new definition is 4.5 s"
    ]
    assert why(one.pause().time(10_000), plan_of(["a", "b"], [], timeout_ms=5_001)) == []


def test_the_same_definition_and_an_execution_that_ends_change_nothing(half: Any, case: Any) -> None:
    migrate(half, half.plan).gives_nothing(False)
    plan = plan_of(["a", "b", "c", "d"], ["a>b", "b>c", "c>d"])
    migrate(half.cancel(), plan).gives_nothing(False)
    migrate(case(["a"]).given().returned("a"), plan).gives_nothing(False)


def test_it_can_be_migrated_again_and_back(half: Any) -> None:
    plan = plan_of(["a", "b", "c", "d"], ["a>b", "b>c", "c>d"])
    migrate(half, plan)
    migrate(half, half.plan)
    assert list(half.seen.steps) == ["a", "b", "c"]
    half.returned("b").starts()
    assert half.returned("c", 3).seen.output == 3


def test_an_event_without_its_plan_is_refused(half: Any) -> None:
    with pytest.raises(ReplayError, match="its definition h was not given"):
        apply(half.state, e.ExecutionMigrated(definition_hash="h", at=T))
