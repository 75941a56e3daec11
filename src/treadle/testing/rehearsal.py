"""``rehearse``: a whole execution on a virtual clock, with actions replaced, driven and looked at by a test.

Between two verbs time stands still. A verb returns when the execution has ended, rests in PAUSED, or waits for nobody
but people (``input`` nodes) and events, or where ``until`` says. However long that takes in the workflow, it takes
milliseconds here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol, Self, TypeAlias

from treadle import NotFoundError, Registry, ValidationError, load_workflow, load_workflows
from treadle.model import NodeType
from treadle.paths import all_nodes, find_node, first_steps, is_step
from treadle.secrets import as_provider
from treadle.store.memory import MemoryStore
from treadle.testing.calls import Calls, Hold
from treadle.testing.clock import START, ManualClock
from treadle.testing.errors import RehearsalError
from treadle.testing.replacing import check_replacements
from treadle.testing.stage import Parts, Stage
from treadle.testing.story import ToldDict, ToldList, ToldText, path, tell, told_dict, told_list, told_text

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path
    from typing import Any

    from treadle.definition import Source
    from treadle.model import ExecutionState, HistoryEvent, JsonValue, Node, StepError, Workflow
    from treadle.secrets import Secrets
    from treadle.store.protocol import Store
    from treadle.testing.calls import Call
    from treadle.testing.stores import BlockingStore
    from treadle.testing.words import Replacement

Until: TypeAlias = "str | tuple[str, int] | timedelta | None"
"""Where a verb stops early: once a step's action was called (by its first attempt, or by that of the given number) and
before what came of it is recorded; after so much virtual time; or (None) not before the execution rests."""

EXECUTION_ID: Final = "rehearsal"
GROUPS: Final = (NodeType.MAP, NodeType.LOOP, NodeType.PARALLEL)


class Rehearse(Protocol):
    """The type of the fixture ``treadle_run``: ``rehearse`` with the project's actions, closed after the test."""

    def __call__(
        self,
        workflow: Workflow | Mapping[str, JsonValue] | str | Path,
        input_data: Mapping[str, JsonValue] | None = None,
        *,
        actions: Iterable[object] = (),
        replace: Mapping[str, Replacement] | None = None,
        until: Until = None,
        strict: bool = False,
        secrets: Secrets | None = None,
        store: str | os.PathLike[str] | Store = ":memory:",
        max_concurrent_steps: int = 5,
        start: datetime = START,
        seed: int = 0,
        patience: float = 30.0,
    ) -> Rehearsal:
        """Begin a rehearsal; see ``rehearse``."""


def rehearse(
    workflow: Workflow | Mapping[str, JsonValue] | str | Path,
    input_data: Mapping[str, JsonValue] | None = None,
    *,
    actions: Iterable[object] = (),
    workflows: Iterable[Source] = (),
    replace: Mapping[str, Replacement] | None = None,
    until: Until = None,
    strict: bool = False,
    secrets: Secrets | None = None,
    store: str | os.PathLike[str] | Store = ":memory:",
    max_concurrent_steps: int = 5,
    start: datetime = START,
    seed: int = 0,
    patience: float = 30.0,
) -> Rehearsal:
    """Start an execution on a virtual clock and run it until it ends or rests.

    Works in sync and async tests alike: it blocks, and where an event loop runs already it runs on another thread.

    Args:
        workflow: A ``Workflow``, a document, or the path or text of one.
        input_data: JSON object.
        actions: As ``WorkflowEngine`` takes them; those that are not replaced are really called.
        workflows: What its steps run, as ``WorkflowEngine`` takes them.
        replace: What stands for an action, by its name: a function with a fitting signature, a JSON value that every
            call gives, an exception that every call raises, or a word of ``treadle.testing``: ``outcomes``,
            ``by_step``, ``returns``, ``raises``, ``never``.
        until: Where to stop early.
        strict: Every replacement must be called by the time the execution ends, and be of an action that it may call.
        secrets: As ``WorkflowEngine`` takes them; None for made-up ones, one for each name.
        store: ``":memory:"``, a path (SQLite), or a store.
        max_concurrent_steps: As of the engine.
        start: When it begins.
        seed: Of the random numbers that jitter draws.
        patience: Seconds of real time that one verb may take.

    Returns:
        The rehearsal; close it, or use it as a context manager. The fixture ``treadle_run`` closes it.

    Raises:
        ValidationError: The workflow, the input or a replacement is wrong.
        RehearsalError: A step called what has neither action nor replacement, nothing will ever happen, or (``strict``)
            a replacement was never called.
    """
    real = Registry(actions)
    given = dict(replace or {})
    loaded = load_workflow(workflow)
    inner = load_workflows(workflows)
    of_inner = {name for one in inner for _, node in all_nodes(one) for name in node.action_names}
    own = {name for _, node in all_nodes(loaded) for name in node.action_names}
    checked = {name: one for name, one in given.items() if name in own or name not in of_inner}
    check_replacements(loaded, real, checked, is_strict=strict)
    blocking = None if store == ":memory:" else _blocking(store)
    parts = Parts(
        MemoryStore() if blocking is None else blocking,
        ManualClock(start),
        Calls(real, given, {node.id for node in loaded.nodes}),
        real,
        loaded,
        inner,
        secrets=as_provider(_made_up if secrets is None else secrets),
        slots=max_concurrent_steps,
        seed=seed,
        patience=patience,
    )
    rehearsal = Rehearsal(parts, blocking, strict=strict)
    try:
        rehearsal.begin(input_data, until)
    except BaseException:
        rehearsal.close()
        raise
    return rehearsal


