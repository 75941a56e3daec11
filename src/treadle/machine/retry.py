"""The wait before the next attempt, as a pure function."""

from __future__ import annotations

from treadle.model import Jitter, RetryPolicy


def backoff_ms(policy: RetryPolicy, *, attempt: int, draw: float = 0.0) -> int:
    """Return the wait after the failure number ``attempt``.

    ``min(max_delay, initial_delay * backoff ** (attempt - 1))``; with full jitter a uniform share of that.

    Args:
        policy: Retry policy of the node.
        attempt: How many attempts have failed; the first is 1. Interrupted attempts do not count.
        draw: Uniform random number in [0, 1), drawn by the driver so that replay is exact.

    Returns:
        Milliseconds in ``[0, policy.max_delay_ms]``.

    Raises:
        ValueError: ``attempt`` is below 1.

    Source: "full jitter", M. Brooker, Exponential Backoff And Jitter, AWS Architecture Blog, 2015.
    """
    if attempt < 1:
        raise ValueError(f"attempt must be 1 or more, not {attempt}")
    try:
        computed = policy.initial_delay_ms * policy.backoff ** (attempt - 1)
    except OverflowError:
        computed = float("inf") if policy.initial_delay_ms else 0.0
    capped = min(float(policy.max_delay_ms), computed)
    return int(capped * draw) if policy.jitter is Jitter.FULL else int(capped)
