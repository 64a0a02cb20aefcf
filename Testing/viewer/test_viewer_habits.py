"""What a radiologist's hands expect: buttons, keys, letters, scale, crosshair, measures; and windows of any size."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from desk import PATIENCE, Desk


def levels(desk: Desk) -> tuple[float, float]:
    return desk.state("level_low"), desk.state("level_high")


def window_and_level(desk: Desk) -> None:
    """A drag with the left button, live; presets by number."""
    before = levels(desk)
    assert re.fullmatch(r"W \d+\s+L \d+", desk.text("level-Axial").strip())
    desk.drag("Axial", [(0.5, 0.5), (0.62, 0.42)])
    desk.until(lambda: levels(desk) != before)
    assert desk.state("preset") == "manual"
    low, high = levels(desk)
    desk.until(lambda: desk.text("level-Axial").split()[1] == f"{high - low:.0f}")
    desk.page.keyboard.press("2")
    desk.until(lambda: desk.state("preset") == "contrast")
    desk.page.keyboard.press("1")
    desk.until(lambda: levels(desk) == before)


def slices(desk: Desk) -> None:
    """Home, End, cine; a double click makes a view large."""
    desk.page.mouse.move(*desk.at("Axial", 0.5, 0.5))
    desk.page.keyboard.press("Home")
    desk.until(lambda: desk.slice_of("Axial") == 1)
    desk.page.keyboard.press("End")
    desk.until(lambda: desk.slice_of("Axial") == 14)
    desk.page.keyboard.press("c")
    desk.until(lambda: 1 < desk.slice_of("Axial") < 8)
    desk.page.keyboard.press("c")
    small = desk.page.locator(".id-view-Axial").bounding_box()["width"]
    desk.page.mouse.dblclick(*desk.at("Axial", 0.5, 0.5))
    desk.until(lambda: desk.page.locator(".id-view-Axial").bounding_box()["width"] > 1.9 * small)
    desk.page.keyboard.press("Escape")
    desk.until(lambda: desk.page.locator(".id-view-Axial").bounding_box()["width"] == small)


def letters_and_scale(desk: Desk) -> None:
    for tag, (left, right, top, bottom) in {"Axial": "RLAP", "Coronal": "RLSI", "Sagittal": "APSI"}.items():
        shown = [desk.text(f"{side}-{tag}") for side in ("left", "right", "top", "bottom")]
        assert shown == [left, right, top, bottom]
    assert re.fullmatch(r"(10|20|50|100) mm", desk.text("scale-Axial"))


def crosshair(desk: Desk) -> None:
    desk.page.mouse.move(*desk.at("Axial", 0.42, 0.4), steps=3)
    desk.until(lambda: desk.has("probe-Axial") and desk.has("cross-Coronal") and desk.has("cross-Sagittal"))
    assert re.search(r"\d+\s+R \d+\s+A \d+\s+[SI] \d+ mm", desk.text("probe-Axial"))
    assert not desk.has("cross-Axial")  # the pointer itself is there


def measures(desk: Desk) -> None:
    """As long as the scale bar says; a mean; gone with one click."""
    bar = desk.page.locator(".id-view-Axial .bv-scale").bounding_box()
    millimetres = float(desk.text("scale-Axial").split()[0])
    view = desk.page.locator(".id-view-Axial").bounding_box()
    desk.click("look-distance")
    desk.until(lambda: desk.has("measure-Axial"))
    across = bar["width"] / view["width"]
    desk.drag("Axial", [(0.3, 0.5), (0.3 + across, 0.5)])
    desk.until(lambda: desk.state("measured") == 1)
    assert float(desk.message.split()[0]) == pytest.approx(millimetres, rel=0.05)
    desk.click("look-roi")
    desk.until(lambda: desk.has("measure-Axial"))
    desk.drag("Axial", [(0.4, 0.35), (0.5, 0.5)])
    desk.until(lambda: desk.state("measured") == 2)
    assert re.match(r"mean [\d.]+ ± [\d.]+, \d+ mm²", desk.message)
    assert desk["marks-Axial"].locator("ellipse").count() == 1
    desk.page.keyboard.press("n")
    desk.until(lambda: not desk.has("measure-Axial"))
    desk.click("measures-clear")
    desk.until(lambda: desk.state("measured") == 0)


OVERLAPS = """() => {
  const seen = (e) => e.offsetParent !== null && e.getBoundingClientRect().width > 0;
  const found = [];
  for (const view of document.querySelectorAll(".bv-view")) {
    if (!seen(view)) continue;
    const box = view.getBoundingClientRect();
    if (box.right > innerWidth + 1 || box.bottom > innerHeight + 1) found.push("cut off: " + view.className);
    const all = [...view.querySelectorAll(".bv-tag, .bv-under, .bv-at, .bv-level, .bv-side, .bv-synthetic, .bv-scale")];
    const texts = all.filter((e) => seen(e) && e.textContent.trim());
    const boxes = texts.map((e) => [e.className, e.getBoundingClientRect()]);
    for (const [n, [name, a]] of boxes.entries()) for (const [other, b] of boxes.slice(n + 1))
      if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1)
        found.push(name + " over " + other);
  }
  for (const part of document.querySelectorAll(".bv-top > *, .bv-dock > div"))
    if (seen(part) && part.getBoundingClientRect().right > innerWidth + 1) found.push("cut off: " + part.className);
  return found;
}"""


def fits_the_window(desk: Desk) -> None:
    """Nothing is cut off, and nothing is written over something else."""
    for size in ((1024, 700), (1920, 1080), (1440, 900)):
        desk.page.set_viewport_size({"width": size[0], "height": size[1]})
        desk.until(lambda: desk.page.evaluate(OVERLAPS) == [], 15)


@pytest.mark.weights
def test_hands_of_a_radiologist(start_viewer, open_desk, sample: Path) -> None:
    desk = open_desk(start_viewer(sample))
    desk.until(lambda: desk.state("scan_loaded") and desk.text("at-Axial") != "")
    desk.settle()  # a view hears the mouse once its picture is there
    window_and_level(desk)
    slices(desk)
    letters_and_scale(desk)
    crosshair(desk)
    measures(desk)
    fits_the_window(desk)

    desk.page.mouse.move(*desk.at("Axial", 0.5, 0.5))
    desk.page.keyboard.press("Home")
    desk.step(3)
    for _ in range(6):
        desk.page.keyboard.press("ArrowUp")
    desk.until(lambda: desk.slice_of("Axial") == 7)
    desk.place_box("Axial", (0.36, 0.30), (0.46, 0.45))
    desk.click("box-to-mask")
    desk.until(lambda: desk.mask_ml() > 0)
    desk.step(4)
    desk.click("heal-slice")
    desk.until(lambda: len(desk.state("results")) == 1, PATIENCE)
    fits_the_window(desk)
    desk.settle()  # the views have their new sizes
    desk.page.mouse.move(*desk.at("Original", 0.42, 0.42), steps=3)
    desk.until(lambda: desk.has("cross-Counterfactual") and desk.has("cross-Difference"))
    desk.page.wait_for_timeout(300)
    values = desk.state("probe")["values"]  # all of one moment
    original, counterfactual, difference = (float(values[t]) for t in ("Original", "Counterfactual", "Difference"))
    assert counterfactual - original == pytest.approx(difference, abs=1.01)
    before = levels(desk)
    desk.drag("Counterfactual", [(0.5, 0.5), (0.62, 0.42)])  # the levels of all of them
    desk.until(lambda: levels(desk) != before)
    desk.choose("plane", "Coronal")
    desk.until(lambda: [desk.text(f"{side}-Original") for side in ("left", "top")] == ["R", "S"])
    desk.until(lambda: desk.slice_of("Original") == desk.slice_of("Difference") > 14)
    region = desk.state("regions")[0]
    desk.page.locator(f".id-keep-region-{region['id']}").click()
    desk.until(lambda: not desk.state("regions")[0]["kept"])
    desk.until(lambda: desk.text("lesion-ml").startswith("0.0"))
    assert desk.problems == []


def test_letters_scale_and_places() -> None:
    pytest.importorskip("slicer")
    import numpy as np
    from BrainViewerLib.views import pointer

    axial = np.eye(4)
    axial[0, 0] = -1.0  # a radiologist's view: the patient's right on the left
    assert pointer.letters(axial) == {"right": "L", "left": "R", "top": "A", "bottom": "P"}
    turn = np.deg2rad(30)
    oblique = np.eye(4)
    oblique[:3, 0] = (-np.cos(turn), np.sin(turn), 0)
    assert (pointer.letters(oblique)["right"], pointer.letters(oblique)["left"]) == ("LA", "RP")
    assert pointer.scale_bar(230.0) == (50, pytest.approx(50 / 230))
    assert pointer.scale_bar(30.0)[0] == 5
    assert pointer.patient(np.array([-12.4, 3.0, -40.0])) == "L 12  A 3  I 40 mm"
    line = pointer.Measure("distance", np.zeros(3), np.array([3.0, 4.0, 0.0]), *np.eye(3)[:2])
    assert line.millimetres == 5.0
    circle = pointer.Measure("roi", np.array([-5.0, -5.0, 0]), np.array([5.0, 5.0, 0]), *np.eye(3)[:2])
    places = np.array([[0, 0, 0], [4.9, 0, 0], [3.6, 3.6, 0], [5.1, 0, 0]], float)
    assert circle.inside(places).tolist() == [True, True, False, False]
