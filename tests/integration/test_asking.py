"""A step that asks a person, and an end that waits for nobody: through the engine, another process, and a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import treadle
from treadle import Client, ConflictError, ExecutionStatus, NotFoundError, Settings, ValidationError, WorkflowEngine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

APPROVAL = """
id: approval
nodes:
  - id: ask
    type: input
    schema: {type: object, required: [ok], properties: {ok: {type: boolean}, note: {type: string}}}
    assignees: [ann]
  - {id: pay, action: pay}
  - {id: no, type: end, status: CANCELLED, message: "${ask.note}"}
connections:
  - {source: ask, target: pay, condition: ask.ok}
  - {source: ask, target: no, condition: else}
"""
HOLDS = {"id": "holds", "nodes": [{"id": "a", "action": "hold"}]}


class Work:
    def __init__(self) -> None:
        self.paid = 0
        self.started = asyncio.Event()
        self.gate = asyncio.Event()

    async def pay(self) -> int:
        self.paid += 1
        return self.paid

    async def stubborn(self) -> str:
        """Swallow a few cancellations: enough for any test, and not for ever where one fails."""
        self.started.set()
        for _ in range(3):
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                continue
            break
        return "late"

    @property
    def actions(self) -> list[object]:
        return [{"pay": self.pay, "hold": self.stubborn}]


@pytest.mark.parametrize("store", ["memory", "file"])
async def test_an_answer_goes_on_as_the_workflow_says(tmp_path: Path, store: str) -> None:
    work, place = Work(), ":memory:" if store == "memory" else tmp_path / "log.db"
    async with asyncio.timeout(20), WorkflowEngine(store=place, actions=work.actions) as engine:
        yes, no = [await engine.start_workflow(APPROVAL) for _ in range(2)]
        assert (await engine.get_execution_state(yes)).steps["ask"].status.value == "WAITING"
        answered = await asyncio.gather(*(engine.submit_input(yes, "ask", {"ok": True}) for _ in range(5)))
        assert sorted(answered) == [False] * 4 + [True]
        assert await engine.submit_input(no, "ask", {"ok": False, "note": "too dear"}) is True
        states = [await engine.wait(name) for name in (yes, no)]
    assert [(state.status.value, state.error and state.error.message) for state in states] == [
        ("COMPLETED", None),
        ("CANCELLED", "too dear"),
    ]
    assert work.paid == 1


async def test_an_answer_that_does_not_fit_is_refused_and_nothing_changed(tmp_path: Path) -> None:
    work = Work()
    async with asyncio.timeout(20), WorkflowEngine(store=tmp_path / "log.db", actions=work.actions) as engine:
        await engine.start_workflow(APPROVAL, execution_id="one")
        before = await engine.history("one")
        for data, message in (
            ({"ok": "yes"}, "ask.ok: "),
            ({}, '"ok" is a required'),
            ({"ok": {1}}, "answer: ok: set"),
        ):
            with pytest.raises(ValidationError, match=message):
                await engine.submit_input("one", "ask", data)
        with pytest.raises(ConflictError, match="step 'pay' asks nobody: it is of type action"):
            await engine.submit_input("one", "pay", {"ok": True})
        with pytest.raises(NotFoundError, match="no step named 'nobody'"):
            await engine.submit_input("one", "nobody", 1)
        with pytest.raises(NotFoundError, match="no execution named 'two'"):
            await engine.submit_input("two", "ask", 1)
        assert await engine.history("one") == before


async def test_an_answer_given_before_a_crash_counts_after_it(tmp_path: Path) -> None:
    work = Work()
    async with asyncio.timeout(20):
        async with WorkflowEngine(store=tmp_path / "log.db", actions=[{"pay": work.pay}]) as engine:
            await engine.start_workflow(APPROVAL, execution_id="one")
        async with WorkflowEngine(store=tmp_path / "log.db", actions=work.actions) as engine:
            assert await engine.submit_input("one", "ask", {"ok": True})
        async with WorkflowEngine(store=tmp_path / "log.db", actions=work.actions) as engine:
            assert (await engine.wait("one")).status is ExecutionStatus.COMPLETED


async def test_ending_at_once_waits_for_nothing_and_what_comes_late_is_ignored(tmp_path: Path) -> None:
    work, settings = Work(), Settings(grace_ms=60_000)
    async with asyncio.timeout(20):
        async with WorkflowEngine(1, store=tmp_path / "log.db", actions=work.actions, settings=settings) as engine:
            await engine.start_workflow(HOLDS, execution_id="one")
            await work.started.wait()
            assert await engine.terminate_execution("one", "enough") is True
            state = await engine.wait("one")
            assert (state.status, state.error and state.error.message) == (ExecutionStatus.CANCELLED, "enough")
            assert await engine.terminate_execution("one") is False
            length = len(await engine.history("one"))
            work.gate.set()
            assert (await engine.run_workflow({"id": "p", "nodes": [{"id": "p", "action": "pay"}]})).output == 1
            assert len(await engine.history("one")) == length
        with pytest.raises(ConflictError):
            await engine.terminate_execution("one")


async def test_another_process_answers_and_ends_through_the_inbox(tmp_path: Path) -> None:
    work, settings = Work(), Settings(inbox_poll_ms=5, grace_ms=60_000)
    async with asyncio.timeout(20):
        async with (
            WorkflowEngine(store=tmp_path / "log.db", actions=work.actions, settings=settings) as engine,
            Client(tmp_path / "log.db") as client,
        ):
            try:
                await engine.start_workflow(APPROVAL, execution_id="one")
                await engine.start_workflow(HOLDS, execution_id="two")
                await work.started.wait()
                with pytest.raises(ValidationError, match="ask.ok"):
                    await client.submit_input("one", "ask", {"ok": 1})
                with pytest.raises(ConflictError, match="asks nobody"):
                    await client.submit_input("one", "pay", 1)
                with pytest.raises(NotFoundError, match="no step named 'nobody'"):
                    await client.submit_input("one", "nobody", 1)
                assert await client.submit_input("one", "ask", {"ok": True}) is True
                assert (await engine.wait("one")).status is ExecutionStatus.COMPLETED
                assert await client.terminate_execution("two", "enough") is True
                assert (await engine.wait("two", timeout=5)).status is ExecutionStatus.CANCELLED
            finally:
                work.gate.set()  # a test that fails must not wait for the grace


def _treadle(folder: Path, *words: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "treadle", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, done.stdout, done.stderr


@contextlib.contextmanager
def _killed(process: subprocess.Popen[str]) -> Iterator[None]:
    """A test that fails must not wait for a process that waits for its answer."""
    try:
        yield
    finally:
        process.kill()


def test_a_person_answers_on_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "approval.yaml").write_text(APPROVAL)
    (tmp_path / "bank.py").write_text("import treadle\n\n@treadle.action('pay')\ndef pay():\n    return 'paid'\n")
    command = [sys.executable, "-m", "treadle", "run", "approval.yaml", "--actions", "bank.py", "--id", "one"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as running, _killed(running):
        assert running.stdout is not None
        for line in running.stdout:
            if "InputAsked" in line:
                assert line.rstrip().endswith("InputAsked ask: answer with: treadle submit one ask ...")
                break
        assert _treadle(tmp_path, "submit", "one", "ask")[0] == 2
        code, _, err = _treadle(tmp_path, "submit", "one", "ask", "-i", "ok=maybe")
        assert (code, "ask.ok" in err) == (2, True)
        assert _treadle(tmp_path, "submit", "one", "ask", "-i", "ok=true") == (0, "answered\n", "")
        assert running.stdout.read().endswith(
            'COMPLETED: {"pay":"paid"}\n'.replace('{"pay":"paid"}', '{"pay": "paid"}')
        )
        assert running.wait(timeout=30) == 0
    code, _, err = _treadle(tmp_path, "terminate", "one")
    assert (code, err) == (1, "nothing to terminate: execution 'one' is COMPLETED\n")


def test_what_is_wrong_with_an_input_node_is_told_at_its_place() -> None:
    problems = treadle.validate(
        "id: w\nnodes:\n  - {id: a, type: input, schema: {type: objekt}, assignees: ann, default: '${b}', retry: {}}\n"
        "  - {id: c, type: set, values: 1, timeout: 5}\n"
    )
    assert sorted((one.code, one.path) for one in problems) == [
        ("bad_schema", "nodes[0].schema.type"),
        ("misplaced_key", "nodes[0].retry"),
        ("misplaced_key", "nodes[1].timeout"),
        ("unknown_name", "nodes[0].default"),
        ("wrong_type", "nodes[0].assignees"),
    ]
