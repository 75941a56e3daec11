"""The engine's methods around single steps: references, conditions, graphs, dispatch, errors."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any
from unittest.mock import AsyncMock, patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import treadle
from core.auto_healing import async_retry_with_backoff
from core.conditions import MAX_CHARS
from core.exceptions import (
    AgentExecutionError,
    AtomException,
    AuthenticationError,
    ExternalServiceError,
    ValidationError,
)
from core.execution_state_manager import ExecutionStateManager, get_state_manager
from core.references import VARIABLE, find_references
from core.workflow_engine import MissingInputError, SchemaValidationError, StepTimeoutError, WorkflowEngine

STATE = {
    "input_data": {"n": 5, "null": None, "text": "${input.n} or true", "deep": {"list": [1]}, "yes": True},
    "outputs": {"a": {"status": "success", "result": {"id": 7}}, "a b": {"x": 0}},
    "steps": {"a": {"status": "COMPLETED"}, "b": {"status": "RUNNING"}},
}


@pytest.fixture
def engine() -> WorkflowEngine:
    return WorkflowEngine(state_manager=ExecutionStateManager())


# -- references and conditions


@pytest.mark.parametrize(
    ("path", "value", "exists"),
    [
        ("input.n", 5, True),
        ("input.null", None, True),
        ("input", STATE["input_data"], True),
        ("a.result.id", 7, True),
        ("a b.x", 0, True),
        ("input.deep.list.0", None, False),
        ("input.n.x", None, False),
        ("nobody.x", None, False),
    ],
)
def test_a_path_reads_the_input_or_an_output(engine: WorkflowEngine, path: str, value: object, exists: bool) -> None:
    assert engine._get_value_from_path(path, STATE) == value
    assert engine._path_exists(path, STATE) is exists
    assert engine._path_exists(path, {}) is False or path == "input"


def test_parameters_are_resolved_deeply_and_never_twice(engine: WorkflowEngine) -> None:
    given = {
        "a": "${input.n}",
        "b": ["${input.null}", {"c": "${a.result.id}/${input.yes}"}],
        "d": 4,
        "e": "${input.text}",
    }
    wanted = {"a": 5, "b": [None, {"c": "7/True"}], "d": 4, "e": "${input.n} or true"}
    assert engine._resolve_parameters(given, STATE) == wanted
    assert engine.var_pattern.findall("${a.b} ${c}") == ["a.b", "c"]


def test_a_missing_value_is_named(engine: WorkflowEngine) -> None:
    with pytest.raises(MissingInputError, match=r"Variable input\.gone not found") as caught:
        engine._resolve_parameters({"a": ["x ${input.gone}"]}, STATE)
    assert caught.value.missing_var == "input.gone"


@pytest.mark.parametrize(
    ("condition", "taken"),
    [
        (None, True),
        ("", True),
        ("${input.n} == 5", True),
        ("${input.n} > 4 and not ${input.n} >= 6", True),
        ("${a.status} == 'success' or false", True),
        ('${a.status} != "success"', False),
        ("${input.yes}", True),
        ("${input.yes} == True", True),
        ("${a b.x}", False),
        ("${input.null}", False),
        ("5", True),
        ("0", False),
        ("'text'", True),
        ("true", True),
        ("False", False),
        ("(${input.n} < 1 or ${input.n} > 1) and 2 <= 2", True),
        ("${input.text} == 'a'", False),
        ("${input.gone} == 1", False),
        ("not ${input.gone}", False),
        ("${input.gone} == 1 or true", False),
        ("5 >", False),
        ("'a' < 1", False),
        ("${input.deep}.list", False),
        ("size('x') == 1", False),
        ("__import__('os')", False),
        ("'size(' == 'size('", True),
        ("${a.result.__class__}", False),
        ("input.n == 5", False),
        ("1 < ${input.n} < 10", True),
        ("1 < ${input.n} < 5", False),
        ("5 == ${input.n} == 5 == 5", True),
        ("not 1 < ${input.n} < 5", True),
        ("1 < < 5", False),
        ("'${a.status}' == 'success'", True),
        ('"${a.result.id}" == "7"', True),
        ("'id ${a.result.id} of ${input.n}' == 'id 7 of 5'", True),
        ("'it\\'s ${input.n}' == \"it's 5\"", True),
        ("'${input.text}' == '5 or true'", False),
        ("'${input.gone}' == ''", False),
        ("'${' == '${' and ${input.n} == 5", True),
        ("${input.n} in [1, 5] and 1.5e-3 < 2", True),
        ("true or 5 >", False),
        ("true or ", False),
        ("not not (not (false)) and ((true))", True),
        ("true ? true : true", False),
        ("'unfinished == 1", False),
        ("(true", False),
        ("true)", False),
        ("value[0] == 5 and ${input.n} == 5", False),
        ("true or 'a' < 1", True),
        ("'a' < 1 or true", False),
    ],
)
def test_a_condition_compares_values_and_does_nothing_else(
    engine: WorkflowEngine, condition: str | None, taken: bool
) -> None:
    assert engine._evaluate_condition(condition, STATE) is taken
    if condition and "${" in condition:
        assert engine._evaluate_condition(condition, {}) is False


@pytest.mark.parametrize("count", [200, 600])
def test_a_condition_may_have_hundreds_of_clauses(engine: WorkflowEngine, count: int) -> None:
    clauses = ["${input.n} == 5"] * count
    assert engine._evaluate_condition(" and ".join(clauses), STATE) is True
    assert engine._evaluate_condition(" and ".join([*clauses, "${input.n} == 6"]), STATE) is False
    assert engine._evaluate_condition(" or ".join(["1 == 2"] * count), STATE) is False
    assert engine._evaluate_condition(" or ".join(["1 == 2"] * count + ["1 == 1"]), STATE) is True


HOSTILE = [part * 300_000 for part in ("${", "${a", "' ", "'\\", "(", "${}", "not ", "1 < ")]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:4])
def test_a_hostile_text_costs_what_its_length_says(engine: WorkflowEngine, text: str) -> None:
    assert engine._evaluate_condition(text, STATE) is False
    assert engine._evaluate_condition(text[:MAX_CHARS], STATE) is False
    assert engine._resolve_parameters({"a": text}, STATE) == {"a": text}
    assert engine._resolve_parameters({"a": f"${{input.n}}{text}"}, STATE) == {"a": f"5{text}"}


@settings(max_examples=300, deadline=None)
@given(st.text("${}ab. ", max_size=20))
def test_references_are_what_the_pattern_says(text: str) -> None:
    wanted = [(found.start(), found.end(), found[1]) for found in VARIABLE.finditer(text)]
    assert list(find_references(text)) == wanted


def test_dependencies_are_met_once_they_are_completed(engine: WorkflowEngine) -> None:
    assert engine._check_dependencies({}, {})
    assert engine._check_dependencies({"depends_on": ["a"]}, STATE)
    assert not engine._check_dependencies({"depends_on": ["a", "b"]}, STATE)
    assert not engine._check_dependencies({"depends_on": ["a"]}, {})


# -- graphs


def test_nodes_become_steps_behind_their_sources(engine: WorkflowEngine) -> None:
    nodes = [
        {"id": "last"},
        {"id": "go", "type": "trigger", "title": "Go"},
        {"id": "mid", "config": {"service": "s", "action": "a", "connectionId": "c", "retry": {"max_attempts": 2}}},
    ]
    lost = [{"source": "mid", "target": "nowhere"}, {"source": "mid"}]
    connections = [{"source": "go", "target": "mid"}, {"source": "mid", "target": "last", "condition": "1"}, *lost]
    steps = engine._convert_nodes_to_steps({"nodes": nodes, "connections": connections})
    plain = {"parameters": {}, "continue_on_error": False, "timeout": None, "input_schema": {}, "output_schema": {}}
    default = {"service": "default", "action": "default", "type": "action"}
    assert steps == [
        {
            "id": "go",
            "name": "Go",
            "sequence_order": 1,
            **plain,
            **default,
            "type": "trigger",
            "action": "manual_trigger",
        },
        {"id": "mid", "name": "mid", "sequence_order": 2, **plain, "type": "action", "service": "s", "action": "a"}
        | {"connection_id": "c", "retry": {"max_attempts": 2}},
        {"id": "last", "name": "last", "sequence_order": 3, **plain, **default},
    ]
    graph = engine._build_execution_graph({"nodes": nodes, "connections": connections})
    assert graph["connections"] is connections
    assert graph["adjacency"]["mid"] == [connections[1]]
    assert graph["reverse_adjacency"]["mid"][0] is connections[0]
    assert engine._has_conditional_connections({"connections": connections}) is True
    assert engine._has_conditional_connections({"connections": [{"condition": ""}]}) is False
    assert engine._has_conditional_connections({}) is False
    assert engine._convert_nodes_to_steps({}) == []


CYCLES = [
    (["aa"], "a -> a"),
    (["ab", "ba"], "a -> b -> a"),
    (["ab", "bc", "ca", "cd"], "a -> b -> c -> a"),
    (["xa", "ab", "ba", "bd"], "a -> b -> a"),
]


@pytest.mark.parametrize(("edges", "way"), CYCLES)
async def test_a_cycle_is_refused_by_name_and_nothing_behind_it_is_named(
    engine: WorkflowEngine, edges: list[str], way: str
) -> None:
    connections = [{"source": source, "target": target} for source, target in edges]
    workflow = {"id": "w", "nodes": [{"id": name} for name in "abcdx"], "connections": connections}
    sentence = f"circular: the cycle {way} can never start"
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        engine._convert_nodes_to_steps(workflow)
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        await engine.start_workflow(workflow, {})


@pytest.mark.parametrize(("edges", "way"), CYCLES)
async def test_a_cycle_that_reaches_the_run_is_the_error_of_its_execution(
    engine: WorkflowEngine, edges: list[str], way: str
) -> None:
    connections = [{"source": source, "target": target, "condition": "true"} for source, target in edges]
    nodes = [{"id": name} for name in "abcdx"]
    execution = await engine.start_workflow({"id": "w", "nodes": nodes, "steps": [], "connections": connections}, {})
    await asyncio.gather(*engine._background_tasks)
    state = await engine.state_manager.get_execution_state(execution)
    assert state is not None
    assert (state["status"], state["error"]) == ("FAILED", f"circular: the cycle {way} can never start")


# -- dispatch


class Shop(WorkflowEngine):
    """An application's engine: a service of its own, and a catalogue."""

    async def _execute_shop_action(self, action: str, params: dict[str, Any], connection_id: str | None) -> Any:
        if action == "break":
            raise AgentExecutionError("shop", "closed")
        return {"action": action, "connection": connection_id, **params}

    async def _execute_generic_action(
        self, service: str, action: str, params: dict[str, Any], connection_id: str | None = None
    ) -> Any:
        if service == "lost":
            raise LookupError("not in the catalogue")
        return [service, action]


