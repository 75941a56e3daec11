"""The workflow of an order, written in typed Python instead of YAML."""

from __future__ import annotations

import treadle


@treadle.action("shop.lookup")
def lookup(email: str) -> dict[str, str]:
    """Return the customer of an address."""
    return {"id": email.partition("@")[0]}


@treadle.action("shop.charge")
async def charge(customer: str, amount: float) -> dict[str, object]:
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
    build = treadle.WorkflowBuilder("order", name="Order to cash")
    customer = build.action("lookup", "shop.lookup", parameters={"email": "${input.email}"})
    paid = build.action(
        "charge",
        "shop.charge",
        parameters={"customer": customer.output["id"], "amount": "${input.amount * 1.2}"},
        after=customer,
    )
    shipped = build.action("ship", "shop.ship", parameters={"receipt": paid.output["receipt"]})
    asked = build.action("ask", "shop.ask", parameters={"customer": customer.output["id"]})
    build.connect(paid, shipped, condition="charge.approved")
    build.connect(paid, asked, condition="else")
    return build.build()


if __name__ == "__main__":
    for amount in (80, 90):
        found = treadle.run_sync(
            order(),
            {"email": "ada@example.org", "amount": amount},
            actions=[lookup, charge, ship, ask],
            store=":memory:",
        )
        print(amount, found.status.value, found.output)
