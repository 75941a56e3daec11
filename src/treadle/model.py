"""The values everyone shares: the workflow as data, statuses, and the public state of an execution.

Durations are whole milliseconds and points in time are ``datetime`` in UTC here; ``definition`` reads and writes the
forms people type. A ``Workflow`` is plain data: its canonical bytes name it (``definition_hash``) and are what the
store keeps, so that an execution goes on with the graph it began with.

Structs of which there are many are ``gc=False``: they are trees, so counting references frees them, and the cycle
collector need not walk through the ten thousands of them that a wide workflow is made of.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from enum import Enum
from typing import Any, Literal, NewType, TypeAlias, TypeVar

import msgspec
from msgspec import Struct

JsonValue: TypeAlias = Any
"""``None``, ``bool``, ``int``, finite ``float``, ``str``, ``list`` of these, or ``dict`` from ``str`` to these."""

ExecutionId = NewType("ExecutionId", str)
NodeId = NewType("NodeId", str)

FORMAT_VERSION = 1
"""Version of the definition format; written as ``treadle: 1``."""


class ExecutionStatus(str, Enum):
    """Where an execution stands. The last four are terminal."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"

    @property
    def is_terminal(self) -> bool:
        """True once nothing more can happen to the execution by itself."""
        return self in _TERMINAL_EXECUTION


class StepStatus(str, Enum):
    """Where a step stands.

    ``WAITING``: between attempts, on a timer, or for a slot. ``PAUSED``: needs an input that is missing, or an answer.
    """

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    WAITING = "WAITING"
    PAUSED = "PAUSED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"
    SKIPPED = "SKIPPED"
    CANCELLED = "CANCELLED"

    @property
    def is_terminal(self) -> bool:
        """True once the step has ended."""
        return self in _TERMINAL_STEP


_TERMINAL_EXECUTION = frozenset(
    {ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED, ExecutionStatus.TIMED_OUT}
)
_TERMINAL_STEP = frozenset(
    {StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.TIMED_OUT, StepStatus.SKIPPED, StepStatus.CANCELLED}
)


class NodeType(str, Enum):
    """What a node does."""

    ACTION = "action"
    TRIGGER = "trigger"
    SWITCH = "switch"
    SET = "set"
    WAIT = "wait"
    INPUT = "input"
    EVENT = "event"
    WORKFLOW = "workflow"
    MAP = "map"
    LOOP = "loop"
    PARALLEL = "parallel"
    END = "end"


class SwitchMode(str, Enum):
    """Which of its conditional connections a switch takes: the first whose condition is true, or every such one."""

    FIRST = "first"
    ALL = "all"


class Outcome(str, Enum):
    """Which end of its source a connection follows."""

    SUCCESS = "success"
    FAILURE = "failure"
    ALWAYS = "always"


class JoinKind(str, Enum):
    """When a node with several incoming connections runs."""

    ALL = "all"
    EVERY = "every"
    ANY = "any"
    AT_LEAST = "at_least"


class OnSkip(str, Enum):
    """What the outgoing connections of a node become whose own condition was not taken."""

    DEAD = "dead"
    PASS = "pass"  # noqa: S105 - no password


class OnFailure(str, Enum):
    """What happens to attempts in flight when the execution halts."""

    WAIT = "wait"
    CANCEL = "cancel"


class OnInterrupted(str, Enum):
    """What follows an attempt that was cut off by a crash or a shutdown; the last two give at-most-once."""

    RETRY = "retry"
    FAIL = "fail"
    PAUSE = "pause"


class OnExhausted(str, Enum):
    """What follows once the attempts of a step are spent: it fails, or a person answers."""

    FAIL = "fail"
    PAUSE = "pause"


class Answer(str, Enum):
    """What becomes of a step whose attempts are spent, as a person says."""

    RETRY = "retry"
    OUTPUT = "output"
    SKIP = "skip"
    ABORT = "abort"


class Jitter(str, Enum):
    """How a retry delay is randomised; ``full`` draws uniformly from 0 to the computed delay."""

    NONE = "none"
    FULL = "full"


class OnConflict(str, Enum):
    """What a start does where an open execution of the workflow has its key already.

    ``reject`` raises; ``return_existing`` gives that one; ``queue`` starts once those before it have ended;
    ``cancel_running`` cancels those before it, and starts once they have ended.
    """

    REJECT = "reject"
    RETURN_EXISTING = "return_existing"
    QUEUE = "queue"
    CANCEL_RUNNING = "cancel_running"


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
        compensate: What undoes the step when the execution fails after it; None for nothing.
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


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(Workflow)