def sync_double(value: int) -> int:
    return value * 2


async def nap() -> None:
    await asyncio.Event().wait()


@pytest.fixture
def shop() -> Shop:
    return Shop(actions=[{"math.double": sync_double, "math.nap": nap}], state_manager=ExecutionStateManager())


def step(service: str, action: str, **more: Any) -> dict[str, Any]:
    return {"id": "it", "service": service, "action": action, **more}


async def test_a_service_is_a_method_a_registered_action_or_of_the_catalogue(shop: Shop) -> None:
    found = await shop._execute_step(step("shop", "buy", connection_id="c"), {"n": 1})
    assert isinstance(found.pop("timestamp"), str)
    result = {"action": "buy", "connection": "c", "n": 1}
    assert found == {
        "status": "success",
        "service": "shop",
        "action": "buy",
        "result": result,
        "execution_method": "service_registry",
    }
    found = await shop._execute_step(step("math", "double"), {"value": 4})
    assert (found["result"], found["execution_method"]) == (8, "service_registry")
    found = await shop._execute_step(step("far", "away"), {})
    assert (found["result"], found["execution_method"]) == (["far", "away"], "generic_catalog_executor")


async def test_what_cannot_get_better_is_raised_at_once(shop: Shop, engine: WorkflowEngine) -> None:
    async with asyncio.timeout(0.9):  # less than the first wait between two calls
        with pytest.raises(ValueError, match=r"Unknown service: lost .*not in the catalogue"):
            await shop._execute_step(step("lost", "x"), {})
        with pytest.raises(ValueError, match="Unknown service: generic"):
            await engine._execute_step(step("generic", "x"), {})
        with pytest.raises(ValidationError, match="unexpected keyword argument 'wrong'"):
            await shop._execute_step(step("math", "double"), {"value": 1, "wrong": 2})


