"""JSON values in which text may hold ``${expression}``.

Text that is exactly one expression keeps the value's type; otherwise values are joined into the text. ``$${`` is a
literal ``${``. Results are never read again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from treadle.errors import ExpressionError
from treadle.expressions.budget import DEFAULT, Budget
from treadle.expressions.compiler import Expression, Reference, compile_tree
from treadle.expressions.functions import text_of
from treadle.expressions.names import MissingNameError, Scope
from treadle.expressions.parser import parse_tokens
from treadle.expressions.tokens import tokenize

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.model import JsonValue

_Resolve: TypeAlias = "Callable[[Callable[[Expression], JsonValue]], JsonValue]"


class Template:
    """A compiled template; immutable and shared.

    Attributes:
        expressions: Each with its path in the value, such as ``rows[0].name``.
    """

    __slots__ = ("_resolve", "expressions")

    def __init__(self, resolve: _Resolve, expressions: tuple[tuple[str, Expression], ...]) -> None:
        self._resolve = resolve
        self.expressions = expressions

    @property
    def is_constant(self) -> bool:
        """Tell whether it holds no expression."""
        return not self.expressions

    @property
    def references(self) -> tuple[Reference, ...]:
        """Return what its expressions read, in order."""
        return tuple(one for _, expression in self.expressions for one in expression.references)

    def resolve(self, scope: Scope, *, missing_is_null: bool = False) -> JsonValue:
        """Return a new value with every expression evaluated.

        Args:
            scope: Names.
            missing_is_null: An expression that meets a missing name gives null instead of an error.

        Raises:
            MissingNameError: An expression met a name that is not there.
            ExpressionError: An expression could not be evaluated.
        """
        return self._resolve(lambda expression: _evaluate(expression, scope, missing_is_null))


def compile_template(value: JsonValue, budget: Budget = DEFAULT) -> Template:
    """Return the compiled form of a JSON value.

    Raises:
        ExpressionError: An expression in it cannot be read; the message names the place.
    """
    found: list[tuple[str, Expression]] = []
    problems: list[tuple[str, ExpressionError]] = []
    resolve = _compile(value, "", budget, found, problems)
    for path, error in problems:
        raise ExpressionError(f"{path}: {error.message}" if path else error.message, error.source, error.column)
    return Template(resolve, tuple(found))


def template_problems(value: JsonValue, budget: Budget = DEFAULT) -> list[tuple[str, ExpressionError]]:
    """Return every expression of a JSON value that cannot be read, with its path."""
    problems: list[tuple[str, ExpressionError]] = []
    _compile(value, "", budget, [], problems)
    return problems


def _evaluate(expression: Expression, scope: Scope, missing_is_null: bool) -> JsonValue:  # noqa: FBT001 - private
    try:
        return expression.evaluate(scope)
    except MissingNameError:
        if missing_is_null:
            return None
        raise


def _compile(
    value: JsonValue,
    path: str,
    budget: Budget,
    found: list[tuple[str, Expression]],
    problems: list[tuple[str, ExpressionError]],
) -> _Resolve:
    if isinstance(value, str):
        return _compile_text(value, path, budget, found, problems)
    if isinstance(value, dict):
        entries = {
            key: _compile(one, f"{path}.{key}" if path else key, budget, found, problems) for key, one in value.items()
        }
        return lambda evaluate: {key: resolve(evaluate) for key, resolve in entries.items()}
    if isinstance(value, list):
        items = [_compile(one, f"{path}[{place}]", budget, found, problems) for place, one in enumerate(value)]
        return lambda evaluate: [resolve(evaluate) for resolve in items]
    return lambda _: value


def _compile_text(
    text: str,
    path: str,
    budget: Budget,
    found: list[tuple[str, Expression]],
    problems: list[tuple[str, ExpressionError]],
) -> _Resolve:
    try:
        parts = _parts(text, budget)
    except ExpressionError as error:
        problems.append((path, error))
        return lambda _: text
    found.extend((path, part) for part in parts if isinstance(part, Expression))
    if len(parts) == 1 and isinstance(parts[0], Expression):
        only = parts[0]
        return lambda evaluate: evaluate(only)
    if all(isinstance(part, str) for part in parts):
        literal = "".join(part for part in parts if isinstance(part, str))
        return lambda _: literal
    return lambda evaluate: "".join(part if isinstance(part, str) else text_of(evaluate(part)) for part in parts)


def _parts(text: str, budget: Budget) -> list[str | Expression]:
    """Split text into literal pieces and expressions."""
    parts: list[str | Expression] = []
    at = 0
    while (place := text.find("${", at)) >= 0:
        if place > at and text[place - 1] == "$":
            parts.append(text[at : place - 1] + "${")
            at = place + 2
            continue
        if place > at:
            parts.append(text[at:place])
        tokens, at = tokenize(text, place + 2, closing=True)
        source = text[place + 2 : at - 1]
        if len(source) > budget.source_chars:
            raise ExpressionError(f"an expression of more than {budget.source_chars:,} characters", source[:80])
        parts.append(compile_tree(parse_tokens(tokens, text, budget), source.strip()))
    if at < len(text):
        parts.append(text[at:])
    return parts
