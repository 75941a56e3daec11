"""The language: values, missing names, errors, templates, the older spelling."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from treadle.errors import ExpressionError
from treadle.expressions import (
    MISSING,
    MissingNameError,
    Record,
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


@given(st.lists(st.text("ab_1", min_size=1, max_size=3), min_size=1, max_size=4), st.sampled_from(["", " ", "\n\t"]))
@example(["true"], "")
@example(["in"], "")
@example(["a", "null"], " ")
@example(["a"] * 128, "")
@example(["a"] * 129, "")
@example(["a" * 4_094], "")
@example(["a" * 4_095], "")
@example(["a" * 4_096], "")
def test_a_plain_reference_in_a_text_is_what_the_parser_makes_of_it(names: list[str], space: str) -> None:
    """Short references in texts are read without the parser; in parentheses they are read with it."""

    def outcome(text: str, shift: int) -> Any:
        try:
            template = compile_template(text)
        except ExpressionError:
            return "refused"
        found = [(one.root, one.path, one.guarded, one.text, one.column - shift) for one in template.references]
        try:
            return found, template.resolve(Names(a={"b": {"a": 1}, "a": [2]}, b=3))
        except MissingNameError as error:
            return found, error.path, error.root

    path = space + ".".join(names) + space
    if len(path) < 4_000:
        assert outcome(f"${{{path}}}", 0) == outcome(f"${{({path})}}", 1)
    else:
        fits = len(path) < 4_096  # the closing brace counts
        assert isinstance(outcome(f"${{{path}}}", 0), tuple) is fits


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


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("[round(2.5), round(-2.5), round(0.5), round(2.4), round(-2.6), round(7)]", [3, -3, 1, 2, -3, 7]),
        ("[round(0.49999999999999994), floor(-1.5), ceil(-1.5), abs(-2.5), abs(-3)]", [0, -2, -1, 2.5, 3]),
        ("size(string(round(1e300)))", 301),
        (r"' \t\u2003a\x1f\xa0\u3000'.trim()", "a\x1f"),
        ("'ÀbÉ'.lowerAscii() + 'àBé'.upperAscii()", "ÀbÉàBé"),
        (r"'\101\060\377' + '\x41\X42'", "A0ÿAB"),
        (r"'\u00e9' + '\U0001F600' + '\a\b\f\v\`\?'", "é😀\a\b\f\v`?"),
        (r'''r'\d' + R"\"''', "\\d\\"),
        ("'''it's''' + \"\"\"a\nb\"\"\"", "it'sa\nb"),
        ("[1, 2,] + [{'a': 1,}]", [1, 2, {"a": 1}]),
        ("1\f+\t2\r\n+ 3", 6),
        ("[int('-12'), int(' 7 '), int(2.9), int(-2.9), int('+3')]", [-12, 7, 2, -2, 3]),
        ("[double('1.5'), double('2e1'), double('.5'), double(3)]", [1.5, 20.0, 0.5, 3.0]),
        ("''.split('')", []),
        ("'aé😀'.split('')", ["a", "é", "😀"]),
        ("',a,'.split(',')", ["", "a", ""]),
        ("['a', 'b'].join() + ['a', 'b'].join('--') + [].join('x')", "aba--b"),
        ("'abc'.substring(3) + 'abc'.substring(0, 3) + 'abc'.substring(1, 2)", "abcb"),
        ("'abab'.replace('b', '') + 'ab'.replace('', '-')", "aa-a-b-"),
        ("[1, 1.0, true, 'a', 'a', [1], [1.0], {'a': 1}, {'a': 1.0}, null].distinct()",
         [1, True, "a", [1], {"a": 1}, None]),
        ("[9007199254740993, 9007199254740992.0, 1e300, 9007199254740992].distinct().size()", 3),
        ("[3, 1.5, 2].sort() + ['b', 'a'].sort()", [1.5, 2, 3, "a", "b"]),
        ("sum([0.5, 1]) + sum(1, 2, 3)", 7.5),
        ("min(2, 1.5) + max([1, 7, 3])", 8.5),
        ("9007199254740993 == 9007199254740992.0", False),
        ("9007199254740993 > 9007199254740992.0", True),
        ("-9007199254740993 % 10", -3),
        ("div(9007199254740993, 2)", 4503599627370496),
        ("'a' < 'b' && 'Z' < 'a' && '' < 'a' && 'é' > 'z' && false < true", True),
        ("[1 < 1, 1 <= 1, 1 > 1, 1 >= 1, 1 < 2, 1 <= 2, 1 > 2, 1 >= 2]",
         [False, True, False, True, True, True, False, False]),
        ("['a' < 'a', 'a' <= 'a', 'a' > 'a', 'a' >= 'a', 2 < 1.5, 2 <= 1.5, 2 > 1.5, 2 >= 1.5]",
         [False, True, False, True, False, False, True, True]),
        ("[n < 7, n <= 7, n > 7, n >= 7, n == 7, n != 7, n < n, n <= n]",
         [False, True, False, True, True, False, False, True]),
        ("null == null && null != 0 && [] != {} && '1' != 1", True),
        ("'k' in {'k': null} && !(1 in {'1': 0}) && !(null in {'k': 1})", True),
        ("[1] in [[1.0]] && null in [null] && !(true in [1]) && !('1' in [1])", True),
        ("true ? false ? 1 : 2 : 3", 2),
        ("false ? 1 : true ? 2 : 3", 2),
        ("1 < 2 == true && !(1 == 2) && -1 < 0", True),
        ("false && true || true", True),
        ("true || true && false", True),
        ("2 + 3 * 4 - 6 / 3 % 5", None),
        ("2 * 3 % 4 + 10 - 4 - 3", 5),
        ("- -1 - -1", 2),
        ("!(!true)", True),
        ("[[1, 2], [3]].map(v, v.map(w, w * 10).filter(w, w > 10))", [[20], [30]]),
        ("[1, 1, 2].exists_one(v, v == 2) && ![1, 1].exists_one(v, v == 1) && ![].exists_one(v, true)", True),
        ("[].all(v, false) && ![].exists(v, true)", True),
        ("[n, 2].map(n, n + 1)[0] + n", 15),
        ("{'b': 1, 'a': 2}.map(k, k).join()", "ba"),
        ("{'b': 1, 'a': 2}.filter(k, k > 'a')", ["b"]),
        ("{'a': {'b': 5}}.a.b + [1, 2][1]", 7),
        ("size('é😀') + size([1]) + size({'a': 1})", 4),
        ("'b' in {'b': 1}.map(k, k)", True),
        ("has(a.b) && !has(a.b[9]) && !has(unknown.x) && has(nothing) && !has(a.b[2].zz.y)", True),
        ("default(a.zz.y, default(unknown, 5))", 5),
        ("default(a.b[9], 'none')", "none"),
        ("[truthy(''), truthy('0'), truthy('a'), truthy('0.0'), truthy([]), truthy(0), truthy(null), truthy({'a': 1})]",
         [False, False, True, False, False, False, False, True]),
        ("string(null) + string([1, 'é']) + string({'a': 1.0})", 'null[1,"é"]{"a":1.0}'),
    ],
)  # fmt: skip
def test_details_of_the_language(source: str, value: Any) -> None:
    if value is None:
        with pytest.raises(ExpressionError):  # the quotient is a float, of which there is no remainder
            compile_expression(source).evaluate(NAMES)
        return
    found = compile_expression(source).evaluate(NAMES)
    assert found == value
    assert type(found) is type(value)
    if isinstance(value, list):
        assert [type(one) for one in found] == [type(one) for one in value]


@pytest.mark.parametrize(
    "source",
    ["size('a',)", "f(,)", "[,]", "{,}", r"'\400'", r"'\ud800'", r"'\x4'", "0XFF", "1.", ".5", "1u", "b'a'", "x // c",
     "'a\nb'", "int('1_000')", "int('١٢')", "int('0x1')", "int('1.5')", "int(true)", "int(null)", "double('1_0')",
     "double('nan')", "double('inf')", "double('')", "double(true)", "'abc'.substring(0, null)", "'abc'.substring(4)",
     "'abc'.substring(2, 1)", "'abc'.substring(-1)", "'abc'.substring(1.0)", "[1][1.0]", "[1][true]", "[1][-1]",
     "[1][1]", "'a'[0]", "1 + null", "[1] + {}", "{} + {}", "'a' * 3", "true + true", "null < null", "[1] < [2]",
     "1 in 'a'", "'a' in 'abc'", "true && 1", "1 && true", "false || 1", "1 || true", "!null", "-true", "-null",
     "[1, 'a'].join()", "'a'.join(',')", "'a'.contains(null)", "'a'.startsWith(1)", "min('a')", "max()", "abs('1')",
     "floor(null)", "round(true)", "mod(7, 0)", "div(1, 0)", "7.0 % 2", "div(7.0, 2)", "1 % 0", "1.0 / 0.0",
     "{true: 1}", "[1].all(v, 1)", "[1].exists(v, null)", "[1].filter(v, 'a')", "[1].exists_one(v, 1)", "1.map(v, v)",
     "'a'.all(v, v)", "[1].map(v, v, v)", "[1].map(1, 2)", "[true, 1].all(v, v)", "[false, 1].exists(v, v)",
     "[1 / 0].size()", "[1 / 0 > 0, true].exists(v, v)", "{'a': 1 / 0}.b", "[0, 1].exists(v, 1 / v > 0)",
     "[].map(v, v).q"],
)  # fmt: skip
def test_what_the_language_does_not_have_is_an_error(source: str) -> None:
    with pytest.raises(ExpressionError):
        compile_expression(source).evaluate(NAMES)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("false && 1 / 0 > 0", False),
        ("true || 1 / 0 > 0", True),
        ("true ? 1 : 1 / 0", 1),
        ("false ? 1 / 0 : 2", 2),
        ("[true, false].exists(v, v || 1 / 0 > 0)", True),
        ("[1, 0].exists(v, 1 / v > 0)", True),
        ("[false].all(v, v) || true", True),
        ("true && false && 1 / 0 > 0", False),
        ("false || true || 1 / 0 > 0", True),
        ("default(1, 1 / 0)", 1),
    ],
)
def test_what_does_not_decide_is_not_evaluated(source: str, value: Any) -> None:
    assert compile_expression(source).evaluate(NAMES) == value


@pytest.mark.parametrize(
    "source", ["1 / 0 > 0 && false", "1 / 0 > 0 || true", "null && false", "[1 / 0].size() < 0 && false"]
)
def test_an_error_on_the_left_is_not_forgiven(source: str) -> None:
    with pytest.raises(ExpressionError):
        compile_expression(source).evaluate(NAMES)


def test_a_constant_list_behind_in_is_made_once_and_cannot_be_reached() -> None:
    expression = compile_expression("[n].filter(v, v in [7, 8]) + [7, 8]")
    first = expression.evaluate(NAMES)
    first.clear()
    assert expression.evaluate(NAMES) == [7, 7, 8]


class Rows(Record):
    """An object that is read key by key."""

    def get(self, key: str) -> Any:
        return {"a": 1, "b": [2]}.get(key, MISSING)

    def plain(self) -> Any:
        return {"a": 1, "b": [2]}


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("r", {"a": 1, "b": [2]}),
        ("r.b[0]", 2),
        ("r['a']", 1),
        ("has(r.c)", False),
        ("'a' in r && !('c' in r) && !(1 in r)", True),
        ("r == {'b': [2.0], 'a': 1} && {'b': [2], 'a': 1} == r && r == r && r != 1 && 1 != r", True),
        ("size(r)", 2),
        ("[r] == [r.map(k, r)[0]]", True),
        ("string(r)", '{"a":1,"b":[2]}'),
        ("{'x': r}.x.a", 1),
        ("r.filter(k, k == 'a')", ["a"]),
        ("truthy(r)", True),
        ("[1].map(v, r)[0].a", 1),
        ("true ? r : 1", {"a": 1, "b": [2]}),
        ("default(r, 1).a", 1),
    ],
)
def test_a_record_is_an_object(source: str, value: Any) -> None:
    assert compile_expression(source).evaluate(Names(r=Rows())) == value


@pytest.mark.parametrize(
    ("older", "translation"),
    [
        ("${a.ok} == true and not ${b}", "(a.ok == true) && !(truthy(b))"),
        ("(${n} + 1) * 2 == 16", "(((n) + 1) * 2 == 16)"),
        ("${a['x y']} != None", "(a['x y'] != null)"),
        ("a is None or a is not None", "(a == null) || (a != null)"),
        ("${t} not in ['x'] and True", "!(t in ['x']) && truthy(true)"),
        ("not not a", "!(!(truthy(a)))"),
        ("(a or b) and c", "truthy((truthy(a) || truthy(b))) && truthy(c)"),
        ("a.not == 1 and b.None", "(a.not == 1) && truthy(b.None)"),
        ("size(${a}) > 3 and True", "(size(a) > 3) && truthy(true)"),
        ("x[0] == 1 and x.map(v, v)[0]", "(x[0] == 1) && truthy(x.map(v, v)[0])"),
        ("'a and b' == ${t}", "('a and b' == t)"),
        ("${n} == -1", "(n == - 1)"),
        ("${a}", "truthy(a)"),
    ],
)
def test_the_translation_of_the_older_spelling(older: str, translation: str) -> None:
    assert translate_condition(older) == translation
    compile_expression(translation)


@pytest.mark.parametrize("source", ["a.not", "a.and.or > 1", "has(a.None)"])
def test_a_key_that_is_a_word_of_the_older_spelling_does_not_make_it_one(source: str) -> None:
    assert translate_condition(source) == source


@pytest.mark.parametrize(
    ("older", "message", "column"),
    [
        ("'${t}' == 'hi'", "'${' within quotes; write the reference without them", 1),
        ("${a} and", "expected a value, found the end", 9),
        ("${a", "'${' without its closing '}'", 2),
        ("1 < a < 3 and True", "expected the end, found '<'", 7),
        ("a not b and c", "expected 'in' behind 'not', found 'b'", 7),
        ("(a and b", "expected ')', found the end", 9),
        ("${a} == = 1", "'=' has no meaning here; '==' compares", 9),
    ],
)
def test_what_is_no_condition_of_the_older_spelling_is_told_with_its_column(
    older: str, message: str, column: int
) -> None:
    with pytest.raises(ExpressionError) as caught:
        translate_condition(older)
    assert caught.value.message == message
    assert caught.value.column == column
