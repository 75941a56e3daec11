"""Keys of steps: written, read back, and what is none."""

from __future__ import annotations

import pytest

from treadle import find_node, load_workflow
from treadle.paths import body_path, parse_path, step_names

KEYS = [
    ("charge", ("charge",)),
    ("each[3].charge", ("each", 3, "charge")),
    ('each[3]["a.b"]', ("each", 3, "a.b")),
    ('["my map"][0].x', ("my map", 0, "x")),
    ('["a\\"]b"][0]["\\\\"]', ('a"]b', 0, "\\")),
    ("p.q[12].r", ("p", "q", 12, "r")),
    ('p["ü"]', ("p", "ü")),
]


@pytest.mark.parametrize(("key", "parts"), KEYS)
def test_a_key_is_read_as_its_parts(key: str, parts: tuple[str | int, ...]) -> None:
    assert parse_path(key) == parts


@pytest.mark.parametrize(("key", "parts"), KEYS)
def test_a_key_is_written_of_its_parts(key: str, parts: tuple[str | int, ...]) -> None:
    written, *rest = [one for one in parts if isinstance(one, str)]
    numbers = [one if isinstance(one, int) else None for one in parts[1:]]
    for name in rest:
        number = numbers.pop(0)
        if number is not None:
            numbers.pop(0)
        written = body_path(written, number, is_top=name is rest[0]) + step_names([name])[0]
    assert written == key


@pytest.mark.parametrize(
    "text", ["", ".", "m.", ".x", "m[", "m[]", "m[x]", "m[1", "m[1]x", 'm["a]', "m..x", "m x", "ü", "1"]
)
def test_what_is_no_path_has_no_parts(text: str) -> None:
    assert parse_path(text) == ()


def test_the_node_of_a_key_is_found_also_within_bodies() -> None:
    inner = {"id": "inner", "type": "parallel", "body": {"nodes": [{"id": "a.b", "action": "x"}]}}
    outer = {"id": "each", "type": "map", "items": [1], "body": {"nodes": [inner]}}
    workflow = load_workflow({"id": "w", "nodes": [outer, {"id": "a-b", "action": "y"}]})
    assert [find_node(workflow, key).id for key in ("each", "each[7].inner", 'each[0].inner["a.b"]', "a-b")] == [  # type: ignore[union-attr]
        "each",
        "inner",
        "a.b",
        "a-b",
    ]
    for key in ("nobody", "each[0].nobody", "each.", "a-b[0].x", "inner"):
        assert find_node(workflow, key) is None
