"""The linear form: ``steps`` with ``sequence_order``, or with ``depends_on``.

Without any ``depends_on`` the steps are a chain in ``sequence_order``, or in the order of the document where no step
has one. With any ``depends_on`` the steps are that graph, and one without it is an entry. A step whose condition is not
taken is skipped and what follows it goes on (``on_skip: pass``), as in the applications that write this form.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from treadle.definition.keys import STEP_KEYS
from treadle.definition.layout import Origin, ReadNode
from treadle.model import Connection, OnSkip

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from treadle.definition.fields import Field, Spot
    from treadle.model import JsonValue

    _ReadNode = Callable[[JsonValue, Spot, Mapping[str, Field]], ReadNode | None]


def read_steps(
    items: Sequence[tuple[JsonValue, Spot]], read_node: _ReadNode
) -> tuple[list[ReadNode], list[tuple[Connection, Origin]]]:
    """Return the nodes and connections of the linear form.

    Args:
        items: The steps, each with its spot.
        read_node: Reads one node with the keys of a table.
    """
    read = [(read_node(raw, spot, STEP_KEYS), spot) for raw, spot in items]
    steps = [(_passing(step), spot) for step, spot in read if step is not None]
    nodes = [step for step, _ in steps]
    if any(step.extra.get("depends_on") for step in nodes):
        return nodes, _dependencies(nodes)
    return nodes, _chain(steps)


def _passing(step: ReadNode) -> ReadNode:
    """Let what follows a skipped step go on, unless the step says otherwise."""
    if "on_skip" in step.origin.at:
        return step
    return step._replace(node=msgspec.structs.replace(step.node, on_skip=OnSkip.PASS))


def _dependencies(steps: Sequence[ReadNode]) -> list[tuple[Connection, Origin]]:
    connections: list[tuple[Connection, Origin]] = []
    for step in steps:
        sources: dict[str, Origin] = {}
        for source, below in step.extra.get("depends_on", ()):
            at = {"source": below} if below else {}
            sources.setdefault(source, Origin(step.origin.path("depends_on"), at))
        connections.extend((Connection(source, step.node.id), origin) for source, origin in sources.items())
    return connections


def _chain(steps: Sequence[tuple[ReadNode, Spot]]) -> list[tuple[Connection, Origin]]:
    has_order = any("sequence_order" in step.origin.at for step, _ in steps)
    for step, spot in steps:
        if has_order and "sequence_order" not in step.origin.at:
            message = 'the key "sequence_order" is missing: other steps have it, so the place of this one is unknown'
            spot.error("missing_key", message)
    chain = sorted((step for step, _ in steps), key=lambda step: step.extra.get("sequence_order", 0))
    return [
        (Connection(before.node.id, after.node.id), Origin(after.origin.base, {})) for before, after in pairwise(chain)
    ]
