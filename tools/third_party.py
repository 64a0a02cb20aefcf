"""Write THIRD_PARTY.md: what the program asks for, what its weights learned from, and under which licences.

    python tools/third_party.py [--check | --sbom FILE]

Packages and versions come from requirements.lock, their licences from what is installed beside this Python, weights and
data from the cards. ``--check`` writes nothing and tells what is missing or of another version; ``--sbom`` writes a
bill of materials (CycloneDX 1.6, JSON) instead, from THIRD_PARTY.md as it stands. Standard library only.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import uuid
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "THIRD_PARTY.md"
MODELS = ROOT / "Resources" / "Models"
LICENCES = {"CC BY-NC-SA 4.0": "CC-BY-NC-SA-4.0", "CC BY-SA 3.0": "CC-BY-SA-3.0"}
"""How cards begin to name a licence, and its SPDX identifier."""
ELSEWHERE = "for another system or CUDA: see its own files"
_COMMON = {
    "mit license": "MIT", "mit": "MIT", "the mit license": "MIT", "apache software license": "Apache-2.0",
    "apache license 2.0": "Apache-2.0", "apache 2.0": "Apache-2.0", "apache license, version 2.0": "Apache-2.0",
    "isc license (iscl)": "ISC", "python software foundation license": "PSF-2.0",
    "the unlicense (unlicense)": "Unlicense", "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
}  # fmt: skip


def locked() -> dict[str, tuple[str, str]]:
    """Name -> version, and what asks for it; of each package of requirements.lock."""
    found: dict[str, tuple[str, str]] = {}
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    for block in re.split(r"^(?=[a-z0-9])", text, flags=re.M)[1:]:
        head = re.match(r"([a-z0-9._-]+)==([^\s;]+)", block)
        if head:
            asked = [a for a in re.findall(r"^ +# (?:via )? *([a-z0-9._-]+)$", block, re.M) if a != "via"]
            found[head[1]] = (head[2], ", ".join("this program" if a == OURS else a for a in asked))
    return found


OURS = "slicer-brain-counterfactual"


def licence_of(package: str) -> str:
    """What an installed package says of its licence."""
    try:
        facts = metadata.metadata(package)
    except metadata.PackageNotFoundError:
        return ELSEWHERE
    if told := facts.get("License-Expression"):
        return str(told)
    classes = [c.split(" :: ")[-1] for c in facts.get_all("Classifier") or [] if c.startswith("License ::")]
    told = " and ".join(sorted({_COMMON.get(c.lower(), c) for c in classes if c != "OSI Approved"}))
    if not told:
        line = next((line.strip() for line in str(facts.get("License") or "").splitlines() if line.strip()), "")
        told = _COMMON.get(line.lower(), line if len(line) <= 60 else "")
    return told.replace("|", "/") or "not said in its metadata: see its own files"


def cards() -> list[dict[str, Any]]:
    """Of the shipped weights."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(MODELS.glob("*.json"))]


def spdx_of(card: dict[str, Any]) -> str:
    """The identifier of the licence of some weights.

    Raises:
        SystemExit: a licence whose text is not beside the weights.
    """
    found = next((spdx for words, spdx in LICENCES.items() if card["licence"].startswith(words)), None)
    if found is None or not (MODELS / f"LICENSE-{found}.txt").is_file():
        raise SystemExit(f"The text of '{card['licence']}' ({card['name']}) is not in Resources/Models.")
    return found


