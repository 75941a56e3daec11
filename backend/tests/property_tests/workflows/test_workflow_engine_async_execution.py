"""What the drop-in engine promises of an execution, over generated workflows.

Every test makes a real engine over the real state manager, registers ordinary actions, and awaits real executions to
their end. Nothing is replaced. Time is virtual: the event loop stands still while anything can run and jumps to the
next timer when nothing can, so that no test waits, every delay is exact, and an execution that hangs fails at once.

What happened is read off one journal. The actions enter ``start end failed cancelled``, the state manager enters what
it is told as ``step`` and ``execution``, and what the engine tells its users is a ``note``; all in their order.
"""

from __future__ import annotations

import asyncio
import copy
import selectors
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import treadle
from core.exceptions import AgentExecutionError, ValidationError
from core.execution_state_manager import ExecutionStateManager
from core.models import WorkflowExecutionStatus
from core.websockets import get_connection_manager
from core.workflow_engine import WorkflowEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

EPOCH = 1_800_000_000
PLENTY = 64
"""Slots, where the limit is not the matter."""

ONCE = {"max_attempts": 1}
ALWAYS = 10**6
"""Failures, where none of the calls is to succeed."""

DEFAULT_ATTEMPTS = 4
"""Of a step without a ``retry`` of its own: one call and three repetitions."""

generated = settings(max_examples=80, deadline=None, derandomize=True)
"""The same examples at every run; no bound on the real time of one, since none of them waits for it."""


# -- time


class NothingCanHappenError(Exception):
    """Everything waits for something that will not come."""


class JumpingSelector(selectors.SelectSelector):
    """Where the loop would sleep until its next timer, that moment is now."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        found = super().select(0)
        if not found:
            if timeout is None:
                raise NothingCanHappenError
            self.now += max(timeout, 0)
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time."""

    def __init__(self) -> None:
        self._jumping = JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


class VirtualClock:
    """The loop's time for the engine; ``waits`` is what the engine asked it to wait, in seconds."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def now(self) -> float:
        return EPOCH + asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(seconds)


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run one scenario from the beginning of time to its end."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(scenario())


def time_now() -> float:
    """Return the virtual time in seconds since the scenario began."""
    return asyncio.get_running_loop().time()


# -- what is observed


class Seen(NamedTuple):
    """What happened to which step (``""``: to the execution itself) of which execution, and when."""

    what: str
    execution: str
    step: str
    at: float
    detail: Any = None


class Journal(list[Seen]):
    """Everything that was observed, in order."""

    def enter(self, what: str, execution: str, step: str = "", detail: object = None) -> None:
        self.append(Seen(what, execution, step, time_now(), detail))

    def of(self, what: str, execution: str, step: str | None = None, detail: object = None) -> list[Seen]:
        return [
            one
            for one in self
            if (one.what, one.execution) == (what, execution)
            and step in (None, one.step)
            and detail in (None, one.detail)
        ]

    def steps(self, what: str, execution: str, detail: object = None) -> list[str]:
        return [one.step for one in self.of(what, execution, detail=detail)]

    def details(self, what: str, execution: str, step: str | None = None) -> list[Any]:
        return [one.detail for one in self.of(what, execution, step)]

    def place(self, what: str, execution: str, step: str, detail: object = None) -> int:
        """Return where the entry stands, of which there is exactly one."""
        (only,) = self.of(what, execution, step, detail)
        return next(place for place, one in enumerate(self) if one is only)

    def since(self, what: str, execution: str, detail: object) -> list[Seen]:
        """Return what came after the first such entry."""
        first = self.of(what, execution, detail=detail)[0]
        return self[next(place for place, one in enumerate(self) if one is first) + 1 :]


class RecordedStateManager(ExecutionStateManager):
    """The real state manager, which also enters what it was told."""

    def __init__(self, journal: Journal, clock: VirtualClock) -> None:
        super().__init__(clock=clock)
        self.journal = journal
        self.created: list[tuple[str, dict[str, Any], str]] = []

    async def create_execution(self, workflow_id: str, input_data: dict[str, Any]) -> str:
        execution_id = await super().create_execution(workflow_id, input_data)
        self.created.append((workflow_id, copy.deepcopy(input_data), execution_id))
        return execution_id

    async def update_step_status(
        self, execution_id: str, step_id: str, status: str, output: object = None, error: str | None = None
    ) -> None:
        await super().update_step_status(execution_id, step_id, status, output, error)
        self.journal.enter("step", execution_id, step_id, status)

    async def update_execution_status(self, execution_id: str, status: str, error: str | None = None) -> None:
        await super().update_execution_status(execution_id, status, error)
        self.journal.enter("execution", execution_id, "", status)


class FlawError(RuntimeError):
    """A failure that may pass."""


class WrongOrderError(ValidationError):
    """A failure of the application that cannot pass."""


PERMANENT: dict[str, Callable[[str], Exception]] = {
    "the application's": ValidationError,
    "a subclass of it": WrongOrderError,
    "treadle's": treadle.ValidationError,
    "listed": FlawError,
}


class Moment(NamedTuple):
    """What a body read: the state, and how far the journal and the time were."""

    step: str
    state: dict[str, Any]
    entries: int
    at: float


class Lab:
    """One engine, the actions that its steps call, and what was observed.

    Args:
        limit: Slots of the engine.
    """

    def __init__(self, limit: int = PLENTY) -> None:
        self.limit = limit
        self.journal = Journal()
        self.clock = VirtualClock()
        self.manager = RecordedStateManager(self.journal, self.clock)
        functions = (self.work, self.flaky, self.refuse, self.hang, self.gated, self.pausing, self.look)
        actions = {f"lab.{function.__name__}": function for function in functions}
        self.engine = WorkflowEngine(limit, actions=[actions], state_manager=self.manager, clock=self.clock)
        self.ids: dict[str, str] = {}
        self.calls: Counter[str] = Counter()
        self.running: set[tuple[str, str]] = set()
        self.peak = 0
        self.moments: list[Moment] = []
        self.hanging = asyncio.Event()
        self.paused = asyncio.Event()
        self.gate = asyncio.Event()
        self._graphs: set[asyncio.Task[None]] = set()

    # Actions

    @contextmanager
    def body(self, name: str, step: str) -> Iterator[str]:
        """Observe one call of an action and give the execution's id."""
        execution = self.ids[name]
        self.calls[step] += 1
        self.journal.enter("start", execution, step)
        self.running.add((name, step))
        self.peak = max(self.peak, len(self.running))
        try:
            yield execution
            self.journal.enter("end", execution, step)
        except asyncio.CancelledError:
            self.journal.enter("cancelled", execution, step)
            raise
        except Exception as error:
            self.journal.enter("failed", execution, step, str(error))
            raise
        finally:
            self.running.discard((name, step))

    async def work(self, run: str, step: str, delay: float = 0, inputs: Any = None, answer: Any = None) -> Any:
        """Take a while, and give one more than the sum of what the steps before gave."""
        with self.body(run, step):
            await asyncio.sleep(delay)
            return result_of(step, inputs)

    async def flaky(self, run: str, step: str, failures: int, how: str = "raise", inputs: Any = None) -> Any:
        """Fail the first calls."""
        with self.body(run, step):
            number = self.calls[step]
            if number > failures:
                return result_of(step, inputs)
            text = f"failure {number} of {step}"
            if how == "raise":
                raise FlawError(text)
            if how == "agent":
                raise AgentExecutionError(step, text)
            if how == "hang":
                await asyncio.Event().wait()
            return {"status": "error", "error": text}

    async def refuse(self, run: str, step: str, kind: str) -> Any:
        """Fail in a way that no repetition cures."""
        with self.body(run, step):
            raise PERMANENT[kind](f"{step} is wrong")

    async def hang(self, run: str, step: str, inputs: Any = None) -> None:
        """Wait until somebody cancels."""
        with self.body(run, step):
            self.hanging.set()
            await asyncio.Event().wait()

    async def gated(self, run: str, step: str, inputs: Any = None) -> Any:
        """Wait until the test opens the gate."""
        with self.body(run, step):
            await self.gate.wait()
            return result_of(step, inputs)

    async def pausing(self, run: str, step: str, delay: float = 0, inputs: Any = None) -> Any:
        """Have the own execution paused, and go on."""
        with self.body(run, step) as execution:
            assert await self.engine.pause_execution(execution)
            await asyncio.sleep(delay)
            return result_of(step, inputs)

    async def look(self, run: str, step: str, delay: float = 0, inputs: Any = None) -> Any:
        """Read the state of the own execution at the beginning and at the end."""
        with self.body(run, step):
            await self._look_at(run, step)
            await asyncio.sleep(delay)
            await self._look_at(run, step)
            return result_of(step, inputs)

    async def _look_at(self, run: str, step: str) -> None:
        self.moments.append(Moment(step, await self.state(run), len(self.journal), time_now()))

    # Verbs

    async def start(self, workflow: dict[str, Any], name: str = "r", **inputs: Any) -> str:
        """Begin an execution, which ``name`` stands for in parameters; it runs as an application's would."""
        self.ids[name] = await self.engine.start_workflow(workflow, {"run": name, "yes": True, **inputs})
        return self.ids[name]

    async def start_graph(self, workflow: dict[str, Any], name: str = "r", **inputs: Any) -> str:
        """Begin an execution that runs in parallel, whether or not it has conditions."""
        if any(one.get("condition") for one in workflow["connections"]):
            return await self.start(workflow, name, **inputs)
        execution_id = await self.manager.create_execution(workflow["id"], {"run": name, "yes": True, **inputs})
        self.ids[name] = execution_id
        await self.manager.update_execution_status(execution_id, "RUNNING")
        began = datetime.fromtimestamp(self.clock.now(), tz=UTC)
        arguments = (execution_id, workflow, await self.state(name), get_connection_manager(), "user", began)
        self._graphs.add(asyncio.create_task(self.engine._execute_workflow_graph(*arguments)))
        return execution_id

    async def settle(self) -> None:
        """Return when nothing runs any more: every execution has ended or is paused."""
        while tasks := {*self.engine._background_tasks, *(task for task in self._graphs if not task.done())}:
            await asyncio.gather(*tasks)

    async def state(self, name: str = "r") -> dict[str, Any]:
        state = await self.manager.get_execution_state(self.ids[name])
        assert state is not None
        return state

    def assert_idle(self) -> None:
        """Check that the engine holds nothing any more: no slot, no request, no run, no body."""
        engine = self.engine
        assert engine.semaphore._value == self.limit
        assert not self.running
        assert not engine._runs
        assert not engine._background_tasks
        assert not engine.cancellation_requests


