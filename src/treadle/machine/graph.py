"""A graph compiled once: nodes and connections by index, expressions as closures, routes by outcome.

A workflow is a graph, and so is the body of a map, a loop or a parallel. What depends only on the definition is decided
here, so that a step costs O(its degree) at run time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.durations import parse_time
from treadle.expressions import Expression, Template, compile_expression, compile_template
from treadle.limits import Numbers
from treadle.machine.calls import ACTION, COMPENSATION, FALLBACK, PlanCall, compile_parameters
from treadle.machine.commands import LimitKey
from treadle.model import Body, JoinKind, Node, NodeType, OnFailure, Outcome, SwitchMode
from treadle.paths import step_names

if TYPE_CHECKING:
    from collections.abc import Iterable

    from treadle.model import Connection, NodeLimit, Timer, Workflow

_NO_TEMPLATE = compile_template(None)


class PlanConnection:
    """A connection with its ends as node indices and its condition compiled (None: unconditional or ``else``)."""

    __slots__ = ("condition", "index", "is_conditional", "otherwise", "source", "source_id", "target", "target_id")

    def __init__(self, index: int, connection: Connection, source: int, target: int) -> None:
        self.index = index
        self.source = source
        self.target = target
        self.source_id = connection.source
        self.target_id = connection.target
        self.otherwise = connection.otherwise
        self.condition = _expression(connection.condition)
        self.is_conditional = self.otherwise or self.condition is not None


class Routes:
    """What becomes of a node's outgoing connections on one outcome.

    Attributes:
        active: Taken without looking.
        conditional: Decided by their conditions, in document order, ``else`` ones last.
        dead: Not taken: they follow the other outcome.
        takes_first: Behind the first condition that is true no other is looked at.
    """

    __slots__ = ("active", "conditional", "dead", "takes_first")

    def __init__(
        self,
        matching: Iterable[PlanConnection],
        dead: Iterable[PlanConnection],
        *,
        takes_first: bool = False,
    ) -> None:
        self.takes_first = takes_first
        matching = tuple(matching)
        self.active = tuple(one for one in matching if not one.is_conditional)
        conditional = (one for one in matching if one.is_conditional)
        self.conditional = tuple(sorted(conditional, key=lambda one: one.otherwise))
        self.dead = tuple(dead)


class PlanTimer:
    """What may end a wait, compiled.

    Attributes:
        is_wall: It is due by the wall clock, at a time; otherwise on the execution's clock, after a duration.
        known: Milliseconds where the definition says them: the duration, or the time since the epoch.
        template: What gives them otherwise.
        event: Name of the event instead; ``""`` for a timer.
        key: Of the event; None for any.
    """

    __slots__ = ("event", "is_wall", "key", "known", "template")

    def __init__(self, timer: Timer) -> None:
        self.event = timer.event
        self.key = None if timer.key is None else compile_template(timer.key)
        self.is_wall = timer.until is not None
        given = timer.until if timer.until is not None else timer.duration
        self.known = given if isinstance(given, int) else parse_time(given or "")
        self.template = compile_template(given)


class PlanLimit:
    """A limit of a node, compiled.

    Attributes:
        name: Of the limit.
        known: The limit itself where it has no key that has to be computed; None otherwise.
        key: What gives the key.
        numbers: What the definition says of it.
    """

    __slots__ = ("key", "known", "name", "numbers")

    def __init__(self, limit: NodeLimit) -> None:
        self.name = limit.name
        self.numbers = Numbers(limit.concurrency, limit.rate, limit.per_ms)
        self.key = compile_template(limit.key)
        self.known = None if limit.key is not None else LimitKey(self.name, "", self.numbers)


class PlanGroup:
    """What a map, a loop or a parallel does with its body, compiled.

    Attributes:
        body: The graph of each item, iteration, or of the whole.
        items: Of a map: what gives the list.
        item_name: Of a map: what its body calls the item.
        complete_when: Of a map: when it is complete before its time; None for never.
        repeat_while: Of a loop: looked at before each iteration; None for none.
        until: Of a loop: looked at after each iteration; None for none.
    """

    __slots__ = ("body", "complete_when", "item_name", "items", "repeat_while", "until")

    def __init__(self, node: Node) -> None:
        body = node.body or _call_of(node)
        self.body = Graph(body, cancels_on_failure=node.on_failure is OnFailure.CANCEL)
        self.items = compile_template(node.items)
        self.item_name = node.item_name or "item"
        self.complete_when = _expression(node.complete_when)
        self.repeat_while = _expression(node.repeat_while)
        self.until = _expression(node.until if node.type is NodeType.LOOP else None)

    def tolerated(self, tolerate: int | str, total: int) -> int:
        """Return how many of ``total`` items may fail."""
        if isinstance(tolerate, int):
            return tolerate
        return int(float(tolerate.removesuffix("%")) * total / 100)


def _call_of(node: Node) -> Body:
    """Return the body of a node that runs another workflow instead of one: a call of it, a map's with the item."""
    given = node.input
    if given is None and node.type is NodeType.MAP:
        given = f"${{{node.item_name or 'item'}}}"
    return Body(nodes=(Node(id=node.workflow, type=NodeType.WORKFLOW, workflow=node.workflow, input=given),))


