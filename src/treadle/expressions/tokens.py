"""Source text to tokens, one at a time, left to right; no backtracking."""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from treadle.errors import ExpressionError
from treadle.expressions.budget import DEFAULT
from treadle.model import JsonValue


class Token(Struct, frozen=True, gc=False):
    """One token.

    Attributes:
        kind: ``name``, ``value`` (a literal), ``op``, or ``end``.
        text: As written; for ``op`` the operator.
        at: 0-based place in the source.
        value: Of a literal.
    """

    kind: str
    text: str
    at: int
    value: JsonValue = None


# Every alternative begins with another character or is a longest match, so each character is looked at once.
_NUMBER: Final = re.compile(r"0x[0-9a-fA-F]+|[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATORS: Final = ("&&", "||", "==", "!=", "<=", ">=", *"!<>+-*/%?:.,()[]{}")
_LITERALS: Final[dict[str, JsonValue]] = {"true": True, "false": False, "null": None}
WORDS: Final = frozenset({*_LITERALS, "in"})
"""Names that are no names."""

_ESCAPES: Final = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "\\": "\\",
    "'": "'",
    '"': '"',
    "`": "`",
    "?": "?",
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "v": "\v",
}
_HINTS: Final = {
    "=": "; '==' compares",
    "&": "; the operator is '&&'",
    "|": "; the operator is '||'",
    "`": '; a key that is no identifier is read as x["key"]',
    "$": "; '${' stands in text only",
}
_OCTAL: Final = re.compile(r"[0-3][0-7][0-7]")
_CODE_DIGITS: Final = {"x": 2, "X": 2, "u": 4, "U": 8}


def tokenize(source: str, start: int = 0, *, closing: bool = False) -> tuple[list[Token], int]:
    """Return the tokens of ``source`` from ``start``, the last of kind ``end``, and the place behind them.

    Args:
        source: The text.
        start: 0-based place to begin at.
        closing: Stop behind the ``}`` that closes a ``${``; otherwise at the end of the text.

    Raises:
        ExpressionError: Too many characters, one that begins no token, a literal that does not end, or a missing ``}``.
    """
    tokens: list[Token] = []
    at, depth = start, 0
    end = min(len(source), start + DEFAULT.source_chars)
    while at < end:
        if source[at] in " \t\r\n\f":
            at += 1
            continue
        if closing and depth == 0 and source[at] == "}":
            tokens.append(Token("end", "", at))
            return tokens, at + 1
        token, at = _token(source, at, end)
        depth += (token.kind == "op") * ((token.text == "{") - (token.text == "}"))
        tokens.append(token)
    if end < len(source) and (closing or at >= end):
        raise too_long(source, start)
    if closing:
        raise ExpressionError("'${' without its closing '}'", source, start)
    tokens.append(Token("end", "", at))
    return tokens, at


def too_long(source: str, start: int = 0) -> ExpressionError:
    """Return the error for an expression that begins at ``start`` and is too long."""
    return ExpressionError(f"an expression of more than {DEFAULT.source_chars:,} characters", source[:80], start + 1)


def _token(source: str, at: int, end: int) -> tuple[Token, int]:
    character = source[at]
    if character in "'\"" or (character in "rR" and source[at + 1 : at + 2] in ("'", '"')):
        return _string(source, at, end)
    if found := _NAME.match(source, at, end):
        text = found.group()
        kind = "value" if text in _LITERALS else "name"
        return Token(kind, text, at, _LITERALS.get(text)), found.end()
    if found := _NUMBER.match(source, at, end):
        return _number(source, at, found.group()), found.end()
    for operator in _OPERATORS:
        if source.startswith(operator, at):
            return Token("op", operator, at), at + len(operator)
    hint = _HINTS.get(character, '; a key that is no identifier is read as x["key"]' if character.isalpha() else "")
    raise ExpressionError(f"{character!r} has no meaning here{hint}", source, at + 1)


def _number(source: str, at: int, text: str) -> Token:
    try:
        if text.startswith("0x"):
            value: int | float = int(text, 16)
        else:
            value = float(text) if any(mark in text for mark in ".eE") else int(text)
    except ValueError:
        raise ExpressionError("a number of too many digits", source, at + 1) from None
    if value == float("inf"):
        raise ExpressionError(f"{text:.40} is too large for a number", source, at + 1)
    if type(value) is int and value.bit_length() > DEFAULT.integer_bits:
        raise ExpressionError(f"an integer of more than {DEFAULT.integer_bits:,} bits", source, at + 1)
    return Token("value", text, at, value)


def _string(source: str, start: int, end: int) -> tuple[Token, int]:
    raw = source[start] in "rR"
    at = start + raw
    quote = source[at] * 3 if source.startswith(source[at] * 3, at) else source[at]
    at += len(quote)
    parts: list[str] = []
    while not source.startswith(quote, at):
        if at >= end or (len(quote) == 1 and source[at] in "\r\n"):
            if at >= end < len(source):
                raise too_long(source, start)
            raise ExpressionError("text without its closing quote", source, start + 1)
        if source[at] == "\\" and not raw:
            part, at = _escape(source, at)
        else:
            part, at = source[at], at + 1
        parts.append(part)
    behind = at + len(quote)
    return Token("value", source[start:behind], start, "".join(parts)), behind


def _escape(source: str, at: int) -> tuple[str, int]:
    kind = source[at + 1 : at + 2]
    if kind in _ESCAPES and kind:
        return _ESCAPES[kind], at + 2
    if octal := _OCTAL.match(source, at + 1):
        return chr(int(octal.group(), 8)), octal.end()
    digits = _CODE_DIGITS.get(kind, 0)
    code = source[at + 2 : at + 2 + digits]
    if digits and len(code) == digits and all(one in "0123456789abcdefABCDEF" for one in code):
        number = int(code, 16)
        if number <= 0x10FFFF and not 0xD800 <= number <= 0xDFFF:
            return chr(number), at + 2 + digits
    raise ExpressionError(
        f"{source[at : at + 2]!r} begins no escape; a backslash itself is written twice", source, at + 1
    )
