"""The language against CEL itself: over generated expressions and contexts both give one value, or both an error.

The oracle is ``cel-expr-python``, a wrapper of the C++ implementation, without its type checker and with its ``math``
and ``strings`` extensions. Each generated expression is written three ways:

- ``ours``: the language under test.
- ``strict``: CEL with ``a && b`` as ``a ? b : false``, which CEL's specification gives as the left-to-right reading.
  Ours must agree with it exactly, on the value with its type and on whether it is an error.
- ``native``: CEL with its own ``&&`` and ``||``, which ignore an error on one side where the other side decides. Ours
  must agree wherever ours gives a value; where ours is an error, CEL may have a value through that rule alone.

What has another name there is translated: ``mod`` is ``%``, ``div`` the ``/`` of integers, ``default(m.k, y)`` is
``has(m.k) ? m.k : y``, ``min max abs floor ceil round`` are functions of ``math``. ``substring`` up to the very end is
written without the end: the C++ library takes that for beyond the end, which the definition of its extension does not.

Left out of the generated expressions, each for a reason:

- Arithmetic on an integer and a float together: numbers follow JSON here, where CEL has no overload. Comparing them is
  in; above 2**53 the C++ library compares as floats, which the specification does not, so numbers are small.
- ``/`` on integers (the real quotient here, ``div`` there), division by a float zero and floats beyond all bounds (an
  error here, infinite or no number in CEL), integers beyond 64 bits (exact here). What overflows there is set aside.
- A float as an index: an error here.
- ``has`` and ``default`` of what is no key of an object that is there: any missing name on the way counts here.
- ``null``, a list or an object as the left side of ``in`` with an object: false here, no overload there.
- Text of a float, of null, of lists and objects, with ``string``: JSON here; another form or none in CEL. ``int`` of a
  boolean: the C++ library has it and the specification does not.
- The order of ``map`` over an object of more than one key: that of the document here, none in CEL.
- Splitting the empty text by the empty text: nothing here and in Go, one empty text in C++.
- A carriage return in text of three quotes, which the C++ library turns into a line feed.
- Functions that only ours has: ``truthy sum distinct sort``. What only CEL has (``matches``, bytes, unsigned integers,
  timestamps and durations, types, ``format``, messages, keys that are no text, ``map`` with four parts, comments).
- An element of ``all`` and ``exists`` that is an error before the one that decides: CEL goes on, ours does not. The
  generated share is counted and small, and every list of up to three elements is tried one by one.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from cel_expr_python import cel
from cel_expr_python.ext import ext_math, ext_strings
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from treadle.expressions import MISSING, ExpressionError, compile_expression
from treadle.expressions.compiler import GUARDS
from treadle.expressions.functions import FUNCTIONS
from treadle.expressions.macros import MACROS
from treadle.expressions.operators import ARITHMETIC, METERED

if TYPE_CHECKING:
    from collections.abc import Callable

ONLY_OURS = {"truthy", "sum", "distinct", "sort"}
SHARED = ({*FUNCTIONS, *MACROS, *GUARDS} - ONLY_OURS) | {*ARITHMETIC, *METERED, "&&", "||", "!", "neg", "?:", "[]", "."}
EXAMPLES = 400
EXPRESSIONS = 10
"""Expressions of one context, so that an example is worth its cost."""

Context = dict[str, Any]


# Writing an expression, one tree in three ways


class Tree(NamedTuple):
    """An expression: what it is, its text where it is a leaf (or the name of what is called), and its parts."""

    kind: str
    text: str
    parts: tuple[Tree, ...] = ()


BINDING = {"||": 1, "&&": 2, "+": 4, "-": 4, "*": 5, "/": 5, "%": 5}
"""By CEL's grammar; relations, ``in`` among them, are 3, ``?:`` is 0, signs are 6."""
IN_CEL = {
    "min": "math.least",
    "max": "math.greatest",
    "abs": "math.abs",
    "floor": "math.floor",
    "ceil": "math.ceil",
    "round": "math.round",
}


