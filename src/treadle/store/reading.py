"""The reading side of the file: every turn is checked against its checksum before anyone sees it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from treadle.errors import QuarantineError, StoreError
from treadle.store import mail
from treadle.store.chain import first_link, link, seal
from treadle.store.payloads import CUT, WHOLE, PayloadFault, join, unpack
from treadle.store.protocol import Filter, Listed, Mail, Posted, ScheduleRow, StoredTurn, Version
from treadle.store.removal import highest
from treadle.store.selecting import COUNT_TAG, IS_OPEN, RARE, select

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TURNS = """select t.cursor, t.sequence, t.count, t.format, t.events, t.checksum
from turns t where t.execution = ? and t.sequence > ? order by t.sequence"""
_AFTER = """select t.cursor, t.sequence, t.count, t.format, t.events, e.execution_id
from turns t join executions e on e.number = t.execution where t.cursor > ? order by t.cursor limit ?"""
_COLUMNS = "number, execution_id, workflow_id, definition_hash, status, is_open, created_ms, ended_ms, tags, key"
_ONE = f"select {_COLUMNS} from executions where execution_id = ?"  # noqa: S608 - constant columns
_VERSION = "select workflow_id, definition_hash, label, registered_ms from versions"
_VERSIONS = f"{_VERSION} order by workflow_id, place desc"
_VERSIONS_OF = f"{_VERSION} where workflow_id = ? order by place desc"
_LINE = f"""select {_COLUMNS} from executions where workflow_id = ? and key = ? and key != ''
and {IS_OPEN} order by number limit ?"""  # noqa: S608 - constant columns
_SCHEDULES = """select schedule_id, definition_hash, spec, progress, checksum from schedules
where :name is null or schedule_id = :name order by schedule_id"""
_ENDED = f"""select {_COLUMNS} from executions where status = ? and not is_open and ended_ms < ?
and (ended_ms, number) > (?, ?) order by ended_ms, number limit ?"""  # noqa: S608 - constant columns
_NOTHING = 0, b""
_MOST_CHECKED = 1_000
_PAYLOAD = "select size, encoding, content from payloads where hash = ?"
_PAYLOADS = "select count(*), coalesce(sum(size), 0), coalesce(sum(length(content)), 0) from payloads"
FORMATS = (WHOLE, CUT)
"""Formats of the events' bytes that this version reads."""


