"""``heal`` and ``saliency`` on the simulated head: every promise about their files, whatever the weights find."""

from __future__ import annotations

import gzip
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its usual name
from product_run import (
    MAPS,
    MARK,
    Head,
    Run,
    names,
    picture_mark,
    provenance,
    read_nifti,
    run,
    save_nifti,
    sha256,
    snapshot,
    strict_json,
    strings,
    succeed,
)
from product_run import (
    QUICK as QUICK_STEPS,
)
from scipy import ndimage

pytestmark = pytest.mark.weights

QUICK = (*QUICK_STEPS, "--model", "flair-healthy-128")
"""By the denoiser that sees no surroundings; of the one that does there is a test at the end."""

SEAM_MM = 4.0
"""The edit fades over 2 mm and starts half a native pixel (3.2 mm) outside the mask."""
USER = "zaphod42"


@dataclass(frozen=True)
class Healed:
    """A finished run: its streams, its folder, and the input's digest before it."""

    run: Run
    folder: Path
    before: str

    def map(self, name: str) -> np.ndarray:
        return read_nifti(self.folder / f"{name}.nii.gz").voxels


def heal(head: Head, folder: Path, *options: Any) -> Healed:
    """Heal the drawn lesion in its two middle slices, in 3 steps, with a brain mask that need not be looked for."""
    before = sha256(head.scan)
    command = ("heal", head.scan, "--mask", head.mask, "--brain", head.brain, "--slices", "10:12", *QUICK, *options)
    return Healed(succeed(*command, "--out", folder), folder, before)


def check_edit(folder: Path, voxels: np.ndarray, spacing: list[float], axis: int = 2) -> np.ndarray:
    """What changed (bool): only inside the mask and its seam, and as much as the provenance says."""
    after, mask = read_nifti(folder / "counterfactual.nii.gz").voxels, read_nifti(folder / "mask.nii.gz").voxels > 0
    changed = after != voxels
    facts = provenance(folder)["check"]
    assert facts["outside_identical"] is True
    assert facts["changed_voxels"] == changed.sum()
    assert facts["edited_voxels"] >= changed.sum()
    sampling = [1e6 if a == axis else s for a, s in enumerate(spacing)]
    distance = ndimage.distance_transform_edt(~mask, sampling=sampling) if mask.any() else np.full(mask.shape, 1e9)
    assert not (changed & (distance > SEAM_MM)).any()
    return changed


@pytest.fixture(scope="module")
def drawn(head: Head, tmp_path_factory: pytest.TempPathFactory) -> Healed:
    """The run most tests look at; its user, and every folder it touches, have a telling name."""
    folder = tmp_path_factory.mktemp(USER) / "out"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("USER", "LOGNAME", "USERNAME"):
            patch.setenv(name, USER)
        return heal(head, folder, "--progress", "json")


# --- the files ------------------------------------------------------------------------------------------------


def test_a_drawn_mask_gives_all_promised_files_and_no_other(drawn: Healed) -> None:
    assert names(drawn.folder) == {f"{m}.nii.gz" for m in MAPS} | {"overview.png", "provenance.json"}
    assert names(drawn.folder.parent) == {"out"}  # nothing staged is left beside it


@pytest.mark.parametrize("name", sorted(MAPS))
def test_every_map_lies_where_the_scan_lies(drawn: Healed, head: Head, name: str) -> None:
    found = read_nifti(drawn.folder / f"{name}.nii.gz")
    assert found.voxels.shape == head.voxels.shape
    np.testing.assert_allclose(found.affine, head.affine, atol=2e-4)


def test_every_map_has_its_type_and_range(drawn: Healed, head: Head) -> None:
    assert drawn.map("counterfactual").dtype == head.voxels.dtype
    for name in ("mask", "lesion"):
        assert drawn.map(name).dtype == np.uint8
        assert set(np.unique(drawn.map(name))) <= {0, 1}
    for name in ("anomaly", "saliency"):
        assert drawn.map(name).dtype == np.float32
        assert np.isfinite(drawn.map(name)).all()
    assert not (drawn.map("lesion") > drawn.map("mask")).any()


