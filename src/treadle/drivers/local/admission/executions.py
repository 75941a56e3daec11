"""What one execution waits for and holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from treadle.drivers.local.admission.gates import Gate
    from treadle.drivers.local.admission.rotation import Lane, Line


class Admitted(Protocol):
    """An execution, as far as admission is concerned."""

    @property
    def id(self) -> str:
        """Return its name."""

    @property
    def workflow_id(self) -> str:
        """Return the name of its workflow."""

    @property
    def priority(self) -> int:
        """Return its priority; higher ones are served first."""

    @property
    def limit(self) -> int | None:
        """Return how many slots it may hold; None for as many as there are."""


class Entry:
    """The ready steps of one execution, and its slots.

    Args:
        execution: Whose.

    Attributes:
        held: How many slots it holds.
        waiting: How many of its steps wait.
        gate: Its own limit, once it was asked for.
        lanes: Its ready steps, by line.
        holds: Of steps that hold limits: the lines through which they came, oldest first.
    """

    __slots__ = ("execution", "gate", "held", "holds", "lanes", "waiting")

    def __init__(self, execution: Admitted) -> None:
        self.execution = execution
        self.held = self.waiting = 0
        self.gate: Gate | None = None
        self.lanes: dict[Line, Lane] = {}
        self.holds: dict[str, list[Line]] | None = None
