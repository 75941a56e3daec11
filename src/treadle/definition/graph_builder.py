"""Nodes and connections, gathered in Python: the part of a builder that a whole workflow and a body have in common."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from treadle.definition.calls import Call
from treadle.definition.fields import ELSE
from treadle.definition.handles import NodeHandle, node_id, plain_value
from treadle.definition.options import (
    ActionOptions,
    Condition,
    NodeOptions,
    Schema,
    action_fields,
    bound,
    condition_text,
    member,
    node_fields,
    timer,
)
from treadle.errors import ValidationError
from treadle.model import Connection, ExecutionStatus, JsonValue, Node, NodeType, Outcome, SwitchMode, Timer

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping
    from typing import Unpack

    from treadle.definition.handles import NodeLike
    from treadle.model import Compensation

T = TypeVar("T")


class GraphBuilder:
    """Gathers nodes, connections and an output, in the order in which they are given."""

    def __init__(self) -> None:
        self._nodes: list[Node] = []
        self._connections: list[Connection] = []
        self._output: JsonValue = None

    def trigger(self, id: str, **options: Unpack[NodeOptions]) -> NodeHandle[Any]:  # noqa: A002 - the domain's word
        """Add an entry that passes the input on."""
        return self._special(id, NodeType.TRIGGER, options)

    @overload
    def action(
        self,
        id: str,
        action: str,
        *,
        service: str | None = None,
        parameters: Mapping[str, JsonValue] | None = None,
        **options: Unpack[ActionOptions],
    ) -> NodeHandle[Any]: ...
    @overload
    def action(
        self, id: str, action: Call[Coroutine[Any, Any, T]], **options: Unpack[ActionOptions]
    ) -> NodeHandle[T]: ...
    @overload
    def action(self, id: str, action: Call[T], **options: Unpack[ActionOptions]) -> NodeHandle[T]: ...
    def action(
        self,
        id: str,  # noqa: A002 - as above
        action: str | Call[Any],
        *,
        service: str | None = None,
        parameters: Mapping[str, JsonValue] | None = None,
        **options: Unpack[ActionOptions],
    ) -> NodeHandle[Any]:
        """Add a node that calls an action.

        Args:
            id: Its id.
            action: ``call(function, ...)``, whose parameters are checked against the function; or a name as text:
                ``service.action``, without a dot the whole name.
            service: Given, ``action`` is taken as it is: ``service=""`` for a whole name that has dots.
            parameters: Of an action that is named by text; handles and references in them become ``${...}``.
            options: See ``ActionOptions``.

        Raises:
            ValidationError: The function does not take a parameter, needs another, or declares it as something else; a
                duration is negative or a condition cannot be read. All else is said by ``build``.
        """
        if isinstance(action, Call):
            if service is not None or parameters is not None:
                raise ValidationError(f"node {id!r}: call(...) says the action and all its parameters")
            self._check(id, action)
            parameters, action = action.parameters, action.action
        elif not isinstance(action, str):
            raise ValidationError(f"node {id!r} calls {action!r}: give call(function, ...), or a name as text")
        if service is None:
            service, _, action = action.rpartition(".")
        plain = {key: plain_value(value) for key, value in (parameters or {}).items()}
        node = Node(id=id, service=service, action=action, parameters=plain, **action_fields(options))
        return self.add(node, after=options.get("after", ()))

    def switch(
        self,
        id: str,  # noqa: A002 - as above
        *,
        mode: SwitchMode | str = SwitchMode.FIRST,
        **options: Unpack[NodeOptions],
    ) -> NodeHandle[Any]:
        """Add a node that calls nothing: the first of its conditional connections that is true is taken, or all."""
        return self._special(id, NodeType.SWITCH, options, mode=member(SwitchMode, mode))

    def set(self, id: str, values: T, **options: Unpack[NodeOptions]) -> NodeHandle[T]:  # noqa: A002 - as above
        """Add a node that gives ``values``, in which handles and references become ``${...}``."""
        return self._special(id, NodeType.SET, options, values=plain_value(values))

    def wait(
        self,
        id: str,  # noqa: A002 - as above
        *,
        duration: timedelta | str | None = None,
        until: datetime | str | None = None,
        any_of: Iterable[timedelta | datetime | Timer] = (),
        **options: Unpack[NodeOptions],
    ) -> NodeHandle[Any]:
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
        one = timer(duration, until)
        several = tuple(map(_timer, any_of))
        return self._special(id, NodeType.WAIT, options, duration=one.duration, until=one.until, any_of=several)

    def input(
        self,
        id: str,  # noqa: A002 - as above
        *,
        schema: Schema = None,
        assignees: Iterable[str] = (),
        timeout: timedelta | None = None,
        default: JsonValue = None,
        **options: Unpack[NodeOptions],
    ) -> NodeHandle[Any]:
        """Add a node that asks a person, and gives the answer.

        Args:
            id: Its id.
            schema: JSON Schema of the answer.
            assignees: Who may answer, for the applications that ask.
            timeout: How long it waits; None for as long as it takes.
            default: The answer where none came in time; None for none, and then the step times out.
            options: As for every node.

        Raises:
            ValidationError: The timeout is negative.
        """
        fields = {"schema": schema, "assignees": tuple(assignees), "timeout_ms": bound(timeout)}
        return self._special(id, NodeType.INPUT, options, default=plain_value(default), **fields)

    def event(
        self,
        id: str,  # noqa: A002 - as above
        event: str,
        *,
        key: JsonValue = None,
        buffer: bool = True,
        timeout: timedelta | None = None,
        **options: Unpack[NodeOptions],
    ) -> NodeHandle[Any]:
        """Add a node that waits for an event, and gives its data.

        Args:
            id: Its id.
            event: Name of the event.
            key: Which of the events of that name; None for any.
            buffer: An event that came before the node waited counts.
            timeout: How long it waits; None for as long as it takes.
            options: As for every node.

        Raises:
            ValidationError: The timeout is negative.
        """
        fields = {"event": event, "key": plain_value(key), "buffer": buffer, "timeout_ms": bound(timeout)}
        return self._special(id, NodeType.EVENT, options, **fields)

    def workflow(
        self,
        id: str,  # noqa: A002 - as above
        workflow: str,
        *,
        input: JsonValue = None,  # noqa: A002 - as above
        wait_for: bool = True,
        timeout: timedelta | None = None,
        compensate: Compensation | None = None,
        **options: Unpack[NodeOptions],
    ) -> NodeHandle[Any]:
        """Add a node that runs another workflow, and gives its output.

        Args:
            id: Its id.
            workflow: Id of the other.
            input: What it is given, in which handles and references become ``${...}``; None for an empty object.
            wait_for: It waits for the end; otherwise it starts the other and goes on.
            timeout: How long it waits; None for as long as it takes.
            compensate: What undoes what the other did, once it has completed; see ``treadle.definition.compensation``.
            options: As for every node.

        Raises:
            ValidationError: The timeout is negative.
        """
        fields = {"workflow": workflow, "input": plain_value(input), "wait_for": wait_for, "timeout_ms": bound(timeout)}
        fields["compensate"] = compensate
        return self._special(id, NodeType.WORKFLOW, options, **fields)

    def end(
        self,
        id: str,  # noqa: A002 - as above
        *,
        status: ExecutionStatus | str = ExecutionStatus.COMPLETED,
        output: JsonValue = None,
        message: str = "",
        **options: Unpack[NodeOptions],
    ) -> NodeHandle[Any]:
        """Add a node that ends the execution: COMPLETED with ``output``, or FAILED or CANCELLED with ``message``."""
        fields = {"status": member(ExecutionStatus, status), "message": plain_value(message)}
        return self._special(id, NodeType.END, options, output=plain_value(output), **fields)

    def add(self, node: Node, *, after: Iterable[NodeLike] | NodeLike = ()) -> NodeHandle[Any]:
        """Add a node as it is, such as one of another workflow.

        Args:
            node: The node.
            after: Nodes whose success leads here, each by an unconditional connection.
        """
        self._nodes.append(node)
        for source in (after,) if isinstance(after, (NodeHandle, str)) else after:
            self.connect(source, node.id)
        return NodeHandle(node.id)

    def connect(
        self,
        source: NodeLike,
        target: NodeLike,
        *,
        condition: Condition = None,
        outcome: Outcome | str = Outcome.SUCCESS,
        annotations: Mapping[str, JsonValue] | None = None,
    ) -> Self:
        """Add a connection and return the builder.

        Args:
            source: Node it leaves.
            target: Node it enters.
            condition: Expression such as ``charge.amount > 5``, ``charge.output["approved"]``, or ``else``.
            outcome: Which end of ``source`` it follows.
            annotations: As on a node.

        Raises:
            ValidationError: The condition cannot be read, or ``outcome`` is unknown.
        """
        otherwise = isinstance(condition, str) and condition.strip() == ELSE
        one = Connection(
            source=node_id(source),
            target=node_id(target),
            condition=None if otherwise else condition_text(condition),
            otherwise=otherwise,
            outcome=member(Outcome, outcome),
            annotations=dict(annotations or {}),
        )
        self._connections.append(one)
        return self

    def output(self, value: JsonValue) -> Self:
        """Set what comes out in the end, with handles and references in it, and return the builder."""
        self._output = plain_value(value)
        return self

    def _special(self, id: str, kind: NodeType, options: NodeOptions, **fields: Any) -> NodeHandle[Any]:  # noqa: A002, ANN401 - fields of the node
        return self.add(Node(id=id, type=kind, **node_fields(options), **fields), after=options.get("after", ()))

    def _check(self, id: str, one: Call[Any]) -> None:  # noqa: A002 - as above
        problems = one.problems(len(self._nodes))
        if problems:
            said = [f"node {id!r}: {found.message}{f' ({found.hint})' if found.hint else ''}" for found in problems]
            raise ValidationError("\n".join(said), problems)


def _timer(one: timedelta | datetime | Timer) -> Timer:
    if isinstance(one, Timer):
        return one
    return timer(one) if isinstance(one, timedelta) else timer(until=one)
