"""The small examples run as they stand and print what they are for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("hello.py", "COMPLETED Hello, Ada!\n"),
        ("built_in_python.py", "80 COMPLETED {'ship': 'shipped ada-1'}\n90 COMPLETED {'ask': 'asked ada'}\n"),
    ],
)
def test_an_example_prints_what_it_is_for(name: str, printed: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, printed, "")
    assert list(tmp_path.iterdir()) == []