class Reading:
    """Reads over one connection. Used from one thread at a time.

    Args:
        connection: That writes nothing.
        path: For messages.
    """

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        self._connection = connection
        self._path = path
        self._checked: dict[int, tuple[int, bytes]] = {}

    def read(self, execution_id: str, after: int) -> Sequence[StoredTurn]:
        """Return the turns of one execution. The whole chain is checked, but not twice what lies before ``after``."""
        with self._at_one_time():
            return self._read(execution_id, after)

    @contextmanager
    def _at_one_time(self) -> Iterator[None]:
        """Have several queries see the same: between two of them an execution may be removed."""
        self._all("begin", ())
        try:
            yield
        finally:
            self._all("rollback", ())  # there is nothing to commit

    def _read(self, execution_id: str, after: int) -> Sequence[StoredTurn]:
        row = self.get(execution_id)
        if row is None:
            return []
        start, checksum = self._checked.get(row.number, _NOTHING)
        if not start or start > after:
            start, checksum = 0, first_link(execution_id, row.definition_hash)
        turns: list[StoredTurn] = []
        values: dict[bytes, bytes] = {}
        for found in self._all(_TURNS, (row.number, start)):
            cursor, sequence, count, form, events, recorded = found
            expected = start + len(turns) + 1
            if sequence != expected:
                raise QuarantineError(f"turn {expected} is missing", self._path, execution_id)
            try:
                events = self._whole(form, events, values)
            except PayloadFault as fault:
                raise QuarantineError(f"turn {sequence} {fault}", self._path, execution_id) from None
            # A damaged header of a row may give a value of another type.
            is_typed = isinstance(events, bytes) and isinstance(count, int)
            checksum = link(checksum, sequence, count, events) if is_typed else b""
            if checksum != recorded:
                raise QuarantineError(f"turn {sequence} does not fit its checksum", self._path, execution_id)
            turns.append(StoredTurn(execution_id, sequence, events, count, cursor))
        if not turns and not start:
            raise QuarantineError("all its turns are missing", self._path, execution_id)
        if len(self._checked) > _MOST_CHECKED:
            self._checked.clear()
        self._checked[row.number] = start + len(turns), checksum
        return turns[after - start :]

    def read_after(self, cursor: int, limit: int) -> Sequence[StoredTurn]:
        """Return turns in commit order."""
        values: dict[bytes, bytes] = {}
        with self._at_one_time():
            return [
                StoredTurn(execution_id, sequence, self._shown(form, events, values), count, last)
                for last, sequence, count, form, events, execution_id in self._all(_AFTER, (cursor, limit))
            ]

    def _shown(self, form: int, events: bytes, values: dict[bytes, bytes]) -> bytes:
        """Return the bytes of a turn; none of one that is damaged, so that those behind it can be read."""
        try:
            return self._whole(form, events, values)
        except PayloadFault:
            return b""

    def _whole(self, form: int, events: bytes, values: dict[bytes, bytes]) -> bytes:
        """Return the bytes of a turn with its large values in their places.

        Args:
            form: Its format.
            events: As they are stored.
            values: Those that were read before, by hash; those that are read now are added.

        Raises:
            PayloadFault: One is missing or damaged, or the format is not known.
        """
        if form == WHOLE:
            return events
        if form != CUT:
            raise PayloadFault(f"has the unknown format {form}")

        def fetch(name: bytes) -> bytes:
            if name not in values:
                values[name] = self._value(name)
            return values[name]

        return join(events, fetch)

    def _value(self, name: bytes) -> bytes:
        found = self._all(_PAYLOAD, (name,))
        if not found:
            raise PayloadFault(f"needs the payload {name.hex()}, which is missing")
        return unpack(name, *found[0])

    def payloads(self) -> tuple[int, int, int]:
        """Return how many large values are kept apart, their bytes, and the bytes that they take."""
        count, size, stored = self._all(_PAYLOADS, ())[0]
        return count, size, stored

    def head(self) -> int:
        """Return the last cursor."""
        try:
            return highest(self._connection)[0]
        except sqlite3.Error as error:
            raise StoreError(f"cannot be read: {error}", self._path) from error

    def definition(self, definition_hash: str) -> bytes | None:
        """Return a definition."""
        found = self._all("select document from definitions where hash = ?", (definition_hash,))
        return bytes(found[0][0]) if found else None

    def versions(self, workflow_id: str) -> Sequence[Version]:
        """Return registered versions."""
        rows = self._all(_VERSIONS_OF, (workflow_id,)) if workflow_id else self._all(_VERSIONS, ())
        try:
            return [Version(*msgspec.convert(row, tuple[str, str, str, int])) for row in rows]
        except msgspec.ValidationError as error:
            raise StoreError(f"its table of versions is damaged: {error}", self._path) from error

    def get(self, execution_id: str) -> Listed | None:
        """Return one index row."""
        found = self._all(_ONE, (execution_id,))
        return _listed(found[0]) if found else None

    def ended(self, status: str, before_ms: int, limit: int, after: tuple[int, int]) -> Sequence[Listed]:
        """Return index rows of those that ended before a time, oldest first."""
        while rows := self._all(_ENDED, (status, before_ms, *after, limit)):
            whole = [one for one in map(_listed, rows) if not one.damage]
            if whole:
                return whole
            after = rows[-1][7], rows[-1][0]
        return []

    def list(self, where: Filter, limit: int, before: int | None) -> Sequence[Listed]:
        """Return index rows, newest first."""
        condition, values = select(where, before, self._count_tag)
        query = f"select {_COLUMNS} from executions where {condition} order by number desc limit ?"  # noqa: S608 - constants
        return [_listed(row) for row in self._all(query, (*values, limit))]

    def count(self, where: Filter) -> int:
        """Return how many rows pass a filter."""
        condition, values = select(where, None, self._count_tag)
        found = self._all(f"select count(*) from executions where {condition}", values)  # noqa: S608 - constants
        return int(found[0][0]) if found else 0

    def _count_tag(self, name: str, value: str) -> int:
        found = self._all(COUNT_TAG, (name, value, RARE))
        return int(found[0][0]) if found else 0

    def line(self, workflow_id: str, key: str, limit: int | None) -> Sequence[Listed]:
        """Return the open executions that have a key, oldest first."""
        return [_listed(row) for row in self._all(_LINE, (workflow_id, key, -1 if limit is None else limit))]

    def schedules(self, schedule_id: str | None) -> Sequence[ScheduleRow]:
        """Return one schedule, or all; one that was damaged says so."""
        return [_schedule(row) for row in self._all(_SCHEDULES, {"name": schedule_id})]

    def unanswered(self, after: int, limit: int) -> Sequence[Posted]:
        """Return the mail that still has addressees."""
        return mail.unanswered(self._all, after, limit)

    def kept(self, name: str, key: str, after: int, limit: int) -> Sequence[Mail]:
        """Return the mail that nobody has taken and somebody awaits."""
        return mail.kept(self._all, name, key, after, limit)

    def waiting(self, name: str, key: str) -> Sequence[str]:
        """Return the executions that await such an event."""
        return mail.waiting(self._all, name, key)

    def check_pages(self) -> Sequence[str]:
        """Return what SQLite finds wrong with its pages and indexes, at most ten of it."""
        return [str(row[0]) for row in self._all("pragma quick_check(10)", ()) if row[0] != "ok"]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _all(self, query: str, values: tuple[Any, ...] | dict[str, Any]) -> Sequence[Any]:
        try:
            return self._connection.execute(query, values).fetchall()
        except UnicodeEncodeError:  # text that no file can hold is nowhere in this one
            return []
        except sqlite3.Error as error:
            raise StoreError(f"cannot be read: {error}", self._path) from error


