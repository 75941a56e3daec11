"""Authoring in Python gives what the document would give."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from treadle.definition import (
    NodeHandle,
    OutputReference,
    WorkflowBuilder,
    load_workflow,
    read_document,
    retry_policy,
)
from treadle.errors import ValidationError
from treadle.model import (
    Connection,
    Jitter,
    Join,
    JoinKind,
    Node,
    NodeType,
    OnSkip,
    Outcome,
    RetryPolicy,
    Timer,
    Workflow,
    definition_hash,
    encode_workflow,
)

SAMPLE = Path(__file__).parent / "fixtures" / "order.yaml"


def test_the_twin_of_the_sample_is_equal_to_it() -> None:
    flow = WorkflowBuilder(
        "order",
        name="Order to cash",
        version=3,
        input_schema={"type": "object", "required": ["amount"], "properties": {"amount": {"type": "number"}}},
        timeout=timedelta(hours=1),
        max_concurrent_steps=8,
    )
    half_minute, retry = timedelta(seconds=30), retry_policy(jitter="full")
    lookup = flow.action(
        "lookup",
        "crm.find",
        title="Find the customer",
        parameters={"email": "${input.email}"},
        timeout=half_minute,
        retry=retry,
    )
    charge = flow.action(
        "charge",
        "payments.charge",
        parameters={
            "customer": lookup.output["id"],
            "amount": "${input.amount * 1.2}",
            "note": "order ${execution.id}",
        },
        after=[lookup],
        timeout=timedelta(seconds=10),
        total_timeout=timedelta(minutes=5),
        retry=retry_policy(
            max_attempts=5,
            initial_delay=timedelta(milliseconds=500),
            max_delay=half_minute,
            jitter=Jitter.FULL,
            non_retryable=["CardDeclined"],
        ),
        output_schema={"type": "object", "required": ["id", "approved"]},
    )
    ship = flow.action("ship", "warehouse.ship", continue_on_error=True, timeout=half_minute, retry=retry)
    sorry = flow.action("sorry", "mail.send", timeout=half_minute, retry=retry)
    flow.connect(charge, ship, condition="charge.approved")
    flow.connect(charge, sorry, condition="else")
    flow.connect(charge, sorry, outcome="failure")
    flow.output({"shipped": f"${{{ship.status.expression} == 'COMPLETED'}}"})
    assert flow.build() == load_workflow(SAMPLE)


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        (NodeHandle("a").output, "${a}"),
        (NodeHandle("a").output["b"]["c"], "${a.b.c}"),
        (NodeHandle("a").output["b c"][0]['"\n\u00e9'], '${a["b c"][0]["\\"\\n\u00e9"]}'),
        (NodeHandle("a").output["in"]["true"], '${a["in"]["true"]}'),
        (NodeHandle("a.b").output["c"], '${steps["a.b"].output.c}'),
        (NodeHandle("input").output["c"], "${steps.input.output.c}"),
        (NodeHandle("null").output, '${steps["null"].output}'),
        (NodeHandle("a").status, "${steps.a.status}"),
        (NodeHandle("a").error["message"], "${steps.a.error.message}"),
    ],
)
def test_references_are_written_as_expressions_read_them(reference: OutputReference, text: str) -> None:
    assert str(reference) == text
    assert reference.expression == text[2:-1]


@pytest.mark.parametrize("identity", ["a", "a.b", "input", "null", 'q"\\', "\u00e9 \U0001f600", "in"])
def test_a_reference_to_any_id_is_read_as_that_step(identity: str) -> None:
    flow = WorkflowBuilder("w")
    first = flow.action(identity, "x")
    flow.action("last", "x", parameters={"p": [first, {"q": (first.output["k"], 1)}]}, after=first)
    built = flow.build()
    text = str(first.output)
    assert built.nodes[1].parameters == {"p": [text, {"q": [str(first.output["k"]), 1]}]}


def test_every_option_of_a_node_and_a_connection_is_taken() -> None:
    flow = WorkflowBuilder("w", on_failure="cancel", variables={"k": 1}, annotations={"description": "d"})
    start = flow.trigger("start", title="S", annotations={"position": 1})
    flow.action(
        "a",
        "b.c.d",
        service="",
        after="start",
        condition="${input.x} == 1 and true",
        on_skip="pass",
        join=Join(JoinKind.AT_LEAST, 1),
        timeout=timedelta(0),
        max_interruptions=1,
        input_schema=True,
        annotations={"x_a": 1},
    )
    flow.connect(start, flow.action("b", "c.d.e", join="any"), outcome=Outcome.ALWAYS, annotations={"label": "l"})
    built = flow.build(actions=["b.c.d", "c.d.e"])
    assert built.nodes[0] == Node("start", NodeType.TRIGGER, "S", annotations={"position": 1})
    assert built.nodes[1] == Node(
        "a",
        action="b.c.d",
        condition=built.nodes[1].condition,
        on_skip=OnSkip.PASS,
        join=Join(JoinKind.AT_LEAST, 1),
        max_interruptions=1,
        input_schema=True,
        annotations={"x_a": 1},
    )
    assert "$" not in (built.nodes[1].condition or "$")
    assert built.nodes[2] == Node("b", service="c.d", action="e", join=Join(JoinKind.ANY))
    assert built.connections == (
        Connection("start", "a"),
        Connection("start", "b", outcome=Outcome.ALWAYS, annotations={"label": "l"}),
    )
    assert (built.on_failure.value, built.vars, built.annotations) == ("cancel", {"k": 1}, {"description": "d"})


def test_the_nodes_that_call_nothing_are_written_as_a_document_says_them() -> None:
    flow = WorkflowBuilder("w")
    start = flow.trigger("start", join="every", continue_on_error=True)
    size = flow.switch("size", mode="all", after=start, title="T")
    sums = flow.set("sums", {"twice": [start.output, 1]}, after=size, condition="input.x > 1", on_skip="pass")
    flow.wait("one", duration="${input.patience}", after=[size, sums])
    flow.wait("two", until=datetime(2026, 1, 31, 9, tzinfo=UTC))
    flow.wait("three", any_of=[timedelta(hours=1), datetime(2026, 1, 31, 9, tzinfo=UTC), Timer("${input.p}")])
    flow.wait("four", duration=sums.output["twice"])
    flow.input(
        "ask", schema={"type": "string"}, assignees=["ann"], timeout=timedelta(days=1), default=start, after=start
    )
    flow.end("end", status="FAILED", output=None, message=str(start.output["m"]), annotations={"position": 1})
    flow.add(Node("kept", NodeType.TRIGGER, service="s", action="a", parameters={"p": 1}), after=["one", "two"])
    document = """
