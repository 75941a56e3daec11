"""An application, as a process of its own that is killed and started again; it knows nothing of treadle.

``application.py LEDGER HOW [ORDER]``: HOW is ``start`` (start a workflow), or how what was left is taken up:
``singleton``, ``verb`` or ``recover``. Every body enters its begin and its end into the ledger, which is synced, so
that it tells what really ran whatever becomes of the process. ``HOLD`` names a step that never ends; ``KILL``
(``before:3``, ``after:3``) ends the process around its third write to the store; with ``KNOWS`` workflows are found by
their ids.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

import core.workflow_engine
from core.workflow_engine import WorkflowEngine, get_workflow_engine
from treadle.store.sqlite import SqliteStore


def node(name: str, **config: Any) -> dict[str, Any]:
    return {"id": name, "title": name, "config": {"service": "shop", "action": "do", **config}}


def workflow(kind: str) -> dict[str, Any]:
    if kind == "parent":
        sub = {"service": "workflow", "action": "run", "parameters": {"workflow_id": "graph"}}
        return {
            "id": kind,
            "nodes": [node("before"), node("sub", **sub)],
            "connections": [{"source": "before", "target": "sub"}],
        }
    nodes = [node("a"), node("b", parameters={"of": "${a.result.made}"}), node("c"), node("d")]
    edges = [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]
    connections = [{"source": source, "target": target} for source, target in edges]
    if kind == "graph":
        connections[0]["condition"] = "${a.result.made} == 'a'"
    return {"id": kind, "created_by": "ada", "nodes": nodes, "connections": connections}


def enter(what: str) -> None:
    handle = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(handle, f"{what}\n".encode())
    os.fsync(handle)
    os.close(handle)
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


async def shop(step: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    enter(f"begin {step['id']}")
    if os.environ.get("HOLD") == step["id"]:
        await asyncio.Event().wait()
    await asyncio.sleep(0)
    enter(f"end {step['id']}")
    return {"status": "success", "result": {"made": step["id"], **params}}


class Engine(WorkflowEngine):
    async def _execute_step(self, step: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
        if step["service"] == "workflow":
            return await super()._execute_step(step, params)
        return await shop(step, params)

    def _load_workflow_by_id(self, workflow_id: str) -> dict[str, Any] | None:
        return workflow(workflow_id) if "KNOWS" in os.environ else None


def kill_around_a_write() -> None:
    when, _, number = os.environ["KILL"].partition(":")
    append, written = SqliteStore.append, 0

    async def counted(self: SqliteStore, turns: Any) -> Any:
        nonlocal written
        written += bool(turns)
        if (when, written) == ("before", int(number)):
            os.kill(os.getpid(), signal.SIGKILL)
        answers = await append(self, turns)
        if (when, written) == ("after", int(number)):
            os.kill(os.getpid(), signal.SIGKILL)
        return answers

    SqliteStore.append = counted  # type: ignore[method-assign]


async def main() -> None:
    how = sys.argv[2]
    if how == "singleton":
        core.workflow_engine._workflow_engine = Engine()
        engine = get_workflow_engine()
    else:
        engine = Engine()
    if how == "start":
        enter(f"started {await engine.start_workflow(workflow(sys.argv[3]), {'n': 1})}")
    elif how == "recover":
        await engine.recover()
    elif how == "verb":
        await engine.cancel_execution("nobody")
    while engine._background_tasks:
        await asyncio.gather(*engine._background_tasks)


if "KILL" in os.environ:
    kill_around_a_write()
asyncio.run(main())
