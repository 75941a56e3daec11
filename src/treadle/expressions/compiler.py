"""Trees to closures. No host evaluation anywhere: a closure reads names, dicts and lists, and calls the closed tables.

Evaluation goes left to right and short-circuits. A missing name goes through everything but ``has`` and ``default``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

from msgspec import Struct

from treadle.errors import ExpressionError
from treadle.expressions import ast
from treadle.expressions.budget import DEFAULT, Budget
from treadle.expressions.functions import FUNCTIONS
from treadle.expressions.macros import MACROS, Bounds, compile_macro
from treadle.expressions.names import MISSING, MissingNameError, Record, Scope, child, path_text
from treadle.expressions.operators import BINARY, kind, negate
from treadle.expressions.parser import parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.model import JsonValue

Closure: TypeAlias = "Callable[[Scope], JsonValue]"


class Reference(Struct, frozen=True):
    """A name that an expression reads, as far as its path is known before it runs.

    Attributes:
        root: Its first part.
        path: The literal keys below it.
        guarded: It stands within ``has`` or ``default``: it may be missing.
        text: As people write it.
        column: 1-based place in the source.
    """

    root: str
    path: tuple[str | int, ...]
    guarded: bool
    text: str
    column: int


class Expression:
    """A compiled expression; immutable and shared.

    Attributes:
        source: As written.
        references: What it reads, in order.
    """

    __slots__ = ("_bounded", "_run", "references", "source")

    def __init__(self, source: str, run: Closure, references: tuple[Reference, ...], *, bounded: bool) -> None:
        self.source = source
        self.references = references
        self._run = run
        self._bounded = bounded

    def evaluate(self, scope: Scope) -> JsonValue:
        """Return the value.

        Raises:
            MissingNameError: A name that is not there.
            ExpressionError: Values that an operator or a function does not take, or a budget passed.
        """
        try:
            value = self._run(Bounds(scope) if self._bounded else scope)
        except MissingNameError:
            raise
        except ExpressionError as error:
            raise ExpressionError(f"{error.message} in {self.source!r}", self.source, error.column) from None
        except RecursionError:
            raise ExpressionError(f"values nested too deeply for {self.source!r}", self.source) from None
        return value.plain() if isinstance(value, Record) else value


@lru_cache(maxsize=4_096)
def compile_expression(source: str, budget: Budget = DEFAULT) -> Expression:
    """Return the compiled form of ``source``.

    Raises:
        ExpressionError: It is no expression of the language; with the column.
    """
    return compile_tree(parse(source, budget), source)


def compile_tree(tree: ast.Node, source: str) -> Expression:
    """Return the compiled form of a tree that was read from ``source``."""
    compiler = _Compiler(source)
    run = compiler.compile(tree)
    return Expression(source, run, tuple(compiler.references), bounded=compiler.has_macros)


class _Compiler:
    def __init__(self, source: str) -> None:
        self._source = source
        self.references: list[Reference] = []
        self.has_macros = False
        self._guards = 0
        self._variables: list[str] = []

    def fail(self, message: str, at: int) -> ExpressionError:
        return ExpressionError(message, self._source, at + 1)

    def compile(self, node: ast.Node) -> Closure:
        match node:
            case ast.Literal(value=value):
                return lambda _: value
            case ast.Name() | ast.Member() | ast.Index():
                return self._path(node)
            case ast.Unary():
                return self._unary(node)
            case ast.Binary():
                return self._binary(node)
            case ast.Choice():
                return self._choice(node)
            case ast.Call():
                return self._call(node)
            case ast.Items(items=items):
                closures = [self.compile(one) for one in items]
                return lambda scope: [_plain(one(scope)) for one in closures]
            case ast.Entries():
                return self._entries(node)

    def _path(self, node: ast.Name | ast.Member | ast.Index) -> Closure:
        keys: list[str | int] = []
        at: ast.Node = node
        while True:
            if isinstance(at, ast.Member):
                keys.append(at.key)
                at = at.target
            elif isinstance(at, ast.Index) and isinstance(at.key, ast.Literal) and type(at.key.value) in (str, int):
                keys.append(at.key.value)
                at = at.target
            else:
                break
        path = tuple(reversed(keys))
        if isinstance(at, ast.Name):
            return self._read(at, path)
        return self._walk(at, path)

    def _read(self, name: ast.Name, path: tuple[str | int, ...]) -> Closure:
        root = name.name
        if root not in self._variables:
            text = path_text(root, path)
            self.references.append(Reference(root, path, self._guards > 0, text, name.at + 1))

        def read(scope: Scope) -> JsonValue:
            value = scope.lookup(root)
            if value is MISSING:
                raise MissingNameError(root, root)
            for depth, key in enumerate(path):
                value = value.get(key, MISSING) if type(value) is dict else child(value, key)
                if value is MISSING:
                    raise MissingNameError(path_text(root, path[: depth + 1]), root)
            return value

        return read

    def _walk(self, target: ast.Node, path: tuple[str | int, ...]) -> Closure:
        """Compile a path below something that is no name: ``f(x).key`` or ``a[b]``."""
        computed = self._index(target) if isinstance(target, ast.Index) else self.compile(target)
        if not path:
            return computed

        def walk(scope: Scope) -> JsonValue:
            value = computed(scope)
            for depth, key in enumerate(path):
                value = child(value, key)
                if value is MISSING:
                    raise MissingNameError(path_text("(...)", path[: depth + 1]), "")
            return value

        return walk

    def _index(self, node: ast.Index) -> Closure:
        target, key = self.compile(node.target), self.compile(node.key)

        def index(scope: Scope) -> JsonValue:
            holder, name = target(scope), key(scope)
            value = child(holder, name)
            if value is MISSING:
                if type(name) not in (str, int):
                    raise ExpressionError(f"an index must be text or an integer, not {kind(name)}")
                raise MissingNameError(path_text("(...)", (name,)), "")
            return value

        return index

    def _unary(self, node: ast.Unary) -> Closure:
        operand = self.compile(node.operand)
        if node.operator == "-":
            return lambda scope: negate(operand(scope))
        return lambda scope: not _boolean("!", operand(scope))

    def _binary(self, node: ast.Binary) -> Closure:
        left, right = self.compile(node.left), self.compile(node.right)
        if node.operator == "&&":
            return lambda scope: _boolean("&&", left(scope)) and _boolean("&&", right(scope))
        if node.operator == "||":
            return lambda scope: _boolean("||", left(scope)) or _boolean("||", right(scope))
        operate = BINARY[node.operator]
        return lambda scope: operate(left(scope), right(scope))

    def _choice(self, node: ast.Choice) -> Closure:
        condition, yes, no = self.compile(node.condition), self.compile(node.yes), self.compile(node.no)
        return lambda scope: yes(scope) if _boolean("?:", condition(scope)) else no(scope)

    def _entries(self, node: ast.Entries) -> Closure:
        entries: dict[str, Closure] = {}
        for key, value in node.entries:
            if not (isinstance(key, ast.Literal) and type(key.value) is str):
                raise self.fail("a key of an object must be text in quotes", key.at)
            if key.value in entries:
                raise self.fail(f"the key {key.value!r} twice", key.at)
            entries[key.value] = self.compile(value)
        return lambda scope: {key: _plain(value(scope)) for key, value in entries.items()}

    def _call(self, node: ast.Call) -> Closure:
        name = node.function
        if not node.is_method and name in ("has", "default"):
            return self._guarded(node)
        if node.is_method and name in MACROS:
            return self._macro(node)
        function = FUNCTIONS.get(name)
        if function is None or (node.is_method and not function.is_method):
            raise self.fail(f"no function {name}(); known: {_KNOWN}", node.at)
        if not function.least <= len(node.arguments) <= function.most:
            raise self.fail(f"{name}() does not take {len(node.arguments)} arguments", node.at)
        arguments, compute = [self.compile(one) for one in node.arguments], function.compute
        return lambda scope: compute(*[_plain(one(scope)) for one in arguments])

    def _guarded(self, node: ast.Call) -> Closure:
        wanted = 1 if node.function == "has" else 2
        if len(node.arguments) != wanted:
            raise self.fail(f"{node.function}() takes {wanted} arguments, not {len(node.arguments)}", node.at)
        self._guards += 1
        value = self.compile(node.arguments[0])
        self._guards -= 1
        if wanted == 1:
            return lambda scope: _is_there(value, scope)
        otherwise = self.compile(node.arguments[1])

        def default(scope: Scope) -> JsonValue:
            try:
                return value(scope)
            except MissingNameError:
                return otherwise(scope)

        return default

    def _macro(self, node: ast.Call) -> Closure:
        self.has_macros = True
        arguments = node.arguments
        if len(arguments) != 3 or not isinstance(arguments[1], ast.Name):
            raise self.fail(f"{node.function}() takes a variable and an expression: x.{node.function}(v, ...)", node.at)
        items = self.compile(arguments[0])
        variable = arguments[1].name
        self._variables.append(variable)
        body = self.compile(arguments[2])
        self._variables.pop()
        return compile_macro(node.function, items, variable, body)


_KNOWN: Final = ", ".join(sorted([*FUNCTIONS, *MACROS, "has", "default"]))


def _is_there(value: Closure, scope: Scope) -> bool:
    try:
        value(scope)
    except MissingNameError:
        return False
    return True


def _boolean(operator: str, value: JsonValue) -> bool:
    if value is True or value is False:
        return value
    raise ExpressionError(f"{operator!r} needs true or false, not {kind(value)}")


def _plain(value: JsonValue) -> JsonValue:
    return value.plain() if isinstance(value, Record) else value
