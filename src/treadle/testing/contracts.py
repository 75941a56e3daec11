"""What every store promises, as tests that whoever writes a store runs on theirs.

::

    class TestMyStore(StoreContract):
        def make_store(self, folder):
            return MyStore(folder / "log")

Each test is a plain function with an event loop of its own, so that no plugin is needed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from treadle.store.protocol import (
    EVERYTHING,
    Answer,
    Appended,
    Awaited,
    Filter,
    IndexRow,
    Mail,
    Posted,
    ScheduleRow,
    StoredTurn,
    Turn,
    Version,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from treadle.store.protocol import Store


def first_turn(name: str, events: bytes = b"[1]", **index: Any) -> Turn:  # noqa: ANN401 - fields of the index row
    """Return the first turn of an execution, with one event."""
    row = IndexRow(status="RUNNING", workflow_id="w", definition_hash="h", created_ms=5, **index)
    return Turn(name, 1, events, 1, row, b"{}")


def later_turn(
    name: str, sequence: int, events: bytes = b"[2,3]", count: int = 2, index: IndexRow | None = None
) -> Turn:
    """Return another turn of an execution, with two events."""
    return Turn(name, sequence, events, count, index)


ENDED = IndexRow(status="COMPLETED", is_open=False, ended_ms=9)
"""The index row of an execution that ended."""


class StoreContract:
    """The promises of ``store.protocol.Store``. Subclass it, and say how a store is made."""

    def make_store(self, folder: Path) -> Store:
        """Return a new, empty store that is not open; it may keep files in ``folder``."""
        raise NotImplementedError("say how the store is made")

    def _check(self, folder: Path, check: Callable[[Store], Awaitable[None]]) -> None:
        async def whole() -> None:
            store = self.make_store(folder)
            await store.close()  # safe before it is open
            await store.open()
            try:
                await check(store)
            finally:
                await store.close()
                await store.close()  # and twice

        asyncio.run(whole())

    def test_turns_come_back_in_order_with_one_cursor_per_event(self, tmp_path: Path) -> None:
        """What was committed is there, in the order of its cursors, one for each event."""

        async def check(store: Store) -> None:
            answers = await store.append([first_turn("a"), first_turn("b"), later_turn("a", 2)])
            assert answers == [
                Appended(Answer.COMMITTED, 1),
                Appended(Answer.COMMITTED, 2),
                Appended(Answer.COMMITTED, 4),
            ]
            a1, b1, a2 = (
                StoredTurn("a", 1, b"[1]", 1, 1),
                StoredTurn("b", 1, b"[1]", 1, 2),
                StoredTurn("a", 2, b"[2,3]", 2, 4),
            )
            assert list(await store.read("a")) == [a1, a2]
            assert list(await store.read("a", after=1)) == [a2]
            assert list(await store.read("nobody")) == []
            assert list(await store.read_after(0)) == [a1, b1, a2]
            assert list(await store.read_after(1, limit=1)) == [b1]
            assert list(await store.read_after(3)) == [a2]
            assert await store.head() == 4
            assert await store.definition("h") == b"{}"
            assert await store.definition("x") is None

        self._check(tmp_path, check)

    def test_a_bad_turn_leaves_the_others_of_its_call_alone(self, tmp_path: Path) -> None:
        """Each turn has an answer of its own."""

        async def check(store: Store) -> None:
            await store.append([first_turn("a"), later_turn("a", 2)])
            answers = await store.append(
                [
                    later_turn("a", 2),
                    later_turn("a", 2, b"[9,9]"),
                    later_turn("a", 9),
                    later_turn("z", 2),
                    first_turn("b"),
                ]
            )
            assert [one.answer for one in answers] == [
                Answer.DUPLICATE,
                Answer.CONFLICT,
                Answer.CONFLICT,
                Answer.CONFLICT,
                Answer.COMMITTED,
            ]
            assert answers[0].cursor == 3
            assert [turn.sequence for turn in await store.read("a")] == [1, 2]
            assert [turn.events for turn in await store.read("b")] == [b"[1]"]

        self._check(tmp_path, check)

    def test_the_last_turn_of_an_execution_handed_over_twice_is_a_duplicate(self, tmp_path: Path) -> None:
        """One bad turn never undoes another's; a unique index of a database may undo the whole transaction."""

        async def check(store: Store) -> None:
            await store.append([first_turn("a")])
            last = Turn("a", 2, b"[2]", 1, ENDED)
            answers = await store.append([last, last, first_turn("b")])
            assert [one.answer for one in answers] == [Answer.COMMITTED, Answer.DUPLICATE, Answer.COMMITTED]

        self._check(tmp_path, check)

    def test_a_turn_after_one_that_closes_may_come_in_the_same_append(self, tmp_path: Path) -> None:
        """Turns of one execution may follow each other in one call."""

        async def check(store: Store) -> None:
            last = Turn("a", 2, b"[2]", 1, ENDED)
            answers = await store.append([first_turn("a"), last, Turn("a", 3, b"[3]", 1)])
            assert [one.answer for one in answers] == [Answer.COMMITTED] * 3

        self._check(tmp_path, check)

    def test_large_values_come_back_in_their_places(self, tmp_path: Path) -> None:
        """Where a turn says that values are large a store may keep them once; nobody sees it."""

        async def check(store: Store) -> None:
            value = b'"' + b"large " * 4_000 + b'"'
            other = b"[%s]" % b",".join(b"%d" % number for number in range(5_000))
            events = b"[%s,%s,%s]" % (value, other, value)
            second, third = len(value) + 2, len(value) + len(other) + 3
            ranges = (1, 1 + len(value)), (second, second + len(other)), (third, third + len(value))
            row = IndexRow(status="RUNNING", workflow_id="w", definition_hash="h", created_ms=5)
            a1 = Turn("a", 1, events, 3, row, b"{}", ranges)
            a2 = Turn("a", 2, value, 1, large=((0, len(value)),))
            b1 = Turn("b", 1, events, 3, row, b"{}")  # whoever finds no value large keeps the same
            answers = await store.append([a1, a2, b1, a2])
            assert [one.answer for one in answers] == [*[Answer.COMMITTED] * 3, Answer.DUPLICATE]
            again = await store.append([a2, a1, Turn("a", 1, events[::-1], 3, row, b"{}", ranges)])
            assert [one.answer for one in again] == [Answer.DUPLICATE, Answer.DUPLICATE, Answer.CONFLICT]
            stored = [
                StoredTurn("a", 1, events, 3, 3),
                StoredTurn("a", 2, value, 1, 4),
                StoredTurn("b", 1, events, 3, 7),
            ]
            assert list(await store.read_after(0)) == stored
            assert list(await store.read("a")) == stored[:2]
            await store.reopen()
            assert list(await store.read("a", after=1)) == stored[1:2]
            assert list(await store.read("b")) == stored[2:]

        self._check(tmp_path, check)

    def test_lists_are_newest_first_filtered_and_paged(self, tmp_path: Path) -> None:
        """Every field of a filter must match."""

        async def check(store: Store) -> None:
            tagged = [first_turn("a", tags={"k": "v"}), first_turn("b"), first_turn("c", tags={"k": "v", "m": "n"})]
            await store.append(tagged)
            await store.append([later_turn("b", 2, index=ENDED)])

            async def ids(where: Filter = EVERYTHING, **page: int) -> list[str]:
                return [row.execution_id for row in await store.list(where, **page)]

            assert await ids() == ["c", "b", "a"]
            assert await ids(Filter(is_open=True)) == ["c", "a"]
            assert await ids(Filter(is_open=False)) == ["b"]
            assert await ids(Filter(statuses=("COMPLETED",))) == ["b"]
            assert await ids(Filter(tags={"k": "v"})) == ["c", "a"]
            assert await ids(Filter(tags={"k": "v", "m": "n"})) == ["c"]
            assert await ids(Filter(tags={"k": "v", "m": "x"})) == []
            assert await ids(Filter(workflow_id="other")) == []
            page = await store.list(limit=2)
            assert await ids(limit=2, before=page[-1].number) == ["a"]
            row = await store.get("b")
            assert row is not None
            shown = (row.status, row.is_open, row.created_ms, row.ended_ms, row.workflow_id)
            assert shown == ("COMPLETED", False, 5, 9, "w")
            assert await store.get("nobody") is None

        self._check(tmp_path, check)

    def test_ended_executions_are_removed_as_a_whole_and_open_ones_never(self, tmp_path: Path) -> None:
        """What was given away once, a cursor or a number, is not given away again."""

        async def check(store: Store) -> None:
            def ended(name: str, at: int, status: str = "COMPLETED", definition: str = "h") -> list[Turn]:
                row = IndexRow(status="RUNNING", workflow_id="w", definition_hash=definition, created_ms=5)
                last = IndexRow(status=status, is_open=False, ended_ms=at)
                return [Turn(name, 1, b"[1]", 1, row, b"{}"), Turn(name, 2, b"[22]", 1, last, large=((1, 3),))]

            await store.append([*ended("a", 9), first_turn("open"), *ended("b", 8, definition="of b")])
            await store.append([*ended("c", 20), *ended("f", 5, status="FAILED"), later_turn("open", 2, b"[22]")])
            rows = await store.ended("COMPLETED", 20)
            assert [row.execution_id for row in rows] == ["b", "a"]
            assert [row.execution_id for row in await store.ended("COMPLETED", 99, limit=1)] == ["b"]
            after = rows[0].ended_ms or 0, rows[0].number
            assert [row.execution_id for row in await store.ended("COMPLETED", 99, limit=1, after=after)] == ["a"]
            assert await store.ended("RUNNING", 99) == []

            (told,) = await store.append(ended("b", 8, definition="of b")[1:])
            assert told.answer is Answer.DUPLICATE
            newest = (await store.list())[0].number
            head = await store.head()
            assert list(await store.remove(["b", "open", "nobody", "f", "b"])) == ["b", "f"]
            assert list(await store.remove([])) == []
            assert [row.execution_id for row in await store.list()] == ["c", "open", "a"]
            for gone in ("b", "f"):
                assert await store.get(gone) is None
                assert list(await store.read(gone)) == []
            assert {turn.execution_id for turn in await store.read_after(0)} == {"a", "open", "c"}
            assert [turn.events for turn in await store.read("open")] == [b"[1]", b"[22]"]
            assert [turn.events for turn in await store.read("c")] == [b"[1]", b"[22]"]
            assert await store.definition("h") == b"{}"
            assert await store.definition("of b") is None

            assert await store.head() == head
            (answer,) = await store.append([first_turn("b")])  # the id is free again, and nothing else is
            assert answer == Appended(Answer.COMMITTED, head + 1)
            row = await store.get("b")
            assert row is not None
            assert row.number > newest
            assert [turn.sequence for turn in await store.read("b")] == [1]

            await store.append(ended("b", 8)[1:])
            await store.remove(["b"])
            await store.reopen()
            assert await store.head() == head + 2

        self._check(tmp_path, check)

    def test_a_store_that_is_read_again_takes_appends_again(self, tmp_path: Path) -> None:
        """``reopen`` changes nothing of what is committed."""

        async def check(store: Store) -> None:
            await store.append([first_turn("a")])
            await store.reopen()
            answers = await store.append([first_turn("a"), later_turn("a", 2)])
            assert [one.answer for one in answers] == [Answer.DUPLICATE, Answer.COMMITTED]
            assert await store.head() == 3

        self._check(tmp_path, check)

    def test_a_version_is_registered_once_and_the_last_registered_stands_first(self, tmp_path: Path) -> None:
        """A version that comes again keeps its time, and stands first from then on; content is kept by hash."""
        one, two = Version("w", "h1", "1", 5), Version("w", "h2", "", 6)
        other = Version("a", "h3", "x", 7)

        async def check(store: Store) -> None:
            assert list(await store.versions()) == []
            assert list(await store.register([(one, b"{}"), (two, b"[]"), (other, b"3")])) == [one, two, other]
            assert list(await store.versions()) == [other, two, one]
            assert list(await store.versions("w")) == [two, one]
            assert list(await store.versions("nothing")) == []
            later = [(Version("w", "h1", "1", 99), b"{}"), (Version("a", "h3", "x", 99), b"3")]
            assert list(await store.register(later)) == [one, other]
            assert list(await store.versions("w")) == [one, two]
            assert list(await store.versions("a")) == [other]
            assert [await store.definition(name) for name in ("h1", "h2", "h3")] == [b"{}", b"[]", b"3"]
            await store.reopen()
            assert list(await store.versions()) == [other, one, two]
            assert await store.head() == 0

        self._check(tmp_path, check)

    def test_the_line_of_a_key_is_its_open_executions_oldest_first(self, tmp_path: Path) -> None:
        """Those of another key or workflow, those that have ended and those without a key stand in no line."""

        async def check(store: Store) -> None:
            await store.append([first_turn(name, key="k") for name in "abc"])
            await store.append([first_turn("d", key="other"), first_turn("e")])
            await store.append([later_turn("a", 2, index=ENDED)])
            assert [row.execution_id for row in await store.line("w", "k")] == ["b", "c"]
            assert [row.execution_id for row in await store.line("w", "k", limit=1)] == ["b"]
            assert [(row.execution_id, row.key) for row in await store.line("w", "other")] == [("d", "other")]
            for workflow_id, key in (("w", ""), ("w", "nothing"), ("x", "k")):
                assert list(await store.line(workflow_id, key)) == []

        self._check(tmp_path, check)

    def test_a_schedule_is_what_was_put_last_until_it_is_removed(self, tmp_path: Path) -> None:
        """In order of the ids, with the workflow's definition kept beside."""

        async def check(store: Store) -> None:
            assert list(await store.schedules()) == []
            one, two = ScheduleRow("b", "h", b"spec", b"1", b"{}"), ScheduleRow("a", "h", b"other", b"1")
            await store.put_schedules([one, two])
            one, two = ScheduleRow("b", "h", b"spec", b"1"), ScheduleRow("a", "h", b"other", b"1")
            assert list(await store.schedules()) == [two, one]
            assert list(await store.schedules("b")) == [one]
            assert list(await store.schedules("c")) == []
            assert await store.definition("h") == b"{}"
            changed = ScheduleRow("b", "h2", b"new", b"2", b"[]")
            await store.put_schedules([changed], ["a", "nobody"])
            assert list(await store.schedules()) == [ScheduleRow("b", "h2", b"new", b"2")]
            assert (await store.definition("h2"), await store.definition("h")) == (b"[]", b"{}")
            await store.reopen()
            await store.put_schedules([], ["b"])
            assert list(await store.schedules()) == []
            assert (await store.head(), list(await store.list())) == (0, [])

        self._check(tmp_path, check)

    def test_of_schedules_that_are_put_while_others_wait_the_last_one_counts(self, tmp_path: Path) -> None:
        """Calls take effect in the order in which they were made, whatever is written beside them."""

        async def check(store: Store) -> None:
            puts = [store.put_schedules([ScheduleRow("a", "h", b"spec", b"%d" % number)]) for number in range(20)]
            turns = [store.append([first_turn(f"e{number}")]) for number in range(20)]
            await asyncio.gather(*(one for pair in zip(puts, turns, strict=True) for one in pair))
            assert [row.progress for row in await store.schedules()] == [b"19"]
            assert await store.head() == 20

        self._check(tmp_path, check)

    def test_a_search_finds_by_key_prefix_text_and_time(self, tmp_path: Path) -> None:
        """Text matches anywhere in an id or a tag, ASCII letters in either case, and no character is a wild card."""

        async def check(store: Store) -> None:
            tags: dict[str, dict[str, str]] = {
                "order-1": {"Tenant": "ACME 100%"},
                "order-2": {},
                "Pay_1": {"x": "order-9"},
            }
            rows = [IndexRow(status="RUNNING", created_ms=n, tags=tags[name]) for n, name in enumerate(tags)]
            turns = [Turn(name, 1, b"[1]", 1, row, b"{}") for name, row in zip(tags, rows, strict=True)]
            await store.append([*turns, first_turn("payä", key="k")])

            async def found(**where: Any) -> list[str]:  # noqa: ANN401 - fields of the filter
                names = [row.execution_id for row in await store.list(Filter(**where))]
                assert await store.count(Filter(**where)) == len(names)
                return names

            assert await found() == ["payä", "Pay_1", "order-2", "order-1"]
            assert await found(id_prefix="order-") == ["order-2", "order-1"]
            assert await found(id_prefix="order-2x") == []
            assert await found(id_prefix="pay") == ["payä"]
            assert await found(text="ORDER-") == ["Pay_1", "order-2", "order-1"]
            assert await found(text="acme") == ["order-1"]
            assert await found(text="tenant") == ["order-1"]
            assert await found(text="%") == ["order-1"]
            assert await found(text="y_") == ["Pay_1"]
            assert await found(text="Ä") == []
            assert await found(text="\\") == []
            assert await found(key="k") == ["payä"]
            assert await found(created_from_ms=1, created_before_ms=2) == ["order-2"]
            assert await found(created_from_ms=2, text="order") == ["Pay_1"]
            assert await found(text="order", workflow_id="w") == []

        self._check(tmp_path, check)

    def test_mail_is_posted_once_and_taken_by_a_turn(self, tmp_path: Path) -> None:
        """Who awaits an event when it is posted is its addressee; the turn that takes it says so by itself."""
        paid = Mail("i", "paid", "1", Raw(b'{"x":1}'), 5)

        async def check(store: Store) -> None:
            (posted,) = await store.post([paid])
            there = msgspec.structs.replace(paid, place=posted.mail.place)
            assert posted == Posted(there, is_taken=False, addressees=())
            assert list(await store.post([msgspec.structs.replace(paid, data=Raw(b"9"), sent_ms=99)])) == [posted]
            await store.append([_awaits("a", ("paid", "1")), _awaits("b", ("paid", "")), _awaits("c", ("paid", "2"))])
            more = [Mail(name, "paid", "1", Raw(b"2"), 6) for name in "jk"] + [Mail("l", "lost", "1", Raw(b"3"), 6)]
            assert [one.addressees for one in await store.post(more)] == [("a", "b"), ("a", "b"), ()]
            takes = Turn("a", 2, b"[2]", 1, awaits=(), takes=("j", "nothing"))
            assert [one.answer for one in await store.append([takes])] == [Answer.COMMITTED]
            found = [(one.is_taken, one.addressees) for one in await store.post([paid, *more])]
            assert found == [(False, ()), (True, ("b",)), (False, ("a", "b")), (False, ())]
            waiting = await store.unanswered()
            assert [one.mail.event_id for one in waiting] == ["j", "k"]
            assert [one.mail.event_id for one in await store.unanswered(waiting[0].mail.place)] == ["k"]
            assert len(await store.unanswered(limit=1)) == 1
            await store.settle(["j", "k", "nothing"])
            assert list(await store.unanswered()) == []
            await store.reopen()
            assert [one.is_taken for one in await store.post([paid, *more])] == [False, True, False, False]

        self._check(tmp_path, check)

    def test_mail_that_nobody_took_is_kept_for_those_who_await_it_later(self, tmp_path: Path) -> None:
        """Kept is what is settled and not taken; only those who take it early too are waiting for it."""

        async def check(store: Store) -> None:
            keys = [("i", "1"), ("j", "2"), ("k", "1"), ("l", "null")]
            await store.post([Mail(event_id, "paid", key, Raw(b"1"), 5) for event_id, key in keys])

            async def kept(name: str = "", key: str = "", **page: int) -> list[str]:
                return [one.event_id for one in await store.kept(name, key, **page)]

            assert await kept() == []
            await store.append([_awaits("a", ("paid", "1"), is_early_too=False)])
            assert (await kept(), list(await store.waiting("paid", "1"))) == ([], [])
            await store.append([_awaits("b", ("paid", "1")), _awaits("c", ("paid", "2"), ("more", ""))])
            assert await kept() == await kept("paid") == ["i", "j", "k"]
            assert (await kept("paid", "1"), await kept("paid", "2"), await kept("more")) == (["i", "k"], ["j"], [])
            assert await kept(limit=2) == ["i", "j"]
            first = (await store.kept())[0]
            assert (first.data, await kept(after=first.place)) == (Raw(b"1"), ["j", "k"])
            await store.append([_awaits("d", ("paid", ""), ("paid", "1"))])
            assert list(await store.waiting("paid", "1")) == ["b", "d"]
            assert await kept() == ["i", "j", "k", "l"]
            await store.append([Turn("d", 2, b"[2]", 1, awaits=(Awaited("paid", "9", True),), takes=("l",))])
            assert (await kept(), list(await store.waiting("paid", "9"))) == (["i", "j", "k"], ["d"])
            await store.append([Turn("b", 2, b"[2]", 1, ENDED, awaits=()), later_turn("c", 2)])
            assert await kept() == ["j"]
            (posted,) = await store.post([Mail("m", "more", "1", Raw(b"1"), 5)])
            assert (posted.addressees, await kept("more")) == (("c",), [])
            await store.settle(["m"])
            assert await kept("more") == ["m"]

        self._check(tmp_path, check)

    def test_mail_for_an_execution_that_was_removed_is_for_others(self, tmp_path: Path) -> None:
        """Nobody waits for its answer any more."""

        async def check(store: Store) -> None:
            await store.append([_awaits("a", ("paid", ""))])
            await store.post([Mail("i", "paid", "null", Raw(b"1"), 5)])
            await store.append([Turn("a", 2, b"[2]", 1, ENDED, awaits=()), _awaits("b", ("paid", ""))])
            assert list(await store.kept()) == []
            await store.remove(["a"])
            assert list(await store.unanswered()) == []
            assert [one.event_id for one in await store.kept()] == ["i"]
            assert list(await store.waiting("paid", "null")) == ["b"]

        self._check(tmp_path, check)

    def test_old_mail_is_forgotten_and_what_nobody_took_of_it_counted(self, tmp_path: Path) -> None:
        """An id that was forgotten is a new one."""

        async def check(store: Store) -> None:
            await store.append([_awaits("a", ("paid", ""))])
            mails = [Mail(name, "paid", "null", Raw(b"1"), sent) for name, sent in (("i", 5), ("j", 6), ("k", 7))]
            await store.post(mails)
            await store.append([Turn("a", 2, b"[2]", 1, awaits=(), takes=("i",))])
            assert await store.forget(5) == 0
            assert await store.forget(7) == 1
            assert [one.mail.event_id for one in await store.unanswered()] == ["k"]
            again = await store.post(mails)
            assert [(one.is_taken, one.addressees) for one in again] == [(False, ()), (False, ()), (False, ("a",))]
            assert await store.head() == 2

        self._check(tmp_path, check)

    def test_a_turn_that_is_not_written_changes_nothing_of_the_mail(self, tmp_path: Path) -> None:
        """A conflict and a duplicate say nothing of what their execution awaits."""

        async def check(store: Store) -> None:
            await store.append([_awaits("a", ("paid", "")), later_turn("a", 2)])
            await store.post([Mail("i", "paid", "null", Raw(b"1"), 5)])
            for sequence in (2, 9):
                await store.append([Turn("a", sequence, b"[9]", 1, awaits=(), takes=("i",))])
            (posted,) = await store.unanswered()
            assert (posted.is_taken, posted.addressees) == (False, ("a",))
            assert list(await store.waiting("paid", "null")) == ["a"]

        self._check(tmp_path, check)


def _awaits(name: str, *events: tuple[str, str], is_early_too: bool = True) -> Turn:
    """Return the first turn of an execution that awaits events of a name and key each."""
    awaits = tuple(Awaited(*one, is_early_too) for one in events)
    return msgspec.structs.replace(first_turn(name), awaits=awaits)
