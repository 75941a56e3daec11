"""Who may import whom: every import of every module against one table, and three lists of what is not used at all.

The table is the one of the architecture: a pure machine, drivers around it, and the outside talking to the public names
only. A package that has no row fails, so that whoever adds one says where it stands.
"""

from __future__ import annotations

import ast
import graphlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]
PUBLIC = "treadle"
"""In a row: the public names, ``import treadle`` and ``from treadle import Name``, and nothing behind them."""

BASE = ("errors", "model", "settings", "durations", "limits", "paths", "values", "schemas", "expressions", "signatures")
"""Each may import those on its left; for type checking only (an error that holds a ``Problem``) all of them."""

ALLOWED: dict[str, set[str]] = {
    **{part: set(BASE[:place]) for place, part in enumerate(BASE)},
    "arguments": {*BASE},
    "bridge": set(),
    "machine": {*BASE},
    "definition": {*BASE},
    "actions": {*BASE},
    "secrets": {*BASE},
    "store": {*BASE},
    "feed": {*BASE},
    "schedules": {*BASE},
    "drivers": set(),
    "drivers.protocol": {*BASE, "schedules"},
    "drivers.local": {*BASE, "drivers.protocol", "machine", "actions", "secrets", "store", "feed", "schedules"},
    "drivers.temporal": {*BASE, "drivers.protocol", "machine", "actions"},
    "state_manager": {*BASE, "drivers.protocol", "arguments", "schedules"},
    "scheduling": {*BASE, "drivers.protocol", "arguments", "definition", "schedules"},
    # The engine wires the local driver to its store and actions where the caller names none.
    "engine": {
        *BASE,
        "arguments",
        "bridge",
        "drivers.protocol",
        "drivers.local",
        "definition",
        "state_manager",
        "actions",
        "secrets",
        "store",
        "feed",
        "scheduling",
    },
    "client": {
        *BASE,
        "arguments",
        "definition",
        "drivers.local",
        "store",
        "feed",
        "state_manager",
        "scheduling",
        "schedules",
    },
    "diagnosis": {*BASE, "drivers.local", "store"},
    "cli": {PUBLIC, "bridge"},
    "server": {PUBLIC},
    # What users test with stands above everything, and nothing imports it.
    "testing": {
        *BASE,
        PUBLIC,
        "machine",
        "definition",
        "actions",
        "secrets",
        "store",
        "feed",
        "drivers.protocol",
        "drivers.local",
    },
    # The drop-in facade is a third driver, and its default state manager keeps its own log in a store.
    "core": {PUBLIC, "machine", "definition", "expressions", "schemas", "store"},
}

LIBRARIES: dict[str, set[str]] = {
    "schemas": {"jsonschema_rs"},
    "definition": {"yaml"},
    "schedules": {"cronsim"},
    "cli": {"typer", "rich"},
    "testing": {"pytest", "hypothesis"},
}
"""Beyond the standard library and msgspec, which every part may import."""

PURE = ("machine", "expressions")
NOT_IN_PURE = {"asyncio", "time", "random", "uuid", "os", "threading", "logging", "sqlite3"}
"""What reads a clock, draws, waits or writes: equal inputs must give equal outputs, byte for byte."""

CLOCKS = {"datetime.now", "datetime.utcnow", "datetime.today", "date.today"}

NEVER_IMPORTED = {"pickle", "marshal", "shelve"}
NEVER_CALLED = {"eval", "exec", "__import__"}
NEVER_OF_YAML = {"load", "load_all", "full_load", "full_load_all", "unsafe_load", "unsafe_load_all"}
"""What turns data into code or into arbitrary objects."""


class Import(NamedTuple):
    """``target`` is a dotted module; of ``from a import b`` both ``a`` and ``a.b`` may be meant."""

    line: int
    target: str
    names: tuple[str, ...]
    for_types_only: bool


def violations(sources: Mapping[str, str]) -> list[str]:
    """Return a line for every import or call that is not allowed, given source texts by dotted module name.

    A package's ``__init__`` is named ``treadle.machine.__init__``.
    """
    return [f"{module}:{found}" for module in sorted(sources) for found in _of_module(module, sources)]


