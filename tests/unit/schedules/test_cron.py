"""Planned times: the very seconds of each, around every change of the clocks, and what is no expression or no zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.schedules.cron import Cron, cron_problems, timezone_problems

VIENNA = "Europe/Vienna"
NOW = int(datetime(2030, 1, 1, tzinfo=UTC).timestamp() * 1000)


def times(expression: str, zone: str, start: str, count: int) -> list[str]:
    """Return planned times as the zone's own clocks show them, each asked for behind the one before it."""
    cron = Cron(expression, zone)
    at = int(datetime.fromisoformat(start).timestamp() * 1000)
    found = []
    for _ in range(count):
        following = cron.after(at)
        assert following is not None
        assert following > at
        at = following
        found.append(cron.local(at).isoformat(timespec="minutes"))
    return found


@pytest.mark.parametrize(
    ("expression", "zone", "start", "expected"),
    [
        # Vienna leaves out 02:00 to 03:00 on 31 March 2030: what falls into it is planned right after it, once.
        ("30 2 * * *", VIENNA, "2030-03-30T00:00+01:00", ["30T02:30+01:00", "31T03:00+02:00", "01T02:30+02:00"]),
        ("15,45 2 * * *", VIENNA, "2030-03-31T00:00+01:00", ["31T03:00+02:00", "01T02:15+02:00"]),
        ("0 2,3 * * *", VIENNA, "2030-03-31T00:00+01:00", ["31T03:00+02:00", "01T02:00+02:00"]),
        # ... and what names intervals goes by real time.
        ("*/30 * * * *", VIENNA, "2030-03-31T01:00+01:00", ["31T01:30+01:00", "31T03:00+02:00", "31T03:30+02:00"]),
        ("*/30 2 * * *", VIENNA, "2030-03-30T02:30+01:00", ["01T02:00+02:00", "01T02:30+02:00"]),
        # 02:00 to 03:00 comes twice on 27 October 2030: a time of the day is planned the first time only ...
        ("30 2 * * *", VIENNA, "2030-10-26T12:00+02:00", ["27T02:30+02:00", "28T02:30+01:00"]),
        ("0 2,3 * * *", VIENNA, "2030-10-27T00:00+02:00", ["27T02:00+02:00", "27T03:00+01:00", "28T02:00+01:00"]),
        # ... also for who asks within the second time.
        ("30 2 * * *", VIENNA, "2030-10-27T02:10+01:00", ["28T02:30+01:00"]),
        ("0 2 * * *", VIENNA, "2030-10-27T02:00+01:00", ["28T02:00+01:00"]),
        ("0 * * * *", VIENNA, "2030-10-27T01:30+02:00", ["27T02:00+02:00", "27T02:00+01:00", "27T03:00+01:00"]),
        # Half an hour on Lord Howe Island; a whole day that Samoa left out; no change at all.
        ("15 2 * * *", "Australia/Lord_Howe", "2030-10-05T12:00+10:30", ["06T02:30+11:00", "07T02:15+11:00"]),
        ("0 9 * * *", "Pacific/Apia", "2011-12-29T00:00-10:00", ["29T09:00-10:00", "31T00:00+14:00", "31T09:00+14:00"]),
        ("30 2 * * *", "UTC", "2030-03-30T12:00+00:00", ["31T02:30+00:00", "01T02:30+00:00"]),
        # Seconds that say nothing change nothing.
        ("0 30 2 * * *", VIENNA, "2030-03-30T12:00+01:00", ["31T03:00+02:00", "01T02:30+02:00"]),
        # The 29th of February, and Mondays to Fridays.
        ("0 0 29 2 *", "UTC", "2030-01-01T00:00+00:00", ["29T00:00+00:00", "29T00:00+00:00"]),
        ("0 9 * * MON-FRI", "UTC", "2030-01-04T10:00+00:00", ["07T09:00+00:00", "08T09:00+00:00"]),
    ],
)  # fmt: skip
def test_planned_times_are_these(expression: str, zone: str, start: str, expected: list[str]) -> None:
    assert [one[8:] for one in times(expression, zone, start, len(expected))] == expected


