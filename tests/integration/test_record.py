"""``treadle record``: the file it writes is a test that passes, whatever was recorded."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from treadle import ValidationError, WorkflowEngine, run_sync
from treadle.testing import by_step, never, outcomes, raises, rehearse, returns

ROOT = Path(__file__).parents[2]
IGNORED = "COM812,CPY001,D203,D213,E501,INP001,S101"
pytestmark = pytest.mark.slow


def treadle(folder: Path, *words: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "treadle", *words],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, done.stdout, done.stderr


def passes(folder: Path, execution_id: str = "e", db: str = "log.db") -> str:
    """Record an execution; the file is whole for ruff and mypy, and passes in a process of its own."""
    code, out, err = treadle(folder, "record", execution_id, "--db", db, "-o", "test_recorded.py")
    assert (code, out, err.partition(";")[0]) == (0, "", "wrote test_recorded.py")
    tools = [
        ("pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "-c", "/dev/null", "--rootdir=.", "-W", "error"),
        ("ruff", "check", "--isolated", "--no-cache"),
        (
            "ruff",
            "check",
            "--isolated",
            "--no-cache",
            "--select",
            "ALL",
            "--ignore",
            "D203,D213,INP001,S101,COM812,CPY001,E501",
        ),
        ("ruff", "format", "--check", "--isolated", "--no-cache"),
        ("mypy", "--strict", "--cache-dir", str(ROOT / ".mypy_cache/record")),
    ]
    for tool in tools:
        done = subprocess.run(
            [sys.executable, "-m", *tool, "test_recorded.py"],
            cwd=folder, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        text = (folder / "test_recorded.py").read_text()
        assert done.returncode == 0, done.stdout + done.stderr + text
    return (folder / "test_recorded.py").read_text()


def node(name: str, action: str | None = None, **config: Any) -> dict[str, Any]:
    return {"id": name, "config": {"action": action or name, **config}}


def edge(source: str, target: str, **more: Any) -> dict[str, Any]:
    return {"source": source, "target": target, **more}


ORDER = {
    "id": "Order to cash",
    "nodes": [
        node("lookup", parameters={"email": "${input.email}"}),
        node("charge", parameters={"who": "${lookup.id}"}, retry={"initial_delay": "5m", "max_delay": "1h"}),
        node("ship"),
        node("sorry", "mail"),
        node("thank", "mail"),
    ],
    "connections": [
        edge("lookup", "charge"),
        edge("charge", "ship", condition="charge.approved"),
        edge("charge", "sorry", condition="else"),
        edge("charge", "sorry", outcome="failure"),
        edge("ship", "thank"),
    ],
}


def test_one_that_was_retried_and_paused_and_resumed_and_skipped_a_branch(tmp_path: Path) -> None:
    replace = {
        "lookup": lambda email: {"id": email.upper()},
        "charge": outcomes(OSError("down"), raises("Busy", "wait", retry_after=900), {"approved": True}),
        "ship": returns({"at": [1, None, 2.5, True]}, after=3.25),
        "mail": "sent",
    }
    with rehearse(ORDER, {}, replace=replace, store=tmp_path / "log.db") as run:
        assert run.waiting_for == ["input.email"]
        run.resume({"email": "a@b"}, until=("charge", 2))
        run.pause()
        run.advance(60)
        run.resume()
        assert run.path == ["lookup", "charge", "ship", "thank"]
    text = passes(tmp_path, "rehearsal")
    for part in ('"input.email"', "run.pause(until=timedelta(seconds=", "retry_after=900)", '"sorry": "SKIPPED"'):
        assert (part in text) is (part != '"input.email"'), text
    assert "by_step(" in text


def test_one_that_failed_at_once_with_a_permanent_error(tmp_path: Path) -> None:
    def lookup(email: str) -> None:
        raise ValidationError(f"no {email}: \"quotes\" 'too'\n\\ and \x1b[31m and \u202e and é")

    run_sync(ORDER, {"email": "a@b"}, execution_id="e", store=tmp_path / "log.db", actions=[_shop(lookup=lookup)])
    text = passes(tmp_path)
    assert ("permanent=True" in text, '"lookup": "FAILED"' in text, '"ship": "PENDING"' in text) == (True, True, True)


def test_one_of_a_real_engine_with_branches_that_end_in_another_order_than_they_began(tmp_path: Path) -> None:
    gates = [threading.Event() for _ in range(6)]

    def slow(number: int) -> int:
        if number < 5:
            gates[number + 1].wait()
        gates[number].set()
        return number

    nodes = [node(f"n{number}", "slow", parameters={"number": number}) for number in range(6)]
    after = [node(f"m{number}", "quick") for number in range(6)]
    edges = [edge(f"n{number}", f"m{number}") for number in range(6)]
    document = {"id": "wide", "nodes": [*nodes, *after], "connections": edges}
    actions = [{"slow": slow, "quick": lambda: None}]
    state = run_sync(document, execution_id="e", store=tmp_path / "log.db", actions=actions, max_concurrent_steps=6)
    assert state.status.value == "COMPLETED"
    assert "max_concurrent_steps=6" in passes(tmp_path)


def test_one_that_timed_out_and_one_that_was_cancelled_and_one_that_crashed(tmp_path: Path) -> None:
    document = {
        "id": "w",
        "nodes": [node("a", timeout="10s", retry={"max_attempts": 2}, continue_on_error=True), node("b"), node("c")],
        "connections": [edge("a", "c")],
    }
    for name, end in (("one", "timeout"), ("two", "cancel"), ("three", "crash")):
        folder = tmp_path / name
        folder.mkdir()
        replace = {"a": never(), "b": returns(1, after=2), "c": never() if end == "cancel" else 2}
        with rehearse(document, replace=replace, store=folder / "log.db", until="a") as run:
            if end == "cancel":
                run.go_on(until="c")
                run.cancel("enough")
            elif end == "crash":
                run.crash()
            else:
                run.go_on()
            assert run.status == ("CANCELLED" if end == "cancel" else "COMPLETED")
        text = passes(folder, "rehearsal")
        assert ('run.cancel("enough")' in text) is (end == "cancel")
        assert ("cut off by a crash" in text) is (end == "crash")


def test_one_whose_execution_timed_out(tmp_path: Path) -> None:
    document = {"id": "w", "timeout": "1h", "nodes": [node("a"), {"id": "b", "type": "wait", "duration": "30m"}]}
    with rehearse(document, replace={"a": never()}, store=tmp_path / "log.db") as run:
        assert run.status == "TIMED_OUT"
    assert "never()" in passes(tmp_path, "rehearsal")


def test_one_that_a_person_answered(tmp_path: Path) -> None:
    document = {
        "id": "w",
        "nodes": [{"id": "ask", "type": "input", "timeout": "7d"}, node("pay")],
        "connections": [edge("ask", "pay", condition="ask.ok")],
    }
    with rehearse(document, replace={"pay": 1}, store=tmp_path / "log.db") as run:
        run.advance(3600)
        run.submit("ask", {"ok": True})
        assert run.status == "COMPLETED"
    assert 'run.submit("ask", {"ok": True})' in passes(tmp_path, "rehearsal")


def test_secrets_are_taken_out_wherever_they_turn_up(tmp_path: Path) -> None:
    document = {
        "id": "login",
        "vars": {"clientSecret": "vars-s3cret", "region": "eu"},
        "input_schema": {"type": "object", "properties": {"password": {"type": "string"}}},
        "nodes": [
            node("sign_in", parameters={"password": "${input.password}", "api_key": "k-123456", "token_count": 7}),
            node("use", parameters={"header": "Bearer ${sign_in.access_token}"}),
        ],
        "connections": [edge("sign_in", "use")],
        "output": {"said": "${use}", "secretless": "${sign_in.tokens}"},
    }
    actions = {
        "sign_in": lambda **_: {"access_token": "tok-abcdef", "tokens": 12, "pin": {"passwd": 4711}},
        "use": lambda header: f"used {header}",
    }
    state = run_sync(document, {"password": "hunter22"}, execution_id="e", store=tmp_path / "log.db", actions=[actions])
    assert state.output == {"said": "used Bearer tok-abcdef", "secretless": 12}
    text = passes(tmp_path)
    for secret in ("hunter22", "tok-abcdef", "k-123456", "vars-s3cret", "4711"):
        assert secret not in text
    assert '"said": "used Bearer REDACTED"' in text
    assert ('"tokens": 12' in text, '"token_count": 7' in text, '"type": "string"' in text) == (True, True, True)
    (tmp_path / "test_recorded.py").unlink()
    _, _, err = treadle(tmp_path, "record", "e", "--db", "log.db", "-o", "test_recorded.py")
    assert err == "wrote test_recorded.py; 7 values were redacted; read it before you commit it\n"


def test_data_never_becomes_code(tmp_path: Path) -> None:
    evil = '"""\n\nimport os\nos._exit(9)\n\'\'\'{__import__("os")._exit(9)}\\'
    document = {"id": evil.replace("\n", " ").strip(), "name": evil, "nodes": [node("a", parameters={"x": evil})]}
    error = type(evil.replace("\n", " "), (Exception,), {})
    with rehearse(
        document, {evil: evil}, replace={"a": outcomes(error(evil), {evil: [evil]})}, store=tmp_path / "log.db"
    ) as run:
        assert run.status == "COMPLETED"
    passes(tmp_path, "rehearsal")


