"""The older spelling of conditions, translated when it is read: ``"${a.ok} == true and not ${b}"``.

It is recognised by a ``${``, or by one of the words ``and or not True False None``. Its operators take values of every
type by their truth, so the translation wraps what they combine in ``truthy()``.
"""

from __future__ import annotations

from typing import Final

from treadle.errors import ExpressionError
from treadle.expressions.tokens import Token, tokenize

_WORDS: Final = {"and": "&&", "or": "||", "not": "!", "True": "true", "False": "false", "None": "null"}
_COMPARISONS: Final = ("==", "!=", "<", "<=", ">", ">=", "in")


def translate_condition(source: str) -> str:
    """Return ``source`` in CEL; unchanged if it is no older spelling.

    Raises:
        ExpressionError: It is neither.
    """
    if "${" not in source:
        tokens, _ = tokenize(source)
        if not any(token.kind == "name" and token.text in _WORDS for token in tokens):
            return source
    tokens, _ = tokenize(_without_marks(source))
    translation = _Translation(tokens, source)
    return translation.whole()


def _without_marks(source: str) -> str:
    """Return ``source`` with each ``${path}`` as ``(path)``."""
    parts: list[str] = []
    at = 0
    while (place := source.find("${", at)) >= 0:
        _, end = tokenize(source, place + 2, closing=True)
        parts.append(f"{source[at:place]}({source[place + 2 : end - 1].strip()})")
        at = end
    parts.append(source[at:])
    return "".join(parts)


class _Translation:
    """``or`` over ``and`` over ``not`` over comparisons; what stands between them is kept as it is."""

    def __init__(self, tokens: list[Token], source: str) -> None:
        self._tokens = tokens
        self._source = source
        self._place = 0

    def whole(self) -> str:
        text = self._either()
        if self._next.kind != "end":
            raise ExpressionError(f"expected the end, found {self._next.text!r}", self._source)
        return text

    @property
    def _next(self) -> Token:
        return self._tokens[self._place]

    def _take(self, *texts: str) -> bool:
        found = self._next.kind in ("name", "op") and self._next.text in texts
        self._place += found
        return found

    def _either(self) -> str:
        parts = [self._both()]
        while self._take("or", "||"):
            parts.append(self._both())
        return " || ".join(parts)

    def _both(self) -> str:
        parts = [self._negated()]
        while self._take("and", "&&"):
            parts.append(self._negated())
        return " && ".join(parts)

    def _negated(self) -> str:
        if self._take("not", "!"):
            return f"!({self._negated()})"
        return self._comparison()

    def _comparison(self) -> str:
        left = self._operand()
        if self._next.text in _COMPARISONS and self._next.kind in ("op", "name"):
            operator = self._next.text
            self._place += 1
            return f"({left} {operator} {self._operand()})"
        return f"truthy({left})"

    def _operand(self) -> str:
        parts: list[str] = []
        depth = 0
        while self._next.kind != "end":
            token = self._next
            if depth == 0 and (token.text in (*_COMPARISONS, "and", "or", "&&", "||", ")") and token.kind != "value"):
                break
            if token.kind == "op" and token.text == "(" and not (parts and parts[-1].isidentifier()):
                parts.append(self._group())
                continue
            if token.kind == "op":
                depth += (token.text in "([{") - (token.text in ")]}")
            parts.append(_WORDS.get(token.text, token.text) if token.kind == "name" else token.text)
            self._place += 1
        if not parts:
            raise ExpressionError(f"expected a value, found {self._next.text or 'the end'!r}", self._source)
        return _joined(parts)

    def _group(self) -> str:
        """Return a parenthesis: a condition in itself, or a plain value, which keeps its type."""
        start = self._place
        self._place += 1
        inner = self._either()
        if not self._take(")"):
            raise ExpressionError("expected ')'", self._source)
        words = self._tokens[start + 1 : self._place - 1]
        if any(
            one.text in (*_COMPARISONS, "and", "or", "not", "!", "&&", "||") and one.kind != "value" for one in words
        ):
            return f"({inner})"
        return _joined([_WORDS.get(one.text, one.text) if one.kind == "name" else one.text for one in words])


def _joined(parts: list[str]) -> str:
    """Join tokens: tight around dots and brackets, spaced elsewhere."""
    text = ""
    for part in parts:
        tight = not text or part in (".", "[", "]", "(", ")", ",") or text.endswith((".", "[", "("))
        text += part if tight else f" {part}"
    return text
