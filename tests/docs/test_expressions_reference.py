"""The reference of the language is what the language does: each of its tables is evaluated, and none is left out.

A table is known by the names of its columns: an ``expression`` gives its ``result``, a ``template`` is resolved, an
``older spelling`` is translated, and so on. In a cell, code stands between backticks and ``\\|`` is ``|``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from cel_expr_python import cel
from cel_expr_python.ext import ext_math, ext_strings

from treadle.expressions import (
    MISSING,
    ExpressionError,
    MissingNameError,
    compile_expression,
    compile_template,
    translate_condition,
)
from treadle.expressions.budget import DEFAULT
from treadle.expressions.compiler import GUARDS
from treadle.expressions.functions import FUNCTIONS
from treadle.expressions.macros import MACROS
from treadle.expressions.parser import BINDING

PAGE = (Path(__file__).parents[2] / "docs/reference/expressions.md").read_text(encoding="utf-8")
CONTEXT: dict[str, Any] = json.loads(PAGE.partition("```json\n")[2].partition("```")[0])
SIGNATURE = re.compile(r"(?P<target>x\.)?(?P<name>\w+)\((?P<arguments>[^)]*)\)")


class Row(NamedTuple):
    """A line of a table: its cells by the names of the columns, as they are written."""

    columns: tuple[str, ...]
    cells: dict[str, str]


class Names:
    def lookup(self, name: str) -> Any:
        return CONTEXT.get(name, MISSING)


def _cells(line: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def _rows() -> list[Row]:
    found: list[Row] = []
    columns: tuple[str, ...] = ()
    for line in PAGE.splitlines():
        if not line.startswith("|"):
            columns = ()
        elif not columns:
            columns = tuple(_cells(line))
        elif not line.startswith("|---"):
            found.append(Row(columns, dict(zip(columns, _cells(line), strict=True))))
    return found


def _code(cell: str) -> str:
    assert cell.startswith("`"), cell
    assert cell.endswith("`"), cell
    return cell[1:-1]


def _with(*columns: str, without: tuple[str, ...] = ()) -> list[Row]:
    found = [row for row in ROWS if {*columns} <= {*row.columns} and not {*without} & {*row.columns}]
    assert found, columns
    return found


def _evaluate(source: str) -> Any:
    """Return the value, or the text that the page has for a missing name or an error."""
    try:
        return compile_expression(source).evaluate(Names())
    except MissingNameError as error:
        return f"missing: {error.path}"
    except ExpressionError:
        return "error"


def _expected(cell: str) -> Any:
    code = _code(cell)
    return code if code == "error" or code.startswith("missing: ") else json.loads(code)


def _same(one: Any, other: Any) -> bool:
    """Compare with types: ``1``, ``1.0`` and ``true`` are different results."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


ROWS = _rows()
DIFFERENCES = _with("expression", "here", "in CEL")


@pytest.mark.parametrize("row", _with("expression", "result"), ids=lambda row: row.cells["expression"])
def test_an_expression_gives_the_result_beside_it(row: Row) -> None:
    found = _evaluate(_code(row.cells["expression"]))
    assert _same(found, _expected(row.cells["result"])), found


@pytest.mark.parametrize("row", _with("template", "result"), ids=lambda row: row.cells["template"])
def test_a_template_gives_the_result_beside_it(row: Row) -> None:
    found = compile_template(json.loads(_code(row.cells["template"]))).resolve(Names())
    assert _same(found, _expected(row.cells["result"])), found


@pytest.mark.parametrize("row", _with("older spelling", "is read as"), ids=lambda row: row.cells["older spelling"])
def test_a_condition_of_the_older_spelling_is_read_as_what_stands_beside_it(row: Row) -> None:
    translation = translate_condition(_code(row.cells["older spelling"]))
    assert translation == _code(row.cells["is read as"])
    assert _evaluate(translation) in (True, False)


@pytest.mark.parametrize("row", _with("refused", "message"), ids=lambda row: row.cells["refused"])
def test_what_is_refused_is_refused_with_the_message_beside_it(row: Row) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(_code(row.cells["refused"]))
    assert caught.value.message.startswith(_code(row.cells["message"]).rstrip())
    assert caught.value.column > 0


