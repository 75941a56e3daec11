"""``WorkflowEngine``: the public verbs. It checks arguments and hands over to a driver."""

from __future__ import annotations

import asyncio
import os
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Self

from treadle.actions import Registry
from treadle.definition import load_workflow
from treadle.drivers.local import LocalDriver
from treadle.drivers.protocol import Order
from treadle.errors import TreadleError, ValidationError
from treadle.settings import Settings
from treadle.state_manager import StateManager
from treadle.store.memory import MemoryStore
from treadle.values import PayloadError, encode_payload

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from msgspec import Raw

    from treadle.drivers.protocol import Driver, Health
    from treadle.model import ExecutionState, JsonValue, Workflow
    from treadle.store.protocol import Store


class WorkflowEngine:
    """Runs workflows durably inside this process.

    ``async with WorkflowEngine(store="treadle.db", actions=[...]) as engine`` opens the file and goes on with what was
    open; leaving it lets attempts in flight end for ``grace`` and interrupts the rest, which go on at the next open.

    Args:
        max_concurrent_steps: Slots of the whole engine: never exceeded, and reached whenever that many are ready.
        store: A path (SQLite), ``":memory:"``, or a store.
        actions: Functions marked with ``@action``, modules that hold them, or dicts by name.
        recover: ``"all"`` open executions, ``"none"``, or those of the given ids.
        grace: How long leaving waits for attempts in flight; None for ``Settings.grace_ms``.
        settings: Limits; None for those of the environment.
        driver: Runs the executions instead of the local driver.

    Raises:
        ValidationError: An argument is wrong; nothing was opened.
    """

    def __init__(
        self,
        max_concurrent_steps: int = 5,
        store: str | os.PathLike[str] | Store = "treadle.db",
        actions: Iterable[object] = (),
        *,
        recover: str | Collection[str] = "all",
        grace: timedelta | None = None,
        settings: Settings | None = None,
        driver: Driver | None = None,
    ) -> None:
        if type(max_concurrent_steps) is not int or max_concurrent_steps < 1:
            raise ValidationError(f"max_concurrent_steps must be 1 or more, not {max_concurrent_steps!r}")
        self.max_concurrent_steps = max_concurrent_steps
        self.settings = settings or Settings.from_environment()
        self.actions = Registry(actions)
        self._recover = recover
        self._grace = grace if grace is not None else timedelta(milliseconds=self.settings.grace_ms)
        self._driver: Driver = driver or LocalDriver(
            _store(store), self.actions, max_concurrent_steps=max_concurrent_steps, settings=self.settings
        )
        self.state_manager = StateManager(self._driver)

    async def __aenter__(self) -> Self:
        await self._driver.open(self._recover)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let attempts in flight end for ``grace``, interrupt the rest, close the file. Safe twice."""
        await self._driver.close(self._grace)

    @property
    def health(self) -> Health:
        """Return whether the engine takes work, and what was set aside."""
        return self._driver.health

    async def start_workflow(
        self,
        workflow: Workflow | Mapping[str, JsonValue] | str | Path,
        input_data: Mapping[str, JsonValue] | None = None,
        *,
        execution_id: str | None = None,
        priority: int = 0,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Start an execution and return its id once the start is durable.

        Args:
            workflow: The definition: a ``Workflow``, a document, or the path or text of one.
            input_data: JSON object.
            execution_id: Its name; with the same definition and input it is returned again. None for a new one.
            priority: Ready steps of higher ones start first.
            tags: Shown and searched in lists.

        Raises:
            ValidationError: The definition or the input is wrong; ``problems`` has all of it.
            ConflictError: The id is taken by another definition or input.
            StoreError: The log takes no work now.
        """
        definition = load_workflow(workflow, actions=self.actions)
        order = Order(
            execution_id=_execution_id(execution_id),
            workflow=definition,
            input=_input(definition, input_data, self.settings),
            priority=priority,
            tags=dict(tags or {}),
            has_new_id=execution_id is None,
        )
        return await self._driver.start(order)

    async def run_workflow(
        self,
        workflow: Workflow | Mapping[str, JsonValue] | str | Path,
        input_data: Mapping[str, JsonValue] | None = None,
        *,
        execution_id: str | None = None,
        priority: int = 0,
        tags: Mapping[str, str] | None = None,
    ) -> ExecutionState:
        """Start an execution as ``start_workflow`` does, and ``wait`` for it."""
        started = await self.start_workflow(
            workflow, input_data, execution_id=execution_id, priority=priority, tags=tags
        )
        return await self.wait(started)

    async def wait(
        self, execution_id: str, timeout: timedelta | float | None = None, *, until: str = "rest"
    ) -> ExecutionState:
        """Return the state once the execution has ended, or is PAUSED with nothing in flight.

        Args:
            execution_id: Of the execution.
            timeout: Seconds or a ``timedelta``; None to wait as long as it takes.
            until: ``"ended"`` waits on through pauses.

        Raises:
            NotFoundError: No such execution.
            TimeoutError: It took longer; the execution goes on.
        """
        if until not in ("rest", "ended"):
            raise ValidationError(f"until is 'rest' or 'ended', not {until!r}")
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        async with asyncio.timeout(seconds):
            return await self._driver.wait(execution_id, until_ended=until == "ended")

    async def pause_execution(self, execution_id: str) -> bool:
        """Start nothing new; attempts in flight end and are recorded. False if the execution is ending or has ended.

        Raises:
            NotFoundError: No such execution.
        """
        return await self._driver.pause(execution_id)

    async def resume_workflow(self, execution_id: str, inputs: Mapping[str, JsonValue] | None = None) -> bool:
        """Go on, with ``inputs`` merged over the input. Of two calls at once one is True, and its inputs count.

        Returns:
            False if nothing was paused or asked for input.

        Raises:
            NotFoundError: No such execution.
            ValidationError: The merged input breaks the workflow's ``input_schema``; nothing changed.
        """
        return await self._driver.resume(execution_id, _object(inputs, self.settings) if inputs else None)

    async def cancel_execution(self, execution_id: str, reason: str = "") -> bool:
        """Cancel what runs, then end as CANCELLED. False if the execution had ended.

        Raises:
            NotFoundError: No such execution.
        """
        return await self._driver.cancel(execution_id, reason)


