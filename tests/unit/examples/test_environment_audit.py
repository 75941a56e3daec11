"""The actions of the audit, called as the plain functions they are, on folders of made-up distributions."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import logging
import sys
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from treadle import AgentExecutionError, Registry, StepContext

EXAMPLE = Path(__file__).parents[3] / "examples" / "environment_audit"


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("environment_audit_actions", EXAMPLE / "actions.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


audit = _load()
pages = sys.modules["audit_report"]


class Site:
    """A folder that looks like site-packages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = [str(folder)]

    def install(
        self,
        name: str,
        version: str = "1.0",
        *,
        headers: tuple[str, ...] = (),
        files: dict[str, str] | None = None,
        entry_points: str = "",
    ) -> Path:
        """Put a distribution there as an installer would, and return its ``.dist-info`` folder."""
        info = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *headers]
        (info / "METADATA").write_text("\n".join(lines) + "\n\n", encoding="utf-8")
        if entry_points:
            (info / "entry_points.txt").write_text(entry_points, encoding="utf-8")
        record = []
        for file, text in (files or {}).items():
            (self.folder / file).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / file).write_text(text, encoding="utf-8")
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record.append(f"{file},sha256={digest},{len(text)}\n")
        (info / "RECORD").write_text("".join(record), encoding="utf-8")
        return info


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")


def _context(**changes: Any) -> StepContext:
    known: dict[str, Any] = {
        "execution_id": "e1",
        "workflow_id": "environment_audit",
        "step": "sizes",
        "attempt": 1,
        "idempotency_key": "e1/sizes",
        "deadline": None,
        "logger": logging.getLogger("treadle.actions"),
    }
    return StepContext(**{**known, **changes})


def test_every_action_of_the_workflow_is_marked_and_nothing_more() -> None:
    assert sorted(Registry([audit])) == [
        "audit.advise",
        "audit.join",
        "audit.report",
        "audit.verify",
        "env.dependencies",
        "env.distributions",
        "env.entry_points",
        "env.licences",
        "env.sizes",
    ]


def test_distributions_are_listed_by_name_with_those_that_are_hidden_or_broken(site: Site, tmp_path: Path) -> None:
    site.install("beta", "2.0", headers=("Summary: The second",))
    site.install("Alpha")
    (site.folder / "~lpha-0.9.dist-info").mkdir()
    behind = Site(tmp_path / "behind")
    behind.install("ALPHA", "0.5")

    seen = audit.distributions(path=site.path + behind.path)

    assert seen["installed"] == [
        {"name": "Alpha", "version": "1.0", "summary": ""},
        {"name": "beta", "version": "2.0", "summary": "The second"},
    ]
    assert seen["shadowed"] == [{"name": "ALPHA", "version": "0.5"}]
    assert seen["unreadable"] == [str(site.folder)]
    assert seen["python"] == ".".join(map(str, sys.version_info[:3]))


def test_without_a_path_the_running_environment_is_audited() -> None:
    names = {one["name"] for one in audit.distributions()["installed"]}
    assert {"pytest", "msgspec", "packaging"} <= names


@pytest.mark.parametrize(
    ("headers", "licence"),
    [
        (
            ("License-Expression: MIT OR Apache-2.0", "Classifier: License :: OSI Approved :: BSD License"),
            "MIT OR Apache-2.0",
        ),
        (("Classifier: License :: OSI Approved :: MIT License", "License: whatever"), "MIT"),
        (("Classifier: License :: OSI Approved", "License: Apache Software License"), "Apache-2.0"),
        (
            (
                "Classifier: License :: OSI Approved :: MIT License",
                "Classifier: License :: OSI Approved :: ISC License (ISCL)",
            ),
            "ISC AND MIT",
        ),
        (("License: Zlib",), "Zlib"),
        (("License: UNKNOWN",), None),
        (("License: Permission is hereby granted, free of charge, to any person obtaining a copy",), None),
        (("Classifier: Programming Language :: Python",), None),
    ],
)
def test_a_licence_is_taken_from_the_best_place_that_names_one(
    site: Site, headers: tuple[str, ...], licence: str | None
) -> None:
    site.install("alpha", headers=headers)
    assert audit.licences(path=site.path) == {"of": {"alpha": licence}, "counts": {licence or "unknown": 1}}


def test_licences_are_counted_the_commonest_first(site: Site) -> None:
    for name, licence in {"a": "Zlib", "b": "MIT License", "c": "MIT", "d": "0BSD"}.items():
        site.install(name, headers=(f"License: {licence}",))
    assert list(audit.licences(path=site.path)["counts"].items()) == [("MIT", 2), ("0BSD", 1), ("Zlib", 1)]


