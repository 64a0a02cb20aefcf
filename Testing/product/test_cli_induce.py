"""``induce`` on the simulated head with a model of random weights: the promises about its files and refusals."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lesion_models import add_lesion_model
from product_run import (
    MARK,
    Head,
    Run,
    names,
    picture_mark,
    provenance,
    read_nifti,
    refused,
    run,
    save_nifti,
    sha256,
    snapshot,
    strict_json,
    strings,
    succeed,
    told,
)

from braindiffusion.models.registry import release

MAPS = {"diseased", "lesion", "generate_mask", "edited", "difference"}
FILES = {f"{m}.nii.gz" for m in MAPS} | {"effects.json", "overview.png", "provenance.json"}
QUICK = ("--method", "mededit", "--kind", "stroke", "--steps", 3, "--resamples", 2, "--progress", "none")


@pytest.fixture(scope="module", autouse=True)
def random_model(tmp_path_factory: pytest.TempPathFactory, steady: None) -> Any:
    """A folder of models with one that paints noise."""
    folder = tmp_path_factory.mktemp("lesion models")
    add_lesion_model(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BRAINDIFFUSION_MODELS", str(folder))
        release()
        yield folder
        release()


@pytest.fixture(scope="module")
def lesion(head: Head) -> Path:
    """The phantom's lesion mirrored to the healthy side, as a file."""
    mirrored = np.ascontiguousarray(head.lesion[::-1]).astype(np.uint8)
    return save_nifti(head.scan.parent / "wanted.nii.gz", mirrored, head.affine)


def induce(head: Head, folder: Path, *options: Any) -> Run:
    return succeed("induce", head.scan, "--brain", head.brain, *QUICK, *options, "--out", folder)


def loaded(folder: Path, name: str) -> np.ndarray:
    return read_nifti(folder / f"{name}.nii.gz").voxels


