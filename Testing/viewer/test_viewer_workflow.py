"""The whole job by mouse, from opening a scan to saved files."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from desk import PATIENCE, Desk

pytestmark = pytest.mark.weights


def find_and_check(desk: Desk) -> None:
    """Step 2."""
    desk.step(2)
    desk.click("saliency")
    desk.until_message("judged to show a lesion", PATIENCE)
    assert desk.has("chart-prob")
    assert not desk.text("notice")


def draw_and_check(desk: Desk) -> None:
    """Step 3: each tool changes the mask, undo takes it back."""
    desk.step(3)
    desk.click("tool-paint")
    desk.page.wait_for_timeout(600)
    desk.drag("Axial", [(0.40, 0.40), (0.46, 0.50)])
    desk.until(lambda: desk.mask_ml() > 0)
    painted = desk.mask_ml()
    desk.click("tool-draw")
    desk.page.wait_for_timeout(400)
    desk.circle("Axial", 0.6, 0.42, 0.05)
    desk.until(lambda: desk.mask_ml() > painted)
    drawn = desk.mask_ml()
    desk.shot("mask")
    desk.click("tool-scissors")
    desk.page.wait_for_timeout(400)
    desk.circle("Axial", 0.6, 0.42, 0.03)
    desk.until(lambda: desk.mask_ml() < drawn)
    desk.click("undo")
    desk.until(lambda: desk.mask_ml() == drawn)
    desk.click("tool-erase")
    desk.page.wait_for_timeout(400)
    desk.drag("Axial", [(0.40, 0.40), (0.46, 0.50)])
    desk.until(lambda: desk.mask_ml() < drawn)
    desk.page.keyboard.press("n")
    desk.click("mask-clear")
    desk.until(lambda: desk.mask_ml() == 0)


def box_and_check(desk: Desk, corner: tuple[float, float], other: tuple[float, float]) -> None:
    """A box becomes the mask."""
    desk.place_box("Axial", corner, other)
    desk.shot("box")
    desk.click("box-to-mask")
    desk.until(lambda: desk.mask_ml() > 0)


def cancel_and_check(desk: Desk) -> None:
    """Heal, cancel: nothing is left of it."""
    desk.step(4)
    desk.click("heal")
    desk.until(lambda: desk.has("cancel"))
    desk.page.wait_for_timeout(300)
    desk.click("cancel")
    assert desk.until_message("Cancelled", 20) < 6
    assert not desk.has("cancel")
    assert desk["layout-compare"].is_disabled()


def heal_and_check(desk: Desk) -> None:
    """Heal, with a preview on the way and the slices still moving."""
    desk.click("heal")
    desk.until(lambda: desk.has("preview-Axial"), PATIENCE)
    assert desk.has("synthetic-Axial")
    desk.page.wait_for_timeout(1500)
    desk.shot("healing", settle=False)
    desk.until_message("healed in", PATIENCE)
    desk.until(lambda: desk.has("layout-compare-area"))
    assert desk.text("check").endswith("outside unchanged")
    assert float(desk.text("lesion-ml").split()[0]) > 1
    assert desk.has("synthetic-Counterfactual")
    assert desk.has("synthetic-Difference")
    assert desk.has("colorbar")


def compare_and_check(desk: Desk) -> None:
    """Linked scrolling, jump by the table, flicker, undo, redo."""
    desk.settle()
    before = desk.slice_of("Original")
    desk.wheel("Counterfactual", 2)
    desk.until(lambda: desk.slice_of("Original") != before)
    desk.until(lambda: desk.slice_of("Original") == desk.slice_of("Counterfactual") == desk.slice_of("Difference"))
    rows = desk.page.locator(".id-table tbody tr")
    target = int(rows.nth(4).locator("td").first.inner_text())
    rows.nth(4).click()
    desk.until(lambda: desk.slice_of("Difference") == target)
    assert "now" in (rows.nth(4).get_attribute("class") or "")

    desk.page.keyboard.press("f")
    desk.until(lambda: desk.has("layout-blend-area"))
    desk.until(lambda: desk.text("tag-Blend").endswith("Counterfactual"))
    desk.settle()
    healed = desk.pixels("Blend")
    desk.page.keyboard.press("f")
    desk.until(lambda: desk.text("tag-Blend").endswith("Original"))
    desk.settle()
    assert desk.pixels("Blend") != healed
    desk.page.keyboard.press("F2")
    desk.until(lambda: desk.has("layout-edit-area"))
    desk.page.keyboard.press("F3")
    desk.until(lambda: desk.has("layout-compare-area"))


def undo_and_check(desk: Desk) -> None:
    """Back to the scan as it was, and on again."""
    desk.click("undo")
    desk.until_message("The scan as it was", 20)
    assert desk.has("layout-edit-area")
    assert desk["layout-compare"].is_disabled()
    desk.page.keyboard.press("y")
    desk.until_message("Result 1 is in view", 20)
    desk.until(lambda: desk.has("layout-compare-area"))


def save_and_check(desk: Desk, folder: Path, name: str) -> None:
    """NIfTI files that say what they are, a scene, a download."""
    desk.step(5)
    desk["folder"].fill(str(folder))
    desk.click("save")
    desk.until_message("Saved", 60)
    names = sorted(path.name for path in folder.iterdir())
    assert names
    assert all(n.startswith("SYNTHETIC") for n in names)
    record = json.loads(next(folder.glob("*provenance.json")).read_text())
    assert record["check"]["outside_identical"] is True
    assert any("counterfactual.nii.gz" in n for n in names)

    desk["save-format"].select_option("mrb")
    desk.until(lambda: desk.state("save_format") == "mrb")
    desk.click("save")
    desk.until(lambda: any(folder.glob("SYNTHETIC*.mrb")), 60)
    desk.until(lambda: not desk.state("busy"))
    assert zipfile.ZipFile(next(folder.glob("SYNTHETIC*.mrb"))).testzip() is None

    desk["save-format"].select_option("nrrd")
    desk.until(lambda: desk.state("save_format") == "nrrd")
    with desk.page.expect_download(timeout=60_000) as waiting:
        desk.click("download")
    with zipfile.ZipFile(io.BytesIO(Path(waiting.value.path()).read_bytes())) as archive:
        inside = [Path(n).name for n in archive.namelist() if not n.endswith("/")]
    assert any(n.endswith("counterfactual.nrrd") for n in inside)
    assert all(n.startswith("SYNTHETIC") for n in inside)
    assert name


def compare_files(folder: Path, scan: Path) -> None:
    """In world space: what was saved lies on the scan, and differs only inside the mask."""
    import SimpleITK

    original = SimpleITK.ReadImage(str(scan))
    healed = SimpleITK.ReadImage(str(next(folder.glob("*counterfactual.nii.gz"))))
    mask = SimpleITK.ReadImage(str(next(folder.glob("*_mask.nii.gz"))))
    still, nearest = SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor
    on_scan = [SimpleITK.GetArrayFromImage(SimpleITK.Resample(i, original, still, nearest)) for i in (healed, mask)]
    voxels = SimpleITK.GetArrayFromImage(original)
    changed = on_scan[0] != voxels
    assert changed.any()
    grown = SimpleITK.GetArrayFromImage(SimpleITK.BinaryDilate(SimpleITK.GetImageFromArray(on_scan[1]), (4, 4, 1)))
    assert not np.any(changed & (grown == 0))


def whole_job(desk: Desk, scan: Path, folder: Path, box: tuple[tuple[float, float], tuple[float, float]]) -> None:
    """Every step."""
    find_and_check(desk)
    desk.shot("saliency")
    draw_and_check(desk)
    box_and_check(desk, *box)
    cancel_and_check(desk)
    desk.click("heal-mask-auto")
    desk.until(lambda: desk.state("heal_mask") == "auto")
    heal_and_check(desk)
    desk["folder"].fill("~/SYNTHETIC_results")
    desk.shot("compare")
    compare_and_check(desk)
    save_and_check(desk, folder, scan.name)
    compare_files(folder, scan)
    undo_and_check(desk)
    assert desk.problems == []


def test_the_whole_job_on_the_sample(start_viewer, open_desk, sample: Path, tmp_path: Path) -> None:
    """Opened by its button; nothing is written to the browser's console."""
    desk = open_desk(start_viewer())
    assert desk.has("banner")
    desk.shot("welcome")
    desk.click("welcome-sample")
    desk.until(lambda: desk.state("scan_loaded"))
    desk.until(lambda: desk.text("at-Axial") != "")
    desk.shot("open")
    whole_job(desk, sample, tmp_path / "healed", ((0.33, 0.28), (0.46, 0.62)))


