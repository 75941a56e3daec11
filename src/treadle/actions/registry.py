"""Functions by name. A name is found once, when the engine is made; nothing of a definition is ever imported."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from msgspec import Struct

from treadle.errors import NotFoundError, ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_Function = TypeVar("_Function", bound="Callable[..., object]")
_MARK = "__treadle_action__"


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
    """Mark a function as the action ``name``; it stays an ordinary function.

    Args:
        name: ``service.action`` as nodes say it (``service: crm``, ``action: find`` is ``crm.find``), or one word.

    Raises:
        ValidationError: The name is empty or has white space at its ends.
    """
    if not name or name != name.strip():
        raise ValidationError(f"an action needs a name such as 'crm.find', not {name!r}")

    def mark(function: _Function) -> _Function:
        setattr(function, _MARK, name)
        return function

    return mark


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
        self._actions[name] = Action(name, function, _is_async(function), _wants_context(function))
        if self.added is not None:
            self.added(name)

    def get(self, name: str) -> Action | None:
        """Return the action of that name; None if there is none."""
        return self._actions.get(name)

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
    elif isinstance(source, ModuleType):
        yield from ((_name(value), value) for value in list(vars(source).values()) if _is_marked(value))
    elif isinstance(source, dict):
        yield from cast("Mapping[str, Callable[..., Any]]", source).items()
    elif _is_marked(source):
        yield _name(source), cast("Callable[..., Any]", source)
    else:
        raise ValidationError(
            f"{source!r} is no action: give functions marked with @action, modules that hold them, or a dict by name"
        )


def _is_marked(value: object) -> bool:
    # In the object's own namespace only: a mock or a proxy has every attribute one asks for.
    return callable(value) and isinstance(getattr(value, "__dict__", {}).get(_MARK), str)


def _name(value: object) -> str:
    return cast("str", getattr(value, _MARK))


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _wants_context(function: Callable[..., Any]) -> bool:
    try:
        return "context" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # builtins without a signature
        return False
