"""The process that is killed: runs real executions on a real file, and writes what it does into a ledger outside.

``python child.py serve`` reads one job per line (JSON) and answers each with how it ended; every job runs in a fork of
its own, since importing takes longer than running. ``python child.py JOB`` runs one job in this very process.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

import msgspec

from treadle import Settings, StepContext, WorkflowEngine
from treadle.store.sqlite import SqliteStore

LONGEST_MS = 20_000
"""A run that takes longer has lost a wake-up."""

QUICK = {"max_attempts": 3, "initial_delay": "1ms"}


def node(name: str, action: str = "note", **more: Any) -> dict[str, Any]:
    return {
        "id": name,
        "action": action,
        "parameters": {"name": name},
        "retry": QUICK,
        "max_interruptions": 100,
        **more,
    }


WORKFLOW: dict[str, Any] = {
    "id": "crash",
    "nodes": [
        node("start"),
        node("left"),
        node("right", "flaky"),
        node("join", parameters={"name": "${left}+${right}"}),
        node("yes"),
        node("no"),
        node("broken", "broken", retry={"max_attempts": 2, "initial_delay": "1ms"}),
        node("sorry", parameters={"name": "${steps.broken.error.message}"}),
        node("end", join="any"),
    ],
    "connections": [
        {"source": "start", "target": "left"},
        {"source": "start", "target": "right"},
        {"source": "left", "target": "join"},
        {"source": "right", "target": "join"},
        {"source": "join", "target": "yes", "condition": "join == 'left+right'"},
        {"source": "join", "target": "no", "condition": "else"},
        {"source": "yes", "target": "broken"},
        {"source": "broken", "target": "end"},
        {"source": "broken", "target": "sorry", "outcome": "failure"},
        {"source": "sorry", "target": "end"},
    ],
    "output": {"join": "${join}", "sorry": "${sorry}", "end": "${end}", "no": "${steps.no.status}"},
}
"""A diamond, a retry, a condition with its else, a failure route and a join."""


FAMILY: dict[str, Any] = {
    "id": "family",
    "nodes": [
        {"id": "m", "type": "map", "items": [1, 2, 3], "max_concurrency": 2, "workflow": "member"},
        {
            "id": "l",
            "type": "loop",
            "until": "index == 1",
            "body": {"nodes": [{"id": "c", "type": "workflow", "workflow": "member", "input": {"n": "${index}"}}]},
        },
        {"id": "p", "type": "parallel", "body": {"nodes": [node("a"), node("b", "flaky")]}},
        node("end"),
    ],
    "connections": [
        {"source": "m", "target": "l"},
        {"source": "m", "target": "p"},
        {"source": "l", "target": "end"},
        {"source": "p", "target": "end"},
    ],
    "output": {"m": "${m}", "l": "${l}", "p": "${p}"},
}
FAMILY["nodes"][0]["input"] = {"n": "${item}"}
MEMBER: dict[str, Any] = {
    "id": "member",
    "nodes": [node("one"), node("two", parameters={"name": "${input.n}"})],
    "connections": [{"source": "one", "target": "two"}],
}
"""Children for the items of a map and the iterations of a loop, and a parallel beside them."""

WIDE: dict[str, Any] = {
    "id": "wide",
    "nodes": [
        {
            "id": "m",
            "type": "map",
            "items": list(range(1_000)),
            "max_concurrency": 3,
            "body": {"nodes": [node("one", parameters={"name": "${item}"})]},
        },
        node("end", parameters={"name": "${size(m)}"}),
    ],
    "connections": [{"source": "m", "target": "end"}],
    "output": {"m": "${m}", "end": "${end}"},
}
"""A map of many items."""


MAIL: dict[str, Any] = {
    "id": "mail",
    "nodes": [
        node("start"),
        {"id": "early", "type": "event", "event": "early", "key": "${execution.id}"},
        {
            "id": "ticks",
            "type": "loop",
            "until": "index == 1",
            "body": {"nodes": [{"id": "tick", "type": "event", "event": "tick", "key": {"of": "${execution.id}"}}]},
        },
        {"id": "all", "type": "event", "event": "all", "buffer": False},
        {"id": "own", "type": "wait", "any_of": [{"duration": "1h"}, {"event": "own"}]},
        node("end"),
    ],
    "connections": [
        {"source": "start", "target": "early"},
        {"source": "early", "target": "ticks"},
        {"source": "ticks", "target": "all"},
        {"source": "all", "target": "own"},
        {"source": "own", "target": "end"},
    ],
    "output": {"early": "${early}", "ticks": "${ticks}", "all": "${all}", "own": "${own}"},
}
"""Events that come early or late, for one and for all who wait, kept by the file and by the execution."""

WORKFLOWS = {"crash": WORKFLOW, "family": FAMILY, "mail": MAIL, "wide": WIDE}


class Ledger:
    """Side effects, outside the engine: each is one write with O_APPEND, which a kill cannot undo."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, *words: object) -> None:
        os.write(self._handle, (" ".join(str(word) for word in words) + "\n").encode())

    def holds(self, *words: object) -> bool:
        return " ".join(str(word) for word in words) in self._path.read_text().splitlines()


