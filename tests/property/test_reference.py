"""The machine against a slow, obvious interpreter, over generated workflows and scripts: equal after each input.

``REFERENCE_GRAPHS=100000 make test`` plays more of them, and so does ``python -m tests.property.reference``.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from tests.property.reference import Step, comparing, execution, joins
from tests.property.reference.comparing import Game, check, disagreement, draw
from tests.property.reference.shrinking import shrink

from treadle.definition import check_document, read_document, to_document
from treadle.machine import events as e
from treadle.model import NodeType, Severity, Workflow

GRAPHS = int(os.environ.get("REFERENCE_GRAPHS", "2000"))
PARTS = 8
"""In as many tests, so that several processes share the work."""

PLAYED = {
    *(e.ExecutionCreated, e.ExecutionStarted, e.ExecutionPaused, e.ExecutionResumed, e.ExecutionHalted),
    *(e.CancelRequested, e.DeadlinePassed, e.EndReached),
    *(e.ExecutionCompleted, e.ExecutionFailed, e.ExecutionCancelled, e.ExecutionTimedOut),
    *(e.ConnectionDecided, e.FailureHandled, e.StepReady, e.StepStarted, e.StepPaused),
    *(e.StepSucceeded, e.StepFailed, e.StepTimedOut, e.StepSkipped, e.StepCancelled, e.LateResultIgnored),
    *(e.AttemptFailed, e.AttemptInterrupted, e.TriggerPassed, e.StepPassed),
    *(e.WaitStarted, e.WaitEnded, e.InputAsked, e.InputGiven, e.EventAwaited, e.EventKept, e.EventReceived),
    *(e.GroupStarted, e.GroupHalted, e.GroupCompleted, e.BodyStarted, e.BodyHalted, e.BodyCompleted, e.BodyFailed),
}
"""What happens in the graphs: not what starts other executions, nor retries, forks, fallbacks and undoing."""


@pytest.mark.slow
@pytest.mark.timeout(120 + GRAPHS // 16)  # one takes 5 ms of CPU; a part has an eighth of them
@pytest.mark.parametrize("part", range(PARTS))
def test_the_machine_does_what_the_slow_and_obvious_reference_does(part: int) -> None:
    for seed in range(part, GRAPHS, PARTS):
        found = check(seed)
        assert not found, found


# -- what is drawn


def test_what_is_drawn_are_valid_documents() -> None:
    for seed in range(200):
        workflow, _ = draw(seed)
        document = to_document(workflow)
        assert read_document(document) == (workflow, [])
        problems = [one for one in check_document(document)[1] if one.severity is Severity.ERROR]
        assert not problems, (seed, problems)


def test_everything_that_the_machine_decides_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A generator that lost something would not be seen to fail."""
    seen: set[type] = set()
    types: set[NodeType] = set()
    ends: set[str] = set()
    view = comparing.machine_view

    def looks(state: Any, turn: Any) -> Any:
        seen.update(type(event) for event in turn.events)
        return view(state, turn)

    monkeypatch.setattr(comparing, "machine_view", looks)
    for seed in range(600):
        workflow, script = draw(seed)
        game = Game(workflow)
        game.play(script)
        ends.add(game.reference.status)
        types.update(step.node.type for step in game.reference.root.all_steps() if step.status != "PENDING")
    assert seen >= PLAYED
    assert set(NodeType) - types == {NodeType.WORKFLOW}
    assert ends == {"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"}


# -- what a disagreement looks like


def test_a_disagreement_is_shrunk_to_what_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a reference that is wrong on purpose: it takes a join over two dead connections for one that is met."""

    def wrong(step: Step) -> bool | None:
        is_met = joins.verdict(step)
        return True if is_met is False and len(step.scope.incoming(step)) == 2 else is_met

    monkeypatch.setattr(execution, "verdict", wrong)
    report = next(filter(None, map(check, range(100))))
    assert "python -m tests.property.reference --graphs 1 --seed " in report
    workflow, problems = read_document(_document(report))
    assert workflow is not None, problems
    assert (len(workflow.nodes) <= 3, len(workflow.connections)) == (True, 2)
    assert "machine:   ('SKIPPED'" in report
    assert disagreement(workflow, [("start_all", 0, 0)]) is not None


def test_shrinking_drops_all_that_can_be_dropped() -> None:
    workflow, script = draw(3)

    def fails(smaller: Workflow, moves: list[Any]) -> bool:
        return any(node.type is workflow.nodes[-1].type for node in smaller.nodes) and len(moves) >= 2

    small, moves = shrink(workflow, script, fails)
    assert (len(small.nodes), small.connections, len(moves)) == (1, (), 2)


def _document(report: str) -> str:
    return report[report.index("treadle: 1") : report.index("script: ")]
