"""The name of a definition depends on what it says, and on nothing else."""

from __future__ import annotations

from msgspec.structs import replace

from treadle.model import (
    Body,
    Join,
    JoinKind,
    Node,
    NodeType,
    RetryPolicy,
    Workflow,
    decode_workflow,
    definition_hash,
    encode_workflow,
)


def fresh(text: str) -> int:
    """Return a number that is no object the model has: the encoder leaves out defaults by identity."""
    return int(text)


def test_equal_workflows_have_one_name_and_the_same_bytes_whoever_made_their_defaults() -> None:
    retry = RetryPolicy(max_attempts=5, initial_delay_ms=fresh("1000"), max_delay_ms=fresh("60000"), backoff=4.0 / 2)
    act = Node("a", action="x", join=Join(JoinKind.ALL), retry=retry)
    loop = Node("l", type=NodeType.LOOP, until="true", max_iterations=fresh("1000"), body=Body((act,)))
    plain_act = Node("a", action="x", retry=RetryPolicy(max_attempts=5))
    plain_loop = Node("l", type=NodeType.LOOP, until="true", body=Body((plain_act,)))
    one, other = Workflow("w", (act, loop)), Workflow("w", (plain_act, plain_loop))
    assert one == other
    assert encode_workflow(one) == encode_workflow(other)
    assert definition_hash(one) == definition_hash(other)
    assert definition_hash(decode_workflow(encode_workflow(one))) == definition_hash(one)


def test_what_is_no_default_counts_and_annotations_do_not() -> None:
    workflow = Workflow("w", (Node("a", action="x"),))
    for change in ({"join": Join(JoinKind.ANY)}, {"retry": RetryPolicy(initial_delay_ms=999)}, {"max_iterations": 9}):
        changed = replace(workflow, nodes=(replace(workflow.nodes[0], **change),))
        assert definition_hash(changed) != definition_hash(workflow)
    noted = replace(workflow, nodes=(replace(workflow.nodes[0], annotations={"x_a": 1}),), annotations={"x_b": 1})
    assert definition_hash(noted) == definition_hash(workflow)
    assert encode_workflow(noted) != encode_workflow(workflow)