@contextmanager
def lab(limit: int = PLENTY) -> Iterator[Lab]:
    """Make a lab and enter, while it is open, what its engine tells users; it is closed with nothing held."""
    made = Lab(limit)

    def listen(_: str, execution_id: str, status: str, data: dict[str, Any] | None) -> None:
        made.journal.enter("note", execution_id, (data or {}).get("step_id", ""), status)
        if status == "PAUSED":
            made.paused.set()

    stop = get_connection_manager().listen(listen)
    try:
        yield made
        made.assert_idle()
    finally:
        stop()


def result_of(step: str, inputs: dict[str, int] | None) -> dict[str, Any]:
    return {"of": step, "total": 1 + sum((inputs or {}).values())}


def statuses(state: dict[str, Any]) -> dict[str, str]:
    """Return the status of every step that the state knows, having checked that each entry names its own step."""
    assert all(entry["id"] == name for name, entry in state["steps"].items())
    return {name: entry["status"] for name, entry in state["steps"].items()}


def results(state: dict[str, Any]) -> dict[str, Any]:
    """Return what each completed step gave, having checked that outputs and entries agree."""
    completed = {name: entry["output"] for name, entry in state["steps"].items() if entry["status"] == "COMPLETED"}
    assert state["outputs"] == completed
    assert all(output["status"] == "success" for output in completed.values())
    return {name: output["result"] for name, output in completed.items()}


# -- what is generated


class Edge(NamedTuple):
    """A connection; its condition is None or holds."""

    source: str
    target: str
    condition: str | None


class Graph(NamedTuple):
    """A graph without cycles; ``names`` in the order of the definition, which is not that of the edges."""

    names: tuple[str, ...]
    edges: tuple[Edge, ...]

    def before(self, name: str) -> list[str]:
        return [edge.source for edge in self.edges if edge.target == name]

    def reached_from(self, name: str) -> set[str]:
        """Return every step that waits for ``name``, at first or at second hand."""
        found: set[str] = set()
        agenda = [name]
        while agenda:
            source = agenda.pop()
            fresh = {edge.target for edge in self.edges if edge.source == source} - found
            found |= fresh
            agenda.extend(fresh)
        return found

    def leading_to(self, name: str) -> set[str]:
        return {one for one in self.names if name in self.reached_from(one)}

    def results(self) -> dict[str, Any]:
        """Return what every step has to give, worked out slowly."""
        found: dict[str, Any] = {}
        while len(found) < len(self.names):
            for name in self.names:
                if all(one in found for one in self.before(name)):
                    found[name] = result_of(name, {one: found[one]["total"] for one in self.before(name)})
        return found

    def workflow(
        self, configure: Callable[[str], dict[str, Any]] | None = None, *, reads: bool = True
    ) -> dict[str, Any]:
        """Return the workflow as an application writes it.

        Args:
            configure: Gives what a step has beyond the plain ``lab.work``; its parameters are added to the usual ones.
            reads: Each step reads what the steps before it gave.
        """
        nodes = []
        for name in self.names:
            config = {"service": "lab", "action": "work", **(configure(name) if configure else {})}
            usual: dict[str, Any] = {"run": "${input.run}", "step": name}
            if reads:
                usual["inputs"] = {one: f"${{{one}.result.total}}" for one in self.before(name)}
            config["parameters"] = usual | config.get("parameters", {})
            nodes.append({"id": name, "type": "action", "title": f"Do {name}", "config": config})
        connections = [
            {"source": edge.source, "target": edge.target}
            | ({} if edge.condition is None else {"condition": edge.condition})
            for edge in self.edges
        ]
        return {
            "id": "generated",
            "name": "Generated",
            "created_by": "user",
            "nodes": nodes,
            "connections": connections,
        }