class Writer:
    """Writes a tree with as few parentheses as precedence allows, plus those that the tree asks for."""

    def __init__(self, dialect: str, gap: str) -> None:
        self.dialect = dialect
        self.gap = gap

    def write(self, tree: Tree, least: int = 0) -> str:
        text, level = getattr(self, f"_{tree.kind}")(tree)
        return f"({text})" if level < least else text

    def _leaf(self, tree: Tree) -> tuple[str, int]:
        return tree.text, 6 if tree.text.startswith("-") else 7

    def _parentheses(self, tree: Tree) -> tuple[str, int]:
        return f"({self.write(tree.parts[0])})", 7

    def _sign(self, tree: Tree) -> tuple[str, int]:
        return f"{tree.text}{self.write(tree.parts[0], 7)}", 6

    def _binary(self, tree: Tree) -> tuple[str, int]:
        level = BINDING.get(tree.text, 3)
        if self.dialect == "strict" and level < 3:
            return self._left_to_right(tree)
        left, right = self.write(tree.parts[0], level), self.write(tree.parts[1], level + 1)
        gap = " " if tree.text == "in" else self.gap
        return f"{left}{gap}{tree.text}{gap}{right}", level

    def _left_to_right(self, tree: Tree) -> tuple[str, int]:
        left, right = self.write(tree.parts[0], 1), self.write(tree.parts[1], 1)
        boolean = f"(({right}) ? true : false)"
        return (f"{left} ? {boolean} : false" if tree.text == "&&" else f"{left} ? true : {boolean}"), 0

    def _choice(self, tree: Tree) -> tuple[str, int]:
        condition, yes, no = self.write(tree.parts[0], 1), self.write(tree.parts[1], 1), self.write(tree.parts[2])
        return f"{condition}{self.gap}?{self.gap}{yes}{self.gap}:{self.gap}{no}", 0

    def _member(self, tree: Tree) -> tuple[str, int]:
        return f"{self.write(tree.parts[0], 7)}.{tree.text}", 7

    def _index(self, tree: Tree) -> tuple[str, int]:
        return f"{self.write(tree.parts[0], 7)}[{self.write(tree.parts[1])}]", 7

    def _list(self, tree: Tree) -> tuple[str, int]:
        return f"[{self._many(tree.parts)}{tree.text}]", 7

    def _object(self, tree: Tree) -> tuple[str, int]:
        keys = tree.text.split() if tree.parts else []
        pairs = [f'"{key}":{self.gap}{self.write(one)}' for key, one in zip(keys, tree.parts, strict=True)]
        return f"{{{', '.join(pairs)}}}", 7

    def _call(self, tree: Tree) -> tuple[str, int]:
        if self.dialect != "ours":
            if tree.text in ("div", "mod"):
                left, right = self.write(tree.parts[0], 5), self.write(tree.parts[1], 6)
                return f"{left} {'/' if tree.text == 'div' else '%'} {right}", 5
            if tree.text == "default":
                value, other = self.write(tree.parts[0], 7), self.write(tree.parts[1])
                return f"has({value}) ? {value} : {other}", 0
            if tree.text in ("floor", "ceil", "round"):
                return f"int({IN_CEL[tree.text]}({self._many(tree.parts)}))", 7
            if tree.text in ("min", "max"):  # these look at literals before anything is evaluated; dyn() hides them
                return f"{IN_CEL[tree.text]}({', '.join(f'dyn({self.write(one)})' for one in tree.parts)})", 7
        name = tree.text if self.dialect == "ours" else IN_CEL.get(tree.text, tree.text)
        return f"{name}({self._many(tree.parts)})", 7

    def _method(self, tree: Tree) -> tuple[str, int]:
        if self.dialect != "ours" and tree.text == "substring" and len(tree.parts) == 3:
            target, start, end = (self.write(one, 7) for one in tree.parts)
            whole = f"{target}.substring({start})"
            return f"{end} == {target}.size() ? {whole} : {target}.substring({start}, {end})", 0
        return f"{self.write(tree.parts[0], 7)}.{tree.text}({self._many(tree.parts[1:])})", 7

    def _many(self, trees: tuple[Tree, ...]) -> str:
        return f",{self.gap}".join(self.write(one) for one in trees)


