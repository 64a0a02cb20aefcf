"""A reader reads a study in Chromium: keys and mouse, a viewer that dies in the middle, and nothing that unblinds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

pytest.importorskip("BrainViewerLib", reason="BrainViewerLib is not on the path")

import reader_study
from test_viewer_guard import ask

METHODS = ("mededit", "palette")
SECRETS = ("palette", "mededit", "sub0", "Jane", "seed")


@pytest.fixture
def read_study(viewer_packages: None, tmp_path: Path) -> Iterator[Callable]:
    """``read_study(study, reader)``: the command line in a process of its own, ended after the test."""
    from desk import Server

    servers: list[Server] = []

    def start(study: Path, reader: str = "R1") -> Server:
        log = tmp_path / f"reading{len(servers)}.log"
        servers.append(Server(None, log, {}, ("read", str(study), "--reader", reader)))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def slab(sample: Path, seed: int) -> np.ndarray:
    """The middle slices of the shipped scan, each time with other noise."""
    voxels = sitk.GetArrayFromImage(sitk.DICOMOrient(sitk.ReadImage(str(sample)), "RAS")).T[:, :, 4:11].astype(float)
    noise = np.random.default_rng(seed).normal(0, 0.01 * voxels.max(), voxels.shape)
    return np.clip(voxels + noise * (voxels > 0), 0, 32767)


def seal(folder: Path, sample: Path, protocol: str, each: int, *more: str) -> Path:
    """A study of small scans, sealed by the command line, with secrets in the sources' names."""
    for start, source in enumerate(("real", *METHODS)):
        for n in range(each):
            name = f"{source}Jane{n}" if source == "real" else f"sub0Jane{n}"
            path = folder / source / f"{name}.nii.gz"
            reader_study.save_nifti(path, slab(sample, 10 * n + start), (0.94, 0.94, 5.0))
    given = [part for method in METHODS for part in ("--synthetic", folder / method)]
    return sealed(folder, "--real", folder / "real", *given, "--protocol", protocol, *more)


