"""Ordinary use, which mypy --strict and pyright pass; it is checked and never run."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypedDict, assert_type

import treadle
from treadle import GIVEN, StepContext, Workflow, WorkflowBuilder, action, call, expression, retry_policy
from treadle.definition import Call, NodeHandle

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class Customer(TypedDict):
    id: str
    vip: bool


class Paid(TypedDict):
    receipt: str
    amount: float
    approved: bool


@action("crm.find")
def find(email: str) -> Customer:
    return {"id": email, "vip": False}


@action("payments.charge")
async def charge(customer: str, amount: float, *, note: str = "", context: StepContext) -> Paid:
    return {"receipt": f"{customer}-{context.attempt}{note}", "amount": amount, "approved": amount < 100}


@action("mail.send")
async def send(to: str, **fields: str) -> None:
    assert to or fields


@action("pick")
def pick(values: list[int] | None = None) -> int:
    return max(values or [0])


# The decorator keeps the type of a function: it is called, and handed over, as without it.

assert_type(find("ada@example.org"), Customer)
assert_type(find(email="ada@example.org")["vip"], bool)
plain: Callable[[str], Customer] = find


async def await_it(context: StepContext) -> None:
    assert_type(await charge("ada", 1, context=context), Paid)


# A call has the type of what the function returns, and a node that of what comes of it.

assert_type(call(find, email="ada@example.org"), Call[Customer])
calling: Call[Coroutine[Any, Any, Paid]] = call(charge, "ada", amount=3, context=GIVEN)


def order() -> Workflow:
    flow = WorkflowBuilder("order", timeout=timedelta(hours=1))
    customer = flow.action("lookup", call(find, email=expression("input.email")))
    assert_type(customer, NodeHandle[Customer])
    paid = flow.action(
        "charge",
        call(charge, customer.output["id"], amount=expression("input.amount * 1.2"), note="now", context=GIVEN),
        after=customer,
        timeout=timedelta(seconds=10),
        retry=retry_policy(max_attempts=5),
    )
    assert_type(paid, NodeHandle[Paid])
    assert_type(paid.output["amount"], float)
    best = flow.action("best", call(pick, [1, 2, 3]), after=[customer, paid], join="every")
    assert_type(best.output, int)
    told = flow.action("tell", call(send, to=customer.output["id"], receipt=paid.output["receipt"]))
    assert_type(told, NodeHandle[None])
    flow.connect(paid, told, condition=paid.output["approved"]).connect(paid, "other", condition="else")
    other = flow.action("other", "shop.other", parameters={"anything": paid.output, "status": paid.status})
    flow.action("last", call(find, email=other.output["may be"]["anything"]), after=other)
    totals = flow.set("totals", {"sum": paid.output["amount"], "by": customer.output["id"]})
    flow.action("again", call(pick, values=None), after=totals)
    flow.input("approve", schema={"type": "object"}, assignees=["ann"], timeout=timedelta(days=1), after=best)
    with flow.map("each", other.output["customers"], max_concurrency=2, after=other) as each:
        each.action("greet", call(find, email=each.item["email"]))
    people: list[Customer] = [customer.output, customer.output]
    with flow.map("people", people) as typed:
        assert_type(typed.item, Customer)
        one = typed.action("one", call(find, email=typed.item["id"]))
        assert_type(one, NodeHandle[Customer])
        with typed.loop("poll", until="previous.vip", timeout=timedelta(hours=1)) as poll:
            poll.action("look", call(pick, values=[poll.index, typed.index]))
    with flow.parallel("both", race=True, after=[each.node, typed.node]) as both:
        both.action("left", call(pick, [1]))
    flow.output({"receipt": paid.output["receipt"], "best": best.output})
    return flow.build(actions=[find, charge, send, pick])


problems = treadle.validate({"id": "order"}, actions=[find, "shop.other", {"x": charge}])
names = treadle.validate("order.yaml", actions=["crm.find"])
registry = treadle.validate("order.yaml", actions=treadle.Registry([find]))