def kinds(tree: Tree) -> list[str]:
    """Return every operator, function and macro of a tree."""
    own = {
        "binary": tree.text,
        "sign": "neg" if tree.text == "-" else "!",
        "choice": "?:",
        "member": ".",
        "index": "[]",
        "call": tree.text,
        "method": tree.text,
    }.get(tree.kind)
    return [*([own] if own else []), *(kind for part in tree.parts for kind in kinds(part))]


# Making an expression: types keep most of them meaningful, and now and then one is not kept

INT, DOUBLE, TEXT, BOOL, NULL = "int", "double", "text", "bool", "null"
SCALARS = (INT, DOUBLE, TEXT, BOOL, NULL)
PLAIN_WORDS = (
    "",
    "a",
    "b",
    "ab",
    "aXbXc",
    "X",
    ",",
    "a,b,,c",
    "12",
    "-7",
    "Ada",
    "é",
    "ß",
    "日本",
    "😀",
    " x ",
    "\u2003y\xa0",
)
LETTERS = "abX12 ,'\"\\?`é日😀\n\t\r\0\x1f\x85\xa0\u2028\ufeff"
SHORT = {"\n": "n", "\t": "t", "\r": "r", "\\": "\\", "'": "'", '"': '"', "`": "`", "?": "?", "\a": "a"}
ALIKE = ("1", "1.0", "true", "'1'", "0", "0.0", "false", "null", "[1]", "[true]", "[]", "''")
"""Values that a careless comparison takes for the same."""
NUMERALS = ("12", "-7", "0", "45", "-100", "x", "", "1.5.2", "12a")
ROW = {"id": INT, "name": TEXT, "ok": BOOL, "score": DOUBLE}
"""The keys of an object; in the context the last two may be absent."""


def quoted(pick: Callable[..., Any], text: str) -> str:
    """Return a literal of ``text`` in one of the many ways there are."""
    quote = pick("'", '"', "'''", '"""')
    plain = not any(one in text for one in "\n\r\\" + quote[0])
    if plain and pick(True, False):
        return pick("", "r", "R") + quote + text + quote
    return quote + "".join(_escaped(pick, one, quote) for one in text) + quote


def _escaped(pick: Callable[..., Any], letter: str, quote: str) -> str:
    code = ord(letter)
    ways = [f"\\U{code:08x}", f"\\U{code:08X}"]
    ways += [f"\\u{code:04x}"] * (code < 0x10000) + [f"\\x{code:02x}", f"\\X{code:02X}", f"\\{code:03o}"] * (code < 256)
    ways += [f"\\{SHORT[letter]}"] * 3 if letter in SHORT else []
    may_stand = letter not in "\\\r\0" and letter != quote[0] and (letter != "\n" or len(quote) == 3)
    return str(pick(*[letter] * 9, *ways) if may_stand else pick(*ways))


