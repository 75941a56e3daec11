"""The bench measures what it says: sane figures, the very rows that treadle wrote, limits that are kept."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # as `python -m bench` has it, run from there

from bench.__main__ import choose_rows, main, missed  # noqa: E402
from bench.contestants import Load, Steps, Watch, run_asyncio, run_loop, run_treadle  # noqa: E402
from bench.graphs import ACTION, Graph, SkippedError, chain, document, fan, mapped, recorded_graphs  # noqa: E402
from bench.host import choose_folder, file_system, sync_times  # noqa: E402
from bench.measure import Spread, spread, tenths  # noqa: E402
from bench.rows import ROWS, Goal, Result, Row, measure  # noqa: E402
from bench.schedules import _run_scheduled  # noqa: E402
from bench.table import details, goal_line, number, table  # noqa: E402

from treadle import load_workflow  # noqa: E402

DIAMOND = Graph("diamond", [(), (0,), (0,), (1, 2)])
GRAPH_ROWS = [row for row in ROWS if row.load is not None]


@pytest.fixture
def recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with one recorded graph and two derived ones, in no order."""
    folder = tmp_path / "data" / "wfinstances"
    folder.mkdir(parents=True)
    _write(folder / "real.json", {"c": ["a", "b"], "a": [], "b": ["a"]})
    _write(folder / "generated-big-3.json.gz", {"a": [], "b": ["a"], "c": ["a"]})
    _write(folder / "small-structure.json.gz", {"a": []})
    monkeypatch.setenv("TREADLE_DATA", str(tmp_path / "data"))
    return folder


def _write(path: Path, parents: dict[str, list[str]]) -> None:
    tasks = [{"id": name, "parents": before} for name, before in parents.items()]
    content = json.dumps({"workflow": {"specification": {"tasks": tasks}}}).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def _turns(path: Path) -> list[Any]:
    with sqlite3.connect(path) as connection:
        return connection.execute("select cursor, execution, sequence, count, events, checksum from turns").fetchall()


def _run(load: Load, folder: Path) -> tuple[list[int], list[Any]]:
    workflows = [load_workflow(document(graph), actions=[ACTION]) for graph in load.graphs]
    _, answers, batches = asyncio.run(run_treadle(load, workflows, folder / "treadle.db", Steps()))
    asyncio.run(run_loop(batches, folder / "loop.db"))
    return answers, batches


def test_the_bare_loop_writes_the_very_rows_of_treadle_in_the_same_batches(tmp_path: Path) -> None:
    _, batches = _run(Load((chain(3), DIAMOND), times=4, in_flight=3, limit=2), tmp_path)
    written = _turns(tmp_path / "treadle.db")
    assert written == _turns(tmp_path / "loop.db")
    assert len(written) == sum(len(batch) for batch in batches)


@pytest.mark.parametrize(
    ("graph", "depth"),
    [(chain(5), 5), (fan(4), 3), (mapped(4), 3), (DIAMOND, 3)],
    ids=["chain", "fan", "map", "diamond"],
)
def test_treadle_and_bare_asyncio_give_the_depth_of_the_graph(graph: Graph, depth: int, tmp_path: Path) -> None:
    load = Load((graph,), times=3, in_flight=2)
    assert _run(load, tmp_path)[0] == [depth] * 3
    assert asyncio.run(run_asyncio(load, Steps()))[1] == [depth] * 3


class Crowd(Steps):
    """Steps that take a while, and count how many run at once."""

    def __init__(self) -> None:
        self.now = self.most = self.calls = 0

    async def step(self, inputs: list[int]) -> int:
        self.now += 1
        self.calls += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        return await super().step(inputs)


def test_bare_asyncio_keeps_the_same_limit_and_reaches_it() -> None:
    crowd = Crowd()
    asyncio.run(run_asyncio(Load((fan(10),), times=2, in_flight=2, limit=3), crowd))
    assert (crowd.most, crowd.calls) == (3, 24)


def test_a_loop_that_is_refused_a_row_measures_nothing(tmp_path: Path) -> None:
    _, batches = _run(Load((chain(2),)), tmp_path)
    with pytest.raises(RuntimeError, match="refused a row"):
        asyncio.run(run_loop(batches[1:], tmp_path / "again.db"))


@pytest.mark.parametrize("row", GRAPH_ROWS, ids=lambda row: row.name)
@pytest.mark.usefixtures("recordings")
def test_every_row_gives_sane_figures(row: Row, tmp_path: Path) -> None:
    result = measure(row, tmp_path, rounds=2, is_tiny=True)
    assert (result.name, result.skipped, result.limit) == (row.name, "", 100)
    assert all(0 < one.low <= one.median <= one.high for one in result.figures.values())
    figures = {key: one.median for key, one in result.figures.items()}
    assert figures["treadle_per_s"] < figures["asyncio_per_s"]
    assert figures["of_asyncio"] < 1
    assert figures["whole_s"] > figures["run_s"]
    assert {goal.figure for goal in row.goals} <= set(figures)
    assert row.name in table([result])
    assert row.title in details([result])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_the_import_row_compares_whole_processes(tmp_path: Path) -> None:
    (row,) = choose_rows(["import"])
    result = measure(row, tmp_path, rounds=1, is_tiny=True)
    assert set(result.figures) == {"bare_ms", "import_ms", "engine_ms"}
    assert result.figures["bare_ms"].median > 0
    assert (result.steps, table([result])) == (0, "")


