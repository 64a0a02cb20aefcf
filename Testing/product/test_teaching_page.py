"""A teaching collection in a real Chromium with the network off: by mouse and by keys, nothing loaded from anywhere.

``BRAINVIEWER_SHOTS`` names a folder that keeps the pictures.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from product_run import Head, succeed

from braindiffusion.export.deidentify import clean_scan
from braindiffusion.export.teaching.case import Texts, write_case
from braindiffusion.export.teaching.result import make_pair
from braindiffusion.io.read import read_scan

PROVENANCE = {"settings": {"method": "dif_fuse", "seed": 0}, "models": [], "scan": {}}


@pytest.fixture(scope="module")
def collection(head: Head, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cases of the phantom: healed in a box, and painted into."""
    folder = tmp_path_factory.mktemp("collection")
    scan, shown = read_scan(head.scan), np.ones(head.voxels.shape, bool)
    clean = clean_scan(head.scan, shown=shown)
    other = np.where(head.lesion, head.voxels // 2, head.voxels).astype(head.voxels.dtype)
    for name, task in (("one", "heal"), ("two", "induce")):
        pair = make_pair(clean, scan, other, task, head.lesion, PROVENANCE | {"task": task}, "keep")
        quiz = {"question": "Where is it?", "choices": ("In the left half", "In the right half"), "answer": 2}
        texts = Texts(f"A case of {name}", "Sudden weakness.", "Bright.", "Made up.", "Compare both.", **quiz)
        write_case(folder / "cases" / name, pair, texts)
    succeed("teach", "index", folder / "cases", "--title", "Our cases")
    return folder / "cases"


@pytest.fixture
def offline(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """A page without a network; it may ask for nothing but files, and must not log an error."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    page = context.new_page()
    asked: list[str] = []
    problems: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.shots = Path(os.environ.get("BRAINVIEWER_SHOTS") or tmp_path)
    yield page
    context.close()
    assert not [url for url in asked if not url.startswith(("file:", "data:"))]
    assert not problems


def shot(page: Any, name: str) -> bytes:
    return page.screenshot(path=page.shots / f"teaching_{name}.png")


def slice_number(page: Any) -> int:
    return int(page.locator("#slice").input_value())


def test_a_case_by_mouse(offline: Any, collection: Path) -> None:
    page = offline
    page.goto((collection / "one" / "index.html").as_uri())
    assert page.locator("h1").inner_text() == "A case of one"
    assert "Research use only" in page.locator(".notice").first.inner_text()
    assert page.locator("#difference").is_hidden(), "hidden until it is revealed"
    box = page.locator("#stage").bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    before = shot(page, "case")
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 4, middle[1])
    page.mouse.up()
    assert int(page.locator("#curtain").input_value()) > 95
    assert shot(page, "curtain") != before
    start = slice_number(page)
    page.mouse.wheel(0, 100)
    assert slice_number(page) == start - 1
    page.locator("#slice").fill(str(start))
    page.get_by_role("button", name="Reveal the difference").click()
    assert page.locator("#difference").is_visible()
    shot(page, "difference")
    page.get_by_role("button", name="Hide the difference").click()
    assert page.locator("#difference").is_hidden()


def test_a_case_by_keys(offline: Any, collection: Path) -> None:
    page = offline
    page.goto((collection / "one" / "index.html").as_uri())
    stage = page.locator("#stage")
    stage.focus()
    start = slice_number(page)
    for key, moved in (("ArrowUp", 1), ("ArrowDown", 0), ("PageUp", 5), ("PageDown", 0)):
        page.keyboard.press(key)
        assert slice_number(page) == start + moved
    page.keyboard.press("ArrowLeft")
    assert page.locator("#curtain").input_value() == "45"
    page.keyboard.press("d")
    assert page.locator("#difference").is_visible()
    page.keyboard.press("Home")
    assert slice_number(page) == 1
    reached = set()
    for _ in range(25):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert {"slice", "curtain", "reveal", "check", "mode-study", "mode-unknown", "stage"} <= reached


def test_an_unknown_case_tells_nothing_before_it_is_asked(offline: Any, collection: Path) -> None:
    page = offline
    page.goto((collection / "two" / "index.html").as_uri() + "#unknown")
    assert page.locator("h1").inner_text() == page.title() == "Unknown case"
    for secret in ("#solution", "#curtain-box", "#reveal", "#difference"):
        assert page.locator(secret).is_hidden(), secret
    visible = page.locator("body").inner_text()
    assert not re.search("Made up|Bright|Compare both|A case of", visible)
    images = page.evaluate("[document.getElementById('over').src, document.getElementById('under').src]")
    assert images[0] == images[1], "the counterpart is not even there"
    page.locator("#stage").focus()
    page.keyboard.press("d")
    assert page.locator("#difference").is_hidden()
    shot(page, "unknown")
    page.get_by_role("button", name="Check").click()
    assert page.locator("#verdict").inner_text() == "Choose one first."
    assert page.locator("#solution").is_hidden()
    page.get_by_label("In the left half").check()
    page.get_by_role("button", name="Check").click()
    assert page.locator("#verdict").inner_text() == "Not quite: In the right half."
    assert page.locator("#solution").is_visible()
    assert page.locator("h1").inner_text() == "A case of two"
    page.get_by_role("button", name="Unknown case").click()
    page.get_by_label("In the right half").check()
    page.get_by_role("button", name="Check").click()
    assert page.locator("#verdict").inner_text() == "Right."
    shot(page, "solved")


def test_a_collection_leads_to_its_cases(offline: Any, collection: Path) -> None:
    page = offline
    page.goto((collection / "index.html").as_uri())
    assert page.locator("#cases li").count() == 2
    shot(page, "collection")
    page.get_by_label("Find").fill("two")
    assert page.locator("#count").inner_text() == "1 case"
    page.get_by_role("button", name="Unknown cases").click()
    assert page.locator("#cases strong").all_inner_texts() == ["Case 1", "Case 2"]
    page.locator("#cases a").nth(1).click()
    page.wait_for_url("**/two/index.html#unknown")
    assert page.locator("h1").inner_text() == "Unknown case"
    page.go_back()
    page.get_by_role("button", name="Study").click()
    page.locator("#cases a").first.click()
    page.wait_for_url("**/one/index.html#study")
    assert page.locator("h1").inner_text() == "A case of one"


def test_it_fits_a_narrow_screen_and_can_be_read(offline: Any, collection: Path) -> None:
    page = offline
    page.set_viewport_size({"width": 380, "height": 800})
    for path in (collection / "one" / "index.html", collection / "index.html"):
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 380
        low = page.evaluate(CONTRAST)
        assert low == [], "text with less contrast than 4.5"
        nameless = page.evaluate(
            "[...document.querySelectorAll('button, input, a')].filter(e => !(e.innerText || e.labels?.length "
            "|| e.getAttribute('aria-label'))).map(e => e.outerHTML)"
        )
        assert nameless == []


CONTRAST = """() => {
  const parse = (c) => c.match(/[\\d.]+/g).map(Number);
  const light = (c) => parse(c).slice(0, 3).map((v) => v / 255)
    .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const c = getComputedStyle(e).backgroundColor;
      if ((parse(c)[3] ?? 1) > 0) return c;
    }
    return "rgb(16, 21, 27)";
  };
  const low = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.offsetParent || e.closest("#stage, script")) continue;
    const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) low.push(e.outerHTML.slice(0, 80));
  }
  return low;
}"""
