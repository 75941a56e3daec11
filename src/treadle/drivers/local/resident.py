"""An execution in memory: its state, how far its log has got, and who waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from treadle.machine import Heard, heard, snapshot
from treadle.model import ExecutionStatus
from treadle.store.protocol import Awaited, IndexRow

if TYPE_CHECKING:
    import asyncio

    from treadle.drivers.local.clock import Clock
    from treadle.machine import State
    from treadle.machine.inputs import AnyInput
    from treadle.model import ExecutionState

_NOTHING: Final[frozenset[Heard]] = frozenset()

Arrived: TypeAlias = "tuple[AnyInput, asyncio.Future[bool] | None]"
"""What arrived, and who waits for its verdict."""


class Resident:
    """One execution that the driver holds.

    Its time is the engine's, shifted so that it begins at the wall clock's and never goes back, whatever clock the
    machine had when its last event was recorded.

    Args:
        execution_id: Its name.
        state: As it was read, or new.
        clock: The engine's time.
        sequence: Number of the last turn in the log; 0 for a new execution.
        definition: Its bytes, for the first turn.

    Attributes:
        id: Of the execution.
        conflicts: How often in a row the log had another turn where its next one belongs.
        is_set_aside: Its log is damaged, or the engine failed on it: nothing of it is turned any more.
        state: What its committed and about-to-be-committed events add up to.
        sequence: Number of its last turn in the log.
        definition: Canonical bytes of the definition until the first turn is committed, then None.
        awaited: Events for which it waits, as the log has it once its last turn is there.
        newly_awaited: Those for which a step has begun to wait in the turn that is about to be committed.
        arrived: Inputs not yet fed to the machine, each with the future of who waits for its verdict.
        waiters: Who waits for it to rest (False) or to end (True).
    """

    __slots__ = (
        "_clock",
        "_shift",
        "arrived",
        "awaited",
        "conflicts",
        "definition",
        "id",
        "indexed",
        "is_set_aside",
        "newly_awaited",
        "sequence",
        "state",
        "waiters",
    )

    def __init__(
        self, execution_id: str, state: State, clock: Clock, sequence: int = 0, definition: bytes | None = None
    ) -> None:
        self.id = execution_id
        self.is_set_aside = False
        self.conflicts = 0
        self._clock = clock
        self._shift = max(clock.wall_ms(), state.last_at) - clock.now_ms()
        self.definition = definition
        self.take(state, sequence)
        self.newly_awaited: frozenset[Heard] = _NOTHING  # what waits for what was looked at when it was committed
        self.arrived: list[Arrived] = []
        self.waiters: dict[asyncio.Future[ExecutionState], bool] = {}

    def take(self, state: State, sequence: int) -> None:
        """Take what the log says, up to a turn."""
        self.state = state
        self.sequence = sequence
        self.indexed: ExecutionStatus | None = state.status if sequence else None
        self.awaited: frozenset[Heard] = heard(state) if state.listening else _NOTHING
        self.newly_awaited = self.awaited  # nobody was told of a commit that was in doubt

    def now_ms(self) -> int:
        """Return its time, in milliseconds since the epoch."""
        return self._clock.now_ms() + self._shift

    def wake_at(self) -> int | None:
        """Return when ``TimeReached`` is due, by the engine's time; None while it is not."""
        at = self.state.wake_at()
        return None if at is None else at - self._shift

    @property
    def workflow_id(self) -> str:
        """Return the id of its workflow."""
        return self.state.workflow_id

    @property
    def priority(self) -> int:
        """Return the priority of its ready steps."""
        return self.state.priority

    @property
    def limit(self) -> int | None:
        """Return how many slots it may hold."""
        return self.state.plan.workflow.max_concurrent_steps

    def index_row(self) -> IndexRow | None:
        """Return the index row if this turn changes it."""
        state = self.state
        if state.status is self.indexed:
            return None
        self.indexed = state.status
        return IndexRow(
            status=state.status.value,
            is_open=not state.status.is_terminal,
            workflow_id=state.workflow_id,
            definition_hash=state.definition_hash,
            created_ms=state.created_at,
            ended_ms=state.ended_at or None,
            tags=state.tags,
            key=state.key,
        )

    def awaits(self) -> tuple[Awaited, ...] | None:
        """Return the events for which it waits if this turn changes that."""
        now = heard(self.state) if self.state.listening else _NOTHING
        if now == self.awaited:
            return None
        self.awaited = now
        return tuple(Awaited(*one) for one in now)

    @property
    def rests(self) -> bool:
        """Tell whether it is PAUSED with nothing in flight."""
        return self.state.status is ExecutionStatus.PAUSED and not self.state.in_flight

    def tell_waiters(self) -> None:
        """Wake those whose wait is over."""
        ended = bool(self.state.ended_at)
        if not self.waiters or not (ended or self.rests):
            return
        found = snapshot(self.state)
        for waiter, until_ended in list(self.waiters.items()):
            if ended or not until_ended:
                del self.waiters[waiter]
                if not waiter.done():
                    waiter.set_result(found)