class Maker:
    """Makes a tree of a wanted type from bytes, each of which decides one question.

    The first answer to each question is the simplest, and the one taken when the bytes are used up: fewer and smaller
    bytes make a smaller expression, which is how Hypothesis finds the smallest that fails.
    """

    def __init__(self, decisions: bytes) -> None:
        self._decisions = iter(decisions)
        self.variables: list[tuple[str, str]] = []

    def pick(self, *choices: Any) -> Any:
        return choices[next(self._decisions, 0) % len(choices)]

    def number(self, least: int, most: int) -> int:
        return least + next(self._decisions, 0) % (most - least + 1)

    def make(self, kind: str, depth: int) -> Tree:
        tree = self._make(kind, depth)
        return Tree("parentheses", "", (tree,)) if self.pick(*[False] * 15, True) else tree

    def _make(self, kind: str, depth: int) -> Tree:
        how = self.pick("leaf", *["own"] * 8, "choice", *["own"] * 8, "leaf", *["own"] * 8, "choice", "wrong")
        if how == "wrong":
            return self.wrong(kind)
        if how == "leaf" or depth <= 0 or kind == "any":
            return self.leaf(kind)
        if how == "choice":
            condition = self.make(BOOL, depth - 1)
            return Tree("choice", "", (condition, self.make(kind, depth - 1), self.make(kind, depth - 1)))
        name, _, of = kind.partition(" ")
        return self._list(of, depth - 1) if of else getattr(self, f"_{name}")(depth - 1)

    def wrong(self, kind: str) -> Tree:
        """Return what is not of this type; a number for a number would be the arithmetic that is not shared."""
        others = {"null", "'wrong'", "true", "[]", "{}", "unknown", "m.absent", "li[99]"}
        own = {TEXT: {"'wrong'"}, BOOL: {"true"}, NULL: {"null"}, "row": {"{}"}}.get(kind, set())
        if kind.startswith("list"):
            own = {"[]"}
        return Tree("leaf", self.pick(*sorted(others - own)))

    def leaf(self, kind: str) -> Tree:
        """Return a variable, a name of the context or a literal."""
        found = [name for name, has in dict(self.variables).items() if has == kind]  # the inner of two of one name
        if found and self.pick(True, True, False):
            return Tree("leaf", found[-1])
        names = self.names(kind)
        if names and self.pick(True, False):
            return Tree("leaf", self.pick(*names))
        return self.literal(kind)

    def names(self, kind: str) -> list[str]:
        hidden = {name for name, _ in self.variables}
        return [name for name in NAMES.get(kind, ()) if re.split(r"[.\[]", name)[0] not in hidden]

    def literal(self, kind: str) -> Tree:
        if kind == INT:
            number = self.number(-20, 100)
            return Tree("leaf", f"0x{number:x}" if number >= 0 and self.pick(*[False] * 7, True) else str(number))
        if kind == DOUBLE:
            return Tree("leaf", self.pick("0.5", "2.5", "-1.25", "3.0", "1e2", "25E-1", "-0.75", "0.0"))
        if kind == TEXT:
            text = (
                self.pick(*PLAIN_WORDS)
                if self.pick(True, True, False)
                else "".join(self.pick(*LETTERS) for _ in range(self.number(0, 5)))
            )
            return Tree("leaf", quoted(self.pick, text))
        if kind == BOOL:
            return Tree("leaf", self.pick("true", "false"))
        if kind == NULL:
            return Tree("leaf", "null")
        if kind == "row":
            return self._row(0)
        if kind == "any":
            return Tree("leaf", self.pick(*ALIKE))
        return self.many(kind.partition(" ")[2], 0)

    def many(self, kind: str, depth: int) -> Tree:
        parts = tuple(self.make(kind, depth) for _ in range(self.number(0, 3)))
        return Tree("list", self.pick("", "", "", ",") if parts else "", parts)

    # Each type's own

    def _int(self, depth: int) -> Tree:
        how = self.pick(
            "+", "-", "*", "%", "neg", "div", "mod", "size", "method", "int", "min", "abs", "floor", "at", "row"
        )
        if how in "+-*":
            return Tree("binary", how, (self.make(INT, depth), self.make(INT, depth)))
        if how == "neg":
            return Tree("sign", "-", (self.make(INT, depth),))
        if how in ("div", "mod", "%"):
            divisor = self.pick(Tree("leaf", self.pick("2", "3", "-7")), self.make(INT, depth))
            return Tree("binary" if how == "%" else "call", how, (self.make(INT, depth), divisor))
        if how in ("size", "method"):
            target = self.make(self.pick(TEXT, "list int", "list text", "row"), depth)
            return Tree("call" if how == "size" else "method", "size", (target,))
        if how == "int":
            numeral = Tree("leaf", quoted(self.pick, self.pick(*NUMERALS)))
            return Tree("call", "int", (self.pick(numeral, self.certain(INT, depth), self.certain(DOUBLE, depth)),))
        if how == "floor":
            return Tree("call", self.pick("floor", "ceil", "round"), (self.make(DOUBLE, depth),))
        return self._number(INT, how, depth)

    def _double(self, depth: int) -> Tree:
        how = self.pick("+", "-", "*", "/", "neg", "double", "min", "abs", "at", "row")
        if how in "+-*":
            return Tree("binary", how, (self.make(DOUBLE, depth), self.make(DOUBLE, depth)))
        if how == "/":
            return Tree("binary", how, (self.make(DOUBLE, depth), Tree("leaf", self.pick("2.0", "-0.5", "3.0"))))
        if how == "neg":
            return Tree("sign", "-", (self.make(DOUBLE, depth),))
        if how == "double":
            numeral = Tree("leaf", quoted(self.pick, self.pick(*NUMERALS, "1.5", "2e1")))
            return Tree("call", "double", (self.pick(numeral, self.make(INT, depth), self.make(DOUBLE, depth)),))
        return self._number(DOUBLE, how, depth)

    def _number(self, kind: str, how: str, depth: int) -> Tree:
        if how == "abs":
            return Tree("call", "abs", (self.make(kind, depth),))
        if how == "min":
            parts = tuple(self.make(kind, depth) for _ in range(self.number(1, 3)))
            of = self.pick(parts, (Tree("list", "", parts),), (self.leaf(f"list {kind}"),))
            return Tree("call", self.pick("min", "max"), of)
        return self._part(kind, depth) if how == "at" else self.field(kind)

    def _part(self, kind: str, depth: int) -> Tree:
        """Return an element of a list."""
        index = self.pick(Tree("leaf", self.pick("0", "0", "0", "1", "2", "-1")), self.make(INT, depth))
        return Tree("index", "", (self.make(f"list {kind}", depth), index))

    def certain(self, kind: str, depth: int) -> Tree:
        """Return what is of the type or an error, where another type would not be shared."""
        if self.pick(True, False):
            return Tree("leaf", self.pick(*self.names(kind)))
        if kind == TEXT:
            return Tree("method", "trim", (self.make(TEXT, depth - 1),))
        if kind == BOOL:
            return self._equality(depth - 1)
        return Tree("binary", "-", (self.make(kind, depth - 1), self.make(kind, depth - 1)))

    def there(self) -> Tree:
        """Return an object that is there for certain: whose keys ``has`` asks for in both languages alike."""
        return Tree("leaf", self.pick(*self.names("row")))

    def field(self, kind: str) -> Tree:
        """Return a key of an object, which may not be there: read, guarded, or with another value for it."""
        keys = [key for key, has in ROW.items() if has == kind]
        if not keys:
            return self.leaf(kind)
        target = self.there()
        member = Tree("member", self.pick(*keys), (target,))
        how = self.pick("read", "index", "default", "choice")
        if how == "index":
            return Tree("index", "", (target, Tree("leaf", f"'{member.text}'")))
        if how == "default":
            return Tree("call", "default", (member, self.leaf(kind)))
        if how == "choice":
            return Tree("choice", "", (Tree("call", "has", (member,)), member, self.leaf(kind)))
        return member

    def _text(self, depth: int) -> Tree:
        how = self.pick("+", "string", "case", "replace", "substring", "join", "at", "row")
        if how == "+":
            return Tree("binary", "+", (self.make(TEXT, depth), self.make(TEXT, depth)))
        if how == "string":
            return Tree("call", "string", (self.certain(self.pick(INT, TEXT, BOOL), depth),))
        if how == "case":
            return Tree("method", self.pick("lowerAscii", "upperAscii", "trim"), (self.make(TEXT, depth),))
        if how == "replace":
            return Tree("method", "replace", tuple(self.make(TEXT, depth - one) for one in range(3)))
        if how == "substring":
            bounds = tuple(self._bound(depth) for _ in range(self.pick(1, 2)))
            return Tree("method", "substring", (self.make(TEXT, depth), *bounds))
        if how == "join":
            by = () if self.pick(True, False) else (self.make(TEXT, depth - 1),)
            return Tree("method", "join", (self.make("list text", depth), *by))
        return self._part(TEXT, depth) if how == "at" else self.field(TEXT)

    def _bound(self, depth: int) -> Tree:
        return self.pick(Tree("leaf", self.pick("0", "1", "2", "3")), self.make(INT, depth - 1))

    def _bool(self, depth: int) -> Tree:
        hows = (
            "&&",
            "&&",
            "||",
            "||",
            "!",
            "==",
            "==",
            "<",
            "<",
            "in",
            "in",
            "text",
            "has",
            "macro",
            "macro",
            "at",
            "row",
        )
        how = self.pick(*hows)
        if how in ("&&", "||"):
            return Tree("binary", how, (self.make(BOOL, depth), self.make(BOOL, depth)))
        if how == "!":
            return Tree("sign", "!", (self.make(BOOL, depth),))
        if how == "==":
            return self._equality(depth)
        if how == "<":
            kind = self.pick(INT, DOUBLE, TEXT, BOOL)
            left = self.make(kind, depth)
            # Where both sides are alike, "<" and "<=" part.
            other = self.pick(INT, DOUBLE) if kind in (INT, DOUBLE) else kind
            right = self.make(other, depth) if self.pick(True, False) else left
            return Tree("binary", self.pick("<", "<=", ">", ">="), (left, right))
        if how == "in":
            return self._membership(depth)
        if how == "text":
            name = self.pick("contains", "startsWith", "endsWith")
            return Tree("method", name, (self.make(TEXT, depth), self.make(TEXT, depth)))
        if how == "has":
            return Tree("call", "has", (Tree("member", self.pick(*ROW, "absent"), (self.there(),)),))
        if how == "macro":
            return self._macro(self.pick("all", "exists", "exists_one"), BOOL, depth)
        return self._part(BOOL, depth) if how == "at" else self.field(BOOL)

    def _equality(self, depth: int) -> Tree:
        if self.pick(*[False] * 4, True):
            return Tree("binary", self.pick("==", "!="), (self.literal("any"), self.literal("any")))
        left = self.pick(*SCALARS, "list int", "list text", "list any", "row")
        right = self.pick(left, left, left, *SCALARS, "list double")
        one = self.make(left, depth)
        other = self.make(right, depth) if self.pick(True, True, False) else one
        return Tree("binary", self.pick("==", "!="), (one, other))

    def _membership(self, depth: int) -> Tree:
        if self.pick(True, False):
            # Only what may be a key: the rest of the types is not shared.
            key = Tree("leaf", self.pick("'id'", "'name'", '"absent"', "1", "true", "2.5"))
            return Tree("binary", "in", (key, self.make("row", depth)))
        kind = self.pick(INT, DOUBLE, TEXT, BOOL, NULL, "any")
        item = self.make(kind, depth)
        # A list, or what holds nothing at all; never by mistake an object, see above.
        how = self.pick("made", "made", "name", "name", "made", "text")
        group = Tree("leaf", "'text'") if how == "text" else None
        if how == "name" and (names := self.names(f"list {kind}")):
            group = Tree("leaf", self.pick(*names))
        group = group or self._list(kind, depth - 1)
        return Tree("binary", "in", (item, group))

    def _null(self, depth: int) -> Tree:
        return self._part(NULL, depth)

    def _row(self, depth: int) -> Tree:
        if depth > 0 and self.pick(True, False):
            return self._part("row", depth)
        keys = sorted({self.pick(*ROW) for _ in range(self.number(0, 3))})
        return Tree("object", " ".join(keys), tuple(self.make(ROW[key], depth) for key in keys))

    def _list(self, kind: str, depth: int) -> Tree:
        how = self.pick("items", "+", "filter", "map", "split")
        if how == "split" and kind == TEXT:
            by = Tree("leaf", quoted(self.pick, self.pick(",", "X", "a", "ab", "é")))
            return Tree("method", "split", (self.make(TEXT, depth), by))
        if how == "+":
            return Tree("binary", "+", (self.make(f"list {kind}", depth), self.make(f"list {kind}", depth)))
        if how == "filter" and kind != "any":
            return self._macro("filter", BOOL, depth, over=f"list {kind}")
        if how == "map" and kind != "any":
            return self._macro("map", kind, depth)
        return self.many(kind, depth)

    def _macro(self, name: str, gives: str, depth: int, over: str = "") -> Tree:
        over = over or self.pick("list int", "list text", "list row", "list double", "list bool", "row")
        if over == "row" and name == "map":
            key = self.pick(*ROW)
            target = Tree("object", key, (self.make(ROW[key], depth),))
        else:
            target = self.make(over, depth)
        variable = self.pick("v", "w", "x_1", "i", "rows")
        self.variables.append((variable, TEXT if over == "row" else over.partition(" ")[2]))
        body = self.make(gives, depth)
        self.variables.pop()
        return Tree("method", name, (target, Tree("leaf", variable), body))


