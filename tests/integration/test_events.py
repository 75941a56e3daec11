"""Events reach who waits for them, whoever comes first, whatever is in memory, and whatever fails in between."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw

from treadle import (
    Client,
    ConflictError,
    ExecutionStatus,
    NotFoundError,
    Settings,
    StoreError,
    UnavailableError,
    ValidationError,
    WorkflowEngine,
)
from treadle.actions import Registry
from treadle.drivers.local import LocalDriver
from treadle.drivers.local.clock import Clock
from treadle.store.memory import MemoryStore
from treadle.store.protocol import Mail
from treadle.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from treadle.store.protocol import Appended, Posted, Turn

SOON = Settings(store_retry_ms=1, grace_ms=2_000)


def event(name: str = "e", event: str = "paid", **config: Any) -> dict[str, Any]:
    return {"id": name, "type": "event", "event": event, **config}


def flow(*nodes: dict[str, Any], name: str = "w") -> dict[str, Any]:
    """Return a workflow of nodes one after another."""
    chain = [{"source": a["id"], "target": b["id"]} for a, b in itertools.pairwise(nodes)]
    return {"id": name, "nodes": list(nodes), "connections": chain}


PAID = flow(event(key="${input.order}"))
ANY = flow(event(), name="any")
LATER = flow({"id": "hold", "action": "hold"}, event(key="${input.order}"), name="later")


class Work:
    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.started = asyncio.Event()

    async def hold(self) -> None:
        self.started.set()
        await self.gate.wait()

    async def stubborn(self) -> None:
        """Swallow a cancellation, and go on until the gate is open."""
        self.started.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            await self.gate.wait()

    @property
    def actions(self) -> list[object]:
        return [{"hold": self.hold, "stubborn": self.stubborn}]


async def happened(engine: WorkflowEngine, execution_id: str, kind: str, count: int = 1) -> None:
    """Wait until something has happened to an execution, or has happened so often."""
    async for one in engine.watch(execution_id):
        count -= one.kind == kind
        if not count:
            return


async def waiting(engine: WorkflowEngine, workflow: Any, order: Any, name: str) -> str:
    """Start an execution and return once it waits for its event."""
    await engine.start_workflow(workflow, {"order": order}, execution_id=name)
    await happened(engine, name, "EventAwaited")
    return name


@pytest.fixture(params=["memory", "file", "away"])
def opened(request: Any, tmp_path: Path) -> Any:
    """Make engines over one store: in memory, in a file, and in a file with nothing that waits kept in memory."""
    kept = MemoryStore()

    def make(work: Work | None = None, **options: Any) -> WorkflowEngine:
        store = kept if request.param == "memory" else tmp_path / "log.db"
        settings = options.pop("settings", Settings())
        if request.param == "away":
            settings = settings.replace(idle_executions=0)
        return WorkflowEngine(store=store, actions=(work or Work()).actions, settings=settings, **options)

    return make


# -- to whoever waits


async def test_an_event_reaches_the_execution_that_waits_for_it_and_no_other(opened: Any) -> None:
    async with asyncio.timeout(30), opened() as engine:
        for order in (7, 8):
            await waiting(engine, PAID, order, f"e{order}")
        assert await engine.send_event("lost", 7) is False
        assert await engine.send_event("paid", 7, {"amount": 12.5}) is True
        assert (await engine.wait("e7")).output == {"amount": 12.5}
        assert (await engine.get_execution_state("e8")).status is ExecutionStatus.RUNNING
        assert await engine.send_event("paid", 8) is True
        assert (await engine.wait("e8")).output is None


async def test_every_execution_that_waits_gets_the_event_once(opened: Any) -> None:
    async with asyncio.timeout(60), opened() as engine:
        names = [await waiting(engine, PAID if number % 2 else ANY, 7, f"e{number}") for number in range(120)]
        await waiting(engine, PAID, 8, "other")
        assert await engine.send_event("paid", 7, "x") is True
        assert {(await engine.wait(name)).output for name in names} == {"x"}
        assert (await engine.get_execution_state("other")).status is ExecutionStatus.RUNNING
        assert await engine.send_event("paid", 7, "y") is False


async def test_an_event_that_is_early_is_kept_for_the_first_that_comes_to_wait(opened: Any) -> None:
    async with asyncio.timeout(30), opened() as engine:
        for number in range(3):
            assert await engine.send_event("paid", 7, number) is False
        assert await engine.send_event("paid", 8, "other") is False
        outputs = []
        for number in range(4):
            name = await engine.start_workflow(PAID, {"order": 7}, execution_id=f"e{number}")
            if number < 3:
                outputs.append((await engine.wait(name)).output)
        assert outputs == [0, 1, 2]
        assert (await engine.get_execution_state("e3")).status is ExecutionStatus.RUNNING
        assert (await engine.wait(await engine.start_workflow(ANY))).output == "other"


async def test_of_many_that_come_at_once_each_kept_event_goes_to_one(opened: Any) -> None:
    async with asyncio.timeout(60), opened() as engine:
        for number in range(20):
            assert await engine.send_event("paid", 7, number) is False
        names = await asyncio.gather(*(engine.start_workflow(PAID, {"order": 7}) for _ in range(30)))
        ends = {asyncio.ensure_future(engine.wait(name)) for name in names}
        done: set[asyncio.Future[Any]] = set()
        while len(done) < 20:
            some, ends = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            done |= some
        assert sorted(one.result().output for one in done) == list(range(20))
        for one in ends:
            one.cancel()


async def test_sends_and_starts_in_any_order_lose_nothing_and_give_nothing_twice(opened: Any) -> None:
    draw = random.Random(20_261_125)
    async with asyncio.timeout(60), opened() as engine:
        work = [("send", number) for number in range(60)] + [("start", number) for number in range(60)]
        draw.shuffle(work)

        async def do(what: str, number: int) -> Any:
            await asyncio.sleep(0)
            if what == "send":
                return await engine.send_event("paid", number % 5, number)
            return await engine.wait(await engine.start_workflow(PAID, {"order": number % 5}))

        done = await asyncio.gather(*(do(*one) for one in work))
        outcomes = list(zip(work, done, strict=True))
        got = {state.output for (what, _), state in outcomes if what == "start"}
        sent = {number: is_taken for (what, number), is_taken in outcomes if what == "send"}
        # One that reached several who waited leaves another one for nobody; while somebody waits none is left.
        assert {number for number, is_taken in sent.items() if is_taken} <= got <= set(sent)


KEYS = [None, False, True, 0, 1, 1.5, "", "1", "null", [], [1, "a"], {}, {"a": 1, "b": [None]}]


async def test_keys_of_every_json_type_are_kept_apart(opened: Any) -> None:
    async with asyncio.timeout(60), opened() as engine:
        names = [await waiting(engine, PAID, key, f"e{number}") for number, key in enumerate(KEYS)]
        for key in reversed(KEYS):
            assert await engine.send_event("paid", key, {"key": key}) is True
        assert [(await engine.wait(name)).output["key"] for name in names] == KEYS
        assert await engine.send_event("paid", {"b": [1.0], "a": 2.0}) is False
        assert (await engine.run_workflow(PAID, {"order": {"a": 2, "b": [1]}})).status is ExecutionStatus.COMPLETED


async def test_a_loop_takes_one_event_after_another_also_those_that_were_kept(opened: Any) -> None:
    body = {"nodes": [event(key="${input.order}")]}
    loop = flow({"id": "l", "type": "loop", "until": "previous == 'stop'", "body": body})
    async with asyncio.timeout(30), opened() as engine:
        for data in ("a", "b", "c"):
            await engine.send_event("paid", 7, data)
        await engine.start_workflow(loop, {"order": 7}, execution_id="one")
        await happened(engine, "one", "EventReceived", 3)
        await happened(engine, "one", "EventAwaited", 4)
        assert await engine.send_event("paid", 7, "stop") is True
        assert (await engine.wait("one")).output == "stop"
        received = [one.data for one in await engine.history("one") if one.kind == "EventReceived"]
        assert [one["data"] for one in received] == ["a", "b", "c", "stop"]


async def test_a_node_that_drops_early_events_takes_only_what_comes_while_it_waits(opened: Any) -> None:
    drops = flow(event(key="${input.order}", buffer=False), name="drops")
    async with asyncio.timeout(30), opened() as engine:
        assert await engine.send_event("paid", 7, "early") is False
        await waiting(engine, drops, 7, "one")
        assert await engine.send_event("paid", 7, "now") is True
        assert (await engine.wait("one")).output == "now"
        assert (await engine.run_workflow(PAID, {"order": 7})).output == "early"


async def test_a_kept_event_passes_by_the_step_that_drops_it_and_reaches_the_one_beside_it(opened: Any) -> None:
    both = {"id": "both", "nodes": [event("drops", buffer=False), event("takes")]}
    async with asyncio.timeout(30), opened() as engine:
        assert await engine.send_event("paid", data="early") is False
        name = await engine.start_workflow(both)
        await happened(engine, name, "EventReceived")
        steps = (await engine.get_execution_state(name)).steps
        assert (steps["takes"].output, steps["drops"].status.value) == ("early", "WAITING")
        assert await engine.send_event("paid", data="now") is True
        assert (await engine.wait(name)).output == {"drops": "now", "takes": "early"}


@pytest.mark.parametrize("which", ["sent before", "sent after"])
async def test_an_execution_from_another_file_gets_what_was_kept_and_what_is_sent(tmp_path: Path, which: str) -> None:
    async with asyncio.timeout(30):
        async with WorkflowEngine(store=tmp_path / "old.db") as engine:
            await waiting(engine, PAID, 7, "one")
            document = await engine.export_execution("one")
        async with WorkflowEngine(store=tmp_path / "new.db") as engine:
            if which == "sent before":
                assert await engine.send_event("paid", 7, "x") is False
            await engine.import_execution(document)
            if which == "sent after":
                assert await engine.send_event("paid", 7, "x") is True
            assert (await engine.wait("one")).output == "x"


# -- timeouts and timers


async def test_an_event_that_does_not_come_in_time_is_handled_and_goes_to_another(opened: Any) -> None:
    late = flow(event(timeout="1ms"), {"id": "late", "type": "set", "values": "late"})
    late["connections"][0]["outcome"] = "failure"
    async with asyncio.timeout(30), opened() as engine:
        name = await engine.start_workflow(late)
        state = await engine.wait(name)
        assert (state.status, state.steps["e"].status.value) == (ExecutionStatus.COMPLETED, "TIMED_OUT")
        assert await engine.send_event("paid", data=3) is False
        assert (await engine.wait(await engine.start_workflow(ANY))).output == 3


@pytest.mark.parametrize("first", ["event", "timer"])
async def test_a_wait_takes_whichever_comes_first(opened: Any, first: str) -> None:
    duration = "1ms" if first == "timer" else "1h"
    node = {"id": "n", "type": "wait", "any_of": [{"duration": duration}, {"event": "paid", "key": "${input.order}"}]}
    async with asyncio.timeout(30), opened() as engine:
        name = await engine.start_workflow(flow(node), {"order": 7})
        if first == "timer":
            assert (await engine.wait(name)).output == {"timer": 0}
            assert await engine.send_event("paid", 7) is False
        else:
            await happened(engine, name, "WaitStarted")
            assert await engine.send_event("paid", 7, "x") is True
            assert (await engine.wait(name)).output == {"timer": 1, "event": "paid", "data": "x"}


# -- to one execution


async def test_an_event_for_one_execution_reaches_no_other_and_is_kept_there(opened: Any) -> None:
    work = Work()
    async with asyncio.timeout(30), opened(work) as engine:
        await engine.start_workflow(LATER, {"order": 7}, execution_id="late")
        await waiting(engine, PAID, 7, "other")
        for _ in range(2):
            assert await engine.send_event("paid", 7, "x", execution_id="late", event_id="i") is False
        work.gate.set()
        assert (await engine.wait("late")).output == "x"
        assert await engine.send_event("paid", 7, "y", execution_id="late", event_id="i") is True
        assert await engine.send_event("paid", 7, "z", execution_id="other") is True
        assert (await engine.wait("other")).output == "z"


async def test_an_event_for_an_execution_that_cannot_take_it_is_refused_and_says_why(opened: Any) -> None:
    work = Work()
    stubborn = flow({"id": "s", "action": "stubborn"}, name="stubborn")
    async with asyncio.timeout(30), opened(work, settings=Settings(max_kept_events=2)) as engine:
        with pytest.raises(NotFoundError, match="nobody"):
            await engine.send_event("paid", execution_id="nobody")
        await engine.start_workflow(LATER, {"order": 7}, execution_id="full")
        for number in range(2):
            assert await engine.send_event("paid", number, execution_id="full") is False
        with pytest.raises(ConflictError, match="keeps 2 events that no step has taken; more than 2 are not kept"):
            await engine.send_event("paid", 3, execution_id="full")
        await engine.start_workflow(stubborn, execution_id="ending")
        await happened(engine, "ending", "StepStarted")
        await engine.cancel_execution("ending")
        with pytest.raises(ConflictError, match="is about to end and takes no more events") as ending:
            await engine.send_event("paid", execution_id="ending")
        assert ending.value.execution_id == "ending"
        work.gate.set()
        assert (await engine.wait("ending")).status is ExecutionStatus.CANCELLED
        with pytest.raises(ConflictError, match="has ended and takes no events") as ended:
            await engine.send_event("paid", execution_id="ending")
        assert ended.value.status == "CANCELLED"


# -- once


async def test_an_event_sent_again_changes_nothing_and_says_how_it_stands(opened: Any) -> None:
    async with asyncio.timeout(30):
        async with opened() as engine:
            for _ in range(2):
                assert await engine.send_event("paid", 7, "x", event_id="i") is False
            assert (await engine.run_workflow(PAID, {"order": 7})).output == "x"
            await waiting(engine, PAID, 7, "next")
            assert await engine.send_event("paid", 7, "y", event_id="i") is True
        async with opened() as engine:
            assert await engine.send_event("paid", 7, "z", event_id="i") is True
            assert (await engine.get_execution_state("next")).status is ExecutionStatus.RUNNING
            same = await asyncio.gather(*(engine.send_event("paid", 7, "w", event_id="j") for _ in range(5)))
            assert same == [True] * 5
            assert (await engine.wait("next")).output == "w"
            assert len([one for one in await engine.history("next") if one.kind == "EventReceived"]) == 1


# -- closing and opening


async def test_what_was_kept_and_who_waits_outlive_the_engine(opened: Any) -> None:
    async with asyncio.timeout(30):
        work = Work()
        async with opened(work, grace=0.01) as engine:
            await waiting(engine, PAID, 7, "waits")
            assert await engine.send_event("paid", 8, "early") is False
            await engine.start_workflow(LATER, {"order": 9}, execution_id="later")
            assert await engine.send_event("paid", 9, "kept", execution_id="later") is False
        work.gate.set()
        async with opened(work) as engine:
            assert await engine.send_event("paid", 7, "late") is True
            assert (await engine.wait("waits")).output == "late"
            assert (await engine.wait("later")).output == "kept"
            assert (await engine.wait(await engine.start_workflow(PAID, {"order": 8}))).output == "early"


async def test_an_engine_that_goes_on_with_nothing_gives_an_event_to_who_waits_all_the_same(opened: Any) -> None:
    async with asyncio.timeout(30):
        async with opened() as engine:
            await waiting(engine, PAID, 7, "one")
        async with opened(recover="none") as engine:
            assert await engine.send_event("paid", 7, "x") is True
            assert (await engine.wait("one")).output == "x"


class Shaky(MemoryStore):
    """A store whose next write of a kind fails, before (``fails``) or after (``doubts``) it is done; or waits."""

    def __init__(self) -> None:
        super().__init__()
        self.fails = ""
        self.doubts = ""
        self.holds = ""
        self.gate = asyncio.Event()
        self.entered = asyncio.Event()

    async def _do(self, kind: str, work: Any) -> Any:
        if self.holds == kind:
            self.entered.set()
            await self.gate.wait()
        if self.fails == kind:
            self.fails = ""
            work.close()
            raise StoreError(f"no {kind}")
        done = await work
        if self.doubts == kind:
            self.doubts = ""
            raise StoreError(f"no answer to {kind}")
        return done

    async def append(self, turns: Sequence[Turn]) -> Sequence[Appended]:
        return await self._do("append", super().append(turns))  # type: ignore[no-any-return]

    async def post(self, mails: Sequence[Mail]) -> Sequence[Posted]:
        return await self._do("post", super().post(mails))  # type: ignore[no-any-return]

    async def settle(self, event_ids: Sequence[str]) -> None:
        await self._do("settle", super().settle(event_ids))

    async def forget(self, before_ms: int) -> int:
        return await self._do("forget", super().forget(before_ms))  # type: ignore[no-any-return]

    async def kept(self, name: str = "", key: str = "", after: int = 0, limit: int = 100) -> Sequence[Mail]:
        return await self._do("kept", super().kept(name, key, after, limit))  # type: ignore[no-any-return]

    async def waiting(self, name: str, key: str) -> Sequence[str]:
        return await self._do("waiting", super().waiting(name, key))  # type: ignore[no-any-return]

    async def unanswered(self, after: int = 0, limit: int = 100) -> Sequence[Posted]:
        return await self._do("unanswered", super().unanswered(after, limit))  # type: ignore[no-any-return]


async def test_closing_while_an_event_is_taken_leaves_it_for_the_next_opening() -> None:
    store = Shaky()
    async with asyncio.timeout(20):
        engine = WorkflowEngine(store=store, settings=SOON)
        async with engine:
            for name in ("one", "two"):
                await waiting(engine, PAID, 7, name)
            store.holds = "post"
            sending = asyncio.create_task(engine.send_event("paid", 7, "x", event_id="i"))
            await store.entered.wait()
            store.holds, store.entered = "append", asyncio.Event()
            store.gate.set()
            store.gate = asyncio.Event()
            await store.entered.wait()
            closing = asyncio.create_task(engine.close())
            with pytest.raises(StoreError, match="the engine was closed"):
                await sending
            store.holds = ""
            store.gate.set()
            await closing
        async with WorkflowEngine(store=store, settings=SOON) as engine:
            assert [(await engine.wait(name)).output for name in ("one", "two")] == ["x", "x"]
            assert await engine.send_event("paid", 7, "y", event_id="i") is True
            assert await engine.send_event("paid", 7, "z") is False


async def test_a_sender_who_goes_away_takes_nothing_of_the_event_with_it() -> None:
    store = Shaky()
    async with asyncio.timeout(20), WorkflowEngine(store=store, settings=SOON) as engine:
        await waiting(engine, PAID, 7, "one")
        store.holds = "post"
        sending = asyncio.create_task(engine.send_event("paid", 7, "x"))
        await store.entered.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        store.holds = ""
        store.gate.set()
        assert (await engine.wait("one")).output == "x"


# -- when the log fails


async def test_what_is_left_over_is_offered_only_to_executions_that_this_engine_goes_on_with() -> None:
    store = Shaky()
    async with asyncio.timeout(20):
        async with WorkflowEngine(store=store, settings=SOON) as engine:
            for name in ("one", "two"):
                await waiting(engine, ANY, None, name)
            await store.post([mail("paid", "x")])  # as a process leaves it that is killed right after this
        for recover in ("none", []):
            async with WorkflowEngine(store=store, settings=SOON, recover=recover) as engine:
                assert (
                    await engine.run_workflow({"id": "s", "nodes": [{"id": "s", "type": "set", "values": 1}]})
                ).output
                assert [(await engine.get_execution_state(name)).status for name in ("one", "two")] == [
                    ExecutionStatus.RUNNING
                ] * 2
        async with WorkflowEngine(store=store, settings=SOON, recover=["two"]) as engine:
            assert (await engine.wait("two")).output == "x"
        async with WorkflowEngine(store=store, settings=SOON) as engine:
            assert (await engine.wait("one")).output == "x"


async def test_a_kept_event_passes_by_executions_that_this_engine_does_not_go_on_with() -> None:
    store = Shaky()
    async with asyncio.timeout(20):
        async with WorkflowEngine(store=store, settings=SOON) as engine:
            await waiting(engine, ANY, None, "old")
        await store.post([mail("paid", "x")])
        await store.settle(["id of x"])  # as a process leaves it that is killed before it offered this
        async with WorkflowEngine(store=store, settings=SOON, recover="none") as engine:
            assert (await engine.run_workflow(ANY, execution_id="new")).output == "x"
            assert (await engine.get_execution_state("old")).status is ExecutionStatus.RUNNING


@pytest.mark.parametrize("how", ["fails", "doubts"])
async def test_an_event_whose_writing_is_in_doubt_is_refused_and_counts_once_when_it_is_sent_again(how: str) -> None:
    store = Shaky()
    async with asyncio.timeout(20), WorkflowEngine(store=store, settings=SOON) as engine:
        await waiting(engine, PAID, 7, "one")
        setattr(store, how, "post")
        with pytest.raises(StoreError, match="post"):
            await engine.send_event("paid", 7, "x", event_id="i")
        if how == "doubts":  # it is there, and nobody has to send it again
            assert (await engine.wait("one")).output == "x"
        await healthy(engine)
        assert await engine.send_event("paid", 7, "x", event_id="i") is True
        assert (await engine.wait("one")).output == "x"
        assert await engine.send_event("paid", 7, "y") is False


async def healthy(engine: WorkflowEngine) -> None:
    while not engine.health.ok:  # noqa: ASYNC110 - health is looked at, it does not call
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("how", ["fails", "doubts"])
@pytest.mark.parametrize("to", [None, "one"])
async def test_an_event_whose_taking_is_in_doubt_is_taken_once(how: str, to: str | None) -> None:
    store = Shaky()
    async with asyncio.timeout(20), WorkflowEngine(store=store, settings=SOON) as engine:
        await waiting(engine, PAID, 7, "one")
        setattr(store, how, "append")
        assert await engine.send_event("paid", 7, "x", execution_id=to) is True
        assert (await engine.wait("one")).output == "x"
        assert [one.kind for one in await engine.history("one")].count("EventReceived") == 1
        assert await engine.send_event("paid", 7, "y") is False


@pytest.mark.parametrize("how", ["fails", "doubts"])
async def test_who_begins_to_wait_in_a_turn_that_is_in_doubt_gets_what_was_kept(how: str) -> None:
    work, store = Work(), Shaky()
    async with asyncio.timeout(20), WorkflowEngine(store=store, actions=work.actions, settings=SOON) as engine:
        await engine.start_workflow(LATER, {"order": 7}, execution_id="one")
        await work.started.wait()
        assert await engine.send_event("paid", 7, "x") is False
        setattr(store, how, "append")
        work.gate.set()
        assert (await engine.wait("one")).output == "x"


@pytest.mark.parametrize("how", ["fails", "doubts"])
@pytest.mark.parametrize("kind", ["kept", "waiting", "forget", "unanswered"])
async def test_an_event_that_cannot_be_looked_for_is_looked_for_again(how: str, kind: str) -> None:
    store = Shaky()
    async with asyncio.timeout(20):
        async with WorkflowEngine(store=store, settings=SOON) as engine:
            assert await engine.send_event("paid", 7, "x") is False
            if kind in ("kept", "waiting"):
                setattr(store, how, kind)
                assert (await engine.run_workflow(PAID, {"order": 7})).output == "x"
                assert store.fails == store.doubts == ""
                return
            await waiting(engine, flow(event(event="other")), None, "one")
            await store.post([mail("other", "y")])  # as a process leaves it that is killed right after this
        setattr(store, how, kind)
        async with WorkflowEngine(store=store, settings=SOON) as engine:
            assert (await engine.wait("one")).output == "y"
            assert store.fails == store.doubts == ""
            assert (await engine.run_workflow(PAID, {"order": 7})).output == "x"


def mail(name: str, data: str) -> Mail:
    return Mail(f"id of {data}", name, "null", Raw(f'"{data}"'.encode()), int(time.time() * 1000))


@pytest.mark.parametrize("how", ["fails", "doubts"])
async def test_an_event_that_who_waited_no_longer_takes_is_for_the_next_also_where_the_log_fails(how: str) -> None:
    """It was addressed to an execution that has gone on by the time it is asked."""
    store = Shaky()
    async with asyncio.timeout(20), WorkflowEngine(store=store, settings=SOON) as engine:
        await waiting(engine, PAID, 7, "one")
        store.holds = "post"
        sending = asyncio.create_task(engine.send_event("paid", 7, "x"))
        await store.entered.wait()
        store.holds = ""
        store.gate.set()
        assert await engine.send_event("paid", 7, "first", execution_id="one") is True
        assert await sending is False
        assert store.fails == store.doubts == ""
        assert (await engine.run_workflow(PAID, {"order": 7})).output == "x"


async def test_who_comes_to_wait_while_others_are_still_asked_gets_what_they_do_not_take() -> None:
    store = Shaky()
    async with asyncio.timeout(20), WorkflowEngine(store=store, settings=SOON) as engine:
        await waiting(engine, PAID, 7, "one")
        store.holds = "post"
        sending = asyncio.create_task(engine.send_event("paid", 7, "x"))
        await store.entered.wait()
        store.gate.set()
        store.gate, store.entered, store.holds = asyncio.Event(), asyncio.Event(), "settle"
        assert await engine.send_event("paid", 7, "first", execution_id="one") is True
        await store.entered.wait()
        await waiting(engine, PAID, 7, "next")
        for _ in range(50):  # it looks, and the event is not settled yet
            await asyncio.sleep(0)
        store.gate.set()
        assert await sending is False
        assert (await engine.wait("next")).output == "x"


async def test_an_execution_that_was_set_aside_is_passed_over() -> None:
    store = Shaky()
    async with asyncio.timeout(20), WorkflowEngine(store=store, settings=SOON) as engine:
        for name in ("bad", "good"):
            await waiting(engine, PAID, 7, name)
        engine._driver._turns.residents.get("bad").state.requests = None  # a defect that is yet to be found
        assert await engine.send_event("paid", 7, "x") is True
        assert (await engine.wait("good")).output == "x"
        assert list(engine.health.quarantined) == ["bad"]
        assert await engine.send_event("paid", 7, "y") is False
        assert (await engine.run_workflow(PAID, {"order": 7})).output == "y"


# -- kept for some time


class Wall:
    """A wall clock that is set by hand."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


