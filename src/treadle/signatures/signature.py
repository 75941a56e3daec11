"""What a function takes from a node: parameters by name, and what cannot be right about those that a node passes.

Only what is certain is an error. A decorator's ``(*args, **kwargs)`` takes anything, whatever it wraps: it may add a
parameter or take one away. What the wrapped function would refuse is therefore told as uncertain, and so is a constant
that its annotation does not allow, since Python does not hold a function to its annotations.
"""

from __future__ import annotations

import inspect
import typing
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

from treadle.signatures.fitting import check_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from treadle.model import JsonValue
    from treadle.signatures.fitting import Check, Place

CONTEXT: Final = "context"
"""Declared by a function, it is given by the engine and is no parameter of nodes."""

FaultKind: TypeAlias = Literal["unknown_parameter", "missing_parameter", "unfit_parameter"]

_BY_POSITION: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_SHOWN_CHARS: Final = 200
_SHOWN_OF_DEFAULT: Final = 20


class Fault(NamedTuple):
    """What is wrong with what a node passes.

    Attributes:
        kind: Which of three.
        parameter: Its name.
        message: What is wrong, with the signature.
        taken: Parameters that the function takes by name.
        below: Of an unfit value, the place within it.
        is_certain: The call fails, whatever happens before it.
    """

    kind: FaultKind
    parameter: str
    message: str
    taken: tuple[str, ...]
    below: Place = ()
    is_certain: bool = True


class Signature:
    """What a function takes, as nodes pass it: by name.

    Args:
        signature: As Python tells it.
        names: What annotations that are text refer to.
        wrapped: Of the function that a decorator says it wraps; None for none.

    Attributes:
        names: Parameters that can be passed by name, in order, without ``context``.
        takes_any: Whatever else is passed is taken too (``**kwargs``).
        positional: Parameters that can be passed by position, in order, with ``context``.
        needs: Those without a default; also one that is taken by position only, which no node can pass.
        wrapped: As given.
    """

    def __init__(
        self, signature: inspect.Signature, names: Mapping[str, Any], wrapped: Signature | None = None
    ) -> None:
        self._all = signature.parameters
        self._globals = names
        self.wrapped = wrapped
        self.takes_any = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in self._all.values())
        own = {name: one for name, one in self._all.items() if name != CONTEXT}
        self.names = tuple(name for name, one in own.items() if one.kind in _BY_NAME)
        self.positional = tuple(name for name, one in self._all.items() if one.kind in _BY_POSITION)
        self.needs = tuple(
            name for name, one in own.items() if one.default is one.empty and one.kind in (*_BY_NAME, *_BY_POSITION)
        )
        self._by_name = frozenset(self.names)
        self._needed = frozenset(self.needs)
        self._takes_context = CONTEXT in self._all and self._all[CONTEXT].kind in _BY_NAME

    def __str__(self) -> str:
        parts = [_text(one) for one in self._all.values() if one.name != CONTEXT or not self._takes_context]
        text = ", ".join(parts)
        return f"({text})" if len(text) <= _SHOWN_CHARS else f"({text[:_SHOWN_CHARS]}...)"

    def refused(self, names: Collection[str]) -> list[str]:
        """Return which of the names it does not take."""
        return [one for one in names if one not in self._by_name and (not self.takes_any or self._is_given(one))]

    def unmet(self, names: Collection[str]) -> list[str]:
        """Return what it needs and is not among the names."""
        return [one for one in self.needs if one not in names or one not in self._by_name]

    def faults(self, action: str, parameters: Mapping[str, JsonValue]) -> Iterator[Fault]:
        """Give what is wrong with the parameters that a node passes to the action of that name."""
        given = parameters.keys()
        unfit = [*self._unfit(parameters)]
        if given <= self._by_name and self._needed <= given and not unfit:
            return  # as nearly always: there is no text to be made
        refused, unmet = self.refused(parameters), self.unmet(parameters)
        called = f"{action}{self}"
        for name in refused:
            why = ": the engine gives it" if self._is_given(name) else ""
            yield Fault("unknown_parameter", name, f'{called} takes no parameter "{name}"{why}', self.names)
        for name in unmet:
            why = "" if name in self._by_name else ", which it takes by position only: nodes pass by name"
            yield Fault("missing_parameter", name, f'{called} needs the parameter "{name}"{why}', self.names)
        for name, below in unfit:
            message = f'{called} declares "{name}" as {_annotation(self._all[name].annotation)}, and this is not'
            yield Fault("unfit_parameter", name, message, self.names, below, is_certain=False)

    def doubts(self, action: str, parameters: Mapping[str, JsonValue]) -> Iterator[Fault]:
        """Give what is wrong behind a decorator that takes anything, and may pass on something else."""
        if self.takes_any and self.wrapped is not None:
            found = [*self.wrapped.faults(action, parameters), *self.wrapped.doubts(action, parameters)]
            yield from (one._replace(is_certain=False) for one in found)

    def _unfit(self, parameters: Mapping[str, JsonValue]) -> Iterator[tuple[str, Place]]:
        for name, value in parameters.items():
            check = self._checks.get(name)
            below = None if check is None else check(value)
            if below is not None:
                yield name, below

    def _is_given(self, name: str) -> bool:
        return name == CONTEXT and self._takes_context

    @cached_property
    def _checks(self) -> dict[str, Check]:
        """What holds the constants of a parameter against its annotation, where there is one that can be read."""
        found = ((name, _check(self._all[name].annotation, self._globals)) for name in self.names)
        return {name: check for name, check in found if check is not None}


def signature_of(function: Callable[..., object]) -> Signature | None:
    """Return what a function takes; None where that cannot be told (a builtin, an annotation that raises)."""
    try:
        own = inspect.signature(function, follow_wrapped=False)
        inspect.unwrap(function)  # raises where they wrap each other in a ring
        inner = getattr(function, "__wrapped__", None)
        wrapped = signature_of(inner) if callable(inner) else None
        return Signature(own, _globals(function), wrapped)
    except Exception:  # noqa: BLE001 - what describes a function is code of the application, too
        return None


def _globals(function: Callable[..., object]) -> dict[str, Any]:
    """Return the names of the module in which a function, a partial or the ``__call__`` of an object was written."""
    inner = getattr(function, "func", function)
    return getattr(inner, "__globals__", None) or getattr(type(inner).__call__, "__globals__", {})


def _check(annotation: object, names: Mapping[str, Any]) -> Check | None:
    if annotation is inspect.Parameter.empty:
        return None
    try:
        # One at a time: a name that is imported for type checkers only spoils the annotation it stands in, no other.
        holder = SimpleNamespace(__annotations__={"value": annotation})
        return check_of(typing.get_type_hints(holder, globalns=dict(names))["value"])
    except Exception:  # noqa: BLE001 - as above
        return None


def _text(one: inspect.Parameter) -> str:
    stars = "**" if one.kind is inspect.Parameter.VAR_KEYWORD else "*" if one.kind is one.VAR_POSITIONAL else ""
    kind = "" if one.annotation is one.empty else f": {_annotation(one.annotation)}"
    return f"{stars}{one.name}{kind}{'' if one.default is one.empty else f' = {_default(one.default)}'}"


def _default(value: object) -> str:
    """Return a default as it is written, where it is short and plain."""
    text = repr(value) if isinstance(value, str | int | float | bool | None) else "..."
    return text if len(text) <= _SHOWN_OF_DEFAULT else "..."


def _annotation(annotation: object) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