# The context

NAMES = {
    INT: ("i", "j", "m.id"),
    DOUBLE: ("d", "m.score"),
    TEXT: ("s", "t", "m.name"),
    BOOL: ("b", "m.ok"),
    NULL: ("z",),
    "row": ("m", "rows[0]", "deep.row"),
    "list int": ("li",),
    "list double": ("ld",),
    "list text": ("ls", "deep['odd key']"),
    "list bool": ("lb",),
    "list any": ("la",),
    "list row": ("rows",),
}
"""Paths of each type. ``m.ok`` and ``m.score`` may be missing."""

_ints = st.integers(-50, 50)
_doubles = st.integers(-200, 200).map(lambda number: number / 8)
_texts = st.sampled_from(PLAIN_WORDS)
_rows = st.fixed_dictionaries({"id": _ints, "name": _texts}, optional={"ok": st.booleans(), "score": _doubles})
CONTEXTS = st.fixed_dictionaries(
    {
        "i": _ints,
        "j": _ints,
        "d": _doubles,
        "s": _texts,
        "t": _texts,
        "b": st.booleans(),
        "z": st.none(),
        "m": _rows,
        "li": st.lists(_ints, min_size=1, max_size=4),
        "ld": st.lists(_doubles, max_size=3),
        "ls": st.lists(_texts, min_size=1, max_size=3),
        "lb": st.lists(st.booleans(), max_size=3),
        "la": st.lists(st.one_of(st.none(), st.booleans(), _ints, _doubles, _texts, st.just([1, None])), max_size=4),
        "rows": st.lists(_rows, min_size=1, max_size=3),
        "deep": st.fixed_dictionaries({"row": _rows, "odd key": st.lists(_texts, max_size=2)}),
    }
)


