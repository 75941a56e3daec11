"""Who knows the secrets: the environment, files, a function, a mapping, or several of them in order.

A provider says None for a name it does not know, and raises where it cannot say. It is asked at each call of an action,
so that a secret that was changed counts from the next attempt on.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, cast, runtime_checkable

import msgspec

from treadle.errors import ValidationError
from treadle.secrets.asking import on_a_thread

if TYPE_CHECKING:
    from collections.abc import Awaitable

PREFIX: Final = "TREADLE_SECRET_"
"""Of the environment variables that are secrets, unless another one is given."""


@runtime_checkable
class SecretProvider(Protocol):
    """Knows secrets by name."""

    async def get(self, name: str) -> str | None:
        """Return a secret; None if there is none of that name. An error means that it cannot be said now."""


class EnvironmentSecrets:
    """Environment variables: ``${secrets.TOKEN}`` is ``TREADLE_SECRET_TOKEN``.

    Args:
        prefix: Before the name; ``""`` lets a workflow read every variable of the process.
    """

    def __init__(self, prefix: str = PREFIX) -> None:
        self._prefix = prefix

    def __str__(self) -> str:
        return f"the environment variables {self._prefix}*"

    async def get(self, name: str) -> str | None:
        """Return the value of a variable."""
        return os.environ.get(self._prefix + name)


class FileSecrets:
    """A folder with one file for each secret, as containers mount them, or a file with a JSON object of all.

    The line break at the end of a file in a folder is no part of the secret.

    Args:
        path: Of the folder or the file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    def __str__(self) -> str:
        return f"{'the folder' if self._path.is_dir() else 'the file'} {self._path}"

    async def get(self, name: str) -> str | None:
        """Read a secret, as it is now."""
        return await on_a_thread(partial(self._read, name))

    def _read(self, name: str) -> str | None:
        try:
            if self._path.is_dir():
                return self._of_folder(name)
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, str]).get(name)
        except FileNotFoundError:
            return None
        except (UnicodeDecodeError, msgspec.MsgspecError):  # what they say shows a piece of it
            raise ValueError(f"{self} holds no text, or no JSON object of texts") from None

    def _of_folder(self, name: str) -> str | None:
        if name in (os.curdir, os.pardir) or os.sep in name or "\0" in name:
            return None
        path = self._path / name
        return path.read_text("utf-8").removesuffix("\n").removesuffix("\r") if path.is_file() else None


Secrets: TypeAlias = (
    "SecretProvider | Mapping[str, str] | Callable[[str], str | Awaitable[str | None] | None] | Sequence[object]"
)
"""What an engine takes: a provider, a mapping, a function, or a list of these."""


class _Given:
    """A mapping."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._secrets = secrets

    def __str__(self) -> str:
        return "the mapping that was given"

    async def get(self, name: str) -> str | None:
        return self._secrets.get(name)


class _Asked:
    """A function, sync or async."""

    def __init__(self, function: Callable[[str], str | Awaitable[str | None] | None]) -> None:
        self._function = function
        self._is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)

    def __str__(self) -> str:
        return f"the function {getattr(self._function, '__qualname__', type(self._function).__name__)}"

    async def get(self, name: str) -> str | None:
        # One that is not async may wait for a network: it must not hold up the loop.
        found = self._function(name) if self._is_async else await on_a_thread(partial(self._function, name))
        return await found if inspect.isawaitable(found) else found


class _Several:
    """Providers in order: the first that knows a name counts."""

    def __init__(self, providers: Sequence[SecretProvider]) -> None:
        self._providers = providers

    def __str__(self) -> str:
        return ", ".join(map(described, self._providers)) or "an empty list of providers"

    async def get(self, name: str) -> str | None:
        for one in self._providers:
            found = await one.get(name)
            if found is not None:
                return found
        return None


def described(provider: SecretProvider) -> str:
    """Return what a provider is called in messages: one of your own by its class, since its text may show secrets."""
    if isinstance(provider, EnvironmentSecrets | FileSecrets | _Given | _Asked | _Several):
        return str(provider)
    return f"the provider {type(provider).__name__}"


def as_provider(given: object) -> SecretProvider | None:
    """Return what an engine was given as secrets as one provider; None where it was given nothing.

    Raises:
        ValidationError: It is none.
    """
    if given is None:
        return None
    if isinstance(given, Mapping):
        return _Given(cast("Mapping[str, str]", given))
    if isinstance(given, (list, tuple)):
        return _Several([one for one in map(as_provider, given) if one is not None])
    if not isinstance(given, type):
        if isinstance(given, SecretProvider) and inspect.iscoroutinefunction(given.get):
            return given
        if callable(given):
            return _Asked(given)
    raise ValidationError(
        "secrets are given as a provider with an async 'get', a mapping, a function, or a list of these, "
        f"not as {type(given).__name__}"
    )
