"""Source text to tokens, one at a time, left to right; no backtracking."""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from treadle.errors import ExpressionError
from treadle.model import JsonValue


class Token(Struct, frozen=True):
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
_NUMBER: Final = re.compile(r"0[xX][0-9a-fA-F]+|[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATORS: Final = ("&&", "||", "==", "!=", "<=", ">=", *"!<>+-*/%?:.,()[]{}")
_LITERALS: Final[dict[str, JsonValue]] = {"true": True, "false": False, "null": None}
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
_CODE_DIGITS: Final = {"x": 2, "X": 2, "u": 4, "U": 8}


def tokenize(source: str, start: int = 0, *, closing: bool = False) -> tuple[list[Token], int]:
    """Return the tokens of ``source`` from ``start``, the last of kind ``end``, and the place behind them.

    Args:
        source: The text.
        start: 0-based place to begin at.
        closing: Stop behind the ``}`` that closes a ``${``; otherwise at the end of the text.

    Raises:
        ExpressionError: A character that begins no token, a literal that does not end, or a missing ``}``.
    """
    tokens: list[Token] = []
    at, depth = start, 0
    while at < len(source):
        if source[at] in " \t\r\n":
            at += 1
            continue
        if closing and depth == 0 and source[at] == "}":
            tokens.append(Token("end", "", at))
            return tokens, at + 1
        token, at = _token(source, at)
        depth += (token.kind == "op") * ((token.text == "{") - (token.text == "}"))
        tokens.append(token)
    if closing:
        raise ExpressionError("'${' without its closing '}'", source, start)
    tokens.append(Token("end", "", at))
    return tokens, at


def _token(source: str, at: int) -> tuple[Token, int]:
    character = source[at]
    if character in "'\"" or (character in "rR" and source[at + 1 : at + 2] in ("'", '"')):
        return _string(source, at)
    if found := _NAME.match(source, at):
        text = found.group()
        kind = "value" if text in _LITERALS else "name"
        return Token(kind, text, at, _LITERALS.get(text)), found.end()
    if found := _NUMBER.match(source, at):
        return _number(source, at, found.group()), found.end()
    for operator in _OPERATORS:
        if source.startswith(operator, at):
            return Token("op", operator, at), at + len(operator)
    raise ExpressionError(f"{character!r} has no meaning here", source, at + 1)


def _number(source: str, at: int, text: str) -> Token:
    try:
        if text[:2] in ("0x", "0X"):
            return Token("value", text, at, int(text, 16))
        value = float(text) if any(mark in text for mark in ".eE") else int(text)
    except ValueError:
        raise ExpressionError("a number of too many digits", source, at + 1) from None
    if value == float("inf"):
        raise ExpressionError(f"{text} is too large for a number", source, at + 1)
    return Token("value", text, at, value)


def _string(source: str, start: int) -> tuple[Token, int]:
    raw = source[start] in "rR"
    at = start + raw
    quote = source[at] * 3 if source.startswith(source[at] * 3, at) else source[at]
    at += len(quote)
    parts: list[str] = []
    while not source.startswith(quote, at):
        if at >= len(source) or (len(quote) == 1 and source[at] in "\r\n"):
            raise ExpressionError("text without its closing quote", source, start + 1)
        if source[at] == "\\" and not raw:
            part, at = _escape(source, at)
        else:
            part, at = source[at], at + 1
        parts.append(part)
    end = at + len(quote)
    return Token("value", source[start:end], start, "".join(parts)), end


def _escape(source: str, at: int) -> tuple[str, int]:
    kind = source[at + 1 : at + 2]
    if kind in _ESCAPES and kind:
        return _ESCAPES[kind], at + 2
    digits = _CODE_DIGITS.get(kind, 0)
    code = source[at + 2 : at + 2 + digits]
    if digits and len(code) == digits and all(one in "0123456789abcdefABCDEF" for one in code):
        number = int(code, 16)
        if number <= 0x10FFFF and not 0xD800 <= number <= 0xDFFF:
            return chr(number), at + 2 + digits
    raise ExpressionError("an escape that CEL does not know", source, at + 1)
