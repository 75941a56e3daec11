"""Everything that must hold of a workflow before it runs. Errors are only what is certain; what may be is a warning.

The shape was checked when the document was read; here it is what the shape means: ids and ends, cycles, expressions and
what they read, joins, schemas, actions. Everything is told at once. Questions about the graph are not asked where a
problem told already (a cycle, an unknown end) makes the answer worthless.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from treadle.definition.fields import ELSE
from treadle.definition.graph import Graph
from treadle.definition.keys import GROUPS
from treadle.definition.layout import Origin
from treadle.definition.names import RESERVED, Around, Asked, Names, Reader
from treadle.definition.parameters import parameter_findings
from treadle.definition.precedence import Precedence
from treadle.definition.problems import Nearest, quoted
from treadle.errors import ExpressionError
from treadle.expressions import MISSING, compile_expression, compile_template, secret_name
from treadle.model import Connection, JoinKind, NodeType, Outcome
from treadle.paths import body_path

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from treadle.definition.graph import Edge
    from treadle.definition.known import KnownActions
    from treadle.definition.layout import Layout
    from treadle.definition.problems import Findings, Path
    from treadle.expressions import Expression, Missing
    from treadle.model import Body, JsonValue, Node, Workflow

_SHOWN_OF_CYCLE: Final = 12
"""Nodes of a cycle that a message names; a longer one is cut in the middle."""


def check_workflow(workflow: Workflow, layout: Layout, findings: Findings, *, is_whole: bool = True) -> None:
    """Note every problem of ``workflow`` but those of its actions.

    Args:
        workflow: As it was read.
        layout: Where its parts stand.
        findings: Takes the problems.
        is_whole: Reading left out no node and no connection.
    """
    check = _Check(workflow, layout, findings, workflow.vars, None)
    check.run(is_whole=is_whole)
    check.input(workflow)


def check_actions(workflow: Workflow | Body, layout: Layout, findings: Findings, actions: KnownActions) -> None:
    """Note every action that is not registered, and every parameter that the function of a registered one refuses."""
    nearest = Nearest()
    for node, origin in zip(workflow.nodes, layout.nodes, strict=True):
        if node.type is not NodeType.ACTION:
            continue
        for place, (name, parameters) in node.calls.items():
            at = Origin(origin.path(*place), _CALL) if place else origin
            if not actions.has(name):
                known = ", ".join(sorted(actions.names)[:8])
                hint = nearest.hint(name, actions.names) or (f"registered: {known}" if known else "none is registered")
                message = f"no action {quoted(name)} is registered"
                findings.error("unknown_action", at.path("action"), message, hint=hint)
            elif (signature := actions.signature(name)) is not None:
                findings.all.extend(parameter_findings(name, signature, parameters, at, nearest))
    for number, below in layout.bodies.items():
        body = workflow.nodes[number].body
        if body is not None:
            check_actions(body, below, findings, actions)


_CALL: Final[dict[str, Path]] = {"action": ("action",), "parameters": ("parameters",)}
"""Places within a fallback or a compensation."""


class _Check:
    """Checks one graph, and the bodies of its nodes."""

    def __init__(
        self,
        graph: Workflow | Body,
        layout: Layout,
        findings: Findings,
        variables: Collection[str],
        around: Around | None,
    ) -> None:
        self._definition = graph
        self._layout = layout
        self._findings = findings
        self._nearest = Nearest()
        self._vars = variables
        self._is_top = around is None
        self._graph = Graph(graph)
        self._names = Names(variables, self._graph, findings, self._nearest, around)

    def run(self, *, is_whole: bool) -> None:
        self._ids()
        self._ends()
        self._joins()
        self._conditions()
        self._templates()
        self._schemas()
        self._cycles()
        self._bodies(is_whole=is_whole)
        order = self._graph.order() if is_whole and self._graph.is_whole else None
        if order is not None:
            self._precedence(Precedence(self._graph, order))
            self._triggers()

    def input(self, workflow: Workflow) -> None:
        """Check the schema of a workflow's input."""
        self._schema(workflow.input_schema, self._layout.top, "input_schema")

    def _bodies(self, *, is_whole: bool) -> None:
        """Check the bodies, whose references to this graph are then asked of it."""
        for place, layout in self._layout.bodies.items():
            node = self._definition.nodes[place]
            if node.body is not None:
                around = Around(self._names, place, _told(node))
                _Check(node.body, layout, self._findings, self._vars, around).run(is_whole=is_whole)

    def _nodes(self) -> Iterator[tuple[int, Node, Origin]]:
        for place, (node, origin) in enumerate(zip(self._definition.nodes, self._layout.nodes, strict=True)):
            yield place, node, origin

    def _ids(self) -> None:
        for place, node, origin in self._nodes():
            first = self._graph.index[node.id]
            if first != place:
                message = f"the id {quoted(node.id)} is there twice"
                self._findings.error("duplicate_id", origin.path("id"), message, hint="ids are unique in a workflow")
            elif self._names.hides(node.id):
                message = f"the id {quoted(node.id)} hides what is called so around this body"
                self._findings.error("hidden_name", origin.path("id"), message, hint="choose another id")
            elif node.id in RESERVED:
                message = f"{quoted(node.id)} is a reserved name"
                self._findings.warning(
                    "reserved_id", origin.path("id"), message, hint=f'reach its output by steps["{node.id}"].output'
                )

            self._item_name(node, origin)
        if self._is_top:
            self._paths()

    def _item_name(self, node: Node, origin: Origin) -> None:
        name = node.item_name
        if name and name != "item" and (name in RESERVED or name in self._graph.index or self._names.hides(name)):
            message = f"{quoted(name)} hides what is called so already"
            self._findings.error("hidden_name", origin.path("item_name"), message, hint="choose another name")

    def _paths(self) -> None:
        """Check that no id is what a step within a body is called."""
        holders = [body_path(node.id, None, is_top=True) for _, node, _ in self._nodes() if node.type in GROUPS]
        for _, node, origin in self._nodes():
            if any(node.id.startswith((f"{one}.", f"{one}[")) for one in holders):
                message = f"the id {quoted(node.id)} is how a step within a body is called"
                self._findings.error("bad_id", origin.path("id"), message, hint="choose another id")

    def _ends(self) -> None:
        for connection, origin in zip(self._definition.connections, self._layout.connections, strict=True):
            for end, name in (("source", connection.source), ("target", connection.target)):
                if name not in self._graph.index:
                    hint = self._nearest.hint(name, self._graph.index)
                    self._findings.error(
                        "unknown_node", origin.path(end), f"there is no node {quoted(name)}", hint=hint
                    )

    def _cycles(self) -> None:
        for cycle in self._graph.cycles():
            names = [edge.connection.source for edge in cycle]
            if len(names) > _SHOWN_OF_CYCLE:
                names[_SHOWN_OF_CYCLE // 2 : -_SHOWN_OF_CYCLE // 2] = ["..."]
            way = " -> ".join([*names, cycle[0].connection.source])
            path = self._layout.connections[cycle[-1].index].base
            self._findings.error("cycle", path, f"circular: the cycle {way} can never start")

    # Joins

    def _joins(self) -> None:
        for place, node, origin in self._nodes():
            incoming = self._graph.incoming[place]
            if node.join.kind is JoinKind.AT_LEAST and node.join.count > len(incoming):
                message = f"at_least {node.join.count} can never be met: {len(incoming)} connections come in"
                self._findings.error("join_never_met", origin.path("join"), message)
            if node.join.kind is JoinKind.EVERY and (reason := _never_all_active(incoming)):
                self._findings.error("join_never_met", origin.path("join"), f"every can never be met: {reason}")
        for place, outgoing in enumerate(self._graph.outgoing):
            self._lone_else(outgoing)
            if outgoing and self._graph.nodes[place].type is NodeType.END:
                path = self._layout.connections[outgoing[0].index].path("source")
                name = quoted(self._graph.nodes[place].id)
                self._findings.error("no_way_on", path, f"no connection leaves {name}: it ends the execution")

    def _lone_else(self, outgoing: list[Edge]) -> None:
        """Check that each ``else`` has a condition beside it: one that may be looked at on the same outcome."""
        for edge in outgoing:
            one = edge.connection
            if one.otherwise and not any(
                other.connection.condition is not None and _may_meet(one, other.connection) for other in outgoing
            ):
                path = self._layout.connections[edge.index].path("otherwise")
                message = f'"else" needs a condition beside it, on another connection from {quoted(one.source)}'
                self._findings.error("lone_else", path, message, hint="leave it out to always follow the connection")

    # Expressions

    def _conditions(self) -> None:
        for place, node, origin in self._nodes():
            self._condition(node.condition, Reader(origin.path("condition"), place), is_on_node=True)
            for name, source, more in _other_conditions(node):
                self._condition(source, Reader(origin.path(name), place, more=more), is_on_node=True)
        for edge in self._graph.edges:
            path = self._layout.connections[edge.index].path("condition")
            self._condition(edge.connection.condition, Reader(path, edge.source, edge.index))

    def _condition(self, source: str | None, reader: Reader, *, is_on_node: bool = False) -> None:
        if source is None:
            return
        if is_on_node and source.strip() == ELSE:
            self._findings.error("bad_condition", reader.path, '"else" belongs on a connection, not on a node')
            return
        try:
            expression = compile_expression(source)
        except ExpressionError as error:
            self._bad_expression(error, reader.path)
            return
        self._names.check(expression.references, reader)
        if not expression.references:
            self._constant(expression, reader.path)

    def _constant(self, expression: Expression, path: Path) -> None:
        """Judge a condition that reads nothing, and so is the same every time."""
        try:
            value = expression.evaluate(_NO_NAMES)
        except ExpressionError as error:
            self._findings.error("bad_condition", path, error.message)
            return
        if value is False:
            self._findings.warning("never_true", path, "this condition is never true")
        elif value is not True:
            self._findings.error("bad_condition", path, f"a condition gives true or false, not {type(value).__name__}")

    def _templates(self) -> None:
        for place, node, origin in self._nodes():
            for below, text in _texts(node.parameters):
                reader = Reader(origin.path("parameters", *below), place, may_read_secrets=True)
                self._template(text, reader)
            for at, parameters, is_exempt in _other_parameters(node):
                for below, text in _texts(parameters):
                    reader = Reader(origin.path(*at, *below), place, may_read_secrets=True, is_exempt=is_exempt)
                    self._template(text, reader)
            for name, value in _other_templates(node):
                more = _told(node) if name == "input" else ()
                for below, text in _texts(value):
                    self._template(text, Reader(origin.path(name, *below), place, more=more))
        for below, text in _texts(self._definition.output):
            self._template(text, Reader(self._layout.top.path("output", *below), None))

    def _template(self, text: str, reader: Reader) -> None:
        try:
            template = compile_template(text)
        except ExpressionError as error:
            self._bad_expression(error, reader.path)
        else:
            self._names.check(template.references, reader)
            if reader.may_read_secrets:
                self._secrets([expression for _, expression in template.expressions], reader.path)

    def _secrets(self, expressions: list[Expression], path: Path) -> None:
        """Refuse what computes with a secret: it is not there yet when parameters are resolved."""
        for one in expressions:
            if secret_name(one) is None and (read := [name for name in one.references if name.root == "secrets"]):
                message = f"column {read[0].column} of the text: nothing can be computed with a secret"
                hint = "write ${secrets.NAME} alone, or with text around it"
                self._findings.error("bad_secret", path, message, hint=hint)

    def _bad_expression(self, error: ExpressionError, path: Path) -> None:
        column = f"column {error.column} of the text: " if error.column else ""
        self._findings.error("bad_expression", path, f"{column}{error.message}")

    # Schemas

    def _schemas(self) -> None:
        for _, node, origin in self._nodes():
            self._schema(node.input_schema, origin, "input_schema")
            self._schema(node.output_schema, origin, "output_schema")
            self._schema(node.schema, origin, "schema")

    def _schema(self, schema: JsonValue, origin: Origin, name: str) -> None:
        if schema is None or schema is True or not schema:
            return
        from treadle.schemas import schema_faults  # loaded only where a workflow has schemas

        for below, message in schema_faults(schema):
            self._findings.error("bad_schema", origin.path(name, *below), message)

    # Questions about the graph

    def _precedence(self, precedence: Precedence) -> None:
        asked = [one for one in self._names.asked if one.edge is None or one.step != one.node]
        not_before = precedence.not_before({(one.node, one.step) for one in asked})
        for one in asked:
            if (one.node, one.step) in not_before:
                self._no_ancestor(one)
        wanted = [one for one in asked if one.needs_output and (one.node, one.step) not in not_before]
        unsure = precedence.maybe_without_output({(one.node, one.step) for one in wanted})
        for one in wanted:
            if (one.node, one.step) in unsure:
                self._maybe_missing(one)
        for one in self._names.asked:
            if one.edge is not None and one.step == one.node and one.needs_output:
                self._own_output(one, precedence)

    def _no_ancestor(self, one: Asked) -> None:
        step, node = self._definition.nodes[one.step].id, self._definition.nodes[one.node].id
        if one.step == one.node:
            message = f"{one.text} is the output of this very step, which it does not have yet"
            self._findings.error("no_ancestor", one.path, message)
            return
        message = f"{one.text} is not there yet: no connection leads from {quoted(step)} to {quoted(node)}"
        hint = f"connect them, or read it as default({one.text}, ...)"
        self._findings.error("no_ancestor", one.path, message, hint=hint)

    def _maybe_missing(self, one: Asked) -> None:
        step = self._definition.nodes[one.step].id
        message = f"{one.text} may be missing: {quoted(step)} can be skipped or fail before this is read"
        self._findings.warning("maybe_missing", one.path, message, hint=f"read it as default({one.text}, ...)")

    def _own_output(self, one: Asked, precedence: Precedence) -> None:
        """Look at a condition on a connection that reads what its source gave."""
        edge = next(edge for edge in self._graph.outgoing[one.node] if edge.index == one.edge)
        if not precedence.gives_output(edge):
            self._maybe_missing(one)

    def _triggers(self) -> None:
        triggers = [place for place, node, _ in self._nodes() if node.type is NodeType.TRIGGER]
        if not triggers:
            return
        reached = self._graph.reached_from(triggers)
        for place, node, origin in self._nodes():
            if place not in reached:
                message = f"no way leads from a trigger to {quoted(node.id)}; it starts with every execution"
                self._findings.warning("unreachable", origin.base, message, hint="connect it, or take it out")


class _NoNames:
    def lookup(self, name: str) -> Missing:  # noqa: ARG002 - the shape of a scope
        return MISSING


_NO_NAMES: Final = _NoNames()


def _texts(value: JsonValue) -> Iterator[tuple[Path, str]]:
    """Yield every text within ``value`` that may hold an expression, with its place."""
    agenda: list[tuple[Path, JsonValue]] = [((), value)]
    while agenda:
        path, one = agenda.pop()
        if isinstance(one, str):
            if "${" in one:
                yield path, one
        elif isinstance(one, dict):
            agenda.extend(((*path, key), below) for key, below in reversed(one.items()))
        elif isinstance(one, list):
            agenda.extend(((*path, place), below) for place, below in reversed(list(enumerate(one))))


def _other_parameters(node: Node) -> Iterator[tuple[tuple[str, ...], JsonValue, bool]]:
    """Yield the place and the parameters of each other call of a node, and whether they may read any step."""
    if node.fallback is not None:
        yield ("fallback", "parameters"), node.fallback.parameters, False
        if node.fallback.compensate is not None:
            yield ("fallback", "compensate", "parameters"), node.fallback.compensate.parameters, True
    if node.compensate is not None:
        yield ("compensate", "parameters"), node.compensate.parameters, True


def _other_templates(node: Node) -> Iterator[tuple[str, JsonValue]]:
    """Yield the fields besides parameters that may hold expressions, with their values."""
    match node.type:
        case NodeType.ACTION:
            yield "limits", [{"key": one.key} for one in node.limits]
        case NodeType.SET:
            yield "values", node.values
        case NodeType.INPUT:
            yield "default", node.default
        case NodeType.END:
            yield from (("output", node.output), ("message", node.message))
        case NodeType.WAIT:
            yield from (("duration", node.duration), ("until", node.until))
            yield "any_of", [{"duration": one.duration, "until": one.until, "key": one.key} for one in node.any_of]
        case NodeType.EVENT:
            yield "key", node.key
        case NodeType.MAP:
            yield from (("items", node.items), ("input", node.input))
        case NodeType.WORKFLOW | NodeType.LOOP:
            yield "input", node.input
        case _:
            return


def _other_conditions(node: Node) -> Iterator[tuple[str, str | None, tuple[str, ...]]]:
    """Yield the conditions within a node, with the names that each may read besides."""
    match node.type:
        case NodeType.MAP:
            yield "complete_when", node.complete_when, ("results", "completed", "failed", "total")
        case NodeType.LOOP:
            yield from (("repeat_while", node.repeat_while, _ITERATION), ("until", node.until, _ITERATION))
        case _:
            return


_ITERATION: Final = ("index", "previous")


def _told(node: Node) -> tuple[str, ...]:
    """Return what the body of a node is told."""
    match node.type:
        case NodeType.MAP:
            return (node.item_name or "item", "index")
        case NodeType.LOOP:
            return _ITERATION
        case _:
            return ()


def _may_meet(one: Connection, other: Connection) -> bool:
    """Tell whether two connections of one source can be looked at on the same outcome."""
    return one.outcome is other.outcome or Outcome.ALWAYS in (one.outcome, other.outcome)


def _never_all_active(incoming: list[Edge]) -> str:
    """Return why connections into one node can never all be active; ``""`` where they can."""
    by_source: dict[int, list[Connection]] = {}
    for edge in incoming:
        by_source.setdefault(edge.source, []).append(edge.connection)
    for connections in by_source.values():
        source = quoted(connections[0].source)
        if {Outcome.SUCCESS, Outcome.FAILURE} <= {one.outcome for one in connections}:
            return f"it follows both success and failure of {source}"
        for one in connections:
            if one.otherwise and any(other.condition is not None and _may_meet(one, other) for other in connections):
                return f'it follows both a condition and the "else" beside it, from {source}'
    return ""
