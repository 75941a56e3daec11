"""Text to plain data: what is read, what is refused, and where it says the fault is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from treadle.definition import read_document, read_json, read_yaml, validate
from treadle.definition.json_source import parse_json, parse_json_with_places
from treadle.errors import ValidationError
from treadle.model import Problem
from treadle.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from treadle.model import JsonValue

DEFAULTS = Settings()
SMALL = Settings(max_document_bytes=100, max_nesting=3)


def faults(text: str | bytes, *, yaml: bool, settings: Settings = DEFAULTS) -> list[tuple[str, int, int, str]]:
    """Return code, line, column and message of everything wrong with ``text``."""
    try:
        (read_yaml if yaml else read_json)(text, settings)
    except ValidationError as error:
        return [(one.code, one.line, one.column, one.message) for one in error.problems]
    return []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on: off", {"on": "off"}),
        ("[yes, no, y, n, On]", ["yes", "no", "y", "n", "On"]),
        ("[012, 00, -01, 0o14, 0xfF, +7, -3, 0]", ["012", "00", "-01", 12, 255, 7, -3, 0]),
        (
            "[1_000, 0b11, 1:30, 2024-01-31, 2024-01-31T10:00:00Z]",
            ["1_000", "0b11", "1:30", "2024-01-31", "2024-01-31T10:00:00Z"],
        ),
        ("[1.5, .5, 5., 1e3, -1.5E-2]", [1.5, 0.5, 5.0, 1000.0, -0.015]),
        ("[null, Null, NULL, ~, , x]", None),
        ("[null, Null, NULL, ~, x]", [None, None, None, None, "x"]),
        ("[true, True, TRUE, false, False, FALSE, tRUE]", [True, True, True, False, False, False, "tRUE"]),
        ("['12', \"true\", '', \"~\"]", ["12", "true", "", "~"]),
        ("a: |\n  one\n  two\nb: >-\n  one\n  two", {"a": "one\ntwo\n", "b": "one two"}),
        ('"<<": 1\n"1": 2\n"true": 3', {"<<": 1, "1": 2, "true": 3}),
        ("a:", {"a": None}),
        ("--- {a: 1}\n...\n", {"a": 1}),
        ("\ufeffa: \U0001f600", {"a": "\U0001f600"}),
        ("3", 3),
    ],
)
def test_yaml_values_are_what_they_look_like(text: str, value: JsonValue) -> None:
    if value is None:
        assert [one[0] for one in faults(text, yaml=True)] == ["syntax"]
    else:
        read = read_yaml(text)
        assert read == value
        assert repr(read) == repr(value)  # 1, 1.0 and True are equal but not the same


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: !!str 1", [("yaml_feature", 1, 4, 'the tag "tag:yaml.org,2002:str" is not allowed')]),
        ("a: ! x", [("yaml_feature", 1, 4, 'the tag "!" is not allowed')]),
        (
            "!!map\na: !!python/name:os.system ''",
            [
                ("yaml_feature", 1, 1, 'the tag "tag:yaml.org,2002:map" is not allowed'),
                ("yaml_feature", 2, 4, 'the tag "tag:yaml.org,2002:python/name:os.system" is not allowed'),
            ],
        ),
        (
            "a: &x 1\nb: *x",
            [
                ("yaml_feature", 1, 4, "the anchor &x is not allowed"),
                ("yaml_feature", 2, 4, "the alias *x is not allowed"),
            ],
        ),
        ("a: 1\n<<: {b: 2}", [("yaml_feature", 2, 1, "the merge key << is not allowed")]),
        (
            "a: 1\nb: {a: 1, c: 2, c: 3}\na: 2",
            [
                ("duplicate_key", 2, 17, 'the key "c" is there twice'),
                ("duplicate_key", 3, 1, 'the key "a" is there twice'),
            ],
        ),
        (
            "1: x\ntrue: y\n? \n: z",
            [
                ("bad_key", 1, 1, "the key 1 is not text"),
                ("bad_key", 2, 1, "the key true is not text"),
                ("bad_key", 3, 2, "the key that is empty is not text"),
            ],
        ),
        ("? [a]\n: b", [("bad_key", 1, 3, "a list or an object as a key is not allowed")]),
        (
            "a: &x b\n*x : c",
            [
                ("yaml_feature", 1, 4, "the anchor &x is not allowed"),
                ("yaml_feature", 2, 1, "the alias *x is not allowed"),
                ("yaml_feature", 2, 1, "an alias as a key is not allowed"),
            ],
        ),
        (
            "[.inf, -.INF, .nan, 1e999]",
            [
                ("bad_number", 1, 2, ".inf is not a number that JSON can hold"),
                ("bad_number", 1, 8, "-.INF is not a number that JSON can hold"),
                ("bad_number", 1, 15, ".nan is not a number that JSON can hold"),
                ("bad_number", 1, 21, "1e999 is not a number that JSON can hold"),
            ],
        ),
        ("a: 1\n--- \nb: 2", [("yaml_feature", 2, 1, "a second document begins here")]),
        ("", [("syntax", 1, 1, "the document is empty")]),
        ("# nothing", [("syntax", 1, 1, "the document is empty")]),
        ("a: [1, 2", [("syntax", 1, 9, "not YAML: did not find expected ',' or ']'")]),
        ("\u00e9: \U0001f600\nb: c: d", [("syntax", 2, 5, "not YAML: mapping values are not allowed in this context")]),
        ("a: \x07", [("syntax", 1, 4, "the character U+0007 is not allowed")]),
        ('"\\ud83d\\ude00"', [("syntax", 1, 4, "not YAML: found invalid Unicode character escape code")]),
        ("a: [[[1]]]", [("too_deep", 1, 6, "nested deeper than the limit of 3")]),
    ],
)
def test_yaml_that_is_more_than_plain_data_is_refused_at_its_place(
    text: str, expected: list[tuple[str, int, int, str]]
) -> None:
    assert faults(text, yaml=True, settings=SMALL) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '{"a": NaN, "b": [Infinity, -Infinity, 1e999]}',
            [
                ("bad_number", 1, 7, "NaN is not a number that JSON can hold"),
                ("bad_number", 1, 18, "Infinity is not a number that JSON can hold"),
                ("bad_number", 1, 28, "-Infinity is not a number that JSON can hold"),
                ("bad_number", 1, 39, "1e999 is not a number that JSON can hold"),
            ],
        ),
        (
            '{"a": 1,\n "b": {"c": 1, "c": 2},\n "\\u0061": 2}',
            [
                ("duplicate_key", 2, 16, 'the key "c" is there twice'),
                ("duplicate_key", 3, 2, 'the key "a" is there twice'),
            ],
        ),
        (
            '["\\ud83d\\ude00", "\\ud83d", "\\ude00x"]',
            [
                ("bad_text", 1, 18, "a lone surrogate: half of a character cannot be stored"),
                ("bad_text", 1, 28, "a lone surrogate: half of a character cannot be stored"),
            ],
        ),
        ('{"a": 1} x', [("syntax", 1, 10, "there is more text behind the JSON value")]),
        ('{"a" 1}', [("syntax", 1, 6, "not JSON: expected ':', found \"1\"")]),
        ('{"a": 1 "b": 2}', [("syntax", 1, 9, "not JSON: expected ',' or '}', found \"\\\"b\\\"\"")]),
        ("{a: 1}", [("syntax", 1, 2, "not JSON: expected a key in double quotes or '}', found \"a\"")]),
        ("[1,]", [("syntax", 1, 4, 'not JSON: expected a value, found "]"')]),
        ('{"a": 1,}', [("syntax", 1, 9, 'not JSON: expected a key in double quotes, found "}"')]),
        ("[01]", [("syntax", 1, 2, "not JSON: expected a value or ']', found \"01\"")]),
        ("[1.]", [("syntax", 1, 2, "not JSON: expected a value or ']', found \"1.\"")]),
        ("[\n", [("syntax", 2, 1, "not JSON: expected a value or ']', found the end of the text")]),
        ("", [("syntax", 1, 1, "not JSON: expected a value, found the end of the text")]),
        ("['a']", [("syntax", 1, 2, "not JSON: text stands in double quotes")]),
        (
            '["a\tb"]',
            [("syntax", 1, 2, "not JSON: this text does not end, or holds a control character or an unknown escape")],
        ),
        ('["\\uzzzz"]', [("syntax", 1, 2, "an escape in this text cannot be read; \\u needs four hex digits")]),
        ("[tru]", [("syntax", 1, 2, "not JSON: expected a value or ']', found \"tru\"")]),
        ("[[[[1]]]]", [("too_deep", 1, 4, "nested deeper than the limit of 3")]),
        (b"\xff", [("unreadable", 0, 0, "the document is not UTF-8: invalid start byte at byte 0")]),
        ("[" + " " * 100 + "]", [("too_large", 0, 0, "the document is longer than the limit of 100 bytes")]),
        ("[" + "\u00e9" * 60 + "]", [("too_large", 0, 0, "the document is longer than the limit of 100 bytes")]),
        ('"\ud800"', [("bad_text", 1, 2, "a lone surrogate: half of a character cannot be stored")]),
    ],
)
def test_json_that_readers_disagree_on_is_refused_at_its_place(
    text: str | bytes, expected: list[tuple[str, int, int, str]]
) -> None:
    assert faults(text, yaml=False, settings=SMALL) == expected


@pytest.mark.parametrize("yaml", [True, False])
def test_a_number_of_too_many_digits_is_refused_before_it_is_computed(yaml: bool) -> None:
    text = "9" * 100_000
    message = f"{'9' * 40}... is not a number that JSON can hold"
    assert faults(text, yaml=yaml) == [("bad_number", 1, 1, message)]
    assert (read_yaml if yaml else read_json)("9" * 900) == int("9" * 900)


def test_json_is_read_to_the_letter() -> None:
    text = '\ufeff {"a":[1,-0,2.5,1E2,true,false,null,"x\\n\\u00e9\\/"],"":{},"\\ud83d\\ude00":[]} \n'
    value = {"a": [1, 0, 2.5, 100.0, True, False, None, "x\n\u00e9/"], "": {}, "\U0001f600": []}
    assert repr(read_json(text)) == repr(value)
    assert repr(read_json(text.encode())) == repr(value)


def test_both_ways_of_reading_json_give_the_same() -> None:
    text = '{"a": [1, {"b": "\\"c\\\\"}, [[], {}]], "d": "\u2028"}'
    fast, slow = parse_json(text, Settings()), parse_json_with_places(text, Settings())
    assert (fast.value, fast.faults, fast.root) == (slow.value, [], None)
    assert slow.root is not None


def test_brackets_within_text_are_no_nesting() -> None:
    assert read_json('["[[[[[[", "\\"{{{{{"]', SMALL) == ["[[[[[[", '"{{{{{']


def test_reading_stops_after_a_hundred_faults() -> None:
    found = faults("[" + "NaN," * 500 + "1]", yaml=False)
    assert len(found) == 101
    assert found[-1] == ("syntax", 1, 398, "too many problems: the rest was not read")


def test_a_billion_laughs_are_refused_at_once() -> None:
    lines = ['a: &a ["lol"]']
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]")
    started = time.perf_counter()
    found = faults("\n".join(lines), yaml=True)
    assert time.perf_counter() - started < 0.5
    assert {code for code, *_ in found} == {"yaml_feature"}
    assert found[0] == ("yaml_feature", 1, 4, "the anchor &a is not allowed")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "- " * 100_000])
def test_deep_nesting_is_refused_and_does_not_recurse(text: str) -> None:
    for yaml in (True, False):
        assert {code for code, *_ in faults(text, yaml=yaml)} <= {"too_deep", "syntax"}


def test_the_format_is_chosen_by_suffix_by_beginning_or_by_name(tmp_path: Path) -> None:
    yaml_text, json_text = "id: w\nnodes: []\n", '{"id": "w", "nodes": []}'
    for name, text in (("w.yaml", yaml_text), ("w.YML", yaml_text), ("w.json", json_text), ("w.txt", json_text)):
        (tmp_path / name).write_text(text)
        for source in (tmp_path / name, text, text.encode()):
            workflow, problems = read_document(source)
            assert workflow is not None
            assert (workflow.id, problems) == ("w", [])
    assert read_document(str(tmp_path / "w.yaml"))[1] == []
    assert [one.code for one in read_document(yaml_text, format="json")[1]] == ["syntax"]
    assert read_document("{id: w, nodes: []}", format="yaml")[1] == []


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    assert validate(path) == [Problem("unreadable", f"cannot read {path}: No such file or directory")]
    assert [one.code for one in validate(tmp_path)] == ["unreadable"]


def test_a_problem_of_the_whole_document_has_the_name_of_the_source() -> None:
    _, problems = read_document(b"\xff", name="inbox/7")
    assert problems == [Problem("unreadable", "inbox/7: the document is not UTF-8: invalid start byte at byte 0")]


def test_data_from_python_is_checked_and_every_fault_is_named() -> None:
    document = {
        "id": "w",
        "nodes": ({"id": "a", "action": "x.y", "parameters": {1: 2, "when": {3}, "n": float("nan"), "t": "\ud800"}},),
    }
    at = "nodes[0].parameters"
    assert validate(document) == [
        Problem("bad_key", 'the key "1" is a int, not text', at),
        Problem("not_plain", "a set is no JSON value", f"{at}.when"),
        Problem("bad_number", "not a number that JSON can hold", f"{at}.n"),
        Problem("bad_text", "a lone surrogate: half of a character cannot be stored", f"{at}.t"),
    ]


def test_data_from_python_is_copied_and_its_tuples_are_lists() -> None:
    items = [1, (2, 3)]
    workflow, problems = read_document({"id": "w", "nodes": [], "vars": {"items": items}})
    items.append(4)
    assert problems == []
    assert workflow is not None
    assert workflow.vars == {"items": [1, [2, 3]]}


def test_data_that_holds_itself_is_too_deep() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert [one.code for one in validate({"id": "w", "nodes": [], "vars": {"a": loop}})] == ["too_deep"]
    at_the_limit = {"id": "w", "nodes": [], "vars": {"a": [1]}}
    assert validate(at_the_limit, settings=SMALL) == []
    assert [one.code for one in validate({**at_the_limit, "vars": {"a": [[1]]}}, settings=SMALL)] == ["too_deep"]


def test_what_is_no_source_is_a_problem() -> None:
    assert validate(7) == [  # type: ignore[arg-type]  # what a caller without types may do
        Problem("wrong_type", "a workflow is read from a path, text or a mapping, not from a number")
    ]
