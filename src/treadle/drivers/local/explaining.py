"""What only the engine knows: why a step does not start, which actions it has, and who holds its slots and limits."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from treadle.limits import LimitState, Occupancy
from treadle.machine.explain import explain
from treadle.model import Explanation, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from treadle.drivers.local.admission import Admission, Held, Standing
    from treadle.drivers.local.resident import Resident
    from treadle.drivers.local.steps import Holder
    from treadle.drivers.local.turns import TurnLoop
    from treadle.store.protocol import Listed

_MOST_SHOWN: Final = 10
_MOST_CHARS: Final = 120
_MOST_LIMITS: Final = 500


def explain_here(turns: TurnLoop, resident: Resident, step: str, first: Listed | None) -> Explanation:
    """Return why an execution in memory, or a step of it, does not go on.

    Args:
        turns: Turns it.
        resident: The execution.
        step: Key of a step; ``""`` for the execution.
        first: Who stands first in its line; None for nobody.
    """
    found = explain(resident.state, step)
    if turns.health.reason:  # what is in memory may not be in the log then
        text = f"the engine takes no work: {turns.health.reason}"
        return Explanation(Reason.STORE_DOWN, text, step=step, what_to_do="see to that; it goes on by itself then")
    if found.reason is Reason.QUEUED and first is not None and first.execution_id != resident.id:
        text = f"{found.text}; the first of them is {first.execution_id!r} ({first.status})"
        return msgspec.structs.replace(found, text=text, names=(first.execution_id,))
    if found.reason is Reason.READY:
        return _ready(turns, resident, found)
    if step and found.reason is Reason.RUNNING:
        return _running(turns, resident, found)
    return msgspec.structs.replace(found, steps=tuple(_more(turns, resident, one) for one in found.steps))


def _more(turns: TurnLoop, resident: Resident, step: Explanation) -> Explanation:
    if step.reason is Reason.READY:
        return _ready(turns, resident, step)
    return _running(turns, resident, step) if step.reason is Reason.RUNNING else step


def _running(turns: TurnLoop, resident: Resident, found: Explanation) -> Explanation:
    """Return with it what the attempt said last by ``context.heartbeat`` or ``context.progress``."""
    said = turns.said(resident, found.step)
    return msgspec.structs.replace(found, text=f"{found.text}; it says: {said}") if said else found


def _ready(turns: TurnLoop, resident: Resident, found: Explanation) -> Explanation:
    """Return what a ready step waits for: its action, a slot of the engine, or one of its execution."""
    place = resident.state.find(found.step)
    name = "" if place is None else place[1].node.action_name
    if name in turns.health.unregistered:
        text = f"no action {name!r} is registered"
        return msgspec.structs.replace(
            found, reason=Reason.ACTION_MISSING, text=text, names=(name,), what_to_do=f"register {name!r}"
        )
    held = turns.held_up(resident, found.step)
    if held is not None and held.limit:
        return _limited(found, held, turns.holders())
    holders = turns.holders()
    limit = resident.limit
    mine = sum(one.execution_id == resident.id for one in holders)
    if limit is not None and mine >= limit:
        text = f"its execution runs {mine} steps, as many as max_concurrent_steps of the workflow allows"
        return msgspec.structs.replace(found, reason=Reason.WAITS_FOR_SLOT, text=text)
    shown = _shown([str(one) for one in holders])
    text = f"it waits for one of the engine's {turns.slots} slots; held by {shown or 'nobody any more'}"
    what = _given_up(holders) or "raise max_concurrent_steps, or wait"
    return msgspec.structs.replace(
        found,
        reason=Reason.WAITS_FOR_SLOT,
        text=text,
        names=tuple(str(one) for one in holders),
        what_to_do=what,
    )


def _limited(found: Explanation, held: Held, running: Sequence[Holder]) -> Explanation:
    """Return which limit a ready step waits for: who holds it, or until when it is closed."""
    holders = tuple(f"{execution}/{step}" for execution, step in held.holders)
    limit = held.limit if len(held.limit) <= _MOST_CHARS else f"{held.limit[:_MOST_CHARS]}..."
    if held.until is not None:
        due = datetime.fromtimestamp(held.until / 1000, UTC)
        text = f"the limit {limit} lets nobody start before {due.isoformat(timespec='seconds')}"
        return msgspec.structs.replace(found, reason=Reason.WAITS_FOR_SLOT, text=text, due=due, names=holders)
    most = "" if held.concurrency is None else f", {held.concurrency} at a time"
    text = f"it waits for the limit {limit}{most}; held by {_shown(holders) or 'nobody: the next place is kept'}"
    what = _given_up([one for one in running if str(one) in holders]) or "raise the limit, or wait"
    return msgspec.structs.replace(found, reason=Reason.WAITS_FOR_SLOT, text=text, names=holders, what_to_do=what)


def _given_up(holders: Sequence[Holder]) -> str:
    """Return what to do where an attempt that was given up holds on; ``""`` where none does."""
    found = [one for one in holders if one.is_abandoned]
    if not found:
        return ""
    return f"an attempt that was given up still runs ({found[0]}); have its action end when it is cancelled"


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    return ", ".join(names[:_MOST_SHOWN]) + more


def occupancy_of(admission: Admission, shift_ms: int) -> Occupancy:
    """Return how slots and limits stand.

    Args:
        admission: Has them.
        shift_ms: What makes the engine's time wall time.
    """
    found = sorted(admission.standings(), key=lambda one: (-one.waiting, -len(one.holders), one.name, one.key))
    return Occupancy(
        slots=admission.limit,
        held=admission.held,
        waiting=admission.waiting,
        limits=tuple(_limit_state(one, shift_ms) for one in found[:_MOST_LIMITS]),
        hidden=max(len(found) - _MOST_LIMITS, 0),
    )


def _limit_state(one: Standing, shift_ms: int) -> LimitState:
    return LimitState(
        name=one.name,
        key=one.key,
        concurrency=one.concurrency,
        rate=one.rate,
        per_seconds=None if one.rate is None else one.per_ms / 1000,
        held=len(one.holders),
        holders=tuple(f"{execution}/{step}" for execution, step in one.holders[:_MOST_SHOWN]),
        waiting=one.waiting,
        closed_until=datetime.fromtimestamp((one.until + shift_ms) / 1000, UTC) if one.until else None,
    )
