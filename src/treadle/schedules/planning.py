"""What becomes of each planned time. No clock, no draw: equal arguments give equal results.

A planned time is **decided** once: it starts an execution, is queued, is skipped (an execution is open) or is missed
(it is older than the catch-up window). ``Progress.decided_ms`` only grows, so that a clock that is set back decides
nothing twice.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from treadle.schedules.model import Overlap, Progress, Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from treadle.schedules.cron import Cron
    from treadle.schedules.model import Spec

ON_TIME_MS: Final = 10_000
"""What is at most so late is on time, whatever the catch-up window: an engine may be busy."""

MOST_AT_ONCE: Final = 100
"""Planned times decided in one step; the others follow in the next, when these are kept."""

MOST_COUNTED: Final = 10_000
"""Missed times counted one by one in one step; a schedule of each second may have missed a year of them."""

MOST_QUEUED: Final = 100
"""Planned times that wait for an execution to end; one more is skipped."""


def due_at(schedule_id: str, spec: Spec, planned_ms: int) -> int:
    """Return when a planned time starts: with its jitter, which is the same whenever it is asked for."""
    if not spec.jitter_ms:
        return planned_ms
    digest = blake2b(f"{schedule_id}\0{planned_ms}".encode(), digest_size=8).digest()
    return planned_ms + int.from_bytes(digest, "big") % (spec.jitter_ms + 1)


def next_due(schedule_id: str, spec: Spec, cron: Cron, progress: Progress) -> int | None:
    """Return when there is something to decide; None while it is paused, or never."""
    planned = None if progress.is_paused else cron.after(progress.decided_ms)
    return None if planned is None else due_at(schedule_id, spec, planned)


def advance(schedule_id: str, spec: Spec, cron: Cron, progress: Progress, now_ms: int) -> Progress:
    """Decide what is due, oldest first, and let what is queued begin where it may.

    ``runs`` that are not begun are to be started, and ``stale_runs`` to be cancelled, once this is kept. What is due
    and was not decided yet is decided by the next call.
    """
    if progress.is_paused:
        return progress
    due, progress = _take_due(schedule_id, spec, cron, progress, now_ms)
    if spec.overlap is Overlap.CANCEL_RUNNING and due:
        # Each would cancel the one before it, which has not even begun.
        progress = _skip(progress, due[:-1])
        due = due[-1:]
    for planned in due:
        progress = arrive(spec, progress, Run(planned))
    return _let_begin(spec, progress)


def _take_due(schedule_id: str, spec: Spec, cron: Cron, progress: Progress, now_ms: int) -> tuple[list[int], Progress]:
    """Return the planned times that are due and young enough, and the progress with all that are due decided."""
    oldest = now_ms - max(spec.catch_up_ms, ON_TIME_MS)
    decided, missed, last_missed = progress.decided_ms, 0, progress.last_skipped_ms
    due: list[int] = []
    while len(due) < MOST_AT_ONCE:
        planned = cron.after(decided)
        if planned is None or (at := due_at(schedule_id, spec, planned)) > now_ms:
            break
        decided = planned
        if at >= oldest:
            due.append(planned)
            continue
        missed, last_missed = missed + 1, planned
        if missed >= MOST_COUNTED:
            decided = max(decided, oldest - spec.jitter_ms - 1)
    changed = replace(progress, decided_ms=decided, missed=progress.missed + missed, last_skipped_ms=last_missed)
    return due, changed


def arrive(spec: Spec, progress: Progress, run: Run) -> Progress:
    """Decide what becomes of one planned time, or of a trigger."""
    if spec.overlap is Overlap.ALLOW or not (progress.runs or progress.queued):
        return _start(progress, run)
    if spec.overlap is Overlap.QUEUE and len(progress.queued) < MOST_QUEUED:
        return replace(progress, queued=(*progress.queued, run))
    if spec.overlap is Overlap.CANCEL_RUNNING:
        return replace(_skip(progress, [one.planned_ms for one in progress.queued]), queued=(run,))
    return _skip(progress, [run.planned_ms])


def stale_runs(spec: Spec, progress: Progress) -> tuple[Run, ...]:
    """Return what is to be cancelled, because something newer waits for it to end."""
    cancels = spec.overlap is Overlap.CANCEL_RUNNING and progress.queued and not progress.is_paused
    return tuple(run for run in progress.runs if run.is_begun) if cancels else ()


def begin(spec: Spec, progress: Progress, run: Run, *, is_open: bool) -> Progress:
    """Note that the execution of a run is there."""
    if run not in progress.runs:
        return progress
    # What may overlap is of no concern once it is there.
    is_kept = is_open and spec.overlap is not Overlap.ALLOW
    begun = (replace(run, is_begun=True),) if is_kept else ()
    place = progress.runs.index(run)
    return replace(progress, runs=(*progress.runs[:place], *begun, *progress.runs[place + 1 :]))


def refuse(progress: Progress, run: Run) -> Progress:
    """Note that a run which was decided to start cannot be: it counts as skipped."""
    gone = end(progress, run)
    return gone if gone == progress else _skip(replace(gone, started=gone.started - 1), [run.planned_ms])


def end(progress: Progress, run: Run) -> Progress:
    """Note that the execution of a run has ended."""
    left = tuple(one for one in progress.runs if (one.planned_ms, one.request) != (run.planned_ms, run.request))
    return replace(progress, runs=left)


def _let_begin(spec: Spec, progress: Progress) -> Progress:
    """Start what is queued, as far as nothing is in its way (any more)."""
    while progress.queued and (spec.overlap is Overlap.ALLOW or not progress.runs):
        first, *others = progress.queued
        progress = _start(replace(progress, queued=tuple(others)), first)
    return progress


def _start(progress: Progress, run: Run) -> Progress:
    last = max(run.planned_ms, progress.last_ms or 0)
    return replace(progress, runs=(*progress.runs, run), started=progress.started + 1, last_ms=last)


def _skip(progress: Progress, planned: Sequence[int]) -> Progress:
    if not planned:
        return progress
    last = max(*planned, progress.last_skipped_ms or 0)
    return replace(progress, skipped=progress.skipped + len(planned), last_skipped_ms=last)