async def test_a_fallback_is_tried_once_the_service_failed(shop: Shop) -> None:
    found = await shop._execute_step(step("lost", "buy", fallback_service="shop"), {})
    assert {key: found[key] for key in ("service", "original_service", "fallback_used", "execution_method")} == {
        "service": "shop",
        "original_service": "lost",
        "fallback_used": True,
        "execution_method": "fallback_service",
    }
    bare = Shop._execute_step.__wrapped__  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"closed.*also failed: Unknown service: lost"):
        await bare(shop, step("shop", "break", fallback_service="lost"), {})


async def test_a_late_service_is_cancelled(shop: Shop) -> None:
    bare = Shop._execute_step.__wrapped__  # type: ignore[attr-defined]
    with pytest.raises(StepTimeoutError, match=r"Step it timed out after 0\.01 seconds") as caught:
        await bare(shop, step("math", "nap", timeout=0.01), {})
    assert (caught.value.step_id, caught.value.timeout) == ("it", 0.01)


def test_an_action_that_wants_a_context_is_refused() -> None:
    async def curious(context: object) -> None: ...

    with pytest.raises(treadle.ValidationError, match=r"'a\.b' declares a context"):
        WorkflowEngine(actions=[{"a.b": curious}], state_manager=ExecutionStateManager())


