"""Executions at the edges: what goes wrong around the steps, and requests at awkward moments."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock

import pytest

from core.execution_state_manager import ExecutionStateManager
from core.websockets import get_connection_manager
from core.workflow_engine import WorkflowEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class AwkwardStateManager(ExecutionStateManager):
    """The real one, slow as a database is, with something that happens within the write of a status.

    Attributes:
        within: What happens, by step (``""``: of the execution itself) and status; once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.within: dict[tuple[str, str], Callable[[], Any]] = {}

    async def update_step_status(
        self, execution_id: str, step_id: str, status: str, output: object = None, error: str | None = None
    ) -> None:
        await self._happen(step_id, status)
        await super().update_step_status(execution_id, step_id, status, output, error)
        await asyncio.sleep(0)

    async def update_execution_status(self, execution_id: str, status: str, error: str | None = None) -> None:
        await self._happen("", status)
        await super().update_execution_status(execution_id, status, error)
        await asyncio.sleep(0)

    async def _happen(self, step_id: str, status: str) -> None:
        await asyncio.sleep(0)
        happens = self.within.pop((step_id, status), None)
        if happens is not None:
            await happens()


class Bench:
    """An engine, its actions, and what was called."""

    def __init__(self, limit: int = 2) -> None:
        self.manager = AwkwardStateManager()
        self.calls: list[str] = []
        self.started = asyncio.Event()
        self.release = asyncio.Event()
        actions = {"t.run": self.run, "t.hold": self.hold, "t.stubborn": self.stubborn, "t.fail": self.fail}
        self.engine = WorkflowEngine(limit, actions=[actions], state_manager=self.manager)
        self.limit = limit

    async def run(self, name: str) -> str:
        self.calls.append(name)
        return name

    async def hold(self, name: str) -> str:
        self.calls.append(name)
        self.started.set()
        await self.release.wait()
        return name

    async def stubborn(self, name: str) -> str:
        self.calls.append(name)
        self.started.set()
        while not self.release.is_set():
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                continue
        return name

    async def fail(self, name: str, error: str) -> None:
        self.calls.append(name)
        raise ERRORS[error]("as it should")

    async def settle(self) -> None:
        while self.engine._background_tasks:
            await asyncio.gather(*self.engine._background_tasks)

    async def state(self, execution_id: str) -> dict[str, Any]:
        found = await self.manager.get_execution_state(execution_id)
        assert found is not None
        return found

    def assert_idle(self) -> None:
        assert self.engine.semaphore._value == self.limit
        assert not self.engine._runs
        assert not self.engine.cancellation_requests


ERRORS = {one.__name__: one for one in (SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit)}


def action(name: str, how: str = "run", **more: Any) -> dict[str, Any]:
    parameters = {"name": name, **more.pop("parameters", {})}
    return {"id": name, "service": "t", "action": how, "parameters": parameters, **more}


def linear(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"id": "w", "steps": [{**step, "sequence_order": place} for place, step in enumerate(steps)]}


def parallel(*steps: dict[str, Any], connections: list[tuple[str, str, str]]) -> dict[str, Any]:
    nodes = [{"id": one["id"], "config": {key: one[key] for key in one if key != "id"}} for one in steps]
    edges = [{"source": source, "target": target, "condition": condition} for source, target, condition in connections]
    return {"id": "w", "nodes": nodes, "connections": edges}


@pytest.fixture
def told() -> Iterator[list[tuple[str, dict[str, Any] | None]]]:
    found: list[tuple[str, dict[str, Any] | None]] = []
    stop = get_connection_manager().listen(lambda _, __, status, data: found.append((status, data)))
    yield found
    stop()


def statuses(state: dict[str, Any]) -> dict[str, str]:
    return {name: entry["status"] for name, entry in state["steps"].items()}


async def test_a_step_whose_start_is_being_written_does_not_start_once_cancelled() -> None:
    bench = Bench()
    execution = await bench.engine.start_workflow(linear(action("a"), action("b")), {})
    bench.manager.within["a", "RUNNING"] = lambda: bench.engine.cancel_execution(execution)
    await bench.settle()
    state = await bench.state(execution)
    assert (state["status"], statuses(state), bench.calls) == ("CANCELLED", {"a": "CANCELLED"}, [])
    bench.assert_idle()


