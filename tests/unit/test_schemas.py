"""Users' JSON Schemas: what they refuse, what is refused in them, and that nothing is ever fetched."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from treadle.errors import ValidationError
from treadle.model import Problem
from treadle.schemas import compile_schema, schema_problems

if TYPE_CHECKING:
    from treadle.model import JsonValue

OUTSIDE = "only what is inside the document can be referred to, nothing is fetched"
TYPES = "array, boolean, integer, null, number, object, string"
NOT_LINEAR = "cannot be matched in linear time: no look-around, no back-references"

ORDER: dict[str, JsonValue] = {
    "type": "object",
    "required": ["amount"],
    "properties": {"amount": {"type": "number"}, "rows": {"items": {"$ref": "#/$defs/row"}}, "a b": {"const": 1}},
    "$defs": {"row": {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}},
    "additionalProperties": False,
}


def test_every_place_that_breaks_the_schema_is_named() -> None:
    value = {"amount": "x", "rows": [{"n": 1}, {"n": 0.5}], "a b": 2, "other": 1}
    problems = compile_schema(ORDER).problems(value)
    assert {one.code for one in problems} == {"schema"}
    assert sorted(str(one) for one in problems) == [
        'input.amount: "x" is not of type "number"',
        "input.rows[1].n: 0.5 is less than the minimum of 1",
        'input.rows[1].n: 0.5 is not of type "integer"',
        "input: Additional properties are not allowed ('other' was unexpected)",
        'input["a b"]: 1 was expected',
    ]
    assert compile_schema(ORDER).problems({}, "output") == [
        Problem("schema", '"amount" is a required property', "output")
    ]


@pytest.mark.parametrize(
    "value", [{"amount": 1}, {"amount": 10**30, "rows": []}, {"amount": 1.5, "rows": [{"n": 2.0}]}]
)
def test_what_fits_has_no_problems(value: JsonValue) -> None:
    assert compile_schema(ORDER).problems(value) == []


def test_true_and_false_are_schemas() -> None:
    assert compile_schema(True).problems(1) == []
    assert compile_schema(False).problems(1) == [Problem("schema", "False schema does not allow 1", "input")]


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (
            {"properties": {"a": {"minimum": "x"}, "b": {"required": 1}}},
            {
                "properties.a.minimum": '"x" is not of type "number"',
                "properties.b.required": '1 is not of type "array"',
            },
        ),
        (
            {"pattern": "(?=a)b"},
            {"pattern": 'the pattern "(?=a)b" cannot be matched in linear time: no look-around, no back-references'},
        ),
        ({"patternProperties": {"(a)\\1": True}}, None),
        ({"pattern": "("}, None),
        (
            {"$ref": "http://x.y/z"},
            {'["$ref"]': "http://x.y/z: only what is inside the document can be referred to, nothing is fetched"},
        ),
        (
            {"$ref": "other.json"},
            {'["$ref"]': "other.json: only what is inside the document can be referred to, nothing is fetched"},
        ),
        (
            {"$ref": "file:///etc/passwd"},
            {'["$ref"]': "file:///etc/passwd: only what is inside the document can be referred to, nothing is fetched"},
        ),
        (
            {
                "type": "objekt",
                "properties": {"a": {"$ref": "http://x.y/z"}, "b": {"pattern": "(a)\\1"}, "c": {"type": "xyzzy"}},
                "patternProperties": {"(?=x)": {"enum": [{"$ref": "data.json"}]}},
            },
            {
                "type": '"objekt" is no type (did you mean "object"?)',
                'properties.a["$ref"]': f"http://x.y/z: {OUTSIDE}",
                "properties.b.pattern": f'the pattern "(a)\\\\1" {NOT_LINEAR}',
                "properties.c.type": f'"xyzzy" is no type (types: {TYPES})',
                'patternProperties["(?=x)"]': f'the pattern "(?=x)" {NOT_LINEAR}',
            },
        ),
        ({"$ref": "#/$defs/none"}, {"": "Pointer '/$defs/none' does not exist"}),
        (
            {"$schema": "http://json-schema.org/draft-07/schema#"},
            {'["$schema"]': "only draft 2020-12 is read: https://json-schema.org/draft/2020-12/schema"},
        ),
        (5, None),
        ({"a": float("nan"), "minimum": float("nan")}, {"minimum": 'null is not of type "number"'}),
        ({"a": {1, 2}}, None),
        ({"a": object()}, None),
    ],
)
def test_what_is_no_schema_is_refused_with_its_place(schema: JsonValue, expected: dict[str, str] | None) -> None:
    problems = schema_problems(schema)
    assert {one.code for one in problems} <= {"bad_schema"}
    if expected is not None:
        assert {one.path: one.message for one in problems} == expected
    if problems:
        with pytest.raises(ValidationError) as caught:
            compile_schema(schema)
        assert list(caught.value.problems) == problems
    else:
        assert schema == {"a": {1, 2}}  # a set is taken for a list


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}]},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        {"$dynamicRef": "#"},
        {"properties": {"a": {"$ref": "#"}}},
        {"$defs": {"x": {"$id": "http://e/x", "type": "string"}}, "properties": {"b": {"$ref": "http://e/x"}}},
        {"$schema": "https://json-schema.org/draft/2020-12/schema"},
    ],
)
def test_references_within_the_document_end(schema: dict[str, JsonValue]) -> None:
    assert compile_schema(schema).problems({"a": {"a": {"a": 1}}}) == []


def test_patterns_take_linear_time() -> None:
    schema = compile_schema({"pattern": "^(a+)+$"})
    started = time.perf_counter()
    assert len(schema.problems("a" * 50_000 + "!")) == 1
    assert time.perf_counter() - started < 2


def test_a_message_is_bounded_whatever_the_value() -> None:
    (problem,) = compile_schema({"type": "number"}).problems("x" * 100_000)
    assert len(problem.message) < 320
    assert problem.message.endswith('is not of type "number"')


def test_a_schema_is_compiled_once_whatever_the_order_of_its_keys() -> None:
    assert compile_schema({"type": "string", "minLength": 1}) is compile_schema({"minLength": 1, "type": "string"})


def test_deep_schemas_are_refused_without_recursion() -> None:
    schema: dict[str, JsonValue] = {}
    for _ in range(50_000):
        schema = {"not": schema}
    assert schema_problems(schema) == [Problem("bad_schema", "nested deeper than the limit of 64")]


def test_the_library_is_loaded_only_when_a_schema_is_compiled() -> None:
    code = "import sys, treadle.schemas; assert 'jsonschema_rs' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)}, timeout=60)
