"""When a workflow starts by itself: cron times in a time zone, and what becomes of each of them.

Pure: from a schedule, how far it has come and what time it is, it says what to start. The driver keeps what it says
before it acts on it, so that each planned time is decided once, whatever crashes in between.
"""

from __future__ import annotations

from treadle.schedules.checking import Asked, check_id, check_schedule, input_problems
from treadle.schedules.cron import Cron
from treadle.schedules.model import Overlap, Progress, Run, Schedule, Spec, execution_id
from treadle.schedules.planning import advance, arrive, begin, due_at, end, next_due, refuse, stale_runs
from treadle.schedules.view import compile_input, render, view
from treadle.schedules.wire import decode, encode_progress, encode_spec

__all__ = [
    "Asked",
    "Cron",
    "Overlap",
    "Progress",
    "Run",
    "Schedule",
    "Spec",
    "advance",
    "arrive",
    "begin",
    "check_id",
    "check_schedule",
    "compile_input",
    "decode",
    "due_at",
    "encode_progress",
    "encode_spec",
    "end",
    "execution_id",
    "input_problems",
    "next_due",
    "refuse",
    "render",
    "stale_runs",
    "view",
]
