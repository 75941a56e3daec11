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
    from treadle.model import JsonValue, Workflow

RESERVED: Final = ("input", "execution", "steps", "item", "index", "previous", "secrets", "vars")
"""Roots that come before the ids of nodes."""

_EXECUTION: Final = ("id", "workflow_id", "started_at")
_STEP: Final = ("output", "status", "error", "attempt")
_ELSEWHERE: Final = {
    "item": "is known only inside a map",
    "index": "is known only inside a map",
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
    """

    path: Path
    node: int | None
    edge: int | None = None
    may_read_secrets: bool = False


class Names:
    """Checks references against one workflow and gathers what is to be asked of its graph."""

    def __init__(self, workflow: Workflow, graph: Graph, findings: Findings, nearest: Nearest) -> None:
        self._vars: Collection[str] = workflow.vars
        self._graph = graph
        self._findings = findings
        self._nearest = nearest
        self.asked: list[Asked] = []

    def check(self, references: tuple[Reference, ...], reader: Reader) -> None:
        """Check what one expression reads."""
        for one in references:
            if one.root == "secrets" and reader.may_read_secrets:
                continue
            if one.root in _ELSEWHERE:
                self._findings.error("unknown_name", reader.path, f"{_place(one)}{one.root} {_ELSEWHERE[one.root]}")
            elif one.root == "steps":
                self._step(one, reader)
            elif one.root in ("execution", "vars"):
                self._key(one, _EXECUTION if one.root == "execution" else self._vars, reader)
            elif one.root != "input":
                self._output(one, reader)

    @cached_property
    def _roots(self) -> tuple[str, ...]:
        """Names that an expression may begin with; gathered once, where the first unknown one asks for a near one."""
        return ("input", "execution", "steps", "vars", *(name for name in self._graph.index if name.isidentifier()))

    def _key(self, one: Reference, known: Collection[str], reader: Reader) -> None:
        """Check the first key below a root whose keys are known."""
        if one.path and one.path[0] not in known and not one.guarded:
            shown = f"{one.root} has no {quoted(str(one.path[0]))}"
            self._unknown(one, reader, shown, name=str(one.path[0]), known=known)

    def _output(self, one: Reference, reader: Reader) -> None:
        step = self._graph.index.get(one.root)
        if step is None:
            self._unknown(one, reader, f"there is no name {quoted(one.root)}", name=one.root, known=self._roots)
        elif not one.guarded:
            self._ask(one, step, reader, needs_output=True)

    def _step(self, one: Reference, reader: Reader) -> None:
        """Check ``steps.x.output``; a step that is computed (``steps[input.x]``) is known only at run time."""
        if not one.path:
            return
        name, *keys = one.path
        step = self._graph.index.get(name) if isinstance(name, str) else None
        if step is None:
            self._unknown(one, reader, f"there is no step {quoted(str(name))}", name=str(name), known=self._graph.index)
        elif keys and keys[0] not in _STEP:
            message = f"a step has {', '.join(_STEP)}, no {quoted(str(keys[0]))}"
            otherwise = f"its output is {one.root}{_key(name)}.output"
            self._unknown(one, reader, message, name=str(keys[0]), known=_STEP, otherwise=otherwise)
        elif not one.guarded and keys[:1] != ["status"]:
            self._ask(one, step, reader, needs_output=keys[:1] == ["output"])

    def _ask(self, one: Reference, step: int, reader: Reader, *, needs_output: bool) -> None:
        if reader.node is not None:
            self.asked.append(Asked(reader.node, step, reader.edge, needs_output, one.text, reader.path))

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
