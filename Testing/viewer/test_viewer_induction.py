"""The Induce tab by mouse: place a lesion, paint it, compare, re-roll, keep, heal it again, save."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from desk import PATIENCE, Desk

pytestmark = pytest.mark.weights


def opened(desk: Desk) -> Desk:
    """The tab, with the scan drawn and the worker ready."""
    desk.until(lambda: desk.state("scan_loaded"))
    desk.until(lambda: desk.text("at-Axial") != "")
    desk.until(lambda: desk.state("worker_state") == "ready", PATIENCE)
    desk.tab("induce")
    return desk


def quickly(desk: Desk, steps: int = 3) -> None:
    """Few network calls: where the pictures are not to be looked at."""
    desk.step(3)
    desk.click("advanced-paint")
    desk.type("paint-steps", str(steps), "paint_steps")
    desk.type("paint-resamples", "1", "paint_resamples")
    desk.click("advanced-paint")


def draw_and_check(desk: Desk) -> None:
    """Brush, outline, box and file each change the lesion; its size is told at once; undo takes it back."""
    desk.step(2)
    desk.click("tool-paint")
    desk.until(lambda: desk.state("tool") == "paint")
    for _ in range(3):  # the effect may start after its button is framed: a stroke before that draws nothing
        desk.page.wait_for_timeout(1000)
        desk.drag("Axial", [(0.60, 0.40), (0.64, 0.48)])
        desk.page.wait_for_timeout(2000)
        if desk.ml("lesion") > 0:
            break
    desk.until(lambda: desk.ml("lesion") > 0)
    painted = desk.ml("lesion")
    desk.until(lambda: desk.has("margin-mm"))
    desk.click("tool-draw")
    desk.until(lambda: desk.state("tool") == "draw")
    for _ in range(3):  # as above
        desk.page.wait_for_timeout(600)
        desk.circle("Axial", 0.62, 0.6, 0.04)
        desk.page.wait_for_timeout(1500)
        if desk.ml("lesion") > painted:
            break
    desk.until(lambda: desk.ml("lesion") > painted)
    desk.page.keyboard.press("z")
    desk.until(lambda: desk.ml("lesion") == painted)
    desk.place_box("Axial", (0.58, 0.55), (0.66, 0.7), "lesion")
    desk.click("box-to-lesion")
    desk.until(lambda: desk.ml("lesion") > painted)
    desk.until(lambda: desk.state("paint_condition") == "box")
    desk.click("lesion-clear")
    desk.until(lambda: desk.ml("lesion") == 0)
    assert desk.state("mask_ml") == 0  # the mask of the other tab is another


def make_and_check(desk: Desk, sample: Path) -> None:
    """The random generator: as large as asked for, on the side asked for, another one at each press."""
    desk.choose("shape-kind", "stroke")
    desk.choose("shape-side", "L")
    desk.type("shape-ml", "20", "shape_ml")
    desk.click("make-lesion")
    desk.until_message("A lesion was made", PATIENCE)
    assert desk.ml("lesion") == pytest.approx(20.0, rel=0.06)
    assert "left" in desk.message
    assert desk.state("paint_condition") == "mask"
    desk.settle()
    first, size = desk.pixels("Axial"), desk.state("lesion_ml")
    desk.click("make-lesion")
    desk.until_message("seed 1", PATIENCE)
    assert desk.ml("lesion") == pytest.approx(20.0, rel=0.06)
    desk.settle()
    assert desk.pixels("Axial") != first
    second = desk.state("lesion_ml")
    desk.send("lesion-from-file", sample.with_name("SYNTHETIC_FLAIR_lesion_truth.nii.gz"))
    desk.until(lambda: abs(desk.ml("lesion") - 20.0) > 3)
    for wanted in (second, size):
        desk.click("undo")
        desk.until(lambda wanted=wanted: desk.state("lesion_ml") == wanted)
    desk.page.keyboard.press("y")
    desk.until_message("Lesion: done again", 20)
    desk.until(lambda: desk.state("lesion_ml") == second)


def margin_and_check(desk: Desk) -> None:
    """A ring, in millimetres, that can be hidden."""
    assert float(desk.text("margin-mm").split()[0]) > 5
    desk.page.mouse.move(5, 5)
    desk.settle()
    shown = desk.pixels("Axial")
    desk.click("show-margin")
    desk.until(lambda: not desk.state("show_margin"))
    desk.settle()
    assert desk.pixels("Axial") != shown
    desk.click("show-margin")
    desk.until(lambda: desk.state("show_margin"))


def cancel_and_check(desk: Desk) -> None:
    desk.step(3)
    desk.click("induce")
    desk.until(lambda: desk.has("cancel"))
    desk.page.wait_for_timeout(300)
    desk.click("cancel")
    desk.until_message("Cancelled", 20)
    assert not desk.has("cancel")
    assert desk["layout-compare"].is_disabled()
    assert desk.state("inductions") == []


def induce_and_check(desk: Desk) -> None:
    """A preview on the way; then prior, lesion with the change, diseased; figures beside them."""
    desk.step(3)
    desk.click("induce")
    desk.until_message("Painted in", PATIENCE)
    assert desk.state("first_preview_s") > 0  # it may be seen too shortly to be caught
    desk.until(lambda: desk.has("layout-induced-area"))
    assert not desk.text("notice")
    assert desk.text("induced-check").endswith("outside unchanged")
    assert float(desk.text("induced-lesion-ml").split()[0]) > 15
    assert all(desk.has(f"synthetic-{tag}") for tag in ("Lesion", "Diseased"))
    assert desk.has("two-colours")
    assert not desk.has("view-Healed")
    effects = desk.text("effects")
    assert "Change of the ventricles" in effects
    assert " mL" in effects
    assert " mm" in effects


def compare_and_check(desk: Desk) -> None:
    """Linked scrolling, two colours on and off, flicker, undo, redo."""
    desk.settle()
    before = desk.slice_of("Prior")
    desk.wheel("Diseased", 1)
    desk.until(lambda: desk.slice_of("Prior") != before)
    desk.until(lambda: desk.slice_of("Prior") == desk.slice_of("Lesion") == desk.slice_of("Diseased"))
    desk.wheel("Diseased", -1)
    desk.until(lambda: desk.slice_of("Lesion") == before)
    desk.page.mouse.move(5, 5)
    desk.settle()
    colored = desk.pixels("Lesion")
    assert desk.pixels("Diseased") != desk.pixels("Prior")
    desk.page.keyboard.press("o")
    desk.until(lambda: not desk.has("two-colours"))
    desk.settle()
    assert desk.pixels("Lesion") != colored
    desk.page.keyboard.press("o")
    desk.page.keyboard.press("f")
    desk.until(lambda: desk.text("tag-Blend").endswith("Diseased"))
    desk.page.keyboard.press("f")
    desk.until(lambda: desk.text("tag-Blend").endswith("Original"))
    desk.click("undo")
    desk.until_message("The scan as it was", 20)
    assert desk.has("layout-edit-area")
    desk.page.keyboard.press("y")
    desk.until_message("Result 1 is in view", 20)
    desk.until(lambda: desk.has("layout-induced-area"))


def reroll_and_check(desk: Desk) -> None:
    """The strip: another seed, a star, away with the rest."""
    desk.step(4)
    desk.click("reroll")
    desk.until(lambda: desk.has("thumb-2"), PATIENCE)
    desk.until(lambda: not desk.state("running"), PATIENCE)
    assert [row["label"] for row in desk.state("inductions")] == ["#1, seed 0", "#2, seed 1"]
    pictures = [row["picture"] for row in desk.state("inductions")]
    assert pictures[0] != pictures[1]
    desk["thumb-1"].locator(".picture").click()
    desk.until(lambda: desk.state("induction_id") == 1)
    desk.page.keyboard.press("k")
    desk.until(lambda: "kept" in (desk["thumb-1"].get_attribute("class") or "").split())


def remove_and_check(desk: Desk) -> None:
    desk.click("remove-others")
    desk.click("confirm-remove")
    desk.until(lambda: not desk.has("thumb-2"))
    assert desk.has("thumb-1")
    assert desk.state("induction_id") in (0, 1)


def round_trip_and_check(desk: Desk) -> None:
    """Painted, shown, healed in a fourth view, and how much of the change remains."""
    count = len(desk.state("inductions"))
    desk.step(3)
    desk.click("round-trip")
    desk.until(lambda: desk.has("view-Healed"), PATIENCE)
    desk.until_message("of the change remains", PATIENCE)
    assert len(desk.state("inductions")) == count + 1
    assert not desk.text("notice")
    told = desk.text("round-trip-figures")
    assert "Induced, then healed" in told
    assert "of the change remains" in told
    assert desk.has("synthetic-Healed")
    desk.settle()
    assert desk.pixels("Healed") != desk.pixels("Diseased")


def save_and_check(desk: Desk, folder: Path, scan: Path) -> None:
    """Files that say what they are; in world space only what was free to change has changed."""
    import SimpleITK

    desk.step(4)
    desk["folder"].fill(str(folder))
    desk.click("save")
    desk.until_message("Saved", 60)
    names = sorted(path.name for path in folder.iterdir())
    assert all(name.startswith("SYNTHETIC") for name in names)
    assert json.loads(next(folder.glob("*effects.json")).read_text())["lesion_ml"] > 15
    assert json.loads(next(folder.glob("*round_trip.json")).read_text())["induced"] > 0
    record = json.loads(next(folder.glob("*provenance.json")).read_text())
    assert record["check"]["outside_identical"] is True
    assert record["lesion"]["origin"] == "random"

    original = SimpleITK.ReadImage(str(scan))
    still, nearest = SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor

    def on_scan(role: str) -> np.ndarray:
        image = SimpleITK.ReadImage(str(next(folder.glob(f"*_{role}.nii.gz"))))
        return SimpleITK.GetArrayFromImage(SimpleITK.Resample(image, original, still, nearest))

    changed = on_scan("diseased") != SimpleITK.GetArrayFromImage(original)
    assert changed[on_scan("lesion") > 0].mean() > 0.9
    free = SimpleITK.GetImageFromArray(on_scan("generate_mask"))
    assert not np.any(changed & (SimpleITK.GetArrayFromImage(SimpleITK.BinaryDilate(free, (4, 4, 1))) == 0))


def switch_and_check(desk: Desk) -> None:
    """One scan, two tabs, each with its own drawing and results."""
    count = len(desk.state("inductions"))
    desk.tab("heal")
    desk.until(lambda: desk.has("layout-edit-area"))
    assert desk["layout-compare"].is_disabled()
    assert desk.state("results") == []
    assert desk.text("scan-name") == "SYNTHETIC_FLAIR_lesion"
    desk.step(3)
    assert desk.ml("mask") == 0
    desk.tab("induce")
    desk.until(lambda: desk["layout-compare"].is_enabled())
    assert len(desk.state("inductions")) == count
    desk.step(2)
    assert desk.ml("lesion") > 15
    desk.until(lambda: desk["shape-side"].input_value() == "L")  # a menu that is opened again shows what was chosen
    desk.step(1)
    desk.until(lambda: desk["modality"].input_value() == "FLAIR")


def test_the_induction_round_trip_on_the_sample(start_viewer, open_desk, sample: Path, tmp_path: Path) -> None:
    """All of it, on one scan; nothing is written to the browser's console."""
    desk = opened(open_desk(start_viewer(sample)))
    assert desk["layout-compare"].is_disabled()
    if "BRAINVIEWER_SHOTS" not in os.environ:
        quickly(desk, steps=8)
    draw_and_check(desk)
    make_and_check(desk, sample)
    margin_and_check(desk)
    desk.shot("induce")
    cancel_and_check(desk)
    induce_and_check(desk)
    compare_and_check(desk)
    reroll_and_check(desk)
    desk["folder"].fill("~/SYNTHETIC_results")
    desk.shot("induce_compare")
    remove_and_check(desk)
    round_trip_and_check(desk)
    desk.step(4)
    desk["folder"].fill("~/SYNTHETIC_results")
    desk.shot("induce_then_heal")
    save_and_check(desk, tmp_path / "induced", sample)
    switch_and_check(desk)
    assert desk.problems == []