def _listed(row: tuple[Any, ...]) -> Listed:
    """Return a row of the table; one that was damaged says so, so that the others can still be listed."""
    number, execution_id, workflow_id, definition_hash, status, is_open, created_ms, ended_ms, tags, key = row
    values = (workflow_id, definition_hash, status, is_open, created_ms, ended_ms, _decode_tags(tags), key)
    try:
        plain = msgspec.convert(values, tuple[str, str, str, int, int, int | None, dict[str, str], str])
    except msgspec.ValidationError as error:
        damage = f"its row: {error}"
        return Listed(number, str(execution_id), "", str(definition_hash), "", False, 0, None, {}, damage=damage)
    workflow_id, definition_hash, status, is_open, created_ms, ended_ms, tags, key = plain
    names = (number, execution_id, workflow_id, definition_hash)
    return Listed(*names, status, bool(is_open), created_ms, ended_ms, tags, key)


def _schedule(row: tuple[Any, ...]) -> ScheduleRow:
    schedule_id, definition_hash, spec, progress, checksum = row
    # A damaged header of a row may give a value of another type.
    is_typed = isinstance(definition_hash, str) and isinstance(spec, bytes) and isinstance(progress, bytes)
    if not is_typed or seal(schedule_id, definition_hash, spec, progress) != checksum:
        return ScheduleRow(str(schedule_id), "", b"", b"", damage="its row does not fit its checksum")
    return ScheduleRow(schedule_id, definition_hash, spec, progress)


def _decode_tags(text: object) -> object:
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