# -- schemas, retries, errors


def test_schemas_are_checked_where_there_are_some(engine: WorkflowEngine) -> None:
    schema = {"type": "object", "required": ["n"]}
    engine._validate_input_schema({}, {})
    engine._validate_output_schema({"output_schema": {}}, 5)
    engine._validate_input_schema({"input_schema": schema}, {"n": 1})
    with pytest.raises(SchemaValidationError, match="Input validation failed for step unknown") as caught:
        engine._validate_input_schema({"input_schema": schema}, {})
    assert caught.value.schema_type == "input"
    assert len(caught.value.errors) == 1
    with pytest.raises(SchemaValidationError, match="Input validation failed for step unknown"):
        engine._validate_input_schema({"input_schema": {"properties": {"n": {"type": "string"}}}}, {"n": object()})
    older = {"$schema": "http://json-schema.org/draft-07/schema#", "properties": {"n": {"type": "string"}}}
    engine._validate_input_schema({"input_schema": older}, {"n": "text"})
    with pytest.raises(SchemaValidationError, match="Input validation failed for step unknown"):
        engine._validate_input_schema({"input_schema": older}, {"n": 1})
    with pytest.raises(SchemaValidationError, match="Output validation failed for step a"):
        engine._validate_output_schema({"id": "a", "output_schema": schema}, {})


