"""The one promise every store makes: a turn that was answered ``committed`` is there for ever, in order, unchanged.

For ever: until its execution has ended, and is removed as a whole because somebody asked for that.

A store knows nothing of workflows: it keeps **turns** (opaque bytes, numbered per execution from 1, chained by
checksum), **definitions** (opaque bytes by hash, once), the registered **versions** that name them, one small
**index row** per execution for lists, **schedules** (opaque bytes by id, each change in place of the one before), and
the **mail**: events that were sent to no execution in particular. Every event of a turn has a **cursor**, its place in
the one sequence of all committed events; a turn of ``count`` events owns the ``count`` cursors that end at its own.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from msgspec import Raw, Struct

if TYPE_CHECKING:
    from collections.abc import Sequence


class Answer(str, Enum):
    """What became of one turn of an ``append``."""

    COMMITTED = "committed"
    """Durable now."""
    DUPLICATE = "duplicate"
    """The very same turn was there already; nothing was written."""
    CONFLICT = "conflict"
    """Another turn has that number, or the one before it is missing; nothing was written."""


class IndexRow(Struct, frozen=True, gc=False):
    """What a list shows of an execution, written with the turn that changes it.

    Attributes:
        workflow_id: Set by the first turn only.
        definition_hash: Set by the first turn only; that turn carries the definition's bytes or they are there.
        status: New status, upper case.
        is_open: False once the status is terminal.
        created_ms: Milliseconds since the epoch, set by the first turn only.
        ended_ms: Milliseconds since the epoch; None while open.
        tags: Set by the first turn only.
        key: Set by the first turn only; ``""`` for none.
    """

    status: str
    is_open: bool = True
    workflow_id: str = ""
    definition_hash: str = ""
    created_ms: int = 0
    ended_ms: int | None = None
    tags: dict[str, str] = {}
    key: str = ""


class Awaited(NamedTuple):
    """Events for which an execution waits.

    Attributes:
        name: Their name.
        key: Their key; ``""`` for any.
        is_early_too: Also those that were sent before.
    """

    name: str
    key: str
    is_early_too: bool


class Mail(Struct, frozen=True):
    """An event that was sent to no execution in particular.

    Attributes:
        event_id: Names it; there is one of each name.
        name: What steps wait for.
        key: Which of those of that name; never ``""``.
        data: What it carries, opaque to the store.
        sent_ms: When it was sent, in milliseconds since the epoch.
        place: Grows with each; set by the store.
    """

    event_id: str
    name: str
    key: str
    data: Raw
    sent_ms: int
    place: int = 0


class Posted(Struct, frozen=True):
    """An event of the mail as it stands.

    Attributes:
        is_taken: A turn has taken it.
        addressees: Ids of the executions that waited for it when it was posted and have not taken it, oldest first;
            empty once it is settled.
    """

    mail: Mail
    is_taken: bool
    addressees: tuple[str, ...]


class Turn(Struct, frozen=True, gc=False):
    """What one execution's machine did with what had arrived: one row of the log.

    Attributes:
        execution_id: Whose turn.
        sequence: 1 for the first, then one more each.
        events: Encoded events, opaque to the store.
        count: How many events ``events`` holds; at least 1.
        index: New index row, if the turn changes it; always given on turn 1.
        definition: Canonical bytes of the definition, on turn 1; stored once per hash.
        large: Where in ``events`` large values stand, as start and end, in order and apart from each other. A store may
            keep each of them once, however many turns hold it; what it gives back are the very bytes of ``events``.
        awaits: All events for which the execution waits after this turn, if the turn changes that.
        takes: Ids of the events that the turn took; those of the mail are taken from then on.
    """

    execution_id: str
    sequence: int
    events: bytes
    count: int
    index: IndexRow | None = None
    definition: bytes | None = None
    large: tuple[tuple[int, int], ...] = ()
    awaits: tuple[Awaited, ...] | None = None
    takes: tuple[str, ...] = ()


class StoredTurn(Struct, frozen=True, gc=False):
    """A committed turn, checked against its checksum.

    Attributes:
        cursor: Place of its last event in the sequence of all events; its first is ``cursor - count + 1``.
    """

    execution_id: str
    sequence: int
    events: bytes
    count: int
    cursor: int


class Appended(Struct, frozen=True, gc=False):
    """The answer for one turn.

    Attributes:
        cursor: Cursor of the turn's last event where committed or duplicate; 0 for a conflict.
    """

    answer: Answer
    cursor: int = 0


class Listed(Struct, frozen=True, gc=False):
    """One row of a list; ``number`` grows with each new execution and is the key of the page after it.

    Attributes:
        damage: What is wrong with the row itself; then only ``number`` and ``execution_id`` count, and the log tells
            the rest. ``""`` where nothing is.
    """

    number: int
    execution_id: str
    workflow_id: str
    definition_hash: str
    status: str
    is_open: bool
    created_ms: int
    ended_ms: int | None
    tags: dict[str, str]
    key: str = ""
    damage: str = ""


class Version(Struct, frozen=True, gc=False):
    """A registered version of a workflow.

    Attributes:
        workflow_id: Of which workflow.
        definition_hash: Of the definition that it is.
        label: What people call it; ``""`` for nothing.
        registered_ms: When it was registered first, in milliseconds since the epoch.
    """

    workflow_id: str
    definition_hash: str
    label: str
    registered_ms: int


class Filter(Struct, frozen=True):
    """Which executions a list shows; every field given must match.

    Attributes:
        statuses: Any of these; empty for all.
        workflow_id: Exactly this; ``""`` for all.
        tags: Each of these, by name and value.
        is_open: Only those open (True) or ended (False); None for both.
        key: Exactly this; ``""`` for all.
        id_prefix: What their ids begin with.
        text: Somewhere in the id, or in the name or value of a tag; ASCII letters match in either case.
        created_from_ms: Not before this; None for no bound.
        created_before_ms: Before this; None for no bound.
    """

    statuses: tuple[str, ...] = ()
    workflow_id: str = ""
    tags: dict[str, str] = {}
    is_open: bool | None = None
    key: str = ""
    id_prefix: str = ""
    text: str = ""
    created_from_ms: int | None = None
    created_before_ms: int | None = None


EVERYTHING: Final = Filter()
"""The filter that every execution passes."""


class ScheduleRow(Struct, frozen=True, gc=False):
    """One schedule: what was asked for, and how far it has come. Both are opaque to the store.

    Attributes:
        schedule_id: Its name.
        definition_hash: Of the workflow that it starts; that definition is kept as long as the row.
        spec: What was asked for.
        progress: How far it has come.
        definition: Canonical bytes of the workflow, unless they are there; never given back.
        damage: What is wrong with the row itself; then only ``schedule_id`` counts. ``""`` where nothing is.
    """

    schedule_id: str
    definition_hash: str
    spec: bytes
    progress: bytes
    definition: bytes | None = None
    damage: str = ""


class Reader(Protocol):
    """The reading side of a log. Every method but ``open`` and ``close`` may be called concurrently."""

    @property
    def path(self) -> str:
        """Return the file for messages; ``""`` for a store without one."""

    async def open(self) -> None:
        """Make ready to read.

        Raises:
            StoreError: It is not there, cannot be read, is no treadle database, or its schema is newer.
        """

    async def read(self, execution_id: str, after: int = 0) -> Sequence[StoredTurn]:
        """Return the turns of one execution with a sequence above ``after``, in order; empty if unknown.

        Raises:
            QuarantineError: A checksum does not fit, or a turn or a value of one is missing.
            StoreError: The file could not be read.
        """

    async def read_after(self, cursor: int, limit: int = 1_000) -> Sequence[StoredTurn]:
        """Return at most ``limit`` turns whose last cursor is above ``cursor``, in commit order."""

    async def head(self) -> int:
        """Return the cursor of the last committed event; 0 for an empty log."""

    async def definition(self, definition_hash: str) -> bytes | None:
        """Return the canonical bytes of a definition; None if unknown."""

    async def versions(self, workflow_id: str = "") -> Sequence[Version]:
        """Return the versions of one workflow, or (``""``) of all by id; those of one, the last registered first."""

    async def get(self, execution_id: str) -> Listed | None:
        """Return the index row of one execution; None if unknown."""

    async def ended(
        self, status: str, before_ms: int, *, limit: int = 100, after: tuple[int, int] = (0, 0)
    ) -> Sequence[Listed]:
        """Return executions of one status that ended before a time, oldest first.

        ``after`` is ``ended_ms`` and ``number`` of the last row of the page before. Rows that are damaged are left out.
        """

    async def list(self, where: Filter = ..., *, limit: int = 100, before: int | None = None) -> Sequence[Listed]:
        """Return executions, newest first; ``before`` is the ``number`` of the last row of the page before."""

    async def count(self, where: Filter = ...) -> int:
        """Return how many executions pass a filter."""

    async def line(self, workflow_id: str, key: str, *, limit: int | None = None) -> Sequence[Listed]:
        """Return the open executions of a workflow that have a key, oldest first; None for all of them."""

    async def schedules(self, schedule_id: str | None = None) -> Sequence[ScheduleRow]:
        """Return the schedule of that id (empty: there is none), or (None) all of them in order of their ids."""

    async def unanswered(self, after: int = 0, limit: int = 100) -> Sequence[Posted]:
        """Return the mail that still has addressees, oldest first, behind the ``place`` of ``after``."""

    async def kept(self, name: str = "", key: str = "", after: int = 0, limit: int = 100) -> Sequence[Mail]:
        """Return the mail that is settled, that nobody has taken, and that somebody awaits early too, oldest first.

        ``name`` and ``key``: only of these; ``""`` for all.
        """

    async def waiting(self, name: str, key: str) -> Sequence[str]:
        """Return the ids of the executions that await such an event early too, oldest first."""

    async def close(self) -> None:
        """Let go of the file. Safe before ``open`` and twice."""


class Store(Reader, Protocol):
    """A log of turns. One engine at a time."""

    async def open(self) -> None:
        """Make ready: take the lock, create or migrate the schema.

        Raises:
            StoreLockedError: Another process runs it.
            StoreError: It cannot be read or written, is no treadle database, or its schema is newer.
        """

    async def append(self, turns: Sequence[Turn]) -> Sequence[Appended]:
        """Write all turns in one transaction and return one answer each, in order, once durable.

        Turns of one execution may follow each other in one call. A conflict or a duplicate leaves the others alone.

        Raises:
            StoreError: The outcome is unknown. Nothing more is accepted until ``reopen`` succeeded.
        """

    async def register(self, versions: Sequence[tuple[Version, bytes]]) -> Sequence[Version]:
        """Write versions and their definitions in one transaction and return them as they stand, once durable.

        One that is there keeps the time of its first registration and becomes the last registered of its workflow.

        Raises:
            StoreError: As for ``append``.
        """

    async def put_schedules(self, rows: Sequence[ScheduleRow], removed: Sequence[str] = ()) -> None:
        """Write schedules in place of those of the same ids, and remove others, in one transaction; durable on return.

        Calls take effect in the order in which they were made, also while others wait.

        Raises:
            StoreError: The outcome is unknown. Nothing more is accepted until ``reopen`` succeeded.
        """

    async def remove(self, execution_ids: Sequence[str]) -> Sequence[str]:
        """Remove ended executions with all that only they have, in one transaction, and return those, once durable.

        One that is open, or unknown, is left. Cursors and numbers that were given away are not given away again.

        Raises:
            StoreError: As for ``append``.
        """

    async def post(self, mails: Sequence[Mail]) -> Sequence[Posted]:
        """Write events in one transaction and return them as they stand, in order, once durable.

        The executions that await one by then are its addressees. One whose id is there changes nothing.

        Raises:
            StoreError: As for ``append``.
        """

    async def settle(self, event_ids: Sequence[str]) -> None:
        """Note that events have no addressees (any more). Durable on return.

        Raises:
            StoreError: As for ``append``.
        """

    async def forget(self, before_ms: int) -> int:
        """Remove the mail that was sent before a time, and return how much of it nobody had taken.

        Raises:
            StoreError: As for ``append``.
        """

    async def reopen(self) -> None:
        """Read again what is true after a failed append, and accept appends again.

        Raises:
            StoreError: Still failing; call again later.
        """

    async def close(self) -> None:
        """Finish what was accepted, close the file, give the lock back. Safe before ``open`` and twice."""
