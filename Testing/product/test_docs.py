"""The documents: links lead somewhere, every method, model and module has its page, and no command is made up."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from braindiffusion import __version__
from braindiffusion.cli.app import app
from braindiffusion.finders.registry import METHODS as SALIENCIES
from braindiffusion.healing.registry import METHODS as HEALING
from braindiffusion.lesions.registry import METHODS as LESIONS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
CARDS = sorted((ROOT / "Resources" / "Models").glob("*.json"))


def told(page: Path) -> str:
    """A page's text without its code blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)


def links(page: Path) -> list[str]:
    """Relative link targets and pictures of a page."""
    text = re.sub(r"`[^`]*`", "", told(page))
    found = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """Names of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", told(page), re.M):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")
        found.add(next(n for n in (name, *(f"{name}-{i}" for i in range(1, 99))) if n not in found))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    dead = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert not dead


def test_every_page_is_reached_from_the_readme() -> None:
    seen, ahead = set(), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page not in seen:
            seen.add(page)
            targets = [(page.parent / link.partition("#")[0]).resolve() for link in links(page)]
            ahead += [target for target in targets if target.suffix == ".md" and target.is_file()]
    assert not [page.relative_to(ROOT).as_posix() for page in PAGES if page not in seen]


def test_every_picture_is_shown_somewhere() -> None:
    shown = {(page.parent / link.partition("#")[0]).resolve() for page in PAGES for link in links(page)}
    shown |= {ROOT / name for name in re.findall(r"/main/(\S+\.png)", (ROOT / "CMakeLists.txt").read_text("utf-8"))}
    pictures = [path for kind in ("png", "svg", "jpg") for path in DOCS.rglob(f"*.{kind}")]
    assert pictures
    assert not [path.relative_to(ROOT).as_posix() for path in pictures if path not in shown]


@pytest.mark.parametrize(
    ("title", "names"),
    [("Healing", tuple(HEALING)), ("Inducing", tuple(LESIONS)), ("Saliency", tuple(SALIENCIES))],
)
def test_every_method_has_a_row_and_a_page_that_names_it(title: str, names: tuple[str, ...]) -> None:
    index = (DOCS / "methods" / "README.md").read_text(encoding="utf-8")
    section = index.partition(f"## {title}\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| \[[\w.]+\]\(([\w.]+)\)", section, re.M))
    assert set(rows) == set(names)
    for name, page in rows.items():
        text = (DOCS / "methods" / page).read_text(encoding="utf-8")
        assert re.search(rf"\b{name}\b", text), f"{page} does not name {name}"


def test_every_method_page_says_what_it_costs() -> None:
    pages = [page for page in (DOCS / "methods").glob("*.md") if page.name != "README.md"]
    assert not [page.name for page in pages if "| Cost |" not in page.read_text(encoding="utf-8")]


def test_model_pages_are_those_the_tool_makes() -> None:
    """After a change: ``python tools/make_model_pages.py``."""
    tool = ROOT / "tools" / "make_model_pages.py"
    done = subprocess.run([sys.executable, tool, "--check"], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for card in CARDS:
        facts = json.loads(card.read_text(encoding="utf-8"))
        page = (DOCS / "models" / f"{card.stem}.md").read_text(encoding="utf-8")
        assert facts["licence"] in page
        assert facts["sha256"] in page


@pytest.mark.parametrize("module", [path.parent.name for path in sorted(ROOT.glob("Brain*/Brain*.py"))])
def test_every_module_has_a_page(module: str) -> None:
    pages = [page.read_text(encoding="utf-8") for page in (DOCS / "modules").glob("*.md")]
    assert [page for page in pages if f"`{module}/" in page]


COMMAND = r"(?:^|(?<!import)[`/ ])braindiffusion ([a-z][a-z-]+)"


def test_no_command_is_made_up() -> None:
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    known |= {group.name for group in app.registered_groups}
    used = {
        f"{page.name}: {name}": name
        for page in PAGES
        for name in re.findall(COMMAND, page.read_text(encoding="utf-8"), re.M)
    }
    assert len(set(used.values())) > 5
    assert not [where for where, name in used.items() if name not in known]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_nothing_is_left_to_be_filled_in(page: Path) -> None:
    assert not re.search(r"\b(TODO|TBD|FIXME|XXX|lorem)\b", page.read_text(encoding="utf-8"), re.I)


def test_the_citation_is_of_this_version_and_names_the_papers() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(rf"^version: {re.escape(__version__)}$", text, re.M)
    assert {"arXiv:2308.02062", "arXiv:2303.15421", "arXiv:2407.15270"} <= set(re.findall(r"arXiv:[\d.]+", text))


def test_the_workflow_runs_the_readmes_own_command_on_three_systems() -> None:
    workflow = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
    assert re.search(r"ubuntu-\w+, windows-\w+, macos-\w+", workflow)
    assert "<!-- tests -->" in workflow
    assert "pip install" not in workflow  # the command is the README's, written once


README_ROWS = {
    "brightness alone": "bright", "brightness behind our classifier gate": "bright_gated",
    "**heal, defaults**": "dif_fuse", "ACAT saliency alone": "saliency_acat",
}  # fmt: skip


@pytest.mark.parametrize("shown", README_ROWS)
def test_readme_and_table_report_one_number(shown: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = (ROOT / "docs" / "results" / "healing_lgg.md").read_text(encoding="utf-8")
    row = next(line for line in readme.splitlines() if line.startswith(f"| {shown} |"))
    number = re.search(r"\d\.\d{3} \([\d.]+-[\d.]+\)", row)
    measured = next(line for line in table.splitlines() if line.startswith(f"| {README_ROWS[shown]} | 202 |"))
    assert number
    assert number[0].replace("-", " to ") in measured


def test_card_and_table_have_one_operating_point() -> None:
    table = (ROOT / "docs" / "results" / "healing_lgg.md").read_text(encoding="utf-8")
    point = next(line for line in table.splitlines() if line.startswith("| dif_fuse | 21 |")).split("|")[5]
    card = json.loads((ROOT / "Resources" / "Models" / "flair-healthy-128.json").read_text())
    tuned = card["operating_points"]["dif_fuse"]
    assert point.strip() == f"{tuned['anomaly']}, above {tuned['threshold']:g}, at least {tuned['least_mm2']:g} mm2"
