"""What a study cannot be sealed from: each refused by its cause, and nothing written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import study_helpers
from sealing import NAMES, seal

from braindiffusion.errors import BrainDiffusionError, ScanContentError, SettingsError, StudyError, StudyProtocolError
from braindiffusion.studies import create as creating
from braindiffusion.studies.create import create_study
from braindiffusion.studies.design import StudySettings
from braindiffusion.studies.protocol import load_protocol, parse_protocol
from braindiffusion.studies.sources import parse_edges, parse_methods


def bad_empty(f: dict[str, Path], t: Path) -> None:
    (t / "empty").mkdir()
    seal({**f, "palette": t / "empty"}, t / "S")


def bad_missing(f: dict[str, Path], t: Path) -> None:
    seal({**f, "real": t / "nowhere"}, t / "S")


def bad_grid(f: dict[str, Path], t: Path) -> None:
    seal({**f, "palette": study_helpers.scans(t / "other", NAMES, 5, shape=(9, 9, 3))}, t / "S")


def bad_prior_grid(f: dict[str, Path], t: Path) -> None:
    prior = study_helpers.scans(t / "other", NAMES, 5, shape=(9, 9, 3))
    seal({**f, "prior": prior}, t / "S", "path_fidel_indpath", mixed_grids=True)


def bad_prior_missing(f: dict[str, Path], t: Path) -> None:
    seal({**f, "prior": study_helpers.scans(t / "few", NAMES[:3], 5)}, t / "S", "path_fidel_indpath")


def bad_twice(f: dict[str, Path], t: Path) -> None:
    seal({**f, "palette": f["mededit"]}, t / "S")


def bad_lesion(f: dict[str, Path], t: Path) -> None:
    seal({**f, "palette": study_helpers.scans(t / "bare", NAMES, 8)}, t / "S", "mark")


def bad_few(f: dict[str, Path], t: Path) -> None:
    seal(f, t / "S", per_method=7)


def bad_unshared(f: dict[str, Path], t: Path) -> None:
    seal({**f, "palette": study_helpers.scans(t / "others", ("u1", "u2", "u3"), 9)}, t / "S", per_method=2)


def bad_repeats(f: dict[str, Path], t: Path) -> None:
    seal(f, t / "S", repeats=19)


def bad_used(f: dict[str, Path], t: Path) -> None:
    (t / "S").mkdir()
    (t / "S" / "file").write_text("x")
    seal(f, t / "S")


def bad_key_there(f: dict[str, Path], t: Path) -> None:
    (t / "S-key.json").write_text("{}")
    seal(f, t / "S")


def bad_key_inside(f: dict[str, Path], t: Path) -> None:
    create_study(f["real"], {"m": f["mededit"]}, load_protocol("realism"), t / "S", key=t / "S" / "deep" / "k.json")


def bad_stratum(f: dict[str, Path], t: Path) -> None:
    seal(f, t / "S", strata={"sub00": "small"})


def bad_scan(f: dict[str, Path], t: Path) -> None:
    broken = study_helpers.scans(t / "broken", NAMES, 4)
    study_helpers.save(broken / "sub05.nii.gz", np.full((8, 9, 3), 7, np.int16))
    seal({**f, "palette": broken}, t / "S")


@pytest.mark.parametrize(
    ("attempt", "error", "match"),
    [
        (bad_empty, StudyError, "no scan in"),
        (bad_missing, StudyError, "nowhere is not a folder"),
        (bad_grid, StudyError, "different grids"),
        (bad_prior_grid, StudyError, "its prior lie on different grids"),
        (bad_prior_missing, StudyError, "prior is missing"),
        (bad_twice, StudyError, "come twice"),
        (bad_lesion, StudyError, "changed region is missing"),
        (bad_few, StudyError, "too few scans"),
        (bad_unshared, StudyError, "share too few"),
        (bad_repeats, StudyError, "too few cases to repeat"),
        (bad_used, StudyError, "not empty"),
        (bad_key_there, StudyError, "there already"),
        (bad_key_inside, StudyError, "inside the study"),
        (bad_stratum, StudyError, "stratum is missing"),
        (bad_scan, ScanContentError, "shows nothing"),
    ],
)
def test_a_refusal_leaves_nothing_behind(
    study_folders: dict[str, Path], tmp_path: Path, attempt: Any, error: type[BrainDiffusionError], match: str
) -> None:
    with pytest.raises(error, match=match) as caught:
        attempt(study_folders, tmp_path)
    assert caught.value.why
    assert caught.value.action
    assert not (tmp_path / "S" / "study.json").exists()
    assert not list(tmp_path.glob("S-key.json")) or (tmp_path / "S-key.json").read_text() == "{}"
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_without_a_study_there_is_no_key(
    study_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fails when the study is put in place, after its key was."""
    commit = creating.OutputFolder._commit

    def fail(self: Any) -> None:
        if self.path.name == "S":
            raise OSError(28, "No space left on device", str(self.path))
        commit(self)

    monkeypatch.setattr(creating.OutputFolder, "_commit", fail)
    with pytest.raises(BrainDiffusionError, match="cannot be written"):
        seal(study_folders, tmp_path / "S")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "given_settings",
    [
        {"readers": ()},
        {"readers": ("R1", "r1")},
        {"readers": ("A/B",)},
        {"strata": {}, "lesion_ml": [1.0]},
        {"seed": -1},
    ],
)
def test_settings_out_of_range(given_settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        StudySettings(**given_settings).check()


def test_folders_must_fit_the_protocol(study_folders: dict[str, Path], tmp_path: Path) -> None:
    methods = {"m": study_folders["mededit"]}
    for real, priors, name in (
        (None, None, "realism"), (study_folders["real"], study_folders["prior"], "realism"),
        (None, None, "path_fidel_indpath"), (study_folders["real"], study_folders["prior"], "path_fidel_indpath"),
    ):  # fmt: skip
        with pytest.raises(SettingsError):
            create_study(real, methods, load_protocol(name), tmp_path / "S", priors=priors)


def test_names_of_methods() -> None:
    assert parse_methods(["x=a/b", "a/palette"]) == {"x": Path("a/b"), "palette": Path("a/palette")}
    for given_methods in (["a/real"], ["a/x", "b/x"], ["=a"]):
        with pytest.raises(StudyError):
            parse_methods(given_methods)
    with pytest.raises(SettingsError):
        parse_edges("20,5")


CHANGES = {
    "format": lambda p: p.update(format="x"),
    "version": lambda p: p.update(version=2),
    "a stray field": lambda p: p.update(colour="red"),
    "no question": lambda p: p.update(questions=[]),
    "show": lambda p: p.update(show="triple"),
    "an unknown type": lambda p: p["questions"][0].update(type="slider"),
    "grades that fall": lambda p: p["questions"][0]["grades"].reverse(),
    "a grade above 9": lambda p: p["questions"][0]["grades"][-1].update(value=10),
    "no definition": lambda p: p["questions"][0]["grades"][0].update(definition=""),
    "two of one id": lambda p: p["questions"].append(p["questions"][0]),
    "truth without cut": lambda p: p["questions"][0].update(truth="origin"),
    "sides of one scan": lambda p: p["questions"][1].update(truth="side"),
    "percentiles": lambda p: p.update(window={"percentiles": [99, 1]}),
    "width and percentiles": lambda p: p.update(window={"percentiles": [1, 99], "width": 80, "level": 40}),
    "going_back": lambda p: p.update(going_back="no"),
    "a prior of real ones": lambda p: p.update(show="with_prior"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_malformed_protocols_are_refused(what: str) -> None:
    data = load_protocol("realism").as_dict()
    CHANGES[what](data)
    with pytest.raises(StudyProtocolError):
        parse_protocol(data)


def test_protocols_come_from_files_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(load_protocol("likert").as_dict()))
    assert load_protocol(path) == load_protocol("likert")
    for text in ("{", "[]"):
        path.write_text(text)
        with pytest.raises(StudyProtocolError):
            load_protocol(path)
    with pytest.raises(StudyProtocolError, match="no protocol"):
        load_protocol("nothing")


def test_sitk_reads_the_copies(study_folders: dict[str, Path], tmp_path: Path) -> None:
    made = seal(study_folders, tmp_path / "S")
    image = sitk.ReadImage(str(next((made.study / "cases").iterdir())))
    assert image.GetSpacing() == pytest.approx((1.0, 1.2, 4.0))
    texts = [image.GetMetaData(k) for k in image.GetMetaDataKeys() if k in ("descrip", "aux_file", "intent_name")]
    assert sorted(texts) == ["", "", "MAY BE SYNTHETIC - NOT FOR DIAGNOSIS"]