def test_sizes_are_those_on_disk_and_files_are_held_against_what_was_installed(site: Site) -> None:
    site.install("alpha", files={"alpha/a.py": "one", "alpha/b.py": "two", "alpha/c.py": "three"})
    (site.folder / "alpha" / "b.py").write_text("TWO!", encoding="utf-8")
    (site.folder / "alpha" / "c.py").unlink()

    listed = "".join(
        f"{file}\0{hashlib.sha256(text).hexdigest()}\n"
        for file, text in {"alpha/a.py": b"one", "alpha/b.py": b"TWO!"}.items()
    )
    assert audit.sizes(path=site.path) == {
        "total_bytes": 7,
        "of": {
            "alpha": {
                "bytes": 7,
                "files": 2,
                "sha256": hashlib.sha256(listed.encode()).hexdigest(),
                "gone": ["alpha/c.py"],
                "changed": ["alpha/b.py"],
            }
        },
    }


def test_a_file_that_was_recorded_without_a_hash_may_come_and_go(site: Site) -> None:
    info = site.install("alpha")
    (info / "RECORD").write_text("alpha/__pycache__/a.cpython-311.pyc,,\n", encoding="utf-8")
    assert audit.sizes(path=site.path)["of"]["alpha"]["gone"] == []


def test_measuring_stops_at_the_deadline_of_the_step(site: Site) -> None:
    site.install("alpha")
    now = datetime.now(UTC)
    assert audit.sizes(path=site.path, context=_context(deadline=now + timedelta(hours=1)))["total_bytes"] == 0
    with pytest.raises(TimeoutError, match="longer than this step has"):
        audit.sizes(path=site.path, context=_context(deadline=now - timedelta(seconds=1)))


def test_requirements_are_followed_with_markers_versions_and_the_extras_others_ask_for(site: Site) -> None:
    site.install(
        "App",
        headers=(
            "Requires-Dist: lib-a[fast] >= 2",
            "Requires-Dist: absent; python_version >= '3'",
            "Requires-Dist: elsewhere; sys_platform == 'no such system'",
            "Requires-Dist: only-for-tests; extra == 'test'",
            "Requires-Dist: fresh>=1",
            "Requires-Dist: not a requirement",
        ),
    )
    site.install("lib_a", "1.5", headers=("Requires-Dist: speed; extra == 'fast'", "Requires-Dist: base>=1"))
    site.install("base", "1.0rc1")
    site.install("fresh", "2.0b1")

    assert audit.dependencies(path=site.path) == {
        "requires": {"App": ["fresh", "lib_a"], "base": [], "fresh": [], "lib_a": ["base"]},
        "missing": [
            {"distribution": "App", "requirement": 'absent; python_version >= "3"'},
            {"distribution": "lib_a", "requirement": 'speed; extra == "fast"'},
        ],
        "conflicts": [
            {"distribution": "App", "requirement": "lib-a[fast]>=2", "installed": "1.5"},
            {"distribution": "lib_a", "requirement": "base>=1", "installed": "1.0rc1"},
        ],
        "unreadable": [{"distribution": "App", "requirement": "not a requirement"}],
    }


def test_distributions_that_require_each_other_are_followed_once(site: Site) -> None:
    site.install("a", headers=("Requires-Dist: b[x]",))
    site.install("b", headers=("Requires-Dist: a[y]; extra == 'x'",))
    seen = audit.dependencies(path=site.path)
    assert seen == {"requires": {"a": ["b"], "b": ["a"]}, "missing": [], "conflicts": [], "unreadable": []}


def test_entry_points_are_counted_by_group_and_commands_name_their_owners(site: Site) -> None:
    site.install("a", entry_points="[console_scripts]\ngo = a:main\nrun = a:run\n\n[pytest11]\na = a.plugin\n")
    site.install("b", entry_points="[console_scripts]\ngo = b:main\n")
    assert audit.entry_points(path=site.path) == {
        "groups": {"console_scripts": 3, "pytest11": 1},
        "commands": {"go": ["a", "b"], "run": ["a"]},
    }


def _facts(**changes: Any) -> dict[str, Any]:
    measured = {"bytes": 7, "files": 2, "sha256": "ab" * 32, "gone": [], "changed": []}
    return {
        "distributions": {
            "python": "3.11.7",
            "platform": "Linux x86_64",
            "installed": [{"name": "a", "version": "1.0", "summary": ""}],
            "shadowed": [],
            "unreadable": [],
        },
        "licences": {"of": {"a": "MIT"}, "counts": {"MIT": 1}},
        "sizes": {"total_bytes": 7, "of": {"a": measured}},
        "dependencies": {"requires": {"a": []}, "missing": [], "conflicts": [], "unreadable": []},
        "entry_points": {"groups": {}, "commands": {}},
        **changes,
    }


