"""The language: values, missing names, errors, templates, the older spelling."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.errors import ExpressionError
from treadle.expressions import (
    MISSING,
    MissingNameError,
    compile_expression,
    compile_template,
    template_problems,
    translate_condition,
)
from treadle.expressions import ast as tree


class Names:
    """A scope over a dict."""

    def __init__(self, **values: Any) -> None:
        self.values = values

    def lookup(self, name: str) -> Any:
        return self.values.get(name, MISSING)


NAMES = Names(
    a={"b": [1, 2, {"c": "x"}], "ok": True, "odd key": 5},
    n=7,
    t="hi",
    zero=0,
    nothing=None,
    input={"amount": 150, "empty": {}},
)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("a.b[2].c", "x"),
        ('a["odd key"]', 5),
        ("7 / 2", 3.5),
        ("div(-7, 2)", -3),
        ("mod(-7, 2)", -1),
        ("-n + 2 * 3", -1),
        ("1 + 2 * 3 - 4", 3),
        ("10 - 3 - 2", 5),
        ("(1 + 2) * 3", 9),
        ("1 == 1.0", True),
        ("1 == true", False),
        ("[1, true] == [1.0, true]", True),
        ("[1] == [true]", False),
        ("{'a': 1} == {'a': 1.0}", True),
        ("9007199254740993 + 0", 9007199254740993),
        ("0x1F", 31),
        ("1.5e2", 150.0),
        ("'a' + \"b\" + '''c'''", "abc"),
        (r"'\u00e9\n'", "é\n"),
        (r"r'\n'", r"\n"),
        ("a.ok && n > 3", True),
        ("false && missing.name", False),
        ("true || missing.name", True),
        ("n > 3 ? 'y' : 'z'", "y"),
        ("has(a.b)", True),
        ("has(a.zz)", False),
        ("has(t.length)", False),
        ("default(a.zz, 5)", 5),
        ("default(nothing, 5)", None),
        ("[1, 2, 3].filter(x, x > 1).map(x, x * n)", [14, 21]),
        ("[1, 2].all(x, x > 0) && [1, 2].exists(x, x == 2) && [1, 2].exists_one(x, x > 1)", True),
        ("{'k': 1}.map(k, k)", ["k"]),
        ("size(a.b) + 'abc'.size()", 6),
        ("2 in [1, 2.0] && 'k' in {'k': 1}", True),
        ("'a,b'.split(',').join('-').upperAscii()", "A-B"),
        ("'abc'.substring(1)", "bc"),
        ("min(3, 1, 2) + max([4, 5]) + sum([])", 6),
        ("string(1.5) + string(true) + string({'a': null})", '1.5true{"a":null}'),
        ("!a.ok", False),
    ],
)
def test_an_expression_gives_its_value(source: str, value: Any) -> None:
    found = compile_expression(source).evaluate(NAMES)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("a.zz == null", "a.zz"),
        ("!(a.zz.deeper)", "a.zz"),
        ("t.length", "t.length"),
        ("n.real", "n.real"),
        ("a.b[9]", "a.b[9]"),
        ("a.__class__", "a.__class__"),
        ("unknown", "unknown"),
        ("''.__class__", "(...).__class__"),
        ("input.empty['odd one'].x", 'input.empty["odd one"]'),
    ],
)
def test_only_an_absent_name_is_missing_and_the_path_says_which(source: str, path: str) -> None:
    with pytest.raises(MissingNameError) as caught:
        compile_expression(source).evaluate(NAMES)
    assert caught.value.path == path


@pytest.mark.parametrize(
    "source",
    ["'x' + 1", "1 < 'x'", "true < 1", "1 / 0", "mod(1, 0)", "!n", "n && true", "-t", "1 in 2", "1e308 * 10",
     "int('x')", "[1, 'a'].sort()", "n ? 1 : 2", "[1].all(x, x)", "size(1)"],
)  # fmt: skip
def test_values_that_an_operator_does_not_take_are_an_error_that_quotes_the_expression(source: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(source).evaluate(NAMES)
    assert not isinstance(caught.value, MissingNameError)
    assert repr(source) in str(caught.value)


@pytest.mark.parametrize(
    ("source", "column"),
    [("1 +", 4), ("1 1", 3), ("f(1)", 1), ("a.b(", 5), ("a..b", 3), ("'x", 1), ("#", 1), ("{1: 2}", 2), ("a = b", 3),
     ("'a'.matches('(a+)+$')", 5), ("__import__('os')", 1), ("a.format(1)", 3), ("[1].map(1, 2)", 5), ("", 1)],
)  # fmt: skip
def test_what_is_no_expression_is_refused_with_its_column(source: str, column: int) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(source)
    assert caught.value.column == column


@pytest.mark.parametrize(
    "source", ["(" * 5_000, "!" * 4_000 + "true", "-" * 4_000, "a" + ".b" * 2_000, "1" + "+1" * 2_000, "1" * 5_000]
)
def test_sources_made_to_be_costly_are_refused_before_they_cost(source: str) -> None:
    with pytest.raises(ExpressionError):
        compile_expression(source)


def test_steps_and_results_are_bounded() -> None:
    wide = Names(x=list(range(200)), big=2**1000, text="x" * 600_000)
    for source in ("x.map(a, x.map(b, x.map(c, c)))", "big * big", "text + text", "text.replace('x', text)"):
        with pytest.raises(ExpressionError):
            compile_expression(source).evaluate(wide)


def test_a_value_nested_50_000_deep_is_an_error_and_no_crash() -> None:
    deep: Any = []
    for _ in range(50_000):
        deep = [deep]
    with pytest.raises(ExpressionError):
        compile_expression("deep == other").evaluate(Names(deep=deep, other=[[[]]] and deep[:]))


def test_the_syntax_tree_is_a_closed_set() -> None:
    kinds = {
        name for name, value in vars(tree).items() if isinstance(value, type) and value.__module__ == tree.__name__
    }
    assert kinds == {
        "Literal", "Name", "Member", "Index", "Unary", "Binary", "Choice", "Call", "Items", "Entries",
    }  # fmt: skip


@given(st.text(alphabet="ab.[]()'\"${}!&|=<>+-*/%?:, 019\\\n", max_size=60))
def test_any_text_compiles_or_is_refused_and_what_compiles_gives_a_value_or_a_typed_error(source: str) -> None:
    try:
        compile_expression(source).evaluate(Names(a={"b": [1, "b", None]}, b=[{"a": 1}]))
    except ExpressionError:
        return


def test_references_are_known_before_evaluation() -> None:
    found = compile_expression("a.b[0] > 1 && has(c['d e'].f) && [1].all(x, x == y)").references
    assert [(one.root, one.path, one.guarded) for one in found] == [
        ("a", ("b", 0), False),
        ("c", ("d e", "f"), True),
        ("y", (), False),
    ]


def test_a_template_keeps_types_joins_text_and_reads_nothing_twice() -> None:
    value = {"whole": "${n}", "text": "n is ${n}, ${nothing}, ${a.b}", "plain": "$${n}", "deep": [{"x": "${a.ok}"}, 1]}
    assert compile_template(value).resolve(NAMES) == {
        "whole": 7,
        "text": 'n is 7, null, [1,2,{"c":"x"}]',
        "plain": "${n}",
        "deep": [{"x": True}, 1],
    }
    assert compile_template("${x}").resolve(Names(x="${n}")) == "${n}"
    assert compile_template("${'}' + \"}\"}!").resolve(NAMES) == "}}!"


def test_a_constant_template_gives_a_new_value_each_time() -> None:
    template = compile_template({"a": [1]})
    first = template.resolve(NAMES)
    first["a"].append(2)
    assert template.is_constant
    assert template.resolve(NAMES) == {"a": [1]}


def test_every_bad_expression_of_a_template_is_reported_with_its_place() -> None:
    problems = template_problems({"a": "${1 +}", "b": [0, "${x"], "c": "fine"})
    assert [path for path, _ in problems] == ["a", "b[1]"]


@pytest.mark.parametrize(
    ("older", "value"),
    [
        ("${a.ok} == true and not ${zero}", True),
        ("${n} > 3", True),
        ("not (${n} == 1 or ${a.ok})", False),
        ("${n} + 1 == 8", True),
        ("a.ok and n", True),
        ("${t} == 'hi' and True", True),
        ("${nothing} == None", True),
        ("${zero} or False", False),
    ],
)
def test_the_older_spelling_is_translated(older: str, value: bool) -> None:
    assert compile_expression(translate_condition(older)).evaluate(NAMES) is value


@pytest.mark.parametrize("source", ["a.ok && n > 3", "has(a.b)", "t == 'and not'"])
def test_what_is_cel_already_stays_as_it_is(source: str) -> None:
    assert translate_condition(source) == source
