"""Events that were sent to no execution in particular, and who waits for which: what the file says of them in SQL.

The transaction that makes an event durable also says who gets it, and the one that commits a turn says what the
execution waits for from then on, so that of an event and a step that comes to wait the later one sees the earlier.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Raw

from treadle.store.protocol import Awaited, Mail, Posted

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence

    from treadle.store.protocol import Turn

_POST = """insert into mail (event_id, name, key, data, sent_ms) values (?, ?, ?, ?, ?)
on conflict (event_id) do nothing returning place"""
_ADDRESS = """insert into addressees (mail, execution)
select distinct ?, execution from listeners where name = ? and key in ('', ?)"""
_COLUMNS = "event_id, name, key, data, sent_ms, is_taken, place"
_FIND = f"select {_COLUMNS} from mail where event_id = ?"  # noqa: S608 - constant columns
_ADDRESSEES = """select e.execution_id from addressees a join executions e on e.number = a.execution
where a.mail = ? order by a.execution"""
_TAKE = "update mail set is_taken = 1 where event_id = ?"
_ANSWER = "delete from addressees where execution = ? and mail = (select place from mail where event_id = ?)"
_SETTLE = "delete from addressees where mail = (select place from mail where event_id = ?)"
_HEARD = "select name, key, is_early_too from listeners where execution = ?"
_HEAR = "insert into listeners (execution, name, key, is_early_too) values (?, ?, ?, ?)"
_HEAR_NO_MORE = "delete from listeners where execution = ? and name = ? and key = ? and is_early_too = ?"
_FORGET_ADDRESSEES = "delete from addressees where mail in (select place from mail where sent_ms < ?)"
_HAS_OLD = "select 1 from mail where sent_ms < ? limit 1"
_COUNT_OLD = "select count(*) from mail where sent_ms < ? and not is_taken"
_FORGET = "delete from mail where sent_ms < ?"
_UNANSWERED = f"""select {_COLUMNS} from mail
where place in (select mail from addressees) and place > ? order by place limit ?"""  # noqa: S608 - constant columns
_KEPT = f"""select {_COLUMNS} from mail m
where not m.is_taken and place > :after and (:name = '' or m.name = :name) and (:key = '' or m.key = :key)
and not exists (select 1 from addressees a where a.mail = m.place)
and exists (select 1 from listeners l where l.name = m.name and l.key in ('', m.key) and l.is_early_too)
order by place limit :limit"""  # noqa: S608 - constant columns
_WAITING = """select distinct e.execution_id, e.number from listeners l join executions e on e.number = l.execution
where l.name = ? and l.key in ('', ?) and l.is_early_too order by e.number"""


def post(connection: sqlite3.Connection, mails: Iterable[Mail]) -> list[Posted]:
    """Write events, each once, with those who wait for them now; return them as they stand."""
    return [_post(connection, mail) for mail in mails]


def _post(connection: sqlite3.Connection, mail: Mail) -> Posted:
    values = (mail.event_id, mail.name, mail.key, bytes(mail.data), mail.sent_ms)
    written = connection.execute(_POST, values).fetchone()
    if written is not None:
        connection.execute(_ADDRESS, (written[0], mail.name, mail.key))
    return _posted(connection.execute, connection.execute(_FIND, (mail.event_id,)).fetchone())


def turned(connection: sqlite3.Connection, execution: int, turn: Turn) -> None:
    """Note what an execution waits for after a turn, and the events that the turn took."""
    for event_id in turn.takes:
        connection.execute(_TAKE, (event_id,))
        connection.execute(_ANSWER, (execution, event_id))
    if turn.awaits is None:
        return
    before = {Awaited(name, key, bool(early)) for name, key, early in connection.execute(_HEARD, (execution,))}
    after = set(turn.awaits)
    connection.executemany(_HEAR_NO_MORE, [(execution, *one) for one in before - after])
    connection.executemany(_HEAR, [(execution, *one) for one in after - before])


def settle(connection: sqlite3.Connection, event_ids: Iterable[str]) -> None:
    """Note that everyone was asked who waited for an event when it was sent."""
    connection.executemany(_SETTLE, [(one,) for one in event_ids])


def has_old(connection: sqlite3.Connection, before_ms: int) -> bool:
    """Tell whether there is anything that was sent before a time."""
    return connection.execute(_HAS_OLD, (before_ms,)).fetchone() is not None


def forget(connection: sqlite3.Connection, before_ms: int) -> int:
    """Remove what was sent before a time; return how much of it nobody had taken."""
    (count,) = connection.execute(_COUNT_OLD, (before_ms,)).fetchone()
    connection.execute(_FORGET_ADDRESSEES, (before_ms,))
    connection.execute(_FORGET, (before_ms,))
    return int(count)


def unanswered(query: Callable[..., Sequence[Any]], after: int, limit: int) -> list[Posted]:
    """Return events of which not everyone was asked who waited for them when they were sent, oldest first."""
    return [_posted(query, row) for row in query(_UNANSWERED, (after, limit))]


def kept(query: Callable[..., Sequence[Any]], name: str, key: str, after: int, limit: int) -> list[Mail]:
    """Return events that nobody has taken and for which somebody waits by now, oldest first."""
    values = {"name": name, "key": key, "after": after, "limit": limit}
    return [_mail(row) for row in query(_KEPT, values)]


def waiting(query: Callable[..., Sequence[Any]], name: str, key: str) -> list[str]:
    """Return the executions that wait for an event, also where it was sent before, oldest first."""
    return [row[0] for row in query(_WAITING, (name, key))]


def _posted(query: Callable[..., Iterable[Any]], row: tuple[Any, ...]) -> Posted:
    mail = _mail(row)
    return Posted(mail, is_taken=bool(row[5]), addressees=tuple(one[0] for one in query(_ADDRESSEES, (mail.place,))))


def _mail(row: tuple[Any, ...]) -> Mail:
    event_id, name, key, data, sent_ms, _, place = row
    return Mail(event_id, name, key, Raw(data), sent_ms, place)