def test_a_sound_environment_has_no_findings() -> None:
    assert audit.join(**_facts()) == {"count": 0, "worst": None, "findings": []}


def test_findings_of_all_sides_come_together_worst_first() -> None:
    facts = _facts(licences={"of": {"a": None}, "counts": {"unknown": 1}})
    facts["distributions"] |= {"shadowed": [{"name": "s", "version": "0.1"}], "unreadable": ["/site"]}
    facts["sizes"]["of"]["a"] |= {"gone": ["a/x.py"], "changed": ["a/y.py"]}
    facts["dependencies"] |= {
        "missing": [{"distribution": "m", "requirement": "n>=1"}],
        "conflicts": [{"distribution": "c", "requirement": "d<2", "installed": "3"}],
        "unreadable": [{"distribution": "u", "requirement": "???"}],
    }
    facts["entry_points"]["commands"] = {"go": ["a", "b"], "run": ["a"]}

    seen = audit.join(**facts)

    assert (seen["count"], seen["worst"]) == (9, "error")
    assert [tuple(one.values()) for one in seen["findings"]] == [
        ("error", "conflict", "c", "requires d<2, but 3 is installed"),
        ("error", "missing requirement", "m", "requires n>=1"),
        ("warning", "broken metadata", "(no name)", "a distribution in /site has no name or version"),
        ("warning", "file gone", "a", "a/x.py is not there any more"),
        ("warning", "file changed", "a", "a/y.py is not what was installed"),
        ("warning", "command clash", "a", "go is installed by a, b"),
        ("warning", "installed twice", "s", "0.1 is hidden by another copy"),
        ("warning", "broken metadata", "u", "a requirement cannot be read: ???"),
        ("notice", "unknown licence", "a", "its metadata names none"),
    ]


def test_sizes_that_were_not_measured_are_a_finding() -> None:
    assert audit.join(**_facts(sizes=None))["findings"] == [
        {
            "severity": "warning",
            "kind": "not measured",
            "distribution": "(all)",
            "detail": "reading the installed files failed or took too long",
        }
    ]


def test_advice_is_given_once_for_findings_that_one_command_cures() -> None:
    findings = [
        {"severity": "error", "kind": "conflict", "distribution": "c", "detail": "requires d<2, but 3 is installed"},
        {"severity": "warning", "kind": "file gone", "distribution": "a", "detail": "a/x.py is not there any more"},
        {"severity": "warning", "kind": "file changed", "distribution": "a", "detail": "a/y.py is not what ..."},
        {"severity": "warning", "kind": "command clash", "distribution": "a", "detail": "go is installed by a, b"},
        {"severity": "warning", "kind": "not measured", "distribution": "(all)", "detail": "..."},
        {"severity": "notice", "kind": "unknown licence", "distribution": "a", "detail": "..."},
    ]
    assert audit.advise(findings) == {
        "steps": [
            "Let pip choose versions that fit: pip install --upgrade c (it requires d<2, but 3 is installed)",
            "Install a again: pip install --force-reinstall --no-deps a",
            "Look at a: go is installed by a, b",
            "Run the audit again, with a longer timeout of the step 'sizes'",
            "Look up the licence of a on its home page before you ship it",
        ]
    }


def _report(folder: Path, **changes: Any) -> dict[str, Any]:
    facts = _facts(findings=[])
    known = {
        "title": "Audit",
        "execution_id": "e1",
        "generated_at": "2026-11-23T02:00:00Z",
        "facts": facts,
        "advice": [],
    }
    written: dict[str, Any] = audit.report(report_dir=str(folder), **{**known, **changes})
    return written