def sealed(folder: Path, *given: object) -> Path:
    """``braindiffusion study create``, which has to end well."""
    command = ["-m", "braindiffusion", "study", "create", *given, "--face", "keep", "--out", folder / "STUDY"]
    done = subprocess.run(
        [sys.executable, *map(str, command), "--progress", "none"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / "STUDY"


def stage(desk) -> str:
    return desk.state("stage")


def begin(desk) -> None:
    desk.page.keyboard.press("Enter")
    desk.until(lambda: stage(desk) == "case")


def answer(desk, *keys: str) -> None:
    """Keys, then Enter, and wait for what comes."""
    before = desk.state("answered")
    for key in keys:
        desk.page.keyboard.press(key)
    desk.page.keyboard.press("Enter")
    desk.until(lambda: desk.state("answered") == before + 1)


def test_a_study_is_read_by_keys_and_mouse_and_survives_a_crash(
    read_study, open_desk, sample: Path, tmp_path: Path
) -> None:
    study = seal(tmp_path, sample, "realism", 4, "--repeats", "0")
    server = read_study(study)
    desk = open_desk(server)
    assert "case 1 of 12" in desk.text("begin")
    assert "NOT FOR DIAGNOSIS" in desk.text("banner")
    assert "Research use only" in desk.text("banner")
    desk.shot("study-begin")
    begin(desk)
    assert desk.text("progress") == "Case 1 of 12"
    assert "No scanner makes this" in desk.text("choice-0-0")  # definitions are on screen
    desk.until(lambda: desk.slice_of("StudyCase") == 4)

    desk.page.keyboard.press("Enter")  # nothing answered yet
    desk.until(lambda: "Not answered yet" in desk.message)
    assert reader_study.answers(study) == []

    desk.page.mouse.move(*desk.at("StudyCase", 0.5, 0.5))
    desk.page.keyboard.press("ArrowUp")
    desk.until(lambda: desk.slice_of("StudyCase") == 5)
    desk.wheel("StudyCase", 2)
    desk.page.keyboard.press("9")  # no grade
    desk.until(lambda: "9 is no answer" in desk.message)
    desk.page.keyboard.press("3")
    desk.until(lambda: "on" in desk["choice-0-3"].get_attribute("class").split())
    desk.shot("study")
    desk.page.keyboard.press("2")  # changed before Enter
    desk["text-1"].press_sequentially("soft 4 edges", delay=5)
    desk.page.keyboard.press("Control+Enter")
    desk.until(lambda: desk.text("progress") == "Case 2 of 12")
    desk.until(lambda: desk["text-1"].input_value() == "")
    desk["text-1"].press("Escape")  # keys are the study's again
    sealed = json.loads((study / "study.json").read_text())
    first = reader_study.answers(study)[0]
    assert first["answers"] == {"realism": 2, "comment": "soft 4 edges"}
    assert first["tools"]["scroll"] >= 2
    assert first["window"]["scan"] == sealed["cases"][first["case"]]["images"][0]["window"]

    desk["choice-0-4"].click()  # by mouse
    desk.click("save")
    desk.until(lambda: desk.text("progress") == "Case 3 of 12")
    desk.page.keyboard.press("Backspace")  # there is no going back
    desk.page.keyboard.press("p")
    desk.until(lambda: stage(desk) == "pause")
    assert "case 3 of 12" in desk.text("paused")
    desk.page.wait_for_timeout(700)
    desk.page.keyboard.press("Enter")
    desk.until(lambda: stage(desk) == "case")
    for key in "0123":
        answer(desk, key)
    saved = reader_study.answers(study)
    assert [a["answers"]["realism"] for a in saved] == [2, 4, 0, 1, 2, 3]
    assert saved[2]["paused"] >= 0.6
    assert saved[2]["seconds"] < saved[2]["paused"] + 30
    desk.page.keyboard.press("1")  # answered, not saved
    desk.until(lambda: desk.state("ready"))
    knows_nothing(desk, server, study)
    order = sealed["readers"]["R1"]
    server.process.kill()
    server.process.wait(10)

    desk.problems.clear()  # the connection was lost
    again = open_desk(read_study(study))
    assert "case 7 of 12" in again.text("begin")
    begin(again)
    assert again.text("progress") == "Case 7 of 12"
    assert not again.state("ready")  # what was not saved is asked again
    for n in range(6):
        answer(again, str(n % 5))
    again.until(lambda: stage(again) == "done")
    assert "All 12 cases" in again.text("done")
    saved = reader_study.answers(study)
    assert [a["position"] for a in saved] == list(range(1, 13))
    assert [a["case"] for a in saved] == order
    assert again.problems == []


def knows_nothing(desk, server, study: Path) -> None:
    """The page, its state and every address: nothing of the key, of the cases' names or of their files."""
    key = json.loads((study.parent / "STUDY-key.json").read_text())
    told = json.dumps(desk.page.evaluate("window.trame.state.state")) + desk.page.content()
    cookie = f"{'brainviewer-' + str(server.port)}={server.token}"
    for path in ("/index.html", "/brainviewer_static/kiosk.js"):
        status, _headers, body = ask(server, path, Cookie=cookie)
        assert status == 200
        told += body.decode()
    for secret in (*SECRETS, key["seal"], "STUDY-key", str(study.parent), *key["cases"], ".nii"):
        assert secret not in told, secret
    for origin in ('"real"', '"synthetic"', '"origin"'):
        assert origin not in told.replace('"synthetic": false', ""), origin
    for path in ("/STUDY-key.json", "/study.json", "/../STUDY-key.json", "/brainviewer_static/../STUDY-key.json"):
        assert ask(server, path, Cookie=cookie)[0] in (403, 404), path
    inside = b"".join(path.read_bytes() for path in study.rglob("*") if path.is_file())
    assert not [secret for secret in SECRETS if secret.encode() in inside]
    assert os.stat(study.parent / "STUDY-key.json").st_mode & 0o077 == 0


def test_a_prior_is_linked_and_places_are_marked(read_study, open_desk, tmp_path: Path) -> None:
    place = {**reader_study.PLACE, "required": True}
    asked = {"questions": (reader_study.REALISM, place), "break_every": 2}
    study = reader_study.make_study(tmp_path / "STUDY", 3, "with_prior", going_back=True, **asked)
    desk = open_desk(read_study(study))
    begin(desk)
    desk.page.mouse.move(*desk.at("StudyCase", 0.5, 0.5))
    desk.page.keyboard.press("ArrowDown")
    desk.until(lambda: desk.slice_of("StudyCase") == desk.slice_of("StudyPrior") == 4)
    desk.page.keyboard.press("3")
    desk.until(lambda: desk.state("asked") == 1)  # the place is asked for: the next click marks it
    desk.page.wait_for_timeout(300)
    click(desk, "StudyCase", 0.6, 0.45)
    desk.until(lambda: desk.state("ready"), 15)
    assert desk.text("marked") == "marked"
    desk.shot("study-prior")
    desk.page.keyboard.press("Enter")
    desk.until(lambda: desk.text("progress") == "Case 2 of 3")
    (point,) = reader_study.answers(study)[0]["answers"]["place"]
    assert point[2] == pytest.approx(-5.0)  # the slice under the middle one; 5 mm slices
    assert 0 < abs(point[0]) < 36
    answer(desk, "4", "n")
    assert reader_study.answers(study)[1]["answers"] == {"realism": 4, "place": []}
    desk.until(lambda: stage(desk) == "break")
    assert "2 of 3 cases" in desk.text("break")
    desk.page.keyboard.press("Enter")
    desk.until(lambda: stage(desk) == "case")
    desk.page.keyboard.press("Backspace")  # this protocol lets the reader go back
    desk.until(lambda: desk.text("progress") == "Case 2 of 3")
    assert "on" in desk["choice-0-4"].get_attribute("class").split()
    desk.page.keyboard.press("0")
    desk.page.keyboard.press("Enter")
    desk.until(lambda: len(reader_study.answers(study)) == 3)
    last = reader_study.answers(study)[-1]
    assert (last["position"], last["revision"], last["answers"]["realism"]) == (2, 1, 0)
    desk.until(lambda: desk.text("progress") == "Case 3 of 3")
    assert desk.problems == []


def test_the_paired_protocol_beside_its_prior(read_study, open_desk, sample: Path, tmp_path: Path) -> None:
    """MedEdit's second stage, sealed, read by keys and the wheel, and analysed: who changed more is graded lower."""
    for n in range(2):
        before = slab(sample, n)
        spots = {"prior": None, "mededit": np.s_[60:70, 70:80, 3], "palette": np.s_[60:70, 70:80]}
        for name, spot in spots.items():
            voxels = before.copy()
            if spot is not None:
                voxels[spot] = 1.6 * before.max()
            reader_study.save_nifti(tmp_path / name / f"sub0Jane{n}.nii.gz", voxels, (0.94, 0.94, 5.0))
    given = ("--synthetic", tmp_path / "mededit", "--synthetic", tmp_path / "palette", "--prior", tmp_path / "prior")
    study = sealed(tmp_path, *given, "--protocol", "path_fidel_indpath", "--repeats", "0")
    labels = json.loads((tmp_path / "STUDY-key.json").read_text())["cases"]
    order = json.loads((study / "study.json").read_text())["readers"]["R1"]
    server = read_study(study)
    desk = open_desk(server)
    begin(desk)
    assert "Is the rest of the scan unchanged?" in desk.text("question-1")
    for n, case in enumerate(order):
        desk.until(lambda: desk.slice_of("StudyCase") == desk.slice_of("StudyPrior") == 4)
        desk.wheel("StudyPrior", 1)
        desk.until(lambda: desk.slice_of("StudyCase") == desk.slice_of("StudyPrior") != 4)
        for asked, grade in enumerate("443" if labels[case]["method"] == "mededit" else "421"):
            desk.until(lambda asked=asked: desk.state("asked") == asked)
            desk.until(lambda asked=asked: in_sight(desk, asked))
            desk.page.keyboard.press(grade)
        desk.until(lambda: desk.state("ready"))
        if n == 0:
            desk.shot("study-paired")
            knows_nothing(desk, server, study)
        desk.page.keyboard.press("Enter")
        desk.until(lambda n=n: desk.state("answered") == n + 1)
    desk.until(lambda: stage(desk) == "done")
    assert desk.problems == []

    from braindiffusion.studies.analyse import analyse_study

    results = analyse_study(study)
    for question, grades in (("path", (4, 4)), ("fidel", (4, 2)), ("ind_path", (3, 1))):
        rows = {row["method"]: row["mean"] for row in results.table(f"{question}_methods")}
        assert rows == dict(zip(METHODS, grades, strict=True)), question


def in_sight(desk, question: int) -> bool:
    """Whether a question lies in the visible part of the panel."""
    asked, panel = desk[f"question-{question}"].bounding_box(), desk.page.locator(".bv-steps").bounding_box()
    return panel["y"] - 1 <= asked["y"] and asked["y"] + asked["height"] <= panel["y"] + panel["height"] + 1


def test_a_case_that_was_changed_is_told_and_nothing_is_lost(read_study, open_desk, tmp_path: Path) -> None:
    study = reader_study.make_study(tmp_path / "STUDY", 2, policy="free")
    desk = open_desk(read_study(study))
    begin(desk)
    desk.drag("StudyCase", [(0.5, 0.5), (0.6, 0.4)])  # grey levels are free here, and recorded
    whole = {path: path.read_bytes() for path in (study / "cases").iterdir()}
    for path in whole:
        path.write_bytes(b"no scan")
    answer(desk, "3")
    desk.until(lambda: stage(desk) == "trouble")
    assert "can be opened" in desk.text("notice")
    (saved,) = reader_study.answers(study)
    assert saved["answers"] == {"realism": 3}
    assert saved["tools"]["window"] >= 1
    assert saved["window"]["scan"] != list(reader_study.WINDOW)
    for path, content in whole.items():
        path.write_bytes(content)
    begin(desk)  # it was mended
    assert desk.text("progress") == "Case 2 of 2"
    assert desk.text("notice") == ""
    answer(desk, "1")
    desk.until(lambda: stage(desk) == "done")
    assert desk.problems == []


def click(desk, tag: str, u: float, v: float) -> None:
    desk.page.mouse.move(*desk.at(tag, u - 0.05, v))
    desk.page.wait_for_timeout(300)
    desk.page.mouse.move(*desk.at(tag, u, v), steps=4)
    desk.page.wait_for_timeout(400)
    desk.page.mouse.down()
    desk.page.wait_for_timeout(60)
    desk.page.mouse.up()


def test_what_cannot_be_read_is_said_on_the_command_line(viewer_packages, tmp_path: Path) -> None:
    study = reader_study.make_study(tmp_path / "STUDY")
    root = Path(__file__).resolve().parents[2]
    folders = ("", "BrainViewer", "BrainCounterfactual", "BrainLesionSim", "BrainReaderStudy")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(root / name) for name in folders)}

    def refused(*arguments: str) -> str:
        command = [sys.executable, "-m", "braindiffusion", "read", *arguments, "--no-browser"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 3, done.stderr
        return done.stderr

    assert "There is no reader 'R9'" in refused(str(study), "--reader", "R9")
    assert "StudyError" in refused(str(tmp_path), "--reader", "R1")
    assert not (study / "answers").exists()
