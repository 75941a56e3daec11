"""The generated pages say what the code says today."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import get_args

import pytest

from treadle.machine.events import AnyEvent

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
assert SPEC is not None
assert SPEC.loader is not None
generate = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(generate)


@pytest.mark.parametrize("name", ["events.md", "states.md", "settings.md", "errors.md"])
def test_a_page_is_what_the_docstrings_give(name: str) -> None:
    written = (ROOT / "docs/reference" / name).read_text("utf-8")
    assert written == generate.pages()[name], "run: python docs/generate.py"


def test_every_event_and_each_of_its_fields_is_described() -> None:
    page = generate.pages()["events.md"]
    for kind in get_args(AnyEvent):
        part = page.partition(f"\n## {kind.__name__}\n")[2].partition("\n## ")[0]
        described = {line.split("`")[1] for line in part.splitlines() if line.startswith(("| `", "| [`"))}
        assert described == set(kind.__struct_fields__) - {"at"}, kind