async def dropped(engine: WorkflowEngine) -> None:
    while not engine.health.dropped_events:  # noqa: ASYNC110 - health is looked at, it does not call
        await asyncio.sleep(0)


async def test_an_event_that_nobody_takes_for_too_long_is_dropped_counted_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    wall, store = Wall(), MemoryStore()

    def engine() -> WorkflowEngine:
        driver = LocalDriver(store, Registry([]), max_concurrent_steps=1, settings=SOON, clock=Clock(wall))
        return WorkflowEngine(driver=driver)

    async with asyncio.timeout(20):
        async with engine() as first:
            for number in range(3):
                assert await first.send_event("paid", 7, number, event_id=f"i{number}") is False
            assert (await first.run_workflow(PAID, {"order": 7})).output == 0
            wall.ahead = 8 * 86_400
            await waiting(first, PAID, 7, "late")  # they are still there, but too old
        with caplog.at_level(logging.WARNING, "treadle.engine"):
            async with engine() as again:
                await dropped(again)
                assert again.health.dropped_events == 2
                assert await again.send_event("paid", 7, "new") is True
                assert (await again.wait("late")).output == "new"
                assert await again.send_event("paid", 7, "again", event_id="i0") is False
        assert caplog.messages == ["dropped 2 events that nobody took in 604800000 ms"]


