"""Plain values and names."""

from __future__ import annotations

from typing import Any, NewType, TypeAlias

JsonValue: TypeAlias = Any
"""``None``, ``bool``, ``int``, finite ``float``, ``str``, ``list`` of these, or ``dict`` from ``str`` to these."""

ExecutionId = NewType("ExecutionId", str)

NodeId = NewType("NodeId", str)

FORMAT_VERSION = 1
"""Version of the definition format; written as ``treadle: 1``."""
