"""Authoring in Python: the same workflow a document would say, with handles in place of ids and typed references.

A handle stands for a node; ``handle.output["key"]`` is a reference to what it gives, which becomes ``${id.key}`` in
parameters. Nothing is overloaded: connections are made by ``after=`` and ``connect``, conditions are text.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, TypeVar, Unpack

from treadle.definition.documents import load_workflow
from treadle.definition.fields import ELSE
from treadle.definition.handles import NodeHandle, NodeLike, node_id, plain_value
from treadle.durations import parse_duration
from treadle.errors import ExpressionError, ValidationError
from treadle.expressions import translate_condition
from treadle.model import (
    Connection,
    ExecutionStatus,
    Jitter,
    Join,
    JoinKind,
    JsonValue,
    Node,
    NodeType,
    OnFailure,
    OnSkip,
    Outcome,
    RetryPolicy,
    SwitchMode,
    Timer,
    Workflow,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from treadle.definition.documents import Actions

_E = TypeVar("_E", bound=Enum)
_Schema: TypeAlias = "dict[str, JsonValue] | bool | None"


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
        jitter=_member(Jitter, jitter),
        non_retryable=tuple(non_retryable),
    )


class NodeOptions(TypedDict, total=False):
    """What every node may have; see ``Node``.

    Attributes:
        after: Nodes whose success leads here, each by an unconditional connection.
    """

    after: Iterable[NodeLike] | NodeLike
    title: str
    condition: str | None
    on_skip: OnSkip | str
    join: Join | JoinKind | str
    annotations: Mapping[str, JsonValue] | None


class WorkflowBuilder:
    """Gathers nodes and connections, and builds a validated ``Workflow``.

    Args:
        id: Its name.
        name: For people.
        version: A label.
        input_schema: JSON Schema of the input.
        timeout: Bound of the whole execution.
        max_concurrent_steps: Of one execution.
        on_failure: What happens to attempts in flight when an execution halts.
        variables: Constants, read as ``vars.NAME``.
        annotations: Keys kept for editors, such as ``description``.
    """

    def __init__(
        self,
        id: str,  # noqa: A002 - the domain's word
        *,
        name: str = "",
        version: str | int | None = None,
        input_schema: _Schema = None,
        timeout: timedelta | None = None,
        max_concurrent_steps: int | None = None,
        on_failure: OnFailure | str = OnFailure.WAIT,
        variables: Mapping[str, JsonValue] | None = None,
        annotations: Mapping[str, JsonValue] | None = None,
    ) -> None:
        self._id = id
        self._name = name
        self._version = version
        self._input_schema = input_schema
        self._timeout_ms = _bound(timeout)
        self._max_concurrent_steps = max_concurrent_steps
        self._on_failure = _member(OnFailure, on_failure)
        self._vars = dict(variables or {})
        self._annotations = dict(annotations or {})
        self._nodes: list[Node] = []
        self._connections: list[Connection] = []
        self._output: JsonValue = None

    def trigger(self, id: str, *, title: str = "", annotations: Mapping[str, JsonValue] | None = None) -> NodeHandle:  # noqa: A002 - as above
        """Add an entry that passes the input on."""
        node = Node(id=id, type=NodeType.TRIGGER, title=title, annotations=dict(annotations or {}))
        return self._add(node, ())

    def action(
        self,
        id: str,  # noqa: A002 - as above
        action: str,
        *,
        service: str | None = None,
        parameters: Mapping[str, JsonValue] | None = None,
        after: Iterable[NodeLike] | NodeLike = (),
        title: str = "",
        condition: str | None = None,
        on_skip: OnSkip | str = OnSkip.DEAD,
        join: Join | JoinKind | str = JoinKind.ALL,
        timeout: timedelta | None = None,
        total_timeout: timedelta | None = None,
        retry: RetryPolicy | None = None,
        max_interruptions: int = 10,
        continue_on_error: bool = False,
        input_schema: _Schema = None,
        output_schema: _Schema = None,
        annotations: Mapping[str, JsonValue] | None = None,
    ) -> NodeHandle:
        """Add a node that calls an action.

        Args:
            id: Its id.
            action: ``service.action``; without a dot the whole name.
            service: Given, ``action`` is taken as it is: ``service=""`` for a whole name that has dots.
            parameters: Keyword arguments; handles and references in them become ``${...}``.
            after: Nodes whose success leads here, each by an unconditional connection.
            title: For people.
            condition: See ``Node``.
            on_skip: See ``Node``.
            join: ``all``, ``every``, ``any`` or ``Join(JoinKind.AT_LEAST, n)``.
            timeout: Bound of one attempt.
            total_timeout: Bound of all attempts and waits.
            retry: See ``retry_policy``.
            max_interruptions: See ``Node``.
            continue_on_error: See ``Node``.
            input_schema: JSON Schema of the resolved parameters.
            output_schema: JSON Schema of the output.
            annotations: Keys kept for editors, such as ``position``.

        Raises:
            ValidationError: A duration is negative or a condition cannot be read; all else is said by ``build``.
        """
        if service is None:
            service, _, action = action.rpartition(".")
        node = Node(
            id=id,
            title=title,
            service=service,
            action=action,
            parameters={key: plain_value(value) for key, value in (parameters or {}).items()},
            condition=_condition(condition),
            on_skip=_member(OnSkip, on_skip),
            join=join if isinstance(join, Join) else Join(kind=_member(JoinKind, join)),
            timeout_ms=_bound(timeout),
            total_timeout_ms=_bound(total_timeout),
            retry=retry or RetryPolicy(),
            max_interruptions=max_interruptions,
            continue_on_error=continue_on_error,
            input_schema=input_schema,
            output_schema=output_schema,
            annotations=dict(annotations or {}),
        )
        return self._add(node, (after,) if isinstance(after, (NodeHandle, str)) else after)

    def switch(
        self,
        id: str,  # noqa: A002 - as above
        *,
        mode: SwitchMode | str = SwitchMode.FIRST,
        **options: Unpack[NodeOptions],
    ) -> NodeHandle:
        """Add a node that calls nothing: the first of its conditional connections that is true is taken, or all."""
        return self._special(id, NodeType.SWITCH, options, mode=_member(SwitchMode, mode))

    def set(self, id: str, values: JsonValue, **options: Unpack[NodeOptions]) -> NodeHandle:  # noqa: A002 - as above
        """Add a node that gives ``values``, in which handles and references become ``${...}``."""
        return self._special(id, NodeType.SET, options, values=plain_value(values))

    def wait(
        self,
        id: str,  # noqa: A002 - as above
        *,
        duration: timedelta | str | None = None,
        until: datetime | str | None = None,
        any_of: Iterable[timedelta | datetime] = (),
        **options: Unpack[NodeOptions],
    ) -> NodeHandle:
        """Add a node that waits.

        Args:
            id: Its id.
            duration: How long, on the execution's clock; or text with ``${...}`` that gives it.
            until: A time with its zone; or text with ``${...}`` that gives it.
            any_of: Several of both, the first of which ends the wait.
            options: As for every node.

        Raises:
            ValidationError: A duration is negative, or a time has no zone.
        """
        timer = Timer(duration=_wait(duration), until=_moment(until))
        timers = tuple(Timer(_wait(one)) if isinstance(one, timedelta) else Timer(until=_moment(one)) for one in any_of)
        return self._special(id, NodeType.WAIT, options, duration=timer.duration, until=timer.until, any_of=timers)

    def end(
        self,
        id: str,  # noqa: A002 - as above
        *,
        status: ExecutionStatus | str = ExecutionStatus.COMPLETED,
        output: JsonValue = None,
        message: str = "",
        **options: Unpack[NodeOptions],
    ) -> NodeHandle:
        """Add a node that ends the execution: COMPLETED with ``output``, or FAILED or CANCELLED with ``message``."""
        found = _member(ExecutionStatus, status)
        return self._special(id, NodeType.END, options, status=found, output=plain_value(output), message=message)

    def _special(self, id: str, kind: NodeType, options: NodeOptions, **fields: Any) -> NodeHandle:  # noqa: A002, ANN401 - fields of the node
        join, after = options.get("join", JoinKind.ALL), options.get("after", ())
        node = Node(
            id=id,
            type=kind,
            title=options.get("title", ""),
            condition=_condition(options.get("condition")),
            on_skip=_member(OnSkip, options.get("on_skip", OnSkip.DEAD)),
            join=join if isinstance(join, Join) else Join(kind=_member(JoinKind, join)),
            annotations=dict(options.get("annotations") or {}),
            **fields,
        )
        return self._add(node, (after,) if isinstance(after, (NodeHandle, str)) else after)

    def connect(
        self,
        source: NodeLike,
        target: NodeLike,
        *,
        condition: str | None = None,
        outcome: Outcome | str = Outcome.SUCCESS,
        annotations: Mapping[str, JsonValue] | None = None,
    ) -> WorkflowBuilder:
        """Add a connection and return the builder.

        Args:
            source: Node it leaves.
            target: Node it enters.
            condition: Expression such as ``charge.approved``, or ``else``.
            outcome: Which end of ``source`` it follows.
            annotations: As on a node.

        Raises:
            ValidationError: The condition cannot be read, or ``outcome`` is unknown.
        """
        otherwise = condition is not None and condition.strip() == ELSE
        one = Connection(
            source=node_id(source),
            target=node_id(target),
            condition=None if otherwise else _condition(condition),
            otherwise=otherwise,
            outcome=_member(Outcome, outcome),
            annotations=dict(annotations or {}),
        )
        self._connections.append(one)
        return self

    def output(self, value: JsonValue) -> WorkflowBuilder:
        """Set what an execution gives, with handles and references in it, and return the builder."""
        self._output = plain_value(value)
        return self

    def build(self, *, actions: Actions | None = None, strict: bool = False) -> Workflow:
        """Return the workflow, validated.

        Args:
            actions: Names of the registered actions, to be checked.
            strict: Warnings are errors.

        Raises:
            ValidationError: Something is wrong with it; ``problems`` has all.
        """
        workflow = Workflow(
            id=self._id,
            nodes=tuple(self._nodes),
            connections=tuple(self._connections),
            name=self._name,
            version=self._version,
            input_schema=self._input_schema,
            timeout_ms=self._timeout_ms,
            max_concurrent_steps=self._max_concurrent_steps,
            on_failure=self._on_failure,
            vars=self._vars,
            output=self._output,
            annotations=self._annotations,
        )
        return load_workflow(workflow, actions=actions, strict=strict)

    def _add(self, node: Node, after: Iterable[NodeLike]) -> NodeHandle:
        self._nodes.append(node)
        for source in after:
            self.connect(source, node.id)
        return NodeHandle(node.id)


def _bound(duration: timedelta | None) -> int | None:
    return None if duration is None else parse_duration(duration) or None


def _condition(condition: str | None) -> str | None:
    """Return a condition in the one spelling, as documents are read."""
    if condition is None or not condition.strip():
        return None
    try:
        return translate_condition(condition)
    except ExpressionError as error:
        raise ValidationError(f"the condition {condition!r} cannot be read: {error.message}") from error


def _member(kind: type[_E], value: _E | str) -> _E:
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(one.value for one in kind)
        raise ValidationError(f"{value!r} is none of {known}") from None


def _wait(duration: timedelta | str | None) -> int | str | None:
    return parse_duration(duration) if isinstance(duration, timedelta) else duration


def _moment(until: datetime | str | None) -> str | None:
    if not isinstance(until, datetime):
        return until
    if until.tzinfo is None:
        raise ValidationError(f"{until.isoformat()} has no zone; a wait is until a time with one")
    return until.isoformat()
