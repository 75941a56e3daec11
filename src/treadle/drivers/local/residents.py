"""The executions in memory: few enough, whatever the log holds.

An execution that only waits (for a time, for a person, paused) is **idle**. Beyond ``Settings.idle_executions`` the
longest idle ones leave memory; what happens to one that left reads it back from the log. The others are **active**, and
a start beyond ``Settings.active_executions`` waits for its turn.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING

from treadle.drivers.local.recovery import load
from treadle.drivers.local.resident import Resident
from treadle.errors import NotFoundError, OverloadedError, QuarantineError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from treadle.drivers.local.clock import Clock
    from treadle.drivers.local.recovery import Plans
    from treadle.settings import Settings
    from treadle.store.protocol import Reader

_logger = logging.getLogger("treadle.engine")


class Residents:
    """Executions by id. Lives on one event loop.

    Args:
        store: The log.
        plans: Compiled definitions.
        settings: How many there may be.
        clock: The engine's time.
        loaded: Told of each one that was read from the log and has not ended, to go on with it.

    Attributes:
        quarantined: Why, by id of each execution that was set aside because its log is damaged.
    """

    def __init__(
        self,
        store: Reader,
        plans: Plans,
        settings: Settings,
        clock: Clock,
        loaded: Callable[[Resident], None],
    ) -> None:
        self.quarantined: dict[str, str] = {}
        self._store = store
        self._plans = plans
        self._settings = settings
        self._clock = clock
        self._loaded = loaded
        self._here: dict[str, Resident] = {}
        self._idle: set[str] = set()
        self._may_leave: dict[str, None] = {}
        self._away: set[str] = set()
        self._loading: dict[str, asyncio.Future[None]] = {}
        self._starts: deque[asyncio.Future[None]] = deque()
        self._promised = 0
        self._wanted: dict[str, None] = {}
        self._fetching: asyncio.Task[None] | None = None

    def __iter__(self) -> Iterator[Resident]:
        return iter(self._here.values())

    def __contains__(self, execution_id: object) -> bool:
        return execution_id in self._here or execution_id in self._away

    def get(self, execution_id: str) -> Resident | None:
        """Return an execution if it is in memory."""
        return self._here.get(execution_id)

    # -- coming

    def add(self, resident: Resident) -> None:
        """Hold an execution."""
        self._here[resident.id] = resident
        self._away.discard(resident.id)

    async def take_up(self, execution_id: str) -> Resident | None:
        """Return an execution, read from the log unless it is here; None if it is unknown or damaged.

        One that is damaged is set aside by name. One that has ended is returned and does not stay.
        """
        while execution_id not in self.quarantined:
            here = self._here.get(execution_id)
            if here is not None:
                return here
            loading = self._loading.get(execution_id)
            if loading is None:
                return await self._load(execution_id)
            # One reads for all who ask: of two, the slower would put back what the other has moved on since.
            await asyncio.wait([loading])
        return None

    async def _load(self, execution_id: str) -> Resident | None:
        done = self._loading[execution_id] = asyncio.get_running_loop().create_future()
        try:
            found = await load(self._store, self._plans, execution_id)
        except QuarantineError as error:
            self.quarantined[execution_id] = error.args[0]
            _logger.error("%s", error)  # noqa: TRY400 - the traceback says nothing to whoever reads it
            return None
        finally:
            del self._loading[execution_id]
            done.set_result(None)
        if found is None:
            return None
        resident = Resident(execution_id, found.state, self._clock, found.sequence)
        if not found.state.ended_at:
            self.add(resident)
            self._loaded(resident)
        return resident

    async def loaded(self, execution_id: str, *, keeps: bool = False) -> Resident:
        """Return an execution, read back from the log if need be; ``keeps``: hold it even if it has ended.

        Whoever has it held has to turn it, after which it leaves memory again unless it went on.

        Raises:
            NotFoundError: No such execution.
            QuarantineError: Its log is damaged.
            StoreError: The log cannot be read.
        """
        resident = self._here.get(execution_id) or await self.take_up(execution_id)
        if keeps and resident is not None:
            resident = self._here.get(execution_id) or resident  # somebody else may have been faster
            self.add(resident)
        if resident is None:
            if execution_id in self.quarantined:
                raise QuarantineError(self.quarantined[execution_id], self._store.path, execution_id)
            raise NotFoundError("execution", execution_id)
        return resident

    def fetch(self, execution_ids: Iterable[str]) -> None:
        """Read executions back in the background, as there is room for them."""
        self._wanted.update(dict.fromkeys(execution_ids))
        if self._wanted and self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch(), name="treadle-fetch")

    async def _fetch(self) -> None:
        while self._wanted:
            execution_id = next(iter(self._wanted))
            try:
                await self._room()
                self._promised += 1
                try:
                    await self.take_up(execution_id)
                finally:
                    self._promised -= 1
                    self.let_start()
            except StoreError as error:
                _logger.warning("execution %r cannot be read back yet: %s", execution_id, error)
                await asyncio.sleep(self._settings.store_retry_ms / 1000)
            else:
                self._wanted.pop(execution_id, None)
        self._fetching = None

    # -- room

    @property
    def has_room(self) -> bool:
        """Tell whether one more may be active."""
        return len(self._here) - len(self._idle) + self._promised < self._settings.active_executions

    async def room(self) -> bool:
        """Wait until one more may be active, first come, first served; tell whether it took any time.

        Raises:
            OverloadedError: It took longer than ``Settings.start_wait_ms``.
            StoreError: The log takes no work now.
        """
        try:
            async with asyncio.timeout(self._settings.start_wait_ms / 1000):
                return await self._room()
        except TimeoutError:
            raise OverloadedError(self._settings.active_executions) from None

    async def _room(self) -> bool:
        if self.has_room and not self._starts:
            return False
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._starts.append(turn)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self._promised -= 1
            self.let_start()
            raise
        self._promised -= 1
        return True

    def let_start(self) -> None:
        """Let those start who wait for room, as far as there is any."""
        while self._starts and (self._starts[0].done() or self.has_room):
            turn = self._starts.popleft()
            if not turn.done():
                self._promised += 1
                turn.set_result(None)

    # -- leaving

    def is_idle(self, resident: Resident) -> bool:
        """Tell whether an execution only waits."""
        return resident.id in self._idle

    def note(self, resident: Resident, *, is_idle: bool) -> None:
        """Say whether an execution only waits now; idle ones leave memory, the longest idle first."""
        if self._here.get(resident.id) is not resident:
            return
        if not is_idle:
            self._idle.discard(resident.id)
            self._may_leave.pop(resident.id, None)
            return
        self._idle.add(resident.id)
        self._may_leave.pop(resident.id, None)
        if not resident.waiters:
            self._may_leave[resident.id] = None
        while len(self._may_leave) > self._settings.idle_executions:
            longest = next(iter(self._may_leave))
            self._away.add(longest)
            self._drop(longest)
        self.let_start()

    def remove(self, resident: Resident) -> None:
        """Let go of an execution that has ended or is set aside."""
        if self._here.get(resident.id) is resident:
            self._drop(resident.id)
        self.let_start()

    def _drop(self, execution_id: str) -> None:
        del self._here[execution_id]
        self._idle.discard(execution_id)
        self._may_leave.pop(execution_id, None)

    def refuse_starts(self, error: Exception) -> None:
        """Tell those who wait for room that there will be none."""
        while self._starts:
            turn = self._starts.popleft()
            if not turn.done():
                self._promised += 1  # given back by whoever waits
                turn.set_exception(error)

    async def stop(self) -> None:
        """Read nothing more back. Safe twice."""
        task, self._fetching = self._fetching, None
        self._wanted.clear()
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