class PlanNode:
    """A node with everything that is known before an execution starts.

    Attributes:
        action: Name under which its callable is registered; ``""`` for a node that calls nothing.
        order: Its place in the whole definition, bodies included: among equals the lower starts first.
        indegree: Number of incoming connections.
        need: Active connections that meet the join; 0 for ``all``, which waits until every one is decided.
        outgoing: Outgoing connections in document order.
        rest: Nodes that its join cancels once it is met (``cancel_rest``), by index.
        constant: Encoded parameters where they hold no expression but references to secrets, else None.
        role: That of its own action, see ``PlanCall``.
        fallback: What is called in the action's place once its attempts are spent; None for nothing.
        compensation: What undoes the step; None for nothing.
        default: The answer to an input where none came in time; None for none.
        values: What a set computes.
        timers: What a wait waits for.
        limits: What its steps hold while they run.
        output: What an end gives; None for nothing.
        message: Why an end ends; None for nothing.
        group: What a map, a loop or a parallel does with its body; None for every other type.
        key: Of the event that an event node waits for.
        input: What a workflow node gives to the other execution.
    """

    __slots__ = (
        "action",
        "compensation",
        "condition",
        "constant",
        "default",
        "fallback",
        "group",
        "id",
        "indegree",
        "index",
        "input",
        "is_action",
        "key",
        "limits",
        "message",
        "need",
        "node",
        "on_failure",
        "on_success",
        "order",
        "outgoing",
        "output",
        "parameters",
        "rest",
        "role",
        "timers",
        "values",
    )

    def __init__(self, index: int, node: Node) -> None:
        kind = node.type
        self.index = self.order = index
        self.id = node.id
        self.node = node
        self.action = node.action_name
        self.is_action = kind is NodeType.ACTION
        self.condition = _expression(node.condition)
        self.role = ACTION
        self.parameters, self.constant = compile_parameters(node.parameters)
        self.fallback = None if node.fallback is None else PlanCall(FALLBACK, node.fallback, node)
        self.compensation = None if node.compensate is None else PlanCall(COMPENSATION, node.compensate, node)
        self.limits = tuple(map(PlanLimit, node.limits))
        self.values = compile_template(node.values) if kind is NodeType.SET else _NO_TEMPLATE
        self.timers: tuple[PlanTimer, ...] = tuple(map(PlanTimer, node.timers)) if kind is NodeType.WAIT else ()
        self.default: Template | None = None if node.default is None else compile_template(node.default)
        self.output: Template | None = None if node.output is None else compile_template(node.output)
        self.message: Template | None = compile_template(node.message) if node.message else None
        self.key: Template | None = None if node.key is None else compile_template(node.key)
        self.input = (
            compile_template({} if node.input is None else node.input) if kind is NodeType.WORKFLOW else _NO_TEMPLATE
        )
        self.group = PlanGroup(node) if kind in _GROUPS else None
        self.indegree = 0
        self.need = 0
        self.rest: tuple[int, ...] = ()
        self.outgoing: tuple[PlanConnection, ...] = ()
        self.on_success = self.on_failure = Routes((), ())

    @property
    def undoes(self) -> bool:
        """Tell whether something may have to be undone that it, or a step in its body, did."""
        falls = self.fallback is not None and self.fallback.compensation is not None
        return self.compensation is not None or falls or (self.group is not None and self.group.body.undoes)

    def connect(self, outgoing: list[tuple[PlanConnection, Outcome]], indegree: int) -> None:
        """Set what only the whole graph tells."""
        self.outgoing = tuple(one for one, _ in outgoing)
        takes_first = self.node.type is NodeType.SWITCH and self.node.mode is SwitchMode.FIRST
        self.on_success = _routes(outgoing, Outcome.SUCCESS, takes_first=takes_first)
        self.on_failure = _routes(outgoing, Outcome.FAILURE)
        self.indegree = indegree
        join = self.node.join
        self.need = {
            JoinKind.ALL: 0,
            JoinKind.EVERY: indegree,
            JoinKind.ANY: 1,
            JoinKind.AT_LEAST: join.count,
        }[join.kind]


