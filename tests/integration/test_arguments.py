"""What a verb is called with is checked before anything happens: a typed error names it, and the engine goes on."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

import treadle
from treadle import ConflictError, ExecutionStatus, ValidationError, WorkflowEngine

ONE = {"id": "w", "nodes": [{"id": "a", "action": "act"}]}


async def act() -> int:
    return 1


def engine(**options: Any) -> WorkflowEngine:
    return WorkflowEngine(**{"store": ":memory:", "actions": [{"act": act}], **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tags": {1: 2}}, "the name of a tag"),
        ({"tags": {"": "x"}}, "the name of a tag"),
        ({"tags": {"a\ud800": "x"}}, "the name of a tag"),
        ({"tags": {"a": 5}}, "the tag 'a' is text"),
        ({"tags": {"a": None}}, "the tag 'a' is text"),
        ({"tags": {"a": date(2026, 1, 1)}}, "the tag 'a' is text"),
        ({"tags": {"a": "\ud800"}}, "lone surrogate"),
        ({"tags": {"a": "x" * 1_025}}, "1,025 characters"),
        ({"tags": {f"t{number}": "" for number in range(65)}}, "at most 64 tags"),
        ({"tags": "abc"}, "tags are a dict"),
        ({"priority": "high"}, "priority is a whole number"),
        ({"priority": True}, "priority is a whole number"),
        ({"priority": 1.5}, "priority is a whole number"),
        ({"priority": None}, "priority is a whole number"),
        ({"priority": 2**60}, "priority is a whole number"),
        ({"execution_id": ""}, "an execution id"),
        ({"execution_id": 5}, "an execution id"),
        ({"execution_id": "a\ud800"}, "an execution id"),
        ({"execution_id": " a"}, "an execution id"),
        ({"input_data": [("x", 1)]}, "input: a dict"),
        ({"input_data": "x"}, "input: a dict"),
        ({"input_data": {"x": float("nan")}}, "nan is not a JSON number"),
        ({"input_data": {"x": {1}}}, "set is not a JSON type"),
        ({"input_data": {1: 2}}, "the key 1"),
    ],
)
async def test_a_start_with_a_wrong_argument_is_refused_and_nothing_was_started(
    options: dict[str, Any], message: str
) -> None:
    async with engine() as running:
        with pytest.raises(ValidationError, match=message):
            await running.start_workflow(ONE, **options)
        assert await running.list_executions() == ([], None)
        assert (await running.run_workflow(ONE)).status is ExecutionStatus.COMPLETED


@pytest.mark.parametrize("reason", [5, "\ud800", "x" * 1_025, b"x"])
async def test_a_cancel_with_a_wrong_reason_is_refused_and_one_without_is_not(reason: Any) -> None:
    async with engine() as running:
        await running.run_workflow(ONE, execution_id="one")
        with pytest.raises(ValidationError, match="reason"):
            await running.cancel_execution("one", reason)
        assert await running.cancel_execution("one", None) is False


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grace": "5"}, "grace"),
        ({"grace": -1}, "grace"),
        ({"grace": float("nan")}, "grace"),
        ({"grace": timedelta(seconds=-1)}, "grace"),
        ({"recover": "order-1"}, "recover"),
        ({"recover": None}, "recover"),
        ({"recover": [5]}, "an execution id"),
        ({"actions": None}, "actions is a list"),
        ({"actions": act}, "actions is a list"),
        ({"actions": "shop"}, "actions is a list"),
        ({"actions": {"act": act}}, "actions is a list"),
        ({"store": None}, "store"),
        ({"store": ""}, "store"),
    ],
)
def test_an_engine_with_a_wrong_argument_is_not_made(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        engine(**options)


async def test_seconds_serve_as_durations() -> None:
    async with engine(grace=0.5) as running:
        assert (await running.wait(await running.start_workflow(ONE), timeout=5)).output == 1
        with pytest.raises(ValidationError, match="timeout"):
            await running.wait("one", timeout="5")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 2**63}, "limit"),
        ({"before": -1}, "before"),
        ({"statuses": ["DONE"]}, "statuses are some of PENDING"),
        ({"statuses": 5}, "statuses are some of"),
        ({"tags": {1: 2}}, "the name of a tag"),
        ({"workflow_id": 5}, "workflow_id"),
    ],
)
async def test_a_list_with_a_wrong_filter_is_refused(options: dict[str, Any], message: str) -> None:
    async with engine() as running:
        with pytest.raises(ValidationError, match=message):
            await running.list_executions(**options)
        await running.run_workflow(ONE)
        assert len((await running.list_executions(statuses=["COMPLETED"]))[0]) == 1  # type: ignore[list-item]
        with pytest.raises(ValidationError, match="after"):
            running.watch(after="x")  # type: ignore[arg-type]


@pytest.mark.parametrize("store", [":memory:", "file"])
async def test_an_engine_that_is_not_open_says_so_and_nobody_waits(store: str, tmp_path: Any) -> None:
    place = store if store == ":memory:" else tmp_path / "log.db"
    idle = engine(store=place)
    assert (idle.health.ok, "not open" in idle.health.reason) == (False, True)
    for _ in range(2):
        for verb in (
            idle.start_workflow(ONE),
            idle.run_workflow(ONE),
            idle.wait("one"),
            idle.pause_execution("one"),
            idle.resume_workflow("one"),
            idle.cancel_execution("one"),
        ):
            with pytest.raises(ConflictError, match="not open"):
                await verb
        if not idle.health.ok:
            async with engine(store=place) as idle:
                await idle.run_workflow(ONE, execution_id="one")
    if store == "file":
        with pytest.raises(treadle.StoreError, match="not open"):
            await idle.list_executions()