def test_a_contrast_without_a_lesion_model_is_refused(start_viewer, open_desk, sample: Path) -> None:
    """The models there are, are named; nothing can be pressed, by mouse or key."""
    desk = opened(open_desk(start_viewer(sample)))
    desk.step(1)
    desk.choose("modality", "T1")
    refused(desk)


@pytest.mark.scans
def test_a_t1_of_ixi_is_refused(start_viewer, open_desk, data_dir: Path) -> None:
    """Its contrast is known by its name."""
    scan = data_dir / "ixi_t1_2mm" / "IXI015_T1.nii.gz"
    if not scan.is_file():
        pytest.skip(f"{scan} is not there.")
    refused(opened(open_desk(start_viewer(scan))))


def refused(desk: Desk) -> None:
    desk.step(2)
    desk.until(lambda: desk["make-lesion"].is_disabled())
    desk.step(3)
    desk.until(lambda: "Nothing can be painted on a scan of T1" in desk.text("paint-offer"))
    for named in ("lesion-128", "stroke on FLAIR", "tumour on T1GD"):
        assert named in desk.text("paint-offer")
    assert desk["induce"].is_disabled()
    assert desk["round-trip"].is_disabled()
    desk.page.keyboard.press("g")
    desk.page.wait_for_timeout(300)
    assert not desk.has("cancel")
    assert desk.problems == []


