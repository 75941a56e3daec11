"""What an engine needs of a driver, whatever it stands on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Raw, Struct

from treadle.model import Answer, OnConflict, Workflow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
    from datetime import timedelta

    from treadle.limits import Occupancy
    from treadle.model import (
        BulkResult,
        BulkVerb,
        ExecutionFilter,
        ExecutionState,
        ExecutionSummary,
        Explanation,
        HistoryEvent,
        JsonValue,
        WorkflowVersion,
    )
    from treadle.schedules import Schedule, Spec


class Order(Struct, frozen=True):
    """What an execution is started with.

    Attributes:
        execution_id: Its name.
        workflow: Valid.
        input: JSON object, checked.
        priority: Ready steps of a higher one start first.
        tags: Shown in lists.
        has_new_id: The id was drawn at random for this order, so that no execution can have it.
        key: At most one open execution of the workflow has begun with it; ``""`` for none.
        on_conflict: What to do where one has.
        start_at: When it begins, in milliseconds since the epoch; 0 for at once.
        delay_ms: How long from now it begins, instead.
        parent: Id of the execution that starts it; ``""`` for none.
        parent_step: Key of the step there.
        depth: How many executions are above it.
        is_awaited: That step waits for its end.
        forked_from: Id of the execution of which it is a fork; ``""`` for none.
        forked_step: Key of the step from which on it runs by itself.
        kept: What it takes over of that execution, as ``machine.kept_by_fork`` gives it.
        any_version: The workflow was named by its id alone: an execution of another version of it is the same one.
    """

    execution_id: str
    workflow: Workflow
    input: Raw
    priority: int = 0
    tags: dict[str, str] = {}
    has_new_id: bool = False
    key: str = ""
    on_conflict: OnConflict = OnConflict.REJECT
    start_at: int = 0
    delay_ms: int = 0
    any_version: bool = False
    parent: str = ""
    parent_step: str = ""
    depth: int = 0
    is_awaited: bool = False
    forked_from: str = ""
    forked_step: str = ""
    kept: tuple[Any, ...] = ()


class Fork(Struct, frozen=True):
    """What a fork is made of.

    Attributes:
        source: Id of the execution that is forked.
        step: Key of the step from which on the fork runs by itself.
        execution_id: Of the fork.
        inputs: JSON object, merged over the input; None for none.
        workflow: What the fork runs, valid; None for what the other runs.
        has_new_id: As in ``Order``.
    """

    source: str
    step: str
    execution_id: str
    inputs: Raw | None = None
    workflow: Workflow | None = None
    has_new_id: bool = False


class Health(Struct, frozen=True):
    """Whether the driver takes work.

    Attributes:
        ok: True while it does.
        reason: Why not; ``""`` while it does.
        quarantined: Why, by id of each execution that was set aside because its log is damaged.
        unregistered: Names of actions that steps wait for because nothing is registered under them.
        unregistered_workflows: Ids of workflows that steps wait for, likewise.
        dropped_events: Events that were sent to no execution in particular and removed since the opening, because
            nobody took them in ``Settings.keep_events_ms``.
    """

    ok: bool
    reason: str = ""
    quarantined: dict[str, str] = {}
    unregistered: tuple[str, ...] = ()
    unregistered_workflows: tuple[str, ...] = ()
    dropped_events: int = 0


class Reads(Protocol):
    """What is committed; changes nothing."""

    async def state(self, execution_id: str) -> ExecutionState:
        """Return what is committed of one execution."""

    async def explain(self, execution_id: str, step: str) -> Explanation:
        """Return why an execution, or (unless ``""``) a step of it, does not go on.

        Raises:
            NotFoundError: No such execution, or step.
        """

    async def workflow(self, execution_id: str) -> Workflow:
        """Return the definition of one execution."""

    async def versions(self, workflow_id: str = "") -> list[WorkflowVersion]:
        """Return registered versions of one workflow, or (``""``) of all by id; the last registered first."""

    async def registered(self, workflow_id: str, version: str | None) -> Workflow:
        """Return a registered workflow; without a version the one registered last.

        Raises:
            NotFoundError: No such workflow is registered, or no such version of it.
        """

    async def list_executions(
        self, where: ExecutionFilter, *, limit: int, before: int | None
    ) -> tuple[list[ExecutionSummary], int | None]:
        """Return a page, newest first, and the key of the page after it (None: there is none)."""

    async def list_schedules(self, schedule_id: str | None = None) -> list[Schedule]:
        """Return the schedule of that id (empty: there is none), or (None) all of them in order of their ids."""

    async def export(self, execution_id: str) -> dict[str, JsonValue]:
        """Return all that is recorded of one execution as a JSON document."""

    async def count_executions(self, where: ExecutionFilter) -> int:
        """Return how many executions pass a filter."""

    async def history(self, execution_id: str) -> Sequence[HistoryEvent]:
        """Return all events of one execution."""

    def watch(self, execution_id: str | None, after: int | None) -> AsyncIterator[HistoryEvent]:
        """Give committed events in commit order: of one execution until it has ended, or of all until ``close``."""


class Schedules(Protocol):
    """What starts by itself. Every verb may be called concurrently, and is durable on return.

    Executions are started where ``open`` recovered all; elsewhere what was decided waits for such an engine.
    """

    async def add(self, schedule_id: str, spec: Spec, workflow: Workflow, *, replaces: bool = False) -> None:
        """Keep a schedule; one that is there and says the same is left as it is.

        Raises:
            ConflictError: One is there that says something else, and this one does not replace it.
            ValidationError: There are too many.
            StoreError: The outcome is unknown. So for every verb.
        """

    async def remove(self, schedule_id: str) -> bool:
        """Remove a schedule with what is queued; its executions go on. False if there is none."""

    async def pause(self, schedule_id: str) -> bool:
        """Start nothing more. False if it was paused before.

        Raises:
            NotFoundError: There is none. So for the verbs below.
        """

    async def resume(self, schedule_id: str) -> bool:
        """Go on with the planned times to come. False if it was not paused."""

    async def trigger(self, schedule_id: str, request: str, *, waits: bool = True) -> str | None:
        """Start an execution now, as ``overlap`` allows, and return its id; None if it is skipped.

        ``waits``: it is there on return, unless it is queued. The same request starts one.
        """


class Driver(Reads, Protocol):
    """Runs executions. Every verb may be called concurrently, between ``open`` and ``close``."""

    @property
    def schedules(self) -> Schedules:
        """Return what starts by itself."""

    async def open(self, recover: str | Collection[str]) -> None:
        """Make ready and go on with open executions: ``"all"``, ``"none"``, or those of the given ids.

        Raises:
            StoreError: The log cannot be read or written, or is in use.
        """

    async def start(self, order: Order) -> str:
        """Create and begin an execution; return its id once that is durable.

        Raises:
            ConflictError: The id is taken by another definition, input or key; or the key by another execution.
            StoreError: The log does not take work now.
        """

    async def register(self, workflows: Sequence[Workflow]) -> list[WorkflowVersion]:
        """Register valid workflows, all or none; return their versions once that is durable.

        Raises:
            StoreError: The log does not take work now.
        """

    async def pause(self, execution_id: str) -> bool:
        """Start nothing new. True if it is paused, by this call or before. Durable on return.

        Raises:
            NotFoundError: No such execution. So for every verb below.
        """

    async def resume(self, execution_id: str, inputs: Raw | None) -> bool:
        """Go on, with ``inputs`` merged; False if there was nothing to resume.

        Raises:
            ValidationError: The merged input breaks the workflow's ``input_schema``; nothing changed.
        """

    async def cancel(self, execution_id: str, reason: str, *, at_once: bool = False) -> bool:
        """Begin to cancel; False if the execution has ended. Durable on return, CANCELLED a little later.

        ``at_once``: it is CANCELLED on return; what runs is cancelled, and what comes of it is ignored.
        """

    async def fork(self, fork: Fork) -> str:
        """Start an execution that keeps what does not follow a step of another; return its id once that is durable.

        Raises:
            NotFoundError: No such execution, or step.
            ValidationError: The merged input breaks the workflow's ``input_schema``.
            ConflictError: The id is taken.
        """

    async def retry(self, execution_id: str, *, new_key: bool = False) -> bool:
        """Let a FAILED or TIMED_OUT execution go on; False for any other. Durable on return.

        Raises:
            ConflictError: Another open execution has its key.
        """

    async def migrate(self, execution_id: str, version: str | Workflow) -> bool:
        """Let an execution go on with a version of its workflow; False if it runs that already.

        ``version``: the hash of a registered one, or a valid definition, which is registered if it can go on with it.

        Raises:
            ConflictError: It has ended, or is about to.
            ValidationError: That would not be safe; ``problems`` says exactly why, and nothing changed.
        """

    async def cancel_step(self, execution_id: str, step: str) -> bool:
        """Cancel a step that has begun; False if it has not, or has ended. Durable on return.

        Raises:
            NotFoundError: No such execution, or step.
        """

    async def bulk(
        self, verb: BulkVerb, where: ExecutionFilter, *, reason: str = "", dry_run: bool = False
    ) -> BulkResult:
        """Pause, resume or cancel every open execution of a filter; in a dry run only count them."""

    async def submit(self, execution_id: str, step: str, data: Raw) -> bool:
        """Answer an input node; False if it does not wait for an answer (any more). Durable on return.

        Raises:
            NotFoundError: No such execution, or step.
            ConflictError: The step is no input node.
            ValidationError: The answer breaks the node's schema; nothing changed.
        """

    async def answer(self, execution_id: str, step: str, answer: Answer, output: Raw | None) -> None:
        """Say what becomes of a step whose attempts are spent. Durable on return.

        Raises:
            NotFoundError: No such execution, or step.
            ConflictError: The step asks nothing (any more).
            ValidationError: The output breaks the node's schema; nothing changed.
        """

    async def send(self, execution_id: str, name: str, key: Raw, data: Raw, event_id: str) -> bool:
        """Send an event; True if a step has taken it, False if it is kept. Durable on return.

        Args:
            execution_id: To which execution, which keeps it; ``""`` for all that wait for it now, or else the first
                that will.
            name: Of the event.
            key: Checked JSON; null for none.
            data: Checked JSON.
            event_id: Names the event: one that was sent before changes nothing.

        Raises:
            NotFoundError: No such execution.
            ConflictError: That execution has ended or is about to, or keeps too many events.
            ValidationError: The key is too long.
            StoreError: The log does not take work now.
        """

    async def wait(self, execution_id: str, *, until_ended: bool) -> ExecutionState:
        """Return the state once the execution has ended or (unless ``until_ended``) rests in PAUSED."""

    async def import_execution(
        self, document: Mapping[str, JsonValue] | str | bytes, check: Callable[[Workflow], object], *, goes_on: bool
    ) -> str:
        """Write what ``export`` gave; return its id once that is durable. Go on with it if it is open and ``goes_on``.

        ``check`` raises for a workflow that is not valid.

        Raises:
            ConflictError: Its id is taken.
            ValidationError: The document is damaged, or of a later version.
        """

    async def occupancy(self) -> Occupancy:
        """Return how the slots and limits of this engine stand."""

    async def prune(self, keep: Mapping[str, int], *, is_dry: bool) -> Sequence[str]:
        """Remove executions that ended longer ago than ``keep`` says, by status, in milliseconds; return their ids.

        ``is_dry``: only tell which.

        Raises:
            StoreError: The log cannot be written.
        """

    @property
    def health(self) -> Health:
        """Return whether it takes work."""

    async def close(self, grace: timedelta) -> None:
        """Let attempts in flight end for ``grace``, interrupt the rest, and close. Safe twice."""
