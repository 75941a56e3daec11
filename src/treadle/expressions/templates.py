"""JSON values in which text may hold ``${expression}``.

Text that is exactly one expression keeps the value's type; otherwise values are joined into the text. ``$${`` is a
literal ``${``. Results are never read again.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

from treadle.errors import ExpressionError
from treadle.expressions.budget import DEFAULT, check_depth, check_items
from treadle.expressions.compiler import Expression, Reference, compile_path, compile_tree
from treadle.expressions.functions import text_of
from treadle.expressions.names import MissingNameError, Scope
from treadle.expressions.parser import parse_tokens
from treadle.expressions.secrets import reference_to, secret_name
from treadle.expressions.tokens import WORDS, tokenize

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.expressions.secrets import Place
    from treadle.model import JsonValue

_Resolve: TypeAlias = "Callable[[Callable[[Expression], JsonValue]], JsonValue]"
_Parts: TypeAlias = "tuple[str | Expression, ...]"


class Template:
    """A compiled template; immutable and shared.

    Attributes:
        expressions: Each with its path in the value, such as ``rows[0].name``; without kept secrets.
        secrets: Places of the value at which references to secrets are kept; see ``secrets``.
    """

    __slots__ = ("_resolve", "expressions", "secrets")

    def __init__(
        self, resolve: _Resolve, expressions: tuple[tuple[str, Expression], ...], secrets: tuple[Place, ...] = ()
    ) -> None:
        self._resolve = resolve
        self.expressions = expressions
        self.secrets = secrets

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


def compile_template(value: JsonValue, *, keeps_secrets: bool = False) -> Template:
    """Return the compiled form of a JSON value.

    Args:
        value: Its text may hold expressions.
        keeps_secrets: ``${secrets.NAME}`` gives a reference in the place of a value; otherwise it is a missing name.

    Raises:
        ExpressionError: An expression in it cannot be read; the message names the place.
    """
    compiler = _Compiler(keeps_secrets=keeps_secrets)
    resolve = compiler.compile(value, "")
    for path, error in compiler.problems:
        raise ExpressionError(f"{path}: {error.message}" if path else error.message, error.source, error.column)
    return Template(resolve, tuple(compiler.found), tuple(compiler.secrets))


def is_always_text(text: str) -> bool:
    """Tell whether a template gives text whatever it reads: it is not one expression and nothing else.

    False of one that cannot be read.
    """
    try:
        parts = _parts(text)
    except ExpressionError:
        return False
    return len(parts) != 1 or isinstance(parts[0], str)


def template_problems(value: JsonValue) -> list[tuple[str, ExpressionError]]:
    """Return every expression of a JSON value that cannot be read, with its path."""
    compiler = _Compiler()
    compiler.compile(value, "")
    return compiler.problems


def _evaluate(expression: Expression, scope: Scope, missing_is_null: bool) -> JsonValue:  # noqa: FBT001 - private
    try:
        return expression.evaluate(scope)
    except MissingNameError:
        if missing_is_null:
            return None
        raise


class _Compiler:
    """Compiles a value level by level.

    Attributes:
        found: Every expression in it, with its path.
        problems: Every one that cannot be read, with its path.
        secrets: Every place at which secrets are kept.
    """

    def __init__(self, *, keeps_secrets: bool = False) -> None:
        self.found: list[tuple[str, Expression]] = []
        self.problems: list[tuple[str, ExpressionError]] = []
        self.secrets: list[Place] = []
        self._keeps_secrets = keeps_secrets

    def compile(self, value: JsonValue, path: str, depth: int = 0, place: Place = ()) -> _Resolve:
        if isinstance(value, str):
            return self._text(value, path, place)
        if not isinstance(value, (dict, list)):
            return lambda _: value
        try:
            check_depth(depth)
        except ExpressionError as error:
            return self._problem(path, error)
        if isinstance(value, dict):
            entries = {
                key: self.compile(one, f"{path}.{key}" if path else key, depth + 1, (*place, key))
                for key, one in value.items()
            }
            return lambda evaluate: {key: resolve(evaluate) for key, resolve in entries.items()}
        items = [self.compile(one, f"{path}[{at}]", depth + 1, (*place, at)) for at, one in enumerate(value)]
        return lambda evaluate: [resolve(evaluate) for resolve in items]

    def _text(self, text: str, path: str, place: Place) -> _Resolve:
        try:
            parts = _parts(text)
        except ExpressionError as error:
            return self._problem(path, error)
        if self._keeps_secrets and any(secret_name(part) is not None for part in parts):
            return self._secret(parts, path, place)
        self.found.extend((path, part) for part in parts if isinstance(part, Expression))
        if len(parts) == 1 and isinstance(parts[0], Expression):
            only = parts[0]
            return lambda evaluate: evaluate(only)
        if all(isinstance(part, str) for part in parts):
            literal = "".join(part for part in parts if isinstance(part, str))
            return lambda _: literal
        return lambda evaluate: _joined(parts, evaluate)

    def _secret(self, parts: _Parts, path: str, place: Place) -> _Resolve:
        self.secrets.append(place)
        self.found.extend((path, part) for part in parts if isinstance(part, Expression) and secret_name(part) is None)
        return lambda evaluate: reference_to(parts, evaluate)

    def _problem(self, path: str, error: ExpressionError) -> _Resolve:
        self.problems.append((path, error))
        return lambda _: None


def _joined(parts: _Parts, evaluate: Callable[[Expression], JsonValue]) -> str:
    texts: list[str] = []
    size = 0
    for part in parts:
        texts.append(part if isinstance(part, str) else text_of(evaluate(part)))
        size += len(texts[-1])
        check_items(size)
    return "".join(texts)


def _parts(text: str) -> _Parts:
    """Split text into literal pieces and expressions.

    Raises:
        ExpressionError: An expression in it cannot be read; with the column in ``text``.
    """
    return _split_short(text) if len(text) <= _SHORT else _split(text)


def _split(text: str) -> _Parts:
    parts: list[str | Expression] = []
    at = 0
    while (place := text.find("${", at)) >= 0:
        if place > at and text[place - 1] == "$":
            parts.append(text[at : place - 1] + "${")
            at = place + 2
            continue
        if place > at:
            parts.append(text[at:place])
        expression, at = _plain(text, place + 2) or _any(text, place + 2)
        parts.append(expression)
    if at < len(text):
        parts.append(text[at:])
    return tuple(parts)


_SHORT: Final = 128
"""Characters of a text that is worth remembering: validation and the plan read each one, and many stand often."""

_split_short = lru_cache(maxsize=4_096)(_split)


def _plain(text: str, start: int) -> tuple[Expression, int] | None:
    """Return the reference ``root.key.key`` at ``start`` and the place behind its ``}``; None if there is none.

    It is what the parser would give, for a tenth of the time.
    """
    found = _PLAIN.match(text, start, start + DEFAULT.source_chars)
    if found is None:
        return None
    source = found[1]
    names = source.split(".")
    if len(names) > DEFAULT.chain or names[0] in WORDS:
        return None
    return compile_path(source, *names, offset=found.start(1)), found.end()


_PLAIN: Final = re.compile(r"[ \t\r\n\f]*+([A-Za-z_][A-Za-z0-9_]*+(?:\.[A-Za-z_][A-Za-z0-9_]*+)*+)[ \t\r\n\f]*+\}")
"""Possessive throughout: nothing is looked at twice."""


def _any(text: str, start: int) -> tuple[Expression, int]:
    """Return the expression that begins at ``start``, and the place behind its ``}``."""
    tokens, at = tokenize(text, start, closing=True)
    source = text[start : at - 1]
    offset = start + len(source) - len(source.lstrip())
    return compile_tree(parse_tokens(tokens, text), source.strip(), offset), at