def test_what_is_not_edited_is_identical(drawn: Healed, head: Head) -> None:
    changed = check_edit(drawn.folder, head.voxels, [3.2, 3.0, 7.0])
    assert changed.any()


def test_the_chosen_slices_are_healed_and_no_other(drawn: Healed, head: Head) -> None:
    changed = drawn.map("counterfactual") != head.voxels
    assert np.nonzero(changed.any((0, 1)))[0].tolist() == [10, 11]
    assert [row["slice"] for row in provenance(drawn.folder)["slices"]] == [10, 11]


def test_the_mask_is_what_was_drawn_grown_by_its_margin(drawn: Healed, head: Head) -> None:
    mask, wanted = drawn.map("mask") > 0, head.lesion.copy()
    wanted[:, :, [*range(10), *range(12, 20)]] = False
    assert (mask & wanted).sum() > 0.95 * wanted.sum()
    grown = ndimage.distance_transform_edt(~wanted, sampling=[3.2, 3.0, 1e6])
    assert grown[mask].max() < 6.5  # margin 2 mm, a model pixel of 1.9 mm, half a native one of 3.2 mm


def test_a_drawn_mask_needs_no_saliency(drawn: Healed, head: Head) -> None:
    assert not drawn.map("saliency").any()
    assert provenance(drawn.folder)["mask"] == {"origin": "drawn", "voxels": int(head.lesion.sum())}


def test_the_scan_is_left_as_it_was(drawn: Healed, head: Head) -> None:
    assert sha256(head.scan) == drawn.before


# --- what is said about them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(MAPS))
def test_every_volume_carries_the_synthetic_mark(drawn: Healed, name: str) -> None:
    assert read_nifti(drawn.folder / f"{name}.nii.gz").description == f"{MARK}: {name}"


def test_the_picture_carries_the_synthetic_mark(drawn: Healed) -> None:
    assert picture_mark(drawn.folder / "overview.png") == MARK


def test_the_provenance_says_how_it_was_made(drawn: Healed, head: Head) -> None:
    facts = provenance(drawn.folder)
    assert facts["synthetic"] is True
    assert facts["notice"] == MARK
    assert "Research use only" in facts["use"]
    assert facts["settings"]["seed"] == 0
    assert facts["settings"]["fusion"] == "cached"
    assert facts["scan"]["file"] == "head_FLAIR.nii.gz"
    assert facts["scan"]["shape"] == list(head.voxels.shape)
    assert facts["models"][0]["name"] == "flair-healthy-128"
    assert re.fullmatch(r"[0-9a-f]{64}", facts["models"][0]["sha256"])


def test_the_outputs_name_no_user_and_no_place(drawn: Healed, head: Head) -> None:
    said = strings(provenance(drawn.folder))
    assert not [s for s in said if s.startswith(("/", "~", "\\")) or re.match(r"[A-Za-z]:\\", s)]
    secrets = [USER, head.scan.parent.name, *([platform.node()] if len(platform.node()) > 8 else [])]
    for path in drawn.folder.iterdir():
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        assert not [s for s in secrets if s.encode() in content], path.name


def test_progress_as_json_lines(drawn: Healed) -> None:
    lines = [strict_json(line) for line in drawn.run.err.splitlines()]
    assert [{"stage", "done", "total", "seconds_left"} <= set(line) for line in lines] == [True] * len(lines)
    stages = list(dict.fromkeys(line["stage"] for line in lines))
    assert stages == ["brain", "heal", "back"]
    steps = [line for line in lines if line["stage"] == "heal"]
    assert [line["done"] for line in steps] == sorted(line["done"] for line in steps)
    assert steps[-1]["done"] == steps[-1]["total"]
    assert all(line["seconds_left"] is None or line["seconds_left"] >= 0 for line in lines)


