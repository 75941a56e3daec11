"""What an action may know of the step it runs for, if it declares a parameter named ``context``."""

from __future__ import annotations

import logging
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
