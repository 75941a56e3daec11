"""Runs that break off because a part of the application failed: what is in flight, what is written, what is told."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock

import pytest

from core.exceptions import ValidationError
from core.execution_state_manager import ExecutionStateManager
from core.workflow_engine import WorkflowEngine

if TYPE_CHECKING:
    from collections.abc import Callable

    Fails = Callable[[str, tuple[Any, ...]], bool]


class FailingStateManager(ExecutionStateManager):
    """The real one; the calls that ``fails`` names raise, once each or for ever, and ``failed`` says when."""

    def __init__(self, fails: Fails, error: type[BaseException]) -> None:
        super().__init__()
        self.fails = fails
        self.error = error
        self.failed = asyncio.Event()

    def _maybe(self, method: str, *arguments: Any) -> None:
        if self.fails(method, arguments):
            self.failed.set()
            raise self.error("the database is away")

    async def get_execution_state(self, execution_id: str) -> dict[str, Any] | None:
        state = await super().get_execution_state(execution_id)
        if state is not None and asyncio.current_task().get_name() != "test":  # type: ignore[union-attr]
            self._maybe("read", statuses(state))
        return state

    async def update_step_status(
        self, execution_id: str, step_id: str, status: str, output: object = None, error: str | None = None
    ) -> None:
        self._maybe("step", step_id, status)
        await super().update_step_status(execution_id, step_id, status, output, error)

    async def update_execution_status(self, execution_id: str, status: str, error: str | None = None) -> None:
        self._maybe("execution", status)
        await super().update_execution_status(execution_id, status, error)


class Bench:
    """An engine with a step ``b`` that is in flight when ``a`` ends, and ends when it is released."""

    def __init__(self, fails: Fails, error: type[BaseException] = RuntimeError) -> None:
        asyncio.current_task().set_name("test")  # type: ignore[union-attr]
        self.manager = FailingStateManager(fails, error)
        self.engine = WorkflowEngine(state_manager=self.manager, actions=[{"t.run": self.run}])
        self.b_gives: Any = {"b": 1}
        self.b_runs, self.b_may_end = asyncio.Event(), asyncio.Event()
        self.calls: list[str] = []

    async def run(self, name: str) -> Any:
        self.calls.append(name)
        if name == "b":
            self.b_runs.set()
            try:
                await self.b_may_end.wait()
            except asyncio.CancelledError:
                self.calls.append("b was cancelled")
                raise
            if isinstance(self.b_gives, Exception):
                raise self.b_gives
            return self.b_gives
        return {"name": name}

    async def start(self) -> str:
        config = {"service": "t", "action": "run"}
        nodes = [{"id": name, "config": {**config, "parameters": {"name": name}}} for name in ("b", "a", "c")]
        edges = [{"source": "a", "target": "c", "condition": "${a.result.name} == 'a'"}]
        return await self.engine.start_workflow({"id": "w", "nodes": nodes, "connections": edges}, {})

    async def settle(self, execution: str) -> dict[str, Any]:
        while self.engine._background_tasks:
            await asyncio.gather(*self.engine._background_tasks)
        assert self.engine.semaphore._value == 5
        assert not self.engine._runs
        assert not self.engine.cancellation_requests
        state = await self.manager.get_execution_state(execution)
        assert state is not None
        return state


def statuses(state: dict[str, Any]) -> dict[str, str]:
    return {name: entry["status"] for name, entry in state["steps"].items()}


def once(fails: Fails) -> Fails:
    left = [True]
    return lambda method, arguments: bool(fails(method, arguments) and left and left.pop())


def reads_behind_a(method: str, arguments: tuple[Any, ...]) -> bool:
    return method == "read" and arguments[0].get("a") == "COMPLETED"


@pytest.mark.parametrize(
    ("gives", "b"), [({"b": 1}, "COMPLETED"), (ValidationError("no luck"), "FAILED")], ids=["succeeds", "fails"]
)
async def test_what_is_in_flight_ends_and_is_written_before_the_execution_fails(gives: Any, b: str) -> None:
    bench = Bench(once(reads_behind_a))
    bench.b_gives = gives
    execution = await bench.start()
    await bench.manager.failed.wait()
    bench.b_may_end.set()
    state = await bench.settle(execution)
    assert (state["status"], state["error"]) == ("FAILED", "the database is away")
    assert statuses(state) == {"a": "COMPLETED", "b": b}
    assert "b was cancelled" not in bench.calls


async def test_a_step_whose_end_cannot_be_written_is_not_left_running() -> None:
    bench = Bench(once(lambda method, arguments: method == "step" and arguments == ("c", "RUNNING")))
    bench.b_may_end.set()
    execution = await bench.start()
    state = await bench.settle(execution)
    assert (state["status"], statuses(state)) == ("FAILED", {"b": "COMPLETED", "a": "COMPLETED", "c": "FAILED"})
    assert state["steps"]["c"]["error"] == "the database is away"


async def test_cancelling_still_reaches_what_is_in_flight_of_a_run_that_breaks_off() -> None:
    bench = Bench(once(reads_behind_a))
    execution = await bench.start()
    await bench.manager.failed.wait()
    assert await bench.engine.cancel_execution(execution)
    state = await bench.settle(execution)
    assert (state["status"], statuses(state)) == ("CANCELLED", {"a": "COMPLETED", "b": "CANCELLED"})
    assert bench.calls[-1] == "b was cancelled"


@pytest.mark.parametrize(
    "call",
    ["execution RUNNING", "execution COMPLETED", "step a RUNNING", "step a COMPLETED", "read"],
)
async def test_a_state_manager_that_raises_cancelled_error_by_itself_has_failed(call: str) -> None:
    bench = Bench(once(lambda *made: " ".join(map(str, (made[0], *made[1]))).startswith(call)), asyncio.CancelledError)
    bench.b_may_end.set()
    execution = await bench.start()
    state = await bench.settle(execution)
    assert state["status"] == "FAILED"
    assert "RUNNING" not in statuses(state).values()


async def test_a_notifier_that_raises_cancelled_error_by_itself_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(lambda *_: False)
    bench.b_may_end.set()
    notifier = AsyncMock()
    notifier.notify_workflow_status.side_effect = asyncio.CancelledError
    monkeypatch.setattr("core.workflow_engine.get_connection_manager", lambda: notifier)
    state = await bench.settle(await bench.start())
    assert (state["status"], statuses(state)) == ("COMPLETED", dict.fromkeys("bac", "COMPLETED"))


async def test_a_run_whose_task_is_cancelled_is_cancelled() -> None:
    bench = Bench(lambda *_: False)
    await bench.start()
    await bench.b_runs.wait()
    (run,) = bench.engine._background_tasks
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert bench.calls[-1] == "b was cancelled"


async def test_a_notifier_that_hangs_holds_up_neither_a_cancellation_nor_the_execution(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Hanging:
        async def notify_workflow_status(self, *_: Any) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr("core.reporting.NOTIFY_SECONDS", 0.001)
    monkeypatch.setattr("core.workflow_engine.get_connection_manager", Hanging)
    bench = Bench(lambda *_: False)
    execution = await bench.start()
    await bench.b_runs.wait()
    assert await bench.engine.cancel_execution(execution)
    assert (await bench.settle(execution))["status"] == "CANCELLED"
    bench.b_may_end.set()
    assert (await bench.settle(await bench.start()))["status"] == "COMPLETED"
