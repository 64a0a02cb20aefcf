"""Write a page for every shipped model from its card: docs/models/NAME.md and docs/models/README.md.

    python tools/make_model_pages.py [--check]

Standard library only. ``--check`` writes nothing and tells which pages are not as their cards are.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs" / "models"


def size(count: int) -> str:
    """Bytes as people say them."""
    return f"{count / 1e6:.1f} MB"


def told(facts: dict[str, Any]) -> str:
    """Plain facts in one line; nested ones are left to the card."""
    flat = {k: v for k, v in facts.items() if isinstance(v, (str, int, float)) and not isinstance(v, bool)}
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in flat.items())


def page(card: dict[str, Any]) -> str:
    """A model's page."""
    name = card["name"]
    recipe = ROOT / "braindiffusion" / "training" / "recipes" / f"{name}.json"
    made = f"`braindiffusion train {name}` ([training](../training.md))" if recipe.is_file() else "none shipped"
    rows = [
        ("For", card["purpose"]),
        ("Contrast", ", ".join(card["modality"])),
        ("Licence of the weights", card["licence"]),
        ("Network", f"`{card['network']['class']}`"),
        ("Trained", told(card["training"])),
        ("Validation", told(card["validation"])),
        ("Recipe", made),
        ("File", f"`Resources/Models/{card['weights']}`, {size(card['bytes'])}"),
        ("SHA-256", f"`{card['sha256']}`"),
    ]
    lines = [f"# {name}", "", "| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows), ""]
    lines += [card["intended_use"], "", "## Learned from", ""]
    for source in card["data"]:
        lines.append(f"- {source}" if isinstance(source, str) else f"- {source['name']}: {source['licence']}")
    lines += ["", "## Known failures", "", *(f"- {failure}" for failure in card["known_failures"])]
    figure = ROOT / "docs" / "figures" / f"{name}.png"
    if figure.is_file():
        lines += ["", f"![{name}: what is seen here is said in models.md](../figures/{name}.png)"]
    more = "How it compares, and what is seen in its figure: [models.md](../models.md)."
    return "\n".join([*lines, "", more, f"Everything in its card: `braindiffusion models info {name}`.", ""])


def index(cards: list[dict[str, Any]]) -> str:
    """The list of all."""
    rows = [f"| [{c['name']}]({c['name']}.md) | {c['purpose']} | {', '.join(c['modality'])} |" for c in cards]
    intro = "Made from the cards by `tools/make_model_pages.py`. Measurements and figures: [models.md](../models.md)."
    return "\n".join(["# The shipped models", "", intro, "", "| Model | For | Contrast |", "|---|---|---|", *rows, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a page is not as its card is")
    check = parser.parse_args().check
    paths = sorted((ROOT / "Resources" / "Models").glob("*.json"))
    cards = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    pages = {DOCS / f"{card['name']}.md": page(card) for card in cards} | {DOCS / "README.md": index(cards)}
    wrong = [path for path, text in pages.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    wrong += [path for path in DOCS.glob("*.md") if path not in pages]
    if check:
        sys.exit("\n".join(f"{path.name} is not as its card is" for path in wrong) or 0)
    DOCS.mkdir(parents=True, exist_ok=True)
    for path in wrong:
        if path in pages:
            path.write_text(pages[path], encoding="utf-8", newline="\n")
        else:
            path.unlink()
    print(f"{len(wrong)} of {len(pages)} pages written.")


if __name__ == "__main__":
    main()
