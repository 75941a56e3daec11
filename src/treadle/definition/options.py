"""What nodes may be given while a workflow is built in Python, and how that becomes the fields of the model."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, TypeVar

from treadle.definition.handles import Reference, plain_value
from treadle.durations import parse_duration
from treadle.errors import ExpressionError, ValidationError
from treadle.expressions import translate_condition
from treadle.model import (
    Compensation,
    Fallback,
    Jitter,
    Join,
    JoinKind,
    JsonValue,
    NodeLimit,
    OnExhausted,
    OnInterrupted,
    OnSkip,
    RetryPolicy,
    Timer,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from treadle.definition.handles import NodeLike

_E = TypeVar("_E", bound=Enum)
Schema: TypeAlias = "dict[str, JsonValue] | bool | None"
Condition: TypeAlias = "str | bool | None"
"""An expression as text, or what a step gives (``charge.output["approved"]``), which type checkers take for a bool."""


class NodeOptions(TypedDict, total=False):
    """What every node may have; see ``Node``.

    Attributes:
        after: Nodes whose success leads here, each by an unconditional connection.
        title: For people.
        condition: Evaluated once the join is met.
        on_skip: What follows where the condition is not taken.
        join: ``all``, ``every``, ``any`` or ``Join(JoinKind.AT_LEAST, n)``.
        cancel_rest: Once the join is met, nodes under way are cancelled all of whose ways on lead through it.
        continue_on_error: A final failure is passed over.
        annotations: Keys kept for editors, such as ``position``.
    """

    after: Iterable[NodeLike] | NodeLike
    title: str
    condition: Condition
    on_skip: OnSkip | str
    join: Join | JoinKind | str
    cancel_rest: bool
    continue_on_error: bool
    annotations: Mapping[str, JsonValue] | None


class ActionOptions(NodeOptions, total=False):
    """What a node may have that calls an action; see ``Node``.

    Attributes:
        timeout: Bound of one attempt.
        total_timeout: Bound of all attempts and waits.
        queue_timeout: Bound of how long a ready step waits for its slot.
        heartbeat_timeout: Bound of how long an attempt may be silent.
        limits: What its steps hold while they run; see ``node_limit``.
        retry: See ``retry_policy``.
        max_interruptions: How many attempts may be cut off by a crash.
        on_interrupted: ``retry``, ``fail`` or ``pause``.
        fallback: See ``treadle.definition.fallback``.
        compensate: See ``treadle.definition.compensation``.
        on_exhausted: ``fail`` or ``pause``.
        input_schema: JSON Schema of the resolved parameters.
        output_schema: JSON Schema of the output.
    """

    timeout: timedelta | None
    total_timeout: timedelta | None
    queue_timeout: timedelta | None
    heartbeat_timeout: timedelta | None
    limits: Iterable[NodeLimit]
    retry: RetryPolicy | None
    max_interruptions: int
    on_interrupted: OnInterrupted | str
    fallback: Fallback | None
    compensate: Compensation | None
    on_exhausted: OnExhausted | str
    input_schema: Schema
    output_schema: Schema


def retry_policy(
    *,
    max_attempts: int = 3,
    initial_delay: timedelta = timedelta(seconds=1),
    backoff: float = 2.0,
    max_delay: timedelta = timedelta(minutes=1),
    jitter: Jitter | str = Jitter.NONE,
    non_retryable: Iterable[str] = (),
) -> RetryPolicy:
    """Return a retry policy; see ``RetryPolicy`` for what each part means.

    Raises:
        ValidationError: A delay is negative, or ``jitter`` is unknown.
    """
    return RetryPolicy(
        max_attempts=max_attempts,
        initial_delay_ms=parse_duration(initial_delay),
        backoff=float(backoff),
        max_delay_ms=parse_duration(max_delay),
        jitter=member(Jitter, jitter),
        non_retryable=tuple(non_retryable),
    )


def node_limit(
    name: str,
    *,
    key: JsonValue = None,
    concurrency: int | None = None,
    rate: int | None = None,
    per: timedelta = timedelta(seconds=1),
) -> NodeLimit:
    """Return a limit for an action node; see ``NodeLimit`` for what each part means.

    Args:
        name: Whatever holds a limit of that name shares it.
        key: With handles and references in it, or text with ``${...}``: one limit for each value.
        concurrency: Steps that run at a time.
        rate: Steps that start within any time of ``per``.
        per: That time.

    Raises:
        ValidationError: ``per`` is negative; all else is said by ``build``.
    """
    return NodeLimit(name, plain_value(key), concurrency, rate, parse_duration(per))


def node_fields(options: NodeOptions) -> dict[str, Any]:
    """Return the fields of a node that its options say; ``after`` becomes connections, and is no field."""
    join = options.get("join", JoinKind.ALL)
    return {
        "title": options.get("title", ""),
        "condition": condition_text(options.get("condition")),
        "on_skip": member(OnSkip, options.get("on_skip", OnSkip.DEAD)),
        "join": join if isinstance(join, Join) else Join(kind=member(JoinKind, join)),
        "cancel_rest": options.get("cancel_rest", False),
        "continue_on_error": options.get("continue_on_error", False),
        "annotations": dict(options.get("annotations") or {}),
    }


def action_fields(options: ActionOptions) -> dict[str, Any]:
    """Return the fields of a node that the options of one with an action say."""
    return {
        **node_fields(options),
        "timeout_ms": bound(options.get("timeout")),
        "total_timeout_ms": bound(options.get("total_timeout")),
        "queue_timeout_ms": bound(options.get("queue_timeout")),
        "heartbeat_timeout_ms": bound(options.get("heartbeat_timeout")),
        "limits": tuple(options.get("limits", ())),
        "retry": options.get("retry") or RetryPolicy(),
        "max_interruptions": options.get("max_interruptions", 10),
        "on_interrupted": member(OnInterrupted, options.get("on_interrupted", OnInterrupted.RETRY)),
        "fallback": options.get("fallback"),
        "compensate": options.get("compensate"),
        "on_exhausted": member(OnExhausted, options.get("on_exhausted", OnExhausted.FAIL)),
        "input_schema": options.get("input_schema"),
        "output_schema": options.get("output_schema"),
    }


def bound(duration: timedelta | None) -> int | None:
    """Return a bound in milliseconds; None for none, which zero says as well."""
    return None if duration is None else parse_duration(duration) or None


def condition_text(condition: object) -> str | None:
    """Return a condition in the one spelling, as documents are read."""
    if isinstance(condition, Reference):
        return condition.expression
    if condition is not None and not isinstance(condition, str):
        # Python has compared a reference with something, which is always false.
        raise ValidationError(
            f"a condition is text, such as 'charge.amount > 5', or what a step gives, not {condition!r}"
        )
    if condition is None or not condition.strip():
        return None
    try:
        return translate_condition(condition)
    except ExpressionError as error:
        raise ValidationError(f"the condition {condition!r} cannot be read: {error.message}") from error


def member(kind: type[_E], value: _E | str) -> _E:
    """Return a member of an enum, which may be given by its text."""
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(one.value for one in kind)
        raise ValidationError(f"{value!r} is none of {known}") from None


def timer(duration: timedelta | str | None = None, until: datetime | str | None = None) -> Timer:
    """Return a timer; text and references are kept as text.

    Raises:
        ValidationError: A duration is negative, or a time has no zone.
    """
    return Timer(
        duration=parse_duration(duration) if isinstance(duration, timedelta) else _text(duration),
        until=_moment(until) if isinstance(until, datetime) else _text(until),
    )


def _moment(until: datetime) -> str:
    if until.tzinfo is None:
        raise ValidationError(f"{until.isoformat()} has no zone; a wait is until a time with one")
    return until.isoformat()


def _text(value: object) -> Any:  # noqa: ANN401 - what is neither text nor a reference, validation names
    return str(value) if isinstance(value, Reference) else value
