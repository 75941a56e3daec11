"""Which node a test means by the name of a step, across the executions that steps start.

A step of an execution that a step has started is named behind it: ``ship/pack`` is the step ``pack`` of what the step
``ship`` runs, as ids of executions are made. Without numbers a name means every item and iteration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from treadle import ValidationError
from treadle.model import NodeType
from treadle.paths import all_nodes, find_node, first_steps, is_step, node_path, step_place

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from treadle.model import Node, Workflow

EXECUTION_ID: Final = "rehearsal"


def cast_name(execution_id: str, step: str) -> str:
    """Return the name of a step of the rehearsed execution, or of one that it has started."""
    return step if execution_id == EXECUTION_ID else f"{execution_id[len(EXECUTION_ID) + 1 :]}/{step}"


def find_cast(workflow: Workflow, others: Sequence[Workflow], step: str, *, is_one: bool) -> Node:
    """Return the node of a step.

    Args:
        workflow: What is rehearsed.
        others: What its steps run.
        step: Its name.
        is_one: The name must be that of one step: with the numbers of items and iterations.

    Raises:
        ValidationError: There is none.
    """
    found = _find(workflow, {one.id: one for one in others}, step, is_one=is_one)
    if found is None:
        known = ", ".join(map(repr, first_steps(workflow)))
        raise ValidationError(f"the workflow has no step {step!r}; it has {known}")
    return found


def _find(workflow: Workflow, others: dict[str, Workflow], step: str, *, is_one: bool) -> Node | None:
    if is_step(workflow, step):
        return find_node(workflow, step)
    nodes = dict(all_nodes(workflow))
    if not is_one and step in nodes:
        return nodes[step]
    for holder, rest in _cuts(step):
        name = runs(workflow, holder)
        if name in others:
            return _find(others[name], others, rest, is_one=is_one)
    return None


def runs(workflow: Workflow, step: str) -> str:
    """Return the id of the workflow that a step runs; ``""`` for none.

    A map or a loop may have a workflow in place of a body; what runs that is a step of its id.
    """
    node = find_node(workflow, step)
    if node is not None:
        return node.workflow if node.type is NodeType.WORKFLOW else ""
    place = step_place(step, {one.id for one in workflow.nodes})
    holder = find_node(workflow, place.holder)
    return place.id if holder is not None and holder.workflow == place.id else ""


def _cuts(step: str) -> Iterator[tuple[str, str]]:
    """Yield every way to part a name at a ``/``, which may also stand in ids."""
    place = step.find("/")
    while place > 0:
        yield step[:place], step[place + 1 :]
        place = step.find("/", place + 1)


def cast_path(workflow: Workflow, step: str) -> str:
    """Return the name of a step without the numbers of items and iterations, by which its node is replaced."""
    return node_path(step, {node.id for node in workflow.nodes})