def run_sync(
    workflow: Workflow | Mapping[str, JsonValue] | str | Path,
    input_data: Mapping[str, JsonValue] | None = None,
    *,
    execution_id: str | None = None,
    store: str | os.PathLike[str] | Store = "treadle.db",
    actions: Iterable[object] = (),
    max_concurrent_steps: int = 5,
) -> ExecutionState:
    """Run one execution from code without an event loop, and return its state.

    An execution of the same ``execution_id`` that was cut off goes on where it was.

    Raises:
        TreadleError: As ``WorkflowEngine.run_workflow``; also when an event loop already runs in this thread.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise TreadleError("run_sync is for code without an event loop; here use 'await engine.run_workflow(...)'")
    recover: Collection[str] | str = [execution_id] if execution_id else "none"

    async def run() -> ExecutionState:
        async with WorkflowEngine(max_concurrent_steps, store, actions, recover=recover) as engine:
            return await engine.run_workflow(workflow, input_data, execution_id=execution_id)

    return asyncio.run(run())


def _store(store: str | os.PathLike[str] | Store) -> Store:
    if store == ":memory:":
        return MemoryStore()
    if isinstance(store, str | os.PathLike):
        from treadle.store.sqlite import SqliteStore  # loaded only where a file is used

        return SqliteStore(store)
    return store


def _execution_id(given: str | None) -> str:
    if given is None:
        return uuid.uuid4().hex
    if not isinstance(given, str) or not 1 <= len(given) <= 128 or not given.isprintable() or given != given.strip():
        raise ValidationError(f"an execution id is 1 to 128 printable characters, not {given!r}")
    return given


def _input(workflow: Workflow, given: Mapping[str, JsonValue] | None, settings: Settings) -> Raw:
    encoded = _object(given or {}, settings)
    schema = workflow.input_schema
    if schema is not None:
        from treadle.schemas import compile_schema  # loaded only where a workflow has a schema

        problems = compile_schema(schema).problems(dict(given or {}), "input")
        if problems:
            raise ValidationError("\n".join(str(one) for one in problems), problems)
    return encoded


def _object(given: Mapping[str, JsonValue], settings: Settings) -> Raw:
    try:
        return encode_payload(dict(given), settings)
    except (PayloadError, TypeError, ValueError) as error:
        raise ValidationError(f"input: {error}") from error
