"""Commands of other processes about schedules: how they are written, and how the engine carries them out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from treadle.errors import ValidationError
from treadle.model import decode_workflow, definition_hash, encode_workflow
from treadle.schedules import Spec, encode_spec
from treadle.store.inbox import Letter

if TYPE_CHECKING:
    from treadle.drivers.protocol import Schedules
    from treadle.model import Workflow

ScheduleVerb: TypeAlias = Literal["schedule", "unschedule", "pause_schedule", "resume_schedule", "trigger_schedule"]
VERBS: Final = frozenset(get_args(ScheduleVerb))


def schedule_letter(schedule_id: str, spec: Spec, workflow: Workflow, request: str, *, replaces: bool) -> Letter:
    """Return the command that adds a schedule."""
    inputs = {
        "spec": Raw(encode_spec(spec)),
        "workflow": Raw(encode_workflow(workflow)),
        "replaces": Raw(msgspec.json.encode(replaces)),
    }
    return Letter("schedule", schedule_id, request, inputs)


async def carry_out(schedules: Schedules, letter: Letter) -> bool:
    """Do what a command asks for, and return whether it was accepted."""
    match letter.verb:
        case "schedule":
            await _add(schedules, letter)
            return True
        case "unschedule":
            return await schedules.remove(letter.execution_id)
        case "pause_schedule":
            return await schedules.pause(letter.execution_id)
        case "resume_schedule":
            return await schedules.resume(letter.execution_id)
        case "trigger_schedule":
            # Other commands wait behind this one, so it does not wait for room.
            return await schedules.trigger(letter.execution_id, letter.request, waits=False) is not None
        case _:
            raise ValidationError(f"{letter.verb!r} is no command about schedules")


async def _add(schedules: Schedules, letter: Letter) -> None:
    try:
        spec = msgspec.json.decode(letter.inputs["spec"], type=Spec)
        workflow = decode_workflow(letter.inputs["workflow"])
        replaces = msgspec.json.decode(letter.inputs.get("replaces", Raw(b"false")), type=bool)
        spec = replace(spec, definition_hash=definition_hash(workflow))
        await schedules.add(letter.execution_id, spec, workflow, replaces=replaces)
    except (KeyError, ValueError, RecursionError) as error:  # msgspec's errors are among the second
        raise ValidationError(f"this is no schedule: {error}") from error