async def test_old_events_are_dropped_while_the_engine_runs() -> None:
    wall, store = Wall(), MemoryStore()
    driver = LocalDriver(store, Registry([]), max_concurrent_steps=1, settings=SOON, clock=Clock(wall))
    async with asyncio.timeout(20), WorkflowEngine(driver=driver) as engine:
        assert await engine.send_event("paid", 7) is False
        wall.ahead = 8 * 86_400
        assert await engine.send_event("paid", 7) is False
        await dropped(engine)
        assert engine.health.dropped_events == 1


# -- what an event is sent with


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": ""}, "the name of an event"),
        ({"name": " paid"}, "the name of an event"),
        ({"name": 5}, "the name of an event"),
        ({"name": "x" * 1_025}, "the name of an event"),
        ({"name": "a\ud800"}, "the name of an event"),
        ({"key": float("nan")}, "key: nan is not a JSON number"),
        ({"key": {1}}, "key: set is not a JSON type"),
        ({"key": "x" * 1_023}, "the key of an event has at most 1,024 characters of JSON, not 1,025"),
        ({"data": object()}, "data: object is not a JSON type"),
        ({"execution_id": ""}, "an execution id"),
        ({"event_id": ""}, "an event id"),
        ({"event_id": 5}, "an event id"),
        ({"event_id": "a\n"}, "an event id"),
    ],
)
async def test_an_event_with_a_wrong_argument_is_refused_and_nothing_was_sent(
    arguments: dict[str, Any], message: str, tmp_path: Path
) -> None:
    async with WorkflowEngine(store=tmp_path / "log.db") as engine, Client(tmp_path / "log.db") as client:
        for one in (engine, client) if "1,024" not in message else (engine,):
            with pytest.raises(ValidationError, match=message):
                await one.send_event(**{"name": "paid", **arguments})
        await waiting(engine, ANY, None, "one")
        assert await engine.send_event("paid", 7, (1, 2)) is True
        assert (await engine.wait("one")).output == [1, 2]


