"""Connections and joins, each looked at anew whenever somebody asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.model import JoinKind, NodeType, Outcome, SwitchMode

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.property.reference.parts import Step

SUCCEEDS = (Outcome.SUCCESS, Outcome.ALWAYS)
FAILS = (Outcome.FAILURE, Outcome.ALWAYS)
"""Outcomes of connections that match a success, and a failure. None matches what was skipped or cancelled."""


def by_outcome(step: Step, outcomes: tuple[Outcome, ...]) -> dict[int, bool]:
    """Say which connections are active, and which dead, for whatever a condition gives, by their numbers."""
    found = {}
    for number, one in step.scope.outgoing(step):
        if one.outcome not in outcomes:
            found[number] = False
        elif not one.condition and not one.otherwise:
            found[number] = True
    return dict(sorted(found.items(), key=lambda decided: not decided[1]))


def by_condition(step: Step, outcomes: tuple[Outcome, ...], holds: Callable[[str], bool]) -> dict[int, bool]:
    """Say the same of the others, whose outcome matches: their condition decides, and ``else`` if none was taken."""
    takes_first = step.node.type is NodeType.SWITCH and step.node.mode is SwitchMode.FIRST
    matching = [(number, one) for number, one in step.scope.outgoing(step) if one.outcome in outcomes]
    taken: dict[int, bool] = {}
    for number, one in matching:
        if one.condition:
            is_behind_the_first = takes_first and any(taken.values())
            taken[number] = not is_behind_the_first and holds(one.condition)
    is_else = not any(taken.values())
    return taken | {number: is_else for number, one in matching if one.otherwise}


def verdict(step: Step) -> bool | None:
    """Tell whether the join of a step is met; False where it can be no more, None while that is open."""
    scope, join = step.scope, step.node.join
    incoming = scope.incoming(step)
    active = sum(scope.arrows.get(number, False) for number in incoming)
    undecided = sum(number not in scope.arrows for number in incoming)
    if not incoming:
        return True
    if join.kind is JoinKind.ALL:
        return None if undecided else active > 0
    needed = {JoinKind.EVERY: len(incoming), JoinKind.ANY: 1, JoinKind.AT_LEAST: join.count}[join.kind]
    if active >= needed:
        return True
    return None if active + undecided >= needed else False


def rest_of(join: Step) -> list[Step]:
    """Return what a join with ``cancel_rest`` cancels where it is under way: all whose ways on lead through it."""
    return [step for step in join.scope.steps if join.node.cancel_rest and _leads_only_to(join, step)]


def _leads_only_to(join: Step, step: Step) -> bool:
    targets = [step.scope.step(one.target) for _, one in step.scope.outgoing(step)]
    return bool(targets) and all(one is join or _leads_only_to(join, one) for one in targets)
