"""The state of one execution: what its events so far add up to.

Only ``fold.apply`` changes it, in place. A state belongs to one driver, and is the same whether it was lived through
or folded from the log.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from msgspec import Raw

from treadle.machine.scope import STOPPED, Ending, Scope
from treadle.machine.transitions import COMPLETED, RUNNING, WAITING
from treadle.model import ExecutionStatus, StepStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from treadle.machine.events import KeptStep
    from treadle.machine.graph import PlanNode
    from treadle.machine.plan import Plan
    from treadle.model import JsonValue, StepError

UNDECIDED: Final = 0
ACTIVE: Final = 1
DEAD: Final = 2

RETRY: Final = 0
WAIT: Final = 1
TOTAL_TIMEOUT: Final = 2
GROUP_TIMEOUT: Final = 3
EXECUTION_TIMEOUT: Final = 4
UNDO: Final = 5
QUEUE_TIMEOUT: Final = 6
YIELD: Final = 7
"""Kinds of timers: of what is due at one moment, the end of a wait comes before the timeout of what is around it."""

Timer: TypeAlias = "tuple[int, int, str, int]"
"""When it is due, its kind, the key of the step, and the attempt; of a wait the number of the timer instead, of the
wait for a slot the due time once more, and of a map or a loop that has yielded how many of its bodies have begun."""


@dataclass(slots=True)
class Compensation:
    """How far a compensation has got.

    Attributes:
        action: Name of what it calls.
        attempt: Number of its last attempt; before the first that of the step.
        failures: Failed attempts.
        interruptions: Attempts that were cut off.
        parameters: Resolved, from its first start to its end; None where they are constant.
    """

    action: str
    attempt: int
    status: StepStatus = StepStatus.PENDING
    failures: int = 0
    interruptions: int = 0
    parameters: Raw | None = None
    output: Raw | None = None
    error: StepError | None = None
    started_at: int = 0
    ended_at: int = 0


EMPTY_OBJECT: Final = Raw(b"{}")


class State:
    """One execution.

    Attributes:
        in_flight: Attempt running now, by step key.
        ready: Steps that need only a slot, in the order in which they became ready, and until when they wait for it (0
            for as long as it takes).
        fresh: Those that became ready in this turn; empty between turns.
        asking: Names of the missing inputs, by key of the step that asks.
        waiting: Steps that wait, between attempts or because that is what they do, in the order in which they began.
        last_at: Time of the last event; the next one is not before it.
        timers: Heap of those due on the execution's clock; may hold some that no longer count.
        wall_timers: Heap of those due by the wall clock, as ``timers``.
        paused_ms: How long it has been paused, all told; its own clock is wall time less that.
        paused_at: Since when it is paused; None while it is not.
        plans: Of the definitions that it is migrated to, by hash.
        requests: Ids of requests carried out.
        parent: Id of the execution that started this one; ``""`` for none.
        parent_step: Key of the step there.
        depth: How many executions are above this one.
        forked_from, forked_step: As in ``ExecutionCreated``.
        kept_steps: Of a fork: how steps ended there that it has not reached yet, by key.
        is_awaited: That step waits for the end of this one.
        listening: By step, the events of which one ends its wait: number, name, key.
        kept: Events for which no step waited when they came, by id: name, key, data.
        children: Executions that steps wait for, by step.
        resting: By step whose child is PAUSED, what that child asks for.
        spent: Steps whose attempts are spent and that ask what to do; whether the last one ran out of time.
        asks: It is PAUSED because steps, or children, ask for something, and not because somebody wanted it.
        bodies: Bodies by path: those that have not ended, and those that are shown.
        places: Steps of bodies by key.
        agenda: Nodes that the counters have met or lost and that the machine has not moved yet; empty between turns.
        settling: Bodies in which nothing is left to do; empty between turns.
        unrouted: Steps that ended while their scope was ending, so that a retry has to route them; empty between turns.
        retries: How often it was retried with new idempotency keys.
        going: Steps of whose bodies one has ended, or none has begun; empty between turns.
        key, start_at, supersedes: As in ``ExecutionCreated``.
        queued: It may not begin before it is released.
        done: Completed steps that have a compensation, in the order in which they completed.
        undoes: It is ending, and what was done is undone before that.
        compensations: Of the steps that are undone, in that order; empty before it begins.
        undoing: Key of the step that is being undone; ``""`` for none.
        anew: How often a step had completed and was begun anew behind what was undone, by key; of an iteration that is
            gone by its path.
        numbers: Attempts that such a step in a body had, by key.
    """

    __slots__ = (
        "agenda",
        "anew",
        "asking",
        "asks",
        "bodies",
        "children",
        "compensations",
        "created_at",
        "deadline_passed",
        "definition_hash",
        "depth",
        "done",
        "ended_at",
        "error",
        "execution_id",
        "forked_from",
        "forked_step",
        "fresh",
        "going",
        "in_flight",
        "input",
        "input_value",
        "is_awaited",
        "kept",
        "kept_steps",
        "key",
        "last_at",
        "listening",
        "numbers",
        "original_input",
        "output",
        "parent",
        "parent_step",
        "paused_at",
        "paused_ms",
        "places",
        "plan",
        "plans",
        "priority",
        "queued",
        "ready",
        "requests",
        "resting",
        "retries",
        "root",
        "settling",
        "spent",
        "start_at",
        "started_at",
        "status",
        "supersedes",
        "tags",
        "timers",
        "undoes",
        "undoing",
        "unrouted",
        "waiting",
        "wall_timers",
        "workflow_id",
    )

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.plans: Mapping[str, Plan] = {}
        self.execution_id = ""
        self.workflow_id = ""
        self.definition_hash = ""
        self.status = ExecutionStatus.PENDING
        self.input: Raw = EMPTY_OBJECT
        self.input_value: dict[str, JsonValue] = {}
        self.original_input: Raw = EMPTY_OBJECT
        self.output: Raw | None = None
        self.error: StepError | None = None
        self.priority = 0
        self.tags: dict[str, str] = {}
        self.key = ""
        self.start_at = 0
        self.queued = self.supersedes = self.undoes = False
        self.created_at = self.started_at = self.ended_at = self.last_at = 0
        self.root = Scope(plan, plan.ids)
        self.parent = self.parent_step = ""
        self.depth = self.retries = 0
        self.is_awaited = False
        self.forked_from = self.forked_step = self.undoing = ""
        self.kept_steps: dict[str, KeptStep] = {}
        self.listening: dict[str, tuple[tuple[int, str, str], ...]] = {}
        self.kept: dict[str, tuple[str, str, Raw]] = {}
        self.children: dict[str, str] = {}
        self.resting: dict[str, tuple[str, ...]] = {}
        self.spent: dict[str, bool] = {}
        self.asks = False
        self.bodies: dict[str, Scope] = {}
        self.places: dict[str, tuple[Scope, PlanNode]] = {}
        self.agenda: list[tuple[Scope, PlanNode]] = []
        self.settling: list[Scope] = []
        self.unrouted: list[tuple[Scope, PlanNode]] = []
        self.going: list[tuple[Scope, PlanNode]] = []
        self.in_flight: dict[str, int] = {}
        self.ready: dict[str, int] = {}
        self.fresh: list[str] = []
        self.asking: dict[str, tuple[str, ...]] = {}
        self.waiting: dict[str, None] = {}
        self.timers: list[Timer] = []
        self.wall_timers: list[Timer] = []
        self.paused_ms = 0
        self.paused_at: int | None = None
        self.requests: set[str] = set()
        self.deadline_passed = False
        self.done: list[str] = []
        self.compensations: dict[str, Compensation] = {}
        self.anew: dict[str, int] = {}
        self.numbers: dict[str, int] = {}

    @property
    def ending(self) -> Ending | None:
        """Return how the execution is about to end; None while it is not."""
        return self.root.ending

    def find(self, step: str) -> tuple[Scope, PlanNode] | None:
        """Return the scope and the node of a step; None if there is none of that key (any more)."""
        index = self.plan.index.get(step)
        return self.places.get(step) if index is None else (self.root, self.plan.nodes[index])

    def times_anew(self, step: str) -> int:
        """Return how often a step was begun anew, so that what it did before must not be taken for what it does now."""
        if not self.anew or (found := self.find(step)) is None:
            return 0
        times, scope = self.anew.get(step, 0), found[0]
        while scope.parent is not None:
            times, scope = times + self.anew.get(scope.path, 0), scope.parent
        return times

    def clock(self, at: int) -> int:
        """Return the execution's own time at the wall time ``at``: wall time less the time it was paused."""
        return (at if self.paused_at is None else self.paused_at) - self.paused_ms

    def counts_from(self, at: int) -> int:
        """Return from when on the execution's timeout counts, by its own clock: from ``at`` where it has none yet."""
        timeout_ms = self.plan.workflow.timeout_ms or 0
        return next((due - timeout_ms for due, kind, *_ in self.timers if kind == EXECUTION_TIMEOUT), self.clock(at))

    def wake_at(self) -> int | None:
        """Return the wall time at which ``TimeReached`` is due; None while nothing is."""
        if self.paused_at is not None or self.ended_at:
            return None
        if not self.started_at:
            return None if self.queued else self.start_at or None
        own = self.timers[0][0] + self.paused_ms if self.timers else None
        wall = self.wall_timers[0][0] if self.wall_timers else None
        return wall if own is None else own if wall is None else min(own, wall)

    def is_live(self, timer: Timer) -> bool:
        """Tell whether a timer still counts."""
        _, kind, step, number = timer
        if kind == EXECUTION_TIMEOUT:
            return not self.deadline_passed
        if kind == UNDO:
            one = self.compensations[step]
            return one.status is StepStatus.WAITING and one.attempt == number
        found = self.find(step)
        if found is None:
            return False
        scope, node = found
        phase = scope.phases[node.index]
        if kind == YIELD:
            return phase == RUNNING and scope.is_routing and scope.groups[node.index].begun == number
        if kind == QUEUE_TIMEOUT:
            return self.ready.get(step) == number
        if kind == RETRY:
            return phase == WAITING and scope.attempts[node.index] == number
        if kind == WAIT:
            return phase == WAITING
        return phase < COMPLETED and step not in self.spent and not self.cancels(step)

    def drop_timers(self, kind: int, step: str = "") -> None:
        """Let go of the timers of a kind, of a step or of the execution: others take their place."""
        self.timers[:] = [timer for timer in self.timers if timer[1:3] != (kind, step)]
        heapq.heapify(self.timers)

    def rest(self) -> None:
        """Leave no work of this turn to the next."""
        self.agenda.clear()
        self.settling.clear()
        self.unrouted.clear()
        self.going.clear()
        self.fresh.clear()

    def make_ready(self, step: str, node: PlanNode | None = None) -> None:
        """Note that a step needs only a slot, by the event that was last; its node bounds the wait, if it is given."""
        due = 0
        if node is not None and node.node.queue_timeout_ms is not None:
            due = self.clock(self.last_at) + node.node.queue_timeout_ms
            heapq.heappush(self.timers, (due, QUEUE_TIMEOUT, step, due))
        self.ready[step] = due
        self.fresh.append(step)

    @property
    def starts_steps(self) -> bool:
        """Tell whether ready steps, or the compensation that is ready, may start now."""
        return (self.status is ExecutionStatus.RUNNING and self.root.ending is None) or bool(self.undoing)

    @property
    def waiting_for(self) -> tuple[str, ...]:
        """Return the names of what steps and children ask for; a step that needs an answer stands by its key."""
        names = {name for missing in self.asking.values() for name in missing}
        names.update(self.spent)
        for step, missing in self.resting.items():
            names.update(missing or (self.children[step],))
        return tuple(sorted(names))

    @property
    def is_stuck(self) -> bool:
        """Tell whether nothing goes on without what steps ask for."""
        if not (self.asking or self.resting or self.spent):
            return False
        if self.in_flight or self.ready or self.waiting or len(self.children) > len(self.resting):
            return False
        return not any(timer[1] == YIELD and self.is_live(timer) for timer in self.timers)

    @property
    def cancels_in_flight(self) -> bool:
        """Tell whether all attempts in flight are to be cancelled: not where a halt lets them end."""
        if self.undoing:
            return False
        return _cancels(self.root) or (self.root.ending is not None and self.deadline_passed)

    def cancels(self, step: str) -> bool:
        """Tell whether the attempt in flight of a step is to be cancelled, as the execution or a body around it is."""
        found = self.find(step)
        scope = None if found is None or self.undoing else found[0]
        while scope is not None and scope.parent is not None:
            if _cancels(scope):
                return True
            scope = scope.parent
        return self.cancels_in_flight


def _cancels(scope: Scope) -> bool:
    ending = scope.ending
    if ending is STOPPED and scope.parent is not None:
        return scope.graph.cancels_on_failure and scope.parent.groups[scope.holder].error is not None
    return ending is not None and (ending.status is not ExecutionStatus.FAILED or scope.graph.cancels_on_failure)
