"""Keys of steps: taken apart they are what they were put together from, whatever the ids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle import all_nodes, find_node, node_path, step_place
from treadle.model import Body, Node, NodeType, Workflow
from treadle.paths import body_path, step_names

IDS = st.one_of(
    st.sampled_from(["a", "each", "a.b", "my map", "[0]", '["x"]', 'q"', "x[1]", "é", "0", "\\", "a.b[3].c", '"].y']),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8),
)


@given(IDS, st.lists(st.tuples(st.one_of(st.none(), st.integers(0, 12)), IDS), max_size=4))
def test_the_place_of_a_step_is_where_it_was_put(top: str, ways: list[tuple[int | None, str]]) -> None:
    key, path = top, top
    for depth, (number, inner) in enumerate(ways):
        holder, around = key, path
        key = body_path(holder, number, is_top=depth == 0) + step_names([inner])[0]
        path = body_path(around, None, is_top=depth == 0) + step_names([inner])[0]
        place = step_place(key, {top})
        assert place == (holder, number, inner)
        assert node_path(key, {top}) == path
        assert key == body_path(holder, None, is_top=depth == 0) + place.name
    assert step_place(top, {top}) == ("", None, top)


def test_every_node_is_found_by_its_path_and_by_the_keys_of_its_steps() -> None:
    inner = Node("in[0]", type=NodeType.LOOP, until="true", body=Body((Node("x", action="act"), Node("a.b"))))
    outer = Node("my map", type=NodeType.MAP, items=[], body=Body((inner, Node("y"))))
    workflow = Workflow("w", (Node("a.b"), outer, Node("z")))
    assert [(path, node.id) for path, node in all_nodes(workflow)] == [
        ("a.b", "a.b"),
        ("my map", "my map"),
        ('["my map"]["in[0]"]', "in[0]"),
        ('["my map"]["in[0]"].x', "x"),
        ('["my map"]["in[0]"]["a.b"]', "a.b"),
        ('["my map"].y', "y"),
        ("z", "z"),
    ]
    for path, node in all_nodes(workflow):
        assert find_node(workflow, path) is node
    assert find_node(workflow, '["my map"][7]["in[0]"][3].x') is inner.body.nodes[0]  # type: ignore[union-attr]


@pytest.mark.parametrize("step", ["nobody", "a.nobody", "each[0]", "each[0].nobody", "", "[0]", "each.charge.x"])
def test_what_is_no_step_is_no_node(step: str) -> None:
    each = Node("each", type=NodeType.MAP, items=[], body=Body((Node("charge"),)))
    assert find_node(Workflow("w", (each, Node("a"))), step) is None
