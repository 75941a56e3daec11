"""Events as bytes: a turn is a JSON array of objects whose ``kind`` is the event's class name.

Rules of change, so that every log ever written can be read: a field is only added, with a default; a kind is never
reused or renamed. Recorded turns of each release are replayed in the tests.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from treadle.errors import ReplayError
from treadle.machine.events import AnyEvent
from treadle.model import HistoryEvent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from treadle.model import JsonValue

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[AnyEvent]).decode
_decode_value = msgspec.json.Decoder().decode


def encode_events(events: Sequence[AnyEvent]) -> bytes:
    """Return the bytes of one turn."""
    return _encode(events)


def decode_events(data: bytes) -> list[AnyEvent]:
    """Return the events of one turn.

    Raises:
        ReplayError: The bytes hold an unknown kind, or are no events at all.
    """
    try:
        return _decode(data)
    except msgspec.MsgspecError as error:
        raise ReplayError(f"a turn holds something that is no event of this version: {error}") from None


def describe_events(data: bytes, *, execution_id: str, sequence: int, cursor: int) -> list[HistoryEvent]:
    """Return the events of one turn as readers see them, payloads decoded.

    Args:
        data: Bytes of the turn.
        execution_id: Whose turn.
        sequence: Its number.
        cursor: Cursor of its last event.
    """
    plain = _decode_value(data)
    first = cursor - len(plain) + 1
    return [_describe(one, execution_id, sequence, first + number) for number, one in enumerate(plain)]


def _describe(plain: dict[str, JsonValue], execution_id: str, sequence: int, cursor: int) -> HistoryEvent:
    return HistoryEvent(
        cursor=cursor,
        execution_id=execution_id,
        sequence=sequence,
        kind=plain.pop("kind"),
        at=datetime.fromtimestamp(plain.pop("at") / 1000, UTC),
        step=plain.pop("step", ""),
        attempt=plain.pop("attempt", 0),
        data=plain,
    )