_GROUPS = (NodeType.MAP, NodeType.LOOP, NodeType.PARALLEL)


class Graph:
    """Nodes and connections, compiled. Immutable once made.

    Attributes:
        index: Id to index.
        ids: Ids in order.
        suffixes: What the keys of its steps end with where it is a body: ``.charge``, or ``["a.b"]``.
        entries: Nodes without incoming connections.
        leaves: Nodes without outgoing connections.
        output: What it gives; None for what its leaves give.
        cancels_on_failure: Attempts in flight are cancelled when it halts.
        undoes: Some of its nodes, those of bodies included, have a compensation.
    """

    def __init__(self, definition: Workflow | Body, *, cancels_on_failure: bool) -> None:
        self.nodes = tuple(PlanNode(index, node) for index, node in enumerate(definition.nodes))
        self.index = {node.id: node.index for node in self.nodes}
        self.ids = tuple(self.index)
        self.suffixes = step_names(self.ids)
        self.connections = tuple(
            PlanConnection(number, one, self.index[one.source], self.index[one.target])
            for number, one in enumerate(definition.connections)
        )
        outgoing: list[list[tuple[PlanConnection, Outcome]]] = [[] for _ in self.nodes]
        self.indegrees = [0] * len(self.nodes)
        for compiled, one in zip(self.connections, definition.connections, strict=True):
            outgoing[compiled.source].append((compiled, one.outcome))
            self.indegrees[compiled.target] += 1
        for node in self.nodes:
            node.connect(outgoing[node.index], self.indegrees[node.index])
        for node in self.nodes:
            if node.node.cancel_rest:
                node.rest = self._only_ways_lead_to(node.index)
        self.entries = tuple(node.index for node in self.nodes if not node.indegree)
        self.leaves = tuple(node.index for node in self.nodes if not node.outgoing)
        self.output: Template | None = None if definition.output is None else compile_template(definition.output)
        self.cancels_on_failure = cancels_on_failure
        self.undoes = any(node.undoes for node in self.nodes)

    @property
    def hears(self) -> bool:
        """Tell whether any node in it, or in its bodies, waits for events."""
        return any(
            node.node.type is NodeType.EVENT
            or any(timer.event for timer in node.timers)
            or (node.group is not None and node.group.body.hears)
            for node in self.nodes
        )

    def number(self, first: int) -> int:
        """Number the nodes from ``first``, each before those of its body; return the number behind the last."""
        for node in self.nodes:
            node.order = first
            first = first + 1 if node.group is None else node.group.body.number(first + 1)
        return first

    def _only_ways_lead_to(self, join: int) -> tuple[int, ...]:
        """Return the nodes all of whose ways on lead through ``join``, in definition order."""
        incoming: list[list[int]] = [[] for _ in self.nodes]
        for connection in self.connections:
            incoming[connection.target].append(connection.source)
        inside = {join}
        agenda = [join]
        left = {node.index: len(node.outgoing) for node in self.nodes}
        while agenda:
            for source in incoming[agenda.pop()]:
                left[source] -= 1
                if not left[source]:
                    inside.add(source)
                    agenda.append(source)
        return tuple(sorted(inside - {join}))


def _expression(source: str | None) -> Expression | None:
    return compile_expression(source) if source else None


def _routes(outgoing: list[tuple[PlanConnection, Outcome]], outcome: Outcome, *, takes_first: bool = False) -> Routes:
    matching = (outcome, Outcome.ALWAYS)
    return Routes(
        (one for one, follows in outgoing if follows in matching),
        (one for one, follows in outgoing if follows not in matching),
        takes_first=takes_first,
    )
