"""One test for each control-flow pattern of the Workflow Patterns Initiative that a graph of this kind can express.

``docs/reference/workflow-patterns.md`` says how each is written; the names and numbers are those of N. Russell,
A. ter Hofstede, W. van der Aalst, N. Mulyar, Workflow Control-Flow Patterns: A Revised View, BPM-06-22, 2006.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from treadle import StepContext, WorkflowEngine

if TYPE_CHECKING:
    from treadle import ExecutionState

PAGE = Path(__file__).parents[2] / "docs/reference/workflow-patterns.md"


class Work:
    """What was done, in order; ``held`` steps end when they are let go."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.done: list[str] = []
        self.held: dict[str, asyncio.Event] = {}
        self.most = 0
        self._moved = asyncio.Event()

    async def do(self, value: Any = None, *, context: StepContext) -> Any:
        step = context.step
        self.began.append(step)
        self._moved.set()
        self.most = max(self.most, len(self.began) - len(self.done))
        if step in self.held:
            await self.held[step].wait()
        else:
            await asyncio.sleep(0)
        self.done.append(step)
        return value

    def hold(self, *steps: str) -> None:
        self.held = {step: asyncio.Event() for step in steps}

    def let_go(self, step: str) -> None:
        self.held[step].set()

    async def has_begun(self, *steps: str) -> None:
        while not set(steps) <= set(self.began):
            self._moved.clear()
            await self._moved.wait()


@pytest.fixture
def work() -> Work:
    return Work()


def do(name: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "action": "do", "retry": {"max_attempts": 1}, **more}


def flow(nodes: list[Any], arrows: str = "", **more: Any) -> dict[str, Any]:
    """Return a workflow of nodes (a text is a plain step) and arrows such as ``a>b``."""
    return {"id": more.pop("id", "w"), **body(nodes, arrows), **more}


def body(nodes: list[Any], arrows: str = "") -> dict[str, Any]:
    made = [do(one) if isinstance(one, str) else one for one in nodes]
    joined = [dict(zip(("source", "target", "condition"), one.split(">", 2), strict=False)) for one in arrows.split()]
    return {"nodes": made, "connections": joined}


def engine_of(work: Work, *workflows: Any, slots: int = 8, **more: Any) -> WorkflowEngine:
    return WorkflowEngine(slots, ":memory:", [{"do": work.do}], workflows=workflows, **more)


async def run(work: Work, workflow: dict[str, Any], given: Any = None, *others: Any, **more: Any) -> ExecutionState:
    async with asyncio.timeout(20), engine_of(work, *others, **more) as engine:
        return await engine.run_workflow(workflow, given or {}, execution_id="x")


def statuses(state: ExecutionState) -> dict[str, str]:
    return {name: step.status.value for name, step in state.steps.items()}


# -- basic control flow


async def test_wcp_01_sequence(work: Work) -> None:
    await run(work, flow(["a", "b", "c"], "a>b b>c"))
    assert work.done == ["a", "b", "c"]


async def test_wcp_02_parallel_split(work: Work) -> None:
    work.hold("b", "c")
    async with asyncio.timeout(20), engine_of(work) as engine:
        await engine.start_workflow(flow(["a", "b", "c"], "a>b a>c"), execution_id="x")
        await work.has_begun("b", "c")
        work.let_go("b")
        work.let_go("c")
        assert (await engine.wait("x")).status.value == "COMPLETED"


async def test_wcp_03_synchronization(work: Work) -> None:
    work.hold("b", "c")
    async with asyncio.timeout(20), engine_of(work) as engine:
        await engine.start_workflow(flow(["a", "b", "c", do("d", join="every")], "a>b a>c b>d c>d"), execution_id="x")
        await work.has_begun("b", "c")
        work.let_go("b")
        async for event in engine.watch("x"):
            if (event.kind, event.step) == ("StepSucceeded", "b"):
                break
        assert (await engine.get_execution_state("x")).steps["d"].status.value == "PENDING"
        work.let_go("c")
        await engine.wait("x")
    assert work.done[-1] == "d"


