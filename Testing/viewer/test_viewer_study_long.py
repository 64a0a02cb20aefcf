"""Three scripted readers read 110 cases each in Chromium, one through a crash at case 37; their biases are found again.

Takes some minutes: set ``BRAINVIEWER_LONG=1``. The same readers read through the session alone in
Testing/engine/test_studies_analysis.py, at every run. With ``BRAINVIEWER_SHOTS`` the report is kept beside the
pictures; docs/results/reader_study.md tells of one such run.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

pytest.importorskip("BrainViewerLib", reason="BrainViewerLib is not on the path")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "engine"))

import reader_study
import study_helpers
from test_viewer_study import (  # noqa: F401 - read_study is a fixture
    answer,
    begin,
    knows_nothing,
    read_study,
    slab,
    stage,
)

pytestmark = pytest.mark.skipif(not os.environ.get("BRAINVIEWER_LONG"), reason="takes minutes: BRAINVIEWER_LONG=1")


def by_mouse(desk, grade: int) -> None:
    """As :func:`answer`, with clicks."""
    before = desk.state("answered")
    desk[f"choice-0-{grade}"].click()
    desk.click("save")
    desk.until(lambda: desk.state("answered") == before + 1)


def test_three_readers_of_known_bias(read_study, open_desk, sample: Path, tmp_path: Path) -> None:  # noqa: F811
    import simulated_readers as simulated
    import test_studies_analysis as biases

    from braindiffusion.studies.analyse import analyse_study

    for k, method in enumerate(("real", *simulated.METHODS)):
        names = simulated.SUBJECTS if method != "real" else [f"r{i:02d}" for i in range(20)]
        for n, name in enumerate(names):
            path = tmp_path / "scans" / method / f"{name}.nii.gz"
            reader_study.save_nifti(path, slab(sample, 10 * n + k), (0.94, 0.94, 5.0))
    study = simulated.seal(tmp_path / "scans", tmp_path / "STUDY", "realism")
    key, readers = study_helpers.key_of(study)["cases"], simulated.Readers(5)
    orders = json.loads((study / "study.json").read_text())["readers"]
    for reader in simulated.READERS:
        server = read_study(study, reader)
        desk = open_desk(server)
        begin(desk)
        for n, case in enumerate(orders[reader]):
            if stage(desk) == "break":
                begin(desk)
            if reader == "A" and n == 36:  # the viewer dies at case 37
                assert desk.text("progress") == "Case 37 of 110"
                knows_nothing(desk, server, study)
                saved = reader_study.answers(study)
                desk.page.keyboard.press("3")  # chosen, not saved
                desk.until(lambda desk=desk: desk.state("ready"))
                server.process.kill()
                server.process.wait(10)
                desk = open_desk(read_study(study, reader))
                assert "case 37 of 110" in desk.text("begin")
                desk.shot("study-resumed")
                begin(desk)
                assert not desk.state("ready")
                desk.shot("study-case-37")
                assert reader_study.answers(study) == saved
            grade = readers.realism(reader, key[case], 1)["realism"]
            if n % 5 == 4:
                by_mouse(desk, grade)
            else:
                answer(desk, str(grade))
        desk.until(lambda desk=desk: stage(desk) == "done")
        desk.shot(f"study-done-{reader}")
        desk.page.close()
    results = analyse_study(study)
    if shots := os.environ.get("BRAINVIEWER_SHOTS"):
        results.write(Path(shots) / "study-report")
    biases.test_mean_grades_are_recovered(results)
    biases.test_readers_leanings_are_recovered(results)
    biases.test_differences_are_recovered_and_only_true_ones_are_called_significant(results)
    assert {row["reader"]: row["sessions"] for row in results.table("time_readers")} == {"A": 2, "B": 1, "C": 1}
    assert len(results.readings) == 330
