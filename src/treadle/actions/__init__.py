"""What a node's ``service`` and ``action`` run: ordinary Python functions, sync or async, found by name."""

from __future__ import annotations

from treadle.actions.context import StepContext
from treadle.actions.registry import Action, Registry, action

__all__ = ["Action", "Registry", "StepContext", "action"]
