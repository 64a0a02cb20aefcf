"""How the viewer feels: slice steps while a healing runs, first preview, cancel, and 50 healings begun and cancelled.

    python tools/viewer_speed.py [SCAN] [--cycles 50] [--out FILE.json]

Starts ``braindiffusion view`` and a headless Chromium (``BRAINVIEWER_CHROMIUM`` names one) and works the page as the
browser tests do. Times are from the press of a key or button in the page to the change seen in the page.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "Testing" / "viewer"))

from conftest import SAMPLE, chromium  # noqa: E402
from desk import PATIENCE, Desk, Server  # noqa: E402

WATCH = """tag => {
  window.__frames = [];
  window.addEventListener("wheel", () => { window.__turned = performance.now(); window.__frames = []; }, true);
  const image = document.querySelector(`.id-view-${tag} img`);
  new MutationObserver(() => window.__frames.push(performance.now())).observe(image, {attributes: true});
}"""


def slice_steps(desk: Desk, tag: str, count: int) -> list[float]:
    """Milliseconds from each wheel turn to the first new picture of the view."""
    desk.page.evaluate(WATCH, tag)
    desk.page.mouse.move(*desk.at(tag, 0.5, 0.5))
    times = []
    for turn in range(count):
        desk.page.mouse.wheel(0, 100 if turn % 8 < 4 else -100)
        try:
            desk.page.wait_for_function("() => window.__frames.length > 0", timeout=3000, polling=5)
        except Exception:
            continue  # the end of the stack: nothing to draw
        times.append(desk.page.evaluate("() => window.__frames[0] - window.__turned"))
        desk.page.wait_for_timeout(400)  # the still picture of this step is drawn, too
    return times


def summary(times: list[float]) -> dict[str, float]:
    """Count, median, 95th percentile, maximum."""
    if not times:
        return {"n": 0}
    ordered = sorted(times)
    return {
        "n": len(ordered),
        "median": round(statistics.median(ordered), 1),
        "p95": round(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))], 1),
        "max": round(ordered[-1], 1),
    }


def begin_heal(desk: Desk) -> float:
    """Press Heal, coming back from the comparison first; the moment it was pressed."""
    if not desk.has("heal"):
        desk.page.keyboard.press("1")
        desk.step(4)
    desk.until(lambda: desk.has("heal") and desk["heal"].is_enabled())
    began = time.monotonic()
    desk["heal"].click()
    return began


def cancel(desk: Desk) -> float:
    """Press Cancel; the seconds until the viewer says it is done."""
    began = time.monotonic()
    desk["cancel"].click()
    desk.until(lambda: "Cancelled" in desk.message, 20)
    return time.monotonic() - began


def measure(desk: Desk, server: Server, cycles: int) -> dict[str, object]:
    """Everything."""
    found: dict[str, object] = {}
    desk.until(lambda: desk.state("worker_state") == "ready", PATIENCE)
    desk.page.wait_for_timeout(3000)
    found["slice step idle, ms"] = summary(slice_steps(desk, "Axial", 24))

    desk.step(4)
    began = begin_heal(desk)
    desk.until(lambda: desk.has("preview-Axial"), PATIENCE)
    found["first preview, nothing known of the scan, s"] = round(time.monotonic() - began, 2)
    desk.until(lambda: "healed in" in desk.message, PATIENCE)
    found["heal the volume, s"] = round(time.monotonic() - began, 1)

    desk.page.keyboard.press("1")
    desk.step(4)
    began = begin_heal(desk)
    desk.until(lambda: desk.has("preview-Axial"), PATIENCE)
    found["first preview, saliency known, s"] = round(time.monotonic() - began, 2)
    steps: list[float] = []
    while len(steps) < 24:  # a healing may end before so many steps are made: begin another
        if not desk.has("cancel"):
            begin_heal(desk)
            desk.until(lambda: desk.has("cancel"))
        steps += slice_steps(desk, "Axial", 2)
    found["slice step while healing, ms"] = summary(steps)
    if desk.has("cancel"):
        cancel(desk)

    before, latencies = server.memory_mb(), []
    for cycle in range(cycles):
        begin_heal(desk)
        desk.until(lambda: desk.has("cancel"))
        desk.page.wait_for_timeout(200 + 60 * (cycle % 10))
        if desk.has("cancel"):
            latencies.append(cancel(desk))
        if cycle == 4:
            before = server.memory_mb()  # what is made once has been made
    found["cancel, s"] = summary(latencies)
    found["workers left"] = len(server.workers())
    found["viewer memory, MB"] = [round(before), round(server.memory_mb())]
    found["worker memory, MB"] = [round(w.memory_info().rss / 1e6) for w in server.workers()]
    return found


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("scan", nargs="?", type=Path, default=SAMPLE)
    options.add_argument("--cycles", type=int, default=50)
    options.add_argument("--out", type=Path)
    chosen = options.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        server = Server(chosen.scan, Path(folder) / "viewer.log", {})
        browser = driver.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"])
        desk = Desk(browser, server, Path(folder))
        try:
            found = {"scan": chosen.scan.name, **measure(desk, server, chosen.cycles), "console": desk.problems}
        finally:
            browser.close()
            server.stop()
    text = json.dumps(found, indent=2)
    print(text)
    if chosen.out:
        chosen.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
