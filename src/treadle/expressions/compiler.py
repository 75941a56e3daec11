"""Trees to closures, and what is known of an expression before it runs. No host evaluation anywhere."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NoReturn, TypeGuard, cast

from msgspec import Struct

from treadle.errors import ExpressionError
from treadle.expressions import ast, closures
from treadle.expressions.budget import DEFAULT, measure
from treadle.expressions.functions import FUNCTIONS
from treadle.expressions.macros import MACROS, Frame, Metered, compile_macro
from treadle.expressions.names import MissingNameError, Record, Scope, path_text
from treadle.expressions.operators import ARITHMETIC
from treadle.expressions.parser import parse

if TYPE_CHECKING:
    from treadle.expressions.closures import Closure, Path
    from treadle.model import JsonValue


class Reference(Struct, frozen=True, gc=False):
    """A name that an expression reads, as far as its path is known before it runs.

    Attributes:
        root: Its first part.
        path: The literal keys below it.
        guarded: It stands within ``has`` or ``default``: it may be missing.
        is_sure: Whatever the values are it is read, if what stands before it can be.
        text: As people write it.
        column: 1-based place in the source.
    """

    root: str
    path: tuple[str | int, ...]
    guarded: bool
    text: str
    column: int
    is_sure: bool = True


class Expression:
    """A compiled expression; immutable and shared.

    Attributes:
        source: As written.
        references: What it reads, in order.
        is_path: It is a name with literal keys below it, and nothing is computed.
    """

    __slots__ = ("_builds", "_is_metered", "_offset", "_run", "is_path", "references", "source")

    def __init__(
        self,
        source: str,
        run: Closure,
        references: tuple[Reference, ...],
        *,
        is_metered: bool = False,
        builds: bool = False,
        offset: int = 0,
        is_path: bool = False,
    ) -> None:
        self.source = source
        self.references = references
        self.is_path = is_path
        self._run = run
        self._is_metered = is_metered
        self._builds = builds
        self._offset = offset

    def evaluate(self, scope: Scope) -> JsonValue:
        """Return the value.

        Raises:
            MissingNameError: A name that is not there.
            ExpressionError: Values that an operator or a function does not take, or a budget passed; with the column.
        """
        # Where nothing is metered no closure asks for the meter, and most conditions are spared the frame.
        frame = Metered(scope) if self._is_metered else cast("Frame", scope)
        try:
            value = self._run(frame)
            if self._builds and type(value) in (list, dict):
                measure(value, frame.meter)
            if isinstance(value, Record):
                value = value.plain()
        except MissingNameError:
            raise
        except ExpressionError as error:
            raise self._error(error.message, error.column) from None
        except RecursionError:
            raise self._error("values nested too deeply", 0) from None
        return value

    def _error(self, message: str, column: int) -> ExpressionError:
        column = max(column - self._offset, 0)
        place = f", at column {column} of" if column else ", in"
        return ExpressionError(f"{message}{place} {_excerpt(self.source, column)}", self.source, column)


def _excerpt(source: str, column: int) -> str:
    """Return the part of the source around a column, in quotes."""
    start = max(column - 60, 0)
    part = source[start : start + 120]
    return ("... " if start else "") + repr(part) + (" ..." if start + 120 < len(source) else "")


@lru_cache(maxsize=4_096)
def compile_expression(source: str) -> Expression:
    """Return the compiled form of ``source``.

    Raises:
        ExpressionError: It is no expression of the language; with the column.
    """
    return compile_tree(parse(source), source)


def compile_tree(tree: ast.Node, source: str, offset: int = 0) -> Expression:
    """Return the compiled form of a tree.

    Args:
        tree: What was read.
        source: The expression it was read from.
        offset: 0-based place of ``source`` in the text that the places in the tree count from.

    Raises:
        ExpressionError: It calls what is no function, or the tree is too deep; with the column in that text.
    """
    compiler = _Compiler(source)
    run = compiler.compile(tree)
    return Expression(
        source,
        run,
        tuple(compiler.references),
        is_metered=compiler.is_metered,
        builds=compiler.builds,
        offset=offset,
        is_path=_is_path(tree),
    )


def _is_path(tree: ast.Node) -> bool:
    while isinstance(tree, ast.Member | ast.Index):
        if isinstance(tree, ast.Index) and not _is_key(tree.key):
            return False
        tree = tree.target
    return isinstance(tree, ast.Name)


def _is_key(node: ast.Node) -> TypeGuard[ast.Literal]:
    """Tell whether the key of an index is known before it runs."""
    return isinstance(node, ast.Literal) and type(node.value) in (str, int)


def compile_path(source: str, root: str, *keys: str | int, offset: int = 0) -> Expression:
    """Return what ``compile_tree`` gives for ``root.key.key``, without a tree: most references are of this form."""
    reference = Reference(root, keys, guarded=False, text=source, column=offset + 1)
    return Expression(source, closures.read_path(root, keys), (reference,), offset=offset, is_path=True)


class _Compiler:
    """Compiles one expression.

    Attributes:
        references: What it reads, in order.
        is_metered: Its cost depends on the values it meets.
        builds: Its value can be made of parts that stand in it more than once.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self.references: list[Reference] = []
        self.is_metered = False
        self.builds = False
        self._work = 0
        self._depth = 0
        self._guards = 0
        self._branches = 0
        self._variables: list[str] = []

    def fail(self, message: str, at: int) -> NoReturn:
        raise ExpressionError(message, self._source, at + 1)

    def compile(self, node: ast.Node) -> Closure:
        self._work += not isinstance(node, ast.Literal)
        self._depth += 1
        if self._depth > DEFAULT.depth:
            self.fail(f"an expression of more than {DEFAULT.depth} levels", node.at)
        closure = self._node(node)
        self._depth -= 1
        return closure

    def _node(self, node: ast.Node) -> Closure:
        match node:
            case ast.Literal(value=value):
                return lambda _: value
            case ast.Name() | ast.Member() | ast.Index():
                return self._path(node)
            case ast.Unary():
                make = closures.negative if node.operator == "-" else closures.negation
                return make(self.compile(node.operand), node.at)
            case ast.Binary():
                return self._binary(node)
            case ast.Choice():
                condition = self.compile(node.condition)
                yes, no = map(self._branch, (node.yes, node.no))
                return closures.choice(condition, yes, no, node.at)
            case ast.Call():
                return self._call(node)
            case ast.Items():
                return self._items(node)
            case ast.Entries():
                return self._entries(node)

    def _branch(self, node: ast.Node) -> Closure:
        """Compile what is evaluated in some cases only."""
        self._branches += 1
        closure = self.compile(node)
        self._branches -= 1
        return closure

    def _path(self, node: ast.Name | ast.Member | ast.Index) -> Closure:
        keys: list[str | int] = []
        at: ast.Node = node
        while True:
            if isinstance(at, ast.Member):
                keys.append(at.key)
                at = at.target
            elif isinstance(at, ast.Index) and _is_key(at.key):
                keys.append(cast("str | int", at.key.value))
                at = at.target
            else:
                break
        path = tuple(reversed(keys))
        if isinstance(at, ast.Name):
            return self._read(at, path)
        # A path below something that is no name: f(x).key or a[b].
        computed = self._index(at) if isinstance(at, ast.Index) else self.compile(at)
        return closures.walk_path(computed, path) if path else computed

    def _read(self, name: ast.Name, path: Path) -> Closure:
        root = name.name
        self._work += len(path) >> 1
        if root not in self._variables:
            text = path_text(root, path)
            is_sure = not self._guards and not self._branches
            self.references.append(Reference(root, path, self._guards > 0, text, name.at + 1, is_sure))
        return closures.read_path(root, path)

    def _index(self, node: ast.Index) -> Closure:
        return closures.index(self.compile(node.target), self.compile(node.key), node.at)

    def _binary(self, node: ast.Binary) -> Closure:
        operator, at = node.operator, node.at
        if operator in LOGIC:
            return LOGIC[operator](self._chain(node))
        left = self.compile(node.left)
        right = self._choices(node.right) if operator == "in" else self.compile(node.right)
        if operator in ARITHMETIC:
            return closures.arithmetic(operator, left, right, at)
        if operator not in ("in", "+") and (isinstance(node.left, ast.Literal) or isinstance(node.right, ast.Literal)):
            return closures.comparison_with_literal(operator, left, right, at)
        self.is_metered = True
        self._work += 1
        self.builds = self.builds or operator == "+"
        return closures.metered(operator, left, right, at)

    def _items(self, node: ast.Items) -> Closure:
        self.is_metered = self.builds = True
        self._work += sum(isinstance(one, ast.Literal) for one in node.items)
        return closures.items([self.compile(one) for one in node.items])

    def _chain(self, node: ast.Binary) -> list[tuple[Closure, int]]:
        """Compile ``a && b && c``, which is nested on its left, as one row; each part with its operator's place."""
        right: list[tuple[ast.Node, int]] = []
        left: ast.Node = node
        while isinstance(left, ast.Binary) and left.operator == node.operator:
            right.append((left.right, left.at))
            left = left.left
        first, *rest = (left, right[-1][1]), *reversed(right)
        return [(self.compile(first[0]), first[1]), *((self._branch(part), at) for part, at in rest)]

    def _choices(self, group: ast.Node) -> Closure:
        """Compile the right side of ``in``: a list of constants is made once, since nobody else gets to see it."""
        if isinstance(group, ast.Items) and all(isinstance(one, ast.Literal) for one in group.items):
            values = [one.value for one in group.items if isinstance(one, ast.Literal)]
            return lambda _: values
        return self.compile(group)

    def _entries(self, node: ast.Entries) -> Closure:
        self.is_metered = self.builds = True
        self._work += sum(isinstance(value, ast.Literal) for _, value in node.entries)
        entries: dict[str, Closure] = {}
        for key, value in node.entries:
            if not (isinstance(key, ast.Literal) and type(key.value) is str):
                self.fail("a key of an object must be text in quotes", key.at)
            if key.value in entries:
                self.fail(f"the key {key.value[:40]!r} twice", key.at)
            entries[key.value] = self.compile(value)
        return closures.entries(entries)

    def _call(self, node: ast.Call) -> Closure:
        name = node.function
        if not node.is_method and name in GUARDS:
            return self._guarded(node)
        if node.is_method and name in MACROS:
            return self._macro(node)
        function = FUNCTIONS.get(name)
        if function is None or (node.is_method and not function.is_method):
            self._unknown(node)
        if not function.least <= len(node.arguments) <= function.most:
            self.fail(f"{name}() does not take {len(node.arguments)} arguments", node.at)
        self.is_metered = True
        self._work += _EXTRA_WORK
        return closures.call(function, [self.compile(one) for one in node.arguments], node.at)

    def _unknown(self, node: ast.Call) -> NoReturn:
        name = node.function
        if node.is_method and (name in FUNCTIONS or name in GUARDS):
            self.fail(f"{name}() is no method; write {name}(x)", node.at)
        if name in MACROS:
            self.fail(f"{name}() is a method; write x.{name}(v, ...)", node.at)
        self.fail(f"no function {name:.40}(); known: {_KNOWN}", node.at)

    def _guarded(self, node: ast.Call) -> Closure:
        wanted = GUARDS[node.function]
        if len(node.arguments) != wanted:
            self.fail(f"{node.function}() takes {wanted} arguments, not {len(node.arguments)}", node.at)
        self._guards += 1
        value = self.compile(node.arguments[0])
        self._guards -= 1
        return closures.has(value) if wanted == 1 else closures.default(value, self._branch(node.arguments[1]))

    def _macro(self, node: ast.Call) -> Closure:
        self.is_metered = True
        self.builds = self.builds or node.function == "map"
        arguments = node.arguments
        if len(arguments) != 3 or not isinstance(arguments[1], ast.Name):
            self.fail(f"{node.function}() takes a variable and an expression: x.{node.function}(v, ...)", node.at)
        items = self.compile(arguments[0])
        variable = arguments[1].name
        before = self._work
        self._variables.append(variable)
        body = self._branch(arguments[2])
        self._variables.pop()
        macro = compile_macro(node.function, items, variable, body, work=self._work - before)
        self._work += _EXTRA_WORK
        return closures.located(macro, node.at)


GUARDS: Final = {"has": 1, "default": 2}
"""What is written as a function and looks for missing names in its first argument, with how many arguments it takes."""

LOGIC: Final = {"&&": closures.every, "||": closures.some}

_EXTRA_WORK: Final = 5
"""What a call costs beyond the work of a mere operator."""

_KNOWN: Final = ", ".join(sorted([*FUNCTIONS, *MACROS, *GUARDS]))
