"""A ``State`` as readers see it. Built only when one asks; every value in it is the reader's own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from treadle.machine.folding.bodies import body_output
from treadle.machine.transitions import COMPLETED, PUBLIC_STATUS
from treadle.model import (
    CompensationState,
    ExecutionState,
    ExecutionStatus,
    ItemCounts,
    NodeType,
    StepState,
    StepStatus,
)
from treadle.values import decode_payload

if TYPE_CHECKING:
    from treadle.machine.graph import PlanNode
    from treadle.machine.scope import Group, Scope
    from treadle.machine.state import Compensation, State
    from treadle.model import JsonValue


def snapshot(state: State) -> ExecutionState:
    """Return the public state of one execution: a step for each node in definition order, then those of its bodies."""
    root = state.root
    return ExecutionState(
        execution_id=state.execution_id,
        workflow_id=state.workflow_id,
        definition_hash=state.definition_hash,
        status=state.status,
        input=decode_payload(state.input),
        output=execution_output(state),
        error=state.error or (root.ending.error if root.ending else None),
        steps=_steps(root),
        waiting_for=state.waiting_for,
        in_flight=len(state.in_flight),
        cancelling=root.ending is not None and root.ending.status is ExecutionStatus.CANCELLED,
        handled_failures=tuple(root.keys[index] for index in sorted(root.handled)),
        compensations={step: _compensation(one) for step, one in state.compensations.items()},
        compensation_failures=tuple(step for step, one in state.compensations.items() if one.status in _FAILED),
        tags=dict(state.tags),
        key=state.key,
        start_at=_time(state.start_at),
        queued=state.queued,
        parent=state.parent,
        forked_from=state.forked_from,
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
    return decode_payload(body_output(state.root) if state.output is None else state.output)


def _steps(scope: Scope) -> dict[str, StepState]:
    """Return the steps of a scope; behind each that has bodies, those of its bodies."""
    found: dict[str, StepState] = {}
    for node in scope.graph.nodes:
        found[scope.keys[node.index]] = _step(scope, node)
        group = scope.groups.get(node.index)
        for body in () if group is None else group.kept.values():
            found.update(_steps(body))
    return found


def _step(scope: Scope, node: PlanNode) -> StepState:
    index = node.index
    group = scope.groups.get(index)
    return StepState(
        status=PUBLIC_STATUS[scope.phases[index]],
        attempt=scope.attempts[index],
        output=_value(scope, index),
        error=scope.errors.get(index),
        started_at=_time(scope.started_at[index]),
        ended_at=_time(scope.ended_at[index]),
        items=None if group is None or group.items is None else _counts(group),
        answered_by=scope.by.get(index, "") if scope.phases[index] == COMPLETED else "",
        iterations=group.begun if group is not None and node.node.type is NodeType.LOOP else 0,
    )


def _compensation(one: Compensation) -> CompensationState:
    return CompensationState(
        status=one.status,
        action=one.action,
        attempt=one.attempt,
        output=None if one.output is None else decode_payload(one.output),
        error=one.error,
        started_at=_time(one.started_at),
        ended_at=_time(one.ended_at),
    )


_FAILED: Final = (StepStatus.FAILED, StepStatus.TIMED_OUT)


def _counts(group: Group) -> ItemCounts:
    return ItemCounts(
        total=group.total,
        completed=len(group.done),
        failed=len(group.errors),
        running=len(group.open),
        errors=dict(sorted(group.errors.items())),
    )


def _value(scope: Scope, index: int) -> JsonValue:
    output = scope.outputs[index]
    return None if output is None else decode_payload(output)


def _time(at: int) -> datetime | None:
    return datetime.fromtimestamp(at / 1000, UTC) if at else None
