"""Pages that hold all they show: styles, script, pictures and texts in one file, and a policy that lets nothing in."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from markupsafe import Markup

from braindiffusion import RESEARCH_USE_ONLY
from braindiffusion.export.html import render

HERE = Path(__file__).parent
NOTICE = "MAY BE SYNTHETIC - NOT FOR DIAGNOSIS"
TITLES = {"case": "Teaching file", "index": "Teaching files"}


@cache
def _part(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def _fixed(name: str) -> dict[str, str]:
    """What a page holds besides its data; style, script and policy are ours, and stand as they are."""
    style, script = _part("page.css"), _part(f"{name}.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    texts = {"title": TITLES[name], "notice": NOTICE, "use": RESEARCH_USE_ONLY}
    return {"csp": Markup(policy), "style": Markup(style), "script": Markup(script), **texts}


def page(name: str, data: dict[str, Any]) -> str:
    """The page ``case`` or ``index`` with its data, which is shown as text and never as markup."""
    # "<" would end the script element that holds the data
    shown = Markup(json.dumps(data, ensure_ascii=False).replace("<", "\\u003c"))
    return render(HERE / f"{name}.html", data=shown, **_fixed(name))


def fixed_texts(name: str) -> list[str]:
    """What stands in every such page, whatever its data: not searched for the patient's name."""
    pieces = re.split(r"\{[{%].*?[%}]\}\n?", _part("head.html") + _part(f"{name}.html"))
    return [piece for piece in (*pieces, *map(str, _fixed(name).values())) if piece.strip()]