async def test_an_engine_that_is_not_open_takes_no_event() -> None:
    engine = WorkflowEngine(store=":memory:")
    for to in (None, "one"):
        with pytest.raises(ConflictError, match="not open"):
            await engine.send_event("paid", execution_id=to)


# -- from another process


async def test_another_process_sends_through_the_inbox(tmp_path: Path) -> None:
    work, settings = Work(), Settings(inbox_poll_ms=5)
    async with asyncio.timeout(30):
        async with (
            WorkflowEngine(store=tmp_path / "log.db", actions=work.actions, settings=settings) as engine,
            Client(tmp_path / "log.db") as client,
        ):
            await waiting(engine, PAID, {"n": 7}, "one")
            await engine.start_workflow(LATER, {"order": None}, execution_id="later")
            assert await client.send_event("paid", {"n": 7.0}, {"x": 1}) is True
            assert (await engine.wait("one")).output == {"x": 1}
            for _ in range(2):
                assert await client.send_event("paid", data=1, execution_id="later", event_id="i") is False
            work.gate.set()
            assert (await engine.wait("later")).output == 1
            with pytest.raises(ConflictError, match="has ended"):
                await client.send_event("paid", execution_id="one")
            with pytest.raises(NotFoundError, match="nobody"):
                await client.send_event("paid", execution_id="nobody")
            with pytest.raises(ValidationError, match="the key of an event"):
                await client.send_event("paid", "x" * 1_023)


