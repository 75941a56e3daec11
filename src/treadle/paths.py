"""Keys of steps: the raw id at the top, and within bodies the text of a path such as ``each[3].charge``.

An id that is no identifier is quoted within a path: ``each[3]["a.b"]``. The path of a node is that of its steps without
the numbers of items and iterations: ``each.charge`` names that node whichever item it runs for.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from treadle.model import NodeType

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from treadle.model import Body, Node, Workflow


def step_names(ids: Iterable[str]) -> tuple[str, ...]:
    """Return what the keys of the steps of a body end with."""
    return tuple(f".{one}" if _is_plain(one) else f"[{_quoted(one)}]" for one in ids)


def body_path(holder: str, number: int | None, *, is_top: bool) -> str:
    """Return the path of a body.

    Args:
        holder: Key of the step that holds it.
        number: Of the item or the iteration; None for the one body of a parallel.
        is_top: The holder stands at the top, so that its key is a raw id.
    """
    first = holder if not is_top or _is_plain(holder) else f"[{_quoted(holder)}]"
    return first if number is None else f"{first}[{number}]"


def parse_path(step: str) -> tuple[str | int, ...]:
    """Return the parts of a step's key: ids, and numbers of items and iterations; nothing for what is no path.

    A raw id at the top that reads as a path is taken for one; ``find_node`` tells the two apart.
    """
    if not _PATH.fullmatch(step):
        return ()
    parts: list[str | int] = []
    for found in _PART.finditer(step):
        plain, quoted, number = found.groups()
        parts.append(plain or (json.loads(quoted) if quoted else int(number)))
    return tuple(parts)


_NAMED: Final = r'[A-Za-z_]\w*|\["(?:[^"\\]|\\.)*"\]'
_PATH: Final = re.compile(rf"(?:{_NAMED})(?:\[\d+\]|\.[A-Za-z_]\w*|\[\"(?:[^\"\\]|\\.)*\"\])*", re.ASCII)
_PART: Final = re.compile(r'\.?([A-Za-z_]\w*)|\[("(?:[^"\\]|\\.)*")\]|\[(\d+)\]', re.ASCII)


def find_node(workflow: Workflow, step: str) -> Node | None:
    """Return the node of a step's key, within bodies too; None if the workflow has none."""
    graph: Workflow | Body | None = workflow
    found = next((node for node in workflow.nodes if node.id == step), None)
    if found is not None:
        return found
    parts = parse_path(step)
    for part in parts:
        if isinstance(part, str):
            found = None if graph is None else next((node for node in graph.nodes if node.id == part), None)
            if found is None:
                return None
            graph = found.body
    return found if parts and isinstance(parts[-1], str) else None


def all_nodes(graph: Workflow | Body) -> Iterator[tuple[str, Node]]:
    """Yield every node with its path, each before those of its body; in definition order."""
    agenda = [(node.id, body_path(node.id, None, is_top=True), node) for node in reversed(graph.nodes)]
    while agenda:
        path, prefix, node = agenda.pop()
        yield path, node
        if node.body is not None:
            names = step_names(one.id for one in node.body.nodes)
            below = [(prefix + name, prefix + name, one) for name, one in zip(names, node.body.nodes, strict=True)]
            agenda.extend(reversed(below))


def node_path(step: str, top: Container[str]) -> str:
    """Return the path of the node of a step.

    Args:
        step: Key of the step.
        top: Ids of the nodes at the top, which may read as paths.
    """
    return step if step in top else _NUMBER.sub(lambda found: found[1] or "", step)


_NUMBER: Final = re.compile(r'("(?:[^"\\]|\\.)*")|\[\d+\]')
"""Of an item or an iteration; quoted ids, in which the same may stand, are matched first."""


def is_step(workflow: Workflow, step: str) -> bool:
    """Tell whether an execution may have a step of that key: a number for each map and loop around it, and no other."""
    top = {node.id for node in workflow.nodes}
    around = step_place(step, top)
    while around.holder:
        holder = find_node(workflow, around.holder)
        if holder is None or (holder.type is NodeType.PARALLEL) is not (around.number is None):
            return False
        around = step_place(around.holder, top)
    return find_node(workflow, step) is not None


def first_steps(workflow: Workflow) -> dict[str, Node]:
    """Return each node by the key of its first step: within a map and a loop that of its first item or iteration."""
    top = {node.id for node in workflow.nodes}
    nodes = dict(all_nodes(workflow))
    keys = {"": ""}
    for path in nodes:
        holder, _, name = step_place(path, top)
        if holder:
            number = None if nodes[holder].type is NodeType.PARALLEL else 0
            keys[path] = body_path(keys[holder], number, is_top=holder in top) + step_names([name])[0]
        else:
            keys[path] = path
    return {keys[path]: node for path, node in nodes.items()}


class StepPlace(NamedTuple):
    """Where a step stands.

    Attributes:
        holder: Key of the step in whose body it is; ``""`` at the top.
        number: Of the item or the iteration; None at the top and in a parallel.
        id: Of its node.
    """

    holder: str
    number: int | None
    id: str

    @property
    def name(self) -> str:
        """Return what its key ends with behind that of its holder; the id at the top."""
        if not self.holder:
            return self.id
        return ("" if self.number is None else f"[{self.number}]") + step_names([self.id])[0]


def step_place(step: str, top: Container[str]) -> StepPlace:
    """Return where a step stands; ``top`` as for ``node_path``."""
    last = None if step in top else _LAST.search(step)
    if last is None:
        return StepPlace("", None, step)
    around, number = step[: last.start()], _ITS_NUMBER.search(step[: last.start()])
    holder = around if number is None else around[: number.start()]
    if (quoted := _ONLY_QUOTED.fullmatch(holder)) is not None:
        holder = json.loads(quoted[1])
    return StepPlace(holder, None if number is None else int(number[1]), last[1] or json.loads(last[2]))


_LAST: Final = re.compile(r'(?:\.([A-Za-z_][A-Za-z0-9_]*)|(?<=.)\[("(?:[^"\\]|\\.)*")\])$')
_ITS_NUMBER: Final = re.compile(r"\[(\d+)\]$")
_ONLY_QUOTED: Final = re.compile(r'\[("(?:[^"\\]|\\.)*")\]')


def _is_plain(one: str) -> bool:
    return one.isascii() and one.isidentifier()


def _quoted(one: str) -> str:
    return json.dumps(one, ensure_ascii=False)
