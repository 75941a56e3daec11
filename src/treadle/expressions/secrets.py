"""References to secrets: what a template gives where ``${secrets.NAME}`` stands, in the place of a value.

A whole text gives ``{"secret": NAME}``; text with a secret in it gives the list of its parts, ``["Bearer ", {"secret":
NAME}]``. **Where** such references stand is known from the template alone (``Template.secrets``): whoever fills them
in looks there and nowhere else, so that data of the same shape is never taken for one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from treadle.expressions.budget import check_items
from treadle.expressions.compiler import Expression
from treadle.expressions.functions import text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from treadle.model import JsonValue

Place: TypeAlias = "tuple[str | int, ...]"
"""Keys and numbers that lead from a value to one within it."""

ROOT: Final = "secrets"
_KEY: Final = "secret"


def secret_name(part: str | Expression) -> str | None:
    """Return NAME of an expression that is ``secrets.NAME`` and nothing more; None for any other."""
    if not isinstance(part, Expression) or not part.is_path:
        return None
    only = part.references[0]
    if only.root != ROOT or len(only.path) != 1 or not isinstance(only.path[0], str):
        return None
    return only.path[0]


def reference_to(parts: Sequence[str | Expression], evaluate: Callable[[Expression], JsonValue]) -> JsonValue:
    """Return the reference for a text of these parts, everything but the secrets evaluated."""
    found: list[JsonValue] = []
    size = 0
    for part in parts:
        name = secret_name(part)
        if name is not None:
            found.append({_KEY: name})
            continue
        text = part if isinstance(part, str) else text_of(evaluate(part))
        size += len(text)
        check_items(size)
        if found and isinstance(found[-1], str):
            found[-1] += text
        else:
            found.append(text)
    return found[0] if len(found) == 1 else found


def names_in(reference: JsonValue) -> list[str]:
    """Return the names of the secrets in a reference."""
    return [part[_KEY] for part in _parts(reference) if isinstance(part, dict)]


def fill_in(reference: JsonValue, values: Mapping[str, str]) -> str:
    """Return the text that a reference stands for."""
    return "".join(values[part[_KEY]] if isinstance(part, dict) else part for part in _parts(reference))


def _parts(reference: JsonValue) -> list[JsonValue]:
    return reference if isinstance(reference, list) else [reference]
