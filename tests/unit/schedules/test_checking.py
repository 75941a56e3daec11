"""What a schedule is asked with: every problem at once, each naming its argument and what to do."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec import Raw

from treadle import Settings, load_workflow
from treadle.schedules import Asked, Overlap, Spec, check_id, check_schedule

NOW = 1_893_456_000_000
WORKFLOW = load_workflow(
    {
        "id": "w",
        "input_schema": {"type": "object", "required": ["day"], "properties": {"day": {"type": "string"}}},
        "nodes": [{"id": "a", "action": "act"}],
    }
)


def asked(**changes: Any) -> Asked:
    plain: dict[str, Any] = {
        "workflow": WORKFLOW,
        "cron": "0  9 * * *",
        "timezone": "Europe/Vienna",
        "overlap": "skip",
        "catch_up": "1h",
        "jitter": 0,
        "input": {"day": "${schedule.planned_at}"},
        "tags": {"k": "v"},
        "priority": 3,
    }
    return Asked(**{**plain, **changes})


def problems(**changes: Any) -> list[tuple[str, str]]:
    spec, found = check_schedule(asked(**changes), Settings(), NOW)
    assert spec is None
    return [(one.code, one.path) for one in found]


def test_what_is_in_order_is_kept_in_one_form() -> None:
    spec, found = check_schedule(asked(catch_up=timedelta(minutes=5), jitter="250ms"), Settings(), NOW)
    assert found == []
    assert spec == Spec(
        workflow_id="w",
        definition_hash=spec.definition_hash if spec else "",
        cron="0 9 * * *",
        timezone="Europe/Vienna",
        overlap=Overlap.SKIP,
        catch_up_ms=300_000,
        jitter_ms=250,
        input=Raw(b'{"day":"${schedule.planned_at}"}'),
        tags={"k": "v"},
        priority=3,
        created_ms=NOW,
    )


def test_every_problem_is_told_at_once() -> None:
    found = problems(
        cron="0 0 30 2 *", timezone="Mars", overlap="skipp", catch_up=-1, jitter="soon", input={"x": float("nan")}
    )
    assert found == [
        ("never_fires", "cron"),
        ("unknown_timezone", "timezone"),
        ("unknown_overlap", "overlap"),
        ("bad_duration", "catch_up"),
        ("bad_duration", "jitter"),
        ("bad_input", "input_data.x"),
    ]


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        ({"day": "${schedule.planed_at}"}, "bad_expression", "reads schedule.planned_at and schedule.id"),
        ({"day": "${input.day}"}, "bad_expression", "input is missing"),
        ({"day": "${schedule."}, "bad_expression", ""),
        ({"day": 5}, "schema", "input_data.day"),
        ({}, "schema", "day"),
        ([1], "bad_input", "a dict of names"),
        ("x", "bad_input", "a dict of names"),
        ({"day": object()}, "bad_input", "input_data.day"),
    ],
)
def test_the_input_is_checked_as_an_execution_would_get_it(data: object, code: str, words: str) -> None:
    spec, found = check_schedule(asked(input=data), Settings(), NOW)
    assert spec is None
    assert len(found) == 1
    assert found[0].code == code
    assert words in str(found[0])
    assert found[0].path.startswith("input_data")


def test_a_bad_overlap_names_the_nearest_and_all() -> None:
    _, found = check_schedule(asked(overlap="cancel"), Settings(), NOW)
    message = "overlap: overlap is one of skip, queue, cancel_running, allow, not 'cancel'"
    assert str(found[0]) == f'{message} (did you mean "cancel_running"?)'
    for strange in (None, 3, ["skip"], "x" * 5000):
        assert problems(overlap=strange) == [("unknown_overlap", "overlap")]
    assert check_schedule(asked(overlap=Overlap.ALLOW), Settings(), NOW)[1] == []


def test_a_workflow_that_is_wrong_leaves_the_rest_checked() -> None:
    assert problems(workflow=None, cron="x") == [("bad_cron", "cron")]
    assert check_schedule(asked(workflow=None), Settings(), NOW) == (None, [])


@pytest.mark.parametrize("given", ["", " a", "a\n", "x" * 81, "a/b", 3, None, "\ud800"])
def test_an_id_is_short_and_has_no_slash(given: object) -> None:
    (problem,) = check_id(given)
    assert (problem.code, problem.path) == ("bad_id", "schedule_id")
    assert check_id("Every night at 2") == []
