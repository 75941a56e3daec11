"""The driver of one host: asyncio over a log."""

from __future__ import annotations

from treadle.drivers.local.clock import Clock
from treadle.drivers.local.driver import LocalDriver

__all__ = ["Clock", "LocalDriver"]
