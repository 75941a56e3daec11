"""One run of one execution: a small driver of treadle's machine over the application's own state manager.

The machine says what starts, what follows, what is tried again and how it ends. The run carries that out: it waits for
slots of the engine, runs the bodies, waits out delays, and tells the application, strictly in the order of the
machine's turns. Requests to cancel or pause count from the moment they are made: they are put before whatever else has
arrived, at every turn.
"""

from __future__ import annotations

import asyncio
import heapq
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from msgspec import Raw

from core.bodies import Bodies, Ended
from core.facts import Facts
from core.outcomes import machine_input
from core.waiting import Alarm, SlotRequest
from treadle import ExecutionStatus, StepStatus
from treadle.machine import CancelStep, RunStep, State, advance, snapshot, start
from treadle.machine import inputs as i

if TYPE_CHECKING:
    from core.facts import Hooks
    from core.reporting import Report
    from core.translation import Definition
    from treadle.machine import Turn
    from treadle.machine.inputs import AnyInput

_EMPTY: Final = Raw(b"{}")


class SlotGranted:
    """A slot of the engine is ours."""


_Arrived: TypeAlias = "AnyInput | Ended | SlotGranted"


class ExecutionRun:
    """Runs an execution until it has ended, or is paused with nothing in flight.

    Args:
        definition: What to run.
        hooks: The engine.
        report: The application.
        recorded: ``steps`` of the application's state: what has ended does not run again.
        is_recovered: Another process ran it before: a failure that is recorded is what that one was about to end by.
    """

    def __init__(
        self, definition: Definition, hooks: Hooks, report: Report, recorded: dict[str, Any], *, is_recovered: bool
    ) -> None:
        self._definition = definition
        self._hooks = hooks
        self._report = report
        self._facts = Facts(definition, hooks, recorded, keeps_failures=is_recovered)
        report.kept = frozenset(definition.steps[key]["id"] for key in self._facts.kept)
        report.skip_reasons = self._facts.skip_reasons
        self._state = State(definition.plan)
        self._inbox: asyncio.Queue[_Arrived] = asyncio.Queue()
        self._bodies = Bodies(hooks.semaphore, self._inbox.put_nowait)
        self._slot = SlotRequest(hooks.semaphore, partial(self._inbox.put_nowait, SlotGranted()))
        self._alarm = Alarm(hooks.clock, self._ring)
        self._ready: list[tuple[int, str]] = []
        self._pausing: asyncio.Future[bool] | None = None
        self._task: asyncio.Task[Any] | None = None
        self._is_over = self._breaks_off = False
        self._at = 0

    # -- verbs

    async def drive(self) -> None:
        """Run.

        Raises:
            Exception: The state manager failed; what was in flight has ended, and is written as far as it could be.
        """
        self._task = asyncio.current_task()
        try:
            if not self._definition.is_chain:
                await self._facts.refresh()
            await self._turn(i.StartRequested(execution_id=self._report.execution_id, input=_EMPTY, at=self._now()))
            while not self._rests():
                await self._take(await self._inbox.get())
            await self._report.put_back(self._between_attempts())
        except Exception:
            await self._let_end()
            raise
        finally:
            await self._stop()

    @property
    def has_ended(self) -> bool:
        """Tell whether the machine has ended the execution: a request comes too late."""
        return bool(self._state.ended_at)

    def wake(self) -> bool:
        """Look at requests now; False if it is too late for them."""
        if self._is_over or self.has_ended:
            return False
        self._inbox.put_nowait(i.TimeReached(at=self._now()))
        return True

    async def pause(self) -> bool:
        """Start nothing new; return once that is written, and whether there was something to pause."""
        if self._is_over or self._breaks_off or not self._state.starts_steps:
            return False
        self._pausing = self._pausing or asyncio.get_running_loop().create_future()
        self.wake()
        # Asked by what the run itself calls (a listener), there is nobody who could write it meanwhile.
        return True if asyncio.current_task() is self._task else await asyncio.shield(self._pausing)

    def resume(self) -> bool:
        """Go on where the execution is paused; False if the run is over, and another one has to go on."""
        if self._is_over:
            return False
        self._facts.grow_old()
        self._inbox.put_nowait(i.ResumeRequested(at=self._now()))
        return True

    # -- turns

    async def _take(self, arrived: _Arrived) -> None:
        match arrived:
            case SlotGranted():
                await self._start_next()
            case Ended():
                self._facts.grow_old()
                await self._turn(await self._recorded(arrived))
            case _:
                await self._turn(arrived)

    async def _turn(self, *inputs: AnyInput) -> None:
        if any(map(self._definition.decides, inputs)):
            await self._facts.refresh()
        await self._carry_out(advance(self._state, [*self._requests(), *inputs], names=self._facts.names))

    async def _start_next(self) -> None:
        """Start the ready step that comes first in the definition, in the slot that was granted."""
        self._forget_stale()
        if self._ready and self._definition.reads_state(self._ready[0][1]):
            await self._facts.refresh()
        is_paused = not self._definition.is_chain and await self._facts.is_paused_by_others()
        requests = self._requests()  # last: those count that are made while the state is read
        if is_paused and not requests:
            requests = [i.PauseRequested(at=self._now())]
        turn = advance(self._state, requests, names=self._facts.names)
        if self._ready and self._state.starts_steps:
            _, step = heapq.heappop(self._ready)
            start(self._state, (step,), at=self._now(), turn=turn)
        if not turn.runs:
            self._slot.give_back()
        await self._carry_out(turn)

    def _requests(self) -> list[AnyInput]:
        """Return what the machine has to know before anything else."""
        if self._hooks.is_cancelled():
            return [i.CancelExecutionRequested(at=self._now())]
        return [i.PauseRequested(at=self._now())] if self._pausing is not None else []

    async def _carry_out(self, turn: Turn) -> None:
        await self._tell(turn)
        for command in turn.commands:
            if isinstance(command, CancelStep):
                self._bodies.cancel(command.step, command.attempt)
            elif isinstance(command, RunStep):  # sub-workflows are actions here, so there is no other
                self._run_body(command)
        for ready in turn.ready:
            if ready.step in self._facts.kept:
                self._replay(ready.step)
            else:
                heapq.heappush(self._ready, (ready.order, ready.step))
        self._forget_stale()
        if self._ready and self._state.starts_steps:
            self._slot.want()
        self._alarm.set(self._state.wake_at())

    async def _tell(self, turn: Turn) -> None:
        """Tell the application of a turn, and then whoever asked for the pause that is in it."""
        pausing, self._pausing = self._pausing, None
        is_paused = False
        try:
            await self._report.tell(turn.events, self._definition.steps)
            is_paused = self._state.status is ExecutionStatus.PAUSED
        finally:
            if pausing is not None:
                pausing.set_result(is_paused)

    def _rests(self) -> bool:
        """Tell whether nothing more happens by itself; no request is taken from then on."""
        is_paused = self._state.status is ExecutionStatus.PAUSED and not self._state.in_flight
        self._is_over = self.has_ended or (is_paused and self._inbox.empty())
        return self._is_over

    def _forget_stale(self) -> None:
        """Drop entries of steps that have started, or are offered twice because the execution was resumed."""
        while self._ready and self._ready[0][1] not in self._state.ready:
            heapq.heappop(self._ready)

    async def _let_end(self) -> None:
        """Start nothing more, and write what the bodies in flight give; a request to cancel still reaches them."""
        self._breaks_off = True
        self._alarm.stop()
        await self._slot.stop()
        while self._bodies.are_running or not self._inbox.empty():
            if self._hooks.is_cancelled():
                self._bodies.cancel_all()
            arrived = await self._inbox.get()
            if isinstance(arrived, Ended) and arrived.step not in self._facts.kept:
                await self._report.ended_late(self._definition.steps[arrived.step], arrived, self._now())

    async def _stop(self) -> None:
        self._is_over = True
        if self._pausing is not None:
            self._pausing.set_result(False)
        self._alarm.stop()
        await self._slot.stop()
        await self._bodies.stop()

    # -- bodies

    def _run_body(self, command: RunStep) -> None:
        """Run the body of a step that was told to start, unless a request came while it was told."""
        if self._hooks.is_cancelled() or self._pausing is not None:
            self._slot.give_back()
            kind = i.ActionCancelled if self._hooks.is_cancelled() else i.ActionInterrupted
            self._inbox.put_nowait(kind(step=command.step, attempt=command.attempt, at=self._now()))
            return
        step = self._definition.steps[command.step]
        self._slot.hand_over()
        work = partial(self._hooks.perform, step, self._facts.parameters[command.step])
        self._bodies.run(command.step, command.attempt, step["id"], work)

    def _replay(self, key: str) -> None:
        """Give the machine what a step gave before this run, so that what follows it is decided."""
        turn = start(self._state, (key,), at=self._now(), names=self._facts.names)
        known = self._facts.kept[key]
        error = None if known["status"] == "COMPLETED" else RuntimeError(known.get("error"))
        for command in turn.runs:
            self._inbox.put_nowait(Ended(command.step, command.attempt, error=error))

    async def _recorded(self, ended: Ended) -> AnyInput:
        """Write what a step gave, before the machine decides by it; return what the machine is told."""
        has_output = not ended.is_cancelled and ended.error is None
        if has_output and ended.step not in self._facts.kept:
            try:
                await self._report.step_completed(self._definition.steps[ended.step], ended.output)
            except Exception as error:  # noqa: BLE001 - what cannot be kept is a failure of the step that gave it
                ended = Ended(ended.step, ended.attempt, error=error)
        return machine_input(ended, self._now(), is_final=ended.step in self._facts.kept)

    def _between_attempts(self) -> list[str]:
        """Return the ids of started steps that wait for their next attempt."""
        if self.has_ended:
            return []
        steps = snapshot(self._state).steps.items()
        return [
            self._definition.steps[key]["id"] for key, one in steps if one.status is StepStatus.WAITING and one.attempt
        ]

    # -- time

    def _now(self) -> int:
        """Return milliseconds since the epoch; never less than before."""
        self._at = max(self._at, round(self._hooks.clock.now() * 1000))
        return self._at

    def _ring(self, due: int) -> None:
        self._at = max(self._at, due)  # not before, however the clock rounds
        self._inbox.put_nowait(i.TimeReached(at=self._now()))
