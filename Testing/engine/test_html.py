"""Pages from templates: data is text, whatever it says; a gap is an error and not an empty place."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import UndefinedError

from braindiffusion.export.html import render
from braindiffusion.studies.report import html
from braindiffusion.studies.sections import VERDICT, Figure, Section, Table

HOSTILE = '<img src=x onerror="alert(1)">&\'{{ 7 * 7 }}'


def test_a_study_report_shows_names_and_cells_as_text() -> None:
    table = Table("t", HOSTILE, (HOSTILE, VERDICT), [[HOSTILE, "significant"]], HOSTILE)
    figure = Figure("f", HOSTILE, lambda: b"\x89PNG", HOSTILE)
    section = Section(title=HOSTILE, text=[HOSTILE], tables=[table], figures=[figure], definitions=[(HOSTILE, HOSTILE)])
    page = html(HOSTILE, [section])
    assert "<img src=x" not in page
    assert page.count("&lt;img src=x onerror=&#34;alert(1)&#34;&gt;&amp;&#39;{{ 7 * 7 }}") == 12
    assert page.count('<tr class="significant">') == 1


def test_what_a_template_is_not_given_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<p>{{ title }}</p>")
    assert render(tmp_path / "page.html", title="<b>") == "<p>&lt;b&gt;</p>"
    with pytest.raises(UndefinedError):
        render(tmp_path / "page.html")
