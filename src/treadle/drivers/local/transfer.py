"""One execution as one JSON document, and back into a log: everything that is recorded of it, checked turn by turn.

The document holds the events as JSON values. Written as bytes again they are the bytes that were recorded, since those
were written in the one form too; so the checksums of the log are those of the document, however it is indented.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from msgspec import Raw, Struct

from treadle.drivers.local.resident import Resident
from treadle.errors import ConflictError, NotFoundError, TreadleError, ValidationError
from treadle.machine import State, compile, decode_events, fold, large_values  # noqa: A004 - the house's word for it
from treadle.machine.events import ExecutionMigrated
from treadle.model import JsonValue, decode_workflow, definition_hash, encode_workflow
from treadle.store.chain import first_link, link
from treadle.store.protocol import Answer, Awaited
from treadle.store.protocol import Turn as Row

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Sequence

    from treadle.drivers.local.clock import Clock
    from treadle.drivers.local.recovery import Plans
    from treadle.machine import Plan
    from treadle.machine.events import AnyEvent
    from treadle.model import Workflow
    from treadle.settings import Settings
    from treadle.store.protocol import Reader, Store, StoredTurn

FORMAT: Final = 1
"""Of the document; a later one is refused."""


class Turn(Struct, frozen=True):
    """One turn: its events, and the checksum of it and of all before it."""

    events: list[JsonValue]
    checksum: str


class Document(Struct, frozen=True):
    """What an execution is exported as.

    Attributes:
        treadle_export: Format of the document.
        count: How many turns there are, so that none is missing at the end.
        migrated: By hash, the definitions that it went on with later.
    """

    treadle_export: int
    execution_id: str
    definition_hash: str
    definition: Raw
    count: int
    turns: list[Turn]
    migrated: dict[str, Raw] = {}


class Imported(NamedTuple):
    """A document that was checked.

    Attributes:
        document: Canonical bytes of the definition.
        turns: The bytes of each turn, and how many events it holds.
        state: What they add up to.
        migrated: Names of the definitions that it went on with later.
    """

    execution_id: str
    definition_hash: str
    document: bytes
    turns: list[tuple[bytes, int]]
    state: State
    migrated: tuple[str, ...]


async def export(store: Reader, plans: Plans, execution_id: str) -> dict[str, JsonValue]:
    """Return an execution as a document.

    Raises:
        NotFoundError: No such execution.
        QuarantineError: Its log is damaged.
    """
    row = await store.get(execution_id)
    turns = await store.read(execution_id)
    if row is None or not turns:
        raise NotFoundError("execution", execution_id)
    names = [row.definition_hash, *_migrations(decode_events(turn.events) for turn in turns)]
    first, *later = [await _definition(plans, name, execution_id) for name in names]
    document: dict[str, JsonValue] = {
        "treadle_export": FORMAT,
        "execution_id": execution_id,
        "definition_hash": row.definition_hash,
        "definition": first,
        "count": len(turns),
        "turns": _turns(turns, first_link(execution_id, row.definition_hash)),
    }
    return {**document, "migrated": dict(zip(names[1:], later, strict=True))} if later else document


async def _definition(plans: Plans, name: str, execution_id: str) -> JsonValue:
    return msgspec.json.decode(encode_workflow((await plans.read(name, execution_id)).workflow))


def _migrations(turns: Iterable[Sequence[AnyEvent]]) -> list[str]:
    """Return the names of the definitions that an execution went on with later."""
    return list(dict.fromkeys(one.definition_hash for turn in turns for one in turn if type(one) is ExecutionMigrated))


def _turns(turns: Sequence[StoredTurn], checksum: bytes) -> list[JsonValue]:
    found: list[JsonValue] = []
    for turn in turns:
        checksum = link(checksum, turn.sequence, turn.count, turn.events)
        found.append({"events": msgspec.json.decode(turn.events), "checksum": checksum.hex()})
    return found


def read(
    document: Mapping[str, JsonValue] | str | bytes, check: Callable[[Workflow], object], settings: Settings
) -> Imported:
    """Return what a document holds, all of it checked.

    Args:
        document: As ``export`` gives it.
        check: Raises ``ValidationError`` for a workflow that no engine would run.
        settings: Limits.

    Raises:
        ValidationError: It is no exported execution, is of a later version, or is damaged; the message says where.
    """
    found = _parse(document)
    turns = _check_turns(found)
    try:
        plan = _compile(found.definition, found.definition_hash, check, settings)
        plans = {name: _compile(one, name, check, settings) for name, one in found.migrated.items()}
        recorded = [decode_events(events) for events, _ in turns]
        state = fold(plan, recorded, plans)
    except TreadleError as error:
        raise _damaged(str(error)) from None
    if state.execution_id != found.execution_id:
        raise _damaged(f"its events are those of execution {state.execution_id!r}")
    document = encode_workflow(plan.workflow)
    return Imported(found.execution_id, found.definition_hash, document, turns, state, tuple(_migrations(recorded)))


def _compile(definition: Raw, name: str, check: Callable[[Workflow], object], settings: Settings) -> Plan:
    try:
        workflow = decode_workflow(bytes(definition))
        found = definition_hash(workflow)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ValidationError(f"its definition {name} cannot be read: {error}") from None
    if found != name:
        raise ValidationError(f"its definition {name} was changed: it does not have the hash that it should have")
    check(workflow)
    return compile(workflow, limits=settings)


def _parse(document: Mapping[str, JsonValue] | str | bytes) -> Document:
    try:
        if isinstance(document, str | bytes):
            document = msgspec.json.decode(document, type=dict[str, JsonValue])
        if not isinstance(document, Mapping):
            raise TypeError(f"it is a {type(document).__name__}, not an object")  # noqa: TRY301 - told as the others
        version = document.get("treadle_export")
        if type(version) is int and version > FORMAT:
            message = f"it was exported by a newer treadle (format {version}; this one knows {FORMAT})"
            raise ValidationError(f"this execution cannot be imported: {message}")
        # Once more through bytes: what is not JSON is refused, and the definition is kept as it stands.
        return msgspec.json.decode(msgspec.json.encode(document), type=Document)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        raise ValidationError(f"this is no exported execution, or a damaged one: {error}") from None


def _check_turns(document: Document) -> list[tuple[bytes, int]]:
    checksum = first_link(document.execution_id, document.definition_hash)
    turns: list[tuple[bytes, int]] = []
    for number, turn in enumerate(document.turns, 1):
        events = msgspec.json.encode(turn.events)
        checksum = link(checksum, number, len(turn.events), events)
        if checksum.hex() != turn.checksum:
            raise _damaged(f"turn {number} does not fit its checksum")
        turns.append((events, len(turn.events)))
    if len(turns) != document.count or not turns:
        raise _damaged(f"it has {len(turns)} of its {document.count} turns")
    return turns


def _damaged(why: str) -> ValidationError:
    return ValidationError(f"this exported execution is damaged: {why}")


class Imports:
    """Writes what was exported elsewhere into a log.

    Args:
        store: The log.
        settings: Limits.
        clock: The engine's time.

    Attributes:
        names: Of those that are being imported, which nobody may start.
    """

    def __init__(self, store: Store, settings: Settings, clock: Clock) -> None:
        self.names: set[str] = set()
        self._store = store
        self._settings = settings
        self._clock = clock

    async def write(self, found: Imported, residents: Container[str]) -> None:
        """Write an execution as a whole, durable on return.

        Raises:
            ConflictError: Its id is taken, or its key by another one that is open.
            StoreError: The log cannot be written.
        """
        name = found.execution_id
        if name in self.names or name in residents:
            raise _taken(name)
        self.names.add(name)
        try:
            if await self._store.get(name) is not None:
                raise _taken(name)
            await self._check_key(found.state)
            await self._check_migrations(found)
            answers = await self._store.append(self._rows(found))
            if any(one.answer is not Answer.COMMITTED for one in answers):
                raise _taken(name)
        finally:
            self.names.discard(name)

    async def _check_key(self, state: State) -> None:
        if state.key and not state.ended_at:
            line = await self._store.line(state.workflow_id, state.key, limit=1)
            if line:
                message = f"its key {state.key!r} is that of {line[0].execution_id!r}, which is open"
                raise ConflictError(message, state.execution_id, line[0].status)

    async def _check_migrations(self, found: Imported) -> None:
        """Refuse what went on with a definition that nothing here keeps: only registered ones are kept for ever."""
        if not found.migrated:
            return
        known = {one.definition_hash for one in await self._store.versions(found.state.workflow_id)}
        missing = [name for name in found.migrated if name not in known]
        if missing:
            message = f"it goes on with a version of {found.state.workflow_id!r} that is not registered here"
            raise ConflictError(f"{message}: register {missing[0]} first", found.execution_id)

    def _rows(self, found: Imported) -> list[Row]:
        resident = Resident(found.execution_id, found.state, self._clock, definition=found.document)
        index = resident.index_row()
        assert index is not None  # of a new one there always is a row
        index = msgspec.structs.replace(index, definition_hash=found.definition_hash)  # of the one that it began with
        limit = self._settings.inline_payload_bytes
        awaits = tuple(Awaited(*one) for one in resident.awaited) or None
        return [
            Row(
                execution_id=found.execution_id,
                sequence=number,
                events=events,
                count=count,
                index=index if number == 1 else None,
                definition=found.document if number == 1 else None,
                large=large_values(decode_events(events), events, limit),
                awaits=awaits if number == len(found.turns) else None,
            )
            for number, (events, count) in enumerate(found.turns, 1)
        ]


def _taken(name: str) -> ConflictError:
    return ConflictError(f"execution {name!r} exists here already; an imported one keeps its id", name)