def conditions(source: str, *, reads: bool) -> list[str | None]:
    """Return conditions of a connection that all hold; those that read a result only where there will be one."""
    plain: list[str | None] = [None, "true", "${input.yes} == true", "not ${input.yes} != true and 2 > 1"]
    reading: list[str | None] = [f"${{{source}.result.total}} >= 1", f"${{{source}.status}} == 'success'"]
    return plain + reading if reads else plain


@st.composite
def graphs(draw: st.DrawFn, *, most: int = 8, reads: bool = True) -> Graph:
    """Return a graph of up to ``most`` steps, of any shape."""
    prefix = draw(st.sampled_from(["n", "Step ", "größe-", "7_", "a/b "]))
    names = [f"{prefix}{number}" for number in range(draw(st.integers(1, most)))]
    edges = [
        Edge(source, target, draw(st.sampled_from(conditions(source, reads=reads))))
        for place, target in enumerate(names[1:], 1)
        for source in sorted(draw(st.sets(st.sampled_from(names[:place]), max_size=3)))
    ]
    return Graph(tuple(draw(st.permutations(names))), tuple(draw(st.permutations(edges))))


@st.composite
def layered_graphs(draw: st.DrawFn) -> tuple[Graph, int]:
    """Return a graph in which each layer waits for the whole layer before it, and its width."""
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    layers = [[f"{layer}-{place}" for place in range(size)] for layer, size in enumerate(sizes)]
    edges = [
        Edge(source, target, draw(st.sampled_from([None, "true"])))
        for former, latter in pairwise(layers)
        for source in former
        for target in latter
    ]
    names = draw(st.permutations([name for layer in layers for name in layer]))
    return Graph(tuple(names), tuple(edges)), max(sizes)


def chain_of(names: list[str], condition: str | None = None) -> Graph:
    edges = [Edge(source, target, condition) for source, target in pairwise(names)]
    return Graph(tuple(names), tuple(edges))


eighths = st.integers(0, 16).map(lambda number: number / 8)
"""Seconds that binary fractions hold exactly, so that sums of them are exact too."""

delays = st.lists(eighths, min_size=8, max_size=8)


def delayed(graph: Graph, seconds: list[float]) -> Callable[[str], dict[str, Any]]:
    return lambda name: {"parameters": {"delay": seconds[graph.names.index(name)]}}


# -- tests


