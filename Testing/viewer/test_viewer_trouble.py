"""What goes wrong in real life: the viewer says what happened, and goes on."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from desk import PATIENCE, Desk


def heal_the_box(desk: Desk, slice_only: bool = True) -> None:
    """A small healing that needs no classifier."""
    desk.step(3)
    if desk.mask_ml() == 0:
        desk.place_box("Axial", (0.36, 0.32), (0.44, 0.48))
        desk.click("box-to-mask")
        desk.until(lambda: desk.mask_ml() > 0)
    desk.step(4)
    desk.click("heal-slice" if slice_only else "heal")


def dismiss(desk: Desk) -> None:
    desk.click("notice-close")
    desk.until(lambda: not desk.has("notice"))


@pytest.mark.weights
def test_a_worker_killed_while_healing_is_told_and_started_again(start_viewer, open_desk, sample: Path) -> None:
    server = start_viewer(sample)
    desk = open_desk(server)
    desk.until(lambda: desk.state("worker_state") == "ready", PATIENCE)
    heal_the_box(desk, slice_only=False)
    desk.until(lambda: desk.has("cancel"))
    server.kill_worker()
    desk.until(lambda: desk.has("notice"), 20)
    assert "worker" in desk.text("notice").lower()
    assert not desk.has("cancel")
    dismiss(desk)
    desk.step(4)
    desk.click("heal-slice")
    desk.until_message("healed in", PATIENCE)
    assert len(server.workers()) == 1
    assert desk.problems == []


@pytest.mark.weights
def test_a_second_scan_while_the_first_is_healed(start_viewer, open_desk, sample: Path) -> None:
    """The result goes to its own scan; both can be looked at."""
    desk = open_desk(start_viewer(sample))
    heal_the_box(desk)
    desk.until(lambda: desk.has("cancel"))
    desk.step(1)
    desk.click("sample")
    desk.until(lambda: len(desk.state("scans")) == 2)
    desk.until(lambda: desk.state("running") == "", PATIENCE)
    names = [row["title"] for row in desk.state("scans")]
    assert names[1].startswith(names[0])
    assert desk.state("scan_name") == names[1]
    assert desk.state("results") == []
    assert desk.state("layout") == "edit"
    desk.step(1)
    desk["scans"].select_option(label=names[0])
    desk.until(lambda: desk.state("scan_name") == names[0])
    desk.until(lambda: len(desk.state("results")) == 1)
    assert desk.problems == []


@pytest.mark.weights
def test_a_scan_closed_while_it_is_healed(start_viewer, open_desk, sample: Path) -> None:
    desk = open_desk(start_viewer(sample))
    heal_the_box(desk, slice_only=False)
    desk.until(lambda: desk.has("cancel"))
    desk.step(1)
    desk.click("close-scan")
    desk.until(lambda: desk.has("notice"), 20)
    assert "scan was removed" in desk.text("notice")
    desk.until(lambda: desk.has("welcome"))
    assert desk.state("running") == ""
    dismiss(desk)
    desk.click("welcome-sample")
    desk.until(lambda: desk.state("scan_loaded"))
    heal_the_box(desk)
    desk.until_message("healed in", PATIENCE)
    assert desk.problems == []


def test_files_that_are_no_scans(start_viewer, open_desk, sample: Path, tmp_path: Path) -> None:
    """By path and by upload; the scan that was open stays."""
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(sample.read_bytes()[:5000])
    text = tmp_path / "notes.txt"
    text.write_text("not a scan")
    desk = open_desk(start_viewer(sample))
    desk.until(lambda: desk.state("scan_loaded"))
    desk.until(lambda: desk.text("at-Axial") != "")
    desk.step(1)
    for path, word in ((tmp_path / "nowhere.nii.gz", "not"), (broken, "broken"), (text, "notes")):
        desk["path"].fill(str(path))
        desk.click("open")
        desk.until(lambda: desk.has("notice"))
        assert word in desk.text("notice")
        dismiss(desk)
    with desk.page.expect_file_chooser() as chooser:
        desk.click("upload")
    chooser.value.set_files(str(broken))
    desk.until(lambda: desk.has("notice"))
    assert "broken" in desk.text("notice")
    dismiss(desk)
    with desk.page.expect_file_chooser() as chooser:
        desk.click("upload")
    chooser.value.set_files(str(sample))
    desk.until(lambda: len(desk.state("scans")) == 2)
    assert not desk.has("scan-notes")
    raw = bytearray(gzip.decompress(sample.read_bytes()))
    raw[252:256] = bytes(4)  # neither qform nor sform
    (tmp_path / "unknown.nii").write_bytes(raw)
    desk.step(1)
    desk["path"].fill(str(tmp_path / "unknown.nii"))
    desk.click("open")
    desk.until(lambda: desk.has("scan-notes"))
    assert "LEFT AND RIGHT MAY BE SWAPPED" in desk.text("scan-notes")
    assert desk.problems == []


def test_masks_from_files_and_grey_values(start_viewer, open_desk, sample: Path, tmp_path: Path) -> None:
    import SimpleITK

    scan = SimpleITK.ReadImage(str(sample))
    wrong = SimpleITK.Image(scan.GetSize(), SimpleITK.sitkUInt8)
    wrong.CopyInformation(scan)
    SimpleITK.WriteImage(wrong, str(tmp_path / "empty.nii.gz"))
    desk = open_desk(start_viewer(sample))
    desk.step(3)
    with desk.page.expect_file_chooser() as chooser:
        desk.click("mask-from-file")
    chooser.value.set_files(str(tmp_path / "empty.nii.gz"))
    desk.until(lambda: desk.has("notice"))
    assert "selects nothing" in desk.text("notice")
    dismiss(desk)
    with desk.page.expect_file_chooser() as chooser:
        desk.click("mask-from-file")
    chooser.value.set_files(str(sample.with_name("SYNTHETIC_FLAIR_lesion_truth.nii.gz")))
    desk.until(lambda: desk.mask_ml() > 0)
    whole = desk.mask_ml()
    desk.click("threshold-inside")
    desk.click("threshold-apply")
    desk.until(lambda: 0 < desk.mask_ml() < whole)
    desk.page.keyboard.press("z")
    desk.until(lambda: desk.mask_ml() == whole)
    desk.click("mask-clear")
    desk.until(lambda: desk.mask_ml() == 0)
    assert desk.problems == []


@pytest.fixture
def full_disk(tmp_path: Path):
    """A disk of 1 MB."""
    place = tmp_path / "full"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("A small disk can only be made by root on Linux.")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False)


@pytest.mark.weights
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="makes a small disk with mount")
def test_a_full_disk_under_the_temporary_files(start_viewer, open_desk, sample: Path, full_disk: Path) -> None:
    """The scan cannot be handed to the worker: said, and the viewer goes on."""
    desk = open_desk(start_viewer(sample, TMPDIR=str(full_disk)))
    (full_disk / "filler").write_bytes(b"x" * 500_000)
    heal_the_box(desk)
    desk.until(lambda: desk.has("notice"), PATIENCE)
    assert "space" in desk.text("notice").lower()
    dismiss(desk)
    assert not desk.has("cancel")
    before = desk.slice_of("Axial")
    desk.wheel("Axial", 1)
    desk.until(lambda: desk.slice_of("Axial") != before)


@pytest.mark.weights
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="makes a small disk with mount")
def test_a_full_disk_under_the_saved_files(start_viewer, open_desk, sample: Path, full_disk: Path) -> None:
    """Nothing half is left behind; another folder works."""
    desk = open_desk(start_viewer(sample))
    heal_the_box(desk)
    desk.until_message("healed in", PATIENCE)
    desk.step(5)
    (full_disk / "filler").write_bytes(b"x" * 900_000)
    for kind in ("nifti", "mrb"):
        desk["save-format"].select_option(kind)
        desk.until(lambda kind=kind: desk.state("save_format") == kind)
        desk["folder"].fill(str(full_disk / "out"))
        desk.click("save")
        desk.until(lambda: desk.has("notice"), 60)
        assert "cannot be written" in desk.text("notice")
        assert not list((full_disk / "out").glob("*"))
        dismiss(desk)
    desk["save-format"].select_option("nifti")
    desk.until(lambda: desk.state("save_format") == "nifti")
    desk["folder"].fill(str(full_disk.with_name("roomy")))
    desk.click("save")
    desk.until_message("Saved", 60)
    assert desk.problems == []


INSIDE = """
import asyncio, sys
asyncio.set_event_loop(asyncio.new_event_loop())
from pathlib import Path
import numpy as np, slicer
from BrainViewerLib.app import BrainViewer
from BrainViewerLib.controllers import loading

