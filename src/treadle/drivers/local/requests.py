"""The verbs of executions that exist: each is one request that the machine is fed with, and its durable answer."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING

from treadle.drivers.local import bulk
from treadle.drivers.local.answers import check_answer, check_submitted, no_question
from treadle.errors import ConflictError, NotFoundError, QuarantineError, StoreError, ValidationError
from treadle.machine import key_text, migration_problems
from treadle.machine.inputs import (
    AnswerGiven,
    CancelExecutionRequested,
    CancelStepRequested,
    InputSubmitted,
    MigrateRequested,
    PauseRequested,
    ResumeRequested,
    RetryRequested,
)
from treadle.values import PayloadError, decode_payload, encode_payload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgspec import Raw

    from treadle.drivers.local.events import Events
    from treadle.drivers.local.lines import Lines
    from treadle.drivers.local.recovery import Plans
    from treadle.drivers.local.resident import Resident
    from treadle.drivers.local.turns import TurnLoop
    from treadle.machine import Plan
    from treadle.model import Answer, BulkResult, BulkVerb, ExecutionFilter, JsonValue, Workflow, WorkflowVersion
    from treadle.settings import Settings
    from treadle.store.protocol import Store


class Requests(ABC):
    """Part of the local driver; see ``drivers.protocol.Driver`` for what each verb promises.

    A request has a name of its own, so that one whose commit was in doubt and that is fed again counts once.
    """

    _log: Store
    _lines: Lines
    _plans: Plans
    _turns: TurnLoop
    _settings: Settings
    _events: Events

    @abstractmethod
    async def register(self, workflows: Sequence[Workflow]) -> list[WorkflowVersion]:
        """Register workflows."""

    async def _resident(self, execution_id: str) -> Resident:
        self._turns.check_lives()
        return await self._turns.residents.loaded(execution_id)

    async def pause(self, execution_id: str, request: str = "") -> bool:
        """Start nothing new."""
        resident = await self._resident(execution_id)
        asked = PauseRequested(request=request or uuid.uuid4().hex, at=resident.now_ms())
        return await self._turns.ask(resident, asked)

    async def resume(self, execution_id: str, inputs: Raw | None, request: str = "") -> bool:
        """Go on."""
        resident = await self._resident(execution_id)
        if inputs is not None:
            self._check_inputs(resident, inputs)
        asked = ResumeRequested(inputs=inputs, request=request or uuid.uuid4().hex, at=resident.now_ms())
        return await self._turns.ask(resident, asked)

    async def submit(self, execution_id: str, step: str, data: Raw, request: str = "") -> bool:
        """Answer an input node."""
        resident = await self._resident(execution_id)
        check_submitted(resident, step, data)
        request = request or uuid.uuid4().hex
        asked = InputSubmitted(step=step, output=data, request=request, at=resident.now_ms())
        return await self._turns.ask(resident, asked)

    async def answer(self, execution_id: str, step: str, answer: Answer, output: Raw | None, request: str = "") -> None:
        """Answer for a step whose attempts are spent."""
        resident = await self._resident(execution_id)
        check_answer(resident, step, output)
        request = request or uuid.uuid4().hex
        asked = AnswerGiven(step=step, answer=answer, output=output, request=request, at=resident.now_ms())
        if not await self._turns.ask(resident, asked):
            raise no_question(resident, step)

    async def send(self, execution_id: str, name: str, key: Raw, data: Raw, event_id: str) -> bool:
        """Send an event, to one execution or (``""``) to whoever waits for it."""
        compared = key_text(decode_payload(key))
        if not execution_id:
            return await self._events.send(name, compared, data, event_id)
        return await self._events.send_to(await self._resident(execution_id), name, compared, data, event_id)

    async def cancel(self, execution_id: str, reason: str, request: str = "", *, at_once: bool = False) -> bool:
        """Begin to cancel, or (``at_once``) end without waiting for what runs."""
        resident = await self._resident(execution_id)
        request = request or uuid.uuid4().hex
        asked = CancelExecutionRequested(reason=reason, request=request, at_once=at_once, at=resident.now_ms())
        return await self._turns.ask(resident, asked)

    async def retry(
        self, execution_id: str, request: str = "", *, new_key: bool = False, by_parent: bool = False
    ) -> bool:
        """Go on after a failure."""
        state = (await self._resident(execution_id)).state
        if not state.ended_at and request not in state.requests:
            return False  # whoever has its key
        async with self._lines.hold(state.workflow_id, state.key):
            first = await self._lines.first(state.workflow_id, state.key)
            if first is not None and first.execution_id != execution_id:
                message = f"execution {first.execution_id!r} has the key {state.key!r} now; it has to end first"
                raise ConflictError(message, execution_id, state.status.value)
            resident = await self._turns.residents.loaded(execution_id, keeps=True)
            asked = RetryRequested(
                request=request or uuid.uuid4().hex, new_key=new_key, by_parent=by_parent, at=resident.now_ms()
            )
            return await self._turns.ask(resident, asked)

    async def migrate(self, execution_id: str, version: str | Workflow, request: str = "") -> bool:
        """Go on with another version."""
        resident = await self._resident(execution_id)
        plan = await self._plan_of(version, execution_id)
        self._check_migration(resident, plan)
        if not isinstance(version, str):  # only now: a refusal changes nothing
            await self.register([version])
            resident = await self._resident(execution_id)
        asked = MigrateRequested(plan=plan, request=request or uuid.uuid4().hex, at=resident.now_ms())
        if await self._turns.ask(resident, asked):
            return True
        self._check_migration(resident, plan)  # it may have gone on meanwhile
        return False

    async def _plan_of(self, version: str | Workflow, execution_id: str) -> Plan:
        if not isinstance(version, str):
            return self._plans.of(self._plans.define(version))
        try:
            return await self._plans.read(version, execution_id)
        except QuarantineError as error:
            raise StoreError(f"the definition cannot be used: {error.args[0]}", self._log.path) from error

    def _check_migration(self, resident: Resident, plan: Plan) -> None:
        """Check that an execution can go on with another definition.

        Raises:
            ConflictError: It has ended, or is about to.
            ValidationError: It would not be safe.
        """
        state = resident.state
        if state.ended_at or state.ending is not None:
            stands = (
                f"is {state.status.value}" if state.ending is None else f"is about to be {state.ending.status.value}"
            )
            message = f"execution {resident.id!r} {stands}; it cannot be migrated any more, but forked"
            raise ConflictError(message, resident.id, state.status.value)
        if problems := migration_problems(state, plan, resident.now_ms()):
            raise ValidationError("; ".join(one.message for one in problems), problems)
        self._merged(plan.workflow, state.input_value, None)

    async def cancel_step(self, execution_id: str, step: str, request: str = "") -> bool:
        """Cancel one step."""
        resident = await self._resident(execution_id)
        if resident.state.find(step) is None:
            raise NotFoundError("step", step)
        asked = CancelStepRequested(step=step, request=request or uuid.uuid4().hex, at=resident.now_ms())
        return await self._turns.ask(resident, asked)

    async def bulk(
        self, verb: BulkVerb, where: ExecutionFilter, *, reason: str = "", dry_run: bool = False, request: str = ""
    ) -> BulkResult:
        """Pause, resume, cancel or retry many."""
        self._turns.check_lives()
        if dry_run:
            return await bulk.count(self._log, verb, where)
        request = request or uuid.uuid4().hex
        match verb:
            case "pause":
                act = partial(self.pause, request=request)
            case "resume":
                act = partial(self.resume, inputs=None, request=request)
            case "cancel":
                act = partial(self.cancel, reason=reason, request=request)
            case "retry":
                act = partial(self.retry, request=request)
        return await bulk.carry_out(self._log, verb, where, act)

    def _check_inputs(self, resident: Resident, inputs: Raw) -> None:
        self._merged(resident.state.plan.workflow, resident.state.input_value, inputs)

    def _merged(self, workflow: Workflow, known: dict[str, JsonValue], inputs: Raw | None) -> Raw:
        """Return an input with what is added to it.

        Raises:
            ValidationError: It is too large, or breaks the schema.
        """
        merged = {**known, **({} if inputs is None else decode_payload(inputs))}
        try:
            encoded = encode_payload(merged, self._settings)
        except PayloadError as error:
            raise ValidationError(f"the input with what is added to it: {error}") from error
        if workflow.input_schema is not None:
            from treadle.schemas import compile_schema  # loaded only where a workflow has a schema

            problems = compile_schema(workflow.input_schema).problems(merged, "input")
            if problems:
                raise ValidationError("; ".join(str(one) for one in problems), problems)
        return encoded
