"""What a workflow means: every check of its graph, its expressions, its schemas and its actions, at its place."""

from __future__ import annotations

import gzip
import json
import os
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from treadle.definition import check_document, load_workflow, read_document, validate
from treadle.errors import ValidationError
from treadle.model import Connection, Node, Problem, Severity, Workflow

if TYPE_CHECKING:
    from treadle.model import JsonValue

DATA = Path(os.environ.get("TREADLE_DATA", Path(__file__).parents[4] / "shared" / "data"))


def workflow(
    nodes: dict[str, dict[str, JsonValue]], *connections: JsonValue, **more: JsonValue
) -> dict[str, JsonValue]:
    """Return a document; a connection is ``"a b"`` or ``("a b", {"condition": ...})``."""
    ends = [one if isinstance(one, tuple) else (one, {}) for one in connections]
    return {
        "id": "w",
        "nodes": [
            {"id": name, **({} if "type" in fields else {"action": "x"}), **fields} for name, fields in nodes.items()
        ],
        "connections": [dict(zip(("source", "target"), pair.split(), strict=True)) | extra for pair, extra in ends],
        **more,
    }


def reading(expression: str) -> dict[str, JsonValue]:
    return {"parameters": {"p": f"${{{expression}}}"}}


def told(document: dict[str, JsonValue]) -> list[tuple[str, str, str, str]]:
    """Return code, path, message and hint of every problem."""
    return [(one.code, one.path, one.message, one.hint) for one in validate(document)]


WARNINGS = {"maybe_missing", "never_true", "reserved_id", "unreachable"}


def test_a_sound_workflow_has_no_problems() -> None:
    sound = workflow(
        {
            "start": {"type": "trigger"},
            "a": {"input_schema": {"type": "object"}, "output_schema": True},
            "b.c": reading("a.x + input.y + vars.k + start.z"),
            "d": {
                "parameters": {"p": '${steps["b.c"].output.x} $${not.read} ${secrets.KEY} ${execution.id}'},
                "join": "every",
            },
            "e": reading("steps.d.attempt"),
        },
        "start a",
        ("a b.c", {"condition": "a.ok && size(a.list.filter(v, v > 1)) > 0"}),
        ("a d", {}),
        "b.c d",
        ("d e", {"outcome": "failure", "condition": "steps.d.error.type == 'X'"}),
        vars={"k": 1, "text": "${nothing.is.read.here}"},
        output={"a": "${a.x}", "e": ["${steps.e.status}"]},
    )
    assert told(sound) == []


