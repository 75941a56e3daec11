"""The JSON Schema of a definition, made from the tables its reader uses. Editors complete and check with it.

It says the shape, not the meaning: cycles, expressions and names are checked by ``validate`` only. Null is left out,
though reading takes it for an absent key, since no one should write it.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Final

from treadle.definition.fields import ANNOTATION_PREFIX, Schema, annotation_names
from treadle.definition.keys import (
    BELONGS_TO,
    BODY_KEYS,
    COMPENSATE_KEYS,
    CONFIG_KEYS,
    CONNECTION_KEYS,
    DEFAULTS_KEYS,
    DURATION_SCHEMA,
    FALLBACK_KEYS,
    FORMAT_FIELD,
    JOIN_SCHEMA,
    NEEDS,
    NEEDS_ANY,
    NODE_HEAD_KEYS,
    NODE_KEYS,
    OF_ACTIONS,
    RETRY_KEYS,
    STEP_KEYS,
    WORKFLOW_KEYS,
)
from treadle.model import NodeType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from treadle.definition.fields import Field

_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"


def definition_schema() -> Schema:
    """Return the JSON Schema (draft 2020-12) of documents, as a new object."""
    config: dict[str, Schema] = {"config": {"$ref": "#/$defs/config"}}
    return deepcopy(
        {
            "$schema": _DRAFT,
            "title": "treadle workflow",
            "description": "A workflow: nodes joined by connections, or a linear form of steps.",
            **_object({FORMAT_FIELD.name: FORMAT_FIELD, **WORKFLOW_KEYS}, _GRAPH, keeps=annotation_names()),
            "allOf": [_one_spelling(("id", "workflow_id"))],
            "oneOf": [
                {"required": ["nodes"], "not": {"required": ["steps"]}},
                {"required": ["steps"], "not": {"anyOf": [{"required": ["nodes"]}, {"required": ["connections"]}]}},
            ],
            "$defs": {
                "duration": {
                    "description": "Seconds, or text such as 250ms, 10s, 5m, 1h, 2d, PT5M.",
                    **DURATION_SCHEMA,
                },
                "retry": _object(RETRY_KEYS),
                "join": JOIN_SCHEMA,
                "fallback": {**_object(FALLBACK_KEYS), "required": ["action"]},
                "compensate": {**_object(COMPENSATE_KEYS), "required": ["action"]},
                "defaults": _object(DEFAULTS_KEYS),
                "body": {
                    **_object(
                        BODY_KEYS, {key: _GRAPH[key] for key in ("nodes", "connections")}, keeps=annotation_names()
                    ),
                    "required": ["nodes"],
                },
                "config": _object(CONFIG_KEYS, keeps=annotation_names()),
                "node": {**_object(NODE_KEYS, config, keeps=annotation_names()), **_NODE_RULES},
                "step": {**_object(STEP_KEYS, config, keeps=annotation_names()), **_NODE_RULES},
                "types": {"allOf": list(_type_rules())},
                "connection": {
                    **_object(CONNECTION_KEYS, keeps=annotation_names(of_connection=True)),
                    "required": ["source", "target"],
                },
            },
        }
    )


_GRAPH: Final[dict[str, Schema]] = {
    "defaults": {"$ref": "#/$defs/defaults"},
    "nodes": {"type": "array", "items": {"$ref": "#/$defs/node"}},
    "connections": {"type": "array", "items": {"$ref": "#/$defs/connection"}},
    "steps": {"type": "array", "items": {"$ref": "#/$defs/step"}},
}
_HAS_ACTION: Final[Schema] = {"required": ["action"], "properties": {"action": {"minLength": 1}}}


def _has(key: str) -> Schema:
    """Return the schema of a node that has a key, on itself or in its ``config``."""
    return {"anyOf": [{"required": [key]}, {"required": ["config"], "properties": {"config": {"required": [key]}}}]}


def _is(*kinds: NodeType) -> Schema:
    """Return the schema of a node of one of some types; one without a type is an action."""
    schema: Schema = {"properties": {"type": {"enum": [one.value for one in kinds]}}}
    return schema if NodeType.ACTION in kinds else {"required": ["type"], **schema}


def _type_rules() -> Iterator[Schema]:
    """Yield what the type of a node asks for, and what asks for a type."""
    for name, kinds in BELONGS_TO.items():
        for key in CONFIG_FIELDS[name].spellings:
            if key not in NODE_HEAD_KEYS:  # `name` on a node is its title
                yield {"if": _has(key), "then": _is(*kinds)}
    calls_nothing = [kind for kind in NodeType if kind not in (NodeType.ACTION, NodeType.TRIGGER)]
    for name in OF_ACTIONS:
        for key in CONFIG_FIELDS[name].spellings:
            yield {"if": _is(*calls_nothing), "then": {"not": _has(key)}}
    for kind, needs in NEEDS.items():
        for names in needs:
            yield {"if": _is(kind), "then": {"oneOf": [_has_field(name) for name in names]}}
    for kind, names in NEEDS_ANY.items():
        yield {"if": _is(kind), "then": {"anyOf": [_has_field(name) for name in names]}}


def _has_field(name: str) -> Schema:
    """Return the schema of a node that has a field under any of its spellings."""
    spellings = CONFIG_FIELDS[name].spellings
    if len(spellings) == 1:
        return _has(spellings[0])
    in_config = {"anyOf": [{"required": [key]} for key in spellings]}
    return {"anyOf": [{"required": [spellings[0]]}, {"required": ["config"], "properties": {"config": in_config}}]}


CONFIG_FIELDS: Final = {field.name: field for field in CONFIG_KEYS.values()}
_NODE_RULES: Final[Schema] = {
    "required": ["id"],
    "if": {"properties": {"type": {"const": "action"}}},
    "then": {"anyOf": [_HAS_ACTION, {"required": ["config"], "properties": {"config": _HAS_ACTION}}]},
    "allOf": [{"$ref": "#/$defs/types"}],
}


def _object(keys: Mapping[str, Field], more: Mapping[str, Schema] | None = None, keeps: Iterable[str] = ()) -> Schema:
    """Return the schema of an object with the keys of a table, further ones, and annotations."""
    properties: dict[str, Schema] = {key: {"description": field.about, **field.schema} for key, field in keys.items()}
    schema: Schema = {"type": "object", "properties": {**properties, **(more or {}), **{name: {} for name in keeps}}}
    if keeps:
        schema["patternProperties"] = {f"^{ANNOTATION_PREFIX}": {}}
    schema["additionalProperties"] = False
    return schema


def _one_spelling(spellings: Iterable[str]) -> Schema:
    return {"anyOf": [{"required": [one]} for one in spellings]}


if __name__ == "__main__":
    import json
    import sys

    sys.stdout.write(json.dumps(definition_schema(), indent=2) + "\n")
