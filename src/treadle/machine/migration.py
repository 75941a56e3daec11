"""Whether an execution that runs can go on with another definition, and if not exactly why.

It can where what has happened would have happened there as well: each step that has begun is there and the same, waits
for nothing that it did not wait for, and each step that has ended has the connections that were decided then. What
has not been reached yet may differ in any way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from treadle.machine.transitions import COMPLETED, PENDING
from treadle.model import Problem, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from treadle.machine.graph import PlanConnection, PlanNode
    from treadle.machine.plan import Plan
    from treadle.machine.state import State


def migration_problems(state: State, plan: Plan) -> list[Problem]:
    """Return why an execution cannot go on with ``plan``; empty where it can.

    Args:
        state: Of an execution that is not ending.
        plan: Of the other definition.
    """
    found = list(_of_workflow(state, plan))
    scope = state.root
    for node in scope.graph.nodes:
        phase = scope.phases[node.index]
        if phase == PENDING:
            continue
        index = plan.index.get(node.id)
        if index is None:
            found.append(_problem(node, "has begun, and the new definition has no such step"))
            continue
        other = plan.nodes[index]
        found.extend(_problem(node, why) for why in _of_step(node, other, has_ended=phase >= COMPLETED))
        found.extend(_problem(node, why) for why in _of_incoming(state, plan, node, other))
        if phase >= COMPLETED:
            found.extend(_problem(node, why) for why in _of_outgoing(node, other))
    return found


def _problem(node: PlanNode, why: str) -> Problem:
    return Problem("unsafe_migration", f"step {node.id!r} {why}", node.id)


def _of_workflow(state: State, plan: Plan) -> Iterator[Problem]:
    if plan.workflow.id != state.workflow_id:
        message = f"it is of workflow {state.workflow_id!r}, not of {plan.workflow.id!r}"
        yield Problem("unsafe_migration", message)


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


def _of_incoming(state: State, plan: Plan, node: PlanNode, other: PlanNode) -> Iterator[str]:
    known = {one.source_id for one in state.plan.connections if one.target == node.index}
    for connection in plan.connections:
        if connection.target == other.index and connection.source_id not in known:
            yield f"has begun without waiting for {connection.source_id!r}, as it would in the new definition"


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
