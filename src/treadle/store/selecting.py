"""A filter as SQL: only the conditions that are asked for, so that SQLite sees which index serves each.

Every answer is newest first, and most are short. So a condition that an index answers gives the numbers of executions,
which are then walked backwards, instead of an order of its own that would have to be sorted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from treadle.store.protocol import Filter

IS_OPEN: Final = "(is_open or ended_ms is null)"
"""An open execution whose row was damaged is still found as one."""

RARE: Final = 1_000
"""How far the executions with a tag are counted, to find the rarest of several."""

COUNT_TAG: Final = "select count(*) from (select 1 from tags where name = ? and value = ? limit ?)"
_BY_TAG: Final = "number in (select execution from tags where name = ? and value = ?)"
_HAS_TAG: Final = "exists (select 1 from tags where name = ? and value = ? and execution = executions.number)"
_BY_PREFIX: Final = "number in (select number from executions where execution_id >= ? and execution_id < ?)"
_BY_TEXT: Final = """number in (select number from executions where execution_id like ? escape '\\'
union select execution from tags where name like ? escape '\\' or value like ? escape '\\')"""
_LAST: Final = "\U0010ffff"


class Selection(NamedTuple):
    """The part of a query behind ``where``, and its values in order."""

    text: str
    values: tuple[object, ...]


def select(where: Filter, before: int | None, count_tag: Callable[[str, str], int]) -> Selection:
    """Return the condition that a filter is.

    Args:
        where: The filter.
        before: Only executions of a lower number; None for all.
        count_tag: Counts the executions with a tag, up to ``RARE``; asked only where there are several tags.
    """
    parts: list[tuple[str, Sequence[object]]] = []
    if before is not None:
        parts.append(("number < ?", [before]))
    if where.workflow_id:
        parts.append(("workflow_id = ?", [where.workflow_id]))
    if where.key:
        parts.append(("key = ? and key != ''", [where.key]))
    if where.statuses:
        parts.append((f"status in ({', '.join('?' * len(where.statuses))})", where.statuses))
    if where.is_open is not None:
        parts.append((IS_OPEN if where.is_open else f"not {IS_OPEN}", []))
    if where.created_from_ms is not None:
        parts.append(("created_ms >= ?", [where.created_from_ms]))
    if where.created_before_ms is not None:
        parts.append(("created_ms < ?", [where.created_before_ms]))
    parts += _tags(where.tags, count_tag)
    if where.id_prefix:
        parts.append((_BY_PREFIX, [where.id_prefix, where.id_prefix + _LAST]))
    if where.text:
        parts.append((_BY_TEXT, [_pattern(where.text)] * 3))
    text = " and ".join(condition for condition, _ in parts) or "true"
    return Selection(text, tuple(value for _, values in parts for value in values))


def _tags(tags: dict[str, str], count_tag: Callable[[str, str], int]) -> list[tuple[str, Sequence[object]]]:
    """Return the rarest tag as what finds executions, and the others as what is looked at of those."""
    first, *others = sorted(tags.items(), key=lambda tag: count_tag(*tag)) if len(tags) > 1 else (*tags.items(), None)
    if first is None:
        return []
    return [(_BY_TAG, first), *((_HAS_TAG, one) for one in others if one is not None)]


def _pattern(text: str) -> str:
    """Return the pattern that finds text anywhere; as in ``LIKE``, ASCII letters match in either case."""
    for special in ("\\", "%", "_"):
        text = text.replace(special, f"\\{special}")
    return f"%{text}%"
