"""The checksum of each turn, chained per execution: a changed, lost or moved turn does not fit its neighbours.

A schedule is one row that changes, so its checksum is over that row alone.
"""

from __future__ import annotations

from hashlib import blake2b

SIZE = 16


def first_link(execution_id: str, definition_hash: str) -> bytes:
    """Return what the first turn of an execution is chained to."""
    return blake2b(f"{execution_id}\0{definition_hash}".encode(), digest_size=SIZE).digest()


def link(previous: bytes, sequence: int, count: int, events: bytes) -> bytes:
    """Return the checksum of one turn."""
    return blake2b(b"%b%d,%d;%b" % (previous, sequence, count, events), digest_size=SIZE).digest()


def seal(schedule_id: str, definition_hash: str, spec: bytes, progress: bytes) -> bytes:
    """Return the checksum of one schedule."""
    named = f"{schedule_id}\0{definition_hash}\0".encode()
    return blake2b(b"%b%d,%b%b" % (named, len(spec), spec, progress), digest_size=SIZE).digest()
