"""What the machine asks of the driver. A command is carried out only after the turn that holds it is durable.

There is no command for time: ``State.wake_at`` says when the driver has to send ``TimeReached``, so that there is
nothing to set, to clear, or to lose.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Raw, Struct

from treadle.expressions import Place
from treadle.limits import Numbers
from treadle.machine.calls import ACTION
from treadle.model import Node


class RunStep(Struct, frozen=True, gc=False):
    """Call the action of ``node`` and report what came of it as ``ActionReturned`` or ``ActionRaised``.

    Attributes:
        step: Key of the step.
        attempt: Number of this attempt; the first is 1.
        node: The definition: action, timeout, schemas.
        parameters: JSON object of keyword arguments.
        secrets: Where in it references to secrets stand, which the driver fills in; see ``expressions.secrets``.
        role: ``action``, ``fallback`` or ``compensation``: what the call is to the step. ``node`` is made for it.
    """

    step: str
    attempt: int
    node: Node
    parameters: Raw
    secrets: tuple[Place, ...] = ()
    role: str = ACTION


class CancelStep(Struct, frozen=True, gc=False):
    """Cancel this attempt and report ``ActionCancelled`` when it has ended, or has been given up after the grace."""

    step: str
    attempt: int


class StartChild(Struct, frozen=True, gc=False):
    """Start another execution, unless there is one of that id already, and report what becomes of it.

    ``ChildBegan`` once it exists, ``ChildEnded``, ``ChildRested`` and ``ChildWentOn``.

    Attributes:
        step: Key of the step that asks.
        child: Id of the other execution.
        workflow: Id of its workflow.
        input: JSON object.
        depth: How many executions are above it.
        waits: The step waits for its end.
        attempt: Beyond 1 the other is retried, if it has ended without completing.
    """

    step: str
    child: str
    workflow: str
    input: Raw
    depth: int
    waits: bool
    attempt: int = 1


class CancelChild(Struct, frozen=True, gc=False):
    """Cancel the other execution; nobody waits for it any more."""

    child: str


class PauseChild(Struct, frozen=True, gc=False):
    """Pause the other execution."""

    child: str


class ResumeChild(Struct, frozen=True, gc=False):
    """Resume the other execution, with inputs (a JSON object, None for none)."""

    child: str
    inputs: Raw | None = None


ChildCommand: TypeAlias = StartChild | CancelChild | PauseChild | ResumeChild
Command: TypeAlias = RunStep | CancelStep | ChildCommand


class LimitKey(Struct, frozen=True, gc=False):
    """A limit that a step has to hold while it runs.

    Attributes:
        name: Of the limit.
        key: Text of the value of its key; ``""`` for one limit for all.
        numbers: What the definition says of it.
    """

    name: str
    key: str
    numbers: Numbers


class ReadyStep(Struct, frozen=True, gc=False):
    """A step that needs only a slot.

    Attributes:
        step: Its key, to hand to ``start``.
        order: Its place in the definition: among equals the lower starts first.
        node: What it is in the definition.
        limits: What it has to hold while it runs.
    """

    step: str
    order: int
    node: Node
    limits: tuple[LimitKey, ...] = ()