async def _made_up(name: str) -> str:
    return f"a made-up secret {name}"


def _blocking(store: str | os.PathLike[str] | Store) -> BlockingStore:
    from treadle.store.sqlite import SqliteStore  # loaded only where a file is used
    from treadle.testing.stores import BlockingStore

    return BlockingStore(SqliteStore(store) if isinstance(store, str | os.PathLike) else store)


class Rehearsal:
    """One execution on a virtual clock. Made by ``rehearse``."""

    def __init__(self, parts: Parts, blocking: BlockingStore | None, *, strict: bool) -> None:
        self._parts = parts
        self._blocking = blocking
        self._strict = strict
        self._stage = Stage(parts)
        self._dropped: list[Stage] = []
        self._is_closed = False
        self._state: ExecutionState | None = None
        self._history: Sequence[HistoryEvent] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Rehearsal {self.story()}>"

    # -- what happened

    @property
    def state(self) -> ExecutionState:
        """Return the state of the execution."""
        if self._state is None:
            raise RehearsalError("the execution did not begin")
        return self._state

    @property
    def history(self) -> Sequence[HistoryEvent]:
        """Return every event, in order."""
        return self._history

    @property
    def status(self) -> ToldText:
        """Return the status as text."""
        return told_text(self.state.status.value, self.story())

    @property
    def path(self) -> ToldList:
        """Return the steps in the order they started, each once."""
        return told_list(path(self._history), self.story())

    @property
    def skipped(self) -> ToldList:
        """Return the steps that were skipped, in the order of the definition."""
        return told_list(
            [name for name, step in self.state.steps.items() if step.status.value == "SKIPPED"], self.story()
        )

    @property
    def statuses(self) -> ToldDict:
        """Return the status of each step, as text."""
        return told_dict({name: step.status.value for name, step in self.state.steps.items()}, self.story())

    @property
    def attempts(self) -> ToldDict:
        """Return how many attempts were made, by step; one that made none is left out."""
        counts = {name: step.attempt for name, step in self.state.steps.items() if step.attempt}
        return told_dict(dict(counts), self.story())

    @property
    def outputs(self) -> ToldDict:
        """Return what completed steps gave."""
        done = {name: step.output for name, step in self.state.steps.items() if step.status.value == "COMPLETED"}
        return told_dict(done, self.story())

    @property
    def errors(self) -> ToldDict:
        """Return the type of the error of each step that did not end well."""
        failed = {
            name: step.error.type
            for name, step in self.state.steps.items()
            if step.error is not None and step.status.value in ("FAILED", "TIMED_OUT")
        }
        return told_dict(dict(failed), self.story())

    @property
    def undone(self) -> ToldList:
        """Return the steps that were undone, in that order."""
        undone = [name for name, one in self.state.compensations.items() if one.status.value == "COMPLETED"]
        return told_list(undone, self.story())

    @property
    def output(self) -> JsonValue:
        """Return the output of the execution; None until COMPLETED."""
        return self.state.output

    @property
    def error(self) -> StepError | None:
        """Return the error of the execution; None if it has none."""
        return self.state.error

    @property
    def waiting_for(self) -> ToldList:
        """Return the names of missing inputs."""
        return told_list(self.state.waiting_for, self.story())

    def wait_seconds(self, step: str) -> list[float]:
        """Return the waits between the attempts of a step, in seconds."""
        self._need_step(step)
        return [
            event.data["delay_ms"] / 1000
            for event in self._history
            if event.kind == "AttemptFailed" and event.step == step
        ]

    def calls(self, action: str | None = None) -> list[Call]:
        """Return the calls of an action, in order; None for all."""
        return [one for one in self._parts.calls.made if action in (None, one.action)]

    @property
    def now(self) -> datetime:
        """Return the virtual time."""
        return self._parts.clock.now

    @property
    def elapsed(self) -> timedelta:
        """Return how much virtual time has passed since the rehearsal began."""
        return timedelta(seconds=self._parts.clock.elapsed)

    def story(self) -> str:
        """Return what happened, a line for each event."""
        return "nothing yet" if self._state is None else tell(self._state, self._history)

    # -- what the test does

    def begin(self, input_data: Mapping[str, JsonValue] | None, until: Until) -> None:
        """Start the execution; called by ``rehearse``."""

        async def start() -> None:
            await self._stage.engine.__aenter__()
            await self._stage.engine.start_workflow(self._parts.workflow, input_data, execution_id=EXECUTION_ID)

        self._drive(start(), until)

    def go_on(self, until: Until = None) -> None:
        """Go on where ``until`` stopped."""
        self._drive(None, until)

    def advance(self, by: timedelta | float) -> None:
        """Let virtual time go on by a ``timedelta`` or seconds, and whatever is due within it happen."""
        self.go_on(by if isinstance(by, timedelta) else timedelta(seconds=by))

    def resume(self, inputs: Mapping[str, JsonValue] | None = None, *, until: Until = None) -> bool:
        """Go on with a paused execution, with ``inputs`` merged over its input; as ``resume_workflow``."""
        return bool(self._drive(self._stage.engine.resume_workflow(EXECUTION_ID, inputs), until))

    def pause(self, *, until: Until = None) -> bool:
        """Start nothing new; as ``pause_execution``. What ``until`` kept back is recorded after the pause."""
        return bool(self._drive(self._stage.engine.pause_execution(EXECUTION_ID), until))

    def cancel(self, reason: str = "", *, until: Until = None) -> bool:
        """Cancel what runs, and end; as ``cancel_execution``. What ``until`` kept back is not used."""
        return bool(self._drive(self._stage.engine.cancel_execution(EXECUTION_ID, reason), until))

    def submit(self, step: str, data: JsonValue, *, until: Until = None) -> bool:
        """Answer an input node, then go on; as ``submit_input``."""
        return bool(self._drive(self._stage.engine.submit_input(EXECUTION_ID, step, data), until))

    def answer(self, step: str, answer: str, value: JsonValue = None, *, until: Until = None) -> None:
        """Say what becomes of a step whose attempts are spent, then go on; as ``WorkflowEngine.answer``."""
        self._drive(self._stage.engine.answer(EXECUTION_ID, step, answer, value), until)

    def terminate(self, reason: str = "") -> bool:
        """End at once; as ``terminate_execution``."""
        return bool(self._drive(self._stage.engine.terminate_execution(EXECUTION_ID, reason), None))

    def crash(self, *, until: Until = None) -> None:
        """Drop the engine as ``kill -9`` does, and open another one on the same log.

        Nothing of what ran goes on, not even a ``finally``; what was recorded stays.
        """
        self._need_open()
        self._dropped.append(self._stage)
        self._parts.calls.hold = None
        if self._blocking is not None:
            self._blocking = self._parts.store = self._blocking.reborn()
        self._stage = Stage(self._parts)

        async def recover() -> None:
            await self._stage.engine.__aenter__()

        self._drive(recover(), until)

    def close(self) -> None:
        """End the rehearsal, whatever still runs. Safe twice."""
        if self._is_closed:
            return
        self._is_closed = True
        for stage in (*self._dropped, self._stage):
            stage.clear()
        if self._blocking is not None:
            self._blocking.shut()

    # -- how

    def _drive(self, verb: Coroutine[Any, Any, object] | None, until: Until) -> object:
        try:
            self._need_open()
            hold = self._hold_at(until)
        except BaseException:
            if verb is not None:
                verb.close()
            raise
        result = self._stage.run(self._whole(verb, until, hold), self._how_it_stands)
        self._check_strict()
        return result

    async def _whole(self, verb: Coroutine[Any, Any, object] | None, until: Until, hold: Hold | None) -> object:
        calls = self._parts.calls
        held, calls.hold = calls.hold, hold  # before the verb, which may be what calls that step
        try:
            result = None if verb is None else await verb
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
            self._parts.calls.hold = None
            await self._look()
            raise RehearsalError(f"the execution rests, and {hold} was not called\n{self.story()}")

    async def _rest(self) -> None:
        """Wait until the execution has ended, rests in PAUSED, or waits for nobody but people and events."""
        if not any(_waits_outside(node) for _, node in all_nodes(self._parts.workflow)):
            await self._stage.engine.wait(EXECUTION_ID)
            return
        while True:
            await self._stage.quiet()
            await self._look()
            is_undoing = any(not one.status.is_terminal for one in self.state.compensations.values())
            rests = not self.state.in_flight and not is_undoing and not self._is_busy()
            if self.state.status.is_terminal or rests:
                return
            async for _ in self._stage.engine.watch(EXECUTION_ID, self._history[-1].cursor):
                break

    def _is_busy(self) -> bool:
        """Tell whether a step goes on by itself: not one that waits for somebody, nor what holds only such."""
        under_way = (name for name, step in self.state.steps.items() if step.status.value in ("RUNNING", "WAITING"))
        nodes = (find_node(self._parts.workflow, name) for name in under_way)
        return any(node is None or not (node.type in GROUPS or _waits_outside(node)) for node in nodes)

    async def _look(self) -> None:
        """Take in how the execution stands."""
        with contextlib.suppress(NotFoundError):  # its start was refused
            self._state = await self._stage.engine.get_execution_state(EXECUTION_ID)
            self._history = await self._stage.engine.history(EXECUTION_ID)

    def _hold_at(self, until: Until) -> Hold | None:
        if until is None or isinstance(until, timedelta):
            return None
        step, attempt = (until, None) if isinstance(until, str) else until
        self._need_step(step)
        node = find_node(self._parts.workflow, step)
        if node is None or not node.calls:
            raise ValidationError(f"step {step!r} calls no action to stop at; give a timedelta")
        return Hold(step, attempt)

    def _how_it_stands(self) -> str:
        if self._state is None:
            return ""
        running = [name for name, step in self.state.steps.items() if step.status.value == "RUNNING"]
        still = f"; still running: {', '.join(running)}" if running else ""
        return f"{still}\n{self.story()}"

    def _check_strict(self) -> None:
        unused = self._parts.calls.never_made
        if self._strict and unused and self.state.status.is_terminal:
            names = ", ".join(map(repr, unused))
            raise RehearsalError(f"replaced and never called: {names}\n{self.story()}")

    def _need_step(self, step: str) -> None:
        if not is_step(self._parts.workflow, step):
            known = first_steps(self._parts.workflow)
            raise ValidationError(f"the workflow has no step {step!r}; it has {', '.join(map(repr, known))}")

    def _need_open(self) -> None:
        if self._is_closed:
            raise RehearsalError("the rehearsal is closed")


def _waits_outside(node: Node) -> bool:
    """Tell whether a step of the node waits for a person or an event."""
    if node.type is NodeType.WAIT:
        return all(timer.event for timer in node.timers)
    return node.type in (NodeType.INPUT, NodeType.EVENT)
