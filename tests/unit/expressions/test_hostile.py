"""What is made to be costly or to break out ends in a named error, at once."""

from __future__ import annotations

import ast as python
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import treadle.expressions
from treadle.expressions import (
    MISSING,
    ExpressionError,
    MissingNameError,
    compile_expression,
    compile_template,
    template_problems,
    translate_condition,
)
from treadle.expressions.budget import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT_SECONDS = 0.050
"""Of processor time, so that other work on the machine does not count; the best of a few tries."""


class Names:
    """A scope over a dict."""

    def __init__(self, **values: Any) -> None:
        self.values = values

    def lookup(self, name: str) -> Any:
        return self.values.get(name, MISSING)


def deep() -> Any:
    value: Any = []
    for _ in range(50_000):
        value = [value]
    return value


def deep_object() -> Any:
    value: Any = {}
    for _ in range(50_000):
        value = {"a": value}
    return value


@cache
def hostile() -> Names:
    """Values as large as a payload may be, and some that no payload may be."""
    return Names(
        deep=deep(),
        same_depth=deep(),
        objects=deep_object(),
        more_objects=deep_object(),
        many=list(range(10_000)),
        others=list(range(10_000)),
        million=list(range(1_000_000)),
        rows=[{"id": number, "tags": ["a", "b"]} for number in range(20_000)],
        same_rows=[{"id": number, "tags": ["a", "b"]} for number in range(20_000)],
        keys={f"key{number}": number for number in range(200_000)},
        same_keys={f"key{number}": number for number in range(200_000)},
        text="a" * 4_000_000,
        same_text="a" * 3_999_999 + "b",
        accents="é" * 2_000_000,
        huge=10**999,
        collide=[number * (2**61 - 1) for number in range(20_000)],
        nothing=[],
    )


def fails_in_time(act: Callable[[], object]) -> ExpressionError:
    """Return the error of ``act``, which comes within the limit."""
    best = float("inf")
    for _ in range(5):
        start = time.thread_time()
        with pytest.raises(ExpressionError) as caught:
            act()
        best = min(best, time.thread_time() - start)
        if best < LIMIT_SECONDS:
            return caught.value
    pytest.fail(f"{best * 1000:.0f} ms until {caught.value}")


def nested(levels: int) -> str:
    """Return sums of as many operators in a row as may be, in as many parentheses: deeper than either bound says."""
    source = "1"
    for _ in range(levels):
        source = f"({source}{'+1' * 120})"
    return source


def doubled(times: int) -> str:
    return "['a', 'b']" + ".map(x, [x + x, x + x])" * times


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("(" * 4_000, "nested deeper than 32 levels"),
        ("[" * 33 + "]" * 33, "nested deeper than 32 levels"),
        ("{'a':" * 33 + "1" + "}" * 33, "nested deeper than 32 levels"),
        ("-" * 4_000 + "n", "nested deeper than 32 levels"),
        ("size(" * 33 + "''" + ")" * 33, "nested deeper than 32 levels"),
        ("true ? 1 : " * 33 + "1", "nested deeper than 32 levels"),
        ("a[" * 33 + "0" + "]" * 33, "nested deeper than 32 levels"),
        (nested(15), "more than 160 levels"),
        ("a" + "[b]" * 200, "more than 128 parts"),
        ("a" + ".b" * 200, "more than 128 parts"),
        ("1" + "+1" * 129, "more than 128 operators"),
        ("true" + "&&true" * 129, "more than 128 operators"),
        ("'" + "x" * 5_000 + "'", "more than 4,096 characters"),
        (" " * 10_000_000, "more than 4,096 characters"),
        ("9" * 4_000, "more than 1,024 bits"),
        ("-" + "9" * 4_000, "more than 1,024 bits"),
        ("0x" + "f" * 4_000, "more than 1,024 bits"),
        ("1e" + "9" * 3_000, "too large for a number"),
        ("'a'.matches('" + "(a+)+" * 100 + "$')", "no function matches()"),
    ],
    ids=lambda value: value[:20],
)
def test_a_source_made_to_be_costly_is_refused_at_once(source: str, says: str) -> None:
    error = fails_in_time(lambda: compile_expression.__wrapped__(source))
    assert says in error.message
    assert len(str(error)) < 600