async def test_the_decorator_repeats_waits_and_gives_up() -> None:
    waits: list[float] = []

    class Recorded:
        def now(self) -> float:
            return 0

        async def sleep(self, seconds: float) -> None:
            waits.append(seconds)

    @async_retry_with_backoff(3, 0.5, 1.5, 2.0, (OSError,), clock=lambda *_: Recorded())
    async def call(error: Exception) -> None:
        """Fail."""
        raise error

    assert (call.__name__, call.__doc__) == ("call", "Fail.")
    with pytest.raises(OSError, match="last"):
        await call(OSError("last"))
    assert waits == [0.5, 1.0, 1.5]
    for unlike in (KeyError("other"), ValidationError("wrong")):
        with pytest.raises(type(unlike)):
            await call(unlike)
    assert waits == [0.5, 1.0, 1.5]


@pytest.mark.parametrize(
    ("error", "text", "bases"),
    [
        (AtomException("m"), "[INT_9001] m", Exception),
        (
            AgentExecutionError("t", "r"),
            "[AGENT_2002] Agent execution failed for task t: r",
            treadle.AgentExecutionError,
        ),
        (ValidationError("m", "f", {"a": 1}), "[VAL_7001] m", treadle.ValidationError),
        (ExternalServiceError("s", "m"), "[EXT_8003] s: m", AtomException),
        (AuthenticationError(), "[AUTH_1001] Authentication failed", AtomException),
        (MissingInputError("m", "v"), "m", Exception),
        (SchemaValidationError("m", "input", ["e"]), "m", Exception),
        (StepTimeoutError("m", "s", 1.0), "m", Exception),
    ],
)
def test_errors_say_what_they_should_and_survive_pickling(error: Exception, text: str, bases: type) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert str(error) == str(again) == text
    assert type(again) is type(error)
    assert isinstance(error, bases)
    assert {key: value for key, value in vars(again).items() if key != "cause"} == {
        key: value for key, value in vars(error).items() if key != "cause"
    }


def test_there_is_one_state_manager_in_a_process() -> None:
    assert get_state_manager() is get_state_manager()
    assert WorkflowEngine().state_manager is get_state_manager()


# -- what is odd, and no reason to fail


@pytest.mark.parametrize(
    "state", [{"outputs": 5}, {"outputs": None}, {"outputs": {"x": 5}}, {"steps": {"x": "COMPLETED"}}]
)
def test_a_state_of_another_shape_has_nothing_at_any_path(engine: WorkflowEngine, state: dict[str, Any]) -> None:
    assert engine._get_value_from_path("x.y", state) is None
    assert engine._path_exists("x.y", state) is False
    assert engine._check_dependencies({"depends_on": ["x"]}, state) is False


def test_an_error_may_have_a_code_of_the_applications_own() -> None:
    error = AtomException("closed", "SHOP_1")
    assert (str(error), str(pickle.loads(pickle.dumps(error)))) == ("[SHOP_1] closed", "[SHOP_1] closed")


@pytest.mark.parametrize(
    ("options", "waits"),
    [
        ({"base_delay": 0.0005}, [0.0005, 0.001, 0.002]),
        ({"base_delay": 0.0015, "exponential_base": 1}, [0.0015] * 3),
        ({"max_delay": float("inf")}, [1, 2, 4]),
        ({"max_delay": 0}, [0, 0, 0]),
        ({"base_delay": 10, "max_delay": 5}, [5, 5, 5]),
    ],
    ids=str,
)
async def test_retries_wait_as_long_as_they_are_told(options: dict[str, Any], waits: list[float]) -> None:
    function = AsyncMock(side_effect=[OSError, OSError, OSError, "done"])
    with patch("asyncio.sleep", AsyncMock()) as sleep:
        assert await async_retry_with_backoff(**options)(function)() == "done"
    assert [call.args[0] for call in sleep.call_args_list] == pytest.approx(waits)
