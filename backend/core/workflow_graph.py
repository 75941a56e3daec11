"""Workflows as the application writes them: nodes and connections, and the steps they become."""

from __future__ import annotations

from collections import deque
from typing import Any, TypeAlias

Step: TypeAlias = dict[str, Any]
"""``id name sequence_order service action parameters continue_on_error timeout input_schema output_schema type``, and
where written: ``depends_on condition fallback_service connection_id retry``."""

WorkflowData: TypeAlias = dict[str, Any]
"""``id name created_by``, and ``steps`` or ``nodes`` with ``connections``."""

_OPTIONAL = ("retry", "fallback_service")


def convert_nodes_to_steps(workflow: WorkflowData) -> list[Step]:
    """Return a step for each node, every one behind those it is connected from; otherwise in the nodes' order.

    Raises:
        ValueError: The connections hold a cycle.
    """
    graph = build_execution_graph(workflow)
    nodes, adjacency = graph["nodes"], graph["adjacency"]
    undecided = {name: len(incoming) for name, incoming in graph["reverse_adjacency"].items()}
    agenda = deque(name for name, count in undecided.items() if not count)
    steps: list[Step] = []
    while agenda:
        name = agenda.popleft()
        steps.append(step_of_node(nodes[name], len(steps) + 1))
        for connection in adjacency[name]:
            undecided[connection["target"]] -= 1
            if not undecided[connection["target"]]:
                agenda.append(connection["target"])
    if len(steps) < len(nodes):
        stuck = ", ".join(str(name) for name, count in undecided.items() if count)
        raise ValueError(f"Circular dependency: a cycle keeps these nodes from ever starting: {stuck}")
    return steps


def step_of_node(node: dict[str, Any], sequence_order: int) -> Step:
    """Return the step that a node stands for."""
    config = node.get("config") or {}
    is_trigger = node.get("type") == "trigger"
    step = {
        "id": node["id"],
        "name": node.get("title", node["id"]),
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


def has_conditional_connections(workflow: WorkflowData) -> bool:
    """Tell whether any connection has a condition."""
    return any(bool(connection.get("condition")) for connection in workflow.get("connections") or ())


def dependencies_are_met(step: Step, state: dict[str, Any]) -> bool:
    """Tell whether every step that ``step`` depends on is COMPLETED."""
    known = state.get("steps") or {}
    return all((known.get(name) or {}).get("status") == "COMPLETED" for name in step.get("depends_on") or ())
