"""Teaching files: what is in the folder, what is marked, and that the patient is not in it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_series import FIRST, NAME, oblique, write_series
from PIL import Image
from test_deidentify import everything, head, leaked

from braindiffusion import NOT_FOR_DIAGNOSIS, errors
from braindiffusion.export.deidentify import clean_scan
from braindiffusion.export.teaching.case import RECORD, Pair, Texts, write_case
from braindiffusion.export.teaching.collection import write_index
from braindiffusion.export.teaching.page import page
from braindiffusion.export.teaching.pictures import MOST_SLICES, draw
from braindiffusion.export.teaching.result import make_pair, pair_of
from braindiffusion.io.read import read_scan
from braindiffusion.io.write import OutputFolder
from braindiffusion.volume.scan import Scan

TEXTS = Texts(
    "A bright lesion", "Weak left arm.", "Hyperintense.", "Simulated stroke.", "Nothing <b>more</b> & </script> 'x'",
    "Which side?", ("Left", "Right"), 2,
)  # fmt: skip
PROVENANCE = {
    "task": "heal", "made": "2019-03-17T10:00:00Z", "settings": {"method": "dif_fuse", "seed": 3},
    "software": {"braindiffusion": "0.1.0"}, "models": [{"name": "m", "sha256": "ab" * 32}],
    "scan": {"file": f"{NAME}.nii.gz", "voxels_sha256": "00", "modality": "FLAIR"},
}  # fmt: skip


def made_pair(folder: Path, task: str = "heal") -> Pair:
    """A case from a DICOM series full of the patient; the other one is darker in a box."""
    large = np.pad(head(), ((16, 16), (16, 16), (0, 0)))
    path = write_series(folder / "in", large, oblique())
    scan, clean = read_scan(path), clean_scan(path, face="keep")
    other = scan.voxels.copy()
    lesion = np.zeros(other.shape, bool)
    lesion[34:44, 30:40, 4:7] = True
    other[lesion] //= 2
    return make_pair(clean, scan, other, task, lesion, PROVENANCE | {"task": task}, "keep")


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("case")
    write_case(folder / "out", made_pair(folder), TEXTS)
    return folder / "out"


class Links(HTMLParser):
    """Everything in a page that could load or lead somewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [
            value or "" for name, value in attrs if name in ("src", "href", "action", "data", "srcset", "style")
        ]
        self.found += [
            f"<{tag}>" for _ in (0,) if tag in ("iframe", "object", "embed", "link", "base", "video", "audio")
        ]


def data_of(text: str) -> dict[str, Any]:
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])


def test_the_folder_holds_all_that_was_promised(case: Path) -> None:
    names = {p.relative_to(case).as_posix() for p in case.rglob("*") if p.is_file() and p.suffix != ".dcm"}
    volumes = ("original", "SYNTHETIC_counterfactual", "SYNTHETIC_lesion")
    assert names == {"index.html", RECORD, "thumbnail.png", *(f"volumes/{v}.nii.gz" for v in volumes)}
    assert {p.name for p in (case / "dicom").iterdir()} >= {"original", "SYNTHETIC_counterfactual"}
    scan = read_scan(case / "volumes" / "original.nii.gz")
    series = read_scan(case / "dicom" / "original")
    np.testing.assert_array_equal(series.voxels, scan.voxels)
    np.testing.assert_allclose(series.affine, scan.affine, atol=1e-4)
    record = json.loads((case / RECORD).read_text())
    assert record["synthetic"] == {"diseased": False, "healthy": True}
    assert "made" not in record["provenance"]
    assert "file" not in record["provenance"]["scan"]


def test_the_patient_is_nowhere(case: Path) -> None:
    assert leaked(everything(case)) == []


def test_dicom_says_which_is_which(case: Path) -> None:
    for name, synthetic in (("original", "NO"), ("SYNTHETIC_counterfactual", "YES")):
        ds = pydicom.dcmread(case / "dicom" / name / "0001.dcm")
        assert (ds.SyntheticData, ds.PatientID, ds.StudyDate) == (synthetic, "TEACHING", "")
        assert "SourceImageSequence" not in ds


def test_the_page_loads_nothing(case: Path) -> None:
    text = (case / "index.html").read_text(encoding="utf-8")
    assert Links(text).found == []
    assert not re.search(r"https?:|//[a-z]|@import|url\(|fetch\(|XMLHttp|import\(", text.split('id="data"')[0])
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        body = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.S)[1]
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert NOT_FOR_DIAGNOSIS in text.upper()
    assert "Research use only" in text


def test_texts_are_text(case: Path) -> None:
    text = (case / "index.html").read_text(encoding="utf-8")
    assert "<b>more" not in text
    assert text.count("</script>") == 2
    data = data_of(text)
    assert data["discussion"] == TEXTS.discussion
    assert (data["choices"], data["answer"]) == (["Left", "Right"], 2)
    assert "@@" not in page("case", {"title": "@@CSP@@"}).replace("@@CSP@@", "", 1)


def test_pictures_are_marked_and_show_the_change(case: Path) -> None:
    slices = data_of((case / "index.html").read_text(encoding="utf-8"))["slices"]
    changed = 0
    for each in slices:
        one, two = (
            np.asarray(Image.open(io.BytesIO(base64.b64decode(each[k].split(",")[1])))).astype(int)
            for k in ("diseased", "healthy")
        )
        assert one.shape == two.shape
        left, right = one[:34, :200], two[:34, -200:]
        assert (left == 255).sum() > 300, "marked in the corner"
        assert (right == 255).sum() > 300
        differs = np.abs(one - two)[40:] > 20
        changed += bool(differs.any())
        assert bool(each["difference"]) == bool(differs.any())
    assert changed == 3


