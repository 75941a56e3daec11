"""A schedule in memory: what the store keeps of it, and what its executions are started with."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from msgspec.structs import replace

from treadle.drivers.protocol import Order
from treadle.errors import ValidationError
from treadle.schedules import (
    Cron,
    compile_input,
    decode,
    encode_progress,
    encode_spec,
    execution_id,
    input_problems,
    render,
)
from treadle.store.protocol import ScheduleRow
from treadle.values import decode_payload, encode_payload

if TYPE_CHECKING:
    from treadle.drivers.local.recovery import Plans
    from treadle.expressions import Template
    from treadle.model import Workflow
    from treadle.schedules import Progress, Run, Spec
    from treadle.settings import Settings
    from treadle.store.protocol import Reader

_logger = logging.getLogger("treadle.engine")


class Entry:
    """One schedule.

    Args:
        schedule_id: Its name.
        spec: What was asked for.
        progress: How far it has come.

    Attributes:
        cron: Its planned times.

    Raises:
        ValueError: Its cron expression or its time zone is not known here.
    """

    __slots__ = ("_encoded", "_template", "cron", "id", "progress", "spec")

    def __init__(self, schedule_id: str, spec: Spec, progress: Progress) -> None:
        self.id = schedule_id
        self.spec = spec
        self.progress = progress
        self.cron = Cron(spec.cron, spec.timezone)
        self._encoded = encode_spec(spec)
        self._template: Template | None = None

    def row(self, definition: bytes | None) -> ScheduleRow:
        """Return what the store keeps."""
        progress = encode_progress(self.progress)
        return ScheduleRow(self.id, self.spec.definition_hash, self._encoded, progress, definition)

    def says(self, spec: Spec) -> bool:
        """Tell whether it is what is asked for."""
        return encode_spec(replace(spec, created_ms=self.spec.created_ms)) == self._encoded

    def holds(self, request: str) -> bool:
        """Tell whether the execution of a trigger runs or is queued."""
        return any(run.request == request for run in (*self.progress.runs, *self.progress.queued))

    def holds_begun(self, run: Run) -> bool:
        """Tell whether the end of a run that has begun is waited for."""
        return replace(run, is_begun=True) in self.progress.runs

    async def order(self, run: Run, plans: Plans, settings: Settings) -> Order:
        """Return what the execution of a run is started with: the same whenever it is asked for.

        Raises:
            ValidationError: Its input cannot be made, or does not fit the workflow.
            QuarantineError: The definition of the workflow is damaged.
        """
        name = execution_id(self.id, run)
        workflow = (await plans.read(self.spec.definition_hash, name)).workflow
        planned_at = self.cron.local(run.planned_ms).isoformat()
        return Order(
            execution_id=name,
            workflow=workflow,
            input=encode_payload(self._input(workflow, planned_at, settings), settings),
            priority=self.spec.priority,
            tags={**self.spec.tags, "schedule": self.id, "planned_at": planned_at},
        )

    def _input(self, workflow: Workflow, planned_at: str, settings: Settings) -> object:
        if self._template is None:
            self._template = compile_input(decode_payload(self.spec.input))
        rendered = render(self._template, self.id, planned_at)
        if not self._template.is_constant:
            problems = input_problems(workflow, rendered, settings)
            if problems:
                raise ValidationError("; ".join(str(one) for one in problems), problems)
        return rendered


async def read_entries(store: Reader) -> dict[str, Entry]:
    """Return all schedules of a store by id; one that is damaged is left out, and said so."""
    entries: dict[str, Entry] = {}
    for row in await store.schedules():
        try:
            entries[row.schedule_id] = read_entry(row)
        except ValueError as error:
            _logger.error("schedule %r is damaged and starts nothing: %s", row.schedule_id, error)  # noqa: TRY400 - it says what it is
    return entries


def read_entry(row: ScheduleRow) -> Entry:
    """Return one schedule.

    Raises:
        ValueError: It is damaged, or names a time zone that is not known here.
    """
    if row.damage:
        raise ValueError(row.damage)
    return Entry(row.schedule_id, *decode(row.spec, row.progress))
