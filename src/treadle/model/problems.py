"""What is wrong with a document or an argument."""

from __future__ import annotations

from enum import Enum

from msgspec import Struct


class Severity(str, Enum):
    """``error``: certain, the definition is refused. ``warning``: may be meant; an error under ``strict``."""

    ERROR = "error"
    WARNING = "warning"


class Problem(Struct, frozen=True, gc=False, omit_defaults=True):
    """One thing wrong with a document or an argument.

    Attributes:
        code: Stable name such as ``unknown_key``.
        message: What is wrong, without the place.
        path: Where in the document, such as ``nodes[2].config.retry.max_attempts``; ``""`` for the whole.
        severity: Error or warning.
        line: 1-based line for documents read from text; 0 where there is none.
        column: 1-based column, as ``line``.
        hint: What to do, such as ``did you mean "timeout"?``; may be empty.
        file: The document, where several were read; ``""`` otherwise.
    """

    code: str
    message: str
    path: str = ""
    severity: Severity = Severity.ERROR
    line: int = 0
    column: int = 0
    hint: str = ""
    file: str = ""

    def __str__(self) -> str:
        file = f"{self.file}:" if self.file else ""
        place = f"{file}{self.line}:{self.column}: " if self.line else f"{file} " if file else ""
        where = f"{self.path}: " if self.path else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}{where}{self.message}{hint}"
