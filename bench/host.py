"""The machine: what a figure means depends on it, so it is printed above every table."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from msgspec import Struct

MEMORY: Final = frozenset({"tmpfs", "ramfs", "devtmpfs"})
"""File systems without a disk: a sync costs nothing there, so nothing is measured on them."""

MOUNTS: Final = Path("/proc/mounts")
STAT: Final = Path("/proc/stat")


class Host(Struct, frozen=True):
    """Where the figures were measured.

    Attributes:
        cores: Processors this process may use.
        sync_ms: Median time to append 4 KiB to a file and sync it.
        sync_low_ms: The shortest.
        sync_high_ms: The longest.
    """

    system: str
    processor: str
    cores: int
    python: str
    sqlite: str
    folder: str
    file_system: str
    sync_ms: float
    sync_low_ms: float
    sync_high_ms: float


def choose_folder(wanted: str | None = None, *, mounts: Path = MOUNTS) -> Path:
    """Return a folder for database files that is on a disk.

    Args:
        wanted: The one asked for; None for the first fit of the temporary folder, ``/var/tmp`` and the current one.
        mounts: What is mounted where, as Linux tells it.

    Raises:
        ValueError: The one asked for, or every one, is in memory only.
    """
    places = [Path(wanted)] if wanted else [Path(tempfile.gettempdir()), Path("/var/tmp"), Path.cwd()]
    for place in places:
        if place.is_dir() and file_system(place, mounts=mounts) not in MEMORY:
            return place.absolute()
    raise ValueError(f"no folder on a disk among {', '.join(map(str, places))}; name one with --folder")


def file_system(place: Path, *, mounts: Path = MOUNTS) -> str:
    """Return the kind of file system that a folder is on; ``"unknown"`` where the system does not tell."""
    try:
        lines = [line.split() for line in mounts.read_text().splitlines()]
    except OSError:
        return "unknown"
    folders = {str(one) for one in (place.resolve(), *place.resolve().parents)}
    kinds = [(len(line[1]), number, line[2]) for number, line in enumerate(lines) if line[1] in folders]
    return max(kinds)[2] if kinds else "unknown"


def describe(folder: Path) -> Host:
    """Return what this machine is, with the time of a sync in ``folder``."""
    syncs = [1_000 * seconds for seconds in sync_times(folder, 50)]
    return Host(
        system=f"{platform.system()} {platform.release()}",
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        python=f"{platform.python_implementation()} {platform.python_version()}",
        sqlite=sqlite3.sqlite_version,
        folder=str(folder),
        file_system=file_system(folder),
        sync_ms=statistics.median(syncs),
        sync_low_ms=min(syncs),
        sync_high_ms=max(syncs),
    )


def sync_times(folder: Path, count: int) -> list[float]:
    """Return how long each of ``count`` syncs of 4 more KiB takes, in seconds, with the call that SQLite makes."""
    sync = getattr(os, "fdatasync", os.fsync)
    times = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(count):
            file.write(bytes(4096))
            started = time.perf_counter()
            sync(file.fileno())
            times.append(time.perf_counter() - started)
    return times


class Busy:
    """How much of the machine others took since this was made; figures beside a busy neighbour say less."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._all = _busy_seconds()
        self._own = _own_seconds()

    def others(self) -> float | None:
        """Return the processors that others kept busy on average; None where the system does not tell."""
        now = _busy_seconds()
        if self._all is None or now is None:
            return None
        others = (now - self._all) - (_own_seconds() - self._own)
        return max(0.0, others) / (time.monotonic() - self._started)


def _busy_seconds() -> float | None:
    try:
        fields = [int(one) for one in STAT.read_text().split("\n", 1)[0].split()[1:]]
    except (OSError, ValueError):
        return None
    idle = sum(fields[3:5])  # idle, and waiting for a disk
    return (sum(fields[:8]) - idle) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    return sum(os.times()[:4])


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine() or sys.platform