@pytest.mark.parametrize("row", _with("fails", "message"), ids=lambda row: row.cells["fails"])
def test_what_fails_fails_with_the_message_beside_it(row: Row) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(_code(row.cells["fails"])).evaluate(Names())
    assert str(caught.value).startswith(_code(row.cells["message"]))


@pytest.mark.parametrize("row", DIFFERENCES, ids=lambda row: row.cells["expression"])
def test_a_difference_to_cel_is_one(row: Row) -> None:
    source = _code(row.cells["expression"])
    found = _evaluate(source)
    assert _same("error" if str(found).startswith("missing") else found, _expected(row.cells["here"])), found
    if row.cells["in CEL"]:
        theirs = _in_cel(source)
        assert _same(theirs, _expected(row.cells["in CEL"])), theirs
        assert not _same(theirs, found)


def _in_cel(source: str) -> Any:
    environment = cel.NewEnv(
        variables=dict.fromkeys(CONTEXT, cel.Type.DYN), extensions=[ext_math.ExtMath(), ext_strings.ExtStrings()]
    )
    try:
        value = environment.compile(source, disable_check=True).eval(data=CONTEXT)
    except RuntimeError:
        return "error"
    return "error" if value.type() == cel.Type.ERROR else value.plain_value()


def test_every_function_and_macro_is_documented_and_nothing_more() -> None:
    signatures = [SIGNATURE.fullmatch(_code(row.cells["signature"])) for row in _with("signature")]
    names = [found["name"] for found in signatures if found]
    assert len(names) == len(signatures)
    assert sorted(names) == sorted([*FUNCTIONS, *MACROS, *GUARDS])


def test_every_signature_says_how_a_function_is_called_and_with_how_many_arguments() -> None:
    for row in _with("signature"):
        found = SIGNATURE.fullmatch(_code(row.cells["signature"]))
        assert found
        name, arguments = found["name"], found["arguments"]
        required, _, optional = arguments.partition("[")
        least = len([one for one in required.split(",") if one.strip() not in ("", "...")]) + bool(found["target"])
        most = 32 if "..." in arguments else least + bool(optional)
        if name in FUNCTIONS:
            function = FUNCTIONS[name]
            assert (function.least, function.most, function.is_method) == (least, most, bool(found["target"])), name
        else:
            assert least == most == GUARDS.get(name, 3), name


def test_the_example_of_a_function_or_macro_uses_it() -> None:
    for row in _with("signature"):
        found = SIGNATURE.fullmatch(_code(row.cells["signature"]))
        assert found
        assert f"{found['name']}(" in row.cells["expression"], row


def test_the_table_of_operators_has_the_precedence_of_the_parser() -> None:
    table = [re.findall(r"`([^`]+)`", row.cells["operators"]) for row in _with("row", "operators")]
    assert table[:2] == [["x.y", "x[y]", "f(x)", "x.f(y)"], ["-x", "!x"]]
    assert table[-1] == ["?:"]
    binding = [[BINDING[operator] for operator in row] for row in table[2:-1]]
    assert binding == sorted(binding, reverse=True)
    assert all(len(set(row)) == 1 for row in binding)
    assert len({row[0] for row in binding}) == len(binding)
    assert sorted(operator for row in table[2:-1] for operator in row) == sorted(BINDING)


def test_the_bounds_are_those_of_the_code() -> None:
    written = {_code(row.cells["bound"]): int(row.cells["limit"].replace(",", "")) for row in _with("bound", "limit")}
    assert written == msgspec.structs.asdict(DEFAULT)


def test_every_table_is_one_that_is_looked_at() -> None:
    known = [
        {"expression", "result"}, {"template", "result"}, {"older spelling", "is read as"}, {"refused", "message"},
        {"fails", "message"}, {"expression", "here", "in CEL"}, {"bound", "limit"},
    ]  # fmt: skip
    prose = {("place", "what is written", "what it must give"), ("name", "is")}
    columns = {row.columns for row in ROWS}
    assert {one for one in columns if not any(known_ones <= {*one} for known_ones in known)} == prose
