"""``show`` and the lines of ``history`` and ``run``: where a step stands is seen at a glance, however many items."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from treadle.cli.output import show_event
from treadle.cli.showing import show_state
from treadle.testing import never, rehearse

if TYPE_CHECKING:
    import pytest

    from treadle.testing import Rehearsal

ZERO = "set: division by zero, at column 3 of '1 / mod(item, 6)'"
LOOP = {
    "id": "again",
    "type": "loop",
    "until": "index == 1",
    "body": {"nodes": [{"id": "n", "type": "set", "values": "${index}"}]},
}


def each(count: int, *nodes: Any, **more: Any) -> dict[str, Any]:
    check = {"id": "v", "type": "set", "values": "${1 / mod(item, 6)}"}
    body = {"nodes": list(nodes) or [check]}
    return {"id": "each", "type": "map", "items": list(range(count)), "tolerate": "100%", "body": body, **more}


def shown(run: Rehearsal, capsys: pytest.CaptureFixture[str], *, is_whole: bool = False) -> list[str]:
    """Return the lines of the steps."""
    top = {name for name in run.statuses if "[" not in name and not name.startswith("p.")}
    show_state(run.state, top, is_whole=is_whole)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("rehearsal  w  2030-01-01")
    return [" ".join(line.replace(" 0 ms", "").split()) for line in lines[1:-1]]


def test_steps_of_bodies_stand_indented_below_the_step_that_holds_them(capsys: pytest.CaptureFixture[str]) -> None:
    group = {
        "id": "p",
        "type": "parallel",
        "body": {"nodes": [{"id": "a.b", "type": "set", "values": 1}, each(1) | {"id": "in"}]},
    }
    with rehearse({"id": "w", "nodes": [each(2, LOOP), group]}) as run:
        show_state(run.state, {"each", "p"}, is_whole=False)
    squeezed = [re.sub(r"(?<=\S) +", " ", line) for line in capsys.readouterr().out.replace(" 0 ms", "").splitlines()]
    assert [line.rstrip() for line in squeezed[1:-1]] == [
        "  each COMPLETED 2/2 items",
        "    [0].again COMPLETED 2 iterations",
        "      [1].n COMPLETED",
        "    [1].again COMPLETED 2 iterations",
        "      [1].n COMPLETED",
        "  p COMPLETED",
        '    ["a.b"] COMPLETED',
        "    .in COMPLETED 1/1 item, 1 failed",
        f"      [0].v FAILED ExpressionError: {ZERO}",
    ]


def test_a_long_map_is_cut_in_the_middle_and_its_failures_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    with rehearse({"id": "w", "nodes": [each(40), each(3, LOOP) | {"id": "short"}]}) as run:
        lines = shown(run, capsys)
        whole = shown(run, capsys, is_whole=True)
    assert lines[0] == "each COMPLETED 40/40 items, 7 failed"
    assert [line.split()[0] for line in lines[1:5]] == ["[0].v", "[1].v", "[2].v", "[3].v"]
    assert lines[5] == "... 33 items more: [4] to [36], 6 failed: [6], [12], [18], [24], [30], [36]"
    assert [line.split()[0] for line in lines[6:9]] == ["[37].v", "[38].v", "[39].v"]
    assert lines[9] == "short COMPLETED 3/3 items"
    assert len(whole) == len(run.state.steps) == 41 + 7


def test_so_many_failures_are_not_all_named(capsys: pytest.CaptureFixture[str]) -> None:
    with rehearse({"id": "w", "nodes": [each(300)]}) as run:
        lines = shown(run, capsys)
    named = ", ".join(f"[{number}]" for number in range(6, 54, 6))
    assert lines[5] == f"... 293 items more: [4] to [296], 49 failed: {named}, ..."


def test_what_is_within_items_that_are_left_out_is_left_out_too(capsys: pytest.CaptureFixture[str]) -> None:
    with rehearse({"id": "w", "nodes": [each(12, LOOP, each(2) | {"id": "in"})]}) as run:
        lines = shown(run, capsys)
    assert lines.count("... 5 items more: [4] to [8]") == 1
    assert len(lines) == 1 + 7 * (1 + 1 + 1 + 2) + 1


def test_a_map_of_eight_is_not_cut_to_save_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with rehearse({"id": "w", "nodes": [each(8)]}) as run:
        assert len(shown(run, capsys)) == 9
    with rehearse({"id": "w", "nodes": [each(9)]}) as run:
        assert len(shown(run, capsys)) == 9


def test_lines_of_events_say_which_bodies_they_mean(capsys: pytest.CaptureFixture[str]) -> None:
    told = {"id": "told", "type": "event", "event": "e", "key": 1}
    race = {"id": "p", "type": "parallel", "race": True}
    race["body"] = {"nodes": [{"id": "a", "type": "set", "values": 1}, {"id": "b", "action": "never"}]}
    chosen = {"nodes": [{"id": "a", "type": "set", "values": 1}, {"id": "b", "type": "set", "values": 1}]}
    chosen["connections"] = [{"source": "a", "target": "b", "condition": "item == 1"}]
    document = {"id": "w", "nodes": [each(3, max_concurrency=2), race, told, each(1) | {"id": "m", "body": chosen}]}
    with rehearse(document, replace={"never": never()}, until=timedelta(0)) as run:
        for event in run.history:
            show_event(event)
    lines = [line.partition(" ")[2] for line in capsys.readouterr().out.splitlines()]
    for line in (
        "GroupStarted each: 3 items",
        "BodyStarted each: [0] to [1]",
        "BodyStarted each: [2]",
        f"BodyFailed each: [0]: {ZERO}",
        "BodyCompleted each: [1]",
        "GroupCompleted each",
        "GroupCompleted p: race",
        "EventAwaited told: e",
        "ConnectionDecided: a -> b in m[0] not taken",
    ):
        assert line in lines, lines
