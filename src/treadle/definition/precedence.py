"""Two questions about nodes A and B: is A before B, and has A surely given an output whenever B runs.

Most are answered by one connection between the two. The rest goes through the graph in order, once for every few
thousand different A with one bit each, so that twenty thousand nodes that each read another cost well under a second.

"Surely" follows the rules of joins: a connection is certain if nothing on its way can be skipped and its source has no
failure handled by another connection; a failure that nobody handles halts the execution, so B does not run at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from treadle.model import JoinKind, NodeType, OnSkip, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from treadle.definition.graph import Edge, Graph

_BITS: Final = 4_096
"""Nodes asked about in one pass: 512 bytes for each node of the graph, which bounds the memory of a pass."""

Pair: TypeAlias = tuple[int, int]
"""The node that asks, and the node asked about."""


class Precedence:
    """Answers both questions for one graph without a cycle.

    Args:
        graph: Nodes and connections.
        order: The nodes so that every source stands before its targets.
    """

    def __init__(self, graph: Graph, order: Sequence[int]) -> None:
        self._graph = graph
        self._order = order
        self._certain = _Certainty(graph, order)
        self._between: dict[Pair, list[Edge]] = {}
        for node, incoming in enumerate(graph.incoming):
            for edge in incoming:
                self._between.setdefault((node, edge.source), []).append(edge)

    def not_before(self, pairs: Iterable[Pair]) -> set[Pair]:
        """Return the pairs where no way leads from the node asked about to the one that asks."""
        hard = {pair for pair in pairs if pair not in self._between}
        return self._without_bit(hard, self._before)

    def maybe_without_output(self, pairs: Iterable[Pair]) -> set[Pair]:
        """Return the pairs where the one that asks may run though the node asked about gave no output."""
        hard = {pair for pair in pairs if not self._is_plainly_sure(*pair)}
        return self._without_bit(hard, self._surely_done)

    def gives_output(self, edge: Edge) -> bool:
        """Tell whether the source has an output whenever the connection is active."""
        return self._certain.gives_output(edge)

    def _is_plainly_sure(self, node: int, asked: int) -> bool:
        """Tell whether one connection between the two makes it sure, as it does for most references."""
        certain, is_only = self._certain, len(self._graph.incoming[node]) == 1
        return any(
            certain.gives_output(edge) and (is_only or certain.is_awaited(edge))
            for edge in self._between.get((node, asked), ())
        )

    def _without_bit(self, pairs: set[Pair], compute: Callable[[dict[int, int]], list[int]]) -> set[Pair]:
        """Return the pairs for which a computation over bits leaves the bit unset."""
        askers: dict[int, list[int]] = {}
        for node, asked in pairs:
            askers.setdefault(asked, []).append(node)
        all_asked = [node for node in self._order if node in askers]
        missing: set[Pair] = set()
        for first in range(0, len(all_asked), _BITS):
            bits = {node: 1 << place for place, node in enumerate(all_asked[first : first + _BITS])}
            found = compute(bits)
            missing.update((node, asked) for asked in bits for node in askers[asked] if not found[node] & bits[asked])
        return missing

    def _before(self, bits: dict[int, int]) -> list[int]:
        """Return for each node the bits of its ancestors."""
        before = [0] * len(self._order)
        for node in self._order:
            for edge in self._graph.incoming[node]:
                before[node] |= before[edge.source] | bits.get(edge.source, 0)
        return before

    def _surely_done(self, bits: dict[int, int]) -> list[int]:
        """Return for each node the bits of those that surely have an output when it runs."""
        certain = self._certain
        done = [0] * len(self._order)
        settled = [0] * len(self._order)
        for node in self._order:
            incoming = self._graph.incoming[node]
            if not incoming:
                continue
            with_each = [
                done[edge.source] | (bits.get(edge.source, 0) * certain.gives_output(edge)) for edge in incoming
            ]
            settled_each = [
                settled[edge.source] | (bits.get(edge.source, 0) * certain.completes[edge.source]) for edge in incoming
            ]
            all_settled, some_settled = _union(settled_each), _intersection(settled_each)
            settled[node] = all_settled if certain.is_decided_last(node) else some_settled
            done[node] = all_settled if certain.waits_for_all(node) else some_settled
            done[node] |= _intersection(with_each)
            done[node] |= _union(bit for bit, edge in zip(with_each, incoming, strict=True) if certain.is_awaited(edge))
        return done


class _Certainty:
    """What happens in every execution that does not halt.

    Attributes:
        completes: By node: it runs, and gives an output.
    """

    def __init__(self, graph: Graph, order: Sequence[int]) -> None:
        self._graph = graph
        self._is_handled = [
            node.type not in (NodeType.TRIGGER, NodeType.SWITCH)
            and any(edge.connection.outcome is not Outcome.SUCCESS for edge in outgoing)
            for node, outgoing in zip(graph.nodes, graph.outgoing, strict=True)
        ]
        self._is_met = [False] * len(order)
        for node in order:
            self._is_met[node] = self._is_surely_met(node)
        self.completes = [
            self._is_met[place] and node.condition is None and not self._is_handled[place]
            for place, node in enumerate(graph.nodes)
        ]

    def gives_output(self, edge: Edge) -> bool:
        """Tell whether the source has an output whenever the connection is active."""
        source = self._graph.nodes[edge.source]
        passes_when_skipped = source.condition is not None and source.on_skip is OnSkip.PASS
        return edge.connection.outcome is Outcome.SUCCESS and not passes_when_skipped

    def is_active(self, edge: Edge) -> bool:
        """Tell whether the connection is surely active."""
        connection, source = edge.connection, self._graph.nodes[edge.source]
        if connection.condition is not None or connection.otherwise or not self._is_met[edge.source]:
            return False
        if source.condition is not None and source.on_skip is OnSkip.DEAD:
            return False
        if connection.outcome is Outcome.SUCCESS:
            return not self._is_handled[edge.source]
        return connection.outcome is Outcome.ALWAYS and source.condition is None

    def is_awaited(self, edge: Edge) -> bool:
        """Tell whether the target runs only after the connection became active."""
        if self._needs_all(edge.target):
            return True
        return self.waits_for_all(edge.target) and self.is_active(edge)

    def waits_for_all(self, node: int) -> bool:
        """Tell whether the node runs only once every connection into it is decided."""
        return self._graph.nodes[node].join.kind is JoinKind.ALL or self._needs_all(node)

    def is_decided_last(self, node: int) -> bool:
        """Tell whether every connection into the node is decided before it runs or is skipped.

        A join that needs all of them waits for all only to run: it is lost with the first dead one.
        """
        return self._graph.nodes[node].join.kind is JoinKind.ALL or (self._needs_all(node) and self._is_met[node])

    def _needs_all(self, node: int) -> bool:
        join = self._graph.nodes[node].join
        return join.kind is JoinKind.EVERY or (
            join.kind is JoinKind.AT_LEAST and join.count >= len(self._graph.incoming[node])
        )

    def _is_surely_met(self, node: int) -> bool:
        """Tell whether the join of a node is met in every execution; its sources are known."""
        incoming = self._graph.incoming[node]
        active = sum(self.is_active(edge) for edge in incoming)
        join = self._graph.nodes[node].join
        if self._needs_all(node):
            return active == len(incoming)
        return not incoming or active >= max(join.count, 1)


def _union(masks: Iterable[int]) -> int:
    found = 0
    for one in masks:
        found |= one
    return found


def _intersection(masks: list[int]) -> int:
    found = masks[0]
    for one in masks[1:]:
        found &= one
    return found
