"""Where in the document the parts of a workflow stand, so that what validation finds is shown at its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
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
    """The places of a whole workflow; ``nodes`` and ``connections`` in the order of the model's."""

    workflow: Origin
    nodes: list[Origin]
    connections: list[Origin]


class ReadNode(NamedTuple):
    """A node as it was read, and the fields that the model does not have (``sequence_order``, ``depends_on``)."""

    node: Node
    origin: Origin
    extra: dict[str, Any]
