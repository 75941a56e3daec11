"""Documents under arbitrary input: no traceback, no false certainty, and nothing lost on the way out and back."""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import yaml
from hypothesis import assume, find, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from treadle.definition import (
    WorkflowBuilder,
    check_document,
    definition_schema,
    format_duration,
    load_workflow,
    parse_duration,
    read_document,
    read_json,
    read_yaml,
    retry_policy,
    to_document,
    validate,
)
from treadle.definition.graph import Graph
from treadle.definition.json_source import parse_json_with_places
from treadle.definition.keys import CONNECTION_KEYS, STEP_KEYS, WORKFLOW_KEYS
from treadle.definition.precedence import Precedence
from treadle.durations import MAX_DURATION_MS
from treadle.errors import ValidationError
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
    NodeLimit,
    NodeType,
    OnExhausted,
    OnFailure,
    OnInterrupted,
    OnSkip,
    Outcome,
    Problem,
    RetryPolicy,
    Severity,
    SwitchMode,
    Timer,
    Workflow,
    definition_hash,
)
from treadle.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.definition import NodeHandle
    from treadle.definition.bodies import BodyBuilder, GroupOptions, NestingBuilder
    from treadle.definition.options import NodeOptions
    from treadle.definition.places import Place
    from treadle.model import JsonValue

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12
)

# Anything at all


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_read_or_give_problems(data: bytes) -> None:
    for form in ("json", "yaml"):
        workflow, problems = check_document(data, format=form)
        assert workflow is not None or problems
    for read in (read_json, read_yaml):
        with contextlib.suppress(ValidationError):
            read(data)


KEYS = st.sampled_from(
    sorted(
        {*WORKFLOW_KEYS, *STEP_KEYS, *CONNECTION_KEYS, "treadle", "defaults", "nodes", "connections", "steps", "config"}
    )
)
VALUES = SCALARS | st.sampled_from(
    [
        "a",
        "b",
        "x",
        "else",
        "a.x",
        "${a.x}",
        "${b",
        "10s",
        "-1s",
        "action",
        "trigger",
        "switch",
        "set",
        "wait",
        "end",
        "COMPLETED",
        "every",
        "all",
        "success",
        "failure",
    ]
)
ALMOST = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | TEXT, inner, max_size=5),
    max_leaves=30,
)


@given(st.dictionaries(KEYS, ALMOST, max_size=6))
@settings(max_examples=300)
def test_any_json_reads_or_gives_problems_and_the_same_ones_from_data_and_text(document: dict[str, JsonValue]) -> None:
    from_data = validate(document)
    text = json.dumps(document, ensure_ascii=False)
    from_text = check_document(text, format="json")
    in_yaml = check_document(text, format="yaml") if max(text) < "\x7f" else from_text
    assert from_data or load_workflow(document) == from_text[0]
    assert unplaced(from_text[1]) == unplaced(from_data)
    assert all(one.line and one.column for one in from_text[1])
    if "\\" not in text:  # YAML knows other escapes
        assert in_yaml == from_text


def unplaced(problems: list[Problem]) -> list[tuple[str, str, str]]:
    return sorted((one.code, one.path, one.message) for one in problems)


# Text


@given(JSON)
def test_json_text_reads_to_the_value_it_was_written_from(value: JsonValue) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=2)):
        assert exact(read_json(text)) == exact(value)
        assert exact(parse_json_with_places(text, Settings()).value) == exact(value)


@given(JSON)
def test_json_places_are_where_the_values_are(value: JsonValue) -> None:
    text = json.dumps(value, indent=1)
    root = parse_json_with_places(text, Settings()).root
    assert root is not None
    check_places(text, value, root)


def check_places(text: str, value: JsonValue, place: Place) -> None:
    decoded, _ = json.JSONDecoder().raw_decode(text, place.at)
    assert exact(decoded) == exact(value)
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in parts:
        below = (place.below or {})[key]
        if isinstance(value, dict):
            assert json.JSONDecoder().raw_decode(text, below.key_at)[0] == key
        check_places(text, one, below)


@given(JSON)
def test_yaml_text_reads_to_the_value_it_was_written_from(value: JsonValue) -> None:
    """PyYAML quotes what YAML 1.1 would misread, which is more than 1.2 would."""
    text = yaml.dump(value, Dumper=yaml.CSafeDumper, allow_unicode=False, sort_keys=False)
    if "&id" in text or "*id" in text or "\\U" in text:
        return  # PyYAML folds equal empty values into aliases
    assert exact(read_yaml(text)) == exact(value)


