"""What a process has one of: made once, whoever comes first."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from core import execution_state_manager, workflow_engine
from core.execution_state_manager import ExecutionStateManager, get_state_manager
from core.storage import log_of_this_process

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.execution_log import ExecutionLog


def in_two_threads(call: Callable[[], object]) -> list[object]:
    """Return what two threads get that call at the same time."""
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(call())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.fixture
def met() -> Callable[[], None]:
    """Return what waits until both threads are there, or it is clear that the other one has to wait outside."""
    barrier = threading.Barrier(2)

    def meet() -> None:
        with suppress(threading.BrokenBarrierError):
            barrier.wait(0.05)

    return meet


def test_two_threads_that_use_a_manager_first_get_one_log(
    met: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def make() -> ExecutionLog:
        met()
        return log_of_this_process()

    monkeypatch.setattr(execution_state_manager, "log_of_this_process", make)
    manager = ExecutionStateManager()
    created = in_two_threads(lambda: asyncio.run(manager.create_execution("w", {})))
    states = [asyncio.run(manager.get_execution_state(str(one))) for one in created]
    assert [state and state["status"] for state in states] == ["PENDING", "PENDING"]


def test_two_threads_that_come_first_get_one_state_manager(
    met: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Manager(ExecutionStateManager):
        def __init__(self) -> None:
            met()
            super().__init__()

    monkeypatch.setattr(execution_state_manager, "_state_manager", None)
    monkeypatch.setattr(execution_state_manager, "ExecutionStateManager", Manager)
    one, other = in_two_threads(get_state_manager)
    assert one is other


def test_two_threads_that_come_first_get_one_engine(met: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    class Engine(workflow_engine.WorkflowEngine):
        def __init__(self) -> None:
            met()
            super().__init__()

    monkeypatch.setattr(workflow_engine, "_workflow_engine", None)
    monkeypatch.setattr(workflow_engine, "WorkflowEngine", Engine)
    one, other = in_two_threads(workflow_engine.get_workflow_engine)
    assert one is other
