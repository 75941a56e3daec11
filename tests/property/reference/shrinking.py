"""From a workflow and a script that disagree to the smallest that still do: what can be dropped is, time and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from treadle.model import Body, Connection, Join, JoinKind, Node, RetryPolicy, Workflow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.property.reference.drawing import Move

PLAIN = Node("plain")
KEPT = ("id", "type", "action", "body", "values", "duration", "until", "any_of", "items", "repeat_while", "event")
KEPT += ("max_iterations",)  # 1000 by default, which a slow interpreter does not play
"""Fields without which a node of some type would be none."""


def shrink(
    workflow: Workflow, script: list[Move], fails: Callable[[Workflow, list[Move]], bool]
) -> tuple[Workflow, list[Move]]:
    """Return the smallest that still fails, as far as dropping one thing at a time leads.

    Args:
        workflow: One that fails with the script.
        script: See ``workflow``.
        fails: Tells whether a pair does.
    """
    while True:
        for smaller in _smaller(workflow, script):
            if fails(*smaller):
                workflow, script = smaller
                break
        else:
            return workflow, script


def _smaller(workflow: Workflow, script: list[Move]) -> Iterator[tuple[Workflow, list[Move]]]:
    size = len(script)
    while size:
        for at in range(0, len(script), size):
            yield workflow, script[:at] + script[at + size :]
        size //= 2
    for one in _smaller_graphs(workflow):
        yield one, script
    for field in ("timeout_ms", "output", "on_failure"):
        if getattr(workflow, field) != getattr(Workflow("plain"), field):
            yield replace(workflow, **{field: getattr(Workflow("plain"), field)}), script
    for at, (kind, which, detail) in enumerate(script):
        for simpler in ((kind, 0, detail), (kind, which, 0), (kind, which // 2, detail), (kind, which, detail // 2)):
            if simpler != script[at]:
                yield workflow, [*script[:at], simpler, *script[at + 1 :]]


def _smaller_graphs(graph: Any) -> Iterator[Any]:
    """Yield a workflow or a body with one node, connection or field less."""
    for node in graph.nodes:
        if len(graph.nodes) > 1:
            nodes = tuple(one for one in graph.nodes if one is not node)
            yield _joined(
                graph, nodes, tuple(one for one in graph.connections if node.id not in {one.source, one.target})
            )
    for at in range(len(graph.connections)):
        yield _joined(graph, graph.nodes, graph.connections[:at] + graph.connections[at + 1 :])
    for at, one in enumerate(graph.connections):
        plain = Connection(one.source, one.target)
        for simpler in (plain, replace(plain, condition="false"), replace(one, condition=None, otherwise=False)):
            if simpler != one and one not in (plain, replace(plain, condition="false")):
                yield replace(graph, connections=(*graph.connections[:at], simpler, *graph.connections[at + 1 :]))
    for at, node in enumerate(graph.nodes):
        for simpler in _simpler_nodes(node):
            yield replace(graph, nodes=(*graph.nodes[:at], simpler, *graph.nodes[at + 1 :]))
    if isinstance(graph, Body) and graph.output is not None:
        yield replace(graph, output=None)


def _joined(graph: Any, nodes: tuple[Node, ...], connections: tuple[Connection, ...]) -> Any:
    """Return a graph with joins that can still be met."""
    made = []
    for node in nodes:
        incoming = sum(one.target == node.id for one in connections)
        if node.join.kind is JoinKind.AT_LEAST and node.join.count > incoming:
            made.append(replace(node, join=Join(JoinKind.AT_LEAST, incoming) if incoming else Join()))
        else:
            made.append(node)
    return replace(graph, nodes=tuple(made), connections=connections)


def _simpler_nodes(node: Node) -> Iterator[Node]:
    if node.action and node.retry != RetryPolicy(max_attempts=1):
        yield replace(node, retry=RetryPolicy(max_attempts=1))
    for field in node.__struct_fields__:
        plain = getattr(PLAIN, field)
        if field not in KEPT and field != "retry" and getattr(node, field) != plain:
            yield replace(node, **{field: plain})
    if isinstance(node.items, list) and node.items:
        yield replace(node, items=node.items[1:])
        yield replace(node, items=node.items[:-1])
    if node.type.value != "action":
        yield Node(node.id, action="act", join=node.join, retry=RetryPolicy(max_attempts=1))
    if node.body is not None:
        for body in _smaller_graphs(node.body):
            yield replace(node, body=body)
