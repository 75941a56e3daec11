"""Schedules on this host: one timer for all of them, and what is due decided, kept, and only then begun.

A planned time becomes an execution in three steps: it is decided and kept with the schedule; its execution is started,
under a name made of the schedule's and the planned time; that it is there is kept. After a crash in between it is
started again under the same name, which starts nothing twice.
"""

from __future__ import annotations

import asyncio
import logging
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

from msgspec.structs import replace

from treadle.drivers.local.entries import Entry
from treadle.drivers.local.kept import Kept
from treadle.drivers.local.timers import Timers
from treadle.errors import (
    ConflictError,
    NotFoundError,
    OverloadedError,
    QuarantineError,
    StoreError,
    TreadleError,
    ValidationError,
)
from treadle.schedules import Progress, Run, advance, arrive, begin, end, execution_id, next_due, refuse, stale_runs

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Sequence

    from treadle.drivers.local.clock import Clock
    from treadle.drivers.local.recovery import Plans
    from treadle.drivers.protocol import Order
    from treadle.model import Workflow
    from treadle.schedules import Spec
    from treadle.settings import Settings
    from treadle.store.protocol import Store

_logger = logging.getLogger("treadle.engine")

_WAVE: Final = 500
"""Schedules that are decided and kept together, between two of which the loop turns."""


class Executions(Protocol):
    """The driver, as far as schedules are concerned."""

    def check_lives(self) -> None:
        """Raise ``TreadleError`` outside of the time from opening to closing."""

    async def start(self, order: Order) -> str:
        """Create and begin an execution."""

    async def cancel(self, execution_id: str, reason: str, request: str = "", *, at_once: bool = False) -> bool:
        """Begin to cancel."""

    def is_here(self, execution_id: str) -> bool:
        """Tell whether an execution is open, as far as is known without reading."""


