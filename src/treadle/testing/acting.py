"""What a test does to one execution of a rehearsal: the verbs of the engine, after each of which it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle import ValidationError
from treadle.testing.seen import Seen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from treadle.model import JsonValue
    from treadle.testing.driving import Until


class Rehearsed(Seen):
    """One execution of a rehearsal: that of the test, or one that a step of it has started."""

    def pause(self, *, until: Until = None) -> bool:
        """Start nothing new; as ``pause_execution``. What ``until`` kept back is recorded after the pause."""
        return self._director.drive(lambda engine: engine.pause_execution(self._execution_id), until)

    def resume(self, inputs: Mapping[str, JsonValue] | None = None, *, until: Until = None) -> bool:
        """Go on with a paused execution, with ``inputs`` merged over its input; as ``resume_workflow``."""
        return self._director.drive(lambda engine: engine.resume_workflow(self._execution_id, inputs), until)

    def cancel(self, reason: str = "", *, until: Until = None) -> bool:
        """Cancel what runs, and end; as ``cancel_execution``. What ``until`` kept back is not used."""
        return self._director.drive(lambda engine: engine.cancel_execution(self._execution_id, reason), until)

    def terminate(self, reason: str = "", *, until: Until = None) -> bool:
        """End at once; as ``terminate_execution``."""
        return self._director.drive(lambda engine: engine.terminate_execution(self._execution_id, reason), until)

    def cancel_step(self, step: str, *, until: Until = None) -> bool:
        """Cancel one step that has begun, with all that is in it, then go on; as ``WorkflowEngine.cancel_step``."""
        return self._director.drive(lambda engine: engine.cancel_step(self._execution_id, step), until)

    def retry(self, *, new_key: bool = False, until: Until = None) -> bool:
        """Go on with an execution that failed or timed out; as ``retry_execution``."""
        return self._director.drive(lambda engine: engine.retry_execution(self._execution_id, new_key=new_key), until)

    def submit(self, step: str, data: JsonValue, *, until: Until = None) -> bool:
        """Answer an input node, then go on; as ``submit_input``."""
        return self._director.drive(lambda engine: engine.submit_input(self._execution_id, step, data), until)

    def answer(self, step: str, answer: str, value: JsonValue = None, *, until: Until = None) -> None:
        """Say what becomes of a step whose attempts are spent, then go on; as ``WorkflowEngine.answer``."""
        self._director.drive(lambda engine: engine.answer(self._execution_id, step, answer, value), until)

    def send(self, name: str, key: JsonValue = None, data: JsonValue = None, *, until: Until = None) -> bool:
        """Send an event to this execution, then go on; as ``send_event``. True if a step has taken it.

        An event that no step waits for yet is kept for the one that will.
        """
        event_id = self._director.next_event()
        return self._director.drive(
            lambda engine: engine.send_event(name, key, data, execution_id=self._execution_id, event_id=event_id), until
        )

    def child(self, step: str) -> Rehearsed:
        """Return the execution that a step has started, to look at and to drive as this one.

        Args:
            step: Key of a ``workflow`` step, such as ``each[1].ship``. A map or a loop that runs a workflow in place
                of a body has a step of the id of that workflow in each item or iteration: ``each[1].order``.

        Raises:
            ValidationError: No step of that key has started one.
        """
        known = self._director.children(self._execution_id)
        name = f"{self._execution_id}/{step}"
        if name not in known:
            cut = len(self._execution_id) + 1
            listed = ", ".join(repr(one[cut:]) for one in known) or "none"
            raise ValidationError(f"step {step!r} has started no execution; those that have: {listed}")
        return Rehearsed(self._director, name)
