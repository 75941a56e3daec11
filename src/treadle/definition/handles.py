"""Handles: what stands for a node, and for a place in what it gives, while a workflow is built in Python."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from treadle.definition.names import RESERVED

if TYPE_CHECKING:
    from treadle.model import JsonValue

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_WORDS: Final = frozenset({"true", "false", "null", "in", *RESERVED})
"""Names that mean something else where a reference begins."""


@dataclass(frozen=True)
class OutputReference:
    """A place in what a step gives.

    Attributes:
        expression: As conditions read it: ``charge.card["exp. date"]``.
    """

    expression: str

    def __getitem__(self, key: str | int) -> OutputReference:
        """Return the place of a key or an index below this one."""
        if isinstance(key, str) and _NAME.match(key) and key not in ("true", "false", "null", "in"):
            return OutputReference(f"{self.expression}.{key}")
        return OutputReference(f"{self.expression}[{json.dumps(key, ensure_ascii=False)}]")

    def __str__(self) -> str:
        return f"${{{self.expression}}}"


@dataclass(frozen=True)
class NodeHandle:
    """A node of the workflow being built.

    Attributes:
        id: Its id.
    """

    id: str

    @property
    def output(self) -> OutputReference:
        """Return the reference to all that the node gives."""
        if _NAME.match(self.id) and self.id not in _WORDS:
            return OutputReference(self.id)
        return self._step["output"]

    @property
    def status(self) -> OutputReference:
        """Return the reference to its status, which may be read from anywhere."""
        return self._step["status"]

    @property
    def error(self) -> OutputReference:
        """Return the reference to why it failed, for what follows a failure."""
        return self._step["error"]

    @property
    def _step(self) -> OutputReference:
        return OutputReference("steps")[self.id]


NodeLike: TypeAlias = "NodeHandle | str"


def node_id(node: NodeLike) -> str:
    """Return the id of a node."""
    return node.id if isinstance(node, NodeHandle) else node


def plain_value(value: object) -> JsonValue:
    """Return ``value`` with handles and references as text, and tuples as lists."""
    if isinstance(value, NodeHandle):
        return str(value.output)
    if isinstance(value, OutputReference):
        return str(value)
    if isinstance(value, dict):
        return {key: plain_value(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_value(one) for one in value]
    return value