@pytest.mark.scans
def test_the_whole_job_on_a_real_scan(start_viewer, open_desk, data_dir: Path, tmp_path: Path) -> None:
    """A raw clinical FLAIR, left-handed and oblique, opened from the command line."""
    scan = data_dir / "volumes" / "fg6692_FLAIR_raw.nii.gz"
    if not scan.is_file():
        pytest.skip(f"{scan} is not there.")
    desk = open_desk(start_viewer(scan))
    desk.suffix = "_real"
    desk.until(lambda: desk.state("scan_loaded"))
    whole_job(desk, scan, tmp_path / "healed", ((0.26, 0.18), (0.46, 0.42)))


def test_the_methods_of_the_engine_are_on_offer(start_viewer, open_desk, sample: Path) -> None:
    """As the worker tells them: one that lacks a model is shown and barred; another than Dif-fuse heals."""
    desk = open_desk(start_viewer(sample))
    desk.until(lambda: desk.state("worker_state") == "ready", PATIENCE)
    desk.step(3)
    desk.place_box("Axial", (0.36, 0.32), (0.44, 0.48))
    desk.click("box-to-mask")
    desk.until(lambda: desk.mask_ml() > 0)
    desk.step(4)
    options = {row["value"]: row for row in desk.state("methods")}
    assert {"dif_fuse", "repaint", "autoddpm"} <= set(options)
    assert not options["dif_fuse"]["barred"]
    for name, row in options.items():
        option = desk["method"].locator(f"option[value={name}]")
        assert option.is_disabled() == row["barred"]
        assert ("Not available" in row["tip"]) == row["barred"]
    desk.choose("method", "ddim")  # finds its region itself: no mask is asked for
    desk.until(lambda: "no mask is used" in desk.text("method-about"))
    assert desk["heal-mask-drawn"].is_disabled()
    desk.choose("method", "mask_at_end")
    desk.until(lambda: desk["heal-mask-drawn"].is_enabled())
    desk.click("heal-slice")
    desk.until_message("healed in", PATIENCE)
    assert options["mask_at_end"]["title"] in desk.text("dock")
    assert desk.problems == []
