"""Tokens to a tree, by precedence climbing. Depth is bounded before Python's own recursion could be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from treadle.errors import ExpressionError
from treadle.expressions import ast
from treadle.expressions.budget import DEFAULT
from treadle.expressions.tokens import Token, tokenize, too_long

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


def parse(source: str) -> ast.Node:
    """Return the tree of a whole expression.

    Raises:
        ExpressionError: It is too long, too deep, or no expression; with the column.
    """
    if len(source) > DEFAULT.source_chars:
        raise too_long(source)
    tokens, _ = tokenize(source)
    return parse_tokens(tokens, source)


def parse_tokens(tokens: Sequence[Token], source: str) -> ast.Node:
    """Return the tree of ``tokens``, which were read from ``source``."""
    parser = _Parser(tokens, source)
    tree = parser.expression()
    if parser.next.kind != "end":
        parser.fail("expected the end or an operator")
    return tree


class _Parser:
    def __init__(self, tokens: Sequence[Token], source: str) -> None:
        self._tokens = tokens
        self._source = source
        self._place = 0
        self._left = DEFAULT.nesting

    @property
    def next(self) -> Token:
        return self._tokens[self._place]

    def fail(self, message: str, token: Token | None = None) -> NoReturn:
        token = token or self.next
        found = f", found {token.text[:40]!r}" if token.kind != "end" else ", found the end"
        self._refuse(message + found, token)

    def _refuse(self, message: str, token: Token) -> NoReturn:
        raise ExpressionError(message, self._source, token.at + 1)

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
            self._refuse(f"an expression nested deeper than {DEFAULT.nesting} levels", self.next)
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
            if length > DEFAULT.chain:
                self._refuse(f"more than {DEFAULT.chain} operators in a row", operator)
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
            operand = self._deeper(self._unary)
            if operator.text == "-" and isinstance(operand, ast.Literal) and type(operand.value) in (int, float):
                return ast.Literal(-operand.value, operator.at)
            return ast.Unary(operator.text, operand, operator.at)
        return self._postfix(self._primary())

    def _postfix(self, node: ast.Node) -> ast.Node:
        length = 0
        while True:
            length += 1
            if length > DEFAULT.chain:
                self._refuse(f"a path of more than {DEFAULT.chain} parts", self.next)
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
            return ast.Call(token.text, (target, *self._list(")")), True, token.at)
        return ast.Member(target, token.text, token.at)

    def _primary(self) -> ast.Node:
        token = self._advance()
        if token.kind == "value":
            return ast.Literal(token.value, token.at)
        if token.kind == "name" and token.text != "in":
            if self._take("("):
                return ast.Call(token.text, self._list(")"), False, token.at)
            return ast.Name(token.text, token.at)
        if token.kind == "op" and token.text == "(":
            node = self.expression()
            self._expect(")")
            return node
        if token.kind == "op" and token.text == "[":
            return ast.Items(self._list("]", may_end_in_comma=True), token.at)
        if token.kind == "op" and token.text == "{":
            return ast.Entries(self._entries(), token.at)
        self._place -= 1
        return self.fail("expected a value")

    def _list(self, closing: str, *, may_end_in_comma: bool = False) -> tuple[ast.Node, ...]:
        found: list[ast.Node] = []
        while not self._take(closing):
            if found:
                self._expect(",")
                if may_end_in_comma and self._take(closing):
                    break
            found.append(self.expression())
        return tuple(found)

    def _entries(self) -> tuple[tuple[ast.Node, ast.Node], ...]:
        found: list[tuple[ast.Node, ast.Node]] = []
        while not self._take("}"):
            if found:
                self._expect(",")
                if self._take("}"):
                    break
            key = self.expression()
            self._expect(":")
            found.append((key, self.expression()))
        return tuple(found)
