"""The verbs about schedules, with their arguments checked: the same for an engine and for a client beside one."""

from __future__ import annotations

import time
import uuid
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, TypeVar

from treadle.arguments import LARGEST_NUMBER, check_number, check_tags
from treadle.errors import ValidationError
from treadle.model import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import timedelta
    from typing import TypeAlias

    from treadle.definition import Source
    from treadle.drivers.protocol import Schedules
    from treadle.model import JsonValue, WorkflowRef, WorkflowVersion
    from treadle.schedules import Overlap
    from treadle.settings import Settings

    Startable: TypeAlias = Source | WorkflowRef | WorkflowVersion

_T = TypeVar("_T")

OWN_TAGS = ("schedule", "planned_at")
"""Tags that every execution of a schedule has."""


class ScheduleVerbs(ABC):
    """What starts by itself."""

    settings: Settings

    @property
    @abstractmethod
    def _schedules(self) -> Schedules:
        """Carries the verbs out."""

    def _known_actions(self) -> Collection[str] | None:
        """Return the actions that are registered; None where that is not known."""
        return None

    @abstractmethod
    async def _meant(self, workflow: Startable) -> Source:
        """Return a workflow that is named by its id as what is registered under it."""

    async def schedule(
        self,
        workflow: Startable,
        cron: str,
        timezone: str = "UTC",
        *,
        overlap: str | Overlap = "skip",
        catch_up: str | float | timedelta = "1h",
        jitter: str | float | timedelta = 0,
        input_data: Mapping[str, JsonValue] | None = None,
        schedule_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        priority: int = 0,
        replace: bool = False,
    ) -> str:
        """Start executions of a workflow by a cron expression, and return the schedule's id once that is durable.

        Each planned time has one execution, with the id ``<schedule id>/<planned time in UTC>`` and the tags
        ``schedule`` and ``planned_at``. An engine that recovers all open executions starts them.

        Args:
            workflow: As of ``start_workflow``; the schedule keeps the version that this means now. Its actions are
                looked up where the engine has any.
            cron: Five fields, minute hour day month weekday; or six, with seconds first.
            timezone: IANA name of the zone that the fields are read in.
            overlap: What becomes of a planned time while an execution of the schedule is open: ``"skip"`` leaves it
                out, ``"queue"`` starts it once the others have ended, ``"cancel_running"`` cancels those and starts
                it then, ``"allow"`` starts it.
            catch_up: Planned times that passed while no engine ran start late, if they are not older than this.
            jitter: Each start is put off by up to so long, always the same for one planned time.
            input_data: JSON object; ``${schedule.planned_at}`` (the planned time with its offset) and
                ``${schedule.id}`` in it are put in for each execution.
            schedule_id: Its name, without a ``/``; with the same arguments it is returned again. None for a new one.
            tags: Of each execution.
            priority: Of each execution.
            replace: Take the place of a schedule of that id that says something else; it goes on from now.

        Raises:
            ValidationError: An argument is wrong, or the expression never fires; ``problems`` has all of it.
            NotFoundError: No such workflow is registered, or no such version of it.
            ConflictError: The id is taken by a schedule that says something else.
            StoreError: The log takes no work now.
        """
        from treadle.definition import load_workflow  # heavy, as documents are
        from treadle.schedules import Asked, check_id, check_schedule

        problems: list[Problem] = [] if schedule_id is None else check_id(schedule_id)
        meant, actions = await self._meant(workflow), self._known_actions()
        definition = _collect(problems, "workflow", lambda: load_workflow(meant, actions=actions))
        given_tags = _collect(problems, "tags", lambda: _check_own_tags(check_tags(tags))) or {}
        least = -LARGEST_NUMBER
        given_priority = _collect(problems, "priority", lambda: check_number(priority, "priority", least=least)) or 0
        asked = Asked(definition, cron, timezone, overlap, catch_up, jitter, input_data, given_tags, given_priority)
        spec, more = check_schedule(asked, self.settings, time.time_ns() // 1_000_000)
        problems += more
        if problems or spec is None or definition is None:
            raise ValidationError("\n".join(str(one) for one in problems), problems)
        name = uuid.uuid4().hex if schedule_id is None else schedule_id
        await self._schedules.add(name, spec, definition, replaces=replace)
        return name

    async def unschedule(self, schedule_id: str) -> bool:
        """Remove a schedule and what it has queued; its executions go on. False if there is none."""
        return await self._schedules.remove(schedule_id)

    async def pause_schedule(self, schedule_id: str) -> bool:
        """Start nothing more by a schedule; its executions go on. False if it was paused before.

        Raises:
            NotFoundError: No such schedule.
        """
        return await self._schedules.pause(schedule_id)

    async def resume_schedule(self, schedule_id: str) -> bool:
        """Go on with the planned times to come: those that passed are not made up. False if it was not paused.

        Raises:
            NotFoundError: No such schedule.
        """
        return await self._schedules.resume(schedule_id)

    async def trigger_schedule(self, schedule_id: str) -> str | None:
        """Start an execution of a schedule now, also while it is paused, and return its id.

        ``overlap`` holds for it as for a planned time: with ``skip`` it is None while another one is open, and with
        ``queue`` and ``cancel_running`` the execution is there once the others have ended.

        Raises:
            NotFoundError: No such schedule.
        """
        return await self._schedules.trigger(schedule_id, f"manual-{uuid.uuid4().hex}")


def _collect(problems: list[Problem], path: str, check: Callable[[], _T]) -> _T | None:
    """Return what a check gives; None, with its problems added, where it refuses."""
    try:
        return check()
    except ValidationError as error:
        problems += error.problems or [Problem("bad_argument", error.message, path)]
        return None


def _check_own_tags(tags: dict[str, str]) -> dict[str, str]:
    taken = [name for name in OWN_TAGS if name in tags]
    if taken:
        raise ValidationError(f"the tag {taken[0]!r} is set by the schedule itself; choose another name")
    return tags
