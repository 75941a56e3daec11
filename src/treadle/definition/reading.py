"""Plain data to ``Workflow``: both spellings of a node, defaults merged, every problem noted and none of them final.

What cannot be used is left out or replaced by its default, so that validation can go on over the rest and all problems
are told at once; a workflow that was read with errors is never handed out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from treadle.definition.fields import (
    ELSE,
    UNREAD,
    Field,
    Spot,
    is_annotation,
    read_condition,
    read_time,
    unknown_key,
)
from treadle.definition.keys import (
    BELONGS_TO,
    BODY_KEYS,
    CONFIG_KEYS,
    CONNECTION_KEYS,
    DEFAULTS_KEYS,
    FORMAT_FIELD,
    GRAPH_KEYS,
    NEEDS,
    NEEDS_ANY,
    NODE_HEAD_KEYS,
    NODE_KEYS,
    OF_ACTIONS,
    WORKFLOW_KEYS,
    known_workflow_keys,
)
from treadle.definition.layout import NOWHERE, Layout, Origin, ReadNode, layout_of
from treadle.definition.linear import read_steps
from treadle.definition.problems import Findings, Nearest, path_text, quoted
from treadle.model import Body, Compensation, Connection, Fallback, Node, NodeType, RetryPolicy, Workflow
from treadle.values import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from treadle.definition.problems import Path
    from treadle.model import JsonValue
    from treadle.settings import Settings

    ReadBody = Callable[[dict[str, JsonValue], Spot], tuple[Body, Layout]]

_CONFIG: Final = "config"


class Reading(NamedTuple):
    """What reading gave.

    Attributes:
        workflow: As far as it could be read; usable only if no error was noted. None if there is nothing of use.
        layout: Where its parts stand.
        is_whole: No node and no connection had to be left out, so that questions about the graph make sense.
    """

    workflow: Workflow | None
    layout: Layout
    is_whole: bool


class Entry(NamedTuple):
    """A value under a known key, and its place below the object."""

    field: Field
    value: JsonValue
    at: Path


def read_workflow(document: JsonValue, settings: Settings, findings: Findings) -> Reading:
    """Return the workflow that ``document`` says, as far as it can be read."""
    spot = Spot(findings, Nearest(), ())
    if not isinstance(document, dict):
        spot.error("wrong_type", f"a workflow is an object, not {kind_of(document)}")
        return Reading(None, NOWHERE, is_whole=False)
    return _WorkflowReader(document, spot, settings).read()


class _WorkflowReader:
    def __init__(self, document: dict[str, JsonValue], spot: Spot, settings: Settings) -> None:
        self._document = document
        self._spot = spot
        self._settings = settings
        self._is_whole = True
        self._defaults: dict[str, Any] = {}
        self._nodes_left = settings.max_nodes
        self._connections_left = settings.max_connections

    def read(self) -> Reading:
        fields, at = self._head()
        self._defaults = _read_defaults(self._document.get("defaults"), self._spot.below("defaults"))
        nodes, connections = self._graph()
        workflow = Workflow(**{"id": "", **fields}, **_parts(nodes, connections))
        layout = layout_of(Origin((), at), nodes, [origin for _, origin in connections])
        return Reading(workflow, layout, self._is_whole)

    def _head(self) -> tuple[dict[str, Any], dict[str, Path]]:
        entries: dict[str, Entry] = {}
        others = gather(self._document, {FORMAT_FIELD.name: FORMAT_FIELD, **WORKFLOW_KEYS}, self._spot, (), entries)
        fields, at = read_entries(entries, self._spot)
        fields.pop(FORMAT_FIELD.name, None)
        annotations = {}
        for key in others:
            if is_annotation(key):
                annotations[key] = self._document[key]
            elif key not in GRAPH_KEYS:
                unknown_key(self._spot, key, known_workflow_keys())
        if annotations:
            fields["annotations"] = annotations
        if "id" not in entries:
            self._spot.error("missing_key", 'the key "id" is missing: a workflow needs an id')
        return fields, at

    def _graph(self) -> tuple[list[ReadNode], list[tuple[Connection, Origin]]]:
        given = [key for key in ("nodes", "connections", "steps") if self._document.get(key) is not None]
        if "steps" not in given:
            if "nodes" not in given:
                self._spot.error("missing_key", 'the key "nodes" is missing: a workflow needs nodes')
            return self._nodes(self._document, self._spot), self._connections(self._document, self._spot)
        if len(given) > 1:
            message = f'"steps" is the linear form of a workflow and does not go together with "{given[0]}"'
            self._spot.error("conflict", message, "steps", on_key=True)
        steps = self._items(self._document, self._spot, "steps", self._nodes_left)
        nodes, connections = read_steps(steps, self._read_node)
        return nodes, connections

    def _nodes(self, raw: Mapping[str, JsonValue], spot: Spot) -> list[ReadNode]:
        items = self._items(raw, spot, "nodes", self._nodes_left)
        self._nodes_left -= len(items)
        read = [self._read_node(one, below, NODE_KEYS) for one, below in items]
        return [one for one in read if one is not None]

    def _connections(self, raw: Mapping[str, JsonValue], spot: Spot) -> list[tuple[Connection, Origin]]:
        items = self._items(raw, spot, "connections", self._connections_left)
        self._connections_left -= len(items)
        read = [_read_connection(one, below) for one, below in items]
        self._is_whole = self._is_whole and None not in read
        return [one for one in read if one is not None]

    def _items(self, raw: Mapping[str, JsonValue], above: Spot, key: str, limit: int) -> list[tuple[JsonValue, Spot]]:
        """Return the elements of a list of a graph, each with its spot."""
        value = raw.get(key)
        spot = above.below(key)
        if isinstance(value, list) and len(value) <= limit:
            return [(one, spot.below(index)) for index, one in enumerate(value)]
        if isinstance(value, list):
            spot.error("too_many", f"{len(value):,} {key}, more than the limit of {limit:,}")
        elif value is not None:
            spot.wrong_type("a list", value)
        self._is_whole = self._is_whole and value is None
        return []

    def _read_node(self, raw: JsonValue, spot: Spot, keys: Mapping[str, Field]) -> ReadNode | None:
        read = read_node(raw, spot, keys, self._defaults, self._body)
        self._is_whole = self._is_whole and read is not None
        return read

    def _body(self, raw: dict[str, JsonValue], spot: Spot) -> tuple[Body, Layout]:
        """Return the body of a node."""
        entries: dict[str, Entry] = {}
        for key in gather(raw, BODY_KEYS, spot, (), entries):
            if key not in _BODY_PARTS and not is_annotation(key):
                unknown_key(spot, key, (*_BODY_PARTS, *BODY_KEYS))
        fields, at = read_entries(entries, spot)
        if raw.get("nodes") in (None, []):
            spot.error("missing_key", 'the key "nodes" is missing: a body needs at least one node')
        nodes, connections = self._nodes(raw, spot), self._connections(raw, spot)
        body = Body(**fields, **_parts(nodes, connections))
        return body, layout_of(Origin(spot.base, at), nodes, [origin for _, origin in connections])


_BODY_PARTS: Final = ("nodes", "connections")


def _parts(nodes: list[ReadNode], connections: list[tuple[Connection, Origin]]) -> dict[str, Any]:
    return {"nodes": tuple(one.node for one in nodes), "connections": tuple(one for one, _ in connections)}


def read_node(
    raw: JsonValue, spot: Spot, keys: Mapping[str, Field], defaults: dict[str, Any], read_body: ReadBody
) -> ReadNode | None:
    """Return one node; None if it has no id by which the rest could know it."""
    if not isinstance(raw, dict):
        spot.wrong_type("an object", raw)
        return None
    entries: dict[str, Entry] = {}
    annotations = _gather_node(raw, spot, keys, entries)
    fields, at = read_entries(entries, spot)
    if "id" not in entries:
        spot.error("missing_key", 'the key "id" is missing: a node needs an id')
        return None
    if not isinstance(entries["id"].value, str):
        return None
    # An id that was refused still tells which connections are meant.
    fields.setdefault("id", entries["id"].value)
    extra: dict[str, Any] = {name: fields.pop(name) for name in ("sequence_order", "depends_on") if name in fields}
    _check_type(fields, entries, spot)
    _read_until(fields, entries, spot)
    kind = fields.get("type", NodeType.ACTION if "type" not in entries else None)
    if kind is NodeType.ACTION:
        _require_action(entries, spot)
    _apply_defaults(fields, defaults if kind is NodeType.ACTION else {}, given=entries)
    _complete_calls(fields, defaults if kind in (NodeType.ACTION, NodeType.WORKFLOW) else {})
    body = None
    if "body" in fields:
        fields["body"], body = read_body(fields["body"], spot.below(*at["body"]))
    node = Node(**fields, annotations=annotations)
    return ReadNode(node, Origin(spot.base, at), extra, body)


def _read_until(fields: dict[str, Any], entries: dict[str, Entry], spot: Spot) -> None:
    """Read what ``until`` says to this type of node: a time, or (of a loop) a condition."""
    if "until" in fields:
        read = read_condition if fields.get("type") is NodeType.LOOP else read_time
        value = read(fields.pop("until"), spot.below(*entries["until"].at))
        if value is not UNREAD:
            fields["until"] = value


def gather(
    raw: Mapping[str, JsonValue], keys: Mapping[str, Field], spot: Spot, at: Path, entries: dict[str, Entry]
) -> list[str]:
    """Put the known keys of ``raw`` into ``entries`` by field; null is as if the key were not there.

    Returns:
        The keys that the table does not know.
    """
    others = []
    for key, value in raw.items():
        field = keys.get(key)
        if field is None:
            others.append(key)
        elif value is not None:
            known = entries.setdefault(field.name, Entry(field, value, (*at, key)))
            if known.value != value:
                other = path_text((*spot.base, *known.at))
                message = f"{quoted(key)} is given twice with different values; the other is {other}"
                spot.error("conflict", message, *at, key, hint="keep one of the two", on_key=True)
    return others


def read_entries(entries: dict[str, Entry], spot: Spot) -> tuple[dict[str, Any], dict[str, Path]]:
    """Return the values that could be read by field, and the places of all."""
    fields = {}
    for name, (field, value, at) in entries.items():
        read = field.read(value, spot.below(*at))
        if read is not UNREAD:
            fields[name] = read
    return fields, {name: entry.at for name, entry in entries.items()}


def _gather_node(
    raw: dict[str, JsonValue], spot: Spot, keys: Mapping[str, Field], entries: dict[str, Entry]
) -> dict[str, JsonValue]:
    """Gather the fields of a node and of its ``config``, and return its annotations."""
    annotations: dict[str, JsonValue] = {}
    for key in gather(raw, keys, spot, (), entries):
        if is_annotation(key):
            annotations[key] = raw[key]
        elif key != _CONFIG:
            unknown_key(spot, key, (*keys, _CONFIG))
    config = raw.get(_CONFIG)
    if config is None:
        return annotations
    if not isinstance(config, dict):
        spot.below(_CONFIG).wrong_type("an object", config)
        return annotations
    for key in gather(config, CONFIG_KEYS, spot, (_CONFIG,), entries):
        if not is_annotation(key):
            hint = f'"{key}" stands on the node itself, beside "config"' if key in NODE_HEAD_KEYS else ""
            unknown_key(spot.below(_CONFIG), key, CONFIG_KEYS, hint)
        elif annotations.setdefault(key, config[key]) != config[key]:
            message = f"{quoted(key)} is given twice with different values"
            spot.error("conflict", message, _CONFIG, key, hint="keep one of the two", on_key=True)
    return annotations


def _check_type(fields: dict[str, Any], entries: dict[str, Entry], spot: Spot) -> None:
    """Report fields of another type of node, and what a node of this type lacks."""
    kind = fields.get("type", NodeType.ACTION)
    if "type" in entries and "type" not in fields:
        return  # which was reported
    calls = kind in (NodeType.ACTION, NodeType.TRIGGER)
    for name, entry in entries.items():
        of = BELONGS_TO.get(name, (kind,) if calls or name not in OF_ACTIONS else (NodeType.ACTION,))
        if kind not in of:
            known = [one.value for one in of if one is not NodeType.TRIGGER]
            types = " or ".join(filter(None, (", ".join(known[:-1]), known[-1])))
            message = f"{quoted(str(entry.at[-1]))} belongs to a node of type {types}, not {kind.value}"
            spot.error("misplaced_key", message, *entry.at, on_key=True)
    for needed in NEEDS.get(kind, ()):
        if sum(name in entries for name in needed) != 1:
            what = f"exactly one of {_keys(needed)}" if len(needed) > 1 else f'the key "{_keys(needed)}"'
            spot.error("missing_key", f"a node of type {kind.value} needs {what}")
    wanted = NEEDS_ANY.get(kind, ())
    if wanted and not any(name in entries and not _is_blank(entries[name].value) for name in wanted):
        spot.error("missing_key", f"a node of type {kind.value} needs {' or '.join(map(_key, wanted))}")


def _is_blank(value: JsonValue) -> bool:
    """Tell whether a condition is none."""
    return isinstance(value, str) and not value.strip()


def _key(name: str) -> str:
    """Return how a field is written."""
    return next(field.spellings[0] for field in CONFIG_KEYS.values() if field.name == name)


def _keys(names: Iterable[str]) -> str:
    return ", ".join(map(_key, names))


def _require_action(entries: dict[str, Entry], spot: Spot) -> None:
    action = entries.get("action")
    if action is None or action.value == "":
        at = action.at if action else ()
        spot.error("missing_key", 'the key "action" is missing: an action node names what it calls', *at)


def _apply_defaults(fields: dict[str, Any], defaults: dict[str, Any], given: Collection[str]) -> None:
    """Complete the fields of a node; a timeout of 0 was given, and means none."""
    missing = (name for name in defaults if name != "retry" and name not in given)
    fields.update({name: defaults[name] for name in missing if defaults[name] is not None})
    _complete_retry(fields, defaults)


def _complete_calls(fields: dict[str, Any], defaults: dict[str, Any]) -> None:
    """Complete what a node calls besides its action."""
    if "fallback" in fields:
        fields["fallback"] = Fallback(**_call(fields["fallback"], defaults))
    if "compensate" in fields:
        fields["compensate"] = Compensation(**_call(fields["compensate"], defaults))


def _call(given: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a fallback or a compensation; the defaults of action nodes hold for each of their calls."""
    if defaults.get("timeout_ms") is not None:
        given.setdefault("timeout_ms", defaults["timeout_ms"])
    _complete_retry(given, defaults)
    if "compensate" in given:
        given["compensate"] = Compensation(**_call(given["compensate"], defaults))
    return given


