"""What happened in one execution of a rehearsal: its path, its steps, its waits, and the story behind each value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle import ValidationError
from treadle.paths import first_steps, is_step
from treadle.testing.errors import RehearsalError
from treadle.testing.story import ToldDict, ToldList, ToldText, path, tell, told_dict, told_list, told_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from treadle.model import ExecutionState, HistoryEvent, JsonValue, StepError
    from treadle.testing.driving import Director, Look


class Seen:
    """One execution as it stood when the last verb returned."""

    def __init__(self, director: Director, execution_id: str) -> None:
        self._director = director
        self._execution_id = execution_id

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.story()}>"

    @property
    def _look(self) -> Look:
        look = self._director.looks.get(self._execution_id)
        if look is None:
            raise RehearsalError("the execution did not begin")
        return look

    @property
    def state(self) -> ExecutionState:
        """Return the state of the execution."""
        return self._look.state

    @property
    def history(self) -> Sequence[HistoryEvent]:
        """Return every event, in order."""
        return self._look.history

    @property
    def status(self) -> ToldText:
        """Return the status as text."""
        return told_text(self.state.status.value, self.story())

    @property
    def path(self) -> ToldList:
        """Return the steps in the order they started, each once."""
        return told_list(path(self.history), self.story())

    @property
    def skipped(self) -> ToldList:
        """Return the steps that were skipped, in the order of the definition."""
        return told_list(
            [name for name, step in self.state.steps.items() if step.status.value == "SKIPPED"], self.story()
        )

    @property
    def statuses(self) -> ToldDict:
        """Return the status of each step, as text."""
        return told_dict({name: step.status.value for name, step in self.state.steps.items()}, self.story())

    @property
    def attempts(self) -> ToldDict:
        """Return how many attempts were made, by step; one that made none is left out."""
        counts = {name: step.attempt for name, step in self.state.steps.items() if step.attempt}
        return told_dict(dict(counts), self.story())

    @property
    def outputs(self) -> ToldDict:
        """Return what completed steps gave."""
        done = {name: step.output for name, step in self.state.steps.items() if step.status.value == "COMPLETED"}
        return told_dict(done, self.story())

    @property
    def errors(self) -> ToldDict:
        """Return the type of the error of each step that did not end well."""
        failed = {
            name: step.error.type
            for name, step in self.state.steps.items()
            if step.error is not None and step.status.value in ("FAILED", "TIMED_OUT")
        }
        return told_dict(dict(failed), self.story())

    @property
    def undone(self) -> ToldList:
        """Return the steps that were undone, in that order."""
        undone = [name for name, one in self.state.compensations.items() if one.status.value == "COMPLETED"]
        return told_list(undone, self.story())

    @property
    def output(self) -> JsonValue:
        """Return the output of the execution; None until COMPLETED."""
        return self.state.output

    @property
    def error(self) -> StepError | None:
        """Return the error of the execution; None if it has none."""
        return self.state.error

    @property
    def waiting_for(self) -> ToldList:
        """Return the names of missing inputs."""
        return told_list(self.state.waiting_for, self.story())

    def wait_seconds(self, step: str) -> list[float]:
        """Return the waits between the attempts of a step, in seconds."""
        self._need_step(step)
        return [
            event.data["delay_ms"] / 1000
            for event in self.history
            if event.kind == "AttemptFailed" and event.step == step
        ]

    def story(self) -> str:
        """Return what happened, a line for each event."""
        look = self._director.looks.get(self._execution_id)
        return "nothing yet" if look is None else tell(look.state, look.history)

    def _need_step(self, step: str) -> None:
        if not is_step(self._look.workflow, step):
            known = first_steps(self._look.workflow)
            raise ValidationError(f"the workflow has no step {step!r}; it has {', '.join(map(repr, known))}")
