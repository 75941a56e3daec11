"""Which limits stand before a step. A limit by which nothing is told any more is forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from treadle.drivers.local.admission.gates import Gate
from treadle.limits import OF_WORKFLOW, Numbers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from treadle.drivers.local.admission.executions import Entry
    from treadle.machine import ReadyStep

_FEW: Final = 1_024


class Way(NamedTuple):
    """How a step comes to its slot.

    Attributes:
        gates: The limits before it.
        numbers: What its definition says of each; None where it says nothing, or the engine does.
        key: Among which keys it takes turns; ``""`` for none.
    """

    gates: tuple[Gate, ...] = ()
    numbers: tuple[Numbers | None, ...] = ()
    key: str = ""


class InForce:
    """The limits of one engine, by name and key.

    Args:
        own: The engine's own; they take the place of what definitions say under that name.
    """

    def __init__(self, own: Mapping[str, Numbers]) -> None:
        self._own = dict(own)
        self._gates: dict[tuple[str, str], Gate] = {}
        self._sweep_at = _FEW

    def __bool__(self) -> bool:
        return bool(self._gates)

    def __iter__(self) -> Iterator[Gate]:
        return iter(self._gates.values())

    def unused(self) -> Iterator[Gate]:
        """Give the engine's own limits by which nobody was held lately."""
        for name, numbers in self._own.items():
            if (name, "") not in self._gates:
                yield Gate(name, "", numbers)

    def way(self, entry: Entry, ready: ReadyStep) -> Way:
        """Return the limits before a step, and the key by which it takes turns."""
        execution = entry.execution
        if not ready.limits and not self._own and execution.limit is None:
            return _FREE
        found: dict[Gate, Numbers | None] = {}
        if execution.limit is not None:
            if entry.gate is None:
                entry.gate = Gate("", "", Numbers(execution.limit))
            found[entry.gate] = None
        if self._own:
            node = ready.node
            for name in (OF_WORKFLOW + execution.workflow_id, node.service, node.action_name):
                if name in self._own:
                    found[self._gate(name, "")] = None
        key = ""
        for one in ready.limits:
            gate = self._gate(one.name, one.key)
            found[gate] = None if one.name in self._own else one.numbers
            key = key or (str(gate) if one.key else "")
        return Way(tuple(found), tuple(found.values()), key)

    def _gate(self, name: str, key: str) -> Gate:
        gate = self._gates.get((name, key))
        if gate is None:
            gate = self._gates[name, key] = Gate(name, key, self._own.get(name))
        return gate

    def discard(self, gate: Gate, now: int) -> None:
        """Forget a limit if nothing is lost by it."""
        if gate.name and not gate.held and not gate.lines and gate.is_idle(now):
            self._gates.pop((gate.name, gate.key), None)

    @property
    def are_many(self) -> bool:
        """Tell whether it is time to sweep."""
        return len(self._gates) >= self._sweep_at

    def sweep(self, now: int) -> None:
        """Forget limits by which nothing is told any more: rates of keys that come once."""
        self._gates = {name: gate for name, gate in self._gates.items() if not gate.is_idle(now)}
        self._sweep_at = max(_FEW, 2 * len(self._gates))


_FREE: Final = Way()
