"""Actions of the environment audit: each looks at one side of the installed distributions and says what it saw.

They are ordinary functions on plain data: call them from a test as they stand. ``path`` is always a list of folders to
look for distributions in, or None for those of the running interpreter.
"""

from __future__ import annotations

import base64
import hashlib
import os
import platform
import sys
from collections import Counter, defaultdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from treadle import AgentExecutionError, action

sys.path.insert(0, str(Path(__file__).parent))  # this file is loaded by its path, and its neighbour lies beside it
from audit_report import render_html, render_markdown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from treadle import StepContext

MAX_PATHS_NAMED = 20
"""Of files that are gone or changed, per distribution: enough to act on, and the result stays small."""

LICENCES = {
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}
"""The commonest spellings of classifiers and free text, by SPDX identifier."""

FAMILIES = {"OSI Approved", "DFSG approved"}
"""Classifiers that stand above licences and are none."""

SEVERITIES = ("error", "warning", "notice")


@action("env.distributions")
def distributions(path: list[str] | None = None) -> dict[str, Any]:
    """List what is installed: ``{python, platform, installed: [{name, version, summary}], shadowed, unreadable}``."""
    found, shadowed, unreadable = _discover(path)
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "installed": [
            {"name": _field(one, "Name"), "version": one.version, "summary": _field(one, "Summary")}
            for one in found.values()
        ],
        "shadowed": [{"name": _field(one, "Name"), "version": one.version} for one in shadowed],
        "unreadable": unreadable,
    }


@action("env.licences")
def licences(path: list[str] | None = None) -> dict[str, Any]:
    """Say under which licence each distribution is: ``{of: {name: licence or None}, counts: {licence: n}}``."""
    of = {_field(one, "Name"): _licence(one) for one in _discover(path)[0].values()}
    counts = Counter(licence or "unknown" for licence in of.values())
    return {"of": of, "counts": dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))}


@action("env.sizes")
def sizes(path: list[str] | None = None, *, context: StepContext | None = None) -> dict[str, Any]:
    """Read every installed file: ``{total_bytes, of: {name: {bytes, files, sha256, gone, changed}}}``.

    ``sha256`` is over the digests of all files, so two environments can be compared; ``gone`` and ``changed`` are files
    that are not, or not any more, what was installed.

    Raises:
        TimeoutError: The step's deadline has passed. A thread cannot be stopped from outside, so it looks by itself.
    """
    of = {}
    for one in _discover(path)[0].values():
        if context is not None and context.deadline is not None and datetime.now(UTC) > context.deadline:
            raise TimeoutError("reading the installed files took longer than this step has")
        of[_field(one, "Name")] = _measure(one)
    return {"total_bytes": sum(one["bytes"] for one in of.values()), "of": of}


@action("env.dependencies")
def dependencies(path: list[str] | None = None) -> dict[str, Any]:
    """Follow what each distribution requires here, extras that others ask for included.

    Returns:
        ``{requires: {name: [names]}, missing: [{distribution, requirement}], unreadable: [the same],
        conflicts: [{distribution, requirement, installed}]}``.
    """
    found = _discover(path)[0]
    named = {name: _field(one, "Name") for name, one in found.items()}
    requires: dict[str, set[str]] = {name: set() for name in found}
    problems: dict[str, list[dict[str, str]]] = {"missing": [], "conflicts": [], "unreadable": []}
    seen: set[tuple[str, str]] = set()
    waiting = [(name, "") for name in found]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for requirement in _required(found[name], extra, problems["unreadable"]):
            target = canonicalize_name(requirement.name)
            _compare(found, name, target, requirement, problems)
            if target in found:
                requires[name].add(target)
                waiting += [(target, canonicalize_name(wanted)) for wanted in requirement.extras]
    return {
        "requires": {named[name]: sorted(named[target] for target in targets) for name, targets in requires.items()},
        **{kind: _unique(entries) for kind, entries in problems.items()},
    }


@action("env.entry_points")
def entry_points(path: list[str] | None = None) -> dict[str, Any]:
    """List commands and plug-ins: ``{groups: {group: n}, commands: {command: [distributions]}}``."""
    groups: Counter[str] = Counter()
    commands: defaultdict[str, set[str]] = defaultdict(set)
    for one in _discover(path)[0].values():
        for entry in one.entry_points:
            groups[entry.group] += 1
            if entry.group in {"console_scripts", "gui_scripts"}:
                commands[entry.name].add(_field(one, "Name"))
    return {
        "groups": dict(sorted(groups.items())),
        "commands": {key: sorted(commands[key]) for key in sorted(commands)},
    }


