"""Searching 100,000 executions: each filter goes through an index, and is much faster than looking at all of them."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from treadle.store.protocol import Filter
from treadle.store.reading import Reading
from treadle.store.selecting import select
from treadle.store.sqlite import connect, migrate

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator
    from pathlib import Path

COUNT = 100_000
FILTERS: dict[str, tuple[Filter, list[str]]] = {
    "status": (Filter(statuses=("FAILED",)), ["SEARCH executions USING INDEX executions_status (status=?)"]),
    "workflow": (Filter(workflow_id="w3"), ["SEARCH executions USING INDEX executions_workflow (workflow_id=?)"]),
    "open": (Filter(is_open=True), ["SCAN executions USING INDEX executions_open"]),
    "tag": (
        Filter(tags={"tenant": "t77"}),
        [
            "SEARCH executions USING INTEGER PRIMARY KEY (rowid=?)",
            "SEARCH tags USING PRIMARY KEY (name=? AND value=?)",
        ],
    ),
    "tags": (
        Filter(tags={"env": "prod", "tenant": "t77"}),
        [
            "SEARCH executions USING INTEGER PRIMARY KEY (rowid=?)",
            "SEARCH tags USING PRIMARY KEY (name=? AND value=?)",
            "SEARCH tags USING PRIMARY KEY (name=? AND value=? AND execution=?)",
        ],
    ),
    "prefix": (
        Filter(id_prefix="order-0123"),
        [
            "SEARCH executions USING INTEGER PRIMARY KEY (rowid=?)",
            "SEARCH executions USING COVERING INDEX sqlite_autoindex_executions_1 (execution_id>? AND execution_id<?)",
        ],
    ),
    "key": (Filter(key="k7", workflow_id="w7"), ["SEARCH executions USING INDEX executions_workflow (workflow_id=?)"]),
}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    path = tmp_path_factory.mktemp("search") / "log.db"
    with contextlib.closing(connect(str(path))) as made:
        migrate(made, str(path))
        made.execute("begin")
        made.executemany(
            "insert into executions (execution_id, workflow_id, definition_hash, status, is_open, created_ms, "
            "ended_ms, tags, key) values (?, ?, 'h', ?, ?, ?, ?, ?, ?)",
            (_row(number) for number in range(COUNT)),
        )
        made.execute("commit")
        yield made


def _row(number: int) -> tuple[Any, ...]:
    is_open = number % 2_000 == 1
    status = "RUNNING" if is_open else "FAILED" if number % 1_000 == 0 else "COMPLETED"
    tags = json.dumps({"env": "prod", "tenant": f"t{number % 5_000}"})
    ended = None if is_open else number
    return f"order-{number:06}", f"w{number % 20}", status, is_open, number, ended, tags, f"k{number % 9}"


def _plan(log: sqlite3.Connection, where: Filter) -> list[str]:
    condition, values = select(where, None, lambda name, _: 0 if name == "tenant" else 9)
    query = f"explain query plan select * from executions where {condition} order by number desc limit 50"
    return [row[3] for row in log.execute(query, values)]


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_goes_through_an_index_and_nothing_is_sorted(log: sqlite3.Connection, name: str) -> None:
    where, expected = FILTERS[name]
    plan = [line for line in _plan(log, where) if not line.startswith(("LIST SUBQUERY", "CORRELATED"))]
    assert plan == expected


def test_text_is_looked_for_in_the_two_small_indexes_only(log: sqlite3.Connection) -> None:
    plan = _plan(log, Filter(text="x"))
    scans = [line for line in plan if line.startswith("SCAN")]
    assert scans == ["SCAN executions USING COVERING INDEX sqlite_autoindex_executions_1", "SCAN tags"]


BY_LOOKING = """select count(*) from executions where exists
(select 1 from json_each(tags) has where has.key = 'tenant' and has.value = 't77')"""


def _best(function: Callable[[], object]) -> float:
    times = []
    for _ in range(5):
        before = time.perf_counter()
        function()
        times.append(time.perf_counter() - before)
    return min(times)


@pytest.mark.slow
def test_a_search_by_tag_is_many_times_faster_than_looking_at_every_execution(log: sqlite3.Connection) -> None:
    reading = Reading(log, "")
    where = Filter(tags={"env": "prod", "tenant": "t77"})
    assert reading.count(where) == log.execute(BY_LOOKING).fetchone()[0] == COUNT // 5_000
    slow = _best(lambda: log.execute(BY_LOOKING).fetchone())
    assert _best(lambda: reading.list(where, 50, None)) * 20 < slow
    assert _best(lambda: reading.list(Filter(statuses=("FAILED",)), 50, None)) * 20 < slow
    assert _best(lambda: reading.list(Filter(is_open=True), 50, None)) * 20 < slow
    assert _best(lambda: reading.list(Filter(id_prefix="order-0123"), 50, None)) * 20 < slow


def test_tags_are_found_by_the_index_as_long_as_the_execution_is_there(tmp_path: Path) -> None:
    path = str(tmp_path / "log.db")
    with contextlib.closing(connect(path)) as made:
        migrate(made, path)
        insert = (
            "insert into executions (execution_id, workflow_id, definition_hash, status, is_open, created_ms, tags) "
            "values (?, 'w', 'h', 'RUNNING', 1, 0, ?)"
        )
        made.execute(insert, ("one", '{"a": "1", "b": "2"}'))
        made.execute(insert, ("two", '{"a": "1"}'))
        made.execute(insert, ("none", "{}"))
        made.execute("delete from executions where execution_id = 'one'")
        assert made.execute("select * from tags").fetchall() == [("a", "1", 2)]
