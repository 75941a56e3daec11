"""The workflow as data: nodes, connections, bodies.

Structs of which there are many are ``gc=False``: they are trees, so counting references frees them, and the cycle
collector need not walk through the ten thousands of them that a wide workflow is made of.
"""

from __future__ import annotations

from msgspec import Struct

from treadle.model.choices import (
    Jitter,
    JoinKind,
    NodeType,
    OnExhausted,
    OnFailure,
    OnInterrupted,
    OnSkip,
    Outcome,
    SwitchMode,
)
from treadle.model.statuses import ExecutionStatus
from treadle.model.values import JsonValue


class RetryPolicy(Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """How an action's failures are retried.

    Attributes:
        max_attempts: Calls in all, the first included; 0 and 1 both mean one.
        initial_delay_ms: Wait before the second attempt.
        backoff: Factor from one wait to the next; at least 1.
        max_delay_ms: Cap of the computed wait.
        jitter: How the wait is randomised.
        non_retryable: Class names; an error with one of them along its MRO is permanent.
    """

    max_attempts: int = 3
    initial_delay_ms: int = 1_000
    backoff: float = 2.0
    max_delay_ms: int = 60_000
    jitter: Jitter = Jitter.NONE
    non_retryable: tuple[str, ...] = ()


class Join(Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """When a node runs; ``count`` is the n of ``{at_least: n}`` and 0 for every other kind."""

    kind: JoinKind = JoinKind.ALL
    count: int = 0


class NodeLimit(Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """A limit that steps of a node hold while they run.

    Attributes:
        name: Whatever holds a limit of that name shares it.
        key: Text with ``${expression}``, or any JSON value: one limit for each value of it; None for one for all.
        concurrency: Steps that run at a time; None for what the engine says, or for any number.
        rate: Steps that start within any time of ``per_ms``; None as above.
        per_ms: That time.
    """

    name: str
    key: JsonValue = None
    concurrency: int | None = None
    rate: int | None = None
    per_ms: int = 1_000


class Timer(Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """What ends a wait; one of the three.

    Attributes:
        duration: Milliseconds on the execution's clock, or text with ``${...}`` that gives a duration as documents do.
        until: A time with its zone (ISO 8601), by the wall clock, or text with ``${...}`` that gives one.
        event: Name of an event.
        key: Of the event: which of those of that name, with ``${expression}`` strings.
    """

    duration: int | str | None = None
    until: str | None = None
    event: str = ""
    key: JsonValue = None


class Compensation(Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """The call that undoes what a step did, when the execution fails after it.

    Attributes:
        service: As of a node.
        action: As of a node.
        parameters: Keyword arguments; strings may hold ``${expression}``, which may read what the step gave.
        timeout_ms: Bound of one attempt, in real time; None for none.
        retry: What follows a failure.
    """

    service: str = ""
    action: str = ""
    parameters: dict[str, JsonValue] = {}
    timeout_ms: int | None = None
    retry: RetryPolicy = RetryPolicy()

    @property
    def action_name(self) -> str:
        """Name under which the callable is registered."""
        return _action_name(self.service, self.action)


class Fallback(Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """The call that a step makes in the place of its own once that has failed for good.

    Attributes:
        service: As of a node.
        action: As of a node.
        parameters: Keyword arguments; None for those of the node.
        timeout_ms: Bound of one attempt, in real time; None for none.
        retry: What follows a failure.
        compensate: What undoes the fallback; the node's own ``compensate`` does not. None for nothing.
    """

    service: str = ""
    action: str = ""
    parameters: dict[str, JsonValue] | None = None
    timeout_ms: int | None = None
    retry: RetryPolicy = RetryPolicy()
    compensate: Compensation | None = None

    @property
    def action_name(self) -> str:
        """Name under which the callable is registered."""
        return _action_name(self.service, self.action)


def _action_name(service: str, action: str) -> str:
    return f"{service}.{action}" if service else action


class Node(Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """One box of a workflow.

    Attributes:
        id: NFC, 1 to 128 characters, no control characters, unique in its scope.
        type: What it does.
        title: For people; ``""`` where the id serves.
        service: With ``action`` the name of the callable; ``""`` where ``action`` alone is the name.
        action: See ``service``; ``""`` for types that call nothing.
        parameters: Keyword arguments; strings may hold ``${expression}``.
        condition: Expression evaluated once the join is met; None for none.
        on_skip: What follows when ``condition`` is not taken.
        join: When the node runs.
        timeout_ms: Bound of one attempt, in real time; of an input, how long it waits for its answer, on the
            execution's clock; None for none.
        total_timeout_ms: Bound of all attempts and waits on the execution's clock, from the first start.
        queue_timeout_ms: Bound of how long a ready step waits for its slot, on the execution's clock; None for none.
        heartbeat_timeout_ms: Bound of how long an attempt may be silent (``context.heartbeat()``), in real time; None
            for none.
        limits: What its steps hold while they run, besides the slots.
        retry: What follows a failure.
        max_interruptions: How many attempts may be cut off by a crash or a shutdown before the step fails.
        on_interrupted: What follows an attempt that was cut off.
        fallback: What is called once, in the action's place, when the attempts are spent; None for nothing.
        compensate: What undoes the step, or the child that it ran, when the execution fails after it; None for nothing.
        on_exhausted: What follows once the attempts, also those of a fallback, are spent.
        continue_on_error: A final failure is passed over: success connections are decided, the output is null.
        input_schema: JSON Schema of the resolved parameters; None for none.
        output_schema: JSON Schema of the output; None for none.
        mode: Of a switch: which of its conditional connections are taken.
        values: Of a set: what it gives, with ``${expression}`` strings.
        duration: Of a wait: as in ``Timer``.
        until: Of a wait: as in ``Timer``. Of a loop: it ends behind the first iteration after which this condition is
            true; ``previous`` is what that iteration gave. None for none.
        any_of: Of a wait: several timers and events, the first of which ends it.
        schema: Of an input: JSON Schema of the answer; None for none.
        assignees: Of an input: who may answer, for the applications that ask; without meaning here.
        default: Of an input: the answer where none came in time; None for none, and then the step times out.
        status: Of an end: COMPLETED, FAILED or CANCELLED.
        output: Of an end: the output of the execution, with ``${expression}`` strings.
        message: Of an end: why, where the status is not COMPLETED; text with ``${...}``.
        body: Of a map, a loop or a parallel: the graph that it runs; None where it runs another workflow instead.
        items: Of a map: the list, or text with ``${...}`` that gives it.
        item_name: Of a map: what its body calls the item; ``""`` for ``item``.
        max_concurrency: Of a map: how many items may be under way at a time; None for all.
        tolerate: Of a map: how many items may fail, or which share of them (``"10%"``).
        complete_when: Of a map: condition over ``results completed failed total``, looked at after each item; once it
            is true the map is complete and the rest is cancelled. None for none.
        repeat_while: Of a loop: condition looked at before each iteration; None for none.
        max_iterations: Of a loop: one more is a failure.
        race: Of a parallel: the first leaf to succeed ends it, and the rest is cancelled.
        on_failure: Of a map, a loop or a parallel: what happens to its attempts in flight when it fails.
        workflow: Of a workflow node: id of the workflow it runs. Of a map or a loop: instead of a body.
        input: What that workflow is given, with ``${expression}`` strings; None for an empty object.
        wait_for: Of a workflow node: it waits for the end; otherwise it starts the other and goes on.
        event: Of an event node: name of the event it waits for.
        key: Of an event node: which of the events of that name, with ``${expression}`` strings; None for any.
        buffer: Of an event node: an event that came before the node waited counts.
        cancel_rest: Once the join is met, started and waiting nodes are cancelled all of whose ways on lead through it.
        annotations: Keys kept for editors (``position``, ``metadata``, ``x_*``), without meaning here.
    """

    id: str
    type: NodeType = NodeType.ACTION
    title: str = ""
    service: str = ""
    action: str = ""
    parameters: dict[str, JsonValue] = {}
    condition: str | None = None
    on_skip: OnSkip = OnSkip.DEAD
    join: Join = Join()
    timeout_ms: int | None = None
    total_timeout_ms: int | None = None
    queue_timeout_ms: int | None = None
    heartbeat_timeout_ms: int | None = None
    limits: tuple[NodeLimit, ...] = ()
    retry: RetryPolicy = RetryPolicy()
    max_interruptions: int = 10
    on_interrupted: OnInterrupted = OnInterrupted.RETRY
    fallback: Fallback | None = None
    compensate: Compensation | None = None
    on_exhausted: OnExhausted = OnExhausted.FAIL
    continue_on_error: bool = False
    input_schema: dict[str, JsonValue] | bool | None = None
    output_schema: dict[str, JsonValue] | bool | None = None
    mode: SwitchMode = SwitchMode.FIRST
    values: JsonValue = None
    duration: int | str | None = None
    until: str | None = None
    any_of: tuple[Timer, ...] = ()
    schema: dict[str, JsonValue] | bool | None = None
    assignees: tuple[str, ...] = ()
    default: JsonValue = None
    status: ExecutionStatus = ExecutionStatus.COMPLETED
    output: JsonValue = None
    message: str = ""
    body: Body | None = None
    items: JsonValue = None
    item_name: str = ""
    max_concurrency: int | None = None
    tolerate: int | str = 0
    complete_when: str | None = None
    repeat_while: str | None = None
    max_iterations: int = 1_000
    race: bool = False
    on_failure: OnFailure = OnFailure.WAIT
    workflow: str = ""
    input: JsonValue = None
    wait_for: bool = True
    event: str = ""
    key: JsonValue = None
    buffer: bool = True
    cancel_rest: bool = False
    annotations: dict[str, JsonValue] = {}

    @property
    def timers(self) -> tuple[Timer, ...]:
        """What ends a wait, the one or several."""
        return self.any_of or (Timer(self.duration, self.until),)

    @property
    def action_name(self) -> str:
        """Name under which the callable is registered: ``service.action``, or ``action`` alone."""
        return _action_name(self.service, self.action)

    @property
    def calls(self) -> dict[tuple[str, ...], tuple[str, dict[str, JsonValue]]]:
        """Name and parameters of all that it may call, by the place of each within the node."""
        found: dict[tuple[str, ...], tuple[str, dict[str, JsonValue]]] = {}
        if self.action:
            found[()] = (self.action_name, self.parameters)
        fallback = self.fallback
        if fallback is not None:
            own = self.parameters if fallback.parameters is None else fallback.parameters
            found["fallback",] = (fallback.action_name, own)
            if fallback.compensate is not None:
                found["fallback", "compensate"] = (fallback.compensate.action_name, fallback.compensate.parameters)
        if self.compensate is not None:
            found["compensate",] = (self.compensate.action_name, self.compensate.parameters)
        return found

    @property
    def action_names(self) -> list[str]:
        """Names of all actions that it may call."""
        return [name for name, _ in self.calls.values()]


class Connection(Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """An arrow from ``source`` to ``target``.

    Attributes:
        condition: Expression (in the one spelling; older ones are translated when read); None for none.
        otherwise: ``condition: else``: active when the outcome matches and no condition beside it is taken.
        outcome: Which end of the source it follows.
        annotations: As on a node.
    """

    source: str
    target: str
    condition: str | None = None
    otherwise: bool = False
    outcome: Outcome = Outcome.SUCCESS
    annotations: dict[str, JsonValue] = {}


class Body(Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """The graph within a map, a loop or a parallel: its nodes see those before the node that holds it.

    Attributes:
        nodes: In document order.
        connections: In document order.
        output: As of a workflow.
    """

    nodes: tuple[Node, ...] = ()
    connections: tuple[Connection, ...] = ()
    output: JsonValue = None


class Workflow(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A workflow: data, never code.

    Attributes:
        id: Its name.
        name: For people.
        version: A label; executions are pinned to ``definition_hash``.
        nodes: In document order, which is also the order in which ready steps start.
        connections: In document order.
        input_schema: JSON Schema of the input; None for none.
        timeout_ms: Bound of the whole execution on its own clock; None for none.
        max_concurrent_steps: Of one execution, within the engine's own limit; None for that one.
        on_failure: What happens to attempts in flight when an execution halts.
        compensate_on_cancel: What completed steps did is undone also where the execution is cancelled.
        vars: Constants, read as ``vars.NAME``.
        output: Value with ``${expression}`` strings; None for the default (the only leaf's output, else one by leaf).
        annotations: As on a node.
    """

    id: str
    nodes: tuple[Node, ...] = ()
    connections: tuple[Connection, ...] = ()
    name: str = ""
    version: str | int | None = None
    input_schema: dict[str, JsonValue] | bool | None = None
    timeout_ms: int | None = None
    max_concurrent_steps: int | None = None
    on_failure: OnFailure = OnFailure.WAIT
    compensate_on_cancel: bool = False
    vars: dict[str, JsonValue] = {}
    output: JsonValue = None
    annotations: dict[str, JsonValue] = {}