async def main():
    viewer = BrainViewer(Path(sys.argv[1]))
    state = viewer.state
    assert state.scan_loaded and viewer.scans.volume is not None
    viewer.logic.setMaskArray(np.ones(slicer.util.arrayFromVolume(viewer.scans.volume).shape, bool),
                              viewer.masks.segmentation, viewer.scans.volume)
    viewer.masks.measure()
    assert state.mask_ml > 0
    slicer.mrmlScene.Clear(0)
    assert not state.scan_loaded and state.mask_ml == 0 and viewer.scans.volume is None
    assert "closed" in state.message
    assert await viewer.scans.open(Path(sys.argv[1]))
    assert state.scan_loaded
    for _ in range(3):
        viewer.display.step(1)
        state.active_view = "Coronal"
    slicer.mrmlScene.RemoveNode(viewer.scans.volume)
    assert not state.scan_loaded and "taken out" in state.notice["title"]
    viewer.messages.dismiss()
    assert await viewer.scans.open(Path(sys.argv[1]))
    assert await viewer.scans.open(Path(sys.argv[1]))
    first, second = viewer.scans.all()
    assert viewer.scans.volume is second
    viewer.scans.close_scan()
    assert viewer.scans.volume is first
    viewer.logic.close()
    print("INSIDE OK")