class WallClock:
    """The host's time as it is, which a timer of a cron expression follows also back.

    Args:
        clock: The engine's time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.longest_sleep_seconds = clock.longest_sleep_seconds

    def now_ms(self) -> int:
        """Return the time."""
        return self._clock.wall_ms()


class Scheduler:
    """See ``drivers.protocol.Schedules`` for what each verb promises. Lives on one event loop.

    Args:
        store: Keeps them.
        plans: Compiled definitions.
        executions: Starts and cancels.
        settings: Limits and periods.
        clock: The engine's time.

    Attributes:
        failure: Why nothing is started; ``""`` while it is.
    """

    def __init__(self, store: Store, plans: Plans, executions: Executions, settings: Settings, clock: Clock) -> None:
        self.failure = ""
        self._store = store
        self._plans = plans
        self._executions = executions
        self._settings = settings
        self._clock = WallClock(clock)
        self._timers = Timers(self._clock, self._look)
        self._kept = Kept(store)
        self._running: dict[str, tuple[str, Run]] = {}
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._due: dict[str, None] = {}
        self._task: asyncio.Task[None] | None = None
        self._fires = False
        self._is_stopped = False

    # -- life

    async def start(self) -> None:
        """Begin to start what is due, and go on with what was decided before."""
        await self._read()
        self._fires = True
        self._look(entry.id for entry in self._kept)

    async def stop(self) -> None:
        """Start nothing more. Safe before ``start`` and twice."""
        self._fires, self._is_stopped = False, True
        self._timers.stop()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        for name in list(self._waiting):
            self._tell(name, StoreError("the engine was closed; it starts when it is opened again", self._store.path))

    async def _read(self) -> None:
        """Read all schedules where they are not known, and see which of their executions are still open."""
        if not await self._kept.read():
            return
        self._running = {
            execution_id(entry.id, run): (entry.id, run) for entry in self._kept for run in entry.progress.runs
        }
        for name, (_, run) in list(self._running.items()):
            if run.is_begun and not self._executions.is_here(name):
                row = await self._store.get(name)
                if row is None or not row.is_open:
                    self.ended(name)

    # -- verbs

    async def add(self, schedule_id: str, spec: Spec, workflow: Workflow, *, replaces: bool = False) -> None:
        """Keep a schedule."""
        definition = self._plans.define(workflow)
        now = self._clock.now_ms()
        entry = Entry(schedule_id, replace(spec, created_ms=now), Progress(now))
        await self._ready()
        known = self._kept.get(schedule_id)
        if known is None and len(self._kept) >= self._settings.max_schedules:
            raise ValidationError(f"there are {len(self._kept):,} schedules already, as many as max_schedules allows")
        if known is not None and not known.says(spec):
            if not replaces:
                message = f"schedule {schedule_id!r} is there and says something else; replace it, or choose another id"
                raise ConflictError(message, schedule_id)
            entry.progress = replace(known.progress, decided_ms=now)
        elif known is not None:
            entry = known
        await self._keep(self._kept.add(entry, definition.document))
        self._look([schedule_id])

    async def remove(self, schedule_id: str) -> bool:
        """Remove a schedule; its executions go on."""
        await self._ready()
        entry = self._kept.get(schedule_id)
        if entry is None:
            return False
        self._timers.set(schedule_id, None)
        self._give_up(entry)
        await self._keep(self._kept.remove(entry))
        return True

    async def pause(self, schedule_id: str) -> bool:
        """Start nothing more."""
        return await self._set_paused(schedule_id, is_paused=True)

    async def resume(self, schedule_id: str) -> bool:
        """Go on with the planned times to come."""
        return await self._set_paused(schedule_id, is_paused=False)

    async def _set_paused(self, schedule_id: str, *, is_paused: bool) -> bool:
        entry = await self._entry(schedule_id)
        changed = entry.progress.is_paused is not is_paused
        if changed:
            decided_ms = max(entry.progress.decided_ms, self._clock.now_ms())
            entry.progress = replace(entry.progress, is_paused=is_paused, decided_ms=decided_ms)
        await self._keep(self._kept.put([entry]))  # also where it was so before: that may not be durable yet
        self._look([schedule_id])
        return changed

    async def trigger(self, schedule_id: str, request: str, *, waits: bool = True) -> str | None:
        """Start an execution now, as ``overlap`` allows."""
        run = Run(self._clock.now_ms() // 1000 * 1000, request)
        name = execution_id(schedule_id, run)
        entry = await self._entry(schedule_id)
        if await self._store.get(name) is not None or entry.holds(request):
            return name
        entry = await self._entry(schedule_id)  # it may be another one by now
        entry.progress = arrive(entry.spec, entry.progress, run)
        is_taken, begins = entry.holds(request), run in entry.progress.runs
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if begins and waits and self._fires:
            self._waiting[name] = waiter  # before anything is awaited, for it may begin at once
        else:
            waiter.set_result(None)
        try:
            await self._keep(self._kept.put([entry]))
            self._look([schedule_id])
            await waiter
        finally:
            self._waiting.pop(name, None)
        return name if is_taken else None

    async def _ready(self) -> None:
        self._executions.check_lives()
        await self._read()

    async def _entry(self, schedule_id: str) -> Entry:
        await self._ready()
        entry = self._kept.get(schedule_id)
        if entry is None:
            raise NotFoundError("schedule", schedule_id)
        return entry

    async def _keep(self, writing: Coroutine[None, None, None]) -> None:
        """Write a change; where that fails, have the task read again what is true."""
        try:
            await writing
        except StoreError:
            self._look(())
            raise

    def ended(self, name: str) -> None:
        """Note that an execution has ended, or was set aside."""
        schedule_id, run = self._running.pop(name, ("", None))
        entry = self._kept.get(schedule_id)
        if entry is not None and run is not None:
            entry.progress = end(entry.progress, run)
            if entry.progress.queued:
                self._look([schedule_id])

    # -- what is due

    def _look(self, names: Iterable[str]) -> None:
        """Have the task decide what is due of schedules, and go on with what was decided."""
        self._due.update(dict.fromkeys(names))
        if self._task is None and self._has_work and not self._is_stopped:
            self._task = asyncio.create_task(self._run(), name="treadle-schedules")

    @property
    def _has_work(self) -> bool:
        return self._kept.is_doubtful or (self._fires and bool(self._due))

    async def _run(self) -> None:
        try:
            while self._has_work:
                try:
                    if self._kept.is_doubtful:
                        await self._read_again()
                    else:
                        await self._wave(self._first_due())
                except StoreError as error:
                    if not self.failure:
                        _logger.error("schedules cannot be kept, none starts until they can: %s", error)  # noqa: TRY400 - as elsewhere
                    self.failure = f"schedules cannot be kept, and none starts until they can: {error}"
                    self._kept.is_doubtful = True
                    await asyncio.sleep(self._settings.store_retry_ms / 1000)
        except Exception as error:
            # Our own defect, whatever it is: executions go on, and what is kept is decided at the next open.
            self.failure = f"schedules start nothing more, by a defect of the engine ({type(error).__name__}: {error})"
            _logger.exception(self.failure)
            self._fires = False
        finally:
            if self._task is asyncio.current_task():
                self._task = None

    def _first_due(self) -> list[str]:
        """Take those that came first, as many as are decided together."""
        names = list(islice(self._due, _WAVE))
        for name in names:
            del self._due[name]
        return names

    async def _read_again(self) -> None:
        """Take what is in the store for what is true."""
        await self._store.reopen()
        await self._read()
        await self._kept.put(list(self._kept)[:1])  # as it was: only a write shows that it can be written
        self.failure = ""
        self._due.update((entry.id, None) for entry in self._kept)
        _logger.warning("schedules can be kept again")

    async def _wave(self, names: Sequence[str]) -> None:
        """Decide what is due, keep it, then begin it, and keep that it has begun."""
        now = self._clock.now_ms()
        entries = [entry for name in names if (entry := self._kept.get(name)) is not None]
        await self._kept.put([entry for entry in entries if self._advance(entry, now)])
        acting = [entry for entry in entries if entry.progress.runs]
        before = [entry.progress for entry in acting]
        await asyncio.gather(*(self._act(entry) for entry in acting))
        await self._kept.put([entry for entry, was in zip(acting, before, strict=True) if entry.progress != was])
        for entry in entries:
            self._arm(entry)

    def _advance(self, entry: Entry, now: int) -> bool:
        """Decide what is due of one schedule; tell whether that changed anything. One that fails is set aside."""
        before = entry.progress
        try:
            entry.progress = advance(entry.id, entry.spec, entry.cron, before, now)
        except Exception:  # one schedule that we fail on is no reason to fail the others
            _logger.exception("schedule %r starts nothing more, by a defect of the engine", entry.id)
            self._kept.forget(entry)
            self._give_up(entry)
        return entry.progress != before

    def _give_up(self, entry: Entry) -> None:
        """Tell whoever waits for a trigger that the schedule is gone."""
        for run in entry.progress.runs:
            self._tell(execution_id(entry.id, run), NotFoundError("schedule", entry.id))

    def _arm(self, entry: Entry) -> None:
        """Wake up when there is something to do for a schedule."""
        if not self._fires or not self._kept.holds(entry):
            return
        is_late = any(not run.is_begun for run in entry.progress.runs)
        retry = self._clock.now_ms() + self._settings.store_retry_ms
        self._timers.set(entry.id, retry if is_late else next_due(entry.id, entry.spec, entry.cron, entry.progress))

    async def _act(self, entry: Entry) -> None:
        """Start what was decided, oldest first, and cancel what something newer waits for."""
        for run in entry.progress.runs:
            if not self._kept.holds(entry) or not (run.is_begun or await self._begin(entry, run)):
                return
        for run in stale_runs(entry.spec, entry.progress):
            await self._cancel(entry, run)
        if entry.progress.queued and not entry.progress.runs:
            self._look([entry.id])  # none is left whose end would say so

    async def _begin(self, entry: Entry, run: Run) -> bool:
        """Start an execution; False if it is to be tried again."""
        name = execution_id(entry.id, run)
        try:
            order = await entry.order(run, self._plans, self._settings)
        except (QuarantineError, ValidationError) as error:
            _logger.error("execution %r cannot be started: %s", name, error)  # noqa: TRY400 - it says what it is
            entry.progress = refuse(entry.progress, run)
            self._tell(name, error)
            return True
        self._running[name] = (entry.id, run)
        try:
            await self._executions.start(order)
        except QuarantineError as error:
            _logger.warning("%s", error)  # there is one, so the planned time has its execution
        except ConflictError as error:
            if error.execution_id != name:
                raise  # the engine is closed
            _logger.warning("%s", error)
        except (OverloadedError, StoreError) as error:
            _logger.warning("execution %r waits: %s", name, error)
            return False
        entry.progress = begin(entry.spec, entry.progress, run, is_open=self._executions.is_here(name))
        if not entry.holds_begun(run):
            self._running.pop(name, None)
        self._tell(name)
        return True

    def _tell(self, name: str, error: TreadleError | None = None) -> None:
        """Wake whoever waits for an execution that was triggered."""
        waiter = self._waiting.pop(name, None)
        if waiter is not None and not waiter.done():
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)

    async def _cancel(self, entry: Entry, run: Run) -> None:
        name = execution_id(entry.id, run)
        newest = execution_id(entry.id, entry.progress.queued[-1])
        try:
            await self._executions.cancel(name, f"the schedule starts {newest!r}", f"schedule-{newest}")
        except (NotFoundError, QuarantineError):
            self.ended(name)