def _complete_retry(fields: dict[str, Any], defaults: dict[str, Any]) -> None:
    retry = {**defaults.get("retry", {}), **fields.pop("retry", {})}
    if retry:
        fields["retry"] = RetryPolicy(**retry)


def _read_defaults(raw: JsonValue, spot: Spot) -> dict[str, Any]:
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        spot.wrong_type("an object", raw)
        return {}
    entries: dict[str, Entry] = {}
    for key in gather(raw, DEFAULTS_KEYS, spot, (), entries):
        unknown_key(spot, key, DEFAULTS_KEYS)
    return read_entries(entries, spot)[0]


def _read_connection(raw: JsonValue, spot: Spot) -> tuple[Connection, Origin] | None:
    """Return one connection; None if an end is missing."""
    if not isinstance(raw, dict):
        spot.wrong_type("an object", raw)
        return None
    entries: dict[str, Entry] = {}
    annotations = {}
    for key in gather(raw, CONNECTION_KEYS, spot, (), entries):
        if is_annotation(key, of_connection=True):
            annotations[key] = raw[key]
        else:
            unknown_key(spot, key, CONNECTION_KEYS)
    fields, at = read_entries(entries, spot)
    for end in ("source", "target"):
        if end not in entries:
            spot.error("missing_key", f'the key "{end}" is missing: a connection has a source and a target')
    if "source" not in fields or "target" not in fields:
        return None
    condition = fields.get("condition")
    if isinstance(condition, str) and condition.strip() == ELSE:
        fields.update(condition=None, otherwise=True)
        at["otherwise"] = at["condition"]
    return Connection(**fields, annotations=annotations), Origin(spot.base, at)
