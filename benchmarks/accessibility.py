"""Can everybody read the HTML report? Pages checked in headless Chromium with axe-core.

    python -m benchmarks.accessibility REPORT.html... --axe FILE [--browser PATH]

Each page is loaded in light, in dark, as on paper and at 320 CSS pixels (WCAG 2.2, 1.4.10 Reflow), and checked twice:
as it opens, and with every ``<details>`` unfolded. Besides axe-core's rules: no request but for the file itself, no
sideways scrolling of the page at 320 pixels, Tab reaches everything that takes the keyboard and shows where it is
(2.1.1 Keyboard, 2.4.7 Focus Visible), at most 5 MB, and at most two seconds to the first picture. Scripts come in
through the DevTools protocol, which the page's content security policy does not bind, so that the page keeps it.

Needs ``pip install -e '.[accessibility]'`` (playwright; it drives the installed Chromium and downloads none) and
``npm install --prefix FOLDER axe-core``. The exit code is 1 when anything fails. What axe-core cannot decide, such as
the contrast of text in drawings, is counted as undecided and fails nothing: tests compute it from the palette.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor.errors import AuditError
from auditor.reports.pdf import find_browser  # type: ignore[import-not-found]  # mypy knows it as reports.pdf

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

STANDARDS = {
    "wcag2a": "WCAG 2.0 A",
    "wcag2aa": "WCAG 2.0 AA",
    "wcag21a": "WCAG 2.1 A",
    "wcag21aa": "WCAG 2.1 AA",
    "wcag22aa": "WCAG 2.2 AA",
    "best-practice": "best practice",
}
"""axe-core's tags, in the order in which they are told"""
PHONE = "320 px"
MODES: dict[str, tuple[int, dict[str, Any]]] = {
    "light": (1280, {"media": "screen", "color_scheme": "light"}),
    "dark": (1280, {"media": "screen", "color_scheme": "dark"}),
    "print": (720, {"media": "print", "color_scheme": "light"}),
    PHONE: (320, {"media": "screen", "color_scheme": "light"}),
}
"""width in CSS pixels (720: A4 less its margins), and what is emulated"""
MAX_BYTES = 5_000_000
MAX_SECONDS = 2.0

PAINTED = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
UNFOLD = "() => document.querySelectorAll('details').forEach(element => element.open = true)"
SIDEWAYS = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
RULES = "tags => axe.run(document, {runOnly: tags, resultTypes: ['violations', 'incomplete']})"
INTERACTIVE = """() => {
  const takes = 'a[href], button, input, select, textarea, summary, iframe, [tabindex]:not([tabindex="-1"])';
  const scrolls = e => ['auto', 'scroll'].includes(getComputedStyle(e).overflowX) && e.scrollWidth > e.clientWidth;
  window.interactive = [...document.body.querySelectorAll('*')].filter(e => e.checkVisibility() &&
    (e.matches(takes) && !e.disabled || scrolls(e)));
  window.look = e => { const s = getComputedStyle(e);
    return [s.outlineStyle === 'none' || s.outlineWidth === '0px' ? '' : s.outlineWidth + s.outlineColor,
      s.boxShadow, s.borderColor, s.backgroundColor, s.textDecorationLine].join('|'); };
  window.atRest = window.interactive.map(window.look);
  const words = e => (e.getAttribute('aria-label') || e.textContent.trim()).slice(0, 40);
  return window.interactive.map(e => e.tagName.toLowerCase() + ' ' + words(e));
}"""
FOCUSED = """() => { const e = document.activeElement, i = window.interactive.indexOf(e);
  return [i, i >= 0 && window.look(e) !== window.atRest[i]]; }"""


@dataclass(frozen=True)
class Violation:
    """One rule that a page breaks in one mode."""

    mode: str
    standard: str
    """e.g. ``WCAG 2.0 AA``; the most basic of those that ask for it"""
    rule: str
    impact: str
    elements: int
    where: str
    """selector of the first of them, or what was seen"""


