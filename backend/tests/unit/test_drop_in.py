"""What an application relies on, row by row: names, arguments, shapes, notifications; its stand-ins do no harm.

Where it brings mocks of its own (a state manager, a notifier, analytics, ``asyncio.create_task``), the tests look at
what was run and what was written, in which order.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock, MagicMock, Mock, mock_open, patch

import pytest

import core.workflow_engine
import treadle
from core.execution_state_manager import ExecutionStateManager, get_state_manager
from core.models import WorkflowExecutionStatus
from core.workflow_engine import SchemaValidationError, WorkflowEngine, get_workflow_engine

if TYPE_CHECKING:
    from collections.abc import Callable


class Engine(WorkflowEngine):
    """An application's engine: every step gives its id."""

    def __init__(self, limit: int = 5, manager: Any = None) -> None:
        super().__init__(limit, state_manager=ExecutionStateManager() if manager is None else manager)
        self.ran: list[str] = []

    async def _execute_step(self, step: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
        self.ran.append(step["id"])
        return {"status": "success", "result": {"id": step["id"], **params}}

    async def settle(self) -> None:
        while self._background_tasks:
            await asyncio.gather(*self._background_tasks)


def steps(*names: str, **more: Any) -> dict[str, Any]:
    plain = {"service": "shop", "action": "do", "parameters": {}, **more}
    return {"id": "w", "steps": [{"id": name, "sequence_order": place, **plain} for place, name in enumerate(names)]}


def nodes(*names: str, edges: tuple[tuple[str, ...], ...] = ()) -> dict[str, Any]:
    connections = [dict(zip(("source", "target", "condition"), edge, strict=False)) for edge in edges]
    return {"id": "w", "nodes": [{"id": name, "config": {}} for name in names], "connections": connections}


async def state_of(engine: WorkflowEngine, execution_id: str) -> dict[str, Any]:
    found = await engine.state_manager.get_execution_state(execution_id)
    assert found is not None
    return found


# -- construction, singletons, globals


def test_an_engine_is_made_without_a_loop_and_has_its_attributes() -> None:
    engine = WorkflowEngine(3)
    assert (engine.max_concurrent_steps, engine.semaphore._value) == (3, 3)
    assert isinstance(engine.semaphore, asyncio.Semaphore)
    assert (engine.cancellation_requests, engine._background_tasks) == (set(), set())
    assert engine.state_manager is get_state_manager()
    assert WorkflowEngine().max_concurrent_steps == 5
    assert WorkflowEngine(max_concurrent_steps=1).semaphore._value == 1


def test_there_is_one_engine_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core.workflow_engine, "_workflow_engine", None)
    engine = get_workflow_engine()
    assert isinstance(engine, WorkflowEngine)
    assert get_workflow_engine() is engine is core.workflow_engine._workflow_engine
    mine = Mock()
    monkeypatch.setattr(core.workflow_engine, "_workflow_engine", mine)
    assert get_workflow_engine() is mine


async def test_getting_the_engine_in_a_loop_leaves_no_task_where_nothing_can_be_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(core.workflow_engine, "_workflow_engine", None)
    monkeypatch.delenv("TREADLE_DB", raising=False)
    assert get_workflow_engine()._background_tasks == set()


def test_the_state_manager_is_looked_up_when_an_engine_is_made() -> None:
    mine = Mock()
    with patch("core.workflow_engine.get_state_manager", return_value=mine):
        assert WorkflowEngine().state_manager is mine


async def test_the_state_manager_can_be_put_in_place_later() -> None:
    engine = Engine()
    engine.state_manager = manager = ExecutionStateManager()
    execution = await engine.start_workflow(steps("a"), {})
    await engine.settle()
    state = await manager.get_execution_state(execution)
    assert state is not None
    assert (state["status"], engine.ran) == ("COMPLETED", ["a"])


