"""How slots and limits stand, and why a step waits for them, as the engine that runs tells code and command line."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from treadle import (
    Client,
    Limit,
    LimitState,
    NotFoundError,
    Occupancy,
    Reason,
    Settings,
    UnavailableError,
    WorkflowEngine,
)
from treadle.store.inbox import Inbox, Letter

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = Settings(grace_ms=50, inbox_poll_ms=5)
CONFIG = {"service": "svc", "action": "hold", "limits": [{"name": "tenant", "key": "${input.t}", "concurrency": 1}]}
HOLDS = {"id": "holds", "nodes": [{"id": "a", "config": CONFIG}]}


class Work:
    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.begun = asyncio.Event()

    async def hold(self) -> str:
        self.begun.set()
        await self.gate.wait()
        return "held"

    def engine(self, store: Any, limits: Any = None, **options: Any) -> WorkflowEngine:
        return WorkflowEngine(3, store, [{"svc.hold": self.hold}], settings=SETTINGS, limits=limits, **options)


async def busy(work: Work, engine: WorkflowEngine) -> None:
    """Start two executions of which the second waits for the first."""
    await engine.start_workflow(HOLDS, {"t": "acme"}, execution_id="one")
    await work.begun.wait()
    await engine.start_workflow(HOLDS, {"t": "acme"}, execution_id="two")


TENANT = LimitState("tenant", '"acme"', concurrency=1, held=1, holders=("one/a",), waiting=1)
CRM = LimitState("crm", rate=10, per_seconds=60)
SVC = LimitState("svc", concurrency=2, held=1, holders=("one/a",), waiting=1)


async def test_the_engine_tells_how_its_slots_and_limits_stand() -> None:
    work = Work()
    limits = {"svc": 2, "crm": Limit(rate=10, per="1m"), "svc.hold": Limit(rate=1, per="1h")}
    async with asyncio.timeout(20), work.engine(":memory:", limits) as engine:
        await busy(work, engine)
        found = await engine.get_occupancy()
        rated, *others = sorted(found.limits, key=lambda one: one.closed_until is None)
        assert (found.slots, found.held, found.waiting, found.hidden) == (3, 1, 1, 0)
        assert {one.name: one for one in others} == {one.name: one for one in (CRM, SVC, TENANT)}
        assert (rated.name, rated.rate, rated.per_seconds, rated.waiting) == ("svc.hold", 1, 3600, 1)
        began = (await engine.get_execution_state("one")).steps["a"].started_at
        assert began is not None
        assert rated.closed_until is not None
        assert abs(rated.closed_until - began - timedelta(hours=1)) < timedelta(seconds=5)
        await engine.cancel_execution("two")
        work.gate.set()
        await engine.wait("one")
        assert (await engine.get_occupancy()).held == 0


async def test_limits_of_many_keys_are_cut_and_the_busiest_are_shown() -> None:
    work = Work()
    nodes = [{"id": f"n{number}", "config": CONFIG | {"limits": [{"name": f"k{number}"}]}} for number in range(600)]
    async with asyncio.timeout(60), work.engine(":memory:", {"busy": 1}) as engine:
        await engine.start_workflow({"id": "w", "nodes": nodes})
        await work.begun.wait()
        found = await engine.get_occupancy()
        assert (len(found.limits), found.hidden, found.waiting) == (500, 101, 597)
        assert all(one.waiting == 1 for one in found.limits)
        work.gate.set()


async def test_another_process_asks_the_engine_that_runs(tmp_path: Path) -> None:
    work, path = Work(), tmp_path / "treadle.db"
    async with asyncio.timeout(60), work.engine(path, {"svc": 2}) as engine:
        await busy(work, engine)
        async with Client(path) as client:
            assert await client.get_occupancy() == Occupancy(3, 1, 1, (SVC, TENANT))
            found = await client.explain("two", "a")
            assert (found.reason, found.names) == (Reason.WAITS_FOR_SLOT, ("one/a",))
            assert await client.explain("two", "a") == await engine.explain("two", "a")
            assert (await client.explain("two")).steps == (found,)
            with pytest.raises(NotFoundError, match="no step named 'z'"):
                await client.explain("two", "z")
            with pytest.raises(NotFoundError, match="no execution named 'x'"):
                await client.explain("x", "a")
        assert not list((tmp_path / "treadle.db.inbox").iterdir())
        told = await asyncio.to_thread(treadle, tmp_path, "explain", "two")
        assert (
            told[1].splitlines()[1].startswith('  a: it waits for the limit tenant["acme"], 1 at a time; held by one/a')
        )
        lines = (await asyncio.to_thread(treadle, tmp_path, "limits"))[1].splitlines()
        assert lines == [
            "1 of 3 slots held; ready steps that wait: 1",
            "svc: 2 at a time; held by one/a; 1 wait",
            'tenant["acme"]: 1 at a time; held by one/a; 1 wait',
        ]
        told = await asyncio.to_thread(treadle, tmp_path, "limits", "--json")
        assert json.loads(told[1])["limits"][0] == json.loads(
            '{"name": "svc", "concurrency": 2, "held": 1, "holders": ["one/a"], "waiting": 1}'
        )
        work.gate.set()
        await engine.wait("two")


async def test_an_engine_that_goes_on_with_others_only_answers_questions_too(tmp_path: Path) -> None:
    work, path = Work(), tmp_path / "treadle.db"
    async with asyncio.timeout(60):
        async with work.engine(path) as engine:
            await busy(work, engine)
        async with work.engine(path, recover="none"), Client(path) as client:
            assert (await client.explain("one")).reason is Reason.NO_ENGINE


async def test_without_an_answer_the_log_has_to_do_and_the_question_is_taken_back(tmp_path: Path) -> None:
    work, path = Work(), tmp_path / "treadle.db"
    deaf = Settings(grace_ms=50, inbox_poll_ms=3_600_000)
    async with asyncio.timeout(60), WorkflowEngine(3, path, [{"svc.hold": work.hold}], settings=deaf) as engine:
        await busy(work, engine)
        async with Client(path, timeout=0.05) as client:
            with pytest.raises(UnavailableError, match=r"the engine of process \d+ has not answered within 0.05 s"):
                await client.get_occupancy()
            with pytest.raises(UnavailableError, match="has not answered"):
                await client.explain("two")
        assert not Inbox(str(path), max_bytes=1).names()
        _, out, _ = await asyncio.to_thread(treadle, tmp_path, "explain", "two", "a")
        assert "has not answered within 3 s; what the log says:" in out.splitlines()[0]
        assert out.splitlines()[1] == "it needs nothing more than a slot"
        _, out, err = await asyncio.to_thread(treadle, tmp_path, "explain", "two", "a", "--json")
        assert json.loads(out)["reason"] == "ready"
        assert "has not answered within 3 s; this is what the log says" in err
        work.gate.set()
    async with Client(path) as client:
        with pytest.raises(UnavailableError, match="no engine runs this file now"):
            await client.get_occupancy()
    assert treadle(tmp_path, "limits") == (2, "", "error: no engine runs this file now\n")
    assert treadle(tmp_path, "limits", "--db", "none")[0] == 2


async def test_a_question_that_was_left_in_the_inbox_is_answered_when_an_engine_comes(tmp_path: Path) -> None:
    """Whoever asked was killed: the question must not stay for ever."""
    work, path = Work(), tmp_path / "treadle.db"
    async with work.engine(path):
        pass
    inbox = Inbox(str(path), max_bytes=10_000)
    names = [inbox.post(Letter("occupancy", "", "r")), inbox.post(Letter("explain", "gone", "r", step="a"))]
    async with work.engine(path):
        assert inbox.names() == []
    occupancy, gone = map(inbox.fetch, names)
    assert occupancy is not None
    assert occupancy.occupancy == Occupancy(3, 0, 0)
    assert gone is not None
    assert gone.code == "not_found"


def treadle(folder: Path, *words: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "treadle", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr
