"""Every field of every object of a document is given wrong values: problems at its place, and never an exception.

What is wrong is what the published JSON Schema of the field refuses, so a field that is added is tested from then on.
"""

from __future__ import annotations

import copy
import json
import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.definition import definition_schema, keys, validate
from treadle.definition.keys import BELONGS_TO, OF_ACTIONS
from treadle.model import NodeType, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from treadle.definition.fields import Field
    from treadle.model import JsonValue, Problem

BODY: Final[JsonValue] = {"nodes": [{"id": "inner", "type": "set", "values": 1}]}
NODES: Final[dict[NodeType, dict[str, JsonValue]]] = {
    NodeType.ACTION: {"action": "a"},
    NodeType.TRIGGER: {},
    NodeType.SWITCH: {},
    NodeType.SET: {"values": 1},
    NodeType.WAIT: {"duration": 1},
    NodeType.INPUT: {},
    NodeType.EVENT: {"event": "e"},
    NodeType.WORKFLOW: {"workflow": "w"},
    NodeType.MAP: {"items": [1], "body": BODY},
    NodeType.LOOP: {"while": "index < 2", "until": "index > 5", "body": BODY},
    NodeType.PARALLEL: {"body": BODY},
    NodeType.END: {},
}
"""The least that a node of each type has."""

INSTEAD: Final = {"until": ("duration",), "any_of": ("duration",), "workflow": ("body",)}
"""Fields that take the place of others."""

SCALARS: Final[list[JsonValue]] = [
    *(-1, -0.5, 0, 1, 1.5, 2**31, 10**400, 1e308, True, False),
    *("", " ", "x", "else", "nan", "-1s", "-PT5M", "99999999999d", "101%", "-5%", "12:00", "2020-01-01T00:00:00"),
    *("${", "${input.}", "1 +", "a b", "\x00", "a\u0301", "x" * 200, "0 0 30 2 *"),
]
CONTAINERS: Final[list[JsonValue]] = [
    *([], [None], [1], [-1], ["x"], [""], [[]], [{}], {}, {"": 1}, {"unknown": 1}, [{"unknown": 1}]),
    *({"at_least": 0}, {"at_least": "2"}, {"at_least": 2**40}, {"max_attempts": -1}, {"action": ""}),
    *([{"duration": "-1s"}], [{"duration": 1, "until": "x"}], [{"key": 1}], [{"name": ""}], [{"name": "a", "rate": 0}]),
]


class Place(NamedTuple):
    """One field of one object.

    Attributes:
        name: Of the test.
        document: A valid workflow without the field.
        at: Keys and indices of the object.
        key: Of the field.
        schema: Of its value.
    """

    name: str
    document: JsonValue
    at: tuple[str | int, ...]
    key: str
    schema: JsonValue

    def with_value(self, value: object) -> Any:
        """Return the workflow with the field."""
        document: Any = copy.deepcopy(self.document)
        holder = document
        for part in self.at:
            holder = holder[part]
        for key in (self.key, *INSTEAD.get(self.key, ())):
            holder.pop(key, None)
        holder[self.key] = value
        return document

    @property
    def path(self) -> str:
        return "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in (*self.at, self.key))[1:]


def workflow(*nodes: dict[str, JsonValue], **more: JsonValue) -> JsonValue:
    return {"id": "w", "nodes": list(nodes), **more}


def node(kind: NodeType = NodeType.ACTION, **more: JsonValue) -> dict[str, JsonValue]:
    return {"id": "n", "type": kind.value, **copy.deepcopy(NODES[kind]), **more}


def _of(name: str, document: JsonValue, at: tuple[str | int, ...], fields: Mapping[str, Field]) -> Iterator[Place]:
    for key, field in fields.items():
        yield Place(f"{name}.{key}", document, at, key, field.schema)


def _places() -> Iterator[Place]:
    for kind in NodeType:
        own = {
            key: field
            for key, field in keys.CONFIG_KEYS.items()
            if kind in BELONGS_TO.get(field.name, (NodeType.ACTION,) if field.name in OF_ACTIONS else (kind,))
            and key != "name"  # on the node itself it is the title
        }
        one = workflow(node(kind), node(id="before"), connections=[{"source": "before", "target": "n"}])
        yield from _of(kind.value, one, ("nodes", 0), own)
    yield from _of("node", workflow(node()), ("nodes", 0), {**keys.NODE_HEAD_KEYS})
    yield from _of("retry", workflow(node(retry={})), ("nodes", 0, "retry"), keys.RETRY_KEYS)
    yield from _of("defaults", workflow(node(), defaults={}), ("defaults",), keys.DEFAULTS_KEYS)
    call: dict[str, JsonValue] = {"action": "b"}
    for name, fields in (("fallback", keys.FALLBACK_KEYS), ("compensate", keys.COMPENSATE_KEYS)):
        yield from _of(name, workflow(node(**{name: call})), ("nodes", 0, name), fields)
    two = workflow(node(), node(id="m"), connections=[{"source": "n", "target": "m"}, {"source": "n", "target": "m"}])
    two["connections"][1]["condition"] = "true"  # type: ignore[index,call-overload]
    yield from _of("connection", two, ("connections", 0), keys.CONNECTION_KEYS)
    head = {key: field for key, field in keys.WORKFLOW_KEYS.items() if key != "workflow_id"}
    yield from _of("workflow", workflow(node()), (), {**head, "treadle": keys.FORMAT_FIELD})
    yield from _of("body", workflow(node(NodeType.PARALLEL)), ("nodes", 0, "body"), keys.BODY_KEYS)
    order = {key: keys.STEP_KEYS[key] for key in ("sequence_order", "depends_on")}
    yield from _of("steps", {"id": "w", "steps": [{"id": "n", "action": "a"}]}, ("steps", 0), order)
    yield from _elements()


