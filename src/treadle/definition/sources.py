"""A source to plain data: which format it is, its size, its encoding, and where its parts stand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from treadle.definition.places import Fault, Lines, Locator, Parsed, nowhere
from treadle.definition.problems import Findings
from treadle.model import Problem
from treadle.values import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.definition import problems
    from treadle.definition.places import Place
    from treadle.model import JsonValue
    from treadle.settings import Settings

Format: TypeAlias = Literal["json", "yaml"]


class Loaded(NamedTuple):
    """A source as plain data.

    Attributes:
        value: What it holds; null stands where something was refused.
        is_read: False where nothing of use could be read.
        problems: What was wrong with the source itself.
        locate: Line and column of a path, see ``to_problems``.
    """

    value: JsonValue
    is_read: bool
    problems: list[Problem]
    locate: Callable[[problems.Path, bool], tuple[int, int]] = nowhere


def load_source(source: object, *, format: Format | None, settings: Settings) -> Loaded:  # noqa: A002 - the public name
    """Return the data of a path, of text or bytes, or of a mapping."""
    if isinstance(source, str) and _is_path(source):
        source = Path(source)
    if isinstance(source, Path):
        return _load_file(source, format, settings)
    if isinstance(source, (str, bytes, bytearray)):
        return load_text(source if isinstance(source, str) else bytes(source), format=format, settings=settings)
    if isinstance(source, Mapping):
        return _load_data(source, settings)
    return _refused("wrong_type", f"a workflow is read from a path, text or a mapping, not from {kind_of(source)}")


def load_text(text: str | bytes, *, format: Format | None, settings: Settings) -> Loaded:  # noqa: A002 - as above
    """Return the data of JSON (by default what begins with ``{``) or YAML text."""
    decoded = _decoded(text, settings)
    if isinstance(decoded, Loaded):
        return decoded
    chosen = format or ("json" if decoded.lstrip(" \t\r\n").startswith("{") else "yaml")
    parsed, root = _parse_json(decoded, settings) if chosen == "json" else _parse_yaml(decoded, settings)
    found: list[Problem] = []
    if parsed.faults:
        lines = Lines(decoded)
        found = [_fault_problem(fault, lines) for fault in parsed.faults]
    return Loaded(parsed.value, parsed.is_read, found, Locator(decoded, root))


def _is_path(text: str) -> bool:
    """Tell whether text is the path of a document: one line that is neither JSON nor ``key: value``."""
    line = text.strip()
    return bool(line) and "\n" not in line and Path(line).suffix.lower() in (".json", ".yaml", ".yml")


def _load_file(path: Path, format: Format | None, settings: Settings) -> Loaded:  # noqa: A002 - as above
    try:
        with path.open("rb") as file:
            data = file.read(settings.max_document_bytes + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return _refused("unreadable", f"cannot read {path}: {reason}")
    by_suffix: dict[str, Format] = {".json": "json", ".yaml": "yaml", ".yml": "yaml"}
    return load_text(data, format=format or by_suffix.get(path.suffix.lower()), settings=settings)


def _load_data(source: Mapping[object, object], settings: Settings) -> Loaded:
    from treadle.definition.plain import copy_plain
    from treadle.definition.problems import to_problems

    findings = Findings()
    value = copy_plain(source, settings, findings)
    is_read = isinstance(value, dict) and not any(one.code == "too_deep" for one in findings.all)
    return Loaded(value, is_read, to_problems(findings.all, nowhere))


def _decoded(text: str | bytes, settings: Settings) -> str | Loaded:
    """Return text without a byte order mark, or why it is none."""
    if len(text) > settings.max_document_bytes:
        return _refused("too_large", f"the document is longer than the limit of {settings.max_document_bytes:,} bytes")
    try:
        if isinstance(text, bytes):
            return text.decode("utf-8-sig")
        if len(text.encode()) > settings.max_document_bytes:
            return _refused(
                "too_large", f"the document is longer than the limit of {settings.max_document_bytes:,} bytes"
            )
    except UnicodeDecodeError as error:
        return _refused("unreadable", f"the document is not UTF-8: {error.reason} at byte {error.start}")
    except UnicodeEncodeError as error:
        fault = Fault("bad_text", "a lone surrogate: half of a character cannot be stored", error.start)
        assert isinstance(text, str)
        return Loaded(None, is_read=False, problems=[_fault_problem(fault, Lines(text))])
    return text.removeprefix("\ufeff")


def _parse_json(text: str, settings: Settings) -> tuple[Parsed, Callable[[], Place | None]]:
    from treadle.definition.json_source import parse_json, parse_json_with_places

    return parse_json(text, settings), lambda: parse_json_with_places(text, settings).root


def _parse_yaml(text: str, settings: Settings) -> tuple[Parsed, Callable[[], Place | None]]:
    from treadle.definition.yaml_source import parse_yaml

    parsed = parse_yaml(text, settings)
    return parsed, lambda: parsed.root


def _refused(code: problems.Code, message: str) -> Loaded:
    return Loaded(None, is_read=False, problems=[Problem(code, message)])


def _fault_problem(fault: Fault, lines: Lines) -> Problem:
    line, column = lines.place(fault.at)
    return Problem(fault.code, fault.message, line=line, column=column, hint=fault.hint)