def test_stdout_holds_the_result_only(drawn: Healed) -> None:
    summary, picture, use = drawn.run.out.splitlines()
    assert "2 of 2 slices healed, 7 network calls each" in summary
    assert Path(picture) == drawn.folder / "overview.png"
    assert use.startswith("Research use only")


@pytest.mark.parametrize("kind", ["bar", "none"])
def test_other_progress_stays_off_stdout(head: Head, tmp_path: Path, kind: str) -> None:
    done = heal(head, tmp_path / "out", "--progress", kind, "--noise-level", 0)
    assert len(done.run.out.splitlines()) == 3
    assert kind == "bar" or done.run.err == ""


# --- options --------------------------------------------------------------------------------------------------


def test_a_box_heals_as_the_same_box_drawn_does(head: Head, tmp_path: Path) -> None:
    lesion = np.zeros(head.voxels.shape, np.uint8)
    lesion[18:29, 34:47, 10:13] = 1
    mask = save_nifti(tmp_path / "box.nii.gz", lesion, head.affine)
    common = ("heal", head.scan, "--brain", head.brain, "--slices", "12:14", *QUICK)
    succeed(*common, "--box", head.box, "--out", tmp_path / "box")
    succeed(*common, "--mask", mask, "--out", tmp_path / "mask")
    for name in MAPS:
        assert sha256(tmp_path / "box" / f"{name}.nii.gz") == sha256(tmp_path / "mask" / f"{name}.nii.gz")
    changed = check_edit(tmp_path / "box", head.voxels, [3.2, 3.0, 7.0])
    assert np.nonzero(changed.any((0, 1)))[0].tolist() == [12]  # the last slice of the box is included


@pytest.mark.parametrize("kind", ["acat", "gradient"])
def test_a_mask_from_saliency(head: Head, tmp_path: Path, kind: str) -> None:
    # the gate is held open: what the weights think of this slice does not matter
    command = ("heal", head.scan, "--brain", head.brain, "--saliency", kind, "--gate", 0, "--slices", "11:12", *QUICK)
    succeed(*command, "--out", tmp_path / "out")
    assert check_edit(tmp_path / "out", head.voxels, [3.2, 3.0, 7.0]).any()
    facts = provenance(tmp_path / "out")
    assert facts["mask"]["origin"] == kind
    assert len(facts["models"]) == 3
    (row,) = facts["slices"]
    assert 0 <= row["lesion_probability"] <= 1
    saliency = read_nifti(tmp_path / "out" / "saliency.nii.gz").voxels
    assert 0 <= saliency.min() <= saliency.max() <= 1 + 1e-5
    assert not saliency[:, :, [*range(11), *range(12, 20)]].any()


def test_a_slice_judged_healthy_is_left_alone(head: Head, tmp_path: Path) -> None:
    command = ("heal", head.scan, "--brain", head.brain, "--gate", 1, "--slices", "16:17", *QUICK)
    result = succeed(*command, "--out", tmp_path)
    assert "0 of 1 slices healed, no network calls" in result.out
    assert "Warning: Every slice was judged healthy" in result.err
    np.testing.assert_array_equal(read_nifti(tmp_path / "counterfactual.nii.gz").voxels, head.voxels)
    for name in ("mask", "lesion", "anomaly"):
        assert not read_nifti(tmp_path / f"{name}.nii.gz").voxels.any()
    assert picture_mark(tmp_path / "overview.png") == MARK


def test_several_samples_add_deviation_and_agreement(head: Head, tmp_path: Path) -> None:
    done = heal(head, tmp_path / "out", "--samples", 3)
    expected = MAPS | {"deviation", "agreement"}
    assert names(done.folder) == {f"{m}.nii.gz" for m in expected} | {"overview.png", "provenance.json"}
    for name in ("deviation", "agreement"):
        found = read_nifti(done.folder / f"{name}.nii.gz")
        assert found.voxels.dtype == np.float32
        assert found.description.startswith(MARK)
        np.testing.assert_allclose(found.affine, head.affine, atol=2e-4)
        assert found.voxels.min() >= 0
        assert not found.voxels[:, :, :10].any()
    assert done.map("deviation").max() > 0
    assert done.map("agreement").max() <= 1 + 1e-5
    check_edit(done.folder, head.voxels, [3.2, 3.0, 7.0])
    # the way up and the first step are shared, the rest is done for each sample
    assert provenance(done.folder)["network_calls"]["per_slice"] == 2 * (3 + 1 + 3 * 3)


