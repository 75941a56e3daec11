"""The JSON Schema of a definition, made from the tables its reader uses. Editors complete and check with it.

It says the shape, not the meaning: cycles, expressions and names are checked by ``validate`` only. Null is left out,
though reading takes it for an absent key, since no one should write it.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Final

from treadle.definition.fields import ANNOTATION_PREFIX, Schema, annotation_names
from treadle.definition.keys import (
    CONFIG_KEYS,
    CONNECTION_KEYS,
    DEFAULTS_KEYS,
    DURATION_SCHEMA,
    FORMAT_FIELD,
    JOIN_SCHEMA,
    NODE_KEYS,
    RETRY_KEYS,
    STEP_KEYS,
    WORKFLOW_KEYS,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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
                "defaults": _object(DEFAULTS_KEYS),
                "config": _object(CONFIG_KEYS, keeps=annotation_names()),
                "node": {**_object(NODE_KEYS, config, keeps=annotation_names()), **_NODE_RULES},
                "step": {**_object(STEP_KEYS, config, keeps=annotation_names()), **_NODE_RULES},
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
_NODE_RULES: Final[Schema] = {
    "required": ["id"],
    "if": {"properties": {"type": {"const": "action"}}},
    "then": {"anyOf": [_HAS_ACTION, {"required": ["config"], "properties": {"config": _HAS_ACTION}}]},
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
