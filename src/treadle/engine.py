"""``WorkflowEngine``: the public verbs. It checks arguments and hands over to a driver."""

from __future__ import annotations

import asyncio
import difflib
import os
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Self

from treadle import bridge
from treadle.actions import Registry
from treadle.arguments import (
    LARGEST_NUMBER,
    TERMINAL,
    check_age,
    check_answer,
    check_answer_value,
    check_duration,
    check_event,
    check_id,
    check_input,
    check_keep,
    check_key,
    check_number,
    check_object,
    check_on_conflict,
    check_payload,
    check_place,
    check_reason,
    check_recover,
    check_sources,
    check_start_at,
    check_statuses,
    check_tags,
    check_where_for,
)
from treadle.definition import load_workflow, load_workflows, to_document
from treadle.drivers.local import LocalDriver
from treadle.drivers.protocol import Fork, Order
from treadle.errors import TreadleError, ValidationError
from treadle.limits import check_limits
from treadle.model import Problem, WorkflowRef, WorkflowVersion, definition_hash
from treadle.paths import all_nodes
from treadle.scheduling import ScheduleVerbs
from treadle.secrets import as_provider
from treadle.settings import Settings
from treadle.state_manager import StateManager
from treadle.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime
    from typing import TypeAlias

    from treadle.definition import Source
    from treadle.drivers.protocol import Driver, Health, Schedules
    from treadle.limits import Limit, Occupancy
    from treadle.model import Answer, BulkResult, ExecutionFilter, ExecutionState, JsonValue, Workflow
    from treadle.scheduling import Startable
    from treadle.secrets import Secrets
    from treadle.store.protocol import Store

    Duration: TypeAlias = timedelta | float | str