@pytest.mark.parametrize(("n", "taken"), [(5, "b"), (50, "c")])
async def test_wcp_04_exclusive_choice(work: Work, n: int, taken: str) -> None:
    await run(work, flow([{"id": "s", "type": "switch"}, "b", "c"], "s>b>input.n<10 s>c>else"), {"n": n})
    assert work.done == [taken]


async def test_wcp_05_simple_merge(work: Work) -> None:
    await run(work, flow([{"id": "s", "type": "switch"}, "b", "c", "d"], "s>b>true s>c>else b>d c>d"))
    assert work.done == ["b", "d"]


# -- advanced branching and synchronization


async def test_wcp_06_multi_choice(work: Work) -> None:
    switch = {"id": "s", "type": "switch", "mode": "all"}
    await run(work, flow([switch, "b", "c", "d"], "s>b>input.n>1 s>c>input.n>2 s>d>input.n>3"), {"n": 3})
    assert sorted(work.done) == ["b", "c"]


async def test_wcp_07_structured_synchronizing_merge(work: Work) -> None:
    switch = {"id": "s", "type": "switch", "mode": "all"}
    arrows = "s>b>true s>c>input.n>2 s>d>true b>e c>e d>e"
    state = await run(work, flow([switch, "b", "c", "d", "e"], arrows), {"n": 1})
    assert (work.done[-1], sorted(work.done), statuses(state)["c"]) == ("e", ["b", "d", "e"], "SKIPPED")


async def test_wcp_08_multi_merge(work: Work) -> None:
    """What follows runs once for each branch, as an execution of its own."""
    tail = {"type": "workflow", "workflow": "tail", "wait_for": False}
    nodes = ["a", "b", {"id": "after_a", **tail}, {"id": "after_b", **tail}]
    async with asyncio.timeout(20), engine_of(work, flow(["t"], id="tail")) as engine:
        await engine.run_workflow(flow(nodes, "a>after_a b>after_b"), execution_id="x")
        for child in ("x/after_a", "x/after_b"):
            assert (await engine.wait(child)).status.value == "COMPLETED"
    assert work.done.count("t") == 2


async def test_wcp_09_structured_discriminator(work: Work) -> None:
    work.hold("b")
    async with asyncio.timeout(20), engine_of(work) as engine:
        await engine.start_workflow(flow(["b", "c", do("d", join="any")], "b>d c>d"), execution_id="x")
        await work.has_begun("d")
        work.let_go("b")
        assert (await engine.wait("x")).status.value == "COMPLETED"
    assert (work.done.count("d"), work.done[-1]) == (1, "b")


async def test_wcp_28_blocking_discriminator(work: Work) -> None:
    """Within a loop the next round begins only once every branch of this one has ended."""
    inner = body(["b", "c", do("d", join="any")], "b>d c>d")
    await run(work, flow([{"id": "l", "type": "loop", "until": "index == 1", "body": inner}]))
    rounds = [sorted(one[5:] for one in work.done if one[:4] == f"l[{number}]") for number in (0, 1)]
    assert rounds == [["b", "c", "d"]] * 2
    assert {one[:4] for one in work.done[:3]} == {"l[0]"}


async def test_wcp_29_cancelling_discriminator(work: Work) -> None:
    work.hold("b")
    state = await run(work, flow(["b", "c", do("d", join="any", cancel_rest=True)], "b>d c>d"))
    assert (statuses(state)["b"], work.done) == ("CANCELLED", ["c", "d"])


async def test_wcp_30_structured_partial_join(work: Work) -> None:
    work.hold("c")
    join = do("j", join={"at_least": 2})
    async with asyncio.timeout(20), engine_of(work) as engine:
        await engine.start_workflow(flow(["a", "b", "c", join], "a>j b>j c>j"), execution_id="x")
        await work.has_begun("j")
        work.let_go("c")
        assert (await engine.wait("x")).status.value == "COMPLETED"
    assert work.done.count("j") == 1


