"""Documents to the model: both spellings, the linear form, defaults, and every problem of the shape at its place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from treadle.definition import documents, load_workflow, read_document
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
    Problem,
    RetryPolicy,
    Severity,
    Workflow,
)
from treadle.settings import Settings

if TYPE_CHECKING:
    from treadle.model import JsonValue

SAMPLE = Path(__file__).parent / "fixtures" / "order.yaml"
_SAMPLE_RETRY = RetryPolicy(jitter=Jitter.FULL)
SAMPLE_WORKFLOW = Workflow(
    id="order",
    name="Order to cash",
    version=3,
    input_schema={"type": "object", "required": ["amount"], "properties": {"amount": {"type": "number"}}},
    timeout_ms=3_600_000,
    max_concurrent_steps=8,
    nodes=(
        Node(
            id="lookup",
            title="Find the customer",
            service="crm",
            action="find",
            parameters={"email": "${input.email}"},
            timeout_ms=30_000,
            retry=_SAMPLE_RETRY,
        ),
        Node(
            id="charge",
            service="payments",
            action="charge",
            parameters={
                "customer": "${lookup.id}",
                "amount": "${input.amount * 1.2}",
                "note": "order ${execution.id}",
            },
            timeout_ms=10_000,
            total_timeout_ms=300_000,
            retry=RetryPolicy(
                max_attempts=5,
                initial_delay_ms=500,
                max_delay_ms=30_000,
                jitter=Jitter.FULL,
                non_retryable=("CardDeclined",),
            ),
            output_schema={"type": "object", "required": ["id", "approved"]},
        ),
        Node(
            id="ship",
            service="warehouse",
            action="ship",
            continue_on_error=True,
            timeout_ms=30_000,
            retry=_SAMPLE_RETRY,
        ),
        Node(id="sorry", service="mail", action="send", timeout_ms=30_000, retry=_SAMPLE_RETRY),
    ),
    connections=(
        Connection("lookup", "charge"),
        Connection("charge", "ship", condition="charge.approved"),
        Connection("charge", "sorry", otherwise=True),
        Connection("charge", "sorry", outcome=Outcome.FAILURE),
    ),
    output={"shipped": "${steps.ship.status == 'COMPLETED'}"},
)


def read(document: dict[str, JsonValue]) -> Workflow:
    workflow, problems = read_document(document)
    assert problems == []
    assert workflow is not None
    return workflow


def node(**fields: JsonValue) -> Node:
    return read({"id": "w", "nodes": [{"id": "a", "action": "x", **fields}]}).nodes[0]


def test_the_sample_reads_to_the_model_it_says() -> None:
    assert read_document(SAMPLE) == (SAMPLE_WORKFLOW, [])


def test_a_field_may_stand_on_the_node_or_in_its_config() -> None:
    fields = {
        "service": "s",
        "action": "x",
        "parameters": {"p": 1},
        "condition": "input.a",
        "on_skip": "pass",
        "join": {"at_least": 2},
        "timeout": 1,
        "total_timeout": "PT1M",
        "retry": {"max_attempts": 0, "backoff": 1},
        "max_interruptions": 0,
        "continue_on_error": True,
        "input_schema": True,
        "output_schema": {},
    }
    expected = Node(
        id="a",
        type=NodeType.ACTION,
        title="A",
        service="s",
        action="x",
        parameters={"p": 1},
        condition="input.a",
        on_skip=OnSkip.PASS,
        join=Join(JoinKind.AT_LEAST, 2),
        timeout_ms=1_000,
        total_timeout_ms=60_000,
        retry=RetryPolicy(max_attempts=0, backoff=1.0),
        max_interruptions=0,
        continue_on_error=True,
        input_schema=True,
        output_schema={},
    )
    head: dict[str, JsonValue] = {"id": "a", "type": "action", "title": "A"}
    assert read({"id": "w", "nodes": [{**head, "config": fields}]}).nodes == (expected,)
    assert read({"id": "w", "nodes": [{**head, **fields}]}).nodes == (expected,)
    assert read({"id": "w", "nodes": [{**head, **fields, "config": fields}]}).nodes == (expected,)


def test_null_is_an_absent_key() -> None:
    nothing = dict.fromkeys(("service", "parameters", "condition", "join", "timeout", "retry", "title", "config"))
    assert node(**nothing) == Node(id="a", action="x")


def test_annotations_are_kept_wherever_they_stand() -> None:
    workflow = read(
        {
            "id": "w",
            "created_by": "ada",
            "x_color": {"a": 1},
            "nodes": [
                {"id": "a", "action": "x", "position": {"x": 1}, "config": {"connectionId": "c", "x_y": 2}},
                {"id": "b", "action": "x", "metadata": None},
            ],
            "connections": [{"source": "a", "target": "b", "id": "e1", "label": "then", "x_z": []}],
        }
    )
    assert workflow.annotations == {"created_by": "ada", "x_color": {"a": 1}}
    assert [one.annotations for one in workflow.nodes] == [
        {"position": {"x": 1}, "connectionId": "c", "x_y": 2},
        {"metadata": None},
    ]
    assert workflow.connections[0].annotations == {"id": "e1", "label": "then", "x_z": []}


def test_defaults_hold_for_action_nodes_and_retry_merges_key_by_key() -> None:
    workflow = read(
        {
            "id": "w",
            "defaults": {"timeout": 9, "retry": {"max_attempts": 7, "jitter": "full"}},
            "nodes": [
                {"id": "t", "type": "trigger"},
                {"id": "a", "action": "x"},
                {"id": "b", "action": "x", "timeout": 0, "retry": {"jitter": "none"}},
                {"id": "c", "action": "x", "timeout": 1, "config": {"retry": {"backoff": 3}}},
            ],
        }
    )
    assert [(one.timeout_ms, one.retry) for one in workflow.nodes] == [
        (None, RetryPolicy()),
        (9_000, RetryPolicy(max_attempts=7, jitter=Jitter.FULL)),
        (None, RetryPolicy(max_attempts=7)),
        (1_000, RetryPolicy(max_attempts=7, jitter=Jitter.FULL, backoff=3.0)),
    ]


@pytest.mark.parametrize(
    ("written", "condition"),
    [
        ("charge.ok && true", "charge.ok && true"),
        ("", None),
        ("  ", None),
        (True, "true"),
        (False, "false"),
        ("${a.x} == true and not ${b}", "((a.x) == true) && !(truthy((b)))"),
    ],
)
def test_conditions_are_read_in_the_one_spelling(written: JsonValue, condition: str | None) -> None:
    read_condition = node(condition=written).condition
    if condition is not None and "truthy" in condition:
        assert read_condition is not None
        assert "$" not in read_condition
        assert "truthy" in read_condition
    else:
        assert read_condition == condition


def test_else_and_outcomes_of_connections() -> None:
    workflow = read(
        {
            "id": "w",
            "nodes": [{"id": "a", "action": "x"}, {"id": "b", "action": "x"}],
            "connections": [
                {"source": "a", "target": "b", "condition": " else "},
                {"source": "a", "target": "b", "condition": "", "outcome": "always"},
                {"source": "a", "target": "b", "condition": None, "outcome": "failure"},
            ],
            "on_failure": "cancel",
        }
    )
    assert workflow.connections == (
        Connection("a", "b", otherwise=True),
        Connection("a", "b", outcome=Outcome.ALWAYS),
        Connection("a", "b", outcome=Outcome.FAILURE),
    )
    assert workflow.on_failure is OnFailure.CANCEL


def step(identity: str, **fields: JsonValue) -> dict[str, JsonValue]:
    return {"id": identity, "service": "s", "action": "x", **fields}


def test_steps_without_dependencies_are_a_chain_by_sequence_order() -> None:
    workflow = read(
        {
            "workflow_id": "w",
            "created_by": "default",
            "steps": [
                step("c", sequence_order=3, name="Third", condition="${a.ok}"),
                step("a", sequence_order=1, type="trigger", action="manual_trigger", input_schema={}),
                step("b", sequence_order=2, on_skip="dead", depends_on=[]),
            ],
        }
    )
    assert workflow.id == "w"
    assert [(one.id, one.title, one.type, one.on_skip) for one in workflow.nodes] == [
        ("c", "Third", NodeType.ACTION, OnSkip.PASS),
        ("a", "", NodeType.TRIGGER, OnSkip.PASS),
        ("b", "", NodeType.ACTION, OnSkip.DEAD),
    ]
    assert workflow.connections == (Connection("a", "b"), Connection("b", "c"))


def test_steps_without_any_order_are_a_chain_as_written() -> None:
    workflow = read({"id": "w", "steps": [step("b"), step("a"), step("c")]})
    assert workflow.connections == (Connection("b", "a"), Connection("a", "c"))


def test_steps_with_any_dependency_are_that_graph() -> None:
    workflow = read(
        {
            "id": "w",
            "steps": [
                step("d", sequence_order=1, depends_on=["b", "c", "b"]),
                step("a", sequence_order=9),
                step("b", sequence_order=2, depends_on=["a"]),
                step("c", sequence_order=2, depends_on="a"),
            ],
        }
    )
    assert [(one.source, one.target) for one in workflow.connections] == [
        ("b", "d"),
        ("c", "d"),
        ("a", "b"),
        ("a", "c"),
    ]
    assert workflow.nodes[1].id == "a"


HEAD = "id: w\nnodes:\n  - id: a\n    "
BIG = "must be a whole number from 0 to 2147483647, not -1"


@pytest.mark.parametrize(
    ("text", "code", "path", "line", "column", "message", "hint"),
    [
        (HEAD + "action: x\nnode: []", "unknown_key", "node", 5, 1, 'unknown key "node"', 'did you mean "nodes"?'),
        (
            HEAD + "action: x\n    timeot: 1",
            "unknown_key",
            "nodes[0].timeot",
            5,
            5,
            'unknown key "timeot"',
            'did you mean "timeout"?',
        ),
        (
            HEAD + "config: {action: x, retyr: {}}",
            "unknown_key",
            "nodes[0].config.retyr",
            4,
            25,
            'unknown key "retyr"',
            'did you mean "retry"?',
        ),
        (
            HEAD + "config: {action: x, title: A}",
            "unknown_key",
            "nodes[0].config.title",
            4,
            25,
            'unknown key "title"',
            '"title" stands on the node itself, beside "config"',
        ),
        (
            HEAD + "action: x\n    otherwise: {}",
            "unknown_key",
            "nodes[0].otherwise",
            5,
            5,
            'unknown key "otherwise"',
            "",
        ),
        (HEAD + "action: x\n    'a b': 1", "unknown_key", 'nodes[0]["a b"]', 5, 5, 'unknown key "a b"', ""),
        (
            HEAD + "action: x\n    retry: {max_attemps: 1}",
            "unknown_key",
            "nodes[0].retry.max_attemps",
            5,
            13,
            'unknown key "max_attemps"',
            'did you mean "max_attempts"?',
        ),
        (
            HEAD + "action: x\n    join: {at_least: 1, x: 1}",
            "unknown_key",
            "nodes[0].join.x",
            5,
            25,
            'unknown key "x"',
            "",
        ),
        (
            HEAD + "action: x\ndefaults: {retries: 1}",
            "unknown_key",
            "defaults.retries",
            5,
            12,
            'unknown key "retries"',
            'did you mean "retry"?',
        ),
        (
            HEAD + "action: x\nconnections: [{source: a, target: a, if: x}]",
            "unknown_key",
            "connections[0].if",
            5,
            38,
            'unknown key "if"',
            "",
        ),
        ("id: w", "missing_key", "", 1, 1, 'the key "nodes" is missing: a workflow needs nodes', ""),
        ("nodes: []", "missing_key", "", 1, 1, 'the key "id" is missing: a workflow needs an id', ""),
        (
            "id: w\nnodes:\n  - action: x",
            "missing_key",
            "nodes[0]",
            3,
            5,
            'the key "id" is missing: a node needs an id',
            "",
        ),
        (
            HEAD + "title: A",
            "missing_key",
            "nodes[0]",
            3,
            5,
            'the key "action" is missing: an action node names what it calls',
            "",
        ),
        (
            HEAD + 'action: ""',
            "missing_key",
            "nodes[0].action",
            4,
            13,
            'the key "action" is missing: an action node names what it calls',
            "",
        ),
        (HEAD + "action: x\n    join: {}", "missing_key", "nodes[0].join", 5, 11, 'the key "at_least" is missing', ""),
        (
            HEAD + "action: x\nconnections: [{source: a}]",
            "missing_key",
            "connections[0]",
            5,
            15,
            'the key "target" is missing: a connection has a source and a target',
            "",
        ),
        (
            "id: w\nsteps:\n  - {id: a, action: x, sequence_order: 1}\n  - {id: b, action: x}",
            "missing_key",
            "steps[1]",
            4,
            5,
            'the key "sequence_order" is missing: other steps have it, so the place of this one is unknown',
            "",
        ),
        ("[1]", "wrong_type", "", 1, 1, "a workflow is an object, not a list", ""),
        ("id: w\nnodes: {}", "wrong_type", "nodes", 2, 8, "must be a list, not an object", ""),
        ("id: w\nnodes:\n  - 7", "wrong_type", "nodes[0]", 3, 5, "must be an object, not a number", ""),
        ("id: 7\nnodes: []", "wrong_type", "id", 1, 5, "must be text, not a number", "put it in quotes"),
        (
            "id: w\nversion: 1.5\nnodes: []",
            "wrong_type",
            "version",
            2,
            10,
            "must be text or a whole number, not a number",
            "put it in quotes",
        ),
        ("id: w\nvars: []\nnodes: []", "wrong_type", "vars", 2, 7, "must be an object, not a list", ""),
        ("id: w\ndefaults: 5\nnodes: []", "wrong_type", "defaults", 2, 11, "must be an object, not a number", ""),
        (
            "id: w\ninput_schema: []\nnodes: []",
            "wrong_type",
            "input_schema",
            2,
            15,
            "must be a JSON Schema (an object, true or false), not a list",
            "",
        ),
        (HEAD + "config: x", "wrong_type", "nodes[0].config", 4, 13, "must be an object, not text", None),
        (HEAD + "action: 1", "wrong_type", "nodes[0].action", 4, 13, "must be text, not a number", "put it in quotes"),
        (
            HEAD + "action: x\n    continue_on_error: yes",
            "wrong_type",
            "nodes[0].continue_on_error",
            5,
            24,
            "must be true or false, not text",
            "",
        ),
        (
            HEAD + "action: x\n    parameters: [1]",
            "wrong_type",
            "nodes[0].parameters",
            5,
            17,
            "must be an object, not a list",
            "",
        ),
        (
            HEAD + "action: x\n    retry: 3",
            "wrong_type",
            "nodes[0].retry",
            5,
            12,
            "must be an object, not a number",
            "",
        ),
        (
            HEAD + "action: x\n    retry: {max_attempts: 1.5}",
            "wrong_type",
            "nodes[0].retry.max_attempts",
            5,
            27,
            "must be a whole number, not a number",
            "",
        ),
        (
            HEAD + "action: x\n    retry: {backoff: true}",
            "wrong_type",
            "nodes[0].retry.backoff",
            5,
            22,
            "must be a number, not true or false",
            "",
        ),
        (
            HEAD + "action: x\n    retry: {non_retryable: A}",
            "wrong_type",
            "nodes[0].retry.non_retryable",
            5,
            28,
            "must be a list of class names, not text",
            "",
        ),
        (
            HEAD + "action: x\n    retry: {non_retryable: [1]}",
            "wrong_type",
            "nodes[0].retry.non_retryable[0]",
            5,
            29,
            "must be text, not a number",
            "put it in quotes",
        ),
        (
            HEAD + "action: x\n    join: 2",
            "wrong_type",
            "nodes[0].join",
            5,
            11,
            "must be all, every, any or {at_least: n}, not a number",
            "",
        ),
        (HEAD + "action: x\n    type: 1", "wrong_type", "nodes[0].type", 5, 11, "must be text, not a number", ""),
        (
            HEAD + "action: x\n    condition: 1",
            "wrong_type",
            "nodes[0].condition",
            5,
            16,
            "must be an expression as text, not a number",
            "",
        ),
        (
            HEAD + "action: x\nconnections: [a]",
            "wrong_type",
            "connections[0]",
            5,
            15,
            "must be an object, not text",
            "",
        ),
        (
            "id: w\nsteps: [{id: a, action: x, depends_on: {}}]",
            "wrong_type",
            "steps[0].depends_on",
            2,
            40,
            "must be a list of step ids, not an object",
            "",
        ),
        (
            "id: w\nsteps: [{id: a, action: x, sequence_order: x}]",
            "wrong_type",
            "steps[0].sequence_order",
            2,
            44,
            "must be a number, not text",
            "",
        ),
        (
            HEAD + "type: swich",
            "bad_value",
            "nodes[0].type",
            4,
            11,
            '"swich" is none of action, trigger, switch, set, wait, input, event, workflow, map, loop, parallel, end',
            'did you mean "switch"?',
        ),
        (
            HEAD + "type: trigerr",
            "bad_value",
            "nodes[0].type",
            4,
            11,
            '"trigerr" is none of action, trigger, switch, set, wait, input, event, workflow, map, loop, parallel, end',
            'did you mean "trigger"?',
        ),
        (HEAD + "action: x\n    max_interruptions: -1", "bad_value", "nodes[0].max_interruptions", 5, 24, BIG, ""),
        (
            HEAD + "action: x\n    join: al",
            "bad_value",
            "nodes[0].join",
            5,
            11,
            '"al" is none of all, every, any, {at_least: n}',
            'did you mean "all"?',
        ),
        (
            HEAD + "action: x\n    join: {at_least: 0}",
            "bad_value",
            "nodes[0].join.at_least",
            5,
            22,
            "must be a whole number from 1 to 2147483647, not 0",
            "",
        ),
        (
            HEAD + "action: x\n    retry: {backoff: 0.5}",
            "bad_value",
            "nodes[0].retry.backoff",
            5,
            22,
            "must be a number of 1 or more",
            "",
        ),
        (
            HEAD + "action: x\n    retry: {non_retryable: ['']}",
            "bad_value",
            "nodes[0].retry.non_retryable[0]",
            5,
            29,
            '"" is no name: it is empty or has white space at its ends',
            "",
        ),
        (
            HEAD + "action: x\nmax_concurrent_steps: 0",
            "bad_value",
            "max_concurrent_steps",
            5,
            23,
            "must be a whole number from 1 to 2147483647, not 0",
            "",
        ),
        (HEAD + "action: x\non_failure: stop", "bad_value", "on_failure", 5, 13, '"stop" is none of wait, cancel', ""),
        (
            HEAD + "action: x\n    timeout: -1s",
            "bad_duration",
            "nodes[0].timeout",
            5,
            14,
            '"-1s" is negative; a duration is 0 or more',
            "",
        ),
        (
            HEAD + "action: x\ntimeout: soon",
            "bad_duration",
            "timeout",
            5,
            10,
            '"soon" is no duration: seconds as a number, or text such as 250ms, 10s, 5m, 1h, 2d or PT5M',
            "",
        ),
        ("id: ''\nnodes: []", "bad_id", "id", 1, 5, "an id must not be empty", ""),
        (
            'id: w\nnodes: [{id: "a\\tb", action: x}]',
            "bad_id",
            "nodes[0].id",
            2,
            14,
            'the id "a\\tb" has a control character',
            "",
        ),
        (
            'id: w\nnodes: [{id: "e\\u0301", action: x}]',
            "bad_id",
            "nodes[0].id",
            2,
            14,
            'the id "e\u0301" is not in Unicode\'s form NFC',
            'write "\u00e9"',
        ),
        (
            f"id: w\nnodes: [{{id: {'a' * 129}, action: x}}]",
            "bad_id",
            "nodes[0].id",
            2,
            14,
            "an id has at most 128 characters, not 129",
            "",
        ),
        (
            HEAD + "action: x\n    config: {action: y}",
            "conflict",
            "nodes[0].config.action",
            5,
            14,
            '"action" is given twice with different values; the other is nodes[0].action',
            "keep one of the two",
        ),
        (
            HEAD + "action: x\n    title: A\n    name: B",
            "conflict",
            "nodes[0].name",
            6,
            5,
            '"name" is given twice with different values; the other is nodes[0].title',
            "keep one of the two",
        ),
        (
            HEAD + "action: x\n    x_a: 1\n    config: {x_a: 2}",
            "conflict",
            "nodes[0].config.x_a",
            6,
            14,
            '"x_a" is given twice with different values',
            "keep one of the two",
        ),
        (
            HEAD + "action: x\nsteps: []",
            "conflict",
            "steps",
            5,
            1,
            '"steps" is the linear form of a workflow and does not go together with "nodes"',
            "",
        ),
        (
            HEAD + "action: x\ntreadle: 2",
            "unsupported_version",
            "treadle",
            5,
            10,
            '"2" is no format version known here; known: 1',
            "",
        ),
        (
            HEAD + "action: x\ntreadle: true",
            "unsupported_version",
            "treadle",
            5,
            10,
            '"True" is no format version known here; known: 1',
            "",
        ),
        (
            HEAD + 'action: x\n    condition: "${a"',
            "bad_expression",
            "nodes[0].condition",
            5,
            16,
            "column 2 of the text: '${' without its closing '}'",
            "",
        ),
    ],
)
def test_a_problem_of_the_shape_names_its_place_and_what_to_do(  # noqa: PLR0917 - a table of cases
    text: str, code: str, path: str, line: int, column: int, message: str, hint: str | None
) -> None:
    workflow, problems = read_document(text)
    assert workflow is None
    wanted = Problem(code, message, path, Severity.ERROR, line, column, hint or "")
    if hint is None:  # a second problem follows from the first
        assert wanted in problems
    else:
        assert problems == [wanted]


def test_every_problem_is_told_at_once_in_the_order_of_the_text() -> None:
    text = (
        '{"nodes": [{"id": 1, "a b": 2},\n'
        ' {"id": "b", "retry": {"backoff": 0, "x": 1}}, 3],\n'
        ' "connections": 5, "id": ""}'
    )
    _, problems = read_document(text)
    assert [(one.code, one.path, one.line, one.column) for one in problems] == [
        ("wrong_type", "nodes[0].id", 1, 19),
        ("unknown_key", 'nodes[0]["a b"]', 1, 22),
        ("missing_key", "nodes[1]", 2, 2),
        ("bad_value", "nodes[1].retry.backoff", 2, 35),
        ("unknown_key", "nodes[1].retry.x", 2, 38),
        ("wrong_type", "nodes[2]", 2, 48),
        ("wrong_type", "connections", 3, 17),
        ("bad_id", "id", 3, 26),
    ]


def test_problems_of_the_text_and_of_the_shape_are_told_in_one_order() -> None:
    _, problems = read_document("id: w\nnode: 1\nid: v\nnodes: 5")
    assert [(one.code, one.line) for one in problems] == [("unknown_key", 2), ("duplicate_key", 3), ("wrong_type", 4)]


def test_limits_hold_before_anything_is_read() -> None:
    settings = Settings(max_nodes=1, max_connections=1)
    nodes = [{"id": "a", "action": "x"}, {"unknown": 1}]
    ends = {"source": "a", "target": "a"}
    _, problems = read_document({"id": "w", "nodes": nodes, "connections": [ends, ends]}, settings=settings)
    assert problems == [
        Problem("too_many", "2 nodes, more than the limit of 1", "nodes"),
        Problem("too_many", "2 connections, more than the limit of 1", "connections"),
    ]
    _, problems = read_document({"id": "w", "steps": nodes}, settings=settings)
    assert problems == [Problem("too_many", "2 steps, more than the limit of 1", "steps")]


def test_positions_are_the_same_in_json_and_yaml() -> None:
    text = '{"id": "w",\r\n "nodes": [{"id": "\U0001f600", "acton": "x"}],\n "timeout": -1}'
    in_json, in_yaml = read_document(text)[1], read_document(text, format="yaml")[1]
    assert in_json == in_yaml
    assert [(one.code, one.line, one.column) for one in in_json] == [
        ("missing_key", 2, 12),
        ("unknown_key", 2, 24),
        ("bad_duration", 3, 13),
    ]


def test_what_was_loaded_from_a_document_without_a_warning_is_not_checked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good = {"id": "once", "nodes": [{"id": "a", "action": "x", "parameters": {"v": "${input.v}"}}]}
    warned = {"id": "twice", "nodes": [{"id": "item", "action": "x"}]}
    workflow, other = load_workflow(good), load_workflow(warned)
    checked: list[str] = []
    monkeypatch.setattr(documents, "check_workflow", lambda one, *_, **__: checked.append(one.id))
    load_workflow(workflow)
    load_workflow(other)
    assert checked == ["twice"]
