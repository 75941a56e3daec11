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


BODIES = load_workflow(
    {
        "id": "w",
        "nodes": [
            {"id": "a", "action": "x"},
            {
                "id": "each",
                "type": "map",
                "items": "${a}",
                "as": "row",
                "max_concurrency": 3,
                "body": {
                    "nodes": [
                        {"id": "charge", "action": "x"},
                        {
                            "id": "poll",
                            "type": "loop",
                            "while": "index < 3",
                            "until": "previous.done",
                            "body": {"nodes": [{"id": "look", "action": "x"}]},
                        },
                    ],
                    "connections": [{"source": "charge", "target": "poll"}],
                },
            },
            {
                "id": "first",
                "type": "parallel",
                "race": True,
                "join": "any",
                "body": {"nodes": [{"id": "b", "action": "x"}, {"id": "c", "action": "x"}]},
            },
            {"id": "told", "type": "event", "event": "e"},
            {"id": "sub", "type": "workflow", "workflow": "other"},
            {"id": "subs", "type": "map", "items": [1], "workflow": "other"},
        ],
        "connections": [{"source": "a", "target": "each"}, {"source": "each", "target": "first"}],
    }
)


def test_bodies_are_subgraphs_within_each_other() -> None:
    assert to_mermaid(BODIES) == (
        """flowchart TD
    n0["a"]
    subgraph n1["each<br/><i>for each row, 3 at a time</i>"]
        n1_0["charge"]
        subgraph n1_1["poll<br/><i>while index #60; 3, until previous.done</i>"]
            n1_1_0["look"]
        end
        n1_0 --> n1_1
    end
    subgraph n2["first<br/><i>race</i><br/><i>any</i>"]
        n2_0["b"]
        n2_1["c"]
    end
    n3>"told"]
    n4[["sub<br/><i>workflow other</i>"]]
    n5[["subs<br/><i>for each item</i><br/><i>workflow other</i>"]]
    n0 --> n1
    n1 --> n2"""
    )


def test_a_node_in_a_body_has_the_colour_of_its_steps_where_they_agree() -> None:
    running, done, cancelled = StepStatus.RUNNING, StepStatus.COMPLETED, StepStatus.CANCELLED
    statuses = {
        "each": running,
        "each[0].charge": done,
        "each[1].charge": done,
        "each[0].poll": done,
        "each[1].poll": running,
        "each[1].poll[4].look": running,
        "first": done,
        "first.b": done,
        "first.c": cancelled,
        "subs[0].other": done,
    }
    assert [line.strip() for line in to_mermaid(BODIES, statuses).splitlines() if line.startswith("    class ")] == [
        "class n1,n1_1_0 RUNNING",
        "class n1_0,n2,n2_0 COMPLETED",
        "class n2_1 CANCELLED",
    ]
