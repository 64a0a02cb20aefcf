"""The entry for the Extensions Index: what its schema 1.0.1 allows, and the same as the extension's CMake metadata."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TYPES = {
    "$schema": str,
    "category": str,
    "scm_url": str,
    "scm_revision": str,
    "scm_type": str,
    "build_dependencies": list,
    "build_subdirectory": str,
    "enabled": bool,
    "tier": int,
}
REQUIRED = {"$schema", "category", "scm_url"}


@pytest.fixture(scope="module")
def entry():
    return json.loads((ROOT / "BrainCounterfactual.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def metadata():
    """``EXTENSION_*`` of the top CMakeLists.txt."""
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    return dict(re.findall(r'set\(EXTENSION_(\w+) "([^"]*)"\)', text))


def test_the_schema_accepts_the_entry(entry):
    assert set(entry) >= REQUIRED
    for name, value in entry.items():
        assert isinstance(value, TYPES[name]), name
    assert 1 <= entry["tier"] <= 5
    assert entry["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.1.json#")


def test_it_is_named_as_the_extension_and_says_the_same(entry, metadata):
    assert metadata["NAME"] == "BrainCounterfactual"
    assert not metadata["NAME"].startswith("Slicer")
    assert entry["category"] == metadata["CATEGORY"]
    assert entry["build_dependencies"] == metadata["DEPENDS"].split()
    assert entry["scm_url"] == metadata["HOMEPAGE"] + ".git"
    assert metadata["HOMEPAGE"].rsplit("/", 1)[1] == "Slicer" + metadata["NAME"]


@pytest.mark.parametrize("name", ["HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "STATUS"])
def test_metadata_is_complete(metadata, name):
    assert metadata[name]


def test_pictures_it_names_are_in_the_repository(metadata, entry):
    raw = metadata["HOMEPAGE"].replace("github.com", "raw.githubusercontent.com") + "/" + entry["scm_revision"] + "/"
    for url in [metadata["ICONURL"], *metadata["SCREENSHOTURLS"].split()]:
        assert url.startswith(raw)
        assert "?" not in url
        assert (ROOT / url[len(raw) :]).is_file()


def test_licence_lies_in_the_root_and_is_named():
    assert "Apache License" in (ROOT / "LICENSE.txt").read_text(encoding="utf-8")
    assert "Apache" in (ROOT / "README.md").read_text(encoding="utf-8")