def exact(value: JsonValue) -> str:
    """Return text that differs where values do: 1, 1.0 and True, and the order of keys."""
    return repr(value)


@given(st.integers(0, MAX_DURATION_MS))
def test_durations_come_back(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds)) == milliseconds
    assert abs(parse_duration(milliseconds / 1_000) - milliseconds) <= 1


# Out and back

NAMES = st.sampled_from(["a", "b", "c", "d e", "\u00e9", "steps"])
BOUNDS = st.none() | st.integers(1, 10**9)
SCHEMAS = st.none() | st.booleans() | st.sampled_from([{}, {"type": "object"}])
# A workflow holds up to three for each of its nodes: larger ones went beyond what one example may be drawn from.
SMALL = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2), max_leaves=3
)
ANNOTATIONS = st.dictionaries(st.sampled_from(["position", "x_a", "metadata", "connectionId"]), SMALL, max_size=2)
OBJECTS = st.dictionaries(TEXT, SMALL, max_size=2)
JOINS = st.sampled_from([Join(), Join(JoinKind.ANY), Join(JoinKind.EVERY)]) | st.integers(1, 3).map(
    lambda count: Join(JoinKind.AT_LEAST, count)
)
RETRIES = st.builds(
    RetryPolicy,
    max_attempts=st.integers(0, 9),
    initial_delay_ms=st.integers(0, 10**6),
    backoff=st.floats(1, 100),
    max_delay_ms=st.integers(0, 10**6),
    jitter=st.sampled_from(Jitter),
    non_retryable=st.lists(st.sampled_from(["A", "B.C"]), max_size=2).map(tuple),
)
CONDITIONS = st.none() | st.sampled_from(["a.x", "true", "input.y > 1"])


MOMENTS = st.sampled_from(["2026-01-31T09:00:00Z", "2026-01-31T09:00:00+05:30", "${input.x}"])
SPANS = st.integers(0, 10**9) | st.just("${input.x}")
EVENTS = st.sampled_from(["paid", "paid late"])
GIVEN = st.sampled_from([None, {}, {"a": "${input.x}", "b c": [1, None]}])
EVENT_KEYS = st.sampled_from([None, "k", 7, "${input.x}", {"a": [1]}])
TIMERS = (
    st.builds(Timer, duration=SPANS) | st.builds(Timer, until=MOMENTS) | st.builds(Timer, event=EVENTS, key=EVENT_KEYS)
)


@functools.cache  # what a strategy builds is looked up anew for each one made: nine tenths of the time of this file
def nodes(identity: str) -> st.SearchStrategy[Node]:
    common = {
        "id": st.just(identity),
        "title": TEXT,
        "condition": CONDITIONS,
        "on_skip": st.sampled_from(OnSkip),
        "join": JOINS,
        "cancel_rest": st.booleans(),
        "continue_on_error": st.booleans(),
        "annotations": ANNOTATIONS,
    }
    ends = [ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED]
    return st.one_of(
        _calling(identity),
        st.builds(Node, type=st.just(NodeType.SWITCH), mode=st.sampled_from(SwitchMode), **common),
        st.builds(Node, type=st.just(NodeType.SET), values=SMALL.filter(lambda one: one is not None), **common),
        st.builds(Node, type=st.just(NodeType.WAIT), duration=SPANS, **common),
        st.builds(Node, type=st.just(NodeType.WAIT), until=MOMENTS, **common),
        st.builds(
            Node, type=st.just(NodeType.WAIT), any_of=st.lists(TIMERS, min_size=1, max_size=3).map(tuple), **common
        ),
        st.builds(
            Node,
            type=st.just(NodeType.INPUT),
            schema=SCHEMAS,
            assignees=st.lists(st.sampled_from(["ann", "bob"]), max_size=2).map(tuple),
            timeout_ms=BOUNDS,
            default=SMALL,
            **common,
        ),
        st.builds(
            Node,
            type=st.just(NodeType.EVENT),
            event=EVENTS,
            key=EVENT_KEYS,
            buffer=st.booleans(),
            timeout_ms=BOUNDS,
            **common,
        ),
        st.builds(
            Node,
            type=st.just(NodeType.WORKFLOW),
            workflow=NAMES,
            input=GIVEN,
            wait_for=st.booleans(),
            timeout_ms=BOUNDS,
            **common,
        ),
        st.builds(Node, type=st.just(NodeType.END), status=st.sampled_from(ends), output=SMALL, message=TEXT, **common),
        _holding(common),
    )


