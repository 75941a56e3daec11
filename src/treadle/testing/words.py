"""What a replaced action does, in words: ``outcomes(raises("Timeout", "slow"), returns({"id": 1}, after=2))``."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct

from treadle.errors import ValidationError
from treadle.model import JsonValue

if TYPE_CHECKING:
    from collections.abc import Mapping

Replacement: TypeAlias = Any
"""A function, what one of the words of this module gives, or a JSON value that every call gives."""


class Outcome(Struct, frozen=True):
    """What one call does: wait, then raise ``error`` or return ``value``.

    Attributes:
        after: Virtual seconds to wait; None: for ever.
        at: Virtual seconds since the rehearsal began, before which it does not happen.
    """

    value: JsonValue = None
    error: BaseException | None = None
    after: float | None = 0.0
    at: float = 0.0

    async def happen(self) -> JsonValue:
        """Do it."""
        if self.after is None:
            await asyncio.Event().wait()
        else:
            now = asyncio.get_running_loop().time()
            wait = max(self.after, self.at - now)
            if wait > 0:
                await asyncio.sleep(wait)
        if self.error is not None:
            raise _anew(self.error)
        return self.value


class Outcomes(Struct, frozen=True):
    """One outcome for each call of a step, in order."""

    each: tuple[Outcome, ...]


class ByStep(Struct, frozen=True):
    """A replacement for each step that calls the action."""

    steps: dict[str, Replacement]


def returns(value: JsonValue, *, after: timedelta | float = 0.0, at: timedelta | float = 0.0) -> Outcome:
    """Return ``value``, in virtual time.

    Args:
        value: JSON value.
        after: Seconds or a ``timedelta`` that the call takes.
        at: Seconds or a ``timedelta`` since the rehearsal began, before which it does not end.
    """
    return Outcome(value, None, _seconds(after), _seconds(at))


def raises(
    error: BaseException | type[BaseException] | str,
    message: str = "",
    *,
    after: timedelta | float = 0.0,
    at: timedelta | float = 0.0,
    permanent: bool = False,
    retry_after: timedelta | float | None = None,
) -> Outcome:
    """Raise an error.

    Args:
        error: An exception, its class, or the name of a class, for ``non_retryable`` and ``steps.x.error.type``.
        message: What it says; for an exception that is given its own.
        after: As of ``returns``.
        at: As of ``returns``.
        permanent: No retry can cure it; of an error given by name.
        retry_after: The shortest wait before the next attempt that it asks for.
    """
    if isinstance(error, str):
        bases: tuple[type[Exception], ...] = (ValidationError,) if permanent else (Exception,)
        raised: BaseException = type(error, bases, {})(message)
    elif permanent:
        raise ValidationError("permanent=True goes with the name of an error; what an exception is, its class says")
    else:
        raised = error if isinstance(error, BaseException) else error(*([message] if message else []))
    if retry_after is not None:
        raised.retry_after = retry_after  # type: ignore[attr-defined]  # what the engine looks for
    return Outcome(None, raised, _seconds(after), _seconds(at))


def never() -> Outcome:
    """Do not end: the step runs until its timeout, a cancel or a crash."""
    return Outcome(after=None)


def outcomes(*each: object) -> Outcomes:
    """Give one outcome for each call of a step, in order: values are returned, exceptions are raised.

    One call more fails the test.
    """
    return Outcomes(tuple(map(as_outcome, each)))


def by_step(steps: Mapping[str, Replacement]) -> ByStep:
    """Replace an action that several steps call differently in each.

    Args:
        steps: By key of the step: the id of its node, or within bodies ``each[1].charge``. ``each.charge`` without
            numbers is that node whichever item or iteration it runs for, where the step has no replacement of its own.
    """
    return ByStep(dict(steps))


def as_outcome(one: object) -> Outcome:
    """Return what something that is no function does when it is called."""
    if isinstance(one, Outcome):
        return one
    if isinstance(one, BaseException) or (isinstance(one, type) and issubclass(one, BaseException)):
        return raises(one)
    return Outcome(one)


def _anew(error: BaseException) -> BaseException:
    """Return the error without the traces of when it was raised before."""
    error.__context__ = None
    return error.with_traceback(None)


def _seconds(given: timedelta | float) -> float:
    return given.total_seconds() if isinstance(given, timedelta) else float(given)