class TestAsyncWorkflowExecution:
    """How executions run, fail, pause, go on and are cancelled."""

    @generated
    @given(graph=graphs(), limit=st.integers(1, 5), seconds=delays)
    def test_execute_workflow_graph_with_mocked_steps(self, graph: Graph, limit: int, seconds: list[float]) -> None:
        """Every step of a graph runs exactly once, never before those it waits for, and gives what it should."""

        async def scenario() -> None:
            with lab(limit) as it:
                execution = await it.start_graph(graph.workflow(delayed(graph, seconds)))
                await it.settle()
                state = await it.state()

                assert state["status"] == WorkflowExecutionStatus.COMPLETED.value
                assert state["error"] is None
                assert statuses(state) == dict.fromkeys(graph.names, "COMPLETED")
                assert results(state) == graph.results()
                assert it.calls == Counter(graph.names)
                assert sorted(it.journal.steps("end", execution)) == sorted(graph.names)
                for edge in graph.edges:
                    ended = it.journal.place("end", execution, edge.source)
                    assert ended < it.journal.place("start", execution, edge.target)

        run(scenario)

    @generated
    @given(
        plan=st.lists(st.tuples(eighths, st.none() | eighths.filter(bool)), min_size=1, max_size=5),
        in_parallel=st.booleans(),
        once=st.booleans(),
    )
    def test_execute_workflow_with_step_timeout(
        self, plan: list[tuple[float, float | None]], in_parallel: bool, once: bool
    ) -> None:
        """A step is TIMED_OUT exactly if its timeout is shorter than its delay, and the execution says so."""
        names = [f"s{place}" for place in range(len(plan))]
        late = [name for name, (delay, timeout) in zip(names, plan, strict=True) if timeout and timeout < delay]
        attempts = 1 if once else DEFAULT_ATTEMPTS
        pauses = 0 if once else 1 + 2 + 4
        spent = {
            name: attempts * (timeout or 0) + pauses if name in late else delay
            for name, (delay, timeout) in zip(names, plan, strict=True)
        }
        reached = names if in_parallel or not late else names[: names.index(late[0]) + 1]

        def configure(name: str) -> dict[str, Any]:
            delay, timeout = plan[names.index(name)]
            policy = {"retry": ONCE} if once else {}
            return {"parameters": {"delay": delay}, "timeout": timeout, **policy}

        async def scenario() -> None:
            with lab() as it:
                graph = Graph(tuple(names), ()) if in_parallel else chain_of(names)
                workflow = graph.workflow(configure, reads=False)
                execution = await (it.start_graph(workflow) if in_parallel else it.start(workflow))
                await it.settle()
                state = await it.state()

                assert statuses(state) == {name: "TIMED_OUT" if name in late else "COMPLETED" for name in reached}
                assert it.calls == {name: attempts if name in late else 1 for name in reached}
                assert Counter(it.journal.steps("cancelled", execution)) == {
                    name: attempts for name in reached if name in late
                }
                assert time_now() == (max if in_parallel else sum)(spent[name] for name in reached)
                messages = {
                    name: f"Step {name} timed out after {plan[names.index(name)][1]:g} seconds"
                    for name in reached
                    if name in late
                }
                assert {name: state["steps"][name]["error"] for name in messages} == messages
                if late:
                    assert state["status"] == WorkflowExecutionStatus.FAILED.value
                    soonest = min(spent[name] for name in messages)
                    assert state["error"] in [text for name, text in messages.items() if spent[name] == soonest]
                else:
                    assert state["status"] == WorkflowExecutionStatus.COMPLETED.value
                    assert state["error"] is None

        run(scenario)

    @generated
    @given(
        graph=graphs(reads=False),
        seconds=delays,
        limit=st.integers(1, 5),
        at=st.integers(0, 7),
        goes_on=st.booleans(),
        is_linear=st.booleans(),
    )
    def test_execute_workflow_with_step_failure_continue_on_error(
        self, graph: Graph, seconds: list[float], limit: int, at: int, goes_on: bool, is_linear: bool
    ) -> None:
        """Without the flag a failure ends the execution and no later step starts; with it the rest runs."""
        if is_linear:
            graph = chain_of(list(graph.names))
        broken = graph.names[at % len(graph.names)]

        def configure(name: str) -> dict[str, Any]:
            if name != broken:
                return delayed(graph, seconds)(name)
            failing = {"action": "flaky", "parameters": {"failures": ALWAYS}, "retry": ONCE}
            return {**failing, "continue_on_error": goes_on}

        async def scenario() -> None:
            with lab(limit) as it:
                workflow = graph.workflow(configure, reads=False)
                execution = await (it.start(workflow) if is_linear else it.start_graph(workflow))
                await it.settle()
                state = await it.state()

                assert state["steps"][broken] == {"id": broken, "status": "FAILED", "error": f"failure 1 of {broken}"}
                assert max(it.calls.values()) == 1
                told = it.journal.steps("step", execution, "RUNNING")
                assert sorted(told) == sorted(it.calls)
                if goes_on:
                    assert state["status"] == "PARTIAL"
                    assert state["error"] is None
                    others = [name for name in graph.names if name != broken]
                    assert statuses(state) == {**dict.fromkeys(others, "COMPLETED"), broken: "FAILED"}
                    assert it.calls == Counter(graph.names)
                else:
                    assert state["status"] == WorkflowExecutionStatus.FAILED.value
                    assert state["error"] == f"failure 1 of {broken}"
                    after = it.journal.since("step", execution, "FAILED")
                    assert not [one for one in after if one.what == "step" and one.detail == "RUNNING"]
                    assert not graph.reached_from(broken) & set(it.calls)
                    # What was in flight has ended and is recorded; what was never reached is not there.
                    others = [name for name in it.calls if name != broken]
                    assert statuses(state) == {**dict.fromkeys(others, "COMPLETED"), broken: "FAILED"}

        run(scenario)

    @generated
    @given(
        graph=graphs(),
        seconds=delays,
        limit=st.integers(1, 5),
        at=st.integers(0, 7),
        by_request=st.booleans(),
        is_linear=st.booleans(),
    )
    def test_pause_workflow_execution(
        self, graph: Graph, seconds: list[float], limit: int, at: int, by_request: bool, is_linear: bool
    ) -> None:
        """Paused at any step, nothing further starts, and what was in flight ends and is recorded."""
        if is_linear:
            graph = chain_of(list(graph.names))
        pauser = graph.names[at % len(graph.names)]

        async def scenario() -> None:
            with lab(limit) as it:
                workflow = graph.workflow(pausing_at(graph, pauser, seconds, by_request=by_request))
                execution = await (it.start(workflow) if is_linear else it.start_graph(workflow))
                await it.settle()
                state = await it.state()

                assert state["status"] == WorkflowExecutionStatus.PAUSED.value
                assert state["error"] == (None if by_request else "Missing input: input.answer")
                after = it.journal.since("execution", execution, "PAUSED")
                assert not [one for one in after if one.what == "step" and one.detail == "RUNNING"]
                assert not [one for one in after if one.what == "execution"]
                told = it.journal.steps("step", execution, "RUNNING")
                assert it.calls == Counter(told)
                expected = dict.fromkeys(told, "COMPLETED")
                assert (pauser in expected) == by_request
                assert statuses(state) == expected | ({} if by_request else {pauser: "PAUSED"})
                wanted = graph.results()
                assert results(state) == {name: wanted[name] for name in told}
                assert graph.leading_to(pauser) <= set(told)
                assert not graph.reached_from(pauser) & set(told)

                await asyncio.sleep(10_000)
                assert await it.state() == state

        run(scenario)

    @generated
    @given(
        graph=graphs(),
        seconds=delays,
        limit=st.integers(1, 5),
        at=st.integers(0, 7),
        how=st.sampled_from(["asked", "asked, resumed at once", "requested", "requested, resumed at once", "written"]),
        chosen=st.sets(st.integers(0, 7)),
    )
    def test_resume_workflow_execution(
        self, graph: Graph, seconds: list[float], limit: int, at: int, how: str, chosen: set[int]
    ) -> None:
        """Resumed from any completed prefix, the completed steps do not run again, and the rest runs once."""
        pauser = graph.names[at % len(graph.names)]
        wanted = graph.results()
        if how == "written":
            workflow = graph.workflow(delayed(graph, seconds))
        else:
            workflow = graph.workflow(pausing_at(graph, pauser, seconds, by_request="requested" in how))

        async def scenario() -> None:
            with lab(limit) as it:
                if how == "written":
                    picked = {name for place, name in enumerate(graph.names) if place in chosen}
                    prefix = {name for name in graph.names if name in picked or graph.reached_from(name) & picked}
                    await write_prefix(it, workflow, {name: wanted[name] for name in prefix})
                else:
                    await it.start(workflow)
                    await it.paused.wait()
                    if "at once" not in how:
                        await it.settle()
                before = await it.state()
                done = results(before)
                called = Counter(it.calls)
                resumed = [
                    await it.engine.resume_workflow(it.ids["r"], workflow, {"answer": 42}),
                    await it.engine.resume_workflow(it.ids["r"], workflow, {"answer": 43}),
                ]
                entries = len(it.journal)
                await it.settle()
                state = await it.state()

                assert resumed == [True, False]
                assert state["input_data"] == {**before["input_data"], "answer": 42}
                assert state["status"] == WorkflowExecutionStatus.COMPLETED.value
                assert state["error"] is None
                assert statuses(state) == dict.fromkeys(graph.names, "COMPLETED")
                assert results(state) == wanted
                if how == "written":
                    assert it.calls == Counter(set(graph.names) - set(done))
                else:
                    assert it.calls == Counter(graph.names)
                    assert set(done) <= set(called)
                later = [one for one in it.journal[entries:] if one.step in done]
                assert later == [], "a step that had ended was run, told of or written again"
                assert await it.engine.resume_workflow(it.ids["r"], workflow, {}) is False
                with pytest.raises(ValueError, match="Execution nobody not found"):
                    await it.engine.resume_workflow("nobody", workflow, {})

        run(scenario)

    @generated
    @given(
        graph=graphs(),
        seconds=delays,
        limit=st.integers(1, 5),
        at=st.integers(0, 7),
        unsteady=st.sets(st.integers(0, 7)),
        is_linear=st.booleans(),
    )
    def test_cancel_workflow_execution(
        self, graph: Graph, seconds: list[float], limit: int, at: int, unsteady: set[int], is_linear: bool
    ) -> None:
        """Cancelled at any step: CANCELLED at once, nothing further starts, running steps see the cancellation."""
        if is_linear:
            graph = chain_of(list(graph.names))
        holder = graph.names[at % len(graph.names)]

        def configure(name: str) -> dict[str, Any]:
            if name == holder:
                return {"action": "hang"}
            if graph.names.index(name) in unsteady:
                retry = {"max_attempts": 2, "initial_delay": 1 + seconds[graph.names.index(name)]}
                return {"action": "flaky", "parameters": {"failures": 1}, "retry": retry}
            return delayed(graph, seconds)(name)

        async def scenario() -> None:
            with lab(limit) as it:
                workflow = graph.workflow(configure)
                execution = await (it.start(workflow) if is_linear else it.start_graph(workflow))
                await it.hanging.wait()
                before = await it.state()
                running = {step for _, step in it.running}
                entries, cancelled_at, called = len(it.journal), time_now(), Counter(it.calls)
                assert holder in running
                assert await it.engine.cancel_execution(execution) is True
                assert (await it.state())["status"] == "CANCELLED"
                await it.settle()
                state = await it.state()

                assert state["status"] == "CANCELLED"
                assert time_now() == cancelled_at
                after = it.journal[entries:]
                assert not [one for one in after if one.what == "start" or one.detail in ("RUNNING", "STEP_RUNNING")]
                assert it.calls == called
                assert {one.step for one in after if one.what == "cancelled"} == running
                assert {one.detail for one in after if one.what == "execution"} == {"CANCELLED"}
                # What had ended stays as it was; what had started and not ended is cancelled; the rest is not there.
                expected = {
                    name: "CANCELLED" if status == "RUNNING" else status for name, status in statuses(before).items()
                }
                assert statuses(state) == expected
                assert set(expected.values()) <= {"COMPLETED", "CANCELLED"}

                await asyncio.sleep(10_000)
                assert it.calls == called
                assert await it.state() == state
                assert await it.engine.resume_workflow(execution, workflow, {}) is False
                assert await it.engine.cancel_execution(execution) is True
                assert await it.state() == state

        run(scenario)