id: w
nodes:
  - {id: start, type: trigger, join: every, continue_on_error: true}
  - {id: size, type: switch, mode: all, title: T}
  - id: sums
    type: set
    values: {twice: ["${start}", 1]}
    condition: input.x > 1
    on_skip: pass
  - {id: one, type: wait, duration: "${input.patience}"}
  - {id: two, type: wait, until: "2026-01-31T09:00:00+00:00"}
  - {id: three, type: wait, any_of: [{duration: 1h}, {until: "2026-01-31T09:00:00+00:00"}, {duration: "${input.p}"}]}
  - {id: four, type: wait, duration: "${sums.twice}"}
  - {id: ask, type: input, schema: {type: string}, assignees: [ann], timeout: 1d, default: "${start}"}
  - {id: end, type: end, status: FAILED, message: "${start.m}", position: 1}
  - {id: kept, type: trigger, service: s, action: a, parameters: {p: 1}}
connections:
  - {source: start, target: size}
  - {source: size, target: sums}
  - {source: size, target: one}
  - {source: sums, target: one}
  - {source: start, target: ask}
  - {source: one, target: kept}
  - {source: two, target: kept}
"""
    read, problems = read_document(document)
    assert problems == []
    assert read == Workflow("w", nodes=tuple(flow._nodes), connections=tuple(flow._connections))


def test_a_retry_policy_has_the_defaults_of_the_model() -> None:
    assert retry_policy() == RetryPolicy()


def test_build_tells_every_problem() -> None:
    flow = WorkflowBuilder("w")
    flow.action("a", "x", parameters={"p": {1}}, after=["none"])
    with pytest.raises(ValidationError) as caught:
        flow.build()
    assert [(one.code, one.path, one.message) for one in caught.value.problems] == [
        ("not_plain", "nodes[0].config.parameters.p", "a set is no JSON value"),
        ("unknown_node", "connections[0].source", 'there is no node "none"'),
    ]
    flow = WorkflowBuilder("")
    flow.action("a", "x", parameters={"p": "${b.x}"}, after=["none"])
    with pytest.raises(ValidationError) as caught:
        flow.build(actions=["y"], strict=True)
    assert [(one.code, one.path) for one in caught.value.problems] == [
        ("bad_id", "id"),
        ("unknown_node", "connections[0].source"),
        ("unknown_name", "nodes[0].config.parameters.p"),
        ("unknown_action", "nodes[0].config.action"),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"condition": "${a"}, "the condition '${a' cannot be read"),
        ({"timeout": timedelta(seconds=-1)}, "negative"),
        ({"join": "some"}, "'some' is none of all, every, any, at_least"),
        ({"on_skip": "x"}, "'x' is none of dead, pass"),
    ],
)
def test_an_argument_that_cannot_be_meant_is_refused_at_the_call(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        WorkflowBuilder("w").action("a", "x", **options)  # type: ignore[arg-type]  # wrong on purpose
    assert message in str(caught.value)


def test_equal_workflows_have_one_name_whoever_made_their_defaults() -> None:
    policy = retry_policy(max_attempts=5, initial_delay=timedelta(seconds=1), max_delay=timedelta(minutes=1))
    flow = WorkflowBuilder("w")
    flow.action("a", "x.y", retry=policy, join="all")
    with flow.loop("l", until="true", max_iterations=int("1000")) as loop:
        loop.action("b", "x.y", retry=retry_policy(max_attempts=int("3")))
    read = load_workflow(
        """
