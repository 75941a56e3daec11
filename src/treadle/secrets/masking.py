"""Takes secrets out of text and JSON values, in every form in which programs pass text on.

A secret is looked for as it is, in base64 (both alphabets, wherever it stands in what was encoded), in hex, quoted for
URLs, and escaped as JSON, Python, HTML and shells do; of a secret of many lines also each line. What was cut into
pieces, compressed, hashed or encrypted is not found.
"""

from __future__ import annotations

import base64
import html
import json
import re
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias
from urllib.parse import quote, quote_plus

import msgspec
from msgspec import Raw

from treadle.values import encode_decoded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from treadle.model import JsonValue

LEAST_CHARS: Final = 6
"""A shorter secret would be found in every other word, so it is refused."""

MOST_CHARS: Final = 64 * 1024
_MOST_KEPT: Final = 200
"""Values that are remembered after the last attempt that used them ended; what was used longest ago is forgotten."""

_ALPHABETS: Final = (base64.b64encode, base64.urlsafe_b64encode)
_URL_SAFE: Final = ("", "/", "!~*'()", "/:?#[]@!$&'()*+,;=")
_FRAME: Final = "-----"
"""Begins the first and the last line of a key in a file; they are no secret."""


class _Form(NamedTuple):
    """One way in which a secret may be written.

    Attributes:
        core: Text that is there for certain.
        needle: The core as it stands in JSON bytes.
        pattern: A regular expression for all of it; ``""`` where the core is all.
        name: Of the secret.
        value: The secret.
    """

    core: str
    needle: bytes
    pattern: str
    name: str
    value: str


_Piece: TypeAlias = "str | _Form"


class Mask:
    """The secrets that an engine has handed out. May be asked from any thread; told only from one."""

    def __init__(self) -> None:
        self._forms: list[_Form] = []  # replaced, never changed, since threads read it
        self._uses: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._forms)

    def hold(self, name: str, value: str) -> None:
        """Take ``value`` out from now on, as ``[secret NAME]``; for each hold there is one ``let_go``."""
        is_known = value in self._uses
        self._uses[value] = self._uses.pop(value, 0) + 1  # at the end: it was used last
        if not is_known:
            forms = [*self._forms, *_forms(name, value)]
            self._forms = sorted(forms, key=lambda one: -len(one.core))

    def let_go(self, values: Iterable[str]) -> None:
        """Note that an attempt that used them has ended; they are remembered for a while."""
        for value in values:
            self._uses[value] -= 1
        idle = [value for value, uses in self._uses.items() if not uses]
        forgotten = set(idle[: max(0, len(idle) - _MOST_KEPT)])
        if forgotten:
            self._uses = {value: uses for value, uses in self._uses.items() if value not in forgotten}
            self._forms = [one for one in self._forms if one.value not in forgotten]

    def text(self, text: str) -> str:
        """Return text without secrets."""
        found = [form for form in self._forms if form.core in text]
        if not found:
            return text
        # Piece by piece, so that nothing is looked for in the marks themselves.
        pieces: list[_Piece] = [text]
        for form in found:
            pieces = [part for piece in pieces for part in _split(piece, form)]
        return "".join(one if isinstance(one, str) else f"[secret {one.name}]" for one in pieces)

    def payload(self, data: Raw) -> Raw:
        """Return the bytes of a JSON value without secrets: the very same where there are none in it."""
        forms = self._forms
        if not forms:
            return data
        content = bytes(data)
        if not any(form.needle in content for form in forms):
            return data
        return encode_decoded(self.value(msgspec.json.decode(content)))

    def value(self, value: JsonValue) -> JsonValue:
        """Return a JSON value without secrets, in keys and numbers too."""
        match value:
            case str():
                return self.text(value)
            case dict():
                return {self.text(key): self.value(one) for key, one in value.items()}
            case list():
                return [self.value(one) for one in value]
            case int() | float() if not isinstance(value, bool):
                shown = msgspec.json.encode(value).decode()
                masked = self.text(shown)
                return value if masked == shown else masked
            case _:
                return value


def _split(piece: _Piece, form: _Form) -> Iterator[_Piece]:
    """Yield what stands around a form, with the form itself between."""
    if not isinstance(piece, str) or form.core not in piece:
        yield piece
        return
    first, *rest = re.split(form.pattern, piece) if form.pattern else piece.split(form.core)
    yield first
    for one in rest:
        yield form
        yield one


def _forms(name: str, value: str) -> Iterator[_Form]:
    for core, pattern in dict(found for one in (value, *_lines(value)) for found in _written(one)).items():
        yield _Form(core, msgspec.json.encode(core)[1:-1], pattern, name, value)


def _lines(value: str) -> list[str]:
    """Return the lines of a secret that has several: output is often written line by line."""
    lines = [line.strip() for line in value.splitlines()]
    return [line for line in lines if len(line) >= LEAST_CHARS and not line.startswith(_FRAME)] if lines[1:] else []


def _written(value: str) -> Iterator[tuple[str, str]]:
    """Yield each form of a text, as core and pattern."""
    data = value.encode()
    for form in (value, data.hex(), data.hex().upper(), *_quoted(value), *_escaped(value)):
        yield form, ""
    for before in range(3):
        yield from _base64(data, before)


def _quoted(value: str) -> Iterator[str]:
    """Yield what stands for a text in URLs."""
    for quoted in (*(quote(value, safe=safe) for safe in _URL_SAFE), quote_plus(value)):
        yield quoted
        yield re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), quoted)


def _escaped(value: str) -> Iterator[str]:
    """Yield what stands for a text within JSON (also in text within JSON), Python, HTML and shell words."""
    for once in (json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]):
        yield from (once, once.replace("/", r"\/"), json.dumps(once)[1:-1], json.dumps(once, ensure_ascii=False)[1:-1])
    for shown in (repr(value), ascii(value)):
        yield shown[1:-1]
        yield shown[1:-1].replace("'", r"\'")  # as Python writes it where the other quote stands beside it
    yield repr(value.encode())[2:-1]
    yield from (html.escape(value), html.escape(value, quote=False))
    yield value.replace("'", """'"'"'""")


def _base64(data: bytes, before: int) -> Iterator[tuple[str, str]]:
    """Yield core and pattern of what base64 makes of ``data`` behind ``before`` bytes (modulo 3), in both alphabets.

    A character holds six bits. Those that hold bits of the secret alone are the core. The one at each end that shares
    its bits with what stands there is one of a few, and is taken out too.
    """
    whole = bytes(before) + data
    start, end, over = -(-before * 8 // 6), len(whole) * 8 // 6, len(whole) % 3
    first: set[str] = set()
    last: set[str] = set()
    for encode in _ALPHABETS:
        for bits in range(16):  # it shares two bits or four
            first.update(encode(bytes([bits]) * before + data[:3]).decode()[start - 1] if before else "")
            last.update(encode(data[-over:] + bytes([bits << 4])).decode()[over * 8 // 6] if over else "")
    for core in {encode(whole).decode()[start:end] for encode in _ALPHABETS}:
        yield core, f"{_one_of(first)}{re.escape(core)}{_one_of(last)}={{0,2}}"


def _one_of(characters: set[str]) -> str:
    return f"[{''.join(map(re.escape, sorted(characters)))}]?" if characters else ""
