"""The older spelling of conditions, translated when it is read: ``"${a.ok} == true and not ${b}"``.

It is recognised by a ``${``, or by one of the words ``and or not True False None``. Its operators take values of every
type by their truth, so the translation wraps what they combine in ``truthy()``.
"""

from __future__ import annotations

from typing import Final

import msgspec

from treadle.errors import ExpressionError
from treadle.expressions.budget import DEFAULT
from treadle.expressions.tokens import Token, tokenize, too_long

_WORDS: Final = {"and": "&&", "or": "||", "not": "!", "True": "true", "False": "false", "None": "null"}
_COMPARISONS: Final = ("==", "!=", "<", "<=", ">", ">=", "in", "is")
_ENDS: Final = (*_COMPARISONS, "not", "and", "or", "&&", "||", ")")
"""What ends an operand outside of brackets."""


def translate_condition(source: str) -> str:
    """Return ``source`` in CEL; unchanged if it is no older spelling.

    Raises:
        ExpressionError: It is neither, or too long or too deep; with the column.
    """
    if len(source) > DEFAULT.source_chars:
        raise too_long(source)
    if "${" not in source and not any(token.kind == "name" and token.text in _WORDS for token in _tokens(source)):
        return source
    return _Translation(_tokens(_without_marks(source)), source).whole()


def _tokens(source: str) -> list[Token]:
    """Return the tokens of ``source``; what stands behind a dot is a key, whatever word it is."""
    tokens, _ = tokenize(source)
    return [
        msgspec.structs.replace(token, kind="key") if token.kind == "name" and before and before.text == "." else token
        for before, token in zip([None, *tokens], tokens, strict=False)
    ]


def _without_marks(source: str) -> str:
    """Return ``source`` with each ``${path}`` as `` (path)``, which keeps the columns."""
    parts: list[str] = []
    at = 0
    while (place := source.find("${", at)) >= 0:
        _, end = tokenize(source, place + 2, closing=True)
        parts.append(f"{source[at:place]} ({source[place + 2 : end - 1]})")
        at = end
    parts.append(source[at:])
    for token in _tokens("".join(parts)):
        if token.kind == "value" and "${" in source[token.at : token.at + len(token.text)]:
            raise ExpressionError("'${' within quotes; write the reference without them", source, token.at + 1)
    return "".join(parts)


class _Translation:
    """``or`` over ``and`` over ``not`` over comparisons; what stands between them is kept as it is."""

    def __init__(self, tokens: list[Token], source: str) -> None:
        self._tokens = tokens
        self._source = source
        self._place = 0
        self._depth = 0

    def whole(self) -> str:
        text = self._either()
        if self._next.kind != "end":
            raise self._error("expected the end")
        return text

    @property
    def _next(self) -> Token:
        return self._tokens[self._place]

    def _error(self, message: str) -> ExpressionError:
        token = self._next
        found = repr(token.text[:40]) if token.kind != "end" else "the end"
        return ExpressionError(f"{message}, found {found}", self._source, token.at + 1)

    def _is(self, *texts: str) -> bool:
        return self._next.kind in ("name", "op") and self._next.text in texts

    def _take(self, *texts: str) -> bool:
        found = self._is(*texts)
        self._place += found
        return found

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > DEFAULT.nesting:
            at = self._next.at + 1
            raise ExpressionError(f"a condition nested deeper than {DEFAULT.nesting} levels", self._source, at)

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
        if not self._take("not", "!"):
            return self._comparison()
        self._deeper()
        text = f"!({self._negated()})"
        self._depth -= 1
        return text

    def _comparison(self) -> str:
        left = self._operand()
        if self._take("not"):
            if not self._take("in"):
                raise self._error("expected 'in' behind 'not'")
            return f"!({left} in {self._operand()})"
        if not self._is(*_COMPARISONS):
            return f"truthy({left})"
        return f"({left} {self._operator()} {self._operand()})"

    def _operator(self) -> str:
        operator = self._next.text
        self._place += 1
        if operator != "is":
            return operator
        return "!=" if self._take("not") else "=="

    def _operand(self) -> str:
        parts: list[str] = []
        depth = 0
        while self._next.kind != "end":
            token = self._next
            if depth == 0 and self._is(*_ENDS):
                break
            if self._is("(") and not (parts and (parts[-1].isidentifier() or parts[-1] in ("]", ")"))):
                parts.append(self._group())
                continue
            if token.kind == "op":
                depth += (token.text in "([{") - (token.text in ")]}")
            parts.append(_spelled(token))
            self._place += 1
        if not parts:
            raise self._error("expected a value")
        return _joined(parts)

    def _group(self) -> str:
        """Return a parenthesis: a condition in itself, or a plain value, which keeps its type."""
        self._deeper()
        start = self._place
        self._place += 1
        inner = self._either()
        if not self._take(")"):
            raise self._error("expected ')'")
        self._depth -= 1
        tokens = self._tokens[start + 1 : self._place - 1]
        if any(one.kind in ("name", "op") and one.text in (*_ENDS[:-1], "!") for one in tokens):
            return f"({inner})"
        value = _joined([_spelled(one) for one in tokens])
        # The path of a ${path} needs no parentheses any more; a sum does.
        return f"({value})" if any(one.kind == "op" and one.text not in ".[]" for one in tokens) else value


def _spelled(token: Token) -> str:
    return _WORDS.get(token.text, token.text) if token.kind == "name" else token.text


def _joined(parts: list[str]) -> str:
    """Join tokens: tight around dots and brackets, spaced elsewhere."""
    text = ""
    for part in parts:
        tight = not text or part in (".", "[", "]", "(", ")", ",") or text.endswith((".", "[", "("))
        text += part if tight else f" {part}"
    return text
