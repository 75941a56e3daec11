"""A schedule as bytes: JSON, to which fields are only ever added, with a default."""

from __future__ import annotations

import msgspec

from treadle.schedules.model import Progress, Spec

_specs = msgspec.json.Decoder(Spec)
_progresses = msgspec.json.Decoder(Progress)
_encode = msgspec.json.Encoder().encode


def encode_spec(spec: Spec) -> bytes:
    """Return what was asked for as bytes."""
    return _encode(spec)


def encode_progress(progress: Progress) -> bytes:
    """Return how far it has come as bytes."""
    return _encode(progress)


def decode(spec: bytes, progress: bytes) -> tuple[Spec, Progress]:
    """Return a schedule from its bytes.

    Raises:
        ValueError: They are none.
    """
    return _specs.decode(spec), _progresses.decode(progress)
