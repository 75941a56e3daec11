"""What every event has."""

from __future__ import annotations

from typing import Final

from msgspec import Raw, Struct

ABSENT: Final = Raw(b"")
"""No payload. A field is left out on the wire while it is this very object; a decoder has no ``Raw | None``."""


class Event(Struct, frozen=True, gc=False, omit_defaults=True, tag_field="kind", tag=True, kw_only=True):
    """Base of every event.

    Attributes:
        at: When it happened, in milliseconds since the epoch.
    """

    at: int
