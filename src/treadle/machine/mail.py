"""Events that an execution keeps until a step waits for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from treadle.machine import events as e

if TYPE_CHECKING:
    from treadle.machine.turn import Turn
    from treadle.model import JsonValue


def key_text(key: JsonValue) -> str:
    """Return a key as it is compared: its JSON with sorted keys; ``""`` for null, which stands for none."""
    return "" if key is None else msgspec.json.encode(key, order="deterministic").decode()


def take_kept(turn: Turn, step: str, at: int) -> bool:
    """Give a step that has begun to wait the first event that was kept for it, and tell whether there was one."""
    for event_id, (name, key, _) in turn.state.kept.items():
        for number, wanted, wanted_key in turn.state.listening[step]:
            if name == wanted and wanted_key in ("", key):
                turn.emit(e.EventReceived(step=step, name=name, event_id=event_id, timer=number, at=at))
                return True
    return False
