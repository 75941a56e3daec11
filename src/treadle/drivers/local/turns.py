"""The turn loop: gather what arrived for any execution, advance each, admit once, append once, then act.

Nothing starts, is shown or is acknowledged before its turn is durable. After a failed append nothing is assumed: the
executions concerned are folded again from the log, and what had arrived for them is fed again.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Final, Protocol

from treadle.drivers.local.admission import Admission
from treadle.drivers.local.explaining import occupancy_of
from treadle.drivers.local.offers import Offers
from treadle.drivers.local.recovery import Plans, load
from treadle.drivers.local.residents import Residents
from treadle.drivers.local.steps import Bodies, interrupted
from treadle.drivers.local.threads import Threads
from treadle.drivers.local.tick import Tick
from treadle.drivers.local.timers import Timers
from treadle.drivers.protocol import Health
from treadle.errors import ConflictError, QuarantineError, StoreError, TreadleError
from treadle.machine import CancelStep, RunStep, State, Turn, ready_steps, snapshot
from treadle.machine.inputs import TimeReached

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import timedelta

    from treadle.actions import Registry
    from treadle.drivers.local.admission import Held
    from treadle.drivers.local.clock import Clock
    from treadle.drivers.local.resident import Arrived, Resident
    from treadle.drivers.local.steps import Holder
    from treadle.drivers.local.vault import Vault
    from treadle.feed import Feed
    from treadle.limits import Numbers, Occupancy
    from treadle.machine import ChildCommand, Command
    from treadle.machine.inputs import AnyInput
    from treadle.model import ExecutionState
    from treadle.settings import Settings
    from treadle.store.protocol import Store, StoredTurn

_logger = logging.getLogger("treadle.engine")

_MOST_CONFLICTS: Final = 3


class Onlooker(Protocol):
    """Does what follows for other executions than the one that was turned. Nothing of it may be waited for here."""

    def taken_up(self, resident: Resident) -> None:
        """Take note of an execution that was read from the log."""

    def turned(self, resident: Resident) -> None:
        """Take note of an execution of which a turn was committed."""

    def ended(self, resident: Resident) -> None:
        """Take note of an execution that has ended, or was set aside."""

    def command(self, resident: Resident, command: ChildCommand) -> None:
        """Carry out what a committed turn asks for of another execution."""


class TurnLoop:
    """Turns the executions that are in memory. Lives on one event loop.

    Args:
        store: The log; open.
        registry: Actions by name.
        plans: Compiled definitions.
        feed: Gets the committed turns.
        max_concurrent_steps: Slots of the whole engine.
        limits: The engine's own limits, by name.
        settings: Limits and periods.
        vault: The secrets.
        clock: The engine's time.
        draw: Gives the random numbers in [0, 1) of jitter.

    Attributes:
        residents: The executions in memory.
        onlooker: Told of what else than steps follows.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        plans: Plans,
        feed: Feed,
        *,
        max_concurrent_steps: int,
        limits: Mapping[str, Numbers],
        settings: Settings,
        vault: Vault,
        clock: Clock,
        draw: Callable[[], float],
    ) -> None:
        self._store = store
        self._registry = registry
        self._plans = plans
        self._feed = feed
        self._settings = settings
        self._vault = vault
        self._clock = clock
        self._draw = draw
        self._admission = Admission(max_concurrent_steps, limits, clock.now_ms)
        self._threads = Threads(settings.step_threads or max_concurrent_steps)
        self._timers = Timers(clock, self._time_reached)
        self._openings = Timers(clock, self._limits_open)
        self.residents = Residents(store, plans, settings, clock, self._go_on)
        self.onlooker: Onlooker = _Nobody()
        self._doubt: StoreError | None = None
        self._arrived: dict[Resident, None] = {}
        self._current: Tick | None = None
        self._doubtful: dict[Resident, None] = {}
        self._offers = Offers(registry, self._admission, self.residents, self._look_again)
        self._failure = ""
        self._defect: TreadleError | None = None
        self._loop: asyncio.Task[None] | None = None
        self._is_admitting = False
        self._pid = os.getpid()
        self._bodies: Bodies
        self._wake: asyncio.Event
        self._stopping: asyncio.Event

    # -- life

    def start(self) -> None:
        """Begin to turn. No step starts before ``admit``."""
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._bodies = Bodies(
            self._settings,
            self._threads,
            self.put,
            self._freed,
            self._close_limits,
            vault=self._vault,
            clock=self._clock,
            draw=self._draw,
        )
        self._loop = asyncio.create_task(self._run(), name="treadle-turns")

    def admit(self) -> None:
        """Let ready steps start, from now on."""
        self._is_admitting = True
        self._signal()

    async def stop(self, grace: timedelta) -> None:
        """Let attempts in flight end for ``grace``, record what came of them, interrupt the rest. Safe twice."""
        if self._loop is None:
            return
        loop, self._loop = self._loop, None
        self._is_admitting = False
        try:
            await self.residents.stop()
            await self._bodies.drain(grace)
        finally:
            # The loop ends by itself, behind the turn it is in: one that was cut off would be committed all the same.
            self._stopping.set()
            self._signal()
            await asyncio.wait([loop])
            self._timers.stop()
            self._openings.stop()
            self._threads.stop()

    def refuse_all(self, error: TreadleError) -> None:
        """Tell everyone who still waits that no answer will come."""
        self.residents.refuse_starts(error)
        for resident in {one.id: one for one in (*self.residents, *self._taken)}.values():
            self._refuse(resident, error)

    def _refuse(self, resident: Resident, error: TreadleError) -> None:
        for waiter in resident.waiters:
            if not waiter.done():
                waiter.set_exception(error)
        for _, verdict in (*self._taken.get(resident, ()), *resident.arrived):
            if verdict is not None and not verdict.done():
                verdict.set_exception(error)

    @property
    def health(self) -> Health:
        """Return whether it takes work."""
        reason = self._failure or ("" if self._loop is not None else _NOT_OPEN)
        return Health(
            ok=not reason,
            reason=reason,
            quarantined=dict(self.residents.quarantined),
            unregistered=self._offers.unregistered,
        )

    @property
    def is_forked(self) -> bool:
        """Tell whether this is a forked child's copy, whose loop and threads stayed with the parent."""
        return self._pid != os.getpid()

    def check_lives(self) -> None:
        """Raise ``TreadleError`` if no turn will ever come.

        After a defect of the engine, in a forked child, and outside of the time from opening to closing.
        """
        if self._defect is not None:
            raise self._defect
        if self.is_forked:
            raise StoreError("its engine runs in another process, of which this is a fork", self._store.path)
        if self._loop is None:
            raise ConflictError(_NOT_OPEN, "", "closed")

    @property
    def slots(self) -> int:
        """Return how many slots there are."""
        return self._admission.limit

    def held_up(self, resident: Resident, step: str) -> Held | None:
        """Return the limit that keeps a ready step from starting; None if none does."""
        held = self._admission.held_up(resident, step)
        if held is None or held.until is None:
            return held
        return held._replace(until=held.until - self._clock.now_ms() + resident.now_ms())

    def occupancy(self) -> Occupancy:
        """Return how slots and limits stand."""
        return occupancy_of(self._admission, self._clock.wall_ms() - self._clock.now_ms())

    def said(self, resident: Resident, step: str) -> str:
        """Return what the attempt of a step said last of itself; ``""`` for nothing."""
        return self._bodies.said(resident, step)

    def holders(self) -> Sequence[Holder]:
        """Return who holds a slot."""
        return self._bodies.all()

    # -- executions in memory

    def _go_on(self, resident: Resident) -> None:
        """Make what runs and what the state says agree, offer what is ready, see what is due."""
        state = resident.state
        self.onlooker.taken_up(resident)
        now = resident.now_ms()
        running = dict(self._bodies.of(resident.id))
        for step, attempt in list(state.in_flight.items()):
            if running.get(step) != attempt:
                self.put(resident, interrupted(step, attempt, now))
        for step, attempt in running.items():
            if state.cancels(step) or state.in_flight.get(step) != attempt:
                self._bodies.cancel(resident, step, attempt)
        if state.starts_steps:
            self._offers.offer(resident, ready_steps(state))
            self._signal()
        self.put(resident, TimeReached(at=now))  # what was due while it was away, or is on its way to its end

    @property
    def _taken(self) -> Mapping[Resident, Sequence[Arrived]]:
        """Return what had arrived and is being turned."""
        return {} if self._current is None else self._current.taken

    def _is_turned(self, resident: Resident) -> bool:
        return self._current is not None and (resident in self._current.turns or resident in self._current.taken)

    def is_settled(self, resident: Resident) -> bool:
        """Tell whether the state in memory is committed: not while a turn of it is being written, or in doubt."""
        return not self._is_turned(resident) and resident not in self._doubtful and bool(resident.sequence)

    # -- what arrives

    def _freed(self, resident: Resident, step: str) -> None:
        self._admission.release(resident, step)
        if not self._is_turned(resident):
            self._let_rest(resident)
        self._signal()

    def _close_limits(self, resident: Resident, step: str, ms: int) -> None:
        """Let nobody start for a while through the limits of a step that was asked to come back later."""
        closed = self._admission.close(resident, step, self._clock.now_ms() + ms)
        if closed:
            names, seconds = ", ".join(closed), ms / 1000
            _logger.warning("%s closed for %g s, as %r of %r was asked", names, seconds, step, resident.id)

    def _limits_open(self, _: Sequence[str]) -> None:
        self._signal()

    def _time_reached(self, keys: Sequence[str]) -> None:
        away: list[str] = []
        for key in keys:
            resident = self.residents.get(key)
            if resident is None:
                away.append(key)
            else:
                self.put(resident, TimeReached(at=resident.now_ms()))
        self.residents.fetch(away)

    async def ask(self, resident: Resident, request: AnyInput) -> bool:
        """Feed a request and return whether it was accepted, once that is durable."""
        self.check_lives()
        verdict: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.put(resident, request, verdict)
        return await verdict

    @property
    def is_in_doubt(self) -> bool:
        """Tell whether the log has to be read again before more is written."""
        return self._doubt is not None or bool(self._failure)

    def doubt(self, error: StoreError) -> None:
        """Read the log again before more is written: something else than a turn could not be."""
        self._doubt = error
        self._signal()

    async def wait(self, resident: Resident, *, until_ended: bool) -> ExecutionState:
        """Return the state of an execution once it has ended or (unless ``until_ended``) rests in PAUSED."""
        if resident.state.ended_at and self.is_settled(resident):
            return snapshot(resident.state)
        self.check_lives()
        waiter: asyncio.Future[ExecutionState] = asyncio.get_running_loop().create_future()
        resident.waiters[waiter] = until_ended
        self._look_again(resident)
        try:
            return await waiter
        finally:
            if resident.waiters.pop(waiter, None) is not None:
                self._look_again(resident)

    def _look_again(self, resident: Resident) -> None:
        """Have the loop look at an idle execution: whether it rests, and whether it may leave memory."""
        if self.residents.is_idle(resident):
            self.put(resident, TimeReached(at=resident.now_ms()))

    def put(self, resident: Resident, arrived: AnyInput, verdict: asyncio.Future[bool] | None = None) -> None:
        """Feed the machine in the next turn; ``verdict`` is told whether it was accepted, once that is durable."""
        if resident.is_set_aside:
            return
        resident.arrived.append((arrived, verdict))
        self._arrived[resident] = None
        self.residents.note(resident, is_idle=False)
        self._signal()

    def _signal(self) -> None:
        self._wake.set()

    # -- turns

    async def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                await self._wake.wait()
                self._wake.clear()
                try:
                    await self._tick()
                except StoreError as error:
                    await self._recover_store(error)
            if not self._failure:
                await self._tick()  # what ended while draining
        except StoreError as error:
            _logger.error("the log cannot be written, what ended last runs again: %s", error)  # noqa: TRY400 - as below
        except Exception as error:
            # Our own defect, whatever it is: nobody may wait for ever because of it.
            _logger.exception("the engine stopped by a defect of its own")
            self._break(error)

    def _break(self, error: Exception) -> None:
        """Stop for good: what is in memory can no longer be trusted; the log can."""
        self._failure = f"the engine stopped by a defect of its own ({type(error).__name__}: {error})"
        self._defect = TreadleError(f"{self._failure}; what is committed goes on when it is opened again")
        self._is_admitting = False
        self.refuse_all(self._defect)

    async def _tick(self) -> None:
        doubt, self._doubt = self._doubt, None
        if doubt is not None:
            raise doubt
        arrived, self._arrived = self._arrived, {}
        tick = self._current = Tick(arrived, self._admission, self._offers, self._give_up)
        tick.advance()
        if self._is_admitting:
            tick.admit()
            self._openings.set("limits", self._admission.wake_at())
        rows = tick.rows()
        stored: Sequence[StoredTurn] = ()
        if rows:
            try:
                stored = tick.settle(rows, await self._store.append(rows), is_shown=self._feed.has_subscribers)
            except StoreError:
                self._keep_for_later(tick.turns)
                raise
        self._keep_for_later(tick.conflicts)
        self._act(tick)
        self._current = None
        if stored:
            self._feed.publish(stored)
        if tick.conflicts:  # the store, or we, are wrong about how far a log has got
            await self._store.reopen()
            await self._fold_doubtful()

    def _act(self, tick: Tick) -> None:
        """Carry out what the committed turns ask for, and answer who waits."""
        for resident, turn in tick.turns.items():
            if turn.events:
                resident.sequence += 1
                resident.conflicts = 0
                resident.definition = None
            tick.answer(resident, turn)
            for command in turn.commands:
                self._carry_out(resident, command)
            if turn.events:
                self.onlooker.turned(resident)
            resident.tell_waiters()
            self._let_rest(resident)

    def _carry_out(self, resident: Resident, command: Command) -> None:
        match command:
            case RunStep():
                self._bodies.run(resident, command, self._registry[command.node.action_name])
            case CancelStep():
                self._bodies.cancel(resident, command.step, command.attempt)
            case _:
                self.onlooker.command(resident, command)

    def _let_rest(self, resident: Resident) -> None:
        """Let an ended execution leave memory; set the timer of any other, and say whether it only waits."""
        if resident.arrived or resident.is_set_aside:
            return
        state = resident.state
        self._timers.set(resident.id, resident.wake_at())
        if state.ended_at:
            self.residents.remove(resident)
            self._offers.forget(resident)
            self.onlooker.ended(resident)
        else:
            self.residents.note(resident, is_idle=not state.in_flight and resident not in self._admission)

    # -- when the log fails, or we do

    def _keep_for_later(self, turns: Mapping[Resident, Turn]) -> None:
        """Put back what had arrived, and the slots that were taken: none of it happened as far as we know."""
        for resident, turn in turns.items():
            resident.arrived = [*self._taken.get(resident, ()), *resident.arrived]
            self._arrived[resident] = None
            self._doubtful[resident] = None
            self._admission.withdraw(resident)
            for run in turn.runs:
                self._admission.release(resident, run.step, has_started=False)
            if resident.conflicts > _MOST_CONFLICTS:
                self._set_aside(resident, QuarantineError("its log is not ours", self._store.path, resident.id))

    async def _recover_store(self, error: StoreError) -> None:
        """Try to write again until something was written; until then no work is taken."""
        self._failure = str(error)
        self.residents.refuse_starts(error)
        _logger.error("the log cannot be written, no work is taken: %s", error)
        while not await self._stops_within(self._settings.store_retry_ms / 1000):
            try:
                await self._store.reopen()
                await self._fold_doubtful()
                await self._tick()
            except StoreError as again:
                self._failure = str(again)
            else:
                self._failure = ""
                _logger.warning("the log can be written again")
                self._feed.lapse()  # some of what was in doubt is committed, and nobody was shown it
                self._signal()
                return

    async def _stops_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True

    async def _fold_doubtful(self) -> None:
        """Replace what is in doubt by what the log says."""
        for resident in list(self._doubtful):
            if not resident.is_set_aside:
                await self._fold_again(resident)
            del self._doubtful[resident]
        self._current = None

    async def _fold_again(self, resident: Resident) -> None:
        """Replace the state in memory by what the log says; set an execution aside whose log is damaged."""
        try:
            found = await load(self._store, self._plans, resident.id)
        except QuarantineError as error:
            _logger.error("%s", error)  # noqa: TRY400 - the traceback says nothing to whoever reads it
            self._set_aside(resident, error)
            return
        if found is None:
            resident.take(State(resident.state.plan), 0)
            return
        resident.take(found.state, found.sequence)
        self._go_on(resident)

    def _give_up(self, resident: Resident, error: Exception, *, steps: Sequence[str] = ()) -> None:
        """Set an execution aside that we failed on by a defect of our own; its log is whole."""
        _logger.error("the engine failed on execution %r", resident.id, exc_info=error)
        for step in steps:
            self._admission.release(resident, step, has_started=False)
        why = f"by a defect of the engine ({type(error).__name__}: {error}); what is committed of it is whole"
        self._set_aside(resident, QuarantineError(why, self._store.path, resident.id))

    def _set_aside(self, resident: Resident, error: QuarantineError) -> None:
        """Turn an execution no more: nothing of it is written, and what runs of it is cancelled."""
        self.residents.quarantined[resident.id] = error.args[0]
        self._refuse(resident, error)
        resident.is_set_aside = True
        resident.arrived.clear()
        self._arrived.pop(resident, None)
        self._admission.withdraw(resident)
        self._timers.set(resident.id, None)
        self.residents.remove(resident)
        self.onlooker.ended(resident)
        for step, attempt in self._bodies.of(resident.id):
            self._bodies.cancel(resident, step, attempt)


class _Nobody:
    """Looks at nothing."""

    def taken_up(self, resident: Resident) -> None:
        """Do nothing."""

    def turned(self, resident: Resident) -> None:
        """Do nothing."""

    def ended(self, resident: Resident) -> None:
        """Do nothing."""

    def command(self, resident: Resident, command: ChildCommand) -> None:
        """Do nothing."""


_NOT_OPEN: Final = "the engine is not open: its verbs are called within 'async with engine'"
