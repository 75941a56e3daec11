"""Every option of treadle: its default, its unit and the environment variable that sets it. One place.

``Settings()`` holds the defaults; ``Settings.from_environment()`` reads ``TREADLE_<NAME>`` for each field.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from treadle.errors import ValidationError

if TYPE_CHECKING:
    from collections.abc import Mapping

ENVIRONMENT_PREFIX = "TREADLE_"


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """Limits and periods.

    Attributes:
        max_nodes: Nodes of one workflow.
        max_connections: Connections of one workflow.
        max_document_bytes: Bytes of one document, before it is parsed.
        max_nesting: Depth of lists and objects in documents, inputs and results.
        max_payload_bytes: Encoded bytes of one input, one step's parameters or one step's output.
        max_items: Items of one map.
        max_depth: Executions within each other: a workflow node in a workflow that a workflow node started, and so on.
        inline_payload_bytes: A larger value is kept apart from the turn that holds it, once for all turns that do.
        max_kept_events: Events sent to one execution that it keeps because no step waits for them yet.
        keep_events_ms: How long an event is kept that was sent to no execution in particular and that nobody waits for.
        max_error_chars: Characters kept of an error's message.
        step_threads: Threads for sync actions; 0 means as many as ``max_concurrent_steps``.
        active_executions: Executions with steps that run or wait for a slot; a start beyond it waits.
        start_wait_ms: How long a start waits for that before it is refused.
        idle_executions: Executions that only wait and are kept in memory; one more leaves it until something happens.
        max_schedules: Schedules of one file; one more is refused.
        grace_ms: Wait for attempts in flight at close, and for a cancelled body to end.
        store_retry_ms: Wait before a failing store is tried again.
        keep_ms: How long an execution is kept after its end, where the engine is not told; 0 means for ever.
        prune_every_ms: Between two looks for executions that have been kept long enough.
        inbox_poll_ms: Between two looks of the engine into the folder where other processes leave their commands.
    """

    max_nodes: int = 50_000
    max_connections: int = 500_000
    max_document_bytes: int = 16 * 1024 * 1024
    max_nesting: int = 64
    max_payload_bytes: int = 4 * 1024 * 1024
    max_items: int = 100_000
    max_depth: int = 32
    inline_payload_bytes: int = 16 * 1024
    max_kept_events: int = 1_000
    keep_events_ms: int = 7 * 24 * 3_600 * 1_000
    max_error_chars: int = 4_000
    step_threads: int = 0
    active_executions: int = 10_000
    start_wait_ms: int = 60_000
    idle_executions: int = 128
    max_schedules: int = 100_000
    grace_ms: int = 10_000
    store_retry_ms: int = 500
    keep_ms: int = 0
    prune_every_ms: int = 60_000
    inbox_poll_ms: int = 200

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Return the settings with each ``TREADLE_<NAME>`` of ``environment`` (default: the process's) in place.

        Raises:
            ValidationError: A value is not a whole number of 0 or more; the message names the variable.
        """
        source = os.environ if environment is None else environment
        given = {}
        for name in cls.__struct_fields__:
            variable = ENVIRONMENT_PREFIX + name.upper()
            if variable in source:
                given[name] = _whole_number(variable, source[variable])
        return cls(**given)

    def replace(self, **changes: int) -> Settings:
        """Return a copy with ``changes``."""
        return msgspec.structs.replace(self, **changes)


def _whole_number(variable: str, text: str) -> int:
    digits = text.strip().replace("_", "")
    if not (digits.isascii() and digits.isdigit()):
        raise ValidationError(f"{variable} must be a whole number of 0 or more, not {text!r}")
    return int(digits)
