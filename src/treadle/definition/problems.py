"""What is wrong with a document, gathered while it is read: every problem with its path; none stops the reading."""

from __future__ import annotations

import difflib
import itertools
import json
import re
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias, get_args

from treadle.model import Problem, Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Path: TypeAlias = tuple[str | int, ...]
"""Keys and indices from the root of the document."""

Code: TypeAlias = Literal[
    # the source
    "bad_key",
    "bad_number",
    "bad_text",
    "duplicate_key",
    "not_plain",
    "syntax",
    "too_deep",
    "too_large",
    "unreadable",
    "yaml_feature",
    # the shape
    "bad_duration",
    "bad_id",
    "bad_value",
    "conflict",
    "misplaced_key",
    "missing_key",
    "too_many",
    "unknown_key",
    "unsupported_version",
    "wrong_type",
    # the meaning
    "bad_condition",
    "bad_expression",
    "bad_schema",
    "bad_secret",
    "cycle",
    "duplicate_id",
    "hidden_name",
    "join_never_met",
    "lone_else",
    "missing_parameter",
    "no_way_on",
    "no_ancestor",
    "unknown_action",
    "unknown_name",
    "unknown_node",
    "unknown_parameter",
    # warnings
    "maybe_missing",
    "never_true",
    "reserved_id",
    "unfit_parameter",
    "unreachable",
]
CODES: Final[tuple[str, ...]] = get_args(Code)

_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_SHOWN_CHARS: Final = 60
_COMPARISONS: Final = 5_000
"""Names that one ``Nearest`` compares in all; hints are a kindness and must not cost seconds."""


class Finding(NamedTuple):
    """A problem before its place in the text is known; ``on_key`` points at the key and not at its value."""

    code: Code
    path: Path
    message: str
    hint: str = ""
    severity: Severity = Severity.ERROR
    on_key: bool = False


class Findings:
    """All findings of one document, in the order they were made."""

    def __init__(self) -> None:
        self.all: list[Finding] = []

    def error(self, code: Code, path: Path, message: str, *, hint: str = "", on_key: bool = False) -> None:
        """Note what is certainly wrong."""
        self.all.append(Finding(code, path, message, hint, Severity.ERROR, on_key))

    def warning(self, code: Code, path: Path, message: str, *, hint: str = "") -> None:
        """Note what may be wrong."""
        self.all.append(Finding(code, path, message, hint, Severity.WARNING))


class Nearest:
    """Finds the known name that a misspelt one is probably meant to be."""

    def __init__(self) -> None:
        self._left = _COMPARISONS

    def hint(self, name: str, known: Iterable[str]) -> str:
        """Return ``did you mean "timeout"?``, or ``""`` where nothing is near."""
        # A name whose length differs by more than half is never near enough: cheaper to see than to compute.
        near = (one for one in known if 2 * abs(len(one) - len(name)) <= max(len(one), len(name)))
        compared = list(itertools.islice(near, self._left))
        self._left -= len(compared)
        matches = difflib.get_close_matches(name, compared, n=1, cutoff=0.6)
        return f'did you mean "{matches[0]}"?' if matches else ""


def path_text(path: Path) -> str:
    """Return a path as people write it: ``nodes[2].config.parameters["a.b"]``; ``""`` for the root."""
    text = "".join(_part_text(part) for part in path)
    return text.removeprefix(".")


def quoted(text: str) -> str:
    """Return ``text`` in double quotes for a message: one line, of bounded length."""
    short = text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "..."
    return json.dumps(short, ensure_ascii=not short.isprintable())


def to_problems(findings: Sequence[Finding], locate: Callable[[Path, bool], tuple[int, int]]) -> list[Problem]:
    """Return findings as problems in the order of the text; those without a place keep the order they were made in.

    Args:
        findings: What was found.
        locate: The 1-based line and column of a path (of its key if the second argument says so), or ``(0, 0)``.
    """
    problems = [
        Problem(one.code, one.message, path_text(one.path), one.severity, *locate(one.path, one.on_key), one.hint)
        for one in findings
    ]
    return sorted(problems, key=lambda one: (one.line, one.column))


def _part_text(part: str | int) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    return f".{part}" if _IDENTIFIER.match(part) else f"[{json.dumps(part, ensure_ascii=not part.isprintable())}]"
