"""Takes secrets out of what is written for others to read: values under keys that say so, wherever they turn up again.

What is not under such a key is not known for a secret; whoever commits a recording reads it first.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from treadle.cli.literals import JsonValue

PLACEHOLDER: Final = "REDACTED"

ANYWHERE: Final = frozenset(
    {"password", "passwords", "passwd", "passphrase", "pwd", "secret", "secrets", "credential", "credentials"}
)
"""Words that make a key secret wherever they stand in it: ``db_password``, ``secretValue``."""

AT_THE_END: Final = (
    *("token", "tokens", "authorization", "cookie", "cookies", "jwt", "apikey", "bearer"),
    *("api key", "access key", "private key", "signing key", "encryption key"),
)
"""Words that make a key secret at its end: ``access_token``, ``X-API-Key``, and not ``token_count``."""

_COUNTED: Final = ("token", "tokens")
"""Under these a number is an amount: language models count tokens."""

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")
_LEAST_CHARS: Final = 4
"""Shorter text is not looked for elsewhere: it would be found in every other word."""


def is_secret_key(key: str) -> bool:
    """Tell whether a key says that what is under it is secret."""
    words = [word.lower() for word in _WORD.findall(key)]
    return bool(ANYWHERE.intersection(words)) or f" {' '.join(words)}".endswith(tuple(f" {one}" for one in AT_THE_END))


class Redaction:
    """Learns secrets, then takes them out.

    Attributes:
        count: How many values and pieces of text were taken out.
    """

    def __init__(self) -> None:
        self.count = 0
        self._known: set[str] = set()

    def learn(self, value: JsonValue) -> None:
        """Note the text under secret keys of ``value``."""
        self._known.update(one for one in _secrets(value, "") if len(one) >= _LEAST_CHARS and not _is_reference(one))

    def __call__(self, value: JsonValue, key: str = "") -> JsonValue:
        """Return ``value`` without secrets; ``key`` is the secret key it stands under, if any."""
        match value:
            case dict():
                return {self.text(name): self(one, name if is_secret_key(name) else key) for name, one in value.items()}
            case list():
                return [self(one, key) for one in value]
            case str() if key and value and not _is_reference(value):
                return self._taken()
            case str():
                return self.text(value)
            case int() | float() if key and not isinstance(value, bool) and not key.lower().endswith(_COUNTED):
                return self._taken()
            case _:
                return value

    def text(self, text: str) -> str:
        """Return text without the secrets that are known."""
        for one in sorted(self._known, key=len, reverse=True):
            if one in text:
                self.count += text.count(one)
                text = text.replace(one, PLACEHOLDER)
        return text

    def _taken(self) -> str:
        self.count += 1
        return PLACEHOLDER


def _is_reference(text: str) -> bool:
    """Tell whether text of a definition says where the value comes from."""
    return "${" in text


def _secrets(value: JsonValue, key: str) -> Iterator[str]:
    match value:
        case dict():
            for name, one in value.items():
                yield from _secrets(one, name if is_secret_key(name) else key)
        case list():
            for one in value:
                yield from _secrets(one, key)
        case str() if key:
            yield value