@pytest.mark.parametrize(
    ("source", "says"),
    [
        # Sizes
        ("text + text", "more than 1,000,000"),
        ("text.replace('a', 'aaaaaaaaaaaaaaaa')", "more than 1,000,000"),
        ("text.split('')", "too much work"),
        ("[text, text].join(text)", "too much work"),
        ("['a'].map(a, [" + "text, " * 600 + "])", "too much work"),
        ("[" + "million, " * 400 + "]", "too much work"),
        ("[" + "accents + '', " * 250 + "]", "more than 1,000,000"),
        ("size([" + "text.substring(1), " * 200 + "])", "too much work"),
        (doubled(40), "too much work"),
        ("million + million", "more than 1,000,000"),
        # Numbers
        ("huge * huge", "1,024 bits"),
        ("huge + 1", "1,024 bits"),
        ("huge + 1.5", "too large"),
        ("huge * 1.5", "too large"),
        ("huge / 3.5", "too large"),
        ("sum([huge, 1.5])", "too large"),
        ("double(huge)", "beyond all floats"),
        ("int('" + "9" * 400 + "')", "1,024 bits"),
        ("int(text)", "cannot read"),
        ("double(text)", "cannot read"),
        ("1e308 * 10", "not finite"),
        ("[1e300].map(x, x * x)", "not finite"),
        # Depth
        ("deep == same_depth", "nested deeper than 160 levels"),
        ("objects != more_objects", "nested deeper than 160 levels"),
        ("deep in [same_depth]", "nested deeper than 160 levels"),
        ("[deep, 1].distinct()", "nested deeper than 160 levels"),
        ("string(deep)", "nested deeper than 160 levels"),
        ("string(objects)", "nested deeper than 160 levels"),
        ("[deep]", "nested deeper than 160 levels"),
        ("{'a': objects}", "nested deeper than 160 levels"),
        ("[1].map(x, deep)", "nested deeper than 160 levels"),
        ("deep + deep", "nested deeper than 160 levels"),
        ("deep.join()", "nested deeper than 160 levels"),
        # Steps
        ("many.all(a, many.all(b, true))", "10,000 elements visited"),
        ("many.map(a, many.filter(b, b > a))", "elements visited"),
        ("million.exists(a, a < 0)", "10,000 elements visited"),
        ("keys.all(a, true)", "10,000 elements visited"),
        ("many.all(a, keys.exists(b, true))", "10,000 elements visited"),
        # Work that has no steps of its own, done for each element or for each part of the source
        ("many.filter(a, a in others)", "too much work"),
        ("many.all(a, !(a in million))", "too much work"),
        ("many.all(a, size(million.sort()) > 0)", "too much work"),
        ("many.all(a, sum(million) > 0)", "too much work"),
        ("many.exists(a, text == same_text)", "too much work"),
        ("many.exists(a, text > same_text)", "too much work"),
        ("many.exists(a, text.contains(same_text))", "too much work"),
        ("rows == same_rows", "too much work"),
        ("keys == same_keys", "too much work"),
        ("rows.distinct()", "too much work"),
        ("collide.distinct() == collide.distinct()", "too much work"),
        ("million == million.map(x, x)", "elements visited"),
        ("string(rows)", "too much work"),
        ("accents.upperAscii().lowerAscii()", "too much work"),
        ("many.exists(a, " + " || ".join(["a == -1"] * 120) + ")", "too much work"),
        ("many.exists(a, " + " || ".join(["a + a < a"] * 120) + ")", "too much work"),
        ("many.all(a, size([" + "a, " * 500 + "]) > 0)", "too much work"),
        ("many.all(a, size([" + "1, " * 500 + "]) > 0)", "too much work"),
        ("many.all(a, " + " && ".join(["size(string(a)) > 0"] * 60) + ")", "too much work"),
        ("many.all(a, size({" + ", ".join(f"'k{n}': a" for n in range(200)) + "}) > 0)", "too much work"),
    ],
    ids=lambda value: value[:40],
)
def test_values_made_to_be_costly_end_in_an_error_at_once(source: str, says: str) -> None:
    expression, names = compile_expression(source), hostile()
    error = fails_in_time(lambda: expression.evaluate(names))
    assert says in error.message
    assert not isinstance(error, MissingNameError)
    assert len(str(error)) < 600


