"""``Client``: reaches the engine of another process through its file.

Reads come from the log itself, opened for reading only. Commands go through a durable folder beside the file; the
engine that runs it, now or later, carries them out.
"""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Self

import msgspec
from msgspec import Raw

from treadle.arguments import (
    check_answer,
    check_answer_value,
    check_duration,
    check_event,
    check_id,
    check_object,
    check_payload,
    check_reason,
    check_text,
    check_where_for,
)
from treadle.definition import load_workflow
from treadle.drivers.local import bulk
from treadle.drivers.local.reads import LogReads
from treadle.drivers.local.schedule_letters import VERBS as SCHEDULE_VERBS
from treadle.drivers.local.schedule_letters import schedule_letter
from treadle.errors import (
    ConflictError,
    NotFoundError,
    QuarantineError,
    StoreError,
    TreadleError,
    UnavailableError,
    ValidationError,
)
from treadle.model import WorkflowRef, WorkflowVersion, definition_hash, encode_workflow
from treadle.scheduling import ScheduleVerbs
from treadle.settings import Settings
from treadle.state_manager import StateManager
from treadle.store.inbox import Inbox, Letter, Reply
from treadle.store.lock import holder
from treadle.store.reader import SqliteReader

if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from treadle.definition import Source
    from treadle.drivers.local.schedule_letters import ScheduleVerb
    from treadle.feed import Committed
    from treadle.limits import Occupancy
    from treadle.model import Answer, BulkResult, BulkVerb, ExecutionFilter, Explanation, JsonValue, Workflow
    from treadle.schedules import Spec
    from treadle.scheduling import Startable

POLL_SECONDS = 0.05