def test_the_problems_of_a_text_have_lines_and_columns() -> None:
    text = (
        "id: w\n"
        "nodes:\n"
        "  - {id: a, action: x}\n"
        "  - id: b\n"
        "    config:\n"
        "      action: x\n"
        "      parameters:\n"
        "        list: [1, '${1 +}']\n"
        "connections:\n"
        "  - {source: a, target: c}\n"
    )
    message = "column 6 of the text: expected a value, found the end"
    (expression, end) = validate(text)
    assert msgspec.structs.replace(expression, message="") == Problem(
        "bad_expression", "", "nodes[1].config.parameters.list[1]", Severity.ERROR, 8, 19
    )
    assert expression.message.startswith(message[:22])
    assert end == Problem("unknown_node", 'there is no node "c"', "connections[0].target", Severity.ERROR, 10, 25)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        pytest.param(
            {"id": "w", "nodes": [{"id": "a", "action": "x"}, {"id": "b", "action": "x"}, {"id": "a", "action": "x"}]},
            [("duplicate_id", "nodes[2].id", 'the id "a" is there twice', "ids are unique in a workflow")],
            id="duplicate id",
        ),
        pytest.param(
            workflow({"charge": {}, "b": {}}, "chrage b", "b nothing"),
            [
                ("unknown_node", "connections[0].source", 'there is no node "chrage"', 'did you mean "charge"?'),
                ("unknown_node", "connections[1].target", 'there is no node "nothing"', ""),
            ],
            id="unknown ends",
        ),
        pytest.param(
            {"id": "w", "steps": [{"id": "a", "action": "x"}, {"id": "b", "action": "x", "depends_on": ["a", "aa"]}]},
            [("unknown_node", "steps[1].depends_on[1]", 'there is no node "aa"', 'did you mean "a"?')],
            id="unknown dependency",
        ),
        pytest.param(
            workflow({"a": {}, "b": {}, "c": {}}, "a b", "b c", "c a", "c c"),
            [
                ("cycle", "connections[3]", "circular: the cycle c -> c can never start", ""),
                ("cycle", "connections[2]", "circular: the cycle a -> b -> c -> a can never start", ""),
            ],
            id="cycle and self-loop",
        ),
        pytest.param(
            {
                "id": "w",
                "steps": [
                    {"id": "a", "action": "x", "depends_on": "b"},
                    {"id": "b", "action": "x", "depends_on": ["a"]},
                ],
            },
            [("cycle", "steps[0].depends_on", "circular: the cycle a -> b -> a can never start", "")],
            id="cycle of dependencies",
        ),
        pytest.param(
            workflow({"a": {}, "b": {"join": {"at_least": 2}}}, "a b"),
            [("join_never_met", "nodes[1].join", "at_least 2 can never be met: 1 connections come in", "")],
            id="at_least",
        ),
        pytest.param(
            workflow({"a": {}, "b": {"config": {"join": "every"}}}, "a b", ("a b", {"outcome": "failure"})),
            [
                (
                    "join_never_met",
                    "nodes[1].config.join",
                    'every can never be met: it follows both success and failure of "a"',
                    "",
                )
            ],
            id="every over success and failure",
        ),
        pytest.param(
            workflow({"a": {}, "b": {"join": "every"}}, ("a b", {"condition": "a.x"}), ("a b", {"condition": "else"})),
            [
                (
                    "join_never_met",
                    "nodes[1].join",
                    'every can never be met: it follows both a condition and the "else" beside it, from "a"',
                    "",
                )
            ],
            id="every over a condition and its else",
        ),
        pytest.param(
            workflow(
                {"a": {}, "b": {}, "c": {}},
                ("a b", {"condition": "else"}),
                ("a c", {"condition": "a.x", "outcome": "failure"}),
            ),
            [
                (
                    "lone_else",
                    "connections[0].condition",
                    '"else" needs a condition beside it, on another connection from "a"',
                    "leave it out to always follow the connection",
                ),
                (
                    "maybe_missing",
                    "connections[1].condition",
                    'a.x may be missing: "a" can be skipped or fail before this is read',
                    "read it as default(a.x, ...)",
                ),
            ],
            id="else alone",
        ),
        pytest.param(
            workflow({"a": {"condition": "else"}}),
            [("bad_condition", "nodes[0].condition", '"else" belongs on a connection, not on a node', "")],
            id="else on a node",
        ),
        pytest.param(
            workflow({"a": {"condition": "1 + 1"}}),
            [("bad_condition", "nodes[0].condition", "a condition gives true or false, not int", "")],
            id="a condition that is a number",
        ),
        pytest.param(
            workflow({"a": {"condition": "1 < 2 && 2 < 1"}, "b": {"condition": "true"}}),
            [("never_true", "nodes[0].condition", "this condition is never true", "")],
            id="never true",
        ),
        pytest.param(
            workflow({"lookup": {}, "b": reading("lokup.x")}, "lookup b"),
            [
                (
                    "unknown_name",
                    "nodes[1].parameters.p",
                    'column 3 of the text: there is no name "lokup"',
                    'did you mean "lookup"?',
                )
            ],
            id="unknown name",
        ),
        pytest.param(
            workflow({"a": reading("1 + default(inptu.x, 1)")}),
            [
                (
                    "unknown_name",
                    "nodes[0].parameters.p",
                    'column 15 of the text: there is no name "inptu"',
                    'did you mean "input"?',
                )
            ],
            id="an unknown name is one within default too",
        ),
        pytest.param(
            workflow(
                {"a": reading("item + index"), "b": {"condition": "secrets.K == previous.x"}}, output="${secrets.K}"
            ),
            [
                (
                    "unknown_name",
                    "nodes[1].condition",
                    "column 1 of the text: secrets can be read only in parameters",
                    "",
                ),
                (
                    "unknown_name",
                    "nodes[1].condition",
                    "column 14 of the text: previous is known only inside a loop",
                    "",
                ),
                ("unknown_name", "nodes[0].parameters.p", "column 3 of the text: item is known only inside a map", ""),
                (
                    "unknown_name",
                    "nodes[0].parameters.p",
                    "column 10 of the text: index is known only inside a map or a loop",
                    "",
                ),
                ("unknown_name", "output", "column 3 of the text: secrets can be read only in parameters", ""),
            ],
            id="names of other places",
        ),
        pytest.param(
            workflow(
                {"a": reading("vars.rat + execution.name"), "b": reading("has(vars.b) ? vars.rate : 1")},
                vars={"rate": 1},
            ),
            [
                (
                    "unknown_name",
                    "nodes[0].parameters.p",
                    'column 3 of the text: vars has no "rat"',
                    'did you mean "rate"?',
                ),
                ("unknown_name", "nodes[0].parameters.p", 'column 14 of the text: execution has no "name"', ""),
            ],
            id="unknown keys of known names",
        ),
        pytest.param(
            workflow({"a": {}, "b": reading('[steps.x.status, steps["a"].outptu, steps.a.id]')}, "a b"),
            [
                ("unknown_name", "nodes[1].parameters.p", 'column 4 of the text: there is no step "x"', ""),
                (
                    "unknown_name",
                    "nodes[1].parameters.p",
                    'column 20 of the text: a step has output, status, error, attempt, errors, no "outptu"',
                    'did you mean "output"?',
                ),
                (
                    "unknown_name",
                    "nodes[1].parameters.p",
                    'column 39 of the text: a step has output, status, error, attempt, errors, no "id"',
                    "its output is steps.a.output",
                ),
            ],
            id="steps",
        ),
        pytest.param(
            workflow({"a": {}, "b": reading("a.x"), "c": {"condition": "steps.b.output.y"}}, output="${b.x}"),
            [
                (
                    "no_ancestor",
                    "nodes[2].condition",
                    'steps.b.output.y is not there yet: no connection leads from "b" to "c"',
                    "connect them, or read it as default(steps.b.output.y, ...)",
                ),
                (
                    "no_ancestor",
                    "nodes[1].parameters.p",
                    'a.x is not there yet: no connection leads from "a" to "b"',
                    "connect them, or read it as default(a.x, ...)",
                ),
            ],
            id="no ancestor",
        ),
        pytest.param(
            workflow(
                {"a": reading("a.x"), "b": {}, "c": {}}, ("a b", {"condition": "b.x"}), ("a c", {"condition": "a.x"})
            ),
            [
                (
                    "no_ancestor",
                    "connections[0].condition",
                    'b.x is not there yet: no connection leads from "b" to "a"',
                    "connect them, or read it as default(b.x, ...)",
                ),
                (
                    "no_ancestor",
                    "nodes[0].parameters.p",
                    "a.x is the output of this very step, which it does not have yet",
                    "",
                ),
            ],
            id="a step and its own output",
        ),
        pytest.param(
            workflow(
                {"a": {}, "b": {"parameters": {"p": "${has(a.x)} ${default(a.x, 1)} ${steps.a.status}"}}},
                output="${a.x}",
            ),
            [],
            id="what is exempt",
        ),
        pytest.param(
            workflow({"input": {}, "b": reading("steps.input.output.x")}, "input b"),
            [("reserved_id", "nodes[0].id", '"input" is a reserved name', 'reach its output by steps["input"].output')],
            id="reserved id",
        ),
        pytest.param(
            workflow({"t": {"type": "trigger"}, "a": {}, "b": {}, "c": {}}, "t a", "b c"),
            [
                (
                    "unreachable",
                    "nodes[2]",
                    'no way leads from a trigger to "b"; it starts with every execution',
                    "connect it, or take it out",
                ),
                (
                    "unreachable",
                    "nodes[3]",
                    'no way leads from a trigger to "c"; it starts with every execution',
                    "connect it, or take it out",
                ),
            ],
            id="unreachable",
        ),
        pytest.param(
            workflow(
                {
                    "a": {
                        "input_schema": {"properties": {"x": {"minimum": "1", "required": 5}}},
                        "config": {"output_schema": {"$ref": "http://x.y/z"}},
                    }
                },
                input_schema={"pattern": "(?=a)"},
            ),
            [
                (
                    "bad_schema",
                    "input_schema.pattern",
                    'the pattern "(?=a)" cannot be matched in linear time: no look-around, no back-references',
                    "",
                ),
                ("bad_schema", "nodes[0].input_schema.properties.x.required", '5 is not of type "array"', ""),
                ("bad_schema", "nodes[0].input_schema.properties.x.minimum", '"1" is not of type "number"', ""),
                (
                    "bad_schema",
                    'nodes[0].config.output_schema["$ref"]',
                    "http://x.y/z: only what is inside the document can be referred to, nothing is fetched",
                    "",
                ),
            ],
            id="schemas",
        ),
    ],
)
def test_what_is_wrong_with_the_meaning_is_told_at_its_place(
    document: dict[str, JsonValue], expected: list[tuple[str, str, str, str]]
) -> None:
    assert sorted(told(document)) == sorted(expected)
    assert {one.code for one in validate(document) if one.severity is Severity.WARNING} == WARNINGS & {
        code for code, *_ in expected
    }


