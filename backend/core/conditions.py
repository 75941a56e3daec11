"""Conditions: ``${charge.result.paid} == true and 1 < ${input.count} < 10``.

A condition is bound first, each reference to its value and each quoted text with references in it to the text that
comes of them; so a missing value makes the whole of it false, wherever it stands, and what a value holds is never read
as part of the condition. Then it is taken apart at ``and``, ``or``, ``not`` and at chained comparisons, as Python reads
them, and each comparison that is left is treadle's own expression, and may cost what one of those may.
"""

from __future__ import annotations

import logging
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from core.references import find_references, present
from treadle.expressions import MISSING, ExpressionError, compile_expression, translate_condition

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from treadle.expressions import Missing

    Test = Callable[[], bool]

MAX_CHARS: Final = 16_384
MAX_NESTING: Final = 32

# A text or reference that does not end is refused where it begins, so no character is looked at many times.
_TOKEN: Final = re.compile(
    r"""(?P<space>\s+)
    |(?P<text>'(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*")
    |(?P<reference>\$\{[^}]+\})
    |(?P<number>\d[\w.]*(?:(?<=[eE])[+-]\d+)?)
    |(?P<word>[A-Za-z_]\w*)
    |(?P<sign>&&|\|\||[=!<>]=|[-+*/%<>!()\[\]{},:])
    |(?P<refused>.)""",
    re.VERBOSE | re.DOTALL,
)
_WORDS: Final = frozenset({"and", "or", "not", "in", "is", "true", "false", "null", "True", "False", "None"})
_COMPARES: Final = frozenset({"==", "!=", "<", "<=", ">", ">="})

_logger = logging.getLogger(__name__)


def condition_holds(condition: str | None, state: dict[str, Any]) -> bool:
    """Tell whether a condition is taken: True without one, False where a value is missing or nothing can be made of it.

    Besides references it knows ``== != < <= > >= and or not``, parentheses, numbers, quoted text, ``true`` and
    ``false``. Results other than these two count by their truth.
    """
    if condition is None or condition == "":
        return True
    try:
        return _Reading(condition, state).whole()()
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it is not taken
        _logger.warning("condition %.200r is not taken: %s", condition, error)
        return False


class _Token(Struct, frozen=True):
    """``text`` as treadle is told it; ``is_plain`` where it is a word or a sign, and no value."""

    text: str
    is_plain: bool


class _Reading:
    """Reads one condition, and holds what its references gave under the name ``value``."""

    def __init__(self, condition: str, state: dict[str, Any]) -> None:
        if len(condition) > MAX_CHARS:
            raise ExpressionError(f"a condition of more than {MAX_CHARS:,} characters", condition[:40])
        self._condition = condition
        self._state = state
        self._values: list[object] = []
        self._tokens = [token for found in _TOKEN.finditer(condition) for token in self._token(found)]
        self._close = self._brackets()

    def lookup(self, name: str) -> list[object] | Missing:
        return self._values if name == "value" else MISSING

    def whole(self) -> Test:
        return self._either(0, len(self._tokens), 0)

    # -- tokens

    def _error(self, message: str) -> ExpressionError:
        return ExpressionError(message, self._condition)

    def _token(self, found: re.Match[str]) -> Sequence[_Token]:
        text = found[0]
        match found.lastgroup:
            case "space":
                return ()
            case "reference":
                return (self._value(present(text[2:-1], self._state)),)
            case "text" if "${" in text:
                return (self._value(self._filled(text)),)
            case "refused":
                raise self._error(f"a condition has no {text!r}: no fields, no unfinished text or reference")
            case "word" if text not in _WORDS:
                raise self._error(f"a condition has no calls and no names of its own, such as {text[:40]!r}")
        return (_Token(text, is_plain=found.lastgroup in {"word", "sign"}),)

    def _value(self, value: object) -> _Token:
        self._values.append(value)
        return _Token(f"${{value[{len(self._values) - 1}]}}", is_plain=False)

    def _filled(self, quoted: str) -> str:
        """Return a quoted text with its references replaced by the text of what they give."""
        mark, inner, at = quoted[0], quoted[1:-1], 0
        parts: list[str] = []
        for start, end, path in find_references(inner):
            parts += (self._unquoted(mark, inner[at:start]), str(present(path, self._state)))
            at = end
        return "".join((*parts, self._unquoted(mark, inner[at:])))

    def _unquoted(self, mark: str, part: str) -> str:
        return str(compile_expression(f"{mark}{part}{mark}").evaluate(self))

    def _brackets(self) -> dict[int, int]:
        """Return the place of the bracket that closes each one that opens."""
        close: dict[int, int] = {}
        opened: list[int] = []
        for place, token in enumerate(self._tokens):
            if token.is_plain and token.text in "([{":
                opened.append(place)
            elif token.is_plain and token.text in ")]}":
                if not opened:
                    raise self._error(f"{token.text!r} closes nothing")
                close[opened.pop()] = place
        if opened:
            raise self._error("a bracket is not closed")
        return close

    # -- structure

    def _split(self, start: int, end: int, signs: frozenset[str]) -> tuple[list[tuple[int, int]], list[str]]:
        """Return the parts between ``signs`` that stand in no bracket, and which signs those are."""
        parts: list[tuple[int, int]] = []
        found: list[str] = []
        begin = place = start
        while place < end:
            token = self._tokens[place]
            if token.is_plain and token.text in signs:
                parts.append((begin, place))
                found.append(token.text)
                begin = place + 1
            place = self._close.get(place, place) + 1
        return [*parts, (begin, end)], found

    def _either(self, start: int, end: int, depth: int) -> Test:
        parts, _ = self._split(start, end, frozenset({"or", "||"}))
        tests = [self._both(*part, depth) for part in parts]
        return lambda: any(test() for test in tests)

    def _both(self, start: int, end: int, depth: int) -> Test:
        parts, _ = self._split(start, end, frozenset({"and", "&&"}))
        tests = [self._negated(*part, depth) for part in parts]
        return lambda: all(test() for test in tests)

    def _negated(self, start: int, end: int, depth: int) -> Test:
        turns = start
        while turns < end and self._tokens[turns].is_plain and self._tokens[turns].text in {"not", "!"}:
            turns += 1
        test = self._group(turns, end, depth)
        return (lambda: not test()) if (turns - start) % 2 else test

    def _group(self, start: int, end: int, depth: int) -> Test:
        if start < end and self._tokens[start].text == "(" and self._close[start] == end - 1:
            if depth == MAX_NESTING:
                raise self._error(f"a condition nested deeper than {MAX_NESTING} levels")
            return self._either(start + 1, end - 1, depth + 1)
        return self._comparison(start, end)

    def _comparison(self, start: int, end: int) -> Test:
        operands, signs = self._split(start, end, _COMPARES)
        if len(signs) < 2:
            return self._expression(self._text(start, end))
        texts = [self._text(*one) for one in operands]
        links = zip(pairwise(texts), signs, strict=True)
        tests = [self._expression(f"{left} {sign} {right}") for (left, right), sign in links]
        return lambda: all(test() for test in tests)

    def _text(self, start: int, end: int) -> str:
        if start >= end:
            raise self._error("a value is missing")
        return " ".join(token.text for token in self._tokens[start:end])

    def _expression(self, text: str) -> Test:
        expression = compile_expression(translate_condition(text))
        return lambda: bool(expression.evaluate(self))
