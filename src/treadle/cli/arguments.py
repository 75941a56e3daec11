"""What is typed: options, inputs, modules with actions, and the exit codes."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from treadle import EnvironmentSecrets, ExecutionStatus, FileSecrets, Limit, ValidationError, read_json
from treadle.cli.output import INTERRUPTED, fail

if TYPE_CHECKING:
    from types import ModuleType

    from treadle import SecretProvider

EXIT_CODES: Final = {
    ExecutionStatus.COMPLETED: 0,
    ExecutionStatus.FAILED: 1,
    ExecutionStatus.PAUSED: 3,
    ExecutionStatus.CANCELLED: 4,
    ExecutionStatus.TIMED_OUT: 5,
}

DEFAULT_DB: Final = Path("treadle.db")

File = Annotated[Path, typer.Argument(help="A workflow as YAML or JSON.")]
Workflows = Annotated[
    list[Path] | None,
    typer.Option("--workflows", help="Workflows that steps run, or folders of them."),
]
OtherFile = Annotated[Path | None, typer.Option("--workflow", help="Another workflow, as YAML or JSON.")]
ExecutionId = Annotated[str, typer.Argument(help="Id of the execution.")]
Db = Annotated[Path, typer.Option(help="The SQLite file of the engine.")]
Set = Annotated[list[str] | None, typer.Option("--set", "-i", help="One input, name=value (JSON, or else text).")]
InputFile = Annotated[Path | None, typer.Option("--input", help="Inputs as a JSON file.")]
Slots = Annotated[int, typer.Option("--max-concurrent-steps", min=1, help="How many steps run at a time.")]
Limits = Annotated[
    list[str] | None,
    typer.Option(
        "--limit", help="NAME=5 steps at a time, NAME=10/1s starts in a time, or NAME=5,10/1s; may be repeated."
    ),
]
Actions = Annotated[list[str] | None, typer.Option(help="A module or a file with actions; may be repeated.")]
SecretsPath = Annotated[
    Path | None,
    typer.Option("--secrets", help="A folder with a file for each secret, or a JSON file; else TREADLE_SECRET_<NAME>."),
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="The file to write; standard output without it.")]
FILTERS: Final = "workflow, status, tag.NAME, key, prefix, search, since, until"
Where = Annotated[
    list[str] | None, typer.Option(help=f"Which executions: NAME=VALUE of {FILTERS}. May be repeated; all must match.")
]
OneOf = Annotated[str | None, typer.Argument(help="Id of the execution; or, instead, --where.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="With --where: only count what matches.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="With --where: do not ask first.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def need_file(db: Path) -> None:
    """End the command if there is no such database: reading must not make one."""
    if not db.exists():
        fail(f"there is no file {db}; name the engine's with --db")


def read_pairs(pairs: list[str], what: str) -> list[tuple[str, str]]:
    """Return name and text of each ``name=value``."""
    found: list[tuple[str, str]] = []
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not name or not equals:
            fail(f"{what} is name=value, not {pair!r}")
        found.append((name, text))
    return found


def read_inputs(file: Path | None, pairs: list[str]) -> dict[str, Any]:
    """Return the inputs of a JSON file with each ``name=value`` over them."""
    found = {} if file is None else _read_input_file(file)
    found.update((name, read_value(name, text)) for name, text in read_pairs(pairs, "an input"))
    return found


def _read_input_file(file: Path) -> dict[str, Any]:
    try:
        found = read_json(file.read_bytes())
    except OSError as error:
        fail(f"cannot read the inputs of {file}: {error.strerror}")
    except ValidationError as error:
        fail(f"the inputs of {file}: {error}")
    if not isinstance(found, dict):
        fail(f"the inputs of {file} must be a JSON object")
    return found


def read_value(name: str, text: str) -> Any:  # noqa: ANN401 - a JSON value
    """Return JSON as what it says, other text as it is; what begins like an object or a list was meant as one."""
    try:
        return read_json(text)
    except ValidationError as error:
        if text.lstrip()[:1] in ("{", "["):
            quoted = shlex.quote(f"{name}={json.dumps(text)}")
            fail(f"the input {name!r} is no JSON: {error}; if text is meant: -i {quoted}")
        return text


def read_secrets(path: Path | None) -> list[SecretProvider]:
    """Return who knows the secrets: the given folder or file, and behind it the environment."""
    if path is None:
        return [EnvironmentSecrets()]
    if not path.exists():
        fail(f"there is no file or folder {path} with secrets")
    return [FileSecrets(path), EnvironmentSecrets()]


def read_limits(pairs: list[str] | None) -> dict[str, Limit]:
    """Return limits by name; end the command with every one that is wrong."""
    found: dict[str, Limit] = {}
    problems: list[str] = []
    for pair in pairs or []:
        name, _, text = pair.rpartition("=")
        if not name.strip():
            problems.append(f"--limit {pair}: it is NAME=5, NAME=10/1s or NAME=5,10/1s")
            continue
        if name in found:
            problems.append(f"--limit {pair}: {name} is given twice; both numbers of one are {name}=5,10/1s")
        try:
            found[name] = Limit.parse(text)
        except ValidationError as error:
            problems.append(f"--limit {pair}: {error}")
    if problems:
        fail("\nerror: ".join(problems))
    return found


def import_actions(names: list[str] | None) -> list[ModuleType]:
    """Import the modules with actions: each by dotted name, or a Python file by its path."""
    return [_import(name) for name in dict.fromkeys(names or [])]


def _import(name: str) -> ModuleType:
    path = Path(name)
    if path.suffix == ".py" or "/" in name or name in (".", ".."):
        if not path.is_file():
            fail(f"there is no file {name}")
        # What stands beside it can be imported, but takes the place of nothing that Python or we import by that name.
        sys.path.append(str(path.parent.resolve()))
        load = _load_file
    else:
        sys.path.insert(0, str(Path.cwd()))
        load = importlib.import_module
    try:
        return load(name)
    except KeyboardInterrupt:
        fail("stopped", code=INTERRUPTED)
    except BaseException as error:  # noqa: BLE001 - whatever the module raises, the user gets one line
        fail(f"the actions of {name} cannot be imported: {type(error).__name__}: {error}")


def _load_file(name: str) -> ModuleType:
    # Under a name of its own, so that a file called json.py does not take the place of Python's.
    own = f"_treadle_actions_{hashlib.sha256(str(Path(name).resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(own, name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[own] = module
    spec.loader.exec_module(module)
    return module