def test_the_seed_decides(drawn: Healed, head: Head, tmp_path: Path) -> None:
    again, other = heal(head, tmp_path / "again"), heal(head, tmp_path / "other", "--seed", 1)
    for name in MAPS:
        np.testing.assert_array_equal(again.map(name), drawn.map(name))
    assert (other.map("counterfactual") != drawn.map("counterfactual")).any()
    np.testing.assert_array_equal(other.map("mask"), drawn.map("mask"))


@pytest.mark.parametrize(("fusion", "calls"), [("cached", 7), ("joint", 7), ("independent", 10)])
def test_each_fusion_costs_what_it_says(head: Head, tmp_path: Path, fusion: str, calls: int) -> None:
    done = heal(head, tmp_path / "out", "--fusion", fusion)
    facts = provenance(done.folder)
    assert facts["settings"]["fusion"] == fusion
    assert facts["network_calls"] == {"batched": calls, "per_slice": 2 * calls, "slices_healed": 2}
    assert f"{calls} network calls each" in done.run.out
    assert check_edit(done.folder, head.voxels, [3.2, 3.0, 7.0]).any()


def test_without_noise_nothing_changes(head: Head, tmp_path: Path) -> None:
    done = heal(head, tmp_path / "out", "--noise-level", 0)
    np.testing.assert_array_equal(done.map("counterfactual"), head.voxels)
    assert not done.map("lesion").any()


def test_nrrd(drawn: Healed, head: Head, tmp_path: Path) -> None:
    done = heal(head, tmp_path / "out", "--format", "nrrd")
    assert names(done.folder) == {f"{m}.nrrd" for m in MAPS} | {"overview.png", "provenance.json"}
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ head.affine
    for name in MAPS:
        image = sitk.ReadImage(str(done.folder / f"{name}.nrrd"))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image).T, drawn.map(name))
        axes = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
        np.testing.assert_allclose(axes, lps[:3, :3], atol=1e-4)
        np.testing.assert_allclose(image.GetOrigin(), lps[:3, 3], atol=1e-3)
        assert image.GetMetaData("description").startswith(MARK)


def test_a_brain_mask_of_ones_own_is_the_limit(head: Head, tmp_path: Path) -> None:
    brain = np.zeros(head.voxels.shape, np.uint8)
    brain[22:50, 14:58, 2:18] = 1  # cuts the lesion
    file = save_nifti(tmp_path / "brain.nii.gz", brain, head.affine)
    done = heal(head, tmp_path / "out", "--brain", file)
    assert provenance(done.folder)["brain"]["origin"] == "given"
    assert done.map("mask").any()
    assert not (done.map("mask") > brain).any()


# --- scans of every kind --------------------------------------------------------------------------------------


def test_a_single_slice_is_a_scan(head: Head, tmp_path: Path) -> None:
    affine = head.affine.copy()
    affine[:3, 3] += 11 * affine[:3, 2]
    voxels = head.voxels[:, :, 11:12]
    scan = save_nifti(tmp_path / "slice_FLAIR.nii.gz", voxels, affine)
    succeed("heal", scan, "--box", "18,34,0,28,46,0", *QUICK, "--out", tmp_path / "out")
    found = read_nifti(tmp_path / "out" / "counterfactual.nii.gz")
    assert found.voxels.shape == (64, 72, 1)
    np.testing.assert_allclose(found.affine, affine, atol=2e-4)
    assert check_edit(tmp_path / "out", voxels, [3.2, 3.0, 7.0]).any()


