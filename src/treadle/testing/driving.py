"""How a rehearsal goes on: a verb, then everything that follows, until the executions rest or ``until`` says.

They rest once each has ended, rests in PAUSED, or waits for nobody but people (``input`` nodes) and events. What the
steps of an execution have started belongs to it.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar

from treadle import NotFoundError, ValidationError
from treadle.model import ExecutionStatus, NodeType
from treadle.paths import all_nodes, find_node
from treadle.testing.calls import Hold
from treadle.testing.casting import EXECUTION_ID, cast_name, find_cast, runs
from treadle.testing.errors import RehearsalError
from treadle.testing.stage import Stage
from treadle.testing.story import tell

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from treadle import WorkflowEngine
    from treadle.model import ExecutionState, HistoryEvent, Node, Workflow
    from treadle.testing.stage import Parts
    from treadle.testing.stores import BlockingStore

_T = TypeVar("_T")

Until: TypeAlias = "str | tuple[str, int] | timedelta | None"
"""Where a verb stops early: once a step's action was called (by its first attempt, or by that of the given number) and
before what came of it is recorded; after so much virtual time; or (None) not before the execution rests."""

_HOLDERS: Final = (NodeType.MAP, NodeType.LOOP, NodeType.PARALLEL)
"""Nodes that wait for the steps in them."""


class Look(NamedTuple):
    """How an execution stood when somebody looked."""

    workflow: Workflow
    state: ExecutionState
    history: Sequence[HistoryEvent]


class Director:
    """Drives the executions of one rehearsal.

    Args:
        parts: What the stage is made of.
        blocking: The store of ``parts``, where it is one of this kind.
        is_strict: Every replacement must be called by the time the execution ends.

    Attributes:
        looks: By id, in the order they were found, how each execution stood when the last verb returned.
    """

    def __init__(self, parts: Parts, blocking: BlockingStore | None, *, is_strict: bool) -> None:
        self.looks: dict[str, Look] = {}
        self.parts = parts
        self._blocking = blocking
        self._is_strict = is_strict
        self._stage = Stage(parts)
        self._dropped: list[Stage] = []
        self._is_closed = False
        self._events = 0

    def drive(self, verb: Callable[[WorkflowEngine], Coroutine[Any, Any, _T]], until: Until) -> _T:
        """Carry out a verb, and whatever follows from it; return what the verb gave.

        Raises:
            RehearsalError: The rehearsal is closed, a step called what it must not, or nothing will ever happen.
            ValidationError: ``until`` names no step that calls an action.
        """
        if self._is_closed:
            raise RehearsalError("the rehearsal is closed")
        hold = self._hold_at(until)
        result = self._stage.run(self._whole(verb, until, hold), self._how_it_stands)
        self._check_strict()
        return result

    def go_on(self, until: Until) -> None:
        """Go on without a verb."""
        self.drive(_nothing, until)

    def crash(self, until: Until) -> None:
        """Drop the engine without a word, and open another one on the same log."""
        if self._is_closed:
            raise RehearsalError("the rehearsal is closed")
        self._dropped.append(self._stage)
        self.parts.calls.hold = None
        if self._blocking is not None:
            self._blocking = self.parts.store = self._blocking.reborn()
        self._stage = Stage(self.parts)
        self.drive(_open, until)

    def close(self) -> None:
        """End the rehearsal, whatever still runs. Safe twice."""
        if self._is_closed:
            return
        self._is_closed = True
        for stage in (*self._dropped, self._stage):
            stage.clear()
        if self._blocking is not None:
            self._blocking.shut()

    def children(self, execution_id: str) -> list[str]:
        """Return the ids of the executions that steps of one have started, in that order."""
        look = self.looks.get(execution_id)
        asked = () if look is None else (one.data["child"] for one in look.history if one.kind == "ChildRequested")
        return [one for one in dict.fromkeys(map(str, asked)) if one in self.looks]

    def next_event(self) -> str:
        """Return the id of the next event that is sent: the same in every run of a test."""
        self._events += 1
        return f"event-{self._events}"

    def story(self) -> str:
        """Return what happened in all executions, a line for each event."""
        return "\n".join(_told(name, look) for name, look in self.looks.items()) or "nothing yet"

    # -- how

    async def _whole(
        self, verb: Callable[[WorkflowEngine], Coroutine[Any, Any, _T]], until: Until, hold: Hold | None
    ) -> _T:
        calls = self.parts.calls
        held, calls.hold = calls.hold, hold  # before the verb, which may be what calls that step
        try:
            result = await verb(self._stage.engine)
            if held is not None:
                held.release()
            if hold is not None:
                await self._reach(hold)
            elif isinstance(until, timedelta):
                await asyncio.sleep(until.total_seconds())
                await self._stage.quiet()
            else:
                await self._rest()
            return result
        finally:
            await self._look()

    async def _reach(self, hold: Hold) -> None:
        reaching = asyncio.ensure_future(hold.reached.wait())
        resting = asyncio.ensure_future(self._rest())
        try:
            await asyncio.wait({reaching, resting}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            reaching.cancel()
            resting.cancel()
        if not hold.reached.is_set():
            self.parts.calls.hold = None
            await self._look()
            raise RehearsalError(f"the execution rests, and {hold} was not called\n{self.story()}")

    async def _rest(self) -> None:
        """Wait until all executions rest."""
        if not any(node.type is NodeType.WORKFLOW or node.workflow or _waits_outside(node) for node in self._nodes()):
            await self._stage.engine.wait(EXECUTION_ID)
            return
        while True:
            await self._stage.quiet()
            await self._look()
            if all(map(_rests, self.looks.values())):
                return
            newest = max(look.history[-1].cursor for look in self.looks.values())
            async for _ in self._stage.engine.watch(after=newest):
                break

    def _nodes(self) -> list[Node]:
        return [node for _, node in all_nodes(self.parts.workflow)]

    async def _look(self) -> None:
        """Take in how the executions stand: that of the test, and whatever steps have started."""
        agenda = [EXECUTION_ID]
        for name in agenda:
            with contextlib.suppress(NotFoundError):  # its start was refused, or it is not there yet
                engine = self._stage.engine
                workflow = await engine.state_manager.get_execution_workflow(name)
                look = Look(workflow, await engine.get_execution_state(name), await engine.history(name))
                self.looks[name] = look
                asked = (str(one.data["child"]) for one in look.history if one.kind == "ChildRequested")
                agenda.extend(dict.fromkeys(asked))

    def _hold_at(self, until: Until) -> Hold | None:
        if until is None or isinstance(until, timedelta):
            return None
        step, attempt = (until, None) if isinstance(until, str) else until
        node = find_cast(self.parts.workflow, self.parts.workflows, step, is_one=True)
        if not node.calls:
            raise ValidationError(f"step {step!r} calls no action to stop at; give a timedelta")
        return Hold(step, attempt)

    def _how_it_stands(self) -> str:
        if not self.looks:
            return ""
        running = [
            cast_name(name, step)
            for name, look in self.looks.items()
            for step, one in look.state.steps.items()
            if one.status.value == "RUNNING"
        ]
        still = f"; still running: {', '.join(running)}" if running else ""
        return f"{still}\n{self.story()}"

    def _check_strict(self) -> None:
        unused = self.parts.calls.never_made
        if self._is_strict and unused and self.looks[EXECUTION_ID].state.status.is_terminal:
            names = ", ".join(map(repr, unused))
            raise RehearsalError(f"replaced and never called: {names}\n{self.story()}")


async def _open(engine: WorkflowEngine) -> None:
    await engine.__aenter__()


async def _nothing(_: WorkflowEngine) -> None:
    """Ask for nothing."""


def _told(name: str, look: Look) -> str:
    child = name[len(EXECUTION_ID) + 1 :]
    return f"{f'{child} runs ' if child else ''}{tell(look.state, look.history)}"


def _rests(look: Look) -> bool:
    """Tell whether an execution does nothing by itself."""
    state = look.state
    if state.status.is_terminal:
        return True
    is_undoing = any(not one.status.is_terminal for one in state.compensations.values())
    if state.in_flight or is_undoing:
        return False
    return state.status is ExecutionStatus.PAUSED or not _is_busy(look)


def _is_busy(look: Look) -> bool:
    """Tell whether a step goes on by itself: not one that waits for somebody, nor what holds only such."""
    under_way = (name for name, step in look.state.steps.items() if step.status.value in ("RUNNING", "WAITING"))
    return any(not _waits_for_others(look.workflow, name) for name in under_way)


def _waits_for_others(workflow: Workflow, step: str) -> bool:
    node = find_node(workflow, step)
    return bool(runs(workflow, step)) or (node is not None and (node.type in _HOLDERS or _waits_outside(node)))


def _waits_outside(node: Node) -> bool:
    """Tell whether a step of the node waits for a person or an event."""
    if node.type is NodeType.WAIT:
        return all(timer.event for timer in node.timers)
    return node.type in (NodeType.INPUT, NodeType.EVENT)
