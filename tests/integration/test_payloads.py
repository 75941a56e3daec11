"""Large values in the file: kept once, given back everywhere, and missed by name."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

import treadle
from treadle import Client, QuarantineError, Settings, StoreError, WorkflowEngine, action

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENT = [f"line {number} of a document that is handed on" for number in range(3_000)]


@action("fetch")
async def fetch(name: str) -> list[str]:
    return [*DOCUMENT, name] if name else DOCUMENT


@action("read")
async def read(document: list[str], page: int) -> dict[str, Any]:
    return {"document": document, "page": page}


@action("fails")
async def fails(document: list[str]) -> None:
    raise ValueError("it is too long")


ACTIONS = [fetch, read, fails]
WORKFLOW: dict[str, Any] = {
    "id": "papers",
    "nodes": [
        {"id": "fetch", "action": "fetch", "parameters": {"name": "${input.name}"}},
        *(
            {"id": f"read{page}", "action": "read", "parameters": {"document": "${fetch}", "page": page}}
            for page in range(5)
        ),
        {"id": "sign", "type": "input"},
    ],
    "connections": [
        *({"source": "fetch", "target": f"read{page}"} for page in range(5)),
        *({"source": f"read{page}", "target": "sign"} for page in range(5)),
    ],
    "output": {"all": "${read4.document}", "by": "${sign}"},
}


def rows(path: Path, query: str, *values: object) -> list[Any]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(query, values).fetchall()


async def until_it_asks(engine: WorkflowEngine, name: str) -> None:
    async for event in engine.watch(name):
        if event.kind == "InputAsked":
            return


async def begun(path: Path) -> None:
    """Leave an open execution in a file, and one beside it that has no large value of its own."""
    async with WorkflowEngine(store=path, actions=ACTIONS) as engine:
        await engine.start_workflow(WORKFLOW, {"name": ""}, execution_id="one")
        await until_it_asks(engine, "one")
        small = {"id": "small", "nodes": [{"id": "sign", "type": "input"}]}
        await engine.start_workflow(small, execution_id="other")


async def test_a_value_that_is_handed_on_is_kept_once_and_comes_back_everywhere(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    await begun(path)
    assert path.stat().st_size < 200_000
    ((count, size),) = rows(path, "select count(*), sum(size) from payloads")
    assert (count, size) == (1, len(str(DOCUMENT).replace(", ", ",")))
    async with WorkflowEngine(store=path, actions=ACTIONS) as engine:  # recovery
        assert (await engine.get_execution_state("one")).steps["read3"].output == {"document": DOCUMENT, "page": 3}
        assert await engine.submit_input("one", "sign", "Ada")
        state = await engine.wait("one")
        history = await engine.history("one")
        watched = [event async for event in engine.watch("one")]
        everything = [event async for event in _first(engine.watch(after=0), len(history) + 3)]
    assert state.output == {"all": DOCUMENT, "by": "Ada"}
    assert history == watched
    assert [one for one in everything if one.execution_id == "one"] == history
    by_kind = {(one.kind, one.step): one.data for one in history}
    assert by_kind["StepSucceeded", "fetch"]["output"] == DOCUMENT
    assert by_kind["StepStarted", "read1"]["parameters"] == {"document": DOCUMENT, "page": 1}
    async with Client(path) as client:
        assert await client.state_manager.history("one") == history
        assert await client.state_manager.get_execution_state("one") == state
    found = await treadle.diagnose(path)
    assert found.is_whole
    assert any(one.text.startswith("large values kept once: 1, ") for one in found.findings)
    assert rows(path, "select count(*) from payloads") == [(1,)]
    assert {one[0] for one in rows(path, "select format from turns")} == {1, 2}


async def _first(events: Any, count: int) -> Any:
    async for event in events:
        yield event
        count -= 1
        if not count:
            return


async def test_the_setting_says_what_is_large(tmp_path: Path) -> None:
    for limit, kept in ((10_000_000, 0), (100, 3), (0, 2)):
        path = tmp_path / f"{limit}.db"
        settings = Settings(inline_payload_bytes=limit)
        async with WorkflowEngine(store=path, actions=ACTIONS, settings=settings) as engine:
            node = {"id": "read", "action": "read", "parameters": {"document": ["x" * 200], "page": "${input.page}"}}
            given = {"page": 1, "more": "y" * 300, "other": "z" * 400}
            state = await engine.run_workflow({"id": "w", "nodes": [node]}, given)
        assert state.output == {"document": ["x" * 200], "page": 1}
        assert rows(path, "select count(*) from payloads") == [(kept,)]


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        ("delete from payloads", "which is missing"),
        ("update payloads set content = x'00'", "which was changed"),
        ("update payloads set content = 'text', encoding = 0", "which was changed"),
        ("update payloads set size = 5", "which was changed"),
        ("update payloads set encoding = 9", "which has the unknown encoding 9"),
        ("update turns set events = x'c1' where format = 2", "is not of format 2"),
        ("update turns set format = 1 where format = 2", "does not fit its checksum"),
        ("update turns set format = 3 where format = 2", "has the unknown format 3"),
    ],
)
async def test_a_missing_or_damaged_value_sets_its_execution_aside_by_name(
    tmp_path: Path, damage: str, why: str
) -> None:
    path = tmp_path / "t.db"
    await begun(path)
    rows(path, damage)
    async with WorkflowEngine(store=path, actions=ACTIONS) as engine:
        assert set(engine.health.quarantined) == {"one"}
        assert why in engine.health.quarantined["one"]
        with pytest.raises(QuarantineError, match="'one' is damaged: turn"):
            await engine.history("one")
        assert await engine.submit_input("other", "sign", 5)
        assert (await engine.wait("other")).output == 5
        # Whoever watches everything is not held up by it.
        seen = [event async for event in _first(engine.watch(after=0), 1)]
        assert seen
    found = await treadle.diagnose(path)
    assert set(found.damaged) == {"one"}
    assert why in found.damaged["one"]


async def test_whoever_watches_everything_gets_what_is_behind_a_damaged_value(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    await begun(path)
    rows(path, "delete from payloads")
    async with Client(path) as client:
        async for event in client.state_manager.watch(after=0):
            if event.execution_id == "other" and event.kind == "InputAsked":
                break


async def test_a_value_that_is_gone_with_its_row_is_not_written_twice_for_two_executions(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    async with WorkflowEngine(store=path, actions=ACTIONS) as engine:
        for name in ("a", "b"):
            await engine.start_workflow(WORKFLOW, {"name": ""}, execution_id=name)
            await until_it_asks(engine, name)
    assert rows(path, "select count(*) from payloads") == [(1,)]
    assert rows(path, "select count(*) from payload_uses") == [(2,)]


class TestAFileOfAnOlderVersion:
    """``tests/replay/schema-1.sqlite`` was written by the version before large values were kept apart."""

    @pytest.fixture
    def path(self, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
        recorded = request.config.rootpath / "tests/replay/schema-1.sqlite"
        (tmp_path / "old.db").write_bytes(recorded.read_bytes())
        return tmp_path / "old.db"

    async def test_it_is_only_read_by_an_engine(self, path: Path) -> None:
        with pytest.raises(StoreError, match="was written by an older treadle"):
            async with Client(path):
                pass

    async def test_what_it_holds_goes_on(self, path: Path) -> None:
        @action("crm.find")
        async def find(email: str) -> dict[str, str]:
            return {"id": email}

        @action("payments.charge")
        async def charge(customer: str, amount: int) -> dict[str, bool]:
            return {"approved": amount < 100}

        before = rows(path, "select * from turns order by cursor")
        async with WorkflowEngine(store=path, actions=[find, charge]) as engine:
            assert engine.health.quarantined == {}
            listed = (await engine.list_executions())[0]
            assert {one.execution_id: one.status.value for one in listed} == {
                "done": "COMPLETED",
                "failed": "FAILED",
                "asks": "PAUSED",
                "waits": "RUNNING",
            }
            assert (await engine.get_execution_state("done")).output == {"signed": "Ada"}
            assert await engine.submit_input("waits", "sign", "Dee")
            assert (await engine.wait("waits")).output == {"signed": "Dee"}
            assert await engine.resume_workflow("asks", {"amount": 5})
            await until_it_asks(engine, "asks")
        assert rows(path, "select * from turns order by cursor")[: len(before)] == before
        assert (await treadle.diagnose(path)).is_whole
