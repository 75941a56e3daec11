"""``import treadle`` is light: what is heavy loads when it is used.

What was loaded is looked at instead of how long it took, since the clock of a shared machine says little.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SRC = Path(__file__).parents[2] / "src"
HEAVY = {"asyncio", "yaml", "jsonschema_rs", "typer", "rich", "sqlite3", "cronsim", "zoneinfo"}


def _loaded_by(statements: str) -> set[str]:
    # What the environment itself loads at start (a .pth file, a sitecustomize) is not counted.
    code = (
        f"import sys; sys.path.insert(0, {str(SRC)!r}); before = set(sys.modules)\n"
        f"{statements}\nprint(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


def test_import_treadle_loads_nothing_heavy() -> None:
    assert _loaded_by("import treadle") & HEAVY == set()


def test_import_treadle_loads_nothing_of_the_test_kit_and_the_kit_loads_pytest_only_as_its_plugin() -> None:
    assert [name for name in _loaded_by("import treadle") if name.startswith("treadle.testing")] == []
    everything = "import treadle.testing as t\nfor name in t.__all__: assert getattr(t, name) is not None, name"
    loaded = _loaded_by(everything)
    assert "treadle.testing.rehearsal" in loaded
    assert loaded & {"pytest", "hypothesis", "treadle.testing.plugin", "sqlite3"} == set()
    assert _loaded_by("import treadle.testing") & {"asyncio", "treadle.testing.rehearsal"} == set()


def test_every_public_name_resolves_and_the_list_of_names_is_complete() -> None:
    loaded = _loaded_by("import treadle\nfor name in treadle.__all__: assert getattr(treadle, name) is not None, name")
    assert {"treadle.engine", "treadle.model"} <= loaded