async def test_a_step_whose_start_is_being_written_does_not_start_once_paused_and_starts_on_resume() -> None:
    bench = Bench()
    workflow = linear(action("a"), action("b"))
    execution = await bench.engine.start_workflow(workflow, {})

    async def ask() -> None:
        assert await bench.engine.pause_execution(execution)

    bench.manager.within["a", "RUNNING"] = ask
    await bench.settle()
    state = await bench.state(execution)
    assert (state["status"], statuses(state), bench.calls) == ("PAUSED", {"a": "PENDING"}, [])
    assert await bench.engine.resume_workflow(execution, workflow, {})
    await bench.settle()
    assert (await bench.state(execution))["status"] == "COMPLETED"
    assert bench.calls == ["a", "b"]
    bench.assert_idle()


@pytest.mark.parametrize("within", [True, False])
async def test_a_cancel_that_comes_too_late_does_not_undo_the_end(within: bool) -> None:
    bench = Bench()
    execution = await bench.engine.start_workflow(linear(action("a")), {})
    if within:
        bench.manager.within["", "COMPLETED"] = lambda: bench.engine.cancel_execution(execution)
    await bench.settle()
    before = await bench.state(execution)
    assert (before["status"], statuses(before)) == ("COMPLETED", {"a": "COMPLETED"})
    assert await bench.engine.cancel_execution(execution)
    assert not await bench.engine.pause_execution(execution)
    assert await bench.state(execution) == before
    bench.assert_idle()


async def test_a_cancel_counts_before_a_result_that_is_being_written() -> None:
    bench = Bench()
    execution = await bench.engine.start_workflow(linear(action("a")), {})
    bench.manager.within["a", "COMPLETED"] = lambda: bench.engine.cancel_execution(execution)
    await bench.settle()
    state = await bench.state(execution)
    assert (state["status"], statuses(state)) == ("CANCELLED", {"a": "COMPLETED"})
    bench.assert_idle()


class SlowStateManager(ExecutionStateManager):
    """The real one; ``turns`` of the loop pass around a call, by the task that calls and the method."""

    def __init__(self) -> None:
        super().__init__()
        self.turns: dict[str, int] = {}

    async def _pass_turns(self, method: str) -> None:
        task = asyncio.current_task()
        for _ in range(self.turns.get(f"{task.get_name() if task else None} {method}", 0)):
            await asyncio.sleep(0)

    async def get_execution_state(self, execution_id: str) -> dict[str, Any] | None:
        found = await super().get_execution_state(execution_id)
        await self._pass_turns("read")
        return found

    async def update_execution_status(self, execution_id: str, status: str, error: str | None = None) -> None:
        await self._pass_turns("write")
        await super().update_execution_status(execution_id, status, error)
        await self._pass_turns("written")


@pytest.mark.parametrize("first", ["cancel", "resume"])
async def test_a_paused_execution_that_is_cancelled_and_resumed_at_once_is_cancelled(first: str) -> None:
    for counts in itertools.product((0, 6, 30), repeat=5):
        bench = Bench()
        manager = bench.engine.state_manager = bench.manager = SlowStateManager()  # type: ignore[assignment]
        workflow = linear(action("a", parameters={"name": "${input.name}"}))
        execution = await bench.engine.start_workflow(workflow, {})
        await bench.settle()
        calls = ("cancel read", "cancel write", "cancel written", "resume read", "resume write")
        manager.turns = dict(zip(calls, counts, strict=True))
        asked = {
            "cancel": bench.engine.cancel_execution(execution),
            "resume": bench.engine.resume_workflow(execution, workflow, {"name": "a"}),
        }
        tasks = [asyncio.create_task(asked[name], name=name) for name in sorted(asked, key=lambda one: one != first)]
        await asyncio.gather(*tasks)
        await bench.settle()
        state = await bench.state(execution)
        assert (state["status"], bench.calls, counts) == ("CANCELLED", [], counts)
        bench.assert_idle()