def _holding(common: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Node]:
    """Return nodes with bodies, or with a workflow in the place of one; some hold one that holds one."""
    few = {name: common[name] for name in ("id", "condition", "on_skip", "join", "cancel_rest")}
    timeouts = st.sampled_from([None, 1, 86_400_000])
    return st.builds(
        replace, st.sampled_from(EXAMPLES_OF_HOLDERS), timeout_ms=timeouts, on_failure=st.sampled_from(OnFailure), **few
    )


def _set(name: str) -> Node:
    return Node(name, type=NodeType.SET, values={"x": "${input.x}"})


_ACT = Node("y z", action="x", parameters={"p": "${input.x}"})
_ARROW = Connection("x", "y z", condition="input.y > 1", outcome=Outcome.ALWAYS)
_BODY = Body((_set("x"), _ACT), (_ARROW,), {"y": "${input.y}"})
_LOOP = Node("", type=NodeType.LOOP, until="index == 1", body=_BODY)
_DEEP = Body((replace(_LOOP, id="in", body=Body((_ACT, _set("b c")))), _set("x")), (Connection("in", "x"),))
_MAP = Node("", type=NodeType.MAP, items="${input.xs}", body=_BODY)
EXAMPLES_OF_HOLDERS = (
    _MAP,
    replace(_MAP, items=[1, "${input.x}"], item_name="row", max_concurrency=1, tolerate=3, body=_DEEP),
    replace(_MAP, items=[], item_name="item", tolerate="12.5%", complete_when="size(results) == total - failed"),
    replace(_MAP, body=None, workflow="d e", input={"a": "${item}"}, complete_when="completed > 1"),
    _LOOP,
    replace(_LOOP, until=None, repeat_while="index < 3", max_iterations=1, body=_DEEP),
    replace(_LOOP, repeat_while="input.y > 1", until="previous.done", max_iterations=1_000),
    replace(_LOOP, body=None, workflow="c"),
    Node("", type=NodeType.PARALLEL, body=_BODY),
    Node("", type=NodeType.PARALLEL, body=Body((replace(_MAP, id="m", body=_DEEP),)), race=True),
)


UNDOES = [
    Compensation("s", "undo", {"id": "${input.x}"}, 5_000, RetryPolicy(max_attempts=7)),
    Compensation("", "undo"),
]
FALLBACKS = [
    Fallback("", "other", {}, 250, RetryPolicy(jitter=Jitter.FULL), UNDOES[0]),
    Fallback("s", "other", None, compensate=UNDOES[1]),
    Fallback("s", "other", {"x": [1]}),
]


LIMITS = [
    (),
    (NodeLimit("tenant", "${input.x}", concurrency=2),),
    (NodeLimit("crm", rate=5, per_ms=60_000), NodeLimit("plain"), NodeLimit("both", {"k": [1]}, 3, 4, 250)),
]


def _calling(identity: str) -> st.SearchStrategy[Node]:
    return st.builds(
        Node,
        id=st.just(identity),
        type=st.sampled_from([NodeType.ACTION, NodeType.TRIGGER]),
        title=TEXT,
        service=TEXT,
        action=st.text("xyz.", min_size=1, max_size=4),
        parameters=OBJECTS,
        condition=CONDITIONS,
        on_skip=st.sampled_from(OnSkip),
        join=JOINS,
        timeout_ms=BOUNDS,
        total_timeout_ms=BOUNDS,
        queue_timeout_ms=BOUNDS,
        heartbeat_timeout_ms=BOUNDS,
        limits=st.sampled_from(LIMITS),
        retry=RETRIES,
        max_interruptions=st.integers(0, 99),
        on_interrupted=st.sampled_from(OnInterrupted),
        on_exhausted=st.sampled_from(OnExhausted),
        fallback=st.none() | st.sampled_from(FALLBACKS),
        compensate=st.none() | st.sampled_from(UNDOES),
        continue_on_error=st.booleans(),
        input_schema=SCHEMAS,
        output_schema=SCHEMAS,
        annotations=ANNOTATIONS,
    )