class Client(ScheduleVerbs):
    """Looks at the executions of a file, and asks the engine that runs it to pause, resume or cancel them.

    ``async with Client("treadle.db") as client`` opens the file for reading; it never writes to it and takes no lock,
    so any number may be open beside an engine, or without one.

    Args:
        path: The SQLite file of the engine.
        timeout: How long a command waits for the engine's answer.
        settings: Limits; None for those of the environment.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] = "treadle.db",
        *,
        timeout: timedelta | float = timedelta(seconds=10),
        settings: Settings | None = None,
    ) -> None:
        self.settings = settings or Settings.from_environment()
        self._timeout = check_duration(timeout, "timeout")
        self._reader = SqliteReader(path)
        self._inbox = Inbox(self._reader.path, max_bytes=self.settings.max_payload_bytes)
        self._reads = LogReads(self._reader, _Polling(self._reader))
        self.state_manager = StateManager(self._reads)

    async def __aenter__(self) -> Self:
        try:
            await self._reader.open()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the file. Safe twice."""
        await self._reader.close()

    @property
    def engine_pid(self) -> int | None:
        """Return the id of the process that runs an engine on the file; None if nobody does, 0 if it left none."""
        return holder(self._reader.path)

    async def pause_execution(self, execution_id: str) -> bool:
        """Ask the engine to start nothing new. False if the execution is ending or has ended.

        Raises:
            NotFoundError: No such execution. So for every command.
            UnavailableError: No engine answered in time; the command waits for one. So for every command.
            StoreError: The command could not be written.
        """
        return await self._ask(Letter("pause", execution_id, uuid.uuid4().hex))

    async def resume_workflow(self, execution_id: str, inputs: Mapping[str, JsonValue] | None = None) -> bool:
        """Ask the engine to go on, with ``inputs`` merged over the input. False if there was nothing to resume.

        Raises:
            ValidationError: An input is no JSON, or breaks the workflow's ``input_schema``; nothing changed.
        """
        encoded = msgspec.json.decode(check_object(inputs or {}, self.settings), type=dict[str, Raw])
        return await self._ask(Letter("resume", execution_id, uuid.uuid4().hex, encoded))

    async def cancel_execution(self, execution_id: str, reason: str | None = "") -> bool:
        """Ask the engine to cancel what runs and end. False if the execution had ended."""
        return await self._ask(Letter("cancel", execution_id, uuid.uuid4().hex, reason=check_reason(reason)))

    async def terminate_execution(self, execution_id: str, reason: str | None = "") -> bool:
        """Ask the engine to end an execution at once. False if it had ended."""
        return await self._ask(Letter("terminate", execution_id, uuid.uuid4().hex, reason=check_reason(reason)))

    async def retry_execution(self, execution_id: str, *, new_key: bool = False) -> bool:
        """Ask the engine to let an execution that failed go on. False if it has not failed."""
        row = await self._reader.get(execution_id)
        if row is None:
            raise NotFoundError("execution", execution_id)
        return await self._send(Letter("retry", execution_id, uuid.uuid4().hex, new_key=new_key))

    async def fork_execution(
        self,
        execution_id: str,
        from_step: str,
        inputs: Mapping[str, JsonValue] | None = None,
        *,
        workflow: Source | None = None,
        fork_id: str | None = None,
    ) -> str:
        """Ask the engine for a fork, as ``WorkflowEngine.fork_execution`` makes it; return its id.

        Raises:
            ValidationError: The definition, or the merged input, is wrong.
            ConflictError: The id is taken.
        """
        row = await self._reader.get(execution_id)
        if row is None:
            raise NotFoundError("execution", execution_id)
        encoded = msgspec.json.decode(check_object(inputs or {}, self.settings), type=dict[str, Raw])
        request = uuid.uuid4().hex
        new = request if fork_id is None else check_id(fork_id)
        definition = Raw(b"null") if workflow is None else Raw(encode_workflow(load_workflow(workflow)))
        await self._send(Letter("fork", execution_id, request, encoded, step=from_step, fork=new, data=definition))
        return new

    async def migrate_execution(self, execution_id: str, workflow: Source | None = None) -> bool:
        """Ask the engine to let an execution go on with another version, as ``WorkflowEngine.migrate_execution`` does.

        Args:
            execution_id: Of the execution.
            workflow: A definition, which is registered if it is safe; None for the version registered last.

        Raises:
            ConflictError: It has ended, or is ending.
            ValidationError: It would not be safe; the message says exactly why, and nothing changed.
        """
        row = await self._reader.get(execution_id)
        if row is None:
            raise NotFoundError("execution", execution_id)
        letter = Letter("migrate", execution_id, uuid.uuid4().hex)
        if workflow is None:
            name = (await self._reads.catalog.find(row.workflow_id)).definition_hash
            return await self._send(msgspec.structs.replace(letter, definition=name))
        data = Raw(encode_workflow(load_workflow(workflow)))
        return await self._send(msgspec.structs.replace(letter, data=data))

    async def cancel_step(self, execution_id: str, step: str) -> bool:
        """Ask the engine to cancel one step. False if it has not begun, or has ended."""
        return await self._ask(Letter("cancel_step", execution_id, uuid.uuid4().hex, step=step))

    async def pause_executions(
        self, where: ExecutionFilter | Mapping[str, object], *, dry_run: bool = False
    ) -> BulkResult:
        """Ask the engine to pause every running execution of a filter; a dry run counts them here.

        Only an engine that goes on with every execution of the file obeys.

        Raises:
            ValidationError: The filter is empty, or a field is of the wrong kind; nothing changed.
        """
        return await self._ask_for_many("pause", check_where_for("pause", where), dry_run=dry_run)

    async def resume_executions(
        self, where: ExecutionFilter | Mapping[str, object], *, dry_run: bool = False
    ) -> BulkResult:
        """Ask the engine to resume every paused execution of a filter; see ``pause_executions``."""
        return await self._ask_for_many("resume", check_where_for("resume", where), dry_run=dry_run)

    async def cancel_executions(
        self, where: ExecutionFilter | Mapping[str, object], reason: str | None = "", *, dry_run: bool = False
    ) -> BulkResult:
        """Ask the engine to cancel every open execution of a filter; see ``pause_executions``."""
        found = check_where_for("cancel", where)
        return await self._ask_for_many("cancel", found, check_reason(reason), dry_run=dry_run)

    async def retry_executions(
        self, where: ExecutionFilter | Mapping[str, object], *, dry_run: bool = False
    ) -> BulkResult:
        """Ask the engine to let every failed execution of a filter go on; see ``pause_executions``."""
        return await self._ask_for_many("retry", check_where_for("retry", where), dry_run=dry_run)

    async def _ask_for_many(
        self, verb: BulkVerb, where: ExecutionFilter, reason: str = "", *, dry_run: bool
    ) -> BulkResult:
        found = await bulk.count(self._reader, verb, where)
        if dry_run or not found.matched:
            return found
        reply = await self._deliver(Letter(verb, "", uuid.uuid4().hex, reason=reason, where=where))
        assert reply.result is not None  # an error was raised
        return reply.result

    async def submit_input(self, execution_id: str, step: str, data: JsonValue) -> bool:
        """Answer an ``input`` node. False if it does not wait for an answer.

        Raises:
            ConflictError: The step is no input node.
            ValidationError: The answer is no JSON, or breaks the node's ``schema``; nothing changed.
        """
        answer = check_payload(data, "answer", self.settings)
        return await self._ask(Letter("submit", execution_id, uuid.uuid4().hex, step=step, data=answer))

    async def send_event(
        self,
        name: str,
        key: JsonValue = None,
        data: JsonValue = None,
        *,
        execution_id: str | None = None,
        event_id: str | None = None,
    ) -> bool:
        """Ask the engine to send an event, as ``WorkflowEngine.send_event``; True if a step has taken it.

        Raises:
            NotFoundError: No such execution.
            ConflictError: That execution has ended or is about to, or keeps too many events.
            ValidationError: An argument is wrong; nothing was asked.
        """
        name, event_id = check_event(name, event_id)
        letter = Letter(
            "send",
            "" if execution_id is None else check_id(execution_id),
            uuid.uuid4().hex,
            name=name,
            key=check_payload(key, "key", self.settings),
            data=check_payload(data, "data", self.settings),
            event_id=event_id,
        )
        if letter.execution_id and await self._reader.get(letter.execution_id) is None:
            raise NotFoundError("execution", letter.execution_id)
        return await self._send(letter)

    async def register_workflow(self, workflow: Source) -> WorkflowVersion:
        """Ask the engine to register a workflow under its id, and return its version.

        Raises:
            ValidationError: The definition is wrong; nothing was asked.
        """
        definition = load_workflow(workflow)
        await self._send(Letter("register", "", uuid.uuid4().hex, data=Raw(encode_workflow(definition))))
        return await self._reads.catalog.find(definition.id, definition_hash(definition))

    async def answer(self, execution_id: str, step: str, answer: Answer | str, value: JsonValue = None) -> None:
        """Say what becomes of a step whose attempts are spent; see ``WorkflowEngine.answer``.

        Raises:
            ConflictError: The step asks nothing: not yet, or not any more.
            ValidationError: The answer is no such word, or ``value`` breaks the node's ``output_schema``; nothing
                changed.
        """
        chosen = check_answer(answer)
        output = check_answer_value(chosen, value, self.settings)
        letter = Letter("answer", execution_id, uuid.uuid4().hex, step=step, answer=chosen)
        if not await self._ask(letter if output is None else msgspec.structs.replace(letter, data=output)):
            raise ConflictError(f"step {step!r} asks nothing: the execution has ended", execution_id)

    async def explain(self, execution_id: str, step: str | None = None) -> Explanation:
        """Ask the engine why an execution, or a step of it, does not go on: who holds the slots and limits, too.

        ``state_manager.explain`` says what the log knows, also without an engine.

        Raises:
            NotFoundError: No such execution, or step.
            UnavailableError: No engine runs the file, or it has not answered in time.
        """
        row = await self._reader.get(execution_id)
        if row is None or not row.is_open:
            return await self.state_manager.explain(execution_id, step)
        letter = Letter("explain", execution_id, uuid.uuid4().hex, step=check_text(step or "", "a step"))
        reply = await self._question(letter)
        assert reply.explanation is not None  # an error was raised
        return reply.explanation

    async def get_occupancy(self) -> Occupancy:
        """Ask the engine how its slots and limits stand.

        Raises:
            UnavailableError: No engine runs the file, or it has not answered in time.
        """
        reply = await self._question(Letter("occupancy", "", uuid.uuid4().hex))
        assert reply.occupancy is not None  # as above
        return reply.occupancy

    async def _question(self, letter: Letter) -> Reply:
        """Ask what changes nothing; unlike a command it does not wait for an engine to come."""
        pid = self.engine_pid
        if pid is None:
            raise UnavailableError("no engine runs this file now", self._reader.path, None)
        name = await asyncio.to_thread(self._inbox.post, letter)
        try:
            reply = await self._answer(name)
        finally:
            await asyncio.to_thread(self._inbox.withdraw, name)
        if reply is None:
            message = f"the engine of process {pid or '?'} has not answered within {self._timeout.total_seconds():g} s"
            raise UnavailableError(message, self._reader.path, pid)
        if reply.code:
            raise _error(reply, letter, self._reader.path)
        return reply

    async def _ask(self, letter: Letter) -> bool:
        row = await self._reader.get(letter.execution_id)
        if row is None:
            raise NotFoundError("execution", letter.execution_id)
        return row.is_open and await self._send(letter)

    @property
    def _schedules(self) -> _ScheduleLetters:
        return _ScheduleLetters(self._reader, self._send)

    async def _meant(self, workflow: Startable) -> Source:
        if isinstance(workflow, WorkflowVersion):
            return await self._reads.registered(workflow.workflow_id, workflow.definition_hash)
        if isinstance(workflow, WorkflowRef):
            return await self.state_manager.get_workflow(workflow.workflow_id, workflow.version)
        return workflow

    async def _send(self, letter: Letter) -> bool:
        return (await self._deliver(letter)).accepted

    async def _deliver(self, letter: Letter) -> Reply:
        name = await asyncio.to_thread(self._inbox.post, letter)
        reply = await self._answer(name)
        if reply is None:
            raise self._unavailable(letter)
        if reply.code:
            raise _error(reply, letter, self._reader.path)
        return reply

    async def _answer(self, name: str) -> Reply | None:
        """Wait for the engine's answer; not at all where no engine runs."""
        until = asyncio.get_running_loop().time() + self._timeout.total_seconds()
        while True:
            # Before the look for an answer: an engine may give it as its last act.
            is_over = self.engine_pid is None or asyncio.get_running_loop().time() > until
            reply = await asyncio.to_thread(self._inbox.fetch, name)
            if reply is not None or is_over:
                return reply
            await asyncio.sleep(POLL_SECONDS)

    def _unavailable(self, letter: Letter) -> UnavailableError:
        pid = self.engine_pid
        if pid is None:
            why = "no engine runs this file now"
        else:
            other = ", or not run this execution" if letter.execution_id else ""
            other = ", or not run all executions" if letter.where is not None else other
            why = f"the engine of process {pid or '?'} has not answered; it may be busy{other}"
        message = f"{why}; the command to {_asked(letter)} waits in {self._inbox.folder}"
        return UnavailableError(message, self._reader.path, pid)


