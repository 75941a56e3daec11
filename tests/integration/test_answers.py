"""A step whose attempts are spent asks a person: through the engine, another process, a terminal, and over crashes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from treadle import (
    Answer,
    Client,
    ConflictError,
    ExecutionStatus,
    NotFoundError,
    Settings,
    ValidationError,
    WorkflowEngine,
)
from treadle.testing import outcomes, raises, rehearse, returns

if TYPE_CHECKING:
    from pathlib import Path

SHOP: dict[str, Any] = {
    "id": "shop",
    "nodes": [
        {
            "id": "charge",
            "action": "charge",
            "on_exhausted": "pause",
            "retry": {"max_attempts": 2, "initial_delay": "1ms"},
            "output_schema": {"type": "object", "required": ["id"]},
        },
        {"id": "ship", "action": "ship"},
    ],
    "connections": [{"source": "charge", "target": "ship"}],
    "output": "${charge.id}",
}


class Work:
    """Actions that fail as often as they are told."""

    def __init__(self, failures: int = 2) -> None:
        self.failures = failures
        self.calls: list[int] = []
        self.shipped = 0

    async def charge(self) -> dict[str, Any]:
        self.calls.append(1)
        if len(self.calls) <= self.failures:
            raise ConnectionError("the bank is down")
        return {"id": f"c{len(self.calls)}"}

    async def ship(self) -> None:
        self.shipped += 1

    @property
    def actions(self) -> list[object]:
        return [{"charge": self.charge, "ship": self.ship}]


async def test_an_answer_goes_on_as_it_says(tmp_path: Path) -> None:
    work = Work(failures=6)
    async with asyncio.timeout(20), WorkflowEngine(store=tmp_path / "log.db", actions=work.actions) as engine:
        states = [await engine.run_workflow(SHOP, execution_id=name) for name in ("output", "skip", "abort")]
        assert [(one.status, one.waiting_for) for one in states] == [(ExecutionStatus.PAUSED, ("charge",))] * 3
        assert states[0].steps["charge"].error is not None
        assert states[0].steps["charge"].error.message == "the bank is down"
        await engine.answer("output", "charge", Answer.OUTPUT, {"id": "by hand"})
        await engine.answer("skip", "charge", "skip")
        await engine.answer("abort", "charge", "abort")
        states = [await engine.wait(name) for name in ("output", "skip", "abort")]
    assert [(one.status.value, one.output) for one in states] == [
        ("COMPLETED", "by hand"),
        ("COMPLETED", None),
        ("FAILED", None),
    ]
    assert (work.shipped, len(work.calls)) == (1, 6)


async def test_what_was_done_in_fact_is_complete_with_what_it_gave_or_null(tmp_path: Path) -> None:
    work = Work(failures=4)
    store = tmp_path / "log.db"
    shop = {**SHOP, "output": "${charge}"}
    async with asyncio.timeout(20), WorkflowEngine(store=store, actions=work.actions) as engine:
        for name in ("known", "unknown"):
            await engine.run_workflow(shop, execution_id=name)
        with pytest.raises(ValidationError, match='"id" is a required'):
            await engine.answer("known", "charge", "complete", {})
        await engine.answer("known", "charge", "complete", {"id": "c0"})
        await engine.answer("unknown", "charge", Answer.COMPLETE)
        states = [await engine.wait(name) for name in ("known", "unknown")]
    assert [(one.status.value, one.output) for one in states] == [("COMPLETED", {"id": "c0"}), ("COMPLETED", None)]
    assert [one.steps["charge"].answered_by for one in states] == ["person", "person"]
    assert (work.shipped, len(work.calls)) == (2, 4)


async def test_a_map_is_complete_with_what_there_is(tmp_path: Path) -> None:
    async def charge(item: int) -> int:
        if item > 1:
            raise ValueError("no")
        return item

    node = {"id": "c", "action": "charge", "parameters": {"item": "${item}"}, "on_exhausted": "pause"}
    body = {"nodes": [{**node, "retry": {"max_attempts": 1}}]}
    workflow = {"id": "w", "nodes": [{"id": "m", "type": "map", "items": [1, 2, 3], "body": body}]}
    settings = Settings(inbox_poll_ms=5)
    store = tmp_path / "log.db"
    async with (
        asyncio.timeout(20),
        WorkflowEngine(store=store, actions=[{"charge": charge}], settings=settings) as engine,
        Client(store) as client,
    ):
        assert (await engine.run_workflow(workflow, execution_id="x")).waiting_for == ("m[1].c", "m[2].c")
        with pytest.raises(ValidationError, match="step 'm' is a map, which gives what its items gave"):
            await client.answer("x", "m", "complete", [1, 2, 3])
        with pytest.raises(ConflictError, match="step 'm' asks nothing: it is RUNNING"):
            await engine.answer("x", "m", "retry")
        await client.answer("x", "m", "complete")
        state = await engine.wait("x")
        with pytest.raises(ConflictError, match="asks nothing"):
            await engine.answer("x", "m", "complete")
    assert (state.status.value, state.output) == ("COMPLETED", [1, None, None])


async def test_an_answer_that_does_not_fit_is_refused_and_nothing_changed(tmp_path: Path) -> None:
    work = Work()
    async with asyncio.timeout(20), WorkflowEngine(store=tmp_path / "log.db", actions=work.actions) as engine:
        await engine.run_workflow(SHOP, execution_id="one")
        before = await engine.history("one")
        with pytest.raises(
            ValidationError, match="an answer is one of retry, output, complete, skip, abort, not 'again'"
        ):
            await engine.answer("one", "charge", "again")
        with pytest.raises(ValidationError, match="only the answers 'output' and 'complete' have a value"):
            await engine.answer("one", "charge", "retry", 1)
        with pytest.raises(ValidationError, match='"id" is a required'):
            await engine.answer("one", "charge", "output", {})
        with pytest.raises(ValidationError, match="output: "):
            await engine.answer("one", "charge", "output", {1})
        with pytest.raises(ConflictError, match="step 'ship' asks nothing: it is PENDING"):
            await engine.answer("one", "ship", "retry")
        with pytest.raises(NotFoundError, match="no step named 'nobody'"):
            await engine.answer("one", "nobody", "retry")
        with pytest.raises(NotFoundError, match="no execution named 'two'"):
            await engine.answer("two", "charge", "retry")
        assert await engine.resume_workflow("one") is False
        assert await engine.history("one") == before


async def test_of_several_answers_at_once_one_counts(tmp_path: Path) -> None:
    work = Work()
    async with asyncio.timeout(20), WorkflowEngine(store=tmp_path / "log.db", actions=work.actions) as engine:
        await engine.run_workflow(SHOP, execution_id="one")
        given = [engine.answer("one", "charge", "retry") for _ in range(5)]
        told = await asyncio.gather(*given, return_exceptions=True)
        assert sorted(type(one).__name__ for one in told) == ["ConflictError"] * 4 + ["NoneType"]
        assert (await engine.wait("one")).output == "c3"


@pytest.mark.parametrize("answer", ["retry", "output"])
async def test_the_question_and_the_answer_survive_a_crash(tmp_path: Path, answer: str) -> None:
    work = Work()
    async with asyncio.timeout(20):
        async with WorkflowEngine(store=tmp_path / "log.db", actions=work.actions) as engine:
            await engine.run_workflow(SHOP, execution_id="one")
        async with WorkflowEngine(store=tmp_path / "log.db", actions=[{"ship": work.ship}]) as engine:
            state = await engine.wait("one")
            assert (state.status, state.waiting_for) == (ExecutionStatus.PAUSED, ("charge",))
            await engine.answer("one", "charge", answer, {"id": "x"} if answer == "output" else None)
        async with WorkflowEngine(store=tmp_path / "log.db", actions=work.actions) as engine:
            assert (await engine.wait("one")).output == ("c3" if answer == "retry" else "x")


async def test_another_process_answers_through_the_inbox(tmp_path: Path) -> None:
    work, settings = Work(), Settings(inbox_poll_ms=5)
    async with (
        asyncio.timeout(20),
        WorkflowEngine(store=tmp_path / "log.db", actions=work.actions, settings=settings) as engine,
    ):
        await engine.run_workflow(SHOP, execution_id="one")
        async with Client(tmp_path / "log.db") as client:
            with pytest.raises(ConflictError, match="asks nothing"):
                await client.answer("one", "ship", "retry")
            with pytest.raises(NotFoundError, match="no step named 'nobody'"):
                await client.answer("one", "nobody", "retry")
            with pytest.raises(ValidationError, match="required"):
                await client.answer("one", "charge", "output", {})
            with pytest.raises(ValidationError, match="required"):
                await client.answer("one", "charge", "complete", {})
            await client.answer("one", "charge", "output", {"id": "x"})
            assert (await engine.wait("one")).output == "x"
            with pytest.raises(ConflictError, match="asks nothing: the execution has ended"):
                await client.answer("one", "charge", "retry")


@pytest.mark.slow
def test_a_terminal_answers_and_resume_goes_on(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "from pathlib import Path\n"
        "from treadle import action\n"
        "@action('charge')\n"
        "def charge():\n"
        "    if not Path('bank').exists():\n"
        "        raise ConnectionError('the bank is down')\n"
        "    return {'id': 'c1'}\n"
        "@action('ship')\n"
        "def ship():\n"
        "    return None\n"
    )
    (tmp_path / "shop.json").write_text(json.dumps(SHOP))
    done = _treadle(tmp_path, "run", "shop.json", "--actions", "shop.py", "--id", "one")
    assert done.returncode == 3, done
    assert "answer with: treadle answer one charge retry (or: output VALUE, complete, skip, abort)" in done.stdout
    assert _treadle(tmp_path, "answer", "one", "charge", "output").returncode == 2
    for word in ("retry", "skip", "abort"):
        assert _treadle(tmp_path, "answer", "one", "charge", word, "1").returncode == 2
    (tmp_path / "bank").touch()
    done = _treadle(tmp_path, "answer", "one", "charge", "retry")
    assert (done.returncode, "carried out as soon as an engine runs" in done.stderr) == (0, True)
    done = _treadle(tmp_path, "resume", "one", "--actions", "shop.py")
    assert done.returncode == 0, done
    assert 'COMPLETED: "c1"' in done.stdout
    done = _treadle(tmp_path, "answer", "one", "charge", "retry")
    assert (done.returncode, done.stderr) == (1, "not taken: step 'charge' asks nothing: the execution has ended\n")


@pytest.mark.slow
@pytest.mark.parametrize("value", [(), ('{"id": "c9"}',)])
def test_a_terminal_says_that_it_was_done_in_fact(tmp_path: Path, value: tuple[str, ...]) -> None:
    (tmp_path / "shop.py").write_text(
        "from treadle import action\n"
        "@action('charge')\n"
        "def charge():\n"
        "    raise ConnectionError('no answer')\n"
        "@action('ship')\n"
        "def ship():\n"
        "    return None\n"
    )
    (tmp_path / "shop.json").write_text(json.dumps({**SHOP, "output": "${charge}"}))
    assert _treadle(tmp_path, "run", "shop.json", "--actions", "shop.py", "--id", "one").returncode == 3
    assert _treadle(tmp_path, "answer", "one", "charge", "complete", *value).returncode == 0
    done = _treadle(tmp_path, "resume", "one", "--actions", "shop.py")
    assert (done.returncode, "COMPLETED" in done.stdout, '"c9"' in done.stdout) == (0, True, bool(value))


def _treadle(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "treadle", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_a_rehearsal_answers() -> None:
    failing = raises(ConnectionError("down"))
    replace = {"charge": outcomes(failing, failing, returns({"id": "c"})), "ship": None}
    with rehearse(SHOP, replace=replace) as run:
        assert (run.status, run.waiting_for) == ("PAUSED", ["charge"])
        run.crash()
        run.answer("charge", "retry")
        assert (run.output, run.attempts) == ("c", {"charge": 3, "ship": 1})


async def test_an_attempt_that_was_cut_off_asks_where_it_must_not_run_twice(tmp_path: Path) -> None:
    started, calls = asyncio.Event(), []

    async def charge() -> dict[str, str]:
        calls.append(1)
        started.set()
        await asyncio.Event().wait()
        return {}

    once = {"id": "once", "nodes": [{"id": "charge", "action": "charge", "on_interrupted": "pause"}]}
    async with asyncio.timeout(20):
        async with WorkflowEngine(store=tmp_path / "log.db", actions=[{"charge": charge}], grace=0) as engine:
            await engine.start_workflow(once, execution_id="one")
            await started.wait()
        async with WorkflowEngine(store=tmp_path / "log.db", actions=[{"charge": charge}]) as engine:
            state = await engine.wait("one")
            assert (state.status, state.waiting_for) == (ExecutionStatus.PAUSED, ("charge",))
            assert state.steps["charge"].error is not None
            assert state.steps["charge"].error.type == "StepInterrupted"
            await engine.answer("one", "charge", "output", "done by hand")
            assert (await engine.wait("one")).output == "done by hand"
    assert len(calls) == 1