def pausing_at(graph: Graph, pauser: str, seconds: list[float], *, by_request: bool) -> Callable[[str], dict[str, Any]]:
    """Return what has an execution paused when it comes to ``pauser``: it is asked to, or an input is missing."""

    def configure(name: str) -> dict[str, Any]:
        config = delayed(graph, seconds)(name)
        if name == pauser and by_request:
            config["action"] = "pausing"
        elif name == pauser:
            config["parameters"]["answer"] = "${input.answer}"
        return config

    return configure


async def write_prefix(it: Lab, workflow: dict[str, Any], done: dict[str, Any]) -> None:
    """Write a paused execution in which some steps are completed, as an engine before this one left it."""
    workflow["steps"] = it.engine._convert_nodes_to_steps(workflow)
    execution = it.ids["r"] = await it.manager.create_execution(workflow["id"], {"run": "r", "yes": True})
    for name, result in done.items():
        output = {"status": "success", "result": result}
        await it.manager.update_step_status(execution, name, "COMPLETED", output=output)
    await it.manager.update_execution_status(execution, "PAUSED")


attempts_allowed = st.none() | st.integers(0, 6)
"""``max_attempts`` of the step's own policy; None for a step without one."""

ways_to_fail = st.sampled_from(["raise", "agent", "result"])


def calls_allowed(max_attempts: int | None) -> int:
    return DEFAULT_ATTEMPTS if max_attempts is None else max(1, max_attempts)


def around(config: dict[str, Any], *, in_parallel: bool) -> dict[str, Any]:
    """Return a workflow with one step before and one after the step ``it``, which is as ``config`` says."""
    graph = chain_of(["before", "it", "after"], "true" if in_parallel else None)
    return graph.workflow(lambda name: config if name == "it" else {}, reads=False)


def policy(max_attempts: int | None, **more: Any) -> dict[str, Any]:
    return {} if max_attempts is None else {"retry": {"max_attempts": max_attempts, **more}}