class Case(NamedTuple):
    """A context and what is evaluated in it."""

    context: Context
    trees: list[Tree]
    gap: str


WANTED = st.sampled_from([BOOL, BOOL, BOOL, BOOL, INT, DOUBLE, TEXT, "list int", "list text", "row"])
TREES = st.builds(lambda kind, decisions: Maker(decisions).make(kind, 4), WANTED, st.binary(min_size=40, max_size=400))
CASES = st.builds(
    Case,
    CONTEXTS,
    st.lists(TREES, min_size=EXPRESSIONS, max_size=EXPRESSIONS),
    st.sampled_from([" ", "", "\n\t "]),
)


# Both sides

ERROR = object()
ENVIRONMENT = cel.NewEnv(
    variables=dict.fromkeys([*"ijdstbzm", "li", "ld", "ls", "lb", "la", "rows", "deep"], cel.Type.DYN),
    extensions=[ext_math.ExtMath(), ext_strings.ExtStrings()],
)  # fmt: skip


class Names:
    def __init__(self, values: Context) -> None:
        self.values = values

    def lookup(self, name: str) -> Any:
        return self.values.get(name, MISSING)


def ours(source: str, context: Context) -> Any:
    try:
        return compile_expression(source).evaluate(Names(context))
    except ExpressionError:
        return ERROR


