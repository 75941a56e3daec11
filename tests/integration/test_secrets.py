"""A secret goes into an action and comes out nowhere: a canary with odd characters, and every place looked at."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
import pytest

import treadle
from treadle import SecretError, StepContext, WorkflowEngine, action
from treadle.testing import rehearse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CANARY = "kanarya/+'\"\\ %d\tvöglein-9f3a"
PIN = "73519264"
NEEDLES = [
    CANARY.encode(),
    json.dumps(CANARY)[1:-1].encode(),
    json.dumps(CANARY, ensure_ascii=False)[1:-1].encode(),
    repr(CANARY)[1:-1].encode(),
    quote(CANARY).encode(),
    quote(CANARY, safe="").encode(),
    CANARY.encode().hex().encode(),
    *(base64.b64encode(b"x" * lead + CANARY.encode())[4:-4] for lead in range(3)),
    *(base64.urlsafe_b64encode(b"x" * lead + CANARY.encode())[4:-4] for lead in range(3)),
    b"9f3a",
    PIN.encode(),
]
"""Each form in which the actions below give the canary away, and its last characters as they are."""

SEEN: list[dict[str, Any]] = []


@action("leak.return")
async def give_back(auth: str, deep: dict[str, Any], **more: Any) -> dict[str, Any]:
    SEEN.append({"auth": auth, "deep": deep, **more})
    return {
        "plain": auth,
        CANARY: "as a key",
        "json": json.dumps({"nested": json.dumps(auth)}),
        "base64": [base64.b64encode(b"x" * lead + CANARY.encode() + b"y").decode() for lead in range(3)],
        "urlsafe": [base64.urlsafe_b64encode(b"x" * lead + CANARY.encode() + b"y").decode() for lead in range(3)],
        "basic": base64.b64encode(f"user:{CANARY}".encode()).decode(),
        "url": [quote(CANARY), quote(CANARY, safe="")],
        "hex": [CANARY.encode().hex(), CANARY.encode().hex().upper()],
        "number": int(PIN),
        "harmless": ["stays", 5, True, None],
    }


def raise_by_key(auth: str) -> None:
    raise KeyError(auth)


@action("leak.raise")
def raise_it(auth: str) -> None:
    class OddError(Exception):
        pass

    OddError.__name__ = f"Odd_{PIN}"
    try:
        raise_by_key(auth)
    except KeyError as error:
        raise OddError(f"{'x' * 3_990} {CANARY} {auth!r}") from error


@action("leak.log")
def log_it(auth: str, pin: str, *, context: StepContext) -> str:
    context.logger.info("calling with %s", auth)
    context.logger.warning(f"calling with {auth!r} and {json.dumps(pin)}")  # noqa: G004 - as people do
    try:
        raise_by_key(auth)
    except KeyError:
        context.logger.exception("it failed with %r", {"auth": auth})
    return "logged"


@action("leak.schema")
def never(auth: str) -> None:
    raise AssertionError("the parameters do not fit the schema")


@action("leak.agent")
async def agent(auth: str) -> None:
    raise treadle.AgentExecutionError(auth, base64.b64encode(auth.encode()).decode())


AUTH = "Bearer ${secrets.CANARY}"
WORKFLOW: dict[str, Any] = {
    "id": "leaks",
    "nodes": [
        {
            "id": "returns",
            "action": "leak.return",
            "parameters": {
                "auth": "${secrets.CANARY}",
                "deep": {"list": [AUTH, "${input.who}: ${secrets.PIN}"]},
                "data": "${input.forged}",
            },
        },
        {"id": "raises", "action": "leak.raise", "parameters": {"auth": AUTH}, "continue_on_error": True},
        {"id": "logs", "action": "leak.log", "parameters": {"auth": AUTH, "pin": "${secrets.PIN}"}},
        {
            "id": "misfit",
            "action": "leak.schema",
            "parameters": {"auth": "${secrets.CANARY}"},
            "input_schema": {"properties": {"auth": {"maxLength": 3}}},
            "continue_on_error": True,
        },
        {"id": "agent", "action": "leak.agent", "parameters": {"auth": AUTH}, "continue_on_error": True},
        {"id": "later", "action": "leak.return", "parameters": {"auth": "${returns.plain}", "deep": {}}},
    ],
    "connections": [
        {"source": "returns", "target": "later"},
        *({"source": name, "target": "later", "outcome": "always"} for name in ("raises", "misfit", "agent")),
        {"source": "logs", "target": "later"},
    ],
    "defaults": {"retry": {"max_attempts": 2, "initial_delay": 0}},
    "output": {"returned": "${returns}", "errors": "${[steps.raises.error, steps.misfit.error, steps.agent.error]}"},
}
FORGED = {"secret": "CANARY"}
INPUT = {"who": "Ada", "forged": FORGED}


@pytest.fixture(autouse=True)
def nothing_seen() -> Iterator[None]:
    SEEN.clear()
    yield
    SEEN.clear()


def assert_clean(content: bytes | str, where: object) -> None:
    data = content.encode() if isinstance(content, str) else content
    assert [needle for needle in NEEDLES if needle in data] == [], where


ALL = [give_back, raise_it, log_it, never, agent]


@pytest.mark.parametrize("is_file", [True, False])
async def test_a_canary_is_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture, *, is_file: bool) -> None:
    caplog.set_level(logging.DEBUG)
    place = str(tmp_path / "t.db") if is_file else ":memory:"
    watched: list[Any] = []
    async with WorkflowEngine(store=place, actions=ALL, secrets={"CANARY": CANARY, "PIN": PIN}) as engine:

        async def watch() -> None:
            watched.extend([event async for event in engine.watch("one")])

        await engine.start_workflow(WORKFLOW, INPUT, execution_id="one")
        watching = asyncio.create_task(watch())
        state = await engine.wait("one")
        await watching
        history = await engine.history("one")
        assert_clean(msgspec.json.encode([state, history, watched]), "what readers get")
        for path in tmp_path.rglob("*"):
            if path.is_file():
                assert_clean(path.read_bytes(), path)  # with the write-ahead log, before it is closed
    for path in tmp_path.rglob("*"):
        assert_clean(path.read_bytes() if path.is_file() else b"", path)
    assert_clean(caplog.text, "logs")
    assert_clean(repr([record.__dict__ for record in caplog.records]), "records")
    assert "calling with Bearer [secret CANARY]" in caplog.text

    assert state.status.value == "COMPLETED", state.error
    assert SEEN[0] == {
        "auth": CANARY,
        "deep": {"list": [f"Bearer {CANARY}", f"Ada: {PIN}"]},
        "data": FORGED,
    }, "the action gets the values, and data that looks like a reference is data"
    assert SEEN[1]["auth"] == "[secret CANARY]", "what is recorded is what runs on"
    assert state.steps["returns"].output["harmless"] == ["stays", 5, True, None]
    assert state.steps["returns"].output["plain"] == "[secret CANARY]"
    error = state.steps["raises"].error
    assert error is not None
    assert error.type == "Odd_[secret PIN]"
    assert error.message.endswith(" [secret C... (4,031 characters)"), "it is taken out before the message is cut"


async def test_what_is_recorded_of_parameters_is_the_reference() -> None:
    async with WorkflowEngine(store=":memory:", actions=ALL, secrets={"CANARY": CANARY, "PIN": PIN}) as engine:
        await engine.run_workflow(WORKFLOW, INPUT, execution_id="one")
        started = {one.step: one.data for one in await engine.history("one") if one.kind == "StepStarted"}
    assert started["returns"]["parameters"] == {
        "auth": {"secret": "CANARY"},
        "deep": {"list": [["Bearer ", {"secret": "CANARY"}], ["Ada: ", {"secret": "PIN"}]]},
        "data": FORGED,
    }


ONE = {"id": "one", "nodes": [{"id": "a", "action": "take", "parameters": {"x": "${secrets.X}"}}]}


@action("take")
async def take(x: str) -> int:
    SEEN.append({"x": x})
    return len(x)


@pytest.mark.parametrize(
    ("secrets", "message"),
    [
        (None, "secret 'X': this engine has no secrets; give it some with WorkflowEngine(secrets=...)"),
        ({"Y": "hunter2"}, "secret 'X': there is none of that name in the mapping that was given"),
        ({"X": "short"}, "secret 'X': it has fewer than 6 characters, too few to keep it out of the log"),
        ({"X": "          "}, "secret 'X': it has fewer than 6 characters, too few to keep it out of the log"),
        ({"X": 123456789}, "secret 'X': it is a int, not text"),
        ({"X": "abcdef\udc80"}, "secret 'X': it is no text that can be written as UTF-8"),
        ({"X": "x" * 70_000}, "secret 'X': it has 70,000 characters, more than 65,536"),
    ],
)
async def test_a_secret_that_cannot_be_used_is_one_permanent_failure(secrets: Any, message: str) -> None:
    async with WorkflowEngine(store=":memory:", actions=[take], secrets=secrets) as engine:
        state = await engine.run_workflow(ONE)
    error = state.steps["a"].error
    assert error is not None
    assert (error.type, error.attempt) == ("SecretError", 1)
    assert error.message.startswith(message)
    assert not SEEN


async def test_a_provider_that_fails_is_asked_again_and_its_error_is_not_shown() -> None:
    asked: list[str] = []

    def vault(name: str) -> str:
        asked.append(name)
        if len(asked) < 3:
            raise ConnectionError("https://vault/?token=root")
        return "hunter2!"

    workflow = {**ONE, "defaults": {"retry": {"max_attempts": 3, "initial_delay": 0}}}
    async with WorkflowEngine(store=":memory:", actions=[take], secrets=vault) as engine:
        started = await engine.start_workflow(workflow)
        state = await engine.wait(started)
        history = await engine.history(started)
    assert (state.status.value, state.output, asked) == ("COMPLETED", 8, ["X", "X", "X"])
    failed = [one.data["error"] for one in history if one.kind == "AttemptFailed"]
    assert [one["message"].partition(" from ")[0] for one in failed] == [
        "secret 'X': it cannot be read now (ConnectionError)"
    ] * 2
    assert "root" not in str(failed)


class Ends:
    """A provider that tells what it should not, and as what ends a process."""

    async def get(self, name: str) -> str | None:
        raise SystemExit(f"{name}: root-token")

    def __str__(self) -> str:
        return "Ends(token='root-token')"


async def test_nothing_of_what_a_provider_says_or_is_called_is_shown() -> None:
    workflow = {**ONE, "defaults": {"retry": {"max_attempts": 2, "initial_delay": 0}}}
    async with WorkflowEngine(store=":memory:", actions=[take], secrets=[Ends()]) as engine:
        state = await engine.run_workflow(workflow)
    error = state.steps["a"].error
    assert error is not None
    assert (error.attempt, error.message) == (
        2,
        "secret 'X': it cannot be read now (SystemExit) from the provider Ends",
    )
    assert "root-token" not in str(error)


async def test_each_call_asks_anew_so_that_a_changed_secret_counts() -> None:
    secrets = {"X": "first one"}
    async with WorkflowEngine(store=":memory:", actions=[take], secrets=secrets) as engine:
        await engine.run_workflow(ONE)
        secrets["X"] = "second one"
        await engine.run_workflow(ONE)
    assert SEEN == [{"x": "first one"}, {"x": "second one"}]


async def test_a_provider_that_never_answers_is_bounded_by_the_timeout_of_the_step() -> None:
    cancelled = asyncio.Event()

    async def hangs(name: str) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return name

    node = {**ONE["nodes"][0], "timeout": 0.02, "retry": {"max_attempts": 1}}  # type: ignore[dict-item]
    async with WorkflowEngine(store=":memory:", actions=[take], secrets=hangs) as engine:
        state = await engine.run_workflow({"id": "one", "nodes": [node]})
    assert state.steps["a"].status.value == "TIMED_OUT"
    assert cancelled.is_set()
    assert not SEEN


@pytest.mark.parametrize("is_async", [True, False])
async def test_cancelling_while_a_secret_is_read_calls_no_action(*, is_async: bool) -> None:
    reached, swallow = asyncio.Event(), asyncio.Event()

    async def stubborn(name: str) -> str:
        reached.set()
        try:
            await swallow.wait()
        except asyncio.CancelledError:
            return "too late, but here"
        return name

    def called_on_a_thread(x: str) -> int:
        SEEN.append({"x": x})
        return 1

    actions = [take] if is_async else [{"take": called_on_a_thread}]
    async with WorkflowEngine(store=":memory:", actions=actions, secrets=stubborn) as engine:
        started = await engine.start_workflow(ONE)
        await reached.wait()
        await engine.cancel_execution(started)
        state = await engine.wait(started)
    assert state.status.value == "CANCELLED"
    assert not SEEN


def test_a_rehearsal_makes_secrets_up_unless_it_is_given_some() -> None:
    with rehearse(ONE, actions=[take]) as run:
        assert (run.status, run.calls()[0].parameters) == ("COMPLETED", {"x": "a made-up secret X"})
    with rehearse(ONE, actions=[take], secrets={"X": "hunter2"}) as run:
        assert run.calls()[0].parameters == {"x": "hunter2"}
    with rehearse(ONE, replace={"take": lambda x: f"got {x}"}, secrets={"X": "hunter2"}) as run:
        assert run.output == "got [secret X]"
    with rehearse(ONE, actions=[take], secrets={}) as run:
        assert run.state.steps["a"].error.type == "SecretError"  # type: ignore[union-attr]


def test_what_computes_with_a_secret_or_reads_one_elsewhere_is_refused() -> None:
    node = {"id": "a", "action": "take", "parameters": {"x": "${secrets.X + 'y'}", "y": "a ${default(secrets.X, 1)}"}}
    end = {"id": "b", "type": "set", "values": "${secrets.X}"}
    found = treadle.validate({"id": "one", "nodes": [node, end], "output": "${secrets.X}"})
    assert [(one.code, one.path) for one in found] == [
        ("bad_secret", "nodes[0].parameters.x"),
        ("bad_secret", "nodes[0].parameters.y"),
        ("unknown_name", "nodes[1].values"),
        ("unknown_name", "output"),
    ]
    assert str(found[0]).endswith(
        "nothing can be computed with a secret (write ${secrets.NAME} alone, or with text around it)"
    )


def test_an_engine_refuses_what_is_no_provider() -> None:
    with pytest.raises(treadle.ValidationError, match="secrets are given as"):
        WorkflowEngine(store=":memory:", secrets="TOKEN")
    assert issubclass(SecretError, treadle.TreadleError)


CLI_ACTIONS = """
import treadle

