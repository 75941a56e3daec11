"""The application's workflows as definitions for treadle's machine.

What the application's rules leave open is not decided here but written into the definition: a chain for steps that run
one after another, the join ``every`` for nodes that run once all their connections are active, ``on_skip: pass`` for a
skipped step behind which the chain goes on. Steps get keys of their own (``s0``), since the application's ids may be
anything. Parameters and conditions read the application's state, so the definition names them by key
(``${input.parameters.s0}``, ``input.conditions.c2``) and ``Names`` has the machine ask for them when it needs them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from core.references import has_references
from core.workflow_graph import (
    ACTION,
    between,
    build_execution_graph,
    keys_of,
    known_connections,
    load_workflow,
    step_of_node,
)
from treadle.expressions import MISSING, Record
from treadle.machine import OnMissingInput
from treadle.machine import compile as compile_plan
from treadle.machine import inputs as i

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from core.workflow_graph import Step, WorkflowData
    from treadle.expressions import Missing
    from treadle.machine import Plan
    from treadle.machine.inputs import AnyInput

START: Final = ""
"""Stands for the beginning, where a step's key stands for its end."""


@dataclass
class Definition:
    """A workflow that the machine can run.

    Attributes:
        plan: For the machine.
        steps: The application's step behind each key, in definition order.
        conditions: The condition behind each key of a connection.
        is_chain: Its steps run one after another.
        deciders: Keys of the steps behind whose end conditions are looked at, and ``START`` where some are at once.
    """

    plan: Plan
    steps: dict[str, Step]
    conditions: dict[str, Any] = field(default_factory=dict)
    is_chain: bool = False

    deciders: frozenset[str] = frozenset()

    def decides(self, arrived: AnyInput) -> bool:
        """Tell whether the machine looks at a condition when it is told this, and so at the application's state."""
        match arrived:
            case i.ResumeRequested():
                return bool(self.deciders)
            case i.StartRequested():
                return START in self.deciders
            case _:
                return getattr(arrived, "step", START) in self.deciders

    def reads_state(self, key: str) -> bool:
        """Tell whether the parameters of a step read the application's state."""
        return has_references(self.steps[key].get("parameters"))


def translate_chain(steps: Iterable[Step]) -> Definition:
    """Return the definition of steps that run one after another, in ``sequence_order``.

    Raises:
        treadle.ValidationError: A step's ``retry`` cannot be read.
    """
    ordered = sorted(steps, key=lambda step: step.get("sequence_order", 0))
    keyed = dict(zip(keys_of(range(len(ordered))).values(), ordered, strict=True))
    nodes = [_node(key, step) for key, step in keyed.items()]
    for node, step in zip(nodes, ordered, strict=True):
        node["on_skip"] = "pass"
        if _is_conditional(step):
            node["condition"] = f"input.conditions.{node['id']}"
    connections = [{"source": before, "target": after} for before, after in pairwise(keyed)]
    behind = zip((START, *keyed), ordered, strict=False)
    deciders = frozenset(key for key, step in behind if _is_conditional(step))
    return Definition(_plan(nodes, connections, {}), keyed, is_chain=True, deciders=deciders)


def translate_graph(workflow: WorkflowData, execution_id: str) -> Definition:
    """Return the definition of nodes that run as soon as all their connections are active, in parallel.

    Raises:
        ValueError: The connections hold a cycle.
        treadle.ValidationError: A step's ``retry`` cannot be read.
    """
    nodes_are_steps = not workflow.get("nodes")
    graph = build_execution_graph(workflow | {"nodes": workflow.get("steps")} if nodes_are_steps else workflow)
    known = {"workflow_id": workflow.get("id", "unknown"), "execution_id": execution_id}
    steps = [
        (node if nodes_are_steps else step_of_node(node, place + 1)) | known
        for place, node in enumerate(graph["nodes"].values())
    ]
    keys = keys_of(step["id"] for step in steps)
    nodes = [_node(keys[step["id"]], step) | {"join": "every"} for step in steps]
    connections: list[dict[str, Any]] = []
    conditions: dict[str, Any] = {}
    deciders: set[str] = set()
    for number, one in enumerate(known_connections(graph)):
        connection = between(keys, one)
        if one.get("condition"):
            conditions[f"c{number}"] = one["condition"]
            connection["condition"] = f"input.conditions.c{number}"
            deciders.add(connection["source"])
        connections.append(connection)
    keyed = dict(zip(keys.values(), steps, strict=True))
    return Definition(_plan(nodes, connections, keys), keyed, conditions, deciders=frozenset(deciders))


class Names:
    """What the machine's expressions read.

    Args:
        parameters: Returns something JSON for a step's key, and raises ``MissingNameError`` under the root ``input``
            where the step has to ask.
        conditions: Tells whether the condition behind a key is taken.
    """

    def __init__(self, parameters: Callable[[str], object], conditions: Callable[[str], bool]) -> None:
        self._input = _Table({"parameters": _Computed(parameters), "conditions": _Computed(conditions)})

    def lookup(self, name: str) -> Record | Missing:
        """Return ``input``; there is nothing else."""
        return self._input if name == "input" else MISSING


class _Table(Record):
    """Records by name."""

    def __init__(self, records: dict[str, Record]) -> None:
        self._records = records

    def get(self, key: str) -> Record | Missing:
        return self._records.get(key, MISSING)

    def plain(self) -> dict[str, object]:
        return {}


class _Computed(Record):
    """Values computed when they are read."""

    def __init__(self, compute: Callable[[str], object]) -> None:
        self._compute = compute

    def get(self, key: str) -> object:
        return self._compute(key)

    def plain(self) -> dict[str, object]:
        return {}


def _is_conditional(step: Step) -> bool:
    return bool(step.get("condition") or step.get("depends_on"))


def _node(key: str, step: Step) -> dict[str, Any]:
    """Return the node of a step. Without a ``retry`` of its own its action is called once, and retries inside."""
    return {
        "id": key,
        "action": ACTION,
        "parameters": {"resolved": f"${{input.parameters.{key}}}"},
        "continue_on_error": bool(step.get("continue_on_error")),
        "retry": step.get("retry") or {"max_attempts": 1},
    }


def _plan(nodes: list[dict[str, Any]], connections: list[dict[str, Any]], keys: dict[Any, str]) -> Plan:
    return compile_plan(load_workflow(nodes, connections, keys), on_missing_input=OnMissingInput.PAUSE_EXECUTION)
