"""``all exists exists_one filter map``: a body for each element, with its own variable and a bound on all steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from treadle.errors import ExpressionError
from treadle.expressions.budget import DEFAULT
from treadle.expressions.names import Missing, Record, Scope
from treadle.expressions.operators import kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from treadle.model import JsonValue

MACROS: Final = ("all", "exists", "exists_one", "filter", "map")


class Bounds:
    """The scope of one evaluation with macros: it counts their steps."""

    __slots__ = ("_left", "lookup")

    def __init__(self, scope: Scope) -> None:
        self._left = DEFAULT.steps
        self.lookup = scope.lookup

    def step(self) -> None:
        """Count one element."""
        self._left -= 1
        if self._left < 0:
            raise ExpressionError(f"more than {DEFAULT.steps:,} elements visited")


class _Inner:
    """A scope with one more name."""

    __slots__ = ("_name", "_outer", "step", "value")

    def __init__(self, outer: Bounds | _Inner, name: str) -> None:
        self._outer = outer
        self._name = name
        self.step: Callable[[], None] = outer.step
        self.value: JsonValue = None

    def lookup(self, name: str) -> JsonValue | Record | Missing:
        return self.value if name == self._name else self._outer.lookup(name)


def compile_macro(
    macro: str, items: Callable[[Scope], JsonValue], variable: str, body: Callable[[Scope], JsonValue]
) -> Callable[[Scope], JsonValue]:
    """Return the closure of one macro call."""

    def each(scope: Scope) -> Iterator[tuple[JsonValue, JsonValue]]:
        assert isinstance(scope, Bounds | _Inner)  # an expression with macros is evaluated in Bounds
        inner = _Inner(scope, variable)
        for item in _elements(macro, items(scope)):
            scope.step()
            inner.value = item
            yield item, body(inner)

    collect = _COLLECT[macro]
    return lambda scope: collect(each(scope))


def _elements(macro: str, value: JsonValue) -> list[JsonValue]:
    if isinstance(value, Record):
        value = value.plain()
    if type(value) is list:
        return value
    if type(value) is dict:
        return list(value)
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
    "map": lambda pairs: [value.plain() if isinstance(value, Record) else value for _, value in pairs],
}