@action("audit.join")
def join(
    distributions: dict[str, Any],
    licences: dict[str, Any],
    sizes: dict[str, Any] | None,
    dependencies: dict[str, Any],
    entry_points: dict[str, Any],
) -> dict[str, Any]:
    """Bring the findings of all sides together: ``{count, worst, findings: [{severity, kind, distribution, detail}]}``.

    ``sizes`` is None where they could not be measured in time; that is a finding too. ``worst`` is None without any.
    """
    findings = [
        *_about_installation(distributions, entry_points),
        *_about_files(sizes),
        *_about_dependencies(dependencies),
        *(
            _finding("notice", "unknown licence", name, "its metadata names none")
            for name, licence in licences["of"].items()
            if licence is None
        ),
    ]
    findings.sort(key=lambda one: (SEVERITIES.index(one["severity"]), one["distribution"].lower(), one["detail"]))
    return {"count": len(findings), "worst": findings[0]["severity"] if findings else None, "findings": findings}


@action("audit.advise")
def advise(findings: list[dict[str, str]]) -> dict[str, Any]:
    """Say what to do about findings: ``{steps: [sentence]}``, one for each kind and distribution, worst first."""
    steps = dict.fromkeys(_advice(one) for one in findings)
    return {"steps": list(steps)}


@action("audit.report")
def report(
    *, report_dir: str, title: str, execution_id: str, generated_at: str, facts: dict[str, Any], advice: list[str]
) -> dict[str, Any]:
    """Write ``report.html`` and ``report.md``: ``{html, markdown}``, their paths.

    Equal arguments write equal bytes, so an attempt that was cut off can simply run again.
    """
    folder = Path(report_dir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "SHA256SUMS").unlink(missing_ok=True)  # it is of the report before
    page = {"title": title, "execution_id": execution_id, "generated_at": generated_at, "advice": advice, **facts}
    html, markdown = folder / "report.html", folder / "report.md"
    _write(html, render_html(page))
    _write(markdown, render_markdown(page))
    return {"html": str(html), "markdown": str(markdown)}


@action("audit.verify")
def verify(files: list[str]) -> dict[str, Any]:
    """Return once two looks at the files, one attempt apart, saw the same bytes: ``{sums: path of SHA256SUMS}``.

    The first attempt cannot know, so it notes what it saw in ``SHA256SUMS`` and asks for another: that is how one waits
    for files that something else may still be writing, with the wait between the looks owned by the retry policy.

    Raises:
        AgentExecutionError: There was no earlier look, or it saw other bytes.
    """
    sums = Path(files[0]).with_name("SHA256SUMS")
    seen = "".join(f"{hashlib.sha256(Path(file).read_bytes()).hexdigest()}  {Path(file).name}\n" for file in files)
    before = sums.read_text(encoding="utf-8") if sums.exists() else None
    if seen != before:
        _write(sums, seen)
        changed = "these files were not looked at before" if before is None else "the files changed since the last look"
        raise AgentExecutionError("verify", f"{changed}; look again")
    return {"sums": str(sums)}


def _discover(
    path: list[str] | None,
) -> tuple[dict[str, metadata.Distribution], list[metadata.Distribution], list[str]]:
    """Return distributions by normalised name, those hidden behind an earlier one, and folders without a name."""
    found: dict[str, metadata.Distribution] = {}
    shadowed, unreadable = [], []
    for one in metadata.distributions() if path is None else metadata.distributions(path=path):
        name = _field(one, "Name")
        if not name or not _field(one, "Version"):
            unreadable.append(str(one.locate_file("")))
        elif canonicalize_name(name) in found:
            shadowed.append(one)
        else:
            found[canonicalize_name(name)] = one
    return dict(sorted(found.items())), shadowed, sorted(unreadable)


def _field(one: metadata.Distribution, key: str) -> str:
    return str(one.metadata[key]) if key in one.metadata else ""


def _licence(one: metadata.Distribution) -> str | None:
    """Return the SPDX expression if there is one, else what the classifiers or a short licence text say."""
    if expression := _field(one, "License-Expression"):
        return expression
    classifiers = one.metadata.get_all("Classifier") or []
    named = [text.rpartition(" :: ")[2] for text in classifiers if text.startswith("License :: ")]
    if named := [text for text in named if text not in FAMILIES]:
        return " AND ".join(sorted({LICENCES.get(text, text) for text in named}))
    text = _field(one, "License").strip()
    if not text or text.upper() == "UNKNOWN" or "\n" in text or len(text) > 60:
        return None
    return LICENCES.get(text, text)


