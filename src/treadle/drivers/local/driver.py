"""The turn loop: gather what arrived for any execution, advance each, admit once, append once, then act.

Nothing starts, is shown or is acknowledged before its turn is durable. After a failed append nothing is assumed: the
executions concerned are folded again from the log, and what had arrived for them is fed again.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from treadle.drivers.local.admission import Admission
from treadle.drivers.local.clock import Clock
from treadle.drivers.local.recovery import Plans, load
from treadle.drivers.local.resident import Resident
from treadle.drivers.local.steps import Bodies, interrupted
from treadle.drivers.local.threads import Threads
from treadle.drivers.local.timers import Timers
from treadle.drivers.local.watching import watch_events
from treadle.drivers.protocol import Health, Order
from treadle.errors import ConflictError, NotFoundError, QuarantineError, StoreError, TreadleError, ValidationError
from treadle.feed import Feed
from treadle.machine import CancelStep, RunStep, State, Turn, advance, describe_events, encode_events, snapshot, start
from treadle.machine.commands import ReadyStep
from treadle.machine.inputs import (
    CancelExecutionRequested,
    PauseRequested,
    ResumeRequested,
    StartRequested,
    TimeReached,
)
from treadle.model import ExecutionStatus, ExecutionSummary, encode_workflow
from treadle.store.protocol import Answer, Filter, StoredTurn
from treadle.store.protocol import Turn as Row
from treadle.values import decode_payload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence
    from datetime import timedelta

    from msgspec import Raw

    from treadle.actions import Registry
    from treadle.machine.inputs import AnyInput
    from treadle.model import ExecutionState, HistoryEvent
    from treadle.settings import Settings
    from treadle.store.protocol import Listed, Store

_logger = logging.getLogger("treadle.engine")


class LocalDriver:
    """See ``drivers.protocol.Driver`` for what each verb promises.

    Args:
        store: The log.
        registry: Actions by name.
        max_concurrent_steps: Slots of the whole engine.
        settings: Limits and periods.
        clock: The engine's time.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        *,
        max_concurrent_steps: int,
        settings: Settings,
        clock: Clock | None = None,
    ) -> None:
        self._store = store
        self._registry = registry
        self._settings = settings
        self._clock = clock or Clock()
        self._plans = Plans(store)
        self._feed = Feed()
        self._admission = Admission(max_concurrent_steps)
        self._threads = Threads(settings.step_threads or max_concurrent_steps)
        self._timers = Timers(self._clock, self._time_reached)
        self._residents: dict[str, Resident] = {}
        self._arrived: dict[Resident, None] = {}
        self._unregistered: dict[str, list[tuple[Resident, ReadyStep]]] = {}
        self._quarantined: dict[str, str] = {}
        self._failure = ""
        self._defect: TreadleError | None = None
        self._taken: dict[Resident, _Arrived] = {}
        self._loop: asyncio.Task[None] | None = None
        self._is_admitting = False
        self._bodies: Bodies
        self._wake: asyncio.Event

    # -- life

    async def open(self, recover: str | Collection[str]) -> None:
        """Open the log, take up open executions, and begin to turn."""
        await self._store.open()
        self._wake = asyncio.Event()
        self._bodies = Bodies(self._clock, self._settings, self._threads, self._report, self._freed)
        self._is_admitting = True
        if recover != "none":
            await self._recover(None if recover == "all" else set(recover))
        self._loop = asyncio.create_task(self._run(), name="treadle-turns")

    async def close(self, grace: timedelta) -> None:
        """Drain, interrupt, close."""
        if self._loop is None:
            return
        loop, self._loop = self._loop, None
        self._is_admitting = False
        await self._bodies.drain(grace)
        loop.cancel()
        await asyncio.wait([loop])
        if not self._failure:
            await self._tick()  # what ended while draining
        self._timers.stop()
        self._threads.stop()
        self._feed.close()
        await self._store.close()
        error = StoreError("the engine was closed; the execution goes on when it is opened again", self._store.path)
        for resident in self._residents.values():
            self._refuse(resident, error)

    def _refuse(self, resident: Resident, error: TreadleError) -> None:
        """Tell everyone who waits for an execution that no answer will come."""
        for waiter, _ in resident.waiters:
            if not waiter.done():
                waiter.set_exception(error)
        for _, verdict in (*self._taken.get(resident, ()), *resident.arrived):
            if verdict is not None and not verdict.done():
                verdict.set_exception(error)

    @property
    def health(self) -> Health:
        """Return whether it takes work."""
        return Health(
            ok=not self._failure,
            reason=self._failure,
            quarantined=dict(self._quarantined),
            unregistered=tuple(self._unregistered),
        )

    async def _recover(self, wanted: Collection[str] | None) -> None:
        before: int | None = None
        while rows := await self._store.list(Filter(is_open=True), limit=1_000, before=before):
            for row in rows:
                if wanted is None or row.execution_id in wanted:
                    await self._take_up(row.execution_id)
            before = rows[-1].number

    async def _take_up(self, execution_id: str) -> Resident | None:
        """Load an execution and go on with it; one that is damaged is set aside by name."""
        try:
            found = await load(self._store, self._plans, execution_id)
        except QuarantineError as error:
            self._quarantined[execution_id] = error.args[0]
            _logger.error("%s", error)  # noqa: TRY400 - the traceback says nothing to whoever reads it
            return None
        if found is not None and execution_id not in self._residents and not found.state.ended_at:
            self._residents[execution_id] = found
            self._go_on(found)
        return self._residents.get(execution_id, found)

    def _go_on(self, resident: Resident) -> None:
        """Offer what is ready, report attempts that no longer run, set the timer."""
        state = resident.state
        now = self._clock.now_ms()
        for step, attempt in list(state.in_flight.items()):
            if (resident.id, step, attempt) not in self._bodies:
                self._put(resident, interrupted(step, attempt, now))
        if state.starts_steps:
            self._offer(resident, [ReadyStep(step, state.plan.index[step]) for step in state.ready])
            self._signal()
        self._timers.set(resident.id, state.wake_at())
        if state.ending is not None:
            self._put(resident, TimeReached(at=now))

    # -- verbs

    async def start(self, order: Order) -> str:
        """Create and begin an execution."""
        self._check_defect()
        if self._failure:
            raise StoreError(self._failure, self._store.path)
        plan = self._plans.of(order.workflow)
        known = self._residents.get(order.execution_id)
        if known is None and await self._store.get(order.execution_id) is not None:
            known = await self._loaded(order.execution_id)
        known = known or self._residents.get(order.execution_id)
        if known is not None:
            return await self._start_again(known, order, plan.definition_hash)
        resident = Resident(order.execution_id, State(plan), 0, encode_workflow(order.workflow))
        self._residents[order.execution_id] = resident
        request = StartRequested(
            execution_id=order.execution_id,
            input=order.input,
            priority=order.priority,
            tags=order.tags,
            at=self._clock.now_ms(),
        )
        await self._ask(resident, request)
        return order.execution_id

    async def _start_again(self, known: Resident, order: Order, name: str) -> str:
        if not known.state.created_at:  # another start of the same id is on its way to the log
            await self._ask(known, TimeReached(at=self._clock.now_ms()))
        state = known.state
        if state.definition_hash != name or decode_payload(state.original_input) != decode_payload(order.input):
            what = "input" if state.definition_hash == name else "definition"
            message = f"execution {order.execution_id!r} exists with another {what}; choose another id"
            raise ConflictError(message, order.execution_id, state.status.value)
        return order.execution_id

    async def pause(self, execution_id: str, request: str = "") -> bool:
        """Start nothing new."""
        resident = await self._loaded(execution_id)
        return await self._ask(resident, PauseRequested(request=request, at=self._clock.now_ms()))

    async def resume(self, execution_id: str, inputs: Raw | None, request: str = "") -> bool:
        """Go on."""
        resident = await self._loaded(execution_id)
        if inputs is not None:
            self._check_inputs(resident, inputs)
        return await self._ask(resident, ResumeRequested(inputs=inputs, request=request, at=self._clock.now_ms()))

    async def cancel(self, execution_id: str, reason: str, request: str = "") -> bool:
        """Begin to cancel."""
        resident = await self._loaded(execution_id)
        now = self._clock.now_ms()
        return await self._ask(resident, CancelExecutionRequested(reason=reason, request=request, at=now))

    def _check_inputs(self, resident: Resident, inputs: Raw) -> None:
        schema = resident.state.plan.workflow.input_schema
        if schema is None:
            return
        from treadle.schemas import compile_schema  # loaded only where a workflow has a schema

        merged = {**resident.state.input_value, **decode_payload(inputs)}
        problems = compile_schema(schema).problems(merged, "input")
        if problems:
            raise ValidationError("; ".join(str(one) for one in problems), problems)

    async def _loaded(self, execution_id: str) -> Resident:
        """Return an execution, read back from the log if need be; an ended one does not stay in memory."""
        resident = self._residents.get(execution_id) or await self._take_up(execution_id)
        if resident is None:
            if execution_id in self._quarantined:
                raise QuarantineError(self._quarantined[execution_id], self._store.path, execution_id)
            raise NotFoundError("execution", execution_id)
        return resident

    # -- reads

    async def wait(self, execution_id: str, *, until_ended: bool) -> ExecutionState:
        """Return the state once there is nothing to wait for."""
        resident = await self._loaded(execution_id)
        if resident.state.ended_at and self._is_settled(resident):
            return snapshot(resident.state)
        self._check_defect()
        waiter: asyncio.Future[ExecutionState] = asyncio.get_running_loop().create_future()
        resident.waiters.append((waiter, until_ended))
        if resident.rests:
            self._put(resident, TimeReached(at=self._clock.now_ms()))  # the loop answers, between two turns
        return await waiter

    async def state(self, execution_id: str) -> ExecutionState:
        """Return what is committed."""
        resident = self._residents.get(execution_id)
        if resident is not None and self._is_settled(resident):
            return snapshot(resident.state)
        found = await load(self._store, self._plans, execution_id)
        if found is None:
            raise NotFoundError("execution", execution_id)
        return snapshot(found.state)

    def _is_settled(self, resident: Resident) -> bool:
        """Tell whether the state in memory is committed: not while a turn of it is being written, or in doubt."""
        return resident not in self._taken and bool(resident.sequence)

    async def list_executions(
        self,
        *,
        statuses: Sequence[ExecutionStatus] = (),
        workflow_id: str = "",
        tags: dict[str, str] | None = None,
        limit: int = 100,
        before: int | None = None,
    ) -> tuple[list[ExecutionSummary], int | None]:
        """Return a page."""
        where = Filter(tuple(one.value for one in statuses), workflow_id, tags or {})
        rows = await self._store.list(where, limit=limit, before=before)
        return [_summary(row) for row in rows], (rows[-1].number if len(rows) == limit else None)

    async def history(self, execution_id: str) -> Sequence[HistoryEvent]:
        """Return all events."""
        turns = await self._store.read(execution_id)
        if not turns:
            raise NotFoundError("execution", execution_id)
        return [event for turn in turns for event in _describe(turn)]

    def watch(self, execution_id: str | None, after: int | None) -> AsyncIterator[HistoryEvent]:
        """Give committed events."""
        return watch_events(self._store, self._feed, execution_id, after)

    # -- what arrives

    def _report(self, resident: Resident, arrived: AnyInput) -> None:
        self._put(resident, arrived)

    def _freed(self, resident: Resident) -> None:
        self._admission.release(resident)
        self._signal()

    def _time_reached(self, keys: Sequence[str]) -> None:
        now = self._clock.now_ms()
        for key in keys:
            resident = self._residents.get(key)
            if resident is not None:
                self._put(resident, TimeReached(at=now))

    async def _ask(self, resident: Resident, request: AnyInput) -> bool:
        self._check_defect()
        verdict: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._put(resident, request, verdict)
        return await verdict

    def _put(self, resident: Resident, arrived: AnyInput, verdict: asyncio.Future[bool] | None = None) -> None:
        resident.arrived.append((arrived, verdict))
        self._arrived[resident] = None
        self._signal()

    def _signal(self) -> None:
        self._wake.set()

    def _offer(self, resident: Resident, steps: Sequence[ReadyStep]) -> None:
        """Hand ready steps to admission; one whose action nobody registered waits and is named in ``health``."""
        known: list[ReadyStep] = []
        for ready in steps:
            name = resident.state.plan.nodes[ready.order].node.action_name
            if name in self._registry:
                known.append(ready)
            else:
                self._unregistered.setdefault(name, []).append((resident, ready))
                _logger.warning("step %r of %r waits: no action %r is registered", ready.step, resident.id, name)
        if known:
            self._admission.offer(resident, known)

    # -- turns

    async def _run(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                try:
                    await self._tick()
                except StoreError as error:
                    await self._recover_store(error)
        except Exception as error:
            # Our own defect, whatever it is: nobody may wait for ever because of it.
            _logger.exception("the engine stopped by a defect of its own")
            self._break(error)

    def _break(self, error: Exception) -> None:
        """Stop for good: what is in memory can no longer be trusted; the log can."""
        self._failure = f"the engine stopped by a defect of its own ({type(error).__name__}: {error})"
        self._defect = TreadleError(f"{self._failure}; what is committed goes on when it is opened again")
        self._is_admitting = False
        for resident in {**self._residents, **{one.id: one for one in self._taken}}.values():
            self._refuse(resident, self._defect)

    def _check_defect(self) -> None:
        if self._defect is not None:
            raise self._defect

    async def _tick(self) -> None:
        batch, self._arrived = self._arrived, {}
        taken = self._taken = {resident: resident.arrived for resident in batch}
        turns = {resident: self._advance(resident) for resident in batch}
        if self._is_admitting:
            self._admit(turns)
        self._taken = {resident: taken.get(resident, []) for resident in turns}
        rows = [_row(resident, turn) for resident, turn in turns.items() if turn.events]
        stored: Sequence[StoredTurn] = ()
        if rows:
            try:
                stored = await self._append(rows)
            except StoreError:
                self._keep_for_later(turns, taken)
                raise
        self._act(turns, taken)
        self._taken = {}
        if stored and self._feed.has_subscribers:
            self._feed.publish(stored)

    def _advance(self, resident: Resident) -> Turn:
        arrived, resident.arrived = resident.arrived, []
        turn = advance(resident.state, [one for one, _ in arrived])
        if not resident.state.starts_steps:
            self._admission.withdraw(resident)
        elif turn.ready:
            self._offer(resident, turn.ready)
        return turn

    def _admit(self, turns: dict[Resident, Turn]) -> None:
        """Fill the slots. A step that does not start after all gives its slot to the next one."""
        now = self._clock.now_ms()
        while (chosen := self._admission.choose()) is not None:
            resident, step = chosen
            assert isinstance(resident, Resident)  # what was offered
            turn = turns.get(resident)
            if turn is None:
                turn = turns[resident] = Turn(resident.state)
            started, offered = len(turn.commands), len(turn.ready)
            start(resident.state, (step,), at=now, turn=turn)
            if not any(type(one) is RunStep and one.step == step for one in turn.commands[started:]):
                self._admission.release(resident)
            if not resident.state.starts_steps:
                self._admission.withdraw(resident)
            elif len(turn.ready) > offered:
                self._offer(resident, turn.ready[offered:])

    async def _append(self, rows: Sequence[Row]) -> Sequence[StoredTurn]:
        answers = await self._store.append(rows)
        for row, answer in zip(rows, answers, strict=True):
            if answer.answer is Answer.CONFLICT:
                raise StoreError(
                    f"turn {row.sequence} of {row.execution_id!r} is another one in the log", self._store.path
                )
        return [
            StoredTurn(row.execution_id, row.sequence, row.events, row.count, answer.cursor)
            for row, answer in zip(rows, answers, strict=True)
        ]

    def _act(self, turns: dict[Resident, Turn], taken: dict[Resident, _Arrived]) -> None:
        """Carry out what the committed turns ask for, and answer who waits."""
        for resident, turn in turns.items():
            if turn.events:
                resident.sequence += 1
                resident.definition = None
            for (_, verdict), accepted in zip(taken.get(resident, ()), turn.accepted, strict=False):
                if verdict is not None and not verdict.done():
                    verdict.set_result(accepted)
            for command in turn.commands:
                self._carry_out(resident, command)
            resident.tell_waiters()
            self._let_rest(resident)

    def _carry_out(self, resident: Resident, command: RunStep | CancelStep) -> None:
        if isinstance(command, RunStep):
            self._bodies.run(resident, command, self._registry[command.node.action_name])
        else:
            self._bodies.cancel(resident, command.step, command.attempt)

    def _let_rest(self, resident: Resident) -> None:
        """Set the timer of an execution; let an ended one leave memory."""
        if resident.state.ended_at and not resident.arrived:
            self._timers.set(resident.id, None)
            if self._residents.get(resident.id) is resident:
                del self._residents[resident.id]
        else:
            self._timers.set(resident.id, resident.state.wake_at())

    # -- when the log fails

    def _keep_for_later(self, turns: dict[Resident, Turn], taken: dict[Resident, _Arrived]) -> None:
        """Put back what had arrived, and the slots that were taken: none of it happened as far as we know."""
        for resident, turn in turns.items():
            resident.arrived = [*taken.get(resident, ()), *resident.arrived]
            self._arrived[resident] = None
            self._admission.withdraw(resident)
            for _ in turn.runs:
                self._admission.release(resident)

    async def _recover_store(self, error: StoreError) -> None:
        self._failure = str(error)
        _logger.error("the log cannot be written, no work is taken: %s", error)
        doubtful = list(self._arrived)
        while self._failure:
            await asyncio.sleep(self._settings.store_retry_ms / 1000)
            try:
                await self._store.reopen()
                for resident in doubtful:
                    await self._fold_again(resident)
            except StoreError as again:
                self._failure = str(again)
            else:
                self._failure = ""
                self._taken = {}
        _logger.warning("the log can be written again")
        self._signal()  # what had arrived is fed again, and who waits is told what the log says

    def _set_aside(self, resident: Resident, error: QuarantineError) -> None:
        _logger.error("%s", error)
        self._quarantined[resident.id] = error.args[0]
        self._refuse(resident, error)
        resident.arrived.clear()
        self._arrived.pop(resident, None)
        self._timers.set(resident.id, None)
        self._residents.pop(resident.id, None)

    async def _fold_again(self, resident: Resident) -> None:
        """Replace the state in memory by what the log says; set an execution aside whose log is damaged."""
        try:
            found = await load(self._store, self._plans, resident.id)
        except QuarantineError as error:
            self._set_aside(resident, error)
            return
        if found is None:
            resident.state, resident.sequence, resident.indexed = State(resident.state.plan), 0, None
            return
        resident.state, resident.sequence, resident.indexed = found.state, found.sequence, found.indexed
        self._go_on(resident)


_Arrived = list["tuple[AnyInput, asyncio.Future[bool] | None]"]


def _row(resident: Resident, turn: Turn) -> Row:
    return Row(
        execution_id=resident.id,
        sequence=resident.sequence + 1,
        events=encode_events(turn.events),
        count=len(turn.events),
        index=resident.index_row(),
        definition=resident.definition,
    )


def _describe(turn: StoredTurn) -> Sequence[HistoryEvent]:
    return describe_events(turn.events, execution_id=turn.execution_id, sequence=turn.sequence, cursor=turn.cursor)


def _summary(row: Listed) -> ExecutionSummary:
    from datetime import UTC, datetime

    return ExecutionSummary(
        execution_id=row.execution_id,
        workflow_id=row.workflow_id,
        definition_hash=row.definition_hash,
        status=ExecutionStatus(row.status),
        tags=row.tags,
        created_at=datetime.fromtimestamp(row.created_ms / 1000, UTC),
        ended_at=datetime.fromtimestamp(row.ended_ms / 1000, UTC) if row.ended_ms else None,
    )