def test_one_engine_serves_one_event_loop_after_another() -> None:
    engine = Engine(1)
    edges = (("a", "b", "true"), ("a", "c"), ("a", "d"))

    async def run() -> str:
        execution = await engine.start_workflow(nodes("a", "b", "c", "d", edges=edges), {})
        await engine.settle()
        return str((await state_of(engine, execution))["status"])

    assert [asyncio.run(run()) for _ in range(3)] == ["COMPLETED"] * 3
    assert engine.semaphore._value == 1


def test_the_methods_have_the_parameters_that_the_application_passes() -> None:
    wanted = {
        "start_workflow": ["workflow", "input_data", "background_tasks"],
        "resume_workflow": ["execution_id", "workflow", "new_inputs"],
        "cancel_execution": ["execution_id"],
        "_run_execution": ["execution_id", "workflow"],
        "_execute_workflow_graph": ["execution_id", "workflow", "state", "ws_manager", "user_id", "start_time"],
        "_convert_nodes_to_steps": ["workflow"],
        "_build_execution_graph": ["workflow"],
        "_has_conditional_connections": ["workflow"],
        "_check_dependencies": ["step", "state"],
        "_evaluate_condition": ["condition", "state"],
        "_resolve_parameters": ["parameters", "state"],
        "_resolve_parameter_value": ["value", "state"],
        "_get_value_from_path": ["path", "state"],
        "_path_exists": ["path", "state"],
        "_validate_input_schema": ["step", "params"],
        "_validate_output_schema": ["step", "output"],
        "_execute_step": ["step", "params"],
        "_execute_generic_action": ["service", "action", "params", "connection_id"],
        "_execute_workflow_action": ["action", "params", "connection_id"],
        "_load_workflow_by_id": ["workflow_id"],
    }
    found = {name: list(inspect.signature(getattr(WorkflowEngine, name)).parameters)[1:] for name in wanted}
    assert found == wanted
    bare = WorkflowEngine._execute_step.__wrapped__  # type: ignore[attr-defined]
    assert list(inspect.signature(bare).parameters) == ["self", "step", "params"]
    assert inspect.iscoroutinefunction(bare)


def test_the_statuses_of_the_application_are_there() -> None:
    assert {one.name: one.value for one in WorkflowExecutionStatus} == {
        name: name for name in ("PENDING", "RUNNING", "COMPLETED", "FAILED", "PAUSED")
    }
    assert isinstance(WorkflowExecutionStatus.RUNNING, str)


# -- start


async def test_starting_takes_an_id_under_its_other_name_and_writes_steps_in_place() -> None:
    engine = Engine()
    workflow = nodes("a", "b", edges=(("b", "a"),))
    workflow["workflow_id"] = workflow.pop("id")
    execution = await engine.start_workflow(workflow, {"n": 1})
    await engine.settle()
    assert workflow["id"] == "w"
    assert [step["id"] for step in workflow["steps"]] == ["b", "a"] == engine.ran
    state = await state_of(engine, execution)
    assert (state["workflow_id"], state["input_data"], state["status"]) == ("w", {"n": 1}, "COMPLETED")


async def test_a_workflow_without_an_id_is_refused_before_anything_is_created() -> None:
    engine = Engine()
    with pytest.raises(treadle.ValidationError, match="needs an id"):
        await engine.start_workflow({"steps": []}, {})


async def test_a_start_makes_one_task_whatever_making_one_gives() -> None:
    for made in (Mock(), MagicMock(), None):
        manager = AsyncMock()
        manager.create_execution.return_value = "e1"
        engine = Engine(manager=manager)
        started: list[Any] = []

        def create_task(coroutine: Any, made: Any = made, started: list[Any] = started) -> Any:
            started.append(coroutine)
            coroutine.close()
            return made

        with patch("asyncio.create_task", side_effect=create_task):
            assert await engine.start_workflow(steps("a"), {"n": 1}) == "e1"
        assert [one.__qualname__ for one in started] == [f"{Engine._run_execution.__qualname__}"]
        assert manager.create_execution.call_args.args == ("w", {"n": 1})
        assert manager.create_execution.call_args.kwargs == {}


