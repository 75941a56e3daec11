"""What a schedule is: what was asked for, how far it has come, and how readers see it."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import Enum

from msgspec import Raw, Struct

from treadle.model import JsonValue
from treadle.schedules.cron import Cron


class Overlap(str, Enum):
    """What becomes of a planned time while an execution of the schedule is open."""

    SKIP = "skip"
    QUEUE = "queue"
    CANCEL_RUNNING = "cancel_running"
    ALLOW = "allow"


class Spec(Struct, frozen=True, omit_defaults=True):
    """What was asked for.

    Attributes:
        workflow_id: Of the workflow.
        definition_hash: Of the workflow.
        cron: When.
        timezone: Where.
        overlap: What becomes of a planned time while an execution is open.
        catch_up_ms: How late a planned time may be made up.
        jitter_ms: Each start is put off by up to so long.
        input: JSON object whose text may hold ``${schedule.planned_at}`` and ``${schedule.id}``.
        tags: Of each execution, beside ``schedule`` and ``planned_at``.
        priority: Of each execution.
        created_ms: When it was asked for, in milliseconds since the epoch.
    """

    workflow_id: str
    definition_hash: str
    cron: str
    timezone: str = "UTC"
    overlap: Overlap = Overlap.SKIP
    catch_up_ms: int = 0
    jitter_ms: int = 0
    input: Raw = Raw(b"{}")
    tags: dict[str, str] = {}
    priority: int = 0
    created_ms: int = 0


class Run(Struct, frozen=True, gc=False, omit_defaults=True):
    """One execution of a schedule, begun or to be begun.

    Attributes:
        planned_ms: Its planned time; of one that was triggered, when.
        request: Names the trigger; ``""`` for a planned time.
        is_begun: Its execution is there.
    """

    planned_ms: int
    request: str = ""
    is_begun: bool = False


class Progress(Struct, frozen=True, omit_defaults=True):
    """How far a schedule has come. Every planned time up to ``decided_ms`` is decided, for good.

    Attributes:
        decided_ms: Milliseconds since the epoch.
        is_paused: Nothing is started.
        runs: Decided to start, and not known to have ended. With ``allow``: not known to have begun.
        queued: Wait for ``runs`` to end, in order.
        started: How many were decided to start.
        skipped: How many were left out, because an execution was open.
        missed: How many were left out, because they were older than the catch-up window.
        last_ms: Planned time of the last one that was decided to start; None for none.
        last_skipped_ms: Planned time of the last one that was left out for either reason; None for none.
    """

    decided_ms: int
    is_paused: bool = False
    runs: tuple[Run, ...] = ()
    queued: tuple[Run, ...] = ()
    started: int = 0
    skipped: int = 0
    missed: int = 0
    last_ms: int | None = None
    last_skipped_ms: int | None = None


class Schedule(Struct, frozen=True, kw_only=True):
    """A schedule as readers see it. Times are in UTC.

    Attributes:
        schedule_id: Its name.
        workflow_id: Of the workflow that it starts.
        definition_hash: Of that workflow, as it was when it was scheduled.
        cron: When.
        timezone: Where.
        overlap: What becomes of a planned time while an execution is open.
        catch_up_ms: How late a planned time may be made up.
        jitter_ms: Each start is put off by up to so long.
        input: Given to each execution, with its ``${...}`` not resolved.
        tags: Given to each execution, beside ``schedule`` and ``planned_at``.
        priority: Given to each execution.
        created_at: When it was made or last replaced.
        is_paused: It starts nothing.
        next_at: The next planned time, without jitter; None while it is paused, or if there is none.
        last_at: Planned time of the last execution that was started; None for none.
        last_skipped_at: Planned time of the last one that was left out; None for none.
        queued_at: Planned times that wait for an open execution to end.
        started: How many executions were started.
        skipped: How many planned times were left out because an execution was open.
        missed: How many planned times were left out because they were older than the catch-up window.
    """

    schedule_id: str
    workflow_id: str
    definition_hash: str
    cron: str
    timezone: str
    overlap: Overlap
    catch_up_ms: int
    jitter_ms: int
    input: JsonValue
    tags: dict[str, str]
    priority: int
    created_at: datetime
    is_paused: bool
    next_at: datetime | None
    last_at: datetime | None
    last_skipped_at: datetime | None
    queued_at: tuple[datetime, ...]
    started: int
    skipped: int
    missed: int

    def planned_times(self, count: int = 10, *, after: datetime) -> list[datetime]:
        """Return the first planned times after a time, in the schedule's zone; fewer where there are no more."""
        cron, at = Cron(self.cron, self.timezone), int(after.timestamp() * 1000)
        found: list[datetime] = []
        while len(found) < count:
            planned = cron.after(at)
            if planned is None:
                break
            at = planned
            found.append(cron.local(at))
        return found


def execution_id(schedule_id: str, run: Run) -> str:
    """Return the name of an execution: the same whenever it is asked for, so that it starts once.

    In UTC, whatever the zone of the schedule: a zone that is changed must not give one time two names.
    """
    return f"{schedule_id}/{run.request or f'{moment(run.planned_ms):%Y-%m-%dT%H:%M:%SZ}'}"


def moment(at_ms: int) -> datetime:
    """Return a time in UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC)
