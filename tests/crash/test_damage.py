"""Damage that SQLite does not see: every changed bit of a turn, and a turn that is whole but not where it belongs."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from treadle.errors import QuarantineError
from treadle.store.protocol import IndexRow, Turn
from treadle.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path

ROW = IndexRow(status="RUNNING", workflow_id="w", definition_hash="h", created_ms=1)


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A closed file with two executions of three turns each, which differ in their first turn only."""
    store = SqliteStore(tmp_path / "log.db")
    await store.open()
    for name in "ab":
        first = Turn(name, 1, b'["%b"]' % name.encode(), 1, ROW, b"{}")
        await store.append([first, Turn(name, 2, b"[1,2]", 2), Turn(name, 3, b"[3]", 1)])
    await store.close()
    return tmp_path / "log.db"


def change(path: Path, sql: str, *values: Any) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(sql, values)


async def check(path: Path, *, damaged: str, whole: str) -> None:
    store = SqliteStore(path)
    await store.open()
    try:
        with pytest.raises(QuarantineError) as caught:
            await store.read(damaged)
        assert caught.value.execution_id == damaged
        assert [turn.events for turn in await store.read(whole)] == [b'["%b"]' % whole.encode(), b"[1,2]", b"[3]"]
    finally:
        await store.close()


@pytest.mark.parametrize("sequence", [2, 3])
async def test_a_turn_of_another_execution_does_not_fit_though_it_is_whole(path: Path, sequence: int) -> None:
    """Number, bytes and checksum are those of a real turn; only the chain tells that it followed another one."""
    change(
        path,
        """update turns set checksum = (select checksum from turns where execution = 1 and sequence = ?)
        where execution = 2 and sequence = ?""",
        sequence,
        sequence,
    )
    await check(path, damaged="b", whole="a")


async def test_a_turn_under_another_number_does_not_fit(path: Path) -> None:
    change(path, "update turns set sequence = 9 where execution = 2 and sequence = 2")
    change(path, "update turns set sequence = sequence - 1 where execution = 2 and sequence = 3")
    await check(path, damaged="b", whole="a")


async def test_an_execution_under_another_name_or_definition_does_not_fit(path: Path) -> None:
    change(path, "update executions set definition_hash = 'other' where execution_id = 'b'")
    await check(path, damaged="b", whole="a")


@pytest.mark.parametrize("column", ["events", "checksum"])
async def test_every_changed_bit_of_a_turn_is_found(path: Path, column: str) -> None:
    draw = random.Random(5)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (stored,) = connection.execute(f"select {column} from turns where execution = 2 and sequence = 2").fetchone()
    for bit in draw.sample(range(8 * len(stored)), 12):
        damaged = bytearray(stored)
        damaged[bit // 8] ^= 1 << bit % 8
        change(path, f"update turns set {column} = ? where execution = 2 and sequence = 2", bytes(damaged))
        await check(path, damaged="b", whole="a")
