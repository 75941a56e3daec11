"""Play one workflow and one script to the machine and to the reference, and compare all of both after each input."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
import traceback
from random import Random
from typing import TYPE_CHECKING, Any

import yaml
from msgspec import Raw
from tests.property.reference import DONE, Reference
from tests.property.reference.drawing import NAMES, Drawing, Move, draw_script
from tests.property.reference.shrinking import shrink

from treadle.definition import to_document
from treadle.machine import (
    CancelStep,
    RunStep,
    State,
    Turn,
    advance,
    compile,  # noqa: A004 - the house's word for it
    snapshot,
    start,
)
from treadle.machine import inputs as i
from treadle.model import StepError, Workflow
from treadle.values import decode_payload, encode_payload

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from tests.property.reference import Scope

    from treadle.machine.scope import Scope as MachineScope

T = 1_000
INPUT = {"yes": True, "n": 1, "xs": [1, 0, 1]}
OUTPUTS = (None, 0, 1, 1, True, False, {"a": 1}, [1, 0], "k", 1, True, 1)


class Disagreement(Exception):  # noqa: N818 - what is looked for
    """The two differ.

    Attributes:
        story: What came so far.
        differences: By name of a part: the machine's answer and the reference's.
    """

    def __init__(self, story: list[str], differences: dict[str, tuple[Any, Any]]) -> None:
        super().__init__(story, differences)
        self.story, self.differences = story, differences


class Game:
    """Both of them, and what came so far."""

    def __init__(self, workflow: Workflow) -> None:
        self.state = State(compile(workflow))
        self.reference = Reference(workflow)
        self.at = T
        self.story: list[str] = []
        self.past: list[tuple[str, int]] = []
        self.cancelled: set[tuple[str, int]] = set()
        self.sent = 0

    # -- moves

    def play(self, script: list[Move]) -> None:
        """Play a script, and then what lets the execution end.

        Raises:
            Disagreement: After an input they differ.
        """
        self.tell(i.StartRequested(at=self.at, execution_id="x", input=encode_payload(INPUT)))
        for move in script:
            self.move(*move)
        for _ in range(500):
            if self.reference.status in DONE:
                break
            self.go_on()
        else:
            raise Disagreement(self.story, {"end": ("", "it does not end")})
        self.tell(i.TimeReached(at=self.at + 1_000))

    def move(self, kind: str, which: int, detail: int) -> None:
        """Make a move, if there is something that can be moved."""
        steps = self.reference.root.all_steps()
        ready = [step for step in steps if step.waits == "slot" and self.reference.status == "RUNNING"]
        running = [step for step in steps if step.status == "RUNNING" and not step.is_group]
        asking = [step for step in steps if step.waits == "answer"]
        match kind:
            case "start" if ready:
                self.start(ready[which % len(ready)].key)
            case "start_all":
                for step in ready:
                    self.start(step.key)
            case "return" | "raise" | "permanent" | "timed_out" | "interrupt" if running:
                step = running[which % len(running)]
                self.tell(self.result(kind, step.key, step.attempt, detail))
            case "submit" if asking:
                step = asking[which % len(asking)]
                self.tell(i.InputSubmitted(step=step.key, output=encode_payload(OUTPUTS[detail]), at=self.at))
            case "time" | "due":
                due = min((one[0] for one in self.reference.all_due()), default=self.at)
                self.at = max(self.at, due) if kind == "due" else self.at + which % 20
                self.tell(i.TimeReached(at=self.at))
            case "late" if self.past:
                step_and_attempt = self.past[which % len(self.past)]
                if all((step.key, step.attempt) != step_and_attempt for step in running):
                    self.tell(self.result(("return", "raise", "interrupt")[detail % 3], *step_and_attempt, detail))
            case "cancel_step":
                self.tell(i.CancelStepRequested(step=steps[which % len(steps)].key, at=self.at))
            case _:
                self.request(kind, which, detail)

    def request(self, kind: str, which: int, detail: int) -> None:
        """Ask for something that no step is named in."""
        match kind:
            case "pause":
                self.tell(i.PauseRequested(at=self.at))
            case "resume":
                given = (None, {}, {"p": 1}, {"q": [2], "p": None})[detail % 4]
                self.tell(i.ResumeRequested(at=self.at, inputs=None if given is None else encode_payload(given)))
            case "cancel" | "cancel_at_once":
                self.tell(i.CancelExecutionRequested(at=self.at, at_once=kind == "cancel_at_once"))
            case "event":
                data = encode_payload(OUTPUTS[detail])
                key = ("null", "1", '"k"')[which // 3 % 3]
                self.send(NAMES[which % 3], key, data, keeps=detail % 4 > 0, is_late=detail % 3 == 0)

    def send(self, name: str, key: str, data: Raw, **how: bool) -> None:
        self.sent += 1
        self.tell(i.EventSent(name=name, key=key, data=data, event_id=f"i{self.sent}", at=self.at, **how))

    def result(self, kind: str, step: str, attempt: int, detail: int) -> i.AnyInput:
        """Return what an attempt gives."""
        if (step, attempt) in self.cancelled and detail % 3:
            return i.ActionCancelled(step=step, attempt=attempt, at=self.at)
        match kind:
            case "return":
                return i.ActionReturned(step=step, attempt=attempt, output=encode_payload(OUTPUTS[detail]), at=self.at)
            case "interrupt":
                return i.ActionInterrupted(step=step, attempt=attempt, at=self.at)
        return i.ActionRaised(
            step=step,
            attempt=attempt,
            error=StepError(type="Boom", message="no", attempt=attempt, step=step),
            names=("Fatal", "Exception") if detail == 1 else ("Boom",),
            permanent=kind == "permanent",
            timed_out=kind == "timed_out",
            retry_after_ms=20 if detail == 2 else 0,
            at=self.at,
        )

    def go_on(self) -> None:
        """Do one thing that lets the execution end."""
        steps, is_ending = self.reference.root.all_steps(), self.reference.root.ending is not None
        running = [step for step in steps if step.status == "RUNNING" and not step.is_group]
        ready = [step for step in steps if step.waits == "slot"]
        if self.reference.status == "PAUSED" and not (running and is_ending):
            self.tell(i.ResumeRequested(at=self.at, inputs=Raw(b'{"p":1,"q":2}')))
        elif running:
            self.tell(self.result("return", running[0].key, running[0].attempt, 1))
        elif ready:
            self.start(ready[0].key)
        elif any(step.waits == "answer" for step in steps):
            self.move("submit", 0, 1)
        elif self.reference.all_due():
            self.move("due", 0, 0)
        else:
            _, name, key = next(step.events[0] for step in steps if step.events)
            self.send(name, key or "null", Raw(b"1"))

    # -- both

    def tell(self, one: i.AnyInput) -> None:
        """Tell both of one input."""
        self.story.append(_text(one))
        self.at = max(self.at, one.at)
        turn = advance(self.state, [one])
        accepted = self.reference.receive(one)
        is_request = not isinstance(one, i.TimeReached)
        self.compare(turn, turn.accepted if is_request else [], [accepted] if is_request else [])

    def start(self, step: str) -> None:
        """Give a slot to a step in both."""
        self.story.append(f"start {step} at {self.at}")
        turn = start(self.state, [step], at=self.at)
        self.reference.start(step, self.at)
        self.compare(turn, [], [])

    def compare(self, turn: Turn, accepted: list[bool], wanted: list[bool]) -> None:
        """Compare everything."""
        for command in turn.commands:
            if isinstance(command, RunStep):
                self.past.append((command.step, command.attempt))
        of_machine = machine_view(self.state, turn) | {"accepted": accepted}
        of_reference = reference_view(self.reference) | {"accepted": wanted}
        for view in (of_machine, of_reference):
            view["commands"] = [one for one in view["commands"] if one[0] == "run" or one[1:] not in self.cancelled]
        self.cancelled.update(one[1:] for one in of_machine["commands"] if one[0] == "cancel")
        self.reference.commands.clear()
        if of_machine != of_reference:
            raise Disagreement(
                self.story,
                {
                    key: (of_machine.get(key), of_reference.get(key))
                    for key in {**of_machine, **of_reference}
                    if of_machine.get(key) != of_reference.get(key)
                },
            )


def _text(one: i.AnyInput) -> str:
    fields = {key: getattr(one, key) for key in one.__struct_fields__}
    shown = {key: bytes(value).decode() if isinstance(value, Raw) else value for key, value in fields.items()}
    shown.pop("error", None)
    return f"{type(one).__name__} " + " ".join(f"{key}={value}" for key, value in shown.items() if value)


# -- what is compared: plain values under names that say where they belong


def machine_view(state: State, turn: Turn) -> dict[str, Any]:
    """Return all of the machine's state that the design speaks of, and what it asks for."""
    seen = snapshot(state)
    view: dict[str, Any] = {
        "status": seen.status.value,
        "output": repr(seen.output),
        "error": seen.error and (seen.error.type, seen.error.step),
        "waiting_for": list(seen.waiting_for),
        "handled": list(seen.handled_failures),
        "ready": sorted(state.ready),
        "in flight": sorted(state.in_flight.items()),
        "commands": sorted(
            {
                ("run", one.step, one.attempt, repr(decode_payload(one.parameters)))
                if isinstance(one, RunStep)
                else ("cancel", one.step, one.attempt)
                for one in turn.commands
                if isinstance(one, RunStep | CancelStep)
            }
        ),
    }
    for key, step in seen.steps.items():
        view[key] = (
            step.status.value,
            step.attempt,
            repr(step.output),
            step.error and step.error.type,
            _ms(step.started_at),
            _ms(step.ended_at),
            step.items and (step.items.total, step.items.completed, step.items.failed, step.items.running),
            step.iterations,
        )
    _arrows(state.root, view)
    return view


