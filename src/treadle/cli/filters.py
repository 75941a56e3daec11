"""Which executions: ``--where NAME=VALUE``, and the options of ``list`` that say the same."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from treadle import ExecutionStatus, ValidationError, parse_duration
from treadle.cli.arguments import FILTERS
from treadle.cli.output import fail

if TYPE_CHECKING:
    from collections.abc import Callable


def read_filter(words: list[str]) -> dict[str, Any]:
    """Return a filter, field by field, of words such as ``status=FAILED`` and ``tag.tenant=42``."""
    found: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            fail(f"--where is NAME=VALUE, not {word!r}; the names are {FILTERS}")
        _read(found, name.strip(), value)
    return found


def _read(found: dict[str, Any], name: str, value: str) -> None:
    if name == "status":
        found["statuses"] = (*found.get("statuses", ()), _status(value))
    elif name.startswith("tag."):
        found.setdefault("tags", {})[name.removeprefix("tag.")] = value
    elif name in _FIELDS:
        field, read = _FIELDS[name]
        if field in found:
            fail(f"{name} is given twice")
        found[field] = read(value)
    else:
        fail(f"executions are not searched by {name!r}; the names are {FILTERS}")


def _status(text: str) -> ExecutionStatus:
    try:
        return ExecutionStatus(text.upper())
    except ValueError:
        fail(f"there is no status {text!r}; there are {', '.join(one.value for one in ExecutionStatus)}")


def _moment(text: str) -> datetime:
    """Return a time: a date, with or without a time and a zone (the host's), or how long ago."""
    with contextlib.suppress(ValueError, OverflowError):
        found = datetime.fromisoformat(text)
        return found if found.tzinfo else found.astimezone()
    try:
        return datetime.now(UTC) - timedelta(milliseconds=parse_duration(text))
    except (ValidationError, OverflowError):
        fail(f"a time is a date such as 2026-01-31 or 2026-01-31T09:00Z, or how long ago, such as 2d; not {text!r}")


_FIELDS: Final[dict[str, tuple[str, Callable[[str], object]]]] = {
    "workflow": ("workflow_id", str),
    "key": ("key", str),
    "prefix": ("id_prefix", str),
    "search": ("search", str),
    "since": ("created_after", _moment),
    "until": ("created_before", _moment),
}
