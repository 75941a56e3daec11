"""JSON values as Python literals. What is written is a value whatever is in it, and never code.

The form is the one a formatter leaves: what fits stands on one line, other containers on several with a comma behind
each item, and long text is parted.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

JsonValue: TypeAlias = Any
"""``None``, ``bool``, ``int``, ``float``, ``str``, ``list`` of these, or ``dict`` from ``str`` to these."""

INDENT: Final = "    "
LINE_CHARS: Final = 88
PART_CHARS: Final = 64
"""Longest piece of text on one line, before escapes."""

_ESCAPES: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}


def literal(value: JsonValue, depth: int = 0, used: int = 0) -> str:
    """Return the expression of ``value``, whose first line stands at ``depth`` behind ``used`` characters.

    Raises:
        TypeError: It is no JSON value.
    """
    match value:
        case str():
            return _text(value, depth)
        case None | bool() | int() | float():
            return repr(value)
        case list():
            return block("[", [literal(one, depth + 1) for one in value], "]", depth, used)
        case dict():
            items = [entry(key, literal(one, depth + 1, len(quoted(key)) + 2)) for key, one in value.items()]
            return block("{", items, "}", depth, used)
        case _:
            raise TypeError(f"{type(value).__name__} is no JSON value")


def entry(key: str, value: str) -> str:
    """Return one item of a dict."""
    return f"{quoted(key)}: {value}"


def block(begin: str, items: list[str], end: str, depth: int, used: int = 0) -> str:
    """Return items between two brackets, on one line if they fit, else each on lines of its own, one level deeper."""
    line = f"{begin}{', '.join(items)}{end}"
    if not items or ("\n" not in line and depth * len(INDENT) + used + len(line) < LINE_CHARS):
        return line
    inner = "".join(f"{INDENT * (depth + 1)}{item},\n" for item in items)
    return f"{begin}\n{inner}{INDENT * depth}{end}"


def _text(text: str, depth: int) -> str:
    if len(text) <= PART_CHARS:
        return quoted(text)
    parts = [text[place : place + PART_CHARS] for place in range(0, len(text), PART_CHARS)]
    inner = "".join(f"{INDENT * (depth + 1)}{quoted(part)}\n" for part in parts)
    return f"(\n{inner}{INDENT * depth})"


def quoted(text: str) -> str:
    """Return the literal of text on one line."""
    quote = "'" if text.count('"') > text.count("'") else '"'
    return quote + "".join("\\" + one if one == quote else _character(one) for one in text) + quote


def _character(one: str) -> str:
    if one in _ESCAPES:
        return _ESCAPES[one]
    if one.isprintable():
        return one
    number = ord(one)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