async def test_one_that_has_not_ended_is_refused_and_no_file_is_written_over(tmp_path: Path) -> None:
    async with WorkflowEngine(store=tmp_path / "log.db", actions=[_shop()]) as engine:
        await engine.run_workflow(ORDER, {}, execution_id="e")
        refused = await asyncio.to_thread(treadle, tmp_path, "record", "e", "--db", "log.db", "-o", "x.py")
        assert refused == (1, "", "error: execution 'e' is PAUSED; a test is recorded from one that has ended\n")
        assert not (tmp_path / "x.py").exists()
        await engine.cancel_execution("e")
        assert (await engine.wait("e", until="ended")).status.value == "CANCELLED"
    (tmp_path / "x.py").write_text("mine")
    code, _, err = treadle(tmp_path, "record", "e", "--db", "log.db", "-o", "x.py")
    assert (code, err, (tmp_path / "x.py").read_text()) == (
        2, "error: x.py exists; name another file, or remove it\n", "mine",
    )  # fmt: skip
    code, out, err = treadle(tmp_path, "record", "e", "--db", "log.db")
    assert (code, out.count("def test_order_to_cash_cancelled"), err) == (
        0, 1, "no value was redacted; read it before you commit it\n",
    )  # fmt: skip
    assert treadle(tmp_path, "record", "nobody", "--db", "log.db")[::2] == (2, "error: no execution named 'nobody'\n")


