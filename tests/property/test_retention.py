"""Whatever is started, ended and removed in whatever order: open executions stay as they are, byte for byte."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.store.protocol import IndexRow, Turn
from treadle.store.sqlite import SqliteStore

NAMES = st.sampled_from(["a", "b", "c", "d", "a/x", "b/y/z"])
VALUES = st.sampled_from([b"one large value", b"another large value", b"a third one"])

ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("turn"), NAMES, st.lists(VALUES, max_size=3)),
        st.tuples(st.just("end"), NAMES, st.lists(VALUES, max_size=1)),
        st.tuples(st.just("remove"), st.lists(NAMES, max_size=4), st.none()),
        st.tuples(st.just("reopen"), st.none(), st.none()),
    ),
    max_size=25,
)


def turn(name: str, sequence: int, values: list[bytes], *, ends: bool) -> Turn:
    events, large = b"[", []
    for value in values:
        large.append((len(events), len(events) + len(value)))
        events += value + b","
    events += b"%d]" % sequence
    row = IndexRow("COMPLETED", is_open=False, ended_ms=5) if ends else None
    if sequence == 1:
        status = ("COMPLETED", 5) if ends else ("RUNNING", None)
        row = IndexRow(status[0], is_open=not ends, workflow_id="w", definition_hash=f"h{name[0]}", ended_ms=status[1])
    return Turn(name, sequence, events, 1, row, b"{}" if sequence == 1 else None, tuple(large))


class Model:
    """What should be there."""

    def __init__(self) -> None:
        self.turns: dict[str, list[Turn]] = {}
        self.ended: set[str] = set()
        self.count = 0

    async def do(self, store: SqliteStore, what: str, name: object, values: list[bytes] | None) -> None:
        if what == "reopen":
            await store.close()
            await store.open()
        elif what == "remove":
            assert isinstance(name, list)
            removed = await store.remove(name)
            assert list(removed) == [one for one in dict.fromkeys(name) if one in self.ended]
            for one in removed:
                del self.turns[one]
                self.ended.discard(one)
        elif name not in self.ended:
            assert isinstance(name, str)
            known = self.turns.setdefault(name, [])
            known.append(turn(name, len(known) + 1, values or [], ends=what == "end"))
            await store.append([known[-1]])
            self.count += 1
            if what == "end":
                self.ended.add(name)

    async def compare(self, store: SqliteStore) -> None:
        for name, turns in self.turns.items():
            assert [one.events for one in await store.read(name)] == [one.events for one in turns]
        assert {row.execution_id: row.is_open for row in await store.list()} == {
            name: name not in self.ended for name in self.turns
        }
        assert await store.head() == self.count

    def compare_file(self, path: Path) -> None:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            payloads = connection.execute("select content from payloads").fetchall()
            definitions = connection.execute("select hash from definitions").fetchall()
            uses = connection.execute("select count(*) from payload_uses").fetchone()[0]
        held = {name: {one.events[a:b] for one in turns for a, b in one.large} for name, turns in self.turns.items()}
        assert sorted(one for (one,) in payloads) == sorted(set().union(*held.values()))
        assert uses == sum(map(len, held.values()))
        assert {one for (one,) in definitions} == {f"h{name[0]}" for name in self.turns}


@settings(max_examples=60, deadline=None)
@given(ACTIONS)
def test_what_is_open_stays_and_what_nobody_has_goes(actions: list[tuple[str, object, list[bytes] | None]]) -> None:
    async def whole(path: Path) -> None:
        store, model = SqliteStore(path, synchronous="normal"), Model()
        await store.open()
        for action in actions:
            await model.do(store, *action)
        await model.compare(store)
        await store.close()
        model.compare_file(path)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(whole(Path(folder) / "t.db"))
