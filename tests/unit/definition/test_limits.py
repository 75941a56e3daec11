"""Limits and the bounds of waits in documents, in the builder, and written back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import jsonschema_rs
import pytest

from treadle.definition import (
    WorkflowBuilder,
    definition_schema,
    load_workflow,
    node_limit,
    to_document,
    validate,
)
from treadle.errors import ValidationError
from treadle.model import Node, NodeLimit, definition_hash

TENANT = {"name": "tenant", "key": "${input.tenant}", "concurrency": 2}
CRM = {"name": "crm", "rate": 100, "per": "1m"}
DOCUMENT: dict[str, Any] = {
    "id": "w",
    "defaults": {"limits": [CRM], "queue_timeout": "5m", "heartbeat_timeout": 30},
    "nodes": [
        {"id": "a", "config": {"action": "x"}},
        {"id": "b", "config": {"action": "x", "limits": [TENANT], "queue_timeout": "1h"}},
        {"id": "c", "config": {"action": "x", "limits": [], "queue_timeout": 0, "heartbeat_timeout": 0}},
        {"id": "d", "type": "set", "config": {"values": 1}},
    ],
}
NODES = (
    Node(
        "a",
        action="x",
        queue_timeout_ms=300_000,
        heartbeat_timeout_ms=30_000,
        limits=(NodeLimit("crm", None, None, 100, 60_000),),
    ),
    Node(
        "b",
        action="x",
        queue_timeout_ms=3_600_000,
        heartbeat_timeout_ms=30_000,
        limits=(NodeLimit("tenant", "${input.tenant}", 2),),
    ),
    Node("c", action="x"),
)


def test_a_node_has_its_own_limits_or_those_of_the_defaults() -> None:
    workflow = load_workflow(DOCUMENT)
    assert workflow.nodes[:3] == NODES
    assert load_workflow(to_document(workflow)) == workflow
    jsonschema_rs.validator_for(definition_schema()).validate(DOCUMENT)
    jsonschema_rs.validator_for(definition_schema()).validate(to_document(workflow))


def test_the_builder_says_the_same() -> None:
    flow = WorkflowBuilder("w")
    bounds = {"heartbeat_timeout": timedelta(seconds=30)}
    crm = node_limit("crm", rate=100, per=timedelta(minutes=1))
    flow.action("a", "x", queue_timeout=timedelta(minutes=5), limits=[crm], **bounds)
    tenant = node_limit("tenant", key="${input.tenant}", concurrency=2)
    flow.action("b", "x", queue_timeout=timedelta(hours=1), limits=[tenant], **bounds)
    flow.action("c", "x")
    flow.set("d", 1)
    assert flow.build() == load_workflow(DOCUMENT)


def test_a_handle_in_a_key_becomes_a_reference() -> None:
    flow = WorkflowBuilder("w")
    first = flow.action("a", "x")
    flow.action("b", "x", after=first, limits=[node_limit("t", key=first.output["id"], concurrency=1)])
    assert flow.build().nodes[1].limits == (NodeLimit("t", "${a.id}", 1),)


def test_the_builder_refuses_what_a_document_must_not_say() -> None:
    flow = WorkflowBuilder("w")
    flow.action("a", "x", limits=[node_limit("t", concurrency=0), node_limit("", rate=1, per=timedelta(0))])
    with pytest.raises(ValidationError) as caught:
        flow.build()
    assert [one.path for one in caught.value.problems] == [
        "nodes[0].config.limits[0].concurrency",
        "nodes[0].config.limits[1].name",
        "nodes[0].config.limits[1].per",
    ]


@pytest.mark.parametrize(
    ("limits", "path", "message"),
    [
        ("tenant", "", "must be a list of limits, each with a name, not text"),
        (["tenant"], "[0]", "must be an object with a name, and concurrency or rate, not text"),
        ([{"concurrency": 1}], "[0]", 'the key "name" is missing'),
        ([{"name": ""}], "[0].name", "is no name"),
        ([{"name": "t", "concurency": 1}], "[0].concurency", 'unknown key "concurency"'),
        ([{"name": "t", "concurrency": 0}], "[0].concurrency", "must be a whole number from 1 to"),
        ([{"name": "t", "rate": 0}], "[0].rate", "must be a whole number from 1 to"),
        ([{"name": "t", "rate": 1.5}], "[0].rate", "must be a whole number, not a number"),
        ([{"name": "t", "rate": 1, "per": 0}], "[0].per", "must be longer than 0"),
        ([{"name": "t", "rate": 1, "per": "often"}], "[0].per", '"often" is no duration'),
        ([{"name": "t", "per": "1s"}], "[0].per", '"per" is the time of a "rate", and there is none'),
        ([{"name": "t"}, {"name": "t"}], "[1].name", 'the limit "t" is there twice'),
        ([{"name": "t", "key": "${inptu.x}"}], "[0].key", 'there is no name "inptu"'),
        ([{"name": "t", "key": {"a": ["${b.x}"]}}], "[0].key.a[0]", "b.x is not there yet"),
        ([{"name": "t", "key": "${secrets.x}"}], "[0].key", "can be read only in parameters"),
        ([{"name": "t", "key": "${1 +}"}], "[0].key", "column"),
    ],
)
def test_what_is_wrong_with_a_limit_is_told_with_its_place(limits: Any, path: str, message: str) -> None:
    nodes = [{"id": "a", "config": {"action": "x", "limits": limits}}, {"id": "b", "config": {"action": "x"}}]
    (problem,) = validate({"id": "w", "nodes": nodes})
    assert problem.path == f"nodes[0].config.limits{path}"
    assert message in problem.message


@pytest.mark.parametrize("key", ["limits", "queue_timeout", "heartbeat_timeout"])
def test_only_actions_have_them(key: str) -> None:
    value: Any = [] if key == "limits" else "1s"
    (problem,) = validate({"id": "w", "nodes": [{"id": "a", "type": "set", "config": {"values": 1, key: value}}]})
    assert (problem.code, problem.path) == ("misplaced_key", f"nodes[0].config.{key}")


def test_a_workflow_without_limits_keeps_its_name() -> None:
    """The hash of definitions that older versions registered must not change."""
    workflow = load_workflow({"id": "w", "nodes": [{"id": "a", "action": "x"}]})
    assert definition_hash(workflow) == "b177922574dd63156b25f0cedcf1aab9"