def test_one_with_maps_loops_and_groups_within_each_other(tmp_path: Path) -> None:
    poll = {
        "id": "poll",
        "type": "loop",
        "until": "previous.done",
        "body": {
            "nodes": [{"id": "w", "type": "wait", "duration": "1m"}, node("look", parameters={"x": "${item}"})],
            "connections": [edge("w", "look")],
        },
    }
    document = {
        "id": "w",
        "nodes": [
            {
                "id": "my map",
                "type": "map",
                "items": "${input.xs}",
                "tolerate": 1,
                "max_concurrency": 2,
                "body": {
                    "nodes": [
                        node("charge", parameters={"x": "${item}", "password": "t0psecret"}),
                        poll,
                        {"id": "ask", "type": "input"},
                    ],
                    "connections": [edge("charge", "poll"), edge("poll", "ask")],
                },
            },
            {"id": "first", "type": "parallel", "race": True, "body": {"nodes": [node("fast"), node("slow", "fast")]}},
            node("lone"),
        ],
        "connections": [edge("my map", "first"), edge("first", "lone")],
    }
    asked: list[int] = []

    def look(x: int) -> dict[str, bool]:
        asked.append(x)
        return {"done": asked.count(x) > x}

    def charge(x: int, password: str) -> str:
        if x == 1:
            raise ValidationError(f"declined with {password}")
        return f"paid {x}"

    race = by_step({"first.fast": returns(1, after=2), "first.slow": never()})
    replace = {"charge": charge, "look": look, "fast": race, "lone": None}
    with rehearse(document, {"xs": [0, 1, 2]}, replace=replace, store=tmp_path / "log.db") as run:
        for step in ('["my map"][0].ask', '["my map"][2].ask'):
            run.submit(step, {"ok": step})
        assert (run.status, run.errors) == ("COMPLETED", {'["my map"][1].charge': "ValidationError"})
        assert run.statuses["first.slow"] == "CANCELLED"
    text = passes(tmp_path, "rehearsal")
    assert "t0psecret" not in text
    assert """run.submit('["my map"][2].ask'""" in text
    assert '"lone": outcomes(' in text