class _ScheduleLetters:
    """See ``drivers.protocol.Schedules`` for what each verb promises; each asks the engine of another process."""

    def __init__(self, reader: SqliteReader, send: Callable[[Letter], Awaitable[bool]]) -> None:
        self._reader = reader
        self._send = send

    async def add(self, schedule_id: str, spec: Spec, workflow: Workflow, *, replaces: bool = False) -> None:
        await self._send(schedule_letter(schedule_id, spec, workflow, uuid.uuid4().hex, replaces=replaces))

    async def remove(self, schedule_id: str) -> bool:
        return bool(await self._reader.schedules(schedule_id)) and await self._ask("unschedule", schedule_id)

    async def pause(self, schedule_id: str) -> bool:
        return await self._ask("pause_schedule", schedule_id)

    async def resume(self, schedule_id: str) -> bool:
        return await self._ask("resume_schedule", schedule_id)

    async def trigger(self, schedule_id: str, request: str, *, waits: bool = True) -> str | None:  # noqa: ARG002 - the engine does not wait for it
        is_taken = await self._ask("trigger_schedule", schedule_id, request)
        return f"{schedule_id}/{request}" if is_taken else None

    async def _ask(self, verb: ScheduleVerb, schedule_id: str, request: str = "") -> bool:
        if not await self._reader.schedules(schedule_id):
            raise NotFoundError("schedule", schedule_id)
        return await self._send(Letter(verb, schedule_id, request or uuid.uuid4().hex))


