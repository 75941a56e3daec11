"""What a fork keeps: how every step ended that is not the one it forks from, around that one, or behind either.

What was undone, or is about to be, counts as not run, as behind a retry: the fork runs it, and what is behind it, by
itself. Read from the whole log and not from the state alone, which has let go of a loop's earlier iterations.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from treadle.errors import NotFoundError
from treadle.machine import events as e
from treadle.model import NodeType
from treadle.paths import find_node, parse_path
from treadle.values import NULL, decode_payload, encode_decoded

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from msgspec import Raw

    from treadle.machine.graph import Graph
    from treadle.machine.plan import Plan
    from treadle.machine.state import State

    Parts = tuple[str | int, ...]


def kept_by_fork(
    plan: Plan, source: State, recorded: Iterable[Sequence[e.AnyEvent]], step: str
) -> tuple[e.KeptStep, ...]:
    """Return how the steps ended that a fork from ``step`` keeps, in the order in which they ended.

    Args:
        plan: Of the definition that the fork runs.
        source: The execution that is forked.
        recorded: Its turns.
        step: Key of the step from which on the fork runs by itself.

    Raises:
        NotFoundError: The definition of the fork has no such step.
    """
    region = _Region(plan)
    region.add(step)
    ended = _Ended(source)
    for turn in recorded:
        for event in turn:
            ended.note(event)
    ended.leave_undone(source.plan, plan)
    return tuple(one for key, one in ended.steps.items() if not region.has(_parts(plan, key)))


class _Ended:
    """How steps ended, by key."""

    def __init__(self, source: State) -> None:
        self._source = source
        self._failed: dict[str, e.KeptStep] = {}
        self._kept_events: dict[str, Raw] = {}
        self._undone: dict[str, bool] = {}
        self.steps: dict[str, e.KeptStep] = {}

    def note(self, event: e.AnyEvent) -> None:
        """Take in one event. A failure is how a step ended only if it was handled: otherwise it runs again."""
        match event:
            case e.StepSucceeded() | e.StepKept():
                self._end(event.step, event.output, event.attempt)
            case e.StepPassed() | e.InputGiven() | e.ChildCompleted():
                self._end(event.step, event.output if event.output is not e.ABSENT else NULL)
            case e.ChildStarted():
                self._end(event.step, encode_decoded({"execution_id": event.child}))
            case e.WaitEnded():
                node = find_node(self._source.plan.workflow, event.step)
                is_choice = node is not None and bool(node.any_of)
                self._end(event.step, encode_decoded({"timer": event.timer}) if is_choice else NULL)
            case e.EventKept():
                self._kept_events[event.event_id] = event.data
            case e.EventReceived():
                self._end(event.step, self._received(event))
            case e.GroupCompleted():
                self._end_group(event.step)
            case e.StepFailed() | e.StepTimedOut():
                self._failed[event.step] = e.KeptStep(event.step, event.attempt, error=event.error)
            case e.FailureHandled():
                self.steps[event.step] = self._failed[event.step]
            case _:
                self._note_undoing(event)

    def _note_undoing(self, event: e.AnyEvent) -> None:
        match event:
            case e.CompensationsBegan():
                self._undone = dict.fromkeys(event.steps, False)
            case e.CompensationSucceeded():
                self._undone[event.step] = True
            case e.CompensationFailed():
                del self._undone[event.step]
            case e.CompensationsDropped():
                self._undone = {step: True for step, is_over in self._undone.items() if is_over}
            case e.ExecutionRetried():
                self.leave_undone(self._source.plan)
            case _:
                return

    def leave_undone(self, *plans: Plan) -> None:
        """Take out what was undone, or is about to be, and what is behind it in any of the plans."""
        for plan in plans:
            region = _Region(plan)
            for step in self._undone:
                with suppress(NotFoundError):  # the other plan has it
                    region.add(step)
            self.steps = {key: one for key, one in self.steps.items() if not region.has(_parts(plan, key))}
        self._undone = {}

    def _end(self, step: str, output: Raw, attempt: int = 0) -> None:
        self.steps[step] = e.KeptStep(step, attempt, output)

    def _received(self, event: e.EventReceived) -> Raw:
        data = self._kept_events.get(event.event_id, event.data)
        node = find_node(self._source.plan.workflow, event.step)
        if node is None or node.type is not NodeType.WAIT:
            return data
        return encode_decoded({"timer": event.timer, "event": event.name, "data": decode_payload(data)})

    def _end_group(self, step: str) -> None:
        """Keep a map, a loop or a parallel as a whole; within an iteration that is gone, its steps one by one."""
        found = self._source.find(step)
        output = None if found is None else found[0].outputs[found[1].index]
        if output is not None:
            self._end(step, output)


class _Region:
    """What a fork runs by itself: some steps, those behind them, and likewise for each step that holds one of them."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._around: set[Parts] = set()
        self._behind: set[Parts] = set()
        self._entered: set[Parts] = set()
        self._last: dict[Parts, int] = {}

    def add(self, step: str) -> None:
        """Add a step.

        Raises:
            NotFoundError: There is none of that key.
        """
        graph: Graph | None = self._plan
        above: Parts = ()
        parts = _parts(self._plan, step)
        if not parts or isinstance(parts[-1], int):
            raise NotFoundError("step", step)
        for place, part in enumerate(parts):
            if isinstance(part, int):
                continue
            index = None if graph is None else graph.index.get(part)
            if graph is None or index is None:
                raise NotFoundError("step", step)
            is_last = place == len(parts) - 1
            (self._behind if is_last else self._around).add((*above, part))
            self._enter(graph, index, above)
            node, above = graph.nodes[index], (*above, part)
            graph = None if node.group is None else node.group.body
            number = None if is_last else parts[place + 1]
            if isinstance(number, int):
                if node.node.type is NodeType.LOOP:
                    self._last[above] = min(number, self._last.get(above, number))
                above = (*above, number)

    def _enter(self, graph: Graph, index: int, above: Parts) -> None:
        place = (*above, graph.ids[index])
        if place not in self._entered:  # a map may have very many items
            self._entered.add(place)
            self._behind.update((*above, graph.ids[behind]) for behind in _behind(graph, index))

    def has(self, parts: Parts) -> bool:
        """Tell whether the fork runs a step by itself."""
        if parts in self._around or any(parts[:length] in self._behind for length in range(1, len(parts) + 1)):
            return True
        return any(self._is_later(parts, length) for length in range(1, len(parts))) if self._last else False

    def _is_later(self, parts: Parts, length: int) -> bool:
        """Tell whether a step is in an iteration behind the last that is kept of a loop."""
        last = self._last.get(parts[:length])
        return last is not None and _number(parts, length) > last


def _number(parts: Parts, place: int) -> int:
    found = parts[place] if place < len(parts) else -1
    return found if isinstance(found, int) else -1


def _parts(plan: Plan, step: str) -> Parts:
    return (step,) if step in plan.index else parse_path(step)


def _behind(graph: Graph, index: int) -> set[int]:
    found: set[int] = set()
    agenda = [index]
    while agenda:
        for connection in graph.nodes[agenda.pop()].outgoing:
            if connection.target not in found:
                found.add(connection.target)
                agenda.append(connection.target)
    return found
