"""The door through which every payload enters: checked strictly, encoded once, and what the bytes say is what counts.

JSON types only: ``None bool int float str list dict``; floats finite, keys strings, depth and size bounded. A tuple is
taken for a list. The fast path encodes and compares what the bytes decode to with the value, all in C; only where they
differ does a walk in Python find the place to name.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from treadle.errors import ValidationError
from treadle.settings import Settings

if TYPE_CHECKING:
    from treadle.model import JsonValue

_encoder = msgspec.json.Encoder()
_decode = msgspec.json.Decoder().decode
_DEFAULTS = Settings()

NULL = Raw(b"null")


class PayloadError(ValidationError):
    """A value is no JSON payload; ``path`` names the place within it (``""`` for the whole)."""

    code = "payload"

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.args = (message, path)
        self.path = path

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def encode_payload(value: JsonValue, settings: Settings = _DEFAULTS) -> Raw:
    """Return the JSON bytes of ``value``.

    Raises:
        PayloadError: ``value`` is not made of JSON types, is too deep or too large.
    """
    try:
        data = _encoder.encode(value)
        decoded = _decode(data)
        if decoded != value:
            data, decoded = _encode_plain(value, settings)
    except PayloadError:
        raise
    except Exception:  # noqa: BLE001 - every reason is named by the walk; what it cannot name is refused as a whole
        data, decoded = _encode_plain(value, settings)
    if len(data) > settings.max_payload_bytes:
        raise PayloadError(f"{len(data):,} bytes of JSON, more than the limit of {settings.max_payload_bytes:,}")
    if data.count(b"[") + data.count(b"{") > settings.max_nesting:
        check_nesting(decoded, settings.max_nesting)
    return Raw(data)


def _encode_plain(value: JsonValue, settings: Settings) -> tuple[bytes, JsonValue]:
    plain = _plain(value, settings.max_nesting)
    try:
        data = _encoder.encode(plain)
        return data, _decode(data)
    except Exception as error:
        raise PayloadError(f"it cannot be written as JSON: {type(error).__name__}") from error


def encode_decoded(value: JsonValue) -> Raw:
    """Return the JSON bytes of a value that came out of such bytes, whatever its size."""
    return Raw(_encoder.encode(value))


def decode_payload(data: Raw | bytes) -> JsonValue:
    """Return a new value from bytes that ``encode_payload`` gave."""
    return _decode(data)


def check_nesting(value: JsonValue, limit: int) -> None:
    """Raise ``PayloadError`` if lists and objects in ``value`` nest deeper than ``limit``; looks level by level."""
    level: list[JsonValue] = [value]
    depth = 0
    while level := [one for one in level if type(one) is dict or type(one) is list]:
        depth += 1
        if depth > limit:
            raise PayloadError(f"nested deeper than the limit of {limit}")
        below: list[JsonValue] = []
        for one in level:
            below += one.values() if type(one) is dict else one
        level = below


def _plain(value: JsonValue, limit: int, path: str = "", depth: int = 0) -> JsonValue:
    """Return ``value`` with tuples as lists, or raise ``PayloadError`` naming the first place that is not JSON."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _plain_text(value, path)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise PayloadError(f"{value} is not a JSON number", path)
        return float(value)
    if depth >= limit:
        raise PayloadError(f"nested deeper than the limit of {limit}")
    if isinstance(value, (list, tuple)):
        return [_plain(one, limit, f"{path}[{index}]", depth + 1) for index, one in enumerate(value)]
    if isinstance(value, dict):
        return {
            _key(key, path): _plain(one, limit, f"{path}.{key}" if path else str(key), depth + 1)
            for key, one in value.items()
        }
    raise PayloadError(f"{type(value).__name__} is not a JSON type", path)


def _plain_text(text: str, path: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PayloadError("text with a lone surrogate cannot be stored", path) from None
    return str(text)


def _key(key: object, path: str) -> str:
    if not isinstance(key, str):
        raise PayloadError(f"the key {key!r} is a {type(key).__name__}, not a string", path)
    return _plain_text(key, path)


def kind_of(value: object) -> str:
    """Return what a JSON value is, in the words of messages."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return f"a {type(value).__name__}"


def comparable(value: JsonValue) -> str:
    """Return a JSON value as text that is the same for equal values.

    With keys in order, and whole numbers without a fraction: ``1`` and ``1.0`` are one number, as in expressions.
    """
    return msgspec.json.encode(_without_fractions(value), order="deterministic").decode()


def _without_fractions(value: JsonValue) -> JsonValue:
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, list):
        return [_without_fractions(one) for one in value]
    if isinstance(value, dict):
        return {name: _without_fractions(one) for name, one in value.items()}
    return value
