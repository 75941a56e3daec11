"""A workflow compiled once: its graph, and what holds for the whole execution."""

from __future__ import annotations

from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING

from treadle.machine.graph import Graph
from treadle.model import OnFailure, definition_hash
from treadle.settings import Settings

if TYPE_CHECKING:
    from treadle.model import Workflow

_DEFAULTS = Settings()


class OnMissingInput(str, Enum):
    """What a missing input stops: the step that asks (the other branches go on), or the whole execution."""

    PAUSE_STEP = "pause_step"
    PAUSE_EXECUTION = "pause_execution"


class Plan(Graph):
    """A compiled workflow. Immutable once made; shared by all executions of the definition.

    Attributes:
        hears_events: Some node waits for events; where none does, nothing has to be noted for them.
    """

    def __init__(self, workflow: Workflow, on_missing_input: OnMissingInput, limits: Settings) -> None:
        super().__init__(workflow, cancels_on_failure=workflow.on_failure is OnFailure.CANCEL)
        self.workflow = workflow
        self.limits = limits
        self.on_missing_input = on_missing_input
        self.number(0)
        self.hears_events = self.hears

    @cached_property
    def definition_hash(self) -> str:
        """Return the content name of the definition."""
        return definition_hash(self.workflow)


def compile(  # noqa: A001 - the house's word for it; nothing here needs the builtin
    workflow: Workflow, *, on_missing_input: OnMissingInput = OnMissingInput.PAUSE_STEP, limits: Settings = _DEFAULTS
) -> Plan:
    """Return the plan of a valid workflow.

    Args:
        workflow: As ``definition`` gives it: ids unique, ends known, no cycle.
        on_missing_input: What a missing input stops.
        limits: Size and depth of parameters and of the output.

    Raises:
        ExpressionError: An expression cannot be read; a workflow that was validated has none such.
    """
    return Plan(workflow, on_missing_input, limits)
