"""Large values of a turn, kept once by their content: cut out when a turn is written, put back when it is read.

A turn of format 1 is the bytes of its events. One of format 2 is a MessagePack array: the pieces of those bytes with,
between each two, the hash of the value that was cut out there. The checksum of a turn is over the bytes as they were,
so a value that is missing, changed or put in a wrong place does not fit, whatever its own hash says.
"""

from __future__ import annotations

import zlib
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

WHOLE: Final = 1
"""Format of a turn that is its bytes."""
CUT: Final = 2
"""Format of a turn from which values were cut out."""

PLAIN: Final = 0
ZLIB: Final = 1

_HASH_BYTES: Final = 32
_WORTH_IT: Final = 0.75
"""What is not made smaller than this part of itself is kept as it is."""


class PayloadFault(Exception):  # noqa: N818 - not an error of its own: whoever reads a turn names the execution
    """A value that was cut out cannot be put back; the message says why."""


def name_of(value: bytes) -> bytes:
    """Return the hash by which a value is kept."""
    return blake2b(value, digest_size=_HASH_BYTES).digest()


def cut(events: bytes, ranges: Iterable[tuple[int, int]]) -> tuple[bytes, list[bytes]]:
    """Return a turn in format 2, and the values that were cut out of it, in order."""
    pieces: list[bytes] = []
    values: list[bytes] = []
    at = 0
    for start, end in ranges:
        values.append(events[start:end])
        pieces += (events[at:start], name_of(values[-1]))
        at = end
    pieces.append(events[at:])
    return msgspec.msgpack.encode(pieces), values


def join(stored: bytes, fetch: Callable[[bytes], bytes]) -> bytes:
    """Return the bytes of a turn in format 2.

    Args:
        stored: The turn.
        fetch: Returns the value of a hash.

    Raises:
        PayloadFault: It is no such turn, or a value is not there.
    """
    try:
        pieces = _decode(stored)
    except msgspec.MsgspecError as error:
        raise PayloadFault(f"is not of format {CUT}: {error}") from None
    return b"".join(fetch(one) if place % 2 else one for place, one in enumerate(pieces))


def names_in(stored: bytes) -> Sequence[bytes]:
    """Return the hashes in a turn of format 2."""
    return _decode(stored)[1::2]


def pack(value: bytes) -> tuple[int, bytes]:
    """Return encoding and content of a value, as it is kept."""
    small = zlib.compress(value, 1)
    return (ZLIB, small) if len(small) < len(value) * _WORTH_IT else (PLAIN, value)


def unpack(name: bytes, size: int, encoding: int, content: bytes) -> bytes:
    """Return a value as it was, checked against its hash.

    Raises:
        PayloadFault: It is another one, or in an encoding of a later version.
    """
    if encoding not in (PLAIN, ZLIB):
        raise PayloadFault(f"needs the payload {name.hex()}, which has the unknown encoding {encoding}")
    try:
        value = zlib.decompressobj().decompress(content, max(size, 0) + 1) if encoding == ZLIB else content
    except (zlib.error, TypeError, ValueError):
        value = b""
    if not isinstance(value, bytes) or name_of(value) != name:
        raise PayloadFault(f"needs the payload {name.hex()}, which was changed")
    return value


_decode = msgspec.msgpack.Decoder(list[bytes]).decode