def test_marks_tell_the_real_from_the_synthetic() -> None:
    scan = Scan(np.pad(head(), ((16, 16), (16, 16), (0, 0))), oblique())
    drawn = [
        np.asarray(Image.open(io.BytesIO(draw(scan, scan.voxels, scan.voxels, flag, flag).slices[3].diseased)))[
            :40, :220
        ]
        for flag in (True, False)
    ]
    assert (drawn[0] != drawn[1]).sum() > 100


def test_many_slices_are_thinned_out_and_the_most_changed_stays() -> None:
    i, j, _ = np.indices((40, 40, 90))
    ball = np.where(((i - 20) / 16) ** 2 + ((j - 20) / 17) ** 2 < 1, 400, 0).astype(np.int16)
    other = ball.copy()
    other[15:25, 15:25, 41] = 100
    scan = Scan(ball, np.diag([-5.0, -5, 2, 1]))
    pictures = draw(scan, ball, other, False, True)
    assert len(pictures.slices) <= MOST_SLICES
    assert [bool(s.difference) for s in pictures.slices].count(True) == 1
    assert pictures.slices[pictures.first].difference


def test_the_other_is_treated_as_the_scan(tmp_path: Path) -> None:
    """What the face's removal hides is hidden in both."""
    voxels = np.pad(head(), ((16, 16), (16, 16), (0, 0)))
    with OutputFolder(tmp_path) as out:
        out.volume("scan", voxels, np.diag([-3.0, -3, 7, 1]))
    scan = read_scan(tmp_path / "scan.nii.gz")
    shown = np.zeros(voxels.shape, bool)
    shown[30:50, 30:50] = True
    clean = clean_scan(tmp_path / "scan.nii.gz", shown=shown)
    pair = make_pair(clean, scan, scan.voxels + 5, "heal", None, {}, "remove")
    assert (pair.other[shown] == scan.voxels[shown] + 5).all()
    assert (pair.other[~shown] == clean.scan.voxels[~shown]).all()


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["title", "history", "findings", "diagnosis", "discussion", "question"])
def test_a_text_that_names_the_patient_is_held_back(tmp_path: Path, field: str) -> None:
    texts = {"title": "x", field: f"seen with {FIRST.lower()} in spring"}
    with pytest.raises(errors.QuarantineError) as caught:
        write_case(tmp_path / "out", made_pair(tmp_path), Texts(**texts))
    assert field in str(caught.value)
    assert not leaked(str(caught.value))
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_is_refused(case: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.OutputError, match="not empty"):
        write_case(case, made_pair(tmp_path), TEXTS)


@pytest.mark.parametrize(
    "texts",
    [
        {"title": " "}, {"title": "x", "choices": ("a",)}, {"title": "x", "question": "q", "choices": ("a",)},
        {"title": "x", "question": "q", "answer": 1}, {"title": "x" * 30_000},
        {"title": "x", "question": "q", "choices": ("a", "b"), "answer": 3},
    ],
)  # fmt: skip
def test_texts_that_make_no_sense(texts: dict[str, Any]) -> None:
    with pytest.raises(errors.SettingsError):
        Texts(**texts)


def result_folder(folder: Path, scan: Scan, digest: str) -> Path:
    with OutputFolder(folder) as out:
        out.volume("diseased", scan.voxels + 1, scan)
        out.volume("lesion", scan.voxels > 300, scan)
        out.json("provenance", PROVENANCE | {"scan": {"voxels_sha256": digest}})
    return folder


def test_a_result_and_its_scan_make_a_pair(tmp_path: Path) -> None:
    with OutputFolder(tmp_path) as out:
        out.volume("scan", head(), np.diag([-3.0, 3, 7, 1]))
    scan = read_scan(tmp_path / "scan.nii.gz")
    digest = hashlib.sha256(scan.voxels.tobytes()).hexdigest()
    folder = result_folder(tmp_path / "r", scan, digest)
    pair = pair_of(folder, tmp_path / "scan.nii.gz", face="keep")
    assert (pair.task, pair.clean.synthetic) == ("induce", True)
    np.testing.assert_array_equal(pair.other, scan.voxels + 1)
    np.testing.assert_array_equal(pair.lesion, scan.voxels > 300)
    other = result_folder(tmp_path / "o", scan, "11")
    with pytest.raises(errors.TeachingFileError, match="not made from this scan"):
        pair_of(other, tmp_path / "scan.nii.gz", face="keep")
    with pytest.raises(errors.TeachingFileError, match="no result"):
        pair_of(tmp_path, tmp_path / "scan.nii.gz")


# --- collections --------------------------------------------------------------------------------------------------


def test_a_collection_lists_its_cases(case: Path, tmp_path: Path) -> None:
    import shutil

    with pytest.raises(errors.TeachingFileError):
        write_index(tmp_path)
    for name in ("b case", "a"):
        shutil.copytree(case, tmp_path / name)
    assert write_index(tmp_path, "Ours & <theirs>") == 2
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    data = data_of(text)
    assert data["title"] == "Ours & <theirs>"
    assert [(c["number"], c["href"]) for c in data["cases"]] == [(1, "a/index.html"), (2, "b%20case/index.html")]
    assert Links(text).found == []
    (tmp_path / "a" / RECORD).write_text("{}")
    with pytest.raises(errors.TeachingFileError, match="damaged"):
        write_index(tmp_path)