def _arrows(scope: MachineScope, view: dict[str, Any]) -> None:
    view[f"connections {scope.path}"] = "".join("?+-"[one] for one in scope.connections)
    for group in scope.groups.values():
        for body in group.kept.values():
            _arrows(body, view)


def _ms(at: datetime | None) -> int:
    return 0 if at is None else round(at.timestamp() * 1_000)


def reference_view(reference: Reference) -> dict[str, Any]:
    """Return the same of the reference."""
    steps = reference.root.all_steps()
    view: dict[str, Any] = {
        "status": reference.status,
        "output": repr(reference.output),
        "error": reference.error if reference.root.ending is None else reference.root.ending[1],
        "waiting_for": sorted({name for step in steps for name in step.asks}),
        "handled": [step.key for step in reference.root.steps if step.is_handled],
        "ready": sorted(step.key for step in steps if step.waits == "slot"),
        "in flight": sorted(
            (step.key, step.attempt) for step in steps if step.status == "RUNNING" and not step.is_group
        ),
        "commands": sorted({(*one[:3], *map(repr, one[3:])) for one in reference.commands}),
    }
    _show(reference.root, view)
    return view


def _show(scope: Scope, view: dict[str, Any]) -> None:
    view[f"connections {scope.path}"] = "".join(
        "?" if number not in scope.arrows else "-+"[scope.arrows[number]]
        for number in range(len(scope.graph.connections))
    )
    for step in scope.steps:
        kept = step.bodies[-1:] if step.node.type.value == "loop" else step.bodies
        ends = [body.result[0] for body in step.bodies if body.result]
        completed = ends.count("COMPLETED")
        failed = len(ends) - completed - ends.count("STOPPED")
        running = len(step.bodies) - completed - failed if step.status == "RUNNING" else 0
        view[step.key] = (
            step.status,
            step.attempt,
            repr(step.output[0] if step.output else None),
            step.error or None,
            step.started_at,
            step.ended_at,
            None if step.items is None else (len(step.items), completed, failed, running),
            len(step.bodies) if step.node.type.value == "loop" else 0,
        )
        for body in kept:
            _show(body, view)