class TestRetryLogic:
    """What is tried again, how often and when: by a step's own policy, and without one."""

    @generated
    @given(
        failures=st.integers(0, 6),
        max_attempts=attempts_allowed,
        how=ways_to_fail | st.just("hang"),
        in_parallel=st.booleans(),
    )
    def test_retry_on_transient_failure(
        self, failures: int, max_attempts: int | None, how: str, in_parallel: bool
    ) -> None:
        """A step succeeds exactly if it fails less often than it may be called, with one call more than failures."""
        allowed = calls_allowed(max_attempts)
        config = {
            "action": "flaky",
            "parameters": {"failures": failures, "how": how},
            "timeout": 3,
            **policy(max_attempts),
        }

        async def scenario() -> None:
            with lab() as it:
                execution = await it.start(around(config, in_parallel=in_parallel))
                await it.settle()
                state = await it.state()

                if failures < allowed:
                    assert state["status"] == "COMPLETED"
                    assert it.calls == {"before": 1, "it": failures + 1, "after": 1}
                    assert statuses(state) == dict.fromkeys(["before", "it", "after"], "COMPLETED")
                    assert results(state)["it"] == result_of("it", None)
                    assert it.journal.details("step", execution, "it") == ["RUNNING", "COMPLETED"]
                else:
                    assert state["status"] == "FAILED"
                    assert it.calls == {"before": 1, "it": allowed}
                    last = "TIMED_OUT" if how == "hang" else "FAILED"
                    assert statuses(state) == {"before": "COMPLETED", "it": last}
                    assert it.journal.details("step", execution, "it") == ["RUNNING", last]

        run(scenario)

    @generated
    @given(max_attempts=attempts_allowed, how=ways_to_fail, in_parallel=st.booleans(), goes_on=st.booleans())
    def test_retry_respects_max_attempts(
        self, max_attempts: int | None, how: str, in_parallel: bool, goes_on: bool
    ) -> None:
        """A step that always fails is called exactly as often as it may be, and fails with its last error."""
        allowed = calls_allowed(max_attempts)
        config = {
            "action": "flaky",
            "parameters": {"failures": ALWAYS, "how": how},
            "continue_on_error": goes_on,
            **policy(max_attempts),
        }

        async def scenario() -> None:
            with lab() as it:
                execution = await it.start(around(config, in_parallel=in_parallel))
                await it.settle()
                state = await it.state()

                assert it.calls["it"] == allowed
                assert statuses(state)["it"] == "FAILED"
                assert f"failure {allowed} of it" in state["steps"]["it"]["error"]
                notes = it.journal.details("note", execution, "it")
                assert notes == ["STEP_RUNNING", "STEP_FAILED"] + ([] if goes_on else ["FAILED"])
                if goes_on:
                    assert state["status"] == "PARTIAL"
                    assert it.calls["after"] == 1
                else:
                    assert state["status"] == "FAILED"
                    assert state["error"] == state["steps"]["it"]["error"]
                    assert "after" not in it.calls

        run(scenario)

    @generated
    @given(
        max_attempts=st.none() | st.integers(1, 6),
        initial_ms=st.sampled_from([0, 64, 128, 640, 1024, 6400]),
        factor=st.sampled_from([1, 1.5, 2, 3]),
        cap_ms=st.sampled_from([1, 100, 500, 1000, 5000, 60_000]),
        failures=st.integers(0, 6),
    )
    def test_retry_with_exponential_backoff(
        self, max_attempts: int | None, initial_ms: int, factor: float, cap_ms: int, failures: int
    ) -> None:
        """The waits between attempts are initial * factor^n, capped: those asked for, and those that passed."""
        own = {"initial_delay": f"{initial_ms}ms", "backoff": factor, "max_delay": f"{cap_ms}ms"}
        config = {"action": "flaky", "parameters": {"failures": failures}, **policy(max_attempts, **own)}
        if max_attempts is None:
            initial_ms, factor, cap_ms = 1000, 2, 60_000
        count = min(failures, calls_allowed(max_attempts) - 1)
        expected = [min(cap_ms, initial_ms * factor**number) / 1000 for number in range(count)]

        async def scenario() -> None:
            with lab() as it:
                execution = await it.start(around(config, in_parallel=False))
                await it.settle()

                assert it.calls["it"] == count + 1
                assert it.clock.waits == expected
                failed = [one.at for one in it.journal.of("failed", execution, "it")]
                started = [one.at for one in it.journal.of("start", execution, "it")]
                observed = [again - before for before, again in zip(failed, started[1:], strict=False)]
                assert observed == pytest.approx(expected, abs=1e-6)
                assert time_now() == pytest.approx(sum(expected), abs=1e-6)

        run(scenario)

    @generated
    @given(
        kind=st.sampled_from(sorted(PERMANENT)),
        max_attempts=attempts_allowed,
        in_parallel=st.booleans(),
        goes_on=st.booleans(),
    )
    def test_no_retry_on_permanent_failure(
        self, kind: str, max_attempts: int | None, in_parallel: bool, goes_on: bool
    ) -> None:
        """A failure that no repetition cures, a ValidationError or one that the policy lists, is one call."""
        listed = {"non_retryable": ["ValueError", "FlawError"]}
        if kind == "listed" and max_attempts is None:
            max_attempts = 5  # there is a policy, since it is the policy that lists the error
        config = {
            "action": "refuse",
            "parameters": {"kind": kind},
            "continue_on_error": goes_on,
            **policy(max_attempts, **listed),
        }

        async def scenario() -> None:
            with lab() as it:
                execution = await it.start(around(config, in_parallel=in_parallel))
                await it.settle()
                state = await it.state()

                assert it.calls["it"] == 1
                assert it.clock.waits == []
                assert time_now() == 0
                assert it.journal.details("step", execution, "it") == ["RUNNING", "FAILED"]
                assert "it is wrong" in state["steps"]["it"]["error"]
                assert state["status"] == ("PARTIAL" if goes_on else "FAILED")
                assert state["error"] == (None if goes_on else state["steps"]["it"]["error"])
                assert it.calls["after"] == int(goes_on)

        run(scenario)


class Outcome(NamedTuple):
    """One way an execution goes, and what has to be written of it.

    Attributes:
        config: Of the step that makes it so.
        step: Statuses written of that step, in order.
        execution: Statuses written of the execution; how often CANCELLED is written does not matter.
        error: What the state says in the end.
        goes_on: The steps behind it run.
    """

    config: dict[str, Any]
    step: list[str]
    execution: list[str]
    error: str | None = None
    goes_on: bool = False


ALWAYS_FAILING = {"action": "flaky", "parameters": {"failures": ALWAYS}, "retry": ONCE}

OUTCOMES = {
    "success": Outcome({}, ["RUNNING", "COMPLETED"], ["RUNNING", "COMPLETED"], goes_on=True),
    "failure": Outcome(ALWAYS_FAILING, ["RUNNING", "FAILED"], ["RUNNING", "FAILED"], "failure 1 of {}"),
    "failure passed over": Outcome(
        {**ALWAYS_FAILING, "continue_on_error": True}, ["RUNNING", "FAILED"], ["RUNNING", "PARTIAL"], goes_on=True
    ),
    "timeout": Outcome(
        {"action": "hang", "timeout": 2, "retry": ONCE},
        ["RUNNING", "TIMED_OUT"],
        ["RUNNING", "FAILED"],
        "Step {} timed out after 2 seconds",
    ),
    "missing input": Outcome(
        {"parameters": {"answer": "${input.answer}"}}, ["PAUSED"], ["RUNNING", "PAUSED"], "Missing input: input.answer"
    ),
    "pause": Outcome({"action": "pausing"}, ["RUNNING", "COMPLETED"], ["RUNNING", "PAUSED"]),
    "cancel": Outcome({"action": "hang"}, ["RUNNING", "CANCELLED"], ["RUNNING", "CANCELLED"]),
}

outcomes = st.sampled_from(sorted(OUTCOMES))


class Story(NamedTuple):
    """A chain of steps, the outcome that one of them makes, and whether it runs as a graph."""

    names: list[str]
    special: str
    kind: str
    in_parallel: bool

    @property
    def outcome(self) -> Outcome:
        return OUTCOMES[self.kind]

    def workflow(self, action: str = "work") -> dict[str, Any]:
        graph = chain_of(self.names, "${input.yes} == true" if self.in_parallel else None)
        plain = {"action": action, "parameters": {"delay": 0.5}}
        return graph.workflow(lambda name: self.outcome.config if name == self.special else plain, reads=False)

    @property
    def before(self) -> list[str]:
        return self.names[: self.names.index(self.special)]

    @property
    def behind(self) -> list[str]:
        return self.names[self.names.index(self.special) + 1 :]

    def written(self, name: str) -> list[str]:
        """Return the statuses that have to be written of a step."""
        if name == self.special:
            return self.outcome.step
        return ["RUNNING", "COMPLETED"] if name in self.before or self.outcome.goes_on else []

    def error(self) -> str | None:
        return self.outcome.error and self.outcome.error.format(self.special)

    async def tell(self, it: Lab, action: str = "work") -> str:
        """Run it to its end, or its pause, and return the execution's id."""
        execution = await it.start(self.workflow(action))
        if self.kind == "cancel":
            await it.hanging.wait()
            await it.engine.cancel_execution(execution)
        await it.settle()
        return execution


