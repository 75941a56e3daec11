"""``record``: a runnable test from a finished execution."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final

import typer

from treadle import Client, all_nodes, node_path, to_document
from treadle.cli.arguments import DEFAULT_DB, Db, ExecutionId, Output, need_file
from treadle.cli.literals import INDENT, block, entry, literal, quoted
from treadle.cli.output import fail, note, run_async
from treadle.cli.recording import Raised, Recording, Returned, Unending
from treadle.cli.recording import record as read_recording
from treadle.cli.redaction import Redaction

if TYPE_CHECKING:
    from pathlib import Path

    from treadle import ExecutionState, Workflow
    from treadle.cli.literals import JsonValue

NOT_ENDED: Final = 1
DEFAULT_SLOTS: Final = 5
_USED: Final = "WORKFLOW: dict[str, object] = "
_DOCSTRING: Final = '"""What its actions gave then leads to the same end today."""'
_CONSTANTS: Final = ("parameters", "values", "items", "input", "default", "output")
"""Fields of nodes that hold values."""
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9 _.:@+-]")


def record(
    execution_id: ExecutionId,
    db: Db = DEFAULT_DB,
    output: Output = None,
) -> None:
    """Write a pytest file that rehearses a finished execution, with what its actions gave and raised."""
    need_file(db)
    if output is not None and output.exists():
        fail(f"{output} exists; name another file, or remove it")
    state, workflow, recording = run_async(_read(execution_id, db))
    redact = Redaction()
    text = write_test(state, workflow, recording, redact)
    if output is None:
        typer.echo(text, nl=False)
    else:
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            fail(f"{output} cannot be written: {error.strerror}")
    count = redact.count
    values = "no value was" if not count else "1 value was" if count == 1 else f"{count} values were"
    note(f"{f'wrote {output}; ' if output else ''}{values} redacted; read it before you commit it")


async def _read(execution_id: str, db: Path) -> tuple[ExecutionState, Workflow, Recording]:
    async with Client(db) as client:
        reads = client.state_manager
        state = await reads.get_execution_state(execution_id)
        if not state.status.is_terminal:
            fail(
                f"execution {execution_id!r} is {state.status.value}; a test is recorded from one that has ended",
                code=NOT_ENDED,
            )
        workflow = await reads.get_execution_workflow(execution_id)
        return state, workflow, read_recording(workflow, await reads.history(execution_id))


def write_test(state: ExecutionState, workflow: Workflow, recording: Recording, redact: Redaction) -> str:
    """Return the text of the test."""
    document = to_document(workflow)
    constants = [workflow.vars, *(getattr(node, name) for _, node in all_nodes(workflow) for name in _CONSTANTS)]
    given = [one.output for each in recording.outcomes.values() for one in each if isinstance(one, Returned)]
    for value in (recording.input, state.output, constants, given, [one.arguments for one in recording.requests]):
        redact.learn(value)
    body = _body(state, recording, redact)
    replace = _replace(workflow, recording, redact)
    words = [word for word in ("by_step", "never", "outcomes", "raises", "returns") if f"{word}(" in replace]
    parts = [
        _heading(state, recording),
        "from __future__ import annotations\n",
        "from datetime import timedelta\n" * ("timedelta(" in body) + "from typing import TYPE_CHECKING\n",
        *([f"from treadle.testing import {', '.join(words)}\n"] if words else []),
        f"if TYPE_CHECKING:\n{INDENT}from treadle.testing import Rehearse\n",
        f"WORKFLOW: dict[str, object] = {literal(_without_constants(document, redact), used=len(_USED))}\n",
        f"INPUT: dict[str, object] = {literal(redact(recording.input), used=len(_USED))}\n",
        f"REPLACE: dict[str, object] = {replace}\n\n",
        f"def test_{_slug(state)}(treadle_run: Rehearse) -> None:\n{INDENT}{_DOCSTRING}\n{body}",
    ]
    return "\n".join(parts)


def _heading(state: ExecutionState, recording: Recording) -> str:
    name = _UNSAFE.sub("?", state.execution_id)
    lines = [f'"""Recorded by ``treadle record`` from the execution {name}."""', ""]
    if recording.interrupted:
        lines[1:1] = [
            "",
            f"# Attempts cut off by a crash or a shutdown, which are not repeated here: {recording.interrupted}.",
        ]
    return "\n".join(lines)


def _slug(state: ExecutionState) -> str:
    words = re.sub(r"[^a-z0-9]+", "_", state.workflow_id.lower()).strip("_") or "workflow"
    return f"{words[:60].rstrip('_')}_{state.status.value.lower()}"


def _without_constants(document: dict[str, JsonValue], redact: Redaction) -> JsonValue:
    """Return the document without secrets where it has values; a schema under ``password`` is none."""
    written = {**document, **({"vars": redact(document["vars"])} if "vars" in document else {})}
    return _graph(written, redact)


def _graph(graph: dict[str, JsonValue], redact: Redaction) -> dict[str, JsonValue]:
    return {**graph, "nodes": [_node(one, redact) for one in graph["nodes"]]}


def _node(node: dict[str, JsonValue], redact: Redaction) -> dict[str, JsonValue]:
    config = node.get("config", {})
    written = {name: redact(config[name]) for name in _CONSTANTS if name in config}
    if "body" in config:
        written["body"] = _graph(config["body"], redact)
    return {**node, "config": {**config, **written}} if written else node


def _replace(workflow: Workflow, recording: Recording, redact: Redaction) -> str:
    top = {node.id for node in workflow.nodes}
    callers: dict[str, dict[str, None]] = {}
    for path, node in all_nodes(workflow):
        for name in node.action_names:
            callers.setdefault(name, {})[path] = None
    found: dict[tuple[str, str], list[Returned | Raised | Unending]] = {}
    for called, outcomes in recording.outcomes.items():
        found.setdefault((called.action, called.step), []).extend(outcomes)
    items = []
    for name, paths in callers.items():
        made = {step: node_path(step, top) for action, step in found if action == name}
        steps = [step for path in paths for step, its in made.items() if its == path]
        if steps == list(paths) and len(paths) == 1:
            items.append(entry(name, _outcomes(found[name, steps[0]], redact, 1, name)))
        elif steps:
            each = [entry(step, _outcomes(found[name, step], redact, 3, step)) for step in steps]
            items.append(entry(name, _by_step(each, len(entry(name, "")))))
    return block("{", items, "}", 0, len(_USED)) if items else "{}  # nothing was called"


def _by_step(each: list[str], used: int) -> str:
    line = block("by_step({", each, "})", 1, used)
    return f"by_step(\n{INDENT * 2}{block('{', each, '}', 2)}\n{INDENT})" if "\n" in line else line


def _outcomes(each: list[Returned | Raised | Unending], redact: Redaction, depth: int, key: str) -> str:
    used = len(entry(key, ""))
    return block("outcomes(", [_outcome(one, redact, depth + 1) for one in each], ")", depth, used)


def _outcome(one: Returned | Raised | Unending, redact: Redaction, depth: int) -> str:
    match one:
        case Returned():
            return block("returns(", [literal(redact(one.output), depth + 1), f"at={_number(one.at)}"], ")", depth)
        case Raised():
            words = [
                literal(one.type, depth + 1),
                literal(redact.text(one.message), depth + 1),
                f"at={_number(one.at)}",
            ]
            words += ["permanent=True"] if one.permanent else []
            words += [f"retry_after={_number(one.retry_after)}"] if one.retry_after is not None else []
            return block("raises(", words, ")", depth)
        case Unending():
            return "never()"


def _body(state: ExecutionState, recording: Recording, redact: Redaction) -> str:
    times = [request.at for request in recording.requests]
    untils = [
        f"until=timedelta(seconds={_number(at - before)})" for before, at in zip([0.0, *times], times, strict=False)
    ]
    begin = ["WORKFLOW", "INPUT", "replace=REPLACE", *untils[:1]]
    if recording.slots > DEFAULT_SLOTS:
        begin.append(f"max_concurrent_steps={recording.slots}")
    lines = [block("run = treadle_run(", begin, ")", 1)]
    for place, request in enumerate(recording.requests):
        words = [literal(redact(one), 2) for one in request.arguments]
        lines.append(block(f"run.{request.verb}(", [*words, *untils[place + 1 : place + 2]], ")", 1))
    lines += _assertions(state, recording, redact)
    return "".join(f"{INDENT}{line}\n" for line in lines)


def _assertions(state: ExecutionState, recording: Recording, redact: Redaction) -> list[str]:
    statuses = {name: step.status.value for name, step in state.steps.items()}
    errors = {
        name: step.error.type
        for name, step in state.steps.items()
        if step.error is not None and step.status.value in ("FAILED", "TIMED_OUT")
    }
    attempts: Counter[str] = Counter()
    for called, each in recording.outcomes.items():
        if called.step in state.steps:
            attempts[called.step] += 0 if called.undoes else len(each)
    undone = [name for name, one in state.compensations.items() if one.status.value == "COMPLETED"]
    lines = [
        _equal("run.status", state.status.value),
        _equal("run.path", recording.path),
        _equal("run.statuses", statuses),
        _equal("run.attempts", {step: count for step, count in attempts.items() if count}),
    ]
    lines += [_equal("run.undone", undone)] if undone else []
    lines += [_equal("run.errors", errors)] if errors else []
    lines += [_equal(f"run.wait_seconds({quoted(step)})", waits) for step, waits in recording.waits.items()]
    if state.status.value == "COMPLETED":
        lines.append(_equal("run.output", redact(state.output)))
    return lines


def _number(seconds: float) -> str:
    return f"{seconds:.5f}".rstrip("0").rstrip(".")


def _equal(what: str, value: JsonValue) -> str:
    begin = f"assert {what} {'is' if value is None or isinstance(value, bool) else '=='} "
    return begin + literal(value, 1, len(begin))
