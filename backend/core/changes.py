"""What happens to an execution's state, as facts that are kept: the state is a fold over them, and nothing else.

A change says what somebody set, never what came of it, so that changes made at the same time cannot undo each other:
each replaces the one entry it names. Its bytes are one turn of a treadle store, opaque to that store.

Values are JSON as Python's ``json`` writes it, in texts of their own: the application's numbers may be infinite or very
large, as they could be in the database it had before. What is read back is what the JSON says.
"""

from __future__ import annotations

import json
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Struct

from core.exceptions import ValidationError

ENDED: Final = frozenset({"COMPLETED", "FAILED", "PARTIAL", "CANCELLED", "TIMED_OUT"})
"""Statuses behind which nothing follows by itself."""

MAX_VALUE_CHARS: Final = 64 * 1024 * 1024
"""Of one value, as JSON. An application that ran without a limit is given a wide one."""

NULL: Final = "null"


class ExecutionCreated(Struct, frozen=True, tag="created"):
    """Somebody asked for an execution."""

    execution_id: str
    workflow_id: Any
    input: str
    at: str


class StepChanged(Struct, frozen=True, tag="step"):
    """Somebody said where a step stands; ``step`` is the id as the application has it, which need not be text."""

    step: Any
    status: str
    at: str
    output: str = NULL
    error: str | None = None


class StatusChanged(Struct, frozen=True, tag="status"):
    """Somebody said where the execution stands."""

    status: str
    at: str
    error: str | None = None


class InputsMerged(Struct, frozen=True, tag="inputs"):
    """Somebody gave inputs."""

    inputs: str
    at: str


class WorkflowKept(Struct, frozen=True, tag="workflow"):
    """The engine said what it runs. No change of the state: it is what a restart goes by."""

    workflow: str


Change: TypeAlias = ExecutionCreated | StepChanged | StatusChanged | InputsMerged | WorkflowKept

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Change] = msgspec.json.Decoder(Change)


def encode_change(change: Change) -> bytes:
    """Return the bytes of a change."""
    return _encoder.encode(change)


def decode_change(data: bytes) -> Change:
    """Return the change in bytes that ``encode_change`` gave.

    Raises:
        msgspec.DecodeError: They are none.
    """
    return _decoder.decode(data)


def encode_value(value: object) -> str:
    """Return the JSON of what the application hands over; tuples count as lists, keys as text.

    Raises:
        ValidationError: It has no JSON, or too much of it.
    """
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValidationError(f"a value cannot be kept as JSON: {error}") from error
    if len(text) > MAX_VALUE_CHARS:
        raise ValidationError(f"a value of {len(text):,} characters of JSON is more than {MAX_VALUE_CHARS:,}")
    return text


def decode_value(text: str) -> Any:  # noqa: ANN401 - a JSON value
    """Return a new value from what ``encode_value`` gave."""
    return json.loads(text)


class Fold:
    """One execution as its changes make it.

    Attributes:
        state: As the application reads it; None until it is created.
        workflow: JSON of what the engine runs; None where it said nothing.
    """

    __slots__ = ("_has_text_ids", "state", "workflow")

    def __init__(self) -> None:
        self._has_text_ids = True
        self.state: dict[str, Any] | None = None
        self.workflow: str | None = None

    @property
    def goes_on(self) -> bool:
        """Tell whether something follows by itself: not behind an end, and a pause may last for months."""
        return self.state is not None and self.state["status"] not in {*ENDED, "PAUSED"}

    def apply(self, change: Change) -> None:
        """Apply a change; every change of the state makes its version one higher."""
        if isinstance(change, WorkflowKept):
            self.workflow = change.workflow
            return
        if isinstance(change, ExecutionCreated):
            self.state = _created(change)
        state = self.state
        assert state is not None  # the first change creates it
        match change:
            case StepChanged():
                self._has_text_ids = self._has_text_ids and isinstance(change.step, str)
                _apply_step(state, change)
            case StatusChanged():
                state["status"], state["error"] = change.status, change.error
            case InputsMerged():
                state["input_data"].update(decode_value(change.inputs))
            case ExecutionCreated():
                pass
        state["version"] += 1
        state["updated_at"] = change.at

    def copy(self) -> dict[str, Any] | None:
        """Return the state; nobody else has any part of it."""
        state = self.state
        if state is None:
            return None
        if self._has_text_ids:
            return _copy(state)  # type: ignore[no-any-return]  # what it is given
        nested = {part: {key: _copy(value) for key, value in state[part].items()} for part in ("steps", "outputs")}
        return {key: nested.get(key) or _copy(value) for key, value in state.items()}

    def copy_workflow(self) -> dict[str, Any] | None:
        """Return what the engine runs."""
        return None if self.workflow is None else decode_value(self.workflow)

    def output(self, step_id: object) -> object:
        """Return what a completed step gave; None where it has not."""
        return None if self.state is None else _copy(self.state["outputs"].get(step_id))


def _created(change: ExecutionCreated) -> dict[str, Any]:
    return {
        "execution_id": change.execution_id,
        "workflow_id": change.workflow_id,
        "status": "PENDING",
        "version": 0,
        "input_data": decode_value(change.input),
        "steps": {},
        "outputs": {},
        "context": {},
        "created_at": change.at,
        "updated_at": change.at,
        "error": None,
    }


def _apply_step(state: dict[str, Any], change: StepChanged) -> None:
    entry: dict[str, Any] = {"id": change.step, "status": change.status}
    output = decode_value(change.output)
    if output is not None:
        entry["output"] = output
    if change.error is not None:
        entry["error"] = change.error
    state["steps"][change.step] = entry
    if change.status == "COMPLETED":
        state["outputs"][change.step] = output


def _copy(value: object) -> Any:  # noqa: ANN401 - a JSON value
    return json.loads(json.dumps(value))