def actions(ledger: Ledger) -> dict[str, Any]:
    async def note(name: str, context: StepContext) -> str:
        _called(ledger, context)
        await asyncio.sleep(0)
        return name

    async def flaky(name: str, context: StepContext) -> str:
        """Fail once, whoever asks: the ledger remembers."""
        _called(ledger, context)
        if not ledger.holds("failed", context.execution_id, context.step):
            ledger.write("failed", context.execution_id, context.step)
            raise ConnectionError("once")
        return name

    async def broken(name: str, context: StepContext) -> str:
        _called(ledger, context)
        raise ValueError("always")

    return {"note": note, "flaky": flaky, "broken": broken}


def _called(ledger: Ledger, context: StepContext) -> None:
    ledger.write("called", context.execution_id, context.step, context.attempt, context.idempotency_key)


def killing(when: str, number: int) -> Any:
    """Return what makes connections whose commit ``number`` ends the process, just before or just after it."""
    commits = 0

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            nonlocal commits
            if sql != "commit":
                return super().execute(sql, *values)
            commits += 1
            if when == "before" and commits == number:
                os.kill(os.getpid(), signal.SIGKILL)
            done = super().execute(sql)
            if when == "after" and commits == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

    return lambda path: sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Connection)


async def run(job: dict[str, Any]) -> None:
    """Go on with the executions of a job until they have ended; write what a caller was told into the ledger."""
    ledger = Ledger(job["ledger"])
    kill = {"connect": killing(*job["kill"])} if job.get("kill") else {}
    store = SqliteStore(job["db"], **kill)
    settings = Settings(store_retry_ms=1)
    async with WorkflowEngine(3, store, [actions(ledger)], workflows=[MEMBER], settings=settings) as engine:
        workflow = WORKFLOWS[job.get("workflow", "crash")]
        names = [f"e{number}" for number in range(job["executions"])]
        sends = [send(engine, names, ledger)] if workflow is MAIL else []
        states, *_ = await asyncio.gather(
            asyncio.gather(*(one(engine, workflow, name, ledger) for name in names)), *sends
        )
    if "result" in job:
        Path(job["result"]).write_bytes(msgspec.json.encode(states))


async def one(engine: WorkflowEngine, workflow: dict[str, Any], name: str, ledger: Ledger) -> Any:
    await engine.start_workflow(workflow, {"n": 1}, execution_id=name)
    ledger.write("started", name)
    async for event in engine.state_manager.watch(name):
        ledger.write("shown", name, event.cursor, event.kind, event.step)
    return await engine.wait(name)


async def send(engine: WorkflowEngine, names: list[str], ledger: Ledger) -> None:
    """Send what the executions wait for; again what an earlier process has sent, under the same ids."""

    async def sent(event: str, key: Any, event_id: str, to: str | None = None) -> None:
        await engine.send_event(event, key, event, execution_id=to, event_id=event_id)
        ledger.write("sent", event_id)

    for name in names:
        await sent("early", name, f"{name}-early")
        await sent("tick", {"of": name}, f"{name}-tick1")
        await sent("tick", {"of": name}, f"{name}-tick2")
        await reached(engine, name, "ExecutionCreated")
        await sent("own", None, f"{name}-own", to=name)
    for name in names:
        await reached(engine, name, "EventAwaited", "all")
    await sent("all", 7, "all")


async def reached(engine: WorkflowEngine, name: str, kind: str, step: str = "") -> None:
    async for event in engine.watch(after=0):
        if (event.execution_id, event.kind, event.step) == (name, kind, step):
            return


def serve() -> None:
    """Fork for each job; kill the fork after ``kill_after_ms`` if the job has that."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if not child:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            _run_and_exit(job)
        ended = signal.sigtimedwait({signal.SIGCHLD}, job.get("kill_after_ms", LONGEST_MS) / 1_000)
        if ended is None:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        signal.sigtimedwait({signal.SIGCHLD}, 0)
        hangs = ended is None and "kill_after_ms" not in job
        sys.stdout.write("it hangs\n" if hangs else f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _run_and_exit(job: dict[str, Any]) -> None:
    code = 1
    try:
        asyncio.run(run(job))
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    else:
        asyncio.run(run(json.loads(sys.argv[1])))
