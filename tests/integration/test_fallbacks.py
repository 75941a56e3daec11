"""Fallbacks through the engine: which action is called, under which key, and over a crash."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from treadle import StepContext, ValidationError, WorkflowEngine
from treadle.testing import outcomes, raises, rehearse, returns

if TYPE_CHECKING:
    from pathlib import Path

PAY: dict[str, Any] = {
    "id": "pay",
    "defaults": {"retry": {"initial_delay": "1ms", "max_attempts": 2}},
    "nodes": [
        {
            "id": "charge",
            "config": {
                "service": "bank",
                "action": "charge",
                "parameters": {"amount": "${input.amount}"},
                "output_schema": {"type": "object", "required": ["id"]},
                "fallback": {"service": "backup", "action": "charge", "retry": {"max_attempts": 3}},
            },
        }
    ],
    "output": "${charge.id}",
}


class Bank:
    def __init__(self, broken: int = 2) -> None:
        self.broken = broken
        self.calls: list[tuple[str, int, str, str, int]] = []
        self.started = asyncio.Event()
        self.gate = asyncio.Event()

    async def main(self, amount: int, context: StepContext) -> dict[str, str]:
        self._note("bank", amount, context)
        raise ConnectionError("down")

    async def backup(self, amount: int, context: StepContext) -> dict[str, str]:
        self._note("backup", amount, context)
        self.started.set()
        if len(self.calls) < 2 + self.broken:
            raise ConnectionError("down as well")
        await self.gate.wait()
        return {"id": "b"}

    def _note(self, name: str, amount: int, context: StepContext) -> None:
        self.calls.append((name, context.attempt, context.role, context.idempotency_key, amount))

    @property
    def actions(self) -> list[object]:
        return [{"bank.charge": self.main, "backup.charge": self.backup}]


async def test_the_fallback_answers_for_the_step(tmp_path: Path) -> None:
    bank = Bank()
    bank.gate.set()
    async with asyncio.timeout(20), WorkflowEngine(store=tmp_path / "log.db", actions=bank.actions) as engine:
        state = await engine.run_workflow(PAY, {"amount": 5}, execution_id="x")
        kinds = [one.kind for one in await engine.history("x") if one.step]
    assert (state.output, state.steps["charge"].answered_by, state.steps["charge"].attempt) == ("b", "fallback", 4)
    assert bank.calls == [
        ("bank", 1, "action", "x/charge", 5),
        ("bank", 2, "action", "x/charge", 5),
        ("backup", 3, "fallback", "x/charge/fallback", 5),
        ("backup", 4, "fallback", "x/charge/fallback", 5),
    ]
    assert kinds == [
        *["StepStarted", "AttemptFailed", "StepReady", "StepStarted"],
        *["StepFellBack", "StepStarted", "AttemptFailed", "StepReady", "StepStarted", "StepSucceeded"],
    ]


async def test_a_fallback_that_was_cut_off_runs_again_and_not_the_action(tmp_path: Path) -> None:
    bank = Bank(broken=0)
    async with asyncio.timeout(20):
        async with WorkflowEngine(store=tmp_path / "log.db", actions=bank.actions, grace=0) as engine:
            await engine.start_workflow(PAY, {"amount": 5}, execution_id="x")
            await bank.started.wait()
        bank.gate.set()
        async with WorkflowEngine(store=tmp_path / "log.db", actions=bank.actions) as engine:
            assert (await engine.wait("x")).output == "b"
    assert [(one[0], one[1]) for one in bank.calls] == [("bank", 1), ("bank", 2), ("backup", 3), ("backup", 4)]


async def test_what_the_fallback_gives_has_to_fit_the_output_schema(tmp_path: Path) -> None:
    async def bad(amount: int) -> str:
        return f"no object {amount}"

    actions = [{"bank.charge": Bank().main, "backup.charge": bad}]
    async with asyncio.timeout(20), WorkflowEngine(store=tmp_path / "log.db", actions=actions) as engine:
        state = await engine.run_workflow(PAY, {"amount": 5})
    assert (state.status.value, state.error and state.error.type, state.steps["charge"].attempt) == (
        *("FAILED", "ValidationError"),
        3,
    )


async def test_a_fallback_whose_action_is_not_registered_waits_for_it(tmp_path: Path) -> None:
    bank = Bank(broken=0)
    bank.gate.set()
    actions = [{"bank.charge": bank.main}]
    async with asyncio.timeout(20), WorkflowEngine(store=tmp_path / "log.db", actions=actions) as engine:
        with pytest.raises(ValidationError, match='no action "backup.charge" is registered'):
            await engine.start_workflow(PAY, {"amount": 5})


def test_a_rehearsal_replaces_a_fallback_by_its_name() -> None:
    failing = outcomes(raises(ConnectionError("down")), raises(ConnectionError("down")))
    with rehearse(
        PAY, {"amount": 5}, replace={"bank.charge": failing, "backup.charge": returns({"id": "f"})}, strict=True
    ) as run:
        assert (run.output, run.attempts) == ("f", {"charge": 3})
        assert [one.action for one in run.calls()] == ["bank.charge", "bank.charge", "backup.charge"]


def test_a_replacement_has_to_take_what_the_fallback_is_passed() -> None:
    def wrong(price: int) -> None:
        del price

    with pytest.raises(ValidationError, match="does not take 'amount', which the node 'charge' passes"):
        rehearse(PAY, {"amount": 5}, replace={"bank.charge": None, "backup.charge": wrong})