async def test_wcp_31_blocking_partial_join(work: Work) -> None:
    inner = body(["a", "b", "c", do("j", join={"at_least": 2})], "a>j b>j c>j")
    await run(work, flow([{"id": "l", "type": "loop", "until": "index == 1", "body": inner}]))
    assert {one[:4] for one in work.done[:4]} == {"l[0]"}
    assert len(work.done) == 8


async def test_wcp_32_cancelling_partial_join(work: Work) -> None:
    work.hold("c")
    state = await run(work, flow(["a", "b", "c", do("j", join={"at_least": 2}, cancel_rest=True)], "a>j b>j c>j"))
    assert (statuses(state)["c"], sorted(work.done)) == ("CANCELLED", ["a", "b", "j"])


async def test_wcp_37_local_synchronizing_merge(work: Work) -> None:
    """The default join waits for whatever may still come, and for nothing else."""
    arrows = "s>b>true s>c>false b>d c>d d>e s>f>true f>e"
    await run(work, flow([{"id": "s", "type": "switch", "mode": "all"}, "b", "c", "d", "e", "f"], arrows))
    assert (work.done[-1], sorted(work.done)) == ("e", ["b", "d", "e", "f"])


async def test_wcp_38_general_synchronizing_merge(work: Work) -> None:
    """Also where whether something may still come is known only far from the join."""
    arrows = "a>b>false b>c c>d d>j a>j"
    state = await run(work, flow(["a", "b", "c", "d", "j"], arrows))
    assert (work.done, statuses(state)["d"]) == (["a", "j"], "SKIPPED")


async def test_wcp_41_thread_merge(work: Work) -> None:
    each = {"id": "m", "type": "map", "items": [1, 2, 3], "body": body(["t"])}
    await run(work, flow([each, "after"], "m>after"))
    assert (work.done[-1], len(work.done)) == ("after", 4)


async def test_wcp_42_thread_split(work: Work) -> None:
    work.hold("m[0].t", "m[1].t", "m[2].t")
    each = {"id": "m", "type": "map", "items": [1, 2, 3], "body": body(["t"])}
    async with asyncio.timeout(20), engine_of(work) as engine:
        await engine.start_workflow(flow([each]), execution_id="x")
        await work.has_begun("m[0].t", "m[1].t", "m[2].t")
        for step in work.held:
            work.let_go(step)
        await engine.wait("x")


# -- multiple instances


async def test_wcp_12_multiple_instances_without_synchronization(work: Work) -> None:
    work.hold("t")
    start = {"id": "c", "type": "workflow", "workflow": "tail", "wait_for": False}
    each = {"id": "m", "type": "map", "items": [1, 2], "body": body([start])}
    async with asyncio.timeout(20), engine_of(work, flow(["t"], id="tail")) as engine:
        assert (await engine.run_workflow(flow([each]), execution_id="x")).status.value == "COMPLETED"
        work.let_go("t")
        for number in (0, 1):
            assert (await engine.wait(f"x/m[{number}].c")).status.value == "COMPLETED"


async def test_wcp_13_multiple_instances_with_design_time_knowledge(work: Work) -> None:
    each = {
        "id": "m",
        "type": "map",
        "items": ["a", "b", "c"],
        "body": body([do("t", parameters={"value": "${item}"})]),
    }
    assert (await run(work, flow([each]))).output == ["a", "b", "c"]


async def test_wcp_14_multiple_instances_with_run_time_knowledge(work: Work) -> None:
    read = do("read", parameters={"value": "${input.n}"})
    each = {"id": "m", "type": "map", "items": "${read}", "body": body([do("t", parameters={"value": "${item * 2}"})])}
    assert (await run(work, flow([read, each], "read>m"), {"n": [1, 2, 3, 4]})).output == [2, 4, 6, 8]


async def test_wcp_35_cancelling_partial_join_for_multiple_instances(work: Work) -> None:
    work.hold("m[1].t")
    each = {"id": "m", "type": "map", "items": [1, 2, 3], "complete_when": "completed == 2", "body": body(["t"])}
    state = await run(work, flow([each]))
    assert (statuses(state)["m[1].t"], state.status.value) == ("CANCELLED", "COMPLETED")


# -- states