def test_the_row_of_schedules_starts_each_once_and_stands_beside_plain_starts(tmp_path: Path) -> None:
    (row,) = choose_rows(["schedules"])
    result = measure(row, tmp_path, rounds=2, is_tiny=True)
    assert {goal.figure for goal in row.goals} <= set(result.figures)
    assert all(0 < one.low <= one.median <= one.high for one in result.figures.values())
    assert row.title in details([result])
    assert (result.steps, table([result]), list(tmp_path.iterdir())) == (0, "", [])
    workflow = load_workflow(document(chain(1)), actions=[ACTION])
    asyncio.run(_run_scheduled(tmp_path / "t.db", workflow, 30))
    with sqlite3.connect(tmp_path / "t.db") as connection:
        found = connection.execute("select execution_id from executions").fetchall()
    assert sorted(name for (name,) in found) == sorted(f"s{number}/2030-01-01T09:00:00Z" for number in range(30))


def test_the_row_of_waiting_executions_counts_what_they_hold_and_wakes_them(tmp_path: Path) -> None:
    (row,) = choose_rows(["waiting"])
    result = measure(row, tmp_path, rounds=1, is_tiny=True)
    assert {goal.figure for goal in row.goals} <= set(result.figures)
    assert (result.figures["more_tasks"].high, result.figures["more_threads"].high) == (0, 0)
    assert result.figures["kept_heap_bytes"].median > result.figures["away_heap_bytes"].median
    assert result.figures["send_per_s"].low > 0
    assert row.title in details([result])
    assert (result.steps, table([result]), list(tmp_path.iterdir())) == (0, "", [])


@pytest.mark.usefixtures("recordings")
def test_recorded_graphs_are_read_smallest_first() -> None:
    (real,) = recorded_graphs(are_derived=False)
    assert (real.name, real.parents, real.children, real.entries) == (
        "real",
        ((1, 2), (), (1,)),
        ((), (0, 2), (0,)),
        (1,),
    )
    assert [graph.name for graph in recorded_graphs(are_derived=True)] == ["small-structure", "generated-big-3"]


def test_without_recorded_graphs_their_rows_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TREADLE_DATA", raising=False)
    skipped = [measure(row, tmp_path, rounds=1) for row in choose_rows(["real,largest"])]
    assert all("TREADLE_DATA is not set" in result.skipped and not result.figures for result in skipped)
    assert "skipped: TREADLE_DATA is not set" in details(skipped)
    monkeypatch.setenv("TREADLE_DATA", str(tmp_path))
    with pytest.raises(SkippedError, match="no derived graphs"):
        recorded_graphs(are_derived=True)


def test_a_folder_in_memory_is_refused(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\ntmpfs {tmp_path} tmpfs rw 0 0\n")
    inside = tmp_path / "inside"
    inside.mkdir()
    assert (file_system(inside, mounts=mounts), file_system(ROOT, mounts=mounts)) == ("tmpfs", "ext4")
    with pytest.raises(ValueError, match="no folder on a disk"):
        choose_folder(str(inside), mounts=mounts)
    assert file_system(inside, mounts=tmp_path / "absent") == "unknown"


def test_a_sync_takes_time(tmp_path: Path) -> None:
    assert all(seconds > 0 for seconds in sync_times(tmp_path, 3))
    with Watch() as watch:
        sum(range(10_000))
    assert watch.seconds > 0
    assert watch.cpu_seconds > 0


def test_tenths_are_means_over_executions_that_ran_in_turn() -> None:
    even = [float(step) for step in range(20)]
    slower = [float(step * step) for step in range(20)]
    assert tenths(even, 20) == tuple([1.0] * 10)
    assert tenths([*even, *slower], 20)[0] == pytest.approx((2 + 4) / 2 / 2)
    assert tenths([*even, *slower], 20)[-1] == pytest.approx((2 + (19**2 - 17**2)) / 2 / 2)


def test_goals_are_held_against_the_median() -> None:
    figures = {"ratio": spread([0.1, 0.2, 0.9]), "ms": Spread(70.0, 60.0, 80.0)}
    floor, later = Goal("ratio", "of it", 0.2, is_floor=True), Goal("ratio", "of it", 0.4, is_floor=True, is_later=True)
    ceiling = Goal("ms", "ms", 60.0)
    result = Result("row", "A row", figures=figures, goals=(floor, later, ceiling))
    assert [goal.is_reached(figures) for goal in result.goals] == [True, False, False]
    assert missed([result]) == [goal_line(result, ceiling)]
    assert goal_line(result, floor).endswith("at least 0.20 of it: 0.20, reached")
    assert goal_line(result, later).endswith("later: at least 0.40 of it: 0.20, not yet by 0.20 (50%)")
    assert goal_line(result, ceiling).endswith("at most 60.0 ms: 70.0, MISSED by 10.0 (17%)")


def test_numbers_have_about_three_digits() -> None:
    assert [number(one) for one in (12_345.6, 99.94, 1.234, 0.0123)] == ["12,346", "99.9", "1.23", "0.012"]


def test_an_unknown_row_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--rows", "fan,nothing"])
    assert ended.value.code == 2
    assert "no row nothing; there are executions, fan, chain" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_prints_json_for_machines(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "--tiny", "--json", "--rounds", "1", "--rows", "fan,chain"]
    folder = ["--folder", str(tmp_path)]
    source = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([*command, *folder], cwd=ROOT, env=source, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr.count(b"measuring")) == (0, 2)
    found = json.loads(done.stdout)
    assert set(found) == {"host", "rounds", "is_tiny", "others_cores", "rows", "missed"}
    assert [row["name"] for row in found["rows"]] == ["fan", "chain"]
    assert found["host"]["sync_ms"] > 0
    assert list(tmp_path.iterdir()) == []