def oracle(source: str, activation: Any) -> tuple[Any, str]:
    """Return CEL's value or ``ERROR``, and the message of the error."""
    try:
        value = ENVIRONMENT.compile(source, disable_check=True).eval(activation)
    except RuntimeError as error:
        return ERROR, str(error)
    if value.type() == cel.Type.ERROR:
        return ERROR, str(value.plain_value())
    return value.plain_value(), ""


def same(one: Any, other: Any) -> bool:
    """Compare with types: ``1``, ``1.0`` and ``true`` differ."""
    if type(one) is not type(other):
        return False
    if type(one) is list:
        return len(one) == len(other) and all(map(same, one, other))
    if type(one) is dict:
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    return one is other or bool(one == other)


@dataclass
class Tally:
    """What the generated cases were."""

    cases: int = 0
    values: int = 0
    errors: int = 0
    overflows: int = 0
    absorbed: int = 0
    kinds: Counter[str] = field(default_factory=Counter)

    def compare(self, tree: Tree, gap: str, context: Context, activation: Any) -> None:
        sources = {dialect: Writer(dialect, gap).write(tree) for dialect in ("ours", "strict", "native")}
        found = ours(sources["ours"], context)
        strict, message = oracle(sources["strict"], activation)
        alike = sources["native"] == sources["strict"]
        native = strict if alike else oracle(sources["native"], activation)[0]
        used = kinds(tree)
        self.cases += 1
        self.kinds.update(set(used))
        self.values += found is not ERROR
        self.errors += found is ERROR
        shown = f"{sources} with {context}: ours {found!r}, strict {strict!r} {message}, native {native!r}"
        if "overflow" in message:
            self.overflows += 1
        elif found is ERROR and strict is not ERROR and {"all", "exists"} & set(used):
            self.absorbed += 1
        else:
            assert same(found, strict), shown
            assert found is ERROR or same(found, native), shown
            assert native is ERROR or found is not ERROR or {"&&", "||", "all", "exists"} & set(used), shown


