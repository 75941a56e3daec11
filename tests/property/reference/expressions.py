"""As much of the expressions as is drawn: a path, or a path compared with a constant. CEL itself checks the rest."""

from __future__ import annotations

import json
import operator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.property.reference.parts import Scope

COMPARE = {"==": lambda a, b: isinstance(a, bool) == isinstance(b, bool) and a == b, "<": operator.lt, ">": operator.gt}


class MissingName(Exception):  # noqa: N818 - what is missing, not a defect
    """An expression reads a name that is absent; ``null`` is not absent."""


class NoBoolean(Exception):  # noqa: N818 - as above
    """A condition gave something that is neither true nor false."""


def holds(condition: str, scope: Scope, told: dict[str, Any]) -> bool:
    """Tell whether a condition is taken: not where it meets a missing name.

    Args:
        condition: Such as ``n1.a == 1``.
        scope: Whose names are read, behind those it is told.
        told: Further names, ``input`` among them.

    Raises:
        NoBoolean: It gives something else.
    """
    left, *right = condition.split(" ")
    try:
        value = read(left, scope, told)
    except MissingName:
        return False
    if right:
        value = COMPARE[right[0]](value, json.loads(right[1]))
    if not isinstance(value, bool):
        raise NoBoolean(condition)
    return value


def resolve(value: Any, scope: Scope, told: dict[str, Any], missing: list[str] | None = None) -> Any:
    """Replace each ``${path}`` by what it leads to, deeply.

    Args:
        value: With such text.
        scope: As in ``holds``.
        told: As in ``holds``.
        missing: Filled with the missing names, of which each gives null; None to raise at the first.

    Raises:
        MissingName: ``missing`` is None, and a name is.
    """
    if isinstance(value, dict):
        return {key: resolve(one, scope, told, missing) for key, one in value.items()}
    if isinstance(value, list):
        return [resolve(one, scope, told, missing) for one in value]
    if not isinstance(value, str) or not value.startswith("${"):
        return value
    try:
        return read(value.removeprefix("${").removesuffix("}"), scope, told)
    except MissingName as error:
        if missing is None:
            raise
        missing.append(str(error))
        return None


def read(path: str, scope: Scope, told: dict[str, Any]) -> Any:
    """Return what a path such as ``results[0].a`` leads to."""
    name, *rest = path.replace("]", "").replace("[", ".").split(".")
    value = {"true": True, "false": False}[name] if name in {"true", "false"} else look_up(name, scope, told)
    for key in rest:
        if isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        elif isinstance(value, dict) and key in value:
            value = value[key]
        else:
            raise MissingName(path)
    return value


def look_up(name: str, scope: Scope, told: dict[str, Any]) -> Any:
    """Return what is told, else what a step of the scope gave, else what the body is told, else as around it."""
    if name in told:
        return told[name]
    given = [step.output[0] for step in scope.steps if step.node.id == name and step.output]
    if given:
        return given[0]
    if name in scope.names:
        return scope.names[name]
    if scope.holder is None:
        raise MissingName(name)
    return look_up(name, scope.holder.scope, {})
