"""Parameters of nodes held against the functions of their actions, wherever these are known."""

from __future__ import annotations

import functools
import types
from typing import TYPE_CHECKING, Any

import pytest

from treadle.actions import Registry, StepContext, action
from treadle.definition import check_document, load_workflow, validate
from treadle.errors import ValidationError
from treadle.model import Problem, Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Container


@action("payments.charge")
async def charge(customer: str, amount: float, *, notes: list[str] | None = None, context: StepContext) -> bool: ...


@action("mail.send")
def send(**fields: str) -> None: ...


ORDER = """\
id: order
nodes:
  - id: charge
    config:
      service: payments
      action: charge
      parameters:
        custmer: ada
        notes: [now, 7]
        context: {}
  - id: send
    config:
      service: mail
      action: send
      parameters: {anything: 1, "at all": 2}
connections:
  - {source: charge, target: send}
"""
CALLED = "payments.charge(customer: str, amount: float, notes: list[str] | None = None)"
PATH = "nodes[0].config.parameters"
FOUND = [
    Problem("missing_parameter", f'{CALLED} needs the parameter "customer"', PATH, line=8, column=9),
    Problem("missing_parameter", f'{CALLED} needs the parameter "amount"', PATH, line=8, column=9),
    Problem(
        "unknown_parameter",
        f'{CALLED} takes no parameter "custmer"',
        f"{PATH}.custmer",
        line=8,
        column=9,
        hint='did you mean "customer"?',
    ),
    Problem(
        "unfit_parameter",
        f'{CALLED} declares "notes" as list[str] | None, and this is not',
        f"{PATH}.notes[1]",
        Severity.WARNING,
        line=9,
        column=22,
    ),
    Problem(
        "unknown_parameter",
        f'{CALLED} takes no parameter "context": the engine gives it',
        f"{PATH}.context",
        line=10,
        column=9,
    ),
]
MODULE = types.ModuleType("shop")
vars(MODULE).update(charge=charge, send=send, other=1)


def by_place(problems: list[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda one: (one.line, one.column, one.code, one.path))


@pytest.mark.parametrize(
    "actions",
    [
        Registry([charge, send]),
        [charge, send],
        [MODULE],
        [Registry([charge]), "mail.send"],
        {"payments.charge": charge, "mail.send": send},
        [{"payments.charge": charge}, {"mail.send": None}],
        (one for one in (charge, send)),
    ],
    ids=["registry", "functions", "module", "mixed", "dict", "dicts", "generator"],
)
def test_every_parameter_that_the_function_refuses_or_lacks_has_its_place(actions: Any) -> None:
    assert by_place(validate(ORDER, actions=actions)) == by_place(FOUND)


class Asked:
    """Names that can be asked for and not listed."""

    def __contains__(self, name: object) -> bool:
        return name in {"payments.charge", "mail.send"}


@pytest.mark.parametrize(
    "actions",
    [
        None,
        ["payments.charge", "mail.send"],
        frozenset({"payments.charge", "mail.send"}),
        Asked(),
        [Asked, charge, send],
    ],
    ids=["nothing", "list", "set", "container", "a class"],
)
def test_of_names_alone_nothing_is_held_against_the_parameters(actions: Any) -> None:
    if isinstance(actions, list) and Asked in actions:
        with pytest.raises(ValidationError, match="is no action: give functions marked with @action"):
            validate(ORDER, actions=actions)
    else:
        assert validate(ORDER, actions=actions) == []


def test_a_name_is_no_list_of_actions() -> None:
    with pytest.raises(ValidationError, match="actions is a list of names or functions, not 'payments.charge'"):
        validate(ORDER, actions="payments.charge")


def test_an_unfit_constant_is_a_warning_and_an_error_when_strict() -> None:
    document = {"id": "w", "nodes": [{"id": "a", "action": "x", "parameters": {"amount": "ten"}}]}

    def takes(amount: float) -> None: ...

    workflow, problems = check_document(document, actions={"x": takes})
    assert workflow is not None
    assert problems == [
        Problem(
            "unfit_parameter",
            'x(amount: float) declares "amount" as float, and this is not',
            "nodes[0].parameters.amount",
            Severity.WARNING,
        )
    ]
    with pytest.raises(ValidationError, match="declares"):
        load_workflow(document, actions={"x": takes}, strict=True)


def test_a_node_without_parameters_is_told_at_the_node() -> None:
    (found,) = validate({"id": "w", "nodes": [{"id": "a", "action": "x"}]}, actions={"x": lambda b: b})
    assert (found.code, found.path, found.message) == (
        "missing_parameter",
        "nodes[0]",
        'x(b) needs the parameter "b"',
    )


def test_what_a_decorated_function_may_refuse_is_a_warning() -> None:
    def decorated(function: Callable[..., object]) -> Callable[..., object]:
        return functools.wraps(function)(lambda **given: function(1, **given))

    wrapped = decorated(lambda first, second: None)
    found = validate(
        {"id": "w", "nodes": [{"id": "a", "action": "x", "parameters": {"scond": 1}}]}, actions={"x": wrapped}
    )
    assert [(one.code, one.severity, one.hint) for one in found] == [
        ("unknown_parameter", Severity.WARNING, 'did you mean "second"?'),
        ("missing_parameter", Severity.WARNING, ""),
        ("missing_parameter", Severity.WARNING, ""),
    ]


def test_nodes_within_bodies_are_held_against_their_functions_too() -> None:
    body = {"nodes": [{"id": "b", "action": "x", "parameters": {"c": "${item}", "d": 1}}]}
    each = {"id": "a", "type": "map", "items": [1], "body": body}
    assert [(one.code, one.path) for one in validate({"id": "w", "nodes": [each]}, actions={"x": lambda c: c})] == [
        ("unknown_parameter", "nodes[0].body.nodes[0].parameters.d")
    ]


def test_a_trigger_that_carries_an_action_calls_nothing() -> None:
    node = {"id": "a", "type": "trigger", "service": "payments", "action": "charge", "parameters": {"x": 1}}
    assert validate({"id": "w", "nodes": [node]}, actions=[charge]) == []


def test_a_workflow_found_good_before_is_still_held_against_other_actions() -> None:
    workflow = load_workflow({"id": "w", "nodes": [{"id": "a", "action": "x", "parameters": {"b": 1}}]})
    other: Container[str] = Registry([{"x": lambda c=None: c}])
    assert load_workflow(workflow, actions=Registry([{"x": lambda b: b}])) is workflow
    assert [one.code for one in validate(workflow, actions=other)] == ["unknown_parameter"]
    assert validate(workflow, actions=["x"]) == []
