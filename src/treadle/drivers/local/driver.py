"""The driver of one host: its verbs over the turn loop, its reads over the log."""

from __future__ import annotations

import asyncio
import contextlib
import random
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from treadle.drivers.local import transfer
from treadle.drivers.local.catalog import register
from treadle.drivers.local.children import Children
from treadle.drivers.local.clock import Clock
from treadle.drivers.local.events import Events
from treadle.drivers.local.explaining import explain_here
from treadle.drivers.local.lines import Lines, existing
from treadle.drivers.local.reads import LogReads
from treadle.drivers.local.recovery import Plans, load
from treadle.drivers.local.remote import RemoteCommands
from treadle.drivers.local.requests import Requests
from treadle.drivers.local.resident import Resident
from treadle.drivers.local.retention import Retention
from treadle.drivers.local.scheduler import Scheduler
from treadle.drivers.local.transfer import Imports
from treadle.drivers.local.turns import TurnLoop
from treadle.drivers.local.vault import Vault
from treadle.drivers.protocol import Order
from treadle.errors import ConflictError, NotFoundError, StoreError
from treadle.feed import Feed
from treadle.machine import State, decode_events, kept_by_fork, snapshot
from treadle.machine.inputs import (
    StartRequested,
    TimeReached,
)
from treadle.model import Explanation, OnConflict, Reason
from treadle.store.inbox import Inbox
from treadle.store.protocol import Filter
from treadle.values import decode_payload

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from msgspec import Raw

    from treadle.actions import Registry
    from treadle.drivers.protocol import Fork, Health
    from treadle.limits import Numbers, Occupancy
    from treadle.model import (
        ExecutionState,
        JsonValue,
        Workflow,
        WorkflowVersion,
    )
    from treadle.secrets import SecretProvider
    from treadle.settings import Settings
    from treadle.store.protocol import Store


