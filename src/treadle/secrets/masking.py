"""Takes secrets out of text and JSON values, in every form in which programs pass text on.

A secret is looked for in each of its forms (see ``forms``), also across the line breaks that mail and tools put in; of
a secret of many lines also each line. What was cut into pieces, compressed, hashed or encrypted is not found.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import msgspec
from msgspec import Raw

from treadle.secrets.forms import written
from treadle.values import encode_decoded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from treadle.model import JsonValue

LEAST_CHARS: Final = 6
"""A shorter secret would be found in every other word, so it is refused."""

MOST_CHARS: Final = 64 * 1024
_MOST_KEPT: Final = 200
"""Values that are remembered after the last attempt that used them ended; what was used longest ago is forgotten."""

_FOLD: Final = re.compile(r"[\r\n]+[ \t]*")
"""A line break, with what the next line is indented by: programs that bound their lines put it anywhere."""

_FOLD_IN_JSON: Final = re.compile(rb"(\\[^nr])|(?:\\[nr])+(?: |\\t)*")
"""The same in JSON bytes; other escapes are taken whole, so that the ``n`` behind two backslashes is no line break."""

_FRAME: Final = "-----"
"""Begins the first and the last line of a key in a file; they are no secret."""


class _Form(NamedTuple):
    """One way in which a secret may be written.

    Attributes:
        core: Text that is there for certain, without line breaks.
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
        flat = _flat(text)
        found = [form for form in self._forms if form.core in flat]
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
        flat = _FOLD_IN_JSON.sub(rb"\1", content) if b"\\n" in content or b"\\r" in content else content
        if not any(form.needle in flat for form in forms):
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
    if not isinstance(piece, str):
        yield piece
        return
    flat, place = _unfolded(piece)
    end = 0
    if form.core in flat:
        for found in re.finditer(form.pattern or re.escape(form.core), flat):
            yield piece[end : place(found.start())]
            yield form
            end = place(found.end() - 1) + 1
    yield piece[end:]


def _unfolded(text: str) -> tuple[str, Callable[[int], int]]:
    """Return text without its line breaks, and what tells where a character of that stands in the text."""
    starts, skipped, total = [0], [0], 0
    flat = _flat(text)
    if flat is text:
        return text, int
    for one in _FOLD.finditer(text):
        total += one.end() - one.start()
        starts.append(one.end() - total)
        skipped.append(total)
    return flat, lambda at: at + skipped[bisect_right(starts, at) - 1]


def _flat(text: str) -> str:
    """Return text without its line breaks; most has none."""
    return _FOLD.sub("", text) if "\n" in text or "\r" in text else text


def _forms(name: str, value: str) -> Iterator[_Form]:
    for core, pattern in dict(found for one in (value, *_lines(value)) for found in written(one)).items():
        flat = _flat(core)
        yield _Form(flat, msgspec.json.encode(flat)[1:-1], pattern, name, value)


def _lines(value: str) -> list[str]:
    """Return the lines of a secret that has several: output is often written line by line."""
    lines = [line.strip() for line in value.splitlines()]
    return [line for line in lines if len(line) >= LEAST_CHARS and not line.startswith(_FRAME)] if lines[1:] else []