async def test_a_request_to_cancel_that_is_made_while_the_resumption_is_written_counts() -> None:
    bench = Bench()
    workflow = linear(action("a", parameters={"name": "${input.name}"}))
    execution = await bench.engine.start_workflow(workflow, {})
    await bench.settle()
    bench.manager.within["", "RUNNING"] = lambda: bench.engine.cancel_execution(execution)
    assert await bench.engine.resume_workflow(execution, workflow, {"name": "a"}) is True
    await bench.settle()
    assert ((await bench.state(execution))["status"], bench.calls) == ("CANCELLED", [])
    bench.assert_idle()


async def test_a_graph_whose_state_the_application_pauses_by_itself_starts_nothing_more_until_it_is_resumed() -> None:
    bench = Bench()
    workflow = parallel(action("a", "hold"), action("b"), connections=[("a", "b", "1 == 1")])
    execution = await bench.engine.start_workflow(workflow, {})
    await bench.started.wait()
    await bench.manager.update_execution_status(execution, "PAUSED")
    bench.release.set()
    await bench.settle()
    state = await bench.state(execution)
    assert (state["status"], statuses(state)) == ("PAUSED", {"a": "COMPLETED"})
    assert await bench.engine.resume_workflow(execution, workflow, {}) is True
    await bench.settle()
    state = await bench.state(execution)
    assert (state["status"], bench.calls) == ("COMPLETED", ["a", "b"])


async def test_a_pause_that_is_asked_for_while_the_state_is_read_counts() -> None:
    class Asking(ExecutionStateManager):
        async def get_execution_state(self, execution_id: str) -> dict[str, Any] | None:
            state = await super().get_execution_state(execution_id)
            if state and state["steps"] and not asked:
                asked.append(await bench.engine.pause_execution(execution_id))
            return state

    bench = Bench()
    asked: list[bool] = []
    bench.engine.state_manager = bench.manager = Asking()  # type: ignore[assignment]
    workflow = parallel(action("a"), action("b"), connections=[("a", "b", "1 == 1")])
    workflow["connections"] = [{"source": "a", "target": "b"}]
    execution = await bench.engine.state_manager.create_execution("w", {})
    await bench.engine._execute_workflow_graph(execution, workflow, {}, AsyncMock(), "ada", datetime.now(UTC))
    state = await bench.state(execution)
    assert (asked, state["status"], statuses(state)) == ([True], "PAUSED", {"a": "COMPLETED"})


async def test_a_stand_in_whose_state_is_paused_for_ever_does_not_keep_a_graph_from_running() -> None:
    bench = Bench()
    manager = AsyncMock()
    manager.get_execution_state.return_value = {"status": "PAUSED", "steps": {}, "input_data": {}, "outputs": {}}
    bench.engine.state_manager = manager
    workflow = parallel(action("a"), action("b"), connections=[("a", "b", "1 == 1")])
    assert await bench.engine.resume_workflow("x", workflow, {}) is True
    await bench.settle()
    assert bench.calls == ["a", "b"]
    assert manager.update_execution_status.call_args.args == ("x", "COMPLETED")


async def test_of_two_resumes_at_once_one_counts() -> None:
    bench = Bench()
    workflow = linear(action("a", parameters={"name": "${input.name}"}))
    execution = await bench.engine.start_workflow(workflow, {})
    await bench.settle()
    resumes = [bench.engine.resume_workflow(execution, workflow, {"name": name}) for name in ("first", "second")]
    assert sorted(await asyncio.gather(*resumes)) == [False, True]
    await bench.settle()
    assert bench.calls == ["first"]
    assert (await bench.state(execution))["input_data"] == {"name": "first"}


@pytest.mark.parametrize("ask", ["cancel_execution", "pause_execution"])
@pytest.mark.parametrize("within", [True, False])
async def test_what_is_cancelled_or_paused_before_it_begins_does_not_begin(ask: str, within: bool) -> None:
    bench = Bench()
    workflow = linear(action("a"))
    execution = await bench.engine.start_workflow(workflow, {})

    async def request() -> None:
        assert await getattr(bench.engine, ask)(execution)

    if within:
        bench.manager.within["", "RUNNING"] = request
    else:
        await request()
    await bench.settle()
    status = "CANCELLED" if ask == "cancel_execution" else "PAUSED"
    state = await bench.state(execution)
    assert (state["status"], state["steps"], bench.calls) == (status, {}, [])
    assert await bench.engine.resume_workflow(execution, workflow, {}) is (status == "PAUSED")
    await bench.settle()
    assert bench.calls == (["a"] if status == "PAUSED" else [])
    bench.assert_idle()