id: w
nodes:
  - {id: a, service: x, action: y, retry: {max_attempts: 5}}
  - {id: l, type: loop, until: "true", body: {nodes: [{id: b, service: x, action: y}]}}
"""
    )
    built = flow.build()
    assert built == read
    assert definition_hash(built) == definition_hash(read)
    assert encode_workflow(built) == encode_workflow(read)


def test_bodies_are_with_blocks_and_may_hold_bodies() -> None:
    flow = WorkflowBuilder("w")
    fetch = flow.action("fetch", "shop.orders")
    with flow.map(
        "each",
        fetch.output["orders"],
        item_name="order",
        max_concurrency=2,
        tolerate="5%",
        after=fetch,
        complete_when="completed == 3",
        timeout=timedelta(hours=1),
    ) as each:
        charge = each.action("charge", "bank.charge", parameters={"id": each.item["id"], "n": each.index})
        with each.loop("poll", until="previous.done", max_iterations=7, after=charge) as poll:
            look = poll.action("look", "post.look", parameters={"last": poll.previous, "n": poll.index})
            poll.output({"done": look.output["done"]})
        each.output([charge, poll.node])
    with flow.parallel("rate", race=True, on_failure="cancel", after=each.node) as rate:
        rate.action("a", "rates.ask", parameters={"all": each.node})
        rate.action("b", "rates.ask")
    flow.map("subs", ["x"], workflow="other", input={"of": "${item}"})
    document = """
id: w
nodes:
  - {id: fetch, service: shop, action: orders}
  - id: each
    type: map
    items: "${fetch.orders}"
    as: order
    max_concurrency: 2
    tolerate: 5%
    complete_when: completed == 3
    timeout: 1h
    body:
      nodes:
        - {id: charge, service: bank, action: charge, parameters: {id: "${order.id}", n: "${index}"}}
        - id: poll
          type: loop
          until: previous.done
          max_iterations: 7
          body:
            nodes: [{id: look, service: post, action: look, parameters: {last: "${previous}", n: "${index}"}}]
            output: {done: "${look.done}"}
      connections: [{source: charge, target: poll}]
      output: ["${charge}", "${poll}"]
  - id: rate
    type: parallel
    race: true
    on_failure: cancel
    body:
      nodes:
        - {id: a, service: rates, action: ask, parameters: {all: "${each}"}}
        - {id: b, service: rates, action: ask}
  - {id: subs, type: map, items: [x], workflow: other, input: {of: "${item}"}}
connections:
  - {source: fetch, target: each}
  - {source: each, target: rate}
"""  # fmt: skip
    built = flow.build()
    assert built == load_workflow(document)
    assert definition_hash(built) == definition_hash(load_workflow(document))


def test_a_body_that_is_not_opened_or_cannot_be_is_told() -> None:
    flow = WorkflowBuilder("w")
    flow.map("m", [1])
    with pytest.raises(ValidationError, match="needs exactly one of body, workflow"):
        flow.build()
    with flow.parallel("p"):
        pass
    with pytest.raises(ValidationError, match="a body needs at least one node"):
        flow.build()
    subs = flow.map("subs", [1], workflow="other")
    with pytest.raises(ValidationError, match="node 'subs' runs the workflow 'other': it has no body"), subs:
        pass
    with pytest.raises(ValidationError, match="negative"):
        flow.loop("l", until="true", timeout=timedelta(seconds=-1))


def test_problems_in_bodies_have_the_place_that_they_have_in_documents() -> None:
    flow = WorkflowBuilder("w")
    with flow.loop("l", until="previous.x") as body, body.map("m", "${nobody}") as inner:
        inner.action("m", "x", parameters={"p": body.previous, "q": "${gone}"})
    with pytest.raises(ValidationError) as caught:
        flow.build()
    base = "nodes[0].config.body.nodes[0].config"
    assert [(one.code, one.path) for one in caught.value.problems] == [
        ("unknown_name", f"{base}.items"),
        ("hidden_name", f"{base}.body.nodes[0].id"),
        ("unknown_name", f"{base}.body.nodes[0].config.parameters.q"),
    ]
