"""The model back to a document: one form, defaults left out, and nothing lost."""

from __future__ import annotations

import json

import jsonschema_rs

from treadle.definition import definition_schema, load_workflow, to_document
from treadle.model import (
    Connection,
    Jitter,
    Join,
    JoinKind,
    Node,
    NodeType,
    OnFailure,
    OnSkip,
    Outcome,
    RetryPolicy,
    Workflow,
)

FULL = Workflow(
    id="w",
    name="W",
    version="1.0",
    input_schema=True,
    timeout_ms=90_000,
    max_concurrent_steps=2,
    on_failure=OnFailure.CANCEL,
    vars={"a": [1, None]},
    output={"b": "${b.x}"},
    annotations={"description": "d"},
    nodes=(
        Node("t", NodeType.TRIGGER),
        Node(
            "b",
            title="B",
            service="s",
            action="x",
            parameters={"p": "${t.x}"},
            condition="t.ok",
            on_skip=OnSkip.PASS,
            join=Join(JoinKind.AT_LEAST, 1),
            timeout_ms=250,
            total_timeout_ms=3_600_000,
            retry=RetryPolicy(0, 1, 1.5, 86_400_000, Jitter.FULL, ("A", "B")),
            max_interruptions=0,
            continue_on_error=True,
            input_schema={},
            output_schema=False,
            annotations={"position": {"x": 1}},
        ),
        Node("c", action="y", join=Join(JoinKind.EVERY), retry=RetryPolicy(initial_delay_ms=0)),
    ),
    connections=(
        Connection("t", "b", condition="t.x == 1", annotations={"label": "l"}),
        Connection("t", "c", otherwise=True, outcome=Outcome.ALWAYS),
    ),
)
WRITTEN = {
    "treadle": 1,
    "description": "d",
    "id": "w",
    "name": "W",
    "version": "1.0",
    "input_schema": True,
    "timeout": "90s",
    "max_concurrent_steps": 2,
    "on_failure": "cancel",
    "vars": {"a": [1, None]},
    "output": {"b": "${b.x}"},
    "nodes": [
        {"id": "t", "type": "trigger"},
        {
            "position": {"x": 1},
            "id": "b",
            "title": "B",
            "config": {
                "service": "s",
                "action": "x",
                "parameters": {"p": "${t.x}"},
                "condition": "t.ok",
                "on_skip": "pass",
                "join": {"at_least": 1},
                "timeout": "250ms",
                "total_timeout": "1h",
                "retry": {
                    "max_attempts": 0,
                    "initial_delay": "1ms",
                    "backoff": 1.5,
                    "max_delay": "1d",
                    "jitter": "full",
                    "non_retryable": ["A", "B"],
                },
                "max_interruptions": 0,
                "continue_on_error": True,
                "input_schema": {},
                "output_schema": False,
            },
        },
        {"id": "c", "config": {"action": "y", "join": "every", "retry": {"initial_delay": "0s"}}},
    ],
    "connections": [
        {"label": "l", "source": "t", "target": "b", "condition": "t.x == 1"},
        {"source": "t", "target": "c", "condition": "else", "outcome": "always"},
    ],
}


def test_a_workflow_is_written_in_one_form_in_one_order() -> None:
    assert json.dumps(to_document(FULL)) == json.dumps(WRITTEN)


def test_what_is_written_reads_back_to_the_same_and_fits_the_published_schema() -> None:
    document = to_document(FULL)
    assert load_workflow(document) == FULL
    assert load_workflow(json.dumps(document)) == FULL
    assert jsonschema_rs.Draft202012Validator(definition_schema()).is_valid(document)


def test_the_least_workflow_is_written_with_its_lists() -> None:
    assert to_document(Workflow("w")) == {"treadle": 1, "id": "w", "nodes": [], "connections": []}