def _of_module(module: str, sources: Mapping[str, str]) -> Iterator[str]:
    tree = ast.parse(sources[module])
    part = _part(module)
    if part is None:
        yield f"1: no row in the table says what {module} may import"
        return
    for one in _imports(tree, module):
        yield from (f"{one.line}: {problem}" for problem in _of_import(part, one, sources))
    for node in ast.walk(tree):
        if problem := _of_expression(part, node):
            yield f"{node.lineno}: {problem}"  # type: ignore[attr-defined]  # an expression has a line


def _of_import(part: str, one: Import, sources: Mapping[str, str]) -> Iterator[str]:
    library = one.target.partition(".")[0]
    if library in NEVER_IMPORTED:
        yield f"{library} is never imported"
    elif library in NOT_IN_PURE and part in PURE:
        yield f"{part} is pure and does not import {library}"
    elif library == "yaml" and (names := NEVER_OF_YAML.intersection(one.names)):
        yield f"yaml.{min(names)} is never used"
    elif library in {"treadle", "core"}:
        for target in _own_parts(one, sources):
            if part != PUBLIC and target not in {part, *_row(part, one)}:
                yield f"{part} does not import {target}"
    elif library not in {"msgspec", *sys.stdlib_module_names, *LIBRARIES.get(part, ())}:
        yield f"{part} does not import the library {library}"


def _of_expression(part: str, node: ast.AST) -> str | None:
    match node:
        case ast.Call(func=ast.Name(id=name)) if name in NEVER_CALLED:
            return f"{name}() is never called"
        case ast.Attribute(value=ast.Name(id="builtins"), attr=name) if name in NEVER_CALLED:
            return f"{name}() is never called"
        case ast.Attribute(value=ast.Name(id="yaml"), attr=name) if name in NEVER_OF_YAML:
            return f"yaml.{name} is never used"
        case ast.Attribute(value=ast.Name(id=owner), attr=name) if part in PURE and f"{owner}.{name}" in CLOCKS:
            return f"{part} is pure and does not call {owner}.{name}"
    return None


def _row(part: str, one: Import) -> set[str]:
    return {*BASE} if part in BASE and one.for_types_only else ALLOWED.get(part, set())


def _own_parts(one: Import, sources: Mapping[str, str]) -> Iterator[str]:
    """Give the parts an import of our own code reaches; ``from treadle import engine`` reaches the module."""
    if one.target == PUBLIC and one.names:
        for name in one.names:
            behind = f"{PUBLIC}.{name}"
            yield (_part(behind) or behind) if _is_module(behind, sources) else PUBLIC
    else:
        yield _part(one.target) or one.target


def _is_module(name: str, sources: Mapping[str, str]) -> bool:
    return name in sources or f"{name}.__init__" in sources


def _part(module: str) -> str | None:
    """Return the row a module belongs to: the longest that it starts with; ``treadle`` for the public names."""
    words = module.removesuffix(".__init__").split(".")
    if words == [PUBLIC]:
        return PUBLIC
    if words[0] == "core":
        return "core"
    if words == [PUBLIC, "__main__"]:
        return "cli"
    inside = words[1:]
    rows = (".".join(inside[:length]) for length in range(len(inside), 0, -1))
    return next((row for row in rows if row in ALLOWED), None)


