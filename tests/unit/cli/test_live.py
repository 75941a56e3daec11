"""What is drawn while a workflow runs, from the events of real runs, at sizes of real terminals."""

from __future__ import annotations

import io
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from treadle import load_workflow
from treadle.cli.live import LiveRun
from treadle.testing import never, outcomes, raises, rehearse, returns

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle import HistoryEvent


TIME = re.compile(r"[\d.]+ m?s|\d+m\d\ds")


def look(number: str = "a", **fields: Any) -> dict[str, Any]:
    return {"id": number, "action": number, **fields}


def draw(document: dict[str, Any], history: Any, width: int = 80, height: int = 40) -> list[str]:
    """Return the picture."""
    console = Console(width=width, height=height, file=io.StringIO(), force_terminal=False, legacy_windows=False)
    live = LiveRun(load_workflow(document), "e", console)
    for event in history:
        live.take(event)
    console.print(live.render())
    lines = console.file.getvalue().rstrip().splitlines()  # type: ignore[attr-defined]
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)
    return [line.rstrip() for line in lines]


def without_times(lines: list[str]) -> list[str]:
    return ["  ".join(word for word in line.split("  ") if not TIME.fullmatch(word)) for line in lines]


@pytest.fixture
def runs() -> Callable[..., list[HistoryEvent]]:
    def history(document: dict[str, Any], replace: dict[str, Any], until: Any = None) -> list[HistoryEvent]:
        with rehearse(document, replace=replace, until=until, max_concurrent_steps=50) as run:
            return list(run.history)

    return history


EACH = {
    "id": "w",
    "nodes": [
        {
            "id": "each",
            "type": "map",
            "items": list(range(12)),
            "tolerate": 2,
            "max_concurrency": 8,
            "body": {
                "nodes": [look("a", parameters={"x": "${item}"}), look("b")],
                "connections": [{"source": "a", "target": "b"}],
            },
        },
        look("z"),
    ],
    "connections": [{"source": "each", "target": "z"}],
}


def gives(x: int) -> int:
    if x == 1:
        raise ValueError("no\x1b[31m good")
    return x


def test_a_map_shows_how_far_it_is_and_a_few_of_the_steps_under_way(runs: Any) -> None:
    document = {**EACH, "nodes": [{**EACH["nodes"][0]}, EACH["nodes"][1]]}  # type: ignore[index, dict-item]
    document["nodes"][0]["body"] = {  # type: ignore[index, call-overload]
        "nodes": [look("a", parameters={"x": "${item}"}, retry={"max_attempts": 1}), look("b")],
        "connections": [{"source": "a", "target": "b"}],
    }
    history = runs(document, {"a": gives, "b": never(), "z": 1}, until="each[8].b")
    lines = without_times(draw(document, history))
    assert lines[:-1] == [
        "w  e",
        "└── ▶ each  1/12 items, 1 failed",
        "    ├── ✗ [1].a  no\\x1b[31m good",
        "    ├── ▶ [0].b",
        "    ├── ▶ [2].b",
        "    ├── ▶ [3].b",
        "    ├── ▶ [4].b",
        "    ├── and 4 more under way",
        "    └── · z",
    ]
    assert "0/2 steps  8 running" in lines[-1]


def test_a_map_that_is_done_is_one_line(runs: Any) -> None:
    lines = without_times(draw(EACH, runs(EACH, {"a": lambda x: x, "b": 1, "z": 1})))
    assert lines[:-1] == ["w  e", "└── ✓ each  12/12 items", "    └── ✓ z"]


def test_a_map_that_failed_shows_why(runs: Any) -> None:
    document = {"id": "w", "nodes": [{**EACH["nodes"][0], "tolerate": 0, "items": [0, 1]}]}  # type: ignore[index, dict-item]
    lines = without_times(draw(document, runs(document, {"a": raises("Bad", "no", permanent=True), "b": 1})))
    assert lines[1:3] == ["└── ✗ each  1/2 items, 1 failed  no", "    └── ✗ [0].a  no"]


