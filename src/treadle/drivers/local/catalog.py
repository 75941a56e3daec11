"""Registered workflows: which version an id means, and what it holds.

The store is the only truth, so that an engine and a process beside it see the same. A version is meant by its hash, by
at least eight digits of it, or by its label; without one the version registered last is meant, so that registering an
older content again (a rollback) takes effect.
"""

from __future__ import annotations

import difflib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from treadle.errors import NotFoundError, QuarantineError, StoreError, ValidationError
from treadle.model import WorkflowVersion
from treadle.store.protocol import Version

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from treadle.drivers.local.recovery import Definition, Plans
    from treadle.machine import Plan
    from treadle.model import Workflow
    from treadle.store.protocol import Reader, Store

LEAST_DIGITS: Final = 8
"""A shorter beginning of a hash is no name of it."""
_MOST_NEAR: Final = 3


class Catalog:
    """The registered workflows of one log.

    Args:
        store: The log.
        plans: Compiled definitions.
    """

    def __init__(self, store: Reader, plans: Plans) -> None:
        self._store = store
        self._plans = plans

    async def versions(self, workflow_id: str = "") -> list[WorkflowVersion]:
        """Return the versions of one workflow, or (``""``) of all by id; those of one, the last registered first."""
        return [_public(one) for one in await self._store.versions(workflow_id)]

    async def find(self, workflow_id: str, version: str | None = None) -> WorkflowVersion:
        """Return the version that is meant.

        Raises:
            NotFoundError: No such workflow is registered, or no such version of it.
            ValidationError: Several hashes begin with those digits.
            StoreError: The log cannot be read.
        """
        known = await self._store.versions(workflow_id)
        if not known:
            names = dict.fromkeys(one.workflow_id for one in await self._store.versions())
            raise NotFoundError("registered workflow", workflow_id, _near(workflow_id, names))
        return _public(known[0] if version is None else _choose(known, version))

    async def plan(self, workflow_id: str, version: str | None = None) -> Plan:
        """Return the plan of the version that is meant.

        Raises:
            NotFoundError: As ``find``.
            StoreError: Its content is damaged or missing.
        """
        found = await self.find(workflow_id, version)
        try:
            return await self._plans.read(found.definition_hash, "")
        except QuarantineError as error:
            message = f"workflow {workflow_id!r} cannot be used: {error.args[0]}; register it again"
            raise StoreError(message, self._store.path) from error

    async def definition(self, workflow_id: str, version: str | None = None) -> Definition:
        """Return name and bytes of the version that is meant.

        Raises:
            NotFoundError: As ``find``.
            StoreError: As ``plan``.
        """
        return self._plans.define((await self.plan(workflow_id, version)).workflow)


async def register(store: Store, plans: Plans, workflows: Sequence[Workflow], *, at: int) -> list[WorkflowVersion]:
    """Register workflows in one transaction, and return their versions once they are durable.

    What is the newest version already is not written again, so that opening an engine costs nothing.

    Raises:
        ValidationError: One of them cannot be compiled.
        StoreError: The log cannot be written.
    """
    given: list[tuple[Version, bytes]] = []
    for workflow in workflows:
        definition = plans.define(workflow)
        plans.of(definition)
        label = "" if workflow.version is None else str(workflow.version)
        given.append((Version(workflow.id, definition.name, label, at), definition.document))
    newest = {one.workflow_id: next(iter(await store.versions(one.workflow_id)), None) for one, _ in given}
    known = [newest[one.workflow_id] for one, _ in given]
    if all(
        found is not None and found.definition_hash == one.definition_hash
        for found, (one, _) in zip(known, given, strict=True)
    ):
        return [_public(found) for found in known if found is not None]
    return [_public(one) for one in await store.register(given)]


def _choose(known: Sequence[Version], given: str) -> Version:
    """Return the one of ``known`` that is meant: by hash, else by label, else by the beginning of its hash."""
    for one in known:
        if given == one.definition_hash:
            return one
    for one in known:
        if given == one.label and given:
            return one
    begun = [one for one in known if len(given) >= LEAST_DIGITS and one.definition_hash.startswith(given)]
    if len(begun) > 1:
        listed = ", ".join(one.definition_hash for one in begun)
        raise ValidationError(f"several versions begin with {given!r}: {listed}")
    if not begun:
        names = dict.fromkeys(one.label or one.definition_hash for one in known)
        raise NotFoundError(f"version of workflow {known[0].workflow_id!r}", given, _near(given, names))
    return begun[0]


def _near(name: str, known: Collection[str]) -> list[str]:
    """Return names that may have been meant; all of them where there are few."""
    return difflib.get_close_matches(name, known, _MOST_NEAR) or (list(known) if len(known) <= _MOST_NEAR else [])


def _public(version: Version) -> WorkflowVersion:
    return WorkflowVersion(
        workflow_id=version.workflow_id,
        definition_hash=version.definition_hash,
        label=version.label,
        registered_at=datetime.fromtimestamp(version.registered_ms / 1000, UTC),
    )
