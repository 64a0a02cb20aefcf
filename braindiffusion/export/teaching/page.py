"""Pages that hold all they show: styles, script, pictures and texts in one file, and a policy that lets nothing in."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from braindiffusion import RESEARCH_USE_ONLY

NOTICE = "MAY BE SYNTHETIC - NOT FOR DIAGNOSIS"
TITLES = {"case": "Teaching file", "index": "Teaching files"}


@cache
def _part(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _template(name: str) -> str:
    return _part("head.html") + _part(f"{name}.html")


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def _fixed(name: str) -> dict[str, str]:
    """What a page holds besides its data."""
    style, script = _part("page.css"), _part(f"{name}.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    texts = {"TITLE": TITLES[name], "NOTICE": NOTICE, "USE": RESEARCH_USE_ONLY}
    return {"CSP": policy, "STYLE": style, "SCRIPT": script, **texts}


def page(name: str, data: dict[str, Any]) -> str:
    """The page ``case`` or ``index`` with its data, which is shown as text and never as markup."""
    # "<" would end the script element that holds the data
    values = _fixed(name) | {"DATA": json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")}
    return re.sub(r"@@([A-Z]+)@@", lambda match: values[match[1]], _template(name))


def fixed_texts(name: str) -> list[str]:
    """What stands in every such page, whatever its data: not searched for the patient's name."""
    pieces = re.split(r"@@[A-Z]+@@", _template(name))
    return [piece for piece in (*pieces, *_fixed(name).values()) if piece.strip()]