def test_the_shape_and_the_meaning_are_told_together() -> None:
    document = workflow({"a": {"timeout": -1, "parameters": {"p": "${1 +}"}}, "b": {"x": 1}}, "a b", "b a", "b c")
    assert [code for code, *_ in told(document)] == [
        "bad_duration",
        "unknown_key",
        "unknown_node",
        "bad_expression",
        "cycle",
    ]


def test_an_unknown_end_gives_no_further_problems_of_the_graph() -> None:
    document = workflow({"t": {"type": "trigger"}, "a": {}, "b": reading("a.x")}, "t a", "aa b")
    assert [code for code, *_ in told(document)] == ["unknown_node"]


@pytest.mark.parametrize(
    ("document", "may_be_missing"),
    [
        pytest.param(workflow({"a": {}, "b": reading("a.x")}, "a b"), False, id="only way"),
        pytest.param(
            workflow({"a": {}, "b": {}, "c": reading("[a.x, b.x]")}, "a c", "b c"), False, id="both always run"
        ),
        pytest.param(
            workflow({"a": {"continue_on_error": True}, "b": reading("a.x")}, "a b"), False, id="null is a value"
        ),
        pytest.param(
            workflow(
                {"a": {}, "b": {}, "c": {}, "d": reading("a.x")}, ("a b", {"condition": "a.x"}), "a c", "b d", "c d"
            ),
            False,
            id="before a fork that may be skipped",
        ),
        pytest.param(
            workflow(
                {"a": {}, "b": {}, "c": {}, "d": reading("b.x")}, ("a b", {"condition": "a.x"}), "a c", "b d", "c d"
            ),
            True,
            id="a side of a fork that may be skipped",
        ),
        pytest.param(
            workflow(
                {"a": {}, "b": {}, "c": {}, "d": reading("a.x")}, ("c b", {"condition": "c.x"}), "a b", "b d", "c d"
            ),
            False,
            id="waited for through a node that may be skipped",
        ),
        pytest.param(
            workflow({"a": {"condition": "input.x"}, "b": {}, "c": reading("a.x")}, "a c", "b c"),
            True,
            id="skipped by its own condition beside one that runs",
        ),
        pytest.param(
            workflow({"a": {}, "b": {}, "c": {"join": "any", **reading("a.x")}}, "a c", "b c"), True, id="any"
        ),
        pytest.param(
            workflow(
                {"a": {}, "b": {}, "c": {"join": "every", **reading("a.x")}}, ("a c", {"condition": "a.y"}), "b c"
            ),
            False,
            id="every",
        ),
        pytest.param(
            workflow({"a": {}, "b": {}, "c": {"join": {"at_least": 2}, **reading("a.x")}}, "a c", "b c"),
            False,
            id="at least all",
        ),
        pytest.param(
            workflow({"a": {}, "b": {}, "c": {"join": {"at_least": 1}, **reading("a.x")}}, "a c", "b c"),
            True,
            id="at least one",
        ),
        pytest.param(workflow({"a": {}, "b": reading("a.x")}, ("a b", {"outcome": "failure"})), True, id="failure"),
        pytest.param(workflow({"a": {}, "b": reading("a.x")}, ("a b", {"outcome": "always"})), True, id="always"),
        pytest.param(
            workflow({"a": {}, "b": reading("steps.a.error.type")}, ("a b", {"outcome": "failure"})),
            False,
            id="the error",
        ),
        pytest.param(
            workflow({"a": {}, "b": {}, "c": reading("a.x")}, "a b", ("a b", {"outcome": "failure"}), "b c"),
            True,
            id="a handled failure",
        ),
        pytest.param(
            workflow({"a": {"condition": "input.x"}, "b": reading("a.x")}, "a b"), False, id="skipped with what follows"
        ),
        pytest.param(
            workflow({"a": {"condition": "input.x", "on_skip": "pass"}, "b": reading("a.x")}, "a b"),
            True,
            id="passed when skipped",
        ),
        pytest.param(
            workflow({"a": {"condition": "input.x", "on_skip": "pass"}, "b": {}}, ("a b", {"condition": "a.x"})),
            True,
            id="its own condition",
        ),
        pytest.param(
            workflow({"a": {}, "b": {"condition": "input.x", "on_skip": "pass"}, "c": reading("a.x")}, "a b", "b c"),
            False,
            id="before one passed",
        ),
        pytest.param(
            workflow(
                {"a": {}, "b": {}, "e": {"join": "every"}, "z": reading("b.x")},
                "a e",
                "b e",
                ("a z", {"outcome": "always"}),
                "e z",
            ),
            True,
            id="behind an every that is lost before all is done",
        ),
        pytest.param(
            workflow({"a": {}, "b": {}, "c": {"condition": "a.x"}}, ("a b", {"condition": "a.y"}), "b c", "a c"),
            False,
            id="a node's own condition",
        ),
    ],
)
def test_a_step_that_may_have_no_output_is_a_warning(document: dict[str, JsonValue], may_be_missing: bool) -> None:
    assert [one.code for one in validate(document)] == ["maybe_missing"] * may_be_missing
    assert [one.severity for one in validate(document, strict=True)] == [Severity.ERROR] * may_be_missing


