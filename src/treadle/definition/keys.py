"""The keys of a definition: one table per object, from which reading, hints, the JSON Schema and the docs are made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from treadle.definition.fields import (
    END_STATUSES,
    MAX_COUNT,
    MAX_ID_CHARS,
    SHARE_PATTERN,
    SIMPLE_JOINS,
    Field,
    Reader,
    Schema,
    Spot,
    Unread,
    choice,
    count,
    read_anything,
    read_bound,
    read_class_names,
    read_condition,
    read_duration,
    read_end_status,
    read_factor,
    read_flag,
    read_format_version,
    read_id,
    read_ids,
    read_items,
    read_join,
    read_label,
    read_limits,
    read_mapping,
    read_name,
    read_names,
    read_object,
    read_order,
    read_schema,
    read_share,
    read_text,
    read_timers,
    read_variable,
    read_wait,
    table,
    unknown_key,
)
from treadle.durations import DURATION_PATTERN, ISO_PATTERN
from treadle.model import (
    FORMAT_VERSION,
    Jitter,
    NodeType,
    OnExhausted,
    OnFailure,
    OnInterrupted,
    OnSkip,
    Outcome,
    SwitchMode,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from enum import Enum

    from treadle.model import JsonValue

_ID: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": MAX_ID_CHARS}
_TEXT: Final[Schema] = {"type": "string"}
_NAME: Final[Schema] = {"type": "string", "minLength": 1}
_CONDITION: Final[Schema] = {"type": ["string", "boolean"]}
_OBJECT: Final[Schema] = {"type": "object"}
_FLAG: Final[Schema] = {"type": "boolean"}
_JSON_SCHEMA: Final[Schema] = {"type": ["object", "boolean"]}
DURATION_SCHEMA: Final[Schema] = {
    "anyOf": [
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": DURATION_PATTERN},
        {"type": "string", "pattern": ISO_PATTERN},
    ]
}
JOIN_SCHEMA: Final[Schema] = {
    "anyOf": [
        {"enum": list(SIMPLE_JOINS)},
        {
            "type": "object",
            "properties": {"at_least": {"type": "integer", "minimum": 1, "maximum": MAX_COUNT}},
            "required": ["at_least"],
            "additionalProperties": False,
        },
    ]
}
_DURATION: Final[Schema] = {"$ref": "#/$defs/duration"}
_RETRY: Final[Schema] = {"$ref": "#/$defs/retry"}


_WAIT: Final[Schema] = {"anyOf": [_DURATION, {"type": "string", "pattern": r"\$\{"}]}
_SOMETHING: Final[Schema] = {"not": {"type": "null"}}
_ITEMS: Final[Schema] = {"anyOf": [{"type": "array"}, {"type": "string", "pattern": r"\$\{"}]}
_MAPPING: Final[Schema] = {"anyOf": [{"type": "object"}, {"type": "string", "pattern": r"\$\{"}]}
_VARIABLE: Final[Schema] = {"type": "string", "pattern": r"^[A-Za-z_][A-Za-z0-9_]*$"}
_SHARE: Final[Schema] = {
    "anyOf": [
        {"type": "integer", "minimum": 0, "maximum": MAX_COUNT},
        {"type": "string", "pattern": SHARE_PATTERN},
    ]
}
_TIMERS: Final[Schema] = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "properties": {"duration": _WAIT, "until": _TEXT, "event": _NAME, "key": _SOMETHING},
        "oneOf": [{"required": ["duration"]}, {"required": ["until"]}, {"required": ["event"]}],
        "dependentRequired": {"key": ["event"]},
        "additionalProperties": False,
    },
}


def _whole(least: int) -> Schema:
    return {"type": "integer", "minimum": least, "maximum": MAX_COUNT}


def _one_of(kind: type[Enum]) -> Schema:
    return {"enum": [one.value for one in kind]}


_LIMITS: Final[Schema] = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "name": _NAME,
            "key": _SOMETHING,
            "concurrency": _whole(1),
            "rate": _whole(1),
            "per": _DURATION,
        },
        "required": ["name"],
        "dependentRequired": {"per": ["rate"]},
        "additionalProperties": False,
    },
}

# Tables

RETRY_KEYS: Final = table(
    Field("max_attempts", count(0), _whole(0), "Calls in all, the first included; 0 and 1 both mean one."),
    Field("initial_delay_ms", read_duration, _DURATION, "Wait before the second attempt.", key="initial_delay"),
    Field("backoff", read_factor, {"type": "number", "minimum": 1}, "Factor from one wait to the next."),
    Field("max_delay_ms", read_duration, _DURATION, "Cap of the wait.", key="max_delay"),
    Field("jitter", choice(Jitter), _one_of(Jitter), "How the wait is randomised."),
    Field(
        "non_retryable",
        read_class_names,
        {"type": "array", "items": _NAME},
        "Class names; an error with one of them along its MRO is permanent.",
    ),
)


def fields_of(keys: Mapping[str, Field], *, needs: str = "") -> Reader:
    """Return a reader of an object as its fields that were given, so that defaults can be merged key by key."""

    def read(value: JsonValue, spot: Spot) -> dict[str, Any] | Unread:
        if not isinstance(value, dict):
            return spot.wrong_type("an object", value)
        given: dict[str, Any] = {}
        for key, one in value.items():
            field = keys.get(key)
            if field is None:
                unknown_key(spot, key, keys)
            elif one is not None and not isinstance(read := field.read(one, spot.below(key)), Unread):
                given[field.name] = read
        if needs and value.get(needs) in (None, ""):
            spot.error("missing_key", f'the key "{needs}" is missing: it names what is called')
        return given

    return read


_RETRY_FIELD: Final = Field("retry", fields_of(RETRY_KEYS), _RETRY, "What follows a failure.")
_TIMEOUT_FIELD: Final = Field(
    "timeout_ms",
    read_bound,
    _DURATION,
    "Bound of one attempt, in real time; of how long an input or an event waits; of a whole map, loop, parallel or "
    "workflow, on the execution's clock. 0 for none.",
    key="timeout",
)

_QUEUE_FIELD: Final = Field(
    "queue_timeout_ms",
    read_bound,
    _DURATION,
    "Bound of how long a ready step waits for its slot, on the execution's clock; 0 for none.",
    key="queue_timeout",
)
_HEARTBEAT_FIELD: Final = Field(
    "heartbeat_timeout_ms",
    read_bound,
    _DURATION,
    "Bound of how long an attempt may give no heartbeat, in real time; 0 for none.",
    key="heartbeat_timeout",
)
_LIMITS_FIELD: Final = Field(
    "limits",
    read_limits,
    _LIMITS,
    "What its steps hold while they run: a `concurrency`, or a `rate` in `per`, by `name` and each value of `key`.",
)

_ON_FAILURE_FIELD: Final = Field(
    "on_failure",
    choice(OnFailure),
    _one_of(OnFailure),
    "What happens to attempts in flight when the workflow, or a body, halts.",
)

_CALL_FIELDS: Final = (
    Field("service", read_text, _TEXT, "With `action` the name of the callable."),
    Field("action", read_text, _NAME, "See `service`; alone it is the whole name."),
    Field("parameters", read_object, _OBJECT, "Keyword arguments; text may hold `${expression}`."),
    Field("timeout_ms", read_bound, _DURATION, "Bound of one attempt, in real time; 0 for none.", key="timeout"),
    _RETRY_FIELD,
)
COMPENSATE_KEYS: Final = table(*_CALL_FIELDS)
"""Of what undoes a step, or its fallback."""

_COMPENSATE_FIELD: Final = Field(
    "compensate",
    fields_of(COMPENSATE_KEYS, needs="action"),
    {"$ref": "#/$defs/compensate"},
    "What undoes the call, or what a child did that completed, when the execution fails after it.",
)
FALLBACK_KEYS: Final = table(*_CALL_FIELDS, _COMPENSATE_FIELD)

DEFAULTS_KEYS: Final = table(_TIMEOUT_FIELD, _RETRY_FIELD, _QUEUE_FIELD, _HEARTBEAT_FIELD, _LIMITS_FIELD)
"""Of ``defaults``, which hold for action nodes."""

CONFIG_KEYS: Final = table(
    Field("service", read_text, _TEXT, "With `action` the name of the callable."),
    Field("action", read_text, _TEXT, "See `service`; alone it is the whole name."),
    Field("parameters", read_object, _OBJECT, "Keyword arguments; text may hold `${expression}`."),
    Field(
        "condition", read_condition, _CONDITION, "Evaluated once the join is met; if not taken, the node is SKIPPED."
    ),
    Field(
        "on_skip",
        choice(OnSkip),
        _one_of(OnSkip),
        "What the outgoing connections of a node become that its condition skipped.",
    ),
    Field("join", read_join, {"$ref": "#/$defs/join"}, "When a node with several incoming connections runs."),
    _TIMEOUT_FIELD,
    Field(
        "total_timeout_ms",
        read_bound,
        _DURATION,
        "Bound of all attempts and waits on the execution's clock, from the first start; 0 for none.",
        key="total_timeout",
    ),
    _QUEUE_FIELD,
    _HEARTBEAT_FIELD,
    _LIMITS_FIELD,
    _RETRY_FIELD,
    Field("max_interruptions", count(0), _whole(0), "Attempts that may be cut off by a crash before the step fails."),
    Field(
        "on_interrupted",
        choice(OnInterrupted),
        _one_of(OnInterrupted),
        "What follows an attempt that a crash cut off; `fail` and `pause` give at-most-once.",
    ),
    Field(
        "fallback",
        fields_of(FALLBACK_KEYS, needs="action"),
        {"$ref": "#/$defs/fallback"},
        "What is called once, in the action's place, when the attempts are spent.",
    ),
    _COMPENSATE_FIELD,
    Field(
        "on_exhausted",
        choice(OnExhausted),
        _one_of(OnExhausted),
        "What follows once the attempts are spent: the step fails, or pauses until a person answers.",
    ),
    Field("continue_on_error", read_flag, _FLAG, "A final failure is passed over; the output is null."),
    Field("input_schema", read_schema, _JSON_SCHEMA, "JSON Schema of the resolved parameters."),
    Field("output_schema", read_schema, _JSON_SCHEMA, "JSON Schema of the output."),
    Field(
        "mode", choice(SwitchMode), _one_of(SwitchMode), "Of a switch: the `first` true condition, or `all` of them."
    ),
    Field("values", read_anything, _SOMETHING, "Of a set: what it gives; text may hold `${expression}`."),
    Field("duration", read_wait, _WAIT, "Of a wait: how long, on the execution's clock."),
    Field(
        "until",
        read_text,
        _TEXT,
        "Of a wait: a time with its zone, by the wall clock. Of a loop: a condition, looked at after each iteration; "
        "once it is true the loop ends.",
    ),
    Field("any_of", read_timers, _TIMERS, "Of a wait: several of `duration`, `until` and `event`; the first ends it."),
    Field("schema", read_schema, _JSON_SCHEMA, "Of an input: JSON Schema of the answer."),
    Field("assignees", read_names, {"type": "array", "items": _NAME}, "Of an input: who may answer."),
    Field("default", read_anything, _SOMETHING, "Of an input: the answer where none came within its `timeout`."),
    Field("status", read_end_status, {"enum": list(END_STATUSES)}, "Of an end: how the execution ends."),
    Field(
        "output", read_anything, _SOMETHING, "Of an end: the output of the execution; text may hold `${expression}`."
    ),
    Field("message", read_text, _TEXT, "Of an end: why, where the status is not COMPLETED."),
    Field("body", read_object, {"$ref": "#/$defs/body"}, "Of a map, a loop or a parallel: the graph that it runs."),
    Field("items", read_items, _ITEMS, "Of a map: the list, or `${expression}` that gives it."),
    Field(
        "item_name", read_variable, _VARIABLE, "Of a map: what its body calls the item; `item` by default.", key="as"
    ),
    Field("max_concurrency", count(1), _whole(1), "Of a map: items under way at a time; all by default."),
    Field("tolerate", read_share, _SHARE, "Of a map: how many items may fail, or which share of them, such as `10%`."),
    Field(
        "complete_when",
        read_condition,
        _CONDITION,
        "Of a map: condition over `results completed failed total`; once it is true, the rest is cancelled.",
    ),
    Field("repeat_while", read_condition, _CONDITION, "Of a loop: looked at before each iteration.", key="while"),
    Field("max_iterations", count(1), _whole(1), "Of a loop: one more is a failure; 1000 by default."),
    Field("race", read_flag, _FLAG, "Of a parallel: the first leaf to succeed ends it, and the rest is cancelled."),
    _ON_FAILURE_FIELD,
    Field("workflow", read_id, _ID, "Id of the workflow that is run: by this node, or for each item or iteration."),
    Field("input", read_mapping, _MAPPING, "What that workflow is given; text may hold `${expression}`."),
    Field("wait_for", read_flag, _FLAG, "Of a workflow node: false starts the other and goes on."),
    Field("event", read_name, _NAME, "Of an event node: name of the event it waits for.", aliases=("name",)),
    Field("key", read_anything, _SOMETHING, "Of an event node: which of the events of that name; any by default."),
    Field("buffer", read_flag, _FLAG, "Of an event node: false drops an event that comes before the node waits."),
    Field(
        "cancel_rest",
        read_flag,
        _FLAG,
        "Once the join is met, nodes under way are cancelled all of whose ways on lead through it.",
    ),
)
"""Of a node's ``config``, and of the node itself."""