asyncio.get_event_loop().run_until_complete(main())
"""


PAINTING = """
import asyncio, faulthandler, gc, sys
faulthandler.enable()
asyncio.set_event_loop(asyncio.new_event_loop())
from pathlib import Path
import slicer
from BrainViewerLib.app import BrainViewer

async def main():
    viewer = BrainViewer(Path(sys.argv[1]))
    assert await viewer.scans.open(Path(sys.argv[1]))
    editor, view, bounds, drawn = viewer.masks.editor, viewer.board["Axial"], [0.0] * 6, {}
    for n in range(50):
        scan = viewer.scans.all()[n % 2]
        viewer.scans.choose_scan(scan.GetID())
        gc.collect()
        with viewer.state as state:
            state.tool = "paint" if n < 48 else "erase"
        viewer.masks._on_tool()
        brush = next(p().widget for p in editor.active_effect.pipelines if p() is not None and p()._view is view)
        scan.GetRASBounds(bounds)
        place = [sum(bounds[:2]) / 2 + n, sum(bounds[2:4]) / 2, view.get_slice_value()]
        brush.update_widget_position(place)
        brush.start_painting()
        brush.update_widget_position(place)
        brush.stop_painting()
        viewer.masks.measure()
        before = drawn.get(n % 2, 0)
        drawn[n % 2] = state.mask_ml
        assert drawn[n % 2] > before if n < 48 else drawn[n % 2] < before, (n, drawn)
        assert editor.active_volume_node is scan
    viewer.logic.close()
    print("INSIDE OK")

asyncio.get_event_loop().run_until_complete(main())
"""


LEAKS = """
import asyncio, sys
asyncio.set_event_loop(asyncio.new_event_loop())
from pathlib import Path
import slicer
from BrainViewerLib.app import BrainViewer