def encode_workflow(workflow: Workflow) -> bytes:
    """Return the canonical bytes of ``workflow``: UTF-8 JSON, keys sorted, defaults left out."""
    return _encoder.encode(_canonical(workflow))


def decode_workflow(data: bytes) -> Workflow:
    """Return the workflow whose canonical bytes are ``data``.

    Raises:
        msgspec.ValidationError: ``data`` was not written by ``encode_workflow`` of this or an older version.
    """
    return _decoder.decode(data)


def definition_hash(workflow: Workflow) -> str:
    """Return the name of the content: 32 hex digits over the canonical bytes without annotations.

    Annotations (where a box stands in an editor) do not change what runs, so they do not change the name.
    """
    bare = _canonical(msgspec.structs.replace(workflow, annotations={}), annotations={})
    return hashlib.sha256(_encoder.encode(bare)).hexdigest()[:32]


_G = TypeVar("_G", Workflow, Body)


def _canonical(graph: _G, **fields: JsonValue) -> _G:
    """Return a graph whose every default is the very object that the encoder leaves out: it looks at no other equals.

    Args:
        graph: With the bodies within it.
        fields: What to set in every node and connection.
    """
    nodes = tuple(_canonical_node(node, fields) for node in graph.nodes)
    if not fields:
        return msgspec.structs.replace(graph, nodes=nodes)
    connections = tuple(msgspec.structs.replace(one, **fields) for one in graph.connections)
    return msgspec.structs.replace(graph, nodes=nodes, connections=connections)


def _canonical_node(node: Node, fields: dict[str, JsonValue]) -> Node:
    return msgspec.structs.replace(
        node,
        join=_NODE.join if node.join == _NODE.join else node.join,
        retry=_NODE.retry if node.retry == _NODE.retry else _with_defaults(node.retry),
        max_iterations=_NODE.max_iterations if node.max_iterations == _NODE.max_iterations else node.max_iterations,
        body=node.body and _canonical(node.body, **fields),
        **fields,
    )


def _with_defaults(policy: RetryPolicy) -> RetryPolicy:
    same = {name: default for name, default in _RETRY_DEFAULTS.items() if getattr(policy, name) == default}
    return msgspec.structs.replace(policy, **same)


_NODE = Node("")
_RETRY_DEFAULTS = {name: getattr(_NODE.retry, name) for name in RetryPolicy.__struct_fields__}


class Severity(str, Enum):
    """``error``: certain, the definition is refused. ``warning``: may be meant; an error under ``strict``."""

    ERROR = "error"
    WARNING = "warning"


class Problem(Struct, frozen=True, gc=False, omit_defaults=True):
    """One thing wrong with a document or an argument.

    Attributes:
        code: Stable name such as ``unknown_key``.
        message: What is wrong, without the place.
        path: Where in the document, such as ``nodes[2].config.retry.max_attempts``; ``""`` for the whole.
        severity: Error or warning.
        line: 1-based line for documents read from text; 0 where there is none.
        column: 1-based column, as ``line``.
        hint: What to do, such as ``did you mean "timeout"?``; may be empty.
        file: The document, where several were read; ``""`` otherwise.
    """

    code: str
    message: str
    path: str = ""
    severity: Severity = Severity.ERROR
    line: int = 0
    column: int = 0
    hint: str = ""
    file: str = ""

    def __str__(self) -> str:
        file = f"{self.file}:" if self.file else ""
        place = f"{file}{self.line}:{self.column}: " if self.line else f"{file} " if file else ""
        where = f"{self.path}: " if self.path else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}{where}{self.message}{hint}"


class StepError(Struct, frozen=True, gc=False, omit_defaults=True):
    """Why a step or an execution failed.

    Attributes:
        type: Class name of the error, or one of ``StepTimeout``, ``QueueTimeout``, ``HeartbeatTimeout``,
            ``StepInterrupted``, ``ExecutionTimeout``.
        message: What it said, bounded in length.
        attempt: Attempt that failed; 0 where no attempt is at fault.
        step: Key of the step in ``ExecutionState.steps``; ``""`` where no step is at fault.
        details: What else is known (such as the reference that is missing, or a bounded traceback).
    """

    type: str
    message: str
    attempt: int = 0
    step: str = ""
    details: dict[str, JsonValue] = {}


