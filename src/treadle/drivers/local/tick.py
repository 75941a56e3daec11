"""One tick: what arrived for any execution becomes one turn each, slots are filled, and all turns are one append."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from treadle.drivers.local.resident import Resident
from treadle.machine import RunStep, Turn, advance, encode_events, large_values, newly_heard, received, start
from treadle.store.protocol import Answer, StoredTurn
from treadle.store.protocol import Turn as Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from treadle.drivers.local.admission import Admission
    from treadle.drivers.local.offers import Offers
    from treadle.drivers.local.resident import Arrived
    from treadle.store.protocol import Appended

_logger = logging.getLogger("treadle.engine")


class GivesUp(Protocol):
    """Sets an execution aside on which the engine fails; slots were taken for these steps of it in this tick."""

    def __call__(self, resident: Resident, error: Exception, *, steps: Sequence[str] = ()) -> None:
        """Set it aside."""


class Tick:
    """The turns of one tick. Whatever fails on one execution sets that one aside, and no other.

    Args:
        arrived: Executions for which something arrived, in order.
        admission: The slots.
        offers: Takes the steps that became ready.
        give_up: Sets an execution aside.

    Attributes:
        taken: What had arrived, by execution, each with the future of who waits for its verdict.
        turns: What the machine made of it; an execution whose step got a slot has one too.
        conflicts: Turns that the log has otherwise; taken out of ``turns`` by ``settle``.
    """

    def __init__(self, arrived: Iterable[Resident], admission: Admission, offers: Offers, give_up: GivesUp) -> None:
        self.taken: dict[Resident, list[Arrived]] = {one: one.arrived for one in arrived}
        self.turns: dict[Resident, Turn] = {}
        self.conflicts: dict[Resident, Turn] = {}
        self._admission = admission
        self._offers = offers
        self._give_up = give_up

    def advance(self) -> None:
        """Feed the machine what had arrived."""
        for resident, taken in self.taken.items():
            resident.arrived = []
            before = len(resident.state.ready)
            try:
                turn = advance(resident.state, [one for one, _ in taken])
            except Exception as error:  # noqa: BLE001 - one execution that we fail on is no reason to fail the others
                self._give_up(resident, error)
                continue
            self.turns[resident] = turn
            if not resident.state.starts_steps:
                self._admission.withdraw(resident)
                continue
            if turn.ready:
                self._offers.offer(resident, turn.ready)
            if before + len(turn.ready) > len(resident.state.ready):  # not all of them are ready any more
                self._admission.keep(resident, resident.state.ready)

    def admit(self) -> None:
        """Fill the slots. A step that does not start after all gives its slot to the next one."""
        while chosen := self._choose():
            for resident, steps in chosen.items():
                turn = self.turns.get(resident)
                if turn is None:
                    turn = self.turns[resident] = Turn(resident.state)
                self._start(resident, steps, turn)

    def _choose(self) -> dict[Resident, list[str]]:
        """Take the slots that are free for ready steps, and return those steps by execution."""
        chosen: dict[Resident, list[str]] = {}
        while (one := self._admission.choose()) is not None:
            resident, step = one
            assert isinstance(resident, Resident)  # what was offered
            chosen.setdefault(resident, []).append(step)
        return chosen

    def _start(self, resident: Resident, steps: list[str], turn: Turn) -> None:
        before, offered = len(turn.commands), len(turn.ready)
        try:
            start(resident.state, steps, at=resident.now_ms(), turn=turn)
        except Exception as error:  # noqa: BLE001 - as above
            del self.turns[resident]
            taken_before = [one.step for one in turn.commands[:before] if type(one) is RunStep]
            self._give_up(resident, error, steps=[*taken_before, *steps])
            return
        started = {one.step for one in turn.commands[before:] if type(one) is RunStep}
        if len(started) < len(steps):
            for step in steps:
                if step not in started:
                    self._admission.release(resident, step, has_started=False)
        if not resident.state.starts_steps:
            self._admission.withdraw(resident)
        elif len(turn.ready) > offered:
            self._offers.offer(resident, turn.ready[offered:])

    def rows(self) -> list[Row]:
        """Return the turns that hold events, as rows of the log."""
        rows: list[Row] = []
        for resident, turn in list(self.turns.items()):
            if turn.events:
                try:
                    rows.append(_row(resident, turn))
                except Exception as error:  # noqa: BLE001 - as above
                    del self.turns[resident]
                    self._give_up(resident, error, steps=[run.step for run in turn.runs])
        return rows

    def settle(self, rows: Sequence[Row], answers: Sequence[Appended], *, is_shown: bool) -> Sequence[StoredTurn]:
        """Take out the turns that the log has otherwise; return the others as they are stored, if they are shown."""
        residents = {resident.id: resident for resident in self.turns}
        stored: list[StoredTurn] = []
        for row, answer in zip(rows, answers, strict=True):
            if answer.answer is Answer.CONFLICT:
                _logger.error("turn %d of %r is another one in the log", row.sequence, row.execution_id)
                resident = residents[row.execution_id]
                resident.conflicts += 1
                self.conflicts[resident] = self.turns.pop(resident)
            elif is_shown:
                stored.append(StoredTurn(row.execution_id, row.sequence, row.events, row.count, answer.cursor))
        return stored

    def answer(self, resident: Resident, turn: Turn) -> None:
        """Tell those who wait for a verdict, now that it is durable."""
        for (_, verdict), accepted in zip(self.taken.get(resident, ()), turn.accepted, strict=False):
            if verdict is not None and not verdict.done():
                verdict.set_result(accepted)


def _row(resident: Resident, turn: Turn) -> Row:
    events = encode_events(turn.events)
    hears = resident.state.plan.hears_events or bool(resident.awaited)  # it may have been migrated from one that did
    if hears:
        resident.newly_awaited = newly_heard(turn)
    return Row(
        execution_id=resident.id,
        sequence=resident.sequence + 1,
        events=events,
        count=len(turn.events),
        index=resident.index_row(),
        definition=resident.definition,
        large=large_values(turn.events, events, resident.state.plan.limits.inline_payload_bytes),
        awaits=resident.awaits() if hears else None,
        takes=received(turn) if hears else (),
    )
