"""Fallbacks and compensations in documents and in Python: read, completed by defaults, checked, written back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import jsonschema_rs
import pytest

from treadle.definition import (
    WorkflowBuilder,
    check_document,
    compensation,
    definition_schema,
    fallback,
    load_workflow,
    read_document,
    retry_policy,
    to_document,
)
from treadle.model import Compensation, Fallback, Node, RetryPolicy, definition_hash

UNDO = {"service": "bank", "action": "refund", "parameters": {"id": "${charge.id}"}, "timeout": "5s"}
OTHER = {"service": "backup", "action": "charge", "retry": {"max_attempts": 2}, "compensate": {"action": "void"}}


def flow(**fields: Any) -> dict[str, Any]:
    return {
        "id": "w",
        "compensate_on_cancel": True,
        "nodes": [{"id": "charge", "config": {"action": "pay", **fields}}, {"id": "ship", "action": "ship"}],
        "connections": [{"source": "charge", "target": "ship"}],
    }


def problems(**fields: Any) -> list[tuple[str, str]]:
    return [(one.code, one.path) for one in check_document(flow(**fields), actions={"pay", "ship", "void"})[1]]


def test_they_read_to_the_model_they_say() -> None:
    workflow = load_workflow(flow(fallback=OTHER, compensate=UNDO))
    assert workflow.compensate_on_cancel
    assert workflow.nodes[0] == Node(
        "charge",
        action="pay",
        fallback=Fallback("backup", "charge", retry=RetryPolicy(max_attempts=2), compensate=Compensation("", "void")),
        compensate=Compensation("bank", "refund", {"id": "${charge.id}"}, timeout_ms=5_000),
    )


def test_the_defaults_of_action_nodes_hold_for_each_of_their_calls() -> None:
    document = {**flow(fallback=OTHER, compensate={**UNDO, "timeout": 0}), "defaults": {"timeout": 9}}
    document["defaults"]["retry"] = {"max_attempts": 7, "backoff": 3}
    node = load_workflow(document).nodes[0]
    assert node.fallback is not None
    assert node.fallback.compensate is not None
    assert node.compensate is not None
    assert (node.fallback.timeout_ms, node.fallback.retry) == (9_000, RetryPolicy(max_attempts=2, backoff=3.0))
    assert (node.fallback.compensate.timeout_ms, node.fallback.compensate.retry.max_attempts) == (9_000, 7)
    assert (node.compensate.timeout_ms, node.compensate.retry.max_attempts) == (None, 7)


@pytest.mark.parametrize(
    "fields",
    [
        {"fallback": OTHER, "compensate": UNDO},
        {"fallback": {**OTHER, "parameters": {}}},
        {"compensate": {"action": "void", "parameters": {}}},
    ],
)
def test_they_come_back_from_their_document_which_fits_the_published_schema(fields: dict[str, Any]) -> None:
    workflow = load_workflow(flow(**fields))
    document = to_document(workflow)
    assert load_workflow(document) == workflow
    assert jsonschema_rs.Draft202012Validator(definition_schema()).is_valid(document)


def test_no_parameters_and_those_of_the_node_are_two_things() -> None:
    none = load_workflow(flow(fallback={**OTHER, "parameters": {}}))
    inherited = load_workflow(flow(fallback=OTHER))
    assert definition_hash(none) != definition_hash(inherited)


@pytest.mark.parametrize(
    ("fields", "code", "path"),
    [
        ({"fallback": 1}, "wrong_type", "nodes[0].config.fallback"),
        ({"fallback": {}}, "missing_key", "nodes[0].config.fallback"),
        ({"fallback": {"action": ""}}, "missing_key", "nodes[0].config.fallback"),
        ({"fallback": {"action": 1}}, "wrong_type", "nodes[0].config.fallback.action"),
        ({"fallback": {"action": "void", "tries": 1}}, "unknown_key", "nodes[0].config.fallback.tries"),
        ({"fallback": {"action": "void", "fallback": {}}}, "unknown_key", "nodes[0].config.fallback.fallback"),
        (
            {"fallback": {"action": "void", "retry": {"backoff": 0}}},
            "bad_value",
            "nodes[0].config.fallback.retry.backoff",
        ),
        ({"fallback": {"action": "none"}}, "unknown_action", "nodes[0].config.fallback.action"),
        (
            {"fallback": {"action": "void", "compensate": {"action": "none"}}},
            "unknown_action",
            "nodes[0].config.fallback.compensate.action",
        ),
        ({"compensate": {"action": "none"}}, "unknown_action", "nodes[0].config.compensate.action"),
        ({"compensate": {"action": "void", "compensate": {}}}, "unknown_key", "nodes[0].config.compensate.compensate"),
        (
            {"compensate": {"action": "void", "parameters": {"x": "${nobody.x}"}}},
            "unknown_name",
            "nodes[0].config.compensate.parameters.x",
        ),
        (
            {"compensate": {"action": "void", "parameters": {"x": "${1 +}"}}},
            "bad_expression",
            "nodes[0].config.compensate.parameters.x",
        ),
        (
            {"fallback": {"action": "void", "parameters": {"x": "${ship.x}"}}},
            "no_ancestor",
            "nodes[0].config.fallback.parameters.x",
        ),
    ],
)
def test_what_is_wrong_is_told_at_its_place(fields: dict[str, Any], code: str, path: str) -> None:
    assert (code, path) in problems(**fields)


def test_a_compensation_may_read_any_step_and_its_own_first_of_all() -> None:
    undo = {"action": "void", "parameters": {"a": "${charge.id}", "b": "${ship.id}", "c": "${secrets.KEY}"}}
    assert problems(compensate=undo, fallback={"action": "void", "compensate": undo}) == []


def test_a_compensation_in_a_body_may_read_what_is_around_it() -> None:
    undo = {"action": "void", "parameters": {"a": "${charge.id}", "b": "${later.id}", "c": "${item}"}}
    body = {"nodes": [{"id": "charge", "action": "pay", "compensate": undo}]}
    nodes = [{"id": "each", "type": "map", "items": [1], "body": body}, {"id": "later", "action": "ship"}]
    joined = [{"source": "each", "target": "later"}]
    assert read_document({"id": "w", "nodes": nodes, "connections": joined})[1] == []
    assert check_document({"id": "w", "nodes": nodes, "connections": joined})[1] == []


@pytest.mark.parametrize("key", ["fallback", "compensate", "on_exhausted", "on_interrupted"])
def test_they_belong_to_what_calls_something(key: str) -> None:
    value = {"action": "void"} if key in ("fallback", "compensate") else "fail"
    document = {"id": "w", "nodes": [{"id": "s", "type": "set", "values": 1, key: value}]}
    assert [(one.code, one.path) for one in check_document(document)[1]] == [("misplaced_key", f"nodes[0].{key}")]
    assert not jsonschema_rs.Draft202012Validator(definition_schema()).is_valid(document)


def test_a_workflow_node_has_a_compensation_completed_by_defaults_and_nothing_else_of_an_action() -> None:
    node = {"id": "w", "type": "workflow", "workflow": "other", "compensate": {**UNDO, "parameters": {}}}
    document = {"id": "w", "defaults": {"timeout": 9, "retry": {"max_attempts": 7}}, "nodes": [node]}
    workflow = load_workflow(document)
    undo, retry = workflow.nodes[0].compensate, RetryPolicy(max_attempts=7)
    assert undo == Compensation("bank", "refund", timeout_ms=5_000, retry=retry)
    assert (workflow.nodes[0].timeout_ms, workflow.nodes[0].retry) == (None, RetryPolicy())
    assert load_workflow(to_document(workflow)) == workflow
    assert jsonschema_rs.Draft202012Validator(definition_schema()).is_valid(document)
    for key in ("fallback", "on_exhausted"):
        wrong = {**document, "nodes": [{**node, key: OTHER if key == "fallback" else "pause"}]}
        assert ("misplaced_key", f"nodes[0].{key}") in [(one.code, one.path) for one in check_document(wrong)[1]]
    built = WorkflowBuilder("w")
    built.workflow("w", "other", compensate=undo)
    assert built.build().nodes == workflow.nodes


def test_they_are_written_in_python_too() -> None:
    built = WorkflowBuilder("w", compensate_on_cancel=True)
    charge = built.action("charge", "bank.charge")
    built.action(
        "ship",
        "ship",
        after=charge,
        fallback=fallback("x.carry", parameters={"of": charge}, compensate=compensation("x.fetch", service="")),
        compensate=compensation(
            "store.fetch", parameters={"of": charge}, timeout=timedelta(seconds=1), retry=retry_policy(max_attempts=9)
        ),
        on_exhausted="pause",
        on_interrupted="fail",
    )
    node = built.build().nodes[1]
    assert node.fallback == Fallback("x", "carry", {"of": "${charge}"}, compensate=Compensation("", "x.fetch"))
    retry = RetryPolicy(max_attempts=9)
    assert node.compensate == Compensation("store", "fetch", {"of": "${charge}"}, 1_000, retry)
    assert (node.on_exhausted.value, node.on_interrupted.value, built.build().compensate_on_cancel) == (
        "pause",
        "fail",
        True,
    )