class LocalDriver(LogReads, Requests):
    """See ``drivers.protocol.Driver`` for what each verb promises.

    Args:
        store: The log.
        registry: Actions by name.
        max_concurrent_steps: Slots of the whole engine.
        limits: The engine's own limits, by name.
        settings: Limits and periods.
        keep: By status, how long an execution is kept after its end, in milliseconds; others are kept for ever.
        secrets: Knows the secrets that parameters name; None where nobody does.
        clock: The engine's time; None for that of the host.
        draw: Gives the random numbers in [0, 1) of jitter.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        *,
        max_concurrent_steps: int,
        settings: Settings,
        keep: Mapping[str, int] | None = None,
        secrets: SecretProvider | None = None,
        limits: Mapping[str, Numbers] | None = None,
        clock: Clock | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._feed = Feed()
        super().__init__(store, self._feed, Plans(store, settings))
        self._log = store
        self._settings = settings
        self._clock = clock or Clock()
        self._turns = TurnLoop(
            store,
            registry,
            self._plans,
            self._feed,
            max_concurrent_steps=max_concurrent_steps,
            limits=limits or {},
            settings=settings,
            vault=Vault(secrets),
            clock=self._clock,
            draw=draw,
        )
        self._lines = Lines(store, self._turns, settings, self._is_ours)
        self._children = Children(self, self.catalog, self._turns, settings)
        self._scheduler = Scheduler(store, self._plans, self, settings, self._clock)
        self._events = Events(store, self._turns, settings, self._clock, self._is_ours)
        self._turns.onlooker = _Onlooker(self._lines, self._children, self._scheduler, self._events)
        self._retention = Retention(
            store, self._turns.residents, settings, self._clock, keep or {}, doubt=self._turns.doubt
        )
        self._imports = Imports(store, settings, self._clock)
        inbox = Inbox(store.path, max_bytes=settings.max_payload_bytes)
        self._remote = RemoteCommands(inbox, self, settings) if store.path else None
        self._recovers_all = False
        self._was_opened = False

    # -- life

    async def open(self, recover: str | Collection[str]) -> None:
        """Open the log, take up open executions, look into the inbox, and only then let steps start."""
        if self._was_opened:
            raise ConflictError("an engine is opened once; make another one", "", "closed")
        await self._log.open()
        self._was_opened = True
        try:
            self._turns.start()
            self._recovers_all = recover == "all"
            if recover != "none":
                await self._recover(None if self._recovers_all else set(recover))
            self._events.look_again()
            if self._recovers_all:
                await self._scheduler.start()
            if self._remote is not None:
                await self._remote.start()
        except BaseException:
            await self.close(timedelta(0))
            raise
        self._turns.admit()
        self._retention.start()

    async def close(self, grace: timedelta) -> None:
        """Drain, interrupt, close. A forked child's copy is only let go of: everything in it is the parent's."""
        if self._turns.is_forked:
            return
        try:
            if self._remote is not None:
                await self._remote.stop()
            await self._scheduler.stop()
            await self._events.stop()
            await self._children.stop()
            await self._lines.stop()
            await self._retention.stop()
            await self._turns.stop(grace)
        finally:
            self._feed.close()
            error = StoreError("the engine was closed; the execution goes on when it is opened again", self._log.path)
            self._turns.refuse_all(error)
            await asyncio.shield(self._log.close())

    @property
    def health(self) -> Health:
        """Return whether it takes work, and starts what is due."""
        found = self._turns.health
        reason = found.reason or self._scheduler.failure
        return msgspec.structs.replace(
            found,
            ok=not reason,
            reason=reason,
            unregistered_workflows=self._children.unregistered,
            dropped_events=self._events.dropped,
        )

    async def serves(self, execution_id: str) -> bool:
        """Tell whether commands of other processes to this execution (``""``: to none) are for this engine.

        One that goes on with some executions only leaves the others to the engine that will run them.
        """
        if self._is_ours(execution_id):
            return True
        row = await self._log.get(execution_id)
        return row is None or not row.is_open

    @property
    def recovers_all(self) -> bool:
        """Tell whether this engine goes on with every execution of the file."""
        return self._recovers_all

    def _is_ours(self, execution_id: str) -> bool:
        return self._recovers_all or execution_id in self._turns.residents

    def check_lives(self) -> None:
        """Raise ``TreadleError`` if no verb will ever be carried out."""
        self._turns.check_lives()

    def is_here(self, execution_id: str) -> bool:
        """Tell whether an execution is open, as far as is known without reading."""
        return execution_id in self._turns.residents

    async def _recover(self, wanted: Collection[str] | None) -> None:
        before: int | None = None
        while rows := await self._log.list(Filter(is_open=True), limit=1_000, before=before):
            for name in [row.execution_id for row in rows if wanted is None or row.execution_id in wanted]:
                if self._turns.residents.has_room:
                    await self._turns.residents.take_up(name)
                else:
                    self._turns.residents.fetch([name])
            before = rows[-1].number

    # -- verbs

    @property
    def schedules(self) -> Scheduler:
        """Return what starts by itself, where all open executions are recovered."""
        return self._scheduler

    async def start(self, order: Order) -> str:
        """Create and begin an execution."""
        self._check_takes_work()
        if order.execution_id in self._imports.names:
            raise ConflictError(f"execution {order.execution_id!r} is being imported", order.execution_id)
        definition = self._plans.define(order.workflow)
        async with self._lines.hold(order.workflow.id, order.key):
            known = await self._known(order)
            first = await self._lines.first(order.workflow.id, order.key) if known is None else None
            if first is not None and (other := existing(order, first)) is not None:
                return other
            if known is None and await self._turns.residents.room():
                known = await self._known(order)
            if known is not None:
                self._turns.residents.let_start()  # it needs no room after all
                return await self._start_again(known, order, definition.name)
            state = State(self._plans.of(definition))
            resident = Resident(order.execution_id, state, self._clock, definition=definition.document)
            self._turns.residents.add(resident)
            await self._turns.ask(resident, _start_request(order, resident.now_ms(), queued=first is not None))
        if first is not None:
            self._lines.note(resident)
        return order.execution_id

    async def fork(self, fork: Fork) -> str:
        """Start an execution that keeps what does not follow a step of another."""
        self._check_takes_work()
        source = await self._resident(fork.source)
        if not self._turns.is_settled(source):
            await self._turns.ask(source, TimeReached(at=source.now_ms()))
        found = await load(self._log, self._plans, fork.source)
        assert found is not None  # it was there a moment ago
        workflow = fork.workflow or found.state.plan.workflow
        plan = self._plans.of(self._plans.define(workflow))
        turns = [decode_events(turn.events) for turn in await self._log.read(fork.source)]
        return await self.start(
            Order(
                execution_id=fork.execution_id,
                workflow=workflow,
                input=self._merged(workflow, found.state.input_value, fork.inputs),
                priority=found.state.priority,
                tags=found.state.tags,
                has_new_id=fork.has_new_id,
                forked_from=fork.source,
                forked_step=fork.step,
                kept=kept_by_fork(plan, found.state, turns[: found.sequence], fork.step),
            )
        )

    def _check_takes_work(self) -> None:
        self._turns.check_lives()
        if not self._turns.health.ok:
            raise StoreError(self._turns.health.reason, self._log.path)

    async def register(self, workflows: Sequence[Workflow]) -> list[WorkflowVersion]:
        """Register workflows."""
        self._check_takes_work()
        try:
            registered = await register(self._log, self._plans, workflows, at=self._clock.wall_ms())
        except StoreError as error:
            self._turns.doubt(error)
            raise
        self._children.registered([one.workflow_id for one in registered])
        return registered

    async def _known(self, order: Order) -> Resident | None:
        """Return the execution of that id, if there is one."""
        residents = self._turns.residents
        known = residents.get(order.execution_id)
        if known is None and not order.has_new_id and await self._log.get(order.execution_id) is not None:
            with contextlib.suppress(NotFoundError):  # it had ended, and was removed meanwhile
                known = await residents.loaded(order.execution_id)
        return known or residents.get(order.execution_id)

    async def _start_again(self, known: Resident, order: Order, name: str) -> str:
        if not self._turns.is_settled(known):  # another start of the same id may be on its way to the log
            await self._turns.ask(known, TimeReached(at=known.now_ms()))
        state = known.state
        is_same = state.workflow_id == order.workflow.id if order.any_version else state.definition_hash == name
        has_input = _canonical(state.original_input) == _canonical(order.input)
        is_own = state.parent == order.parent and state.parent_step == order.parent_step
        if not is_same or not has_input or state.key != order.key or not is_own:
            what = "definition" if not is_same else "input" if not has_input else "key" if is_own else "parent"
            message = f"execution {order.execution_id!r} exists with another {what}; choose another id"
            raise ConflictError(message, order.execution_id, state.status.value)
        return order.execution_id

    async def import_execution(
        self, document: Mapping[str, JsonValue] | str | bytes, check: Callable[[Workflow], object], *, goes_on: bool
    ) -> str:
        """Write an exported execution into the log."""
        self._check_takes_work()
        found = transfer.read(document, check, self._settings)
        try:
            await self._imports.write(found, self._turns.residents)
        except StoreError as error:
            self._turns.doubt(error)
            raise
        self._feed.lapse()  # those who watch read it from the log
        if goes_on:
            await self._turns.residents.take_up(found.execution_id)
        self._events.look_again()
        return found.execution_id

    async def prune(self, keep: Mapping[str, int], *, is_dry: bool) -> Sequence[str]:
        """Remove executions that ended long enough ago."""
        self._turns.check_lives()
        return await self._retention.sweep(keep, is_dry=is_dry)

    # -- reads

    async def wait(self, execution_id: str, *, until_ended: bool) -> ExecutionState:
        """Return the state once there is nothing to wait for."""
        resident = await self._resident(execution_id)
        return await self._turns.wait(resident, until_ended=until_ended)

    async def explain(self, execution_id: str, step: str) -> Explanation:
        """Return why an execution does not go on, with what only the engine knows."""
        if execution_id in self._turns.residents.quarantined:
            text = f"it was set aside: {self._turns.residents.quarantined[execution_id]}"
            return Explanation(Reason.QUARANTINED, text, what_to_do="look into it with treadle doctor")
        resident = self._turns.residents.get(execution_id)
        if resident is None and execution_id in self._turns.residents:
            resident = await self._turns.residents.take_up(execution_id)
        if resident is not None:
            if not self._turns.is_settled(resident) and self._turns.health.ok:  # nothing is told before its commit
                await self._turns.ask(resident, TimeReached(at=resident.now_ms()))
            first = await self._lines.first(resident.state.workflow_id, resident.state.key)
            return explain_here(self._turns, resident, step, first)
        found = await super().explain(execution_id, step)
        if found.reason is Reason.ENDED or self._recovers_all:
            return found
        text = f"this engine does not go on with it; {found.text}"
        return msgspec.structs.replace(found, reason=Reason.NO_ENGINE, text=text, what_to_do="resume it here")

    async def occupancy(self) -> Occupancy:
        """Return how slots and limits stand."""
        self._turns.check_lives()
        return self._turns.occupancy()

    async def state(self, execution_id: str) -> ExecutionState:
        """Return what is committed."""
        resident = self._turns.residents.get(execution_id)
        if resident is not None and self._turns.is_settled(resident):
            return snapshot(resident.state)
        return await super().state(execution_id)


class _Onlooker:
    """Hands on what the turn loop tells."""

    def __init__(self, lines: Lines, children: Children, scheduler: Scheduler, events: Events) -> None:
        self._lines = lines
        self._children = children
        self._scheduler = scheduler
        self._events = events
        self.command = children.command

    def ended(self, resident: Resident) -> None:
        """Take note of an execution that has ended, or was set aside."""
        self._lines.note(resident)
        self._scheduler.ended(resident.id)

    def taken_up(self, resident: Resident) -> None:
        """Take note of an execution that was read from the log."""
        self._lines.note(resident)
        self._children.taken_up(resident)
        self._events.turned(resident)

    def turned(self, resident: Resident) -> None:
        """Take note of an execution of which a turn was committed."""
        self._children.turned(resident)
        self._events.turned(resident)


def _start_request(order: Order, now: int, *, queued: bool) -> StartRequested:
    return StartRequested(
        execution_id=order.execution_id,
        input=order.input,
        priority=order.priority,
        tags=order.tags,
        key=order.key,
        start_at=now + order.delay_ms if order.delay_ms else order.start_at,
        queued=queued,
        parent=order.parent,
        parent_step=order.parent_step,
        depth=order.depth,
        is_awaited=order.is_awaited,
        forked_from=order.forked_from,
        forked_step=order.forked_step,
        kept=order.kept,
        supersedes=queued and order.on_conflict is OnConflict.CANCEL_RUNNING,
        at=now,
    )


def _canonical(data: Raw) -> bytes:
    """Return the bytes of a JSON value with its keys in order: ``1`` is not ``true``, and order does not count."""
    return msgspec.json.encode(decode_payload(data), order="deterministic")