@st.composite
def connections(draw: st.DrawFn) -> Connection:
    otherwise = draw(st.booleans())
    return Connection(
        source=draw(NAMES),
        target=draw(NAMES),
        condition=None if otherwise else draw(CONDITIONS),
        otherwise=otherwise,
        outcome=draw(st.sampled_from(Outcome)),
        annotations=draw(ANNOTATIONS),
    )


WORKFLOWS = st.builds(
    Workflow,
    id=NAMES,
    nodes=st.lists(NAMES, unique=True, max_size=2).flatmap(lambda ids: st.tuples(*[nodes(one) for one in ids])),
    connections=st.lists(connections(), max_size=2).map(tuple),
    name=TEXT,
    version=st.none() | st.integers(0, 99) | TEXT,
    input_schema=SCHEMAS,
    timeout_ms=BOUNDS,
    max_concurrent_steps=st.none() | st.integers(1, 99),
    on_failure=st.sampled_from(OnFailure),
    compensate_on_cancel=st.booleans(),
    vars=OBJECTS,
    output=SMALL,
    annotations=ANNOTATIONS,
)
FITS = jsonschema_rs.Draft202012Validator(definition_schema())


@given(WORKFLOWS)
@settings(max_examples=200)  # small ones, and more of them: what a node loses on the way it loses alone
def test_a_workflow_comes_back_from_its_document_and_the_document_fits_the_schema(workflow: Workflow) -> None:
    document = to_document(workflow)
    assert read_document(document) == (workflow, [])
    assert read_document(json.dumps(document)) == (workflow, [])
    assert FITS.is_valid(document), list(FITS.iter_errors(document))


# Bodies: one node that holds one, and often one within that

CERTAIN = st.sampled_from(["a.x", "true"])
RUNS: tuple[dict[str, st.SearchStrategy[Any]], ...] = (
    {"workflow": NAMES, "input": GIVEN},
    {"body": st.deferred(lambda: BODIES)},
)
"""What a map or a loop runs: another workflow, or a body."""

LOOPS_WHILE: tuple[dict[str, st.SearchStrategy[Any]], ...] = (
    {"until": CERTAIN},
    {"repeat_while": CERTAIN},
    {"until": CERTAIN, "repeat_while": CERTAIN},
)
HOLDERS: dict[NodeType, dict[str, st.SearchStrategy[Any]]] = {
    NodeType.MAP: {
        "items": st.lists(SCALARS, max_size=2) | st.just("${input.x}"),
        "item_name": st.sampled_from(["", "row"]),
        "max_concurrency": st.none() | st.integers(1, 99),
        "tolerate": st.integers(0, 9) | st.sampled_from(["0%", "12.5%", "100%"]),
        "complete_when": CONDITIONS,
    },
    NodeType.LOOP: {"max_iterations": st.integers(1, 10**6)},
    NodeType.PARALLEL: {"race": st.booleans()},
}


def holders(identity: str) -> st.SearchStrategy[Node]:
    """Return maps, loops and parallels with every field that they have."""
    return st.one_of(
        st.builds(
            Node,
            id=st.just(identity),
            type=st.just(kind),
            timeout_ms=BOUNDS,
            on_failure=st.sampled_from(OnFailure),
            continue_on_error=st.booleans(),
            **HOLDERS[kind],
            **runs,
            **condition,
        )
        for kind in HOLDERS
        for runs in (RUNS if kind is not NodeType.PARALLEL else RUNS[1:])
        for condition in (LOOPS_WHILE if kind is NodeType.LOOP else ({},))
    )


BODIES = st.builds(
    Body,
    nodes=st.one_of(nodes("b"), nodes("b"), holders("c")).map(lambda one: (one,)),
    connections=st.just(()) | connections().map(lambda one: (one,)),
    output=SMALL,
)


@given(st.builds(Workflow, id=NAMES, nodes=holders("h").map(lambda one: (one,))))
@settings(max_examples=300)
def test_a_workflow_with_bodies_comes_back_from_its_document_and_the_document_fits_the_schema(
    workflow: Workflow,
) -> None:
    document = to_document(workflow)
    assert read_document(document) == (workflow, [])
    assert read_document(json.dumps(document)) == (workflow, [])
    assert FITS.is_valid(document), list(FITS.iter_errors(document))


def test_every_field_of_the_nodes_that_hold_bodies_is_drawn() -> None:
    fields = {name for tables in (HOLDERS.values(), RUNS, LOOPS_WHILE) for table in tables for name in table}
    assert fields | {"on_failure"} >= OF_BODIES