async def test_wcp_17_interleaved_parallel_routing(work: Work) -> None:
    """A partial order, one at a time."""
    await run(work, flow(["a", "b", "c", "d"], "a>b c>d", max_concurrent_steps=1))
    assert work.most == 1
    assert work.done.index("a") < work.done.index("b")
    assert work.done.index("c") < work.done.index("d")


async def test_wcp_40_interleaved_routing(work: Work) -> None:
    """Any order, one at a time."""
    await run(work, flow(["a", "b", "c"], max_concurrent_steps=1))
    assert (work.most, sorted(work.done)) == (1, ["a", "b", "c"])


async def test_wcp_18_milestone(work: Work) -> None:
    """What may be done only until something else has happened: a race of the two."""
    race = {
        "id": "p",
        "type": "parallel",
        "race": True,
        "body": body([{"id": "change", "type": "input"}, {"id": "shipped", "type": "wait", "duration": "30ms"}]),
    }
    async with asyncio.timeout(20), engine_of(work) as engine:
        await engine.start_workflow(flow([race]), execution_id="x")
        state = await engine.wait("x")
        assert statuses(state) == {"p": "COMPLETED", "p.change": "CANCELLED", "p.shipped": "COMPLETED"}
        assert not await engine.submit_input("x", "p.change", 1)


@pytest.mark.parametrize(("event", "taken"), [("paid", "ship"), ("refused", "sorry")])
async def test_wcp_16_deferred_choice(work: Work, event: str, taken: str) -> None:
    """The environment chooses, and the other choice is gone."""
    wait = {"id": "w", "type": "wait", "any_of": [{"event": "paid"}, {"event": "refused"}, {"duration": "1h"}]}
    arrows = "w>ship>w.timer==0 w>sorry>w.timer==1"
    async with asyncio.timeout(20), engine_of(work) as engine:
        await engine.start_workflow(flow([wait, "ship", "sorry"], arrows), execution_id="x")
        assert await engine.send_event(event, data=1, execution_id="x")
        await engine.wait("x")
    assert work.done == [taken]


async def test_wcp_39_critical_section(work: Work) -> None:
    """Steps of several branches and executions of which one runs at a time."""
    limits = [{"name": "section", "concurrency": 1}]
    two = flow([do("a", limits=limits), do("b", limits=limits)])
    async with asyncio.timeout(20), engine_of(work) as engine:
        await asyncio.gather(*(engine.run_workflow(two) for _ in range(3)))
    assert (work.most, len(work.done)) == (1, 6)


# -- triggers


async def test_wcp_23_transient_trigger(work: Work) -> None:
    """What comes while nobody waits is lost."""
    event = {"id": "e", "type": "event", "event": "go", "buffer": False}
    work.hold("a")
    async with asyncio.timeout(20), engine_of(work) as engine:
        await engine.start_workflow(flow(["a", event], "a>e"), execution_id="x")
        await work.has_begun("a")
        assert not await engine.send_event("go", data=1, execution_id="x")
        work.let_go("a")
        async for one in engine.watch("x"):
            if one.kind == "EventAwaited":
                break
        assert await engine.send_event("go", data=2, execution_id="x")
        assert (await engine.wait("x")).output == 2


async def test_wcp_24_persistent_trigger(work: Work) -> None:
    """What comes while nobody waits is kept."""
    event = {"id": "e", "type": "event", "event": "go"}
    work.hold("a")
    async with asyncio.timeout(20), engine_of(work) as engine:
        await engine.start_workflow(flow(["a", event], "a>e"), execution_id="x")
        await work.has_begun("a")
        assert not await engine.send_event("go", data=1, execution_id="x")
        work.let_go("a")
        assert (await engine.wait("x")).output == 1


# -- cancellation


async def test_wcp_19_cancel_task(work: Work) -> None:
    work.hold("a")
    async with asyncio.timeout(20), engine_of(work) as engine:
        await engine.start_workflow(flow(["a", "b", "c"], "a>c"), execution_id="x")
        await work.has_begun("a")
        assert await engine.cancel_step("x", "a")
        state = await engine.wait("x")
    assert statuses(state) == {"a": "CANCELLED", "b": "COMPLETED", "c": "SKIPPED"}


