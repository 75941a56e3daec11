"""A schedule for readers, and the input of one of its executions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from treadle.expressions import MISSING, compile_template
from treadle.schedules.model import Schedule, moment
from treadle.values import decode_payload

if TYPE_CHECKING:
    from treadle.expressions import Missing, Template
    from treadle.model import JsonValue
    from treadle.schedules.cron import Cron
    from treadle.schedules.model import Progress, Spec

_ROOT: Final = "schedule"


def view(schedule_id: str, spec: Spec, progress: Progress, cron: Cron) -> Schedule:
    """Return a schedule as readers see it."""
    planned = None if progress.is_paused else cron.after(progress.decided_ms)
    return Schedule(
        schedule_id=schedule_id,
        workflow_id=spec.workflow_id,
        definition_hash=spec.definition_hash,
        cron=spec.cron,
        timezone=spec.timezone,
        overlap=spec.overlap,
        catch_up_ms=spec.catch_up_ms,
        jitter_ms=spec.jitter_ms,
        input=decode_payload(spec.input),
        tags=spec.tags,
        priority=spec.priority,
        created_at=moment(spec.created_ms),
        is_paused=progress.is_paused,
        next_at=None if planned is None else moment(planned),
        last_at=None if progress.last_ms is None else moment(progress.last_ms),
        last_skipped_at=None if progress.last_skipped_ms is None else moment(progress.last_skipped_ms),
        queued_at=tuple(moment(run.planned_ms) for run in progress.queued),
        started=progress.started,
        skipped=progress.skipped,
        missed=progress.missed,
    )


def render(template: Template, schedule_id: str, planned_at: str) -> JsonValue:
    """Return the input of one execution.

    Raises:
        ExpressionError: An expression of it cannot be evaluated.
    """
    return template.resolve(_Names({"id": schedule_id, "planned_at": planned_at}))


def compile_input(data: JsonValue) -> Template:
    """Return the template of an input."""
    return compile_template(data)


class _Names:
    """The one root name that the input of a schedule may read."""

    def __init__(self, schedule: dict[str, JsonValue]) -> None:
        self._schedule = schedule

    def lookup(self, name: str) -> JsonValue | Missing:
        return self._schedule if name == _ROOT else MISSING