@pytest.fixture(scope="module")
def drawn(head: Head, lesion: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """The run most tests look at."""
    folder = tmp_path_factory.mktemp("drawn") / "out"
    return induce(head, folder, "--lesion", lesion, "--slices", "10:13", "--progress", "json"), folder


def test_all_promised_files_and_no_other(drawn: tuple[Run, Path]) -> None:
    assert names(drawn[1]) == FILES
    assert names(drawn[1].parent) == {"out"}


def test_every_map_lies_where_the_scan_lies_and_carries_the_mark(drawn: tuple[Run, Path], head: Head) -> None:
    for name in MAPS:
        found = read_nifti(drawn[1] / f"{name}.nii.gz")
        assert found.voxels.shape == head.voxels.shape
        np.testing.assert_allclose(found.affine, head.affine, atol=2e-4)
        assert found.description.startswith(MARK)
    assert picture_mark(drawn[1] / "overview.png") == MARK
    assert provenance(drawn[1])["synthetic"] is True
    assert strict_json((drawn[1] / "effects.json").read_text())["synthetic"] is True


def test_types_ranges_and_labels(drawn: tuple[Run, Path], head: Head) -> None:
    folder = drawn[1]
    assert loaded(folder, "diseased").dtype == head.voxels.dtype
    for name in MAPS - {"diseased"}:
        assert loaded(folder, name).dtype == np.uint8
    lesion, difference = loaded(folder, "lesion") > 0, loaded(folder, "difference")
    assert set(np.unique(difference)) == {0, 1, 2}
    assert lesion[difference == 1].all()
    assert not lesion[difference == 2].any()


def test_outside_the_edited_region_the_scan_is_identical(drawn: tuple[Run, Path], head: Head) -> None:
    changed = loaded(drawn[1], "diseased") != head.voxels
    assert np.nonzero(changed.any((0, 1)))[0].tolist() == [10, 11, 12]
    facts = provenance(drawn[1])["check"]
    assert facts["outside_identical"] is True
    assert facts["changed_voxels"] == changed.sum()


def test_the_summary_says_what_was_done(drawn: tuple[Run, Path]) -> None:
    summary, picture, use = drawn[0].out.splitlines()
    assert re.search(r"mL painted in 3 slices, 7 network calls each; .* mL changed around it", summary)
    assert Path(picture) == drawn[1] / "overview.png"
    assert use.startswith("Research use only")
    lines = [strict_json(line) for line in drawn[0].err.splitlines() if line.startswith("{")]
    assert list(dict.fromkeys(line["stage"] for line in lines)) == ["brain", "induce", "back"]


def test_the_outputs_name_no_place(drawn: tuple[Run, Path], head: Head) -> None:
    said = strings(provenance(drawn[1])) + strings(strict_json((drawn[1] / "effects.json").read_text()))
    assert not [s for s in said if s.startswith(("/", "~", "\\"))]
    assert not [s for s in said if head.scan.parent.name in s]


def test_a_box(head: Head, tmp_path: Path) -> None:
    induce(head, tmp_path / "out", "--box", "36,34,10,46,46,12")
    facts = provenance(tmp_path / "out")
    assert facts["settings"]["condition"] == "box"
    lesion = loaded(tmp_path / "out", "lesion") > 0
    inside = np.zeros_like(lesion)
    inside[36:47, 34:47, 10:13] = True
    assert lesion.any()
    assert not (lesion & ~inside).any()


@pytest.mark.parametrize("kind", ["stroke", "tumour", "spots"])
def test_a_random_lesion(head: Head, tmp_path: Path, kind: str) -> None:
    induce(head, tmp_path / "out", "--random", kind, "--ml", 9, "--side", "L")
    facts = provenance(tmp_path / "out")["lesion"]
    assert facts["kind"] == kind
    assert facts["ml"] == pytest.approx(9, rel=0.03)
    assert facts["side"] == "L"


def test_the_seed_decides(head: Head, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        induce(head, tmp_path / name, "--random", "stroke", "--ml", 6, "--seed", seed)
    for m in MAPS:
        assert sha256(tmp_path / "a" / f"{m}.nii.gz") == sha256(tmp_path / "b" / f"{m}.nii.gz")
    assert (loaded(tmp_path / "a", "lesion") != loaded(tmp_path / "c", "lesion")).any()


def test_several_samples_add_a_deviation(head: Head, lesion: Path, tmp_path: Path) -> None:
    induce(head, tmp_path / "out", "--lesion", lesion, "--slices", "11:12", "--samples", 2)
    assert names(tmp_path / "out") == FILES | {"deviation.nii.gz"}


def test_nrrd(head: Head, lesion: Path, tmp_path: Path) -> None:
    induce(head, tmp_path / "out", "--lesion", lesion, "--slices", "11:12", "--format", "nrrd")
    assert {f"{m}.nrrd" for m in MAPS} < names(tmp_path / "out")


def test_a_lesion_partly_outside_is_clipped_and_told(head: Head, tmp_path: Path) -> None:
    result = induce(head, tmp_path / "out", "--box", "0,30,10,20,44,12")
    assert re.search(r"Warning: \d+ of \d+ lesion voxels .* left out", result.err)


# --- refusals -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "code", "name"),
    [
        ((), 2, "SettingsError"),
        (("--random", "stroke", "--box", "1,1,1,2,2,2"), 2, "SettingsError"),
        (("--box", "30,30,10,34,34,11", "--ml", 5), 2, "SettingsError"),
        (("--random", "stroke", "--ml", 401), 3, "LesionSizeError"),
        (("--random", "stroke", "--ml", 0), 3, "LesionSizeError"),
        (("--random", "tumour", "--territory", "MCA"), 2, "SettingsError"),
        (("--random", "stroke", "--method", "sdedit"), 2, "SettingsError"),  # has no --resamples
        (("--box", "0,0,0,3,3,1"), 3, "EmptyMaskError"),
        (("--box", "0,0,0,99,3,1"), 3, "BoxError"),
        (("--box", "5,5,5,1,1,1"), 3, "BoxError"),
        (("--box", "30,30,10,34,34,11", "--slices", "15:16"), 3, "EmptyMaskError"),
        (("--random", "stroke", "--model", "nothing"), 4, "ModelNotFoundError"),
        (("--random", "stroke", "--model", "flair-healthy-128"), 2, "SettingsError"),
        (("--random", "stroke", "--margin-mm", 101), 2, "SettingsError"),
        (("--random", "stroke", "--steps", "some"), 2, "SettingsError"),
    ],
)
def test_what_cannot_be_done_is_refused(
    head: Head, tmp_path: Path, options: tuple[Any, ...], code: int, name: str
) -> None:
    refused(tmp_path, code, name, "induce", head.scan, "--brain", head.brain, *QUICK, *options)


def test_more_than_400_ml_is_refused(head: Head, tmp_path: Path) -> None:
    refused(tmp_path, 3, "LesionSizeError", "induce", head.scan, "--brain", head.brain, *QUICK, "--lesion", head.brain)


def test_a_mask_on_another_grid_is_refused(head: Head, tmp_path: Path) -> None:
    other = save_nifti(tmp_path / "other.nii.gz", np.ones((8, 8, 8), np.uint8), np.eye(4))
    (tmp_path / "there").mkdir()
    refused(tmp_path / "there", 3, "MaskGeometryError", "induce", head.scan, *QUICK, "--lesion", other)


def test_an_empty_mask_is_refused(head: Head, tmp_path: Path) -> None:
    empty = save_nifti(tmp_path / "empty.nii.gz", np.zeros(head.voxels.shape, np.uint8), head.affine)
    (tmp_path / "there").mkdir()
    refused(tmp_path / "there", 3, "EmptyMaskError", "induce", head.scan, *QUICK, "--lesion", empty)


def test_a_contrast_without_a_model_is_refused_naming_those_there_are(head: Head, tmp_path: Path) -> None:
    scan = save_nifti(tmp_path / "head_T1w.nii.gz", head.voxels, head.affine)
    result = run("induce", scan, *QUICK, "--random", "stroke", "--out", tmp_path / "out")
    told(result, 3, "ModalityError")
    assert "lesion-256: stroke on FLAIR" in result.err
    assert not (tmp_path / "out").exists()


def test_the_kind_is_asked_for(head: Head, tmp_path: Path) -> None:
    result = run("induce", head.scan, "--random", "stroke", "--out", tmp_path / "out")
    assert result.code == 2
    assert "--kind" in result.err


def test_what_was_read_is_never_replaced(head: Head, tmp_path: Path) -> None:
    mask = save_nifti(tmp_path / "lesion.nii.gz", head.lesion.astype(np.uint8), head.affine)
    before = snapshot(tmp_path)
    result = run("induce", head.scan, *QUICK, "--lesion", mask, "--slices", "11:12", "--out", tmp_path)
    assert result.code == 2
    assert snapshot(tmp_path) == before


def test_files_of_ones_own_stay(head: Head, lesion: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    induce(head, tmp_path, "--lesion", lesion, "--slices", "11:12")
    assert (tmp_path / "notes.txt").read_text() == "mine"


# mass effect and growth


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--mass-effect", "much"), "off, auto or a percentage"),
        (("--mass-effect", "120"), "at most 100"),
        (("--mass-effect", "auto", "--grow", 3, "--format", "dicom"), "one volume a size"),
    ],
)
def test_what_a_mass_effect_cannot_be_is_said(head: Head, tmp_path: Path, options: tuple[Any, ...], said: str) -> None:
    done = run("induce", head.scan, "--box", "1,1,1,2,2,2", *QUICK, *options, "--out", tmp_path / "out")
    assert done.code == 2
    assert said in done.err
    assert not (tmp_path / "out").exists()
