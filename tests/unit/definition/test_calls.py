"""Calls of actions in typed Python: held against the function, and written as a document would say them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypedDict

import pytest

from treadle.actions import StepContext, action
from treadle.definition import GIVEN, Call, WorkflowBuilder, call, expression, load_workflow
from treadle.errors import ExpressionError, ValidationError
from treadle.model import Connection, Node, Problem

if TYPE_CHECKING:
    from collections.abc import Callable


class Customer(TypedDict):
    id: str
    vip: bool


@action("crm.find")
def find(email: str) -> Customer: ...


@action("payments.charge")
async def charge(customer: str, amount: float, note: str = "", *, context: StepContext) -> Customer: ...


@action("report")
def report(rows: list[int], **more: object) -> None: ...


def loosely(function: Callable[..., Any]) -> Callable[..., Any]:
    return functools.wraps(function)(lambda **given: function("session", **given))


@action("wrapped")
@loosely
def wrapped(session: str, email: str) -> None: ...


CALLED = "payments.charge(customer: str, amount: float, note: str = '')"


def test_a_call_says_the_action_and_its_parameters() -> None:
    flow = WorkflowBuilder("w")
    customer = flow.action("lookup", call(find, expression("input.email")))
    flow.action(
        "charge",
        call(charge, customer.output["id"], amount=expression("input.amount * 1.2"), context=GIVEN),
        after=customer,
        title="Charge",
    )
    flow.action(
        "report", call(report, [1, expression("input.x")], all=customer.output, more=(customer, 1)), after="lookup"
    )
    built = flow.build(actions=[find, charge, report])
    assert built.nodes == (
        Node("lookup", service="crm", action="find", parameters={"email": "${input.email}"}),
        Node(
            "charge",
            title="Charge",
            service="payments",
            action="charge",
            parameters={"customer": "${lookup.id}", "amount": "${input.amount * 1.2}"},
        ),
        Node(
            "report",
            action="report",
            parameters={"rows": [1, "${input.x}"], "all": "${lookup}", "more": ["${lookup}", 1]},
        ),
    )
    assert built.connections == (Connection("lookup", "charge"), Connection("lookup", "report"))


def test_the_twin_written_with_calls_is_equal_to_the_document() -> None:
    flow = WorkflowBuilder("w")
    customer = flow.action("lookup", call(find, email=expression("input.email")))
    paid = flow.action("charge", call(charge, customer.output["id"], 3.5, context=GIVEN), after=customer)
    told = flow.action("tell", "mail.send", parameters={"to": expression("input.email")})
    flow.connect(paid, told, condition=paid.output["vip"])
    flow.output({"customer": customer.output, "said": told.status})
    document = """
id: w
nodes:
  - {id: lookup, service: crm, action: find, parameters: {email: "${input.email}"}}
  - {id: charge, service: payments, action: charge, parameters: {customer: "${lookup.id}", amount: 3.5}}
  - {id: tell, service: mail, action: send, parameters: {to: "${input.email}"}}
connections:
  - {source: lookup, target: charge}
  - {source: charge, target: tell, condition: charge.vip}
output: {customer: "${lookup}", said: "${steps.tell.status}"}
"""
    assert flow.build() == load_workflow(document)


def test_every_parameter_that_is_wrong_is_told_with_its_node_and_the_signature() -> None:
    flow = WorkflowBuilder("w")
    flow.action("first", "x")
    wrong: Any = call
    with pytest.raises(ValidationError) as caught:
        flow.action("charge", wrong(charge, custmer="ada", note=7, context={}))
    path = "nodes[1].config.parameters"
    assert caught.value.problems == (
        Problem(
            "unknown_parameter",
            f'{CALLED} takes no parameter "custmer"',
            f"{path}.custmer",
            hint='did you mean "customer"?',
        ),
        Problem("unknown_parameter", f'{CALLED} takes no parameter "context": the engine gives it', f"{path}.context"),
        Problem("missing_parameter", f'{CALLED} needs the parameter "customer"', path),
        Problem("missing_parameter", f'{CALLED} needs the parameter "amount"', path),
        Problem("unfit_parameter", f'{CALLED} declares "note" as str, and this is not', f"{path}.note"),
    )
    assert str(caught.value).splitlines()[0] == (
        f'node \'charge\': {CALLED} takes no parameter "custmer" (did you mean "customer"?)'
    )
    assert len(str(caught.value).splitlines()) == 5
    assert [node.id for node in flow.build().nodes] == ["first"]


@pytest.mark.parametrize(
    ("parameters", "path"),
    [({"rows": "abc"}, "rows"), ({"rows": [1, "2"]}, "rows[1]"), ({"rows": None, "x": 1}, "rows")],
)
def test_a_constant_that_is_not_what_is_declared_is_refused_at_its_place(parameters: Any, path: str) -> None:
    with pytest.raises(ValidationError) as caught:
        WorkflowBuilder("w").action("a", call(report, **parameters))
    assert [(one.code, one.path) for one in caught.value.problems] == [
        ("unfit_parameter", f"nodes[0].config.parameters.{path}")
    ]


def test_what_a_decorated_function_takes_is_left_to_the_type_checker() -> None:
    flow = WorkflowBuilder("w")
    flow.action("a", call(wrapped, email="x"))
    flow.build(actions=[wrapped])
    with pytest.raises(ValidationError, match="needs the parameter"):
        flow.build(actions=[wrapped], strict=True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: call(len, []), "is no action: mark it with @action, or name one: action(id, 'crm.find')"),
        (lambda: call(find, "a", "b"), "crm.find(email: str) takes 1 parameters by position, not 2"),
        (lambda: call(find, "a", email="b"), 'crm.find(email: str) is given "email" twice'),
    ],
)
def test_what_is_no_call_is_refused_at_once(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        make()
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"action": find}, "give call(function, ...), or a name as text"),
        ({"action": call(find, "a"), "parameters": {}}, "call(...) says the action and all its parameters"),
        ({"action": call(find, "a"), "service": "x"}, "call(...) says the action and all its parameters"),
    ],
)
def test_what_goes_with_no_call_is_refused(options: dict[str, Any], message: str) -> None:
    flow = WorkflowBuilder("w")
    with pytest.raises(ValidationError) as caught:
        flow.action("a", **options)
    assert message in str(caught.value)
    assert flow.build().nodes == ()


def test_a_call_is_a_value() -> None:
    assert call(find, "a") == call(find, email="a") == Call("crm.find", {"email": "a"})
    assert repr(call(find, "a")) == "Call(action='crm.find', parameters={'email': 'a'})"


def test_an_expression_that_cannot_be_read_is_refused_at_once() -> None:
    with pytest.raises(ExpressionError):
        expression("input.")
    assert str(expression("a.b + 1")) == "${a.b + 1}"


def test_python_can_make_nothing_of_a_value_that_is_not_there_yet() -> None:
    paid = WorkflowBuilder("w").action("charge", call(charge, "a", 1, context=GIVEN))
    reference = paid.output["vip"]
    with pytest.raises(ValidationError, match="decide on it by a condition"):
        assert reference
    with pytest.raises(ValidationError, match="no elements before the workflow runs"):
        list(reference)  # type: ignore[call-overload]  # typed as what it stands for
    with pytest.raises(ValidationError, match="a condition is text"):
        WorkflowBuilder("w").switch("s", condition=reference == 5)  # type: ignore[comparison-overlap]  # on purpose
