"""What is not ours: listed, licensed, locked by hash, in no version known to be vulnerable; and the release."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tools"))

import make_release  # noqa: E402 - found by the path above
import third_party  # noqa: E402

MENDED_IN = {"pillow": "11.3", "cryptography": "46.0.5", "aiohttp": "3.13.3", "torch": "2.8", "pydicom": "3.0"}
"""Package -> the first release without the vulnerabilities that were known when its floor was set."""


def asked_for() -> list[Requirement]:
    """Every requirement of pyproject.toml, those of the extras too."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    text = text[text.index("dependencies = [") : text.index("[project.scripts]")]
    return [Requirement(line) for line in re.findall(r'"([^"]+)"', text) if not line.startswith(third_party.OURS)]


def test_the_list_is_as_lock_and_cards_are() -> None:
    assert third_party.problems() == []


def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = third_party.PAGE.read_text(encoding="utf-8").replace("| numpy |", "| nunpy |").replace("`tissue-256`", "`x`")
    (tmp_path / "page.md").write_text(text, encoding="utf-8")
    monkeypatch.setattr(third_party, "PAGE", tmp_path / "page.md")
    told = "; ".join(third_party.problems())
    assert re.search(r"numpy \S+ is not in it; nunpy is in it, and asked for by nobody", told)
    assert "the weights tissue-256 are not in it as their card says; the weights x are in it, and not shipped" in told


def test_every_package_asked_for_is_locked_by_hash() -> None:
    locked = third_party.locked()
    for wanted in asked_for():
        assert wanted.specifier.contains(locked[wanted.name.lower()][0], prereleases=True), wanted
    blocks = re.split(r"^(?=[a-z0-9])", (ROOT / "requirements.lock").read_text(encoding="utf-8"), flags=re.M)[1:]
    assert all("--hash=sha256:" in block for block in blocks)
    assert not re.search(r"https?://|index-url", "".join(blocks))
    torch = re.search(r"^torch==(\S+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M)
    assert torch
    assert locked["torch"][0] == torch[1]


def test_floors_exclude_what_is_known_to_be_vulnerable() -> None:
    floors = {
        wanted.name: next((Version(s.version) for s in wanted.specifier if s.operator == ">="), None)
        for wanted in asked_for()
    }
    for name, mended in MENDED_IN.items():
        assert floors[name] is not None, name
        assert floors[name] >= Version(mended), name


def test_each_licence_of_the_weights_is_there_in_full() -> None:
    for card in third_party.cards():
        text = (third_party.MODELS / f"LICENSE-{third_party.spdx_of(card)}.txt").read_text(encoding="utf-8")
        assert "ShareAlike" in text
        assert len(text) > 15_000
    with pytest.raises(SystemExit, match="is not in Resources/Models"):
        third_party.spdx_of({"name": "x", "licence": "MIT"})


def test_a_release_is_whole(given_away: Path) -> None:
    names = sorted({path.name for path in given_away.iterdir()} - {"SHA256SUMS"})
    assert sorted(Path(name).suffixes[-1] for name in names) == [".gz", ".json", ".lock", ".md", ".txt", ".whl", ".zip"]
    told = dict(line.split("  ")[::-1] for line in (given_away / "SHA256SUMS").read_text().splitlines())
    assert told == {n: hashlib.sha256((given_away / n).read_bytes()).hexdigest() for n in names}
    bill = json.loads(next(given_away.glob("*.cdx.json")).read_text(encoding="utf-8"))
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    parts = {part["name"]: part for part in bill["components"]}
    assert set(parts) == set(third_party.locked()) | {card["name"] for card in third_party.cards()}
    assert len({part["bom-ref"] for part in bill["components"]}) == len(parts)
    assert parts["tissue-256"]["licenses"] == [{"license": {"id": "CC-BY-NC-SA-4.0"}}]
    with zipfile.ZipFile(next(given_away.glob("*.zip"))) as archive:
        held = {name.rsplit("/", 1)[-1] for name in archive.namelist()}
    assert {"THIRD_PARTY.md", "LICENSE.txt", "LICENSE-CC-BY-NC-SA-4.0.txt", "LICENSE-CC-BY-SA-3.0.txt"} <= held
    with pytest.raises(SystemExit, match="not empty"):
        make_release.make(given_away, "5.12")