def test_what_is_merely_large_is_evaluated() -> None:
    names = hostile()
    for source, value in (
        ("text == text", True),
        ("size(text) + size(million) + size(keys)", 5_200_000),
        ("text.contains('b')", False),
        ("sum(many) + max(many)", 50_004_999),
        ("many.filter(a, a > 5 && a < 8)", [6, 7]),
        ("size(many.map(a, {'id': a}))", 10_000),
        ("size(rows[7].tags + others)", 10_002),
        ("string(many).size()", 48_891),
        ("million[999999]", 999_999),
        ("keys.key199999", 199_999),
        ("'key5' in keys && 9999 in many", True),
        ("size(collide.distinct())", 20_000),
        ("deep[0][0][0][0] != []", True),
        ("size(deep)", 1),
    ):
        assert compile_expression(source).evaluate(names) == value


def test_a_deep_value_itself_goes_through_and_no_reader_recurses() -> None:
    names = hostile()
    assert compile_expression("deep").evaluate(names) is names.values["deep"]
    assert compile_expression("has(objects.a.a.a)").evaluate(names) is True
    assert compile_expression("deep == []").evaluate(names) is False


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("${" + "1 " * 1_000_000 + "}", "more than 4,096 characters"),
        ("${'" + "x" * 4_000_000 + "'}", "more than 4,096 characters"),
        ("${" + " " * 4_000_000, "more than 4,096 characters"),
        ("${a", "without its closing"),
        (deep(), "nested deeper than 160 levels"),
        (deep_object(), "nested deeper than 160 levels"),
    ],
    ids=["long", "long text", "open and long", "open", "deep", "deep object"],
)
def test_templates_made_to_be_costly_are_refused_at_once(value: Any, says: str) -> None:
    error = fails_in_time(lambda: compile_template(value))
    assert says in error.message
    assert len(template_problems(value)) == 1


def test_text_joined_from_many_values_is_bounded_and_so_is_its_depth() -> None:
    names = hostile()
    error = fails_in_time(lambda: compile_template("${text}" * 50).resolve(names))
    assert "more than 1,000,000 characters" in error.message
    error = fails_in_time(lambda: compile_template("it is ${deep}").resolve(names))
    assert "cannot be written as JSON" in error.message


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("not " * 1_000 + "a", "nested deeper than 32 levels"),
        ("(" * 1_000 + "True" + ")" * 1_000, "nested deeper than 32 levels"),
        ("a and (" * 500 + "b" + ")" * 500, "nested deeper than 32 levels"),
        ("a and " * 1_000_000 + "b", "more than 4,096 characters"),
        ("${a} " * 1_000_000, "more than 4,096 characters"),
    ],
    ids=["not", "parentheses", "both", "long", "marks"],
)
def test_conditions_of_the_older_spelling_made_to_be_costly_are_refused_at_once(source: str, says: str) -> None:
    assert says in fails_in_time(lambda: translate_condition(source)).message


# Ways out that worked elsewhere: Python's evaluators and templates, JavaScript's, Java's, shells


@pytest.mark.parametrize(
    "source",
    [
        "''.__class__", "().__class__.__bases__[0].__subclasses__()",
        "''.__class__.__mro__[1].__subclasses__()[40]('/etc/passwd').read()", "input.__class__",
        "input.__init__.__globals__", "input['__class__']", "input.items()", "input.keys", "input.get('a')",
        "text.format(input)", "'{0.__class__}'.format(input)", "'%s' % input", "'%(a)s' % input", "f'{input}'",
        "text.join", "text.encode('x')", "__import__('os').system('id')", "import os", "exec('1')", "eval('1')",
        "compile('1', '', 'eval')", "open('/etc/passwd')", "getattr(input, 'a')", "globals()", "vars()", "dir()",
        "type(1)", "type(1).mro()", "object()", "breakpoint()", "help()", "lambda: 1", "lambda x: x",
        "(lambda: 1)()", "[x for x in input]", "(x for x in input)", "x := 1", "yield 1", "await x", "print('x')",
        "input.constructor", "input.constructor.constructor('return process')()", "this.constructor", "process.env",
        "require('fs')", "input.__proto__", "input['__proto__']['x']", "(() => 1)()", "new Function('1')()",
        "function() {}", "`id`", "$(id)", "${input}", "{{7*7}}", "{% import os %}", "#{7*7}", "<%= 7*7 %>",
        "T(java.lang.Runtime).getRuntime()", "@java.lang.Runtime@getRuntime()", "self", "config",
        "request.application.__globals__", "cycler.__init__.__globals__.os.popen('id').read()", "a; b", "a = 1",
        "a, b", "input.a()", "input['a']()", "1 .__class__", "1..real", "true.real", "null.__doc__", "[].append(1)",
        "{}.update({})", "x.map(eval, eval('1'))", "x.map(__import__, __import__('os'))", "'a' 'b'", "\\u0061",
        "b'x'", "1_000", "1j", "...", "*x", "**x",
    ],
)  # fmt: skip
def test_no_known_way_out_of_a_sandbox_is_more_than_an_error(source: str) -> None:
    names = Names(input={"a": 1}, text="{0.__class__}", x=[1])
    with pytest.raises(ExpressionError):
        compile_expression(source).evaluate(names)


