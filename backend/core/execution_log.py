"""Executions in a treadle store: one turn for each change, one writer for each execution.

All changes of an execution pass through one line, in which each gets the next number, is made durable, and is applied
to the state in memory; only then is whoever made it answered. So changes made at the same time never lose each other,
and nothing is shown before it is kept. Executions that are over, or paused, leave memory and are read back when asked
for.

Callers may live on different event loops, one after another or in different threads: each makes its change on its own
loop, when the line is its own. A loop that ends in the middle leaves the line to the next caller, who reads the store
again.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import Future
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import msgspec

from core.changes import ENDED, Change, ExecutionCreated, Fold, StatusChanged, decode_change, encode_change
from treadle import QuarantineError, StoreError
from treadle.store.protocol import Answer, Filter, IndexRow, Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping

    from treadle.store.protocol import Listed, Store

_T = TypeVar("_T")

TAGS: Final = {"engine": "core.workflow_engine"}
"""On every execution that is written here: others in the same file are not ours to touch."""

_NO_TAGS: Final[Mapping[str, str]] = MappingProxyType({})


class ExecutionLog:
    """The executions of one store.

    Args:
        store: Opened at the first use. No other engine uses it.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._lines: dict[str, _Line] = {}
        self._working: set[asyncio.Task[Any]] = set()
        self._opening: Future[None] | None = None
        self._is_open = False
        self._left_over: list[str] = []
        self._cut_off: list[str] = []

    @property
    def path(self) -> str:
        """Return the file; ``""`` for a store without one."""
        return self._store.path

    # -- the store

    async def open(self) -> None:
        """Open the store, once; calls meanwhile wait for that, and one that failed is made again.

        Raises:
            treadle.StoreLockedError: Another process runs the file.
            treadle.StoreError: It cannot be opened.
        """
        while not self._is_open:
            mine: Future[None] = Future()
            with self._lock:
                opening = self._opening
                if opening is None:
                    self._opening = mine
            if opening is not None:
                await asyncio.wait((asyncio.wrap_future(opening),))
                continue
            try:
                await self._open()
            finally:
                self._opening = None
                mine.set_result(None)

    async def _open(self) -> None:
        await self._store.open()
        where = Filter(statuses=("PENDING", "RUNNING"), is_open=True, tags=TAGS)
        rows: list[Listed] = []
        while page := await self._store.list(where, before=rows[-1].number if rows else None):
            rows += page
        self._left_over = [row.execution_id for row in reversed(rows)]
        self._is_open = True

    async def close(self) -> None:
        """Close the store, for good. Safe twice."""
        await self._store.close()

    @property
    def may_have_left_over(self) -> bool:
        """Tell whether there may be something to take: always, before the store is open."""
        return not self._is_open or bool(self._left_over)

    def take_left_over(self, *, with_cut_off: bool = False) -> list[str]:
        """Return, once, which executions were PENDING or RUNNING when the store was opened; the oldest comes first.

        Args:
            with_cut_off: Also those whose run ended with its event loop since.
        """
        with self._lock:
            taken, self._left_over = self._left_over, []
            if with_cut_off:
                taken += self._cut_off
                self._cut_off = []
        return taken

    def give_back(self, execution_ids: Iterable[str], *, cut_off: bool = False) -> None:
        """Say that executions are left over after all; those cut off are taken only by who asks for them."""
        with self._lock:
            (self._cut_off if cut_off else self._left_over).extend(execution_ids)

    # -- one execution

    async def find(self, workflow_id: str, tags: dict[str, str]) -> str | None:
        """Return the newest execution of a workflow with these tags; None where there is none."""
        await self.open()
        rows = await self._store.list(Filter(workflow_id=workflow_id, tags=TAGS | tags), limit=1)
        return rows[0].execution_id if rows else None

    async def change(
        self, execution_id: str, change: Change, at_ms: int, *, tags: Mapping[str, str] = _NO_TAGS
    ) -> bool:
        """Make a change durable; False, and nothing is changed, where there is no such execution.

        Args:
            execution_id: Which execution.
            change: What happened.
            at_ms: Milliseconds since the epoch.
            tags: For ``find``, of an execution that is created.

        Raises:
            treadle.StoreError: It may be kept or not.
        """

        async def make(line: _Line) -> bool:
            if line.fold.state is None and not isinstance(change, ExecutionCreated):
                return False
            await self._append(line, change, _index_row(change, at_ms, tags))
            return True

        return await self._in_line(execution_id, make, is_new=isinstance(change, ExecutionCreated))

    async def read(self, execution_id: str, look: Callable[[Fold], _T]) -> _T:
        """Return what ``look`` sees in an execution, of which it keeps no part; one that is unknown has no state.

        Raises:
            treadle.QuarantineError: The execution's log is damaged.
            treadle.StoreError: The store cannot be read.
        """
        with self._lock:
            line = self._lines.get(execution_id)
            if line is not None and line.sequence is not None:
                return look(line.fold)

        async def see(line: _Line) -> _T:
            with self._lock:
                return look(line.fold)

        return await self._in_line(execution_id, see)

    async def _in_line(
        self, execution_id: str, work: Callable[[_Line], Coroutine[Any, Any, _T]], *, is_new: bool = False
    ) -> _T:
        """Return what ``work`` gives, alone with the execution; a caller that is cancelled does not stop it."""
        await self.open()
        task = asyncio.get_running_loop().create_task(self._alone(execution_id, work, is_new=is_new))
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        return await asyncio.shield(task)

    async def _alone(self, execution_id: str, work: Callable[[_Line], Coroutine[Any, Any, _T]], *, is_new: bool) -> _T:
        line = await self._enter(execution_id, is_new=is_new)
        try:
            if line.sequence is None:
                await self._load(line)
            return await work(line)
        except BaseException:
            line.sequence = None  # what became of it is read again
            raise
        finally:
            self._let_go(line)

    async def _enter(self, execution_id: str, *, is_new: bool) -> _Line:
        """Return the execution's line once it is ours."""
        loop = asyncio.get_running_loop()
        while True:
            with self._lock:
                line = self._lines.get(execution_id)
                if line is None or line.was_left:
                    _send_away(line)
                    line = self._lines[execution_id] = _Line(execution_id, is_new=is_new)
                if line.loop is None:
                    line.loop = loop
                    return line
                place = _Place(loop)
                line.waiting.append(place)
            try:
                if await asyncio.wrap_future(place.turn):
                    return line
            except asyncio.CancelledError:
                if place.turn.done() and not place.turn.cancelled() and place.turn.result():
                    self._let_go(line)
                raise

    def _let_go(self, line: _Line) -> None:
        """Give the line to who waits longest, or forget it if nobody does and it need not stay in memory."""
        with self._lock:
            line.loop = None
            while line.waiting and line.loop is None:
                place = line.waiting.popleft()
                if place.loop.is_running() and place.turn.set_running_or_notify_cancel():
                    line.loop = place.loop
                    place.turn.set_result(True)
            is_resident = line.sequence is not None and line.fold.goes_on
            if line.loop is None and not is_resident and self._lines.get(line.execution_id) is line:
                del self._lines[line.execution_id]

    async def _append(self, line: _Line, change: Change, index: IndexRow | None) -> None:
        sequence = cast("int", line.sequence) + 1
        turn = Turn(line.execution_id, sequence, encode_change(change), 1, index)
        try:
            (answer,) = await self._store.append((turn,))
        except StoreError:
            # It is there or not: the same turn, offered once more, is answered as a duplicate if it is.
            await self._store.reopen()
            (answer,) = await self._store.append((turn,))
        if answer.answer is Answer.CONFLICT:
            raise StoreError(f"execution {line.execution_id!r} was changed by somebody else", self.path)
        with self._lock:
            line.fold.apply(change)
            line.sequence = sequence

    async def _load(self, line: _Line) -> None:
        await self._store.append(())  # behind whatever is still on its way to the file
        row = await self._store.get(line.execution_id)
        is_ours = row is not None and all(row.tags.get(name) == value for name, value in TAGS.items())
        turns = await self._store.read(line.execution_id) if is_ours else ()
        fold = Fold()
        try:
            for turn in turns:
                fold.apply(decode_change(turn.events))
        except msgspec.DecodeError as error:
            raise QuarantineError(f"it holds an unknown change ({error})", self.path, line.execution_id) from error
        line.fold, line.sequence = fold, len(turns)


