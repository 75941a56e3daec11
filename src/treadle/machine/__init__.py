"""The pure machine: from a definition and the events so far it says what happens next.

No clock, no I/O, no asyncio, no randomness. A driver feeds inputs to ``advance``, lets admission choose among the ready
steps, calls ``start`` for the chosen, makes the turn durable, and only then carries out its commands.
"""

from __future__ import annotations

from treadle.machine.advance import advance, start
from treadle.machine.commands import CancelStep, ChildCommand, Command, ReadyStep, RunStep
from treadle.machine.folding import apply, fold
from treadle.machine.forks import kept_by_fork
from treadle.machine.mail import Heard, heard, key_text, newly_heard, received
from treadle.machine.migration import migration_problems
from treadle.machine.plan import OnMissingInput, Plan, compile  # noqa: A004 - the house's word for it
from treadle.machine.signals import owed_to_children
from treadle.machine.snapshot import execution_output, snapshot
from treadle.machine.state import State
from treadle.machine.turn import Turn, ready_steps
from treadle.machine.view import StateView
from treadle.machine.wire import decode_events, describe_events, encode_events, large_values

__all__ = [
    "CancelStep",
    "ChildCommand",
    "Command",
    "Heard",
    "OnMissingInput",
    "Plan",
    "ReadyStep",
    "RunStep",
    "State",
    "StateView",
    "Turn",
    "advance",
    "apply",
    "compile",
    "decode_events",
    "describe_events",
    "encode_events",
    "execution_output",
    "fold",
    "heard",
    "kept_by_fork",
    "key_text",
    "large_values",
    "migration_problems",
    "newly_heard",
    "owed_to_children",
    "ready_steps",
    "received",
    "snapshot",
    "start",
]