_HEAD_FIELDS: Final = (
    Field("id", read_id, _ID, "Unique; NFC, without control characters."),
    Field("type", choice(NodeType), _one_of(NodeType), "What the node does; `action` by default."),
    Field("title", read_text, _TEXT, "For people.", aliases=("name",)),
)
NODE_HEAD_KEYS: Final = table(*_HEAD_FIELDS)
"""Of the node alone, never of its ``config``."""

NODE_KEYS: Final = {**NODE_HEAD_KEYS, **CONFIG_KEYS, "name": NODE_HEAD_KEYS["name"]}
"""Of the node; `name` on the node itself is its title."""

GROUPS: Final = (NodeType.MAP, NodeType.LOOP, NodeType.PARALLEL)
"""Types of nodes that have bodies."""

BELONGS_TO: Final[dict[str, tuple[NodeType, ...]]] = {
    "mode": (NodeType.SWITCH,),
    "values": (NodeType.SET,),
    "duration": (NodeType.WAIT,),
    "until": (NodeType.WAIT, NodeType.LOOP),
    "any_of": (NodeType.WAIT,),
    "schema": (NodeType.INPUT,),
    "assignees": (NodeType.INPUT,),
    "default": (NodeType.INPUT,),
    "status": (NodeType.END,),
    "output": (NodeType.END,),
    "message": (NodeType.END,),
    "body": GROUPS,
    "items": (NodeType.MAP,),
    "item_name": (NodeType.MAP,),
    "max_concurrency": (NodeType.MAP,),
    "tolerate": (NodeType.MAP,),
    "complete_when": (NodeType.MAP,),
    "repeat_while": (NodeType.LOOP,),
    "max_iterations": (NodeType.LOOP,),
    "race": (NodeType.PARALLEL,),
    "on_failure": GROUPS,
    "workflow": (NodeType.WORKFLOW, NodeType.MAP, NodeType.LOOP),
    "input": (NodeType.WORKFLOW, NodeType.MAP, NodeType.LOOP),
    "wait_for": (NodeType.WORKFLOW,),
    "compensate": (NodeType.ACTION, NodeType.TRIGGER, NodeType.WORKFLOW),
    "event": (NodeType.EVENT,),
    "key": (NodeType.EVENT,),
    "buffer": (NodeType.EVENT,),
    "timeout_ms": (NodeType.ACTION, NodeType.TRIGGER, NodeType.INPUT, NodeType.EVENT, NodeType.WORKFLOW, *GROUPS),
}
"""Fields of some types of node only."""

