"""Calls of actions in typed Python: ``call(charge, customer=lookup.output["id"], amount=12.5)`` says what a node does.

``call`` has the parameters of the function that it is given, so type checkers hold a node against it as they would hold
an ordinary call; what they let pass, the builder refuses. A call is a value and not a node: whatever calls an action
takes one, and the options of the node stay apart from the parameters of the function.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeVar

from treadle.definition.handles import plain_value
from treadle.definition.layout import Origin
from treadle.definition.parameters import finding_of
from treadle.definition.problems import Nearest, quoted, to_problems
from treadle.errors import ValidationError
from treadle.model import Severity
from treadle.signatures import marked_name, signature_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from treadle.model import JsonValue, Problem
    from treadle.signatures import Signature

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)

GIVEN: Final[Any] = type("Given", (), {"__repr__": lambda _: "GIVEN"})()
"""``context=GIVEN`` tells a type checker that the engine gives it. Without a type checker it can be left out."""


@dataclass(frozen=True)
class Call(Generic[R_co]):
    """An action and what it is called with. Its type is that of what the function returns.

    Attributes:
        action: Its name.
        parameters: By name, with references as ``${...}``.
        signature: What the function takes; None where that cannot be told.
    """

    action: str
    parameters: Mapping[str, JsonValue]
    signature: Signature | None = field(default=None, compare=False, repr=False)

    def problems(self, place: int) -> list[Problem]:
        """Return what is wrong with the parameters, each error where a document would have it in its node.

        Args:
            place: Of the node among the nodes.
        """
        if self.signature is None:
            return []
        origin, nearest = Origin(("nodes", place), {"parameters": ("config", "parameters")}), Nearest()
        faults = self.signature.faults(self.action, self.parameters)
        found = [finding_of(one, origin, nearest) for one in faults]
        # Who writes in Python has the annotation at hand: a constant that it does not allow is no matter of doubt.
        return to_problems([one._replace(severity=Severity.ERROR) for one in found], lambda *_: (0, 0))


def call(function: Callable[P, R_co], /, *args: P.args, **kwargs: P.kwargs) -> Call[R_co]:
    """Return the call of an action, for ``WorkflowBuilder.action``.

    Args:
        function: Marked with ``@action``.
        args: Parameters in the order of the function's.
        kwargs: Parameters by name: values, ``handle.output[...]``, ``expression("...")``.

    Raises:
        ValidationError: The function is not marked, or parameters by position are too many or given twice.
    """
    name = marked_name(function)
    if name is None:
        raise ValidationError(f"{function!r} is no action: mark it with @action, or name one: action(id, 'crm.find')")
    signature = signature_of(function)
    given = {**_by_position(name, signature, args, kwargs), **kwargs}
    return Call(name, {key: plain_value(value) for key, value in given.items() if value is not GIVEN}, signature)


def _by_position(
    name: str, signature: Signature | None, args: tuple[object, ...], kwargs: Mapping[str, object]
) -> dict[str, object]:
    order = () if signature is None else signature.positional
    if len(args) > len(order):
        raise ValidationError(f"{name}{signature or '()'} takes {len(order)} parameters by position, not {len(args)}")
    given = dict(zip(order, args, strict=False))
    for twice in given.keys() & kwargs.keys():
        raise ValidationError(f"{name}{signature} is given {quoted(twice)} twice")
    return given