def test_names_of_the_host_are_ordinary_keys() -> None:
    names = Names(input={"__class__": "mine", "constructor": {"__proto__": 7}}, __import__="a name")
    assert compile_expression("input.__class__").evaluate(names) == "mine"
    assert compile_expression("input.constructor['__proto__']").evaluate(names) == 7
    assert compile_expression("__import__").evaluate(names) == "a name"
    assert compile_expression("[1].map(__class__, __class__)").evaluate(names) == [1]


def test_a_result_is_never_read_again() -> None:
    names = Names(a="${b}", b="1 + 1", c="__import__('os')")
    assert compile_template("${a} ${b} ${c}").resolve(names) == "${b} 1 + 1 __import__('os')"
    assert compile_expression("a + b").evaluate(names) == "${b}1 + 1"


MODULES = sorted(Path(treadle.expressions.__file__).parent.glob("*.py"))
FUNCTIONS = {
    "eval", "exec", "compile", "getattr", "setattr", "delattr", "hasattr", "vars", "dir", "globals", "locals", "open",
    "input", "__import__",
}  # fmt: skip
METHODS = {"format", "format_map", "mro", "attrgetter", "methodcaller", "import_module"}
IMPORTS = {
    "os", "sys", "importlib", "subprocess", "pickle", "marshal", "ctypes", "inspect", "builtins", "time", "datetime",
    "random", "socket",
}  # fmt: skip


