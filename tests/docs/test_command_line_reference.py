"""Every command and every option of the command line is in its reference, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from treadle.cli.main import app

PAGE = (Path(__file__).parents[2] / "docs/reference/command-line.md").read_text("utf-8")
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]

VERBS = COMMANDS["schedule"].commands


def rows(heading: str) -> list[list[str]]:
    part = PAGE.partition(heading)[2].partition("\n## ")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line[:2] == "| "][1:]


def test_every_command_is_described_once() -> None:
    described = [re.findall(r"`treadle ([\w-]+)", row[0])[0] for row in rows("# The command line")]
    verbs = [found[0] for row in rows("## Schedules") if (found := re.findall(r"`treadle schedule (\w+)", row[0]))]
    assert sorted(verbs) == sorted(VERBS)
    assert sorted(described) == sorted(COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_is_described_with_its_commands(name: str) -> None:
    described = set()
    for words, of, _ in rows("## Options"):
        names = set(COMMANDS) - {"validate", "schedule"} if of == "all but `validate`" else _names(of)
        if name in names:
            described |= _options(words)
    assert described == _of(COMMANDS[name])


@pytest.mark.parametrize("name", sorted(VERBS))
def test_every_option_of_schedule_is_described_with_its_verbs(name: str) -> None:
    described = set()
    for words, of, *_ in rows("## Schedules"):
        if words.startswith("`-") and (of == "all" or name in _names(of)):
            described |= _options(words)
    assert described == _of(VERBS[name])


def _of(command: Any) -> set[str]:
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    return {word for parameter in options for word in parameter.opts if word != "--help"}


def _names(text: str) -> set[str]:
    return set(re.findall(r"`([\w-]+)`", text))


def _options(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--?[\w-]+", text))
