"""What a step may call, compiled: its node's action, a fallback in its place, a compensation that undoes either."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from treadle.expressions import Template, compile_template
from treadle.model import Compensation, Fallback, Node
from treadle.values import encode_payload

if TYPE_CHECKING:
    from msgspec import Raw

    from treadle.model import JsonValue

ACTION: Final = "action"
FALLBACK: Final = "fallback"
COMPENSATION: Final = "compensation"
PERSON: Final = "person"
"""Nobody is called: somebody gave the output in the action's place."""


class PlanCall:
    """A fallback, or a compensation. A ``PlanNode`` has the same fields for the action of its node.

    Attributes:
        role: What it is to its step.
        node: The definition of the call as that of a node: action, timeout, retry policy, schema of the output.
        parameters: What gives the keyword arguments.
        constant: Encoded parameters where they hold no expression but references to secrets, else None.
        has_own_parameters: They are not those of the node.
        compensation: What undoes a fallback; None for nothing.
    """

    __slots__ = ("compensation", "constant", "has_own_parameters", "node", "parameters", "role")

    def __init__(self, role: str, call: Fallback | Compensation, of: Node) -> None:
        self.role = role
        self.has_own_parameters = call.parameters is not None
        self.node = Node(
            id=of.id,
            service=call.service,
            action=call.action,
            parameters=of.parameters if call.parameters is None else call.parameters,
            timeout_ms=call.timeout_ms,
            retry=call.retry,
            output_schema=of.output_schema if role == FALLBACK else None,
        )
        self.parameters, self.constant = compile_parameters(self.node.parameters)
        undo = call.compensate if isinstance(call, Fallback) else None
        self.compensation = None if undo is None else PlanCall(COMPENSATION, undo, of)


def compile_parameters(parameters: dict[str, JsonValue]) -> tuple[Template, Raw | None]:
    """Return what gives the parameters of a call, and their bytes where they hold no expression."""
    template = compile_template(parameters, keeps_secrets=True)
    return template, encode_payload(template.resolve(_NoNames())) if template.is_constant else None


class _NoNames:
    """The scope of a template without references."""

    def lookup(self, name: str) -> JsonValue:
        raise LookupError(name)
