"""``audit explain`` as a page, as JSON, and the generated image as PNG."""

from __future__ import annotations

import json

from auditor.array_json import png_bytes
from auditor.explained import Explained
from auditor.record_json import encode_record

from . import explained, figures, page, wording
from .sections import Figure
from .story import Story, cost, missing, panel_views, title_of


def render_html(found: Explained) -> str:
    """One self-contained page under the same rules as `auditor.reports.html.render`."""
    names = _names(found)
    stories = [
        Story(title_of(e, names), "", (), panel_views(e, names), missing(e), cost(e)) for e in found.explanations
    ]
    made = found.generated
    return page.template("explanation.html").render(
        **page.style("report.css"),
        found=found,
        stories=stories,
        made=Figure(made.title, figures.data_uri(made.pixels)) if made is not None else None,
        w=wording,
    )


def render_json(found: Explained) -> str:
    """Everything of it as JSON, pictures as PNG in base64."""
    return json.dumps(encode_record(found), indent=1, allow_nan=False).replace("##", "#\\u0023") + "\n"


class Png:
    """The generated image; nothing where none was asked for, which the command refuses beforehand."""

    binary = True
    """never written to a terminal"""

    def __call__(self, found: Explained) -> bytes:
        """The file's bytes."""
        return png_bytes(figures.displayable(found.generated.pixels)) if found.generated is not None else b""


render_png = Png()


def _names(found: Explained) -> explained.Names:
    def name(index: int) -> str:
        label = wording.clean(found.labels[index], 40) if index < len(found.labels) else ""
        return f"{index} ({label})" if label.strip() not in ("", str(index)) else str(index)

    return name
