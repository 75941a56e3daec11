"""The graph of a workflow by index: order, cycles, what can be reached. All of it iterative and linear in its size."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from treadle.model import Body, Connection, Node, Workflow


class Edge:
    """A connection by the indices of its ends."""

    __slots__ = ("connection", "index", "source", "target")

    def __init__(self, index: int, connection: Connection, source: int, target: int) -> None:
        self.index = index
        self.connection = connection
        self.source = source
        self.target = target


class Graph:
    """Nodes and the connections between them.

    Of two nodes with one id the first counts, and a connection with an unknown end is left out.

    Attributes:
        index: Id to index.
        is_whole: No id was there twice and no connection was left out.
    """

    def __init__(self, workflow: Workflow | Body) -> None:
        self.nodes: Sequence[Node] = workflow.nodes
        self.index: dict[str, int] = {}
        for place, node in enumerate(workflow.nodes):
            self.index.setdefault(node.id, place)
        self.incoming: list[list[Edge]] = [[] for _ in self.nodes]
        self.outgoing: list[list[Edge]] = [[] for _ in self.nodes]
        self.edges: list[Edge] = []
        for number, one in enumerate(workflow.connections):
            source, target = self.index.get(one.source), self.index.get(one.target)
            if source is not None and target is not None:
                self._add(Edge(number, one, source, target))
        self.is_whole = len(self.index) == len(self.nodes) and len(self.edges) == len(workflow.connections)

    def _add(self, edge: Edge) -> None:
        self.edges.append(edge)
        self.incoming[edge.target].append(edge)
        self.outgoing[edge.source].append(edge)

    def order(self) -> list[int] | None:
        """Return the nodes so that every source stands before its targets; None if there is a cycle."""
        open_edges = [len(edges) for edges in self.incoming]
        order = [node for node, count in enumerate(open_edges) if not count]
        for node in order:
            for edge in self.outgoing[node]:
                open_edges[edge.target] -= 1
                if not open_edges[edge.target]:
                    order.append(edge.target)
        return order if len(order) == len(self.nodes) else None

    def cycles(self) -> Iterator[list[Edge]]:
        """Yield cycles, each as the connections around it: every self-loop, and one of each knot of nodes."""
        yield from ([edge] for edge in self.edges if edge.source == edge.target)
        for knot in self._knots():
            yield self._shortest_way_round(min(knot), knot)

    def reached_from(self, starts: Iterable[int]) -> set[int]:
        """Return ``starts`` and every node that can be reached from them."""
        reached = set(starts)
        agenda = list(reached)
        while agenda:
            for edge in self.outgoing[agenda.pop()]:
                if edge.target not in reached:
                    reached.add(edge.target)
                    agenda.append(edge.target)
        return reached

    def _knots(self) -> Iterator[set[int]]:
        """Yield the strongly connected sets of two nodes or more.

        Source: S. R. Kosaraju's algorithm: depth-first finishing order, then searches against the arrows.
        """
        left = set(range(len(self.nodes)))
        for start in reversed(self._finishing_order()):
            if start not in left:
                continue
            knot = {start}
            left.discard(start)
            agenda = [start]
            while agenda:
                for edge in self.incoming[agenda.pop()]:
                    if edge.source in left:
                        left.discard(edge.source)
                        knot.add(edge.source)
                        agenda.append(edge.source)
            if len(knot) > 1:
                yield knot

    def _finishing_order(self) -> list[int]:
        order: list[int] = []
        seen = [False] * len(self.nodes)
        for start in range(len(self.nodes)):
            agenda = [] if seen[start] else [(start, iter(self.outgoing[start]))]
            seen[start] = True
            while agenda:
                node, edges = agenda[-1]
                edge = next((one for one in edges if not seen[one.target]), None)
                if edge is None:
                    agenda.pop()
                    order.append(node)
                else:
                    seen[edge.target] = True
                    agenda.append((edge.target, iter(self.outgoing[edge.target])))
        return order

    def _shortest_way_round(self, start: int, knot: set[int]) -> list[Edge]:
        """Return the connections of a shortest cycle through ``start``."""
        came_by: dict[int, Edge] = {}
        agenda = deque([start])
        while start not in came_by:
            node = agenda.popleft()
            for edge in self.outgoing[node]:
                if edge.target in knot and edge.target != node and edge.target not in came_by:
                    came_by[edge.target] = edge
                    agenda.append(edge.target)
        way = [came_by[start]]
        while way[-1].source != start:
            way.append(came_by[way[-1].source])
        return way[::-1]
