"""The mark that ``@action`` leaves on a function, and the functions that a source of actions holds."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, cast

from treadle.errors import ValidationError
from treadle.signatures.signature import CONTEXT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_MARK: Final = "__treadle_action__"


def mark(function: Callable[..., object], name: str) -> None:
    """Leave the name of the action on its function."""
    setattr(function, _MARK, name)


def marked_name(value: object) -> str | None:
    """Return the name that a function is marked with; None of what is no marked function."""
    # In the object's own namespace only: a mock or a proxy has every attribute one asks for.
    name = getattr(value, "__dict__", {}).get(_MARK) if callable(value) else None
    return name if isinstance(name, str) else None


def functions_of(source: object) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Give the functions of a source by name: a marked function, a module that holds such, or a dict by name.

    Raises:
        ValidationError: It is none of these.
    """
    if isinstance(source, ModuleType):
        for value in list(vars(source).values()):
            if (name := marked_name(value)) is not None:
                yield name, value
    elif isinstance(source, dict):
        yield from cast("Mapping[str, Callable[..., Any]]", source).items()
    elif (name := marked_name(source)) is not None:
        yield name, cast("Callable[..., Any]", source)
    else:
        raise ValidationError(
            f"{source!r} is no action: give functions marked with @action, modules that hold them, or a dict by name"
        )


def is_async(function: Callable[..., object]) -> bool:
    """Tell whether a call gives something to be awaited."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def wants_context(function: Callable[..., object]) -> bool:
    """Tell whether a function declares ``context``, also behind a decorator that says what it wraps."""
    try:
        return CONTEXT in inspect.signature(function).parameters
    except (TypeError, ValueError):  # builtins without a signature
        return False