def _elements() -> Iterator[Place]:
    """Yield the fields of what stands in lists."""
    for key, name, one in (("limits", "limit", {"name": "l"}), ("any_of", "timer", {"duration": 1})):
        fields: Any = keys.CONFIG_KEYS[key].schema["items"]["properties"]  # type: ignore[index,call-overload]
        kind = NodeType.ACTION if key == "limits" else NodeType.WAIT
        for field, schema in fields.items():
            alone = {"event": "e"} if field == "key" and key == "any_of" else {} if key == "any_of" else one
            more = {"rate": 1} if field == "per" else {}
            holder = node(kind, **{key: [{**alone, **more}]})
            holder.pop("duration", None)
            yield Place(f"{name}.{field}", workflow(holder), ("nodes", 0, key, 0), field, schema)


PLACES: Final = list(_places())
DEFINITIONS: Final = definition_schema()["$defs"]


def fits(schema: JsonValue, value: JsonValue) -> bool:
    return jsonschema_rs.Draft202012Validator({"$defs": DEFINITIONS, "allOf": [schema]}).is_valid(value)


def errors(document: object) -> list[Problem]:
    return [one for one in validate(document) if one.severity is Severity.ERROR]  # type: ignore[arg-type]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
def test_a_wrong_value_is_told_at_its_place_and_nowhere_else(place: Place) -> None:
    refused = 0
    for value in [*SCALARS, *CONTAINERS]:
        text = json.dumps(place.with_value(value), indent=1)
        found = errors(text)
        where = (place.name, value, [(one.path, one.message) for one in found])
        if fits(place.schema, value):
            continue
        refused += 1
        assert found, where
        assert all(one.path.startswith(place.path) for one in found), where
        assert found[0].line <= text.count("\n") + 1, where
        line = text.splitlines()[found[0].line - 1]
        assert f'"{place.key}"' in line or isinstance(value, (dict, list)), where
        assert found[0].column > 0, where
        if not isinstance(value, (dict, list)):
            assert len(found) == 1, where
        assert all(one.message and "\n" not in one.message for one in found), where
    assert refused or place.schema in ({}, {"not": {"type": "null"}}), "every field refuses something"


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
def test_what_reads_without_a_problem_fits_the_published_schema(place: Place) -> None:
    for value in [*SCALARS, *CONTAINERS]:
        if not errors(json.dumps(place.with_value(value))):
            assert fits(place.schema, value), (place.name, value)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
def test_what_is_no_json_is_one_problem_at_its_place(place: Place) -> None:
    for value in (math.nan, math.inf, b"x", object(), {1: 2}, (1, 2), {"a"}):
        found = errors(place.with_value(value))
        assert [one.path for one in found][:1] == [place.path] or found[0].path.startswith(place.path), (value, found)
        assert len(found) == 1, (place.name, value, found)


JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(SCALARS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PLACES), JSON), min_size=1, max_size=3))
def test_nothing_that_stands_in_a_field_raises(given: list[tuple[Place, JsonValue]]) -> None:
    for place, value in given:
        for one in validate(place.with_value(value)):
            assert one.path or one.code == "missing_key"
            assert one.message


def test_every_wrong_field_of_a_document_is_told_at_once() -> None:
    """One node for each field, each with a value that no field takes."""
    nodes, paths = [], []
    for place in PLACES:
        if place.at != ("nodes", 0) or place.key in ("id", "type"):
            continue
        wrong = next((one for one in [*SCALARS, *CONTAINERS] if not fits(place.schema, one)), None)
        if wrong is not None:
            bad: Any = place.with_value(wrong)
            paths.append(f"nodes[{len(nodes)}].{place.key}")
            nodes.append({**bad["nodes"][0], "id": f"n{len(nodes)}"})
    found = errors(json.dumps({"id": "w", "nodes": nodes}, indent=1))
    assert len(paths) > 100
    assert [one.path for one in found] == paths
    assert [one.line for one in found] == sorted(one.line for one in found)