@st.composite
def stories(draw: st.DrawFn) -> Story:
    names = [f"step {number}" for number in draw(st.permutations(range(draw(st.integers(1, 5)))))]
    return Story(names, draw(st.sampled_from(names)), draw(outcomes), draw(st.booleans()))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


class TestStateManagerIntegration:
    """The state manager holds, at each moment, what really happened."""

    @generated
    @given(story=stories(), more=st.lists(json_values, min_size=1, max_size=3))
    def test_create_execution_called_on_start(self, story: Story, more: list[Any]) -> None:
        """Each start creates one execution, PENDING and with its input, before anything runs."""

        async def scenario() -> None:
            with lab() as it:
                given_inputs = [{"run": f"r{place}", "yes": True, "more": one} for place, one in enumerate(more)]
                copies = copy.deepcopy(given_inputs)
                for inputs in given_inputs:
                    it.hanging.clear()
                    execution = await it.engine.start_workflow(story.workflow(), inputs)
                    it.ids[inputs["run"]] = execution
                    state = await it.state(inputs["run"])
                    born = {key: state.pop(key) for key in ("created_at", "updated_at", "version")}
                    assert born["created_at"] == born["updated_at"]
                    assert state == {
                        "execution_id": execution,
                        "workflow_id": "generated",
                        "status": WorkflowExecutionStatus.PENDING.value,
                        "input_data": inputs,
                        "steps": {},
                        "outputs": {},
                        "context": {},
                        "error": None,
                    }
                    assert it.journal.of("start", execution) == []
                    inputs["more"] = inputs["yes"] = "changed by whoever started it"
                    if story.kind == "cancel":
                        await it.engine.cancel_execution(execution)
                    await it.settle()

                names = list(it.ids.values())
                assert len(set(names)) == len(more)
                assert it.manager.created == [
                    ("generated", inputs, name) for inputs, name in zip(copies, names, strict=True)
                ]
                for inputs in copies:
                    assert (await it.state(inputs["run"]))["input_data"] == inputs

        run(scenario)

    @generated
    @given(story=stories())
    def test_update_step_status_on_completion(self, story: Story) -> None:
        """Of every step is written that it runs, before it does, and how it ended, after it has; and nothing more."""

        async def scenario() -> None:
            with lab() as it:
                execution = await story.tell(it)
                state = await it.state()

                for name in story.names:
                    assert it.journal.details("step", execution, name) == story.written(name), name
                assert statuses(state) == {name: story.written(name)[-1] for name in story.names if story.written(name)}
                for name in it.calls:
                    begun = it.journal.place("step", execution, name, "RUNNING")
                    started = it.journal.place("start", execution, name)
                    (ended,) = [
                        place
                        for place, one in enumerate(it.journal)
                        if one.what in ("end", "failed", "cancelled") and one.step == name
                    ]
                    written = it.journal.place("step", execution, name, story.written(name)[-1])
                    assert begun < started < ended < written
                for name, result in results(state).items():
                    output = state["steps"][name]["output"]
                    assert await it.manager.get_step_output(execution, name) == output == state["outputs"][name]
                    assert result == result_of(name, None)
                    assert (output["service"], output["execution_method"]) == ("lab", "service_registry")
                error = state["steps"][story.special].get("error") if story.written(story.special) else None
                wanted = {"failure passed over": f"failure 1 of {story.special}"}.get(story.kind, story.error())
                assert error == ("Variable input.answer not found" if story.kind == "missing input" else wanted)

        run(scenario)

    @generated
    @given(story=stories())
    def test_update_execution_status_on_finish(self, story: Story) -> None:
        """The execution's end is written once, after that of its last step, with the error; users hear the same."""

        async def scenario() -> None:
            with lab() as it:
                execution = await story.tell(it)
                state = await it.state()
                last = story.outcome.execution[-1]

                assert (state["status"], state["error"]) == (last, story.error())
                written = it.journal.details("execution", execution)
                notes = it.journal.details("note", execution)
                told = [status for status in notes if not status.startswith("STEP_")]
                if story.kind == "cancel":  # by the request, and by the run once its bodies have ended
                    assert written == told == ["RUNNING", "CANCELLED", "CANCELLED"]
                else:
                    assert written == told == story.outcome.execution
                final = max(place for place, one in enumerate(it.journal) if one.what == "execution")
                steps = [place for place, one in enumerate(it.journal) if one.what == "step"]
                if story.kind == "pause":  # the step that asked was in flight
                    assert [one.step for one in it.journal[final:] if one.what == "step"] == [story.special]
                else:
                    assert max(steps) < final
                assert all(it.journal[place].at <= it.journal[final].at for place in steps)

                await asyncio.sleep(10_000)
                assert await it.state() == state

        run(scenario)

    @generated
    @given(graph=graphs(), seconds=delays, limit=st.integers(1, 5), story=stories())
    def test_get_execution_state_returns_current_state(
        self, graph: Graph, seconds: list[float], limit: int, story: Story
    ) -> None:
        """Whoever reads the state, at whatever moment, reads what has happened by then, and a copy of their own."""

        async def parallel_scenario() -> None:
            with lab(limit) as it:
                configure = delayed(graph, seconds)
                execution = await it.start_graph(graph.workflow(lambda name: {"action": "look", **configure(name)}))
                await it.settle()
                assert len(it.moments) == 2 * len(graph.names)
                for moment in it.moments:
                    check_moment(it, execution, moment, graph)
                versions = [moment.state["version"] for moment in it.moments]
                assert versions == sorted(versions)

        async def story_scenario() -> None:
            with lab() as it:
                execution = await story.tell(it, "look")
                for moment in it.moments:
                    place = story.names.index(moment.step)
                    wanted = {name: story.written(name)[-1] for name in story.names[:place]}
                    assert statuses(moment.state) == {**wanted, moment.step: "RUNNING"}
                    assert (moment.state["status"], moment.state["error"]) == ("RUNNING", None)

                state = await it.state()
                mine = await it.state()
                mine["status"] = "mine"
                mine["input_data"].clear()
                for entry in mine["steps"].values():
                    entry["output"] = entry["status"] = "mine"
                for output in mine["outputs"].values():
                    output.clear()
                mine["steps"].clear()
                assert await it.state() == state
                assert state["execution_id"] == execution
                assert await it.manager.get_execution_state("nobody") is None

        run(parallel_scenario)
        run(story_scenario)


