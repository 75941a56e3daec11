"""Trying again after a failure that may pass. The waits are those of treadle's machine."""

from __future__ import annotations

import asyncio
import logging
from functools import wraps
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from msgspec import structs

from core.step_errors import is_repeated_unasked
from treadle.definition import retry_policy
from treadle.machine.retry import backoff_ms

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from core.clock import Clock

P = ParamSpec("P")
R = TypeVar("R")

_UNITS: Final = 1_000_000_000
"""The machine computes in whole numbers, of any unit: with nanoseconds a wait is as short as the application says."""

_logger = logging.getLogger(__name__)


def async_retry_with_backoff(
    max_retries: int = 3,
    base_delay: float = 1.0,
    max_delay: float = 60.0,
    exponential_base: float = 2.0,
    exceptions: tuple[type[Exception], ...] = (Exception,),
    *,
    clock: Callable[P, Clock] | None = None,
) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Awaitable[R]]]:
    """Return a decorator that calls an async function again when it fails.

    The wait after failure ``n`` (from 0) is ``min(base_delay * exponential_base ** n, max_delay)``. An error that no
    repetition can cure (see ``step_errors.is_repeated_unasked``) is raised at once.

    Args:
        max_retries: Calls after the first one.
        base_delay: First wait, in seconds.
        max_delay: Longest wait, in seconds.
        exponential_base: Factor from one wait to the next.
        exceptions: What is tried again; everything else is raised at once.
        clock: Gives, from the arguments of the call, the clock to wait by; None for real time.

    Raises:
        Exception: Of the decorated function: the last error, once every call is spent.
    """
    policy = structs.replace(
        retry_policy(max_attempts=max_retries + 1, backoff=exponential_base),
        initial_delay_ms=_units(base_delay),
        max_delay_ms=_units(max_delay),
    )

    def decorate(function: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
        name = getattr(function, "__qualname__", repr(function))

        @wraps(function)
        async def retried(*args: P.args, **kwargs: P.kwargs) -> R:
            failures = 0
            while True:
                try:
                    return await function(*args, **kwargs)
                except exceptions as error:
                    failures += 1
                    if failures >= policy.max_attempts or not is_repeated_unasked(error):
                        raise
                    delay = backoff_ms(policy, attempt=failures) / _UNITS
                    _logger.warning("%s failed, again in %g s: %s", name, delay, error)
                sleep = clock(*args, **kwargs).sleep if clock is not None else asyncio.sleep
                await sleep(delay)

        return retried

    return decorate


def _units(seconds: float) -> int:
    return round(min(max(seconds, 0.0), 1e9) * _UNITS)