# -- many


def draw(seed: int) -> tuple[Workflow, list[Move]]:
    """Return the workflow and the script of a seed."""
    random = Random(seed)
    return Drawing(random).workflow(), draw_script(random)


def disagreement(workflow: Workflow, script: list[Move]) -> Disagreement | None:
    """Return where the two differ first; None where they never do."""
    try:
        Game(workflow).play(script)
    except Disagreement as found:
        return found
    except Exception as error:  # noqa: BLE001 - a defect of one of the two, which is to be shrunk as well
        return Disagreement([], {"raised": (f"{type(error).__name__}: {error}", _place(error))})
    return None


def _place(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{last.filename}:{last.lineno}"


def check(seed: int) -> str:
    """Play what a seed draws; return all about where the two differ, ``""`` where they never do."""
    workflow, script = draw(seed)
    if disagreement(workflow, script) is None:
        return ""
    workflow, script = shrink(workflow, script, lambda *smaller: disagreement(*smaller) is not None)
    found = disagreement(workflow, script)
    assert found is not None  # it is what shrinking kept
    document = yaml.safe_dump(to_document(workflow), sort_keys=False, default_flow_style=None, width=120)
    differences = [
        f"{name}\n    machine:   {one}\n    reference: {other}" for name, (one, other) in found.differences.items()
    ]
    return "\n".join(
        [
            f"machine and reference differ; again: python -m tests.property.reference --graphs 1 --seed {seed}",
            "",
            document,
            f"script: {script}",
            *found.story,
            "",
            *differences,
        ]
    )


def check_many(seeds: range, processes: int) -> Iterator[str]:
    """Check many seeds in several processes; yield what was found, as it is found."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from filter(None, pool.imap_unordered(check, seeds, chunksize=50))


def main() -> int:
    """Check as many graphs as asked for, print each disagreement, and return 1 if there was one."""
    parser = argparse.ArgumentParser(prog="python -m tests.property.reference", description=main.__doc__)
    parser.add_argument("--graphs", type=int, default=2_000, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="of the first; each of the others has the next")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    began = time.monotonic()
    count = 0
    for found in check_many(range(asked.seed, asked.seed + asked.graphs), asked.processes):
        count += 1
        sys.stdout.write(f"{found}\n\n")
        sys.stdout.flush()
    seconds = time.monotonic() - began
    sys.stdout.write(f"{asked.graphs} graphs, {count} disagreements, {seconds:.0f} s in {asked.processes} processes\n")
    return int(count > 0)
