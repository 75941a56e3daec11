"""The machine passes secrets on as references, and never sees a value."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from treadle import load_workflow
from treadle.expressions import MISSING, MissingNameError, compile_template, fill_in, names_in
from treadle.machine import advance, compile, fold, start  # noqa: A004 - the house's word for it
from treadle.machine.events import ABSENT, StepStarted
from treadle.machine.inputs import ActionRaised, StartRequested, TimeReached
from treadle.machine.state import State
from treadle.model import StepError


class Scope:
    def __init__(self, **names: Any) -> None:
        self.names = names

    def lookup(self, name: str) -> Any:
        return self.names.get(name, MISSING)


def kept(value: Any, **names: Any) -> tuple[Any, tuple[Any, ...]]:
    template = compile_template(value, keeps_secrets=True)
    return template.resolve(Scope(**names)), template.secrets


def test_a_whole_text_is_a_reference_and_others_the_list_of_their_parts() -> None:
    value = {"a": "${secrets.A}", "b": ["x", "Bearer ${ secrets['B b'] }!${input.x}"], "c": "${input.x}"}
    assert kept(value, input={"x": 5}) == (
        {"a": {"secret": "A"}, "b": ["x", ["Bearer ", {"secret": "B b"}, "!5"]], "c": 5},
        (("a",), ("b", 1)),
    )


def test_data_of_that_shape_is_no_reference() -> None:
    forged = {"secret": "A"}
    value, places = kept(
        {"a": "${input.x}", "b": forged, "c": "${input.y}${secrets.A}"}, input={"x": forged, "y": "${"}
    )
    assert value == {"a": forged, "b": forged, "c": ["${", {"secret": "A"}]}
    assert places == (("c",),)


def test_a_reference_is_filled_in_with_values() -> None:
    assert fill_in({"secret": "A"}, {"A": "1"}) == "1"
    assert fill_in(["x ", {"secret": "A"}, " ${secrets.B}"], {"A": "1", "B": "2"}) == "x 1 ${secrets.B}"
    assert names_in(["x", {"secret": "A"}, {"secret": "B"}]) == ["A", "B"]


@pytest.mark.parametrize(
    "computed",
    [
        "secrets.A + 'x'",
        "size(secrets.A)",
        "secrets",
        "secrets.A.b",
        "secrets[input.x]",
        "secrets.A[0]",
    ],
)
def test_what_computes_with_one_finds_no_secret(computed: str) -> None:
    template = compile_template({"a": f"${{{computed}}}"}, keeps_secrets=True)
    assert not template.secrets
    with pytest.raises(MissingNameError, match="secrets"):
        template.resolve(Scope(input={"x": "A"}))


def test_elsewhere_a_secret_is_a_missing_name() -> None:
    with pytest.raises(MissingNameError):
        compile_template("${secrets.A}").resolve(Scope())


def plan_of(parameters: dict[str, Any]) -> Any:
    node = {"id": "a", "action": "call", "parameters": parameters, "retry": {"max_attempts": 3, "initial_delay": "1s"}}
    return compile(load_workflow({"id": "w", "nodes": [node]}))


def begun(plan: Any) -> tuple[State, list[Any]]:
    state = State(plan)
    asked = StartRequested(execution_id="x", input=msgspec.Raw(b'{"x":"y"}'), at=1)
    turn = start(state, ["a"], at=1, turn=advance(state, [asked]))
    return state, [turn]


def test_what_is_recorded_and_asked_of_the_driver_is_the_reference() -> None:
    plan = plan_of({"auth": "Bearer ${secrets.TOKEN}", "to": "${input.x}"})
    state, (turn,) = begun(plan)
    (run,) = turn.runs
    (started,) = [one for one in turn.events if type(one) is StepStarted]
    assert bytes(started.parameters) == b'{"auth":["Bearer ",{"secret":"TOKEN"}],"to":"y"}'
    assert (run.parameters, run.secrets) == (started.parameters, (("auth",),))
    # After a failure, and after a replay, the next attempt has the same.
    failed = ActionRaised(step="a", attempt=1, error=StepError(type="E", message="m"), at=2)
    again = fold(plan, [turn.events, advance(state, [failed]).events])
    second = start(again, ["a"], at=1002, turn=advance(again, [TimeReached(at=1002)]))
    assert [(one.parameters, one.secrets) for one in second.runs] == [(started.parameters, (("auth",),))]


def test_parameters_that_hold_nothing_but_secrets_and_constants_are_constant() -> None:
    _, (turn,) = begun(plan_of({"auth": "${secrets.TOKEN}", "n": 1}))
    (run,) = turn.runs
    assert bytes(run.parameters) == b'{"auth":{"secret":"TOKEN"},"n":1}'
    assert next(one for one in turn.events if type(one) is StepStarted).parameters is ABSENT
