"""A workflow as Mermaid text: GitHub, GitLab and most editors draw it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from treadle.model import JoinKind, NodeType, Outcome, StepStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from treadle.model import Connection, Node, Workflow

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
        statuses: Status by node id, to colour the nodes of an execution; a node without one keeps its plain look.
    """
    names = {node.id: f"n{index}" for index, node in enumerate(workflow.nodes)}
    lines = ["flowchart TD"]
    lines += [f"    {names[node.id]}{_shape(node)}" for node in workflow.nodes]
    lines += [f"    {names[one.source]} {_arrow(one)} {names[one.target]}" for one in workflow.connections]
    return "\n".join(lines + _colours(names, statuses or {}))


def _shape(node: Node) -> str:
    title = _text(node.title or node.id)
    if node.join.kind is not JoinKind.ALL:
        count = f" {node.join.count}" if node.join.kind is JoinKind.AT_LEAST else ""
        title += f"<br/><i>{node.join.kind.value.replace('_', ' ')}{count}</i>"
    opening, closing = _SHAPES.get(node.type, ("[", "]"))
    return f'{opening}"{title}"{closing}'


_SHAPES: Final = {
    NodeType.TRIGGER: ("([", "])"),
    NodeType.SWITCH: ("{", "}"),
    NodeType.SET: ("[/", "/]"),
    NodeType.WAIT: ("{{", "}}"),
    NodeType.INPUT: ("[\\", "\\]"),
    NodeType.END: ("(((", ")))"),
}


def _arrow(connection: Connection) -> str:
    words = [] if connection.outcome is Outcome.SUCCESS else [connection.outcome.value]
    if connection.otherwise:
        words.append("else")
    elif connection.condition is not None:
        words.append(connection.condition)
    line = "-.->" if connection.outcome is Outcome.FAILURE else "-->"
    return f'{line}|"{_text(": ".join(words))}"|' if words else line


def _colours(names: Mapping[str, str], statuses: Mapping[str, StepStatus]) -> list[str]:
    lines: list[str] = []
    for status, style in COLOURS.items():
        members = [names[node] for node, its in statuses.items() if its is status and node in names]
        if members:
            lines += [f"    classDef {status.value} {style}", f"    class {','.join(members)} {status.value}"]
    return lines


def _text(text: str) -> str:
    """Return text as Mermaid shows it literally: every character that could end a label or be markup as an entity."""
    short = text if len(text) <= _LONGEST_LABEL else f"{text[: _LONGEST_LABEL - 1]}…"
    plain = "".join(one if one.isprintable() else " " for one in short)
    return "".join(one if one.isalnum() or one in _SAFE else f"#{ord(one)};" for one in plain)


_SAFE: Final = " .,:+-_=/()…"
