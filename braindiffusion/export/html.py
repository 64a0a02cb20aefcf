"""HTML from templates. What comes from data is escaped; what a template asks for and is not given is an error."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


@cache
def _templates(folder: Path) -> Environment:
    return Environment(
        loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip


def render(template: Path, **values: Any) -> str:
    """A page: the template filled with values. Only :class:`markupsafe.Markup` stands as it is."""
    return _templates(template.parent).get_template(template.name).render(values)
