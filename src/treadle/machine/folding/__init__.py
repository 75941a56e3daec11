"""``apply`` and ``fold``: from events to a state. One module for each part of the state that they change."""

from __future__ import annotations

from treadle.machine.folding.connections import is_met
from treadle.machine.folding.executions import cancel_error
from treadle.machine.folding.steps import HANDLED_BY_CONNECTION, HANDLED_BY_CONTINUE, HANDLED_BY_RACE
from treadle.machine.folding.table import apply, fold

__all__ = [
    "HANDLED_BY_CONNECTION",
    "HANDLED_BY_CONTINUE",
    "HANDLED_BY_RACE",
    "apply",
    "cancel_error",
    "fold",
    "is_met",
]
