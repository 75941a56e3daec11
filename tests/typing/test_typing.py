"""Type checkers say of ordinary use that it is right, and of each mistake that it is one.

pyright runs on the Node.js that its ``nodejs`` extra brings from PyPI, so that no machine needs one.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FILES = ("ordinary_use.py", "mistakes.py")
pytestmark = pytest.mark.slow


def _run(*arguments: str | Path) -> str:
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False).stdout


def _mypy() -> set[tuple[str, int]]:
    said = _run("mypy", "--strict", "--no-error-summary", *(HERE / name for name in FILES))
    return {(one[1], int(one[2])) for one in re.finditer(r"^(?:.*/)?(\w+\.py):(\d+): error:", said, re.MULTILINE)}


def _pyright() -> set[tuple[str, int]]:
    said = json.loads(_run("pyright", "--outputjson", *(HERE / name for name in FILES)))
    assert said["summary"]["filesAnalyzed"] == len(FILES)
    found = [one for one in said["generalDiagnostics"] if one["severity"] == "error"]
    return {(Path(one["file"]).name, one["range"]["start"]["line"] + 1) for one in found}


@pytest.mark.parametrize("check", [_mypy, _pyright], ids=["mypy", "pyright"])
def test_a_checker_sees_the_marked_mistakes_and_nothing_else(check: Callable[[], set[tuple[str, int]]]) -> None:
    marked = {
        (name, place)
        for name in FILES
        for place, line in enumerate((HERE / name).read_text("utf-8").splitlines(), 1)
        if line.endswith("# expect-error")
    }
    assert len(marked) > 20
    assert check() == marked
