"""Where in the document the parts of a workflow stand, so that what validation finds is shown at its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from treadle.definition.problems import Path
    from treadle.model import Node


class Origin(NamedTuple):
    """The place of one object of the document and of the fields that it gave.

    Attributes:
        base: The object.
        at: Field of the model to its place below ``base``.
    """

    base: Path
    at: dict[str, Path]

    def path(self, name: str, *below: str | int) -> Path:
        """Return the place of an element of a field; the object itself where it does not give the field."""
        at = self.at.get(name)
        return self.base if at is None else (*self.base, *at, *below)


class Layout(NamedTuple):
    """The places of a whole graph; ``nodes`` and ``connections`` in the order of the model's.

    Attributes:
        top: The workflow, or the body.
        bodies: Of the nodes that have one, by index.
    """

    top: Origin
    nodes: list[Origin]
    connections: list[Origin]
    bodies: dict[int, Layout]


NOWHERE: Final = Layout(Origin((), {}), [], [], {})
"""Of what could not be read."""


class ReadNode(NamedTuple):
    """A node as it was read.

    Attributes:
        extra: The fields that the model does not have (``sequence_order``, ``depends_on``).
        body: Where the parts of its body stand; None where it has none.
    """

    node: Node
    origin: Origin
    extra: dict[str, Any]
    body: Layout | None = None


def layout_of(top: Origin, nodes: Sequence[ReadNode], connections: Sequence[Origin]) -> Layout:
    """Return the places of a graph that was read."""
    bodies = {place: one.body for place, one in enumerate(nodes) if one.body is not None}
    return Layout(top, [one.origin for one in nodes], list(connections), bodies)
