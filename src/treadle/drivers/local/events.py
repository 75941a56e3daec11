"""Events that come from outside: to one execution, or to all that wait for them, now or first from now on.

An event to no execution in particular is in the file before anybody is asked, together with the executions that waited
for it then; a turn that takes one says so in its own transaction. What nobody takes is kept there, and offered again
when a committed turn waits for it. So of the two, an event and a step that comes to wait, the later one sees the
earlier, and after a crash what was not done is done again: whoever took an event knows its id.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from treadle.errors import ConflictError, NotFoundError, QuarantineError, StoreError, TreadleError
from treadle.machine.inputs import EventSent, TimeReached
from treadle.store.protocol import Mail

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Any

    from msgspec import Raw

    from treadle.drivers.local.clock import Clock
    from treadle.drivers.local.resident import Resident
    from treadle.drivers.local.turns import TurnLoop
    from treadle.settings import Settings
    from treadle.store.protocol import Posted, Store

_logger = logging.getLogger("treadle.engine")

_AT_A_TIME: Final = 100
"""Executions that are asked, and events that are offered, at the same time."""

_SWEEP_MS: Final = 60_000
"""Old events are removed no more often than this."""

_ALL: Final = ("", "")


class Events:
    """The mail of one engine. Lives on one event loop.

    Args:
        store: The log.
        turns: Turns the executions.
        settings: How much is kept, and for how long.
        clock: The engine's time.
        is_ours: Tells whether this engine goes on with an execution. What is left over is offered to no other; an event
            that is sent reaches every execution of the file.

    Attributes:
        dropped: How many events were removed because nobody took them in ``Settings.keep_events_ms``.
    """

    def __init__(
        self, store: Store, turns: TurnLoop, settings: Settings, clock: Clock, is_ours: Callable[[str], bool]
    ) -> None:
        self.dropped = 0
        self._store = store
        self._turns = turns
        self._settings = settings
        self._clock = clock
        self._is_ours = is_ours
        self._wanted: dict[tuple[str, str], None] = {}
        self._offering: asyncio.Task[None] | None = None
        self._sending: set[asyncio.Task[bool]] = set()
        self._posting: list[tuple[Mail, asyncio.Future[Posted]]] = []
        self._poster: asyncio.Task[None] | None = None
        self._swept_ms = 0
        self._is_stopped = False

    # -- life

    def look_again(self) -> None:
        """Go on in the background with what a crash or a closing left undone, or another file brought."""
        self._want(_ALL)

    async def stop(self) -> None:
        """Give nothing to anybody any more; what is in the file is given at the next opening. Safe twice."""
        self._is_stopped = True
        tasks = [one for one in (self._offering, self._poster, *self._sending) if one is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # -- what the turn loop tells

    def turned(self, resident: Resident) -> None:
        """Look for events that were kept, once it is committed that an execution waits for them."""
        if resident.newly_awaited:
            for one in resident.newly_awaited:
                if one.is_early_too:
                    self._want((one.name, one.key))
            resident.newly_awaited = frozenset()

    # -- sent to one execution

    async def send_to(self, resident: Resident, name: str, key: str, data: Raw, event_id: str) -> bool:
        """Give an event to an execution, which keeps it where no step waits for it; tell whether a step has it.

        Raises:
            ConflictError: The execution has ended, is about to end, or keeps too many.
        """
        event = EventSent(name=name, key=key, data=data, event_id=event_id, at=resident.now_ms())
        is_there = await self._turns.ask(resident, event)
        if not is_there:
            raise self._not_taken(resident)
        if event_id not in resident.state.kept and not self._turns.is_settled(resident):
            # A later turn has taken it and may be on its way to the log.
            await self._turns.ask(resident, TimeReached(at=resident.now_ms()))
        return event_id not in resident.state.kept

    def _not_taken(self, resident: Resident) -> ConflictError:
        state = resident.state
        if state.ended_at:
            why = "has ended and takes no events"
        elif state.ending is not None:
            why = "is about to end and takes no more events"
        else:
            most = self._settings.max_kept_events
            why = f"keeps {len(state.kept):,} events that no step has taken; more than {most:,} are not kept"
        return ConflictError(f"execution {resident.id!r} {why}", resident.id, state.status.value)

    # -- sent to whoever waits

    async def send(self, name: str, key: str, data: Raw, event_id: str) -> bool:
        """Give an event to every execution that waits for it; tell whether one took it, else it is kept.

        It goes on to its end also where whoever waits for it is cancelled.

        Raises:
            StoreError: The log takes no work now. The event may be there all the same; sent again with its id it counts
                once.
        """
        self._turns.check_lives()
        if not self._turns.health.ok:
            raise StoreError(self._turns.health.reason, self._store.path)
        mail = Mail(event_id, name, key, data, self._clock.wall_ms())
        task = asyncio.create_task(self._send(mail), name="treadle-send")
        self._sending.add(task)
        task.add_done_callback(self._sent)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if self._is_stopped and task.cancelled():
                raise StoreError(_CLOSED, self._store.path) from None
            raise

    def _sent(self, task: asyncio.Task[bool]) -> None:
        self._sending.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited for it may have gone

    async def _send(self, mail: Mail) -> bool:
        try:
            return await self._deliver(await self._post(mail))
        except StoreError:
            self._want(_ALL)  # it may be there, and somebody may not have been asked
            raise
        finally:
            self._sweep_soon()

    async def _post(self, mail: Mail) -> Posted:
        """Write an event together with those of other calls that wait."""
        if self._is_stopped:
            raise StoreError(_CLOSED, self._store.path)
        future: asyncio.Future[Posted] = asyncio.get_running_loop().create_future()
        self._posting.append((mail, future))
        if self._poster is None:
            self._poster = asyncio.create_task(self._write(), name="treadle-post")
        return await future

    async def _write(self) -> None:
        while self._posting:
            batch, self._posting = self._posting, []
            try:
                posted = await self._store.post([mail for mail, _ in batch])
            except StoreError as error:
                self._turns.doubt(error)
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
            else:
                for (_, future), one in zip(batch, posted, strict=True):
                    if not future.done():
                        future.set_result(one)
        self._poster = None

    async def _deliver(self, posted: Posted) -> bool:
        """Ask everyone who waited for an event when it was sent; tell whether somebody has it."""
        mail = posted.mail
        answers = await self._ask_all(posted.addressees, mail)
        if not all(answers):
            await self._settle(mail)
        return posted.is_taken or any(answers)

    async def _ask_all(self, addressees: Sequence[str], mail: Mail) -> list[bool]:
        answers: list[bool] = []
        for first in range(0, len(addressees), _AT_A_TIME):
            some = addressees[first : first + _AT_A_TIME]
            answers += await asyncio.gather(*(self._ask(one, mail, is_late=False) for one in some))
        return answers

    async def _ask(self, execution_id: str, mail: Mail, *, is_late: bool) -> bool:
        """Give an event to an execution if a step of it waits for it; one whose log is damaged is passed over."""
        try:
            resident = await self._turns.residents.loaded(execution_id)
            event = EventSent(
                name=mail.name,
                key=mail.key,
                data=mail.data,
                event_id=mail.event_id,
                keeps=False,
                is_late=is_late,
                at=resident.now_ms(),
            )
            return await self._turns.ask(resident, event)
        except (NotFoundError, QuarantineError) as error:
            _logger.info("event %r passes over execution %r: %s", mail.name, execution_id, error)
            return False

    async def _settle(self, mail: Mail) -> None:
        """Note that everyone was asked: from now on it is for the first who comes to wait."""
        try:
            await self._store.settle([mail.event_id])
        except StoreError as error:
            self._turns.doubt(error)
            self._want(_ALL)
        else:
            self._want((mail.name, mail.key))

    # -- kept, until somebody comes to wait

    def _want(self, heard: tuple[str, str]) -> None:
        """Offer what is kept of a name and key (``""``: any) to those who have come to wait."""
        if self._is_stopped:
            return
        self._wanted[heard] = None
        if self._offering is None:
            self._offering = asyncio.create_task(self._offer(), name="treadle-mail")

    async def _offer(self) -> None:
        """One task does it all, so that an event is not given to two who come at once."""
        try:
            while self._wanted:
                await self._until_sure()
                wanted, self._wanted = self._wanted, {}
                if not await self._try(self._offer_all(wanted)):
                    self._wanted = {**wanted, **self._wanted}
                    await asyncio.sleep(self._settings.store_retry_ms / 1000)
        except TreadleError as error:  # the engine closes, or has failed and told so
            _logger.info("events are not offered any more: %s", error)
        finally:
            self._offering = None

    async def _until_sure(self) -> None:
        while self._turns.is_in_doubt:  # noqa: ASYNC110 - the turn loop tries again and again as well
            await asyncio.sleep(self._settings.store_retry_ms / 1000)

    async def _try(self, work: Coroutine[Any, Any, None]) -> bool:
        try:
            await work
        except StoreError as error:
            self._turns.check_lives()
            _logger.warning("events cannot be offered yet: %s", error)
            return False
        return True

    async def _offer_all(self, wanted: dict[tuple[str, str], None]) -> None:
        if _ALL in wanted:
            await self._sweep()
            await self._go_on()
        for name, key in [_ALL] if _ALL in wanted else wanted:
            await self._offer_kept(name, key)

    async def _go_on(self) -> None:
        """Ask those who waited when an event was sent and were not asked, or have not answered."""
        after = 0
        while page := await self._store.unanswered(after):
            for posted in page:
                ours = tuple(filter(self._is_ours, posted.addressees))
                answers = await self._ask_all(ours, posted.mail)
                if len(ours) == len(posted.addressees) and not all(answers):
                    await self._settle(posted.mail)
            after = page[-1].mail.place

    async def _offer_kept(self, name: str, key: str) -> None:
        after = 0
        while page := await self._store.kept(name, key, after):
            after = page[-1].place
            oldest = self._oldest_ms()
            await asyncio.gather(*(self._hand_over(one) for one in page if one.sent_ms >= oldest))

    async def _hand_over(self, mail: Mail) -> None:
        """Give a kept event to the first execution that waits for it."""
        for execution_id in filter(self._is_ours, await self._store.waiting(mail.name, mail.key)):
            if await self._ask(execution_id, mail, is_late=True):
                return

    # -- kept for some time

    def _oldest_ms(self) -> int:
        return self._clock.wall_ms() - self._settings.keep_events_ms

    def _sweep_soon(self) -> None:
        if self._clock.wall_ms() - self._swept_ms >= _SWEEP_MS:
            self._want(_ALL)

    async def _sweep(self) -> None:
        """Remove what is too old, and say how much of it nobody had taken."""
        self._swept_ms = self._clock.wall_ms()
        try:
            dropped = await self._store.forget(self._oldest_ms())
        except StoreError as error:
            self._turns.doubt(error)
            raise
        if dropped:
            self.dropped += dropped
            _logger.warning("dropped %d events that nobody took in %d ms", dropped, self._settings.keep_events_ms)


_CLOSED: Final = "the engine was closed; an event that is in the file is given to who waits for it at the next opening"