@pytest.mark.parametrize("dtype", ["u1", "<u2", "<f4", "<f8"])
def test_the_counterfactual_has_the_scans_type(head: Head, tmp_path: Path, dtype: str) -> None:
    voxels = (head.voxels / 4 + (0.25 if "f" in dtype else 0)).astype(dtype)
    scan = save_nifti(tmp_path / "typed_FLAIR.nii.gz", voxels, head.affine)
    command = ("heal", scan, "--box", head.box, "--brain", head.brain, "--slices", "11:12", *QUICK)
    succeed(*command, "--out", tmp_path / "out")
    assert read_nifti(tmp_path / "out" / "counterfactual.nii.gz").voxels.dtype == np.dtype(dtype)
    assert check_edit(tmp_path / "out", voxels, [3.2, 3.0, 7.0]).any()


def turned(voxels: np.ndarray, affine: np.ndarray, order: tuple[int, ...], flips: tuple[int, ...]) -> tuple[Any, Any]:
    """The same head, its voxel axes stored in another order and direction."""
    affine = affine.copy()
    for axis in flips:
        affine[:3, 3] += (voxels.shape[axis] - 1) * affine[:3, axis]
        affine[:3, axis] *= -1
    return np.flip(voxels, flips).transpose(order), affine[:, [*order, 3]]


@pytest.mark.parametrize(
    ("order", "flips"),
    [((0, 1, 2), (0,)), ((0, 1, 2), (1, 2)), ((1, 2, 0), (1,))],
    ids=["RAS", "LPI", "sagittal"],
)
def test_how_a_scan_is_stored_does_not_matter(
    drawn: Healed, head: Head, tmp_path: Path, order: tuple[int, ...], flips: tuple[int, ...]
) -> None:
    voxels, affine = turned(head.voxels, head.affine, order, flips)
    scan = save_nifti(tmp_path / "turned_FLAIR.nii.gz", voxels, affine)
    # the masks stay as they were drawn: they are turned to the scan
    command = ("heal", scan, "--mask", head.mask, "--brain", head.brain, "--slices", "10:12", *QUICK)
    succeed(*command, "--out", tmp_path / "out")
    found = read_nifti(tmp_path / "out" / "counterfactual.nii.gz")
    assert found.voxels.shape == voxels.shape
    np.testing.assert_allclose(found.affine, affine, atol=2e-4)
    spacing = np.linalg.norm(affine[:3, :3], axis=0).tolist()
    assert check_edit(tmp_path / "out", voxels, spacing, axis=order.index(2)).any()
    expected, _ = turned(drawn.map("counterfactual"), head.affine, order, flips)
    same = found.voxels == expected
    assert same.mean() > 0.999
    assert np.abs(found.voxels.astype(float) - expected)[~same].max(initial=0) <= 8


