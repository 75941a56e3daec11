"""What people answer, checked against the step that asks: of an input node, and of one whose attempts are spent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.errors import ConflictError, NotFoundError, ValidationError
from treadle.model import NodeType
from treadle.values import decode_payload

if TYPE_CHECKING:
    from msgspec import Raw

    from treadle.drivers.local.resident import Resident
    from treadle.model import JsonValue, Node


def check_submitted(resident: Resident, step: str, data: Raw) -> None:
    """Check the answer to an input node.

    Raises:
        NotFoundError: There is no such step.
        ConflictError: It is no input node.
        ValidationError: The answer breaks the node's schema.
    """
    node = _node(resident, step)
    if node.type is not NodeType.INPUT:
        message = f"step {step!r} asks nobody: it is of type {node.type.value}; a missing input is given by resuming"
        raise ConflictError(message, resident.id, resident.state.status.value)
    _check(node.schema, data, step)


def check_answer(resident: Resident, step: str, output: Raw | None) -> None:
    """Check what is given in place of an action's output; whether the step asks, the machine says.

    Raises:
        NotFoundError: There is no such step.
        ValidationError: The output breaks the node's schema, or is given for a map.
    """
    node = _node(resident, step)
    if output is not None and node.type is NodeType.MAP:
        raise ValidationError(f"step {step!r} is a map, which gives what its items gave: complete it without an output")
    if output is not None:
        _check(node.output_schema, output, step)


def no_question(resident: Resident, step: str) -> ConflictError:
    """Return the error of an answer that nobody asked for."""
    state = resident.state
    found = state.find(step)
    status = "gone" if found is None else found[0].status(found[1].index).value
    message = f"step {step!r} asks nothing: it is {status}, and not PAUSED because its attempts are spent"
    return ConflictError(message, resident.id, state.status.value)


def _node(resident: Resident, step: str) -> Node:
    found = resident.state.find(step)
    if found is None:
        raise NotFoundError("step", step)
    return found[1].node


def _check(schema: JsonValue, data: Raw, step: str) -> None:
    if schema is None:
        return
    from treadle.schemas import compile_schema  # loaded only where a workflow has a schema

    problems = compile_schema(schema).problems(decode_payload(data), step)
    if problems:
        raise ValidationError("; ".join(str(one) for one in problems), problems)
