"""Look of the page: our style sheet and script, served beside trame's own, and the colours Vuetify shall use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

STATIC = Path(__file__).parents[1] / "static"
BASE = "brainviewer_static"

CLIENT_MODULE: dict[str, Any] = {
    "serve": {BASE: str(STATIC)},
    "styles": [f"{BASE}/viewer.css"],
    "scripts": [f"{BASE}/viewer.js"],
}

VUETIFY: dict[str, Any] = {
    "theme": {
        "defaultTheme": "calm",
        "themes": {
            "calm": {
                "dark": True,
                "colors": {
                    "background": "#0d1014",
                    "surface": "#14181e",
                    "primary": "#4fb6b2",
                    "error": "#e5756a",
                    "warning": "#e9b44c",
                },
            }
        },
    }
}

LOGO = """<svg viewBox="0 0 24 24" fill="none" stroke-linecap="round" stroke-linejoin="round">
<path d="M12 3.2c-4.9 0-8.4 3.9-8.4 8.9 0 4.7 3.2 8.7 8.4 8.7" stroke="#dce3ea" stroke-width="1.7"/>
<path d="M12 3.2c4.9 0 8.4 3.9 8.4 8.9 0 4.7-3.2 8.7-8.4 8.7" stroke="#4fb6b2"
stroke-width="1.7" stroke-dasharray="2.6 2.4"/>
<path d="M12 3.2v17.6" stroke="#5d6a78" stroke-width="1.2"/>
<circle cx="8" cy="10.4" r="2.1" fill="#f0935a"/></svg>"""