class ItemCounts(Struct, frozen=True, gc=False):
    """How far a map has got.

    Attributes:
        total: How many items there are.
        completed: How many are done.
        failed: How many failed and were tolerated, or failed the map.
        running: How many are under way.
        errors: Why, by number of each item that failed.
    """

    total: int
    completed: int = 0
    failed: int = 0
    running: int = 0
    errors: dict[int, StepError] = {}


class StepState(Struct, frozen=True, gc=False):
    """One step as a reader sees it.

    Attributes:
        status: Where it stands.
        attempt: Number of the last attempt started; 0 before the first.
        output: What it gave; None until COMPLETED, and for a failure passed over.
        error: Why the last attempt failed, also while another is to come; None if none failed.
        started_at: First start; None before it.
        ended_at: When the status became terminal; None before that.
        items: Of a map that has begun; None otherwise.
        iterations: Of a loop: how many have begun.
        answered_by: Who gave the output in the action's place: ``fallback`` or ``person``; ``""`` for nobody.
    """

    status: StepStatus
    attempt: int = 0
    output: JsonValue = None
    error: StepError | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    items: ItemCounts | None = None
    iterations: int = 0
    answered_by: str = ""


class CompensationState(Struct, frozen=True, gc=False):
    """How the undoing of one step stands.

    Attributes:
        status: PENDING until its turn comes; CANCELLED where the execution was ended at once.
        action: What it calls.
        attempt: Number of its last attempt, which goes on from the step's own; before the first that of the step.
        output: What it gave; None until COMPLETED.
        error: Why the last attempt failed, also while another is to come; None if none failed.
        started_at: First start; None before it.
        ended_at: When the status became terminal; None before that.
    """

    status: StepStatus
    action: str
    attempt: int = 0
    output: JsonValue = None
    error: StepError | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None


class ExecutionState(Struct, frozen=True):
    """One execution as a reader sees it: a snapshot, which does not change.

    Attributes:
        execution_id: Its name.
        workflow_id: Id of its workflow.
        definition_hash: Content of its workflow.
        status: Where it stands.
        input: What it was started with, with the inputs merged since.
        output: What it gave; None until COMPLETED.
        error: Why it FAILED, was CANCELLED or TIMED_OUT; None otherwise.
        steps: One entry per node, in definition order, from the start; behind a node with bodies those of its bodies
            that have begun, by path (``each[3].charge``). Of a loop the last iteration is kept.
        waiting_for: Names of missing inputs (``input.email``), and keys of steps that need an answer, sorted.
        in_flight: Attempts running now; more than 0 for a while after a pause.
        cancelling: True from the request to cancel until CANCELLED.
        handled_failures: Keys of failed steps that did not fail the execution.
        compensations: How the undoing of each completed step stands, by key, in that order; empty unless the execution
            undoes what it did.
        compensation_failures: Keys of the steps that could not be undone.
        tags: As given at the start.
        key: As given at the start; ``""`` for none.
        start_at: When it was asked to begin; None for at once.
        parent: Id of the execution that started it; ``""`` for none.
        forked_from: Id of the execution of which it is a fork; ``""`` for none.
        queued: It waits until those with its key before it have ended.
        created_at: When the start became a fact.
        started_at: When it began to run; None while PENDING.
        ended_at: When the status became terminal; None before that.
    """

    execution_id: str
    workflow_id: str
    definition_hash: str
    status: ExecutionStatus
    input: dict[str, JsonValue]
    steps: dict[str, StepState]
    output: JsonValue = None
    error: StepError | None = None
    waiting_for: tuple[str, ...] = ()
    in_flight: int = 0
    cancelling: bool = False
    handled_failures: tuple[str, ...] = ()
    compensations: dict[str, CompensationState] = {}
    compensation_failures: tuple[str, ...] = ()
    tags: dict[str, str] = {}
    key: str = ""
    start_at: datetime | None = None
    parent: str = ""
    forked_from: str = ""
    queued: bool = False
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None


class HistoryEvent(Struct, frozen=True, gc=False, omit_defaults=True):
    """One committed event as a reader sees it.

    Attributes:
        cursor: Its place in the one sequence of all committed events; ``watch(after=cursor)`` goes on behind it.
        execution_id: Whose event.
        sequence: Number of the turn it belongs to, from 1 per execution.
        kind: What happened, such as ``StepSucceeded``; ``docs/reference/events.md`` lists all.
        at: When it happened.
        step: Key of the step; ``""`` for events of the execution.
        attempt: Number of the attempt; 0 where none is meant.
        data: The event's other fields.
    """

    cursor: int
    execution_id: str
    sequence: int
    kind: str
    at: datetime
    step: str = ""
    attempt: int = 0
    data: dict[str, JsonValue] = {}