POLL = {
    "id": "w",
    "nodes": [
        {
            "id": "poll",
            "type": "loop",
            "until": "previous.done",
            "body": {
                "nodes": [{"id": "pause", "type": "wait", "duration": "1m"}, look("a")],
                "connections": [{"source": "pause", "target": "a"}],
            },
        }
    ],
}
ASKED = outcomes(*[{"done": False}] * 3, {"done": True})


def test_a_loop_shows_its_iteration(runs: Any) -> None:
    three = {"a": returns({"done": False}, after=1)}
    lines = without_times(draw(POLL, runs(POLL, three, until="poll[3].a")))
    assert lines[:-1] == ["w  e", "└── ▶ poll  iteration 4", "    ├── ✓ [3].pause", "    └── ▶ [3].a"]
    last = without_times(draw(POLL, runs(POLL, {"a": lambda: {"done": True}})))
    assert last[:-1] == ["w  e", "└── ✓ poll  1 iteration"]


RACE = {
    "id": "w",
    "nodes": [
        {
            "id": "p",
            "type": "parallel",
            "race": True,
            "body": {"nodes": [look("a"), {"id": "in", "type": "map", "items": [1], "body": {"nodes": [look("b")]}}]},
        }
    ],
}


def test_the_steps_of_a_parallel_stand_below_it_from_the_start(runs: Any) -> None:
    assert without_times(draw(RACE, []))[:-1] == ["w  e", "└── · p", "    ├── · .a", "    └── · .in"]
    under_way = runs(RACE, {"a": never(), "b": never()}, until="p.a")
    assert without_times(draw(RACE, under_way))[:-1] == [
        "w  e",
        "└── ▶ p",
        "    ├── ▶ .a",
        "    └── ▶ .in  0/1 item",
        "        └── ▶ [0].b",
    ]
    over = without_times(draw(RACE, runs(RACE, {"a": 1, "b": never()})))
    assert over[:-1] == ["w  e", "└── ✓ p", "    ├── ✓ .a", "    └── ■ .in  0/1 item"]
    assert "1/1 steps  0 running" in over[-1]


def test_what_is_taller_than_the_terminal_is_a_list_of_what_matters_by_key(runs: Any) -> None:
    document = {**EACH, "nodes": [{**EACH["nodes"][0], "tolerate": 12}, EACH["nodes"][1]]}  # type: ignore[index, dict-item]
    history = runs(document, {"a": lambda x: x, "b": never(), "z": 1}, until="each[0].b")
    lines = without_times(draw(document, history, width=50, height=10))
    assert lines[0] == "w  e"
    assert lines[1].startswith("├── ▶ each[")
    assert lines[-2].startswith("└── and ")


def test_a_thousand_items_cost_lines_of_a_few(runs: Any) -> None:
    body = {"nodes": [look("a")]}
    document = {"id": "w", "nodes": [{"id": "each", "type": "map", "items": list(range(1_000)), "body": body}]}
    lines = without_times(draw(document, runs(document, {"a": never()}, until="each[0].a"), height=24))
    assert lines[1] == "└── ▶ each  0/1,000 items"
    assert lines[-2] == "    └── and 45 more under way"


def test_ids_that_are_no_identifiers_and_calls_of_workflows_have_lines_too() -> None:
    inner = {"id": "a.b", "type": "map", "items": [1], "workflow": "other", "input": {}}
    document = {"id": "w", "nodes": [{"id": "my map", "type": "map", "items": [1], "body": {"nodes": [inner]}}]}
    asks = {"id": "other", "nodes": [{"id": "ask", "type": "input"}]}
    with rehearse(document, workflows=[asks], until=timedelta(0)) as run:
        lines = without_times(draw(document, run.history))
    assert lines[1:4] == ["└── ▶ my map  0/1 item", '    └── ▶ [0]["a.b"]  0/1 item', "        └── ▶ [0].other"]