def _asked(letter: Letter) -> str:
    if letter.verb == "send":
        return f"send event {letter.name!r}" + (f" to {letter.execution_id!r}" if letter.execution_id else "")
    nobody = "a workflow" if letter.where is None else "many executions"
    return f"{letter.verb} {repr(letter.execution_id) if letter.execution_id else nobody}"


def _error(reply: Reply, letter: Letter, path: str) -> TreadleError:
    match reply.code:
        case NotFoundError.code:
            if letter.step:
                return NotFoundError("step", letter.step)
            return NotFoundError("schedule" if letter.verb in SCHEDULE_VERBS else "execution", letter.execution_id)
        case ConflictError.code:
            return ConflictError(reply.message, letter.execution_id)
        case ValidationError.code:
            return ValidationError(reply.message)
        case QuarantineError.code:
            return QuarantineError(reply.message, path, letter.execution_id)
        case _:
            return StoreError(reply.message)


class _Polling:
    """A source of what another process commits: it looks whether the log has grown."""

    def __init__(self, reader: SqliteReader) -> None:
        self.reader = reader
        self.head = -1

    def subscribe(self, execution_id: str | None = None) -> _Polls:  # noqa: ARG002 - the log has one head for all
        return _Polls(self)


class _Polls:
    """One subscriber: told that it is behind as soon as the log has grown, so that it reads there."""

    def __init__(self, source: _Polling) -> None:
        self.is_behind = False
        self.is_closed = False
        self._source = source
        self._head = source.head  # whoever subscribes reads the log after this, so nothing falls between the two

    async def next(self) -> Sequence[Committed]:
        while (head := await self._source.reader.head()) == self._head and not self.is_closed:  # noqa: ASYNC110 - another process writes
            await asyncio.sleep(POLL_SECONDS)
        self._source.head = head
        self.is_behind = True
        return ()

    def close(self) -> None:
        self.is_closed = True