OF_ACTIONS: Final = (
    "service",
    "action",
    "parameters",
    "total_timeout_ms",
    "queue_timeout_ms",
    "heartbeat_timeout_ms",
    "limits",
    "retry",
    "max_interruptions",
    "on_interrupted",
    "fallback",
    "on_exhausted",
    "input_schema",
    "output_schema",
)
"""Fields of nodes that call something. A trigger may carry them without effect, as existing applications write it."""

NEEDS: Final[dict[NodeType, tuple[tuple[str, ...], ...]]] = {
    NodeType.SET: (("values",),),
    NodeType.WAIT: (("duration", "until", "any_of"),),
    NodeType.EVENT: (("event",),),
    NodeType.WORKFLOW: (("workflow",),),
    NodeType.MAP: (("items",), ("body", "workflow")),
    NodeType.LOOP: (("body", "workflow"),),
    NodeType.PARALLEL: (("body",),),
}
"""A node of that type has exactly one of each."""

NEEDS_ANY: Final[dict[NodeType, tuple[str, ...]]] = {NodeType.LOOP: ("repeat_while", "until")}
"""A node of that type has one of them or several."""


STEP_KEYS: Final = {
    **NODE_KEYS,
    **table(
        Field("sequence_order", read_order, {"type": "number"}, "Place in the chain, where no step has `depends_on`."),
        Field(
            "depends_on",
            read_ids,
            {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]},
            "Ids of the steps before it.",
        ),
    ),
}
"""Of one of the ``steps`` of the linear form."""

