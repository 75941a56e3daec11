"""Graphs of real workflows: each step runs once, after those it needs, on a real file."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from treadle import ExecutionStatus, WorkflowEngine

FOLDER = Path(os.environ.get("TREADLE_DATA", "")) / "wfinstances"
MOST_STEPS = 1_000
REASON = "no recorded workflows: set TREADLE_DATA to the folder that holds wfinstances/"


def parents(path: Path) -> dict[str, list[str]]:
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    tasks = json.loads(raw)["workflow"]["specification"]["tasks"]
    return {task["id"]: task["parents"] for task in tasks}


def small() -> list[Path]:
    if not os.environ.get("TREADLE_DATA"):
        return []
    return [path for path in sorted(FOLDER.glob("*.json*")) if path.stat().st_size < 300_000]


@pytest.mark.slow
@pytest.mark.skipif(not small(), reason=REASON)
@pytest.mark.parametrize("path", small(), ids=lambda path: path.name)
async def test_a_recorded_graph_runs_in_its_order(path: Path, tmp_path: Path) -> None:
    before = parents(path)
    if len(before) > MOST_STEPS:
        pytest.skip(f"more than {MOST_STEPS} steps")
    calls: list[str] = []

    async def step(name: str) -> str:
        calls.append(name)
        return name

    document: dict[str, Any] = {
        "id": "recorded",
        "nodes": [{"id": name, "action": "step", "parameters": {"name": name}} for name in before],
        "connections": [{"source": one, "target": name} for name, sources in before.items() for one in sources],
    }
    async with WorkflowEngine(8, store=tmp_path / "t.db", actions=[{"step": step}]) as engine:
        state = await engine.run_workflow(document)
    place = {name: index for index, name in enumerate(calls)}
    assert state.status is ExecutionStatus.COMPLETED
    assert sorted(calls) == sorted(before)
    assert [(one, name) for name, sources in before.items() for one in sources if place[one] > place[name]] == []