def test_a_lesion_outside_the_brain(start_viewer, open_desk, sample: Path) -> None:
    """Refused where nothing is left of it; clipped, with the count, where something is."""
    desk = opened(open_desk(start_viewer(sample)))
    quickly(desk)
    desk.step(2)
    desk.place_box("Axial", (0.1, 0.1), (0.2, 0.25), "lesion")
    desk.click("box-to-lesion")
    desk.until(lambda: desk.ml("lesion") > 0)
    desk.step(3)
    desk.click("induce")
    desk.until(lambda: desk.has("notice"), PATIENCE)
    assert "selects nothing that could be painted" in desk.text("notice")
    assert "outside the brain" in desk.text("notice")
    assert desk.state("inductions") == []
    desk.click("notice-close")
    desk.step(2)
    desk.click("lesion-clear")
    desk.place_box("Axial", (0.6, 0.45), (0.9, 0.6), "lesion")
    desk.click("box-to-lesion")
    desk.until(lambda: desk.ml("lesion") > 0)
    desk.step(3)
    desk.click("induce")
    desk.until_message("Painted in", PATIENCE)
    assert "lie outside the brain" in desk.text("notice")
    assert "lesion voxels" in desk.text("notice")
    assert desk.problems == []


def test_the_other_tab_and_a_closed_scan_while_it_runs(start_viewer, open_desk, sample: Path) -> None:
    """A lesion is painted while the other tab is open: it is told, and waits. Then the scan goes while it is healed."""
    desk = opened(open_desk(start_viewer(sample)))
    quickly(desk)
    desk.step(2)
    desk.place_box("Axial", (0.58, 0.5), (0.64, 0.6), "lesion")
    desk.click("box-to-lesion")
    desk.until(lambda: desk.ml("lesion") > 0)
    desk.step(3)
    desk.click("induce")
    desk.until(lambda: desk.has("cancel"))
    desk.tab("heal")
    desk.until_message("see the tab Induce", PATIENCE)
    assert desk.has("layout-edit-area")
    assert desk.state("results") == []
    desk.tab("induce")
    desk.click("layout-compare")
    desk.until(lambda: desk.has("thumb-1"))
    desk.step(4)
    desk.click("heal-again")
    desk.until(lambda: desk.has("view-Healed"), PATIENCE)
    desk.step(1)
    desk.click("close-scan")
    desk.until(lambda: desk.has("notice"), 20)
    assert "scan was removed" in desk.text("notice")
    desk.until(lambda: desk.has("welcome"))
    assert desk.state("running") == ""
    assert desk.state("inductions") == []
    assert desk.problems == []
