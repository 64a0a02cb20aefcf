"""Names, roles, live regions, contrast: axe finds nothing serious on any page of the viewer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from desk import PATIENCE, Desk


def findings(desk: Desk) -> list[str]:
    """What axe calls serious or critical, each with an element that has it."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    told: list[dict[str, Any]] = axe.Axe().run(desk.page).response["violations"]
    return [
        f"{finding['id']}: {node['html'][:200]}"
        for finding in told if finding["impact"] in ("serious", "critical") for node in finding["nodes"]
    ]  # fmt: skip


@pytest.mark.weights
def test_nothing_serious_is_found(start_viewer, open_desk, sample: Path) -> None:
    desk = open_desk(start_viewer(sample))
    desk.until(lambda: desk.state("scan_loaded") and desk.text("at-Axial") != "")
    for step in (1, 2, 3, 5):
        desk.step(step)
        assert findings(desk) == []
    desk.step(3)
    desk.place_box("Axial", (0.36, 0.30), (0.46, 0.45))
    desk.click("box-to-mask")
    desk.until(lambda: desk.mask_ml() > 0)
    desk.step(4)
    desk.click("advanced")
    desk.until(lambda: desk.has("set-steps"))
    assert findings(desk) == []
    desk.click("heal-slice")
    desk.until(lambda: len(desk.state("results")) == 1, PATIENCE)
    desk.click("writing-case")
    desk.until(lambda: desk.has("case-title"))
    assert findings(desk) == []
    row = desk.page.locator(".id-table tbody tr").nth(2)  # by key, as by mouse
    row.focus()
    desk.page.keyboard.press("Enter")
    desk.until(lambda: "now" in (row.get_attribute("class") or ""))
    for press, hook in (("?", "help"), ("Escape", "")):
        desk.page.locator("body").press(press)
        desk.until(lambda hook=hook: not hook or desk.has(hook))
        assert findings(desk) == []
    desk.tab("induce")
    for step in (2, 3, 4):
        desk.step(step)
        assert findings(desk) == []
    assert desk["message"].get_attribute("aria-live") == "polite"
    assert desk.problems == []
