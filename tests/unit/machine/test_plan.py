"""A workflow compiled: what is known before an execution starts."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from treadle.errors import ExpressionError
from treadle.machine import compile  # noqa: A004 - the house's word for it
from treadle.model import Connection, Join, JoinKind, Node, NodeType, Outcome, Workflow, definition_hash


def test_entries_leaves_and_degrees_follow_from_the_connections(case: Any) -> None:
    plan = case(["a", "b", "c", "d"], ["a>b", "a>c", "b>c"]).plan
    assert (plan.entries, plan.leaves, plan.indegrees) == ((0, 3), (2, 3), [0, 1, 2, 0])
    assert plan.index == {"a": 0, "b": 1, "c": 2, "d": 3}
    assert [[one.target_id for one in node.outgoing] for node in plan.nodes] == [["b", "c"], ["c"], [], []]


@pytest.mark.parametrize(
    ("join", "need"),
    [
        (Join(), 0),
        (Join(JoinKind.EVERY), 3),
        (Join(JoinKind.ANY), 1),
        (Join(JoinKind.AT_LEAST, 2), 2),
    ],
)
def test_a_join_needs_so_many_active_connections(case: Any, join: Join, need: int) -> None:
    plan = case(["a", "b", "c", Node("j", action="act", join=join)], ["a>j", "b>j", "c>j"]).plan
    assert (plan.nodes[3].need, plan.nodes[3].indegree) == (need, 3)


def test_connections_are_sorted_by_outcome_and_conditional_ones_keep_their_order_with_else_last(case: Any) -> None:
    connections = [
        Connection("a", "b", otherwise=True),
        Connection("a", "c", condition="true"),
        Connection("a", "d"),
        Connection("a", "e", outcome=Outcome.FAILURE),
        Connection("a", "f", outcome=Outcome.ALWAYS, condition="false"),
        Connection("a", "g", outcome=Outcome.ALWAYS),
    ]
    node = case([*"abcdefg"], connections).plan.nodes[0]
    targets = lambda found: [one.target_id for one in found]  # noqa: E731
    success, failure = node.on_success, node.on_failure
    assert [targets(one) for one in (success.active, success.conditional, success.dead)] == [
        ["d", "g"], ["c", "f", "b"], ["e"],
    ]  # fmt: skip
    assert [targets(one) for one in (failure.active, failure.conditional, failure.dead)] == [
        ["e", "g"], ["f"], ["b", "c", "d"],
    ]  # fmt: skip


def test_constant_parameters_are_encoded_once_and_others_are_not(case: Any) -> None:
    nodes = [
        Node("a", action="act", parameters={"x": "$${no}", "y": [1]}),
        Node("b", action="act", parameters={"x": "${input.x}"}),
        Node("c", action="act"),
    ]
    assert [node.constant for node in case(nodes).plan.nodes] == [Raw(b'{"x":"${no}","y":[1]}'), None, Raw(b"{}")]


def test_the_name_of_an_action_is_its_service_and_action(case: Any) -> None:
    nodes = [Node("a", service="crm", action="find"), Node("b", action="find"), Node("t", type=NodeType.TRIGGER)]
    assert [(node.action, node.is_action) for node in case(nodes).plan.nodes] == [
        ("crm.find", True),
        ("find", True),
        ("", False),
    ]


def test_an_empty_condition_is_none(case: Any) -> None:
    plan = case([Node("a", action="act", condition=""), "b"], [Connection("a", "b", condition="")]).plan
    assert (plan.nodes[0].condition, plan.connections[0].is_conditional) == (None, False)


def test_the_hash_is_that_of_the_definition(case: Any) -> None:
    one = case(["a"])
    assert one.plan.definition_hash == definition_hash(one.workflow)


@pytest.mark.parametrize(
    "workflow",
    [
        Workflow("w", (Node("a", condition="1 +"),)),
        Workflow("w", (Node("a", parameters={"x": "${1 +}"}),)),
        Workflow("w", (Node("a"), Node("b")), (Connection("a", "b", condition="(("),)),
        Workflow("w", (Node("a"),), output="${"),
    ],
)
def test_an_expression_that_cannot_be_read_is_refused(workflow: Workflow) -> None:
    with pytest.raises(ExpressionError):
        compile(workflow)
