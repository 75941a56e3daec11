"""From the log back to a running execution: the same fold as while running."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.drivers.local.resident import Resident
from treadle.errors import QuarantineError, ReplayError
from treadle.machine import Plan, compile, decode_events, fold  # noqa: A004 - the house's word for it
from treadle.model import decode_workflow, definition_hash

if TYPE_CHECKING:
    from treadle.model import Workflow
    from treadle.store.protocol import Reader


class Plans:
    """Plans by definition hash, compiled once.

    Args:
        store: Where definitions are.
    """

    def __init__(self, store: Reader) -> None:
        self._store = store
        self._plans: dict[str, Plan] = {}
        self._hashes: dict[int, tuple[Workflow, str]] = {}

    def of(self, workflow: Workflow) -> Plan:
        """Return the plan of a workflow; the hash of one and the same object is computed once."""
        known = self._hashes.get(id(workflow))
        if known is None or known[0] is not workflow:
            if len(self._hashes) > _MOST_PLANS:
                self._hashes.clear()
            known = self._hashes[id(workflow)] = (workflow, definition_hash(workflow))
        plan = self._plans.get(known[1])
        return self._keep(known[1], compile(workflow)) if plan is None else plan

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
                plan = compile(decode_workflow(document))
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


async def load(store: Reader, plans: Plans, execution_id: str) -> Resident | None:
    """Return an execution folded from its log; None if there is none of that id.

    Raises:
        QuarantineError: Its log is damaged.
        StoreError: The log cannot be read.
    """
    row = await store.get(execution_id)
    if row is None:
        return None
    plan = await plans.read(row.definition_hash, execution_id)
    turns = await store.read(execution_id)
    try:
        state = fold(plan, (decode_events(turn.events) for turn in turns))
    except ReplayError as error:
        raise QuarantineError(str(error), store.path, execution_id) from error
    return Resident(execution_id, state, len(turns))
