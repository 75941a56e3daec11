"""The forms in which programs write a text, so that it can be found in what they write.

As it is, in hex, quoted for URLs, escaped as JSON, Python, HTML and shells do, and in base64: in both alphabets,
wherever it stands in what was encoded, and also where it was quoted or escaped before, or the base64 after.
"""

from __future__ import annotations

import base64
import html
import json
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Iterator

_ALPHABETS: Final = (base64.b64encode, base64.urlsafe_b64encode)
_URL_SAFE: Final = ("", "/", "!~*'()", "/:?#[]@!$&'()*+,;=")


def written(value: str) -> Iterator[tuple[str, str]]:
    """Yield each form of a text, as core and pattern."""
    for form in (value, *_hex(value.encode()), *_quoted(value), *_escaped(value)):
        yield form, ""
    for inner in dict.fromkeys((value, *_in_json(value), quote(value, safe=""), quote_plus(value))):
        for before in range(3):
            yield from _base64(inner.encode(), before)


def _hex(data: bytes) -> Iterator[str]:
    for digits in (data.hex(), data.hex(":"), data.hex(" ")):
        yield from (digits, digits.upper())


def _quoted(value: str) -> Iterator[str]:
    """Yield what stands for a text in URLs, also in URLs within URLs."""
    whole = "".join(f"%{byte:02X}" for byte in value.encode())
    for once in dict.fromkeys((*(quote(value, safe=safe) for safe in _URL_SAFE), quote_plus(value), whole)):
        lower = re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), once)
        yield from (once, lower)
        for inner in (once, lower):
            yield from (inner.replace("%", "%25"), quote(inner, safe=""))


def _escaped(value: str) -> Iterator[str]:
    """Yield what stands for a text within JSON (also in text within JSON), Python, HTML and shell words."""
    for once in _in_json(value):
        for inner in dict.fromkeys((once, once.replace("/", r"\/"))):
            twice = dict.fromkeys(json.dumps(inner, ensure_ascii=one)[1:-1] for one in (True, False))
            yield from (inner, *twice, *(json.dumps(one)[1:-1] for one in twice))
    for shown in (repr(value), ascii(value)):
        yield shown[1:-1]
        yield shown[1:-1].replace("'", r"\'")  # as Python writes it where the other quote stands beside it
    yield repr(value.encode())[2:-1]
    for shown in (html.escape(value), html.escape(value, quote=False)):
        yield from (shown, *(shown.replace("&#x27;", one) for one in ("&#39;", "&#039;", "&apos;")))
    yield value.replace("'", """'"'"'""")


def _in_json(value: str) -> Iterator[str]:
    """Yield how JSON is written of a text: by most, and by those that also escape what HTML could take for its own."""
    for plain in (json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]):
        yield plain
        yield _with_codes(plain, "<>&\u2028\u2029")  # Go
        yield _with_codes(plain, "<>&='")  # Gson
    upper = re.sub(r"\\u[0-9a-f]{4}|\\.", lambda one: one[0][:2] + one[0][2:].upper(), json.dumps(value)[1:-1])
    yield upper
    yield _with_codes(upper.replace(r"\"", r"\u0022"), "<>&'+`", "04X")  # .NET


def _with_codes(text: str, characters: str, form: str = "04x") -> str:
    return text.translate({ord(one): f"\\u{ord(one):{form}}" for one in characters})


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
        for form in dict.fromkeys((core, *_base64_in_text(core))):
            yield form, f"{_one_of(first)}{re.escape(form)}{_one_of(last)}(?:=|%3[Dd]){{0,2}}"


def _base64_in_text(core: str) -> Iterator[str]:
    """Yield what stands for base64 in URLs and in JSON."""
    yield from (core.replace("+", "%2B").replace("/", "%2F"), core.replace("+", "%2b").replace("/", "%2f"))
    yield from (core.replace("/", r"\/"), core.replace("+", r"\u002B"))


def _one_of(characters: set[str]) -> str:
    return f"[{''.join(map(re.escape, sorted(characters)))}]?" if characters else ""
