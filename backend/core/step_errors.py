"""Why a step cannot go on, in the words of the engine: plain errors whose text is the message alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import treadle
from core.exceptions import AgentExecutionError, ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterable


class MissingInputError(Exception):
    """A parameter reads a value that is not there. It pauses the execution.

    Attributes:
        missing_var: Path of the value, such as ``input.email``.
    """

    def __init__(self, message: str, missing_var: str) -> None:
        super().__init__(message, missing_var)
        self.missing_var = missing_var

    def __str__(self) -> str:
        return str(self.args[0])


class SchemaValidationError(Exception):
    """Parameters or a result break the step's JSON Schema.

    Attributes:
        schema_type: ``input`` or ``output``.
        errors: What is wrong, one text each.
    """

    def __init__(self, message: str, schema_type: str, errors: Iterable[str] | None = None) -> None:
        super().__init__(message, schema_type, errors)
        self.schema_type = schema_type
        self.errors = list(errors or ())

    def __str__(self) -> str:
        return str(self.args[0])


class StepTimeoutError(Exception):
    """An attempt took longer than the step's timeout.

    Attributes:
        step_id: Id of the step.
        timeout: The bound in seconds.
        repeats: The step may be tried again without being asked to.
    """

    repeats = True

    def __init__(self, message: str, step_id: str, timeout: float) -> None:
        super().__init__(message, step_id, timeout)
        self.step_id = step_id
        self.timeout = timeout

    def __str__(self) -> str:
        return str(self.args[0])


class UnknownServiceError(ValueError):
    """Nothing executes the service that a step names."""


class ServicesFailedError(ValueError):
    """Both the service of a step and its fallback failed.

    Attributes:
        errors: What each of them raised.
    """

    def __init__(self, message: str, errors: Iterable[BaseException] = ()) -> None:
        super().__init__(message, tuple(errors))
        self.errors = tuple(errors)

    def __str__(self) -> str:
        return str(self.args[0])


class SubWorkflowError(AgentExecutionError):
    """A workflow that runs as a step did not succeed. Its own steps were tried again already."""

    repeats = False


_PERMANENT = (
    treadle.ValidationError,
    ValidationError,  # where the application has its own, it need not be treadle's
    MissingInputError,
    SchemaValidationError,
    UnknownServiceError,
)


def is_permanent(error: BaseException) -> bool:
    """Tell whether an error stays the same however often the step is tried again."""
    if isinstance(error, ServicesFailedError):
        return all(is_permanent(one) for one in error.errors)
    return isinstance(error, _PERMANENT)


def is_repeated_unasked(error: BaseException) -> bool:
    """Tell whether a step without a ``retry`` of its own is tried again after an error."""
    return not is_permanent(error) and getattr(error, "repeats", True)
