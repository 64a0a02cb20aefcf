"""Simulated readers of known bias: the analysis finds what was put in, and the report says all of it."""

from __future__ import annotations

import base64
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import study_helpers
from simulated_readers import LEANING, LEVEL, METHODS, READERS, Readers, copied, expected, seal

from braindiffusion.studies import sections
from braindiffusion.studies.analyse import StudyResults, analyse_study
from braindiffusion.studies.copies import pack_mask
from braindiffusion.studies.create import create_study
from braindiffusion.studies.design import StudySettings
from braindiffusion.studies.marks import distance_mm
from braindiffusion.studies.protocol import load_protocol
from braindiffusion.studies.sections import corrected, shown

pytestmark = pytest.mark.usefixtures("quick_disk")


@pytest.fixture(scope="module")
def results(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    return analyse_study(copied(finished, tmp_path_factory.mktemp("analysed")))


# --- known biases come out ---


def test_mean_grades_are_recovered(results: StudyResults) -> None:
    grades = np.arange(5)
    rows = {row["method"]: row for row in results.table("realism_methods")}
    assert list(rows) == ["real", *METHODS]
    for method, row in rows.items():
        truth = np.mean([expected(LEVEL[method] + lean, 0, 4) @ grades for lean in LEANING.values()])
        assert row["these readers low"] <= truth <= row["these readers high"]
        assert row["interval low"] <= truth <= row["interval high"]
        assert (row["cases"], row["readers"]) == (20, 3)
        assert row["interval high"] - row["interval low"] < 3


def test_readers_leanings_are_recovered(results: StudyResults) -> None:
    grades = np.arange(5)
    mean = {r: np.mean([expected(v + LEANING[r], 0, 4) @ grades for v in LEVEL.values()]) for r in READERS}
    for row in results.table("realism_readers"):
        truth = mean[row["reader"]] - np.mean([mean[r] for r in READERS if r != row["reader"]])
        assert row["leaning low"] <= truth <= row["leaning high"]
        assert row["leaning high"] - row["leaning low"] < 0.5


def test_differences_are_recovered_and_only_true_ones_are_called_significant(results: StudyResults) -> None:
    grades, rows = np.arange(5), results.table("tests_methods")
    assert len(rows) == 10
    for row in rows:
        a, b = row["methods"].split(" - ")
        truth = np.mean(
            [(expected(LEVEL[m] + v, 0, 4) @ grades) * s for m, s in ((a, 2), (b, -2)) for v in LEANING.values()]
        )
        assert row["interval low"] <= truth <= row["interval high"], row
        assert row["p (Holm)"] >= row["p"]
        if {a, b} == {"real", "mededit"}:
            assert row["verdict"] == "not shown"
        if abs(LEVEL[a] - LEVEL[b]) > 1:
            assert row["verdict"] == "significant"
    ranks = {row["methods"]: row for row in results.table("tests_ranks")}
    assert ranks["real - naive"]["test"] == "Mann-Whitney"
    assert ranks["mededit - naive"]["test"] == "Wilcoxon signed rank"
    assert ranks["mededit - naive"]["verdict"] == "significant"
    assert ranks["real - mededit"]["verdict"] == "not shown"


def test_agreement_is_that_of_the_noise(results: StudyResults) -> None:
    """Of one reading, before rounding: what subjects and cases contribute, over that and leanings and noise."""
    between = {(row["readers"], row["coefficient"]): row for row in results.table("agreement_between")}
    icc = between["all", "ICC(2,1)"]
    levels = np.var([LEVEL[m] for m in LEVEL]) + 0.3**2 + 0.4**2
    truth = levels / (levels + np.var(list(LEANING.values()), ddof=1) + 0.5**2)
    assert icc["interval low"] <= truth <= icc["interval high"]
    assert between["all", "ICC(2,k)"]["value"] > icc["value"]
    assert sum(key[1] == "weighted kappa" for key in between) == 4
    within = {(row["reader"], row["coefficient"]): row for row in results.table("agreement_within")}
    assert {key[0] for key in within} == set(READERS)
    assert all(row["cases"] == 10 for row in within.values())
    assert all(within[r, "weighted kappa"]["value"] > 0.3 for r in READERS)


def test_sessions_times_and_repeats_are_told(results: StudyResults) -> None:
    rows = {row["reader"]: row for row in results.table("time_readers")}
    assert [rows[r]["sessions"] for r in READERS] == [3, 1, 1]
    assert all(row["cases"] == 110 and row["median s"] == 5.0 for row in rows.values())
    assert {row["repeats"] for row in results.table("readers")} == {10}
    assert {(row["tool"], row["times"]) for row in results.table("tools")} == {("scroll", 330)}


def test_areas_are_recovered(simulated_folders: Path, tmp_path: Path) -> None:
    study = seal(simulated_folders, tmp_path / "S", "real_or_synthetic", repeats=0)
    readers = Readers(8)
    for reader in READERS:
        study_helpers.read(study, reader, readers.confidence)
    found = analyse_study(study)
    rows = {(row["measure"], row["method"]): row for row in found.table("confidence_told")}

    def grades(method: str, reader: str) -> np.ndarray:
        return expected(6 - 1.25 * (LEVEL[method] + LEANING[reader]), 1, 6, 1.25)

    for method in METHODS:
        areas, balanced = [], []
        for reader in READERS:
            p, n = grades(method, reader), grades("real", reader)
            below = np.cumsum(n) - n
            areas.append(p @ (below + n / 2))
            balanced.append((p[3:].sum() + n[:3].sum()) / 2)
        for measure, truth in (("area", np.mean(areas)), ("balanced accuracy", np.mean(balanced))):
            row = rows[measure, method]
            assert row["interval low"] <= truth <= row["interval high"], row
    chance = {(row["measure"], row["what"]): row for row in found.table("tests_chance")}
    assert chance["confidence: area", "mededit against 0.5"]["verdict"] == "not shown"
    assert chance["confidence: area", "naive against 0.5"]["verdict"] == "significant"
    versus = {(row["measure"], row["methods"]): row for row in found.table("tests_methods")}
    assert versus["confidence: area", "mededit - naive"]["verdict"] == "significant"
    shares = {(row["reader"], row["measure"], row["method"]): row for row in found.table("confidence_shares")}
    row = shares["A", "specificity", "real"]
    assert row["exact low"] <= grades("real", "A")[:3].sum() <= row["exact high"]


def test_forced_choice_finds_who_guesses(simulated_folders: Path, tmp_path: Path) -> None:
    study = seal(simulated_folders, tmp_path / "S", "two_alternative", per_method=12)
    readers = Readers(2)
    for reader in READERS:
        study_helpers.read(study, reader, readers.choice)
    found = analyse_study(study)
    rows = {(row["reader"], row["method"]): row for row in found.table("synthetic_side_accuracy")}
    for reader, truth in (("A", 0.5), ("B", 0.65), ("C", 0.85)):
        row = rows[reader, "all methods"]
        assert row["n"] == 48
        assert row["exact low"] <= truth <= row["exact high"]
    tests = {(row["what"], row["test"]): row for row in found.table("tests_chance")}
    assert tests["A, all methods against 0.5", "exact binomial"]["verdict"] == "not shown"
    assert tests["C, all methods against 0.5", "exact binomial"]["verdict"] == "significant"
    over = next(row for row in found.table("synthetic_side_methods") if row["method"] == "all methods")
    assert over["interval low"] <= (0.5 + 0.65 + 0.85) / 3 <= over["interval high"]


def test_one_reader_gets_intervals_over_cases_only(simulated_folders: Path, tmp_path: Path) -> None:
    study = seal(simulated_folders, tmp_path / "S", "realism", readers=("A",), repeats=0, per_method=8)
    readers = Readers(3)
    study_helpers.read(study, "A", readers.realism)
    found = analyse_study(study)
    values = [r.answers["realism"] for r in found.readings if r.method == "naive"]
    row = next(row for row in found.table("realism_methods") if row["method"] == "naive")
    half = 2.364624 * np.std(values, ddof=1) / math.sqrt(8)
    assert (row["interval low"], row["interval high"]) == pytest.approx(
        (np.mean(values) - half, np.mean(values) + half)
    )
    assert {row["test"] for row in found.table("tests_methods")} == {"t over cases"}
    assert not found.table("agreement_between")


def test_marks_are_scored_by_their_distance(tmp_path: Path) -> None:
    names = [f"n{i}" for i in range(5)]
    real = study_helpers.scans(tmp_path / "real", [f"r{i}" for i in range(5)], 0)
    method = study_helpers.scans(tmp_path / "m", names, 1, lesion=True)
    study = create_study(
        real, {"m": method}, load_protocol("mark"), tmp_path / "S", StudySettings(seed=3, face="keep")
    ).study
    answers = iter([[[-3.0, 4.8, 4.0]], [[-3.0, 4.8, 8.0]], [[40.0, 0.0, 0.0]], [], [[-6.0, 4.8, 4.0]]])
    false = iter([[], [], [], [], [[0.0, 0.0, 0.0]]])

    def rule(reader: str, label: dict[str, Any], showing: int) -> dict[str, Any]:
        return {"suspicion": 3, "place": next(false if label["origin"] == "real" else answers)}

    study_helpers.read(study, "R1", rule)
    rows = {row["measure"]: row for row in analyse_study(study).table("place_marks")}
    assert (rows["hits"]["count"], rows["hits"]["n"]) == (3, 5)
    assert (rows["false marks"]["count"], rows["false marks"]["n"]) == (1, 5)
    assert rows["hits"]["median distance mm"] == pytest.approx(np.median([0, 4, math.hypot(42, 3.6, 4), 2]), abs=0.01)


def test_distance_of_a_mark() -> None:
    mask = np.zeros((10, 10, 4), bool)
    mask[4, 5, 2] = True
    lesion = pack_mask(mask, np.diag([2.0, 1.0, 5.0, 1.0]))
    assert distance_mm([[8.9, 5.4, 12.0]], lesion) == 0
    assert distance_mm([[8.0, 8.0, 10.0]], lesion) == 3
    assert distance_mm([[8.0, 8.0, 10.0], [11.0, 5.0, 10.0]], lesion) == 3
    assert math.isnan(distance_mm([], lesion))
    assert math.isnan(distance_mm([[0.0, 0.0, 0.0]], pack_mask(np.zeros((2, 2, 2), bool), np.eye(4))))


# --- the report ---


@pytest.fixture(scope="module")
def written(results: StudyResults, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "out"
    results.write(out)
    return out


def test_the_report_stands_alone_with_every_definition(written: Path, results: StudyResults) -> None:
    page = (written / "report.html").read_text(encoding="utf-8")
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "<script" not in page
    assert not re.search(r"@import|url\(", page)
    assert "Research use only" in page
    assert "SYNTHETIC - NOT FOR DIAGNOSIS" in page
    for section in results.sections:
        for term, meaning in section.definitions:
            assert term.replace("&", "&amp;") in page
            assert meaning[:30].replace("'", "&#39;") in page
    for grade in load_protocol("realism").questions[0].grades:
        assert grade.definition in page
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(pictures) == 2
    assert all(base64.b64decode(p)[:4] == b"\x89PNG" for p in pictures)


def test_nothing_is_called_significant_without_n_test_and_correction(written: Path, results: StudyResults) -> None:
    page = (written / "report.html").read_text(encoding="utf-8")
    for section in results.sections:
        for table in section.tables:
            if any("significant" in map(str, row) for row in table.rows):
                assert {"n", "test", "p", "p (Holm)", "verdict"} <= set(table.columns)
                assert "corrected for the" in table.note
    for text in results.sections[0].text:
        assert "significant" not in text or "after correction" in text
        assert ": " not in text or "Holm" in text or "after correction" in text
    outside = re.sub(r"<table>.*?</table>|<style>.*?</style>|<p class=\"note\">.*?</p>", "", page, flags=re.S)
    assert not re.search(r"significant(?! after correction)", outside.replace("&#39;not significant&#39;", ""))


def test_tables_and_pictures_are_files_too(written: Path) -> None:
    assert {p.name for p in (written / "figures").iterdir()} == {"realism_grades.png", "time.png"}
    lines = (written / "tables" / "readings.csv").read_text().splitlines()
    assert len(lines) == 331
    assert lines[0].startswith(
        "reader,session,position,case,showing,method,origin,stratum,subject,side,realism,seconds"
    )
    data = json.loads((written / "results.json").read_text(), parse_constant=lambda c: pytest.fail(c))
    assert data["final"] is True
    assert data["counts"]["naive"] == {"all": 20}
    assert len(data["sections"]) == 7


def test_a_table_of_tests_must_name_n_test_and_p() -> None:
    with pytest.raises(ValueError, match="needs"):
        corrected("x", "X", ("n", "p"), [[1, 0.5]])
    table = corrected("x", "X", ("n", "test", "p"), [["2", "t", 0.01], ["2", "t", 0.03], ["2", "t", math.nan]])
    assert [row[-1] for row in table.rows] == ["significant", "significant", "not testable"]
    assert [row[-2] for row in table.rows][:2] == pytest.approx([0.02, 0.03])
    assert sections.ALPHA == 0.05


def test_how_numbers_are_shown() -> None:
    assert [shown(v, "p") for v in (0.0002, 0.04567)] == ["< 0.001", "0.046"]
    assert [shown(v) for v in (1.239, 3, None, math.nan, math.inf, "x", True)] == [
        "1.24", "3", "–", "–", "∞", "x", "True",
    ]  # fmt: skip
    assert shown(0.0002, "positive") == "0.00"
