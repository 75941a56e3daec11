"""The application's errors, each also an error of treadle where treadle has one for it.

::

    AtomException
    ├── AgentExecutionError    a step failed; a retry may cure it     also treadle.AgentExecutionError
    ├── ValidationError        the call can never succeed: no retry   also treadle.ValidationError
    ├── ExternalServiceError   a service behind a step failed
    └── AuthenticationError    who calls is not known

``str()`` is ``[CODE] message``. Every constructor argument is kept in ``args``, so that errors survive pickling.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

import treadle

if TYPE_CHECKING:
    from collections.abc import Mapping


class ErrorSeverity(str, Enum):
    """How much an error matters to whoever operates the application."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    INFO = "info"


class ErrorCode(str, Enum):
    """Stable names of errors for logs and HTTP answers."""

    AUTHENTICATION_FAILED = "AUTH_1001"
    AGENT_EXECUTION_FAILED = "AGENT_2002"
    VALIDATION_FAILED = "VAL_7001"
    EXTERNAL_SERVICE_FAILED = "EXT_8003"
    INTERNAL_SERVER_ERROR = "INT_9001"


class AtomException(Exception):  # noqa: N818 - the application's name for it
    """Base of the application's errors.

    Attributes:
        message: What is wrong, without the code.
        error_code: Stable name of the kind of error; any text, where the application has names of its own.
        severity: How much it matters.
        details: What else is known, by name; empty where nothing is.
        cause: The error behind this one; None where there is none.
    """

    def __init__(
        self,
        message: str,
        error_code: ErrorCode | str = ErrorCode.INTERNAL_SERVER_ERROR,
        severity: ErrorSeverity = ErrorSeverity.MEDIUM,
        details: Mapping[str, Any] | None = None,
        cause: BaseException | None = None,
    ) -> None:
        # Subclasses stand beside treadle's errors, whose constructors take other arguments: no cooperative call.
        Exception.__init__(self, message, error_code, severity, details, cause)
        self.message = message
        self.error_code = error_code
        self.severity = severity
        self.details: dict[str, Any] = dict(details or {})
        self.cause = cause
        self.__cause__ = cause

    def __str__(self) -> str:
        code = self.error_code.value if isinstance(self.error_code, ErrorCode) else self.error_code
        return f"[{code}] {self.message}"


class AgentExecutionError(AtomException, treadle.AgentExecutionError):
    """A step failed; raised by actions for failures that a retry may cure.

    Attributes:
        task_id: Id of the step, under the name that is inherited.
        reason: What went wrong.
    """

    def __init__(
        self,
        task_id: str,
        reason: str,
        details: Mapping[str, Any] | None = None,
        cause: BaseException | None = None,
    ) -> None:
        message = f"Agent execution failed for task {task_id}: {reason}"
        AtomException.__init__(
            self, message, ErrorCode.AGENT_EXECUTION_FAILED, ErrorSeverity.HIGH, {"task_id": task_id, **(details or {})}
        )
        self.args = (task_id, reason, details, cause)
        self.task_id = task_id
        self.reason = reason
        self.cause = self.__cause__ = cause


class ValidationError(AtomException, treadle.ValidationError):
    """A value is wrong and stays wrong: a step that raises it is not retried.

    Attributes:
        field: Name of the value; None where no single one is at fault.
    """

    def __init__(self, message: str, field: str | None = None, details: Mapping[str, Any] | None = None) -> None:
        AtomException.__init__(self, message, ErrorCode.VALIDATION_FAILED, ErrorSeverity.LOW, details)
        self.args = (message, field, details)
        self.field = field
        self.problems = ()
        if field is not None:
            self.details["field"] = field


class ExternalServiceError(AtomException):
    """A service behind a step failed; a retry may cure it.

    Attributes:
        service: Its name.
    """

    def __init__(
        self,
        service: str,
        message: str,
        details: Mapping[str, Any] | None = None,
        cause: BaseException | None = None,
    ) -> None:
        text = f"{service}: {message}"
        known = {"service": service, **(details or {})}
        super().__init__(text, ErrorCode.EXTERNAL_SERVICE_FAILED, ErrorSeverity.HIGH, known, cause)
        self.args = (service, message, details, cause)
        self.service = service


class AuthenticationError(AtomException):
    """Who calls is not known."""

    def __init__(
        self,
        message: str = "Authentication failed",
        error_code: ErrorCode | str = ErrorCode.AUTHENTICATION_FAILED,
        details: Mapping[str, Any] | None = None,
        cause: BaseException | None = None,
    ) -> None:
        super().__init__(message, error_code, ErrorSeverity.HIGH, details, cause)
        self.args = (message, error_code, details, cause)