def _faults(tree: python.AST) -> list[str]:
    """Return every call of the host's evaluators, every access by a computed or special name, every way outside."""
    found: list[str] = []
    for node in python.walk(tree):
        match node:
            case python.Call(func=python.Name(id=name)) if name in FUNCTIONS:
                found.append(f"{name}() in line {node.lineno}")
            case python.Attribute(attr=name) if name in METHODS or (name.startswith("__") and name != "__init__"):
                found.append(f".{name} in line {node.lineno}")
            case python.Import(names=names):
                found += [one.name for one in names if one.name in IMPORTS]
            case python.ImportFrom(module=str(module)) if module in IMPORTS:
                found.append(module)
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_the_package_hands_nothing_to_the_host_language(path: Path) -> None:
    assert _faults(python.parse(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "code",
    [
        "eval(x)", "exec(x)", "compile(x, '', 'eval')", "getattr(x, y)", "x.__class__", "x.format(y)", "import os",
        "from os import path", "operator.attrgetter(x)", "__import__(x)", "open(x)",
    ],
)  # fmt: skip
def test_the_scan_of_the_package_finds_what_it_looks_for(code: str) -> None:
    assert len(_faults(python.parse(code))) == 1


# Messages


@pytest.mark.parametrize(
    ("source", "message", "column"),
    [
        ("n + 'x'", "'+' cannot join a number and text; string() makes text of any value", 3),
        ("1 +\n  (t * 2)", "'*' needs numbers, not text and a number", 10),
        ("t < n", "'<' cannot order text and a number", 3),
        ("n && true", "'&&' needs true or false, not a number", 3),
        ("n ? 1 : 2", "'?:' needs true or false, not a number", 3),
        ("!t", "'!' needs true or false, not text", 1),
        ("-t", "'-' needs a number, not text", 1),
        ("n / zero", "division by zero", 3),
        ("7.5 % n", "'%' needs integers, not 7.5 and a number; int() makes them of numbers", 5),
        ("items[n / 2]", "an index must be text or an integer, not 3.5; int() and div() give integers", 6),
        ("1 in t", "'in' needs a list or an object on its right, not text", 3),
        ("t.contains(n)", "contains() needs text, not a number; string() makes text of any value", 3),
        ("t.substring(3)", "substring() needs integers with 0 <= start <= end <= 2, the size of the text", 3),
        ("int('x')", "int() cannot read text 'x'", 1),
        ("sum(['1'])", "sum() needs numbers, not text", 1),
        ("min([])", "min() of nothing", 1),
        ("items.all(v, v)", "the body must give true or false, not a number", 7),
        ("items.all(v, v > t)", "'>' cannot order a number and text", 16),
        ("n.all(v, true)", "all() needs a list or an object, not a number", 3),
    ],
)
def test_an_error_names_its_place_and_what_to_do(source: str, message: str, column: int) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(source).evaluate(Names(n=7, t="hi", zero=0, items=[1]))
    assert str(caught.value) == f"{message}, at column {column} of {source!r}"
    assert (caught.value.source, caught.value.column) == (source, column)


@pytest.mark.parametrize(
    ("source", "message", "column"),
    [
        ("a = 1", "'=' has no meaning here; '==' compares", 3),
        ("a & b", "'&' has no meaning here; the operator is '&&'", 3),
        ("a | b", "'|' has no meaning here; the operator is '||'", 3),
        ("s.naïve", "'ï' has no meaning here; a key that is no identifier is read as x[\"key\"]", 5),
        ("s.`a b`", "'`' has no meaning here; a key that is no identifier is read as x[\"key\"]", 3),
        ("${a}", "'$' has no meaning here; '${' stands in text only", 1),
        (r"'\d'", r"'\\d' begins no escape; a backslash itself is written twice", 2),
        ("'a", "text without its closing quote", 1),
        ("f(1)", "no function f(); known: ", 1),
        ("a.int()", "int() is no method; write int(x)", 3),
        ("a.has()", "has() is no method; write has(x)", 3),
        ("all(a, true)", "all() is a method; write x.all(v, ...)", 1),
        ("a.all(true)", "all() takes a variable and an expression: x.all(v, ...)", 3),
        ("size()", "size() does not take 0 arguments", 1),
        ("has(a, b)", "has() takes 1 arguments, not 2", 1),
        ("{a: 1}", "a key of an object must be text in quotes", 2),
        ("{'a': 1, 'a': 2}", "the key 'a' twice", 10),
        ("7 // 2", "expected a value, found '/'", 4),
        ("(1", "expected ')', found the end", 3),
        ("size(1,)", "expected a value, found ')'", 8),
        ("a ? b", "expected ':', found the end", 6),
    ],
)  # fmt: skip
def test_what_is_no_expression_is_told_with_its_column_and_what_helps(source: str, message: str, column: int) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(source)
    assert caught.value.message.startswith(message)
    assert caught.value.column == column


def test_a_missing_name_says_what_helps() -> None:
    with pytest.raises(MissingNameError) as caught:
        compile_expression("a.b.c").evaluate(Names(a={}))
    assert str(caught.value) == "a.b is missing; has() asks for it, default() puts a value in its place"


def test_a_place_in_a_long_expression_is_shown_with_what_stands_around_it() -> None:
    source = " || ".join(["a == 1"] * 30) + " || a < 'x'"
    with pytest.raises(ExpressionError) as caught:
        compile_expression(source).evaluate(Names(a=2))
    assert caught.value.column == source.index("<") + 1
    assert "a < 'x'" in str(caught.value)
    assert len(str(caught.value)) < 250


def test_the_place_of_an_error_in_a_template_counts_from_its_expression() -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_template("total: ${ 1 + t }").resolve(Names(t="x"))
    assert str(caught.value).endswith("at column 3 of '1 + t'")
    with pytest.raises(ExpressionError) as caught:
        compile_template({"a": ["total: ${ 1 + }"]})
    assert (str(caught.value), caught.value.column) == ("a[0]: expected a value, found the end", 15)


def test_a_long_key_is_cut_in_the_message() -> None:
    with pytest.raises(MissingNameError) as caught:
        compile_expression("a[t]").evaluate(Names(a={}, t="x" * 1_000_000))
    assert len(str(caught.value)) < 200


def test_the_budget_is_what_the_reference_promises() -> None:
    assert DEFAULT.work == 80_000
