"""Events by name and key: which of them a step waits for, and those that an execution keeps for a step to come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from treadle.errors import ValidationError
from treadle.machine import events as e
from treadle.values import comparable

if TYPE_CHECKING:
    from treadle.machine.state import State
    from treadle.machine.turn import Turn
    from treadle.model import JsonValue

KEY_CHARS: Final = 1_024
"""Characters of a key as JSON."""


class Heard(NamedTuple):
    """Events that would end the wait of a step.

    Attributes:
        name: Their name.
        key: Their key as it is compared; ``""`` for any.
        is_early_too: Also those that were sent before the step began to wait.
    """

    name: str
    key: str
    is_early_too: bool


def key_text(key: JsonValue) -> str:
    """Return a key as it is compared; null is the key of an event that has none.

    Raises:
        ValidationError: It is longer than ``KEY_CHARS``.
    """
    text = comparable(key)
    if len(text) > KEY_CHARS:
        raise ValidationError(f"the key of an event has at most {KEY_CHARS:,} characters of JSON, not {len(text):,}")
    return text


def heard(state: State) -> frozenset[Heard]:
    """Return the events for which steps of an execution wait."""
    return frozenset(
        Heard(name, key, _takes_early(state, step))
        for step, events in state.listening.items()
        for _, name, key in events
    )


def newly_heard(turn: Turn) -> frozenset[Heard]:
    """Return the events for which steps have begun to wait in a turn, also where they had waited for such before."""
    found = [
        (one.step, name, key)
        for one in turn.events
        if type(one) is e.EventAwaited or type(one) is e.WaitStarted
        for name, key in _named(one)
    ]
    return frozenset(Heard(name, key, _takes_early(turn.state, step)) for step, name, key in found)


def _named(event: e.EventAwaited | e.WaitStarted) -> list[tuple[str, str]]:
    if isinstance(event, e.EventAwaited):
        return [(event.name, event.key)]
    return [(name, key) for _, name, key in event.events]


def _takes_early(state: State, step: str) -> bool:
    found = state.find(step)
    return found is not None and found[1].node.buffer


def find_step(state: State, name: str, key: str, *, is_late: bool) -> tuple[str, int] | None:
    """Return the step that has waited longest for an event, and the number of the event there; None if none does."""
    for step, events in state.listening.items():
        for number, wanted, wanted_key in events:
            if wanted == name and wanted_key in ("", key) and (not is_late or _takes_early(state, step)):
                return step, number
    return None


def take_kept(turn: Turn, step: str, at: int) -> bool:
    """Give a step that has begun to wait the first event that was kept for it, and tell whether there was one."""
    for event_id, (name, key, _) in turn.state.kept.items():
        for number, wanted, wanted_key in turn.state.listening[step]:
            if name == wanted and wanted_key in ("", key):
                turn.emit(e.EventReceived(step=step, name=name, event_id=event_id, timer=number, at=at))
                return True
    return False


def received(turn: Turn) -> tuple[str, ...]:
    """Return the ids of the events that steps took in a turn."""
    return tuple(one.event_id for one in turn.events if type(one) is e.EventReceived)