# In Python: the builder writes every workflow that a document can say


@st.composite
def valid_workflows(draw: st.DrawFn) -> Workflow:
    """Return workflows like those above, put right: what reads or joins cannot be is left out."""
    drawn = draw(WORKFLOWS)
    size = len(drawn.nodes)
    ends = [(drawn.nodes[0].id, drawn.nodes[1].id)] if size > 1 and drawn.nodes[0].type is not NodeType.END else []
    arrows = [replace(one, source=source, target=target) for one in drawn.connections for source, target in ends]
    if not any(one.condition is not None for one in arrows):
        arrows = [replace(one, otherwise=False) for one in arrows]
    arrows = [replace(one, condition=readable(one.condition)) for one in arrows]
    incoming = (0, len(arrows))
    boxes = [
        replace(node, condition=readable(node.condition), join=possible(node.join, incoming[place]))
        for place, node in enumerate(drawn.nodes)
    ]
    workflow = replace(drawn, nodes=tuple(boxes), connections=tuple(arrows))
    assume(not [one for one in validate(workflow) if one.severity is Severity.ERROR])
    return workflow


def readable(condition: str | None) -> str | None:
    return None if condition is None else condition.replace("a.x", "input.a")


@given(valid_workflows())
@settings(max_examples=200, deadline=None)  # it is read four times over
def test_whatever_a_document_says_can_be_written_with_the_builder_and_the_two_are_equal(workflow: Workflow) -> None:
    twin = written_in_python(workflow)
    assert twin == workflow
    assert definition_hash(twin) == definition_hash(workflow)
    assert twin == load_workflow(json.dumps(to_document(workflow)))


def written_in_python(workflow: Workflow) -> Workflow:
    flow = WorkflowBuilder(
        workflow.id,
        name=workflow.name,
        version=workflow.version,
        input_schema=workflow.input_schema,
        timeout=span(workflow.timeout_ms),
        max_concurrent_steps=workflow.max_concurrent_steps,
        on_failure=workflow.on_failure.value,
        compensate_on_cancel=workflow.compensate_on_cancel,
        variables=workflow.vars,
        annotations=workflow.annotations,
    )
    handles = {node.id: add_node(flow, node) for node in workflow.nodes}
    for one in workflow.connections:
        condition = "else" if one.otherwise else one.condition
        source, target = handles[one.source], handles[one.target]
        flow.connect(source, target, condition=condition, outcome=one.outcome.value, annotations=one.annotations)
    return flow.output(workflow.output).build()


def span(milliseconds: int | None) -> timedelta | None:
    return None if milliseconds is None else timedelta(milliseconds=milliseconds)


def add_node(flow: NestingBuilder, node: Node) -> NodeHandle[JsonValue]:
    options: NodeOptions = {
        "title": node.title,
        "condition": node.condition,
        "on_skip": node.on_skip.value,
        "join": node.join if node.join.count else node.join.kind.value,
        "cancel_rest": node.cancel_rest,
        "continue_on_error": node.continue_on_error,
        "annotations": node.annotations,
    }
    match node.type:
        case NodeType.ACTION:
            return add_action(flow, node, options)
        case NodeType.TRIGGER:
            return flow.add(node)  # with the fields of an action, as existing applications write it
        case NodeType.SWITCH:
            return flow.switch(node.id, mode=node.mode.value, **options)
        case NodeType.SET:
            return flow.set(node.id, node.values, **options)
        case NodeType.END:
            return flow.end(node.id, status=node.status.value, output=node.output, message=node.message, **options)
        case _:
            return add_waiting(flow, node, options)


def add_waiting(flow: NestingBuilder, node: Node, options: NodeOptions) -> NodeHandle[JsonValue]:
    match node.type:
        case NodeType.WAIT:
            length = span(node.duration) if isinstance(node.duration, int) else node.duration
            return flow.wait(node.id, duration=length, until=node.until, any_of=map(either, node.any_of), **options)
        case NodeType.INPUT:
            how = {"schema": node.schema, "assignees": node.assignees, "timeout": span(node.timeout_ms)}
            return flow.input(node.id, default=node.default, **how, **options)
        case NodeType.EVENT:
            return flow.event(
                node.id, node.event, key=node.key, buffer=node.buffer, timeout=span(node.timeout_ms), **options
            )
        case NodeType.WORKFLOW:
            given = {"input": node.input, "wait_for": node.wait_for, "timeout": span(node.timeout_ms)}
            return flow.workflow(node.id, node.workflow, **given, **options)
        case _:
            return add_holding(flow, node, {**options, "timeout": span(node.timeout_ms), "on_failure": node.on_failure})


