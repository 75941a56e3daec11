from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from treadle.definition import format_duration, parse_duration
from treadle.errors import ValidationError

if TYPE_CHECKING:
    from treadle.model import JsonValue


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [
        (0, 0),
        (1, 1_000),
        (0.1, 100),
        (2.0005, 2_001),
        ("250ms", 250),
        ("10s", 10_000),
        ("1.5s", 1_500),
        (" 5m ", 300_000),
        ("1h", 3_600_000),
        ("2d", 172_800_000),
        ("PT5M", 300_000),
        ("P1DT12H", 129_600_000),
        ("P1W", 604_800_000),
        ("PT0.25S", 250),
        ("PT0S", 0),
        (0.000_01, 1),
        ("0.1ms", 1),
        (timedelta(minutes=2), 120_000),
        (timedelta(microseconds=1), 1),
    ],
)
def test_every_form_gives_whole_milliseconds(value: JsonValue, milliseconds: int) -> None:
    assert parse_duration(value) == milliseconds


FORMS = "seconds as a number, or text such as 250ms, 10s, 5m, 1h, 2d or PT5M"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("10", f'"10" is no duration: {FORMS}'),
        ("10 s", f'"10 s" is no duration: {FORMS}'),
        ("1h30m", f'"1h30m" is no duration: {FORMS}'),
        ("P", f'"P" is no duration: {FORMS}'),
        ("PT", f'"PT" is no duration: {FORMS}'),
        ("P1DT", f'"P1DT" is no duration: {FORMS}'),
        ("P1M", f'"P1M" is no duration: {FORMS}'),
        ("P1Y", f'"P1Y" is no duration: {FORMS}'),
        ("\u0661s", f'"\u0661s" is no duration: {FORMS}'),
        ("", f'"" is no duration: {FORMS}'),
        (True, f"true is no duration: {FORMS}"),
        (None, f"null is no duration: {FORMS}"),
        ([], f"a list is no duration: {FORMS}"),
        (float("nan"), f"nan is no duration: {FORMS}"),
        (float("inf"), f"inf is no duration: {FORMS}"),
        (-1, "-1 is negative; a duration is 0 or more"),
        (-0.5, "-0.5 is negative; a duration is 0 or more"),
        ("-5s", '"-5s" is negative; a duration is 0 or more'),
        ("-PT5S", '"-PT5S" is negative; a duration is 0 or more'),
        (timedelta(seconds=-1), "-1 day, 23:59:59 is negative; a duration is 0 or more"),
        ("36526d", '"36526d" is longer than a hundred years'),
        (1e300, "1e+300 is longer than a hundred years"),
        pytest.param(10**5_000, "so large a number is longer than a hundred years", id="huge"),
        pytest.param(-(10**5_000), "so large a number is negative; a duration is 0 or more", id="-huge"),
    ],
)
def test_what_is_no_duration_is_refused_with_a_reason(value: JsonValue, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        parse_duration(value)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0s"),
        (1, "1ms"),
        (1_500, "1500ms"),
        (90_000, "90s"),
        (300_000, "5m"),
        (3_600_000, "1h"),
        (172_800_000, "2d"),
    ],
)
def test_a_duration_is_written_in_the_largest_unit_that_says_it_exactly(milliseconds: int, text: str) -> None:
    assert format_duration(milliseconds) == text
    assert parse_duration(text) == milliseconds
