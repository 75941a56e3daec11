"""The faults of the engine that this one replaces, each absent: real executions, and what came of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock, patch

import pytest

from core.exceptions import ValidationError
from core.execution_state_manager import ExecutionStateManager
from core.step_errors import StepTimeoutError
from core.websockets import get_connection_manager
from core.workflow_engine import WorkflowEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Clock:
    """Time that passes only when it is waited for; ``waits`` says how often and how long."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0
        self.waits: list[float] = []

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.time += seconds
        await asyncio.sleep(0)


class Engine(WorkflowEngine):
    """An application's engine: what a step gives is looked up by its id."""

    def __init__(self, gives: dict[str, Any] | None = None, limit: int = 5) -> None:
        self.clock = Clock()
        super().__init__(limit, state_manager=ExecutionStateManager(), clock=self.clock)
        self.gives = gives or {}
        self.ran: list[str] = []

    async def _execute_step(self, step: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
        self.ran.append(step["id"])
        given = self.gives.get(step["id"], {"status": "success", "result": {"of": step["id"], **params}})
        if isinstance(given, BaseException):
            raise given
        return given() if callable(given) else given  # type: ignore[no-any-return]

    async def run(self, workflow: dict[str, Any], given: dict[str, Any] | None = None) -> dict[str, Any]:
        execution = await self.start_workflow(workflow, given or {})
        return await self.settle(execution)

    async def settle(self, execution: str) -> dict[str, Any]:
        while self._background_tasks:
            await asyncio.gather(*self._background_tasks)
        state = await self.state_manager.get_execution_state(execution)
        assert state is not None
        return state


class Dispatching(WorkflowEngine):
    """An application's engine that leaves ``_execute_step`` as it is, and brings a service."""

    def __init__(self, service: Callable[..., Any]) -> None:
        self.clock = Clock()
        super().__init__(state_manager=ExecutionStateManager(), clock=self.clock)
        self.service = service
        self.calls = 0

    async def _execute_shop_action(self, action: str, params: dict[str, Any], connection_id: str | None) -> Any:
        self.calls += 1
        return await self.service(params)


def node(name: str, **config: Any) -> dict[str, Any]:
    return {"id": name, "title": name, "config": {"service": "shop", "action": "do", **config}}


def graph(*nodes: dict[str, Any], edges: list[tuple[str, ...]]) -> dict[str, Any]:
    connections = [dict(zip(("source", "target", "condition"), edge, strict=False)) for edge in edges]
    return {"id": "w", "nodes": list(nodes), "connections": connections}


def chain(*steps: dict[str, Any]) -> dict[str, Any]:
    plain = {"service": "shop", "action": "do", "parameters": {}}
    return {"id": "w", "steps": [{**plain, "sequence_order": place, **step} for place, step in enumerate(steps, 1)]}


def statuses(state: dict[str, Any]) -> dict[str, str]:
    return {name: entry["status"] for name, entry in state["steps"].items()}


@pytest.fixture
def told() -> Iterator[list[tuple[str, dict[str, Any] | None]]]:
    found: list[tuple[str, dict[str, Any] | None]] = []
    stop = get_connection_manager().listen(lambda _, __, status, data: found.append((status, data)))
    yield found
    stop()


# -- fault: graph mode puts connection dicts into a set: every conditional workflow ends FAILED


async def test_a_conditional_workflow_completes_along_its_conditions() -> None:
    engine = Engine()
    edges: list[tuple[str, ...]] = [("a", "b", "${a.result.of} == 'a'"), ("a", "c"), ("b", "d"), ("c", "d")]
    state = await engine.run(graph(node("a"), node("b"), node("c"), node("d"), edges=edges))
    assert (state["status"], state["error"]) == ("COMPLETED", None)
    assert statuses(state) == dict.fromkeys("abcd", "COMPLETED")
    assert (engine.ran[0], sorted(engine.ran[1:3]), engine.ran[3:]) == ("a", ["b", "c"], ["d"])


# -- fault: a failed or paused node stays PENDING in the loop's memory: it is run again without end


async def test_a_failed_node_with_continue_on_error_runs_once() -> None:
    engine = Engine({"a": RuntimeError("no luck")})
    state = await engine.run(graph(node("a", continue_on_error=True), node("b"), edges=[("a", "b", "true")]))
    assert engine.ran == ["a", "b"]
    assert (state["status"], statuses(state)) == ("PARTIAL", {"a": "FAILED", "b": "COMPLETED"})


async def test_a_paused_node_is_not_tried_again_before_it_is_resumed() -> None:
    engine = Engine()
    asking = node("b", parameters={"name": "${input.name}"})
    state = await engine.run(graph(node("a"), asking, edges=[("a", "b", "true")]))
    assert (state["status"], state["error"]) == ("PAUSED", "Missing input: input.name")
    assert (engine.ran, statuses(state)) == (["a"], {"a": "COMPLETED", "b": "PAUSED"})


# -- fault: _execute_step turns every executor failure into a returned envelope, and the run marks the step COMPLETED


async def test_a_failure_of_an_executor_fails_the_step_after_its_retries() -> None:
    async def fail(_: dict[str, Any]) -> Any:
        raise RuntimeError("no luck")

    engine = Dispatching(fail)
    execution = await engine.start_workflow(chain({"id": "a"}), {})
    await asyncio.gather(*engine._background_tasks)
    state = await engine.state_manager.get_execution_state(execution)
    assert state is not None
    assert (state["status"], state["error"], statuses(state)) == ("FAILED", "no luck", {"a": "FAILED"})
    assert (engine.calls, engine.clock.waits) == (4, [1.0, 2.0, 4.0])


async def test_a_result_that_says_it_failed_fails_the_step() -> None:
    async def fail(_: dict[str, Any]) -> Any:
        return {"status": "error", "error": "quota used up"}

    engine = Dispatching(fail)
    execution = await engine.start_workflow(chain({"id": "a"}), {})
    await asyncio.gather(*engine._background_tasks)
    state = await engine.state_manager.get_execution_state(execution)
    assert state is not None
    assert (state["status"], statuses(state)) == ("FAILED", {"a": "FAILED"})
    assert "quota used up" in state["error"]


async def test_an_envelope_that_says_it_failed_fails_the_step() -> None:
    engine = Engine({"a": {"status": "error", "error": "quota used up"}})
    state = await engine.run(chain({"id": "a"}, {"id": "b"}))
    assert (state["status"], statuses(state), engine.ran) == ("FAILED", {"a": "FAILED"}, ["a"])
    assert "quota used up" in state["error"]


async def test_a_timeout_is_raised_and_ends_the_execution() -> None:
    never = asyncio.Event()

    async def hang(_: dict[str, Any]) -> Any:
        await never.wait()

    engine = Dispatching(hang)
    with pytest.raises(StepTimeoutError) as caught:
        await engine._execute_step({"id": "a", "service": "shop", "action": "do", "timeout": 5}, {})
    assert (caught.value.step_id, caught.value.timeout) == ("a", 5)
    execution = await engine.start_workflow(chain({"id": "a", "timeout": 5}), {})
    await asyncio.gather(*engine._background_tasks)
    state = await engine.state_manager.get_execution_state(execution)
    assert state is not None
    assert (state["status"], statuses(state)) == ("FAILED", {"a": "TIMED_OUT"})
    assert "timed out after 5 seconds" in state["error"]


# -- fault: what does raise is retried three times over 7 seconds although it cannot get better


@pytest.mark.parametrize(
    "step",
    [
        {"id": "a", "service": "nobody", "action": "do"},
        {"id": "a", "service": "nobody", "action": "do", "fallback_service": "no.one"},
        {"id": "a", "service": "shop", "action": "do", "timeout": "soon"},
    ],
)
async def test_what_cannot_get_better_is_tried_once(step: dict[str, Any]) -> None:
    async def never(_: dict[str, Any]) -> Any:
        raise AssertionError

    engine = Dispatching(never)
    with pytest.raises((ValueError, ValidationError)):
        await engine._execute_step(step, {})
    assert (engine.calls, engine.clock.waits) == (0, [])


async def test_an_error_that_says_the_call_is_wrong_is_tried_once() -> None:
    async def refuse(_: dict[str, Any]) -> Any:
        raise ValidationError("no such article", field="article")

    engine = Dispatching(refuse)
    with pytest.raises(ValidationError, match="no such article"):
        await engine._execute_step({"id": "a", "service": "shop", "action": "do"}, {})
    assert (engine.calls, engine.clock.waits) == (1, [])


# -- fault: graph mode checks the input schema outside its try: the run fails, the step stays RUNNING for ever


async def test_parameters_that_break_the_input_schema_fail_the_step_too(told: list[Any]) -> None:
    engine = Engine()
    strict = node("b", parameters={"n": "${a.result.of}"}, input_schema={"properties": {"n": {"type": "integer"}}})
    state = await engine.run(graph(node("a"), strict, edges=[("a", "b", "true")]))
    assert (state["status"], statuses(state)) == ("FAILED", {"a": "COMPLETED", "b": "FAILED"})
    assert "Input validation failed for step b" in state["steps"]["b"]["error"]
    assert engine.ran == ["a"]
    assert [status for status, _ in told if status in {"STEP_FAILED", "FAILED"}] == ["STEP_FAILED", "FAILED"]


# -- fault: linear mode ignores continue_on_error


async def test_a_chain_goes_on_behind_a_failure_that_it_may_pass_over() -> None:
    engine = Engine({"a": RuntimeError("no luck")})
    state = await engine.run(chain({"id": "a", "continue_on_error": True}, {"id": "b"}))
    assert (state["status"], statuses(state)) == ("PARTIAL", {"a": "FAILED", "b": "COMPLETED"})
    assert engine.ran == ["a", "b"]


# -- fault: a step with unmet depends_on is dropped silently and the run says COMPLETED


async def test_a_step_with_unmet_dependencies_is_skipped_and_said_so(told: list[Any]) -> None:
    engine = Engine()
    state = await engine.run(chain({"id": "a", "depends_on": ["b"]}, {"id": "b"}))
    assert (state["status"], statuses(state), engine.ran) == ("COMPLETED", {"a": "SKIPPED", "b": "COMPLETED"}, ["b"])
    assert ("STEP_SKIPPED", {"step_id": "a", "reason": "Dependencies not met: b"}) in told


# -- fault: null inputs pause the run


async def test_an_input_that_is_null_is_a_value() -> None:
    engine = Engine()
    state = await engine.run(chain({"id": "a", "parameters": {"n": "${input.n}"}}), {"n": None})
    assert (state["status"], state["outputs"]["a"]["result"]) == ("COMPLETED", {"of": "a", "n": None})


# -- fault: nested references are passed on unresolved; the first one's value replaces the whole string


async def test_references_are_resolved_however_deep_and_each_in_its_place() -> None:
    engine = Engine()
    parameters = {"deep": [{"to": "${input.to}"}], "text": "${input.a} and ${input.b}!", "only": "${input.list}"}
    given = {"to": "ada", "a": 1, "b": True, "list": [1, 2]}
    state = await engine.run(chain({"id": "a", "parameters": parameters}), given)
    wanted = {"of": "a", "deep": [{"to": "ada"}], "text": "1 and True!", "only": [1, 2]}
    assert state["outputs"]["a"]["result"] == wanted


# -- fault: eval() on conditions with attribute access; a substituted value that contains a later reference ...


@pytest.mark.parametrize(
    "condition",
    [
        "${a.result.text}.__class__",
        "().__class__.__bases__[0].__subclasses__()",
        "__import__('os').system('true') == 0",
        "${a.result.text}",
        "open('/etc/passwd')",
        "[x for x in (1,)]",
        "lambda: 1",
    ],
)
async def test_a_condition_runs_no_code(condition: str) -> None:
    evil = {"status": "success", "result": {"text": ""}}
    engine = Engine({"a": evil})
    state = await engine.run(graph(node("a"), node("b"), edges=[("a", "b", condition)]))
    assert (state["status"], engine.ran) == ("PARTIAL", ["a"])


async def test_a_value_from_outside_never_becomes_part_of_a_condition() -> None:
    engine = Engine()
    given = {"role": "x' or 'x' == 'x", "level": "${input.secret}", "secret": "admin"}
    edges: list[tuple[str, ...]] = [
        ("a", "b", "'${input.role}' == 'admin'"),
        ("a", "c", "${input.role} == 'admin'"),
        ("a", "d", "${input.level} == 'admin'"),
    ]
    state = await engine.run(graph(node("a"), node("b"), node("c"), node("d"), edges=edges), given)
    assert (engine.ran, state["status"]) == (["a"], "PARTIAL")


async def test_a_value_that_contains_a_reference_is_not_substituted_again() -> None:
    engine = Engine()
    parameters = {"one": "${input.a}", "two": "${input.a} ${input.b}"}
    given = {"a": "${input.b}", "b": "secret"}
    state = await engine.run(chain({"id": "a", "parameters": parameters}), given)
    assert state["outputs"]["a"]["result"] == {"of": "a", "one": "${input.b}", "two": "${input.b} secret"}


# -- fault: cancel leaves its id in the set for ever when the run is already over, and overwrites COMPLETED or FAILED


@pytest.mark.parametrize("gives", [{}, {"a": RuntimeError("no luck")}])
async def test_cancelling_what_is_over_changes_nothing_and_leaves_nothing(gives: dict[str, Any]) -> None:
    engine = Engine(gives)
    before = await engine.run(chain({"id": "a"}))
    assert await engine.cancel_execution(before["execution_id"]) is True
    assert await engine.settle(before["execution_id"]) == before
    assert engine.cancellation_requests == set()


async def test_cancelling_what_is_paused_ends_it_and_leaves_nothing() -> None:
    engine = Engine()
    paused = await engine.run(chain({"id": "a", "parameters": {"n": "${input.n}"}}))
    assert paused["status"] == "PAUSED"
    assert await engine.cancel_execution(paused["execution_id"]) is True
    assert (await engine.settle(paused["execution_id"]))["status"] == "CANCELLED"
    assert engine.cancellation_requests == set()
    assert await engine.resume_workflow(paused["execution_id"], {"id": "w", "steps": []}, {}) is False


# -- fault: update_step_status is read-modify-write: parallel steps lose each other's output


async def test_parallel_steps_keep_their_outputs() -> None:
    engine = Engine(limit=50)
    names = [f"n{number}" for number in range(40)]
    edges: list[tuple[str, ...]] = [("first", name, "true") for name in names]
    state = await engine.run(graph(node("first"), *map(node, names), edges=edges))
    assert state["status"] == "COMPLETED"
    assert {name: output["result"]["of"] for name, output in state["outputs"].items()} == {
        name: name for name in ("first", *names)
    }


async def test_a_deadline_does_not_pass_because_an_application_leaves_out_delays() -> None:
    """Its tests put something that returns at once in the place of ``asyncio.sleep``, to have no waits for retries."""

    class Slow(WorkflowEngine):
        async def _execute_shop_action(self, action: str, params: dict[str, Any], connection_id: str | None) -> str:
            for _ in range(3):
                passed = asyncio.Event()
                asyncio.get_running_loop().call_soon(passed.set)
                await passed.wait()
            return "in time"

    step = {"id": "a", "service": "shop", "action": "do", "timeout": 30}
    with patch("asyncio.sleep", AsyncMock()) as sleep:
        result = await Slow(state_manager=ExecutionStateManager())._execute_step(step, {})
    assert (result["result"], sleep.await_count) == ("in time", 0)
