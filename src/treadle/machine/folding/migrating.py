"""A migration: an execution goes on with another definition, each step where it was."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, Final

from treadle.errors import ReplayError
from treadle.machine import events as e
from treadle.machine.folding.connections import look_again
from treadle.machine.scope import Scope
from treadle.machine.state import ACTIVE, EXECUTION_TIMEOUT, UNDECIDED
from treadle.machine.transitions import COMPLETED, PENDING

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.machine.state import State

_LISTS: Final = ("phases", "attempts", "outputs", "started_at", "ended_at")
_DICTS: Final = (
    "errors",
    "failures",
    "interruptions",
    "parameters",
    "handled",
    "defaults",
    "values",
    "groups",
    "rounds",
    "by",
)


def _execution_migrated(state: State, event: e.ExecutionMigrated) -> None:
    plan = state.plans.get(event.definition_hash)
    if plan is None:
        raise ReplayError(f"its definition {event.definition_hash} was not given", state.execution_id)
    before, after = state.root, Scope(plan, plan.ids)
    _take_over(before, after)
    for index, group in after.groups.items():
        for body in group.kept.values():
            body.parent, body.holder = after, index
    _decide_again(before, after)
    counts_from = state.counts_from(event.at)
    state.plan, state.root, state.definition_hash = plan, after, event.definition_hash
    if event.request:
        state.requests.add(event.request)
    if not state.started_at:
        return
    _set_timeout(state, counts_from)
    for node in plan.nodes:
        if after.phases[node.index] == PENDING:
            look_again(state, after, node)


def _set_timeout(state: State, counts_from: int) -> None:
    """Let the timeout of the other definition hold: from the start, or from now where there was none."""
    state.drop_timers(EXECUTION_TIMEOUT)
    timeout_ms = state.plan.workflow.timeout_ms
    if timeout_ms is not None:
        heapq.heappush(state.timers, (counts_from + timeout_ms, EXECUTION_TIMEOUT, "", 0))


def _take_over(before: Scope, after: Scope) -> None:
    for node in before.graph.nodes:
        index = after.graph.index.get(node.id)
        if index is None:
            continue
        for name in _LISTS:
            getattr(after, name)[index] = getattr(before, name)[node.index]
        for name in _DICTS:
            found = getattr(before, name)
            if node.index in found:
                getattr(after, name)[index] = found[node.index]
        if node.index in before.dropped:
            after.dropped.add(index)
    after.open = sum(phase < COMPLETED for phase in after.phases)


def _decide_again(before: Scope, after: Scope) -> None:
    """Take over the decisions of connections that are there again, in the order of each pair of steps."""
    verdicts: dict[tuple[str, str], list[int]] = {}
    for connection in before.graph.connections:
        ends = connection.source_id, connection.target_id
        verdicts.setdefault(ends, []).append(before.connections[connection.index])
    for connection in after.graph.connections:
        left = verdicts.get((connection.source_id, connection.target_id))
        verdict = left.pop(0) if left else UNDECIDED
        if verdict != UNDECIDED:
            after.connections[connection.index] = verdict
            after.undecided[connection.target] -= 1
            after.active[connection.target] += verdict == ACTIVE


APPLY: Final[dict[type[e.Event], Callable[[State, Any], None]]] = {e.ExecutionMigrated: _execution_migrated}
"""As in ``executions``."""
