"""Schedules from another process: read from the file, changed by the engine that runs it, or by the next one."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from msgspec import Raw

from treadle import Client, ConflictError, NotFoundError, Settings, UnavailableError, ValidationError, WorkflowEngine
from treadle.store.inbox import Inbox, Letter, Reply

if TYPE_CHECKING:
    from pathlib import Path

WORKFLOW = {"id": "w", "nodes": [{"id": "a", "action": "echo", "parameters": {"at": "${input.at}"}}]}
AT = {"at": "${schedule.planned_at}"}
SETTINGS = Settings(inbox_poll_ms=5, grace_ms=50)


async def echo(at: str) -> str:
    return at


def engine(folder: Path, recover: str = "all") -> WorkflowEngine:
    return WorkflowEngine(store=folder / "t.db", actions=[{"echo": echo}], settings=SETTINGS, recover=recover)


async def first_execution(running: WorkflowEngine) -> str:
    while not (rows := (await running.list_executions())[0]):  # noqa: ASYNC110 - another part of the engine starts it
        await asyncio.sleep(0.005)
    assert len(rows) == 1
    return rows[0].execution_id


async def answer(inbox: Inbox, name: str) -> Reply:
    while (reply := inbox.fetch(name)) is None:  # noqa: ASYNC110 - a file is looked for
        await asyncio.sleep(0.005)
    return reply


async def test_a_client_asks_the_engine_for_every_verb_and_reads_what_came_of_it(tmp_path: Path) -> None:
    async with asyncio.timeout(30), engine(tmp_path) as running, Client(tmp_path / "t.db") as beside:
        name = await beside.schedule(WORKFLOW, "0 0 1 1 *", "Europe/Vienna", input_data=AT, schedule_id="yearly")
        assert name == "yearly"
        (found,) = await beside.state_manager.list_schedules()
        assert found == await running.get_schedule("yearly")
        assert (found.cron, found.timezone, found.workflow_id) == ("0 0 1 1 *", "Europe/Vienna", "w")
        with pytest.raises(ConflictError, match="says something else"):
            await beside.schedule(WORKFLOW, "0 0 2 1 *", input_data=AT, schedule_id="yearly")
        await beside.schedule(WORKFLOW, "0 0 2 1 *", input_data=AT, schedule_id="yearly", replace=True)
        assert (await beside.state_manager.get_schedule("yearly")).cron == "0 0 2 1 *"
        assert (await beside.pause_schedule("yearly"), await beside.pause_schedule("yearly")) == (True, False)
        assert (await beside.state_manager.get_schedule("yearly")).is_paused
        assert (await beside.resume_schedule("yearly"), await beside.resume_schedule("yearly")) == (True, False)
        started = await beside.trigger_schedule("yearly")
        assert started is not None
        await first_execution(running)
        assert str((await running.wait(started)).output).endswith("+00:00")
        assert (await beside.unschedule("yearly"), await beside.unschedule("yearly")) == (True, False)
        for verb in (beside.pause_schedule, beside.resume_schedule, beside.trigger_schedule):
            with pytest.raises(NotFoundError, match="no schedule named 'yearly'"):
                await verb("yearly")
        assert await running.list_schedules() == []


async def test_a_bad_schedule_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    async with engine(tmp_path), Client(tmp_path / "t.db") as beside:
        with pytest.raises(ValidationError) as caught:
            await beside.schedule(WORKFLOW, "nonsense", "Nowhere", overlap="x")
        assert [one.path for one in caught.value.problems] == ["cron", "timezone", "overlap"]
        assert not (tmp_path / "t.db.inbox").exists()


async def test_with_no_engine_a_command_waits_for_one(tmp_path: Path) -> None:
    async with engine(tmp_path) as first:
        await first.schedule(WORKFLOW, "0 0 1 1 *", input_data=AT, schedule_id="s")
    async with Client(tmp_path / "t.db") as beside:
        for asked in (
            beside.schedule(WORKFLOW, "0 0 1 1 *", input_data=AT, schedule_id="t"),
            beside.pause_schedule("s"),
        ):
            with pytest.raises(UnavailableError, match="no engine runs this file now"):
                await asked
        with pytest.raises(UnavailableError):
            await beside.trigger_schedule("s")
    async with engine(tmp_path, recover="none") as second:
        found = {one.schedule_id: one for one in await second.list_schedules()}
        assert (found["s"].is_paused, found["t"].is_paused, found["s"].started) == (True, False, 1)
        assert (await second.list_executions())[0] == [], "it starts where everything is recovered"
    async with asyncio.timeout(30), engine(tmp_path) as third:
        assert (await first_execution(third)).startswith("s/manual-")


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "this is no schedule: 'spec'"),
        ({"spec": b"{}", "workflow": b"{}"}, "this is no schedule"),
        ({"spec": b'{"workflow_id":"w","definition_hash":"h","cron":"x"}', "workflow": b'{"id":"w"}'}, "no schedule"),
    ],
)
async def test_a_letter_that_is_no_schedule_is_answered_and_harms_nobody(
    tmp_path: Path, inputs: dict[str, bytes], words: str
) -> None:
    async with asyncio.timeout(30), engine(tmp_path) as running:
        inbox = Inbox(str((tmp_path / "t.db").resolve()), max_bytes=1_000_000)
        letter = Letter("schedule", "s", "r", {name: Raw(text) for name, text in inputs.items()})
        name = inbox.post(letter)
        reply = await answer(inbox, name)
        assert (reply.accepted, reply.code) == (False, "validation")
        assert words in reply.message
        assert await running.list_schedules() == []


async def test_the_same_letter_twice_triggers_once(tmp_path: Path) -> None:
    async with asyncio.timeout(30), engine(tmp_path) as running:
        await running.schedule(WORKFLOW, "0 0 1 1 *", input_data=AT, schedule_id="s")
        inbox = Inbox(str((tmp_path / "t.db").resolve()), max_bytes=1_000_000)
        for _ in range(3):
            name = inbox.post(Letter("trigger_schedule", "s", "manual-one"))
            assert (await answer(inbox, name)).accepted
        await running.wait("s/manual-one")
        assert (await running.get_schedule("s")).started == 1
        assert len((await running.list_executions())[0]) == 1


def test_planned_times_are_given_in_the_zone(tmp_path: Path) -> None:
    async def whole() -> None:
        async with engine(tmp_path) as running:
            await running.schedule(WORKFLOW, "30 2 * * *", "Europe/Vienna", input_data=AT, schedule_id="s")
            found = await running.get_schedule("s")
            planned = found.planned_times(3, after=datetime(2030, 3, 30, tzinfo=UTC))
            assert [one.isoformat() for one in planned] == [
                "2030-03-30T02:30:00+01:00",
                "2030-03-31T03:00:00+02:00",
                "2030-04-01T02:30:00+02:00",
            ]

    asyncio.run(whole())
