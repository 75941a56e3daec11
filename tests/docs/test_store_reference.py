"""The page on the file says what is in it: tables, columns, numbers, and the checksum as anyone would compute it."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from hashlib import blake2b
from pathlib import Path

import treadle

PAGE = (Path(__file__).parents[2] / "docs/reference/store.md").read_text(encoding="utf-8")
WORKFLOW = {"id": "w", "nodes": [{"id": "a", "action": "act"}, {"id": "b", "action": "act"}]}


def _act() -> int:
    return 1


async def _schedule(path: Path) -> None:
    async with treadle.WorkflowEngine(store=path, actions=[{"act": _act}]) as engine:
        await engine.schedule(WORKFLOW, "0 0 1 1 *", schedule_id="yearly")


def test_the_page_names_every_table_and_column_and_the_checksum_is_the_one_it_gives(tmp_path: Path) -> None:
    path = tmp_path / "treadle.db"
    treadle.run_sync(WORKFLOW, execution_id="one", actions=[{"act": _act}], store=path)
    asyncio.run(_schedule(path))
    log = sqlite3.connect(path)
    for (table,) in log.execute("select name from sqlite_master where type = 'table'"):
        described = PAGE.split(f"**`{table}`**")[1].split("**`")[0]
        columns = [row[1] for row in log.execute(f"pragma table_info({table})")]
        assert [name for name in columns if f"`{name}`" not in described] == []
    assert f"is {log.execute('pragma application_id').fetchone()[0]}" in PAGE
    assert f"`pragma user_version` is {log.execute('pragma user_version').fetchone()[0]}." in PAGE
    name = log.execute("select definition_hash from executions").fetchone()[0]
    before = blake2b(f"one\0{name}".encode(), digest_size=16).digest()
    turns = log.execute("select sequence, count, events, checksum from turns order by sequence").fetchall()
    schedule = log.execute("select schedule_id, definition_hash, spec, progress, checksum from schedules").fetchone()
    log.close()
    named = f"{schedule[0]}\0{schedule[1]}\0{len(schedule[2])},".encode()
    assert blake2b(named + schedule[2] + schedule[3], digest_size=16).digest() == schedule[4]
    assert len(turns) > 1
    for sequence, count, events, checksum in turns:
        before = blake2b(before + f"{sequence},{count};".encode() + events, digest_size=16).digest()
        assert checksum == before


def test_the_files_beside_the_database_are_those_the_page_names(tmp_path: Path) -> None:
    path = tmp_path / "treadle.db"
    treadle.run_sync(WORKFLOW, actions=[{"act": _act}], store=path)
    named = re.findall(r"`(treadle\.db[^` ]*)`", PAGE.split("## Durability")[0])
    assert {one.name for one in tmp_path.iterdir()} <= {name.rstrip("/") for name in named}
