"""What the machine's decisions read of the application: parameters, conditions, and what was done before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.outcomes import error_text
from core.step_errors import MissingInputError
from core.translation import Names
from treadle.expressions import ExpressionError, MissingNameError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from core.clock import Clock
    from core.translation import Definition
    from core.workflow_graph import Step


@dataclass(frozen=True)
class Hooks:
    """What a run asks of the engine.

    Attributes:
        clock: The engine's time.
        semaphore: The engine's slots.
        read_state: Gives the application's state of the execution.
        is_cancelled: Tells whether it was asked to cancel.
        resolve: Gives the parameters of a step, or raises ``MissingInputError``.
        holds: Tells whether a condition is taken.
        is_met: Tells whether what a step depends on is done.
        perform: Runs a step's body.
    """

    clock: Clock
    semaphore: asyncio.Semaphore
    read_state: Callable[[], Awaitable[dict[str, Any]]]
    is_cancelled: Callable[[], bool]
    resolve: Callable[[Step, dict[str, Any]], dict[str, Any]]
    holds: Callable[[Any, dict[str, Any]], bool]
    is_met: Callable[[Step, dict[str, Any]], bool]
    perform: Callable[[Step, dict[str, Any]], Awaitable[Any]]


class Facts:
    """What one run knows of the application's state.

    Args:
        definition: What runs.
        hooks: The engine.
        recorded: ``steps`` of the application's state when the run began.
        keeps_failures: Every failed step is known to have failed, not only those that were passed over.

    Attributes:
        kept: What is known, by key, of the steps that had ended then and do not run again.
        parameters: Resolved parameters by key; they may hold what is no JSON, so the machine does not carry them.
        skip_reasons: Why a step is skipped, by its id.
        names: For the machine's expressions.
    """

    def __init__(
        self, definition: Definition, hooks: Hooks, recorded: dict[str, Any], *, keeps_failures: bool = False
    ) -> None:
        self._definition = definition
        self._hooks = hooks
        self._state: dict[str, Any] = {}
        self._is_fresh = False
        self._began_paused: bool | None = None
        self.kept = _kept(definition, recorded, keeps_failures=keeps_failures)
        self.parameters: dict[str, dict[str, Any]] = {}
        self.skip_reasons: dict[str, str] = {}
        self.names = Names(self._resolve, self._is_taken)

    async def refresh(self) -> None:
        """Read the application's state, which the next decisions go by."""
        self._state = await self._hooks.read_state()
        self._is_fresh = True
        if self._began_paused is None:
            self._began_paused = self._state.get("status") == "PAUSED"  # a stand-in's state, the same for ever

    def grow_old(self) -> None:
        """Note that something has happened since the state was read."""
        self._is_fresh = False

    async def is_paused_by_others(self) -> bool:
        """Tell whether the application has written PAUSED by itself since the run began; read at most once a wave."""
        if not self._is_fresh:
            await self.refresh()
        return self._state.get("status") == "PAUSED" and not self._began_paused

    def _resolve(self, key: str) -> bool:
        """Resolve the parameters of a step; where one is missing the machine has the step ask for it."""
        step = self._definition.steps[key]
        if key not in self.kept:
            try:
                self.parameters[key] = self._hooks.resolve(step, self._state)
            except MissingInputError as error:
                raise MissingNameError(error.missing_var, "input") from error
            except Exception as error:
                raise ExpressionError(error_text(error)) from error
        return True

    def _is_taken(self, key: str) -> bool:
        if key in self._definition.conditions:
            return bool(self._hooks.holds(self._definition.conditions[key], self._state))
        if key in self.kept:
            return bool(self.kept[key]["status"] != "SKIPPED")
        return not self._reason_to_skip(key)

    def _reason_to_skip(self, key: str) -> str:
        """Return why a step of a chain does not run, and keep it; ``""`` where it runs."""
        step = self._definition.steps[key]
        reason = ""
        if not self._hooks.is_met(step, self._state):
            reason = f"Dependencies not met: {', '.join(map(str, step['depends_on']))}"
        elif not self._hooks.holds(step.get("condition"), self._state):
            reason = f"Condition not met: {step['condition']}"
        self.skip_reasons[step["id"]] = reason
        return reason


def _kept(definition: Definition, recorded: dict[str, Any], *, keeps_failures: bool) -> dict[str, dict[str, Any]]:
    """Return the entries of completed steps, of failed ones that were passed over, of skipped ones of a chain."""
    kept: dict[str, dict[str, Any]] = {}
    for key, step in definition.steps.items():
        entry = recorded.get(step["id"]) or {}
        status = entry.get("status")
        has_failed = status in {"FAILED", "TIMED_OUT"} and (keeps_failures or step.get("continue_on_error"))
        if status == "COMPLETED" or has_failed or (status == "SKIPPED" and definition.is_chain):
            kept[key] = entry
    return kept
