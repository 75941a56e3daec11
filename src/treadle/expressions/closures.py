"""What each kind of node does when it is evaluated. A closure reads names, dicts and lists, and calls closed tables.

Evaluation goes left to right and short-circuits. A missing name goes through everything but ``has`` and ``default``. An
error of an operator or a function carries the column of the innermost one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from treadle.errors import ExpressionError
from treadle.expressions.budget import Meter, check_items, text_work
from treadle.expressions.names import MISSING, MissingNameError, built, child, path_text
from treadle.expressions.operators import ARITHMETIC, METERED, kind, negate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from treadle.expressions.functions import Function
    from treadle.expressions.macros import Frame
    from treadle.expressions.names import Missing, Record
    from treadle.model import JsonValue

Closure: TypeAlias = "Callable[[Frame], JsonValue]"
Path: TypeAlias = "tuple[str | int, ...]"


def placed(error: ExpressionError, at: int) -> ExpressionError:
    """Return the error with the column of ``at``, unless it has one or names a path."""
    if error.column or isinstance(error, MissingNameError):
        return error
    return ExpressionError(error.message, error.source, at + 1)


def read_path(root: str, path: Path) -> Closure:
    """``root.key[0]``: the most frequent of all, so which part is missing is found out only where one is."""

    def read(frame: Frame) -> JsonValue:
        value = frame.lookup(root)
        for key in path:
            value = value.get(key, MISSING) if type(value) is dict else child(value, key)
        if value is MISSING:
            raise _missing(frame.lookup(root), root, path)
        return value

    return read


def _missing(value: JsonValue | Record | Missing, root: str, path: Path) -> MissingNameError:
    """Return the error for the first part of a path that is not there."""
    depth = 0
    while value is not MISSING:
        value = child(value, path[depth])
        depth += 1
    return MissingNameError(path_text(root, path[:depth]), root)


def walk_path(computed: Closure, path: Path) -> Closure:
    """``f(x).key``: a path below something that is no name."""

    def walk(frame: Frame) -> JsonValue:
        start = value = computed(frame)
        for key in path:
            value = child(value, key)
        if value is MISSING:
            raise MissingNameError(_missing(start, "(...)", path).path, "")
        return value

    return walk


def index(target: Closure, key: Closure, at: int) -> Closure:
    """``target[key]`` whose key is computed."""

    def run(frame: Frame) -> JsonValue:
        holder, name = target(frame), key(frame)
        value = child(holder, name)
        if value is MISSING:
            if type(name) is not str and type(name) is not int:
                raise ExpressionError(f"an index must be text or an integer, not {_key_kind(name)}", "", at + 1)
            raise MissingNameError(path_text("(...)", (name,)), "")
        return value

    return run


def _key_kind(value: JsonValue) -> str:
    return f"{value!r}; int() and div() give integers" if type(value) is float else kind(value)


def negation(operand: Closure, at: int) -> Closure:
    """``!x``."""
    return lambda frame: not _truth("!", operand(frame), at)


def negative(operand: Closure, at: int) -> Closure:
    """``-x``."""

    def run(frame: Frame) -> JsonValue:
        value = operand(frame)
        try:
            return negate(value)
        except ExpressionError as error:
            raise placed(error, at) from None

    return run


def every(parts: Sequence[tuple[Closure, int]]) -> Closure:
    """``x && y && z``: nothing behind the first that is false is looked at. Each part has its operator's place."""

    def run(frame: Frame) -> bool:
        for part, at in parts:
            value = part(frame)
            if value is False:
                return False
            if value is not True:
                _truth("&&", value, at)
        return True

    return run


def some(parts: Sequence[tuple[Closure, int]]) -> Closure:
    """``x || y || z``: nothing behind the first that is true is looked at."""

    def run(frame: Frame) -> bool:
        for part, at in parts:
            value = part(frame)
            if value is True:
                return True
            if value is not False:
                _truth("||", value, at)
        return False

    return run


def choice(condition: Closure, yes: Closure, no: Closure, at: int) -> Closure:
    """``condition ? yes : no``."""
    return lambda frame: yes(frame) if _truth("?:", condition(frame), at) else no(frame)


def arithmetic(operator: str, left: Closure, right: Closure, at: int) -> Closure:
    """Operators on two numbers."""
    operate = ARITHMETIC[operator]

    def run(frame: Frame) -> JsonValue:
        one, other = left(frame), right(frame)
        try:
            return operate(one, other)
        except ExpressionError as error:
            raise placed(error, at) from None

    return run


def metered(operator: str, left: Closure, right: Closure, at: int) -> Closure:
    """Operators whose cost grows with their operands."""
    operate = METERED[operator]

    def run(frame: Frame) -> JsonValue:
        one, other = left(frame), right(frame)
        try:
            return operate(one, other, frame.meter)
        except ExpressionError as error:
            raise placed(error, at) from None

    return run


class _Free(Meter):
    """Counts nothing: comparing with a literal costs no more than the literal."""

    __slots__ = ()

    def spend(self, work: int) -> None:
        """Do nothing."""


_FREE: Final = _Free()


def comparison_with_literal(operator: str, left: Closure, right: Closure, at: int) -> Closure:
    """``x == 'text'``: what most conditions are. It needs no meter."""
    compare = METERED[operator]

    def run(frame: Frame) -> JsonValue:
        one, other = left(frame), right(frame)
        try:
            return compare(one, other, _FREE)
        except ExpressionError as error:
            raise placed(error, at) from None

    return run


def items(closures: Sequence[Closure]) -> Closure:
    """``[a, b]``."""
    return lambda frame: [built(one(frame), frame.meter) for one in closures]


def entries(closures: Mapping[str, Closure]) -> Closure:
    """``{"a": b}``."""
    return lambda frame: {key: built(value(frame), frame.meter) for key, value in closures.items()}


def call(function: Function, arguments: Sequence[Closure], at: int) -> Closure:
    """``f(a, b)``: what it reads is counted before, what it gives behind."""
    compute, weigh = function.compute, function.weigh

    def run(frame: Frame) -> JsonValue:
        values = [built(one(frame), frame.meter) for one in arguments]
        try:
            weigh(frame.meter, *values)
            return _weighed(compute(*values), frame.meter)
        except ExpressionError as error:
            raise placed(error, at) from None

    return run


def _weighed(value: JsonValue, meter: Meter) -> JsonValue:
    if type(value) is str:
        meter.spend(text_work(len(value)))
    elif type(value) is list:
        check_items(len(value))
        meter.spend(len(value) >> 2)
    return value


def has(value: Closure) -> Closure:
    """``has(x)``: whether reading ``x`` meets no missing name."""

    def run(frame: Frame) -> bool:
        try:
            value(frame)
        except MissingNameError:
            return False
        return True

    return run


def default(value: Closure, otherwise: Closure) -> Closure:
    """``default(x, y)``: ``y`` where reading ``x`` meets a missing name."""

    def run(frame: Frame) -> JsonValue:
        try:
            return value(frame)
        except MissingNameError:
            return otherwise(frame)

    return run


def located(run: Closure, at: int) -> Closure:
    """Return ``run``, whose own errors carry the column of ``at``."""

    def outer(frame: Frame) -> JsonValue:
        try:
            return run(frame)
        except ExpressionError as error:
            raise placed(error, at) from None

    return outer


def _truth(operator: str, value: JsonValue, at: int) -> bool:
    if value is True or value is False:
        return value
    raise ExpressionError(f"{operator!r} needs true or false, not {kind(value)}", "", at + 1)
