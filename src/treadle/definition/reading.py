"""Plain data to the model: both spellings of a node, the linear form, defaults, older conditions."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

from treadle.definition.fields import Fields
from treadle.errors import ExpressionError
from treadle.expressions import translate_condition
from treadle.model import (
    FORMAT_VERSION,
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

if TYPE_CHECKING:
    from treadle.model import JsonValue
    from treadle.settings import Settings

_KEPT: Final = frozenset(
    {
        "position",
        "metadata",
        "connectionId",
        "connection_id",
        "created_by",
        "created_at",
        "updated_at",
        "description",
        "icon",
        "style",
        "data",
        "label",
    }
)


def is_annotation(key: str) -> bool:
    """Tell whether a key is kept for editors, without meaning here."""
    return key.startswith("x_") or key in _KEPT


def read_workflow(fields: Fields, settings: Settings) -> Workflow:
    """Return the workflow that the fields of a document say; what is wrong is noted in ``fields.problems``."""
    problems = fields.problems
    version = fields.take("treadle", FORMAT_VERSION)
    if version != FORMAT_VERSION or isinstance(version, bool):
        problems.add("format", "treadle", f"this version reads format {FORMAT_VERSION}, not {version!r}")
    defaults = Fields(fields.take("defaults") or {}, "defaults", problems)
    timeout = defaults.duration("timeout", None)
    retry = _retry(defaults, RetryPolicy())
    defaults.rest(is_annotation)
    nodes = _each(fields, "nodes", settings.max_nodes)
    connections = [_connection(one) for one in _each(fields, "connections", settings.max_connections)]
    steps = _each(fields, "steps", settings.max_nodes)
    read = [_node(one, timeout, retry) for one in nodes]
    if steps and not nodes:
        read, connections = _linear(steps, timeout, retry)
    identity = fields.text("id") or fields.text("workflow_id")
    fields.take("workflow_id")
    if not identity:
        problems.add("required", "id", "a workflow needs an id")
    return Workflow(
        id=identity,
        nodes=tuple(read),
        connections=tuple(connections),
        name=fields.text("name"),
        version=fields.typed("version", (str, int), "text or a whole number", None),
        input_schema=fields.typed("input_schema", (dict, bool), "a JSON Schema", None),
        timeout_ms=fields.duration("timeout", None),
        max_concurrent_steps=fields.count("max_concurrent_steps", None, 1),
        on_failure=fields.choice("on_failure", OnFailure, OnFailure.WAIT),
        vars=fields.typed("vars", dict, "an object", {}),
        output=fields.take("output"),
        annotations=fields.rest(is_annotation),
    )


def _each(fields: Fields, key: str, limit: int) -> list[Fields]:
    value = fields.typed(key, list, "a list", [])
    if len(value) > limit:
        fields.problems.add("too_many", fields.at(key), f"{len(value):,} entries, more than the limit of {limit:,}")
        value = []
    return [Fields(one, f"{fields.at(key)}[{place}]", fields.problems) for place, one in enumerate(value)]


def _node(fields: Fields, timeout: int | None, retry: RetryPolicy) -> Node:
    """Read one node; ``config`` and the node itself are one namespace."""
    identity = fields.text("id")
    config = fields.take("config")
    if config is None:
        return _node_fields(identity, fields, fields, timeout, retry)
    inner = Fields(config, fields.at("config"), fields.problems)
    for key in inner.value.keys() & fields.value.keys():
        if inner.value[key] != fields.value[key]:
            fields.problems.add("twice", inner.at(key), f"{key!r} stands on the node with another value")
    for key in [key for key in fields.value if key not in ("id", "config", "type", "title", "name")]:
        if not is_annotation(key):
            inner.value = {key: fields.take(key), **inner.value}
    return _node_fields(identity, fields, inner, timeout, retry)


def _node_fields(identity: str, fields: Fields, config: Fields, timeout: int | None, retry: RetryPolicy) -> Node:
    kind = fields.choice("type", NodeType, NodeType.ACTION)
    is_action = kind is NodeType.ACTION
    node = Node(
        id=identity,
        type=kind,
        title=fields.text("title") or fields.text("name"),
        service=config.text("service"),
        action=config.text("action"),
        parameters=config.typed("parameters", dict, "an object", {}),
        condition=_condition(config),
        on_skip=config.choice("on_skip", OnSkip, OnSkip.DEAD),
        join=_join(config),
        timeout_ms=config.duration("timeout", timeout if is_action else None) or None,
        total_timeout_ms=config.duration("total_timeout", None),
        retry=_retry(config, retry),
        max_interruptions=config.count("max_interruptions", 10, 0) or 0,
        continue_on_error=config.typed("continue_on_error", bool, "true or false", False),
        input_schema=config.typed("input_schema", (dict, bool), "a JSON Schema", None),
        output_schema=config.typed("output_schema", (dict, bool), "a JSON Schema", None),
        annotations={},
    )
    fields.take("name")
    kept = config.rest(is_annotation)
    if config is not fields:
        kept = {**fields.rest(is_annotation), **kept}
    if is_action and not node.action:
        fields.problems.add("required", fields.path, "an action node needs an 'action'")
    return node if not kept else Node(**{**{f: getattr(node, f) for f in node.__struct_fields__}, "annotations": kept})


def _retry(fields: Fields, base: RetryPolicy) -> RetryPolicy:
    value = fields.take("retry")
    if value is None:
        return base
    inner = Fields(value, fields.at("retry"), fields.problems)
    backoff = inner.typed("backoff", (int, float), "a number of 1 or more", base.backoff)
    if backoff < 1:
        inner.problems.add("range", inner.at("backoff"), "must be 1 or more")
    names = inner.typed("non_retryable", list, "a list of class names", list(base.non_retryable))
    if not all(isinstance(name, str) for name in names):
        inner.problems.add("type", inner.at("non_retryable"), "must be a list of class names")
        names = []
    policy = RetryPolicy(
        max_attempts=inner.count("max_attempts", base.max_attempts, 0) or 0,
        initial_delay_ms=inner.duration("initial_delay", base.initial_delay_ms) or 0,
        backoff=float(backoff),
        max_delay_ms=inner.duration("max_delay", base.max_delay_ms) or 0,
        jitter=inner.choice("jitter", Jitter, base.jitter),
        non_retryable=tuple(names),
    )
    inner.rest(is_annotation)
    return policy


def _join(fields: Fields) -> Join:
    value = fields.take("join")
    if value is None:
        return Join()
    if isinstance(value, dict):
        inner = Fields(value, fields.at("join"), fields.problems)
        count = inner.count("at_least", 0, 1)
        if not count:
            inner.problems.add("required", inner.path, "a join is all, every, any or {at_least: n}")
        inner.rest(lambda _: False)
        return Join(JoinKind.AT_LEAST, count or 1)
    if value not in ("all", "every", "any"):
        fields.problems.add("choice", fields.at("join"), f"a join is all, every, any or {{at_least: n}}, not {value!r}")
        return Join()
    return Join(JoinKind(value))


def _condition(fields: Fields) -> str | None:
    value = fields.take("condition")
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        fields.problems.add("type", fields.at("condition"), "must be an expression")
        return None
    try:
        return translate_condition(value)
    except ExpressionError as error:
        fields.problems.add("expression", fields.at("condition"), f"{error.message} at column {error.column}")
        return None


def _connection(fields: Fields) -> Connection:
    otherwise = isinstance(fields.value.get("condition"), str) and fields.value["condition"].strip() == "else"
    connection: dict[str, Any] = {
        "source": fields.text("source"),
        "target": fields.text("target"),
        "condition": None if otherwise else _condition(fields),
        "otherwise": otherwise,
        "outcome": fields.choice("outcome", Outcome, Outcome.SUCCESS),
    }
    fields.take("condition")
    fields.take("id")
    return Connection(**connection, annotations=fields.rest(is_annotation))


def _linear(steps: list[Fields], timeout: int | None, retry: RetryPolicy) -> tuple[list[Node], list[Connection]]:
    """Read the linear form: a chain by ``sequence_order``, or a DAG where any step says ``depends_on``."""
    read: list[tuple[int, Node, list[JsonValue]]] = []
    for place, fields in enumerate(steps):
        order = fields.count("sequence_order", place + 1, 0) or 0
        depends = fields.typed("depends_on", list, "a list of ids", [])
        if "on_skip" not in fields.value:
            fields.value = {**fields.value, "on_skip": OnSkip.PASS.value}
        read.append((order, _node(fields, timeout, retry), depends))
    if not any(depends for _, _, depends in read):
        read.sort(key=lambda one: one[0])
        nodes = [node for _, node, _ in read]
        return nodes, [Connection(one.id, two.id) for one, two in itertools.pairwise(nodes)]
    connections = [Connection(str(source), node.id) for _, node, depends in read for source in depends]
    return [node for _, node, _ in read], connections
