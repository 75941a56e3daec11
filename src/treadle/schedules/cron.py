"""The planned times of a cron expression in a time zone, by ``cronsim``, which keeps to Debian's cron.

Around a change of the clocks that is: an expression whose minute and hour are both fixed (neither begins with ``*``)
names times of the day. One that the change leaves out is planned right after the gap, once, and one that comes twice
is planned the first time only. Any other expression names intervals: it goes by real time, so what the change leaves
out is not planned and what comes twice is planned twice.
"""

from __future__ import annotations

import difflib
from datetime import UTC, datetime, tzinfo
from typing import Final

from treadle.model import Problem

MOST_CHARS: Final = 256
_EXAMPLE: Final = 'five fields: minute hour day month weekday, such as "0 9 * * MON-FRI"'
_YEARS: Final = 50
"""As far as ``cronsim`` looks ahead."""


class Cron:
    """Planned times: the same for the same question, whenever it is asked.

    Args:
        expression: Five fields, or six with seconds first.
        timezone: IANA name such as ``Europe/Vienna``.

    Raises:
        ValueError: One of the two is not valid; ``cron_problems`` and ``timezone_problems`` say why.
    """

    def __init__(self, expression: str, timezone: str) -> None:
        from cronsim import CronSim, CronSimError  # loaded only where there are schedules

        self._expression = _canonical(expression)
        self._last: tuple[int, int | None] = (-1, None)
        self.zone = _zone(timezone)
        try:
            CronSim(self._expression, datetime(2000, 1, 1, tzinfo=UTC))
        except CronSimError as error:
            raise ValueError(str(error)) from error

    def after(self, at_ms: int) -> int | None:
        """Return the first planned time after ``at_ms``, both in milliseconds since the epoch.

        None where there is none within fifty years.
        """
        # When a timer is set, when it fires, and when the next one is set, the same is asked.
        if self._last[0] != at_ms:
            self._last = at_ms, self._search(at_ms)
        return self._last[1]

    def _search(self, at_ms: int) -> int | None:
        from cronsim import CronSim

        for found in CronSim(self._expression, self.local(at_ms)):
            planned = int(found.timestamp()) * 1000
            # Within an hour that comes twice the times of the day that follow may be those of the first pass.
            if planned > at_ms:
                return planned
        return None

    def local(self, at_ms: int) -> datetime:
        """Return a time in the schedule's zone, to the second."""
        return datetime.fromtimestamp(at_ms // 1000, self.zone)


def cron_problems(given: object, now_ms: int) -> list[Problem]:
    """Return what is wrong with a cron expression; empty if it has a time to come."""
    if not isinstance(given, str):
        return [Problem("bad_cron", f"a cron expression is text, not {type(given).__name__}", "cron", hint=_EXAMPLE)]
    if len(given) > MOST_CHARS:
        message = f"a cron expression has at most {MOST_CHARS} characters, not {len(given):,}"
        return [Problem("bad_cron", message, "cron", hint=_EXAMPLE)]
    try:
        planned = Cron(given, "UTC").after(now_ms)
    except ValueError as error:
        if _names_no_day(given):
            return [_never_fires(given, "none of its months has such a day")]
        return [Problem("bad_cron", f'"{given}" is no cron expression: {_lower(str(error))}', "cron", hint=_EXAMPLE)]
    return [_never_fires(given, f"it has no time within {_YEARS} years")] if planned is None else []


def _never_fires(given: str, why: str) -> Problem:
    hint = "name a day and a month that come together; the day L is the last one of each month"
    return Problem("never_fires", f'"{given}" never fires: {why}', "cron", hint=hint)


def _names_no_day(given: str) -> bool:
    """Tell whether an expression is bad only because none of its months has its day, as the 30th of February."""
    fields = given.split()
    if len(fields) not in (5, 6):
        return False
    fields[-2] = "*"
    try:
        Cron(" ".join(fields), "UTC")
    except ValueError:
        return False
    months = given.split()[-2]
    try:
        Cron(f"0 0 1 {months} *", "UTC")
    except ValueError:
        return False
    return True


def timezone_problems(given: object) -> list[Problem]:
    """Return what is wrong with the name of a time zone; empty if there is such a zone."""
    if not isinstance(given, str):
        message = f"a time zone is its IANA name, not {type(given).__name__}"
        return [Problem("unknown_timezone", message, "timezone", hint='such as "Europe/Vienna", or "UTC"')]
    try:
        _zone(given)
    except ValueError:
        shown = given if len(given) <= 80 else f"{given[:77]}..."
        return [Problem("unknown_timezone", f'there is no time zone "{shown}"', "timezone", hint=_nearest(given))]
    return []


def _nearest(given: str) -> str:
    from zoneinfo import available_timezones

    names = {name.casefold(): name for name in available_timezones()}
    if not names:
        return "this host has no time zones at all: install the package tzdata"
    by_city = {name.rpartition("/")[2]: name for name in names}
    near = difflib.get_close_matches(given[:80].casefold().replace(" ", "_"), [*names, *by_city], 1)
    found = names[by_city.get(near[0], near[0])] if near else ""
    return f'did you mean "{found}"?' if found else 'an IANA name such as "Europe/Vienna", or "UTC"'


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:  # unknown, a folder, or no name of a zone at all
        raise ValueError(f"no time zone {name!r}") from error


def _canonical(expression: str) -> str:
    """Return an expression with its needless seconds left out: only five fields name times of the day."""
    fields = expression.split()
    return " ".join(fields[1:] if len(fields) == 6 and fields[0] == "0" else fields)


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
