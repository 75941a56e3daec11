"""The workflow of an order, written in typed Python instead of YAML: type checkers hold each call to its function."""

from __future__ import annotations

from typing import TypedDict

import treadle
from treadle import call, expression


class Customer(TypedDict):
    """Who buys."""

    id: str


class Paid(TypedDict):
    """What came of a charge."""

    receipt: str
    approved: bool


@treadle.action("shop.lookup")
def lookup(email: str) -> Customer:
    """Return the customer of an address."""
    return {"id": email.partition("@")[0]}


@treadle.action("shop.charge")
async def charge(customer: str, amount: float) -> Paid:
    """Charge a customer; amounts above 100 need the bank's word."""
    return {"receipt": f"{customer}-1", "approved": amount <= 100}


@treadle.action("shop.ship")
def ship(receipt: str) -> str:
    """Ship what was paid."""
    return f"shipped {receipt}"


@treadle.action("shop.ask")
def ask(customer: str) -> str:
    """Ask the customer to talk to the bank."""
    return f"asked {customer}"


def order() -> treadle.Workflow:
    """Return the workflow: look the customer up, charge, then ship or ask."""
    flow = treadle.WorkflowBuilder("order", name="Order to cash")
    customer = flow.action("lookup", call(lookup, email=expression("input.email")))
    paid = flow.action(
        "charge", call(charge, customer.output["id"], amount=expression("input.amount * 1.2")), after=customer
    )
    shipped = flow.action("ship", call(ship, paid.output["receipt"]))
    asked = flow.action("ask", call(ask, customer.output["id"]))
    flow.connect(paid, shipped, condition=paid.output["approved"])
    flow.connect(paid, asked, condition="else")
    return flow.build()


if __name__ == "__main__":
    for amount in (80, 90):
        found = treadle.run_sync(
            order(),
            {"email": "ada@example.org", "amount": amount},
            actions=[lookup, charge, ship, ask],
            store=":memory:",
        )
        print(amount, found.status.value, found.output)
