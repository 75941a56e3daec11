"""What is recorded of an error that an action raised. Nothing here raises, whatever the error does when looked at."""

from __future__ import annotations

import traceback
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from treadle.errors import AgentExecutionError
from treadle.model import StepError

if TYPE_CHECKING:
    from treadle.secrets import Mask


def describe_error(error: BaseException, step: str, attempt: int, limit: int, mask: Mask) -> StepError:
    """Return what is recorded of an error, without secrets; never raises, whatever the error does."""
    details: dict[str, Any] = {}
    if isinstance(error, AgentExecutionError):
        details["task_id"] = _text(getattr(error, "task_id", ""), limit, mask)  # a subclass may not have set it
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    where = [mask.text(plain_text(f"{frame.filename}:{frame.lineno} in {frame.name}")) for frame in frames[1:]]
    if where:
        details["traceback"] = where
    name = mask.text(plain_text(type(error).__name__))
    return StepError(type=name, message=_text(error, limit, mask), attempt=attempt, step=step, details=details)


def plain_text(text: str) -> str:
    """Return text that can be stored: a file or a class may have a name that cannot."""
    return text.encode("utf-8", "replace").decode()


def _text(value: object, limit: int, mask: Mask) -> str:
    try:
        text = str(value)
    except BaseException:  # noqa: BLE001 - an error whose text fails is still an error
        text = _text_of_arguments(value)
    text = mask.text(plain_text(text))  # before it is cut: half a secret is not found any more
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text):,} characters)"


def _text_of_arguments(value: object) -> str:
    """Return what an error was made with: a subclass of ours may not have set what our text is made of."""
    try:
        return ", ".join(str(one) for one in getattr(value, "args", ())) or type(value).__name__
    except BaseException:  # noqa: BLE001 - as above
        return f"<the text of this {type(value).__name__} cannot be read>"


def is_wrong_call(error: BaseException) -> bool:
    """Tell whether the parameters do not fit the function: the error was raised by the call itself."""
    at = error.__traceback__
    return isinstance(error, TypeError) and at is not None and at.tb_next is None


def retry_after_ms(error: BaseException) -> int:
    """Return the wait that an error asks for by its ``retry_after``, in seconds or as a ``timedelta``; 0 for none."""
    try:
        wait = getattr(error, "retry_after", None)
        if isinstance(wait, timedelta):
            wait = wait.total_seconds()
        return max(0, min(int(wait * 1000), 366 * 86_400_000)) if isinstance(wait, int | float) else 0
    except BaseException:  # noqa: BLE001 - a property may do anything
        return 0
