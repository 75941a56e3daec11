"""Handles: what stands for a node, and for a place in what it gives, while a workflow is built in Python."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar, cast

from treadle.definition.names import RESERVED
from treadle.errors import ValidationError
from treadle.expressions import compile_expression

if TYPE_CHECKING:
    from collections.abc import Iterator

    from treadle.model import JsonValue

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_WORDS: Final = frozenset({"true", "false", "null", "in", *RESERVED})
"""Names that mean something else where a reference begins."""


T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True)
class Reference:
    """An expression that stands in the place of a value while a workflow is built; it becomes ``${...}``.

    Attributes:
        expression: As conditions read it.
    """

    expression: str

    def __str__(self) -> str:
        return f"${{{self.expression}}}"

    # To a type checker it is the value itself, so it lets these pass, and Python would make something of them.

    def __bool__(self) -> bool:
        raise ValidationError(f"{self} has no value before the workflow runs: decide on it by a condition, or a switch")

    def __iter__(self) -> Iterator[object]:
        raise ValidationError(f"{self} has no elements before the workflow runs: hand it over as a whole")


@dataclass(frozen=True)
class OutputReference(Reference):
    """A place in what a step gives: ``charge.card["exp. date"]``."""

    def __getitem__(self, key: str | int) -> OutputReference:
        """Return the place of a key or an index below this one."""
        if isinstance(key, str) and _NAME.match(key) and key not in ("true", "false", "null", "in"):
            return OutputReference(f"{self.expression}.{key}")
        return OutputReference(f"{self.expression}[{json.dumps(key, ensure_ascii=False)}]")


@dataclass(frozen=True)
class NodeHandle(Generic[T_co]):
    """A node of the workflow being built. Its type is that of what the node gives.

    Attributes:
        id: Its id.
    """

    id: str

    @property
    def output(self) -> T_co:
        """Return the reference to all that the node gives.

        To type checkers it is the value itself, so that they see which keys it has and where it may be handed over.
        """
        return cast("T_co", self._output)

    @property
    def status(self) -> Any:  # noqa: ANN401 - stands in the place of any value
        """Return the reference to its status, which may be read from anywhere."""
        return self._step["status"]

    @property
    def error(self) -> Any:  # noqa: ANN401 - as above
        """Return the reference to why it failed, for what follows a failure."""
        return self._step["error"]

    @property
    def _output(self) -> OutputReference:
        if _NAME.match(self.id) and self.id not in _WORDS:
            return OutputReference(self.id)
        return self._step["output"]

    @property
    def _step(self) -> OutputReference:
        return OutputReference("steps")[self.id]


NodeLike: TypeAlias = "NodeHandle[Any] | str"


def node_id(node: NodeLike) -> str:
    """Return the id of a node."""
    return node.id if isinstance(node, NodeHandle) else node


def expression(source: str) -> Any:  # noqa: ANN401 - as above
    """Return what stands for the value of an expression, such as ``input.amount * 1.2``, in parameters and outputs.

    Raises:
        ExpressionError: It cannot be read.
    """
    compile_expression(source)
    return Reference(source)


def plain_value(value: object) -> JsonValue:
    """Return ``value`` with handles and references as text, and tuples as lists."""
    if isinstance(value, NodeHandle):
        return str(value.output)
    if isinstance(value, Reference):
        return str(value)
    if isinstance(value, dict):
        return {key: plain_value(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_value(one) for one in value]
    return value
