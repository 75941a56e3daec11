"""The graph as Mermaid text: every label is shown as it is written, and none can end its box."""

from __future__ import annotations

import re

import pytest

from treadle import StepStatus, load_workflow, to_mermaid

WORKFLOW = load_workflow(
    {
        "id": "w",
        "nodes": [
            {"id": "in", "type": "trigger"},
            {"id": "a", "action": "x", "title": "Say: hello"},
            {"id": "b", "action": "x"},
            {"id": "c", "action": "x", "join": "any"},
            {"id": "d", "action": "x", "join": {"at_least": 2}},
        ],
        "connections": [
            {"source": "in", "target": "a", "condition": "input.n > 1"},
            {"source": "in", "target": "b", "condition": "else"},
            {"source": "a", "target": "c"},
            {"source": "b", "target": "c", "outcome": "failure"},
            {"source": "a", "target": "d"},
            {"source": "b", "target": "d", "outcome": "always"},
        ],
    }
)


def test_nodes_joins_conditions_and_outcomes_are_told_apart() -> None:
    assert to_mermaid(WORKFLOW, {"a": StepStatus.FAILED, "gone": StepStatus.FAILED}) == (
        """flowchart TD
    n0(["in"])
    n1["Say: hello"]
    n2["b"]
    n3["c<br/><i>any</i>"]
    n4["d<br/><i>at least 2</i>"]
    n0 -->|"input.n #62; 1"| n1
    n0 -->|"else"| n2
    n1 --> n3
    n2 -.->|"failure"| n3
    n1 --> n4
    n2 -->|"always"| n4
    classDef FAILED fill:#ffd7d5,stroke:#cf222e,color:#000
    class n1 FAILED"""
    )


@pytest.mark.parametrize("title", ['"]; click n0 "javascript:alert(1)"', "<script>", "a\nb --> c", "%%{init}%%", "`x`"])
def test_no_title_can_end_its_box_or_be_markup(title: str) -> None:
    text = to_mermaid(load_workflow({"id": "w", "nodes": [{"id": "a", "action": "x", "title": title}]}))
    (label,) = re.findall(r'^    n0\["(.*)"\]$', text, re.MULTILINE)
    assert len(text.splitlines()) == 2
    assert not set(label) & set('"<>[]{}`%|\\&\n')
    shown = re.sub(r"#(\d+);", lambda code: chr(int(code[1])), label)
    assert shown == title.replace("\n", " ")