async def test_requests_for_an_execution_that_nobody_knows() -> None:
    bench = Bench()
    assert not await bench.engine.pause_execution("nobody")
    assert await bench.engine.cancel_execution("nobody")
    assert bench.engine.cancellation_requests == {"nobody"}


async def test_whoever_asked_for_a_pause_that_cannot_be_written_is_told() -> None:
    bench = Bench()
    execution = await bench.engine.start_workflow(linear(action("a", "hold"), action("b")), {})
    await bench.started.wait()

    async def fail() -> None:
        raise OSError("the database is away")

    bench.manager.within["", "PAUSED"] = fail
    assert not await bench.engine.pause_execution(execution)
    assert not await bench.engine.pause_execution(execution)  # now that it breaks off
    bench.release.set()
    await bench.settle()
    state = await bench.state(execution)
    assert (state["status"], state["error"]) == ("FAILED", "the database is away")
    assert statuses(state) == {"a": "COMPLETED"}
    bench.assert_idle()


async def test_a_body_that_does_not_end_is_given_up_after_the_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.bodies.GRACE_SECONDS", 0.01)
    monkeypatch.setattr("core.clock.GRACE_SECONDS", 0.01)
    bench = Bench()
    execution = await bench.engine.start_workflow(linear(action("a", "stubborn"), action("b")), {})
    await bench.started.wait()
    assert await bench.engine.cancel_execution(execution)
    await bench.settle()
    state = await bench.state(execution)
    assert (state["status"], statuses(state), bench.calls) == ("CANCELLED", {"a": "CANCELLED"}, ["a"])
    bench.assert_idle()
    bench.release.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await bench.state(execution) == state
    bench.assert_idle()


@pytest.mark.parametrize("error", sorted(ERRORS))
async def test_whatever_a_step_raises_fails_the_step_and_nothing_else(error: str) -> None:
    bench = Bench()
    failing = action("a", "fail", parameters={"error": error}, retry={"max_attempts": 2, "initial_delay": 0})
    execution = await bench.engine.start_workflow(linear({**failing, "continue_on_error": True}, action("b")), {})
    await bench.settle()
    state = await bench.state(execution)
    assert (state["status"], statuses(state)) == ("PARTIAL", {"a": "FAILED", "b": "COMPLETED"})
    assert bench.calls == ["a", "a", "b"]
    bench.assert_idle()


@pytest.mark.parametrize("at", ["RUNNING", "COMPLETED"])
async def test_a_state_manager_that_fails_fails_the_execution_and_holds_no_slot(at: str) -> None:
    bench = Bench()

    async def fail() -> None:
        raise OSError("the database is away")

    bench.manager.within["a", at] = fail
    execution = await bench.engine.start_workflow(linear(action("a", retry={"max_attempts": 1}), action("b")), {})
    await bench.settle()
    state = await bench.state(execution)
    assert (state["status"], state["error"]) == ("FAILED", "the database is away")
    assert bench.calls == ([] if at == "RUNNING" else ["a"])
    bench.assert_idle()


async def test_a_notifier_that_fails_changes_nothing() -> None:
    bench = Bench()

    def listen(*_: object) -> None:
        raise OSError("nobody is connected")

    execution = await bench.engine.start_workflow(linear(action("a")), {})
    stop = get_connection_manager().listen(listen)
    try:
        await bench.settle()
    finally:
        stop()
    assert (await bench.state(execution))["status"] == "COMPLETED"


async def test_an_execution_that_nobody_knows_is_told_of_and_nothing_is_raised(told: list[Any]) -> None:
    bench = Bench()
    await bench.engine._run_execution("nobody", linear(action("a")))
    assert told == [("RUNNING", None), ("FAILED", {"error": "Execution nobody not found"})]
    assert bench.calls == []
    bench.assert_idle()


