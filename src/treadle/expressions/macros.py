"""``all exists exists_one filter map``: a body for each element, with its own variable and a bound on all steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from treadle.errors import ExpressionError
from treadle.expressions.budget import Meter
from treadle.expressions.names import Missing, Record, Scope, built
from treadle.expressions.operators import kind

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from treadle.model import JsonValue

MACROS: Final = ("all", "exists", "exists_one", "filter", "map")


class Frame(Protocol):
    """What a closure reads: the names of the expression, and the meter of this evaluation.

    An expression in which nothing is metered is evaluated in the caller's own scope, and nothing asks that for a meter.
    """

    @property
    def meter(self) -> Meter:
        """Return what is left of the budget."""

    def lookup(self, name: str) -> JsonValue | Record | Missing:
        """Return what ``name`` means, or ``MISSING``."""


class Metered:
    """The frame of one evaluation."""

    __slots__ = ("lookup", "meter")

    def __init__(self, scope: Scope) -> None:
        self.lookup = scope.lookup
        self.meter = Meter()


class _Inner:
    """A frame with one more name."""

    __slots__ = ("_lookup", "_name", "meter", "value")

    def __init__(self, outer: Frame, name: str) -> None:
        self._lookup = outer.lookup
        self._name = name
        self.meter = outer.meter
        self.value: JsonValue = None

    def lookup(self, name: str) -> JsonValue | Record | Missing:
        return self.value if name == self._name else self._lookup(name)


def compile_macro(
    macro: str,
    items: Callable[[Frame], JsonValue],
    variable: str,
    body: Callable[[Frame], JsonValue],
    *,
    work: int,
) -> Callable[[Frame], JsonValue]:
    """Return the closure of one macro call, whose body does ``work`` acts."""

    def each(frame: Frame) -> Iterator[tuple[JsonValue, JsonValue]]:
        inner = _Inner(frame, variable)
        step = frame.meter.step
        for item in _elements(macro, built(items(frame), frame.meter)):
            step(work)
            inner.value = item
            yield item, built(body(inner), frame.meter)

    collect = _COLLECT[macro]
    return lambda frame: collect(each(frame))


def _elements(macro: str, value: JsonValue) -> Collection[JsonValue]:
    if type(value) is list or type(value) is dict:
        return value
    raise ExpressionError(f"{macro}() needs a list or an object, not {kind(value)}")


def _truth(value: JsonValue) -> bool:
    if value is True or value is False:
        return value
    raise ExpressionError(f"the body must give true or false, not {kind(value)}")


_COLLECT: Final[dict[str, Callable[[Iterator[tuple[JsonValue, JsonValue]]], JsonValue]]] = {
    "all": lambda pairs: all(_truth(value) for _, value in pairs),
    "exists": lambda pairs: any(_truth(value) for _, value in pairs),
    "exists_one": lambda pairs: sum(_truth(value) for _, value in pairs) == 1,
    "filter": lambda pairs: [item for item, value in pairs if _truth(value)],
    "map": lambda pairs: [value for _, value in pairs],
}
"""From pairs of element and what the body gave for it. Each stops where its result is known, or at an error."""
