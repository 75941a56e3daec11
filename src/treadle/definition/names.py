"""The names an expression may read, and what is certainly or possibly wrong with those it does.

A reference within ``has`` or ``default`` may name what is not there; it must still begin with a name that exists.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from treadle.definition.problems import quoted

if TYPE_CHECKING:
    from collections.abc import Collection

    from treadle.definition.graph import Graph
    from treadle.definition.problems import Findings, Nearest, Path
    from treadle.expressions import Reference
    from treadle.model import JsonValue

RESERVED: Final = ("input", "execution", "steps", "item", "index", "previous", "secrets", "vars")
"""Roots that come before the ids of nodes."""

_EXECUTION: Final = ("id", "workflow_id", "started_at")
_STEP: Final = ("output", "status", "error", "attempt", "errors")
_ELSEWHERE: Final = {
    "item": "is known only inside a map",
    "index": "is known only inside a map or a loop",
    "previous": "is known only inside a loop",
    "secrets": "can be read only in parameters",
}


class Asked(NamedTuple):
    """A reference to a step that has to be before the place that reads it.

    Attributes:
        node: Index of the node at whose start the expression is evaluated, or whose connection it stands on.
        step: Index of the step read.
        edge: Index (in ``Graph.edges``) of the connection it stands on; None for an expression of the node itself.
        needs_output: It reads the output; not the error or the attempt.
    """

    node: int
    step: int
    edge: int | None
    needs_output: bool
    text: str
    path: Path


class Reader(NamedTuple):
    """Where an expression stands.

    Attributes:
        path: In the document.
        node: See ``Asked``; None for the workflow's output, which is read when all is done.
        edge: See ``Asked``.
        may_read_secrets: It is a parameter.
        more: Further names that it may read.
        is_exempt: It may read any step: it is evaluated only where those it reads are done, as a compensation is.
    """

    path: Path
    node: int | None
    edge: int | None = None
    may_read_secrets: bool = False
    more: tuple[str, ...] = ()
    is_exempt: bool = False


class Around(NamedTuple):
    """What is around a body.

    Attributes:
        names: Of the graph around it.
        holder: Index of the node that holds the body.
        told: What the body is told: ``item``, ``index``, ``previous``.
    """

    names: Names
    holder: int
    told: tuple[str, ...]


class Names:
    """Checks references against one graph, and those around it, and gathers what is to be asked of the graph."""

    def __init__(
        self, variables: Collection[str], graph: Graph, findings: Findings, nearest: Nearest, around: Around | None
    ) -> None:
        self._vars = variables
        self._graph = graph
        self._findings = findings
        self._nearest = nearest
        self._around = around
        self._outer: Names | None = None if around is None else around.names
        self._told: frozenset[str] = frozenset() if around is None else around.names._told.union(around.told)  # noqa: SLF001 - its own kind
        self.asked: list[Asked] = []

    def check(self, references: tuple[Reference, ...], reader: Reader) -> None:
        """Check what one expression reads."""
        for one in references:
            if one.root in reader.more or one.root in self._told or (one.root == "secrets" and reader.may_read_secrets):
                continue
            if one.root in _ELSEWHERE:
                self._findings.error("unknown_name", reader.path, f"{_place(one)}{one.root} {_ELSEWHERE[one.root]}")
            elif one.root == "steps":
                self._step(one, reader)
            elif one.root in ("execution", "vars"):
                self._key(one, _EXECUTION if one.root == "execution" else self._vars, reader)
            elif one.root != "input":
                self._output(one, reader)

    def hides(self, name: str) -> bool:
        """Tell whether a node of that id would hide what is called so around this graph."""
        if self._around is None:
            return False
        outer, told = self._around.names, self._around.told
        return name in outer._graph.index or (name in told and name not in RESERVED) or outer.hides(name)  # noqa: SLF001 - as above

    @cached_property
    def _steps(self) -> tuple[str, ...]:
        return (*self._graph.index, *(() if self._outer is None else self._outer._steps))  # noqa: SLF001 - as above

    @cached_property
    def _roots(self) -> tuple[str, ...]:
        """Names that an expression may begin with; gathered once, where the first unknown one asks for a near one."""
        ids = (name for name in self._steps if name.isidentifier())
        return ("input", "execution", "steps", "vars", *sorted(self._told), *ids)

    def _key(self, one: Reference, known: Collection[str], reader: Reader) -> None:
        """Check the first key below a root whose keys are known."""
        if one.path and one.path[0] not in known and not one.guarded:
            shown = f"{one.root} has no {quoted(str(one.path[0]))}"
            self._unknown(one, reader, shown, name=str(one.path[0]), known=known)

    def _output(self, one: Reference, reader: Reader) -> None:
        if not self._ask(one, one.root, reader, needs_output=True):
            self._unknown(
                one, reader, f"there is no name {quoted(one.root)}", name=one.root, known=(*reader.more, *self._roots)
            )

    def _step(self, one: Reference, reader: Reader) -> None:
        """Check ``steps.x.output``; a step that is computed (``steps[input.x]``) is known only at run time."""
        if not one.path:
            return
        name, *keys = one.path
        is_known = not keys or keys[0] in _STEP
        asks = is_known and keys[:1] != ["status"]
        reads_output = keys[:1] == ["output"]
        if not isinstance(name, str) or not self._ask(one, name, reader, needs_output=reads_output, asks=asks):
            self._unknown(one, reader, f"there is no step {quoted(str(name))}", name=str(name), known=self._steps)
        elif not is_known:
            message = f"a step has {', '.join(_STEP)}, no {quoted(str(keys[0]))}"
            otherwise = f"its output is {one.root}{_key(name)}.output"
            self._unknown(one, reader, message, name=str(keys[0]), known=_STEP, otherwise=otherwise)

    def _ask(self, one: Reference, name: str, reader: Reader, *, needs_output: bool, asks: bool = True) -> bool:
        """Note what is to be asked of the graph that has the step; False if none has it."""
        step = self._graph.index.get(name)
        if step is not None:
            if reader.node is not None and asks and not (one.guarded or reader.is_exempt):
                self.asked.append(Asked(reader.node, step, reader.edge, needs_output, one.text, reader.path))
            return True
        if self._around is None or self._outer is None:
            return False
        outside = reader._replace(node=self._around.holder, edge=None)
        return self._outer._ask(one, name, outside, needs_output=needs_output, asks=asks)  # noqa: SLF001 - as above

    def _unknown(
        self,
        one: Reference,
        reader: Reader,
        message: str,
        *,
        name: str,
        known: Collection[str],
        otherwise: str = "",
    ) -> None:
        hint = self._nearest.hint(name, known) or otherwise
        self._findings.error("unknown_name", reader.path, f"{_place(one)}{message}", hint=hint)


def _place(one: Reference) -> str:
    return f"column {one.column} of the text: "


def _key(name: JsonValue) -> str:
    return f".{name}" if isinstance(name, str) and name.isidentifier() else f"[{quoted(str(name))}]"
