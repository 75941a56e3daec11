"""What ``import treadle`` adds to the start of an interpreter, looked at from outside: whole processes, in turn."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import treadle

PROGRAMS: Final = {
    "bare": "pass",
    "import": "import treadle",
    "engine": "from treadle import WorkflowEngine",
}
"""What each process does; the last is what a program that runs workflows pays."""

SOURCE: Final = str(Path(treadle.__file__).parents[1])
"""Where the treadle that is measured lies; every one of the processes looks there first."""


def start_times(count: int) -> dict[str, float]:
    """Return the median seconds of each program over ``count`` starts, taken in turn."""
    times: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(count):
        for name, program in PROGRAMS.items():
            times[name].append(_start(program))
    return {name: statistics.median(found) for name, found in times.items()}


def _start(program: str) -> float:
    """Return how long an isolated interpreter (no user site, no environment) takes from start to end."""
    prepared = f"import sys; sys.path.insert(0, {SOURCE!r}); {program}"
    started = time.perf_counter()
    subprocess.run([sys.executable, "-I", "-c", prepared], check=True, stdin=subprocess.DEVNULL)
    return time.perf_counter() - started
