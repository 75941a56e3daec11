"""The audit as a page and as Markdown. Equal facts give equal text, and no fact is ever taken for markup.

Both renderers take one ``page``: ``{title, execution_id, generated_at, advice, distributions, licences, sizes,
dependencies, entry_points, findings}``, the results of the steps of those names (``sizes`` may be None).
"""

from __future__ import annotations

import html
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

STYLE = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
LARGEST = 12

Page = dict[str, Any]


class Html(str):
    """Text that is markup already. Everything else is escaped by ``element``."""

    __slots__ = ()


def element(name: str, *children: str, **attributes: str) -> Html:
    """Return an element; ``class_`` and ``aria_label`` stand for ``class`` and ``aria-label``."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"' for key, value in attributes.items()
    )
    inner = "".join(child if isinstance(child, Html) else html.escape(child) for child in children)
    return Html(f"<{name}{written}>{inner}</{name}>")


def render_html(page: Page) -> str:
    """Return one self-contained page: no script, no font and no picture from elsewhere."""
    head = element(
        "head",
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        element("title", page["title"]),
        Html(f"<style>\n{STYLE}</style>"),
    )
    main = element(
        "main",
        _header(page),
        _figures(page),
        _findings(page),
        _sizes(page),
        element("div", _licences(page), _requirements(page), _entry_points(page), class_="side-by-side"),
        _everything(page),
    )
    return f"<!doctype html>\n{element('html', head, element('body', main), lang='en')}\n"


def render_markdown(page: Page) -> str:
    """Return the same report for a terminal, a pull request or a wiki."""
    parts = [
        f"# {_plain(page['title'])}",
        _plain(_subtitle(page)),
        _markdown_table(("Figure", "Value"), _figure_rows(page)),
        "## Findings",
        _markdown_table(("Severity", "What", "Distribution", "Detail"), _finding_rows(page)),
        "\n".join(f"{number}. {_plain(step)}" for number, step in enumerate(page["advice"], 1)),
        f"## The {LARGEST} largest",
        _text_chart(page),
        "## Licences",
        _markdown_table(("Licence", "Distributions"), _count_rows(page["licences"]["counts"])),
        "## Most required",
        _markdown_table(("Distribution", "Required by"), _required_rows(page)),
        "## Entry points",
        _markdown_table(("Group", "Entries"), _count_rows(page["entry_points"]["groups"])),
        "## Everything installed",
        _markdown_table(
            ("Distribution", "Version", "Licence", "Size", "Files", "SHA-256 of its files"), _all_rows(page)
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def human_size(count: int) -> str:
    """Return bytes in decimal units with three digits or so: ``999 B``, ``12.3 MB``."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            break
        amount /= 1000
    return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"


def bar_chart(amounts: Sequence[tuple[str, int]]) -> Html:
    """Return horizontal bars as SVG, one per name and amount of bytes, scaled to the first, which is the largest.

    A screen reader is given the numbers as one sentence; the table of everything below has them too.
    """
    label, width, row = 150, 500, 26
    largest = max(amounts[0][1], 1)
    bars = []
    for place, (name, amount) in enumerate(amounts):
        length, top = max(width * amount / largest, 1), place * row
        shown = name if len(name) <= 20 else f"{name[:19]}…"
        bars += [
            element("text", shown, x=f"{label - 10}", y=f"{top + 17}", text_anchor="end"),
            element("rect", x=f"{label}", y=f"{top + 5}", width=f"{length:.1f}", height=f"{row - 9}", rx="3"),
            element("text", human_size(amount), x=f"{label + length + 8:.1f}", y=f"{top + 17}", class_="amount"),
        ]
    spoken = "; ".join(f"{name} {human_size(amount)}" for name, amount in amounts)
    shape = {"viewBox": f"0 0 {label + width + 80} {len(amounts) * row}"}
    return element("svg", *bars, role="img", aria_label=f"Size on disk: {spoken}", **shape)


def _subtitle(page: Page) -> str:
    about = page["distributions"]
    return f"Python {about['python']} on {about['platform']}, {page['generated_at']}, execution {page['execution_id']}"


def _header(page: Page) -> Html:
    return element("header", element("h1", page["title"]), element("p", _subtitle(page), class_="quiet"))


def _figures(page: Page) -> Html:
    figures = (element("div", element("dt", name), element("dd", value)) for name, value in _figure_rows(page))
    return element("dl", *figures, class_="figures")


def _findings(page: Page) -> Html:
    if not page["findings"]:
        return _section("Findings", element("p", "Nothing was found: all is there, fits, and is as it was installed."))
    rows = [
        (element("span", severity, class_=f"badge {severity}"), kind, name, detail)
        for severity, kind, name, detail in _finding_rows(page)
    ]
    todo = element("ol", *(element("li", step) for step in page["advice"]))
    return _section(
        "Findings",
        _table(("Severity", "What", "Distribution", "Detail"), rows, label="Findings"),
        Html("<h2>What to do</h2>") if page["advice"] else Html(),
        todo if page["advice"] else Html(),
    )