def _measure(one: metadata.Distribution) -> dict[str, Any]:
    total, count, gone, changed = 0, 0, [], []
    digest = hashlib.sha256()
    for file in sorted(one.files or (), key=str):
        place = Path(os.path.normpath(str(file.locate())))
        if not place.is_file():
            # Compiled files come and go; whatever else was installed should be there.
            gone += [str(file)] if file.hash is not None else []
            continue
        data = place.read_bytes()
        total, count = total + len(data), count + 1
        here = hashlib.sha256(data)
        digest.update(f"{file}\0{here.hexdigest()}\n".encode())
        if file.hash is not None and file.hash.mode == "sha256" and file.hash.value != _record_form(here.digest()):
            changed.append(str(file))
    return {
        "bytes": total,
        "files": count,
        "sha256": digest.hexdigest(),
        "gone": gone[:MAX_PATHS_NAMED],
        "changed": changed[:MAX_PATHS_NAMED],
    }


def _record_form(digest: bytes) -> str:
    """Return a digest as RECORD files write it (PyPA specification, "Recording installed projects")."""
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _required(one: metadata.Distribution, extra: str, unreadable: list[dict[str, str]]) -> Iterator[Requirement]:
    """Give the requirements that hold on this interpreter with ``extra``; ``""`` is none."""
    for text in one.requires or ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            unreadable.append({"distribution": _field(one, "Name"), "requirement": text})
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield requirement


def _compare(
    found: dict[str, metadata.Distribution],
    name: str,
    target: str,
    requirement: Requirement,
    problems: dict[str, list[dict[str, str]]],
) -> None:
    problem = {"distribution": _field(found[name], "Name"), "requirement": str(requirement)}
    if target not in found:
        problems["missing"].append(problem)
    elif not requirement.specifier.contains(found[target].version, prereleases=True):
        problems["conflicts"].append({**problem, "installed": found[target].version})


def _unique(entries: list[dict[str, str]]) -> list[dict[str, str]]:
    by_text = {tuple(entry.values()): entry for entry in entries}
    return [by_text[key] for key in sorted(by_text)]


def _finding(severity: str, kind: str, distribution: str, detail: str) -> dict[str, str]:
    return {"severity": severity, "kind": kind, "distribution": distribution, "detail": detail}


def _about_installation(distributions: dict[str, Any], entry_points: dict[str, Any]) -> Iterator[dict[str, str]]:
    for one in distributions["shadowed"]:
        yield _finding("warning", "installed twice", one["name"], f"{one['version']} is hidden by another copy")
    for folder in distributions["unreadable"]:
        yield _finding("warning", "broken metadata", "(no name)", f"a distribution in {folder} has no name or version")
    for command, owners in entry_points["commands"].items():
        if len(owners) > 1:
            yield _finding("warning", "command clash", owners[0], f"{command} is installed by {', '.join(owners)}")


def _about_files(sizes: dict[str, Any] | None) -> Iterator[dict[str, str]]:
    if sizes is None:
        yield _finding("warning", "not measured", "(all)", "reading the installed files failed or took too long")
        return
    for name, one in sizes["of"].items():
        for kind, what in (("gone", "is not there any more"), ("changed", "is not what was installed")):
            yield from (_finding("warning", f"file {kind}", name, f"{file} {what}") for file in one[kind])


def _about_dependencies(dependencies: dict[str, Any]) -> Iterator[dict[str, str]]:
    for one in dependencies["missing"]:
        yield _finding("error", "missing requirement", one["distribution"], f"requires {one['requirement']}")
    for one in dependencies["conflicts"]:
        detail = f"requires {one['requirement']}, but {one['installed']} is installed"
        yield _finding("error", "conflict", one["distribution"], detail)
    for one in dependencies["unreadable"]:
        detail = f"a requirement cannot be read: {one['requirement']}"
        yield _finding("warning", "broken metadata", one["distribution"], detail)


def _advice(finding: dict[str, str]) -> str:
    name = finding["distribution"]
    match finding["kind"]:
        case "missing requirement" | "conflict":
            return f"Let pip choose versions that fit: pip install --upgrade {name} (it {finding['detail']})"
        case "file gone" | "file changed":
            return f"Install {name} again: pip install --force-reinstall --no-deps {name}"
        case "unknown licence":
            return f"Look up the licence of {name} on its home page before you ship it"
        case "not measured":
            return "Run the audit again, with a longer timeout of the step 'sizes'"
        case _:
            return f"Look at {name}: {finding['detail']}"


def _write(place: Path, text: str) -> None:
    """Replace the file as a whole, so that nobody reads half of it."""
    unfinished = place.with_name(f"{place.name}.part")
    unfinished.write_text(text, encoding="utf-8", newline="\n")
    unfinished.replace(place)