async def test_background_tasks_that_are_empty_still_run_it() -> None:
    class Empty(list[Any]):
        def add_task(self, *job: Any) -> None:
            self.append(job)

    engine, jobs = Engine(), Empty()
    workflow = steps("a")
    execution = await engine.start_workflow(workflow, {}, jobs)
    assert jobs == [(engine._run_execution, execution, workflow)]
    assert (engine._background_tasks, engine.ran) == (set(), [])


async def test_live_tasks_are_held_until_they_are_done() -> None:
    engine = Engine()
    await engine.start_workflow(steps("a"), {})
    (task,) = engine._background_tasks
    assert not task.done()
    await task
    assert task.done()
    assert engine._background_tasks == set()


# -- a state manager of the application


def recorded(state: Any) -> tuple[Any, list[tuple[Any, ...]]]:
    written: list[tuple[Any, ...]] = []
    manager = AsyncMock()
    manager.create_execution.return_value = "e1"
    manager.get_execution_state.return_value = state
    manager.update_step_status.side_effect = lambda *args, **_: written.append(args)
    manager.update_execution_status.side_effect = lambda *args, **_: written.append(args)
    return manager, written


STATE = {"status": "RUNNING", "steps": {}, "outputs": {}, "input_data": {}}


@pytest.mark.parametrize("state", [STATE, {}, MagicMock(), {"steps": None, "outputs": None}])
@pytest.mark.parametrize(
    "workflow",
    [
        steps("a", "b"),
        nodes("a", "b", edges=(("a", "b", "true"),)),
    ],
)
async def test_a_state_that_never_changes_runs_each_step_once(state: Any, workflow: dict[str, Any]) -> None:
    manager, written = recorded(state)
    engine = Engine(manager=manager)
    async with asyncio.timeout(5):
        await engine._run_execution("e1", workflow)
    assert engine.ran == ["a", "b"]
    assert written == [
        ("e1", "RUNNING"),
        ("e1", "a", "RUNNING"),
        ("e1", "a", "COMPLETED"),
        ("e1", "b", "RUNNING"),
        ("e1", "b", "COMPLETED"),
        ("e1", "COMPLETED"),
    ]


@pytest.mark.parametrize("kind", [Mock, MagicMock])
async def test_methods_that_give_no_coroutine_are_taken_for_what_they_give(kind: Callable[[], Any]) -> None:
    manager = kind()
    manager.create_execution.return_value = "e1"
    manager.get_execution_state.return_value = STATE
    engine = Engine(manager=manager)
    with patch("core.workflow_engine.get_connection_manager", return_value=kind()):
        assert await engine.start_workflow(steps("a"), {}) == "e1"
        await engine.settle()
        assert await engine.cancel_execution("e1") is True
    assert engine.ran == ["a"]


async def test_one_method_of_our_own_manager_may_be_replaced() -> None:
    engine = Engine()
    with (
        patch.object(engine.state_manager, "create_execution", return_value="e1"),
        patch("asyncio.create_task", side_effect=lambda coroutine: coroutine.close()),
    ):
        assert await engine.start_workflow(nodes("a"), {}) == "e1"
    with patch.object(engine.state_manager, "update_execution_status") as update:
        assert await engine.cancel_execution("e1") is True
    update.assert_called_once_with("e1", "CANCELLED")
    assert engine.cancellation_requests == {"e1"}


async def test_the_undecorated_execute_step_can_be_put_in_place() -> None:
    class Broken(WorkflowEngine):
        calls = 0

        async def _execute_shop_action(self, action: str, params: dict[str, Any], connection_id: str | None) -> None:
            self.calls += 1
            raise RuntimeError("no luck")

    engine = Broken(state_manager=ExecutionStateManager())
    bare = engine._execute_step.__wrapped__  # type: ignore[attr-defined]
    engine._execute_step = bare.__get__(engine, WorkflowEngine)  # type: ignore[method-assign]
    execution = await engine.start_workflow({"id": "w", "steps": [{"id": "a", "service": "shop"}]}, {})
    await asyncio.gather(*engine._background_tasks)
    assert ((await state_of(engine, execution))["error"], engine.calls) == ("no luck", 1)


