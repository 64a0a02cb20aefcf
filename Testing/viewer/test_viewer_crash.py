"""The viewer's process dies, by force or by a fault: the page says so, and the session is back."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
from desk import PATIENCE, Desk
from loops import run_beside

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills with signals")


def box_in_the_mask(desk: Desk) -> None:
    desk.step(3)
    desk.place_box("Axial", (0.36, 0.32), (0.44, 0.48))
    desk.click("box-to-mask")
    desk.until(lambda: desk.mask_ml() > 0)


def go_on(desk: Desk) -> None:
    """Past the sign that says the viewer has stopped."""
    desk.until(lambda: desk["stopped"].is_visible(), 20)
    desk.until(lambda: desk["go-on"].is_enabled(), PATIENCE)
    assert "as they were" in desk.text("stopped")
    desk["go-on"].click()
    desk.page.wait_for_selector(".bv-root", timeout=60_000)
    desk.until(lambda: desk.state("scan_loaded"), PATIENCE)


@pytest.mark.weights
def test_killed_in_the_middle_of_a_healing(start_viewer, open_desk, sample: Path, tmp_path: Path) -> None:
    server = start_viewer(sample)
    desk = open_desk(server)
    box_in_the_mask(desk)
    desk.step(4)
    desk.click("advanced")
    desk.type("set-steps", "7", "set_steps")
    desk.click("heal-slice")
    desk.until(lambda: len(desk.state("results")) == 1, PATIENCE)
    drawn, title = desk.state("mask_ml"), desk.state("results")[0]["subtitle"]
    desk.step(4)
    desk.type("set-steps", "9", "set_steps")
    desk.click("heal")
    desk.until(lambda: desk.state("progress") > 0, PATIENCE)
    desk.page.wait_for_timeout(1500)  # what was drawn and typed a second ago is kept
    workers = server.workers()
    server.viewer().kill()
    go_on(desk)
    assert desk.state("running") == ""
    assert desk.state("scan_name") == "SYNTHETIC_FLAIR_lesion"
    assert [row["subtitle"] for row in desk.state("results")] == [title]
    assert desk.state("mask_ml") == drawn
    assert desk.state("set_steps") == "9"
    assert "healing" in desk.text("notice")
    assert "is lost" in desk.text("notice")
    desk.until(lambda: not any(worker.is_running() for worker in workers), 20)
    desk.click("notice-close")
    desk.step(4)
    desk.click("heal-slice")
    desk.until(lambda: len(desk.state("results")) == 2, PATIENCE)

    desk.page.wait_for_timeout(1500)
    server.viewer().send_signal(signal.SIGSEGV)
    go_on(desk)
    assert len(desk.state("results")) == 2
    assert "is lost" not in desk.text("notice")
    log = tmp_path / "state" / "viewer.log"
    assert str(log) in desk.text("notice")
    assert "Segmentation fault" in log.read_text()
    assert "stopped unexpectedly" in server.log.read_text()
    server.stop()
    assert list((tmp_path / "state" / "sessions").iterdir()) == []  # closed by the user: nothing stays


def test_a_session_that_was_left_behind_is_offered(start_viewer, open_desk, sample: Path) -> None:
    server = start_viewer(sample)
    desk = open_desk(server)
    box_in_the_mask(desk)
    drawn = desk.state("mask_ml")
    desk.page.wait_for_timeout(1500)
    server.process.kill()  # the one that watches: the viewer ends, and its session stays
    server.viewer_gone()
    again = open_desk(start_viewer())
    again.until(lambda: again.has("found-session"))
    assert "SYNTHETIC_FLAIR_lesion" in again.text("found-session")
    again.click("take-found")
    again.until(lambda: again.state("scan_loaded"))
    again.until(lambda: again.state("mask_ml") == drawn)
    assert not again.has("found-session")
    assert again.problems == []


def test_what_dies_at_once_is_not_started_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, viewer_packages: None
) -> None:
    """Three deaths within two minutes: an error with the place of the log and of what is kept."""
    from BrainViewerLib.server import supervisor

    child = (
        "import json, os, pathlib\n"
        "folder = pathlib.Path(os.environ['BRAINVIEWER_SESSION'])\n"
        "(folder / 'ready.json').write_text(json.dumps({'port': 1}))\n"
        "import time; time.sleep(0.3); os.abort()\n"
    )
    monkeypatch.setenv("BRAINVIEWER_STATE", str(tmp_path))
    monkeypatch.setattr(supervisor, "COMMAND", (sys.executable, "-c", child))
    with pytest.raises(supervisor.ViewerDiedError, match="3 times"):
        run_beside(supervisor.Supervisor([]).run())
    assert len(list((tmp_path / "sessions").iterdir())) == 1
    assert [supervisor.died(code) for code in (0, 3, 4, 130 - 256, 134, 1)] == [False, False, False, True, True, True]
