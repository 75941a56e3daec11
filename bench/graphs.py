"""The graphs that are run: made ones, and recorded ones from a folder.

Every step takes what the steps before it gave and returns one more than the largest, so an execution's answer is the
depth of its graph: whoever runs it wrongly gives another one.
"""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from treadle.model import JsonValue

ACTION: Final = "step"
"""Name of the one action that all nodes call."""

DATA: Final = "TREADLE_DATA"
"""Environment variable with the folder that holds ``wfinstances/``."""


class SkippedError(Exception):
    """A row cannot be measured here; the message says why."""


class Graph:
    """Steps by number.

    Args:
        name: Id of the workflow.
        parents: For each step, the steps that come right before it.

    Attributes:
        children: For each step, the steps that come right after it.
        entries: Steps without parents.
        is_map: Written as a map between the first step and the last, in place of the steps between them.
    """

    def __init__(self, name: str, parents: Sequence[Sequence[int]], *, is_map: bool = False) -> None:
        self.name = name
        self.is_map = is_map
        self.parents = tuple(tuple(one) for one in parents)
        children: list[list[int]] = [[] for _ in self.parents]
        for step, before in enumerate(self.parents):
            for parent in before:
                children[parent].append(step)
        self.children = tuple(tuple(one) for one in children)
        self.entries = tuple(step for step, before in enumerate(self.parents) if not before)

    def __len__(self) -> int:
        return len(self.parents)


def chain(size: int) -> Graph:
    """Return ``size`` steps, one after another."""
    return Graph(f"chain-{size}", [(step - 1,) if step else () for step in range(size)])


def fan(width: int) -> Graph:
    """Return one step, ``width`` steps after it, and one that joins them."""
    branches = range(1, width + 1)
    return Graph(f"fan-{width}", [(), *((0,) for _ in branches), tuple(branches)])


def mapped(width: int) -> Graph:
    """Return the graph of ``fan`` whose branches are the items of one map."""
    return Graph(f"map-{width}", fan(width).parents, is_map=True)


def document(graph: Graph) -> dict[str, JsonValue]:
    """Return the workflow document of a graph."""
    if graph.is_map:
        return _map_document(graph)
    nodes: list[JsonValue] = [
        {"id": f"n{step}", "action": ACTION, "parameters": {"inputs": [f"${{n{parent}}}" for parent in before]}}
        for step, before in enumerate(graph.parents)
    ]
    connections: list[JsonValue] = [
        {"source": f"n{parent}", "target": f"n{step}"} for step, before in enumerate(graph.parents) for parent in before
    ]
    return {"id": graph.name, "nodes": nodes, "connections": connections}


def _map_document(graph: Graph) -> dict[str, JsonValue]:
    body = {"nodes": [{"id": "step", "action": ACTION, "parameters": {"inputs": ["${first}"]}}]}
    return {
        "id": graph.name,
        "nodes": [
            {"id": "first", "action": ACTION, "parameters": {"inputs": []}},
            {"id": "each", "type": "map", "items": list(range(len(graph) - 2)), "body": body},
            {"id": "last", "action": ACTION, "parameters": {"inputs": "${each}"}},
        ],
        "connections": [{"source": "first", "target": "each"}, {"source": "each", "target": "last"}],
    }


def recorded(path: Path) -> Graph:
    """Return the graph of a file in WfFormat 1.5; its steps are numbered in the order of the file."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    tasks = msgspec.json.decode(content)["workflow"]["specification"]["tasks"]
    number = {task["id"]: step for step, task in enumerate(tasks)}
    return Graph(path.name.split(".")[0], [[number[parent] for parent in task["parents"]] for task in tasks])


def recorded_graphs(*, are_derived: bool) -> list[Graph]:
    """Return the graphs of the data folder, smallest first.

    Args:
        are_derived: Those made from recorded ones (by the name of the file) instead of the recorded ones.

    Raises:
        SkippedError: There is no such folder, or nothing in it.
    """
    if not os.environ.get(DATA):
        raise SkippedError(f"{DATA} is not set; it names the folder that holds wfinstances/")
    folder = Path(os.environ[DATA]) / "wfinstances"
    files = [path for path in sorted(folder.glob("*.json*")) if _is_derived(path) is are_derived]
    if not files:
        raise SkippedError(f"no {'derived' if are_derived else 'recorded'} graphs (*.json, *.json.gz) in {folder}")
    return sorted(map(recorded, files), key=len)


def _is_derived(path: Path) -> bool:
    return path.name.startswith("generated-") or "-structure." in path.name
