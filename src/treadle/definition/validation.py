"""Everything that must hold of a workflow before it runs. Errors are only what is certain; what may be is a warning."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from treadle.definition.fields import Problems, nearest
from treadle.errors import ExpressionError, ValidationError
from treadle.expressions import Reference, compile_expression, compile_template, template_problems
from treadle.model import JoinKind, NodeType, Outcome

if TYPE_CHECKING:
    from collections.abc import Container

    from treadle.model import Connection, JsonValue, Node, Workflow

RESERVED: Final = frozenset({"input", "execution", "steps", "item", "index", "previous", "secrets", "vars"})
_ROOTS: Final = ("input", "execution", "steps", "vars")


def check_workflow(workflow: Workflow, problems: Problems, actions: Container[str] | None = None) -> None:
    """Note every problem of a workflow."""
    places = _check_ids(workflow, problems)
    graph = _Graph(workflow, places, problems)
    for place, node in enumerate(workflow.nodes):
        _check_node(node, f"nodes[{place}]", graph, problems, actions)
    for place, connection in enumerate(workflow.connections):
        _check_condition(connection.condition, f"connections[{place}].condition", connection.source, graph, problems)
    _check_else(workflow, problems)
    _check_schema(workflow.input_schema, "input_schema", problems)
    _check_template(workflow.output, "output", None, graph, problems)


def _check_ids(workflow: Workflow, problems: Problems) -> dict[str, int]:
    places: dict[str, int] = {}
    for place, node in enumerate(workflow.nodes):
        path = f"nodes[{place}].id"
        if not 1 <= len(node.id) <= 128 or any(unicodedata.category(one) == "Cc" for one in node.id):
            problems.add("id", path, "an id has 1 to 128 characters and no control characters")
        elif not unicodedata.is_normalized("NFC", node.id):
            problems.add("id", path, "an id must be in Unicode normal form NFC")
        elif node.id in places:
            problems.add("duplicate_id", path, f"the id {node.id!r} is taken by nodes[{places[node.id]}]")
        elif node.id in RESERVED:
            problems.warn("reserved_id", path, f"{node.id!r} is a reserved name; reach the step by steps[{node.id!r}]")
        places.setdefault(node.id, place)
    return places


class _Graph:
    """Known connections by node; a cycle is noted once, with its nodes."""

    def __init__(self, workflow: Workflow, places: dict[str, int], problems: Problems) -> None:
        self.places = places
        self.vars = workflow.vars
        self.incoming: dict[str, list[Connection]] = {one: [] for one in places}
        self._ancestors: dict[str, frozenset[str]] = {}
        for place, connection in enumerate(workflow.connections):
            ends = [("source", connection.source), ("target", connection.target)]
            unknown = [(end, name) for end, name in ends if name not in places]
            for end, name in unknown:
                path = f"connections[{place}].{end}"
                problems.add("unknown_node", path, f"there is no node {name!r}", nearest(name, places))
            if not unknown:
                self.incoming[connection.target].append(connection)
        self._check_cycles(problems)

    def _check_cycles(self, problems: Problems) -> None:
        left = {name: len(incoming) for name, incoming in self.incoming.items()}
        after: dict[str, list[str]] = {name: [] for name in left}
        for name, incoming in self.incoming.items():
            for connection in incoming:
                after[connection.source].append(name)
        free = [name for name, count in left.items() if not count]
        while free:
            for target in after[free.pop()]:
                left[target] -= 1
                if not left[target]:
                    free.append(target)
        stuck = {name for name, count in left.items() if count}
        if stuck:
            self._name_cycle(stuck, problems)

    def _name_cycle(self, stuck: set[str], problems: Problems) -> None:
        """Walk back from any node that is never free until one comes again."""
        walk, seen = [next(name for name in self.places if name in stuck)], dict[str, int]()
        while walk[-1] not in seen:
            seen[walk[-1]] = len(walk) - 1
            walk.append(next(one.source for one in self.incoming[walk[-1]] if one.source in stuck))
        cycle = list(reversed(walk[seen[walk[-1]] :]))
        problems.add("cycle", "connections", f"circular: the cycle {' -> '.join(cycle)} can never start")

    def is_ancestor(self, name: str, of: str) -> bool:
        """Tell whether there is a way from ``name`` to ``of``; a parent is found without a search."""
        if any(one.source == name for one in self.incoming[of]):
            return True
        if of not in self._ancestors:
            found: set[str] = set()
            left = [of]
            while left:
                for one in self.incoming[left.pop()]:
                    if one.source not in found:
                        found.add(one.source)
                        left.append(one.source)
            self._ancestors[of] = frozenset(found)
        return name in self._ancestors[of]


def _check_node(node: Node, path: str, graph: _Graph, problems: Problems, actions: Container[str] | None) -> None:
    if actions is not None and node.type is NodeType.ACTION and node.action and node.action_name not in actions:
        known = list(actions) if isinstance(actions, Iterable) else []
        hint = nearest(node.action_name, known) or (
            f"registered: {', '.join(sorted(known)[:8])}" if known else "none is registered"
        )
        problems.add("unknown_action", f"{path}.action", f"no action {node.action_name!r} is registered", hint)
    _check_template(node.parameters, f"{path}.parameters", node.id, graph, problems)
    _check_condition(node.condition, f"{path}.condition", node.id, graph, problems, within=True)
    _check_schema(node.input_schema, f"{path}.input_schema", problems)
    _check_schema(node.output_schema, f"{path}.output_schema", problems)
    incoming = graph.incoming.get(node.id, [])
    if node.join.kind is JoinKind.AT_LEAST and node.join.count > len(incoming):
        message = f"at_least {node.join.count}, but only {len(incoming)} connections come in"
        problems.add("join", f"{path}.join", message)
    if node.join.kind is JoinKind.EVERY:
        _check_every(node, incoming, path, problems)


def _check_every(node: Node, incoming: Iterable[Connection], path: str, problems: Problems) -> None:
    outcomes: dict[str, set[Outcome]] = {}
    for connection in incoming:
        outcomes.setdefault(connection.source, set()).add(connection.outcome)
    for source, found in outcomes.items():
        if {Outcome.SUCCESS, Outcome.FAILURE} <= found:
            message = f"'every' can never be met: success and failure of {source!r} both lead to {node.id!r}"
            problems.add("join", f"{path}.join", message)


def _check_else(workflow: Workflow, problems: Problems) -> None:
    conditional = {(one.source, one.outcome) for one in workflow.connections if one.condition is not None}
    for place, one in enumerate(workflow.connections):
        if one.otherwise and not any(
            (one.source, outcome) in conditional for outcome in (one.outcome, Outcome.ALWAYS, *Outcome)
        ):
            problems.add("else", f"connections[{place}].condition", "'else' needs a condition beside it")


def _check_schema(schema: dict[str, JsonValue] | bool | None, path: str, problems: Problems) -> None:  # noqa: FBT001
    if schema is None:
        return
    from treadle.schemas import compile_schema  # loaded only where a workflow has schemas

    try:
        compile_schema(schema)
    except ValidationError as error:
        problems.add("schema", path, error.message)


def _check_condition(
    source: str | None, path: str, node: str, graph: _Graph, problems: Problems, *, within: bool = False
) -> None:
    """Check a condition; one on a connection also sees the output of its source."""
    if source is None:
        return
    try:
        expression = compile_expression(source)
    except ExpressionError as error:
        problems.add("expression", path, f"{error.message} at column {error.column}")
        return
    _check_references(expression.references, path, node, graph, problems, sees_itself=not within)
    if source == "false":
        problems.warn("never", path, "this condition is never true")


def _check_template(value: JsonValue, path: str, node: str | None, graph: _Graph, problems: Problems) -> None:
    broken = template_problems(value)
    for place, error in broken:
        at = f"{path}.{place}" if place else path
        problems.add("expression", at, f"{error.message} at column {error.column}")
    if not broken:
        for place, expression in compile_template(value).expressions:
            at = f"{path}.{place}" if place else path
            _check_references(expression.references, at, node, graph, problems)


def _check_references(
    references: Iterable[Reference],
    path: str,
    node: str | None,
    graph: _Graph,
    problems: Problems,
    *,
    sees_itself: bool = False,
) -> None:
    for reference in references:
        if reference.root in RESERVED and reference.root not in _ROOTS:
            problems.add("unknown_name", path, f"{reference.root!r} has no meaning here")
            continue
        if reference.root in RESERVED and reference.root != "steps":
            continue
        name = reference.path[0] if reference.root == "steps" and reference.path else reference.root
        if name == "steps" or not isinstance(name, str):
            continue
        if name not in graph.places:
            hint = nearest(name, [*graph.places, *_ROOTS])
            problems.add("unknown_name", path, f"{reference.text!r}: there is no step or name {name!r}", hint)
        elif node is not None and node in graph.places and not _may_read(reference, name, node, graph, sees_itself):
            message = f"{reference.text!r}: {name!r} does not come before {node!r}, so it has no output yet"
            problems.add("not_before", path, message, f"connect {name!r} to {node!r}")


def _may_read(reference: Reference, name: str, node: str, graph: _Graph, sees_itself: bool) -> bool:  # noqa: FBT001
    if reference.guarded or (reference.root == "steps" and reference.path[1:2] == ("status",)):
        return True
    return (sees_itself and name == node) or graph.is_ancestor(name, node)
