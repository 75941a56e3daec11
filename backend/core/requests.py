"""One line of requests for each execution: what cancels it and what resumes it look at its state one after the other.

Both read where the execution stands and then write what follows from that; side by side, each would act on what the
other one is about to change. A run is not in the line: it looks at what was requested by itself, at every turn.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class _Line:
    """Attributes: ``lock`` is held by who is served; ``users`` are those and who wait; ``serves`` is its name."""

    __slots__ = ("lock", "serves", "users")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0
        self.serves: object = None


_serving: ContextVar[tuple[object, ...]] = ContextVar("_serving", default=())
"""The requests within which code runs."""


class RequestLines:
    """The lines of an engine's executions.

    Executions may live on several event loops, one after another: the requests of each loop stand in a line of theirs.
    """

    def __init__(self) -> None:
        self._lines: dict[tuple[asyncio.AbstractEventLoop, str], _Line] = {}
        self._resuming: set[str] = set()

    def is_resuming(self, execution_id: str) -> bool:
        """Tell whether an execution is being resumed: a run follows, which looks at requests to cancel it."""
        return execution_id in self._resuming

    @asynccontextmanager
    async def turn(self, execution_id: str, *, resumes: bool = False) -> AsyncIterator[None]:
        """Hold the line; within a turn of the same line, which the application's own parts may be called in, pass."""
        key = (asyncio.get_running_loop(), execution_id)
        line = self._lines.setdefault(key, _Line())
        if line.serves is not None and line.serves in _serving.get():
            yield
            return
        line.users += 1
        try:
            async with line.lock:
                line.serves = object()
                token = _serving.set((*_serving.get(), line.serves))
                if resumes:
                    self._resuming.add(execution_id)
                try:
                    yield
                finally:
                    line.serves = None
                    _serving.reset(token)
                    if resumes:
                        self._resuming.discard(execution_id)
        finally:
            line.users -= 1
            if not line.users:
                del self._lines[key]