class _Opaque:
    """Names that can be asked for but not listed."""

    def __contains__(self, name: object) -> bool:
        return name == "crm.find"


def test_unknown_actions_are_told_when_the_names_are_known() -> None:
    document = {
        "id": "w",
        "nodes": [
            {"id": "t", "type": "trigger", "action": "manual_trigger"},
            {"id": "a", "service": "crm", "action": "find"},
            {"id": "b", "config": {"service": "crm", "action": "fnid"}},
            {"id": "c", "action": "zzz"},
        ],
        "connections": [{"source": "t", "target": one} for one in "abc"],
    }
    at_b, at_c = "nodes[2].config.action", "nodes[3].action"
    assert validate(document) == []
    assert validate(document, actions=["crm.find", "zzz"]) == [
        Problem("unknown_action", 'no action "crm.fnid" is registered', at_b, hint='did you mean "crm.find"?')
    ]
    assert validate(document, actions=iter(["crm.find"])) == [
        Problem("unknown_action", 'no action "crm.fnid" is registered', at_b, hint='did you mean "crm.find"?'),
        Problem("unknown_action", 'no action "zzz" is registered', at_c, hint="registered: crm.find"),
    ]
    assert [one.hint for one in validate(document, actions=_Opaque())] == ["none is registered"] * 2
    assert len(validate(document, actions=())) == 3


