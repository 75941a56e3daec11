"""Who calls: the step in whose body code runs, and the step on whose behalf an execution is created."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Final

from msgspec import Struct


class Caller(Struct, frozen=True):
    """A step of an execution.

    Attributes:
        execution_id: Which execution.
        step_id: Which of its steps.
        is_repeated: An attempt of it was cut off with the process that ran it.
    """

    execution_id: str
    step_id: Any
    is_repeated: bool = False

    @property
    def tags(self) -> dict[str, str]:
        """Return what marks the executions that are created on its behalf."""
        return {"parent": self.execution_id, "step": str(self.step_id)}


CALLER: Final[ContextVar[Caller | None]] = ContextVar("CALLER", default=None)
"""Set within a body."""

CREATES: Final[ContextVar[Caller | None]] = ContextVar("CREATES", default=None)
"""Set while an execution is created on behalf of a step."""
