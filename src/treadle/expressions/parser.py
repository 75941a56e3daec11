"""Tokens to a tree, by precedence climbing. Depth is bounded before Python's own recursion could be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from treadle.errors import ExpressionError
from treadle.expressions import ast
from treadle.expressions.budget import DEFAULT, Budget
from treadle.expressions.tokens import Token, tokenize

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BINDING: Final = {
    "||": 1,
    "&&": 2,
    "==": 3,
    "!=": 3,
    "<": 3,
    "<=": 3,
    ">": 3,
    ">=": 3,
    "in": 3,
    "+": 4,
    "-": 4,
    "*": 5,
    "/": 5,
    "%": 5,
}
"""How tightly each operator binds; all are left-associative. ``?:`` binds less than any."""


def parse(source: str, budget: Budget = DEFAULT) -> ast.Node:
    """Return the tree of a whole expression.

    Raises:
        ExpressionError: It is too long, too deep, or no expression; with the column.
    """
    if len(source) > budget.source_chars:
        raise ExpressionError(f"an expression of more than {budget.source_chars:,} characters", source[:80])
    tokens, _ = tokenize(source)
    return parse_tokens(tokens, source, budget)


def parse_tokens(tokens: Sequence[Token], source: str, budget: Budget = DEFAULT) -> ast.Node:
    """Return the tree of ``tokens``, which were read from ``source``."""
    parser = _Parser(tokens, source, budget.nesting)
    tree = parser.expression()
    if parser.next.kind != "end":
        parser.fail("expected the end or an operator")
    return tree


class _Parser:
    def __init__(self, tokens: Sequence[Token], source: str, nesting: int) -> None:
        self._tokens = tokens
        self._source = source
        self._place = 0
        self._left = nesting

    @property
    def next(self) -> Token:
        return self._tokens[self._place]

    def fail(self, message: str, token: Token | None = None) -> NoReturn:
        token = token or self.next
        found = f", found {token.text!r}" if token.kind != "end" else ", found the end"
        raise ExpressionError(message + found, self._source, token.at + 1)

    def _advance(self) -> Token:
        token = self.next
        self._place += 1
        return token

    def _is(self, text: str) -> bool:
        return self.next.kind == "op" and self.next.text == text

    def _take(self, text: str) -> bool:
        found = self._is(text)
        self._place += found
        return found

    def _expect(self, text: str) -> None:
        if not self._take(text):
            self.fail(f"expected {text!r}")

    def _deeper(self, read: Callable[[], ast.Node]) -> ast.Node:
        if not self._left:
            self.fail("an expression nested too deeply")
        self._left -= 1
        try:
            return read()
        finally:
            self._left += 1

    def expression(self) -> ast.Node:
        return self._deeper(self._choice)

    def _choice(self) -> ast.Node:
        condition = self._binary(1)
        at = self.next.at
        if not self._take("?"):
            return condition
        yes = self.expression()
        self._expect(":")
        return ast.Choice(condition, yes, self.expression(), at)

    def _binary(self, least: int) -> ast.Node:
        left = self._unary()
        length = 0
        while (binding := self._binding()) >= least:
            operator = self._advance()
            length += 1
            if length > _LONGEST_CHAIN:
                self.fail("too many operators in a row; use parentheses", operator)
            left = ast.Binary(operator.text, left, self._binary(binding + 1), operator.at)
        return left

    def _binding(self) -> int:
        token = self.next
        if token.kind == "op" or (token.kind == "name" and token.text == "in"):
            return BINDING.get(token.text, 0)
        return 0

    def _unary(self) -> ast.Node:
        if self._is("!") or self._is("-"):
            operator = self._advance()
            return ast.Unary(operator.text, self._deeper(self._unary), operator.at)
        return self._postfix(self._primary())

    def _postfix(self, node: ast.Node) -> ast.Node:
        length = 0
        while True:
            length += 1
            if length > _LONGEST_CHAIN:
                self.fail("a path of too many parts")
            at = self.next.at
            if self._take("."):
                node = self._member(node)
            elif self._take("["):
                node = ast.Index(node, self.expression(), at)
                self._expect("]")
            else:
                return node

    def _member(self, target: ast.Node) -> ast.Node:
        token = self._advance()
        if token.kind not in ("name", "value") or not token.text.isidentifier():
            self.fail('expected a name behind "."', token)
        if self._take("("):
            return ast.Call(token.text, (target, *self._arguments(")")), True, token.at)
        return ast.Member(target, token.text, token.at)

    def _primary(self) -> ast.Node:
        token = self._advance()
        if token.kind == "value":
            return ast.Literal(token.value, token.at)
        if token.kind == "name" and token.text != "in":
            if self._take("("):
                return ast.Call(token.text, self._arguments(")"), False, token.at)
            return ast.Name(token.text, token.at)
        if token.kind == "op" and token.text == "(":
            node = self.expression()
            self._expect(")")
            return node
        if token.kind == "op" and token.text == "[":
            return ast.Items(self._arguments("]"), token.at)
        if token.kind == "op" and token.text == "{":
            return ast.Entries(self._entries(), token.at)
        self._place -= 1
        return self.fail("expected a value")

    def _arguments(self, closing: str) -> tuple[ast.Node, ...]:
        found: list[ast.Node] = []
        while not self._take(closing):
            if found:
                self._expect(",")
                if self._take(closing):
                    break
            found.append(self.expression())
        return tuple(found)

    def _entries(self) -> tuple[tuple[ast.Node, ast.Node], ...]:
        found: list[tuple[ast.Node, ast.Node]] = []
        while not self._take("}"):
            if found:
                self._expect(",")
            key = self.expression()
            self._expect(":")
            found.append((key, self.expression()))
        return tuple(found)


_LONGEST_CHAIN: Final = 128
"""Operators or parts in a row: each adds a level to the tree, whatever the nesting of the source."""
