"""Keys of steps: the raw id at the top, and within bodies the text of a path such as ``each[3].charge``.

An id that is no identifier is quoted within a path: ``each[3]["a.b"]``.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

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
    for part in parse_path(step):
        if isinstance(part, str):
            found = None if graph is None else next((node for node in graph.nodes if node.id == part), None)
            if found is None:
                return None
            graph = found.body
    return found


def _is_plain(one: str) -> bool:
    return one.isascii() and one.isidentifier()


def _quoted(one: str) -> str:
    return json.dumps(one, ensure_ascii=False)
