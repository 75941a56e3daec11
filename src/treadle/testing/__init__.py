"""What users test their workflows, and their stores, with.

::

    def test_order(treadle_run):  # a fixture that pytest finds by itself
        run = treadle_run("order.yaml", {"amount": 80}, replace={"payments.charge": lambda customer, amount: {"id": 1}})
        assert run.status == "COMPLETED"
        assert run.path == ["lookup", "charge", "ship"]

Nothing of this is loaded by ``import treadle``, and pytest only by the plugin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from treadle.testing.calls import Call
    from treadle.testing.clock import ManualClock
    from treadle.testing.contracts import StoreContract
    from treadle.testing.errors import RehearsalError
    from treadle.testing.rehearsal import Rehearsal, Rehearse, rehearse
    from treadle.testing.words import by_step, never, outcomes, raises, returns

_HOMES = {
    "Call": "calls",
    "ManualClock": "clock",
    "Rehearsal": "rehearsal",
    "RehearsalError": "errors",
    "Rehearse": "rehearsal",
    "StoreContract": "contracts",
    "by_step": "words",
    "never": "words",
    "outcomes": "words",
    "raises": "words",
    "rehearse": "rehearsal",
    "returns": "words",
}

__all__ = [
    "Call",
    "ManualClock",
    "Rehearsal",
    "RehearsalError",
    "Rehearse",
    "StoreContract",
    "by_step",
    "never",
    "outcomes",
    "raises",
    "rehearse",
    "returns",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'treadle.testing' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"treadle.testing.{home}"), name)