async def test_a_mock_made_after_our_manager_is_not_taken_for_it() -> None:
    manager = AsyncMock(spec=ExecutionStateManager)
    manager.create_execution.return_value = "e1"
    manager.get_execution_state.return_value = STATE
    engine = Engine(manager=manager)
    await engine.start_workflow(steps("a"), {})
    await engine.settle()
    assert engine.ran == ["a"]
    assert await engine.recover() == []


FAILING = ["update_execution_status", "get_execution_state", "update_step_status"]


@pytest.mark.parametrize("method", FAILING)
@pytest.mark.parametrize("conditional", [False, True])
async def test_a_state_manager_that_always_raises_ends_the_run_and_runs_nothing_twice(
    method: str, conditional: bool
) -> None:
    manager, _ = recorded(STATE)
    getattr(manager, method).side_effect = OSError("the database is away")
    engine, tracked = Engine(manager=manager), Mock()
    workflow = nodes("a", "b", edges=(("a", "b", "true" if conditional else ""),))
    with patch("core.analytics_engine.get_analytics_engine", return_value=tracked):
        async with asyncio.timeout(5):
            await engine.start_workflow(workflow, {})
            await engine.settle()
    assert engine.ran == []
    assert engine.semaphore._value == 5
    assert [call.kwargs["success"] for call in tracked.track_workflow_execution.call_args_list] == [False]


async def test_a_start_that_cannot_be_created_is_raised_to_who_starts() -> None:
    manager, _ = recorded(STATE)
    manager.create_execution.side_effect = OSError("the database is away")
    engine = Engine(manager=manager)
    with pytest.raises(OSError, match="the database is away"):
        await engine.start_workflow(steps("a"), {})
    assert engine._background_tasks == set()


# -- resume and cancel


async def test_resuming_says_what_it_writes_and_only_of_what_is_paused() -> None:
    manager, written = recorded(None)
    engine = Engine(manager=manager)
    with pytest.raises(ValueError, match="Execution e1 not found"):
        await engine.resume_workflow("e1", steps("a"), {})
    for status in ("RUNNING", "COMPLETED", "FAILED", "CANCELLED"):
        manager.get_execution_state.return_value = STATE | {"status": status}
        assert await engine.resume_workflow("e1", steps("a"), {}) is False
    assert written == []
    known = {"a": {"status": "COMPLETED"}, "b": {"status": "PAUSED"}}
    manager.get_execution_state.return_value = STATE | {"status": "PAUSED", "steps": known}
    assert await engine.resume_workflow("e1", steps("a", "b"), {"x": 1}) is True
    assert manager.update_execution_inputs.call_args.args == ("e1", {"x": 1})
    assert manager.update_execution_status.call_args.args == ("e1", "RUNNING")
    assert manager.update_execution_status.call_args.kwargs == {}
    await engine.settle()
    assert engine.ran == ["b"]


@pytest.mark.parametrize("state", [None, STATE, MagicMock()])
async def test_cancelling_is_asked_written_and_told_also_for_unknown_ids(state: Any) -> None:
    manager, written = recorded(state)
    notifier = AsyncMock()
    engine = Engine(manager=manager)
    with patch("core.workflow_engine.get_connection_manager", return_value=notifier):
        assert await engine.cancel_execution("e1") is True
    assert engine.cancellation_requests == {"e1"}
    assert written == [("e1", "CANCELLED")]
    assert notifier.notify_workflow_status.call_args.args == ("default", "e1", "CANCELLED")
    await engine._run_execution("e1", steps("a"))
    assert (engine.ran, engine.cancellation_requests) == ([], set())


