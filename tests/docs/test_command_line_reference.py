"""Every command and every option of the command line is in its reference, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from treadle.cli.main import app

PAGE = (Path(__file__).parents[2] / "docs/reference/command-line.md").read_text("utf-8")
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def rows(heading: str) -> list[list[str]]:
    part = PAGE.partition(heading)[2].partition("\n## ")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line[:2] == "| "][1:]


def test_every_command_is_described_once() -> None:
    described = [re.findall(r"`treadle ([\w-]+)", row[0])[0] for row in rows("# The command line")]
    assert sorted(described) == sorted(COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_is_described_with_its_commands(name: str) -> None:
    options = {
        word
        for parameter in COMMANDS[name].params
        if parameter.param_type_name == "option"
        for word in parameter.opts
        if word != "--help"
    }
    described = set()
    for words, of, _ in rows("## Options"):
        names = set(COMMANDS) - {"validate"} if of == "all but `validate`" else set(re.findall(r"`([\w-]+)`", of))
        if name in names:
            described |= set(re.findall(r"(?<![\w-])--?[\w-]+", words))
    assert described == options
