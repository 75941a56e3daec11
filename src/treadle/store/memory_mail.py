"""The mail of a store that lasts as long as the process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from treadle.store.protocol import Posted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from treadle.store.protocol import Awaited, Listed, Mail, Turn


class MemoryMail:
    """Keeps events by id, and by execution what it awaits; see ``protocol.Store``.

    Args:
        executions: Those of the store, by id.
    """

    def __init__(self, executions: Mapping[str, Listed]) -> None:
        self._executions = executions
        self._mail: dict[str, Mail] = {}
        self._taken: set[str] = set()
        self._addressees: dict[str, dict[str, None]] = {}
        self._awaited: dict[str, tuple[Awaited, ...]] = {}
        self._listeners: dict[tuple[str, str], dict[str, bool]] = {}
        self._place = 0

    def turned(self, turn: Turn) -> None:
        """Note what a turn took and what its execution awaits after it."""
        for event_id in turn.takes:
            if event_id in self._mail:
                self._taken.add(event_id)
                self._addressees[event_id].pop(turn.execution_id, None)
        if turn.awaits is None:
            return
        self._hear_nothing(turn.execution_id)
        for one in turn.awaits:
            known = self._listeners.setdefault((one.name, one.key), {})
            known[turn.execution_id] = one.is_early_too or known.get(turn.execution_id, False)
        if turn.awaits:
            self._awaited[turn.execution_id] = turn.awaits

    def remove(self, execution_id: str) -> None:
        """Forget an execution."""
        self._hear_nothing(execution_id)
        for addressees in self._addressees.values():
            addressees.pop(execution_id, None)

    def _hear_nothing(self, execution_id: str) -> None:
        for one in self._awaited.pop(execution_id, ()):
            self._listeners.get((one.name, one.key), {}).pop(execution_id, None)

    def post(self, mail: Mail) -> Posted:
        """Keep an event."""
        if mail.event_id not in self._mail:
            self._place += 1
            self._mail[mail.event_id] = msgspec.structs.replace(mail, place=self._place)
            self._addressees[mail.event_id] = dict.fromkeys(self.waiting(mail.name, mail.key, is_late=False))
        return self._posted(mail.event_id)

    def settle(self, event_ids: Iterable[str]) -> None:
        """Drop addressees."""
        for event_id in event_ids:
            self._addressees.get(event_id, {}).clear()

    def forget(self, before_ms: int) -> int:
        """Remove old events."""
        old = [one.event_id for one in self._mail.values() if one.sent_ms < before_ms]
        kept = sum(one not in self._taken for one in old)
        for event_id in old:
            del self._mail[event_id], self._addressees[event_id]
            self._taken.discard(event_id)
        return kept

    def unanswered(self, after: int) -> list[Posted]:
        """Return the events that have addressees."""
        return [self._posted(one) for one, mail in self._mail.items() if self._addressees[one] and mail.place > after]

    def kept(self, name: str, key: str, after: int) -> list[Mail]:
        """Return the events that nobody has taken and somebody awaits."""
        return [
            mail
            for event_id, mail in self._mail.items()
            if event_id not in self._taken
            and not self._addressees[event_id]
            and mail.place > after
            and name in ("", mail.name)
            and key in ("", mail.key)
            and self.waiting(mail.name, mail.key, is_late=True)
        ]

    def waiting(self, name: str, key: str, *, is_late: bool) -> list[str]:
        """Return the executions that await such an event."""
        both = (self._listeners.get((name, ""), {}), self._listeners.get((name, key), {}))
        found = {one for listeners in both for one, is_early_too in listeners.items() if is_early_too or not is_late}
        return sorted(found, key=lambda one: self._executions[one].number)

    def _posted(self, event_id: str) -> Posted:
        return Posted(self._mail[event_id], event_id in self._taken, tuple(self._addressees[event_id]))