def _imports(tree: ast.Module, module: str) -> Iterator[Import]:
    typing_only = {id(inner) for node in ast.walk(tree) if _is_type_checking(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name, (), id(node) in typing_only) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            yield Import(node.lineno, _absolute(node, module), names, id(node) in typing_only)


def _absolute(node: ast.ImportFrom, module: str) -> str:
    if not node.level:
        return node.module or ""
    package = module.split(".")[: -node.level]
    return ".".join([*package, *([node.module] if node.module else [])])


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _tree() -> dict[str, str]:
    roots = [(ROOT / "src", ROOT / "src" / "treadle"), (ROOT / "backend", ROOT / "backend" / "core")]
    return {
        ".".join(path.relative_to(root).with_suffix("").parts): path.read_text(encoding="utf-8")
        for root, folder in roots
        for path in folder.rglob("*.py")
    }


def test_every_import_is_allowed_and_nothing_turns_data_into_code() -> None:
    sources = _tree()
    assert len(sources) > 40, "the tree was not found, so nothing was checked"
    assert violations(sources) == []


def test_the_arrows_of_the_table_point_one_way() -> None:
    graph = {part: {target for target in row if target != PUBLIC} for part, row in ALLOWED.items()}
    assert set(graphlib.TopologicalSorter(graph).static_order()) == set(ALLOWED)


@pytest.mark.parametrize(
    ("module", "source", "complaints"),
    [
        ("treadle.machine.plan", "import msgspec\nfrom treadle.model import Node\nfrom . import state", []),
        ("treadle.machine.plan", "from treadle.store.protocol import Store", ["1: machine does not import store"]),
        ("treadle.machine.plan", "from ..feed import Feed", ["1: machine does not import feed"]),
        ("treadle.machine.__init__", "from ..feed import Feed", ["1: machine does not import feed"]),
        ("treadle.machine.plan", "from treadle import feed", ["1: machine does not import feed"]),
        ("treadle.machine.plan", "from treadle import Workflow", ["1: machine does not import treadle"]),
        ("treadle.machine.plan", "import os.path", ["1: machine is pure and does not import os"]),
        (
            "treadle.expressions.functions",
            "def f():\n    from time import monotonic\n    return datetime.now()",
            [
                "2: expressions is pure and does not import time",
                "3: expressions is pure and does not call datetime.now",
            ],
        ),
        ("treadle.store.sqlite", "import sqlite3, time, orjson", ["1: store does not import the library orjson"]),
        ("treadle.definition.documents", "import yaml\nyaml.CSafeLoader", []),
        ("treadle.definition.documents", "yaml.load(text)", ["1: yaml.load is never used"]),
        ("treadle.definition.documents", "from yaml import full_load", ["1: yaml.full_load is never used"]),
        ("treadle.settings", "from treadle.values import NULL", ["1: settings does not import values"]),
        ("treadle.errors", "if TYPE_CHECKING:\n    from treadle.model import Problem", []),
        ("treadle.errors", "from treadle.model import Problem", ["1: errors does not import model"]),
        (
            "treadle.errors",
            "if TYPE_CHECKING:\n    from treadle.feed import Feed",
            ["2: errors does not import feed"],
        ),
        ("treadle.drivers.local.driver", "from treadle.drivers.local.clock import Clock", []),
        ("treadle.drivers.temporal.worker", "import treadle.store", ["1: drivers.temporal does not import store"]),
        ("treadle.cli.main", "import treadle\nfrom treadle import WorkflowEngine\nimport typer", []),
        ("treadle.cli.main", "from treadle.engine import WorkflowEngine", ["1: cli does not import engine"]),
        ("treadle.__main__", "from treadle.cli.main import main", []),
        ("core.workflow_engine", "from core.models import X\nfrom treadle.machine import advance", []),
        ("core.workflow_engine", "from treadle.feed import Feed", ["1: core does not import feed"]),
        ("treadle.novelty", "", ["1: no row in the table says what treadle.novelty may import"]),
        ("treadle.feed", "import pickle\neval('1')", ["1: pickle is never imported", "2: eval() is never called"]),
        ("treadle.feed", "cursor.exec(1)\nexecute('x')\nbuiltins.exec", ["3: exec() is never called"]),
        ("treadle.__init__", "import marshal\nfrom treadle.engine import X", ["1: marshal is never imported"]),
    ],
)
def test_the_check_sees(module: str, source: str, complaints: list[str]) -> None:
    known = {"treadle.feed": "", "treadle.machine.state": "", module: source}
    assert violations(known) == [f"{module}:{complaint}" for complaint in complaints]