def test_a_report_is_written_whole_and_equal_arguments_write_equal_bytes(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "deep" / "two"
    assert _report(one) == {"html": str(one / "report.html"), "markdown": str(one / "report.md")}
    _report(two)
    assert sorted(file.name for file in one.iterdir()) == ["report.html", "report.md"]
    for name in ("report.html", "report.md"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_two_looks_at_the_report_must_agree(tmp_path: Path) -> None:
    written = list(_report(tmp_path).values())
    with pytest.raises(AgentExecutionError, match="not looked at before"):
        audit.verify(written)
    Path(written[0]).write_text("still being written", encoding="utf-8")
    with pytest.raises(AgentExecutionError, match="changed since the last look"):
        audit.verify(written)
    assert audit.verify(written) == {"sums": str(tmp_path / "SHA256SUMS")}
    assert (tmp_path / "SHA256SUMS").read_text(encoding="utf-8") == "".join(
        f"{hashlib.sha256(Path(file).read_bytes()).hexdigest()}  {Path(file).name}\n" for file in written
    )


def test_a_new_report_is_looked_at_anew(tmp_path: Path) -> None:
    written = list(_report(tmp_path).values())
    with pytest.raises(AgentExecutionError):
        audit.verify(written)
    _report(tmp_path)
    with pytest.raises(AgentExecutionError, match="not looked at before"):
        audit.verify(written)


class _Outline(HTMLParser):
    """Collects the tags, and the text outside of ``<style>``; an unclosed or misnested tag is an error."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.labels: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for key, value in attrs if key in {"href", "src"}]
        self.labels += [value or "" for key, value in attrs if key == "aria-label"]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data + "\n"


def _outline(page: dict[str, Any]) -> _Outline:
    outline = _Outline()
    outline.feed(pages.render_html(page))
    assert outline.open == []
    return outline


def _page(**changes: Any) -> dict[str, Any]:
    known = {"title": "Audit", "execution_id": "e1", "generated_at": "2026-11-23T02:00:00Z", "advice": []}
    return {**known, **_facts(findings=[]), **changes}


EVIL = "<script>alert(1)</script> \"'& | `x` [y](z)"


def test_no_fact_is_taken_for_markup() -> None:
    page = _page(
        title=EVIL,
        advice=[EVIL],
        findings=[{"severity": "error", "kind": EVIL, "distribution": EVIL, "detail": EVIL}],
        licences={"of": {"a": EVIL}, "counts": {EVIL: 1}},
        entry_points={"groups": {EVIL: 1}, "commands": {EVIL: ["a"]}},
        dependencies={"requires": {EVIL: [EVIL]}, "missing": [], "conflicts": [], "unreadable": []},
    )
    page["sizes"]["of"][EVIL] = page["sizes"]["of"]["a"]
    outline = _outline(page)
    assert "script" not in outline.tags
    assert outline.text.count(EVIL) >= 8
    assert f"Size on disk: {EVIL} 7 B; a 7 B" in outline.labels
    markdown = pages.render_markdown(page)
    outside_of_code = "".join(markdown.split("```")[::2])
    assert "<script>" not in outside_of_code
    assert " \\| \\`x\\` \\[y\\](z)" in outside_of_code


def test_the_page_stands_alone_and_says_its_figures_to_those_who_do_not_see_the_chart() -> None:
    outline = _outline(_page())
    assert outline.links == []
    assert not {"script", "link", "img", "iframe"} & set(outline.tags)
    assert outline.tags.count("h1") == 1
    page = pages.render_html(_page())
    assert '<svg role="img" aria-label="Size on disk: a 7 B"' in page
    assert '<html lang="en">' in page
    assert "prefers-color-scheme: dark" in page


def test_the_page_and_its_twin_say_what_was_found() -> None:
    findings = [{"severity": "warning", "kind": "file gone", "distribution": "a", "detail": "a/x.py is not there"}]
    page = _page(findings=findings, advice=["Install a again"])
    for text in (_outline(page).text, pages.render_markdown(page)):
        for said in (
            "Audit",
            "3.11.7",
            "e1",
            "warning",
            "file gone",
            "a/x.py is not there",
            "Install a again",
            "MIT",
            "7 B",
        ):
            assert said in text


def test_a_page_without_sizes_says_so() -> None:
    page = _page(sizes=None)
    assert "not measured" in _outline(page).text
    assert "not measured" in pages.render_markdown(page)
    assert "svg" not in _outline(page).tags


def test_bars_are_scaled_to_the_largest() -> None:
    chart = pages.bar_chart([("big", 1_000_000), ("half", 500_000), ("tiny", 0)])
    assert [part.split('"')[0] for part in chart.split(' width="')[1:]] == ["500.0", "250.0", "1.0"]
    assert ">1.0 MB</text>" in chart


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12_345_678, "12.3 MB"), (5_400_000_000_000, "5400.0 GB")],
)
def test_sizes_are_written_for_people(count: int, text: str) -> None:
    assert pages.human_size(count) == text


def test_the_results_of_the_running_environment_are_json_of_a_modest_size() -> None:
    seen = [audit.distributions(), audit.licences(), audit.dependencies(), audit.entry_points()]
    for one in seen:
        text = json.dumps(one, allow_nan=False)
        assert json.loads(text) == one
        assert len(text) < 1_000_000
