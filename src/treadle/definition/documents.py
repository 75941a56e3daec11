"""Documents to workflows: reads every form, notes every problem, and only then gives a workflow."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from treadle.definition.fields import Fields, Problems
from treadle.definition.reading import read_workflow
from treadle.definition.text import read_text
from treadle.definition.validation import check_workflow
from treadle.errors import ValidationError
from treadle.model import Problem, Severity, Workflow
from treadle.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Container

    from treadle.definition.text import Places
    from treadle.model import JsonValue

Source = Workflow | Mapping[str, "JsonValue"] | str | Path
"""A workflow, a document as data, the path of one, or its text (with a line break, or beginning with ``{``)."""


def read_document(
    source: Source, *, actions: Container[str] | None = None, settings: Settings | None = None
) -> tuple[Workflow | None, list[Problem]]:
    """Return the workflow of a document and all its problems; None if one of them is an error.

    Args:
        source: See ``Source``.
        actions: Names of registered actions, to be checked; None where they are not known.
        settings: Limits.
    """
    settings = settings or Settings()
    try:
        data, places = _data(source, settings)
    except ValidationError as error:
        return None, list(error.problems)
    problems = Problems(places)
    workflow = data if isinstance(data, Workflow) else read_workflow(Fields(data, "", problems), settings)
    check_workflow(workflow, problems, actions)
    if any(one.severity is Severity.ERROR for one in problems.found):
        return None, problems.found
    return workflow, problems.found


def validate(source: Source, *, actions: Container[str] | None = None, strict: bool = False) -> list[Problem]:
    """Return every problem of a document; with ``strict`` warnings count as errors."""
    _, problems = read_document(source, actions=actions)
    return [_strict(one) for one in problems] if strict else problems


def load_workflow(source: Source, *, actions: Container[str] | None = None, strict: bool = False) -> Workflow:
    """Return the workflow of a document.

    Raises:
        ValidationError: It has errors (with ``strict`` also warnings); the message and ``problems`` have them all.
    """
    workflow, problems = read_document(source, actions=actions)
    errors = [one for one in problems if strict or one.severity is Severity.ERROR]
    if workflow is None or errors:
        raise ValidationError("\n".join(str(one) for one in errors), errors)
    return workflow


def _strict(problem: Problem) -> Problem:
    return Problem(
        problem.code, problem.message, problem.path, Severity.ERROR, problem.line, problem.column, problem.hint
    )


def _data(source: Source, settings: Settings) -> tuple[JsonValue, Places]:
    if isinstance(source, Workflow | Mapping):
        return (source if isinstance(source, Workflow) else dict(source)), {}
    read = partial(read_text, settings=settings)
    if isinstance(source, str) and ("\n" in source or source.lstrip().startswith("{")):
        return read(source, is_yaml=not source.lstrip().startswith("{"))
    path = Path(source)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        problem = Problem(code="file", message=f"cannot read {path}: {reason}")
        raise ValidationError(str(problem), [problem]) from error
    return read(text, is_yaml=path.suffix.lower() != ".json")