def add_holding(flow: NestingBuilder, node: Node, options: GroupOptions) -> NodeHandle[JsonValue]:
    opened: BodyBuilder
    match node.type:
        case NodeType.MAP:
            several = {"item_name": node.item_name, "max_concurrency": node.max_concurrency, "tolerate": node.tolerate}
            several |= {"complete_when": node.complete_when, "workflow": node.workflow, "input": node.input}
            opened = flow.map(node.id, node.items, **several, **options)
        case NodeType.LOOP:
            several = {"repeat_while": node.repeat_while, "until": node.until, "max_iterations": node.max_iterations}
            opened = flow.loop(node.id, workflow=node.workflow, input=node.input, **several, **options)
        case _:
            opened = flow.parallel(node.id, race=node.race, **options)
    if node.body is not None:
        with opened as body:
            handles = {one.id: add_node(body, one) for one in node.body.nodes}
            for one in node.body.connections:
                body.connect(handles[one.source], one.target, condition=one.condition, outcome=one.outcome)
            body.output(node.body.output)
    return opened.node


def either(one: Timer) -> Timer | timedelta:
    return timedelta(milliseconds=one.duration) if isinstance(one.duration, int) else one


def add_action(flow: NestingBuilder, node: Node, options: NodeOptions) -> NodeHandle[JsonValue]:
    retry = retry_policy(
        max_attempts=node.retry.max_attempts,
        initial_delay=timedelta(milliseconds=node.retry.initial_delay_ms),
        backoff=node.retry.backoff,
        max_delay=timedelta(milliseconds=node.retry.max_delay_ms),
        jitter=node.retry.jitter.value,
        non_retryable=list(node.retry.non_retryable),
    )
    return flow.action(
        node.id,
        node.action,
        service=node.service,
        parameters=node.parameters,
        timeout=span(node.timeout_ms),
        total_timeout=span(node.total_timeout_ms),
        queue_timeout=span(node.queue_timeout_ms),
        heartbeat_timeout=span(node.heartbeat_timeout_ms),
        limits=node.limits,
        retry=retry,
        max_interruptions=node.max_interruptions,
        on_interrupted=node.on_interrupted.value,
        on_exhausted=node.on_exhausted.value,
        fallback=node.fallback,
        compensate=node.compensate,
        input_schema=node.input_schema,
        output_schema=node.output_schema,
        **options,
    )


OF_BODIES = {
    "body",
    "items",
    "item_name",
    "max_concurrency",
    "tolerate",
    "complete_when",
    "repeat_while",
    "max_iterations",
    "race",
    "on_failure",
}
"""Fields of the nodes that have bodies, which the builder takes as they are."""


def test_the_writer_above_gives_every_field_of_the_model() -> None:
    """A field that is added to the model is added to the builder, and here."""
    without_bodies = [kind for kind in NodeType if kind not in {NodeType.MAP, NodeType.LOOP, NodeType.PARALLEL}]
    for kind in without_bodies:
        assert find(nodes("a"), lambda node, kind=kind: node.type is kind)
    text = "".join(map(inspect.getsource, (add_node, add_action, add_waiting)))
    assert [name for name in Node.__struct_fields__ if name not in OF_BODIES and f"node.{name}" not in text] == []
    text = inspect.getsource(written_in_python)
    assert [name for name in Workflow.__struct_fields__ if f"workflow.{name}" not in text] == []


# What has surely an output: against executions played by the rules of joins, step by step

OUTCOMES = ("completed", "failed")


@st.composite
def graphs(draw: st.DrawFn) -> Workflow:
    size = draw(st.integers(2, 6))
    ids = [f"n{place}" for place in range(size)]
    pairs = [(source, target) for target in range(size) for source in range(target)]
    ends = draw(st.lists(st.sampled_from(pairs), max_size=9))
    made = []
    for place, identity in enumerate(ids):
        condition = draw(st.sampled_from([None, None, "input.x"]))
        join = possible(draw(JOINS), sum(target == place for _, target in ends))
        made.append(Node(identity, action="x", condition=condition, on_skip=draw(st.sampled_from(OnSkip)), join=join))
    arrows = tuple(
        Connection(
            ids[source],
            ids[target],
            condition=draw(st.sampled_from([None, None, "input.x"])),
            outcome=draw(st.sampled_from([Outcome.SUCCESS, Outcome.SUCCESS, Outcome.FAILURE, Outcome.ALWAYS])),
        )
        for source, target in ends
    )
    return Workflow("w", nodes=tuple(made), connections=arrows)


