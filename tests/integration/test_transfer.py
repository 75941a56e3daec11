"""One execution as a JSON document and back: all of it or nothing, and it goes on where it was."""

from __future__ import annotations

import asyncio
import copy
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import treadle
from treadle import Client, ConflictError, NotFoundError, StoreError, ValidationError, WorkflowEngine, action
from treadle.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ODD = {"text": "ä \"'\\ \u2028 \U0001f600", "numbers": [1.0, 1e22, 0.1, -0.0, 2**70, 1e-7, 5], "large": "x" * 50_000}
CALLS: list[str] = []


@action("give")
async def give(value: Any, token: str = "") -> Any:
    CALLS.append("give")
    return {"given": value, "token": token}


@action("holds")
async def holds(context: treadle.StepContext) -> str:
    CALLS.append(context.idempotency_key)
    if context.attempt == 1:
        await asyncio.Event().wait()
    return f"attempt {context.attempt}"


ACTIONS = [give, holds]
SECRETS = {"TOKEN": "canary-4711"}
WORKFLOW: dict[str, Any] = {
    "id": "w",
    "nodes": [
        {"id": "a", "action": "give", "parameters": {"value": "${input}", "token": "${secrets.TOKEN}"}},
        {"id": "b", "action": "holds"},
        {"id": "c", "type": "input"},
    ],
    "connections": [{"source": "a", "target": "b"}, {"source": "b", "target": "c"}],
    "output": {"a": "${a}", "b": "${b}", "c": "${c}"},
}


async def exported(path: Path | str) -> dict[str, Any]:
    """Return an open execution, whose second step is in flight."""
    CALLS.clear()
    async with WorkflowEngine(store=path, actions=ACTIONS, secrets=SECRETS, grace=0) as engine:
        await engine.start_workflow(WORKFLOW, ODD, execution_id="one", tags={"k": "v"}, priority=3)
        async with asyncio.timeout(20):
            while len(CALLS) < 2:  # noqa: ASYNC110 - until the second action runs
                await asyncio.sleep(0)
        return await engine.export_execution("one")


@pytest.mark.parametrize("write", [json.dumps, lambda one: json.dumps(one, indent=3, sort_keys=False), lambda one: one])
async def test_an_open_execution_goes_on_elsewhere(tmp_path: Path, write: Callable[[Any], Any]) -> None:
    document = await exported(tmp_path / "here.db")
    assert "canary" not in json.dumps(document)
    async with Client(tmp_path / "here.db") as client:
        assert await client.state_manager.export_execution("one") == document
        before = await client.state_manager.history("one")
    async with WorkflowEngine(store=tmp_path / "there.db", actions=ACTIONS, secrets=SECRETS) as engine:
        assert await engine.import_execution(write(document)) == "one"
        async for event in engine.watch("one"):
            if event.kind == "InputAsked":
                break
        assert CALLS == ["give", "one/b", "one/b"], "what is recorded does not run again; what was cut off does"
        assert await engine.submit_input("one", "c", "Ada")
        state = await engine.wait("one")
        after = await engine.history("one")
        (row,), _ = await engine.list_executions()
    assert state.output == {"a": {"given": ODD, "token": "[secret TOKEN]"}, "b": "attempt 2", "c": "Ada"}
    assert [(one.kind, one.at, one.data) for one in after[: len(before)]] == [(e.kind, e.at, e.data) for e in before]
    assert (row.status.value, row.tags, row.workflow_id) == ("COMPLETED", {"k": "v"}, "w")
    assert (await treadle.diagnose(tmp_path / "there.db")).is_whole


