"""References into a state: ``${input.email}``, ``${charge.result.id}``; parameters that hold them.

A reference is a dotted path. Its root is ``input`` or the id of a completed step, everything below is a key of a
dictionary. A value that is there counts whatever it is, null too; only an absent one is missing. What a reference gives
is a value and never read again, so that text from outside cannot become part of an expression.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from core.step_errors import MissingInputError
from treadle.expressions import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE: Final = re.compile(r"\${([^}]+)}")
"""What a reference is; the application reads it."""


def read_path(path: str, state: dict[str, Any]) -> Any:  # noqa: ANN401 - a JSON value or MISSING
    """Return the value at ``path``, or ``MISSING``."""
    root, *keys = path.strip().split(".")
    outputs = state.get("outputs")
    if root == "input":
        found = state.get("input_data", {})
    else:
        found = outputs.get(root, MISSING) if isinstance(outputs, dict) else MISSING
    for key in keys:
        if not isinstance(found, dict) or key not in found:
            return MISSING
        found = found[key]
    return found


def resolve_value(value: object, state: dict[str, Any]) -> object:
    """Return ``value`` with every reference replaced; dictionaries and lists are new ones, those of the state too.

    Text that is exactly one reference gives the value itself; in other text a reference gives its ``str()``.

    Raises:
        MissingInputError: A reference reads what is not there.
    """
    if isinstance(value, dict):
        return {key: resolve_value(one, state) for key, one in value.items()}
    if isinstance(value, list):
        return [resolve_value(one, state) for one in value]
    if not isinstance(value, str):
        return value
    parts: list[str] = []
    at = 0
    for start, end, path in find_references(value):
        found = present(path, state)
        if end - start == len(value):
            return _own(found)
        parts += (value[at:start], str(found))
        at = end
    return "".join((*parts, value[at:]))


def find_references(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield where each reference begins and ends, and its path: what ``VARIABLE`` finds, but in linear time.

    The expression looks for the end of each ``${`` anew; text from outside may hold a hundred thousand of them.
    """
    start = text.find("${")
    while start >= 0:
        end = text.find("}", start + 2)
        if end < 0:
            return
        if end > start + 2:
            yield start, end + 1, text[start + 2 : end]
        start = text.find("${", end)


def has_references(value: object) -> bool:
    """Tell whether resolving ``value`` reads the state."""
    if isinstance(value, dict):
        return any(has_references(one) for one in value.values())
    if isinstance(value, list):
        return any(has_references(one) for one in value)
    return isinstance(value, str) and next(find_references(value), None) is not None


def present(path: str, state: dict[str, Any]) -> Any:  # noqa: ANN401 - a JSON value
    """Return the value at ``path``.

    Raises:
        MissingInputError: It is not there.
    """
    found = read_path(path, state)
    if found is MISSING:
        raise MissingInputError(f"Variable {path} not found", path)
    return found


def _own(value: object) -> object:
    """Return the caller's own copy of a JSON value; what is none is returned as it is."""
    if type(value) is dict:
        return {key: _own(one) for key, one in value.items()}
    if type(value) is list:
        return [_own(one) for one in value]
    return value
