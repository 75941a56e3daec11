"""The published JSON Schema is the one the tables give, and says what the reader does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema_rs
import pytest

from treadle.definition import definition_schema, read_document, read_yaml, validate
from treadle.definition.problems import CODES

if TYPE_CHECKING:
    from treadle.model import JsonValue

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "docs" / "reference"
FITS = jsonschema_rs.Draft202012Validator(definition_schema())
NODE: dict[str, JsonValue] = {"id": "a", "action": "x"}


def test_the_published_schema_is_current() -> None:
    """Write it again with ``python -m treadle.definition.schema > docs/reference/definition.schema.json``."""
    assert json.loads((REFERENCE / "definition.schema.json").read_text("utf-8")) == definition_schema()


def test_it_is_a_schema_of_the_draft_it_names_and_a_new_object_each_time() -> None:
    jsonschema_rs.meta.validate(definition_schema())
    definition_schema()["properties"].clear()
    assert "nodes" in definition_schema()["properties"]


@pytest.mark.parametrize(
    "document",
    [
        {"id": "w", "nodes": []},
        {
            "workflow_id": "w",
            "steps": [{**NODE, "sequence_order": 1.5, "depends_on": ["b"], "name": "N"}],
            "created_by": "u",
        },
        {"id": "w", "nodes": [{"id": "a", "type": "trigger"}, {"id": "b", "config": {"action": "x", "x_a": 1}}]},
        {"id": "w", "nodes": [{**NODE, "join": {"at_least": 1}, "timeout": "PT5M", "retry": {"initial_delay": 0.5}}]},
        {"id": "w", "nodes": [NODE], "connections": [{"source": "a", "target": "b", "condition": "else", "id": "e"}]},
        {"id": "w", "nodes": [{"id": "a", "type": "switch", "mode": "all"}, {"id": "b", "type": "set", "values": 0}]},
        {"id": "w", "nodes": [{"id": "a", "type": "wait", "config": {"duration": "${input.x}"}}]},
        {"id": "w", "nodes": [{"id": "a", "type": "wait", "any_of": [{"duration": "5m"}, {"until": "${input.x}"}]}]},
        {"id": "w", "nodes": [{"id": "a", "type": "end", "status": "FAILED", "message": "${input.x}", "output": []}]},
    ],
)
def test_what_reads_fits(document: dict[str, JsonValue]) -> None:
    assert read_document(document)[1] == []
    assert FITS.is_valid(document)


@pytest.mark.parametrize(
    "document",
    [
        {"nodes": []},
        {"id": "w"},
        {"id": "w", "nodes": [], "steps": []},
        {"id": "w", "steps": [], "connections": []},
        {"id": "w", "nodes": [], "node": 1},
        {"id": "w", "treadle": 2, "nodes": []},
        {"id": "w", "nodes": [{"id": "a"}]},
        {"id": "w", "nodes": [{"id": "a", "config": {"service": "s"}}]},
        {"id": "w", "nodes": [{"id": "", "action": "x"}]},
        {"id": "w", "nodes": [{**NODE, "type": "swich"}]},
        {"id": "w", "nodes": [{**NODE, "type": "switch"}]},
        {"id": "w", "nodes": [{"id": "a", "type": "switch", "config": {"retry": {}}}]},
        {"id": "w", "nodes": [{"id": "a", "type": "set"}]},
        {"id": "w", "nodes": [{"id": "a", "type": "set", "values": None}]},
        {"id": "w", "nodes": [{"id": "a", "type": "wait"}]},
        {"id": "w", "nodes": [{"id": "a", "type": "wait", "duration": 1, "config": {"until": "${input.x}"}}]},
        {"id": "w", "nodes": [{"id": "a", "type": "wait", "any_of": [{"duration": 1, "until": "${input.x}"}]}]},
        {"id": "w", "nodes": [{"id": "a", "type": "wait", "any_of": []}]},
        {"id": "w", "nodes": [{"id": "a", "type": "end", "status": "TIMED_OUT"}]},
        {"id": "w", "nodes": [{**NODE, "values": 1}]},
        {"id": "w", "nodes": [{**NODE, "config": {"title": "A"}}]},
        {"id": "w", "nodes": [{**NODE, "timeout": -1}]},
        {"id": "w", "nodes": [{**NODE, "timeout": "soon"}]},
        {"id": "w", "nodes": [{**NODE, "join": {"at_least": 0}}]},
        {"id": "w", "nodes": [{**NODE, "retry": {"backoff": 0}}]},
        {"id": "w", "nodes": [{**NODE, "depends_on": ["b"]}]},
        {"id": "w", "nodes": [], "connections": [{"source": "a"}]},
        {"id": "w", "nodes": [], "defaults": {"retries": 1}},
    ],
)
def test_what_does_not_read_does_not_fit(document: dict[str, JsonValue]) -> None:
    assert read_document(document)[1] != []
    assert not FITS.is_valid(document)


def test_the_reference_page_describes_every_problem_and_shows_samples_that_fit() -> None:
    page = (REFERENCE / "definition.md").read_text("utf-8")
    assert [code for code in CODES if f"| `{code}` |" not in page] == []
    samples = [part.partition("```")[0] for part in page.split("```yaml\n")[1:]]
    assert len(samples) >= 2
    for sample in samples:
        assert read_document(sample)[1] == [], sample
        assert FITS.is_valid(read_yaml(sample)), sample
        assert validate(sample) == [], sample


def test_every_sample_of_the_repository_fits() -> None:
    files = sorted((ROOT / "examples").rglob("*.yaml"))
    assert files
    for file in files:
        assert FITS.is_valid(read_yaml(file.read_bytes())), file
