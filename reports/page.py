"""What makes a page safe: templates that escape and clean all text, and style sheets that a policy names by hash."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from . import wording


@cache
def resource(name: str) -> str:
    """The text of a file in ``auditor.templates``."""
    return files("auditor.templates").joinpath(name).read_text(encoding="utf-8")


@cache
def template(name: str) -> jinja2.Template:
    """A template whose output is escaped (``autoescape``) and cleaned of hidden characters (``finalize``)."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(resource),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=safe,
    )
    return environment.get_template(name)


def safe(value: Any) -> Any:
    """Plain text loses what hides or reorders characters; finished markup was cleaned where it was made."""
    return wording.clean(value, 20_000) if isinstance(value, str) and not isinstance(value, Markup) else value


def style(*names: str) -> dict[str, Any]:
    """Style sheets one after the other as ``css``, and ``css_hash`` for the page's content security policy."""
    css = "".join(resource(name) for name in names)
    return {"css": Markup(css), "css_hash": base64.b64encode(hashlib.sha256(css.encode()).digest()).decode("ascii")}
