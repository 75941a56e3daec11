"""Every outside form of a workflow through one door: read, checked, and every problem told at once.

A workflow comes out only if there is no error; warnings come with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from treadle.definition.known import Actions, known_actions
from treadle.definition.layout import NOWHERE
from treadle.definition.problems import Findings, to_problems
from treadle.definition.reading import read_workflow
from treadle.definition.sources import Format, Loaded, load_source, load_text
from treadle.definition.validation import check_actions, check_workflow
from treadle.definition.writing import to_document, written_layout
from treadle.errors import ValidationError
from treadle.model import JsonValue, Problem, Severity, Workflow, encode_workflow
from treadle.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from treadle.definition.known import KnownActions
    from treadle.definition.problems import Finding

Source: TypeAlias = Workflow | Mapping[str, JsonValue] | Path | str | bytes
"""A workflow; a document as data; the path of one; or its text (one line that ends in .yaml or .json is a path)."""

_DEFAULTS: Final = Settings()
_SHOWN_PROBLEMS: Final = 20
_REMEMBERED: Final = 256
"""Workflows found valid whose digest is kept, so that starting one a thousand times checks it once."""


def read_document(
    source: Mapping[str, JsonValue] | Path | str | bytes,
    *,
    format: Format | None = None,  # noqa: A002 - the word people look for
    name: str = "",
    settings: Settings = _DEFAULTS,
) -> tuple[Workflow | None, list[Problem]]:
    """Return the workflow that a document says, and what is wrong with the document's shape.

    What the document means (cycles, expressions, schemas ...) is not looked at; ``check_document`` does both.

    Args:
        source: See ``Source``.
        format: Of text; by default what begins with ``{`` is JSON and all else YAML. A path goes by its suffix.
        name: What problems of the whole document call it.
        settings: Limits of size and nesting.

    Returns:
        The workflow, or None if there is an error; and every problem.
    """
    read = _Read(source, format, settings)
    problems = read.problems(name)
    return (None if _errors(problems) else read.workflow), problems


def check_document(
    source: Source,
    *,
    actions: Actions | None = None,
    strict: bool = False,
    format: Format | None = None,  # noqa: A002 - as in read_document
    name: str = "",
    settings: Settings = _DEFAULTS,
) -> tuple[Workflow | None, list[Problem]]:
    """Return the validated workflow with its warnings, or None with every problem.

    Args:
        source: See ``Source``.
        actions: The registered actions, see ``Actions``; None where they are not known.
        strict: Warnings are errors.
        format: See ``read_document``.
        name: See ``read_document``.
        settings: Limits of size and nesting.
    """
    read = _Read(source, format, settings)
    read.check()
    problems = read.problems(name, known_actions(actions), strict=strict)
    return (None if _errors(problems) else read.workflow), problems


def load_workflow(
    source: Source,
    *,
    actions: Actions | None = None,
    strict: bool = False,
    format: Format | None = None,  # noqa: A002 - as in read_document
    name: str = "",
    settings: Settings = _DEFAULTS,
) -> Workflow:
    """Return the validated workflow of a source; a ``Workflow`` comes back as it is.

    Takes what ``check_document`` takes, which also gives the warnings.

    Raises:
        ValidationError: It has errors; the message lists them, and ``problems`` has all, warnings included.
    """
    workflow, problems = check_document(
        source, actions=actions, strict=strict, format=format, name=name, settings=settings
    )
    if workflow is None:
        raise ValidationError(_message(_errors(problems), name), problems)
    return workflow


def validate(
    source: Source,
    *,
    actions: Actions | None = None,
    strict: bool = False,
    format: Format | None = None,  # noqa: A002 - as in read_document
    settings: Settings = _DEFAULTS,
) -> list[Problem]:
    """Return every problem of a source, in the order of its text; empty if there is none.

    Takes what ``check_document`` takes.
    """
    return check_document(source, actions=actions, strict=strict, format=format, settings=settings)[1]


def read_json(text: str | bytes, settings: Settings = _DEFAULTS) -> JsonValue:
    """Return the value of strict JSON: no NaN, no Infinity, no duplicate keys, no lone surrogates, nothing behind it.

    Raises:
        ValidationError: It is not that, or beyond the limits; every problem with its line and column.
    """
    return _plain(load_text(text, format="json", settings=settings))


def read_yaml(text: str | bytes, settings: Settings = _DEFAULTS) -> JsonValue:
    """Return the value of plain YAML 1.2 core: no tags, anchors, aliases, merge or duplicate keys, one document.

    Raises:
        ValidationError: As ``read_json``.
    """
    return _plain(load_text(text, format="yaml", settings=settings))


class _Read:
    """One source, read as far as it goes."""

    def __init__(self, source: Source, format: Format | None, settings: Settings) -> None:  # noqa: A002 - as above
        self._findings = Findings()
        self._source = source
        self._settings = settings
        self._digest = _digest(source, settings) if isinstance(source, Workflow) else None
        self.workflow: Workflow | None = None
        self._is_whole = True
        self._is_known = self._digest in _KNOWN
        if isinstance(source, Workflow) and self._is_known:
            self._loaded = Loaded(None, is_read=True, problems=[])
            self.workflow, self._layout = source, written_layout(source)
        else:
            self._loaded = _load(source, format, settings)
            self._read(settings)

    def _read(self, settings: Settings) -> None:
        self._layout = NOWHERE
        if not self._loaded.is_read:
            return
        self.workflow, self._layout, self._is_whole = read_workflow(self._loaded.value, settings, self._findings)
        if isinstance(self._source, Workflow) and self.workflow == self._source:
            self.workflow = self._source
        elif isinstance(self._source, Workflow) and not self._findings.all and not self._loaded.problems:
            message = "this workflow changes when it is written as a document and read back"
            self._findings.error("not_plain", (), message, hint="build it with WorkflowBuilder")

    def check(self) -> None:
        """Validate what was read; a workflow found good before is not looked at again."""
        if self._digest is not None and self._is_known:
            self._findings.all.extend(_KNOWN[self._digest])
        elif self.workflow is not None:
            check_workflow(self.workflow, self._layout, self._findings, is_whole=self._is_whole)
            self._remember()

    def _remember(self) -> None:
        found = self._findings.all
        digest = self._digest
        if digest is None and self.workflow is not None and not found and not self._loaded.problems:
            # Of a document without a warning, which would have a place in it: so that starting what was loaded from one
            # does not check it again.
            digest = _digest(self.workflow, self._settings)
        if digest is None or any(one.severity is Severity.ERROR for one in found):
            return
        while len(_KNOWN) >= _REMEMBERED:
            _KNOWN.pop(next(iter(_KNOWN)))
        _KNOWN[digest] = tuple(found)

    def problems(self, name: str, actions: KnownActions | None = None, *, strict: bool = False) -> list[Problem]:
        """Return all problems in the order of the text; those of the actions are looked for here."""
        findings = Findings()
        findings.all.extend(self._findings.all)
        if actions is not None and self.workflow is not None:
            check_actions(self.workflow, self._layout, findings, actions)
        problems = [*self._loaded.problems, *to_problems(findings.all, self._loaded.locate)]
        problems.sort(key=lambda one: (one.line, one.column))
        if name:
            problems = [one if one.path or one.line else _named(one, name) for one in problems]
        return [msgspec.structs.replace(one, severity=Severity.ERROR) for one in problems] if strict else problems


_KNOWN: Final[dict[bytes | None, tuple[Finding, ...]]] = {}
"""Warnings of the workflows (as ``Workflow``) that were found to have no error, by their digest; oldest first."""


def _digest(workflow: Workflow, settings: Settings) -> bytes | None:
    """Return the name of a workflow's whole content under these limits; None if it is no plain data."""
    try:
        content = encode_workflow(workflow)
    except Exception:  # noqa: BLE001 - whatever a foreign value raises, reading it back names the place
        return None
    return hashlib.sha256(content + repr(settings).encode()).digest()


def _load(source: Source, format: Format | None, settings: Settings) -> Loaded:  # noqa: A002 - as above
    if not isinstance(source, Workflow):
        return load_source(source, format=format, settings=settings)
    try:
        document = to_document(source)
    except Exception as error:  # noqa: BLE001 - one made by hand may hold anything, and then nothing can be named
        problem = Problem("not_plain", f"the workflow cannot be written as a document: {error}")
        return Loaded(None, is_read=False, problems=[problem])
    return load_source(document, format=None, settings=settings)


def _plain(loaded: Loaded) -> JsonValue:
    if loaded.problems:
        raise ValidationError(_message(loaded.problems, ""), loaded.problems)
    return loaded.value


def _errors(problems: Sequence[Problem]) -> list[Problem]:
    return [one for one in problems if one.severity is Severity.ERROR]


def _named(problem: Problem, name: str) -> Problem:
    return msgspec.structs.replace(problem, message=f"{name}: {problem.message}")


def _message(errors: Sequence[Problem], name: str) -> str:
    """Return problems one a line, the first of them if there are many."""
    lines = [f"{name}:{one}" if name and one.line else str(one) for one in errors[:_SHOWN_PROBLEMS]]
    if len(errors) > _SHOWN_PROBLEMS:
        lines.append(f"... and {len(errors) - _SHOWN_PROBLEMS:,} more")
    return "\n".join(lines)
