"""docs/limits.md: every limit, from its declaration."""

from __future__ import annotations

from pathlib import Path

from auditor.loading.limits import Limits
from auditor.request import Confinement
from auditor.settings import declared

PAGE = Path(__file__).parents[1] / "docs" / "limits.md"

HEAD = """# Limits

What a model file may ask of the machine, and what the process that opens it may take. Set one with
`--set limits.nodes=100000` or `--set worker.memory_gib=8`, or in the tables `[limits]` and `[worker]` of a settings
file. A file above a limit is refused, with the limit's name; a worker above one of its own is ended, and the audit is
`inconclusive`.
"""


def page() -> str:
    """The page as it should be."""
    lines = [HEAD]
    for name, cls in (("limits", Limits), ("worker", Confinement)):
        lines += [f"## [{name}]", "", "| setting | default | range | what it is |", "|---|---|---|---|"]
        for spec in declared(cls).values():
            bounds = (spec.setting.low or 0, spec.setting.high or 0)
            low, high = (f"{bound:,g}" if bound < 1e6 else f"{bound:,.0f}" for bound in bounds)
            default = "none" if spec.default is None else f"{spec.default:,}"
            lines.append(f"| `{spec.name}` | {default} | {low} to {high} | {spec.setting.help} |")
        lines.append("")
    return "\n".join(lines)


def test_the_page_is_the_declarations() -> None:
    """When this fails: ``python tests/test_limits_page.py`` writes the page again."""
    assert PAGE.read_text(encoding="utf-8") == page()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
