"""What an action may know of the step it runs for, if it declares a parameter named ``context``."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from msgspec import Struct


class StepContext(Struct, frozen=True):
    """One attempt of one step.

    Attributes:
        execution_id: Of the execution.
        workflow_id: Of its workflow.
        step: Key of the step in ``ExecutionState.steps``.
        attempt: Number of this attempt; the first is 1.
        idempotency_key: The same on every attempt of this call of this step: hand it to whatever must not be done
            twice, since an attempt that was cut off runs again. A fallback and a compensation have keys of their own.
        deadline: When this attempt is cancelled; None without a ``timeout``.
        beat: Told that the attempt is alive, with details; ``heartbeat`` and ``progress`` call it.
        logger: Named ``treadle.actions``; its records carry the fields above in ``extra``.
        role: What this call is to the step: ``action``, ``fallback`` or ``compensation``.
    """

    execution_id: str
    workflow_id: str
    step: str
    attempt: int
    idempotency_key: str
    deadline: datetime | None
    logger: logging.Logger | logging.LoggerAdapter[logging.Logger]
    role: str = "action"
    beat: Callable[[object], None] = lambda _: None

    def heartbeat(self, details: object = None) -> None:
        """Say that the attempt is alive; may be called as often as one likes, from its thread too.

        An attempt of a node with ``heartbeat_timeout`` that is silent for longer has timed out.

        Args:
            details: What it is about, for whoever asks why the step is not done yet; None leaves what was said before.
        """
        self.beat(details)

    def progress(self, done: float, total: float | None = None, text: str = "") -> None:
        """Say how far the attempt has got; also a heartbeat.

        Args:
            done: How much of it is done.
            total: How much there is; None where that is not known.
            text: What is being done.
        """
        shown = f"{done:g}" if total is None else f"{done:g} of {total:g}"
        self.beat(f"{shown}: {text}" if text else shown)