def _sizes(page: Page) -> Html:
    amounts = _largest(page)
    if not amounts:
        return _section(f"The {LARGEST} largest", element("p", "Sizes were not measured, or nothing is installed."))
    return _section(f"The {len(amounts)} largest", _wide(bar_chart(amounts), label="Chart of sizes"))


def _licences(page: Page) -> Html:
    rows = _count_rows(page["licences"]["counts"])
    return _section("Licences", _table(("Licence", "Distributions"), rows, numbers={1}, label="Licences"))


def _requirements(page: Page) -> Html:
    requires = page["dependencies"]["requires"]
    wanted = {target for targets in requires.values() for target in targets}
    tops = ", ".join(name for name in requires if name not in wanted) or "none"
    return _section(
        "Most required",
        _table(("Distribution", "Required by"), _required_rows(page), numbers={1}, label="Most required"),
        element("p", f"Required by nothing here: {tops}.", class_="quiet"),
    )


def _entry_points(page: Page) -> Html:
    rows = _count_rows(page["entry_points"]["groups"])
    commands = ", ".join(page["entry_points"]["commands"]) or "none"
    return _section(
        "Entry points",
        _table(("Group", "Entries"), rows, numbers={1}, label="Entry points"),
        element("p", f"Commands: {commands}.", class_="quiet"),
    )


def _everything(page: Page) -> Html:
    head = ("Distribution", "Version", "Licence", "Size", "Files", "SHA-256 of its files")
    rows = [(*row[:5], element("code", row[5])) for row in _all_rows(page)]
    table = _table(head, rows, numbers={3, 4}, label="Everything installed")
    return element("section", element("details", element("summary", f"Everything installed ({len(rows)})"), table))


def _section(title: str, *content: Html) -> Html:
    return element("section", element("h2", title), *content)


def _wide(content: Html, *, label: str) -> Html:
    """Let wide content scroll by itself, from the keyboard too."""
    return element("div", content, class_="wide", tabindex="0", role="region", aria_label=label)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, label: str, numbers: set[int] | None = None) -> Html:
    kinds = [{"class_": "number"} if place in (numbers or ()) else {} for place in range(len(head))]
    heads = (element("th", text, scope="col", **kind) for text, kind in zip(head, kinds, strict=True))
    body = (
        element("tr", *(element("td", cell, **kind) for cell, kind in zip(row, kinds, strict=True))) for row in rows
    )
    table = element("table", element("thead", element("tr", *heads)), element("tbody", *body))
    return _wide(table, label=label)


def _figure_rows(page: Page) -> list[tuple[str, str]]:
    sizes = page["sizes"]
    return [
        ("Distributions", f"{len(page['distributions']['installed'])}"),
        ("Size on disk", human_size(sizes["total_bytes"]) if sizes else "not measured"),
        ("Findings", f"{len(page['findings'])}"),
        ("Licences", f"{len(page['licences']['counts'])}"),
        ("Commands", f"{len(page['entry_points']['commands'])}"),
    ]


def _finding_rows(page: Page) -> list[tuple[str, str, str, str]]:
    return [(one["severity"], one["kind"], one["distribution"], one["detail"]) for one in page["findings"]]


def _count_rows(counts: dict[str, int]) -> list[tuple[str, str]]:
    return [(name, f"{count}") for name, count in counts.items()]


def _required_rows(page: Page) -> list[tuple[str, str]]:
    times = Counter(target for targets in page["dependencies"]["requires"].values() for target in targets)
    return _count_rows(dict(sorted(times.items(), key=lambda item: (-item[1], item[0]))[:LARGEST]))


def _all_rows(page: Page) -> list[tuple[str, str, str, str, str, str]]:
    measured = page["sizes"]["of"] if page["sizes"] else {}
    rows = []
    for one in page["distributions"]["installed"]:
        licence = page["licences"]["of"].get(one["name"]) or "unknown"
        size = measured.get(one["name"])
        amounts = (human_size(size["bytes"]), f"{size['files']}", size["sha256"][:16]) if size else ("", "", "")
        rows.append((one["name"], one["version"], licence, *amounts))
    return rows


def _largest(page: Page) -> list[tuple[str, int]]:
    measured = page["sizes"]["of"] if page["sizes"] else {}
    amounts = sorted(((name, one["bytes"]) for name, one in measured.items()), key=lambda item: (-item[1], item[0]))
    return amounts[:LARGEST]


def _plain(text: str) -> str:
    """Return ``text`` on one line, with what Markdown or HTML would take for markup made harmless."""
    line = " ".join(text.split())
    for mark in ("\\", "`", "*", "_", "[", "]", "|"):
        line = line.replace(mark, f"\\{mark}")
    return html.escape(line, quote=False)


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return "None."
    lines = [head, ["---"] * len(head), *([_plain(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text_chart(page: Page) -> str:
    amounts = _largest(page)
    if not amounts:
        return "Sizes were not measured, or nothing is installed."
    largest = max(amounts[0][1], 1)
    lines = [
        f"{name[:24]:24} {'█' * max(round(30 * amount / largest), 1):30} {human_size(amount)}"
        for name, amount in amounts
    ]
    return "\n".join(["```text", *lines, "```"])