class _Line:
    """One execution's line.

    Attributes:
        fold: Its state as far as it is durable.
        sequence: Number of its last turn; None until it is read from the store.
        loop: Where somebody is at work; None where nobody is.
        waiting: Who comes next.
    """

    __slots__ = ("execution_id", "fold", "loop", "sequence", "waiting")

    def __init__(self, execution_id: str, *, is_new: bool) -> None:
        self.execution_id = execution_id
        self.fold = Fold()
        self.sequence = 0 if is_new else None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.waiting: deque[_Place] = deque()

    @property
    def was_left(self) -> bool:
        """Tell whether somebody was at work on a loop that does not run any more."""
        return self.loop is not None and not self.loop.is_running()


class _Place:
    """A place in a line.

    Attributes:
        loop: Of who waits.
        turn: True once the line is ours, False where it is no line any more.
    """

    __slots__ = ("loop", "turn")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.turn: Future[bool] = Future()


def _send_away(line: _Line | None) -> None:
    """Have everyone who waits in a line that was left look for the new one."""
    for place in () if line is None else line.waiting:
        if place.turn.set_running_or_notify_cancel():
            place.turn.set_result(False)


def _index_row(change: Change, at_ms: int, tags: Mapping[str, str]) -> IndexRow | None:
    match change:
        case ExecutionCreated():
            return IndexRow("PENDING", workflow_id=str(change.workflow_id), created_ms=at_ms, tags={**tags, **TAGS})
        case StatusChanged(status=status):
            is_open = status not in ENDED
            return IndexRow(status, is_open=is_open, ended_ms=None if is_open else at_ms)
        case _:
            return None
