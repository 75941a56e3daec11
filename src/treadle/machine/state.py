"""The state of one execution: what its events so far add up to.

Only ``fold.apply`` changes it, in place. A state belongs to one driver, and is the same whether it was lived through
or folded from the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from msgspec import Raw

from treadle.errors import ReplayError
from treadle.machine.transitions import COMPLETED, MOVES, PENDING, PHASE_NAMES, WAITING
from treadle.model import ExecutionStatus
from treadle.values import decode_payload

if TYPE_CHECKING:
    from treadle.machine.plan import Plan
    from treadle.model import JsonValue, StepError

UNDECIDED: Final = 0
ACTIVE: Final = 1
DEAD: Final = 2

RETRY: Final = 0
TOTAL_TIMEOUT: Final = 1
EXECUTION_TIMEOUT: Final = 2
WAIT: Final = 3

Timer: TypeAlias = "tuple[int, int, int, int]"
"""When it is due, its kind, the node's index, and the attempt or (of a wait) the number of the timer."""

NO_STEP: Final = -1

EMPTY_OBJECT: Final = Raw(b"{}")


class Scope:
    """How far one graph has got: phases and counters by node index. The root of an execution is one."""

    __slots__ = (
        "active",
        "agenda",
        "attempts",
        "connections",
        "defaults",
        "ended_at",
        "errors",
        "failures",
        "handled",
        "interruptions",
        "open",
        "outputs",
        "parameters",
        "phases",
        "plan",
        "started_at",
        "undecided",
        "values",
    )

    def __init__(self, plan: Plan) -> None:
        size = len(plan.nodes)
        self.plan = plan
        self.phases = [PENDING] * size
        self.undecided = plan.indegrees.copy()
        self.active = [0] * size
        self.connections = bytearray(len(plan.connections))
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
        # Nodes that the counters have met or lost and that the machine has not moved yet; empty between turns.
        self.agenda: list[int] = []

    def move(self, index: int, phase: int) -> None:
        """Move a step to ``phase``.

        Raises:
            ReplayError: The tables do not allow it.
        """
        phases = self.phases
        if not MOVES[phases[index]] >> phase & 1:
            name = self.plan.nodes[index].id
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


class Ending:
    """An execution on its way to ``status``: nothing new starts, what is in flight ends first.

    ``error`` is None for COMPLETED, which an end node gives, with an ``output`` if it has one.
    """

    __slots__ = ("error", "output", "status")

    def __init__(self, status: ExecutionStatus, error: StepError | None, output: Raw | None = None) -> None:
        self.status = status
        self.error = error
        self.output = output


class State:
    """One execution.

    Attributes:
        in_flight: Attempt running now, by step key.
        ready: Steps that need only a slot, in the order in which they became ready.
        fresh: Those that became ready in this turn; empty between turns.
        asking: Names of the missing inputs, by key of the step that asks.
        waiting: Steps that wait, between attempts or because that is what they do, in the order in which they began.
        last_at: Time of the last event; the next one is not before it.
        timers: Heap of those due on the execution's clock; may hold some that no longer count.
        wall_timers: Heap of those due by the wall clock, as ``timers``.
        paused_ms: How long it has been paused, all told; its own clock is wall time less that.
        paused_at: Since when it is paused; None while it is not.
        requests: Ids of requests carried out.
    """

    __slots__ = (
        "asking",
        "created_at",
        "deadline_passed",
        "definition_hash",
        "ended_at",
        "ending",
        "error",
        "execution_id",
        "fresh",
        "in_flight",
        "input",
        "input_value",
        "last_at",
        "original_input",
        "output",
        "paused_at",
        "paused_ms",
        "plan",
        "priority",
        "ready",
        "requests",
        "root",
        "started_at",
        "status",
        "tags",
        "timers",
        "waiting",
        "wall_timers",
        "workflow_id",
    )

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.execution_id = ""
        self.workflow_id = ""
        self.definition_hash = ""
        self.status = ExecutionStatus.PENDING
        self.input: Raw = EMPTY_OBJECT
        self.input_value: dict[str, JsonValue] = {}
        self.original_input: Raw = EMPTY_OBJECT
        self.output: Raw | None = None
        self.error: StepError | None = None
        self.ending: Ending | None = None
        self.priority = 0
        self.tags: dict[str, str] = {}
        self.created_at = self.started_at = self.ended_at = self.last_at = 0
        self.root = Scope(plan)
        self.in_flight: dict[str, int] = {}
        self.ready: dict[str, None] = {}
        self.fresh: list[str] = []
        self.asking: dict[str, tuple[str, ...]] = {}
        self.waiting: dict[str, None] = {}
        self.timers: list[Timer] = []
        self.wall_timers: list[Timer] = []
        self.paused_ms = 0
        self.paused_at: int | None = None
        self.requests: set[str] = set()
        self.deadline_passed = False

    def clock(self, at: int) -> int:
        """Return the execution's own time at the wall time ``at``: wall time less the time it was paused."""
        return (at if self.paused_at is None else self.paused_at) - self.paused_ms

    def wake_at(self) -> int | None:
        """Return the wall time at which ``TimeReached`` is due; None while nothing is."""
        if self.paused_at is not None or self.ended_at:
            return None
        own = self.timers[0][0] + self.paused_ms if self.timers else None
        wall = self.wall_timers[0][0] if self.wall_timers else None
        return wall if own is None else own if wall is None else min(own, wall)

    def is_live(self, timer: Timer) -> bool:
        """Tell whether a timer still counts."""
        _, kind, index, attempt = timer
        if kind == RETRY:
            return self.root.phases[index] == WAITING and self.root.attempts[index] == attempt
        if kind == WAIT:
            return self.root.phases[index] == WAITING
        if kind == TOTAL_TIMEOUT:
            return self.root.phases[index] < COMPLETED
        return not self.deadline_passed

    def make_ready(self, step: str) -> None:
        """Note that a step needs only a slot."""
        self.ready[step] = None
        self.fresh.append(step)

    @property
    def starts_steps(self) -> bool:
        """Tell whether ready steps may start now."""
        return self.status is ExecutionStatus.RUNNING and self.ending is None

    @property
    def cancels_in_flight(self) -> bool:
        """Tell whether the attempts in flight are to be cancelled: not where a halt lets them end."""
        if self.ending is None:
            return False
        halts = self.ending.status is ExecutionStatus.FAILED
        return not halts or self.plan.cancels_on_failure or self.deadline_passed

    @property
    def is_routing(self) -> bool:
        """Tell whether connections are still decided: not once the execution is ending."""
        return self.ending is None