def test_loading_raises_with_every_problem_and_warnings_do_not_stop_it() -> None:
    document = workflow({"input": {"timeout": "soon"}, "b": {}}, "input b", "b c")
    with pytest.raises(ValidationError) as caught:
        load_workflow(document, name="order.yaml")
    assert [one.code for one in caught.value.problems] == ["bad_duration", "reserved_id", "unknown_node"]
    assert caught.value.message.splitlines() == [
        'nodes[0].timeout: "soon" is no duration: seconds as a number, or text such as 250ms, 10s, 5m, 1h, 2d or PT5M',
        'connections[1].target: there is no node "c"',
    ]
    warned = workflow({"input": {}})
    assert load_workflow(warned).nodes[0].id == "input"
    loaded, problems = check_document(warned)
    assert loaded is not None
    assert [one.severity for one in problems] == [Severity.WARNING]
    with pytest.raises(ValidationError, match="reserved name"):
        load_workflow(warned, strict=True)


def test_a_long_list_of_problems_is_cut_in_the_message_only() -> None:
    with pytest.raises(ValidationError) as caught:
        load_workflow("id: w\nnodes: [" + "{}, " * 50 + "{}]", name="w.yaml")
    assert len(caught.value.problems) == 51
    lines = caught.value.message.splitlines()
    assert lines[0] == 'w.yaml:2:9: nodes[0]: the key "id" is missing: a node needs an id'
    assert lines[20:] == ["... and 31 more"]


def test_a_workflow_passes_through_and_its_problems_have_the_paths_of_its_written_form() -> None:
    good = Workflow(
        "w", nodes=(Node("input", action="x"), Node("b", action="x")), connections=(Connection("input", "b"),)
    )
    assert load_workflow(good) is good
    for _ in range(2):  # the second time it is known
        assert [one.path for one in validate(good, actions=["y"])] == [
            "nodes[0].id",
            "nodes[0].config.action",
            "nodes[1].config.action",
        ]
    bad = Workflow("w", nodes=(Node("a", action="x", condition="1 +", timeout_ms=-5),))
    assert [(one.code, one.path) for one in validate(bad)] == [
        ("bad_duration", "nodes[0].config.timeout"),
        ("bad_expression", "nodes[0].config.condition"),
    ]