@dataclass(frozen=True)
class Checked:
    """What one page came to."""

    name: str
    size: int
    """bytes"""
    seconds: float
    """from the request to the first picture, the slowest of the modes"""
    requests: tuple[str, ...]
    """addresses asked for besides the file itself"""
    undecided: int
    """elements that axe-core leaves to a person, the most in one mode"""
    keyboard: int
    """elements that take the keyboard"""
    violations: tuple[Violation, ...]

    @property
    def failures(self) -> list[Violation]:
        """The violations, and the bounds on size, time and requests as such."""
        bounds = (
            ("requests", not self.requests, len(self.requests), ", ".join(self.requests)[:80]),
            ("size", self.size <= MAX_BYTES, 1, f"{self.size / 1e6:.1f} MB, more than {MAX_BYTES / 1e6:g} MB"),
            ("time", self.seconds <= MAX_SECONDS, 1, f"{self.seconds:.1f} s, more than {MAX_SECONDS:g} s"),
        )
        broken = (Violation("all", "page", rule, "serious", n, where) for rule, kept, n, where in bounds if not kept)
        return [*self.violations, *broken]


def standard_of(tags: Iterable[str]) -> str:
    """The first of `STANDARDS` among axe-core's tags of a rule."""
    known = set(tags)
    return next((name for tag, name in STANDARDS.items() if tag in known), "other")


def violations_of(result: Mapping[str, Any], mode: str) -> list[Violation]:
    """axe-core's result for one mode as `Violation`s, by standard and rule."""
    found = []
    for rule in result["violations"]:
        first = rule["nodes"][0]["target"][0] if rule["nodes"] else ""
        where = " in ".join(reversed(first)) if isinstance(first, list) else str(first)  # a list: inside a shadow tree
        standard = standard_of(rule["tags"])
        found.append(Violation(mode, standard, rule["id"], rule["impact"] or "", len(rule["nodes"]), where))
    order = [*STANDARDS.values(), "other"]
    return sorted(found, key=lambda v: (order.index(v.standard), v.rule))


def merged(closed: Sequence[Violation], unfolded: Sequence[Violation]) -> list[Violation]:
    """Both passes as one list: each rule once, with the larger number of elements."""
    by_rule = {v.rule: v for v in closed}
    for v in unfolded:
        if v.rule not in by_rule or v.elements > by_rule[v.rule].elements:
            by_rule[v.rule] = v
    return list(by_rule.values())


def keyboard_violations(names: Sequence[str], visits: Sequence[tuple[int, bool]], mode: str) -> list[Violation]:
    """What Tab never reached, and what does not show that it has the focus.

    ``names`` are the interactive elements; ``visits`` says for each press which of them had the focus (−1 = none)
    and whether it looked different from before.
    """
    reached = {index for index, _ in visits}
    unmarked = {index for index, differs in visits if index >= 0 and not differs}
    missed = [name for index, name in enumerate(names) if index not in reached]
    hidden = [names[index] for index in sorted(unmarked)]
    rules = (("keyboard", "WCAG 2.0 A", missed), ("focus-visible", "WCAG 2.0 AA", hidden))
    return [Violation(mode, standard, rule, "serious", len(n), n[0]) for rule, standard, n in rules if n]


def outside(addresses: Iterable[str], page: str) -> tuple[str, ...]:
    """The addresses that leave the page: neither itself nor embedded data."""
    return tuple(a for a in addresses if a.partition("#")[0] != page and not a.startswith(("data:", "blob:")))


def tables(pages: Sequence[Checked]) -> Iterator[str]:
    """Two markdown tables: the pages, with how many rules they break in each mode, then all that fails."""
    yield "| report | size, kB | opens in, s | requests | by keyboard | undecided | " + " | ".join(MODES) + " |"
    yield "|---|" + "---:|" * (5 + len(MODES))
    for page in pages:
        by_mode = [str(sum(v.mode == mode for v in page.violations)) for mode in MODES]
        numbers = (len(page.requests), page.keyboard, page.undecided)
        cells = (page.name, f"{page.size / 1e3:.0f}", f"{page.seconds:.2f}", *map(str, numbers), *by_mode)
        yield "| " + " | ".join(cells) + " |"
    failed = [(page.name, v) for page in pages for v in page.failures]
    yield ""
    if not failed:
        yield "Nothing fails."
        return
    yield "| report | mode | standard | rule | impact | elements | the first |"
    yield "|---|---|---|---|---|---:|---|"
    for name, v in failed:
        where = v.where.replace("|", "\\|").replace("\n", " ")
        yield f"| {name} | {v.mode} | {v.standard} | {v.rule} | {v.impact} | {v.elements} | {where} |"


