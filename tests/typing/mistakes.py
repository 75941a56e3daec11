"""Mistakes, each of which mypy --strict and pyright must both see: on the lines that are marked, and on no others."""

from __future__ import annotations

from typing import TypedDict

from treadle import GIVEN, StepContext, WorkflowBuilder, action, call


class Customer(TypedDict):
    id: str
    age: int


@action("crm.find")
def find(email: str) -> Customer:
    return {"id": email, "age": 36}


@action("payments.charge")
async def charge(customer: str, amount: float, *, context: StepContext) -> bool:
    return amount < len(customer) + context.attempt


@action(7)  # expect-error
def seven() -> int:
    return 7


# A decorated function is as strict as a plain one.

find()  # expect-error
find(email=1)  # expect-error
find(mail="ada@example.org")  # expect-error
find("ada@example.org")["name"]  # expect-error

# So is a call.

call(find)  # expect-error
call(find, email=1)  # expect-error
call(find, email="ada@example.org", name="Ada")  # expect-error
call(find, "ada@example.org", "Ada")  # expect-error
call(charge, customer="ada", context=GIVEN)  # expect-error
call(charge, customer="ada", amount="1", context=GIVEN)  # expect-error
call(charge, customer="ada", amount=1)  # expect-error
call("crm.find", email="ada@example.org")  # expect-error

# What a step gives has a type, too.

flow = WorkflowBuilder("order")
customer = flow.action("lookup", call(find, "ada@example.org"))
call(find, email=customer.output["name"])  # expect-error
call(find, email=customer.output["age"])  # expect-error
call(find, email=customer.output)  # expect-error
call(find, email=customer)  # expect-error
paid = flow.action("charge", call(charge, customer.output["id"], amount=customer.output["age"], context=GIVEN))
call(find, email=paid.output)  # expect-error
paid.output["receipt"]  # expect-error

# Options are those of nodes.

flow.action("a", call(find, "x"), parameters={})  # expect-error
flow.action("b", call(find, "x"), time_out=None)  # expect-error
flow.action("b", "crm.find", time_out=None)  # expect-error
flow.action("c", find)  # expect-error
flow.switch("d", timeout=None)  # expect-error
flow.connect(find, paid)  # expect-error
flow.connect(paid, "a", condition=customer.output["age"])  # expect-error

# The item of a map is one of its items.

with flow.map("each", [1, 2]) as each:
    each.action("e", call(find, email=each.item))  # expect-error
flow.map("f", 5)  # expect-error
flow.map("g", [1], max_concurency=2)  # expect-error
flow.parallel("h", items=[1])  # expect-error
