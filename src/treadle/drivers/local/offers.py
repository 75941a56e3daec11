"""From ready steps to admission: one whose action nobody registered waits by its name instead."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from treadle.machine import ready_steps

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from treadle.actions import Registry
    from treadle.drivers.local.admission import Admission
    from treadle.drivers.local.resident import Resident
    from treadle.drivers.local.residents import Residents
    from treadle.machine import ReadyStep

_logger = logging.getLogger("treadle.engine")


class Offers:
    """Hands ready steps over.

    Args:
        registry: Actions by name; it says when one is added.
        admission: Takes the steps that may start once there is a slot.
        residents: The executions in memory.
        offered: Told of an execution whose steps were offered outside a turn.
    """

    def __init__(
        self, registry: Registry, admission: Admission, residents: Residents, offered: Callable[[Resident], None]
    ) -> None:
        self._registry = registry
        self._admission = admission
        self._residents = residents
        self._offered = offered
        self._waiting: dict[str, set[str]] = {}
        registry.added = self._added

    @property
    def unregistered(self) -> tuple[str, ...]:
        """Return the names of actions that steps wait for."""
        return tuple(self._waiting)

    def offer(self, resident: Resident, steps: Sequence[ReadyStep]) -> None:
        """Hand ready steps of an execution to admission."""
        known: list[ReadyStep] = []
        for ready in steps:
            name = ready.node.action_name
            if name in self._registry:
                known.append(ready)
            else:
                self._waiting.setdefault(name, set()).add(resident.id)
                _logger.warning("step %r of %r waits: no action %r is registered", ready.step, resident.id, name)
        if known:
            self._admission.offer(resident, known)

    def forget(self, resident: Resident) -> None:
        """Drop an execution that has ended."""
        for name, waiting in list(self._waiting.items()):
            waiting.discard(resident.id)
            if not waiting:
                del self._waiting[name]

    def _added(self, name: str) -> None:
        """Offer the steps that waited for an action of that name."""
        waiting = self._waiting.pop(name, set())
        for resident in [one for one in map(self._residents.get, waiting) if one is not None]:
            if resident.state.starts_steps:
                ready = ready_steps(resident.state)
                self.offer(resident, [one for one in ready if one.node.action_name == name])
                self._offered(resident)
        self._residents.fetch(name for name in waiting if self._residents.get(name) is None)
