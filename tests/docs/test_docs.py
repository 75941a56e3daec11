"""The documentation holds: links lead somewhere, workflows are valid, and what is marked as run runs as printed.

Fenced blocks of ``docs/quickstart.md`` and of the pages in ``docs/how-to`` are steps of one session each, in order, in
an empty folder. A comment above a block says what it is: ``file: NAME`` is written, ``run`` (or ``run: exit N``) is
executed, and ``prints`` is text that the last run printed. In the README ``valid workflow`` is validated and
``run: examples`` runs beside the examples.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from treadle import load_workflow

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


class Block(NamedTuple):
    mark: str
    language: str
    text: str


def _blocks(page: Path) -> list[Block]:
    found = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Block(one["mark"] or "", one["language"], one["text"]) for one in found]


def _run(block: Block, folder: Path) -> subprocess.CompletedProcess[str]:
    paths = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "backend")]),
    }
    text = re.sub(r"^treadle\b", f"'{sys.executable}' -m treadle", block.text, flags=re.MULTILINE)
    command = [sys.executable, "-c", text] if block.language == "python" else ["sh", "-ec", text]
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **paths}, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in links if not (page.parent / link.partition("#")[0]).exists()] == []


def test_the_readme_is_short_and_begins_with_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert re.findall(r"^make \w+", text, re.MULTILINE)[:2] == ["make run", "make test"]
    assert text.index("make run") < text.index("pip install")


def test_the_workflow_of_the_readme_is_valid() -> None:
    (block,) = [one for one in _blocks(ROOT / "README.md") if one.mark == "valid workflow"]
    assert load_workflow(block.text).id == "order"


@pytest.mark.slow
def test_the_example_of_the_readme_prints_what_it_says(tmp_path: Path) -> None:
    (block,) = [one for one in _blocks(ROOT / "README.md") if one.mark == "run: examples"]
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    done = _run(block, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "COMPLETED Hello, Ada!\n", "")
    assert "# COMPLETED Hello, Ada!" in block.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "runs"),
    [
        ("quickstart.md", 5),
        ("how-to/embed.md", 1),
        ("how-to/build-in-python.md", 5),
        ("how-to/failures.md", 3),
        ("how-to/maps-loops-and-groups.md", 6),
        ("how-to/register-workflows.md", 2),
        ("how-to/keep-secrets.md", 1),
        ("how-to/replace-an-embedded-engine.md", 3),
        ("how-to/test-your-workflows.md", 4),
        ("how-to/schedules.md", 3),
        ("how-to/wait-for-events.md", 2),
        ("how-to/limits.md", 1),
    ],
)
def test_a_page_that_is_a_session_works_from_top_to_bottom(page: str, runs: int, tmp_path: Path) -> None:
    printed, ran = "", 0
    for block in _blocks(ROOT / "docs" / page):
        kind, _, rest = block.mark.partition(": ")
        if kind == "file":
            (tmp_path / rest).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / rest).write_text(block.text, encoding="utf-8")
        elif kind == "run":
            done = _run(block, tmp_path)
            assert done.returncode == int(rest.removeprefix("exit ") or 0), block.text + done.stdout + done.stderr
            printed, ran = done.stdout, ran + 1
        elif kind == "prints":
            assert block.text.strip() in printed, block.text
    assert ran == runs
