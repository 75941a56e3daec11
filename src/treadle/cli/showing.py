"""One execution as text: its steps, those of bodies indented below the step that holds them, long maps cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from treadle import StepPlace, step_place
from treadle.cli.output import count_of, duration, items_text, moment, say, show_result

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from treadle import ExecutionState, StepState

FIRST_ITEMS: Final = 4
LAST_ITEMS: Final = 3
NAMED_FAILURES: Final = 8


class _Row(NamedTuple):
    """One step.

    Attributes:
        depth: How many steps hold it.
        step: None for a row that stands for items left out.
    """

    depth: int
    text: str
    step: StepState | None


def show_state(state: ExecutionState, top: Container[str], *, is_whole: bool) -> None:
    """Print an execution and its steps.

    Args:
        state: How it stands.
        top: Ids of the nodes at the top of its workflow.
        is_whole: Print every item of every map.
    """
    say(f"{state.execution_id}  {state.workflow_id}  {moment(state.created_at)}")
    rows = list(_rows(state, top, is_whole=is_whole))
    width = max([2 * row.depth + len(row.text) for row in rows if row.step is not None], default=0)
    for row in rows:
        name = "  " * row.depth + row.text
        if row.step is None:
            say(f"  {name}")
            continue
        step = row.step
        took = duration(step.started_at, step.ended_at)
        error = f"{step.error.type}: {step.error.message}" if step.error is not None else ""
        words = ["", name.ljust(width), step.status.value.ljust(9), took.rjust(8), *_progress(step), error]
        say("  ".join(words).rstrip())
    _show_undone(state, width)
    show_result(state)


def _show_undone(state: ExecutionState, width: int) -> None:
    for name, one in state.compensations.items():
        error = f"{one.error.type}: {one.error.message}" if one.error is not None else ""
        took = duration(one.started_at, one.ended_at)
        words = ["", name.ljust(width), one.status.value.ljust(9), took.rjust(8), f"undone by {one.action}", error]
        say("  ".join(words).rstrip())


def _progress(step: StepState) -> Iterator[str]:
    yield f"attempt {step.attempt}" if step.attempt > 1 else ""
    if step.items is not None:
        yield items_text(step.items.total, step.items.completed, step.items.failed)
    if step.iterations:
        yield count_of(step.iterations, "iteration")


def _rows(state: ExecutionState, top: Container[str], *, is_whole: bool) -> Iterator[_Row]:
    places = {step: step_place(step, top) for step in state.steps}
    hidden = {} if is_whole else _hidden(places)
    depths: dict[str, int] = {"": -1}
    left_out: set[str] = set()
    for step, place in places.items():
        depth = depths.get(place.holder)
        if depth is None:  # it is within an item that is left out
            continue
        if place.number in hidden.get(place.holder, ()):
            if place.holder not in left_out:
                left_out.add(place.holder)
                text = _left_out(state.steps[place.holder], hidden[place.holder])
                yield _Row(depth + 1, text, None)
            continue
        depths[step] = depth + 1
        yield _Row(depth + 1, place.name, state.steps[step])


def _hidden(places: dict[str, StepPlace]) -> dict[str, set[int]]:
    """Return the numbers of the items in the middle of long maps, by key of the map."""
    numbers: dict[str, dict[int, None]] = {}
    for place in places.values():
        if place.number is not None:
            numbers.setdefault(place.holder, {})[place.number] = None
    return {
        holder: set(list(each)[FIRST_ITEMS:-LAST_ITEMS])
        for holder, each in numbers.items()
        if len(each) > FIRST_ITEMS + LAST_ITEMS + 1
    }


def _left_out(holder: StepState, numbers: set[int]) -> str:
    failed = [] if holder.items is None else [one for one in holder.items.errors if one in numbers]
    text = f"... {count_of(len(numbers), 'item')} more: [{min(numbers)}] to [{max(numbers)}]"
    if not failed:
        return text
    more = ", ..." if len(failed) > NAMED_FAILURES else ""
    named = ", ".join(f"[{one}]" for one in failed[:NAMED_FAILURES])
    return f"{text}, {len(failed):,} failed: {named}{more}"
