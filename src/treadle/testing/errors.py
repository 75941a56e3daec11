"""What a rehearsal says when the test cannot go on."""

from __future__ import annotations

from typing import ClassVar

from treadle.errors import TreadleError


class RehearsalError(TreadleError):
    """A test asked for what cannot be, or waits for what will never happen; the message says what and where."""

    code: ClassVar[str] = "rehearsal"
