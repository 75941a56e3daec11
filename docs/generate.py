"""Writes the pages of ``docs/reference`` that say what the code says: ``python docs/generate.py``.

Each is made from the docstrings of the structs themselves, so a field without a description ends the run.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any, Final, get_args

import msgspec

from treadle import errors, model
from treadle.machine import events
from treadle.schedules import Schedule
from treadle.settings import ENVIRONMENT_PREFIX, Settings

FOLDER: Final = Path(__file__).parent / "reference"

COMMON: Final = {
    "at": "When it happened, in milliseconds since the epoch, by the engine's clock, which never goes back.",
    "step": "Key of the step in `ExecutionState.steps`.",
    "attempt": "Number of the attempt; the first is 1.",
    "error": "What failed: a `StepError`, see [states](states.md).",
    "child": "Id of the other execution.",
    "number": "Which body, from 0: the number of the item, or of the iteration.",
    "request": 'Id of the request, by which it counts once; `""` for none.',
}
"""Fields that mean the same in every event."""

STATES: Final = (
    model.ExecutionState,
    model.StepState,
    model.ItemCounts,
    model.CompensationState,
    model.StepError,
    model.ExecutionSummary,
    model.HistoryEvent,
    Schedule,
    model.Explanation,
    model.ExecutionFilter,
    model.BulkResult,
    model.WorkflowVersion,
    model.WorkflowRef,
)
ENUMS: Final = (model.ExecutionStatus, model.StepStatus, model.OnConflict, model.Reason)


_EVENTS: Final = """\
The log of an execution is a list of these facts, and its state is a fold over it. `history(execution_id)` and
`watch(...)` give them as `HistoryEvent` ([states](states.md)): `kind` is the name below, `at`, `step` and `attempt` are
its own fields, and `data` holds the rest. A field is only ever added, with a default."""

_STATES: Final = """\
What `get_execution_state`, `wait`, `run_workflow`, `list_executions`, `history`, `watch`, `explain` and
`list_schedules` give, and what lists, bulk verbs and the registry take and give. All are snapshots: they do not
change."""


def main() -> None:
    """Write every page."""
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    """Return the text of each page by file name."""
    return {"events.md": _events(), "states.md": _states(), "settings.md": _settings(), "errors.md": _errors()}


def _events() -> str:
    kinds = get_args(events.AnyEvent)
    parts = [
        "# Events",
        _EVENTS,
        "Every event has `at`: when it happened. Fields in brackets are left out where they have their default.",
    ]
    parts += [f"## {kind.__name__}\n\n{_prose(kind)}\n\n{_table(kind, skip='at')}".rstrip() for kind in kinds]
    return _page(parts)


def _states() -> str:
    parts = ["# States", _STATES]
    parts += [f"## {one.__name__}\n\n{_prose(one)}\n\n{_table(one)}" for one in STATES]
    parts += [
        f"## {one.__name__}\n\n{_prose(one)}\n\n{', '.join(f'`{value.value}`' for value in one)}" for one in ENUMS
    ]
    return _page(parts)


def _settings() -> str:
    described = _described(Settings)
    rows = [
        f"| `{field.name}` | `{ENVIRONMENT_PREFIX}{field.name.upper()}` | {field.default:,} | {described[field.name]} |"
        for field in msgspec.structs.fields(Settings)
    ]
    head = "| field | environment | default | means |\n|---|---|---|---|"
    intro = (
        "`WorkflowEngine(settings=Settings(...))`, or the environment. Names that end in `_ms` are milliseconds, in\n"
        "`_bytes` bytes, in `_chars` characters."
    )
    return _page(["# Settings", intro, "\n".join([head, *rows])])


def _errors() -> str:
    doc = inspect.getdoc(errors) or ""
    tree = inspect.cleandoc(doc.partition("::")[2].partition("Each has")[0])
    classes = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.TreadleError)]
    rows = [f"| `{one.__name__}` | `{one.code}` | {_prose(one).splitlines()[0]} |" for one in classes]
    intro = "Everything treadle raises. `code` is stable, ids are attributes, and every error survives pickling."
    table = "\n".join(["| error | code | means |", "|---|---|---|", *rows])
    return _page(["# Errors", intro, f"```text\n{tree}\n```", table])


def _page(parts: list[str]) -> str:
    return "\n\n".join([parts[0], "<!-- written by docs/generate.py from the docstrings -->", *parts[1:]]) + "\n"


def _prose(kind: type) -> str:
    text = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:")[0].strip()
    return text.replace("``", "`")


def _table(kind: type, skip: str = "") -> str:
    described = _described(kind)
    rows = []
    for field in msgspec.structs.fields(kind):
        if field.name != skip:
            meaning = described.get(field.name) or COMMON[field.name]
            name = f"`{field.name}`" if field.required else f"[`{field.name}`]"
            rows.append(f"| {name} | `{_type(field.type)}` | {meaning} |")
    return "\n".join(["| field | type | means |", "|---|---|---|", *rows]) if rows else ""


def _described(kind: type) -> dict[str, str]:
    """Return the descriptions of a struct's own ``Attributes``."""
    block = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:")[2]
    joined = re.sub(r"\n {8,}", " ", block)
    found = re.findall(r"^ {4}(\w+): (.*)$", joined, re.MULTILINE)
    return {name: text.replace("``", "`").replace("|", "\\|") for name, text in found}


def _type(kind: Any) -> str:  # noqa: ANN401 - what an annotation says
    text = inspect.formatannotation(kind)
    text = re.sub(r"\b(?:treadle\.\w+(?:\.\w+)*|datetime|typing|msgspec(?:\.\w+)*)\.", "", text)
    text = re.sub(r"ForwardRef\('(\w+)'\)", r"\1", text)
    text = re.sub(r"Union\[.*JsonValue.*\]|bool \| int.*JsonValue.*", "JSON", text)
    text = re.sub(r"\b(Any|Raw|JsonValue)\b", "JSON", text)
    return text.replace("NoneType", "None").replace("|", "\\|")


if __name__ == "__main__":
    main()
