"""Every error treadle raises.

::

    TreadleError
    ├── ValidationError        the definition or an argument is wrong    .problems: every one, with its path
    │   └── ExpressionError    an expression cannot be read or evaluated .source .column
    ├── NotFoundError          no such execution, workflow, action       .kind .name .near
    ├── ConflictError          the call does not fit the current status  .execution_id .status
    ├── AgentExecutionError    an action failed for good                 .task_id .reason
    ├── SecretError            a step cannot have a secret               .name .is_permanent
    ├── StoreError             the log could not be read or written      .path
    │   ├── StoreLockedError   another process runs this file            .path .pid
    │   └── QuarantineError    one execution's log is damaged            .path .execution_id
    ├── UnavailableError       no engine answered in time                .path .pid
    ├── OverloadedError        the engine is behind; start again later   .limit
    └── ReplayError            log and definition disagree               .execution_id .sequence

Each has a stable ``code`` for HTTP, the command line and logs. Ids are attributes; nobody parses messages. Every
constructor argument is handed to ``super().__init__`` so that errors survive pickling.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from treadle.model import Problem


class TreadleError(Exception):
    """Base of every error of treadle."""

    code: ClassVar[str] = "treadle"


class ValidationError(TreadleError):
    """The definition or an argument is wrong.

    Raised by an action, it says that the call can never succeed: the step fails at once, without a retry.

    Attributes:
        message: What is wrong, in one or more lines.
        problems: Every problem found, each with its path; empty where a single argument is wrong.
    """

    code = "validation"

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message, tuple(problems))
        self.message = message
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return self.message


class ExpressionError(ValidationError):
    """An expression cannot be read, or cannot be evaluated on the values it met.

    Attributes:
        source: The expression.
        column: 1-based column of the place in ``source``; 0 where no single place is at fault.
    """

    code = "expression"

    def __init__(self, message: str, source: str = "", column: int = 0) -> None:
        super().__init__(message)
        self.args = (message, source, column)
        self.source = source
        self.column = column


class NotFoundError(TreadleError):
    """There is no execution, workflow or action of that name.

    Attributes:
        near: Names that may have been meant.
    """

    code = "not_found"

    def __init__(self, kind: str, name: str, near: Sequence[str] = ()) -> None:
        super().__init__(kind, name, tuple(near))
        self.kind = kind
        self.name = name
        self.near = tuple(near)

    def __str__(self) -> str:
        meant = f"; did you mean {' or '.join(repr(one) for one in self.near)}?" if self.near else ""
        return f"no {self.kind} named {self.name!r}{meant}"


class ConflictError(TreadleError):
    """The call does not fit what is already there."""

    code = "conflict"

    def __init__(self, message: str, execution_id: str, status: str = "") -> None:
        super().__init__(message, execution_id, status)
        self.message = message
        self.execution_id = execution_id
        self.status = status

    def __str__(self) -> str:
        return self.message


class AgentExecutionError(TreadleError):
    """An action failed; raised by actions for failures that a retry may cure.

    The name of the first parameter is inherited from the engine that treadle grew out of.
    """

    code = "action_failed"

    def __init__(self, task_id: str, reason: str) -> None:
        super().__init__(task_id, reason)
        self.task_id = task_id
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.task_id}: {self.reason}"


class SecretError(TreadleError):
    """A step cannot have a secret that its parameters name. The message never shows a value.

    Attributes:
        name: Of the secret.
        is_permanent: It is not there, or cannot be used; otherwise it could not be read now, and the step is retried.
    """

    code = "secret"

    def __init__(self, name: str, message: str, *, is_permanent: bool = True) -> None:
        super().__init__(name, message)
        self.name = name
        self.message = message
        self.is_permanent = is_permanent

    def __str__(self) -> str:
        return f"secret {self.name!r}: {self.message}"

    def __reduce__(self) -> tuple[object, ...]:
        return partial(SecretError, is_permanent=self.is_permanent), (self.name, self.message)


class StoreError(TreadleError):
    """The log could not be read or written. Its outcome is unknown: read again or stop, never guess."""

    code = "store"

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message, path)
        self.message = message
        self.path = path

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class StoreLockedError(StoreError):
    """Another process runs this database file. ``pid`` is 0 where the holder did not leave its number."""

    code = "store_locked"

    def __init__(self, path: str, pid: int = 0) -> None:
        holder = f"process {pid}" if pid else "another process"
        super().__init__(f"already in use by {holder}; one engine runs a file at a time", path)
        self.args = (path, pid)
        self.pid = pid


class QuarantineError(StoreError):
    """The log of one execution is damaged; it is set aside by name and all others go on."""

    code = "quarantine"

    def __init__(self, message: str, path: str, execution_id: str) -> None:
        super().__init__(f"execution {execution_id!r} is damaged: {message}", path)
        self.args = (message, path, execution_id)
        self.execution_id = execution_id


class UnavailableError(TreadleError):
    """No engine answered in time. The command is not lost: it waits, and is carried out by the engine that comes.

    Attributes:
        path: Of the database.
        pid: Of the process that runs an engine on it; None if nobody does, 0 if that process left no number.
    """

    code = "unavailable"

    def __init__(self, message: str, path: str = "", pid: int | None = None) -> None:
        super().__init__(message, path, pid)
        self.message = message
        self.path = path
        self.pid = pid

    def __str__(self) -> str:
        return self.message


class OverloadedError(TreadleError):
    """The engine is behind: it has as many executions in hand as it takes. Nothing was started; start again later.

    Attributes:
        limit: ``Settings.active_executions``.
    """

    code = "overloaded"

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return (
            f"the engine is behind: {self.limit:,} executions have steps that run or wait for a slot; try again later"
        )


class ReplayError(TreadleError):
    """The log and the definition disagree; one of them was changed by something other than treadle."""

    code = "replay"

    def __init__(self, message: str, execution_id: str = "", sequence: int = 0) -> None:
        super().__init__(message, execution_id, sequence)
        self.message = message
        self.execution_id = execution_id
        self.sequence = sequence

    def __str__(self) -> str:
        return self.message
