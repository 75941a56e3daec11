"""References into a state: ``${input.email}``, ``${charge.result.id}``; parameters and conditions that hold them.

A reference is a dotted path. Its root is ``input`` or the id of a completed step, everything below is a key of a
dictionary. A value that is there counts whatever it is, null too; only an absent one is missing. What a reference gives
is a value and never read again, so that text from outside cannot become part of an expression.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any, Final

from core.step_errors import MissingInputError
from treadle.expressions import MISSING, ExpressionError, compile_expression, translate_condition

if TYPE_CHECKING:
    from treadle.expressions import Missing

VARIABLE: Final = re.compile(r"\${([^}]+)}")

_TEXT: Final = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_REFUSED: Final = re.compile(r"__|\.\s*[A-Za-z_]|\b(?!(?:and|or|not|in)\b)[A-Za-z_]\w*\s*\(")
"""Names with two underscores, fields and calls: a condition compares values and does nothing else."""

_logger = logging.getLogger(__name__)


def read_path(path: str, state: dict[str, Any]) -> Any:  # noqa: ANN401 - a JSON value or MISSING
    """Return the value at ``path``, or ``MISSING``."""
    root, *keys = path.strip().split(".")
    found: Any = state.get("input_data", {}) if root == "input" else (state.get("outputs") or {}).get(root, MISSING)
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
    only = VARIABLE.fullmatch(value)
    if only is not None:
        return _own(_present(only[1], state))
    return VARIABLE.sub(lambda found: str(_present(found[1], state)), value)


def has_references(value: object) -> bool:
    """Tell whether resolving ``value`` reads the state."""
    if isinstance(value, dict):
        return any(has_references(one) for one in value.values())
    if isinstance(value, list):
        return any(has_references(one) for one in value)
    return isinstance(value, str) and VARIABLE.search(value) is not None


def condition_holds(condition: str | None, state: dict[str, Any]) -> bool:
    """Tell whether a condition is taken: True without one, False where a value is missing or nothing can be made of it.

    Besides references it knows ``== != < <= > >= and or not``, parentheses, numbers, quoted text, ``true`` and
    ``false``. Results other than these two count by their truth.
    """
    if condition is None or condition == "":
        return True
    try:
        values: list[object] = []
        expression = compile_expression(translate_condition(_bind(condition, state, values)))
        return bool(expression.evaluate(_Values(values)))
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it is not taken
        _logger.warning("condition %r is not taken: %s", condition, error)
        return False


def _present(path: str, state: dict[str, Any]) -> Any:  # noqa: ANN401 - a JSON value
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


def _bind(condition: str, state: dict[str, Any], values: list[object]) -> str:
    """Return the condition with the place of each reference's value in ``values`` instead of its path.

    Raises:
        MissingInputError: A reference reads what is not there.
        ExpressionError: It holds something that conditions do not do.
    """
    if _REFUSED.search(VARIABLE.sub("0", _TEXT.sub("''", condition))):
        raise ExpressionError("a condition has no calls, no fields and no names of its own", condition)

    def place(found: re.Match[str]) -> str:
        values.append(_present(found[1], state))
        return f"${{value[{len(values) - 1}]}}"

    return VARIABLE.sub(place, condition)


class _Values:
    """The names of a bound condition: ``value``, the list of what its references read."""

    def __init__(self, values: list[object]) -> None:
        self._values = values

    def lookup(self, name: str) -> list[object] | Missing:
        return self._values if name == "value" else MISSING