async def test_an_ended_one_and_one_that_is_not_to_go_on_are_there_and_rest(tmp_path: Path) -> None:
    document = await exported(tmp_path / "here.db")
    path = tmp_path / "there.db"
    async with WorkflowEngine(store=path, actions=ACTIONS, recover="none") as engine:
        await engine.import_execution(document, go_on=False)
        assert (await engine.get_execution_state("one")).steps["b"].status.value == "RUNNING"
        await engine.run_workflow({"id": "v", "nodes": [{"id": "x", "type": "set", "values": 1}]}, execution_id="done")
        ended = await engine.export_execution("done")
    assert CALLS == ["give", "one/b"]
    async with WorkflowEngine(store=":memory:") as engine:
        await engine.import_execution(ended)
        assert (await engine.wait("done")).output == 1
        assert await engine.history("done")
    async with WorkflowEngine(store=path, actions=ACTIONS) as engine:  # the next opening goes on with it
        async for event in engine.watch("one"):
            if event.kind == "InputAsked":
                break


async def test_a_watcher_of_everything_sees_what_is_imported(tmp_path: Path) -> None:
    document = await exported(tmp_path / "here.db")
    async with WorkflowEngine(store=":memory:", actions=ACTIONS) as engine:
        watching = engine.watch()
        first = asyncio.ensure_future(anext(watching))
        await asyncio.sleep(0)
        await engine.import_execution(document, go_on=False)
        async with asyncio.timeout(20):
            assert (await first).kind == "ExecutionCreated"


async def test_a_taken_id_is_refused_and_stays_what_it_is(tmp_path: Path) -> None:
    document = await exported(tmp_path / "here.db")
    other = {"id": "v", "nodes": [{"id": "x", "type": "input"}]}
    async with WorkflowEngine(store=":memory:", actions=ACTIONS) as engine:
        await engine.start_workflow(other, execution_id="one")
        with pytest.raises(ConflictError, match="execution 'one' exists here already"):
            await engine.import_execution(document)
        assert await engine.submit_input("one", "x", 5)
        assert (await engine.wait("one")).output == 5
        with pytest.raises(ConflictError, match="exists here already"):
            await engine.import_execution(document)


async def test_an_id_is_taken_from_the_moment_its_import_begins(tmp_path: Path) -> None:
    reached, gate = asyncio.Event(), asyncio.Event()

    class Slow(MemoryStore):
        async def append(self, turns: Any) -> Any:
            reached.set()
            await gate.wait()
            return await super().append(turns)

    document = await exported(tmp_path / "here.db")
    async with WorkflowEngine(store=Slow(), actions=ACTIONS) as engine:
        importing = asyncio.create_task(engine.import_execution(document, go_on=False))
        await reached.wait()
        with pytest.raises(ConflictError, match="execution 'one' is being imported"):
            await engine.start_workflow(WORKFLOW, ODD, execution_id="one")
        with pytest.raises(ConflictError, match="exists here already"):
            await engine.import_execution(document)
        gate.set()
        assert await importing == "one"
        assert await engine.start_workflow(WORKFLOW, ODD, execution_id="one") == "one"


async def test_a_later_export_of_what_is_here_does_not_go_on_with_it(tmp_path: Path) -> None:
    early = await exported(tmp_path / "here.db")
    async with WorkflowEngine(store=tmp_path / "here.db", actions=ACTIONS, secrets=SECRETS) as engine:
        async for event in engine.watch("one"):
            if event.kind == "InputAsked":
                break
        late = await engine.export_execution("one")
    assert late["turns"][: early["count"]] == early["turns"]
    async with WorkflowEngine(store=":memory:", actions=ACTIONS) as engine:
        await engine.import_execution(early, go_on=False)
        with pytest.raises(ConflictError, match="exists here already"):
            await engine.import_execution(late)
        assert await engine.export_execution("one") == early


async def test_a_key_that_another_open_one_has_is_refused() -> None:
    waits = {"id": "v", "nodes": [{"id": "x", "type": "input"}]}
    async with WorkflowEngine(store=":memory:") as engine:
        await engine.start_workflow(waits, execution_id="a", key="k")
        document = await engine.export_execution("a")
    async with WorkflowEngine(store=":memory:") as engine:
        await engine.start_workflow(waits, execution_id="b", key="k")
        with pytest.raises(ConflictError, match="its key 'k' is that of 'b', which is open"):
            await engine.import_execution(document)
        await engine.submit_input("b", "x", 1)
        await engine.wait("b")
        assert await engine.import_execution(document) == "a"
        assert await engine.submit_input("a", "x", 2)


