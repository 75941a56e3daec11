"""Limits on what runs at a time and how often it starts, as an engine is given them.

A limit has a name. Three kinds of names mean something by themselves: a ``service``, a ``service.action``, and
``workflow:`` with the id of a workflow. Any other name is that of ``limits`` in definitions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, Self

from msgspec import Struct

from treadle.durations import parse_duration
from treadle.errors import ValidationError
from treadle.model import Problem

MOST: Final = 2**31 - 1
OF_WORKFLOW: Final = "workflow:"

_FORM: Final = re.compile(r"(?=.)([0-9]{1,10})?(?:(?:^|,)([0-9]{1,10})/(.+))?")


class Limit(Struct, frozen=True):
    """How many steps may hold one limit.

    Attributes:
        concurrency: Steps that run at a time; None for any number.
        rate: Steps that start within any time of ``per``; None for any number.
        per: That time: seconds, text such as ``"1m"``, or a ``timedelta``.
    """

    concurrency: int | None = None
    rate: int | None = None
    per: str | float | timedelta = "1s"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the limit that is written as ``5`` (at a time), ``10/1s`` (in a time), or both: ``5,10/1s``.

        Raises:
            ValidationError: It is written in another way, or a number is 0.
        """
        written = _FORM.fullmatch(text)
        if written is None:
            raise ValidationError(f"a limit is 5 (at a time), 10/1s (in a time) or 5,10/1s (both), not {text!r:.80}")
        concurrency, rate = (int(one) if one else None for one in written.group(1, 2))
        found = cls(concurrency, rate, written[3] or "1s")
        problems: list[Problem] = []
        _check_counts(found, "", problems)
        _milliseconds(found.per, "", problems)
        if problems:
            raise ValidationError(f"{text!r:.80}: {'; '.join(one.message for one in problems)}")
        return found


class Numbers(Struct, frozen=True, gc=False):
    """A limit as it is kept: ``Limit`` with ``per`` in milliseconds."""

    concurrency: int | None = None
    rate: int | None = None
    per_ms: int = 1_000


class LimitState(Struct, frozen=True, omit_defaults=True):
    """How one limit stands.

    Attributes:
        name: Of the limit.
        key: JSON of the value of its key; ``""`` for a limit without a key.
        concurrency: Steps that run at a time; None for any number.
        rate: Steps that start within any time of ``per_seconds``; None for any number.
        per_seconds: That time.
        held: How many steps hold it.
        holders: The first of those: ``execution/step``.
        waiting: How many ready steps have to come through it.
        closed_until: Nobody starts before then; None while somebody may, or once one of its holders has ended.
    """

    name: str
    key: str = ""
    concurrency: int | None = None
    rate: int | None = None
    per_seconds: float | None = None
    held: int = 0
    holders: tuple[str, ...] = ()
    waiting: int = 0
    closed_until: datetime | None = None


class Occupancy(Struct, frozen=True):
    """How the slots and the limits of an engine stand.

    Attributes:
        slots: How many steps it runs at a time.
        held: How many slots are held.
        waiting: How many steps are ready and have not started.
        limits: Its own, and those by which steps were held lately; those for which most wait first.
        hidden: How many more limits there are.
    """

    slots: int
    held: int
    waiting: int
    limits: tuple[LimitState, ...] = ()
    hidden: int = 0


def check_limits(given: object) -> dict[str, Numbers]:
    """Return limits by name.

    Raises:
        ValidationError: Something is wrong with them; ``problems`` has all of it.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ValidationError(f"limits is a dict of names and limits, not {given!r:.80}")
    problems: list[Problem] = []
    found = {str(name): _numbers(name, one, problems) for name, one in given.items()}
    if problems:
        raise ValidationError("; ".join(str(one) for one in problems), problems)
    return found


def _numbers(name: object, given: object, problems: list[Problem]) -> Numbers:
    path = f"limits[{name!r:.80}]"
    if not isinstance(name, str) or not name or name != name.strip() or name == OF_WORKFLOW:
        hint = "a service, a service.action, workflow:ID, or a name that definitions use"
        problems.append(Problem("bad_value", f"{name!r:.80} is no name of a limit", path, hint=hint))
    limit = Limit(concurrency=given) if type(given) is int else given
    if not isinstance(limit, Limit):
        problems.append(Problem("wrong_type", f"must be a whole number or a Limit, not {given!r:.80}", path))
        return Numbers()
    _check_counts(limit, path, problems)
    return Numbers(limit.concurrency, limit.rate, _milliseconds(limit.per, f"{path}.per", problems))


def _check_counts(limit: Limit, path: str, problems: list[Problem]) -> None:
    for part, value in (("concurrency", limit.concurrency), ("rate", limit.rate)):
        if value is not None and (type(value) is not int or not 1 <= value <= MOST):
            message = f"must be a whole number of 1 or more, not {value!r:.80}"
            problems.append(Problem("bad_value", message, f"{path}.{part}"))
    if limit.concurrency is None and limit.rate is None:
        problems.append(Problem("missing_key", "it needs a concurrency or a rate", path))


def _milliseconds(per: object, path: str, problems: list[Problem]) -> int:
    try:
        milliseconds = parse_duration(per)
    except ValidationError as error:
        problems.append(Problem("bad_duration", error.message, path))
        return 0
    if not milliseconds:
        problems.append(Problem("bad_value", "must be longer than 0", path))
    return milliseconds