async def test_a_node_whose_connections_are_not_all_taken_stays_away_and_the_run_is_partial(told: list[Any]) -> None:
    bench = Bench()
    connections = [("a", "b", "true"), ("a", "c", "${a.result} == 'other'"), ("b", "d", ""), ("c", "d", "")]
    workflow = parallel(action("a"), action("b"), action("c"), action("d"), connections=connections)
    execution = await bench.engine.start_workflow(workflow, {})
    await bench.settle()
    state = await bench.state(execution)
    assert (state["status"], statuses(state)) == ("PARTIAL", {"a": "COMPLETED", "b": "COMPLETED"})
    assert told[-1] == ("PARTIAL", None)


async def test_a_step_of_a_chain_whose_condition_or_dependency_is_not_met_is_skipped(told: list[Any]) -> None:
    bench = Bench()
    steps = [
        action("a", condition="${input.go} == 1"),
        action("b", depends_on=["a"]),
        action("c", condition="${input.go} == 2"),
        action("d", depends_on=["c"], condition="${c.result} == 'c'"),
    ]
    execution = await bench.engine.start_workflow(linear(*steps), {"go": 2})
    await bench.settle()
    state = await bench.state(execution)
    assert state["status"] == "COMPLETED"
    assert statuses(state) == {"a": "SKIPPED", "b": "SKIPPED", "c": "COMPLETED", "d": "COMPLETED"}
    assert [data for status, data in told if status == "STEP_SKIPPED"] == [
        {"step_id": "a", "reason": "Condition not met: ${input.go} == 1"},
        {"step_id": "b", "reason": "Dependencies not met: a"},
    ]


async def test_what_is_known_of_ended_steps_holds_when_an_execution_goes_on() -> None:
    bench = Bench()
    steps = [
        action("skipped", condition="${input.more} == 1"),
        action("broken", "fail", parameters={"error": "SystemExit"}, retry={"max_attempts": 1}, continue_on_error=True),
        action("asks", parameters={"name": "${input.more}"}),
    ]
    workflow = linear(*steps)
    execution = await bench.engine.start_workflow(workflow, {})
    await bench.settle()
    state = await bench.state(execution)
    assert (state["status"], state["error"]) == ("PAUSED", "Missing input: input.more")
    assert await bench.engine.resume_workflow(execution, workflow, {"more": 1})
    await bench.settle()
    state = await bench.state(execution)
    assert statuses(state) == {"skipped": "SKIPPED", "broken": "FAILED", "asks": "COMPLETED"}
    assert state["status"] == "PARTIAL"
    assert bench.calls == ["broken", 1]


async def test_a_step_between_two_attempts_is_put_back_by_a_pause() -> None:
    bench = Bench()
    flaky = action("a", "fail", parameters={"error": "SystemExit"}, retry={"max_attempts": 2, "initial_delay": "1h"})
    asking = action("b", "hold", parameters={"name": "b"})
    workflow = parallel(flaky, asking, action("c"), connections=[("a", "c", "true")])
    execution = await bench.engine.start_workflow(workflow, {})
    await bench.started.wait()
    assert await bench.engine.pause_execution(execution)
    bench.release.set()
    await bench.settle()
    state = await bench.state(execution)
    assert (state["status"], statuses(state)) == ("PAUSED", {"a": "PENDING", "b": "COMPLETED"})
    bench.assert_idle()


async def test_an_empty_workflow_completes_and_a_wrong_policy_is_a_failure_with_its_place() -> None:
    bench = Bench()
    empty = await bench.engine.start_workflow({"workflow_id": "w", "steps": []}, {})
    wrong = await bench.engine.start_workflow(linear(action("a", retry={"max_attempts": "many"})), {})
    await bench.settle()
    assert (await bench.state(empty))["status"] == "COMPLETED"
    state = await bench.state(wrong)
    assert state["status"] == "FAILED"
    assert "nodes[0].retry.max_attempts" in state["error"]
    assert bench.calls == []


async def test_the_application_runs_it_in_its_own_background() -> None:
    bench = Bench()
    jobs: list[tuple[Any, ...]] = []

    class Tasks:
        def add_task(self, *job: Any) -> None:
            jobs.append(job)

    workflow = linear(action("a"))
    execution = await bench.engine.start_workflow(workflow, {}, Tasks())
    assert jobs == [(bench.engine._run_execution, execution, workflow)]
    assert not bench.engine._background_tasks
    await bench.engine._run_execution(execution, workflow)
    assert (await bench.state(execution))["status"] == "COMPLETED"