async def main():
    viewer = BrainViewer(Path(sys.argv[1]))
    state = viewer.state
    first = viewer.scans.volume
    assert state.model == "tissue-256" and state.can_heal, (state.model, state.heal_hint)
    state.case_title, state.saved, state.saved_text = "Infiltrating tumour", True, "Saved in x"
    state.mode = "induce"
    viewer._on_mode()
    assert (state.case_title, state.saved, state.saved_text) == ("", False, "")
    state.case_title = "Stroke"
    state.mode = "heal"
    viewer._on_mode()
    assert state.case_title == "Infiltrating tumour"

    assert await viewer.scans.open(Path(sys.argv[1]))
    second = viewer.scans.volume
    assert state.case_title == ""
    viewer.scans.choose_modality("T1")
    assert state.model == "tissue-256" and state.warnings == [], (state.model, state.warnings)
    assert not state.can_heal and not state.can_find and "draw a mask" in state.heal_hint, state.heal_hint
    assert "--" not in state.heal_hint
    state.estimate = "About 642 min"
    state.message = "a line of before"
    viewer.scans.choose_scan(first.GetID())
    assert state.model == "tissue-256" and state.warnings == [] and state.estimate == ""
    assert state.message == first.GetName() + " is shown."
    assert state.case_title == "Infiltrating tumour" and state.can_find
    viewer.scans.choose_scan(second.GetID())
    state.model = "flair-healthy-128"  # chosen by hand: said, and named rightly
    viewer.scans.refresh()
    assert state.model == "flair-healthy-128" and "flair-healthy-128" in state.warnings[0], state.warnings

    board = viewer.board
    state.mode = "induce"
    viewer._on_mode()
    viewer.inducing.run.healing = True  # of the lesion that was painted; no picture of it yet
    viewer.display.refresh()
    assert board["Healed"].get_background_volume_id() in (None, "")
    assert viewer.display._label("Healed", board.place("Healed"))["under"] == "no picture yet"
    viewer.logic.close()
    print("INSIDE OK")

asyncio.get_event_loop().run_until_complete(main())
"""


def test_the_scene_closed_or_the_scan_removed_by_somebody_else(viewer_packages, inside, sample: Path) -> None:
    inside(INSIDE, sample)


def test_fifty_strokes_on_two_scans_in_turn(viewer_packages, inside, sample: Path) -> None:
    """Each stroke goes to the scan shown; the editor of the other scan is not called any more."""
    inside(PAINTING, sample)


def test_nothing_of_another_scan_or_tab_stays_on_the_page(viewer_packages, inside, sample: Path) -> None:
    """Models, warnings, estimates, forms, what was saved, status lines; a contrast that nothing finds lesions on."""
    inside(LEAKS, sample)


def test_errors_in_the_window_name_no_options_of_the_command_line(viewer_packages) -> None:
    from BrainViewerLib.server.messages import without_flags

    from braindiffusion.errors import SettingsError
    from braindiffusion.healing.dif_fuse import DifFuseSettings

    said = "Say where it is: draw a mask (--mask) or a box (--box)."
    assert without_flags(said) == "Say where it is: draw a mask or a box."
    assert without_flags("or lower the gate (--gate 0.1), to heal") == "or lower the gate, to heal"
    assert without_flags("a mask (2 mm)") == "a mask (2 mm)"
    with pytest.raises(SettingsError) as caught:
        DifFuseSettings(inversion="known", fusion="joint")
    assert "--" not in without_flags(caught.value.action)


def test_left_handed_voxels_are_turned_in_place(viewer_packages) -> None:
    from BrainViewerLib.controllers.loading import right_handed, stem

    voxels = np.arange(24).reshape(2, 3, 4)
    affine = np.diag([-1.0, 1.0, 2.0, 1.0])
    affine[:3, 3] = (5, 6, 7)
    turned, matrix = right_handed(voxels, affine)
    assert np.linalg.det(matrix[:3, :3]) > 0
    for i, j, k in np.ndindex(2, 3, 4):
        world = affine @ (i, j, k, 1)
        at = np.rint(np.linalg.inv(matrix) @ world).astype(int)
        assert turned[tuple(at[:3])] == voxels[i, j, k]
    assert right_handed(voxels, np.eye(4))[0] is voxels
    assert stem(Path("a/b.c_FLAIR.nii.gz")) == "b.c_FLAIR"