@treadle.action("echo")
def echo(x, *, context):
    context.logger.warning("it is %s", x)
    if len(x) < 9:
        raise RuntimeError(f"no {x}")
    return {"given": x}
"""


@pytest.mark.slow
def test_the_command_line_reads_a_folder_or_the_environment_and_prints_no_secret(tmp_path: Path) -> None:
    (tmp_path / "actions.py").write_text(CLI_ACTIONS)
    (tmp_path / "w.json").write_text(json.dumps({**ONE, "nodes": [{**ONE["nodes"][0], "action": "echo"}]}))  # type: ignore[dict-item]
    (tmp_path / "secrets").mkdir()

    def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "treadle", *words]
        return subprocess.run(command, cwd=tmp_path, env=environment, text=True, capture_output=True, check=False)

    whole = ("run", "w.json", "--actions", "actions.py", "--id")
    missing = run(*whole, "none")
    assert missing.returncode == 1
    assert "secret 'X': there is none of that name in the environment variables TREADLE_SECRET_*" in missing.stdout
    first = run(*whole, "env", TREADLE_SECRET_X="canary-of-env")
    (tmp_path / "secrets" / "X").write_text("canary-of-file\n")
    second = run(*whole, "file", "--secrets", "secrets", "--json", TREADLE_SECRET_X="canary-of-env")
    shown = [run(*words) for words in (("show", "file"), ("history", "file", "--json"), ("record", "file"))]
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert json.loads(second.stdout)["output"] == {"given": "[secret X]"}
    for done in (first, second, *shown):
        assert done.returncode == 0
        assert "canary" not in done.stdout + done.stderr
    assert "it is [secret X]" in first.stderr
    assert not [one for one in tmp_path.glob("treadle.db*") if one.is_file() and b"canary" in one.read_bytes()]
    wrong = run(*whole, "x", "--secrets", "nowhere")
    assert (wrong.returncode, wrong.stderr) == (2, "error: there is no file or folder nowhere with secrets\n")