def page() -> str:
    """The whole list."""
    lines = [
        "# What is not ours", "",
        "Made by `tools/third_party.py`. The code of this program is Apache-2.0 ([LICENSE.txt](LICENSE.txt)), written "
        "by its authors; no code of others is copied into it. The weights carry the licences of what they learned "
        "from.", "",
        "## Weights", "",
        "| Weights | Licence | Learned from |", "|---|---|---|",
    ]  # fmt: skip
    for card in cards():
        spdx = spdx_of(card)
        sources = "; ".join(f"{d['name']}: {d['licence']}" for d in card["data"])
        lines.append(
            f"| `{card['name']}` | [{spdx}](Resources/Models/LICENSE-{spdx}.txt) | {sources.replace('|', '/')} |"
        )
    lines += [
        "", "The masks of TCGA-LGG are treated as CC BY-NC-SA 4.0, the strictest that their licence can be read as. "
        "IXI is CC BY-SA 3.0, and `tissue-256` learned from both. Whether weights are an adaptation of what they "
        "learned from is not settled; who needs certainty trains without the one or the other "
        "([docs/training.md](docs/training.md)).", "",
        "## Packages", "",
        "None of them is in our files: pip installs them. Versions are those of the tested environment "
        "([requirements.lock](requirements.lock)).", "",
        "| Package | Version | Licence | Asked for by |", "|---|---|---|---|",
    ]  # fmt: skip
    lines += [f"| {name} | {version} | {licence_of(name)} | {by} |" for name, (version, by) in locked().items()]
    return "\n".join([*lines, ""])


def rows(text: str) -> dict[str, tuple[str, str]]:
    """Package -> version and licence, of a page."""
    cells = [
        line.strip("| ").split(" | ") for line in text.split("## Packages")[-1].splitlines() if line.startswith("| ")
    ]
    return {cell[0]: (cell[1], cell[2]) for cell in cells[1:] if len(cell) >= 3}


def problems() -> list[str]:
    """What the page lacks, or tells otherwise than lock and cards."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    told, due = rows(text), {name: version for name, (version, _) in locked().items()}
    out = [f"{name} {version} is not in it" for name, version in due.items() if told.get(name, ("",))[0] != version]
    out += [f"{name} is in it, and asked for by nobody" for name in told if name not in due]
    for card in cards():
        row = next((line for line in text.splitlines() if line.startswith(f"| `{card['name']}` |")), "")
        if spdx_of(card) not in row or not all(d["name"].replace("|", "/") in row for d in card["data"]):
            out.append(f"the weights {card['name']} are not in it as their card says")
    named = set(re.findall(r"^\| `(.+?)` \|", text, re.M)) - {card["name"] for card in cards()}
    return out + [f"the weights {name} are in it, and not shipped" for name in sorted(named)]


def sbom() -> dict[str, Any]:
    """The bill of materials; the same for the same tree."""
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    assert version
    parts: list[dict[str, Any]] = []
    for name, (number, licence) in rows(PAGE.read_text(encoding="utf-8")).items():
        told = [] if "see its own files" in licence else [{"license": {"name": licence}}]
        purl = f"pkg:pypi/{name}@{number}"
        parts.append({
            "type": "library", "bom-ref": purl, "name": name, "version": number, "purl": purl,
            **({"licenses": told} if told else {}),
        })  # fmt: skip
    for card in cards():
        parts.append({
            "type": "machine-learning-model", "bom-ref": f"model:{card['name']}", "name": card["name"],
            "version": str(card["training"].get("version", version[1])), "description": card["purpose"],
            "hashes": [{"alg": "SHA-256", "content": card["sha256"]}],
            "licenses": [{"license": {"id": spdx_of(card)}}],
            "modelCard": {"modelParameters": {"datasets": [
                {"type": "dataset", "name": d["name"], "description": d["licence"]} for d in card["data"]
            ]}},
        })  # fmt: skip
    main = f"pkg:pypi/{OURS}@{version[1]}"
    return {
        "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(parts, sort_keys=True))}",
        "metadata": {"component": {
            "type": "application", "bom-ref": main, "name": OURS, "version": version[1], "purl": main,
            "licenses": [{"expression": f"Apache-2.0 AND {' AND '.join(sorted(LICENCES.values()))}"}],
        }},
        "components": parts,
        "dependencies": [{"ref": main, "dependsOn": [part["bom-ref"] for part in parts]}],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the list is not as it must be")
    parser.add_argument("--sbom", type=Path, help="write the bill of materials to this file instead")
    arguments = parser.parse_args()
    if arguments.check:
        sys.exit("\n".join(problems()) or 0)
    if arguments.sbom:
        arguments.sbom.write_text(json.dumps(sbom(), indent=1) + "\n", encoding="utf-8", newline="\n")
        return
    PAGE.write_text(page(), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
