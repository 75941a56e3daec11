"""Where this process keeps its executions: the file that ``TREADLE_DB`` names, or memory."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Final

from core.execution_log import ExecutionLog

VARIABLE: Final = "TREADLE_DB"

making: Final = threading.RLock()
"""Held while something is made of which this process has one: a log, a state manager, an engine."""

# A fork waits until nothing is being made: its child would wait for ever for a thread that it does not have.
os.register_at_fork(before=making.acquire, after_in_parent=making.release, after_in_child=making.release)

_logs: dict[tuple[int, str], ExecutionLog] = {}


def log_of_this_process() -> ExecutionLog:
    """Return the log over the file that the environment names now; without one, a new log in memory.

    All who ask for one file in one process get one log. A forked child gets logs of its own; those of its parent are
    kept, unused, since closing them would close the parent's file under its feet.
    """
    path = os.environ.get(VARIABLE)
    if not path:
        from treadle.store.memory import MemoryStore

        return ExecutionLog(MemoryStore())
    key = (os.getpid(), str(Path(path).resolve()))
    with making:
        if key not in _logs:
            from treadle.store.sqlite import SqliteStore  # loaded only where there is a file

            _logs[key] = ExecutionLog(SqliteStore(key[1]))
        return _logs[key]


async def close_log(log: ExecutionLog) -> None:
    """Close a log; who asks for its file again gets a new one."""
    with making:
        for key in [key for key, one in _logs.items() if one is log]:
            del _logs[key]
    await log.close()
