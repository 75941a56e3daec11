"""Limits through the public API: real actions, real threads, real executions, and a virtual clock where time passes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

import treadle
from treadle import Limit, Reason, StepContext, ValidationError, WorkflowEngine, action
from treadle.store.memory import MemoryStore
from treadle.testing import outcomes, rehearse

if TYPE_CHECKING:
    from pathlib import Path


class Gatekeeper:
    """An action that notes how many of it run, by tenant, and waits until it may end."""

    def __init__(self) -> None:
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.most_at_once = 0
        self.open = asyncio.Event()
        self.entered = asyncio.Condition()

    @property
    def action(self) -> Any:
        @action("payments.charge")
        async def charge(tenant: str = "") -> str:
            self.running[tenant] += 1
            self.most[tenant] = max(self.most[tenant], self.running[tenant])
            self.most_at_once = max(self.most_at_once, self.running.total())
            async with self.entered:
                self.entered.notify_all()
            await self.open.wait()
            self.running[tenant] -= 1
            return tenant

        return charge

    async def runs(self, count: int) -> None:
        async with self.entered:
            await self.entered.wait_for(lambda: self.running.total() == count)


def charge(name: str, **config: Any) -> dict[str, Any]:
    parameters = config.pop("parameters", {})
    return {"id": name, "config": {"service": "payments", "action": "charge", "parameters": parameters, **config}}


WIDE = {"id": "wide", "nodes": [charge(f"n{number}") for number in range(8)]}


@pytest.mark.parametrize(
    "limits",
    [
        {"payments": 3},
        {"payments.charge": Limit(concurrency=3)},
        {"workflow:wide": 3},
        {"payments": 5, "payments.charge": 3, "workflow:wide": 4},
        {"payments": 3, "somebody.else": 1},
    ],
)
async def test_a_limit_of_the_engine_holds_over_all_executions(limits: dict[str, Any]) -> None:
    keeper = Gatekeeper()
    async with WorkflowEngine(20, ":memory:", [keeper.action], limits=limits) as engine:
        ids = [await engine.start_workflow(WIDE) for _ in range(3)]
        await keeper.runs(3)
        keeper.open.set()
        states = [await engine.wait(one) for one in ids]
    assert {state.status.value for state in states} == {"COMPLETED"}
    assert keeper.most_at_once == 3


async def test_each_value_of_a_key_has_a_limit_of_its_own() -> None:
    keeper = Gatekeeper()
    limits = [{"name": "tenant", "key": "${input.tenant}", "concurrency": 2}]
    nodes = [charge(f"n{number}", parameters={"tenant": "${input.tenant}"}, limits=limits) for number in range(4)]
    async with WorkflowEngine(20, ":memory:", [keeper.action]) as engine:
        ids = [await engine.start_workflow({"id": "w", "nodes": nodes}, {"tenant": one}) for one in ("a", "b", "a")]
        await keeper.runs(4)
        keeper.open.set()
        for one in ids:
            await engine.wait(one)
    assert keeper.most == {"a": 2, "b": 2}


async def test_the_number_of_the_engine_takes_the_place_of_that_of_a_definition() -> None:
    keeper = Gatekeeper()
    nodes = [charge(f"n{number}", limits=[{"name": "crm", "concurrency": 1}]) for number in range(6)]
    async with WorkflowEngine(20, ":memory:", [keeper.action], limits={"crm": 4}) as engine:
        started = await engine.start_workflow({"id": "w", "nodes": nodes})
        await keeper.runs(4)
        keeper.open.set()
        await engine.wait(started)
    assert keeper.most_at_once == 4


async def test_items_of_a_map_share_a_key_that_each_computes() -> None:
    keeper = Gatekeeper()
    inner = charge(
        "one", parameters={"tenant": "${item}"}, limits=[{"name": "tenant", "key": "${item}", "concurrency": 1}]
    )
    document = {
        "id": "w",
        "nodes": [{"id": "each", "type": "map", "items": "${input.all}", "body": {"nodes": [inner]}}],
    }
    async with WorkflowEngine(20, ":memory:", [keeper.action]) as engine:
        started = await engine.start_workflow(document, {"all": ["a", "a", "b", "a"]})
        await keeper.runs(2)
        keeper.open.set()
        state = await engine.wait(started)
    assert (state.output, keeper.most) == (["a", "a", "b", "a"], {"a": 1, "b": 1})


async def test_a_thread_that_was_given_up_holds_its_limit_until_it_returns() -> None:
    inside, leave, running = threading.Event(), threading.Event(), []

    @action("block")
    def block() -> str:
        running.append(1)
        assert len(running) == 1
        inside.set()
        assert leave.wait(20)
        running.clear()
        return "late"

    @action("after")
    async def after() -> str:
        return "free" if not running else "taken"

    limits = [{"name": "door", "concurrency": 1}]
    retry = {"max_attempts": 1}
    nodes = [
        {"id": "a", "config": {"action": "block", "timeout": "50ms", "limits": limits, "retry": retry}},
        {"id": "b", "config": {"action": "after", "limits": limits}},
        {"id": "c", "config": {"action": "after"}},
    ]
    connections = [
        {"source": "a", "target": "b", "outcome": "failure"},
        {"source": "a", "target": "c", "outcome": "failure"},
    ]
    settings = treadle.Settings(grace_ms=1)
    async with WorkflowEngine(3, ":memory:", [block, after], settings=settings) as engine:
        started = await engine.start_workflow({"id": "w", "nodes": nodes, "connections": connections})
        async for event in engine.watch(started):
            if event.kind == "StepSucceeded":
                break
        assert (event.step, event.data["output"]) == ("c", "taken")
        leave.set()
        state = await engine.wait(started)
    assert (state.steps["b"].output, state.steps["a"].status.value) == ("free", "TIMED_OUT")


def test_a_rate_spreads_starts_over_time_and_wakes_the_engine_by_itself() -> None:
    nodes = [{"id": f"n{number}", "config": {"action": "go", "limits": [CRM]}} for number in range(7)]
    with rehearse({"id": "w", "nodes": nodes}, replace={"go": 1}, max_concurrent_steps=20) as run:
        assert (run.status, run.elapsed) == ("COMPLETED", timedelta(minutes=3))
        begun = [event.at for event in run.history if event.kind == "StepStarted"]
    assert [round((at - begun[0]).total_seconds()) for at in begun] == [0, 0, 60, 60, 120, 120, 180]


CRM = {"name": "crm", "rate": 2, "per": "1m"}


class Busy(Exception):  # noqa: N818 - what a client of somebody else's calls it
    """As an HTTP client raises it for 429 with Retry-After."""

    retry_after = 90


def test_an_error_that_says_retry_after_closes_the_key_for_every_step() -> None:
    limits = [{"name": "crm", "key": "${input.account}", "concurrency": 10}]
    nodes = [
        {"id": "first", "config": {"action": "asked", "limits": limits}},
        {"id": "other", "config": {"action": "other"}},
        {"id": "second", "config": {"action": "plain", "limits": limits}},
        {"id": "free", "config": {"action": "plain", "limits": [{**limits[0], "key": "else"}]}},
    ]
    connections = [{"source": "other", "target": one} for one in ("second", "free")]
    with rehearse(
        {"id": "w", "nodes": nodes, "connections": connections},
        {"account": "a"},
        replace={"asked": outcomes(Busy("slow down"), 1), "other": 1, "plain": 1},
    ) as run:
        assert run.status == "COMPLETED"
        begun = {event.step: event.at for event in run.history if event.kind == "StepStarted"}
        first = run.history[0].at
    assert {name: round((at - first).total_seconds()) for name, at in begun.items()} == {
        "first": 90, "other": 0, "second": 90, "free": 0,
    }  # fmt: skip


def test_a_step_that_gets_no_slot_in_time_is_timed_out_and_its_failure_can_be_handled() -> None:
    one = [{"name": "one", "concurrency": 1}]
    nodes = [
        {"id": "long", "config": {"action": "long", "limits": one}},
        {
            "id": "late",
            "config": {"action": "plain", "limits": one, "queue_timeout": "10s", "retry": {"max_attempts": 9}},
        },
        {"id": "sorry", "config": {"action": "plain"}},
    ]
    connections = [{"source": "late", "target": "sorry", "outcome": "failure"}]
    document = {"id": "w", "nodes": nodes, "connections": connections}

    async def long() -> int:
        await asyncio.sleep(60)
        return 1

    with rehearse(document, replace={"long": long, "plain": 2}) as run:
        assert run.statuses == {"long": "COMPLETED", "late": "TIMED_OUT", "sorry": "COMPLETED"}
        error = run.state.steps["late"].error
        assert (error.type, error.attempt) == ("QueueTimeout", 0)
        assert error.message == "it got no slot within its queue timeout of 10 s"
        assert run.calls("plain") == [call for call in run.calls() if call.step == "sorry"]
        timed_out = next(event for event in run.history if event.kind == "StepTimedOut")
        assert (timed_out.at - run.history[0].at) == timedelta(seconds=10)


def test_the_wait_for_a_slot_stands_while_the_execution_is_paused() -> None:
    nodes = [
        {"id": "long", "config": {"action": "long"}},
        {"id": "late", "config": {"action": "plain", "queue_timeout": "10s"}},
    ]

    async def long() -> int:
        await asyncio.sleep(60)
        return 1

    with rehearse(
        {"id": "w", "nodes": nodes}, replace={"long": long, "plain": 2}, max_concurrent_steps=1, until=SOON
    ) as run:
        run.pause(until=timedelta(seconds=50))
        assert run.statuses["late"] == "WAITING"
        run.resume(until=timedelta(seconds=4))
        assert run.statuses["late"] == "WAITING"
        run.advance(2)
        assert run.statuses["late"] == "TIMED_OUT"


SOON = timedelta(seconds=5)


def test_an_attempt_that_is_silent_for_too_long_is_cancelled_and_tried_again() -> None:
    calls = []

    async def work(context: StepContext) -> str:
        calls.append(context.attempt)
        for done in range(10):
            await asyncio.sleep(4)
            context.progress(done, 10, "pages")
        if context.attempt == 1:
            await asyncio.sleep(100)
        return "done"

    nodes = [{"id": "a", "config": {"action": "work", "heartbeat_timeout": "5s", "retry": {"initial_delay": "1s"}}}]
    with rehearse({"id": "w", "nodes": nodes}, replace={"work": work}) as run:
        assert (run.status, calls, run.elapsed) == ("COMPLETED", [1, 2], timedelta(seconds=45 + 1 + 40))
        failed = next(event for event in run.history if event.kind == "AttemptFailed")
    assert failed.data["timed_out"] is True
    assert failed.data["error"]["type"] == "HeartbeatTimeout"
    assert failed.data["error"]["message"] == "attempt 1 gave no heartbeat within its heartbeat timeout of 5 s"


def test_out_of_attempts_a_silent_step_is_timed_out() -> None:
    async def work() -> None:
        await asyncio.sleep(60)

    nodes = [{"id": "a", "config": {"action": "work", "heartbeat_timeout": "5s", "retry": {"max_attempts": 1}}}]
    with rehearse({"id": "w", "nodes": nodes}, replace={"work": work}) as run:
        assert (run.status, run.statuses) == ("FAILED", {"a": "TIMED_OUT"})
        assert run.state.steps["a"].error.type == "HeartbeatTimeout"


async def test_a_thread_gives_heartbeats_too_and_is_given_up_when_it_is_silent() -> None:
    leave = threading.Event()

    @action("work")
    def work(context: StepContext) -> str:
        if context.attempt == 1:
            leave.wait(20)
            return "late"
        for _ in range(30):
            context.heartbeat({"page": 1})
            leave.wait(0.02)
        return f"attempt {context.attempt}"

    config = {"action": "work", "heartbeat_timeout": "200ms", "retry": {"initial_delay": 0}}
    settings = treadle.Settings(grace_ms=1)
    async with WorkflowEngine(3, ":memory:", [work], settings=settings) as engine:
        try:
            state = await engine.run_workflow({"id": "w", "nodes": [{"id": "a", "config": config}]})
        finally:
            leave.set()
    assert (state.output, state.steps["a"].attempt) == ("attempt 2", 2)


async def test_a_blocking_action_that_was_silent_has_timed_out_although_it_held_up_the_loop() -> None:
    @action("work")
    async def work() -> str:
        threading.Event().wait(0.1)
        return "late"

    config = {"action": "work", "heartbeat_timeout": "20ms", "retry": {"max_attempts": 1}}
    async with WorkflowEngine(3, ":memory:", [work]) as engine:
        state = await engine.run_workflow({"id": "w", "nodes": [{"id": "a", "config": config}]})
    assert state.steps["a"].error is not None
    assert state.steps["a"].error.type == "HeartbeatTimeout"


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"": 1}, ["limits['']: '' is no name of a limit"]),
        ({"workflow:": 1}, ["is no name of a limit"]),
        ({"a": 0}, ["limits['a'].concurrency: must be a whole number of 1 or more, not 0"]),
        ({"a": True}, ["limits['a']: must be a whole number or a Limit, not True"]),
        ({"a": "2"}, ["must be a whole number or a Limit"]),
        ({"a": Limit(rate=0)}, ["limits['a'].rate: must be a whole number of 1 or more, not 0"]),
        ({"a": Limit()}, ["limits['a']: it needs a concurrency or a rate"]),
        ({"a": Limit(rate=1, per="soon")}, ["limits['a'].per: \"soon\" is no duration"]),
        ({"a": Limit(rate=1, per=0)}, ["limits['a'].per: must be longer than 0"]),
        ({"a": 0, "b": Limit()}, ["limits['a'].concurrency", "limits['b']: it needs"]),
        ([], ["limits is a dict of names and limits"]),
    ],
)
def test_wrong_limits_are_told_all_at_once(limits: Any, said: list[str]) -> None:
    with pytest.raises(ValidationError) as caught:
        WorkflowEngine(limits=limits)
    assert [one for one in said if one not in str(caught.value)] == []


def test_equal_keys_are_one_key_however_they_are_written() -> None:
    limits = [{"name": "k", "key": "${input.keys[item]}", "rate": 1, "per": "1m"}]
    inner = {"id": "one", "config": {"action": "go", "limits": limits}}
    each = {"id": "each", "type": "map", "items": [0, 1, 2, 3], "body": {"nodes": [inner]}}
    keys = [1, 1.0, {"a": 1, "b": 2}, {"b": 2.0, "a": 1}]
    with rehearse({"id": "w", "nodes": [each]}, {"keys": keys}, replace={"go": 1}, max_concurrent_steps=9) as run:
        begun = [event.at for event in run.history if event.kind == "StepStarted" and event.step != "each"]
    assert [round((at - begun[0]).total_seconds()) for at in begun] == [0, 0, 60, 60]


def test_a_key_that_is_too_long_fails_its_step_and_says_so() -> None:
    limits = [{"name": "k", "key": "${input.long}", "concurrency": 1}]
    document = {"id": "w", "nodes": [{"id": "a", "config": {"action": "go", "limits": limits}}]}
    with rehearse(document, {"long": "x" * 2_000}, replace={"go": 1}) as run:
        error = run.state.steps["a"].error
    assert error.message == "limits: the key of 'k' has at most 1,024 characters of JSON, not 2,002"


async def test_a_step_that_is_no_longer_ready_leaves_its_line_although_another_waits_for_its_action() -> None:
    """What admission keeps is what the machine says is ready, also where some of that never came to admission."""

    keeper, begun, may_end, store = Gatekeeper(), asyncio.Event(), asyncio.Event(), MemoryStore()

    async def first() -> None:
        begun.set()
        await may_end.wait()

    nodes = [
        charge("holds", limits=[{"name": "door", "concurrency": 1}]),
        {"id": "first", "config": {"action": "first"}},
        charge("late", limits=[{"name": "door"}], queue_timeout="10ms"),
        {"id": "unknown", "config": {"action": "gone"}},
    ]
    document = {
        "id": "w",
        "nodes": nodes,
        "connections": [{"source": "first", "target": one} for one in ("late", "unknown")],
    }
    known = {"first": first, "payments.charge": keeper.action}
    async with asyncio.timeout(30):
        async with WorkflowEngine(9, store, [{**known, "gone": first}], grace=0) as engine:
            started = await engine.start_workflow(document)
            await begun.wait()
        may_end.set()
        async with WorkflowEngine(9, store, [known]) as engine:
            async for event in engine.watch(started):
                if event.kind == "StepTimedOut":
                    break
            assert (event.step, event.data["error"]["type"]) == ("late", "QueueTimeout")
            assert engine._driver._turns._admission.waiting == 0  # type: ignore[attr-defined]
            keeper.open.set()
            await engine.wait(started)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("5", Limit(concurrency=5)),
        ("10/1s", Limit(rate=10, per="1s")),
        ("2147483647,10/PT5M", Limit(concurrency=2**31 - 1, rate=10, per="PT5M")),
    ],
)
def test_a_limit_is_read_from_text(text: str, limit: Limit) -> None:
    assert Limit.parse(text) == limit


def treadle_command(folder: Path, *words: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "treadle", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def test_a_limit_on_the_command_line_holds(tmp_path: Path) -> None:
    (tmp_path / "w.json").write_text(json.dumps({"id": "w", "nodes": [charge("a"), charge("b"), charge("c")]}))
    (tmp_path / "actions.py").write_text(
        "from treadle import action\nrunning = []\n@action('payments.charge')\nasync def charge():\n"
        "    import asyncio\n    running.append(1)\n    await asyncio.sleep(0)\n"
        "    return len([running.pop(), *running])\n"
    )
    run = ["run", "w.json", "--actions", "actions.py", "--json"]
    code, out, _ = treadle_command(tmp_path, *run, "--limit", "payments.charge=1")
    assert (code, json.loads(out)["output"]) == (0, {"a": 1, "b": 1, "c": 1})


@pytest.mark.parametrize("command", [["run", "w.json"], ["resume", "x"], ["schedule", "run"]], ids=" ".join)
def test_wrong_limits_on_the_command_line_are_told_all_at_once(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "treadle.db").touch()
    words = [word for one in ("s=0", "=4", "x", "s=1/x", "t=1", "t=2") for word in ("--limit", one)]
    code, out, err = treadle_command(tmp_path, *command, *words)
    lines = err.splitlines()
    assert (code, out, len(lines)) == (2, "", 5)
    assert lines[0] == "error: --limit s=0: '0': must be a whole number of 1 or more, not 0"
    assert [line.split(":")[1] for line in lines[1:]] == [" --limit =4", " --limit x", " --limit s=1/x", " --limit t=2"]


@pytest.mark.parametrize(
    "text", ["", "x", "5,", "/", "10/", "5/", "5,10", "10/1s,5", "5,/1s", "1/1s/2", " 5", "²", "-1", "99999999999"]
)
def test_text_that_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match=r"is no duration|a limit is 5 \(at a time\), 10/1s \(in a time\)"):
        Limit.parse(text)


@pytest.mark.parametrize(
    ("text", "said"), [("0", "not 0"), ("5,0/1s", "not 0"), ("1/0s", "longer than 0"), ("2147483648", "2147483648")]
)
def test_text_of_a_limit_that_lets_nobody_through_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Limit.parse(text)


def test_a_rehearsal_takes_the_limits_of_the_engine() -> None:
    nodes = [charge(f"n{number}") for number in range(3)]
    limits = {"payments": Limit(rate=1, per="1h")}
    with rehearse({"id": "w", "nodes": nodes}, replace={"payments.charge": 1}, limits=limits) as run:
        assert (run.status, run.elapsed) == ("COMPLETED", timedelta(hours=2))
    with pytest.raises(ValidationError, match="needs a concurrency or a rate"):
        rehearse({"id": "w", "nodes": nodes}, replace={"payments.charge": 1}, limits={"payments": Limit()})


async def test_a_key_that_cannot_be_read_fails_its_step_with_the_reason() -> None:
    keeper = Gatekeeper()
    nodes = [charge("a", limits=[{"name": "tenant", "key": "${input.tenant}", "concurrency": 1}])]
    async with WorkflowEngine(5, ":memory:", [keeper.action]) as engine:
        state = await engine.run_workflow({"id": "w", "nodes": nodes})
    error = state.steps["a"].error
    assert error is not None
    assert (state.status.value, error.type, error.step) == ("FAILED", "MissingNameError", "a")
    assert "limits" in error.message
    assert "input.tenant" in error.message
    assert keeper.running.total() == 0


async def test_after_a_restart_limits_hold_again_and_nothing_of_them_is_in_the_log(tmp_path: Any) -> None:
    keeper, path = Gatekeeper(), tmp_path / "log.db"
    limits = [{"name": "tenant", "key": "${input.tenant}", "concurrency": 1}]
    document = {"id": "w", "nodes": [charge(f"n{number}", limits=limits) for number in range(3)]}
    async with WorkflowEngine(5, path, [keeper.action], grace=0) as engine:
        started = await engine.start_workflow(document, {"tenant": "acme"})
        await keeper.runs(1)
        kinds = {event.kind for event in await engine.history(started)}
    assert kinds == {"ExecutionCreated", "ExecutionStarted", "StepStarted"}
    keeper.running.clear()
    async with WorkflowEngine(5, path, [keeper.action]) as engine:
        await keeper.runs(1)
        keeper.open.set()
        state = await engine.wait(started)
    assert (state.status.value, keeper.most_at_once) == ("COMPLETED", 1)


async def test_explain_names_the_limit_and_who_holds_it_or_until_when_it_is_closed() -> None:
    keeper = Gatekeeper()
    one = charge("a", limits=[{"name": "tenant", "key": "${input.tenant}", "concurrency": 1}])
    two = charge("b", limits=[{"name": "crm", "rate": 1, "per": "1h"}])
    async with asyncio.timeout(30), WorkflowEngine(9, ":memory:", [keeper.action]) as engine:
        document = {"id": "w", "nodes": [one, two]}
        await engine.start_workflow(document, {"tenant": "acme"}, execution_id="first")
        await keeper.runs(2)
        await engine.start_workflow(document, {"tenant": "acme"}, execution_id="second")
        held = await engine.explain("second", "a")
        assert (held.reason, held.names, held.due) == (Reason.WAITS_FOR_SLOT, ("first/a",), None)
        assert held.text == 'it waits for the limit tenant["acme"], 1 at a time; held by first/a'
        closed = await engine.explain("second", "b")
        began = (await engine.get_execution_state("first")).steps["b"].started_at
        assert closed.reason is Reason.WAITS_FOR_SLOT
        assert closed.due is not None
        assert began is not None
        assert abs(closed.due - began - timedelta(hours=1)) < timedelta(seconds=5)
        assert closed.text.startswith("the limit crm lets nobody start before 20")
        whole = await engine.explain("second")
        assert {step.reason for step in whole.steps} == {Reason.WAITS_FOR_SLOT}
        await engine.cancel_execution("second")
        keeper.open.set()
        await engine.wait("first")


async def test_explain_says_what_an_attempt_said_of_itself() -> None:
    said, leave = asyncio.Event(), asyncio.Event()

    @action("work")
    async def work(context: StepContext) -> None:
        context.heartbeat({"phase": "begin"})
        context.progress(3, 10, "pages")
        context.heartbeat()
        said.set()
        await leave.wait()

    async with asyncio.timeout(30), WorkflowEngine(9, ":memory:", [work]) as engine:
        await engine.start_workflow({"id": "w", "nodes": [{"id": "a", "action": "work"}]}, execution_id="x")
        await said.wait()
        assert (await engine.explain("x", "a")).text == "attempt 1 runs; it says: 3 of 10: pages"
        leave.set()
        await engine.wait("x")
