"""How far one graph has got. The root of an execution is a scope, and so is each body of a map, a loop or a parallel.

Only ``fold`` changes it, in place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.errors import ReplayError
from treadle.machine.calls import FALLBACK
from treadle.machine.transitions import MOVES, PENDING, PHASE_NAMES, PUBLIC_STATUS
from treadle.model import ExecutionStatus
from treadle.paths import body_path
from treadle.values import decode_payload

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from msgspec import Raw

    from treadle.machine.calls import PlanCall
    from treadle.machine.graph import Graph, PlanNode
    from treadle.model import JsonValue, StepError, StepStatus


class Ending:
    """A scope on its way to ``status``: nothing new starts in it, what is in flight ends first.

    ``error`` is None for COMPLETED, which an end node gives, with an ``output`` if it has one.
    """

    __slots__ = ("error", "output", "status")

    def __init__(self, status: ExecutionStatus, error: StepError | None, output: Raw | None = None) -> None:
        self.status = status
        self.error = error
        self.output = output


STOPPED = Ending(ExecutionStatus.CANCELLED, None)
"""The ending of a body whose surroundings are ending: it does not end by itself."""


class Scope:
    """Phases and counters by node index.

    Attributes:
        path: Text of its path, such as ``each[3]``; ``""`` for the root.
        keys: Of its steps, by index.
        parent: The scope whose node holds it; None for the root.
        holder: Index of that node.
        number: Of the item or the iteration, from 0.
        names: What its expressions see besides the steps: ``item``, ``index``, ``previous``.
        flying: Attempts in flight in it and in the bodies within it; of a body only.
        races: The first of its leaves to complete ends it.
        winner: Index of that leaf; None while there is none.
        groups: Its maps, loops and parallels that have begun.
        dropped: Steps that were cancelled because the scope was ending: a retry runs them again.
        rounds: Of children begun anew, how many attempts there were before.
        by: Who gave, or is to give, what a step gives, where it is not the action of its node.
    """

    __slots__ = (
        "active",
        "attempts",
        "by",
        "connections",
        "defaults",
        "dropped",
        "ended_at",
        "ending",
        "errors",
        "failures",
        "flying",
        "graph",
        "groups",
        "handled",
        "holder",
        "interruptions",
        "keys",
        "names",
        "number",
        "open",
        "outputs",
        "parameters",
        "parent",
        "path",
        "phases",
        "races",
        "rounds",
        "started_at",
        "undecided",
        "values",
        "winner",
    )

    def __init__(self, graph: Graph, keys: Sequence[str]) -> None:
        size = len(graph.nodes)
        self.graph = graph
        self.keys = keys
        self.path = ""
        self.parent: Scope | None = None
        self.holder = self.number = 0
        self.names: Mapping[str, JsonValue] = {}
        self.ending: Ending | None = None
        self.flying = 0
        self.races = False
        self.winner: int | None = None
        self.phases = [PENDING] * size
        self.undecided = graph.indegrees.copy()
        self.active = [0] * size
        self.connections = bytearray(len(graph.connections))
        self.open = size
        self.attempts = [0] * size
        self.outputs: list[Raw | None] = [None] * size
        self.started_at = [0] * size
        self.ended_at = [0] * size
        # Few steps have any of these, so they are kept by index only where there is one.
        self.errors: dict[int, StepError] = {}
        self.failures: dict[int, int] = {}
        self.interruptions: dict[int, int] = {}
        self.parameters: dict[int, Raw] = {}
        self.handled: dict[int, str] = {}
        self.defaults: dict[int, Raw] = {}
        self.values: dict[int, JsonValue] = {}
        self.groups: dict[int, Group] = {}
        self.dropped: set[int] = set()
        self.rounds: dict[int, int] = {}
        self.by: dict[int, str] = {}

    @classmethod
    def of_body(cls, parent: Scope, holder: int, graph: Graph, number: int, names: Mapping[str, JsonValue]) -> Scope:
        """Return the scope of one body of a step of ``parent``; without names it is the only one of a parallel."""
        path = body_path(parent.keys[holder], number if names else None, is_top=parent.parent is None)
        scope = cls(graph, [path + suffix for suffix in graph.suffixes])
        scope.path, scope.parent, scope.holder, scope.number, scope.names = path, parent, holder, number, names
        scope.races = parent.graph.nodes[holder].node.race
        return scope

    def move(self, index: int, phase: int) -> None:
        """Move a step to ``phase``.

        Raises:
            ReplayError: The tables do not allow it.
        """
        phases = self.phases
        if not MOVES[phases[index]] >> phase & 1:
            name = self.keys[index]
            raise ReplayError(f"step {name!r} cannot go from {PHASE_NAMES[phases[index]]} to {PHASE_NAMES[phase]}")
        phases[index] = phase

    def end(self, index: int, phase: int, at: int) -> None:
        """Move a step to a phase it does not leave again."""
        self.move(index, phase)
        self.ended_at[index] = at
        self.open -= 1
        self.parameters.pop(index, None)

    def value(self, index: int) -> JsonValue:
        """Return what a step gave, decoded once; for reading only."""
        values = self.values
        if index not in values:
            output = self.outputs[index]
            values[index] = None if output is None else decode_payload(output)
        return values[index]

    def reopen(self, index: int) -> None:
        """Let a step that has ended be reached again; its attempts go on being counted, its failures begin anew."""
        self.phases[index] = PENDING
        self.open += 1
        self.started_at[index] = self.ended_at[index] = 0
        for kept in (self.errors, self.failures, self.interruptions, self.defaults, self.rounds, self.by):
            kept.pop(index, None)
        self.dropped.discard(index)

    def tries(self, index: int) -> int:
        """Return how many attempts a step has had since it was last begun anew."""
        return self.attempts[index] - self.rounds.get(index, 0)

    def call(self, node: PlanNode) -> PlanNode | PlanCall:
        """Return what a step calls now: the action of its node, or the fallback in its place."""
        if self.by and node.fallback is not None and self.by.get(node.index) == FALLBACK:
            return node.fallback
        return node

    def undo(self, node: PlanNode) -> PlanCall | None:
        """Return what undoes a completed step: what it called has the say; None for nothing."""
        if self.by.get(node.index) == FALLBACK:
            return None if node.fallback is None else node.fallback.compensation
        return node.compensation

    def status(self, index: int) -> StepStatus:
        """Return where a step stands, as a reader sees it."""
        return PUBLIC_STATUS[self.phases[index]]

    @property
    def is_routing(self) -> bool:
        """Tell whether connections are still decided: not once it is ending."""
        return self.ending is None

    def bodies(self) -> Iterator[Scope]:
        """Yield the bodies within it that have not ended, outer ones first."""
        agenda = [body for group in self.groups.values() for body in group.open.values()]
        while agenda:
            scope = agenda.pop()
            yield scope
            agenda.extend(body for group in scope.groups.values() for body in group.open.values())


class Group:
    """What the bodies of one map, loop or parallel add up to.

    Attributes:
        items: Of a map: the list.
        total: How many bodies there will be; 0 where that shows.
        begun: How many have begun, by number from 0.
        open: Those that have not ended, by number.
        kept: Those that are shown: all, of a loop the last.
        outputs: Of a map: what its items gave, by number; None where there is nothing.
        done: Of a map: numbers of the items that completed, in that order; else of the last body that did.
        errors: Why, by number of each body that failed.
        error: Why it fails: nothing new begins, what is in flight ends first. None while it does not.
        last: What the body that completed last gave.
        results: What ``done`` gave, decoded as far as somebody looked.
    """

    __slots__ = ("begun", "done", "error", "errors", "items", "kept", "last", "open", "outputs", "results", "total")

    def __init__(self, items: list[JsonValue] | None) -> None:
        self.items = items
        self.total = 0 if items is None else len(items)
        self.begun = 0
        self.open: dict[int, Scope] = {}
        self.kept: dict[int, Scope] = {}
        self.outputs: list[Raw | None] = [None] * self.total
        self.done: list[int] = []
        self.errors: dict[int, StepError] = {}
        self.error: StepError | None = None
        self.last: Raw | None = None
        self.results: list[JsonValue] = []
