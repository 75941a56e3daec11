"""Many workflows at once: of folders, files, data and the builder; every problem of every one of them is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from treadle.definition.documents import check_document
from treadle.errors import ValidationError
from treadle.model import Problem, Severity, Workflow, definition_hash
from treadle.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from treadle.definition.documents import Source
    from treadle.definition.known import Actions

SUFFIXES: Final = (".yaml", ".yml", ".json")
_DEFAULTS: Final = Settings()
_SHOWN_PROBLEMS: Final = 50


class _Named(NamedTuple):
    """A source and what problems call it: its file, or its place among what was given."""

    name: str
    source: Source


def load_workflows(
    sources: Iterable[Source],
    *,
    actions: Actions | None = None,
    strict: bool = False,
    settings: Settings = _DEFAULTS,
) -> list[Workflow]:
    """Return the validated workflows of all sources, in order; of a folder by file name.

    Args:
        sources: What ``load_workflow`` takes, and folders: of one every ``*.yaml``, ``*.yml`` and ``*.json`` in it is
            read, but none of the folders within it and no hidden file.
        actions: The registered actions, see ``Actions``; None where they are not known.
        strict: Warnings are errors.
        settings: Limits of size and nesting.

    Raises:
        ValidationError: A source has errors, a folder cannot be read, or two different workflows have one id;
            ``problems`` has all of it, each with its ``file``.
    """
    if isinstance(sources, (str, bytes, Path, Mapping)) or not isinstance(sources, Iterable):
        raise ValidationError(f"workflows is a list of folders, files, documents and workflows, not {sources!r:.80}")
    problems: list[Problem] = []
    loaded: list[tuple[_Named, Workflow]] = []
    for one in _all(sources, problems):
        workflow, found = check_document(one.source, actions=actions, strict=strict, settings=settings)
        problems += [msgspec.structs.replace(problem, file=one.name) for problem in found]
        if workflow is not None:
            loaded.append((one, workflow))
    problems += _same_ids(loaded)
    errors = [one for one in problems if one.severity is Severity.ERROR]
    if errors:
        lines = [str(one) for one in errors[:_SHOWN_PROBLEMS]]
        lines += [f"... and {len(errors) - _SHOWN_PROBLEMS:,} more"] if len(errors) > _SHOWN_PROBLEMS else []
        raise ValidationError("\n".join(lines), problems)
    return [workflow for _, workflow in loaded]


def _all(sources: Iterable[Source], problems: list[Problem]) -> Iterator[_Named]:
    for number, source in enumerate(sources):
        folder = _folder(source)
        if folder is not None:
            yield from _files(folder, problems)
        else:
            is_file = isinstance(source, Path) or _is_one_word(source)
            yield _Named(str(source) if is_file else f"workflows[{number}]", source)


def _folder(source: Source) -> Path | None:
    """Return a source as a folder, also one that is not there; None for a file and all else."""
    if not isinstance(source, (str, Path)) or not (isinstance(source, Path) or _is_one_word(source)):
        return None
    path = Path(source)
    try:
        return path if path.is_dir() or path.suffix.lower() not in SUFFIXES else None
    except (OSError, ValueError):  # no path at all
        return None


def _is_one_word(source: Source) -> bool:
    """Tell whether text is a path: the text of a document has more than one line, or a colon."""
    return isinstance(source, str) and bool(source.strip()) and not {"\n", ":", "{"} & set(source)


def _files(folder: Path, problems: list[Problem]) -> Iterator[_Named]:
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    except OSError as error:
        problems.append(Problem("unreadable", f"cannot read the folder: {error.strerror}", file=str(folder)))
        return
    yield from (_Named(str(path), path) for path in paths if path.is_file() and not path.name.startswith("."))


def _same_ids(loaded: Iterable[tuple[_Named, Workflow]]) -> list[Problem]:
    """Return a problem for each workflow whose id stands for another content already."""
    first: dict[str, tuple[_Named, Workflow]] = {}
    problems = []
    for one, workflow in loaded:
        before, other = first.setdefault(workflow.id, (one, workflow))
        if definition_hash(other) != definition_hash(workflow):
            message = f"another workflow {workflow.id!r} is in {before.name}; each has an id of its own"
            problems.append(Problem("duplicate_id", message, "id", file=one.name))
    return problems
