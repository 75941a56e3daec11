"""Workflows and scripts drawn from a seed: fast, and with everything in them that the machine decides.

A script is abstract, so that it still means something for a smaller workflow: each entry is a kind of input and two
numbers, and which step it is for is found among those it may be for when it is played.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from treadle.model import (
    Body,
    Connection,
    ExecutionStatus,
    Join,
    JoinKind,
    Node,
    NodeType,
    OnFailure,
    OnSkip,
    Outcome,
    RetryPolicy,
    SwitchMode,
    Timer,
    Workflow,
)

if TYPE_CHECKING:
    from random import Random

DEPTH = 3
"""How many bodies may be within each other."""

MOVES = 40
"""How many inputs come at most, before those that let the execution end."""

LEAVES = [NodeType.ACTION] * 12 + [NodeType.SET] * 3 + [NodeType.SWITCH] * 2 + [NodeType.WAIT] * 2
LEAVES += [NodeType.TRIGGER, NodeType.EVENT, NodeType.EVENT, NodeType.INPUT, NodeType.END]
"""What a node is that holds no body; actions, which are what waits and fails in the most ways, are half of them."""

QUICK = [NodeType.SET, NodeType.SET, NodeType.TRIGGER, NodeType.SWITCH, NodeType.ACTION, NodeType.END]
GROUPS = [NodeType.MAP] * 3 + [NodeType.LOOP] * 2 + [NodeType.PARALLEL] * 3
JOINS = [JoinKind.ALL] * 6 + [JoinKind.ANY] * 3 + [JoinKind.EVERY] * 2 + [JoinKind.AT_LEAST] * 2
OUTCOMES = [Outcome.SUCCESS] * 6 + [Outcome.FAILURE] * 2 + [Outcome.ALWAYS]
KINDS = ["start"] * 6 + ["start_all"] * 8 + ["return"] * 11 + ["raise"] * 3 + ["permanent"] * 2 + ["timed_out"]
KINDS += ["interrupt"] * 2 + ["time"] * 3 + ["due"] * 3 + ["pause", "resume", "event", "event", "submit", "late"]
KINDS += ["cancel_step"]
CANCELS = [[]] * 6 + [["cancel"], ["cancel_at_once"], ["cancel", "cancel_at_once"]]
"""Kinds of input, of most the more the likelier. An execution is cancelled once at most, or it would never get far."""

NAMES = ["e", "e", "f"]
"""Of events: few, so that several come for one step."""


class Drawing:
    """Draws one workflow."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.count = 0
        self.size = random.choice([2, 3, 5, 8, 12, 16])
        self.is_wild = random.random() < 0.25
        """Much of what it reads is missing, and much of what it asks is no question."""
        self.is_quick = random.random() < 0.2
        """Most of it waits for nothing, so that much happens in one moment."""

    def workflow(self) -> Workflow:
        nodes, connections = self.graph(0, ["input.p", "input.q", "input.yes", "input.n"])
        return Workflow(
            "generated",
            nodes,
            connections,
            timeout_ms=self.maybe(8, 60, 150),
            on_failure=self.random.choice([OnFailure.WAIT, OnFailure.WAIT, OnFailure.CANCEL]),
            output=self.output(nodes, connections),
        )

    def maybe(self, of: int, *values: Any) -> Any:
        """Return one of the values once in ``of`` times, else None."""
        return self.random.choice(values) if not self.random.randrange(of) else None

    def output(self, nodes: tuple[Node, ...], connections: tuple[Connection, ...]) -> Any:
        return self.maybe(6, {"x": f"${{{self.random.choice(nodes).id}}}"}, 7)

    def graph(self, depth: int, around: list[str]) -> tuple[tuple[Node, ...], tuple[Connection, ...]]:
        """Return nodes and connections that read what is before them, or around their body."""
        random = self.random
        most = (self.size, 4, 3, 2)[depth]
        made: list[Node] = []
        joined: list[Connection] = []
        before: dict[str, set[str]] = {}
        for _ in range(random.randint((most + 1) // 2, most)):
            name = f"n{self.count}"
            self.count += 1
            open_ends = [one.id for one in made if one.type is not NodeType.END]
            count = min(len(open_ends), random.choice([0, 1, 1, 1, 2, 2, 3]))
            sources = random.sample(open_ends, count)
            switches = [one.id for one in made if one.type is NodeType.SWITCH and one.id not in sources]
            sources += switches if random.random() < 0.3 else []
            if sources and not random.randrange(10):
                sources.append(random.choice(sources))
            sources.sort(key=lambda one: int(one[1:]))
            before[name] = {one for source in sources for one in (source, *before[source])}
            types = {one.id: one.type for one in made}
            joined += [self.connection(one, name, types[one], [*before[one], one], around) for one in sources]
            made.append(self.node(name, sources, [*sorted(before[name]), *around], depth))
        return tuple(made), tuple(self.with_else(joined))

    def connection(self, source: str, target: str, kind: NodeType, before: list[str], around: list[str]) -> Connection:
        random = self.random
        has_condition = random.random() < (0.8 if kind is NodeType.SWITCH else 0.3)
        condition = self.condition([*sorted(before), *around], source) if has_condition else None
        return Connection(source, target, condition=condition, outcome=random.choice(OUTCOMES))

    def with_else(self, connections: list[Connection]) -> list[Connection]:
        """Make some connections ``else`` beside which a condition may be looked at on the same outcome."""
        made = []
        for one in connections:
            has_beside = any(
                other.condition and {one.outcome, other.outcome} != {Outcome.SUCCESS, Outcome.FAILURE}
                for other in connections
                if other.source == one.source
            )
            is_else = one.condition is None and has_beside and self.random.random() < 0.5
            made.append(Connection(one.source, one.target, otherwise=True, outcome=one.outcome) if is_else else one)
        return made

    def condition(self, names: list[str], likely: str = "") -> str:
        random = self.random
        kind = random.randrange(10)
        if kind < 2:
            return random.choice(["true", "false", "input.yes", "input.no"])
        if kind == 2 and random.randrange(40) < (8 if self.is_wild else 1):
            return "input.n"  # no boolean
        name = likely if likely and random.random() < 0.6 else random.choice(names)
        return f"{name} == {random.choice(['0', '1', '1', 'null', 'true'])}"

    def value(self, names: list[str]) -> Any:
        """Return what may be computed: constants, and references of which some are missing."""
        random = self.random
        if random.random() < (0.7 if self.is_wild else 0.2):
            return random.choice([f"${{{random.choice(names)}}}", {"a": [f"${{{random.choice(names)}}}"]}])
        return random.choice([0, 1, "${input.xs}"])

    def node(self, name: str, sources: list[str], names: list[str], depth: int) -> Node:
        random = self.random
        leaves = QUICK if self.is_quick else LEAVES
        is_group = depth < DEPTH and random.random() < (0.35 if self.is_quick or depth else 0.2)
        kind = random.choice(GROUPS if is_group else leaves)
        join = self.join(sources)
        needs_condition = kind is NodeType.END and (not sources or random.random() < 0.5)
        common: dict[str, Any] = {
            "type": kind,
            "join": join,
            "cancel_rest": len(sources) > 1
            and join.kind in {JoinKind.ANY, JoinKind.AT_LEAST}
            and random.random() < 0.5,
            "condition": self.condition(names) if needs_condition or not random.randrange(12) else None,
            "on_skip": random.choice(list(OnSkip)),
            "continue_on_error": not random.randrange(4),
        }
        return Node(name, **common, **getattr(self, f"_{kind.value}")(names, depth))

    def join(self, sources: list[str]) -> Join:
        kind = self.random.choice(JOINS)
        if kind is JoinKind.AT_LEAST and sources:
            return Join(kind, self.random.randint(1, len(sources)))
        if kind is JoinKind.EVERY and len(set(sources)) < len(sources):
            return Join()
        return Join() if kind is JoinKind.AT_LEAST else Join(kind)

    def _action(self, names: list[str], _: int) -> dict[str, Any]:
        random = self.random
        return {
            "action": "act",
            "parameters": self.maybe(4, *({"x": one} for one in self.asked(names))) or {},
            "total_timeout_ms": self.maybe(8, 15, 40),
            "max_interruptions": random.choice([0, 1, 2]),
            "retry": RetryPolicy(
                max_attempts=random.choice([1, 1, 0, 2, 3]),
                initial_delay_ms=random.choice([0, 3, 10]),
                max_delay_ms=random.choice([5, 60_000]),
                non_retryable=("Fatal",),
            ),
        }

    def asked(self, names: list[str]) -> list[str]:
        """Return what parameters read: inputs that are given later, and at times what may be missing for good."""
        more = [f"${{{self.random.choice(names)}}}"] if self.is_wild else []
        return ["${input.p}", "${input.q}", "${input.yes}", *more]

    def _trigger(self, _names: list[str], _: int) -> dict[str, Any]:
        return {}

    def _switch(self, _names: list[str], _: int) -> dict[str, Any]:
        return {"mode": self.random.choice(list(SwitchMode))}

    def _set(self, names: list[str], _: int) -> dict[str, Any]:
        return {"values": self.value(names)}

    def _wait(self, _names: list[str], _: int) -> dict[str, Any]:
        random = self.random
        if random.random() < 0.5:
            return {"duration": random.choice([0, 5, 12, 30])}
        if random.random() < 0.3:
            return {"until": self.moment()}
        several = [Timer(duration=random.choice([5, 20, 50])), Timer(until=self.moment())]
        several.append(Timer(event=random.choice(NAMES), key=self.maybe(2, 1, "k")))
        return {"any_of": tuple(random.sample(several, random.randint(1, 3)))}

    def moment(self) -> str:
        return f"1970-01-01T00:00:01.{self.random.choice([0, 10, 25, 60]):03}Z"

    def _event(self, names: list[str], _: int) -> dict[str, Any]:
        random = self.random
        key = random.choice([None, None, None, 1, "k", f"${{{random.choice(names)}}}"])
        return {
            "event": random.choice(NAMES),
            "key": key,
            "buffer": random.random() < 0.7,
            "timeout_ms": self.maybe(2, 10, 35),
        }

    def _input(self, names: list[str], _: int) -> dict[str, Any]:
        return {"timeout_ms": self.maybe(2, 10, 35), "default": self.maybe(2, self.value(names))}

    def _end(self, names: list[str], _: int) -> dict[str, Any]:
        status = self.random.choice(
            [ExecutionStatus.COMPLETED] * 3 + [ExecutionStatus.FAILED, ExecutionStatus.CANCELLED]
        )
        return {"status": status, "output": self.maybe(2, self.value(names))}

    def group(self, depth: int, names: list[str]) -> dict[str, Any]:
        nodes, connections = self.graph(depth + 1, names)
        return {
            "body": Body(nodes, connections, self.output(nodes, connections)),
            "on_failure": self.random.choice(list(OnFailure)),
            "timeout_ms": self.maybe(8, 10, 40),
        }

    def _map(self, names: list[str], depth: int) -> dict[str, Any]:
        random = self.random
        self.count += 1
        item = "item" if depth == 0 else f"item{self.count}"
        items: list[Any] = [[], [0], [0, 1], [1, 0], [1, 0, 1], [1, 1, 0, 2], "${input.xs}", "${input.xs}"]
        items += ["${input.n}", f"${{{random.choice(names)}}}"] if self.is_wild else []
        told = ["completed", "failed", "total"]
        return self.group(depth, [item, item, "index", *names]) | {
            "items": random.choice(items),
            "item_name": "" if item == "item" else item,
            "max_concurrency": self.maybe(3, 1, 2, 3),
            "tolerate": random.choice([0, 0, 1, 2, "25%", "50%", "100%"]),
            "complete_when": self.maybe(
                3, *(f"{name} == {count}" for name in told for count in (1, 2)), "completed > 0", "results[0] == 1"
            ),
        }

    def _loop(self, names: list[str], depth: int) -> dict[str, Any]:
        random = self.random
        until = random.choice([None, "previous == 1", "index == 1", "index == 1", "index == 0", "false"])
        ends = ["index < 2", "index < 0", "previous == null", "true", "input.no"]
        repeat_while = random.choice(ends) if until is None else self.maybe(3, *ends)
        return self.group(depth, ["previous", "index", *names]) | {
            "until": until,
            "repeat_while": repeat_while,
            "max_iterations": random.choice([1, 2, 3]),
        }

    def _parallel(self, names: list[str], depth: int) -> dict[str, Any]:
        return self.group(depth, names) | {"race": self.random.random() < 0.5}


Move = tuple[str, int, int]
"""Kind of an input, which of the steps that it may be for, and a detail."""


def draw_script(random: Random) -> list[Move]:
    """Return what comes to an execution; what it needs to end comes behind it."""
    script = [
        (random.choice(KINDS), random.randrange(60), random.randrange(12)) for _ in range(random.randint(0, MOVES))
    ]
    for kind in random.choice(CANCELS) if script else ():
        script.insert(random.randrange(len(script) // 2, len(script)), (kind, 0, 0))
    return script