def check_moment(it: Lab, execution: str, moment: Moment, graph: Graph) -> None:
    """Compare what a body read with what the bodies had done by then.

    Of what happened in the same instant either side of it may be read, since the bodies run at the same time.
    """
    assert moment.state["status"] == "RUNNING"
    past = it.journal[: moment.entries]
    ended = {one.step: one.at for one in past if one.what == "end"}
    started = {one.step: one.at for one in it.journal if one.what == "start"}
    wanted = graph.results()
    for name in graph.names:
        status = moment.state["steps"].get(name, {}).get("status")
        allowed: set[str | None]
        if name in ended:
            allowed = {"COMPLETED"} | ({"RUNNING"} if ended[name] == moment.at else set())
        elif any(one.what == "start" and one.step == name for one in past):
            allowed = {"RUNNING"}
        else:
            allowed = {None} | ({"RUNNING"} if started[name] == moment.at else set())
        assert status in allowed, f"{name}, read by {moment.step}"
    for name in [*graph.before(moment.step), *results(moment.state)]:
        assert results(moment.state)[name] == wanted[name]
    assert it.journal.place("step", execution, moment.step, "RUNNING") < moment.entries


def schedule(graph: Graph, limit: int) -> list[list[str]]:
    """Return which steps run in each second where each takes one: whatever is ready, as far as there are slots."""
    waves: list[list[str]] = []
    done: set[str] = set()
    while len(done) < len(graph.names):
        ready = [name for name in graph.names if name not in done and done.issuperset(graph.before(name))]
        waves.append(ready[:limit])
        done.update(ready[:limit])
    return waves


def one_second(_: str) -> dict[str, Any]:
    return {"parameters": {"delay": 1}}


class TestConcurrencyControl:
    """How many steps run at a time, and which."""

    @generated
    @given(layered=layered_graphs(), graph=graphs(), limit=st.integers(1, 6), copies=st.integers(1, 3))
    def test_max_concurrent_steps_enforced(
        self, layered: tuple[Graph, int], graph: Graph, limit: int, copies: int
    ) -> None:
        """Never more steps run than there are slots, and as many as there are wherever that many are ready."""
        layers, width = layered

        async def alone(one: Graph) -> int:
            with lab(limit) as it:
                execution = await it.start_graph(one.workflow(one_second))
                await it.settle()
                waves = schedule(one, limit)
                observed = {name: seen.at for name in one.names for seen in it.journal.of("start", execution, name)}
                assert observed == {name: second for second, wave in enumerate(waves) for name in wave}
                assert time_now() == len(waves)
                assert it.peak == max(map(len, waves)) <= limit
                assert (await it.state())["status"] == "COMPLETED"
                return it.peak

        async def scenario_of_layers() -> None:
            assert await alone(layers) == min(limit, width)

        async def scenario_of_any_graph() -> None:
            await alone(graph)

        async def scenario_of_many() -> None:
            fan = Graph(graph.names, ())
            with lab(limit) as it:
                for number in range(copies):
                    await it.start_graph(fan.workflow(one_second), f"r{number}")
                await it.settle()
                total = copies * len(fan.names)
                assert it.peak == min(limit, total)
                assert time_now() == -(-total // limit)

        run(scenario_of_layers)
        run(scenario_of_any_graph)
        run(scenario_of_many)

    @generated
    @given(graph=graphs(), seconds=delays, limit=st.integers(1, 5), order=st.permutations(range(6)))
    def test_step_queue_ordering_preserved(
        self, graph: Graph, seconds: list[float], limit: int, order: list[int]
    ) -> None:
        """Ready steps start in the order of the definition; a chain runs in its order, one step after another."""

        async def fan_scenario() -> None:
            fan = Graph(graph.names, ())
            with lab(limit) as it:
                execution = await it.start_graph(fan.workflow(delayed(fan, seconds)))
                await it.settle()
                assert it.journal.steps("start", execution) == list(fan.names)
                assert it.journal.steps("step", execution, "RUNNING") == list(fan.names)

        async def graph_scenario() -> None:
            with lab(limit) as it:
                execution = await it.start_graph(graph.workflow(one_second))
                await it.settle()
                assert it.journal.steps("start", execution) == [
                    name for wave in schedule(graph, limit) for name in wave
                ]

        async def chain_scenario() -> None:
            with lab(limit) as it:
                steps = [
                    {
                        "id": f"s{place}",
                        "sequence_order": place,
                        "service": "lab",
                        "action": "work",
                        "parameters": {"run": "${input.run}", "step": f"s{place}", "delay": seconds[place]},
                    }
                    for place in order
                ]
                execution = await it.start({"id": "chain", "steps": steps})
                await it.settle()
                bodies = [(one.what, one.step) for one in it.journal if one.what in ("start", "end")]
                assert bodies == [(what, f"s{place}") for place in sorted(order) for what in ("start", "end")]
                assert it.peak == 1
                assert it.journal.steps("note", execution, "STEP_COMPLETED") == [f"s{place}" for place in sorted(order)]

        run(fan_scenario)
        run(graph_scenario)
        run(chain_scenario)

    @generated
    @given(
        several=st.lists(graphs(most=5), min_size=1, max_size=3),
        seconds=delays,
        limit=st.integers(1, 4),
        at=st.integers(0, 4),
    )
    def test_blocking_step_waits_for_dependencies(
        self, several: list[Graph], seconds: list[float], limit: int, at: int
    ) -> None:
        """A step starts only when all it depends on is done, also where executions share the slots."""
        blocked = several[0]
        blocker = blocked.names[at % len(blocked.names)]

        def configure(place: int, graph: Graph) -> Callable[[str], dict[str, Any]]:
            plain = delayed(graph, seconds)
            return lambda name: {"action": "gated"} if (place, name) == (0, blocker) else plain(name)

        async def scenario() -> None:
            with lab(limit) as it:
                for place, graph in enumerate(several):
                    await it.start_graph(graph.workflow(configure(place, graph)), f"r{place}")
                await asyncio.sleep(1000)
                started = {place: set(it.journal.steps("start", it.ids[f"r{place}"])) for place in range(len(several))}
                assert not started[0] & blocked.reached_from(blocker)
                if limit > 1:  # everything that does not depend on it has gone past it
                    assert it.running == {("r0", blocker)}
                    assert started[0] == set(blocked.names) - blocked.reached_from(blocker)
                    assert all(started[place] == set(several[place].names) for place in range(1, len(several)))
                it.gate.set()
                await it.settle()

                assert it.peak <= limit
                for place, graph in enumerate(several):
                    execution, state = it.ids[f"r{place}"], await it.state(f"r{place}")
                    assert state["status"] == "COMPLETED"
                    assert results(state) == graph.results()
                    for edge in graph.edges:
                        ended = it.journal.place("end", execution, edge.source)
                        written = it.journal.place("step", execution, edge.source, "COMPLETED")
                        begun = it.journal.place("step", execution, edge.target, "RUNNING")
                        assert ended < written < begun < it.journal.place("start", execution, edge.target)

        run(scenario)