async def test_a_command_that_is_being_carried_out_is_answered_before_the_engine_closes(tmp_path: Path) -> None:
    """What it does may be why the engine closes."""
    entered, gate = asyncio.Event(), asyncio.Event()

    class Slow(SqliteStore):
        async def post(self, mails: Sequence[Mail]) -> Sequence[Posted]:
            entered.set()
            await gate.wait()
            return await super().post(mails)

    settings = Settings(inbox_poll_ms=5)
    async with asyncio.timeout(30), WorkflowEngine(store=Slow(tmp_path / "log.db"), settings=settings) as engine:
        await waiting(engine, PAID, 7, "one")
        async with Client(tmp_path / "log.db") as client:
            sending = asyncio.create_task(client.send_event("paid", 7, "x"))
            await entered.wait()
            closing = asyncio.create_task(engine.close())
            for _ in range(50):
                await asyncio.sleep(0)
            gate.set()
            await closing
            assert await sending is True


async def test_an_event_sent_while_no_engine_runs_waits_for_one_and_counts_once(tmp_path: Path) -> None:
    async with asyncio.timeout(30):
        async with WorkflowEngine(store=tmp_path / "log.db") as engine:
            await waiting(engine, PAID, 7, "one")
        async with Client(tmp_path / "log.db", timeout=0) as client:
            for to in (None, "one"):
                with pytest.raises(UnavailableError, match="no engine runs this file now; the command to send event"):
                    await client.send_event("paid", 7, "x", execution_id=to, event_id="i")
        async with WorkflowEngine(store=tmp_path / "log.db") as engine:
            assert (await engine.wait("one")).output == "x"
            assert await engine.send_event("paid", 7, "y", event_id="i") is True


