"""Whether an execution that runs can go on with another definition, and if not exactly why.

It can where what has happened would have happened there as well: each step that has begun is there and the same, waits
for nothing that it did not wait for, and each step that has ended has the join and the connections that were decided
then. What has not been reached yet may differ in any way, and all of one that has not begun.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from treadle.machine.transitions import COMPLETED, PENDING, SKIPPED
from treadle.model import Join, Problem, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from treadle.machine.graph import PlanConnection, PlanNode
    from treadle.machine.plan import Plan
    from treadle.machine.state import State


def migration_problems(state: State, plan: Plan, at: int) -> list[Problem]:
    """Return why an execution cannot go on with ``plan``; empty where it can.

    Args:
        state: Of an execution that is not ending.
        plan: Of the other definition.
        at: Now, in milliseconds since the epoch.
    """
    found = list(_of_workflow(state, plan, at))
    scope = state.root
    for node in scope.graph.nodes:
        phase = scope.phases[node.index]
        if phase == PENDING:
            continue
        index = plan.index.get(node.id)
        if index is None:
            what = "was skipped" if phase == SKIPPED else "has begun"
            found.append(_problem(node, f"{what}, and the new definition has no such step"))
            continue
        other = plan.nodes[index]
        found.extend(_problem(node, why) for why in _of_step(node, other, has_ended=phase >= COMPLETED))
        found.extend(_problem(node, why) for why in _of_incoming(state, plan, node, other, phase))
        if phase >= COMPLETED:
            found.extend(_problem(node, why) for why in _of_outgoing(node, other))
    return found


def _problem(node: PlanNode, why: str) -> Problem:
    return Problem("unsafe_migration", f"step {node.id!r} {why}", node.id)


def _of_workflow(state: State, plan: Plan, at: int) -> Iterator[Problem]:
    if plan.workflow.id != state.workflow_id:
        message = f"it is of workflow {state.workflow_id!r}, not of {plan.workflow.id!r}"
        yield Problem("unsafe_migration", message)
    timeout_ms = plan.workflow.timeout_ms
    taken_ms = state.clock(at) - state.counts_from(at) if state.started_at else 0
    if timeout_ms is not None and timeout_ms <= taken_ms:
        message = (
            f"it has taken {taken_ms / 1000:g} s, and the timeout of the new definition is {timeout_ms / 1000:g} s"
        )
        yield Problem("unsafe_migration", message, "timeout")


def _of_step(node: PlanNode, other: PlanNode, *, has_ended: bool) -> Iterator[str]:
    if node.node.type is not other.node.type:
        yield f"has begun as {node.node.type.value}, and is of type {other.node.type.value} in the new definition"
    elif not has_ended and _essence(node) != _essence(other):
        yield "is under way, and is another one in the new definition"


def _essence(node: PlanNode) -> object:
    """Return what of a step must not change while it is under way: not how often it is tried, when, and how long."""
    return msgspec.structs.replace(
        node.node,
        title="",
        annotations={},
        retry=RetryPolicy(),
        timeout_ms=None,
        total_timeout_ms=None,
        queue_timeout_ms=None,
        heartbeat_timeout_ms=None,
        limits=(),
        max_interruptions=0,
        continue_on_error=False,
        output_schema=None,
    )


def _of_incoming(state: State, plan: Plan, node: PlanNode, other: PlanNode, phase: int) -> Iterator[str]:
    known = {one.source_id for one in state.plan.connections if one.target == node.index}
    there = [one.source_id for one in plan.connections if one.target == other.index]
    what = "was skipped" if phase == SKIPPED else "has begun"
    for source in there:
        if source not in known:
            yield f"{what} without waiting for {source!r}, as it would in the new definition"
    for source in sorted(known.difference(there)) if phase == SKIPPED else ():
        yield f"{what} after {source!r}, for which it does not wait in the new definition"
    if phase >= COMPLETED and node.node.join != other.node.join and max(len(known), len(there)) > 1:
        yield f"{what} on its join {_name(node.node.join)}, which is {_name(other.node.join)} in the new definition"


def _name(join: Join) -> str:
    return f"{join.kind.value} {join.count}" if join.count else join.kind.value


def _of_outgoing(node: PlanNode, other: PlanNode) -> Iterator[str]:
    known = {_rule(one, node) for one in node.outgoing}
    for connection in other.outgoing:
        if _rule(connection, other) not in known:
            yield f"has ended before its connection to {connection.target_id!r} was there, or with another condition"


def _rule(connection: PlanConnection, node: PlanNode) -> tuple[str, str, bool, bool, bool]:
    """Return what a decision of a connection depended on."""
    source = "" if connection.condition is None else connection.condition.source
    on_success = connection not in node.on_success.dead
    on_failure = connection not in node.on_failure.dead
    return connection.target_id, source, connection.otherwise, on_success, on_failure
