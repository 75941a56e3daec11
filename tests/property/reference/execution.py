"""One execution: what arrives, what follows from it, how steps and scopes end."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tests.property.reference import expressions, groups, joins
from tests.property.reference.expressions import MissingName, NoBoolean
from tests.property.reference.joins import FAILS, SUCCEEDS, rest_of, verdict
from tests.property.reference.parts import DONE, UNDER_WAY, Scope, Step

from treadle.model import ExecutionStatus, NodeType, OnFailure, OnSkip
from treadle.values import decode_payload

if TYPE_CHECKING:
    from treadle.machine import inputs as i
    from treadle.model import Outcome, Workflow


class Reference:
    """One execution, moved by the machine's inputs; ``start`` stands for a slot that is given.

    Attributes:
        is_wanted: A person paused it; otherwise it is PAUSED because steps ask.
        kept: Events that came before a step waited for them.
        reached: Steps whose join was decided and that have not moved yet, in that order.
        going: Groups of whose bodies one is over, or none has begun.
        commands: What the driver is asked for: to run an attempt, or to cancel one.
    """

    def __init__(self, workflow: Workflow) -> None:
        self.workflow = workflow
        self.status = "PENDING"
        self.now = 0
        self.moments = 0
        self.paused_since: int | None = None
        self.paused_for = 0
        self.is_wanted = False
        self.deadline: int | None = None
        self.input: dict[str, Any] = {}
        self.output: Any = None
        self.error: Any = None
        self.kept: list[i.EventSent] = []
        self.reached: list[Step] = []
        self.going: list[Step] = []
        self.commands: list[tuple[Any, ...]] = []
        self.root = Scope(workflow)

    def find(self, key: str) -> Step | None:
        return next((step for step in self.root.all_steps() if step.key == key), None)

    def holds(self, condition: str, scope: Scope, told: dict[str, Any] | None = None) -> bool:
        return expressions.holds(condition, scope, {"input": self.input, **(told or {})})

    def resolve(self, value: Any, scope: Scope, missing: list[str] | None = None) -> Any:
        return expressions.resolve(value, scope, {"input": self.input}, missing)

    # -- what arrives

    def receive(self, one: Any) -> bool:
        """Take one input; tell whether it was of use."""
        self.now = one.at
        if self.status in DONE:
            return False
        accepted: bool = getattr(self, f"_{type(one).__name__}")(one)
        self.settle()
        return accepted

    def _StartRequested(self, one: i.StartRequested) -> bool:  # noqa: N802 - the name of the input, here and below
        self.status, self.input = "RUNNING", decode_payload(one.input)
        if self.workflow.timeout_ms is not None:
            self.deadline = self.own_clock() + self.workflow.timeout_ms
        for step in self.root.steps:
            self.look_at(step)
        return True

    def _TimeReached(self, _: i.TimeReached) -> bool:  # noqa: N802
        while self.status == "RUNNING" and self.fire_next():
            self.settle()
        return True

    def _PauseRequested(self, _: i.PauseRequested) -> bool:  # noqa: N802
        if self.status == "RUNNING" and self.root.ending is not None:
            return False
        self.is_wanted = True
        if self.status == "RUNNING":
            self.status, self.paused_since = "PAUSED", self.now
        return True

    def _ResumeRequested(self, one: i.ResumeRequested) -> bool:  # noqa: N802
        """Merge inputs and go on; steps that ask look again. False if there is nothing to resume."""
        asking = [step for step in self.root.all_steps() if step.status == "PAUSED"]
        goes_well = self.root.ending is None or self.root.ending[0] == "COMPLETED"
        if not goes_well or (self.status != "PAUSED" and not asking):
            return False
        self.input = self.input | ({} if one.inputs is None else decode_payload(one.inputs))
        self.unpause()
        for step in asking:
            self.wait(step, "slot")
        return True

    def _CancelExecutionRequested(self, one: i.CancelExecutionRequested) -> bool:  # noqa: N802
        if self.root.ending is None or self.root.ending[0] != "CANCELLED":
            self.end(self.root, "CANCELLED", ("Cancelled", ""), cancels=True)
        if one.at_once:
            for step in self.root.steps:
                self.kill(step)
        return True

    def _CancelStepRequested(self, one: i.CancelStepRequested) -> bool:  # noqa: N802
        step = self.find(one.step)
        if step is None or step.status not in UNDER_WAY or step.scope.ending is not None:
            return False
        self.kill(step)
        return True

    def _InputSubmitted(self, one: i.InputSubmitted) -> bool:  # noqa: N802
        step = self.find(one.step)
        if step is None or step.waits != "answer":
            return False
        self.complete(step, decode_payload(one.output))
        return True

    def _EventSent(self, one: i.EventSent) -> bool:  # noqa: N802
        """Give it to the step that has waited longest for it, or keep it."""
        if self.root.ending is not None:
            return False
        waiting = sorted(self.root.all_steps(), key=lambda step: step.since)
        if any(self.hears(step, one) for step in waiting if step.node.buffer or not one.is_late):
            return True
        if one.keeps:
            self.kept.append(one)
        return one.keeps

    # -- slots and attempts

    def start(self, key: str, at: int) -> None:
        """Give a slot to a step that waits for one: its parameters are resolved, once, and an attempt begins."""
        self.now = at
        step = self.find(key)
        if step is None or step.waits != "slot" or self.status != "RUNNING":
            return
        if step.parameters is None:
            self.resolve_parameters(step)
        if step.parameters is not None:
            step.attempt += 1
            if step.attempt == 1:
                step.started_at = at
                self.time_out(step, "total", step.node.total_timeout_ms)
            self.put(step, "RUNNING")
            self.commands.append(("run", key, step.attempt, step.parameters))
        self.settle()

    def resolve_parameters(self, step: Step) -> None:
        """A missing name of ``input`` is asked for; any other fails the step for good."""
        missing: list[str] = []
        parameters = self.resolve(step.node.parameters, step.scope, missing)
        if not missing:
            step.parameters = parameters
        elif all(name.startswith("input.") for name in missing):
            self.put(step, "PAUSED")
            step.asks = tuple(missing)
        else:
            self.fail(step, "MissingNameError")

    def in_flight(self, one: Any) -> Step | None:
        """Return the step whose attempt this tells of; None for one that was given up."""
        step = self.find(one.step)
        is_it = step is not None and step.status == "RUNNING" and step.attempt == one.attempt
        return step if is_it else None

    def _ActionReturned(self, one: i.ActionReturned) -> bool:  # noqa: N802
        step = self.in_flight(one)
        if step is not None:
            self.complete(step, decode_payload(one.output))
        return step is not None

    def _ActionRaised(self, one: i.ActionRaised) -> bool:  # noqa: N802
        """Try again after a while, unless it is for good; a scope that is ending does not try again."""
        step = self.in_flight(one)
        if step is None:
            return False
        retry = step.node.retry
        step.failures += 1
        step.error = one.error.type
        is_permanent = one.permanent or bool(set(one.names) & set(retry.non_retryable))
        if is_permanent or step.failures >= retry.max_attempts or step.scope.ending is not None:
            self.fail(step, one.error.type, "TIMED_OUT" if one.timed_out else "FAILED")
        else:
            delay = min(retry.max_delay_ms, retry.initial_delay_ms * retry.backoff ** (step.failures - 1))
            self.wait(step, "retry")
            self.time_out(step, "retry", max(int(delay), one.retry_after_ms))
        return True

    def _ActionInterrupted(self, one: i.ActionInterrupted) -> bool:  # noqa: N802
        """Run again at once, if anything runs; too many interruptions are a failure."""
        step = self.in_flight(one)
        if step is None:
            return False
        if step.scope.ending is not None:
            return self._ActionCancelled(one)
        step.interruptions += 1
        if step.interruptions > step.node.max_interruptions:
            self.fail(step, "StepInterrupted")
        else:
            self.wait(step, "slot")
        return True

    def _ActionCancelled(self, one: i.ActionCancelled | i.ActionInterrupted) -> bool:  # noqa: N802
        step = self.in_flight(one)
        if step is not None:
            self.put(step, "CANCELLED")
            self.decide(step, ())
        return step is not None

    # -- pauses and time

    def own_clock(self) -> int:
        """Return wall time less the time it was paused."""
        return (self.now if self.paused_since is None else self.paused_since) - self.paused_for

    def unpause(self) -> None:
        if self.paused_since is not None:
            self.paused_for += self.now - self.paused_since
            self.status, self.paused_since = "RUNNING", None

    def rest(self) -> None:
        """Be PAUSED while a person wants it, or while nothing goes on without the inputs that steps ask for."""
        statuses = {step.status for step in self.root.all_steps() if not step.is_group}
        is_stuck = "PAUSED" in statuses and not {"RUNNING", "WAITING"} & statuses
        if self.status == "RUNNING" and is_stuck:
            self.status, self.paused_since, self.is_wanted = "PAUSED", self.now, False
        elif self.status == "PAUSED" and not is_stuck and not self.is_wanted and self.root.ending is None:
            self.unpause()
            self.settle()

    def time_out(self, step: Step, name: str, ms: int | None) -> None:
        if ms is not None:
            step.due[name] = ("own", self.own_clock() + ms)

    def all_due(self) -> list[tuple[int, int, str, Step | None, Any]]:
        """Return what will be due, as it is to be sorted: when, by the wall clock, what kind it is, key; step, name."""
        found: list[tuple[int, int, str, Step | None, Any]] = []
        for step in self.root.all_steps():
            for name, (clock, due) in step.due.items():
                kind = {"retry": 0, "total": 2}.get(name, 3 if step.is_group else 1)
                found.append((due + self.paused_for if clock == "own" else due, kind, step.key, step, name))
        if self.deadline is not None:
            found.append((self.deadline + self.paused_for, 4, "", None, ""))
        return found

    def fire_next(self) -> bool:
        """Do what has been due longest; tell whether anything was."""
        due = [one for one in self.all_due() if one[0] <= self.now]
        if not due:
            return False
        *_, step, name = min(due, key=lambda one: one[:3])
        if step is None:
            self.deadline = None
            ending = self.root.ending or ("TIMED_OUT", ("ExecutionTimeout", ""), None)
            self.end(self.root, *ending, cancels=True)
            return True
        del step.due[name]
        if name == "retry":
            self.wait(step, "slot")
        elif name not in {"total", "timeout"}:
            self.complete(step, {"timer": name} if step.node.any_of else None)
        elif step.default:
            self.complete(step, step.default[0])
        else:
            self.stop_at_once(step)
            self.fail(step, "StepTimeout", "TIMED_OUT")
        return True

    # -- what follows

    def settle(self) -> None:
        """Do all that follows, in rounds: steps that were reached, bodies that are over, groups that go on."""
        while self.status not in DONE:
            if self.reached:
                self.move(self.reached.pop(0))
            elif (over := self.bodies_over()) or self.going or self.failing():
                for body in over:
                    self.body_over(body)
                going, self.going = [*self.going, *self.failing()], []
                for step in going:
                    groups.go_on(self, step)
            elif self.is_over(self.root) and not self.completes_on_resume():
                self.status, self.error, self.output = self.close(self.root)
            else:
                break
        self.rest()

    def look_at(self, step: Step) -> None:
        """Note a step whose join is decided; what needs nothing but a slot waits for one at once."""
        if step.status != "PENDING" or step in self.reached or verdict(step) is None:
            return
        if verdict(step) and step.node.type is NodeType.ACTION and not step.node.condition and not rest_of(step):
            self.wait(step, "slot")
        else:
            self.reached.append(step)

    def move(self, step: Step) -> None:
        """Skip a step whose join is lost. Else cancel the rest, look at the step's own condition, and begin."""
        if step.scope.ending is not None or step.status != "PENDING":
            return
        if not verdict(step):
            self.put(step, "SKIPPED")
            self.decide(step, ())
            return
        for other in rest_of(step):
            self.kill(other)
        try:
            if step.node.condition is not None and not self.holds(step.node.condition, step.scope):
                self.put(step, "SKIPPED")
                self.decide(step, SUCCEEDS if step.node.on_skip is OnSkip.PASS else ())
            else:
                self.begin(step)
        except NoBoolean:
            self.fail(step, "ExpressionError")
        except MissingName:
            self.fail(step, "MissingNameError")

    def decide(self, step: Step, outcomes: tuple[Outcome, ...]) -> None:
        """Decide every connection of a step that is done. One whose condition is none halts what it is in."""
        scope = step.scope
        if scope.ending is not None:
            return
        self.mark(scope, joins.by_outcome(step, outcomes))
        try:
            self.mark(scope, joins.by_condition(step, outcomes, lambda condition: self.holds(condition, scope)))
        except NoBoolean:
            self.halt(scope, "ExpressionError", "")

    def mark(self, scope: Scope, decided: dict[int, bool]) -> None:
        for number, is_active in decided.items():
            scope.arrows[number] = is_active
            self.look_at(scope.step(scope.graph.connections[number].target))

    # -- how steps begin

    def begin(self, step: Step) -> None:
        """Do what the type of a step does once it is reached.

        Raises:
            MissingName: What it computes reads a missing name; it has not begun then.
        """
        node, scope = step.node, step.scope
        match node.type:
            case NodeType.ACTION:
                self.wait(step, "slot")
            case NodeType.TRIGGER:
                self.complete(step, self.input)
            case NodeType.SWITCH:
                self.complete(step, None)
            case NodeType.SET:
                self.complete(step, self.resolve(node.values, scope))
            case NodeType.END:
                self.begin_end(step)
            case NodeType.WAIT | NodeType.EVENT | NodeType.INPUT:
                self.begin_wait(step)
            case _:
                groups.begin(self, step)
        if node.type is not NodeType.ACTION and step.error != "ValidationError":
            step.started_at = self.now

    def begin_wait(self, step: Step) -> None:
        node, scope = step.node, step.scope
        if node.type is NodeType.WAIT:
            for number, timer in enumerate(node.timers):
                if timer.event:
                    step.events.append((number, timer.event, self.key_of(timer.key, scope)))
                elif timer.until is not None:
                    step.due[number] = ("wall", round(datetime.fromisoformat(timer.until).timestamp() * 1000))
                else:
                    step.due[number] = ("own", self.own_clock() + int(timer.duration or 0))
            self.wait(step, "timer")
        elif node.type is NodeType.EVENT:
            step.events.append((0, node.event, self.key_of(node.key, scope)))
            self.wait(step, "event")
        else:
            step.default = () if node.default is None else (self.resolve(node.default, scope),)
            self.wait(step, "answer")
        self.time_out(step, "timeout", node.timeout_ms)
        early = next((one for one in self.kept if node.buffer and self.hears(step, one)), None)
        if early is not None:
            self.kept.remove(early)

    def hears(self, step: Step, one: i.EventSent) -> bool:
        """Complete a step if this is an event it waits for; tell whether it was."""
        for number, name, key in step.events:
            if name == one.name and key in {"", one.key}:
                data = decode_payload(one.data)
                is_one_of_several = step.node.type is NodeType.WAIT
                self.complete(step, {"timer": number, "event": name, "data": data} if is_one_of_several else data)
                return True
        return False

    def key_of(self, key: Any, scope: Scope) -> str:
        """Return the key of an event as JSON in its shortest form; ``""``, where a node has none, is any."""
        resolved = self.resolve(key, scope)
        return "" if key is None else json.dumps(resolved, sort_keys=True, separators=(",", ":"))

    def begin_end(self, step: Step) -> None:
        """End what the node is in, as it says; what is under way there is cancelled."""
        node = step.node
        output = None if node.output is None else (self.resolve(node.output, step.scope, []),)
        self.put(step, "COMPLETED")
        step.output = output or (None,)
        error = None if node.status is ExecutionStatus.COMPLETED else ("EndReached", step.key)
        self.end(step.scope, node.status.value, error, output, cancels=True)

    # -- how steps end

    def put(self, step: Step, status: str) -> None:
        self.moments += 1
        step.status, step.since, step.waits, step.asks = status, self.moments, "", ()
        if status in DONE:
            step.ended_at, step.due, step.events = self.now, {}, []

    def wait(self, step: Step, what: str) -> None:
        self.put(step, "WAITING")
        step.waits = what

    def complete(self, step: Step, output: Any) -> None:
        self.put(step, "COMPLETED")
        step.output, step.error = (output,), ""
        self.decide(step, SUCCEEDS)

    def fail(self, step: Step, error: str, status: str = "FAILED", at: str | None = None) -> None:
        """A failure is handled by a connection, else passed over, else it halts what the step is in.

        Args:
            step: What failed.
            error: Type of the error.
            status: FAILED or TIMED_OUT.
            at: Of which step the error is, where that is one in a body of ``step``.
        """
        scope, at = step.scope, step.key if at is None else at
        self.put(step, status)
        step.error = error
        scope.lost = scope.lost or (error, at)
        if scope.ending is not None:
            return
        try:
            routes = joins.by_outcome(step, FAILS) | joins.by_condition(step, FAILS, lambda one: self.holds(one, scope))
        except NoBoolean:
            self.halt(scope, "ExpressionError", "")
            return
        step.is_handled = True
        if any(routes.values()):
            self.decide(step, FAILS)
        elif step.node.continue_on_error:
            step.output = (None,)
            self.decide(step, SUCCEEDS)
        elif scope.is_race:  # the others go on
            self.decide(step, ())
        else:
            step.is_handled = False
            self.halt(scope, error, at)

    def kill(self, step: Step) -> None:
        """Cancel a step that is under way, and all in its bodies, at once; its connections are dead."""
        if step.status in UNDER_WAY:
            self.stop_at_once(step)
            self.put(step, "CANCELLED")
            self.decide(step, ())

    def stop_at_once(self, step: Step) -> None:
        """Cancel the attempt of a step, or all in its bodies; what comes of them later counts for nothing."""
        if step.status == "RUNNING" and not step.is_group:
            self.commands.append(("cancel", step.key, step.attempt))
        for body in step.open_bodies:
            body.ending = body.result = ("STOPPED", None, None)
            for inner in body.steps:
                self.kill(inner)

    # -- how scopes end: the execution, and bodies

    def halt(self, scope: Scope, error: str, at: str) -> None:
        """An unhandled failure: no new step, route or retry; ``on_failure: cancel`` cancels what is in flight."""
        around = self.workflow if scope.holder is None else scope.holder.node
        self.end(scope, "FAILED", (error, at), cancels=around.on_failure is OnFailure.CANCEL)

    def end(self, scope: Scope, status: str, error: Any, output: Any = None, *, cancels: bool) -> None:
        """What waits is cancelled; what is in flight ends first, cancelled or not; then the scope is over."""
        self.moments += 1
        scope.ending, scope.since = (status, error, output), self.moments
        for step in scope.steps:
            if step.status in {"WAITING", "PAUSED"}:
                self.put(step, "CANCELLED")
            elif step.status == "RUNNING":
                self.end_under_way(step, cancels=cancels)

    def end_under_way(self, step: Step, *, cancels: bool) -> None:
        for body in step.open_bodies:
            self.end(body, "STOPPED", None, cancels=cancels)
        if cancels:
            step.due = {}
            if not step.is_group:
                self.commands.append(("cancel", step.key, step.attempt))

    def bodies_over(self) -> list[Scope]:
        """Return the bodies in which nothing is left to do, in the order in which that came to be."""
        bodies = [body for step in self.root.all_steps() for body in step.open_bodies]
        return sorted(filter(self.is_over, bodies), key=self.over_since)

    def over_since(self, body: Scope) -> int:
        winner = groups.winner(body)
        return winner.since if winner else max(body.since, *(step.since for step in body.all_steps()))

    def is_over(self, scope: Scope) -> bool:
        if scope.ending is not None:
            return scope.ending[0] != "STOPPED" and not scope.is_flying
        return groups.winner(scope) is not None or all(step.status in DONE for step in scope.steps)

    def completes_on_resume(self) -> bool:
        """Tell whether its last step ended while it is paused."""
        return self.status == "PAUSED" and (self.root.ending is None or self.root.ending[0] == "COMPLETED")

    def failing(self) -> list[Step]:
        """Return the groups that fail now that nothing is in flight in them."""
        failing = [step for step in self.root.all_steps() if step.failing and step.status == "RUNNING"]
        return [step for step in failing if step.scope.ending is None and not step.is_flying]

    def body_over(self, body: Scope) -> None:
        """End a body, with all that is still under way in it; its group is to go on."""
        result = self.close(body)
        self.moments += 1
        body.ending, body.result, body.since = result, result, self.moments
        for step in body.steps:
            self.kill(step)
        assert body.holder is not None
        self.going.append(body.holder)

    def close(self, scope: Scope) -> tuple[str, Any, Any]:
        """End what is left open in a scope that is over, and say how it ends: status, error, output."""
        status, error, output = scope.ending or ("", None, None)
        for step in scope.steps if status else ():
            if step.status == "RUNNING":
                self.kill(step)
            elif step.status == "PENDING" and status == "COMPLETED":
                self.put(step, "SKIPPED")
        if status not in {"", "COMPLETED"}:
            return (status, error, None)
        if output is not None:
            return ("COMPLETED", None, output[0])
        if scope.is_race and not status and groups.winner(scope) is None:
            return ("FAILED", scope.lost or ("NobodyWon", scope.path), None)
        return ("COMPLETED", None, self.output_of(scope))

    def output_of(self, scope: Scope) -> Any:
        """Return its ``output``, else what the winner or the only leaf gave, else an object by leaf."""
        if scope.graph.output is not None:
            return self.resolve(scope.graph.output, scope, [])
        winner = groups.winner(scope)
        leaves = [winner] if winner else [step for step in scope.steps if not scope.outgoing(step)]
        if len(leaves) == 1:
            return leaves[0].output[0] if leaves[0].output else None
        return {step.node.id: step.output[0] for step in leaves if step.output}