async def test_one_that_went_on_with_another_version_needs_that_version() -> None:
    waits = {"id": "v", "nodes": [{"id": "x", "type": "input"}]}
    more = {**waits, "output": "${x}", "version": 2}
    async with WorkflowEngine(store=":memory:") as engine:
        await engine.start_workflow(waits, execution_id="a")
        assert await engine.migrate_execution("a", more)
        document = await engine.export_execution("a")
    (name,) = document["migrated"]
    async with WorkflowEngine(store=":memory:") as engine:
        with pytest.raises(ConflictError, match=f"not registered here: register {name} first"):
            await engine.import_execution(document)
        with pytest.raises(ValidationError, match="was not given"):
            await engine.import_execution(without(document, "migrated"))
        await engine.register_workflow(more)
        assert await engine.import_execution(document) == "a"
        assert await engine.submit_input("a", "x", 5)
        assert (await engine.wait("a")).output == 5


def without(document: Any, *keys: str) -> Any:
    return {key: one for key, one in document.items() if key not in keys}


def changed(path: list[Any], value: Any) -> Callable[[Any], Any]:
    def change(document: Any) -> Any:
        at = document = copy.deepcopy(document)
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = value(at[path[-1]]) if callable(value) else value
        return document

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (changed(["turns", 1, "events", 0, "at"], 5), "turn 2 does not fit its checksum"),
        (changed(["turns", 0, "events", 0, "input", "large"], "y"), "turn 1 does not fit its checksum"),
        (changed(["turns", 0, "checksum"], "00"), "turn 1 does not fit its checksum"),
        (changed(["turns"], lambda turns: turns[:-1]), "turns"),
        (changed(["turns"], lambda turns: turns[1:]), "turn 1 does not fit its checksum"),
        (changed(["turns"], lambda turns: [*turns, turns[-1]]), "does not fit its checksum"),
        (changed(["turns"], []), "it has 0 of its"),
        (changed(["execution_id"], "two"), "turn 1 does not fit its checksum"),
        (changed(["definition", "nodes", 0, "id"], "z"), "was changed: it does not have the hash"),
        (changed(["definition", "nodes"], 5), "cannot be read"),
        (changed(["definition_hash"], "0" * 32), "turn 1 does not fit its checksum"),
        (changed(["treadle_export"], 2), "it was exported by a newer treadle (format 2; this one knows 1)"),
        (changed(["treadle_export"], "1"), "this is no exported execution, or a damaged one"),
        (lambda document: without(document, "turns"), "this is no exported execution, or a damaged one"),
        (lambda document: json.dumps(document)[:-100], "this is no exported execution, or a damaged one"),
        (lambda document: b"\xff\x00", "this is no exported execution, or a damaged one"),
        (lambda document: "[" * 100_000, "this is no exported execution, or a damaged one"),
        (lambda document: [document], "this is no exported execution, or a damaged one"),
        (lambda document: None, "this is no exported execution, or a damaged one"),
        (lambda document: {1: object()}, "this is no exported execution, or a damaged one"),
    ],
)
async def test_a_damaged_document_is_one_error_and_nothing_is_written(
    tmp_path: Path, damage: Callable[[Any], Any], message: str
) -> None:
    document = await exported(":memory:")
    async with WorkflowEngine(store=":memory:", actions=ACTIONS) as engine:
        with pytest.raises(ValidationError) as error:
            await engine.import_execution(damage(document))
        assert message in str(error.value)
        assert (await engine.list_executions())[0] == []
        assert engine.health.ok