_SPOTS = st.sampled_from(["Europe/Vienna", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "UTC"])
_FIELDS = st.tuples(
    st.sampled_from(["0", "30", "15,45", "*", "*/20", "59"]),
    st.sampled_from(["*", "2", "1-3", "*/2", "0,23"]),
    st.sampled_from(["*", "1", "L", "31"]),
    st.sampled_from(["*", "3,10", "4"]),
    st.sampled_from(["*", "SUN", "MON-FRI", "SUN#1"]),
)


@settings(deadline=None)
@given(_SPOTS, _FIELDS, st.integers(0, 3 * 366 * 86_400))
def test_from_wherever_it_is_asked_the_sequence_is_the_same(zone: str, fields: tuple[str, ...], seconds: int) -> None:
    """The next time is the first of all that come after it: a restart or a jump finds the times that were planned."""
    expression = " ".join(fields)
    if cron_problems(expression, NOW):
        return
    cron = Cron(expression, zone)
    start = NOW + seconds * 1000
    first = cron.after(start)
    assert first is not None
    second = cron.after(first)
    assert second is None or second > first > start
    for between in (start + 1, start + (first - start) // 2, first - 1):
        assert cron.after(between) == first
    assert first % 1000 == 0


@pytest.mark.parametrize(
    ("given_text", "code", "words"),
    [
        ("0 0 30 2 *", "never_fires", "none of its months has such a day"),
        ("0 0 31 4,6,9,11 *", "never_fires", "none of its months has such a day"),
        ("* * */20 * 1L", "never_fires", "no time within 50 years"),
        ("61 * * * *", "bad_cron", "bad minute"),
        ("0 9 * *", "bad_cron", "wrong number of fields"),
        ("0 0 32 * *", "bad_cron", "bad day-of-month"),
        ("0 0 30 FEBRUARY *", "bad_cron", "bad month"),
        ("@daily", "bad_cron", "five fields: minute hour day month weekday"),
        ("", "bad_cron", "wrong number of fields"),
        ("* " * 200, "bad_cron", "at most 256 characters"),
        (5, "bad_cron", "text, not int"),
        (None, "bad_cron", "text, not NoneType"),
    ],
)
def test_what_is_no_expression_or_never_fires_says_so_and_what_to_do(given_text: object, code: str, words: str) -> None:
    (problem,) = cron_problems(given_text, NOW)
    assert (problem.code, problem.path) == (code, "cron")
    assert words in str(problem)
    assert problem.hint


@settings(deadline=None)
@given(st.text("0123456789*/,-#L MONSUW", max_size=30))
def test_any_text_is_either_an_expression_or_a_problem(text: str) -> None:
    assert cron_problems(text, NOW) or Cron(text, "UTC").after(NOW)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Europe/Viena", 'did you mean "Europe/Vienna"?'),
        ("vienna", 'did you mean "Europe/Vienna"?'),
        ("new york", 'did you mean "America/New_York"?'),
        ("Europe", "there is no time zone"),
        ("../etc/passwd", "there is no time zone"),
        ("/etc/passwd", "there is no time zone"),
        ("\ud800", "there is no time zone"),
        ("x\0y", "there is no time zone"),
        ("", "an IANA name"),
        ("X" * 5000, "there is no time zone"),
        (3, "its IANA name, not int"),
        (UTC, "its IANA name, not timezone"),
    ],
)
def test_an_unknown_time_zone_is_named_with_the_nearest(name: object, words: str) -> None:
    (problem,) = timezone_problems(name)
    assert (problem.code, problem.path) == ("unknown_timezone", "timezone")
    assert words in str(problem)
    assert timezone_problems("Europe/Vienna") == timezone_problems("UTC") == []


def test_a_time_just_before_the_full_second_is_before_it() -> None:
    nine = datetime(2030, 1, 1, 9, tzinfo=UTC)
    cron = Cron("0 9 * * *", "UTC")
    before = int(nine.timestamp() * 1000) - 1
    assert cron.after(before) == before + 1
    assert cron.after(before + 1) == int((nine + timedelta(days=1)).timestamp() * 1000)
