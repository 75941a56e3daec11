"""``Workflow`` to document: the one form documents are written back in.

A node's head stands on the node, everything else in its ``config``; what has its default is left out; durations are
written in the largest unit that says them exactly. Reading what is written here gives the same workflow.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from treadle.definition.fields import ELSE
from treadle.definition.keys import (
    BODY_KEYS,
    COMPENSATE_KEYS,
    CONFIG_KEYS,
    FALLBACK_KEYS,
    NODE_HEAD_KEYS,
    RETRY_KEYS,
    WORKFLOW_KEYS,
)
from treadle.definition.layout import Layout, Origin
from treadle.durations import format_duration
from treadle.model import (
    FORMAT_VERSION,
    Body,
    Compensation,
    Connection,
    Fallback,
    Join,
    JoinKind,
    Node,
    NodeLimit,
    RetryPolicy,
    Timer,
    Workflow,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from msgspec import Struct

    from treadle.definition.fields import Field
    from treadle.definition.problems import Path
    from treadle.model import JsonValue


def to_document(workflow: Workflow) -> dict[str, JsonValue]:
    """Return ``workflow`` as plain data in the form of a document, ready to be written as JSON or YAML.

    ``load_workflow(to_document(w)) == w`` for every valid workflow. Values within it are shared with ``workflow``.
    """
    return {
        "treadle": FORMAT_VERSION,
        **workflow.annotations,
        **_fields(workflow, WORKFLOW_KEYS.values()),
        **_graph(workflow),
    }


def _graph(graph: Workflow | Body) -> dict[str, JsonValue]:
    return {
        "nodes": [_node(one) for one in graph.nodes],
        "connections": [_connection(one) for one in graph.connections],
    }


def written_layout(workflow: Workflow) -> Layout:
    """Return where the parts of ``workflow`` stand in ``to_document(workflow)``."""
    at: dict[str, Path] = {field.name: (field.spellings[0],) for field in WORKFLOW_KEYS.values()}
    return _written_layout(workflow, Origin((), at))


def _written_layout(graph: Workflow | Body, top: Origin) -> Layout:
    base = top.base
    bodies = {
        place: _written_layout(node.body, Origin((*base, "nodes", place, "config", "body"), {"output": ("output",)}))
        for place, node in enumerate(graph.nodes)
        if node.body is not None
    }
    return Layout(
        top,
        [Origin((*base, "nodes", place), _NODE_PLACES) for place in range(len(graph.nodes))],
        [Origin((*base, "connections", place), _CONNECTION_PLACES) for place in range(len(graph.connections))],
        bodies,
    )


def _node(node: Node) -> dict[str, JsonValue]:
    config = _fields(node, CONFIG_KEYS.values())
    head = {**node.annotations, **_fields(node, NODE_HEAD_KEYS.values())}
    return {**head, "config": config} if config else head


def _connection(one: Connection) -> dict[str, JsonValue]:
    written: dict[str, JsonValue] = {**one.annotations, "source": one.source, "target": one.target}
    if one.condition is not None or one.otherwise:
        written["condition"] = ELSE if one.otherwise else one.condition
    if one.outcome is not _DEFAULT_CONNECTION.outcome:
        written["outcome"] = one.outcome.value
    return written


def _fields(value: Struct, fields: Iterable[Field]) -> dict[str, JsonValue]:
    """Return the fields that do not have their default, by the key that is written."""
    defaults = _DEFAULTS[type(value)]
    written = {}
    for field in fields:
        one = getattr(value, field.name)
        if one != defaults.get(field.name, _NO_DEFAULT):
            written[field.spellings[0]] = _written(field.name, one)
    return written


def _written(name: str, value: object) -> JsonValue:
    if (name.endswith("_ms") or name == "duration") and isinstance(value, int):
        return format_duration(value)
    match value:
        case Join(kind=JoinKind.AT_LEAST):
            return {"at_least": value.count}
        case Join():
            return value.kind.value
        case RetryPolicy() | Fallback() | Compensation():
            return _fields(value, _KEYS[type(value)].values())
        case Body():
            return {**_fields(value, BODY_KEYS.values()), **_graph(value)}
        case Enum():
            return value.value
        case NodeLimit():
            return _limit(value)
        case Timer():
            return _timer(value)
        case tuple():
            return [_written("", one) for one in value]
        case _:
            return value


def _limit(limit: NodeLimit) -> dict[str, JsonValue]:
    per = None if limit.rate is None else format_duration(limit.per_ms)
    written = {"key": limit.key, "concurrency": limit.concurrency, "rate": limit.rate, "per": per}
    return {"name": limit.name, **{name: one for name, one in written.items() if one is not None}}


def _timer(timer: Timer) -> dict[str, JsonValue]:
    if isinstance(timer.duration, int):
        return {"duration": format_duration(timer.duration)}
    written = {"duration": timer.duration, "until": timer.until, "event": timer.event or None, "key": timer.key}
    return {name: one for name, one in written.items() if one is not None}


def _defaults(kind: type[Struct]) -> Mapping[str, Any]:
    required = len(kind.__struct_fields__) - len(kind.__struct_defaults__)
    names = kind.__struct_fields__[required:]
    empty: dict[str, dict[str, JsonValue]] = {"parameters": {}, "annotations": {}, "vars": {}}
    given = zip(names, kind.__struct_defaults__, strict=True)
    return {name: one if one is None else empty.get(name, one) for name, one in given}


_KEYS: Final[dict[type[Struct], Mapping[str, Field]]] = {
    RetryPolicy: RETRY_KEYS,
    Fallback: FALLBACK_KEYS,
    Compensation: COMPENSATE_KEYS,
}
_NO_DEFAULT: Final = object()
_DEFAULTS: Final[dict[type[Struct], Mapping[str, Any]]] = {
    kind: _defaults(kind) for kind in (Workflow, Body, Node, Fallback, Compensation, RetryPolicy)
}
_DEFAULT_CONNECTION: Final = Connection("", "")
_NODE_PLACES: Final[dict[str, Path]] = {
    **{field.name: (field.spellings[0],) for field in NODE_HEAD_KEYS.values()},
    **{field.name: ("config", field.spellings[0]) for field in CONFIG_KEYS.values()},
}
_CONNECTION_PLACES: Final[dict[str, Path]] = {
    "otherwise": ("condition",),
    **{name: (name,) for name in ("source", "target", "condition", "outcome")},
}
