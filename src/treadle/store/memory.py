"""A store that lasts as long as the process: for tests and throw-away runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from treadle.store.memory_mail import MemoryMail
from treadle.store.protocol import (
    EVERYTHING,
    Answer,
    Appended,
    Filter,
    IndexRow,
    Listed,
    ScheduleRow,
    StoredTurn,
    Turn,
    Version,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from treadle.store.protocol import Mail, Posted


class MemoryStore:
    """Keeps everything in dicts; see ``protocol.Store`` for what each method promises."""

    path = ""

    def __init__(self) -> None:
        self._turns: dict[str, list[StoredTurn]] = {}
        self._order: list[StoredTurn] = []
        self._definitions: dict[str, bytes] = {}
        self._versions: dict[str, Version] = {}
        self._listed: dict[str, Listed] = {}
        self._schedules: dict[str, ScheduleRow] = {}
        self._head = 0
        self._number = 0
        self._mail = MemoryMail(self._listed)

    async def open(self) -> None:
        """Do nothing: it is ready."""

    async def close(self) -> None:
        """Do nothing: what it holds can be read as long as it lives."""

    async def reopen(self) -> None:
        """Do nothing: it never fails."""

    async def append(self, turns: Sequence[Turn]) -> Sequence[Appended]:
        """Keep the turns."""
        return [self._append(turn) for turn in turns]

    def _append(self, turn: Turn) -> Appended:
        known = self._turns.get(turn.execution_id, [])
        if 1 <= turn.sequence <= len(known):
            there = known[turn.sequence - 1]
            same = there.events == turn.events and there.count == turn.count
            return Appended(Answer.DUPLICATE, there.cursor) if same else Appended(Answer.CONFLICT)
        if turn.sequence != len(known) + 1 or (turn.sequence == 1 and turn.index is None):
            return Appended(Answer.CONFLICT)
        self._head += turn.count
        stored = StoredTurn(turn.execution_id, turn.sequence, turn.events, turn.count, self._head)
        self._turns.setdefault(turn.execution_id, []).append(stored)
        self._order.append(stored)
        if turn.index is not None:
            self._index(turn, turn.index)
        self._mail.turned(turn)
        return Appended(Answer.COMMITTED, self._head)

    def _index(self, turn: Turn, row: IndexRow) -> None:
        known = self._listed.get(turn.execution_id)
        if known is not None:
            changed = msgspec.structs.replace(known, status=row.status, is_open=row.is_open, ended_ms=row.ended_ms)
            self._listed[turn.execution_id] = changed
            return
        if turn.definition is not None:
            self._definitions.setdefault(row.definition_hash, turn.definition)
        self._number += 1
        self._listed[turn.execution_id] = Listed(
            number=self._number,
            execution_id=turn.execution_id,
            workflow_id=row.workflow_id,
            definition_hash=row.definition_hash,
            status=row.status,
            is_open=row.is_open,
            created_ms=row.created_ms,
            ended_ms=row.ended_ms,
            tags=row.tags,
            key=row.key,
        )

    async def register(self, versions: Sequence[tuple[Version, bytes]]) -> Sequence[Version]:
        """Keep versions; the one registered last stands last."""
        return [self._register(version, definition) for version, definition in versions]

    def _register(self, version: Version, definition: bytes) -> Version:
        name = version.definition_hash
        self._definitions[name] = definition
        self._versions[name] = self._versions.pop(name, version)
        return self._versions[name]

    async def post(self, mails: Sequence[Mail]) -> Sequence[Posted]:
        """Keep events."""
        return [self._mail.post(one) for one in mails]

    async def settle(self, event_ids: Sequence[str]) -> None:
        """Note that events have no addressees."""
        self._mail.settle(event_ids)

    async def forget(self, before_ms: int) -> int:
        """Remove old events."""
        return self._mail.forget(before_ms)

    async def unanswered(self, after: int = 0, limit: int = 100) -> Sequence[Posted]:
        """Return the mail that still has addressees."""
        return self._mail.unanswered(after)[:limit]

    async def kept(self, name: str = "", key: str = "", after: int = 0, limit: int = 100) -> Sequence[Mail]:
        """Return the mail that nobody has taken and somebody awaits."""
        return self._mail.kept(name, key, after)[:limit]

    async def waiting(self, name: str, key: str) -> Sequence[str]:
        """Return the executions that await such an event."""
        return self._mail.waiting(name, key, is_late=True)

    async def versions(self, workflow_id: str = "") -> Sequence[Version]:
        """Return versions of one workflow or of all."""
        found = [one for one in reversed(self._versions.values()) if workflow_id in ("", one.workflow_id)]
        return sorted(found, key=lambda one: one.workflow_id)

    async def put_schedules(self, rows: Sequence[ScheduleRow], removed: Sequence[str] = ()) -> None:
        """Keep and remove schedules."""
        for row in rows:
            if row.definition is not None:
                self._definitions.setdefault(row.definition_hash, row.definition)
            self._schedules[row.schedule_id] = msgspec.structs.replace(row, definition=None)
        for schedule_id in removed:
            self._schedules.pop(schedule_id, None)

    async def schedules(self, schedule_id: str | None = None) -> Sequence[ScheduleRow]:
        """Return one schedule, or all."""
        return [row for name, row in sorted(self._schedules.items()) if schedule_id in (None, name)]

    async def remove(self, execution_ids: Sequence[str]) -> Sequence[str]:
        """Remove ended executions."""
        gone = {name for name in execution_ids if (row := self._listed.get(name)) is not None and not row.is_open}
        for name in gone:
            del self._listed[name], self._turns[name]
            self._mail.remove(name)
        self._order = [turn for turn in self._order if turn.execution_id not in gone]
        named = {row.definition_hash for row in self._listed.values()} | set(self._versions)
        named.update(row.definition_hash for row in self._schedules.values())
        self._definitions = {name: one for name, one in self._definitions.items() if name in named}
        return [name for name in dict.fromkeys(execution_ids) if name in gone]

    async def read(self, execution_id: str, after: int = 0) -> Sequence[StoredTurn]:
        """Return turns of one execution."""
        return self._turns.get(execution_id, [])[after:]

    async def read_after(self, cursor: int, limit: int = 1_000) -> Sequence[StoredTurn]:
        """Return turns in commit order."""
        return [turn for turn in self._order if turn.cursor > cursor][:limit]

    async def head(self) -> int:
        """Return the last cursor."""
        return self._head

    async def definition(self, definition_hash: str) -> bytes | None:
        """Return a definition."""
        return self._definitions.get(definition_hash)

    async def get(self, execution_id: str) -> Listed | None:
        """Return one index row."""
        return self._listed.get(execution_id)

    async def ended(
        self, status: str, before_ms: int, *, limit: int = 100, after: tuple[int, int] = (0, 0)
    ) -> Sequence[Listed]:
        """Return executions that ended, oldest first."""
        rows = [row for row in self._listed.values() if row.status == status and not row.is_open]
        aged = sorted(((row.ended_ms or 0, row.number), row) for row in rows if (row.ended_ms or 0) < before_ms)
        return [row for key, row in aged if key > after][:limit]

    async def list(
        self,
        where: Filter = EVERYTHING,
        *,
        limit: int = 100,
        before: int | None = None,
    ) -> Sequence[Listed]:
        """Return index rows, newest first."""
        rows = [row for row in reversed(self._listed.values()) if _matches(row, where)]
        return [row for row in rows if before is None or row.number < before][:limit]

    async def count(self, where: Filter = EVERYTHING) -> int:
        """Return how many rows pass a filter."""
        return sum(_matches(row, where) for row in self._listed.values())

    async def line(self, workflow_id: str, key: str, *, limit: int | None = None) -> Sequence[Listed]:
        """Return the open executions that have a key, oldest first."""
        return [
            row
            for row in self._listed.values()
            if row.is_open and row.workflow_id == workflow_id and row.key == key and key
        ][:limit]


def _matches(row: Listed, where: Filter) -> bool:
    return (
        (not where.statuses or row.status in where.statuses)
        and (not where.workflow_id or row.workflow_id == where.workflow_id)
        and (where.is_open is None or row.is_open == where.is_open)
        and all(row.tags.get(name) == value for name, value in where.tags.items())
        and where.key in ("", row.key)
        and row.execution_id.startswith(where.id_prefix)
        and (not where.text or _has_text(row, where.text))
        and (where.created_from_ms is None or row.created_ms >= where.created_from_ms)
        and (where.created_before_ms is None or row.created_ms < where.created_before_ms)
    )


def _has_text(row: Listed, text: str) -> bool:
    words = (row.execution_id, *row.tags, *row.tags.values())
    return any(_lowered(text) in _lowered(word) for word in words)


def _lowered(text: str) -> bytes:
    """Return text with its ASCII letters in lower case, and no others."""
    return text.encode(errors="surrogatepass").lower()
