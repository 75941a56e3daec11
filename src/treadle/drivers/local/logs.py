"""What an action logs through its context: with the fields of the attempt, and without secrets."""

from __future__ import annotations

import logging
import sys
import traceback
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from treadle.secrets import Mask

_logger: Final = logging.getLogger("treadle.actions")


class StepLogger(logging.LoggerAdapter[logging.Logger]):
    """The logger of one attempt.

    Args:
        fields: Of every record.
        mask: Takes secrets out.
    """

    def __init__(self, fields: Mapping[str, object], mask: Mask) -> None:
        super().__init__(_logger, fields)
        self._mask = mask

    def log(self, level: int, msg: object, *args: object, **options: Any) -> None:  # noqa: ANN401 - those of logging
        """Log a message as every logger does; what holds a secret is written out here, so that nobody else does it."""
        if not self.isEnabledFor(level):
            return
        options["stacklevel"] = options.get("stacklevel", 1) + 1
        if self._mask:
            said, trace = _said(msg, args), _trace(options.get("exc_info"))
            masked, masked_trace = self._mask.text(said), self._mask.text(trace)
            if masked != said:
                msg, args = masked, ()
            if masked_trace != trace:
                msg, args, options["exc_info"] = f"{masked}\n{masked_trace}", (), None
        super().log(level, msg, *args, **options)


def _said(msg: object, args: tuple[object, ...]) -> str:
    """Return a message with its arguments; where they do not fit, both."""
    try:
        return logging.LogRecord("", 0, "", 0, msg, args, None).getMessage()
    except Exception:  # noqa: BLE001 - whatever the arguments do, it is logged without secrets
        return f"{msg} {args!r}"


def _trace(exc_info: object) -> str:
    """Return what a formatter would write of an error; ``""`` where there is none."""
    if not exc_info:
        return ""
    error = exc_info if isinstance(exc_info, BaseException) else sys.exc_info()[1]
    if isinstance(exc_info, tuple):
        error = exc_info[1]
    return "" if error is None else "".join(traceback.format_exception(error)).rstrip()