def possible(join: Join, incoming: int) -> Join:
    """Return a join that validation does not refuse: no count above what comes in."""
    if join.kind is not JoinKind.AT_LEAST:
        return join
    return Join(join.kind, min(join.count, incoming)) if incoming else Join()


def play(graph: Graph, choose: Callable[[], bool]) -> list[tuple[int, set[int]]]:
    """Run the graph in a random order; return each step that ran with the steps that had an output when it did."""
    ran: list[tuple[int, set[int]]] = []
    done: set[int] = set()
    outputs: set[int] = set()
    active: dict[int, bool] = {}
    while True:
        ready = [
            node for node in range(len(graph.nodes)) if node not in done and verdict(graph, node, active) is not None
        ]
        if not ready:
            return ran
        node = ready[0] if choose() else ready[-1]
        done.add(node)
        end = "skipped"
        if verdict(graph, node, active):
            ran.append((node, set(outputs)))
            if graph.nodes[node].condition is not None and not choose():
                end = "passed" if graph.nodes[node].on_skip is OnSkip.PASS else "skipped"
            else:
                end = "completed" if choose() else "failed"
        if end == "failed" and all(edge.connection.outcome is Outcome.SUCCESS for edge in graph.outgoing[node]):
            return ran  # nobody handles it: the execution halts
        if end == "completed":
            outputs.add(node)
        for edge in graph.outgoing[node]:
            matches = {
                "completed": edge.connection.outcome is not Outcome.FAILURE,
                "passed": edge.connection.outcome is not Outcome.FAILURE,
                "failed": edge.connection.outcome is not Outcome.SUCCESS,
                "skipped": False,
            }[end]
            active[edge.index] = matches and (edge.connection.condition is None or choose())


def verdict(graph: Graph, node: int, active: dict[int, bool]) -> bool | None:
    """Return whether the join is met; None while that is open."""
    incoming = graph.incoming[node]
    decided = [active[edge.index] for edge in incoming if edge.index in active]
    join = graph.nodes[node].join
    if not incoming:
        return True
    if join.kind is JoinKind.ALL:
        return any(decided) if len(decided) == len(incoming) else None
    need = {JoinKind.EVERY: len(incoming), JoinKind.ANY: 1, JoinKind.AT_LEAST: join.count}[join.kind]
    if sum(decided) >= need:
        return True
    return False if len(decided) - sum(decided) > len(incoming) - need else None


@given(graphs(), st.data())
@settings(max_examples=400)
def test_what_is_called_sure_has_an_output_in_every_execution(workflow: Workflow, data: st.DataObject) -> None:
    graph = Graph(workflow)
    order = graph.order()
    assert order is not None
    size = len(workflow.nodes)
    pairs = {(node, asked) for node in range(size) for asked in range(size) if node != asked}
    precedence = Precedence(graph, order)
    not_before, unsure = precedence.not_before(pairs), precedence.maybe_without_output(pairs)
    assert not_before == {(node, one) for node, one in pairs if node not in graph.reached_from([one])}
    assert not_before <= unsure
    for _ in range(3):
        for node, outputs in play(graph, lambda: data.draw(st.booleans())):
            assert {one for _, one in {(node, one) for one in range(size) if node != one} - unsure} <= outputs


@given(graphs(), st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=3))
def test_a_cycle_is_found_if_and_only_if_there_is_no_order(workflow: Workflow, extra: list[tuple[int, int]]) -> None:
    size = len(workflow.nodes)
    back = tuple(Connection(f"n{source % size}", f"n{target % size}") for source, target in extra)
    graph = Graph(Workflow("w", nodes=workflow.nodes, connections=workflow.connections + back))
    cycles = list(graph.cycles())
    assert bool(cycles) == (graph.order() is None)
    for cycle in cycles:
        sources = [edge.source for edge in cycle]
        assert [edge.target for edge in cycle] == [*sources[1:], sources[0]]
        assert len(set(sources)) == len(sources)