@pytest.mark.slow
def test_generated_expressions_give_what_cel_gives() -> None:
    tally = Tally()

    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(CASES)
    def agree(case: Case) -> None:
        activation = ENVIRONMENT.Activation(case.context)
        for tree in case.trees:
            tally.compare(tree, case.gap, case.context, activation)

    agree()
    assert tally.cases >= 3_000
    assert tally.values >= 0.5 * tally.cases, tally
    assert tally.errors >= 0.05 * tally.cases, tally
    assert tally.overflows + tally.absorbed <= 0.02 * tally.cases, tally
    assert SHARED - set(tally.kinds) == set()
    assert set(tally.kinds) - SHARED == set()


OPERANDS = ("true", "false", "1 / 0 > 0", "m.absent", "3", "null")


@pytest.mark.parametrize("operator", ["&&", "||"])
def test_logical_operators_go_from_left_to_right_where_cel_takes_both_sides_alike(operator: str) -> None:
    activation = ENVIRONMENT.Activation({"m": {}})
    deciding = "false" if operator == "&&" else "true"
    for left, right in product(OPERANDS, OPERANDS):
        source = f"({left}) {operator} ({right})"
        boolean = f"(({right}) ? true : false)"
        strict = f"({left}) ? {boolean} : false" if operator == "&&" else f"({left}) ? true : {boolean}"
        found = ours(source, {"m": {}})
        assert same(found, oracle(strict, activation)[0]), source
        native, _ = oracle(source, activation)
        absorbed = left not in ("true", "false") and right == deciding
        assert same(found, native) is not absorbed, source


@pytest.mark.parametrize(("macro", "deciding"), [("all", False), ("exists", True)])
def test_all_and_exists_stop_at_the_first_error_or_decision_where_cel_looks_for_a_decision(
    macro: str, deciding: bool
) -> None:
    activation = ENVIRONMENT.Activation({})
    for size in range(4):
        for items in product((True, False, "error"), repeat=size):
            text = ", ".join({True: "1", False: "2"}.get(one, "0") for one in items)
            source = f"[{text}].{macro}(v, 1 % v == 0)"
            decided = [one for one in items if one in (deciding, "error")]
            found = ours(source, {})
            assert found is (not deciding if not decided else ERROR if decided[0] == "error" else deciding), source
            native, _ = oracle(source, activation)
            absorbed = found is ERROR and deciding in items
            assert native is (deciding if absorbed else found), source


def test_whatever_is_not_shared_is_named() -> None:
    assert set(FUNCTIONS) >= ONLY_OURS
    assert not ONLY_OURS & SHARED
