"""Group commit: what one thread does with the turns of many executions, in one transaction and one sync.

A failed commit has an unknown outcome: the write may be there after all. So the writer refuses everything until it has
been made anew from the file.
"""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

from treadle.errors import StoreError
from treadle.store import mail
from treadle.store.chain import first_link, link, seal
from treadle.store.payloads import CUT, WHOLE, cut, name_of, pack
from treadle.store.protocol import Answer, Appended, IndexRow, Mail, Posted, ScheduleRow, Turn, Version
from treadle.store.removal import highest, remove

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from treadle.store.files import OpenFiles

_T = TypeVar("_T")

_INSERT_TURN = """insert into turns (cursor, execution, sequence, count, format, events, checksum)
values (?, ?, ?, ?, ?, ?, ?)"""
_INSERT_EXECUTION = """insert into executions
(number, execution_id, workflow_id, definition_hash, status, is_open, created_ms, ended_ms, tags, key)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_UPDATE_EXECUTION = "update executions set status = ?, is_open = ?, ended_ms = ? where number = ?"
_INSERT_DEFINITION = """insert into definitions (hash, document) values (?, ?)
on conflict (hash) do update set document = excluded.document where document is not excluded.document"""
_INSERT_VERSION = """insert into versions (definition_hash, workflow_id, label, registered_ms, place)
values (:name, :workflow, :label, :at, (select coalesce(max(place), 0) + 1 from versions where workflow_id = :workflow))
on conflict (definition_hash) do update set place = excluded.place
where place < (select max(place) from versions where workflow_id = excluded.workflow_id)"""
_FIND_VERSION = "select workflow_id, definition_hash, label, registered_ms from versions where definition_hash = ?"
_PUT_SCHEDULE = """insert into schedules (schedule_id, definition_hash, spec, progress, checksum) values (?, ?, ?, ?, ?)
on conflict (schedule_id) do update set definition_hash = excluded.definition_hash, spec = excluded.spec,
progress = excluded.progress, checksum = excluded.checksum"""
_REMOVE_SCHEDULE = "delete from schedules where schedule_id = ?"
_FIND_EXECUTION = "select number, definition_hash from executions where execution_id = ?"
_DEFINITION_OF = "select definition_hash from executions where number = ?"
_LAST_TURN = "select sequence, checksum from turns where execution = ? order by sequence desc limit 1"
_ONE_TURN = "select cursor, checksum from turns where execution = ? and sequence = ?"
_FIND_PAYLOAD = "select number from payloads where hash = ?"
_INSERT_PAYLOAD = "insert into payloads (hash, size, encoding, content) values (?, ?, ?, ?)"
_INSERT_USE = "insert or ignore into payload_uses (execution, payload) values (?, ?)"

_Row: TypeAlias = tuple[int, int, int, int, int, bytes, bytes]
"""Cursor, number of the execution, sequence, count, format, events, checksum."""


class _Head:
    """The end of one execution's chain."""

    __slots__ = ("checksum", "number", "sequence")

    def __init__(self, number: int, sequence: int, checksum: bytes) -> None:
        self.number = number
        self.sequence = sequence
        self.checksum = checksum


class Schedules(NamedTuple):
    """Schedules to be written in place of those of the same ids, and ids of those to be removed."""

    rows: Sequence[ScheduleRow]
    removed: Sequence[str]