CONNECTION_KEYS: Final = table(
    Field("source", read_text, _ID, "Id of the node it leaves."),
    Field("target", read_text, _ID, "Id of the node it enters."),
    Field("condition", read_condition, _CONDITION, "Expression that decides it, or `else`."),
    Field("outcome", choice(Outcome), _one_of(Outcome), "Which end of its source it follows; `success` by default."),
)

WORKFLOW_KEYS: Final = table(
    Field("id", read_id, _ID, "The workflow's name.", aliases=("workflow_id",)),
    Field("name", read_text, _TEXT, "For people."),
    Field("version", read_label, {"type": ["string", "integer"]}, "A label; executions are pinned to the content."),
    Field("input_schema", read_schema, _JSON_SCHEMA, "JSON Schema of the input."),
    Field("timeout_ms", read_bound, _DURATION, "Bound of the execution on its own clock; 0 for none.", key="timeout"),
    Field("max_concurrent_steps", count(1), _whole(1), "Of one execution, within the engine's own limit."),
    Field(
        "on_failure",
        choice(OnFailure),
        _one_of(OnFailure),
        "What happens to attempts in flight when an execution halts.",
    ),
    Field(
        "compensate_on_cancel",
        read_flag,
        _FLAG,
        "What completed steps did is undone also where the execution is cancelled.",
    ),
    Field("vars", read_object, _OBJECT, "Constants, read as `vars.NAME`."),
    Field("output", read_anything, {}, "Value with `${expression}` text; by default what the leaves give."),
)
"""Of the workflow, without what makes its graph."""

FORMAT_FIELD: Final = Field(
    "treadle", read_format_version, {"const": FORMAT_VERSION}, "Version of the format; absent means 1."
)
BODY_KEYS: Final = table(
    Field("output", read_anything, {}, "Value with `${expression}` text; by default what the leaves give."),
)
"""Of a body, without what makes its graph."""

GRAPH_KEYS: Final = ("defaults", "nodes", "connections", "steps")


def known_workflow_keys() -> tuple[str, ...]:
    """Return every key of a workflow, for hints."""
    return (FORMAT_FIELD.name, *WORKFLOW_KEYS, *GRAPH_KEYS)
