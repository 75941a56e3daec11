"""Executions that steps of others start: they begin, pause, resume and are cancelled with them, and report back.

A parent and a child are two logs, so each tells the other only what is committed, and each may hear it twice. Whatever
a crash left untold is told again when one of the two is read back: a parent starts what it asked for unless it exists,
and asks how it stands; a child asks whether anybody still waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

import msgspec

from treadle.drivers.protocol import Order
from treadle.errors import ConflictError, NotFoundError, QuarantineError, StoreError, TreadleError, ValidationError
from treadle.machine import execution_output, owed_to_children
from treadle.machine.commands import CancelChild, PauseChild, ResumeChild, StartChild
from treadle.machine.inputs import ChildBegan, ChildEnded, ChildRested, ChildWentOn, TimeReached
from treadle.model import ExecutionStatus, StepError
from treadle.values import decode_payload, encode_decoded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from msgspec import Raw

    from treadle.drivers.local.catalog import Catalog
    from treadle.drivers.local.resident import Resident
    from treadle.drivers.local.turns import TurnLoop
    from treadle.machine import ChildCommand, State
    from treadle.machine.inputs import AnyInput
    from treadle.model import Workflow
    from treadle.settings import Settings

_logger = logging.getLogger("treadle.engine")


class Verbs(Protocol):
    """What is done to a child, as to any execution."""

    async def start(self, order: Order) -> str:
        """Start it."""

    async def cancel(self, execution_id: str, reason: str) -> bool:
        """Cancel it."""

    async def retry(self, execution_id: str, request: str, *, by_parent: bool) -> bool:
        """Let it go on where it failed."""

    async def pause(self, execution_id: str) -> bool:
        """Pause it."""

    async def resume(self, execution_id: str, inputs: Raw | None) -> bool:
        """Resume it."""


class Children:
    """The bonds between the executions of one engine. Lives on one event loop.

    Args:
        verbs: Of the driver.
        catalog: The registered workflows.
        turns: Turns the executions.
        settings: How long to wait before a failing log is tried again.
    """

    def __init__(self, verbs: Verbs, catalog: Catalog, turns: TurnLoop, settings: Settings) -> None:
        self._verbs = verbs
        self._catalog = catalog
        self._turns = turns
        self._settings = settings
        self._tails: dict[str, asyncio.Task[None]] = {}
        self._resting: set[str] = set()
        self._resuming: set[str] = set()
        self._waiting: dict[str, list[tuple[str, StartChild]]] = {}
        self._is_stopped = False

    @property
    def unregistered(self) -> tuple[str, ...]:
        """Return the ids of workflows that steps wait for because none is registered under them."""
        return tuple(self._waiting)

    # -- what the turn loop tells

    def command(self, parent: Resident, command: ChildCommand) -> None:
        """Carry out what a committed turn of a parent asks for."""
        if isinstance(command, ResumeChild):
            self._resuming.add(command.child)
        self._behind(command.child, lambda: self._carry_out(parent.id, command))

    def turned(self, resident: Resident) -> None:
        """Report a child that has ended, rests or goes on, once that is committed."""
        state = resident.state
        if not state.is_awaited:
            return
        if state.ended_at or resident.rests:
            self._resting.add(resident.id)
        elif resident.id in self._resting:
            self._resting.discard(resident.id)
        else:
            return
        if state.ended_at:
            self._resting.discard(resident.id)
        self._behind(resident.id, lambda: self._report(resident.id))

    def taken_up(self, resident: Resident) -> None:
        """Do again what may have been lost: an execution was read back from the log."""
        state = resident.state
        for command in () if state.ended_at else owed_to_children(state):
            self.command(resident, command)
        if state.is_awaited and not state.ended_at:
            self._behind(resident.id, lambda: self._look_for_parent(resident.id, state.parent, state.parent_step))

    def registered(self, workflows: Iterable[str]) -> None:
        """Start the children that waited for a workflow."""
        for workflow in workflows:
            for parent, command in self._waiting.pop(workflow, ()):
                self._behind(command.child, lambda parent=parent, command=command: self._carry_out(parent, command))  # type: ignore[misc]

    async def stop(self) -> None:
        """Tell nothing more. Safe twice."""
        self._is_stopped = True
        tasks = list(self._tails.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # -- one thing after the other for each child

    def _behind(self, child: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do something behind all else that is to be done about a child."""
        if not self._is_stopped:
            before = self._tails.get(child)
            task = asyncio.create_task(self._run(child, before, work), name="treadle-child")
            self._tails[child] = task

    async def _run(self, child: str, before: asyncio.Task[None] | None, work: Callable[[], Awaitable[None]]) -> None:
        if before is not None:
            await asyncio.wait([before])
        try:
            await self._try(child, work)
        finally:
            if self._tails.get(child) is asyncio.current_task():
                del self._tails[child]

    async def _try(self, child: str, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except QuarantineError as error:
                _logger.warning("nothing can be done about child %r: %s", child, error)
            except StoreError as error:
                _logger.warning("child %r has to wait: %s", child, error)
                await asyncio.sleep(self._settings.store_retry_ms / 1000)
                continue
            except (ConflictError, NotFoundError) as error:  # the engine closes, or one of the two is gone
                _logger.info("child %r: %s", child, error)
            except TreadleError as error:  # a defect, which the engine has told of itself
                _logger.warning("child %r: %s", child, error)
            return

    # -- parent to child

    async def _carry_out(self, parent: str, command: ChildCommand) -> None:
        match command:
            case StartChild():
                await self._start(parent, command)
            case CancelChild():
                await self._verbs.cancel(command.child, f"execution {parent!r} no longer waits for it")
            case PauseChild():
                await self._verbs.pause(command.child)
            case ResumeChild():
                await self._resume(command)

    async def _start(self, parent: str, command: StartChild) -> None:
        try:
            workflow = (await self._catalog.plan(command.workflow)).workflow
        except NotFoundError:
            self._waiting.setdefault(command.workflow, []).append((parent, command))
            _logger.warning("step %r of %r waits: no workflow %r is registered", command.step, parent, command.workflow)
            return
        try:
            _check_input(workflow, command.input)
            await self._verbs.start(await self._order(parent, command, workflow))
            if command.attempt > 1:
                again = f"{parent}/{command.step}#{command.attempt}"
                await self._verbs.retry(command.child, again, by_parent=True)
        except (ValidationError, ConflictError) as error:
            self._turns.check_lives()
            failure = StepError(type(error).__name__, f"execution {command.child!r}: {error}", step=command.step)
            await self._tell(
                parent, lambda at: ChildEnded(step=command.step, child=command.child, error=failure, at=at)
            )
            return
        if command.waits:
            await self._report(command.child)
        else:
            await self._tell(parent, lambda at: ChildBegan(step=command.step, child=command.child, at=at))

    async def _order(self, parent: str, command: StartChild, workflow: Workflow) -> Order:
        above = (await self._turns.residents.loaded(parent)).state
        return Order(
            execution_id=command.child,
            workflow=workflow,
            input=command.input,
            priority=above.priority,
            tags=above.tags,
            any_version=True,
            parent=parent,
            parent_step=command.step,
            depth=command.depth,
            is_awaited=command.waits,
        )

    async def _resume(self, command: ResumeChild) -> None:
        self._resuming.discard(command.child)
        try:
            await self._verbs.resume(command.child, command.inputs)
        except ValidationError as error:
            _logger.warning("child %r cannot be resumed with these inputs: %s", command.child, error)
        await self._report(command.child)  # if it rests on, its parent has to hear

    # -- child to parent

    async def _report(self, child: str) -> None:
        """Tell the parent how a child stands; it takes what is news to it."""
        resident = await self._turns.residents.loaded(child)
        if not resident.state.ended_at or not self._turns.is_settled(resident):
            await self._turns.ask(resident, TimeReached(at=resident.now_ms()))  # tell only what is committed
        if child not in self._resuming:
            await self._tell(resident.state.parent, _news(resident.state))

    async def _tell(self, parent: str, make: Callable[[int], AnyInput]) -> None:
        resident = await self._turns.residents.loaded(parent)
        if not resident.state.ended_at:
            await self._turns.ask(resident, make(resident.now_ms()))

    async def _look_for_parent(self, child: str, parent: str, step: str) -> None:
        """Cancel a child that nobody waits for any more, and tell its parent how it stands otherwise."""
        try:
            above = (await self._turns.residents.loaded(parent)).state
        except NotFoundError:
            return  # its log was deleted; what is left of the family goes on
        if above.children.get(step) != child:
            await self._verbs.cancel(child, f"execution {parent!r} no longer waits for it")


def _news(child: State) -> Callable[[int], AnyInput]:
    """Return what is to be told of a child, but for the time."""
    step, name = child.parent_step, child.execution_id
    if not child.ended_at:
        rests = child.status is ExecutionStatus.PAUSED and not child.in_flight
        names = child.waiting_for
        if rests:
            return lambda at: ChildRested(step=step, child=name, waiting_for=names, at=at)
        return lambda at: ChildWentOn(step=step, child=name, at=at)
    output = encode_decoded(execution_output(child)) if child.status is ExecutionStatus.COMPLETED else None
    error = None if child.error is None else _as_step_error(child, child.error)
    is_cancelled = child.status is ExecutionStatus.CANCELLED
    return lambda at: ChildEnded(step=step, child=name, output=output, error=error, is_cancelled=is_cancelled, at=at)


def _as_step_error(child: State, error: StepError) -> StepError:
    """Return why a child did not complete as why the step did not."""
    details = {**error.details, "execution_id": child.execution_id}
    if error.step:
        details["step"] = error.step
    return msgspec.structs.replace(error, step=child.parent_step, attempt=0, details=details)


def _check_input(workflow: Workflow, given: Raw) -> None:
    if workflow.input_schema is None:
        return
    from treadle.schemas import compile_schema  # loaded only where a workflow has a schema

    problems = compile_schema(workflow.input_schema).problems(decode_payload(given), "input")
    if problems:
        raise ValidationError("; ".join(str(one) for one in problems), problems)
