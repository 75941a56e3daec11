"""The canonical bytes of a workflow, and the name that they give it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeVar

import msgspec

from treadle.model.workflow import Body, Node, RetryPolicy, Workflow

if TYPE_CHECKING:
    from treadle.model.values import JsonValue

_encoder = msgspec.json.Encoder(order="deterministic")

_decoder = msgspec.json.Decoder(Workflow)


def encode_workflow(workflow: Workflow) -> bytes:
    """Return the canonical bytes of ``workflow``: UTF-8 JSON, keys sorted, defaults left out."""
    return _encoder.encode(_canonical(workflow))


def decode_workflow(data: bytes) -> Workflow:
    """Return the workflow whose canonical bytes are ``data``.

    Raises:
        msgspec.ValidationError: ``data`` was not written by ``encode_workflow`` of this or an older version.
    """
    return _decoder.decode(data)


def definition_hash(workflow: Workflow) -> str:
    """Return the name of the content: 32 hex digits over the canonical bytes without annotations.

    Annotations (where a box stands in an editor) do not change what runs, so they do not change the name.
    """
    bare = _canonical(msgspec.structs.replace(workflow, annotations={}), annotations={})
    return hashlib.sha256(_encoder.encode(bare)).hexdigest()[:32]


_G = TypeVar("_G", Workflow, Body)


def _canonical(graph: _G, **fields: JsonValue) -> _G:
    """Return a graph whose every default is the very object that the encoder leaves out: it looks at no other equals.

    Args:
        graph: With the bodies within it.
        fields: What to set in every node and connection.
    """
    nodes = tuple(_canonical_node(node, fields) for node in graph.nodes)
    if not fields:
        return msgspec.structs.replace(graph, nodes=nodes)
    connections = tuple(msgspec.structs.replace(one, **fields) for one in graph.connections)
    return msgspec.structs.replace(graph, nodes=nodes, connections=connections)


def _canonical_node(node: Node, fields: dict[str, JsonValue]) -> Node:
    return msgspec.structs.replace(
        node,
        join=_NODE.join if node.join == _NODE.join else node.join,
        retry=_NODE.retry if node.retry == _NODE.retry else _with_defaults(node.retry),
        max_iterations=_NODE.max_iterations if node.max_iterations == _NODE.max_iterations else node.max_iterations,
        body=node.body and _canonical(node.body, **fields),
        **fields,
    )


def _with_defaults(policy: RetryPolicy) -> RetryPolicy:
    same = {name: default for name, default in _RETRY_DEFAULTS.items() if getattr(policy, name) == default}
    return msgspec.structs.replace(policy, **same)


_NODE = Node("")

_RETRY_DEFAULTS = {name: getattr(_NODE.retry, name) for name in RetryPolicy.__struct_fields__}
