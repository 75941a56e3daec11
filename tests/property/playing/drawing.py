"""Workflows and what happens to them: hypothesis draws both, and each player makes of a move what its state allows."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st
from msgspec.structs import replace

from treadle.model import (
    Body,
    Compensation,
    Connection,
    ExecutionStatus,
    Fallback,
    Jitter,
    Join,
    JoinKind,
    Node,
    NodeType,
    OnExhausted,
    OnFailure,
    OnInterrupted,
    OnSkip,
    Outcome,
    RetryPolicy,
    SwitchMode,
    Timer,
    Workflow,
)

T = 1_000
"""When every execution starts."""

TRUTH = {"true": True, "input.yes": True, "false": False, "!input.yes": False, "input.absent == null": False}
"""Conditions and what they give; the last meets a missing name, which is never taken."""

BROKEN = "1"
"""A condition that gives no boolean."""

# -- workflows


RETRIES: Final = st.builds(
    RetryPolicy,
    max_attempts=st.sampled_from([3, 3, 2, 1, 0]),
    initial_delay_ms=st.sampled_from([0, 3, 10]),
    jitter=st.sampled_from(Jitter),
    non_retryable=st.just(("Fatal",)),
)
READS: Final = st.sampled_from([{}, {}, {"x": "${input.yes}"}, {"x": "${input.p}"}, {"x": "${input.yes + 1}"}])
"""Parameters of what is called behind the action: the fourth may have to be asked for, and the last cannot be had."""


def undoing(action: str) -> st.SearchStrategy[Compensation | None]:
    return st.none() | st.builds(Compensation, action=st.just(action), parameters=READS, retry=RETRIES)


FALLBACKS: Final = st.none() | st.builds(
    Fallback,
    action=st.just("other"),
    parameters=st.none() | READS,
    retry=RETRIES,
    compensate=undoing("undo_other"),
)

LEAVES = [*[NodeType.ACTION] * 12, NodeType.SET, NodeType.SWITCH, NodeType.WAIT, NodeType.EVENT, NodeType.INPUT]
GROUPS = [NodeType.MAP, NodeType.LOOP, NodeType.PARALLEL]
DEPTH = 2
"""How many bodies may be within each other."""


@st.composite
def nodes(draw: st.DrawFn, name: str, indegree: int, depth: int) -> Node:
    if not indegree and draw(st.integers(0, 7)) == 0:
        return Node(name, type=NodeType.TRIGGER)
    kind = draw(st.sampled_from([JoinKind.ALL, JoinKind.ALL, JoinKind.ANY, JoinKind.EVERY, JoinKind.AT_LEAST]))
    count = draw(st.integers(1, max(1, indegree))) if kind is JoinKind.AT_LEAST else 0
    kinds = [*LEAVES, NodeType.END, *(GROUPS * 2 if depth < DEPTH else [])]
    made = Node(
        name,
        type=draw(st.sampled_from(kinds)),
        condition=draw(st.sampled_from([None] * 12 + [*TRUTH, BROKEN])),
        on_skip=draw(st.sampled_from(OnSkip)),
        join=Join(kind, count),
        cancel_rest=indegree > 1 and draw(st.booleans()),
        continue_on_error=draw(st.booleans()),
    )
    return replace(made, **draw(fields(made, depth)))


def fields(node: Node, depth: int) -> st.SearchStrategy[dict[str, Any]]:
    """Return what a node of its type has besides."""
    times = st.sampled_from([None, None, 15])
    value = st.sampled_from([1, "${input.yes}", "${input.absent}", {"a": ["${input.list}"]}])
    match node.type:
        case NodeType.ACTION:
            asks = [{}, {}, {}, {}, {}, {"x": "${input.yes}"}, {"x": "${input.p}"}, {"x": "${input.q}"}]
            return st.fixed_dictionaries(
                {
                    "action": st.just("act"),
                    "parameters": st.sampled_from(asks),
                    "total_timeout_ms": st.sampled_from([None, None, None, 15]),
                    "retry": RETRIES,
                    "max_interruptions": st.integers(0, 2),
                    "on_interrupted": st.sampled_from([*[OnInterrupted.RETRY] * 4, *OnInterrupted]),
                    "on_exhausted": st.sampled_from([*[OnExhausted.FAIL] * 2, *OnExhausted]),
                    "fallback": FALLBACKS,
                    "compensate": undoing("undo"),
                }
            )
        case NodeType.SET:
            return st.fixed_dictionaries({"values": value})
        case NodeType.SWITCH:
            return st.fixed_dictionaries({"mode": st.sampled_from(SwitchMode)})
        case NodeType.WAIT:
            timers = [Timer(duration=4), Timer(until="1970-01-01T00:00:01.020Z"), Timer(event="e")]
            several = st.lists(st.sampled_from(timers), min_size=1, max_size=3, unique_by=repr).map(tuple)
            return st.fixed_dictionaries({"any_of": several}) | st.fixed_dictionaries({"duration": st.integers(0, 9)})
        case NodeType.EVENT:
            keys = st.sampled_from([None, None, 1])
            return st.fixed_dictionaries(
                {"event": st.just("e"), "key": keys, "buffer": st.booleans(), "timeout_ms": times}
            )
        case NodeType.INPUT:
            return st.fixed_dictionaries({"timeout_ms": times, "default": st.none() | value})
        case NodeType.END:
            ends = [ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED]
            return st.fixed_dictionaries({"status": st.sampled_from(ends), "output": st.none() | value})
    return groups(node, depth)


def groups(node: Node, depth: int) -> st.SearchStrategy[dict[str, Any]]:
    """Return what a map, a loop or a parallel has besides."""
    graph = graphs(node.id, 3, depth + 1)
    common = {
        "body": st.builds(lambda one, output: Body(*one, output), graph, st.sampled_from([None, None, 7])),
        "timeout_ms": st.sampled_from([None, None, None, 20]),
        "on_failure": st.sampled_from(OnFailure),
    }
    if node.type is NodeType.PARALLEL:
        return st.fixed_dictionaries(common | {"race": st.booleans()})
    if node.type is NodeType.LOOP:
        until = st.sampled_from(["index == 1", "false", "previous == 1"])
        return st.fixed_dictionaries(common | {"until": until, "max_iterations": st.integers(1, 3)})
    return st.fixed_dictionaries(
        common
        | {
            "items": st.sampled_from([[], [1], [1, 2], [1, 2, 3, 4], "${input.list}", "${input.yes}"]),
            "max_concurrency": st.sampled_from([None, 1, 2]),
            "tolerate": st.sampled_from([0, 1, "50%"]),
            "complete_when": st.sampled_from([None, None, None, "completed == 1", "failed == 1", BROKEN]),
        }
    )


@st.composite
def graphs(draw: st.DrawFn, holder: str, most: int, depth: int) -> tuple[tuple[Node, ...], tuple[Connection, ...]]:
    made: list[Node] = []
    joined: list[Connection] = []
    for number in range(draw(st.integers(1, most))):
        before = [one.id for one in made if one.type is not NodeType.END]
        sources = sorted(draw(st.sets(st.sampled_from(before), max_size=3))) if before else []
        name = f"{holder}n{number}"
        for source in sources:
            condition = draw(st.sampled_from([None] * 6 + [*TRUTH, *TRUTH, BROKEN, *["else"] * 3]))
            joined.append(
                Connection(
                    source,
                    name,
                    condition=None if condition == "else" else condition,
                    otherwise=condition == "else",
                    outcome=draw(st.sampled_from([Outcome.SUCCESS, Outcome.SUCCESS, *Outcome])),
                )
            )
        made.append(draw(nodes(name, len(sources), depth)))
    return tuple(made), tuple(joined)


@st.composite
def workflows(draw: st.DrawFn) -> Workflow:
    """Return a workflow of up to 7 nodes, and more in bodies, that uses everything the machine knows."""
    made, joined = draw(graphs("", 7, 0))
    return Workflow(
        "generated",
        made,
        joined,
        timeout_ms=draw(st.sampled_from([None, None, 60])),
        on_failure=draw(st.sampled_from(OnFailure)),
        compensate_on_cancel=draw(st.booleans()),
        output=draw(st.sampled_from([None, {"a": "${n0}", "b": "${steps.n0.status}"}])),
    )


# -- what happens to them: kinds of input, of which each player makes what its state allows

KINDS = (
    ("raised",) * 4 + ("returned",) * 4 + ("interrupted",) * 3 + ("time",) * 3 + ("pause", "resume") * 2 + ("late",) * 2
)
MOVES = st.lists(
    st.tuples(
        st.sampled_from([*KINDS, "event", "event", "answer", "decide", "decide", "cancel_step", "cancel", "nothing"]),
        st.integers(0, 5),
        st.integers(0, 7),
    ),
    min_size=12,
    max_size=50,
)
"""What comes, to which of those it may come to, and a detail. Hypothesis draws short lists by itself."""