class WorkflowEngine(StateManager, ScheduleVerbs):
    """Runs workflows durably inside this process.

    ``async with WorkflowEngine(store="treadle.db", actions=[...]) as engine`` opens the file and goes on with what was
    open; leaving it lets attempts in flight end for ``grace`` and interrupts the rest, which go on at the next open.
    It is its own reading side; ``state_manager`` is that side alone, for those who shall only look.

    Args:
        max_concurrent_steps: Slots of the whole engine: never exceeded, and reached whenever that many are ready.
        store: A path (SQLite), ``":memory:"``, or a store.
        actions: Functions marked with ``@action``, modules that hold them, or dicts by name.
        workflows: Registered at opening: workflows, documents, their paths, and folders of them. See
            ``load_workflows``.
        recover: ``"all"`` open executions, ``"none"``, or those of the given ids. Another one is taken up when a verb
            names it.
        grace: How long leaving waits for attempts in flight, in seconds or as a ``timedelta``; None for
            ``Settings.grace_ms``.
        keep: How long an execution is kept after its end: one duration (``"30d"``, seconds, a ``timedelta``) for all,
            or a dict of them by status, in which a status that is not there is kept for ever; None for
            ``Settings.keep_ms``. What is older is removed in the background.
        secrets: Who knows the secrets that parameters name (``${secrets.NAME}``): ``EnvironmentSecrets()``,
            ``FileSecrets(path)``, a dict, a function of the name (sync or async), an object with such a ``get``, or a
            list of these, of which the first that knows a name counts.
        settings: Limits; None for those of the environment.
        limits: How many steps may run at a time, and how many may start in a time: by ``service``, by
            ``service.action``, by ``workflow:ID``, or by a name of ``limits`` in definitions, whose numbers these
            replace. A number is a concurrency; ``Limit`` has rates too.
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
        workflows: Iterable[Source] = (),
        recover: str | Collection[str] = "all",
        grace: timedelta | float | None = None,
        keep: Duration | Mapping[str, Duration | None] | None = None,
        secrets: Secrets | None = None,
        settings: Settings | None = None,
        limits: Mapping[str, int | Limit] | None = None,
        driver: Driver | None = None,
    ) -> None:
        self.max_concurrent_steps = check_number(max_concurrent_steps, "max_concurrent_steps", least=1)
        self.settings = settings or Settings.from_environment()
        self.actions = Registry(check_sources(actions))
        self._workflows = workflows
        self._recover = check_recover(recover)
        self._grace = (
            timedelta(milliseconds=self.settings.grace_ms) if grace is None else check_duration(grace, "grace")
        )
        provider, kept = as_provider(secrets), check_keep(keep, self.settings)
        own_limits = check_limits(limits)
        self._driver: Driver = driver or LocalDriver(
            _store(store),
            self.actions,
            max_concurrent_steps=max_concurrent_steps,
            settings=self.settings,
            keep=kept,
            secrets=provider,
            limits=own_limits,
        )
        self._closing: asyncio.Future[None] | None = None
        super().__init__(self._driver)
        self.state_manager = StateManager(self._driver)

    async def __aenter__(self) -> Self:
        # Before the file is opened: what is wrong with a document changes nothing.
        workflows = load_workflows(self._workflows, actions=self.actions or None)
        await self._driver.open(self._recover)
        try:
            if workflows:
                await self._driver.register(workflows)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let attempts in flight end for ``grace``, interrupt the rest, close the file. Safe twice.

        It goes on to its end also where whoever waits for it is cancelled.
        """
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._driver.close(self._grace))
        await asyncio.shield(self._closing)

    @property
    def health(self) -> Health:
        """Return whether the engine takes work, and what was set aside."""
        return self._driver.health

    async def register_workflow(self, workflow: Source) -> WorkflowVersion:
        """Register a workflow under its id, and return its version once that is durable.

        Its content never changes: other content is another version. The same content is the same version again, and is
        from then on the one that ``WorkflowRef(id)`` means. Executions keep the version they began with.

        Args:
            workflow: A ``Workflow``, a document, or the path or text of one. Its actions are looked up where the engine
                has any.

        Raises:
            ValidationError: The definition is wrong; ``problems`` has all of it.
            StoreError: The log takes no work now.
        """
        (version,) = await self._driver.register([load_workflow(workflow, actions=self.actions or None)])
        return version

    @property
    def _schedules(self) -> Schedules:
        return self._driver.schedules

    def _known_actions(self) -> Registry | None:
        return self.actions or None

    async def start_workflow(
        self,
        workflow: Startable,
        input_data: Mapping[str, JsonValue] | None = None,
        *,
        execution_id: str | None = None,
        priority: int = 0,
        tags: Mapping[str, str] | None = None,
        key: str | None = None,
        on_conflict: str | None = None,
        start_at: datetime | timedelta | str | None = None,
    ) -> str:
        """Start an execution and return its id once the start is durable.

        Args:
            workflow: The definition: a ``Workflow``, a document, or the path or text of one; or a registered one:
                ``WorkflowRef(id)``, or what ``register_workflow`` returned.
            input_data: JSON object.
            execution_id: Its name; with the same definition and input it is returned again. None for a new one.
            priority: Ready steps of higher ones start first.
            tags: Shown and searched in lists.
            key: At most one open execution of the workflow has begun with it, such as one per customer.
            on_conflict: Where an open one has the key: ``"reject"`` (the default) raises, ``"return_existing"`` returns
                its id, ``"queue"`` starts once those before it have ended, and ``"cancel_running"`` cancels those
                before it and starts once they have ended.
            start_at: When it begins: a time with its zone, or how long from now (``"10m"`` also as text); until then
                it is PENDING. None for now.

        Raises:
            ValidationError: The definition or the input is wrong; ``problems`` has all of it.
            NotFoundError: No such workflow is registered, or no such version of it.
            ConflictError: The id is taken by another definition, input or key; or (``reject``) the key by an open
                execution, which ``execution_id`` names.
            OverloadedError: The engine has been behind for ``Settings.start_wait_ms``.
            StoreError: The log takes no work now.
        """
        definition = await self._definition(workflow)
        key = check_key(key)
        at, delay_ms = check_start_at(start_at)
        order = Order(
            execution_id=uuid.uuid4().hex if execution_id is None else check_id(execution_id),
            workflow=definition,
            input=check_input(definition, input_data, self.settings),
            priority=check_number(priority, "priority", least=-LARGEST_NUMBER),
            tags=check_tags(tags),
            has_new_id=execution_id is None,
            key=key,
            on_conflict=check_on_conflict(on_conflict, key),
            start_at=at,
            delay_ms=delay_ms,
            any_version=isinstance(workflow, WorkflowRef) and workflow.version is None,
        )
        return await self._driver.start(order)

    async def _definition(self, workflow: Startable) -> Workflow:
        """Return what is to be started, checked; the workflows that its steps run have to be registered.

        Raises:
            ValidationError: As ``start_workflow``.
        """
        definition = load_workflow(await self._meant(workflow), actions=self.actions)
        calls = {path: node.workflow for path, node in all_nodes(definition) if node.workflow}
        if calls:
            known = {one.workflow_id for one in await self._driver.versions()}
            problems = [_unknown(path, name, known) for path, name in calls.items() if name not in known]
            if problems:
                raise ValidationError("; ".join(map(str, problems)), problems)
        return definition

    async def _meant(self, workflow: Startable) -> Source:
        """Return a workflow that is named by its id as what is registered under it."""
        if isinstance(workflow, WorkflowVersion):
            return await self._driver.registered(workflow.workflow_id, workflow.definition_hash)
        if isinstance(workflow, WorkflowRef):
            return await self.get_workflow(workflow.workflow_id, workflow.version)
        return workflow

    async def run_workflow(
        self,
        workflow: Startable,
        input_data: Mapping[str, JsonValue] | None = None,
        *,
        execution_id: str | None = None,
        priority: int = 0,
        tags: Mapping[str, str] | None = None,
        key: str | None = None,
        on_conflict: str | None = None,
        start_at: datetime | timedelta | str | None = None,
    ) -> ExecutionState:
        """Start an execution as ``start_workflow`` does, and ``wait`` for it."""
        started = await self.start_workflow(
            workflow,
            input_data,
            execution_id=execution_id,
            priority=priority,
            tags=tags,
            key=key,
            on_conflict=on_conflict,
            start_at=start_at,
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
        seconds = None if timeout is None else check_duration(timeout, "timeout").total_seconds()
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
        return await self._driver.resume(execution_id, check_object(inputs, self.settings) if inputs else None)

    async def cancel_execution(self, execution_id: str, reason: str | None = "") -> bool:
        """Cancel what runs, then end as CANCELLED. False if the execution had ended.

        Raises:
            NotFoundError: No such execution.
        """
        return await self._driver.cancel(execution_id, check_reason(reason))

    async def terminate_execution(self, execution_id: str, reason: str | None = "") -> bool:
        """End as CANCELLED at once, without waiting for what runs. False if the execution had ended.

        What runs is cancelled, and what comes of it is ignored.

        Raises:
            NotFoundError: No such execution.
        """
        return await self._driver.cancel(execution_id, check_reason(reason), at_once=True)

    async def retry_execution(self, execution_id: str, *, new_key: bool = False) -> bool:
        """Let a FAILED or TIMED_OUT execution go on where it failed, with a new full ``timeout``.

        What failed without being handled, what was cut off and what was never reached runs; what completed does not.

        Args:
            execution_id: Of the execution.
            new_key: Actions get other idempotency keys, so that what they did once they do again.

        Returns:
            False if it has not failed.

        Raises:
            NotFoundError: No such execution.
            ConflictError: Another open execution has its key.
        """
        return await self._driver.retry(execution_id, new_key=new_key)

    async def fork_execution(
        self,
        execution_id: str,
        from_step: str,
        inputs: Mapping[str, JsonValue] | None = None,
        *,
        workflow: Startable | None = None,
        fork_id: str | None = None,
    ) -> str:
        """Start a new execution that keeps how every step ended that does not follow ``from_step``; return its id.

        What was undone counts as not run: the fork runs it, and what follows it, by itself.

        Args:
            execution_id: Of the execution that is forked, ended or not; it stays as it is.
            from_step: Key of the step from which on the fork runs by itself, within bodies too (``each[3].charge``).
            inputs: Merged over the input.
            workflow: What the fork runs, such as a mended definition; None for what the other runs.
            fork_id: Id of the fork; None for a new one.

        Raises:
            NotFoundError: No such execution, or step.
            ValidationError: The definition, or the merged input, is wrong.
            ConflictError: The id is taken.
        """
        definition = None
        if workflow is not None:
            definition = await self._definition(workflow)
        fork = Fork(
            source=execution_id,
            step=from_step,
            execution_id=uuid.uuid4().hex if fork_id is None else check_id(fork_id),
            inputs=check_object(inputs, self.settings) if inputs else None,
            workflow=definition,
            has_new_id=fork_id is None,
        )
        return await self._driver.fork(fork)

    async def migrate_execution(self, execution_id: str, workflow: Startable | None = None) -> bool:
        """Let an open execution go on with another version of its workflow, if that is safe.

        It is where each step that has begun is there and the same, and each decision would have been made there as
        well; what was not reached yet may differ in any way, and all of one that is PENDING. The ``timeout`` of the
        new definition counts from where that of the old one did, and from now where there was none.

        Args:
            execution_id: Of the execution.
            workflow: The version: a ``WorkflowRef``, what ``register_workflow`` returned, or a definition, which is
                registered if it is safe. None for the one registered last.

        Returns:
            False if it runs that version already.

        Raises:
            NotFoundError: No such execution, workflow or version.
            ConflictError: It has ended, or is ending; fork it instead.
            ValidationError: It would not be safe; ``problems`` says exactly why, and nothing changed.
        """
        if workflow is None:
            workflow = WorkflowRef((await self.get_execution_state(execution_id)).workflow_id)
        if isinstance(workflow, WorkflowRef):
            found = await self.get_workflow(workflow.workflow_id, workflow.version)
            return await self._driver.migrate(execution_id, definition_hash(found))
        if isinstance(workflow, WorkflowVersion):
            return await self._driver.migrate(execution_id, workflow.definition_hash)
        return await self._driver.migrate(execution_id, load_workflow(workflow, actions=self.actions or None))

    async def cancel_step(self, execution_id: str, step: str) -> bool:
        """Cancel one step that has begun, and all that is in its bodies; what follows it only is skipped.

        Returns:
            False if it has not begun, or has ended.

        Raises:
            NotFoundError: No such execution, or step.
        """
        return await self._driver.cancel_step(execution_id, step)

    async def pause_executions(
        self, where: ExecutionFilter | Mapping[str, object], *, dry_run: bool = False
    ) -> BulkResult:
        """Pause every running execution of a filter.

        Args:
            where: An ``ExecutionFilter`` or a dict of its fields; an empty one is refused.
            dry_run: Only count them.

        Raises:
            ValidationError: The filter is empty, or a field is of the wrong kind; nothing changed.
        """
        return await self._driver.bulk("pause", check_where_for("pause", where), dry_run=dry_run)

    async def resume_executions(
        self, where: ExecutionFilter | Mapping[str, object], *, dry_run: bool = False
    ) -> BulkResult:
        """Resume every paused execution of a filter; see ``pause_executions``.

        One that asks for input asks for it again.
        """
        return await self._driver.bulk("resume", check_where_for("resume", where), dry_run=dry_run)

    async def cancel_executions(
        self, where: ExecutionFilter | Mapping[str, object], reason: str | None = "", *, dry_run: bool = False
    ) -> BulkResult:
        """Cancel every open execution of a filter; see ``pause_executions``. They end a little later."""
        found = check_where_for("cancel", where)
        return await self._driver.bulk("cancel", found, reason=check_reason(reason), dry_run=dry_run)

    async def retry_executions(
        self, where: ExecutionFilter | Mapping[str, object], *, dry_run: bool = False
    ) -> BulkResult:
        """Let every FAILED or TIMED_OUT execution of a filter go on where it failed; see ``pause_executions``."""
        return await self._driver.bulk("retry", check_where_for("retry", where), dry_run=dry_run)

    async def submit_input(self, execution_id: str, step: str, data: JsonValue) -> bool:
        """Answer an ``input`` node; durable on return. Of two answers at once one counts.

        Returns:
            False if the step does not wait for an answer: not yet, or not any more.

        Raises:
            NotFoundError: No such execution, or step.
            ConflictError: The step is no input node.
            ValidationError: The answer is no JSON, or breaks the node's ``schema``; nothing changed.
        """
        return await self._driver.submit(execution_id, step, check_payload(data, "answer", self.settings))

    async def answer(self, execution_id: str, step: str, answer: Answer | str, value: JsonValue = None) -> None:
        """Say what becomes of a step whose attempts are spent and that is PAUSED for it; durable on return.

        A map within which a step asks can be answered with ``"complete"``: it is COMPLETED with what its items gave so
        far, ``null`` for the others, which are cancelled.

        Args:
            execution_id: Of the execution.
            step: Key of the step.
            answer: ``"retry"``: its attempts start anew. ``"output"``: it is COMPLETED with ``value``: somebody did it
                in the action's place. ``"complete"``: it is COMPLETED, since what was called last did its work in fact.
                ``"skip"``: it is SKIPPED. ``"abort"``: the execution fails with the step's error, whatever could handle
                it.
            value: The output; with ``"output"``, and with ``"complete"`` if it is known: None is ``null`` there, which
                no schema is asked about.

        Raises:
            NotFoundError: No such execution, or step.
            ConflictError: The step asks nothing: not yet, or not any more. Of two answers at once one counts.
            ValidationError: The answer is none of these or has no value, or ``value`` breaks the node's
                ``output_schema``; nothing changed.
        """
        chosen = check_answer(answer)
        await self._driver.answer(execution_id, step, chosen, check_answer_value(chosen, value, self.settings))

    async def import_execution(self, document: Mapping[str, JsonValue] | str | bytes, *, go_on: bool = True) -> str:
        """Take in an execution that ``export_execution`` gave, here or elsewhere, and return its id once it is durable.

        It keeps its id, its history and its workflow. One that is open goes on here: an attempt that was in flight runs
        again under the next number, with the same idempotency key. See to it that it does not go on elsewhere too.

        Args:
            document: The document, or its JSON text.
            go_on: False leaves an open one to the next opening, or to the verb that names it first.

        Raises:
            ConflictError: Its id is taken, or its key by another one that is open.
            ValidationError: It is no exported execution, of a later version, or damaged; nothing was written.
            StoreError: The log takes no work now.
        """
        return await self._driver.import_execution(
            document, lambda workflow: load_workflow(to_document(workflow)), goes_on=go_on
        )

    async def get_occupancy(self) -> Occupancy:
        """Return how slots and limits stand: who holds them, how many steps wait, until when one is closed."""
        return await self._driver.occupancy()

    async def prune_executions(
        self, older_than: Duration, statuses: Sequence[str] = (), *, dry_run: bool = False
    ) -> Sequence[str]:
        """Remove executions that ended longer ago than ``older_than``, with all that is known of them.

        Args:
            older_than: ``"30d"``, seconds, or a ``timedelta``.
            statuses: Only those that ended so; none for all that ended.
            dry_run: Only tell which would be removed.

        Returns:
            The ids of those that are gone. None of them was open.

        Raises:
            ValidationError: It is no duration, or no status in which an execution ends.
            StoreError: The log takes no work now.
        """
        age = timedelta(milliseconds=check_age(older_than, "older_than"))
        keep = check_keep(dict.fromkeys(check_statuses(statuses) or TERMINAL, age), self.settings)
        return await self._driver.prune(keep, is_dry=dry_run)

    async def send_event(
        self,
        name: str,
        key: JsonValue = None,
        data: JsonValue = None,
        *,
        execution_id: str | None = None,
        event_id: str | None = None,
    ) -> bool:
        """Send an event to steps that wait for it; durable on return.

        Args:
            name: What ``event`` nodes and waits name.
            key: Which of those of that name, as JSON: a step with a key takes only events of the same key, one
                without takes any.
            data: The output of an event node that takes it.
            execution_id: To this execution only, which keeps it where no step waits for it yet. None: every execution
                of the file that waits for it gets it, or else the first that comes to wait for it within
                ``Settings.keep_events_ms``.
            event_id: Names the event: sent again it changes nothing. None for a new one.

        Returns:
            True if a step has taken it; False if it is kept.

        Raises:
            NotFoundError: No such execution.
            ConflictError: That execution has ended or is about to, or keeps ``Settings.max_kept_events`` already.
            ValidationError: An argument is wrong.
            StoreError: The log takes no work now; the event may be there all the same, so send it again with its id.
        """
        name, event_id = check_event(name, event_id)
        return await self._driver.send(
            "" if execution_id is None else check_id(execution_id),
            name,
            check_payload(key, "key", self.settings),
            check_payload(data, "data", self.settings),
            event_id or uuid.uuid4().hex,
        )


def _unknown(path: str, name: str, known: Collection[str]) -> Problem:
    near = difflib.get_close_matches(name, known, 1)
    hint = f'did you mean "{near[0]}"?' if near else "register it, or give it to the engine as workflows=[...]"
    message = f'step "{path}" runs the workflow "{name}", which is not registered'
    return Problem("unknown_workflow", message, path, hint=hint)


def run_sync(
    workflow: Startable,
    input_data: Mapping[str, JsonValue] | None = None,
    *,
    execution_id: str | None = None,
    store: str | os.PathLike[str] | Store = "treadle.db",
    actions: Iterable[object] = (),
    secrets: Secrets | None = None,
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
        async with WorkflowEngine(max_concurrent_steps, store, actions, recover=recover, secrets=secrets) as engine:
            return await engine.run_workflow(workflow, input_data, execution_id=execution_id)

    return bridge.run(run())


def _store(store: str | os.PathLike[str] | Store) -> Store:
    if store == ":memory:":
        return MemoryStore()
    if store is None or isinstance(store, str | os.PathLike):
        from treadle.store.sqlite import SqliteStore  # loaded only where a file is used

        return SqliteStore(check_place(store))
    return store
