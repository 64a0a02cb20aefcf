"""Every hostile input ends in its typed error or a correct result, in bounded memory and time, with nothing written."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import hostile_case  # noqa: F401 - first: it tells where the helpers of the other tests lie
import pytest
from conftest import Reader
from hostile_corpus import corpus
from product_run import refused

CASES = {str(case): case for case in corpus()}


def test_there_are_enough() -> None:
    kinds = Counter(case.kind.split()[0] for case in CASES.values())
    assert sum(kinds.values()) >= 200
    assert len(kinds) >= 10


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds the memory of a process for sure")
def test_memory_was_bounded(reader: Reader) -> None:
    assert reader.bounded


@pytest.mark.parametrize("name", CASES)
def test_input(reader: Reader, name: str) -> None:
    assert not reader.told[name]["verdict"], reader.told[name]


def test_no_input_took_long(reader: Reader) -> None:
    slow = {name: facts["seconds"] for name, facts in reader.told.items() if facts["seconds"] > 10}
    assert not slow


BY_COMMAND = [
    "NIfTI sizes: claims 30000 x 30000 x 30000", "NIfTI types: RGB", "NIfTI content: NaN everywhere",
    "NIfTI geometry: sform of zeros", "NIfTI damage: voxels that begin at 1e38", "NRRD: 16 dimensions",
    "MetaImage: 100 dimensions", "MetaImage: compressed data that is none", "names and places: a link to nothing",
    "DICOM: missing slice", "DICOM: two series", "DICOM: pixels cut",
]  # fmt: skip


@pytest.mark.parametrize("name", BY_COMMAND)
def test_the_command_refuses_it_too(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    (tmp_path / "in").mkdir()
    given = case.make(tmp_path / "in")
    (error,) = case.errors[:1]
    refused(tmp_path, 3, error, "heal", given, "--progress", "none")