async def test_a_log_that_was_made_up_must_fold_on_a_valid_workflow() -> None:
    import msgspec

    from treadle.model import Workflow, decode_workflow, definition_hash, encode_workflow
    from treadle.store.chain import first_link, link

    def signed(document: Any) -> Any:
        """Return a document with the checksums that its content should have."""
        workflow: Workflow = decode_workflow(msgspec.json.encode(document["definition"]))
        name = definition_hash(workflow)
        document["turns"][0]["events"][0]["definition_hash"] = name
        checksum = first_link(document["execution_id"], name)
        for number, turn in enumerate(document["turns"], 1):
            checksum = link(checksum, number, len(turn["events"]), msgspec.json.encode(turn["events"]))
            turn["checksum"] = checksum.hex()
        return {**document, "definition_hash": name, "definition": json.loads(encode_workflow(workflow))}

    document = await exported(":memory:")
    async with WorkflowEngine(store=":memory:", actions=ACTIONS) as engine:
        cases: list[tuple[list[Any], Any, str]] = [
            (["turns", 0, "events", 0, "kind"], "Unheard", "no event of this version"),
            (["turns", 1, "events", 0, "step"], "nowhere", "nowhere"),
            (["turns", 0, "events", 0, "execution_id"], "two", "its events are those of execution 'two'"),
            (["definition", "connections", 0, "target"], "a", "circular"),
            (["definition", "connections", 0, "target"], "nobody", "nobody"),
        ]
        for path, value, message in cases:
            forged = signed(changed(path, value)(document))
            with pytest.raises(ValidationError) as error:
                await engine.import_execution(forged)
            assert "this exported execution is damaged" in str(error.value)
            assert message in str(error.value)
        assert (await engine.list_executions())[0] == []
        await engine.import_execution(signed(copy.deepcopy(document)), go_on=False)


async def test_there_is_nothing_to_export_of_what_is_not_there_or_damaged(tmp_path: Path) -> None:
    async with WorkflowEngine(store=":memory:") as engine:
        with pytest.raises(NotFoundError):
            await engine.export_execution("nobody")
    with pytest.raises((ConflictError, StoreError)):
        await engine.import_execution(await exported(":memory:"))


@pytest.mark.slow
def test_the_command_line_moves_an_execution_from_file_to_file(tmp_path: Path) -> None:
    (tmp_path / "w.json").write_text(
        json.dumps(
            {"id": "w", "nodes": [{"id": "a", "type": "set", "values": "${input.x}"}, {"id": "b", "type": "input"}]}
        )
    )

    def run(*words: str, given: str | None = None) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "treadle", *words]
        done = subprocess.run(command, cwd=tmp_path, input=given, text=True, capture_output=True, check=False)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    async def begin() -> None:
        async with WorkflowEngine(store=tmp_path / "treadle.db") as engine:
            await engine.start_workflow(str(tmp_path / "w.json"), {"x": 5}, execution_id="one")

    asyncio.run(begin())
    code, text, _ = run("export", "one")
    assert (code, json.loads(text)["execution_id"]) == (0, "one")
    assert run("export", "one", "-o", "one.json") == (0, "", "wrote one.json\n")
    assert (tmp_path / "one.json").read_text() == text
    assert run("export", "one", "-o", "one.json")[0] == 2
    assert run("export", "nobody")[0] == 2
    assert run("import", "one.json") == (
        2,
        "",
        "error: execution 'one' exists here already; an imported one keeps its id\n",
    )
    assert run("import", "one.json", "--db", "other.db") == (0, "imported one\n", "")
    assert run("import", "-", "--db", "third.db", given=text) == (0, "imported one\n", "")
    assert run("list", "--db", "other.db")[1].split()[:2] == ["one", "RUNNING"]
    (tmp_path / "bad.json").write_text(text.replace("5", "6"))
    code, out, error = run("import", "bad.json", "--db", "fourth.db")
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert run("import", "nowhere.json")[2] == "error: cannot read nowhere.json: No such file or directory\n"
