"""What validation knows of the actions: their names, and where there are functions, what these take."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias, TypeGuard

from treadle.errors import ValidationError
from treadle.signatures import functions_of, signature_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from treadle.signatures import Signature


class Signatures(Protocol):
    """Names of actions that come with what they take, such as a ``Registry``."""

    def __contains__(self, name: object, /) -> bool: ...

    def __iter__(self) -> Iterator[str]: ...

    def signature(self, name: str, /) -> Signature | None:
        """Return what the action of that name takes; None if that is not known."""
        ...


Actions: TypeAlias = Container[str] | Iterable[object]
"""The registered actions: a ``Registry``, or a list of what one is made of. A list of names, or whatever can be asked
for a name, will do, too; then nothing is known of their parameters, and names are suggested only if they can be listed.
"""


class KnownActions(NamedTuple):
    """The actions that are there.

    Attributes:
        names: What they are called; empty where they can be asked for but not listed.
        has: Tells whether there is one of that name.
        signature: Returns what one takes; None if that is not known.
    """

    names: Collection[str]
    has: Callable[[str], bool]
    signature: Callable[[str], Signature | None]


def known_actions(actions: Actions | None) -> KnownActions | None:
    """Return what is known of the actions; None where nothing is.

    Raises:
        ValidationError: Something in the list is neither a name nor a source of actions.
    """
    if actions is None:
        return None
    if isinstance(actions, str):
        raise ValidationError(f"actions is a list of names or functions, not {actions!r}")
    if _has_signatures(actions):
        return KnownActions(tuple(actions), actions.__contains__, actions.signature)
    if not isinstance(actions, Iterable):
        return KnownActions((), actions.__contains__, _unknown)
    found: dict[str, Callable[[str], Signature | None]] = {}
    for source in (actions,) if isinstance(actions, dict) else actions:
        found.update(_named(source))
    return KnownActions(found.keys(), found.__contains__, lambda name: found[name](name))


def _named(source: object) -> Iterator[tuple[str, Callable[[str], Signature | None]]]:
    """Give the actions of one source, each with what returns its signature."""
    if isinstance(source, str):
        yield source, _unknown
    elif _has_signatures(source):
        yield from ((name, source.signature) for name in source)
    else:
        yield from ((name, _reading(function)) for name, function in functions_of(source))


def _has_signatures(actions: object) -> TypeGuard[Signatures]:
    # By hand: every start asks, and ``isinstance`` takes long over a protocol.
    return callable(getattr(actions, "signature", None)) and hasattr(actions, "__contains__")


def _reading(function: Callable[..., object]) -> Callable[[str], Signature | None]:
    """Return what reads the signature of a function, once, when a node calls it."""
    return cache(lambda _: signature_of(function))


def _unknown(_: str) -> None:
    return None
