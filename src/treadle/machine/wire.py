"""Events as bytes: a turn is a JSON array of objects whose ``kind`` is the event's class name.

Rules of change, so that every log ever written can be read: a field is only added, with a default; a kind is never
reused or renamed. Recorded turns of each release are replayed in the tests.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, get_args

import msgspec

from treadle.errors import ReplayError
from treadle.machine.events import AnyEvent, Event
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


def large_values(events: Sequence[AnyEvent], data: bytes, limit: int) -> tuple[tuple[int, int], ...]:
    """Return where in the bytes of a turn values of more than ``limit`` bytes stand: start and end of each, in order.

    Of an object it is the members that count, where they are what makes it large: an output that is handed on as one
    parameter among others is the same value in both places.
    """
    if len(data) <= limit:
        return ()
    found: list[tuple[int, int]] = []
    at = 0
    for event in events:
        for name in _PAYLOADS[type(event)]:
            for value in _large(bytes(getattr(event, name)), limit):
                # Equal bytes that stand before it would do as well: it is bytes that are cut out and put back.
                start = data.index(value, at)
                at = start + len(value)
                found.append((start, at))
    return tuple(found)


def _large(payload: bytes, limit: int) -> Sequence[bytes]:
    if len(payload) <= limit:
        return ()
    if payload.startswith(b"{"):
        members = [bytes(one) for one in _decode_members(payload).values()]
        large = [one for one in members if len(one) > limit]
        if large and len(payload) - sum(map(len, large)) <= limit:
            return large
    return (payload,)


_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_PAYLOADS: Final[dict[type[Event], tuple[str, ...]]] = {
    kind: tuple(one.name for one in msgspec.structs.fields(kind) if one.type is msgspec.Raw)
    for kind in get_args(AnyEvent)
}
"""By kind of event, the fields that hold payloads."""


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