class WorkflowVersion(Struct, frozen=True, gc=False):
    """One version of a registered workflow: content that never changes, under its hash.

    Attributes:
        workflow_id: Id of the workflow.
        definition_hash: Name of the content.
        label: The document's ``version`` as text; ``""`` where it has none. Several contents may have one label.
        registered_at: When this content was registered first.
    """

    workflow_id: str
    definition_hash: str
    label: str
    registered_at: datetime


class WorkflowRef(Struct, frozen=True, gc=False):
    """A registered workflow by its id, wherever a verb takes a workflow.

    Attributes:
        workflow_id: Id of the workflow.
        version: A definition hash or at least 8 digits of it, or a label (of several contents with it the one
            registered last); None for the version registered last.
    """

    workflow_id: str
    version: str | int | None = None


class ExecutionFilter(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Which executions a list shows and a bulk verb changes; every field given must match.

    Attributes:
        workflow_id: Exactly this; ``""`` for all.
        statuses: Any of these; empty for all.
        tags: Each of these, by name and value.
        key: Exactly this; ``""`` for all.
        id_prefix: What their ids begin with.
        search: Text somewhere in the id, or in the name or value of a tag; ASCII letters match in either case.
        created_after: Created then or later; None for no bound.
        created_before: Created before then; None for no bound.
    """

    workflow_id: str = ""
    statuses: tuple[ExecutionStatus, ...] = ()
    tags: dict[str, str] = {}
    key: str = ""
    id_prefix: str = ""
    search: str = ""
    created_after: datetime | None = None
    created_before: datetime | None = None


BulkVerb: TypeAlias = Literal["pause", "resume", "cancel", "retry"]
"""A verb that can be asked for many executions at once."""


class BulkResult(Struct, frozen=True):
    """What became of a verb that was asked for many executions.

    Attributes:
        matched: Executions that the filter shows and that the verb can change; counted before anything was changed.
        changed: Those that it changed; 0 in a dry run.
        failed: Why it could not, by id.
    """

    matched: int
    changed: int = 0
    failed: dict[str, str] = {}


class Reason(str, Enum):
    """Why an execution or a step does not go on."""

    ENDED = "ended"
    ENDING = "ending"
    RUNNING = "running"
    WAITS = "waits"
    QUEUED = "queued"
    STARTS_LATER = "starts_later"
    PAUSED = "paused"
    ASKS_FOR_INPUT = "asks_for_input"
    HELD = "held"
    JOIN_OPEN = "join_open"
    READY = "ready"
    ACTION_MISSING = "action_missing"
    WAITS_FOR_SLOT = "waits_for_slot"
    WAITS_FOR_TIME = "waits_for_time"
    WAITS_TO_RETRY = "waits_to_retry"
    WAITS_FOR_PERSON = "waits_for_person"
    WAITS_FOR_EVENT = "waits_for_event"
    WAITS_FOR_CHILD = "waits_for_child"
    STORE_DOWN = "store_down"
    QUARANTINED = "quarantined"
    NO_ENGINE = "no_engine"


class Explanation(Struct, frozen=True, omit_defaults=True):
    """Why an execution, or a step, does not go on.

    Attributes:
        reason: A stable code.
        text: The same in plain words.
        step: Key of the step; ``""`` for the execution.
        since: Since when that is so, as far as it is known.
        due: When it is over by itself; None where no time ends it.
        what_to_do: What would let it go on; ``""`` for nothing but to wait.
        names: What it waits for: inputs, steps, events, executions, or who holds the slots.
        steps: Of an execution: the steps that have begun or are reached, and have not ended.
    """

    reason: Reason
    text: str
    step: str = ""
    since: datetime | None = None
    due: datetime | None = None
    what_to_do: str = ""
    names: tuple[str, ...] = ()
    steps: tuple[Explanation, ...] = ()


class ExecutionSummary(Struct, frozen=True, gc=False):
    """One row of a list of executions.

    Attributes:
        execution_id: Its name.
        workflow_id: Id of its workflow.
        definition_hash: Content of its workflow.
        status: Where it stands.
        tags: As given at the start.
        created_at: When the start became a fact.
        ended_at: When the status became terminal; None before that.
        key: As given at the start; ``""`` for none.
    """

    execution_id: str
    workflow_id: str
    definition_hash: str
    status: ExecutionStatus
    tags: dict[str, str] = {}
    created_at: datetime | None = None
    ended_at: datetime | None = None
    key: str = ""
