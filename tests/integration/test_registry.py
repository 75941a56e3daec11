"""Registered workflows: by id, in versions that never change; and what runs keeps the one it began with."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import sqlite3
from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw

import treadle
from treadle import (
    Client,
    ConflictError,
    ExecutionStatus,
    NotFoundError,
    Settings,
    StoreError,
    UnavailableError,
    ValidationError,
    WorkflowBuilder,
    WorkflowEngine,
    WorkflowRef,
    WorkflowVersion,
    load_workflow,
)
from treadle.drivers.local.catalog import Catalog
from treadle.drivers.local.recovery import Plans
from treadle.model import definition_hash
from treadle.store.inbox import Inbox, Letter
from treadle.store.memory import MemoryStore
from treadle.store.protocol import Version
from treadle.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = Settings(inbox_poll_ms=5, grace_ms=50, store_retry_ms=5)


def order(value: Any, version: Any = None, **more: Any) -> dict[str, Any]:
    document = {"id": "order", "nodes": [{"id": "a", "type": "set", "config": {"values": value}}], **more}
    return document if version is None else {**document, "version": version}


def engine_on(path: Path | str, **options: Any) -> WorkflowEngine:
    return WorkflowEngine(store=path, settings=SETTINGS, **options)


async def test_a_workflow_is_started_by_its_id_in_the_version_registered_last(tmp_path: Path) -> None:
    async with engine_on(tmp_path / "t.db") as engine:
        one = await engine.register_workflow(order("first", 1))
        assert (one.workflow_id, one.label, len(one.definition_hash)) == ("order", "1", 32)
        assert one.definition_hash == definition_hash(load_workflow(order("first", 1)))
        two = await engine.register_workflow(order("second", 2))
        assert (await engine.run_workflow(WorkflowRef("order"))).output == "second"
        assert (await engine.run_workflow(WorkflowRef("order", 1))).output == "first"
        assert (await engine.run_workflow(WorkflowRef("order", "1"))).output == "first"
        assert (await engine.run_workflow(WorkflowRef("order", one.definition_hash))).output == "first"
        assert (await engine.run_workflow(WorkflowRef("order", one.definition_hash[:8]))).output == "first"
        assert (await engine.run_workflow(one)).output == "first"
        assert await engine.list_versions("order") == [two, one]
    async with engine_on(tmp_path / "t.db") as engine:
        assert await engine.list_workflows() == [two]
        assert await engine.get_workflow("order") == load_workflow(order("second", 2))
        assert await engine.get_workflow("order", 1) == load_workflow(order("first", 1))
        state = await engine.run_workflow(WorkflowRef("order"))
        assert await engine.get_execution_workflow(state.execution_id) == load_workflow(order("second", 2))


async def test_the_same_content_is_the_same_version_and_going_back_to_it_takes_effect(tmp_path: Path) -> None:
    async with engine_on(tmp_path / "t.db") as engine:
        one = await engine.register_workflow(order("first"))
        moved = order("first", metadata={"seen": True})
        assert await engine.register_workflow(moved) == one
        two = await engine.register_workflow(order("second"))
        assert await engine.register_workflow(order("first")) == one
        assert await engine.list_versions("order") == [one, two]
        assert (await engine.run_workflow(WorkflowRef("order"))).output == "first"
        assert one.registered_at <= two.registered_at <= datetime.now(UTC)


async def test_an_execution_keeps_the_version_it_began_with_whatever_is_registered_later(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def hold() -> str:
        await gate.wait()
        return "held"

    chain = {
        "id": "order",
        "nodes": [{"id": "a", "action": "hold"}, {"id": "b", "type": "set", "config": {"values": "old"}}],
        "connections": [{"source": "a", "target": "b"}],
    }
    async with engine_on(tmp_path / "t.db", actions=[{"hold": hold}]) as engine:
        old = await engine.register_workflow(chain)
        running = await engine.start_workflow(WorkflowRef("order"))
    async with engine_on(tmp_path / "t.db", actions=[{"hold": hold}], workflows=[order("new")]) as engine:
        gate.set()
        state = await engine.wait(running)
        assert (state.output, state.definition_hash) == ("old", old.definition_hash)
        assert (await engine.run_workflow(WorkflowRef("order"))).output == "new"


async def test_a_start_by_id_that_is_repeated_is_the_same_one_also_after_another_version(tmp_path: Path) -> None:
    async with engine_on(":memory:") as engine:
        first = await engine.register_workflow(order("first"))
        assert await engine.start_workflow(WorkflowRef("order"), {"x": 1}, execution_id="e") == "e"
        second = await engine.register_workflow(order("second"))
        assert await engine.start_workflow(WorkflowRef("order"), {"x": 1}, execution_id="e") == "e"
        assert await engine.start_workflow(first, {"x": 1}, execution_id="e") == "e"
        with pytest.raises(ConflictError, match="another definition"):
            await engine.start_workflow(second, {"x": 1}, execution_id="e")
        with pytest.raises(ConflictError, match="another input"):
            await engine.start_workflow(WorkflowRef("order"), {"x": 2}, execution_id="e")
        await engine.register_workflow({**order("other"), "id": "other"})
        with pytest.raises(ConflictError, match="another definition"):
            await engine.start_workflow(WorkflowRef("other"), {"x": 1}, execution_id="e")


async def test_what_is_not_registered_is_named_with_what_may_have_been_meant() -> None:
    async with engine_on(":memory:") as engine:
        with pytest.raises(NotFoundError, match=r"^no registered workflow named 'order'$"):
            await engine.start_workflow(WorkflowRef("order"))
        await engine.register_workflow(order("v", 3))
        with pytest.raises(NotFoundError, match="no registered workflow named 'odrer'; did you mean 'order'") as caught:
            await engine.get_workflow("odrer")
        again = pickle.loads(pickle.dumps(caught.value))
        assert (again.kind, again.name, again.near) == ("registered workflow", "odrer", ("order",))
        with pytest.raises(NotFoundError, match="no version of workflow 'order' named '4'; did you mean '3'"):
            await engine.start_workflow(WorkflowRef("order", 4))
        hash7 = (await engine.list_versions("order"))[0].definition_hash[:7]
        with pytest.raises(NotFoundError):
            await engine.get_workflow("order", hash7)
        assert await engine.list_versions("nothing") == []
        for bad in (1.5, "", True, "\ud800"):
            with pytest.raises(ValidationError, match="a version is a definition hash or a label"):
                await engine.get_workflow("order", bad)  # type: ignore[arg-type]
        with pytest.raises(ValidationError, match="the id of a workflow is text"):
            await engine.get_workflow(7)  # type: ignore[arg-type]


async def test_digits_that_several_hashes_begin_with_are_refused() -> None:
    store = MemoryStore()
    await store.register([(Version("w", f"abcdef01{end}", "", 0), b"{}") for end in "23"])
    catalog = Catalog(store, Plans(store))
    with pytest.raises(ValidationError, match="several versions begin with 'abcdef01': abcdef013, abcdef012"):
        await catalog.find("w", "abcdef01")
    assert (await catalog.find("w", "abcdef012")).definition_hash == "abcdef012"


async def test_the_catalog_gives_plan_and_definition_of_what_is_registered() -> None:
    """What child workflows are resolved with."""
    store = MemoryStore()
    async with WorkflowEngine(store=store) as engine:
        version = await engine.register_workflow(order("v"))
    catalog = Catalog(store, Plans(store))
    definition = await catalog.definition("order")
    assert definition.name == version.definition_hash == (await catalog.plan("order")).definition_hash
    assert definition.document == await store.definition(definition.name)


async def test_a_label_of_several_contents_means_the_one_registered_last() -> None:
    async with engine_on(":memory:") as engine:
        await engine.register_workflow(order("a", 1))
        await engine.register_workflow(order("b", 1))
        await engine.register_workflow(order("c", 2))
        assert (await engine.run_workflow(WorkflowRef("order", 1))).output == "b"


async def test_workflows_of_folders_files_data_and_the_builder_are_registered_at_opening(tmp_path: Path) -> None:
    flows = tmp_path / "flows"
    flows.mkdir()
    (flows / "b.yaml").write_text("id: b\nnodes: [{id: x, type: set, config: {values: 1}}]\n")
    (flows / "a.json").write_text('{"id": "a", "nodes": [{"id": "x", "type": "set", "config": {"values": 1}}]}')
    (flows / ".hidden.yaml").write_text("nonsense")
    (flows / "notes.txt").write_text("nonsense")
    (tmp_path / "single.yml").write_text("id: single\nnodes: [{id: x, type: set, config: {values: 1}}]\n")
    built = WorkflowBuilder("built")
    built.set("x", values=1)
    given = [str(flows), tmp_path / "single.yml", order("v"), built.build()]
    async with engine_on(":memory:", workflows=given) as engine:
        assert [one.workflow_id for one in await engine.list_workflows()] == ["a", "b", "built", "order", "single"]


async def test_every_problem_of_every_file_is_told_and_nothing_is_opened(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("id: a\nnodes:\n  - {id: x, acton: y}\n")
    (tmp_path / "b.json").write_text('{"id": "b",\n "nodes": [{"id": "x", "action": "nobody.knows"}]}')
    (tmp_path / "c.yaml").write_text("id: same\nnodes: [{id: x, type: set, config: {values: 1}}]\n")
    (tmp_path / "d.yaml").write_text("id: same\nnodes: [{id: x, type: set, config: {values: 2}}]\n")
    engine = engine_on(
        tmp_path / "t.db", actions=[{"act": print}], workflows=[tmp_path, str(tmp_path / "none"), order("${", 1)]
    )
    with pytest.raises(ValidationError) as caught:
        async with engine:
            pytest.fail("it opened")
    lines = str(caught.value).splitlines()
    assert any(line.startswith(f"{tmp_path}/a.yaml:3:") and 'unknown key "acton"' in line for line in lines), lines
    assert any(line.startswith(f"{tmp_path}/b.json:2:") and "nobody.knows" in line for line in lines), lines
    assert any("another workflow 'same' is in" in line and f"{tmp_path}/d.yaml" in line for line in lines), lines
    assert any(line.startswith(f"{tmp_path}/none: ") and "cannot read the folder" in line for line in lines), lines
    assert any(line.startswith("workflows[2]: ") for line in lines), lines
    assert {problem.file for problem in caught.value.problems} >= {str(tmp_path / "a.yaml"), str(tmp_path / "d.yaml")}
    assert not (tmp_path / "t.db").exists()


@pytest.mark.parametrize("given", ["flows/", {"id": "w"}, None, 7])
async def test_workflows_that_are_no_list_are_refused(given: Any) -> None:
    with pytest.raises(ValidationError, match="workflows is a list of"):
        async with engine_on(":memory:", workflows=given):
            pytest.fail("it opened")


async def test_actions_are_looked_up_where_the_engine_has_any() -> None:
    document = {"id": "w", "nodes": [{"id": "a", "action": "nobody.knows"}]}
    async with engine_on(":memory:") as engine:
        await engine.register_workflow(document)
        with pytest.raises(ValidationError, match="nobody.knows"):
            await engine.start_workflow(WorkflowRef("w"))
    async with engine_on(":memory:", actions=[{"act": print}]) as engine:
        with pytest.raises(ValidationError, match="nobody.knows"):
            await engine.register_workflow(document)
        assert await engine.list_workflows() == []


async def test_a_client_reads_what_is_registered_and_asks_the_engine_to_register(tmp_path: Path) -> None:
    async with asyncio.timeout(20), engine_on(tmp_path / "t.db") as engine:
        one = await engine.register_workflow(order("first", 1))
        async with Client(tmp_path / "t.db") as client:
            two = await client.register_workflow(order("second", 2))
            assert isinstance(two, WorkflowVersion)
            assert await client.state_manager.list_versions("order") == [two, one]
            assert await client.state_manager.get_workflow("order", 1) == load_workflow(order("first", 1))
            with pytest.raises(ValidationError, match="no_such_key"):
                await client.register_workflow({**order("x"), "no_such_key": 1})
        assert (await engine.run_workflow(WorkflowRef("order"))).output == "second"


async def test_a_workflow_that_is_registered_while_no_engine_runs_waits_for_one(tmp_path: Path) -> None:
    async with engine_on(tmp_path / "t.db"):
        pass
    async with Client(tmp_path / "t.db") as client:
        with pytest.raises(UnavailableError, match="the command to register a workflow waits in"):
            await client.register_workflow(order("late"))
    inbox = Inbox(str(tmp_path / "t.db"), max_bytes=10_000)
    bad = inbox.post(Letter("register", "", "r", data=Raw(b'{"no": "workflow"}')))
    async with engine_on(tmp_path / "t.db", recover="none") as engine:
        assert (await engine.run_workflow(WorkflowRef("order"))).output == "late"
    reply = inbox.fetch(bad)
    assert reply is not None
    assert (reply.accepted, reply.code) == (False, "validation")


async def test_a_registered_workflow_whose_content_is_damaged_says_so_and_registering_it_again_cures_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "t.db"
    async with engine_on(path) as engine:
        await engine.register_workflow(order("v"))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("update definitions set document = x'00'")
    found = await treadle.diagnose(path)
    assert any("workflow 'order' cannot be used" in one.text for one in found.findings if one.severity == "error")
    async with engine_on(path) as engine:
        with pytest.raises(StoreError, match="workflow 'order' cannot be used: .*; register it again"):
            await engine.start_workflow(WorkflowRef("order"))
        await engine.register_workflow(order("v"))
        assert (await engine.run_workflow(WorkflowRef("order"))).output == "v"
    assert (await treadle.diagnose(path)).is_whole


async def test_after_a_registration_that_could_not_be_written_the_engine_goes_on_by_itself(tmp_path: Path) -> None:
    class Failing(sqlite3.Connection):
        left = 0

        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            if sql == "commit" and Failing.left:
                Failing.left -= 1
                raise sqlite3.OperationalError("disk I/O error")
            return super().execute(sql, *values)

    store = SqliteStore(
        tmp_path / "t.db",
        connect=lambda path: sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Failing),
    )
    async with asyncio.timeout(20), engine_on(store) as engine:  # type: ignore[arg-type]
        Failing.left = 1
        with pytest.raises(StoreError, match="disk I/O error"):
            await engine.register_workflow(order("v"))
        while True:
            try:
                await engine.register_workflow(order("v"))
                break
            except StoreError:
                await asyncio.sleep(0.005)
        assert (await engine.run_workflow(WorkflowRef("order"))).output == "v"
        assert engine.health.ok


async def test_a_file_of_the_first_schema_is_brought_up_to_date_and_its_executions_go_on(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    async with engine_on(path) as engine:
        await engine.run_workflow(order("v"), execution_id="old", tags={"a": "1"})
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as new:
        rows = {name: new.execute(f"select * from {name}").fetchall() for name in ("definitions", "turns")}
        listed = new.execute(
            "select number, execution_id, workflow_id, definition_hash, status, is_open, created_ms, ended_ms, tags "
            "from executions"
        ).fetchall()
    path.rename(tmp_path / "new.db")
    (tmp_path / "t.db.lock").unlink()
    script = (resources.files("treadle.store") / "migrations" / "0001_initial.sql").read_text("utf-8")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as old:
        old.executescript(f"{script} pragma application_id = 1953653868; pragma user_version = 1;")
        for name, found in {**rows, "executions": listed}.items():
            old.executemany(f"insert into {name} values ({','.join('?' * len(found[0]))})", found)
    with pytest.raises(StoreError, match="written by an older treadle"):
        async with Client(path):
            pytest.fail("it opened")
    async with engine_on(path, workflows=[order("new")]) as engine:
        state = await engine.get_execution_state("old")
        assert (state.status, state.output) == (ExecutionStatus.COMPLETED, "v")
        assert [one.execution_id for one in (await engine.list_executions(tags={"a": "1"}))[0]] == ["old"]
        assert (await engine.run_workflow(WorkflowRef("order"))).output == "new"
    assert (await treadle.diagnose(path)).is_whole
