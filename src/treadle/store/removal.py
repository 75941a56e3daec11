"""Removing ended executions from a file: all their rows, and what only they had. One that is open is never touched.

Cursors and the numbers of executions are not given away twice: whoever holds one, to go on reading behind it, would be
given what it does not mean. So the highest ones are noted before the rows that had them go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

_HIGHEST: Final = """select
max(coalesce((select max(cursor) from turns), 0), coalesce((select value from marks where name = 'cursor'), 0)),
max(coalesce((select max(number) from executions), 0), coalesce((select value from marks where name = 'number'), 0))"""
_NOTE: Final = """insert into marks (name, value) values (?, ?)
on conflict (name) do update set value = max(value, excluded.value)"""
_FIND: Final = """select number, definition_hash from executions
where execution_id = ? and not is_open and ended_ms is not null"""
_PAYLOADS: Final = "select payload from payload_uses where execution = ?"
_USES: Final = "delete from payload_uses where execution = ?"
_PAYLOAD: Final = """delete from payloads where number = :payload
and not exists (select 1 from payload_uses where payload = :payload)"""
_TURNS: Final = "delete from turns where execution = ?"
_LISTENERS: Final = "delete from listeners where execution = ?"
_ADDRESSEES: Final = "delete from addressees where execution = ?"
_EXECUTION: Final = "delete from executions where number = ?"
_NAMING: Final = """select t.name from sqlite_master t join pragma_table_info(t.name) c
where t.type = 'table' and c.name = 'definition_hash'"""


def highest(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return the highest cursor and the highest number of an execution that were ever given away; 0 for none."""
    cursor, number = connection.execute(_HIGHEST).fetchone()
    return int(cursor), int(number)


def remove(connection: sqlite3.Connection, execution_ids: Iterable[str], cursor: int, number: int) -> list[str]:
    """Remove those that have ended, within a transaction, and return them.

    Args:
        connection: That writes.
        execution_ids: Those that are open, or are not there, are left.
        cursor: The highest one given away so far.
        number: The highest one of an execution.
    """
    connection.executemany(_NOTE, [("cursor", cursor), ("number", number)])
    removed: list[str] = []
    definitions: dict[str, None] = {}
    for name in execution_ids:
        found = connection.execute(_FIND, (name,)).fetchone()
        if found is not None:
            _remove(connection, found[0])
            definitions[found[1]] = None
            removed.append(name)
    _remove_unnamed(connection, definitions)
    return removed


def _remove(connection: sqlite3.Connection, execution: int) -> None:
    payloads = connection.execute(_PAYLOADS, (execution,)).fetchall()
    connection.execute(_USES, (execution,))
    connection.executemany(_PAYLOAD, [{"payload": payload} for (payload,) in payloads])
    connection.execute(_TURNS, (execution,))
    connection.execute(_LISTENERS, (execution,))
    connection.execute(_ADDRESSEES, (execution,))
    connection.execute(_EXECUTION, (execution,))


def _remove_unnamed(connection: sqlite3.Connection, definitions: Iterable[str]) -> None:
    """Remove definitions that no row of any table names in its column ``definition_hash`` any more."""
    tables = [name for (name,) in connection.execute(_NAMING).fetchall()]
    named = " or ".join(f'exists (select 1 from "{table}" where definition_hash = :hash)' for table in tables)  # noqa: S608 - names of our tables
    delete = f"delete from definitions where hash = :hash and not ({named})"  # noqa: S608 - as above
    connection.executemany(delete, [{"hash": one} for one in definitions])
