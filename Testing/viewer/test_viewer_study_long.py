"""Three scripted readers read 110 cases each in Chromium, one after a crash at case 37; their biases are found again.

Takes some minutes: set ``BRAINVIEWER_LONG=1``. The same readers read through the session alone in
Testing/engine/test_studies_analysis.py, at every run.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

pytest.importorskip("BrainViewerLib", reason="BrainViewerLib is not on the path")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "engine"))

import study_helpers
from test_viewer_study import answer, begin, read_study, stage  # noqa: F401 - read_study is a fixture

pytestmark = pytest.mark.skipif(not os.environ.get("BRAINVIEWER_LONG"), reason="takes minutes: BRAINVIEWER_LONG=1")


def test_three_readers_of_known_bias(read_study, open_desk, tmp_path: Path) -> None:  # noqa: F811
    import test_studies_analysis as simulated

    from braindiffusion.studies.analyse import analyse_study

    for k, method in enumerate(("real", *simulated.METHODS)):
        names = simulated.SUBJECTS if method != "real" else [f"r{i:02d}" for i in range(20)]
        study_helpers.scans(tmp_path / "scans" / method, names, k, shape=(3, 4, 2))
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
                server.process.kill()
                server.process.wait(10)
                desk = open_desk(read_study(study, reader))
                assert "case 37 of 110" in desk.text("begin")
                begin(desk)
            grade = readers.realism(reader, key[case], 1)["realism"]
            answer(desk, str(grade))
        desk.until(lambda desk=desk: stage(desk) == "done")
        desk.page.close()
    results = analyse_study(study)
    simulated.test_mean_grades_are_recovered(results)
    simulated.test_readers_leanings_are_recovered(results)
    simulated.test_differences_are_recovered_and_only_true_ones_are_called_significant(results)
    assert {row["reader"]: row["sessions"] for row in results.table("time_readers")} == {"A": 2, "B": 1, "C": 1}