class Writer:
    """Writes turns and schedules over one connection. Used from one thread at a time.

    Args:
        connection: In autocommit mode; only this object writes over it.
        path: For messages.
        files: Those that are written.
        committed: Told the cursor of the last event after each commit.
    """

    def __init__(
        self, connection: sqlite3.Connection, path: str, files: OpenFiles, committed: Callable[[int], None]
    ) -> None:
        self._connection = connection
        self._path = path
        self._files = files
        self._committed = committed
        self._heads: dict[str, _Head] = {}
        self._definitions: set[str] = set()
        self._ended: list[str] = []  # their heads are kept to the end of the transaction, which may have more of them
        self._cursor, self._number = highest(connection)
        self._failure = ""

    @property
    def cursor(self) -> int:
        """Return the cursor of the last event."""
        return self._cursor

    def write(self, batches: Sequence[Sequence[Turn] | Schedules]) -> list[list[Appended]]:
        """Write all turns and schedules in one transaction, in order; return the answers once they are durable.

        Raises:
            StoreError: The outcome is unknown; so does every later call.
        """
        return self._transaction(lambda: self._batches(batches))

    def register(self, versions: Sequence[tuple[Version, bytes]]) -> list[Version]:
        """Write versions and their definitions; return them as they stand once they are durable.

        Raises:
            StoreError: As ``write``.
        """
        return self._transaction(lambda: [self._version(version, definition) for version, definition in versions])

    def remove(self, execution_ids: Sequence[str]) -> list[str]:
        """Remove ended executions in one transaction; return those that are gone, once that is durable.

        Raises:
            StoreError: As ``write``.
        """
        return self._transaction(lambda: self._remove(execution_ids))

    def _remove(self, execution_ids: Sequence[str]) -> list[str]:
        removed = remove(self._connection, execution_ids, self._cursor, self._number)
        for name in removed:
            self._heads.pop(name, None)
        self._definitions.clear()
        return removed

    def post(self, mails: Sequence[Mail]) -> list[Posted]:
        """Write events of the mail; return them as they stand once they are durable.

        Raises:
            StoreError: As ``write``.
        """
        return self._transaction(lambda: mail.post(self._connection, mails))

    def settle(self, event_ids: Sequence[str]) -> None:
        """Note that events of the mail have no addressees.

        Raises:
            StoreError: As ``write``.
        """
        self._transaction(lambda: mail.settle(self._connection, event_ids))

    def forget(self, before_ms: int) -> int:
        """Remove old mail; return how much of it nobody had taken.

        Raises:
            StoreError: As ``write``.
        """
        try:
            if not self._failure and not mail.has_old(self._connection, before_ms):
                return 0  # without a commit
        except sqlite3.Error as error:
            raise StoreError(str(error), self._path) from error
        return self._transaction(lambda: mail.forget(self._connection, before_ms))

    def _transaction(self, write: Callable[[], _T]) -> _T:
        if self._failure:
            raise StoreError(self._failure, self._path)
        try:
            self._connection.execute("begin immediate")
            written = write()
            self._connection.execute("commit")
            self._files.check()
            self._committed(self._cursor)
        except (sqlite3.Error, OSError, MemoryError) as error:
            self._fail(str(error))
            raise StoreError(str(error), self._path) from error
        except StoreError as error:
            self._fail(error.message)
            raise
        return written

    def _batches(self, batches: Sequence[Sequence[Turn] | Schedules]) -> list[list[Appended]]:
        rows: list[_Row] = []
        answers = [self._write(batch, rows) for batch in batches]
        self._connection.executemany(_INSERT_TURN, rows)
        for name in self._ended:
            self._heads.pop(name, None)
        self._ended.clear()
        return answers

    def _version(self, version: Version, definition: bytes) -> Version:
        name = version.definition_hash
        self._connection.execute(_INSERT_DEFINITION, (name, definition))
        values = {
            "name": name,
            "workflow": version.workflow_id,
            "label": version.label,
            "at": version.registered_ms,
        }
        self._connection.execute(_INSERT_VERSION, values)
        return Version(*self._connection.execute(_FIND_VERSION, (name,)).fetchone())

    def _fail(self, why: str) -> None:
        self._failure = f"the last write failed ({why}); it is read again before anything more is written"

    def _write(self, batch: Sequence[Turn] | Schedules, rows: list[_Row]) -> list[Appended]:
        if not isinstance(batch, Schedules):
            return [self._one(turn, rows) for turn in batch]
        for row in batch.rows:
            self._keep_definition(row.definition_hash, row.definition)
        self._connection.executemany(_PUT_SCHEDULE, [_sealed(row) for row in batch.rows])
        self._connection.executemany(_REMOVE_SCHEDULE, [(name,) for name in batch.removed])
        return []

    def _one(self, turn: Turn, rows: list[_Row]) -> Appended:
        head = self._heads.get(turn.execution_id) or self._find(turn)
        if head is None:
            return Appended(Answer.CONFLICT)
        if turn.sequence != head.sequence + 1:
            return self._compare(turn, head, rows)
        checksum = link(head.checksum, turn.sequence, turn.count, turn.events)
        self._cursor += turn.count
        form, stored = (CUT, self._cut(turn, head)) if turn.large else (WHOLE, turn.events)
        rows.append((self._cursor, head.number, turn.sequence, turn.count, form, stored, checksum))
        head.sequence, head.checksum = turn.sequence, checksum
        if turn.index is not None:
            self._update(turn, turn.index, head)
        if turn.awaits is not None or turn.takes:
            mail.turned(self._connection, head.number, turn)
        return Appended(Answer.COMMITTED, self._cursor)

    def _cut(self, turn: Turn, head: _Head) -> bytes:
        """Return a turn without its large values, which are kept apart, once each."""
        stored, values = cut(turn.events, turn.large)
        for value in values:
            name = name_of(value)
            found = self._connection.execute(_FIND_PAYLOAD, (name,)).fetchone()
            number = found[0] if found else self._insert_payload(name, value)
            self._connection.execute(_INSERT_USE, (head.number, number))
        return stored

    def _insert_payload(self, name: bytes, value: bytes) -> int:
        return self._connection.execute(_INSERT_PAYLOAD, (name, len(value), *pack(value))).lastrowid or 0

    def _find(self, turn: Turn) -> _Head | None:
        """Return the head of an execution, made with its first turn; None if there is no such execution."""
        found = self._connection.execute(_FIND_EXECUTION, (turn.execution_id,)).fetchone()
        if found is not None:
            number, definition_hash = found
            last = self._connection.execute(_LAST_TURN, (number,)).fetchone()
            sequence, checksum = last or (0, first_link(turn.execution_id, definition_hash))
            head = _Head(number, sequence, checksum)
        elif turn.sequence == 1 and turn.index is not None:
            head = self._create(turn, turn.index)
        else:
            return None
        self._heads[turn.execution_id] = head
        return head

    def _create(self, turn: Turn, row: IndexRow) -> _Head:
        self._keep_definition(row.definition_hash, turn.definition)
        values = (turn.execution_id, row.workflow_id, row.definition_hash, row.status, row.is_open)
        more = (row.created_ms, row.ended_ms, json.dumps(row.tags, sort_keys=True), row.key)
        self._number += 1
        self._connection.execute(_INSERT_EXECUTION, (self._number, *values, *more))
        return _Head(self._number, 0, first_link(turn.execution_id, row.definition_hash))

    def _keep_definition(self, name: str, document: bytes | None) -> None:
        if document is not None and name not in self._definitions:
            # One that is there was written by us or is damaged; either way these are its bytes.
            self._connection.execute(_INSERT_DEFINITION, (name, document))
            self._definitions.add(name)

    def _update(self, turn: Turn, row: IndexRow, head: _Head) -> None:
        if turn.sequence > 1:
            self._connection.execute(_UPDATE_EXECUTION, (row.status, row.is_open, row.ended_ms, head.number))
        if not row.is_open:
            self._ended.append(turn.execution_id)

    def _compare(self, turn: Turn, head: _Head, rows: list[_Row]) -> Appended:
        """Answer for a turn that is not the next one: the very same one is a duplicate."""
        found = self._written(turn.sequence, head, rows)
        before = self._written(turn.sequence - 1, head, rows)
        if found is None or (before is None and turn.sequence > 1):
            return Appended(Answer.CONFLICT)
        previous = before[1] if before is not None else self._first_link(turn, head)
        if link(previous, turn.sequence, turn.count, turn.events) != found[1]:
            return Appended(Answer.CONFLICT)
        return Appended(Answer.DUPLICATE, found[0])

    def _written(self, sequence: int, head: _Head, rows: list[_Row]) -> tuple[int, bytes] | None:
        """Return cursor and checksum of a turn, of this transaction or of an earlier one; None if there is none."""
        for cursor, number, of_row, _, _, _, checksum in rows:
            if (number, of_row) == (head.number, sequence):
                return cursor, checksum
        found = self._connection.execute(_ONE_TURN, (head.number, sequence)).fetchone()
        return None if found is None else (found[0], found[1])

    def _first_link(self, turn: Turn, head: _Head) -> bytes:
        definition_hash = self._connection.execute(_DEFINITION_OF, (head.number,)).fetchone()[0]
        return first_link(turn.execution_id, definition_hash)


def _sealed(row: ScheduleRow) -> tuple[object, ...]:
    checksum = seal(row.schedule_id, row.definition_hash, row.spec, row.progress)
    return row.schedule_id, row.definition_hash, row.spec, row.progress, checksum
