"""A ``State`` as readers see it. Built only when one asks; every value in it is the reader's own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from treadle.machine.transitions import PUBLIC_STATUS
from treadle.model import ExecutionState, ExecutionStatus, StepState
from treadle.values import decode_payload

if TYPE_CHECKING:
    from treadle.machine.plan import PlanNode
    from treadle.machine.state import Scope, State
    from treadle.model import JsonValue


def snapshot(state: State) -> ExecutionState:
    """Return the public state of one execution, with one entry in ``steps`` per node, in definition order."""
    nodes = state.plan.nodes
    return ExecutionState(
        execution_id=state.execution_id,
        workflow_id=state.workflow_id,
        definition_hash=state.definition_hash,
        status=state.status,
        input=decode_payload(state.input),
        output=execution_output(state),
        error=state.error or (state.ending.error if state.ending else None),
        steps={node.id: _step(state.root, node) for node in nodes},
        waiting_for=tuple(sorted({name for missing in state.asking.values() for name in missing})),
        in_flight=len(state.in_flight),
        cancelling=state.ending is not None and state.ending.status is ExecutionStatus.CANCELLED,
        handled_failures=tuple(nodes[index].id for index in sorted(state.root.handled)),
        tags=dict(state.tags),
        created_at=_time(state.created_at),
        started_at=_time(state.started_at),
        ended_at=_time(state.ended_at),
    )


def execution_output(state: State) -> JsonValue:
    """Return what a completed execution gave, None for any other.

    Without an ``output`` in the definition it is the output of the only leaf, or an object with one entry per leaf
    that has one.
    """
    if state.status is not ExecutionStatus.COMPLETED:
        return None
    if state.output is not None:
        return decode_payload(state.output)
    leaves, outputs = state.plan.leaves, state.root.outputs
    if len(leaves) == 1:
        return _value(state.root, leaves[0])
    return {state.plan.nodes[leaf].id: _value(state.root, leaf) for leaf in leaves if outputs[leaf] is not None}


def _step(scope: Scope, node: PlanNode) -> StepState:
    index = node.index
    return StepState(
        status=PUBLIC_STATUS[scope.phases[index]],
        attempt=scope.attempts[index],
        output=_value(scope, index),
        error=scope.errors.get(index),
        started_at=_time(scope.started_at[index]),
        ended_at=_time(scope.ended_at[index]),
    )


def _value(scope: Scope, index: int) -> JsonValue:
    output = scope.outputs[index]
    return None if output is None else decode_payload(output)


def _time(at: int) -> datetime | None:
    return datetime.fromtimestamp(at / 1000, UTC) if at else None
