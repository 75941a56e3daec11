"""``rehearse``: a whole execution on a virtual clock, with actions replaced, driven and looked at by a test.

Between two verbs time stands still. A verb returns when the execution and whatever its steps have started rest, or
where ``until`` says. However long that takes in the workflow, it takes milliseconds here.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol, Self

from treadle import Registry, load_workflow, load_workflows
from treadle.limits import check_limits
from treadle.secrets import as_provider
from treadle.store.memory import MemoryStore
from treadle.testing.acting import Rehearsed
from treadle.testing.calls import Calls
from treadle.testing.casting import EXECUTION_ID
from treadle.testing.clock import START, ManualClock
from treadle.testing.driving import Director
from treadle.testing.replacing import check_replacements
from treadle.testing.stage import Parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from pathlib import Path

    from treadle import WorkflowEngine
    from treadle.definition import Source
    from treadle.limits import Limit
    from treadle.model import JsonValue, Workflow
    from treadle.secrets import Secrets
    from treadle.store.protocol import Store
    from treadle.testing.calls import Call
    from treadle.testing.driving import Until
    from treadle.testing.stores import BlockingStore
    from treadle.testing.words import Replacement


class Rehearse(Protocol):
    """The type of the fixture ``treadle_run``: ``rehearse`` with the project's actions, closed after the test."""

    def __call__(
        self,
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
        limits: Mapping[str, int | Limit] | None = None,
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
    limits: Mapping[str, int | Limit] | None = None,
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
        limits: As of the engine.
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
    check_replacements(loaded, inner, real, given, is_strict=strict)
    blocking = None if store == ":memory:" else _blocking(store)
    parts = Parts(
        MemoryStore() if blocking is None else blocking,
        ManualClock(start),
        Calls(real, given, loaded),
        real,
        loaded,
        inner,
        secrets=as_provider(_made_up if secrets is None else secrets),
        slots=max_concurrent_steps,
        limits=check_limits(limits),
        seed=seed,
        patience=patience,
    )
    rehearsal = Rehearsal(Director(parts, blocking, is_strict=strict), EXECUTION_ID)
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


class Rehearsal(Rehearsed):
    """The execution of a test on a virtual clock. Made by ``rehearse``."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def story(self) -> str:
        """Return what happened, a line for each event; also in what steps have started."""
        return self._director.story()

    def calls(self, action: str | None = None) -> list[Call]:
        """Return the calls of an action, in order; None for all."""
        return [one for one in self._director.parts.calls.made if action in (None, one.action)]

    @property
    def now(self) -> datetime:
        """Return the virtual time."""
        return self._director.parts.clock.now

    @property
    def elapsed(self) -> timedelta:
        """Return how much virtual time has passed since the rehearsal began."""
        return timedelta(seconds=self._director.parts.clock.elapsed)

    def begin(self, input_data: Mapping[str, JsonValue] | None, until: Until) -> None:
        """Start the execution; called by ``rehearse``."""

        async def start(engine: WorkflowEngine) -> None:
            await engine.__aenter__()
            await engine.start_workflow(self._director.parts.workflow, input_data, execution_id=EXECUTION_ID)

        self._director.drive(start, until)

    def go_on(self, until: Until = None) -> None:
        """Go on where ``until`` stopped."""
        self._director.go_on(until)

    def advance(self, by: timedelta | float) -> None:
        """Let virtual time go on by a ``timedelta`` or seconds, and whatever is due within it happen."""
        self.go_on(by if isinstance(by, timedelta) else timedelta(seconds=by))

    def crash(self, *, until: Until = None) -> None:
        """Drop the engine as ``kill -9`` does, and open another one on the same log.

        Nothing of what ran goes on, not even a ``finally``; what was recorded stays.
        """
        self._director.crash(until)

    def close(self) -> None:
        """End the rehearsal, whatever still runs. Safe twice."""
        self._director.close()
