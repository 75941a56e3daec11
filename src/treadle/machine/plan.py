"""A workflow compiled once: nodes and connections by index, expressions as closures, routes by outcome.

What depends only on the definition is decided here, so that a step costs O(its degree) at run time.
"""

from __future__ import annotations

from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING

from treadle.durations import parse_time
from treadle.expressions import Expression, Template, compile_expression, compile_template
from treadle.model import (
    Connection,
    JoinKind,
    NodeType,
    OnFailure,
    Outcome,
    SwitchMode,
    Workflow,
    definition_hash,
)
from treadle.settings import Settings
from treadle.values import encode_payload

if TYPE_CHECKING:
    from collections.abc import Iterable

    from msgspec import Raw

    from treadle.model import JsonValue, Node, Timer


_DEFAULTS = Settings()
_NO_TEMPLATE = compile_template(None)


class OnMissingInput(str, Enum):
    """What a missing input stops: the step that asks (the other branches go on), or the whole execution."""

    PAUSE_STEP = "pause_step"
    PAUSE_EXECUTION = "pause_execution"


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
        self.condition: Expression | None = compile_expression(connection.condition) if connection.condition else None
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
    """

    __slots__ = ("is_wall", "known", "template")

    def __init__(self, timer: Timer) -> None:
        self.is_wall = timer.until is not None
        given = timer.until if timer.until is not None else timer.duration
        self.known = given if isinstance(given, int) else parse_time(given or "")
        self.template = compile_template(given)


class PlanNode:
    """A node with everything that is known before an execution starts.

    Attributes:
        action: Name under which its callable is registered; ``""`` for a node that calls nothing.
        indegree: Number of incoming connections.
        need: Active connections that meet the join; 0 for ``all``, which waits until every one is decided.
        outgoing: Outgoing connections in document order.
        constant: Encoded parameters where they hold no expression, else None.
        default: The answer to an input where none came in time; None for none.
        values: What a set computes.
        timers: What a wait waits for.
        output: What an end gives; None for nothing.
        message: Why an end ends; None for nothing.
    """

    __slots__ = (
        "action",
        "condition",
        "constant",
        "default",
        "id",
        "indegree",
        "index",
        "is_action",
        "message",
        "need",
        "node",
        "on_failure",
        "on_success",
        "outgoing",
        "output",
        "parameters",
        "timers",
        "values",
    )

    def __init__(self, index: int, node: Node) -> None:
        self.index = index
        self.id = node.id
        self.node = node
        self.action = node.action_name
        self.is_action = node.type is NodeType.ACTION
        self.condition: Expression | None = compile_expression(node.condition) if node.condition else None
        self.parameters: Template = compile_template(node.parameters)
        self.constant: Raw | None = (
            encode_payload(self.parameters.resolve(_NoNames())) if self.parameters.is_constant else None
        )
        self.values = compile_template(node.values) if node.type is NodeType.SET else _NO_TEMPLATE
        self.timers: tuple[PlanTimer, ...] = tuple(map(PlanTimer, node.timers)) if node.type is NodeType.WAIT else ()
        self.default: Template | None = None if node.default is None else compile_template(node.default)
        self.output: Template | None = None if node.output is None else compile_template(node.output)
        self.message: Template | None = compile_template(node.message) if node.message else None
        self.indegree = 0
        self.need = 0
        self.outgoing: tuple[PlanConnection, ...] = ()
        self.on_success = self.on_failure = Routes((), ())

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


class Plan:
    """A compiled workflow. Immutable once made; shared by all executions of the definition."""

    def __init__(self, workflow: Workflow, on_missing_input: OnMissingInput, limits: Settings) -> None:
        self.workflow = workflow
        self.limits = limits
        self.on_missing_input = on_missing_input
        self.nodes = tuple(PlanNode(index, node) for index, node in enumerate(workflow.nodes))
        self.index = {node.id: node.index for node in self.nodes}
        self.connections = tuple(
            PlanConnection(number, one, self.index[one.source], self.index[one.target])
            for number, one in enumerate(workflow.connections)
        )
        outgoing: list[list[tuple[PlanConnection, Outcome]]] = [[] for _ in self.nodes]
        indegrees = [0] * len(self.nodes)
        for compiled, one in zip(self.connections, workflow.connections, strict=True):
            outgoing[compiled.source].append((compiled, one.outcome))
            indegrees[compiled.target] += 1
        for node in self.nodes:
            node.connect(outgoing[node.index], indegrees[node.index])
        self.indegrees = indegrees
        self.entries = tuple(node.index for node in self.nodes if not node.indegree)
        self.leaves = tuple(node.index for node in self.nodes if not node.outgoing)
        self.output: Template | None = None if workflow.output is None else compile_template(workflow.output)
        self.cancels_on_failure = workflow.on_failure is OnFailure.CANCEL

    @cached_property
    def definition_hash(self) -> str:
        """Return the content name of the definition."""
        return definition_hash(self.workflow)


def compile(  # noqa: A001 - the house's word for it; nothing here needs the builtin
    workflow: Workflow, *, on_missing_input: OnMissingInput = OnMissingInput.PAUSE_STEP, limits: Settings = _DEFAULTS
) -> Plan:
    """Return the plan of a valid workflow.

    Args:
        workflow: As ``definition`` gives it: ids unique, ends known, no cycle.
        on_missing_input: What a missing input stops.
        limits: Size and depth of parameters and of the output.

    Raises:
        ExpressionError: An expression cannot be read; a workflow that was validated has none such.
    """
    return Plan(workflow, on_missing_input, limits)


class _NoNames:
    """The scope of a template without references."""

    def lookup(self, name: str) -> JsonValue:
        raise LookupError(name)


def _routes(outgoing: list[tuple[PlanConnection, Outcome]], outcome: Outcome, *, takes_first: bool = False) -> Routes:
    matching = (outcome, Outcome.ALWAYS)
    return Routes(
        (one for one, follows in outgoing if follows in matching),
        (one for one, follows in outgoing if follows not in matching),
        takes_first=takes_first,
    )
