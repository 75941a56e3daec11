"""Workflows as the application writes them: nodes and connections, and the steps they become."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import treadle
from treadle.definition.graph import Graph

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Step: TypeAlias = dict[str, Any]
"""``id name sequence_order service action parameters continue_on_error timeout input_schema output_schema type``, and
where written: ``depends_on condition fallback_service connection_id retry``."""

WorkflowData: TypeAlias = dict[str, Any]
"""``id name created_by``, and ``steps`` or ``nodes`` with ``connections``."""

ACTION: Final = "execute_step"
"""What each node of treadle's workflow calls."""

_OPTIONAL = ("retry", "fallback_service")


def convert_nodes_to_steps(workflow: WorkflowData) -> list[Step]:
    """Return a step for each node, every one behind those it is connected from; otherwise in the nodes' order.

    Raises:
        ValueError: The connections hold a cycle.
    """
    graph = build_execution_graph(workflow)
    nodes = list(graph["nodes"].values())
    keys = keys_of(graph["nodes"])
    plain = [{"id": key, "action": ACTION} for key in keys.values()]
    loaded = load_workflow(plain, [between(keys, one) for one in known_connections(graph)], keys)
    order = Graph(loaded).order() or ()  # there is one: a cycle does not load
    return [step_of_node(nodes[place], number) for number, place in enumerate(order, 1)]


def keys_of(names: Iterable[Any]) -> dict[Any, str]:
    """Return what treadle calls each node of the application, whose ids may be anything."""
    return {name: f"s{place}" for place, name in enumerate(names)}


def load_workflow(
    nodes: list[dict[str, Any]], connections: list[dict[str, Any]], keys: Mapping[Any, str]
) -> treadle.Workflow:
    """Return treadle's workflow of nodes that go by ``keys``.

    Raises:
        ValueError: The connections hold a cycle, which is named by the application's ids.
        treadle.ValidationError: Something else is wrong with it.
    """
    try:
        return treadle.load_workflow({"id": "application", "nodes": nodes, "connections": connections})
    except treadle.ValidationError as error:
        cycles = [one.message for one in error.problems if one.code == "cycle"]
        if not cycles:
            raise
        names = {key: str(name) for name, key in keys.items()}
        raise ValueError(re.sub(r"\bs\d+\b", lambda found: names[found[0]], "; ".join(cycles))) from error


def step_of_node(node: dict[str, Any], sequence_order: int) -> Step:
    """Return the step that a node stands for."""
    config = node.get("config") or {}
    is_trigger = node.get("type") == "trigger"
    step = {
        "id": node["id"],
        "name": node.get("title") or node["id"],
        "sequence_order": sequence_order,
        "service": config.get("service", "default"),
        "action": config.get("action", "manual_trigger" if is_trigger else "default"),
        "parameters": config.get("parameters", {}),
        "continue_on_error": config.get("continue_on_error", False),
        "timeout": config.get("timeout"),
        "input_schema": config.get("input_schema", {}),
        "output_schema": config.get("output_schema", {}),
        "type": "trigger" if is_trigger else "action",
    }
    if config.get("connectionId") is not None:
        step["connection_id"] = config["connectionId"]
    return step | {key: config[key] for key in _OPTIONAL if key in config}


def build_execution_graph(workflow: WorkflowData) -> dict[str, Any]:
    """Return the graph of a workflow.

    Returns:
        ``nodes`` (id to node), ``connections`` (as given), ``adjacency`` and ``reverse_adjacency`` (id to the
        connections that leave and enter the node). A connection with an unknown end is in neither of the last two.
    """
    nodes = {node["id"]: node for node in workflow.get("nodes") or ()}
    connections = workflow.get("connections") or []
    adjacency: dict[str, list[dict[str, Any]]] = {name: [] for name in nodes}
    reverse_adjacency: dict[str, list[dict[str, Any]]] = {name: [] for name in nodes}
    for connection in connections:
        source, target = connection.get("source"), connection.get("target")
        if source in nodes and target in nodes:
            adjacency[source].append(connection)
            reverse_adjacency[target].append(connection)
    return {
        "nodes": nodes,
        "connections": connections,
        "adjacency": adjacency,
        "reverse_adjacency": reverse_adjacency,
    }


def known_connections(graph: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return the connections of ``build_execution_graph`` both of whose ends are known, by their sources."""
    return (one for leaving in graph["adjacency"].values() for one in leaving)


def between(keys: Mapping[Any, str], connection: dict[str, Any]) -> dict[str, Any]:
    """Return treadle's connection between the same nodes."""
    return {"source": keys[connection["source"]], "target": keys[connection["target"]]}


def has_conditional_connections(workflow: WorkflowData) -> bool:
    """Tell whether any connection has a condition."""
    return any(bool(connection.get("condition")) for connection in workflow.get("connections") or ())


def dependencies_are_met(step: Step, state: dict[str, Any]) -> bool:
    """Tell whether every step that ``step`` depends on is COMPLETED."""
    steps = state.get("steps")
    known = steps if isinstance(steps, dict) else {}
    entries = [known.get(name) for name in step.get("depends_on") or ()]
    return all(isinstance(entry, dict) and entry.get("status") == "COMPLETED" for entry in entries)
