"""What becomes of each planned time: given a schedule, its progress and a time, exactly this is to be started."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from treadle.schedules import (
    Cron,
    Overlap,
    Progress,
    Run,
    Spec,
    advance,
    arrive,
    begin,
    decode,
    due_at,
    encode_progress,
    encode_spec,
    end,
    execution_id,
    next_due,
    stale_runs,
)
from treadle.schedules.planning import MOST_AT_ONCE, MOST_COUNTED, MOST_QUEUED, ON_TIME_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

HOUR = 3_600_000
START = int(datetime(2030, 1, 1, tzinfo=UTC).timestamp() * 1000)
HOURLY = Cron("0 * * * *", "UTC")
MINUTELY = Cron("* * * * *", "UTC")


def spec(overlap: str = "allow", *, catch_up: int = HOUR, jitter: int = 0) -> Spec:
    return Spec("w", "h", "0 * * * *", overlap=Overlap(overlap), catch_up_ms=catch_up, jitter_ms=jitter)


def hours(runs: Sequence[Run]) -> list[float]:
    return [(run.planned_ms - START) / HOUR for run in runs]


def at(hour: float) -> int:
    return START + int(hour * HOUR)


def step(asked: Spec, progress: Progress, hour: float) -> Progress:
    return advance("s", asked, HOURLY, progress, at(hour))


def begun(asked: Spec, progress: Progress) -> Progress:
    for run in progress.runs:
        if not run.is_begun:
            progress = begin(asked, progress, run, is_open=True)
    return progress


def test_a_time_is_started_once_it_is_due_and_not_before() -> None:
    fresh = Progress(START)
    assert step(spec(), fresh, 0.999) == fresh
    after = step(spec(), fresh, 1)
    assert after == Progress(at(1), runs=(Run(at(1)),), started=1, last_ms=at(1))
    assert step(spec(), after, 1.5) == after
    assert next_due("s", spec(), HOURLY, after) == at(2)
    assert execution_id("s", after.runs[0]) == "s/2030-01-01T01:00:00Z"


def test_an_execution_that_may_overlap_is_forgotten_once_it_has_begun() -> None:
    after = begun(spec(), step(spec(), Progress(START), 1))
    assert after == Progress(at(1), started=1, last_ms=at(1))


def test_skip_leaves_out_what_comes_due_while_one_is_open() -> None:
    asked = spec("skip")
    open_one = begun(asked, step(asked, Progress(START), 1))
    assert open_one.runs == (Run(at(1), is_begun=True),)
    later = step(asked, open_one, 2)
    assert (hours(later.runs), later.skipped, later.last_skipped_ms) == ([1], 1, at(2))
    ended = step(asked, end(later, later.runs[0]), 3)
    assert (hours(ended.runs), ended.started, ended.skipped) == ([3], 2, 1)


def test_skip_makes_up_the_oldest_of_several_that_were_missed() -> None:
    after = step(spec("skip", catch_up=9 * HOUR), Progress(START), 3.5)
    assert (hours(after.runs), after.skipped, after.decided_ms) == ([1], 2, at(3))


def test_queue_starts_them_one_after_another_in_order_up_to_its_bound() -> None:
    asked = spec("queue", catch_up=9 * HOUR)
    after = step(asked, Progress(START), 3.5)
    assert (hours(after.runs), hours(after.queued), after.started) == ([1], [2, 3], 1)
    after = step(asked, end(after, after.runs[0]), 3.5)
    assert (hours(after.runs), hours(after.queued), after.started) == ([2], [3], 2)
    full = replace(after, queued=tuple(Run(at(number)) for number in range(MOST_QUEUED)))
    over = step(asked, full, 4)
    assert (len(over.queued), over.skipped, over.last_skipped_ms) == (MOST_QUEUED, 1, at(4))


def test_cancel_running_cancels_what_is_open_and_starts_the_newest_once_it_has_ended() -> None:
    asked = spec("cancel_running", catch_up=9 * HOUR)
    open_one = begun(asked, step(asked, Progress(START), 1))
    assert stale_runs(asked, open_one) == ()
    later = step(asked, open_one, 2)
    assert (hours(stale_runs(asked, later)), hours(later.queued)) == ([1], [2])
    later = step(asked, later, 3)
    assert (hours(stale_runs(asked, later)), hours(later.queued), later.skipped) == ([1], [3], 1)
    ended = step(asked, end(later, later.runs[0]), 3)
    assert (hours(ended.runs), ended.queued, stale_runs(asked, ended)) == ([3], (), ())


def test_cancel_running_makes_up_only_the_newest_of_several() -> None:
    after = step(spec("cancel_running", catch_up=9 * HOUR), Progress(START), 3.5)
    assert (hours(after.runs), after.queued, after.skipped, after.started) == ([3], (), 2, 1)


def test_what_is_not_begun_yet_is_not_cancelled() -> None:
    asked = spec("cancel_running")
    waiting = step(asked, step(asked, Progress(START), 1), 2)
    assert stale_runs(asked, waiting) == ()
    assert hours(stale_runs(asked, begun(asked, waiting))) == [1]


@pytest.mark.parametrize(("catch_up", "made_up", "missed"), [(0, [], 3), (HOUR, [3], 2), (9 * HOUR, [1, 2, 3], 0)])
def test_what_was_missed_is_made_up_in_order_within_the_window_and_older_times_are_counted(
    catch_up: int, made_up: list[float], missed: int
) -> None:
    after = step(spec(catch_up=catch_up), Progress(START), 3.5)
    assert (hours(after.runs), after.missed, after.decided_ms) == (made_up, missed, at(3))
    assert (after.last_skipped_ms is None) is (missed == 0)
    assert step(spec(catch_up=catch_up), after, 3.9) == after


def test_without_a_window_a_busy_engine_is_still_on_time() -> None:
    late = advance("s", spec(catch_up=0), HOURLY, Progress(START), at(1) + ON_TIME_MS)
    assert hours(late.runs) == [1]
    later = advance("s", spec(catch_up=0), HOURLY, Progress(START), at(1) + ON_TIME_MS + 1)
    assert (later.runs, later.missed) == ((), 1)


def test_many_missed_times_are_made_up_in_bounded_steps() -> None:
    asked, progress, found = spec(catch_up=10 * HOUR), Progress(START), []
    for _ in range(6):
        progress = advance("s", asked, MINUTELY, progress, at(9))
        assert len(progress.runs) <= MOST_AT_ONCE
        found += progress.runs
        progress = begun(asked, progress)
    assert [run.planned_ms for run in found] == [START + 60_000 * minute for minute in range(1, 541)]


def test_a_year_of_missed_seconds_costs_no_more_than_a_bounded_count() -> None:
    seconds = Cron("* * * * * *", "UTC")
    after = advance("s", spec(catch_up=20_000), seconds, Progress(START), START + 366 * 24 * HOUR)
    assert MOST_COUNTED <= after.missed <= MOST_COUNTED + 1
    assert [run.planned_ms - START - 366 * 24 * HOUR for run in after.runs] == list(range(-20_000, 1, 1000))


def test_a_paused_schedule_decides_nothing_and_keeps_its_queue() -> None:
    paused = Progress(START, is_paused=True, queued=(Run(at(0.5)),))
    assert step(spec("queue"), paused, 5) == paused
    assert next_due("s", spec("queue"), HOURLY, paused) is None
    assert stale_runs(spec("cancel_running"), replace(paused, runs=(Run(at(0), is_begun=True),))) == ()


def test_jitter_is_the_same_whenever_it_is_asked_for_and_spreads_within_its_bound() -> None:
    asked = spec(jitter=30_000)
    drawn = [due_at(f"s{number}", asked, at(1)) - at(1) for number in range(1000)]
    assert drawn == [due_at(f"s{number}", asked, at(1)) - at(1) for number in range(1000)]
    assert min(drawn) >= 0
    assert max(drawn) <= 30_000
    assert len(set(drawn)) > 900
    assert 12_000 < sum(drawn) / 1000 < 18_000
    assert due_at("s", asked, at(1)) - at(1) != due_at("s", asked, at(2)) - at(2)
    due = due_at("s", asked, at(1))
    assert next_due("s", asked, HOURLY, Progress(START)) == due
    assert advance("s", asked, HOURLY, Progress(START), due - 1) == Progress(START)
    assert hours(advance("s", asked, HOURLY, Progress(START), due).runs) == [1]


def test_a_trigger_obeys_the_same_rule() -> None:
    run = Run(at(0.2), "manual-1")
    assert execution_id("s", run) == "s/manual-1"
    busy = Progress(START, runs=(Run(at(0), is_begun=True),))
    assert arrive(spec("skip"), busy, run).skipped == 1
    assert arrive(spec("queue"), busy, run).queued == (run,)
    assert arrive(spec("allow"), busy, run).runs == (*busy.runs, run)
    assert arrive(spec("skip"), Progress(START, is_paused=True), run).runs == (run,)


def test_the_end_of_another_execution_changes_nothing() -> None:
    busy = Progress(START, runs=(Run(at(1), is_begun=True),))
    assert end(busy, Run(at(2))) == busy
    assert end(busy, Run(at(1), "manual-1")) == busy
    assert begin(spec(), busy, Run(at(2)), is_open=True) == busy


def test_an_execution_that_ended_before_it_was_noted_is_not_open() -> None:
    asked = spec("skip")
    due = step(asked, Progress(START), 1)
    assert begin(asked, due, due.runs[0], is_open=False).runs == ()
    assert begin(asked, end(due, due.runs[0]), due.runs[0], is_open=True).runs == ()


def test_what_is_written_is_read_again() -> None:
    asked = spec("queue", jitter=5)
    progress = Progress(START, is_paused=True, runs=(Run(at(1), "x", is_begun=True),), queued=(Run(at(2)),), missed=3)
    assert decode(encode_spec(asked), encode_progress(progress)) == (asked, progress)


_ACTS = st.lists(
    st.tuples(st.sampled_from(["wait", "back", "leap", "restart", "end"]), st.integers(1, 200)), max_size=40
)


@settings(deadline=None)
@given(st.sampled_from(list(Overlap)), _ACTS, st.booleans())
def test_whatever_the_clock_does_no_time_is_decided_twice_and_none_is_lost(
    overlap: Overlap, acts: list[tuple[str, int]], jitters: bool
) -> None:
    """Jumps in both directions and crashes at any place: each is started, queued, skipped or missed, once."""
    asked = spec(overlap.value, catch_up=100 * HOUR, jitter=90_000 if jitters else 0)
    progress, now, started = Progress(START), START, []
    open_runs: list[Run] = []
    for act, amount in acts:
        if act == "wait":
            now += amount * 60_000
        elif act == "back":
            now -= amount * 300_000
        elif act == "leap":
            now += amount * 600_000
        elif act == "end" and open_runs:
            progress = end(progress, open_runs.pop(0))
        _, progress = decode(encode_spec(asked), encode_progress(progress))  # as a restart finds it
        progress = advance("s", asked, HOURLY, progress, now)
        for run in progress.runs:
            if not run.is_begun:
                started.append(run.planned_ms)
                open_runs.append(run)
                progress = begin(asked, progress, run, is_open=True)
    assert len(started) == len(set(started))
    assert started == sorted(started)
    decided = (progress.decided_ms - START) // HOUR
    assert progress.started == len(started)
    assert progress.started + len(progress.queued) + progress.skipped + progress.missed == decided