def by_keyboard(page: Page, mode: str) -> tuple[int, list[Violation]]:
    """How many elements take the keyboard, and what is wrong with them; presses Tab through the whole page."""
    names: list[str] = page.evaluate(INTERACTIVE)
    visits: list[tuple[int, bool]] = []
    for _ in range(2 * len(names) + 2):  # past all of them and the browser's own controls, twice if need be
        page.keyboard.press("Tab")
        index, differs = page.evaluate(FOCUSED)
        visits.append((index, differs))
        if len({i for i, _ in visits if i >= 0}) == len(names):
            break
    return len(names), keyboard_violations(names, visits, mode)


def check(browser: Browser, path: Path, axe: str) -> Checked:
    """One page in all modes."""
    address = path.resolve().as_uri()
    asked: list[str] = []
    found: list[Violation] = []
    seconds, undecided, keyboard = 0.0, 0, 0
    for mode, (width, emulated) in MODES.items():
        with browser.new_context(viewport={"width": width, "height": 900}) as context:
            page = context.new_page()
            page.on("request", lambda request: asked.append(request.url))
            page.emulate_media(**emulated)
            began = time.perf_counter()
            page.goto(address)
            page.evaluate(PAINTED)
            seconds = max(seconds, time.perf_counter() - began)
            page.evaluate(axe)
            closed = page.evaluate(RULES, list(STANDARDS))
            page.evaluate(UNFOLD)
            unfolded = page.evaluate(RULES, list(STANDARDS))
            found += merged(violations_of(closed, mode), violations_of(unfolded, mode))
            undecided = max(undecided, sum(len(rule["nodes"]) for rule in unfolded["incomplete"]))
            if mode == PHONE:  # narrow, more of the page scrolls, and needs the keyboard for it
                keyboard, wrong = by_keyboard(page, mode)
                found += wrong
                if (wider := page.evaluate(SIDEWAYS)) > 0:
                    found.append(Violation(mode, "WCAG 2.1 AA", "reflow", "serious", 1, f"{wider} px too wide"))
    return Checked(path.name, path.stat().st_size, seconds, outside(asked, address), undecided, keyboard, tuple(found))


def main() -> int:
    """Print the tables; 1 when anything fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", nargs="+", type=Path, metavar="REPORT.html")
    parser.add_argument(
        "--axe",
        type=Path,
        required=True,
        metavar="FILE",
        help="axe.min.js: npm install --prefix FOLDER axe-core, then FOLDER/node_modules/axe-core/axe.min.js",
    )
    parser.add_argument("--browser", type=Path, metavar="PATH", help="a Chromium; default: as for -o pdf=FILE")
    args = parser.parse_args()
    for path in (args.axe, *args.reports):
        if not path.is_file():
            parser.error(f"expected a file at {path}, got none")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        parser.error("expected playwright to be installed, got none: pip install 'backdoor-auditor[accessibility]'")
    try:
        browser_path = args.browser or find_browser()
    except AuditError as error:
        parser.error(str(error))
    axe = args.axe.read_text(encoding="utf-8")
    root = getattr(os, "geteuid", lambda: 1)() == 0
    with sync_playwright() as playwright:
        # Chromium refuses to start its sandbox as root; the pages checked here are our own
        browser = playwright.chromium.launch(executable_path=browser_path, chromium_sandbox=not root)
        pages = []
        for path in args.reports:
            print(f"checking {path}", file=sys.stderr)
            pages.append(check(browser, path, axe))
        browser.close()
    for line in tables(pages):
        print(line)
    return int(any(page.failures for page in pages))


if __name__ == "__main__":
    sys.exit(main())