@pytest.mark.parametrize(
    "bad",
    [
        Workflow("w", vars={"a": {1}}),
        Workflow("w", nodes=(Node("a", action="x", parameters={"p": (1, 2)}),)),
        Workflow("w", nodes=(Node("a", action="x", condition="else"),), connections=()),
        Workflow("w", nodes=(Node("a", action="x", annotations={"action": "y"}),)),
        Workflow("w", nodes=(Node("a", action="x", timeout_ms="1"),)),  # type: ignore[arg-type]  # a hand-made one
        Workflow(7),  # type: ignore[arg-type]  # as above
    ],
)
def test_a_workflow_made_by_hand_that_no_document_can_say_is_refused(bad: Workflow) -> None:
    with pytest.raises(ValidationError):
        load_workflow(bad)


def chain(length: int) -> dict[str, JsonValue]:
    names = [f"n{place}" for place in range(length)]
    parameters = [{"p": "${input.x}"}, *({"p": f"${{{name}.y}}"} for name in names[:-1])]
    return {
        "id": "w",
        "nodes": [
            {"id": name, "config": {"service": "s", "action": "x", "parameters": one}}
            for name, one in zip(names, parameters, strict=True)
        ],
        "connections": [{"source": source, "target": target} for source, target in pairwise(names)],
    }


def test_more_steps_are_asked_about_than_go_into_one_pass() -> None:
    names = [f"n{place}" for place in range(4_200)]
    document = workflow({**{name: {} for name in names}, "lone": {}, "middle": {}, "end": {}})
    document["nodes"][-1]["parameters"] = {"p": [f"${{{name}.x}}" for name in (*names, "lone")]}
    document["connections"] = [
        *({"source": name, "target": "middle"} for name in names),
        {"source": "middle", "target": "end"},
    ]
    assert [(code, path) for code, path, *_ in told(document)] == [("no_ancestor", "nodes[4202].parameters.p[4200]")]


@pytest.mark.slow
def test_a_long_chain_and_a_long_cycle_need_no_recursion() -> None:
    document = chain(10_000)
    assert validate(document) == []
    document["connections"].append({"source": "n9999", "target": "n0"})
    way = "n0 -> n1 -> n2 -> n3 -> n4 -> n5 -> ... -> n9994 -> n9995 -> n9996 -> n9997 -> n9998 -> n9999 -> n0"
    assert told(document) == [("cycle", "connections[9999]", f"circular: the cycle {way} can never start", "")]


@pytest.mark.slow
def test_twenty_thousand_nodes_are_checked_in_seconds_whatever_they_read() -> None:
    """The bounds are CPU time, and leave a factor of four or more."""
    document = chain(20_000)
    text = json.dumps(document)
    started = time.process_time()
    assert validate(document) == []
    assert time.process_time() - started < 6
    started = time.process_time()
    assert validate(text) == []
    assert time.process_time() - started < 8
    for place, node in enumerate(document["nodes"][2:], 2):
        node["config"]["parameters"]["p"] = f"${{n{place * 7919 % place}.y}} ${{n{place // 2}.y}}"
    started = time.process_time()
    assert validate(document) == []
    assert time.process_time() - started < 10


@pytest.mark.slow
def test_many_wrong_names_cost_no_more_than_their_hints() -> None:
    document = chain(5_000)
    for node in document["nodes"]:
        node["config"]["parameters"]["p"] = "${nn.y}"
    started = time.process_time()
    assert len(validate(document)) == 5_000
    assert time.process_time() - started < 4


FILES = sorted((DATA / "wfinstances").glob("*.json*"))


@pytest.mark.slow
@pytest.mark.skipif(not FILES, reason="no recorded workflows: set TREADLE_DATA to the folder that holds wfinstances/")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_recorded_workflows_are_valid(path: Path) -> None:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    tasks = json.loads(content)["workflow"]["specification"]["tasks"]
    document = {
        "id": path.stem,
        "nodes": [
            {
                "id": task["id"],
                "config": {
                    "action": "run",
                    "parameters": {"inputs": [f"${{steps[{json.dumps(one)}].output}}" for one in task["parents"]]},
                },
            }
            for task in tasks
        ],
        "connections": [{"source": task["id"], "target": child} for task in tasks for child in task["children"]],
    }
    loaded, problems = read_document(json.dumps(document))
    assert loaded is not None
    assert problems == []
    assert validate(document, actions=["run"]) == []
