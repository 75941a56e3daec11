"""An engine on a virtual loop: opened, driven from code without a loop or beside one, dropped as by ``kill -9``."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from treadle import Settings, WorkflowEngine
from treadle.drivers.local import LocalDriver
from treadle.testing.errors import RehearsalError
from treadle.testing.loop import VirtualLoop
from treadle.testing.replacing import on_stage

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from msgspec import Raw

    from treadle.actions import Registry, StepContext
    from treadle.limits import Numbers
    from treadle.model import Answer, Workflow
    from treadle.secrets import SecretProvider
    from treadle.store.protocol import Store
    from treadle.testing.calls import Calls
    from treadle.testing.clock import ManualClock

_T = TypeVar("_T")

_CLEANING_SECONDS: Final = 1.0
"""Virtual seconds for what was left running when a stage is cleared."""


class Parts:
    """What outlives a crash.

    Args:
        store: The log.
        clock: The time.
        calls: What was called, and what stands for what.
        real: Actions by name.
        workflow: What is rehearsed.
        workflows: What its steps run.
        secrets: Knows the secrets.
        slots: ``max_concurrent_steps``.
        limits: Of the engine, by name.
        seed: Of the random numbers.
        patience: Seconds of real time for one verb.
    """

    def __init__(  # noqa: PLR0917 - one place makes them
        self,
        store: Store,
        clock: ManualClock,
        calls: Calls,
        real: Registry,
        workflow: Workflow,
        workflows: Sequence[Workflow],
        *,
        secrets: SecretProvider | None,
        slots: int,
        limits: Mapping[str, Numbers],
        seed: int,
        patience: float,
    ) -> None:
        self.store = store
        self.clock = clock
        self.calls = calls
        self.real = real
        self.workflow = workflow
        self.workflows = workflows
        self.secrets = secrets
        self.slots = slots
        self.limits = limits
        self.patience = patience
        self.draw = random.Random(seed).random  # noqa: S311 - jitter
        self.requests = 0

    def next_request(self) -> str:
        """Return the name of a request: the same in every run of a test."""
        self.requests += 1
        return f"request-{self.requests}"


class Stage:
    """One life of the engine. Its time goes on only within ``run``.

    Args:
        parts: What it is made of.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._loop = VirtualLoop(parts.clock, parts.patience)
        # One thread: sync actions run one after the other, so that two that are ready at once have one order.
        self._thread = ThreadPoolExecutor(1, "treadle-rehearsal-step")
        self._main: asyncio.Task[Any] | None = None
        self._stuck = ""
        self._loop.stuck = self._is_stuck
        registry = on_stage((parts.workflow, *parts.workflows), parts.real, self._call)
        driver = _Driver(
            parts.store,
            registry,
            max_concurrent_steps=parts.slots,
            settings=Settings(),
            limits=parts.limits,
            secrets=parts.secrets,
            clock=parts.clock,
            draw=parts.draw,
            next_request=parts.next_request,
        )
        self.engine = WorkflowEngine(
            parts.slots, actions=[registry], workflows=parts.workflows, settings=Settings(), driver=driver
        )

    async def _call(self, name: str, context: StepContext, parameters: dict[str, Any]) -> object:
        try:
            return await self._parts.calls.call(self._thread, self._loop.time(), name, context, parameters)
        finally:
            if self._parts.calls.fault is not None and self._main is not None:
                self._main.cancel()

    def _is_stuck(self, why: str) -> None:
        self._stuck = self._stuck or why
        if self._main is not None:
            self._main.cancel()

    def run(self, work: Coroutine[Any, Any, _T], describe: Callable[[], str] = str) -> _T:
        """Run a coroutine until it is done; virtual time goes on only while it does.

        Where an event loop runs in this thread already, as in an async test, it waits for this one on another thread.

        Raises:
            RehearsalError: Nothing will ever happen, or a step called what it must not; ``describe`` adds how it
                stands.
        """
        self._stuck = ""
        self._main = self._loop.create_task(work)
        try:
            return cast("_T", self._in_a_thread_without_a_loop(self._main))
        except asyncio.CancelledError:
            if self._parts.calls.fault is not None:
                raise self._parts.calls.fault from None
            if self._stuck:
                raise RehearsalError(f"{self._stuck}{describe()}") from None
            raise
        finally:
            self._main = None

    def _in_a_thread_without_a_loop(self, main: asyncio.Task[Any]) -> object:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._loop.run_until_complete(main)
        context = contextvars.copy_context()
        with ThreadPoolExecutor(1, "treadle-rehearsal") as thread:
            return thread.submit(context.run, self._loop.run_until_complete, main).result()

    async def quiet(self) -> None:
        """Wait until all is done that can be done at this time."""
        await self._loop.quiet()

    def clear(self) -> None:
        """Cancel whatever is left, without a word to the log, and close the loop."""
        self._loop.stuck = lambda _: self._loop.stop()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        if tasks:
            with contextlib.suppress(RuntimeError):  # the loop was stopped: what is left does not end
                self._in_a_thread_without_a_loop(self._loop.create_task(_wait_for(tasks)))
        for task in asyncio.all_tasks(self._loop):
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - as asyncio's own gather does
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._loop.close()


async def _wait_for(tasks: set[asyncio.Task[Any]]) -> None:
    await asyncio.wait(tasks, timeout=_CLEANING_SECONDS)


class _Driver(LocalDriver):
    """The local driver, whose requests have the same names in every run of a test."""

    def __init__(self, *arguments: Any, next_request: Callable[[], str], **options: Any) -> None:  # noqa: ANN401 - those of the base
        super().__init__(*arguments, **options)
        self._next_request = next_request

    async def pause(self, execution_id: str, request: str = "") -> bool:
        """Start nothing new."""
        return await super().pause(execution_id, request or self._next_request())

    async def resume(self, execution_id: str, inputs: Raw | None, request: str = "") -> bool:
        """Go on."""
        return await super().resume(execution_id, inputs, request or self._next_request())

    async def cancel(self, execution_id: str, reason: str, request: str = "", *, at_once: bool = False) -> bool:
        """Begin to cancel, or end at once."""
        return await super().cancel(execution_id, reason, request or self._next_request(), at_once=at_once)

    async def retry(
        self, execution_id: str, request: str = "", *, new_key: bool = False, by_parent: bool = False
    ) -> bool:
        """Go on after a failure."""
        request = request or self._next_request()
        return await super().retry(execution_id, request, new_key=new_key, by_parent=by_parent)

    async def cancel_step(self, execution_id: str, step: str, request: str = "") -> bool:
        """Cancel one step."""
        return await super().cancel_step(execution_id, step, request or self._next_request())

    async def answer(self, execution_id: str, step: str, answer: Answer, output: Raw | None, request: str = "") -> None:
        """Answer for a step whose attempts are spent."""
        await super().answer(execution_id, step, answer, output, request or self._next_request())

    async def submit(self, execution_id: str, step: str, data: Raw, request: str = "") -> bool:
        """Answer an input node."""
        return await super().submit(execution_id, step, data, request or self._next_request())
