"""One attempt: call the action behind a fence, and report what came of it.

Nothing that an action does ends the engine: every BaseException is caught here. A timeout is reported the moment it is
reached; the body is cancelled and then given up, and what it gives later is ignored by its attempt number.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Raw

from treadle.actions import StepContext
from treadle.drivers.local.failures import describe_error, is_wrong_call, plain_text, retry_after_ms
from treadle.drivers.local.logs import StepLogger
from treadle.errors import SecretError, ValidationError
from treadle.machine.inputs import ActionCancelled, ActionInterrupted, ActionRaised, ActionReturned
from treadle.model import StepError
from treadle.values import decode_payload, encode_payload

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from treadle.actions import Action
    from treadle.drivers.local.clock import Clock
    from treadle.drivers.local.resident import Resident
    from treadle.drivers.local.threads import Threads
    from treadle.drivers.local.vault import Vault
    from treadle.machine import RunStep, State
    from treadle.machine.inputs import AnyInput
    from treadle.model import JsonValue
    from treadle.secrets import Mask
    from treadle.settings import Settings

_logger = logging.getLogger("treadle.actions")

_MOST_SAID = 1_000
_NO_THREAD_SECONDS = 0.5
_IS_COROUTINE = (
    "the function gave a coroutine: it is not defined with 'async def', as under a decorator that is not; "
    "make the decorator async"
)


class Holder(NamedTuple):
    """Who holds a slot.

    Attributes:
        execution_id: Whose attempt.
        step: Key of the step.
        attempt: Its number.
        is_abandoned: It was given up, and has not ended all the same.
    """

    execution_id: str
    step: str
    attempt: int
    is_abandoned: bool

    def __str__(self) -> str:
        return f"{self.execution_id}/{self.step}"


class Body:
    """A running attempt. It holds its slot until it has really ended, or was given up after its cancellation."""

    __slots__ = (
        "beat",
        "command",
        "has_begun",
        "has_ended",
        "is_cancelled",
        "is_interrupted",
        "is_reported",
        "overran",
        "pulse",
        "resident",
        "said",
        "secrets",
        "started",
        "task",
        "timer",
    )

    def __init__(self, resident: Resident, command: RunStep, started: float) -> None:
        self.resident = resident
        self.command = command
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.pulse: asyncio.TimerHandle | None = None
        self.started = self.beat = started
        self.said = ""
        self.secrets: Collection[str] = ()
        self.has_begun = False
        self.overran: StepError | None = None
        self.is_cancelled = False
        self.is_interrupted = False
        self.is_reported = False
        self.has_ended = False


class Bodies:
    """The attempts that run now.

    Args:
        settings: Limits.
        threads: For sync actions.
        report: Takes what came of an attempt.
        freed: Told when a body has let go of its slot: the execution and the step.
        closes: Told that a step was asked to come back only after so many milliseconds.
        vault: The secrets.
        clock: What a deadline is given by.
        draw: Gives the random numbers in [0, 1) of jitter.
    """

    def __init__(
        self,
        settings: Settings,
        threads: Threads,
        report: Callable[[Resident, AnyInput], None],
        freed: Callable[[Resident, str], None],
        closes: Callable[[Resident, str, int], None],
        *,
        vault: Vault,
        clock: Clock,
        draw: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._vault = vault
        self._threads = threads
        self._report = report
        self._freed = freed
        self._closes = closes
        self._clock = clock
        self._draw = draw
        self._running: dict[tuple[str, str, int], Body] = {}
        self._idle = asyncio.Event()
        self._idle.set()

    def all(self) -> list[Holder]:
        """Return who holds a slot: the attempts that run, also those that were given up."""
        return [
            Holder(name, step, attempt, body.is_reported and not body.has_ended)
            for (name, step, attempt), body in self._running.items()
        ]

    def said(self, resident: Resident, step: str) -> str:
        """Return what the attempt of a step that is in flight said last of itself; ``""`` for nothing."""
        body = self._running.get((resident.id, step, resident.state.in_flight.get(step, 0)))
        return "" if body is None else body.said

    def of(self, execution_id: str) -> list[tuple[str, int]]:
        """Return the attempts of one execution that run: step and attempt."""
        return [(step, attempt) for (name, step, attempt) in self._running if name == execution_id]

    def run(self, resident: Resident, command: RunStep, action: Action) -> None:
        """Start an attempt."""
        loop = asyncio.get_running_loop()
        body = Body(resident, command, loop.time())
        self._running[self._key(body)] = body
        self._idle.clear()
        timeout = command.node.timeout_ms
        if timeout is not None:
            body.timer = loop.call_later(timeout / 1000, self._time_out, body)
        if command.node.heartbeat_timeout_ms is not None:
            self._listen(body, loop)
        try:
            arguments = decode_payload(command.parameters)
            if command.secrets:
                body.task = loop.create_task(self._begin_with_secrets(loop, body, action, arguments))
            else:
                self._begin(loop, body, action, arguments)
        except ValidationError as error:  # the parameters break the schema
            self._finish(body, self._failure(body, error))

    def _begin(self, loop: asyncio.AbstractEventLoop, body: Body, action: Action, arguments: dict[str, Any]) -> None:
        _check_schema(body.command.node.input_schema, arguments, "parameters")
        if action.wants_context:
            arguments["context"] = self._context(body)
        if action.is_async:
            body.task = loop.create_task(self._call(body, action, arguments))
        else:
            self._call_on_thread(loop, body, action, arguments)

    async def _begin_with_secrets(
        self, loop: asyncio.AbstractEventLoop, body: Body, action: Action, arguments: dict[str, Any]
    ) -> None:
        body.has_begun = True
        try:
            body.secrets = await self._vault.fill(arguments, body.command.secrets)
            if body.is_cancelled or body.is_interrupted:  # and whoever knows the secrets took no notice
                raise asyncio.CancelledError  # noqa: TRY301 - what follows is the same
            body.has_begun, body.task = False, None
            self._begin(loop, body, action, arguments)
        except BaseException as error:  # noqa: BLE001 - the fence: a provider may do anything
            if body.has_ended:  # it was given up before it had them
                self._vault.close(body.secrets)
            _look_at_time(body, loop.time())
            self._finish(body, self._failure(body, error))

    def cancel(self, resident: Resident, step: str, attempt: int) -> None:
        """Cancel an attempt; it is reported when it has ended, or after the grace."""
        body = self._running.get((resident.id, step, attempt))
        if body is None:
            self._report(resident, ActionCancelled(step=step, attempt=attempt, at=resident.now_ms()))
        else:
            self._cancel(body)

    async def drain(self, grace: timedelta) -> None:
        """Wait for all attempts to end, at most for ``grace``; cancel and forget those that have not."""
        try:
            async with asyncio.timeout(grace.total_seconds()):
                await self._idle.wait()
        except TimeoutError:
            pass
        finally:  # also where whoever waits is cancelled
            await self._interrupt()

    async def _interrupt(self) -> None:
        for body in list(self._running.values()):
            body.is_interrupted = True
            if body.task is not None:
                body.task.cancel()
        tasks = [body.task for body in self._running.values() if body.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)

    def _key(self, body: Body) -> tuple[str, str, int]:
        return body.resident.id, body.command.step, body.command.attempt

    def _context(self, body: Body) -> StepContext:
        state, command = body.resident.state, body.command
        timeout = command.node.timeout_ms
        now = datetime.fromtimestamp(self._clock.wall_ms() / 1000, UTC)
        fields = {"execution_id": state.execution_id, "step": command.step, "attempt": command.attempt}
        return StepContext(
            execution_id=state.execution_id,
            workflow_id=state.workflow_id,
            step=command.step,
            attempt=command.attempt,
            idempotency_key=_key(state, command),
            role=command.role,
            deadline=None if timeout is None else now + timedelta(milliseconds=timeout),
            logger=StepLogger(fields, self._vault.mask),
            beat=partial(_beat, body, asyncio.get_running_loop(), self._vault.mask),
        )

    async def _call(self, body: Body, action: Action, arguments: dict[str, Any]) -> None:
        body.has_begun = True
        loop = asyncio.get_running_loop()
        try:
            result = await action.function(**arguments)
        except BaseException as error:  # noqa: BLE001 - the fence
            _look_at_time(body, loop.time())
            outcome = self._failure(body, error)
        else:
            _look_at_time(body, loop.time())
            outcome = self._success(body, result)
        self._finish(body, outcome)

    def _call_on_thread(
        self, loop: asyncio.AbstractEventLoop, body: Body, action: Action, arguments: dict[str, Any]
    ) -> None:
        context = contextvars.copy_context()

        def work() -> None:
            try:
                result = context.run(action.function, **arguments)
            except BaseException as error:  # noqa: BLE001 - the fence
                _look_at_time(body, loop.time())
                outcome = self._failure(body, error)
            else:
                _look_at_time(body, loop.time())
                outcome = self._success(body, result)
            try:
                loop.call_soon_threadsafe(self._finish, body, outcome)
            except RuntimeError:  # the loop is closed: the attempt counts as interrupted
                return

        body.has_begun = True
        if not self._threads.submit(work):
            self._ask_for_a_thread(loop)

    def _ask_for_a_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        """Try again until the system gives a thread: what waits for one has not failed."""
        _logger.warning("the system gives no thread for sync actions; they wait for one")

        def again() -> None:
            if not self._threads.grow():
                self._ask_for_a_thread(loop)

        loop.call_later(_NO_THREAD_SECONDS, again)

    def _finish(self, body: Body, outcome: AnyInput) -> None:
        """Report the outcome and let go of the slot."""
        if body.overran is not None and not body.is_cancelled:
            self._end_late(body, body.overran)  # it held up the loop, so that its timer could not
        if isinstance(outcome, ActionRaised) and outcome.retry_after_ms and not body.has_ended:
            self._closes(body.resident, body.command.step, outcome.retry_after_ms)
        self._let_go(body)
        if body.is_interrupted:
            return  # nothing is recorded: recovery finds the attempt without an end, and it runs again
        if not body.is_reported or isinstance(outcome, ActionReturned | ActionRaised):
            body.is_reported = True
            self._report(body.resident, outcome)  # what is late, the machine notes and does not use

    def _let_go(self, body: Body) -> None:
        if body.has_ended:
            return
        body.has_ended = True
        _stop_timers(body)
        self._vault.close(body.secrets)
        del self._running[self._key(body)]
        if not self._running:
            self._idle.set()
        self._freed(body.resident, body.command.step)

    def _time_out(self, body: Body) -> None:
        self._end_late(body, _took_too_long(body))

    def _listen(self, body: Body, loop: asyncio.AbstractEventLoop) -> None:
        """End an attempt that is silent for too long; otherwise look again when it next could be."""
        left = (body.command.node.heartbeat_timeout_ms or 0) / 1000 - (loop.time() - body.beat)
        if left <= 0:
            self._end_late(body, _was_silent(body))
        else:
            body.pulse = loop.call_later(left, self._listen, body, loop)

    def _end_late(self, body: Body, error: StepError) -> None:
        if not body.is_reported:
            body.is_reported = True
            self._report(body.resident, self._raised(body, error, (error.type,), timed_out=True))
        self._cancel(body)

    def _cancel(self, body: Body) -> None:
        if body.is_cancelled:
            return
        body.is_cancelled = True
        _stop_timers(body)
        if body.task is not None:
            body.task.cancel()
            if not body.has_begun:  # the task ends without ever coming to its first line
                self._give_up(body)
                return
        loop = asyncio.get_running_loop()
        body.timer = loop.call_later(self._settings.grace_ms / 1000, self._give_up, body)

    def _give_up(self, body: Body) -> None:
        """Report a cancelled body that does not end. A thread keeps its slot until it returns; a task does not."""
        command = body.command
        if not body.is_reported:
            body.is_reported = True
            now = body.resident.now_ms()
            self._report(body.resident, ActionCancelled(step=command.step, attempt=command.attempt, at=now))
        if body.task is not None:
            self._let_go(body)

    def _success(self, body: Body, result: object) -> AnyInput:
        command = body.command
        try:
            _refuse_coroutine(result)
            output = encode_payload(result, self._settings)
            _check_schema(command.node.output_schema, output, "output")
            output = self._vault.mask.payload(output)
        except BaseException as error:  # noqa: BLE001 - a value may do anything when it is looked at
            return self._failure(body, error)
        return ActionReturned(step=command.step, attempt=command.attempt, output=output, at=body.resident.now_ms())

    def _failure(self, body: Body, error: BaseException) -> AnyInput:
        try:
            return self._described(body, error)
        except BaseException:  # noqa: BLE001 - an error may do anything when it is looked at, too
            step, attempt = body.command.step, body.command.attempt
            plain = StepError(type="Exception", message="<this error cannot be read>", attempt=attempt, step=step)
            return self._raised(body, plain, ())

    def _described(self, body: Body, error: BaseException) -> AnyInput:
        command = body.command
        if isinstance(error, asyncio.CancelledError) and body.is_cancelled:
            return ActionCancelled(step=command.step, attempt=command.attempt, at=body.resident.now_ms())
        described = describe_error(
            error, command.step, command.attempt, self._settings.max_error_chars, self._vault.mask
        )
        names = tuple(plain_text(one.__name__) for one in type(error).__mro__)
        permanent = _is_permanent(error)
        return self._raised(body, described, names, permanent=permanent, retry_after_ms=retry_after_ms(error))

    def _raised(self, body: Body, error: StepError, names: tuple[str, ...], **how: Any) -> ActionRaised:  # noqa: ANN401 - fields of the input
        command = body.command
        return ActionRaised(
            step=command.step,
            attempt=command.attempt,
            error=error,
            names=names,
            draw=self._draw(),
            at=body.resident.now_ms(),
            **how,
        )


def _is_permanent(error: BaseException) -> bool:
    """Tell whether no retry can cure an error."""
    if isinstance(error, SecretError):
        return error.is_permanent
    return isinstance(error, ValidationError) or is_wrong_call(error)


def _key(state: State, command: RunStep) -> str:
    """Return what a repeat of the call is known by; a fallback and a compensation are calls of their own."""
    again = state.retries + state.times_anew(command.step)
    own = f"{state.execution_id}/{command.step}" + (f"#{again}" if again else "")
    return own if command.role == "action" else f"{own}/{command.role}"


def _beat(body: Body, loop: asyncio.AbstractEventLoop, mask: Mask, details: object) -> None:
    """Note that an attempt is alive, from whatever thread; ``details`` replace what it said before."""
    body.beat = loop.time()
    if details is not None:
        body.said = mask.text(plain_text(str(details)))[:_MOST_SAID]  # half a secret is not found any more


def interrupted(step: str, attempt: int, at: int) -> AnyInput:
    """Return what is reported of an attempt that no longer runs and has no outcome."""
    return ActionInterrupted(step=step, attempt=attempt, at=at)


def _look_at_time(body: Body, now: float) -> None:
    """Note whether an attempt took too long, or was silent; at its end, before its result waits for the loop."""
    node = body.command.node
    if node.timeout_ms is not None and now - body.started > node.timeout_ms / 1000:
        body.overran = _took_too_long(body)
    elif node.heartbeat_timeout_ms is not None and now - body.beat > node.heartbeat_timeout_ms / 1000:
        body.overran = _was_silent(body)


def _took_too_long(body: Body) -> StepError:
    command = body.command
    seconds = (command.node.timeout_ms or 0) / 1000
    message = f"attempt {command.attempt} took longer than its timeout of {seconds:g} s"
    return StepError("StepTimeout", message, command.attempt, command.step)


def _was_silent(body: Body) -> StepError:
    command = body.command
    seconds = (command.node.heartbeat_timeout_ms or 0) / 1000
    message = f"attempt {command.attempt} gave no heartbeat within its heartbeat timeout of {seconds:g} s"
    return StepError("HeartbeatTimeout", message, command.attempt, command.step)


def _stop_timers(body: Body) -> None:
    for timer in (body.timer, body.pulse):
        if timer is not None:
            timer.cancel()


def _refuse_coroutine(result: object) -> None:
    if inspect.iscoroutine(result):
        result.close()
        raise ValidationError(_IS_COROUTINE)


def _check_schema(schema: JsonValue, value: JsonValue | Raw, name: str) -> None:
    if schema is None:
        return
    from treadle.schemas import compile_schema  # loaded only where a workflow has schemas

    problems = compile_schema(schema).problems(decode_payload(value) if isinstance(value, Raw) else value, name)
    if problems:
        raise ValidationError("; ".join(str(problem) for problem in problems), problems)
