"""How a step's action is called in a rehearsal: noted, replaced or real, and held where the test wants to look."""

from __future__ import annotations

import asyncio
import contextvars
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from msgspec import Struct

from treadle.errors import TreadleError, ValidationError
from treadle.model import JsonValue
from treadle.signatures import CONTEXT, is_async, wants_context
from treadle.testing.casting import cast_name
from treadle.testing.errors import RehearsalError
from treadle.testing.replacing import is_function, replacement_for
from treadle.testing.words import Outcome, Outcomes, as_outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Executor

    from treadle.actions import Registry, StepContext
    from treadle.model import Workflow
    from treadle.testing.words import Replacement


class Call(Struct, frozen=True):
    """One call of an action.

    Attributes:
        action: Its name.
        step: For which step; ``ship/pack`` is the step ``pack`` of the execution that the step ``ship`` has started.
        attempt: Number of the attempt; the first is 1.
        parameters: What it was called with, without ``context``.
        at: Virtual time since the rehearsal began.
    """

    action: str
    step: str
    attempt: int
    parameters: dict[str, JsonValue]
    at: timedelta


class Hold:
    """A place to stop at: the call of one attempt, whose outcome is kept back until the test goes on.

    Attributes:
        reached: Done once the action was called.
    """

    def __init__(self, step: str, attempt: int | None) -> None:
        self._step = step
        self._attempt = attempt
        self._is_taken = False
        self.reached = asyncio.Event()
        self._released = asyncio.Event()

    def __str__(self) -> str:
        return f"step {self._step!r}" + ("" if self._attempt is None else f" (attempt {self._attempt})")

    def takes(self, context: StepContext) -> bool:
        """Tell whether this is the attempt to stop at; only one is."""
        is_it = cast_name(context.execution_id, context.step) == self._step
        fits = is_it and self._attempt in (None, context.attempt) and not self._is_taken
        self._is_taken = self._is_taken or fits
        return fits

    async def keep_back(self) -> None:
        """Note that it is reached, and wait until the test goes on."""
        self.reached.set()
        await self._released.wait()

    def release(self) -> None:
        """Let the outcome go. Safe twice."""
        self._released.set()


class Calls:
    """The calls of one rehearsal, whatever crashes in between.

    Args:
        real: Actions by name.
        replace: What stands for some of them.
        workflow: What is rehearsed.

    Attributes:
        made: Every call, in order.
        hold: Where to stop; None for nowhere.
        fault: What ends the test; None while nothing does.
    """

    def __init__(self, real: Registry, replace: Mapping[str, Replacement], workflow: Workflow) -> None:
        self.made: list[Call] = []
        self.hold: Hold | None = None
        self.fault: RehearsalError | None = None
        self._real = real
        self._replace = replace
        self._workflow = workflow
        self._counts: dict[tuple[str, str], int] = {}

    @property
    def never_made(self) -> list[str]:
        """Return the names of replacements that no step called."""
        called = {one.action for one in self.made}
        return [name for name in self._replace if name not in called]

    async def call(
        self, executor: Executor, elapsed: float, name: str, context: StepContext, parameters: dict[str, Any]
    ) -> object:
        """Call what stands for an action, or the action itself."""
        at, step = timedelta(seconds=elapsed), cast_name(context.execution_id, context.step)
        self.made.append(Call(name, step, context.attempt, dict(parameters), at))
        hold = self.hold if self.hold is not None and self.hold.takes(context) else None
        work = self._work(executor, name, context, parameters)
        if hold is None:
            return await work
        if not is_sync(self._target(name, step)):
            hold.reached.set()  # it may not end by itself; what it does first is done before anyone is told
        try:
            result = await work
        except Exception:
            await hold.keep_back()
            raise
        await hold.keep_back()
        return result

    def _target(self, name: str, step: str) -> Replacement:
        one, is_replaced = replacement_for(self._replace, name, step, self._workflow)
        if is_replaced:
            return one
        known = self._real.get(name)
        if known is None:
            self._fail(f"step {step!r} calls {name!r}, which has no action and no replacement")
        return known.function

    async def _work(self, executor: Executor, name: str, context: StepContext, parameters: dict[str, Any]) -> object:
        step = cast_name(context.execution_id, context.step)
        target = self._target(name, step)
        if not is_function(target):
            return await self._outcome(target, name, step).happen()
        given = {**parameters, CONTEXT: context} if wants_context(target) else parameters
        if not is_sync(target):
            return await _called(target, given)
        # A copy, as the engine's own threads get.
        run = partial(contextvars.copy_context().run, _caught, target, given)
        result, error = await asyncio.get_running_loop().run_in_executor(executor, run)
        if error is not None:
            raise error
        return result

    def _outcome(self, one: Replacement, name: str, step: str) -> Outcome:
        if not isinstance(one, Outcomes):
            return as_outcome(one)
        count = self._counts[name, step] = self._counts.get((name, step), 0) + 1
        if count > len(one.each):
            self._fail(f"step {step!r} calls {name!r} {count} times, and its replacement has {len(one.each)} outcomes")
        return one.each[count - 1]

    def _fail(self, why: str) -> NoReturn:
        """End the test: whatever the workflow makes of it, this is no outcome."""
        self.fault = self.fault or RehearsalError(why)
        raise self.fault


class WrongCallError(ValidationError, TypeError):
    """The parameters do not fit the function. The engine knows it by where it was raised, which is deeper here."""


WrongCallError.__name__ = "TypeError"  # as it is recorded


def _caught(target: Callable[..., Any], given: dict[str, Any]) -> tuple[object, BaseException | None]:
    """Return what a function gives or raises; also ``StopIteration``, which no future takes."""
    try:
        return target(**given), None
    except BaseException as error:  # noqa: BLE001 - the engine has the fence
        return None, _told(error)


async def _called(target: Callable[..., Any], given: dict[str, Any]) -> object:
    try:
        work = target(**given)
    except TypeError as error:
        raise _told(error) from error
    return await work


def _told(error: BaseException) -> BaseException:
    at = error.__traceback__
    is_wrong_call = isinstance(error, TypeError) and at is not None and at.tb_next is None
    return WrongCallError(str(error)) if is_wrong_call and not isinstance(error, TreadleError) else error


def is_sync(target: Replacement) -> bool:
    """Tell whether a call blocks until it is done."""
    return is_function(target) and not is_async(target)