async def test_wcp_20_cancel_case(work: Work) -> None:
    work.hold("a")
    async with asyncio.timeout(20), engine_of(work) as engine:
        await engine.start_workflow(flow(["a", "b"], "a>b"), execution_id="x")
        await work.has_begun("a")
        assert await engine.cancel_execution("x")
        assert (await engine.wait("x", until="ended")).status.value == "CANCELLED"
    assert work.done == []


async def test_wcp_25_cancel_region(work: Work) -> None:
    work.hold("p.a", "p.b")
    region = {"id": "p", "type": "parallel", "body": body(["a", "b", "c"], "a>c b>c")}
    async with asyncio.timeout(20), engine_of(work) as engine:
        await engine.start_workflow(flow([region, "beside"]), execution_id="x")
        await work.has_begun("p.a", "p.b")
        assert await engine.cancel_step("x", "p")
        state = await engine.wait("x")
    assert (state.status.value, work.done) == ("COMPLETED", ["beside"])


async def test_wcp_26_cancel_multiple_instance_activity(work: Work) -> None:
    work.hold("m[1].t")
    each = {"id": "m", "type": "map", "items": [1, 2], "body": body(["t"])}
    async with asyncio.timeout(20), engine_of(work) as engine:
        await engine.start_workflow(flow([each, "z"], "m>z"), execution_id="x")
        await work.has_begun("m[0].t", "m[1].t")
        assert await engine.cancel_step("x", "m")
        state = await engine.wait("x")
    assert (statuses(state)["m"], statuses(state)["z"]) == ("CANCELLED", "SKIPPED")


async def test_wcp_27_complete_multiple_instance_activity(work: Work) -> None:
    """The rest is given up and what is there counts: one result says that it is enough."""
    each = {
        "id": "m",
        "type": "map",
        "items": [1, 2, 3, 4],
        "max_concurrency": 1,
        "complete_when": "results[size(results) - 1] == 2",
        "body": body([do("t", parameters={"value": "${item}"})]),
    }
    state = await run(work, flow([each, do("z", parameters={"value": "${m}"})], "m>z"))
    assert state.output == [1, 2, None, None]


# -- iteration


async def test_wcp_21_structured_loop(work: Work) -> None:
    step = do("t", parameters={"value": "${index}"})
    before = {"id": "l", "type": "loop", "while": "index < 3", "body": body([step])}
    after = {"id": "r", "type": "loop", "until": "previous == 1", "body": body([step])}
    await run(work, flow([before, after], "l>r"))
    assert work.done == ["l[0].t", "l[1].t", "l[2].t", "r[0].t", "r[1].t"]


async def test_wcp_22_recursion(work: Work) -> None:
    again = {"id": "c", "type": "workflow", "workflow": "down", "input": {"n": "${input.n - 1}"}}
    down = flow(["t", {**again, "condition": "input.n > 0"}], "t>c", id="down")
    await run(work, down, {"n": 3}, down)
    assert work.done == ["t"] * 4


# -- termination


async def test_wcp_11_implicit_termination(work: Work) -> None:
    assert (await run(work, flow(["a", "b", "c"], "a>b"))).status.value == "COMPLETED"
    assert sorted(work.done) == ["a", "b", "c"]


async def test_wcp_43_explicit_termination(work: Work) -> None:
    work.hold("b")
    state = await run(work, flow(["a", "b", {"id": "e", "type": "end", "output": "enough"}], "a>e"))
    assert (state.status.value, state.output, statuses(state)["b"]) == ("COMPLETED", "enough", "CANCELLED")


# -- the page


def test_the_page_names_every_pattern_and_exactly_those_that_are_tested_as_expressible() -> None:
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \| ([^|]+) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert sorted(int(number) for number, _, _ in rows) == list(range(1, 44))
    written = {int(number) for number, _, how in rows if not how.startswith("Not ")}
    tested = {int(name.split("_")[2]) for name in globals() if name.startswith("test_wcp_")}
    assert (written, len(tested) >= 33) == (tested, True)
