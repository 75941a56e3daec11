"""What an execution consists of: steps, in graphs that are under way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from treadle.model import NodeType

if TYPE_CHECKING:
    from treadle.model import Body, Connection, Node, Workflow

DONE = ("COMPLETED", "FAILED", "TIMED_OUT", "SKIPPED", "CANCELLED")
UNDER_WAY = ("RUNNING", "WAITING", "PAUSED")
GROUPS = (NodeType.MAP, NodeType.LOOP, NodeType.PARALLEL)


@dataclass(eq=False)
class Step:
    """A node within one execution.

    Attributes:
        waits: Of a WAITING step, what for: ``slot``, ``retry``, ``timer``, ``event`` or ``answer``.
        since: Number of the moment at which it came to its status.
        asks: Of a PAUSED step: the names of the inputs it needs.
        parameters: Once they are resolved.
        output: Empty, or the one value that it gave.
        error: Type of the error of its last attempt, or of its failure.
        is_handled: It failed, and that did not halt what it is in.
        due: By name of a timer: on which clock (``own`` or ``wall``), and when.
        events: What ends its wait: number, name and key.
        default: Empty, or the one answer of an input that nobody answered in time.
        items: Of a map that has begun.
        bodies: Of a group: those that have begun.
        failing: Of a group that fails once nothing is in flight in it: type of the error, and of which step.
    """

    node: Node
    scope: Scope
    key: str
    status: str = "PENDING"
    waits: str = ""
    since: int = 0
    asks: tuple[str, ...] = ()
    attempt: int = 0
    failures: int = 0
    interruptions: int = 0
    parameters: dict[str, Any] | None = None
    output: tuple[Any, ...] = ()
    error: str = ""
    is_handled: bool = False
    started_at: int = 0
    ended_at: int = 0
    due: dict[Any, tuple[str, int]] = field(default_factory=dict)
    events: list[tuple[int, str, str]] = field(default_factory=list)
    default: tuple[Any, ...] = ()
    items: list[Any] | None = None
    bodies: list[Scope] = field(default_factory=list)
    failing: tuple[str, str] | None = None

    @property
    def is_group(self) -> bool:
        return self.node.type in GROUPS

    @property
    def open_bodies(self) -> list[Scope]:
        return [body for body in self.bodies if body.result is None]

    @property
    def is_flying(self) -> bool:
        """Tell whether an attempt of it, or in its bodies, is in flight."""
        return any(body.is_flying for body in self.bodies) if self.is_group else self.status == "RUNNING"


@dataclass(eq=False)
class Scope:
    """A graph under way: the workflow, or one body.

    Attributes:
        names: What a body is told: ``item``, ``index``, ``previous``.
        arrows: By number of a connection that is decided: whether it is active.
        ending: How it ends (status, error, output) once nothing is in flight in it any more: no connection of it is
            decided then, and no step begins. The status is ``STOPPED`` where what is around it ends.
        result: How it ended, as ``ending``.
        since: Number of the moment at which ``ending`` or ``result`` came to be.
        lost: The first failure in it: type of the error, and of which step.
    """

    graph: Workflow | Body
    path: str = ""
    holder: Step | None = None
    names: dict[str, Any] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    arrows: dict[int, bool] = field(default_factory=dict)
    ending: tuple[str, Any, Any] | None = None
    result: tuple[str, Any, Any] | None = None
    since: int = 0
    lost: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        before = f"{self.path}." if self.path else ""
        self.steps = [Step(node, self, before + node.id) for node in self.graph.nodes]

    @property
    def is_race(self) -> bool:
        return self.holder is not None and self.holder.node.race

    @property
    def is_flying(self) -> bool:
        return any(step.is_flying for step in self.steps)

    def step(self, node: str) -> Step:
        return next(step for step in self.steps if step.node.id == node)

    def outgoing(self, step: Step) -> list[tuple[int, Connection]]:
        return [(number, one) for number, one in enumerate(self.graph.connections) if one.source == step.node.id]

    def incoming(self, step: Step) -> list[int]:
        return [number for number, one in enumerate(self.graph.connections) if one.target == step.node.id]

    def all_steps(self) -> list[Step]:
        """Return the steps of this scope, behind each those of its bodies."""
        found = []
        for step in self.steps:
            found += [step, *(inner for body in step.bodies for inner in body.all_steps())]
        return found