async def test_a_cancel_whose_state_cannot_be_read_is_asked_all_the_same() -> None:
    manager, written = recorded(STATE)
    manager.get_execution_state.side_effect = OSError("the database is away")
    engine = Engine(manager=manager)
    assert await engine.cancel_execution("e1") is True
    assert (engine.cancellation_requests, written) == ({"e1"}, [("e1", "CANCELLED")])


async def test_an_id_put_into_the_requests_cancels_before_the_next_step() -> None:
    class Asking(Engine):
        async def _execute_step(self, step: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
            self.cancellation_requests.add(step["parameters"]["execution"])
            return await super()._execute_step(step, params)

    engine = Asking()
    workflow = steps("a", "b")
    execution = await engine.state_manager.create_execution("w", {})
    for step in workflow["steps"]:
        step["parameters"] = {"execution": execution}
    await engine._run_execution(execution, workflow)
    state = await state_of(engine, execution)
    assert (state["status"], engine.ran, engine.cancellation_requests) == ("CANCELLED", ["a"], set())


# -- running


async def test_nodes_that_nobody_made_steps_of_run_all_the_same() -> None:
    engine = Engine()
    execution = await engine.state_manager.create_execution("w", {})
    await engine._run_execution(execution, nodes("a", "b", edges=(("b", "a"),)))
    assert engine.ran == ["b", "a"]


async def test_conditional_steps_without_nodes_run_as_a_graph() -> None:
    engine = Engine()
    workflow = steps("a", "b", "c") | {
        "connections": [
            {"source": "a", "target": "b", "condition": "${a.result.id} == 'a'"},
            {"source": "a", "target": "c", "condition": "${a.result.id} == 'b'"},
        ]
    }
    execution = await engine.start_workflow(workflow, {})
    await engine.settle()
    assert (engine.ran, (await state_of(engine, execution))["status"]) == (["a", "b"], "PARTIAL")


@pytest.mark.parametrize("broken", [{"id": "w", "nodes": [{}]}, {"id": "w", "connections": [None]}, {"steps": [5]}])
async def test_a_workflow_that_is_none_fails_its_execution_and_raises_nothing(broken: dict[str, Any]) -> None:
    engine = Engine()
    execution = await engine.state_manager.create_execution("w", {})
    await engine._run_execution(execution, broken)
    state = await state_of(engine, execution)
    assert state["status"] == "FAILED"
    assert state["error"]


async def test_a_run_of_a_cycle_fails_and_says_so() -> None:
    engine = Engine()
    execution = await engine.state_manager.create_execution("w", {})
    await engine._run_execution(execution, nodes("a", "b", edges=(("a", "b", "true"), ("b", "a"))))
    state = await state_of(engine, execution)
    assert (state["status"], engine.ran) == ("FAILED", [])
    assert "cycle" in state["error"].lower()


@pytest.mark.parametrize("by_keyword", [False, True])
@pytest.mark.parametrize("state", [{}, {"steps": {}}, {"steps": {"a": {"status": "COMPLETED"}}}])
async def test_the_graph_is_run_from_the_state_that_is_handed_over(state: dict[str, Any], by_keyword: bool) -> None:
    from datetime import UTC, datetime

    engine, notifier = Engine(), AsyncMock()
    execution = await engine.state_manager.create_execution("w", {})
    if state.get("steps"):
        await engine.state_manager.update_step_status(execution, "a", "COMPLETED", output={"result": {"id": "a"}})
    workflow = nodes("a", "b", "c", edges=(("a", "b", "${a.result.id} == 'a'"), ("b", "c")))
    values = (execution, workflow, state, notifier, "ada", datetime.now(UTC))
    if by_keyword:
        names = ("execution_id", "workflow", "state", "ws_manager", "user_id", "start_time")
        await engine._execute_workflow_graph(**dict(zip(names, values, strict=True)))
    else:
        await engine._execute_workflow_graph(*values)
    assert engine.ran == (["b", "c"] if state.get("steps") else ["a", "b", "c"])
    assert {call.args[0] for call in notifier.notify_workflow_status.call_args_list} == {"ada"}
    assert (await state_of(engine, execution))["status"] == "COMPLETED"


async def test_the_graph_of_an_unknown_execution_is_told_to_have_failed() -> None:
    from datetime import UTC, datetime

    engine, notifier = Engine(), AsyncMock()
    for workflow in (nodes("a"), nodes()):
        await engine._execute_workflow_graph("nobody", workflow, {}, notifier, "ada", datetime.now(UTC))
        assert notifier.notify_workflow_status.call_args.args == (
            "ada",
            "nobody",
            "FAILED",
            {"error": "Execution nobody not found"},
        )
    assert engine.ran == []


async def test_methods_that_the_application_overrides_are_the_ones_that_are_used() -> None:
    class Mine(Engine):
        def _evaluate_condition(self, condition: str | None, state: dict[str, Any]) -> bool:
            return condition == "mine"

        def _resolve_parameters(self, parameters: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
            return {"mine": True}

    engine = Mine()
    workflow = nodes("a", "b", "c", edges=(("a", "b", "mine"), ("a", "c", "true")))
    execution = await engine.start_workflow(workflow, {})
    await engine.settle()
    state = await state_of(engine, execution)
    assert (engine.ran, state["status"]) == (["a", "b"], "PARTIAL")
    assert state["outputs"]["b"]["result"] == {"id": "b", "mine": True}


async def test_an_execute_step_that_is_replaced_is_called_with_the_step_and_its_parameters() -> None:
    engine = Engine()
    body = AsyncMock(return_value={"status": "success", "result": {"id": 1}})
    with patch.object(engine, "_execute_step", body):
        await engine.start_workflow(steps("a", retry={"max_attempts": 2}), {})
        await engine.settle()
    ((args, kwargs),) = body.call_args_list
    assert (args[0]["id"], args[1], kwargs) == ("a", {}, {})


# -- notifications and analytics


@pytest.mark.parametrize(
    ("workflow", "told"),
    [
        (
            steps("a") | {"created_by": "ada"},
            [
                ("ada", "RUNNING"),
                ("ada", "STEP_RUNNING", {"step_id": "a"}),
                ("ada", "STEP_COMPLETED", {"step_id": "a"}),
                ("ada", "COMPLETED"),
            ],
        ),
        (
            steps("a", condition="false"),
            [
                ("default", "RUNNING"),
                ("default", "STEP_SKIPPED", {"step_id": "a", "reason": "Condition not met: false"}),
                ("default", "COMPLETED"),
            ],
        ),
        (
            steps("a", parameters={"n": "${input.n}"}),
            [
                ("default", "RUNNING"),
                ("default", "PAUSED", {"reason": "missing_input", "missing_var": "input.n", "step_id": "a"}),
            ],
        ),
        (
            steps("bad", "a"),
            [
                ("default", "RUNNING"),
                ("default", "STEP_RUNNING", {"step_id": "bad"}),
                ("default", "STEP_FAILED", {"step_id": "bad", "error": "no luck"}),
                ("default", "FAILED", {"error": "no luck", "step_id": "bad"}),
            ],
        ),
        (
            steps("bad", continue_on_error=True),
            [
                ("default", "RUNNING"),
                ("default", "STEP_RUNNING", {"step_id": "bad"}),
                ("default", "STEP_FAILED", {"step_id": "bad", "error": "no luck"}),
                ("default", "PARTIAL"),
            ],
        ),
    ],
)
@pytest.mark.parametrize("notifier", [AsyncMock, Mock])
async def test_users_are_told_this_and_nothing_more(
    workflow: dict[str, Any], told: list[Any], notifier: Callable[[], Any]
) -> None:
    class Failing(Engine):
        async def _execute_step(self, step: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
            if step["id"] == "bad":
                raise RuntimeError("no luck")
            return await super()._execute_step(step, params)

    engine, connections = Failing(), notifier()
    with patch("core.workflow_engine.get_connection_manager", return_value=connections):
        execution = await engine.start_workflow(workflow, {})
        await engine.settle()
    calls = [call.args for call in connections.notify_workflow_status.call_args_list]
    assert [(args[0], *args[2:]) for args in calls] == told
    assert {args[1] for args in calls} == {execution}


async def test_a_notifier_that_cannot_be_had_stops_nothing() -> None:
    engine = Engine()
    with patch("core.workflow_engine.get_connection_manager", side_effect=OSError("no websockets here")):
        execution = await engine.start_workflow(steps("a"), {})
        await engine.settle()
    assert (await state_of(engine, execution))["status"] == "COMPLETED"


@pytest.mark.parametrize("analytics", [Mock, AsyncMock, lambda: Mock(**{"track_step_execution.side_effect": OSError})])
async def test_analytics_are_looked_up_when_they_are_used_and_get_this(analytics: Callable[[], Any]) -> None:
    tracked = analytics()
    engine = Engine()
    workflow = steps("a") | {"estimated_time_saved": 30, "business_value": 5}
    execution = await engine.start_workflow(workflow, {})
    with patch("core.analytics_engine.get_analytics_engine", return_value=tracked):
        await engine.settle()
    ((args, step),) = tracked.track_step_execution.call_args_list
    assert (args, step.pop("duration_ms") >= 0) == ((), True)
    assert step == {
        "workflow_id": "w",
        "execution_id": execution,
        "step_id": "a",
        "step_name": "a",
        "event_type": "step_completed",
        "status": "COMPLETED",
        "error_message": None,
        "resource_id": "a",
        "user_id": "default",
    }
    ((args, run),) = tracked.track_workflow_execution.call_args_list
    assert (args, run.pop("duration_seconds") >= 0) == ((), True)
    assert run == {"workflow_id": "w", "success": True, "time_saved_seconds": 30, "business_value": 5}


@pytest.mark.parametrize("how", ["completed", "failed", "partial", "cancelled", "cancelled early", "unknown", "paused"])
async def test_a_run_that_is_over_is_counted_once_and_one_that_is_not_is_not(how: str) -> None:
    class Story(Engine):
        async def _execute_step(self, step: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
            if how in {"failed", "partial"}:
                raise RuntimeError("no luck")
            if how == "cancelled":
                await self.cancel_execution(execution)
            return await super()._execute_step(step, params)

    engine, tracked = Story(), Mock()
    parameters = {"n": "${input.n}"} if how == "paused" else {}
    workflow = steps("a", continue_on_error=how == "partial", parameters=parameters)
    with patch("core.analytics_engine.get_analytics_engine", return_value=tracked):
        execution = "nobody" if how == "unknown" else await engine.start_workflow(workflow, {})
        if how == "cancelled early":
            await engine.cancel_execution(execution)
        if how == "unknown":
            await engine._run_execution(execution, workflow)
        await engine.settle()
        counted = [call.kwargs["success"] for call in tracked.track_workflow_execution.call_args_list]
        assert counted == ([] if how == "paused" else [how == "completed"])
        if how == "paused":
            await engine.cancel_execution(execution)
            assert tracked.track_workflow_execution.call_count == 1


# -- workflows from the file


def test_a_workflow_is_found_by_its_id_through_open_and_json_load() -> None:
    engine = WorkflowEngine()
    listed = [{"id": "a"}, {"workflow_id": "b", "name": "B"}]
    with patch("builtins.open", mock_open(read_data=json.dumps(listed))):
        assert engine._load_workflow_by_id("b") == listed[1]
        assert engine._load_workflow_by_id("c") is None
    with patch("builtins.open", MagicMock()), patch("json.load", return_value=listed):
        assert engine._load_workflow_by_id("a") == {"id": "a"}


@pytest.mark.parametrize("read", ["not json", "5", '{"id": "a"}', "[5]", "null"])
def test_a_file_that_holds_no_list_of_workflows_has_none(read: str) -> None:
    with patch("builtins.open", mock_open(read_data=read)):
        assert WorkflowEngine()._load_workflow_by_id("a") is None
    with patch("builtins.open", side_effect=OSError("away")):
        assert WorkflowEngine()._load_workflow_by_id("a") is None
    assert WorkflowEngine()._load_workflow_by_id("a") is None


# -- what the application may hand over


class Moment(datetime):
    """A moment without a zone, in a place where local time is not UTC: taken for local, it is some hours off."""

    def timestamp(self) -> float:
        return super().timestamp() - (0 if self.tzinfo else 9 * 3600)


async def test_a_start_time_without_a_zone_is_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    analytics = Mock()
    monkeypatch.setattr("core.analytics_engine.get_analytics_engine", lambda: analytics)
    engine = Engine()
    execution = await engine.state_manager.create_execution("w", {})
    started = Moment.now(UTC).replace(tzinfo=None)
    await engine._execute_workflow_graph(execution, nodes("a"), {}, AsyncMock(), "ada", started)
    assert 0 <= analytics.track_workflow_execution.call_args.kwargs["duration_seconds"] < 5


NO_WORKFLOWS: list[Any] = [None, "text", 5, {"steps": "abc"}, {"steps": [None]}, {"steps": [{}]}, {"connections": 5}]
NO_SCHEMAS = [{"type": "any"}, {"required": True}, {"$ref": "https://example.org/x"}, "text"]


@pytest.mark.parametrize("workflow", NO_WORKFLOWS, ids=str)
async def test_whatever_is_handed_over_as_a_workflow_the_run_does_not_raise(workflow: Any) -> None:
    engine = Engine()
    execution = await engine.state_manager.create_execution("w", {})
    await engine._run_execution(execution, workflow)
    state = await state_of(engine, execution)
    assert state["status"] == "FAILED"
    assert state["error"]


@pytest.mark.parametrize("title", ["", None])
def test_a_node_without_a_title_goes_by_its_id(title: str | None) -> None:
    (step,) = Engine()._convert_nodes_to_steps({"nodes": [{"id": "a", "title": title}]})
    assert step["name"] == "a"


async def test_an_error_without_a_text_is_told_by_its_class() -> None:
    class Late(Engine):
        async def _execute_step(self, step: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
            raise TimeoutError

    engine = Late()
    execution = await engine.start_workflow(steps("a"), {})
    await engine.settle()
    state = await state_of(engine, execution)
    assert (state["error"], state["steps"]["a"]["error"]) == ("TimeoutError", "TimeoutError")


def test_the_engine_of_the_process_may_be_a_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Mock()
    monkeypatch.setattr("core.workflow_engine._workflow_engine", None)
    monkeypatch.setattr("core.workflow_engine.WorkflowEngine", made)
    assert get_workflow_engine() is get_workflow_engine() is made.return_value
    made.assert_called_once_with()


@pytest.mark.parametrize("kind", ["input", "output"])
def test_a_value_that_breaks_its_schema_twice_is_one_error(kind: str) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}
    check = getattr(Engine(), f"_validate_{kind}_schema")
    with pytest.raises(SchemaValidationError) as caught:
        check({f"{kind}_schema": schema}, {"a": 1, "b": "x"})
    assert (caught.value.schema_type, len(caught.value.errors)) == (kind, 1)
    assert caught.value.errors[0] in str(caught.value)


@pytest.mark.parametrize("schema", NO_SCHEMAS, ids=str)
@pytest.mark.parametrize("kind", ["input", "output"])
def test_a_schema_that_is_none_is_broken_by_everything(kind: str, schema: Any) -> None:
    check = getattr(Engine(), f"_validate_{kind}_schema")
    with pytest.raises(SchemaValidationError, match=f"{kind.capitalize()} validation failed for step a: ") as caught:
        check({"id": "a", f"{kind}_schema": schema}, {})
    assert (caught.value.schema_type, len(caught.value.errors)) == (kind, 1)