def test_an_oblique_scan(head: Head, tmp_path: Path) -> None:
    a, b = np.deg2rad(24), np.deg2rad(17)
    turn = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]]) @ np.array(
        [[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]
    )
    affine = head.affine.copy()
    affine[:3] = turn @ affine[:3]
    scan = save_nifti(tmp_path / "oblique_FLAIR.nii.gz", head.voxels, affine)
    succeed("heal", scan, "--box", head.box, "--slices", "11:12", *QUICK, "--out", tmp_path / "out")
    np.testing.assert_allclose(read_nifti(tmp_path / "out" / "counterfactual.nii.gz").affine, affine, atol=2e-4)
    assert check_edit(tmp_path / "out", head.voxels, [3.2, 3.0, 7.0]).any()


# --- where the files go ---------------------------------------------------------------------------------------


def test_files_of_ones_own_in_the_folder_stay(head: Head, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "overview.png").write_bytes(b"old")
    heal(head, tmp_path, "--noise-level", 0)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert picture_mark(tmp_path / "overview.png") == MARK


@pytest.mark.parametrize("which", ["scan", "mask"])
def test_what_was_read_is_never_replaced(head: Head, tmp_path: Path, which: str) -> None:
    """Healing into the folder where the edited ``mask.nii.gz`` lies is the natural second step."""
    scan = save_nifti(tmp_path / "counterfactual.nii.gz", head.voxels, head.affine) if which == "scan" else head.scan
    mask = save_nifti(tmp_path / "mask.nii.gz", head.lesion.astype(np.uint8), head.affine)
    mask = mask if which == "mask" else head.mask
    read = scan if which == "scan" else mask
    before = snapshot(tmp_path)
    result = run("heal", scan, "--mask", mask, "--slices", "11:12", *QUICK, "--out", tmp_path)
    assert sha256(read) == before[read.name]
    assert result.code == 2


# --- saliency -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["acat", "gradient"])
def test_the_saliency_command(head: Head, tmp_path: Path, method: str) -> None:
    command = ("saliency", head.scan, "--method", method, "--slices", "10:12", "--progress", "json")
    brain = () if method == "acat" else ("--brain", head.brain)
    result = succeed(*command, *brain, "--out", tmp_path / "out")
    assert names(tmp_path / "out") == {"saliency.nii.gz", "overview.png", "provenance.json"}
    found = read_nifti(tmp_path / "out" / "saliency.nii.gz")
    np.testing.assert_allclose(found.affine, head.affine, atol=2e-4)
    assert found.voxels.shape == head.voxels.shape
    assert found.description.startswith(MARK)
    assert 0 <= found.voxels.min() <= found.voxels.max() <= 1 + 1e-5
    facts = provenance(tmp_path / "out")
    assert facts["synthetic"] is True
    assert [row["slice"] for row in facts["slices"]] == [10, 11]
    assert all(0 <= row["lesion_probability"] <= 1 for row in facts["slices"])
    flagged = sum(row["judged_lesion"] for row in facts["slices"])
    assert result.out.startswith(f"{flagged} of 2 slices judged to show a lesion\n")
    assert {strict_json(line)["stage"] for line in result.err.splitlines()} <= {"brain", "saliency"}
    assert picture_mark(tmp_path / "out" / "overview.png") == MARK


def test_slices_without_any_brain(head: Head, tmp_path: Path) -> None:
    """Air above the head: nothing to judge, nothing to heal, and no crash."""
    voxels = np.concatenate([head.voxels, np.zeros((64, 72, 2), np.int16)], axis=2)
    scan = save_nifti(tmp_path / "air_FLAIR.nii.gz", voxels, head.affine)
    for command in ("saliency", "heal"):
        succeed(command, scan, "--slices", "21:22", "--progress", "none", "--out", tmp_path / command)
        assert provenance(tmp_path / command)["slices"] == []


@pytest.mark.parametrize("contrast", ["FLAIR", "T1"])
def test_the_default_model_heals_a_drawn_region_of_any_contrast(head: Head, tmp_path: Path, contrast: str) -> None:
    scan = tmp_path / f"head_{contrast}.nii.gz"
    scan.write_bytes(Path(head.scan).read_bytes())
    command = ("heal", scan, "--mask", head.mask, "--brain", head.brain, "--slices", "10:12", *QUICK_STEPS)
    summary = succeed(*command, "--out", tmp_path / "out").out
    assert "2 of 2 slices healed, 3 network calls each" in summary
    facts = provenance(tmp_path / "out")
    assert facts["models"][0]["name"] == "tissue-256"
    assert facts["method"]["settings"]["inversion"] == "known"
    before, after = read_nifti(scan), read_nifti(tmp_path / "out" / "counterfactual.nii.gz")
    edited = read_nifti(tmp_path / "out" / "edited.nii.gz").voxels > 0
    assert (before.voxels[~edited] == after.voxels[~edited]).all()
    assert (before.voxels[edited] != after.voxels[edited]).mean() > 0.5


def test_a_model_that_sees_the_surroundings_has_one_fusion(head: Head, tmp_path: Path) -> None:
    command = ("heal", head.scan, "--mask", head.mask, "--brain", head.brain, *QUICK_STEPS, "--fusion", "joint")
    result = run(*command, "--out", tmp_path / "out")
    assert result.code == 2
    assert "cached fusion" in result.err
    assert not (tmp_path / "out").exists()
