"""Maps, loops, groups and events in documents: every wrong value is told with its place, all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from treadle.definition import load_workflow, to_document, validate

if TYPE_CHECKING:
    from treadle.model import JsonValue

BODY: dict[str, JsonValue] = {"nodes": [{"id": "v", "type": "set", "values": 1}]}


def a_map(**fields: JsonValue) -> dict[str, JsonValue]:
    return {"id": "m", "type": "map", "items": "${input.xs}", "body": BODY, **fields}


def a_loop(**fields: JsonValue) -> dict[str, JsonValue]:
    return {"id": "l", "type": "loop", "until": "index == 3", "body": BODY, **fields}


def a_group(**fields: JsonValue) -> dict[str, JsonValue]:
    return {"id": "p", "type": "parallel", "body": BODY, **fields}


def an_event(**fields: JsonValue) -> dict[str, JsonValue]:
    return {"id": "e", "type": "event", "event": "told", **fields}


def body(*nodes: JsonValue, **more: JsonValue) -> dict[str, JsonValue]:
    return {"nodes": list(nodes), **more}


def act(name: str, expression: str = "", **more: Any) -> dict[str, JsonValue]:
    return {"id": name, "action": "x", **({"parameters": {"p": f"${{{expression}}}"}} if expression else {}), **more}


def told(*nodes: JsonValue, **more: JsonValue) -> list[tuple[str, str, str]]:
    """Return code, path below the first node, and message of every problem."""
    problems = validate({"id": "w", "nodes": list(nodes), **more})
    return [(one.code, one.path.removeprefix("nodes[0]").removeprefix("."), one.message) for one in problems]


A_LIST = "must be a list, or text such as ${input.orders} that gives one, not "
A_MAPPING = "must be an object, or text such as ${item} that gives one, not "
COUNT = "must be a whole number from 1 to 2147483647, not "


@pytest.mark.parametrize(
    ("node", "code", "path", "message"),
    [
        (a_map(items=5), "wrong_type", "items", A_LIST + "a number"),
        (a_map(items={"a": 1}), "wrong_type", "items", A_LIST + "an object"),
        (a_map(items="orders"), "wrong_type", "items", A_LIST + "text"),
        (a_map(items="x ${input.xs}"), "wrong_type", "items", A_LIST + "text"),
        (a_map(items="$${input.xs}"), "wrong_type", "items", A_LIST + "text"),
        (a_map(items="${1 +}"), "bad_expression", "items", "column 6 of the text: expected a value, found the end"),
        (a_map(items=None), "missing_key", "", 'a node of type map needs the key "items"'),
        (a_map(items=[1, "${nobody}"]), "unknown_name", "items[1]", 'column 3 of the text: there is no name "nobody"'),
        (a_map(max_concurrency=0), "bad_value", "max_concurrency", COUNT + "0"),
        (a_map(max_concurrency=-2), "bad_value", "max_concurrency", COUNT + "-2"),
        (a_map(max_concurrency="2"), "wrong_type", "max_concurrency", "must be a whole number, not text"),
        (a_map(tolerate="120%"), "bad_value", "tolerate", '"120%" is no share such as 10%, from 0% to 100%'),
        (a_map(tolerate="-1%"), "bad_value", "tolerate", '"-1%" is no share such as 10%, from 0% to 100%'),
        (a_map(tolerate="some"), "bad_value", "tolerate", '"some" is no share such as 10%, from 0% to 100%'),
        (a_map(tolerate=-1), "bad_value", "tolerate", "must be a whole number from 0 to 2147483647, not -1"),
        (a_map(**{"as": "a b"}), "bad_value", "as", '"a b" is no name that an expression can read'),
        (a_map(**{"as": "input"}), "hidden_name", "as", '"input" hides what is called so already'),
        (a_map(**{"as": "m"}), "hidden_name", "as", '"m" hides what is called so already'),
        (a_map(complete_when=5), "wrong_type", "complete_when", "must be an expression as text, not a number"),
        (a_map(complete_when="5"), "bad_condition", "complete_when", "a condition gives true or false, not int"),
        (
            a_map(complete_when="cmpleted > 1"),
            "unknown_name",
            "complete_when",
            'column 1 of the text: there is no name "cmpleted"',
        ),
        (
            a_map(complete_when="item > 1"),
            "unknown_name",
            "complete_when",
            "column 1 of the text: item is known only inside a map",
        ),
        (
            a_map(complete_when="v > 1"),
            "unknown_name",
            "complete_when",
            'column 1 of the text: there is no name "v"',
        ),
        (a_map(timeout="-5s"), "bad_duration", "timeout", '"-5s" is negative; a duration is 0 or more'),
        (a_map(on_failure="stop"), "bad_value", "on_failure", '"stop" is none of wait, cancel'),
        (a_map(body=None), "missing_key", "", "a node of type map needs exactly one of body, workflow"),
        (a_map(workflow="w"), "missing_key", "", "a node of type map needs exactly one of body, workflow"),
        (a_map(workflow="w", body=None, input=5), "wrong_type", "input", A_MAPPING + "a number"),
        (a_map(race=True), "misplaced_key", "race", '"race" belongs to a node of type parallel, not map'),
        (a_map(**{"while": "true"}), "misplaced_key", "while", '"while" belongs to a node of type loop, not map'),
        (a_map(body=[1]), "wrong_type", "body", "must be an object, not a list"),
        (a_map(body={}), "missing_key", "body", 'the key "nodes" is missing: a body needs at least one node'),
        (a_map(body=body()), "missing_key", "body", 'the key "nodes" is missing: a body needs at least one node'),
        (a_map(body={**BODY, "id": "b"}), "unknown_key", "body.id", 'unknown key "id"'),
        (a_map(body={**BODY, "conections": []}), "unknown_key", "body.conections", 'unknown key "conections"'),
        (
            a_map(body={**BODY, "connections": [{"source": "v", "target": "m"}]}),
            "unknown_node",
            "body.connections[0].target",
            'there is no node "m"',
        ),
        (
            a_map(body=body(act("m"))),
            "hidden_name",
            "body.nodes[0].id",
            'the id "m" hides what is called so around this body',
        ),
        (
            a_map(body=body(act("row")), **{"as": "row"}),
            "hidden_name",
            "body.nodes[0].id",
            'the id "row" hides what is called so around this body',
        ),
        (
            a_map(body=body({"id": "in", "type": "map", "items": [1], "body": BODY, "as": "row"}), **{"as": "row"}),
            "hidden_name",
            "body.nodes[0].as",
            '"row" hides what is called so already',
        ),
        (a_map(body=body(act("a"), act("a"))), "duplicate_id", "body.nodes[1].id", 'the id "a" is there twice'),
        (
            a_map(body=body(act("a", "b"), act("b"))),
            "no_ancestor",
            "body.nodes[0].parameters.p",
            'b is not there yet: no connection leads from "b" to "a"',
        ),
        (
            a_map(body=body(act("a", "m"))),
            "no_ancestor",
            "body.nodes[0].parameters.p",
            "m is the output of this very step, which it does not have yet",
        ),
        (
            a_map(body=body(act("a", "previous"))),
            "unknown_name",
            "body.nodes[0].parameters.p",
            "column 3 of the text: previous is known only inside a loop",
        ),
        (
            a_map(body=body(act("a", "item")), **{"as": "row"}),
            "unknown_name",
            "body.nodes[0].parameters.p",
            "column 3 of the text: item is known only inside a map",
        ),
        (
            a_map(body=body(act("a"), output="${b}")),
            "unknown_name",
            "body.output",
            'column 3 of the text: there is no name "b"',
        ),
        (
            a_map(body=body({"id": "w", "type": "wait", "duration": "-1s"})),
            "bad_duration",
            "body.nodes[0].duration",
            '"-1s" is negative; a duration is 0 or more',
        ),
        (a_loop(until=None), "missing_key", "", "a node of type loop needs while or until"),
        (a_loop(until=""), "missing_key", "", "a node of type loop needs while or until"),
        (a_loop(until=" ", **{"while": ""}), "missing_key", "", "a node of type loop needs while or until"),
        (a_loop(until=7), "wrong_type", "until", "must be text, not a number"),
        (a_loop(until="7"), "bad_condition", "until", "a condition gives true or false, not int"),
        (a_loop(until="else"), "bad_condition", "until", '"else" belongs on a connection, not on a node'),
        (a_loop(**{"while": "v == 1"}), "unknown_name", "while", 'column 1 of the text: there is no name "v"'),
        (a_loop(max_iterations=0), "bad_value", "max_iterations", COUNT + "0"),
        (a_loop(body=None), "missing_key", "", "a node of type loop needs exactly one of body, workflow"),
        (a_loop(items=[1]), "misplaced_key", "items", '"items" belongs to a node of type map, not loop'),
        (
            a_loop(body=body(act("a", "item"))),
            "unknown_name",
            "body.nodes[0].parameters.p",
            "column 3 of the text: item is known only inside a map",
        ),
        (a_group(race="yes"), "wrong_type", "race", "must be true or false, not text"),
        (a_group(body=None), "missing_key", "", 'a node of type parallel needs the key "body"'),
        (
            a_group(workflow="w"),
            "misplaced_key",
            "workflow",
            '"workflow" belongs to a node of type workflow, map or loop, not parallel',
        ),
        (a_group(service="s"), "misplaced_key", "service", '"service" belongs to a node of type action, not parallel'),
        (
            a_group(body=body(act("a", "index"))),
            "unknown_name",
            "body.nodes[0].parameters.p",
            "column 3 of the text: index is known only inside a map or a loop",
        ),
        (an_event(event=""), "bad_value", "event", '"" is no name: it is empty or has white space at its ends'),
        (an_event(event=None), "missing_key", "", 'a node of type event needs the key "event"'),
        (an_event(buffer=1), "wrong_type", "buffer", "must be true or false, not a number"),
        (an_event(timeout="-1s"), "bad_duration", "timeout", '"-1s" is negative; a duration is 0 or more'),
        (an_event(key="${nobody}"), "unknown_name", "key", 'column 3 of the text: there is no name "nobody"'),
        (act("a", cancel_rest="yes"), "wrong_type", "cancel_rest", "must be true or false, not text"),
        (act("a", "item"), "unknown_name", "parameters.p", "column 3 of the text: item is known only inside a map"),
    ],
)  # fmt: skip
def test_a_wrong_value_has_one_problem_at_its_place(node: JsonValue, code: str, path: str, message: str) -> None:
    assert told(node) == [(code, path, message)]


def test_no_id_at_the_top_is_how_a_step_in_a_body_is_called() -> None:
    assert [one[:2] for one in told(a_map(), act("m.v"), act("m[0].v"), act("m2.v"))] == [
        ("bad_id", "nodes[1].id"),
        ("bad_id", "nodes[2].id"),
    ]


def test_what_is_in_a_body_cannot_be_read_outside_of_it() -> None:
    reads = act("a", "v")
    problems = told(a_map(), reads, connections=[{"source": "m", "target": "a"}])
    assert problems == [("unknown_name", "nodes[1].parameters.p", 'column 3 of the text: there is no name "v"')]


def test_a_body_reads_only_what_is_before_its_holder() -> None:
    one, other = act("before"), act("beside")
    inner = act("a", "before.x + beside.x")
    document = {"id": "w", "nodes": [a_map(body=body(inner)), one, other]}
    document["connections"] = [{"source": "before", "target": "m"}]
    assert [(one.code, one.path, one.message) for one in validate(document)] == [
        (
            "no_ancestor",
            "nodes[0].body.nodes[0].parameters.p",
            'beside.x is not there yet: no connection leads from "beside" to "m"',
        )
    ]


def test_all_problems_of_all_bodies_are_told_at_once_with_their_places() -> None:
    text = """id: w
