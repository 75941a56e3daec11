"""From the log back to a running execution: the same fold as while running."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from treadle.errors import QuarantineError, ReplayError
from treadle.machine import Plan, compile, decode_events, fold  # noqa: A004 - the house's word for it
from treadle.machine.events import ExecutionMigrated
from treadle.model import decode_workflow, definition_hash, encode_workflow
from treadle.settings import Settings

if TYPE_CHECKING:
    from treadle.machine import State
    from treadle.model import Workflow
    from treadle.store.protocol import Listed, Reader


class Definition(NamedTuple):
    """A workflow as the store keeps it."""

    name: str
    document: bytes


class Plans:
    """Plans by definition hash, compiled once.

    Args:
        store: Where definitions are.
        limits: Size and depth of parameters and outputs.
    """

    def __init__(self, store: Reader, limits: Settings | None = None) -> None:
        self._store = store
        self._limits = limits or Settings()
        self._plans: dict[str, Plan] = {}
        self._definitions: dict[int, tuple[Workflow, Definition]] = {}

    def define(self, workflow: Workflow) -> Definition:
        """Return name and bytes of a workflow, computed once for one and the same object.

        Both at once: what an object that someone changes would give later is not what its name says.
        """
        known = self._definitions.get(id(workflow))
        if known is None or known[0] is not workflow:
            if len(self._definitions) > _MOST_PLANS:
                self._definitions.clear()
            definition = Definition(definition_hash(workflow), encode_workflow(workflow))
            known = self._definitions[id(workflow)] = (workflow, definition)
        return known[1]

    def of(self, definition: Definition) -> Plan:
        """Return the plan of a definition."""
        plan = self._plans.get(definition.name)
        return self._keep(definition.name, self._compile(definition.document)) if plan is None else plan

    def _compile(self, document: bytes) -> Plan:
        return compile(decode_workflow(document), limits=self._limits)

    async def read(self, name: str, execution_id: str) -> Plan:
        """Return the plan of a stored definition.

        Raises:
            QuarantineError: The definition is not there, or not what its name says.
        """
        plan = self._plans.get(name)
        if plan is None:
            document = await self._store.definition(name)
            if document is None:
                raise QuarantineError(f"its definition {name} is missing", self._store.path, execution_id)
            try:
                plan = self._compile(document)
            except Exception as error:
                raise QuarantineError(f"its definition {name}: {error}", self._store.path, execution_id) from error
            if plan.definition_hash != name:
                raise QuarantineError(f"its definition {name} was changed", self._store.path, execution_id)
        return self._keep(name, plan)

    def _keep(self, name: str, plan: Plan) -> Plan:
        if len(self._plans) > _MOST_PLANS:
            self._plans.clear()
        self._plans[name] = plan
        return plan


_MOST_PLANS = 1_000


class Loaded(NamedTuple):
    """An execution as its log gives it.

    Attributes:
        state: The fold of all turns.
        sequence: Number of the last one.
    """

    state: State
    sequence: int


async def load(store: Reader, plans: Plans, execution_id: str) -> Loaded | None:
    """Return an execution folded from its log; None if there is none of that id.

    Raises:
        QuarantineError: Its log is damaged.
        StoreError: The log cannot be read.
    """
    row = await store.get(execution_id)
    if row is None:
        return None
    try:
        return await _load(store, plans, row)
    except QuarantineError:
        if not row.is_open and await store.get(execution_id) is None:
            return None  # it was removed meanwhile
        raise


async def _load(store: Reader, plans: Plans, row: Listed) -> Loaded | None:
    plan = await plans.read(row.definition_hash, row.execution_id)
    turns = await store.read(row.execution_id)
    if not turns:
        return None
    try:
        recorded = [decode_events(turn.events) for turn in turns]
        migrated = [one.definition_hash for turn in recorded for one in turn if type(one) is ExecutionMigrated]
        state = fold(plan, recorded, {name: await plans.read(name, row.execution_id) for name in migrated})
    except ReplayError as error:
        raise QuarantineError(str(error), store.path, row.execution_id) from error
    return Loaded(state, len(turns))
