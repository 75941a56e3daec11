"""Secrets at the call of an action: read from their provider, put in their places, and kept out of what comes of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from treadle.errors import SecretError
from treadle.expressions import fill_in, names_in
from treadle.secrets import LEAST_CHARS, MOST_CHARS, Mask, described

if TYPE_CHECKING:
    from collections.abc import Collection

    from treadle.expressions import Place
    from treadle.secrets import SecretProvider


class Vault:
    """The secrets of one engine.

    Args:
        provider: Knows them; None where nobody does.

    Attributes:
        mask: Takes out those that were handed out.
    """

    def __init__(self, provider: SecretProvider | None) -> None:
        self.mask = Mask()
        self._provider = provider

    async def fill(self, arguments: dict[str, Any], places: Collection[Place]) -> Collection[str]:
        """Put secrets in their places within ``arguments``, and return them; ``close`` is told when they are done with.

        Raises:
            SecretError: One is not there, cannot be read, or is nothing that could be kept out of the log.
        """
        references = {place: _at(arguments, place) for place in places}
        values: dict[str, str] = {}
        for name in dict.fromkeys(name for one in references.values() for name in names_in(one)):
            values[name] = await self._read(name)
        for name, value in values.items():
            self.mask.hold(name, value)
        for place, reference in references.items():
            _at(arguments, place[:-1])[place[-1]] = fill_in(reference, values)
        return values.values()

    def close(self, values: Collection[str]) -> None:
        """Note that an attempt is over; what it was given is still taken out of what it says later."""
        if values:
            self.mask.let_go(values)

    async def _read(self, name: str) -> str:
        if self._provider is None:
            raise SecretError(name, "this engine has no secrets; give it some with WorkflowEngine(secrets=...)")
        try:
            value = await self._provider.get(name)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            # Only the kind of error: its text may show what the provider itself has to keep secret.
            why = f"it cannot be read now ({type(error).__name__}) from {described(self._provider)}"
            raise SecretError(name, why, is_permanent=False) from error
        if value is None:
            raise SecretError(name, f"there is none of that name in {described(self._provider)}")
        return _checked(name, value)


def _checked(name: str, value: object) -> str:
    """Return a secret that can be passed on and found again."""
    if not isinstance(value, str):
        raise SecretError(name, f"it is a {type(value).__name__}, not text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise SecretError(name, "it is no text that can be written as UTF-8") from None
    if len(value.strip()) < LEAST_CHARS:
        why = f"it has fewer than {LEAST_CHARS} characters, too few to keep it out of the log"
        raise SecretError(name, f"{why}; if it need not be secret, pass it as input")
    if len(value) > MOST_CHARS:
        raise SecretError(name, f"it has {len(value):,} characters, more than {MOST_CHARS:,}")
    return value


def _at(value: Any, place: Place) -> Any:  # noqa: ANN401 - a JSON value
    for key in place:
        value = value[key]
    return value