nodes:
  - id: each
    type: map
    items: 5
    tolerate: 120%
    body:
      nodes:
        - id: again
          type: loop
          body:
            nodes:
              - {id: a, action: x, parameters: {p: "${itm}"}}
              - {id: a, action: x, timeout: -1s}
  - {id: p, type: parallel, race: 1, body: {nodes: []}}
"""
    assert [(one.code, one.line, one.path) for one in validate(text)] == [
        ("wrong_type", 5, "nodes[0].items"),
        ("bad_value", 6, "nodes[0].tolerate"),
        ("missing_key", 9, "nodes[0].body.nodes[0]"),
        ("unknown_name", 13, "nodes[0].body.nodes[0].body.nodes[0].parameters.p"),
        ("duplicate_id", 14, "nodes[0].body.nodes[0].body.nodes[1].id"),
        ("bad_duration", 14, "nodes[0].body.nodes[0].body.nodes[1].timeout"),
        ("wrong_type", 15, "nodes[1].race"),
        ("missing_key", 15, "nodes[1].body"),
    ]


def test_a_near_name_is_named() -> None:
    problems = validate({"id": "w", "nodes": [a_map(complete_when="cmpleted > 1", max_concurency=1)]})
    assert [one.hint for one in problems] == ['did you mean "max_concurrency"?', 'did you mean "completed"?']


def test_every_field_survives_being_written_and_read() -> None:
    reads = act("a", "row.x + index + previous")
    inner = a_loop(id="again", max_iterations=7, body=body(reads, output={"y": "${a}"}), **{"while": "row.more"})
    several = {"max_concurrency": 2, "tolerate": "5%", "complete_when": "completed >= 2", "timeout": "5m", "as": "row"}
    document = {
        "id": "w",
        "nodes": [
            a_map(body=body(inner), **several),
            a_group(race=True, on_failure="cancel"),
            an_event(key={"a": "${execution.id}"}, buffer=False, timeout="1d", join="any", cancel_rest=True),
        ],
        "connections": [{"source": "m", "target": "e"}, {"source": "p", "target": "e"}],
    }
    workflow = load_workflow(document)
    assert load_workflow(to_document(workflow)) == workflow
    written = [node["config"] for node in to_document(workflow)["nodes"]]
    assert several.items() <= written[0].items()
    assert written[0]["body"]["nodes"][0]["config"]["while"] == "row.more"
    assert {"race": True, "on_failure": "cancel"}.items() <= written[1].items()
    assert {"event": "told", "buffer": False, "cancel_rest": True}.items() <= written[2].items()
