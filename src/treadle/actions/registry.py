"""Functions by name. A name is found once, when the engine is made; nothing of a definition is ever imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct

from treadle.errors import NotFoundError, ValidationError
from treadle.signatures import functions_of, is_async, mark, signature_of, wants_context

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from treadle.signatures import Signature

_Function = TypeVar("_Function", bound="Callable[..., object]")


class Action(Struct, frozen=True):
    """A function under the name by which nodes call it.

    Attributes:
        name: ``service.action``, or a name without a service.
        function: Called with the node's parameters as keyword arguments.
        is_async: Runs on the event loop; otherwise on the engine's own threads.
        wants_context: It declares ``context`` and is given a ``StepContext``.
    """

    name: str
    function: Callable[..., Any]
    is_async: bool
    wants_context: bool


def action(name: str) -> Callable[[_Function], _Function]:
    """Mark a function as the action ``name``; it stays an ordinary function, and keeps its type.

    Args:
        name: ``service.action`` as nodes say it (``service: crm``, ``action: find`` is ``crm.find``), or one word.

    Raises:
        ValidationError: The name is empty or has white space at its ends.
    """
    if not name or name != name.strip():
        raise ValidationError(f"an action needs a name such as 'crm.find', not {name!r}")

    def decorate(function: _Function) -> _Function:
        mark(function, name)
        return function

    return decorate


class Registry:
    """The actions of one engine.

    Args:
        sources: Marked functions, modules (all marked functions in them), other registries, or mappings from name to
            function.

    Attributes:
        added: Told the name of each action that is registered later; None for nobody.

    Raises:
        ValidationError: A source is none of these, or two functions have one name.
    """

    def __init__(self, sources: Iterable[object] = ()) -> None:
        self._actions: dict[str, Action] = {}
        self._signatures: dict[str, Signature | None] = {}
        self.added: Callable[[str], None] | None = None
        for source in sources:
            for name, function in _functions(source):
                self.add(name, function)

    def add(self, name: str, function: Callable[..., Any]) -> None:
        """Register ``function`` as ``name``.

        Raises:
            ValidationError: The name is taken by another function, or ``function`` cannot be called.
        """
        if not callable(function):
            raise ValidationError(f"action {name!r} is a {type(function).__name__}, not a function")
        known = self._actions.get(name)
        if known is not None and known.function is not function:
            raise ValidationError(f"two functions are registered as action {name!r}")
        self._actions[name] = Action(name, function, is_async(function), wants_context(function))
        if self.added is not None:
            self.added(name)

    def get(self, name: str) -> Action | None:
        """Return the action of that name; None if there is none."""
        return self._actions.get(name)

    def signature(self, name: str) -> Signature | None:
        """Return what the action of that name takes; None if there is none, or if that cannot be told."""
        if name not in self._signatures and name in self._actions:
            self._signatures[name] = signature_of(self._actions[name].function)
        return self._signatures.get(name)

    def __getitem__(self, name: str) -> Action:
        found = self._actions.get(name)
        if found is None:
            raise NotFoundError("action", name)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._actions

    def __iter__(self) -> Iterator[str]:
        return iter(self._actions)

    def __len__(self) -> int:
        return len(self._actions)


def _functions(source: object) -> Iterator[tuple[str, Callable[..., Any]]]:
    if isinstance(source, Registry):
        yield from ((name, source[name].function) for name in source)
    else:
        yield from functions_of(source)
