"""How a body ended, as the machine is told."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from msgspec import Raw

from core.step_errors import StepTimeoutError, is_permanent
from treadle import StepError
from treadle.machine.inputs import ActionCancelled, ActionRaised, ActionReturned

if TYPE_CHECKING:
    from core.bodies import Ended

_NOTHING: Final = Raw(b"null")
"""The machine's copy of a result: expressions read the application's."""


def machine_input(ended: Ended, at: int, *, is_final: bool) -> ActionCancelled | ActionRaised | ActionReturned:
    """Return the machine's input for the end of an attempt.

    Args:
        ended: How it ended.
        at: Milliseconds since the epoch.
        is_final: A failure is not tried again, whatever the step's policy says.
    """
    step, attempt, error = ended.step, ended.attempt, ended.error
    if ended.is_cancelled:
        return ActionCancelled(step=step, attempt=attempt, at=at)
    if error is None:
        return ActionReturned(step=step, attempt=attempt, output=_NOTHING, at=at)
    return ActionRaised(
        step=step,
        attempt=attempt,
        error=StepError(type=type(error).__name__, message=error_text(error), attempt=attempt, step=step),
        names=tuple(one.__name__ for one in type(error).__mro__),
        permanent=is_final or is_permanent(error),
        timed_out=isinstance(error, StepTimeoutError),
        draw=random.random(),  # noqa: S311 - jitter
        at=at,
    )


def error_text(error: BaseException) -> str:
    """Return what an error says, of one that says nothing its class; never raises, whatever the error does."""
    try:
        return str(error) or type(error).__name__
    except Exception:  # noqa: BLE001 - an error whose text fails is still an error
        return f"<the text of this {type(error).__name__} cannot be read>"