def _treadle(folder: Path, *words: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "treadle", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_an_event_is_sent_on_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "paid.yaml").write_text(
        "id: w\nnodes: [{id: e, type: event, event: paid, key: '${input.order}', timeout: 60s}]\n"
    )
    command = [sys.executable, "-m", "treadle", "run", "paid.yaml", "--id", "one", "-i", "order=7"]
    assert _treadle(tmp_path, "send", "paid")[0] == 2
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            while "EventAwaited" not in running.stdout.readline():
                assert running.poll() is None
            assert _treadle(tmp_path, "send", "paid", "--data", "1", "-i", "x=1")[0] == 2
            kept = _treadle(tmp_path, "send", "paid", "--key", "8", "--data", "text")
            assert kept == (0, "kept until a step waits for it\n", "")
            sent = ("send", "paid", "--key", "7", "-i", "amount=12.5", "--to", "one", "--id", "i")
            assert _treadle(tmp_path, *sent) == (0, "taken\n", "")
            assert running.stdout.read().splitlines()[-1] == 'COMPLETED: {"amount": 12.5}'
        finally:
            running.kill()
    code, _, err = _treadle(tmp_path, "send", "paid", "--to", "nobody")
    assert (code, err) == (2, "error: no execution named 'nobody'\n")
    code, _, err = _treadle(tmp_path, "send", "paid", "--to", "one")
    assert (code, err.startswith("no engine runs this file now; the command to send event 'paid' to 'one' waits")) == (
        0,
        True,
    )
