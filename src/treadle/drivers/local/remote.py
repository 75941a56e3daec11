"""What other processes ask for through the inbox folder, carried out by the engine that runs the file."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import msgspec

from treadle.drivers.local.schedule_letters import carry_out
from treadle.drivers.protocol import Fork
from treadle.errors import ConflictError, NotFoundError, QuarantineError, StoreError, TreadleError, ValidationError
from treadle.model import Answer, decode_workflow
from treadle.store.inbox import QUESTIONS, Inbox, Letter, Reply
from treadle.values import PayloadError, decode_payload, encode_payload

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from msgspec import Raw

    from treadle.drivers.protocol import Schedules
    from treadle.limits import Occupancy
    from treadle.model import BulkResult, BulkVerb, ExecutionFilter, Explanation, Workflow, WorkflowVersion
    from treadle.settings import Settings

_logger = logging.getLogger("treadle.engine")

_T = TypeVar("_T")

_ANSWER_SECONDS: Final = 1.0
"""A command that takes longer while the engine closes waits for the next engine."""


class Verbs(Protocol):
    """The driver, as far as commands are concerned."""

    @property
    def schedules(self) -> Schedules:
        """Carry out commands about schedules."""

    async def serves(self, execution_id: str) -> bool:
        """Tell whether commands to this execution are for this engine."""

    async def pause(self, execution_id: str, request: str = "") -> bool:
        """Start nothing new."""

    async def resume(self, execution_id: str, inputs: Raw | None, request: str = "") -> bool:
        """Go on."""

    async def cancel(self, execution_id: str, reason: str, request: str = "", *, at_once: bool = False) -> bool:
        """Begin to cancel, or end at once."""

    async def retry(self, execution_id: str, request: str = "", *, new_key: bool = False) -> bool:
        """Go on after a failure."""

    async def cancel_step(self, execution_id: str, step: str, request: str = "") -> bool:
        """Cancel one step."""

    async def migrate(self, execution_id: str, version: str | Workflow, request: str = "") -> bool:
        """Go on with another version."""

    async def fork(self, fork: Fork) -> str:
        """Start an execution that keeps what does not follow a step of another."""

    async def submit(self, execution_id: str, step: str, data: Raw, request: str = "") -> bool:
        """Answer an input node."""

    async def answer(self, execution_id: str, step: str, answer: Answer, output: Raw | None, request: str = "") -> None:
        """Answer for a step whose attempts are spent."""

    async def send(self, execution_id: str, name: str, key: Raw, data: Raw, event_id: str) -> bool:
        """Send an event."""

    async def bulk(
        self, verb: BulkVerb, where: ExecutionFilter, *, reason: str = "", dry_run: bool = False, request: str = ""
    ) -> BulkResult:
        """Pause, resume or cancel many."""

    async def explain(self, execution_id: str, step: str) -> Explanation:
        """Return why an execution does not go on."""

    async def occupancy(self) -> Occupancy:
        """Return how slots and limits stand."""

    @property
    def recovers_all(self) -> bool:
        """Tell whether this engine goes on with every execution of the file."""

    async def register(self, workflows: Sequence[Workflow]) -> list[WorkflowVersion]:
        """Register workflows."""


class RemoteCommands:
    """Looks into the inbox again and again.

    Args:
        inbox: The folder.
        verbs: Carry a command out.
        settings: How often to look, and how large an input may be.
    """

    def __init__(self, inbox: Inbox, verbs: Verbs, settings: Settings) -> None:
        self._inbox = inbox
        self._verbs = verbs
        self._settings = settings
        # A thread of its own: the folder may be slow, and the loop's default threads may all be taken by actions.
        self._thread = ThreadPoolExecutor(1, "treadle-inbox")
        self._task: asyncio.Task[None] | None = None
        self._current: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Carry out what waits, then go on looking in the background."""
        await self._on_thread(self._inbox.sweep)
        await self._look()
        self._task = asyncio.create_task(self._run(), name="treadle-inbox")

    async def stop(self) -> None:
        """Look no more; a command that is being carried out is answered first. Safe before ``start`` and twice."""
        task, self._task = self._task, None
        current, self._current = self._current, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        if current is not None:
            # Its effect may be why the engine closes: whoever asked shall hear of it, unless the log fails just now.
            await asyncio.wait([current], timeout=_ANSWER_SECONDS)
            current.cancel()
            await asyncio.wait([current])
            if not current.cancelled():
                current.exception()
        self._thread.shutdown(wait=False)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._settings.inbox_poll_ms / 1000)
            try:
                await self._look()
            except TreadleError:  # the engine takes no work now; the commands wait
                continue
            except Exception:
                _logger.exception("a command of another process could not be carried out; it is tried again")

    async def _look(self) -> None:
        for name in await self._on_thread(self._inbox.names):
            self._current = asyncio.create_task(self._obey(name), name="treadle-command")
            await asyncio.shield(self._current)

    async def _obey(self, name: str) -> None:
        reply = await self._reply(name)
        if reply is not None:
            await self._on_thread(partial(self._inbox.answer, name, reply))

    async def _reply(self, name: str) -> Reply | None:
        """Return the answer to a command; None for one that is not for this engine."""
        try:
            letter = await self._on_thread(partial(self._inbox.read, name))
        except StoreError as error:
            _logger.warning("%s", error)
            return Reply(accepted=False, code=error.code, message=str(error))
        if not await self._is_for_us(letter):
            return None
        try:
            if letter.verb in QUESTIONS:
                return await self._tell(letter)
            if letter.where is not None:
                return await self._carry_out_on_many(letter, letter.where)
            return Reply(accepted=await self._carry_out(letter))
        except (NotFoundError, ConflictError, ValidationError, QuarantineError) as error:
            return Reply(accepted=False, code=error.code, message=str(error))

    async def _tell(self, letter: Letter) -> Reply:
        if letter.verb == "explain":
            return Reply(accepted=True, explanation=await self._verbs.explain(letter.execution_id, letter.step))
        return Reply(accepted=True, occupancy=await self._verbs.occupancy())

    async def _is_for_us(self, letter: Letter) -> bool:
        if letter.verb in QUESTIONS:
            return True
        if letter.where is not None:
            return self._verbs.recovers_all
        return await self._verbs.serves(letter.execution_id)

    async def _carry_out_on_many(self, letter: Letter, where: ExecutionFilter) -> Reply:
        if letter.verb not in ("pause", "resume", "cancel", "retry"):
            raise ValidationError(f"{letter.verb} is for one execution")
        found = await self._verbs.bulk(letter.verb, where, reason=letter.reason, request=letter.request)
        return Reply(accepted=True, result=found)

    async def _carry_out(self, letter: Letter) -> bool:
        execution_id, request = letter.execution_id, letter.request
        match letter.verb:
            case "pause":
                return await self._verbs.pause(execution_id, request)
            case "resume":
                inputs = self._checked(letter.inputs) if letter.inputs else None
                return await self._verbs.resume(execution_id, inputs, request)
            case "cancel" | "terminate":
                at_once = letter.verb == "terminate"
                return await self._verbs.cancel(execution_id, letter.reason, request, at_once=at_once)
            case "retry":
                return await self._verbs.retry(execution_id, request, new_key=letter.new_key)
            case "migrate":
                return await self._verbs.migrate(execution_id, letter.definition or _workflow(letter.data), request)
            case "register":
                return bool(await self._verbs.register([_workflow(letter.data)]))
            case _:
                return await self._carry_out_at_step(letter)

    async def _carry_out_at_step(self, letter: Letter) -> bool:
        match letter.verb:
            case "cancel_step":
                return await self._verbs.cancel_step(letter.execution_id, letter.step, letter.request)
            case "fork":
                return bool(await self._verbs.fork(self._fork(letter)))
            case "submit":
                data = self._value(letter.data)
                return await self._verbs.submit(letter.execution_id, letter.step, data, letter.request)
            case "answer":
                output = self._output(letter)
                await self._verbs.answer(letter.execution_id, letter.step, letter.answer, output, letter.request)
                return True
            case "send":
                key, data = self._value(letter.key), self._value(letter.data)
                event_id = letter.event_id or letter.request
                return await self._verbs.send(letter.execution_id, letter.name, key, data, event_id)
            case _:
                return await carry_out(self._verbs.schedules, letter)

    def _fork(self, letter: Letter) -> Fork:
        return Fork(
            source=letter.execution_id,
            step=letter.step,
            execution_id=letter.fork,
            inputs=self._checked(letter.inputs) if letter.inputs else None,
            workflow=None if bytes(letter.data) == b"null" else _workflow(letter.data),
        )

    def _checked(self, inputs: dict[str, Raw]) -> Raw:
        try:
            return encode_payload({name: decode_payload(value) for name, value in inputs.items()}, self._settings)
        except (PayloadError, ValueError, RecursionError) as error:
            raise ValidationError(f"input: {error}") from error

    def _output(self, letter: Letter) -> Raw | None:
        """Return the output that an answer brings; None where it brings none."""
        confirms = letter.answer is Answer.COMPLETE and bytes(letter.data) != b"null"
        return self._value(letter.data) if letter.answer is Answer.OUTPUT or confirms else None

    def _value(self, given: Raw) -> Raw:
        return encode_payload(decode_payload(self._checked({"value": given}))["value"], self._settings)

    async def _on_thread(self, function: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)


def _workflow(data: Raw) -> Workflow:
    try:
        return decode_workflow(bytes(data))
    except msgspec.MsgspecError as error:
        raise ValidationError(f"this is no workflow of this version of treadle: {error}") from error
