"""Nodes with bodies, built in Python: a ``with`` block is the body, and what it is told are typed references.

::

    with flow.map("each", fetch.output["orders"], max_concurrency=2) as each:
        each.action("charge", call(charge, order=each.item["id"]))
    flow.set("report", {"charged": each.node.output})
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar, cast

from msgspec.structs import replace

from treadle.definition.graph_builder import GraphBuilder
from treadle.definition.handles import NodeHandle, OutputReference, plain_value
from treadle.definition.options import Condition, NodeOptions, bound, condition_text, member, node_fields
from treadle.errors import ValidationError
from treadle.model import Body, Node, NodeType, OnFailure

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta
    from types import TracebackType
    from typing import Unpack

    from treadle.model import JsonValue

T = TypeVar("T")
MAX_ITERATIONS: Final = 1_000


class GroupOptions(NodeOptions, total=False):
    """What a node with a body may have; see ``Node``.

    Attributes:
        timeout: Bound of all of it, on the execution's clock.
        on_failure: What happens to its attempts in flight when it fails.
    """

    timeout: timedelta | None
    on_failure: OnFailure | str


class NestingBuilder(GraphBuilder):
    """A builder whose nodes may have bodies: of a workflow, or of a body itself."""

    def map(
        self,
        id: str,  # noqa: A002 - the domain's word
        items: Iterable[T],
        *,
        item_name: str = "",
        max_concurrency: int | None = None,
        tolerate: int | str = 0,
        complete_when: Condition = None,
        workflow: str = "",
        input: JsonValue = None,  # noqa: A002 - as above
        **options: Unpack[GroupOptions],
    ) -> MapBuilder[T]:
        """Add a node that runs its body for each of ``items``; the body is what a ``with`` block adds.

        Args:
            id: Its id.
            items: A list, or what a step gives, such as ``fetch.output["orders"]``.
            item_name: What expressions in the body call the item; ``""`` for ``item``.
            max_concurrency: Items under way at a time; None for all.
            tolerate: How many items may fail, or which share of them (``"10%"``).
            complete_when: Condition over ``results completed failed total``; once it is true the rest is cancelled.
            workflow: Id of a workflow that runs for each item in place of a body.
            input: What that workflow is given; None for the item.
            options: See ``GroupOptions``.

        Raises:
            ValidationError: A duration is negative or a condition cannot be read. All else is said by ``build``.
        """
        node = Node(
            id=id,
            type=NodeType.MAP,
            items=plain_value(items),
            item_name=item_name,
            max_concurrency=max_concurrency,
            tolerate=tolerate,
            complete_when=condition_text(complete_when),
            workflow=workflow,
            input=plain_value(input),
            **_group_fields(options),
        )
        return MapBuilder(self, node, options)

    def loop(
        self,
        id: str,  # noqa: A002 - as above
        *,
        repeat_while: Condition = None,
        until: Condition = None,
        max_iterations: int = MAX_ITERATIONS,
        workflow: str = "",
        input: JsonValue = None,  # noqa: A002 - as above
        **options: Unpack[GroupOptions],
    ) -> LoopBuilder:
        """Add a node that repeats its body; the body is what a ``with`` block adds.

        Args:
            id: Its id.
            repeat_while: Condition looked at before each iteration.
            until: Condition looked at after each iteration, such as ``previous.done``.
            max_iterations: One more is a failure.
            workflow: Id of a workflow that runs in each iteration in place of a body.
            input: What that workflow is given.
            options: See ``GroupOptions``.

        Raises:
            ValidationError: As of ``map``.
        """
        node = Node(
            id=id,
            type=NodeType.LOOP,
            repeat_while=condition_text(repeat_while),
            until=condition_text(until),
            max_iterations=max_iterations,
            workflow=workflow,
            input=plain_value(input),
            **_group_fields(options),
        )
        return LoopBuilder(self, node, options)

    def parallel(self, id: str, *, race: bool = False, **options: Unpack[GroupOptions]) -> BodyBuilder:  # noqa: A002 - as above
        """Add a group that fails by itself; its body is what a ``with`` block adds.

        Args:
            id: Its id.
            race: The first leaf to succeed ends it, and the rest is cancelled.
            options: See ``GroupOptions``.

        Raises:
            ValidationError: As of ``map``.
        """
        return BodyBuilder(self, Node(id=id, type=NodeType.PARALLEL, race=race, **_group_fields(options)), options)


class BodyBuilder(NestingBuilder):
    """The body of a node, from the ``with`` that opens it to its end. Made by ``map``, ``loop`` and ``parallel``.

    Attributes:
        node: The node that holds the body.
    """

    def __init__(self, around: GraphBuilder, holder: Node, options: GroupOptions) -> None:
        super().__init__()
        self._around = around
        self._holder = holder
        self._place = len(around._nodes)  # noqa: SLF001 - a builder of the same family
        self.node: NodeHandle[Any] = around.add(holder, after=options.get("after", ()))

    def __enter__(self) -> Self:
        if self._holder.workflow:
            raise ValidationError(f"node {self.node.id!r} runs the workflow {self._holder.workflow!r}: it has no body")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        body = Body(tuple(self._nodes), tuple(self._connections), self._output)
        self._around._nodes[self._place] = replace(self._holder, body=body)  # noqa: SLF001 - as above


class MapBuilder(BodyBuilder, Generic[T]):
    """The body of a map."""

    @property
    def item(self) -> T:
        """Return the reference to the item; to type checkers it is one of ``items``."""
        return cast("T", OutputReference(self._holder.item_name or "item"))

    @property
    def index(self) -> int:
        """Return the reference to the number of the item, from 0."""
        return cast("int", OutputReference("index"))


class LoopBuilder(BodyBuilder):
    """The body of a loop."""

    @property
    def index(self) -> int:
        """Return the reference to the number of the iteration, from 0."""
        return cast("int", OutputReference("index"))

    @property
    def previous(self) -> Any:  # noqa: ANN401 - stands in the place of any value
        """Return the reference to what the iteration before gave; null in the first."""
        return OutputReference("previous")


def _group_fields(options: GroupOptions) -> dict[str, Any]:
    on_failure = member(OnFailure, options.get("on_failure", OnFailure.WAIT))
    return {**node_fields(options), "timeout_ms": bound(options.get("timeout")), "on_failure": on_failure}
