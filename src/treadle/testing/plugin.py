"""The pytest plugin, found by its entry point: the fixtures ``treadle_run`` and ``treadle_actions``."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from treadle.testing import Rehearsal, Rehearse

pytest.register_assert_rewrite("treadle.testing.contracts")


@pytest.fixture
def treadle_actions() -> list[object]:
    """Return the actions of the project; define a fixture of this name in ``conftest.py`` to say which."""
    return []


@pytest.fixture
def treadle_workflows() -> list[object]:
    """Return the workflows that steps of others run; define a fixture of this name in ``conftest.py`` to say which."""
    return []


@pytest.fixture
def treadle_run(
    request: pytest.FixtureRequest, treadle_actions: list[object], treadle_workflows: list[object]
) -> Iterator[Rehearse]:
    """Rehearse workflows with the project's actions; a relative path may also be one beside the test's file."""
    from treadle.testing import rehearse

    with ExitStack() as open_ones:

        def run(
            workflow: Any,  # noqa: ANN401 - as ``Rehearse`` says, and so below
            input_data: Any = None,  # noqa: ANN401
            *,
            actions: Any = (),  # noqa: ANN401
            workflows: Any = (),  # noqa: ANN401
            **options: Any,  # noqa: ANN401
        ) -> Rehearsal:
            found, *others = (_beside(request.path.parent, one) for one in (workflow, *workflows, *treadle_workflows))
            options |= {"actions": [*treadle_actions, *actions], "workflows": others}
            return open_ones.enter_context(rehearse(found, input_data, **options))

        yield run


def _beside(folder: Path, workflow: Any) -> Any:  # noqa: ANN401 - what ``load_workflow`` takes
    if isinstance(workflow, str) and ("\n" in workflow or len(workflow) > 255):
        return workflow  # the text of a document
    try:
        path = folder / workflow
        return path if path.is_file() else workflow
    except (TypeError, OSError, ValueError):  # no path
        return workflow


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Tell the story of the execution where a comparison with something of it fails."""
    story = getattr(left, "story", None) or getattr(right, "story", None)
    if op != "==" or not isinstance(story, str):
        return None
    return [f"{_plain(left)!r} == {_plain(right)!r}", *story.splitlines()]


def _plain(value: object) -> object:
    match value:
        case str():
            return str(value)
        case list():
            return list(value)
        case dict():
            return dict(value)
        case _:
            return value