def test_one_of_a_real_engine_with_a_map(tmp_path: Path) -> None:
    body = {"nodes": [node("a", parameters={"x": "${item}"}), node("b")], "connections": [edge("a", "b")]}
    document = {"id": "w", "nodes": [{"id": "m", "type": "map", "items": list(range(20)), "body": body}]}
    actions = [{"a": lambda x: x, "b": lambda: None}]
    state = run_sync(document, execution_id="e", store=tmp_path / "log.db", actions=actions)
    assert state.status.value == "COMPLETED"
    passes(tmp_path)


def _shop(**more: Any) -> dict[str, Any]:
    calls: dict[str, Any] = {"lookup": lambda email: {"id": email}, "charge": lambda who: {"approved": False}}
    return {**calls, "ship": lambda: None, "mail": lambda: None, **more}


def test_fallbacks_answers_and_what_was_undone_are_recorded(tmp_path: Path) -> None:
    undo = {"action": "undo", "parameters": {"what": "${a}"}, "retry": {"initial_delay": "5ms"}}
    other = {"action": "other", "retry": {"max_attempts": 2, "initial_delay": "3ms"}, "compensate": undo}
    once = {"retry": {"max_attempts": 1}}
    workflow = {
        "id": "saga",
        "nodes": [
            {"id": "a", "action": "act", "fallback": other, **once},
            {"id": "b", "action": "ask", "on_exhausted": "pause", "compensate": {"action": "undo"}, **once},
            {"id": "c", "action": "act", **once},
        ],
        "connections": [{"source": "a", "target": "b"}, {"source": "b", "target": "c"}],
    }
    told: list[str] = []

    def often(name: str, failures: int, result: object) -> Any:
        def action(**_: object) -> object:
            told.append(name)
            if told.count(name) <= failures:
                raise ConnectionError(name)
            return result

        return action

    actions = [{"act": often("act", 9, 0), "other": often("other", 1, "o"), "ask": often("ask", 2, "x")}]
    actions[0]["undo"] = often("undo", 1, None)

    async def run() -> str:
        async with asyncio.timeout(30), WorkflowEngine(store=tmp_path / "log.db", actions=actions) as engine:
            await engine.run_workflow(workflow, execution_id="e")
            await engine.answer("e", "b", "retry")
            await engine.wait("e")
            await engine.answer("e", "b", "output", "by hand")
            return (await engine.wait("e")).status.value

    assert asyncio.run(run()) == "FAILED"
    text = passes(tmp_path)
    assert 'run.answer("b", "retry"' in text
    assert 'run.answer("b", "output", "by hand"' in text
    assert 'assert run.undone == ["b", "a"]' in text


def test_what_somebody_said_was_done_in_fact_is_recorded_also_of_a_map(tmp_path: Path) -> None:
    asks = {"action": "ask", "on_exhausted": "pause", "retry": {"max_attempts": 1}}
    workflow = {
        "id": "w",
        "nodes": [
            {"id": "a", **asks},
            {"id": "m", "type": "map", "items": [1, 2], "body": {"nodes": [{"id": "c", **asks}]}},
        ],
        "connections": [{"source": "a", "target": "m"}],
    }

    def ask() -> None:
        raise ConnectionError("no")

    async def run() -> object:
        actions = [{"ask": ask}]
        async with asyncio.timeout(30), WorkflowEngine(store=tmp_path / "log.db", actions=actions) as engine:
            await engine.run_workflow(workflow, execution_id="e")
            await engine.answer("e", "a", "complete", "done")
            await engine.wait("e")
            await engine.answer("e", "m[1].c", "complete")
            await engine.answer("e", "m", "complete")
            return (await engine.wait("e")).output

    assert asyncio.run(run()) == [None, None]
    text = passes(tmp_path)
    assert 'run.answer("a", "complete", "done"' in text
    assert 'run.answer("m", "complete"' in text
