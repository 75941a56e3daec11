"""Actions on a stage: each is called by its name as ever, noted, and replaced where the test says so.

A replacement must take what the action that it stands for takes; where there is no such action, what the nodes pass.
Every problem of all replacements is told at once.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Final, Protocol

from treadle.actions import Registry
from treadle.errors import ValidationError
from treadle.model import Problem
from treadle.paths import all_nodes, first_steps
from treadle.signatures import signature_of
from treadle.testing.casting import cast_path, find_cast
from treadle.testing.words import ByStep

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from treadle.actions import StepContext
    from treadle.model import JsonValue, Node, Workflow
    from treadle.signatures import Signature
    from treadle.testing.words import Replacement


class Caller(Protocol):
    """Calls an action for a step."""

    async def __call__(self, name: str, context: StepContext, parameters: dict[str, Any]) -> object:
        """Return what it gives."""


def check_replacements(
    workflow: Workflow,
    others: Sequence[Workflow],
    real: Registry,
    replace: Mapping[str, Replacement],
    *,
    is_strict: bool,
) -> None:
    """Raise ``ValidationError`` with every replacement that fits no action or node of ``workflow`` or of the others."""
    cast = Cast(workflow, others, real)
    problems = [
        Problem("replacement", text, f"replace[{name!r}]")
        for name, one in replace.items()
        for text in _problems(name, one, cast, is_strict=is_strict)
    ]
    if problems:
        raise ValidationError("\n".join(map(str, problems)), problems)


class Cast:
    """Who calls what.

    Args:
        workflow: What is rehearsed.
        others: What its steps run.
        real: Actions by name.
    """

    def __init__(self, workflow: Workflow, others: Sequence[Workflow], real: Registry) -> None:
        self.workflow = workflow
        self.others = others
        self.real = real
        self.nodes = [(f"the node {path!r} passes", node) for path, node in all_nodes(workflow) if node.calls]
        for one in others:
            if one.id != workflow.id:
                self.nodes += [
                    (f"the node {path!r} of the workflow {one.id!r} passes", node)
                    for path, node in all_nodes(one)
                    if node.calls
                ]
        self.used = {called for _, node in self.nodes for called in node.action_names}


def _problems(name: str, one: Replacement, cast: Cast, *, is_strict: bool) -> Iterator[str]:
    if name not in cast.used and (is_strict or name not in cast.real):
        what = "no node of the workflow calls it" if name in cast.real else "there is no such action"
        yield what + _nearest(name, cast.used)
        return
    callers = [(source, node) for source, node in cast.nodes if name in node.action_names]
    if not isinstance(one, ByStep):
        yield from _unfit(one, name, cast.real, callers, "")
        return
    for step, inner in one.steps.items():
        try:
            node = find_cast(cast.workflow, cast.others, step, is_one=False)
        except ValidationError:
            node = None
        if node is not None and name in node.action_names:
            yield from _unfit(inner, name, cast.real, [(f"the node {step!r} passes", node)], f"[{step!r}]")
        else:
            known = [key for key, node in first_steps(cast.workflow).items() if name in node.action_names]
            yield f"no step {step!r} calls it" + _nearest(step, known)


def _unfit(
    one: Replacement, name: str, real: Registry, callers: Sequence[tuple[str, Node]], place: str
) -> Iterator[str]:
    given = _signature(one)
    if given is None:
        return
    known = real.get(name)
    wanted = None if known is None else _signature(known.function)
    if wanted is None:
        for source, node in callers:
            for parameters in _passed(node, name):
                yield from _misfits(given, parameters, source, place)
        return
    yield from _misfits(given, wanted.names, f"the action {name}{wanted} takes", place)
    if wanted.takes_any:
        for source, node in callers:
            for parameters in _passed(node, name):
                rest = [key for key in parameters if key not in wanted.names]
                yield from _misfits(given, [*wanted.names, *rest], source, place)


def _passed(node: Node, name: str) -> Iterator[Mapping[str, JsonValue]]:
    """Yield what a node passes to an action: as its own, as its fallback, as what undoes either."""
    yield from (parameters for called, parameters in node.calls.values() if called == name)


def _misfits(given: Signature, names: Collection[str], source: str, place: str) -> Iterator[str]:
    before = f"{place}{' ' if place else ''}{given}"
    if refused := given.refused(names):
        yield f"{before} does not take {_listed(refused)}, which {source}"
    if unmet := given.unmet(names):
        yield f"{before} needs {_listed(unmet)}, which is not what {source}"


def _signature(one: Replacement) -> Signature | None:
    """Return what a function takes, behind its decorators; None of what is no function, or has no signature."""
    signature = signature_of(one) if is_function(one) else None
    while signature is not None and signature.wrapped is not None:
        signature = signature.wrapped
    return signature


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else f"; called are {_listed(sorted(known))}"


def _listed(names: Collection[str]) -> str:
    return ", ".join(map(repr, names)) or "none"


def on_stage(workflows: Iterable[Workflow], real: Registry, call: Caller) -> Registry:
    """Return a registry in which every action of ``real`` and of the workflows goes through ``call``."""
    used = [name for one in workflows for _, node in all_nodes(one) for name in node.action_names]
    return Registry([{name: _through(name, call) for name in dict.fromkeys([*real, *used])}])


def _through(name: str, call: Caller) -> Callable[..., Any]:
    async def action(*, context: StepContext, **parameters: Any) -> object:  # noqa: ANN401 - whatever the node passes
        return await call(name, context, parameters)

    return action


def replacement_for(
    replace: Mapping[str, Replacement], name: str, step: str, workflow: Workflow
) -> tuple[Replacement, bool]:
    """Return what stands for an action in a step, and whether anything does: its own comes before its node's."""
    one = replace.get(name, _NOTHING)
    if isinstance(one, ByStep):
        own = one.steps.get(step, _NOTHING)
        one = one.steps.get(cast_path(workflow, step), _NOTHING) if own is _NOTHING else own
    return one, one is not _NOTHING


def is_function(one: Replacement) -> bool:
    """Tell whether a replacement is called; an exception class is raised, and anything else is what a call gives."""
    return callable(one) and not (isinstance(one, type) and issubclass(one, BaseException))


_NOTHING: Final = object()
