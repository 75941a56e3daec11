"""A workflow as Mermaid text: GitHub, GitLab and most editors draw it. A body is a subgraph, within others too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from treadle.model import JoinKind, NodeType, Outcome, StepStatus
from treadle.paths import all_nodes, node_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from treadle.model import Body, Connection, Node, Workflow

COLOURS: Final = {
    StepStatus.RUNNING: "fill:#cfe8ff,stroke:#1f6feb,color:#000",
    StepStatus.WAITING: "fill:#fff3c4,stroke:#b08800,color:#000",
    StepStatus.PAUSED: "fill:#fff3c4,stroke:#b08800,color:#000",
    StepStatus.COMPLETED: "fill:#d2f4d9,stroke:#1a7f37,color:#000",
    StepStatus.FAILED: "fill:#ffd7d5,stroke:#cf222e,color:#000",
    StepStatus.TIMED_OUT: "fill:#ffd7d5,stroke:#cf222e,color:#000",
    StepStatus.SKIPPED: "fill:#f0f0f0,stroke:#8c959f,color:#57606a",
    StepStatus.CANCELLED: "fill:#f0f0f0,stroke:#8c959f,color:#57606a",
}

_LONGEST_LABEL: Final = 60


def to_mermaid(workflow: Workflow, statuses: Mapping[str, StepStatus] | None = None) -> str:
    """Return the graph of a workflow.

    Args:
        workflow: Valid.
        statuses: Status by step, to colour the nodes of an execution; a node without one keeps its plain look, and so
            does one within a map whose items differ.
    """
    lines = ["flowchart TD", *_graph(workflow, "n", "    ")]
    return "\n".join(lines + _colours(workflow, statuses or {}))


def _graph(graph: Workflow | Body, prefix: str, indent: str) -> Iterator[str]:
    """Yield the nodes of a graph, then its connections; nodes are called ``n0``, and within bodies ``n0_1``."""
    names = {node.id: f"{prefix}{index}" for index, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        name = names[node.id]
        if node.body is None:
            yield f"{indent}{name}{_shape(node)}"
        else:
            yield f'{indent}subgraph {name}["{_label(node)}"]'
            yield from _graph(node.body, f"{name}_", f"{indent}    ")
            yield f"{indent}end"
    yield from (f"{indent}{names[one.source]} {_arrow(one)} {names[one.target]}" for one in graph.connections)


def _shape(node: Node) -> str:
    opening, closing = _SHAPES.get(node.type, ("[", "]"))
    return f'{opening}"{_label(node)}"{closing}'


_CALL: Final = ("[[", "]]")
_SHAPES: Final = {
    NodeType.TRIGGER: ("([", "])"),
    NodeType.SWITCH: ("{", "}"),
    NodeType.SET: ("[/", "/]"),
    NodeType.WAIT: ("{{", "}}"),
    NodeType.EVENT: (">", "]"),
    NodeType.INPUT: ("[\\", "\\]"),
    NodeType.END: ("(((", ")))"),
    NodeType.WORKFLOW: _CALL,
    NodeType.MAP: _CALL,
    NodeType.LOOP: _CALL,
}


def _label(node: Node) -> str:
    return "<br/>".join([_text(node.title or node.id), *(f"<i>{_text(words)}</i>" for words in _remarks(node))])


def _remarks(node: Node) -> Iterator[str]:
    """Yield what else there is to say about a node: how it repeats, what it runs, when it runs."""
    match node.type:
        case NodeType.MAP:
            at_a_time = f", {node.max_concurrency} at a time" if node.max_concurrency else ""
            yield f"for each {node.item_name or 'item'}{at_a_time}"
        case NodeType.LOOP:
            whiles = [f"while {node.repeat_while}"] if node.repeat_while else []
            yield ", ".join([*whiles, *([f"until {node.until}"] if node.until else [])])
        case NodeType.PARALLEL if node.race:
            yield "race"
        case _:
            pass
    if node.workflow:
        yield f"workflow {node.workflow}"
    if node.join.kind is not JoinKind.ALL:
        count = f" {node.join.count}" if node.join.kind is JoinKind.AT_LEAST else ""
        yield f"{node.join.kind.value.replace('_', ' ')}{count}"


def _arrow(connection: Connection) -> str:
    words = [] if connection.outcome is Outcome.SUCCESS else [connection.outcome.value]
    if connection.otherwise:
        words.append("else")
    elif connection.condition is not None:
        words.append(connection.condition)
    line = "-.->" if connection.outcome is Outcome.FAILURE else "-->"
    return f'{line}|"{_text(": ".join(words))}"|' if words else line


def _colours(workflow: Workflow, statuses: Mapping[str, StepStatus]) -> list[str]:
    by_path = _agreed(workflow, statuses)
    found = [by_path.get(path) for path, _ in all_nodes(workflow)]
    names = list(_names(workflow, "n"))
    lines: list[str] = []
    for status, style in COLOURS.items():
        members = [name for name, its in zip(names, found, strict=True) if its is status]
        if members:
            lines += [f"    classDef {status.value} {style}", f"    class {','.join(members)} {status.value}"]
    return lines


def _agreed(workflow: Workflow, statuses: Mapping[str, StepStatus]) -> dict[str, StepStatus | None]:
    """Return the status of each node by its path; None where steps of it differ."""
    top = {node.id for node in workflow.nodes}
    found: dict[str, StepStatus | None] = {}
    for step, status in statuses.items():
        path = node_path(step, top)
        found[path] = status if found.get(path, status) is status else None
    return found


def _names(graph: Workflow | Body, prefix: str) -> Iterator[str]:
    """Yield the name of every node in the order of ``all_nodes``."""
    for index, node in enumerate(graph.nodes):
        yield f"{prefix}{index}"
        if node.body is not None:
            yield from _names(node.body, f"{prefix}{index}_")


def _text(text: str) -> str:
    """Return text as Mermaid shows it literally: every character that could end a label or be markup as an entity."""
    short = text if len(text) <= _LONGEST_LABEL else f"{text[: _LONGEST_LABEL - 1]}…"
    plain = "".join(one if one.isprintable() else " " for one in short)
    return "".join(one if one.isalnum() or one in _SAFE else f"#{ord(one)};" for one in plain)


_SAFE: Final = " .,:+-_=/()…"
